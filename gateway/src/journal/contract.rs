//! What every journal promises, asked of each implementation, through its trait alone.

#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use super::Journal;
use super::faulty::{Faulty, Outcome};
use crate::commit::{Commit, Durable};
use crate::fault::Fault;
use crate::samples::Hub;

/// Asks everything of a kind of journal. `fresh` makes an empty disk and returns what opens the journal on it, again and
/// again; a journal that is open holds its disk, so each is dropped before the next is opened.
pub(super) fn check<J: Journal, Open: Fn() -> J>(fresh: impl Fn() -> Open) {
    what_was_appended_is_read_again_in_order(fresh());
    replay_begins_at_the_commit_that_holds_the_record(fresh());
    a_commit_that_does_not_begin_where_the_log_ends_is_refused_and_the_journal_goes_on(fresh());
    a_commit_that_no_frame_holds_is_refused_and_the_journal_goes_on(fresh());
    blobs_are_read_by_their_positions_from_any_thread(fresh());
    for outcome in [Outcome::Lost, Outcome::Kept] {
        after_a_failed_append_nothing_is_taken_and_opening_tells(fresh(), outcome);
    }
}

fn what_was_appended_is_read_again_in_order<J: Journal>(open: impl Fn() -> J) {
    let mut hub = Hub::default();
    let mut commits = Vec::new();
    for count in [1, 3, 1, 7] {
        let mut journal = open();
        assert_eq!(journal.size(), size(&commits));
        for commit in [hub.signals(count), hub.names(), hub.signal_of(count * 1000)] {
            journal.prepare().unwrap();
            let durable = journal.append(commit.clone()).unwrap();
            assert_eq!(*durable, commit);
            commits.push(commit);
            assert_eq!(journal.size(), size(&commits));
            assert_replays(&journal, &commits);
        }
    }
    assert_replays(&open(), &commits);
}

fn replay_begins_at_the_commit_that_holds_the_record<J: Journal>(open: impl Fn() -> J) {
    let mut hub = Hub::default();
    let commits: Vec<_> = (0..12).map(|_| hub.signals(2)).collect();
    let mut journal = open();
    commits.iter().for_each(|commit| drop(journal.append(commit.clone()).unwrap()));
    for from in 0..journal.size() + 3 {
        let replayed: Vec<Commit> = journal.replay(from).map(|durable| (*durable.unwrap()).clone()).collect();
        let expected: Vec<Commit> = commits.iter().filter(|commit| commit.size() > from).cloned().collect();
        assert_eq!(replayed, expected, "from {from}");
    }
}

fn a_commit_that_does_not_begin_where_the_log_ends_is_refused_and_the_journal_goes_on<J: Journal>(
    open: impl Fn() -> J,
) {
    let mut hub = Hub::default();
    let mut journal = open();
    let (first, second, third) = (hub.signals(1), hub.signals(1), hub.signals(1));
    journal.append(first.clone()).unwrap();
    for wrong in [&first, &third] {
        let refused = journal.append(wrong.clone());
        assert!(matches!(refused, Err(Fault::Moved { size, base }) if size == first.size() && base == wrong.base));
    }
    journal.append(second.clone()).unwrap();
    assert_replays(&journal, &[first, second]);
}

fn a_commit_that_no_frame_holds_is_refused_and_the_journal_goes_on<J: Journal>(open: impl Fn() -> J) {
    let mut hub = Hub::default();
    let mut journal = open();
    let right = hub.signals(1);
    let spoilt = |spoil: fn(&mut Commit)| {
        let mut commit = right.clone();
        spoil(&mut commit);
        commit
    };
    for wrong in [
        spoilt(|commit| commit.entries.clear()),
        spoilt(|commit| commit.entries[0].record = vec![1; 64 * 1024].into()),
        spoilt(|commit| commit.entries[0].erased_by = 1),
        spoilt(|commit| commit.blobs[0].entry = 99),
        spoilt(|commit| commit.blobs[0].bytes = vec![1; 17 << 20].into()),
        spoilt(|commit| commit.checkpoint = vec![b'x'; 65 * 1024].into()),
    ] {
        assert!(matches!(journal.append(wrong), Err(Fault::Broken(_))));
    }
    journal.append(right.clone()).unwrap();
    drop(journal);
    assert_replays(&open(), &[right]);
}

fn blobs_are_read_by_their_positions_from_any_thread<J: Journal>(open: impl Fn() -> J) {
    let mut hub = Hub::default();
    let mut journal = open();
    let mut durables: Vec<Durable> = Vec::new();
    for bytes in [0, 1, 511, 4096, 9000] {
        durables.push(journal.append(hub.signal_of(bytes)).unwrap());
        durables.push(journal.append(hub.names()).unwrap());
    }
    let reader = journal.reader();
    std::thread::scope(|scope| {
        for durable in &durables {
            let reader = reader.clone();
            scope.spawn(move || assert_reads(&reader, durable));
        }
    });
    drop(journal);
    let journal = open();
    let replayed: Vec<Durable> = journal.replay(0).map(Result::unwrap).collect();
    replayed.iter().for_each(|durable| assert_reads(&journal.reader(), durable));
}

fn after_a_failed_append_nothing_is_taken_and_opening_tells<J: Journal>(open: impl Fn() -> J, outcome: Outcome) {
    let mut hub = Hub::default();
    let mut commits = vec![hub.signals(2), hub.names()];
    let mut journal = Faulty::new(open(), 2, outcome);
    commits.iter().for_each(|commit| drop(journal.append(commit.clone()).unwrap()));
    let failing = hub.signals(3);
    assert!(matches!(journal.append(failing.clone()), Err(Fault::Disk { .. })));
    assert!(matches!(journal.append(failing.clone()), Err(Fault::Stopped)));
    assert!(matches!(journal.prepare(), Err(Fault::Stopped)));
    drop(journal);
    let mut journal = open();
    match outcome {
        Outcome::Lost => assert_replays(&journal, &commits),
        Outcome::Kept => {
            commits.push(failing);
            assert_replays(&journal, &commits);
        }
    }
    // It goes on from whatever was kept; the hub's next commit fits only behind the failed one.
    let next = hub.signals(1);
    assert_eq!(journal.append(next).is_ok(), outcome == Outcome::Kept);
}

fn assert_reads(reader: &super::BlobReader, durable: &Durable) {
    for (number, blob) in durable.blobs.iter().enumerate() {
        assert_eq!(reader.read(&durable.position(number)).unwrap(), blob.bytes);
    }
}

pub(super) fn assert_replays(journal: &impl Journal, commits: &[Commit]) {
    let replayed: Vec<Commit> = journal.replay(0).map(|durable| (*durable.unwrap()).clone()).collect();
    assert_eq!(replayed, commits);
    assert_eq!(journal.size(), size(commits));
}

fn size(commits: &[Commit]) -> u64 {
    commits.last().map_or(0, Commit::size)
}
