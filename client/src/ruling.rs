//! Which covenant the log ruled by, as far as its records were seen: along the log the serial never falls.
//!
//! Every record names the covenant by which the hub judged. Once a record names one, no record behind it may name an
//! older one, however valid that still is: else a hub could bring back a rule, a route or a key that the registrars took
//! away. In comes each record that was proven to stand in the log; what is kept, per covenant, is the first index at
//! which it was named. What falls is evidence against the hub, since both records are its own.

use prost::Message as _;
use seinpost_protocol::covenant::Covenant;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::receipt::VerifiedReceipt;
use seinpost_protocol::wire;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::evidence::Evidence;
use crate::keys::record_time;
use crate::link::Asked;
use crate::pins::Fallen;

impl Client {
    /// Links a receipt to the pin of its request, and demands that its record names no older covenant than one before it.
    pub(crate) async fn take_receipt(
        &self,
        asked: &Asked,
        receipt: &wire::Receipt,
        consistency: &[bytes::Bytes],
    ) -> Result<VerifiedReceipt> {
        let verified = self.link_receipt(asked, receipt, consistency).await?;
        if let Some(record) = &verified.record {
            // Of a covenant from before the hub file's floor nobody here knows the serial.
            let known = Digest::try_from(&record.covenant_digest).ok().and_then(|digest| {
                let covenants = self.covenants();
                covenants.by_digest(&digest).map(Covenant::serial)
            });
            if let Some(serial) = known {
                self.judge_ruling(serial, record.index, receipt)?;
            }
        }
        Ok(verified)
    }

    /// Returns the covenant by which a record says that it was judged: one that its registrars signed, that was valid at
    /// the record's time, and that is not older than what a record before it named.
    pub(crate) async fn ruling_of(&self, record: &wire::Record, receipt: &wire::Receipt) -> Result<Covenant> {
        let covenant = self.covenant_of(record).await?;
        self.judge_ruling(covenant.serial(), record.index, receipt)?;
        Ok(covenant)
    }

    /// Returns the covenant that a record names, valid at the record's time.
    pub(crate) async fn covenant_of(&self, record: &wire::Record) -> Result<Covenant> {
        let at = record_time(record);
        let digest = Digest::try_from(&record.covenant_digest)
            .map_err(|_| Error::not_verified("COVENANT_UNKNOWN", "the record names no covenant"))?;
        let covenant = self.covenant_by_digest(&digest).await?;
        if !covenant.is_valid_at(at) {
            let what = format!("the hub judged at {at} by covenant {}, which was not valid then", covenant.serial());
            return Err(Error::not_verified("COVENANT_NOT_VALID", what));
        }
        Ok(covenant)
    }

    /// Notes by which covenant a record was judged; the file is written only where that is news.
    fn note_ruling(&self, serial: u64, index: u64) -> Result<std::result::Result<(), Fallen>> {
        let mut ruled = self.ruled();
        if ruled.note(serial, index) == Ok(false) {
            return Ok(Ok(()));
        }
        let (noted, pinned) =
            self.inner.pins.update(|pins| Ok((pins.raise_ruled(serial, index), pins.ruled().clone())))?;
        *ruled = pinned;
        Ok(noted.map(|_| ()))
    }

    fn judge_ruling(&self, serial: u64, index: u64, receipt: &wire::Receipt) -> Result<()> {
        match self.note_ruling(serial, index)? {
            Ok(()) => Ok(()),
            Err(fallen) => {
                let bytes = receipt.encode_to_vec();
                Err(self.accuse(Evidence {
                    reason: "COVENANT_ROLLED_BACK",
                    what: format!(
                        "record {index} was judged by covenant {serial}, though record {} before it was judged by covenant {}",
                        fallen.index, fallen.serial
                    ),
                    pieces: vec![("receipt.bin", &bytes)],
                }))
            }
        }
    }
}
