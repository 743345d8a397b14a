//! What is pinned: it only moves up, survives as it was, and is shared without loss.

use seinpost_protocol::address::Function;
use seinpost_protocol::checkpoint::{LogKey, note};

use super::*;

const ORIGIN: &str = "log.seinpost.test/pins";

fn checkpoint(size: u64, root: u8) -> (Checkpoint, Bytes) {
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size, root: Digest::new([root; 32]) };
    let note = note(&checkpoint, LogKey::new([7; 32]).key_id(ORIGIN), &[9; 64]);
    (checkpoint, Bytes::from(note))
}

fn police() -> Address {
    address_from_text("00000099155000000000/POLICE_OPERATIONS").expect("an address")
}

#[test]
fn pins_come_back_from_the_file_as_they_were() {
    let folder = tempfile::tempdir().expect("a folder");
    let pins = Pins::open(folder.path(), ORIGIN).expect("opened");
    let (checkpoint, note) = checkpoint(12, 1);
    let place = MailboxPin { number: 3, index: 11, commitment: Digest::new([4; 32]), time: Timestamp::FIRST };
    pins.update(|pins| {
        assert_eq!(pins.raise_checkpoint(&Pin::NOTHING, &checkpoint, &note), Raised::Settled);
        pins.raise_covenant(5, Digest::new([5; 32]))?;
        pins.raise_key(police(), 2, None)?;
        pins.raise_list(Digest::new([6; 32]), &[1, 0])?;
        pins.raise_mailbox(police(), place);
        Ok(())
    })
    .expect("written");
    let read = pins.read().expect("read");
    assert_eq!(read.pin(), checkpoint.pin());
    assert_eq!(read.checkpoint().map(|pinned| &pinned.note), Some(&note));
    assert_eq!(read.covenant(), Some(PinnedCovenant { serial: 5, digest: Digest::new([5; 32]) }));
    assert_eq!(read.key(police()), Some(PinnedKey { serial: 2, digest: None }));
    assert_eq!(read.mailbox(police()), Some(place));
    let other = Pins::open(folder.path(), "another.log").expect("opened").read().expect("read");
    assert_eq!(other, OriginPins::default());
}

#[test]
fn a_checkpoint_is_pinned_only_when_it_was_compared_with_the_pin_that_stands() {
    let mut pins = OriginPins::default();
    let (ten, ten_note) = checkpoint(10, 1);
    let (fifteen, fifteen_note) = checkpoint(15, 2);
    let (twenty, twenty_note) = checkpoint(20, 3);
    assert_eq!(pins.raise_checkpoint(&Pin::NOTHING, &ten, &ten_note), Raised::Settled);
    assert_eq!(pins.raise_checkpoint(&ten.pin(), &fifteen, &fifteen_note), Raised::Settled);
    // The proof was from ten to twenty: it says nothing of fifteen.
    assert!(matches!(pins.raise_checkpoint(&ten.pin(), &twenty, &twenty_note), Raised::Moved(_)));
    assert_eq!(pins.pin(), fifteen.pin());
    assert_eq!(pins.raise_checkpoint(&fifteen.pin(), &twenty, &twenty_note), Raised::Settled);
    assert_eq!(pins.pin(), twenty.pin());
    // An older answer that is of the same history leaves the pin.
    assert_eq!(pins.raise_checkpoint(&twenty.pin(), &ten, &ten_note), Raised::Settled);
    assert_eq!(pins.pin(), twenty.pin());
}

#[test]
fn two_covenants_or_key_statements_of_one_serial_are_refused_and_lower_ones_change_nothing() {
    let mut pins = OriginPins::default();
    let (one, two) = (Digest::new([1; 32]), Digest::new([2; 32]));
    pins.raise_covenant(4, one).expect("first");
    assert_eq!(pins.raise_covenant(4, two).expect_err("a fork").reason(), Some("COVENANT_FORK"));
    pins.raise_covenant(3, two).expect("lower");
    assert_eq!(pins.covenant(), Some(PinnedCovenant { serial: 4, digest: one }));

    pins.raise_key(police(), 7, None).expect("first");
    pins.raise_key(police(), 7, Some(one)).expect("the digest becomes known");
    assert_eq!(pins.raise_key(police(), 7, Some(two)).expect_err("a fork").reason(), Some("KEY_STATEMENT_FORK"));
    pins.raise_key(police(), 6, Some(two)).expect("lower");
    assert_eq!(pins.key(police()), Some(PinnedKey { serial: 7, digest: Some(one) }));
}

#[test]
fn the_number_of_a_revocation_list_never_falls() {
    let mut pins = OriginPins::default();
    let issuer = Digest::new([1; 32]);
    for number in [&[9][..], &[9], &[0, 9], &[1, 0], &[0, 1, 1]] {
        pins.raise_list(issuer, number).expect("not lower");
    }
    for number in [&[1, 0][..], &[255], &[0, 0, 1, 0]] {
        let error = pins.raise_list(issuer, number).expect_err("lower");
        assert_eq!(error.reason(), Some("CRL_NUMBER_FELL"));
    }
}

#[test]
fn along_the_log_the_covenant_never_falls() {
    let mut ruled = Ruled::default();
    assert_eq!(ruled.note(1, 10), Ok(true));
    assert_eq!(ruled.note(1, 40), Ok(false));
    assert_eq!(ruled.note(2, 30), Ok(true));
    // What stands before is judged by the older one, in whatever order it is seen.
    assert_eq!(ruled.note(1, 29), Ok(false));
    assert_eq!(ruled.note(1, 31), Err(Fallen { serial: 2, index: 30 }));
    assert_eq!(ruled.note(3, 50), Ok(true));
    assert_eq!(ruled.note(2, 60), Err(Fallen { serial: 3, index: 50 }));
    assert_eq!(ruled.note(3, 45), Ok(true));
    assert_eq!(ruled.note(2, 49), Err(Fallen { serial: 3, index: 45 }));
}

#[test]
fn a_damaged_file_is_a_fault_and_not_a_first_contact() {
    let folder = tempfile::tempdir().expect("a folder");
    let pins = Pins::open(folder.path(), ORIGIN).expect("opened");
    for text in ["{", r#"{"format":2,"origins":{}}"#, r#"{"format":1,"origins":{},"more":1}"#] {
        std::fs::write(folder.path().join("pins.json"), text).expect("written");
        assert!(matches!(pins.read(), Err(Error::Fault(_))), "{text}");
        assert!(matches!(pins.update(|_| Ok(())), Err(Error::Fault(_))), "{text}");
    }
}

#[test]
fn programs_that_share_a_state_lose_none_of_each_others_pins() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = |n: u64| Address {
        oin: Oin::try_from(format!("{n:020}").as_str()).expect("an OIN"),
        function: Function::SafeHome,
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            // Each opens its own handle, as another program would.
            let pins = Pins::open(folder.path(), ORIGIN).expect("opened");
            scope.spawn(move || {
                for n in 0..8 {
                    pins.update(|pins| pins.raise_key(address(thread * 8 + n), 1, None)).expect("written");
                }
            });
        }
    });
    let pins = Pins::open(folder.path(), ORIGIN).expect("opened").read().expect("read");
    assert_eq!((0..32).filter(|n| pins.key(address(*n)).is_some()).count(), 32);
}
