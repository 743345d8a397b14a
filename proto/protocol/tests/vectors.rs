//! Runs the vectors of a second implementation, `tests/vectors/items` and `tests/vectors/tlog`, against this crate.
//!
//! Each family of operations has its file in `vectors/`: a table from the name of an operation to a function that asks
//! this crate the same question. What comes in are a case's inputs, what goes out are values or a refusal, and
//! [`vectors::frame`] compares. Nothing is skipped in silence: a file, an operation, a case, an input or a value that
//! nobody here knows makes the test fail. The operations that need private keys are asked by the client's runner.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that unwraps what must be there fails at the line that says so"
)]

#[path = "common/leaves.rs"]
mod leaves;

mod vectors {
    pub(crate) mod frame;

    // One line per family; its file holds `OPS`, and what it does not share with others.
    pub(crate) mod covenant;
    pub(crate) mod ed25519;
    pub(crate) mod items;
    pub(crate) mod log;
    pub(crate) mod messages;
    pub(crate) mod tlog;
}

use vectors::frame::{self, Family};

/// The families: every operation of every file must be known to exactly one of them.
const FAMILIES: &[&Family] =
    &[&vectors::messages::FAMILY, &vectors::items::FAMILY, &vectors::covenant::FAMILY, &vectors::log::FAMILY];

/// Operations that the client crate's own runner asks, because they need private keys.
const OPS_OF_THE_CLIENT: &[&str] = &["seal", "open", "unpad", "deliver"];

/// Files beside the cases that hold none of their own.
const FILES_WITHOUT_CASES: &[&str] = &["schema.json", "ed25519-verdicts.json"];

/// Makes one test per file, and one that fails on a file that is not in the list.
macro_rules! files {
    ($($test:ident => $file:literal),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                frame::run($file, FAMILIES, OPS_OF_THE_CLIENT);
            }
        )*

        #[test]
        fn every_file_is_known() {
            frame::assert_files_known(&[$($file),*], FILES_WITHOUT_CASES);
        }
    };
}

files! {
    checkpoints => "checkpoints.json",
    covenants => "covenants.json",
    encoding => "encoding.json",
    headers => "headers.json",
    items => "items.json",
    key_statements => "key-statements.json",
    mailbox_heads => "mailbox-heads.json",
    permits => "permits.json",
    receipts => "receipts.json",
    records => "records.json",
    sealing => "sealing.json",
    signals => "signals.json",
    signatures => "signatures.json",
    tree => "tree.json",
}

#[test]
fn no_operation_has_two_owners() {
    frame::assert_one_owner(FAMILIES, OPS_OF_THE_CLIENT);
}
