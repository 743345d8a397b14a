//! The journal's two implementations against its contract, and the file against what disks do.

#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bytes::Bytes;
use tempfile::TempDir;

use super::contract::{self, assert_replays};
use super::disk::{Disk, Gate};
use super::faulty::Outcome;
use super::frame::{self, Frame, SECTOR};
use super::{FileJournal, Journal, MemoryJournal, Options};
use crate::commit::{Blob, BlobKind, Commit, Entry, Position};
use crate::fault::Fault;
use crate::head::Head;
use crate::samples::{Hub, ORIGIN};

/// Small enough that a test of some commits fills several, large enough for each commit of the contract.
const SEGMENT_BYTES: u64 = 32 * 1024;

fn options() -> Options {
    Options { origin: ORIGIN.to_owned(), segment_bytes: SEGMENT_BYTES }
}

fn open(data: &Path) -> Result<FileJournal, Fault> {
    FileJournal::open(data, options(), None)
}

fn segment(data: &Path, number: u64) -> PathBuf {
    data.join(format!("journal/{number:08}.segment"))
}

/// A closed journal of some commits, all in its first segment.
fn written(count: usize) -> (TempDir, Hub, Vec<Commit>) {
    let data = tempfile::tempdir().unwrap();
    let mut hub = Hub::default();
    let mut journal = open(data.path()).unwrap();
    let commits: Vec<_> = (0..count).map(|_| hub.signals(1)).collect();
    commits.iter().for_each(|commit| drop(journal.append(commit.clone()).unwrap()));
    drop(journal);
    assert!(!segment(data.path(), 1).exists());
    (data, hub, commits)
}

/// Where the frames of commits begin that were written one after another from a segment's start, and where the last ends.
fn frames(commits: &[Commit]) -> (Vec<usize>, usize) {
    let mut at = SECTOR;
    let mut end = at;
    let mut buffer = Vec::new();
    let starts = commits.iter().map(|commit| {
        let start = at;
        end = start + frame::encode(commit, &mut buffer).unwrap().0;
        at += buffer.len();
        start
    });
    (starts.collect(), end)
}

#[test]
fn a_journal_in_memory_keeps_the_contract() {
    contract::check(|| {
        let disk = MemoryJournal::new();
        move || disk.clone()
    });
}

#[test]
fn a_journal_in_files_keeps_the_contract() {
    contract::check(|| {
        let data = tempfile::tempdir().unwrap();
        move || open(data.path()).unwrap()
    });
}

#[test]
fn a_frame_is_written_as_its_format_says() {
    let checkpoint = "o\n5\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u{2014} o AAAAAAE=\n";
    let mut erased = Entry::new(Bytes::new(), [0; 32], seinpost_protocol::digest::Digest::new([0xbb; 32]));
    erased.erased_by = 7;
    let commit = Commit {
        base: 3,
        time: seinpost_protocol::time::Timestamp::from_millis(0x0190_0000_0000).unwrap(),
        entries: vec![
            Entry::new(Bytes::from_static(b"rec"), [0x5a; 32], seinpost_protocol::digest::Digest::new([0xaa; 32])),
            erased,
        ],
        blobs: vec![Blob::new(0, BlobKind::SealedContent, Bytes::from_static(b"123456789"))],
        checkpoint: Bytes::from_static(checkpoint.as_bytes()),
        root: seinpost_protocol::digest::Digest::new([0; 32]),
    };
    let expected = [
        "000000f6",                              // length
        "01",                                    // type: commit
        "0000000000000003",                      // base
        "00000002",                              // two records
        "0000019000000000",                      // time
        &"aa".repeat(32),                        // commitments
        &"bb".repeat(32),                        //
        "0007",                                  // the second is erased by rule 7
        "00000002",                              // records
        "00000003726563",                        //
        "00000000",                              //
        "00000002",                              // salts
        &format!("00000020{}", "5a".repeat(32)), //
        "00000000",                              //
        "00000001",                              // blobs
        "00000009",                              // nine bytes
        "00000000",                              // of the first record
        "02",                                    // sealed content
        "00",                                    // not erased
        "e3069283",                              // the check value of CRC32C
        "313233343536373839",                    //
        "00000041",                              // checkpoint
        &hex::encode(checkpoint),                //
    ]
    .concat();
    let mut bytes = Vec::new();
    let (length, offsets) = frame::encode(&commit, &mut bytes).unwrap();
    let (frame, padding) = bytes.split_at(length);
    let (covered, crc) = frame.split_at(length - 4);
    assert_eq!(hex::encode(covered), expected);
    assert_eq!(crc, crc32c::crc32c(&covered[4..]).to_be_bytes());
    assert!(bytes.len() % SECTOR == 0 && padding.len() < SECTOR && padding.iter().all(|&byte| byte == 0));
    assert_eq!(&frame[offsets[0] as usize..][..9], b"123456789");
    let read = frame::decode(&Bytes::copy_from_slice(frame)).unwrap();
    assert_eq!(read, Frame { commit, blob_offsets: offsets, length });
}

