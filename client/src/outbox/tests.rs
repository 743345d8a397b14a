//! What waits is whole, in order, and goes when it is answered.

use super::*;

fn waiting(id: &str, sealed: &'static [u8]) -> Waiting {
    let item = wire::SignedItem { payload: Bytes::from_static(b"payload"), ..wire::SignedItem::default() };
    let request =
        wire::SubmitRequest { item: Some(item), sealed_content: Bytes::from_static(sealed), ..Default::default() };
    Waiting { id: ItemId::try_from(id).expect("an id"), request }
}

const FIRST: &str = "0192f0a0-0000-7000-8000-000000000001";
const SECOND: &str = "0192f0a0-0001-7000-8000-000000000001";

#[test]
fn what_waits_comes_back_oldest_first_as_the_same_bytes_until_it_is_removed() {
    let state = tempfile::tempdir().expect("a folder");
    let outbox = Outbox::open(state.path()).expect("opened");
    let (first, second) = (waiting(FIRST, b"one"), waiting(SECOND, b"two"));
    outbox.put(&second).expect("written");
    outbox.put(&first).expect("written");
    let found = Outbox::open(state.path()).expect("opened").waiting().expect("read");
    assert_eq!(found.iter().map(|waiting| waiting.id).collect::<Vec<_>>(), [first.id, second.id]);
    assert_eq!(found[1].request, second.request);
    outbox.remove(&first.id).expect("removed");
    assert_eq!(outbox.waiting().expect("read").len(), 1);
}

#[test]
fn what_was_made_from_a_file_is_found_by_it_until_it_is_removed() {
    let state = tempfile::tempdir().expect("a folder");
    let outbox = Outbox::open(state.path()).expect("opened");
    let (first, second) = (waiting(FIRST, b"one"), waiting(SECOND, b"two"));
    let (file, other) = (Digest::of(b"a file"), Digest::of(b"another"));
    outbox.put(&first).expect("written");
    outbox.put_made_from(&second, &file).expect("written");
    let found = |source| outbox.made_from(source).expect("read").map(|waiting| waiting.id);
    assert_eq!((found(&file), found(&other)), (Some(second.id), None));
    outbox.remove(&second.id).expect("removed");
    assert_eq!(found(&file), None);
    assert_eq!(std::fs::read_dir(state.path().join("outbox")).expect("a folder").count(), 1);
}

#[test]
fn an_id_is_never_written_twice() {
    let state = tempfile::tempdir().expect("a folder");
    let outbox = Outbox::open(state.path()).expect("opened");
    outbox.put(&waiting(FIRST, b"one")).expect("written");
    assert!(outbox.put(&waiting(FIRST, b"other")).is_err());
    assert_eq!(outbox.waiting().expect("read")[0].request.sealed_content.as_ref(), b"one");
}

#[test]
fn what_was_left_aside_by_a_crash_is_not_taken_for_a_submission() {
    let state = tempfile::tempdir().expect("a folder");
    let outbox = Outbox::open(state.path()).expect("opened");
    let torn = state.path().join("outbox").join(format!(".{FIRST}.submission.1-0.partial"));
    std::fs::write(torn, b"half").expect("written");
    assert!(outbox.waiting().expect("read").is_empty());
}
