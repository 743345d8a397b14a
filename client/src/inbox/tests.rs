//! What is kept is whole, and found by what a person knows of it.

use seinpost_protocol::address::{Address, Function, Oin};
use seinpost_protocol::receipt::EventKind;
use seinpost_protocol::time::Timestamp;

use super::*;
use crate::receive::ReceivedNotice;

fn notice(number: u64) -> Received {
    let place = Place {
        number,
        index: 40 + number,
        commitment: Digest::new([1; 32]),
        recorded_at: Timestamp::FIRST,
        redelivered: false,
    };
    let oin = Oin::try_from("00000099155000000000").expect("an OIN");
    Received::Notice(Box::new(ReceivedNotice {
        place,
        event: EventKind::ContentHandover,
        item_digest: Digest::new([2; 32]),
        recipient: Address { oin, function: Function::SafeHome },
        receipt: wire::Receipt { index: 40 + number, ..Default::default() },
    }))
}

#[test]
fn what_is_kept_is_whole_and_keeping_it_again_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let inbox = Inbox::open(folder.path()).expect("opened");
    let path = inbox.keep(&notice(7)).expect("kept").expect("a notice is kept");
    assert!(path.ends_with("00000007-content-handover"));
    let before = fs::metadata(path.join("header.json")).expect("there").modified().expect("a time");
    assert_eq!(inbox.keep(&notice(7)).expect("kept"), Some(path.clone()));
    assert_eq!(fs::metadata(path.join("header.json")).expect("there").modified().expect("a time"), before);
    let entries = inbox.entries().expect("listed");
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].kind(), entries[0].header["number"].as_u64()), ("notice", Some(7)));
    assert_eq!(entries[0].header["recipient"]["function"], "SAFE_HOME");
}

#[test]
fn what_a_crash_left_aside_is_not_listed_and_not_in_the_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let inbox = Inbox::open(folder.path()).expect("opened");
    let aside = folder.path().join(format!(".00000007-content-handover.{}.partial", std::process::id()));
    fs::create_dir(&aside).expect("made");
    fs::write(aside.join("header.json"), "half").expect("written");
    // A folder without a header is no record either: some other program's.
    fs::create_dir(folder.path().join("notes")).expect("made");
    assert!(inbox.entries().expect("listed").is_empty());
    assert!(inbox.keep(&notice(7)).expect("kept").is_some());
    assert_eq!(inbox.entries().expect("listed").len(), 1);
    assert!(!aside.exists());
}

#[test]
fn a_signal_is_found_by_id_its_beginning_its_digest_or_its_number_and_only_if_it_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let inbox = Inbox::open(folder.path()).expect("opened");
    let put = |number: u64, kind: &str, id: &str, digest: &str| {
        let path = folder.path().join(format!("{number:08}-{id}"));
        fs::create_dir(&path).expect("made");
        let header = json!({"kind": kind, "number": number, "item_id": id, "item_digest": digest,
            "commitment": "03".repeat(32), "suggested_answer": "DELIVERED_READABLE"});
        fs::write(path.join("header.json"), header.to_string()).expect("written");
    };
    put(1, "signal", "0192f0a0-0000-7000-8000-000000000001", &"aa".repeat(32));
    put(2, "signal", "0192f0a0-0001-7000-8000-000000000001", &"ab".repeat(32));
    put(3, "answer", "0192f0a0-0002-7000-8000-000000000001", &"ac".repeat(32));
    assert_eq!(inbox.find("0192f0a0-0001").expect("one").header["number"], 2);
    assert_eq!(inbox.find("1").expect("one").header["number"], 1);
    let entry = inbox.find("abab").expect("one");
    let delivery = entry.delivery().expect("a signal's");
    assert_eq!(delivery.commitment, Digest::new([3; 32]));
    assert_eq!(entry.suggested_answer(), Some(wire::AnswerCode::DeliveredReadable));
    assert!(matches!(inbox.find("0192f0a0"), Err(Error::Usage(_))));
    for none in ["3", "0192f0a0-0002", "ffff", "ab"] {
        assert!(matches!(inbox.find(none), Err(Error::NotFound(_))), "{none}");
    }
}