#[test]
fn no_changed_byte_of_a_frame_goes_unnoticed() {
    let mut bytes = Vec::new();
    let (length, _) = frame::encode(&Hub::default().signals(1), &mut bytes).unwrap();
    bytes.truncate(length);
    for at in 0..length {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1 << (at % 8);
        assert!(frame::decode(&wrong.into()).is_err(), "byte {at}");
        assert!(frame::decode(&Bytes::copy_from_slice(&bytes[..at])).is_err(), "cut at {at}");
    }
}

#[test]
fn a_frame_that_lies_is_refused_and_never_panics() {
    let mut bytes = Vec::new();
    let (length, _) = frame::encode(&Hub::default().signals(1), &mut bytes).unwrap();
    bytes.truncate(length);
    // Each number in turn is made huge and the CRC made right: what a reader believes must still be bounded.
    for at in 4..length - 8 {
        let mut wrong = bytes.clone();
        wrong[at..at + 4].copy_from_slice(&[0xff; 4]);
        let crc = crc32c::crc32c(&wrong[4..length - 4]);
        wrong[length - 4..].copy_from_slice(&crc.to_be_bytes());
        if let Ok(frame) = frame::decode(&wrong.into()) {
            assert_eq!(frame.commit.entries.len(), 3, "only contents may differ");
        }
    }
}

#[test]
fn a_journal_fills_segment_after_segment() {
    let data = tempfile::tempdir().unwrap();
    let mut hub = Hub::default();
    let mut journal = open(data.path()).unwrap();
    let mut commits = Vec::new();
    for bytes in (0..40).map(|number| number * 500) {
        let commit = hub.signal_of(bytes);
        journal.prepare().unwrap();
        journal.append(commit.clone()).unwrap();
        commits.push(commit);
    }
    assert_replays(&journal, &commits);
    drop(journal);
    let segments = (0..).take_while(|&number| segment(data.path(), number).exists()).count();
    assert!(segments > 10, "{segments} segments");
    for number in 0..segments as u64 {
        assert_eq!(fs::metadata(segment(data.path(), number)).unwrap().len(), SEGMENT_BYTES);
    }
    let journal = open(data.path()).unwrap();
    assert_replays(&journal, &commits);
    let late: Vec<_> = journal.replay(commits[35].base).map(|durable| durable.unwrap().base).collect();
    assert_eq!(late, commits[35..].iter().map(|commit| commit.base).collect::<Vec<_>>());
}

#[test]
fn a_commit_larger_than_a_segment_is_refused_and_the_journal_goes_on() {
    let (data, mut hub, mut commits) = written(1);
    let mut journal = open(data.path()).unwrap();
    let large = hub.clone().signal_of(SEGMENT_BYTES as usize);
    assert!(matches!(journal.append(large), Err(Fault::Broken(_))));
    commits.push(hub.signals(1));
    journal.append(commits[1].clone()).unwrap();
    assert_replays(&journal, &commits);
}

#[test]
fn the_last_frame_torn_at_any_byte_is_wiped_and_the_journal_goes_on() {
    let (data, _, commits) = written(3);
    let path = segment(data.path(), 0);
    let whole = fs::read(&path).unwrap();
    let (starts, end) = frames(&commits);
    let last = starts[2];
    for cut in last..end {
        let mut torn = whole.clone();
        torn[cut..end].fill(0);
        fs::write(&path, &torn).unwrap();
        let mut journal = open(data.path()).unwrap_or_else(|fault| panic!("cut at {cut}: {fault}"));
        assert_eq!(journal.torn().is_some(), torn[last..].iter().any(|&byte| byte != 0), "cut at {cut}");
        assert_eq!(journal.size(), commits[1].size());
        if cut % 16 == 0 {
            // What stood there would have been the third commit; another one takes its place.
            let other = hub_after(2).names();
            journal.append(other.clone()).unwrap();
            drop(journal);
            assert_replays(&open(data.path()).unwrap(), &[&commits[..2], &[other]].concat());
        }
    }
}

