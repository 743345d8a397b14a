//! Which key to seal to: the newest statement that has begun, in a chain that the log holds and the pin fits.
//!
//! In comes an address, out goes its statement, or why nothing can be sealed to it. No older statement than one that is
//! known is taken, none from before a withdrawal, and none whose signer may not sign now.

use prost::Message as _;
use seinpost_protocol::address::Address;
use seinpost_protocol::covenant::Covenant;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::key_statement::State;
use seinpost_protocol::time::Timestamp;

use crate::client::Client;
use crate::error::{By, Error, Refusal, Result};
use crate::evidence::Evidence;
use crate::keys::StatementEntry;

impl Client {
    /// Finds the statement to seal to: the newest that has begun, in a chain that fits the pin, signed by a key that may
    /// sign now.
    pub(super) async fn key_to_seal_to(
        &self,
        address: Address,
        covenant: &Covenant,
        now: Timestamp,
    ) -> Result<StatementEntry> {
        let floor = covenant.key_floor(address);
        let entries = self.statement_chain(address, floor).await?;
        let counting: Vec<&StatementEntry> = entries.iter().filter(|entry| entry.serial >= floor).collect();
        let Some(newest) = counting.last() else {
            return Err(no_key(address, "NO_KEY_STATEMENT", "it has published no sealing key"));
        };
        let (newest_verified, _) = self.verify_signature_now(newest.item.clone(), covenant).await?;
        self.link_gossip(newest_verified.signer()).await?;
        self.inner.pins.update(|pins| pins.raise_key(address, newest.serial, Some(newest.digest)))?;
        if newest.statement.state == State::Withdrawn {
            return Err(no_key(address, "KEY_WITHDRAWN", "it has withdrawn its sealing key"));
        }
        // The newest that has begun, but none from before a withdrawal: that key is given up, whatever is stated after it.
        let chosen = counting.iter().rev().find(|entry| match entry.statement.state {
            State::Windowed { seal_from, .. } => seal_from <= now,
            State::Withdrawn => true,
        });
        let Some(chosen) = chosen else {
            return Err(no_key(address, "KEY_WINDOW", "none of its sealing keys has begun"));
        };
        if chosen.statement.state == State::Withdrawn {
            return Err(no_key(
                address,
                "KEY_WITHDRAWN",
                "it has withdrawn its sealing key, and the next has not begun",
            ));
        }
        if chosen.digest != newest.digest {
            self.verify_signature_now(chosen.item.clone(), covenant).await?;
        }
        match chosen.statement.state {
            State::Windowed { seal_until, .. } if seal_until < now => {
                Err(no_key(address, "KEY_WINDOW", &format!("its sealing key ended at {seal_until}")))
            }
            _ => Ok((**chosen).clone()),
        }
    }

    /// Fetches the newest statements of an address, from the one before the pinned one on, and checks that each follows.
    async fn statement_chain(&self, address: Address, floor: u64) -> Result<Vec<StatementEntry>> {
        let pinned = self.inner.pins.read()?.key(address);
        let anchored = pinned.filter(|pinned| pinned.digest.is_some());
        let start = anchored.map_or(0, |pinned| pinned.serial.saturating_sub(2));
        let mut entries: Vec<StatementEntry> = Vec::new();
        loop {
            let after = entries.last().map_or(start, |last| last.serial);
            let page = self.fetch_statements(address, after).await?;
            let is_last = page.entries.last().is_none_or(|last| last.serial >= page.newest_serial);
            if page.entries.is_empty() && page.newest_serial > after {
                return Err(Error::not_verified(
                    "KEY_STATEMENT",
                    format!("the hub keeps key statements of {address} back"),
                ));
            }
            entries.extend(page.entries);
            if is_last {
                break;
            }
        }
        let newest = entries.last().map_or(start, |last| last.serial);
        if let Some(pinned) = pinned {
            if newest < pinned.serial {
                let what = format!(
                    "the hub shows key statement {newest} of {address} as the newest; {} is known",
                    pinned.serial
                );
                return Err(Error::not_verified("KEY_STATEMENT_ROLLED_BACK", what));
            }
            let shown = entries.iter().find(|entry| entry.serial == pinned.serial);
            if let Some(known) = pinned.digest
                && shown.is_none()
            {
                let what = format!(
                    "the hub leaves out key statement {} of {address}, which is known as {known}",
                    pinned.serial
                );
                return Err(Error::not_verified("KEY_STATEMENT", what));
            }
            if let (Some(known), Some(shown)) = (pinned.digest, shown)
                && known != shown.digest
            {
                let item = shown.item.wire().encode_to_vec();
                return Err(self.accuse(Evidence {
                    reason: "KEY_STATEMENT_FORK",
                    what: format!(
                        "{address} has two key statements with serial {}: {known} and {}",
                        pinned.serial, shown.digest
                    ),
                    pieces: vec![("shown.item", &item)],
                }));
            }
        }
        let mut before: Option<(Digest, u64)> = None;
        for entry in &entries {
            // The first of a walk that begins at the pin has the pin to vouch for it; those below the floor do not count.
            let is_anchor = before.is_none() && anchored.is_some() && start > 0;
            if !is_anchor && entry.serial >= floor.max(1) {
                let previous = before.as_ref().map(|(digest, serial)| (digest, *serial));
                entry.statement.follows(previous, floor).map_err(|bad| {
                    Error::not_verified(
                        bad.reason(),
                        format!("key statement {} of {address} does not follow: {bad}", entry.serial),
                    )
                })?;
            }
            before = Some((entry.digest, entry.serial));
        }
        Ok(entries)
    }
}

/// Refuses to seal, by the covenant's side: nothing has left.
pub(super) fn no_key(address: Address, reason: &str, what: &str) -> Error {
    Error::Refused(Refusal {
        by: By::Covenant,
        reason: reason.to_owned(),
        message: format!("nothing can be sealed to {address}: {what}"),
        nearest_rule: None,
        violations: Vec::new(),
    })
}
