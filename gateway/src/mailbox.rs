//! Who waits at which mailbox: a bounded number of readers per address, woken by what was applied.
//!
//! Only the addresses touched are woken, and a wake says nothing but "look again": the reader finds in the store what is
//! there. So a wake that comes twice, or while the reader reads, is never lost and costs one look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seinpost_protocol::address::Address;
use tokio::sync::watch;

/// Streams of one address at one time: an agency's few machines, and room for those that a broken network left behind.
const STREAMS_PER_ADDRESS_MAX: usize = 8;

/// The mailboxes that somebody waits at. Cheap to clone.
#[derive(Clone, Default)]
pub struct Mailboxes(Arc<Mutex<HashMap<Address, Waited>>>);

struct Waited {
    streams: usize,
    wake: watch::Sender<()>,
}

/// One reader's place at one mailbox, given back when it is dropped.
pub struct Watch {
    mailboxes: Mailboxes,
    address: Address,
    woken: watch::Receiver<()>,
}

impl Mailboxes {
    /// Takes a place at an address's mailbox; `None` if there are eight readers.
    #[must_use]
    pub fn open(&self, address: Address) -> Option<Watch> {
        let mut waited = self.waited();
        let mailbox = waited.entry(address).or_insert_with(|| Waited { streams: 0, wake: watch::Sender::new(()) });
        if mailbox.streams >= STREAMS_PER_ADDRESS_MAX {
            return None;
        }
        mailbox.streams += 1;
        let woken = mailbox.wake.subscribe();
        Some(Watch { mailboxes: self.clone(), address, woken })
    }

    /// Wakes whoever waits at these mailboxes.
    pub(crate) fn wake(&self, addresses: impl IntoIterator<Item = Address>) {
        let waited = self.waited();
        for address in addresses {
            if let Some(mailbox) = waited.get(&address) {
                mailbox.wake.send_replace(());
            }
        }
    }

    fn waited(&self) -> MutexGuard<'_, HashMap<Address, Waited>> {
        // Nothing in here panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Says that the reader is about to look: only what comes from now on wakes it.
    pub fn seen(&mut self) {
        self.woken.mark_unchanged();
    }

    /// Waits until there is something since [`Watch::seen`].
    pub async fn changed(&mut self) {
        let changed = self.woken.changed().await;
        debug_assert!(changed.is_ok(), "a mailbox with a reader is kept");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut waited = self.mailboxes.waited();
        if let Some(mailbox) = waited.get_mut(&self.address) {
            mailbox.streams -= 1;
            if mailbox.streams == 0 {
                waited.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

    use futures_util::FutureExt;
    use seinpost_protocol::address::{Function, Oin};

    use super::*;

    fn address(function: Function) -> Address {
        Address { oin: Oin::try_from("00000099155000000000").unwrap(), function }
    }

    #[tokio::test]
    async fn a_reader_is_woken_by_its_own_mailbox_alone() {
        let mailboxes = Mailboxes::default();
        let mut mayor = mailboxes.open(address(Function::Mayor)).unwrap();
        let mut youth_care = mailboxes.open(address(Function::MunicipalityCareReports)).unwrap();
        mailboxes.wake([address(Function::Mayor)]);
        mayor.changed().await;
        assert!(youth_care.changed().now_or_never().is_none());
        assert!(mayor.changed().now_or_never().is_none(), "once woken it waits for the next");
    }

    #[tokio::test]
    async fn what_comes_while_the_reader_looks_wakes_it_again() {
        let mailboxes = Mailboxes::default();
        let mut watch = mailboxes.open(address(Function::Mayor)).unwrap();
        mailboxes.wake([address(Function::Mayor)]);
        watch.seen();
        mailboxes.wake([address(Function::Mayor), address(Function::Mayor)]);
        watch.changed().await;
        mailboxes.wake([address(Function::Mayor)]);
        watch.seen();
        assert!(watch.changed().now_or_never().is_none(), "what came before the look was seen");
    }

    #[test]
    fn an_address_has_eight_readers_and_a_place_is_given_back() {
        let mailboxes = Mailboxes::default();
        let mut watches: Vec<_> = (0..8).map(|_| mailboxes.open(address(Function::Mayor)).unwrap()).collect();
        assert!(mailboxes.open(address(Function::Mayor)).is_none());
        assert!(mailboxes.open(address(Function::SafeHome)).is_some());
        watches.pop();
        watches.push(mailboxes.open(address(Function::Mayor)).unwrap());
        watches.clear();
        assert!(mailboxes.waited().is_empty(), "nothing is kept of those who left");
    }
}