fn hub_after(signals: usize) -> Hub {
    let mut hub = Hub::default();
    (0..signals).for_each(|_| drop(hub.signals(1)));
    hub
}

#[test]
fn a_last_frame_of_which_any_sectors_are_missing_is_wiped() {
    let data = tempfile::tempdir().unwrap();
    let mut hub = Hub::default();
    let commits = [hub.signals(1), hub.signal_of(3000)];
    let mut journal = open(data.path()).unwrap();
    commits.iter().for_each(|commit| drop(journal.append(commit.clone()).unwrap()));
    drop(journal);
    let path = segment(data.path(), 0);
    let whole = fs::read(&path).unwrap();
    let (starts, end) = frames(&commits);
    let sectors = (end - starts[1]).div_ceil(SECTOR);
    assert!(sectors >= 8);
    // Disks write sectors in any order: whatever set of them is missing, what was acknowledged before stays.
    for missing in 1_u32..1 << sectors {
        let mut torn = whole.clone();
        for sector in (0..sectors).filter(|sector| missing & (1 << sector) != 0) {
            torn[starts[1] + sector * SECTOR..][..SECTOR].fill(0);
        }
        let tail = frame::judge_tail(&torn[starts[1]..], commits[0].size());
        match tail {
            frame::Tail::Torn(bytes) => assert!(bytes <= end - starts[1]),
            frame::Tail::Clean => assert_eq!(missing, (1 << sectors) - 1),
            frame::Tail::Damaged(what) => panic!("{missing:b}: {what}"),
        }
    }
    fs::write(&path, &whole[..starts[1] + SECTOR]).unwrap();
    let journal = open(data.path()).unwrap();
    assert_replays(&journal, &commits[..1]);
    assert_eq!(journal.torn().unwrap().offset, starts[1] as u64);
}

#[test]
fn garbage_of_one_write_behind_the_last_frame_is_wiped() {
    let (data, _, commits) = written(2);
    let path = segment(data.path(), 0);
    let whole = fs::read(&path).unwrap();
    let (starts, end) = frames(&commits);
    let next = end.next_multiple_of(SECTOR);
    let half = whole[starts[1]..end - 40].to_vec();
    for (at, garbage) in [
        (next, half.clone()),
        (next, vec![0xa5; 1000]),
        (next + SECTOR, vec![0xa5; 10]),
        (next, vec![0, 0, 0, 0, 1]),
        // From the very byte behind the frame: what falls into its padding harms nobody.
        (end, half),
        (end, vec![0x5a; 700]),
    ] {
        let mut bytes = whole.clone();
        bytes[at..at + garbage.len()].copy_from_slice(&garbage);
        fs::write(&path, &bytes).unwrap();
        let mut journal = open(data.path()).unwrap();
        assert_replays(&journal, &commits);
        assert!(journal.torn().is_some());
        let next = hub_after(2).signals(1);
        journal.append(next.clone()).unwrap();
        drop(journal);
        assert_replays(&open(data.path()).unwrap(), &[&commits[..], &[next]].concat());
    }
}

#[test]
fn a_flipped_bit_in_any_frame_but_the_torn_one_is_damage_that_names_file_and_offset() {
    let (data, _, commits) = written(3);
    let path = segment(data.path(), 0);
    let whole = fs::read(&path).unwrap();
    let (starts, end) = frames(&commits);
    for (number, &start) in starts.iter().enumerate() {
        let frame_end = starts.get(number + 1).copied().unwrap_or(end);
        for at in (start..frame_end).step_by(7) {
            let in_padding = number < 2 && whole[at..frame_end].iter().all(|&byte| byte == 0);
            if in_padding {
                continue;
            }
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            fs::write(&path, &flipped).unwrap();
            match open(data.path()) {
                Err(Fault::Damage { path: named, offset, .. }) => {
                    assert_eq!((named, offset), (path.clone(), start as u64))
                }
                // In the last frame alone, a changed length cannot be told from a torn one. The head file tells.
                Ok(journal) if number == 2 && at < start + 4 => assert_eq!(journal.size(), commits[1].size()),
                other => panic!("flipped at {at}: {other:?}"),
            }
        }
    }
    fs::write(&path, &whole).unwrap();
    assert_replays(&open(data.path()).unwrap(), &commits);
}

