//! What the sequencer answered, as the peer hears it.

use seinpost_core::refusal::Refusal;
use tonic::Status;

use crate::errors::{Refused, fault};
use crate::sequencer::Outcome;

/// Turns an outcome that is neither recorded nor known into the refusal that it is.
pub(super) fn refused(outcome: Outcome) -> Status {
    match outcome {
        Outcome::Refused(refusal) => {
            let refused = Refused::of(refusal.reason()).saying(refusal.to_string());
            if refusal == Refusal::KeyNotMade { refused.at("signer.key_serial") } else { refused }.into()
        }
        Outcome::Busy => Refused::of("BUSY").into(),
        Outcome::ClockInDoubt => Refused::of("CLOCK_DOUBT").into(),
        Outcome::Full => Refused::of("DISK_FLOOR").into(),
        Outcome::Stopped => Refused::of("DRAINING").into(),
        Outcome::Recorded { .. } | Outcome::Already { .. } | Outcome::Nothing => {
            fault("what was recorded, or did not have to be, is not refused")
        }
    }
}