#[test]
fn damage_in_an_earlier_segment_is_found_when_it_is_read() {
    let data = tempfile::tempdir().unwrap();
    let mut hub = Hub::default();
    let mut journal = open(data.path()).unwrap();
    let commits: Vec<_> = (0..6).map(|_| hub.signal_of(9000)).collect();
    let durables: Vec<_> = commits.iter().map(|commit| journal.append(commit.clone()).unwrap()).collect();
    drop(journal);
    let position = durables[1].position(1);
    assert_eq!(position.segment, 0);
    let path = segment(data.path(), 0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[position.offset as usize + 100] ^= 1;
    fs::write(&path, &bytes).unwrap();

    let journal = open(data.path()).unwrap();
    let mut replay = journal.replay(0);
    assert_eq!(*replay.next().unwrap().unwrap(), commits[0]);
    assert!(matches!(replay.next(), Some(Err(Fault::Damage { path: named, .. })) if named == path));
    assert!(replay.next().is_none(), "a fault ends the replay");
    let read = |position: &Position| journal.reader().read(position);
    assert!(matches!(read(&position), Err(Fault::Damage { path: named, .. }) if named == path));
    assert_eq!(read(&durables[1].position(0)).unwrap(), commits[1].blobs[0].bytes);
    let nowhere = Position { offset: position.offset + 8, ..position };
    assert!(matches!(read(&nowhere), Err(Fault::Damage { .. })));
    assert!(read(&Position { offset: SEGMENT_BYTES, ..position }).is_err());
    assert!(read(&Position { length: u32::MAX, ..position }).is_err());
}

#[test]
fn a_missing_segment_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let mut hub = Hub::default();
    let mut journal = open(data.path()).unwrap();
    (0..12).for_each(|_| drop(journal.append(hub.signal_of(9000)).unwrap()));
    drop(journal);
    assert!(segment(data.path(), 2).exists());
    let aside = data.path().join("aside");
    fs::rename(segment(data.path(), 1), &aside).unwrap();
    assert!(matches!(open(data.path()), Err(Fault::Disk { path, .. }) if path == segment(data.path(), 1)));
    // Another segment under its name is noticed too.
    fs::copy(segment(data.path(), 2), segment(data.path(), 1)).unwrap();
    assert!(matches!(open(data.path()), Err(Fault::Damage { offset: 0, .. })));
}

#[test]
fn a_journal_shorter_than_the_head_says_is_refused_naming_both_sizes_and_nothing_is_wiped() {
    let (data, _, commits) = written(3);
    let path = segment(data.path(), 0);
    let head = |commit: &Commit| Head { size: commit.size(), root: commit.root, checkpoint: commit.checkpoint.clone() };
    let mut bytes = fs::read(&path).unwrap();
    let (_, end) = frames(&commits);
    bytes[end - 30..end].fill(0);
    fs::write(&path, &bytes).unwrap();
    let opened = FileJournal::open(data.path(), options(), Some(&head(&commits[2])));
    let text = opened.unwrap_err().to_string();
    assert!(text.contains("6 records") && text.contains("9 before"), "{text}");
    assert_eq!(fs::read(&path).unwrap(), bytes, "the evidence stays");
    assert_eq!(FileJournal::open(data.path(), options(), Some(&head(&commits[1]))).unwrap().size(), 6);

    let empty = tempfile::tempdir().unwrap();
    let opened = FileJournal::open(empty.path(), options(), Some(&head(&commits[2])));
    assert!(matches!(opened, Err(Fault::Shorter { journal: 0, head: 9 })));
}

#[test]
fn the_journal_of_another_log_is_refused() {
    let (data, ..) = written(1);
    let foreign = Options { origin: "another.example/hub".to_owned(), ..options() };
    let opened = FileJournal::open(data.path(), foreign, None);
    assert!(matches!(opened, Err(Fault::Foreign { found, .. }) if found == ORIGIN));
}

#[test]
fn a_data_folder_is_held_by_one_journal_at_a_time() {
    let data = tempfile::tempdir().unwrap();
    let journal = open(data.path()).unwrap();
    assert!(matches!(open(data.path()), Err(Fault::InUse(_))));
    drop(journal);
    open(data.path()).unwrap();
}

#[test]
fn a_left_over_next_segment_is_made_of_zeros_again() {
    let data = tempfile::tempdir().unwrap();
    let next = data.path().join("next");
    for garbage in [vec![7; SEGMENT_BYTES as usize], vec![7; 100], vec![7; 2 * SEGMENT_BYTES as usize]] {
        fs::write(&next, garbage).unwrap();
        let file = super::segment::fill(&Disk::default(), &next, SEGMENT_BYTES, &AtomicBool::new(false)).unwrap();
        assert_eq!(file.metadata().unwrap().len(), SEGMENT_BYTES);
        assert!(fs::read(&next).unwrap().iter().all(|&byte| byte == 0));
    }
}

#[test]
fn opening_makes_durable_what_it_found_or_fails_and_harms_nothing() {
    let (data, _, commits) = written(3);
    let path = segment(data.path(), 0);
    let whole = fs::read(&path).unwrap();
    let (starts, end) = frames(&commits);
    let mut torn = whole.clone();
    torn[end - 9..end].fill(0);
    for (bytes, commits) in [(&whole, &commits[..]), (&torn, &commits[..2])] {
        for outcome in [Outcome::Lost, Outcome::Kept] {
            let mut opened = false;
            let mut failed = 0;
            for deed in 0_i64..100 {
                fs::write(&path, bytes).unwrap();
                let gate = Arc::new(Gate { left: AtomicI64::new(deed), outcome, error: ErrorKind::Other });
                opened = FileJournal::open_on(Disk { gate: Some(gate) }, data.path(), options(), None).is_ok();
                assert_replays(&open(data.path()).unwrap(), commits);
                if opened {
                    break;
                }
                failed += 1;
            }
            // At least: the last frame written again, it synced, the folder synced; and the same for what was wiped.
            assert!(opened && failed >= 8, "{failed}");
        }
    }
    assert_eq!(fs::read(&path).unwrap()[..starts[2]], whole[..starts[2]]);
}

/// Writes until a deed fails, with each deed of the whole run failing in turn; what was acknowledged must be there again, in
/// order, and at most the one commit more that was not answered.
fn every_deed_fails_once(outcome: Outcome, error: ErrorKind) {
    let mut finished = false;
    for deed in 0_i64.. {
        let data = tempfile::tempdir().unwrap();
        let gate = Arc::new(Gate { left: AtomicI64::new(deed), outcome, error });
        let disk = Disk { gate: Some(gate) };
        let mut hub = Hub::default();
        let mut acknowledged = Vec::new();
        let mut unanswered = None;
        let mut full = false;
        if let Ok(mut journal) = FileJournal::open_on(disk, data.path(), options(), None) {
            for number in 0..12 {
                let commit = hub.signal_of(number % 3 * 4000);
                match journal.append(commit.clone()) {
                    Ok(durable) => acknowledged.push((*durable).clone()),
                    Err(fault) => {
                        full = matches!(fault, Fault::Full { .. });
                        unanswered = Some(commit);
                        break;
                    }
                }
            }
            if let Some(commit) = &unanswered {
                // From now on each deed fails: nothing may be acknowledged any more.
                assert!(journal.append(commit.clone()).is_err());
            }
        }
        let journal = open(data.path()).unwrap_or_else(|fault| panic!("deed {deed} {outcome:?}: {fault}"));
        let replayed: Vec<Commit> = journal.replay(0).map(|durable| (*durable.unwrap()).clone()).collect();
        let (kept, more) = replayed.split_at(acknowledged.len());
        assert_eq!(kept, acknowledged, "deed {deed} {outcome:?}");
        assert!(more.is_empty() || (more == unanswered.as_slice() && !full), "deed {deed} {outcome:?}");
        if unanswered.is_none() && acknowledged.len() == 12 {
            finished = true;
            break;
        }
    }
    assert!(finished);
}

#[test]
fn whatever_fails_and_is_lost_nothing_acknowledged_is() {
    every_deed_fails_once(Outcome::Lost, ErrorKind::Other);
}

#[test]
fn whatever_fails_and_is_kept_nothing_acknowledged_is_lost() {
    every_deed_fails_once(Outcome::Kept, ErrorKind::Other);
}

#[test]
fn a_full_disk_is_told_before_a_batch_is_decided_and_the_journal_goes_on_when_there_is_room() {
    every_deed_fails_once(Outcome::Lost, ErrorKind::StorageFull);

    let data = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate { left: AtomicI64::new(i64::MAX), outcome: Outcome::Lost, error: ErrorKind::StorageFull });
    let mut journal = FileJournal::open_on(Disk { gate: Some(gate.clone()) }, data.path(), options(), None).unwrap();
    let mut hub = Hub::default();
    journal.append(hub.signals(1)).unwrap();
    gate.left.store(0, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(matches!(journal.prepare(), Err(Fault::Full { .. })));
    }
    gate.left.store(i64::MAX, Ordering::SeqCst);
    journal.prepare().unwrap();
    (0..20).for_each(|_| {
        journal.prepare().unwrap();
        journal.append(hub.signals(2)).unwrap();
    });
    let size = journal.size();
    drop(journal);
    assert_eq!(open(data.path()).unwrap().size(), size);
}

#[test]
fn below_the_floor_of_free_space_nothing_is_taken_and_what_is_there_can_be_read() {
    let (data, mut hub, commits) = written(2);
    let mut journal = open(data.path()).unwrap().with_floor(u64::MAX);
    assert!(matches!(journal.prepare(), Err(Fault::Full { .. })));
    assert_replays(&journal, &commits);
    let mut journal = journal.with_floor(1);
    journal.prepare().unwrap();
    journal.append(hub.signals(1)).unwrap();
}

#[test]
fn no_bytes_make_a_reader_panic() {
    use proptest::prelude::*;

    let mut frame = Vec::new();
    frame::encode(&Hub::default().signals(1), &mut frame).unwrap();
    let changes = prop::collection::vec((0..frame.len(), any::<u8>()), 0..6);
    proptest!(|(garbage in prop::collection::vec(any::<u8>(), 0..3000), changes in changes, size in any::<u64>())| {
        let _ = frame::decode(&Bytes::from(garbage.clone()));
        let _ = frame::judge_tail(&garbage, size);
        let mut changed = frame.clone();
        changes.iter().for_each(|(at, byte)| changed[*at] = *byte);
        let _ = frame::judge_tail(&changed, size);
        if let Some(header) = garbage.first_chunk::<SECTOR>() {
            prop_assert!(frame::Header::decode(header).is_err());
        }
    });
}

#[test]
fn random_commits_survive_random_cuts() {
    use proptest::prelude::*;

    proptest!(ProptestConfig::with_cases(32), |(sizes in prop::collection::vec(0_usize..6000, 1..8), keep in 0.0_f64..1.0)| {
        let data = tempfile::tempdir().unwrap();
        let mut hub = Hub::default();
        let mut journal = FileJournal::open(data.path(), Options { segment_bytes: 128 * 1024, ..options() }, None).unwrap();
        let commits: Vec<_> = sizes.iter().map(|&bytes| hub.signal_of(bytes)).collect();
        commits.iter().for_each(|commit| drop(journal.append(commit.clone()).unwrap()));
        drop(journal);
        let path = segment(data.path(), 0);
        let mut bytes = fs::read(&path).unwrap();
        let (starts, end) = frames(&commits);
        let cut = SECTOR + ((end - SECTOR) as f64 * keep) as usize;
        bytes[cut..].fill(0);
        fs::write(&path, bytes).unwrap();
        let whole = starts.iter().skip(1).chain([&end]).filter(|&&next| next <= cut.next_multiple_of(SECTOR)).count();
        let journal = open(data.path()).unwrap();
        let replayed: Vec<Commit> = journal.replay(0).map(|durable| (*durable.unwrap()).clone()).collect();
        // A cut in the padding loses nothing; one in the frame's last bytes, if they are zeros, neither.
        prop_assert!(replayed.len() + 1 >= whole && replayed.len() <= whole, "{} of {whole}", replayed.len());
        prop_assert_eq!(&replayed[..], &commits[..replayed.len()]);
    });
}
