//! What can be proven afterwards: by a receipt alone, and by an audit of the whole log; and what each leaves open.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use seinpost_client::audit::NotChecked;
use seinpost_client::error::Kind;
use seinpost_client::verify::{Judges, NotProven, Proven, ReceiptFile, verify};
use seinpost_protocol::checkpoint::{Pin, Seen};
use seinpost_protocol::covenant::{Covenant, Trust};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::wire;

use crate::fake::Lie;
use crate::{Stage, audit, send};

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_was_touched_does_not_verify() {
    let (_stage, police, _) = Stage::ready().await;
    let sent = send(&police).await;
    let text = std::fs::read_to_string(&sent.receipt).unwrap();
    let good: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(ReceiptFile::parse(text.as_bytes()).is_ok());
    for field in ["item_id", "item_digest", "covenant_digest", "log_origin", "format"] {
        let mut bad = good.clone();
        bad[field] = serde_json::Value::from("00".repeat(32));
        let read = ReceiptFile::parse(bad.to_string().as_bytes());
        assert!(read.is_err() || police.verify_receipt(&read.unwrap()).is_err(), "{field}");
    }
    let mut file = ReceiptFile::read(&sent.receipt).unwrap();
    let mut salt = file.receipt.salt.to_vec();
    salt[0] ^= 1;
    file.receipt.salt = salt.into();
    assert_eq!(police.verify_receipt(&file).unwrap_err().reason(), Some("COMMITMENT"));
    let mut file = ReceiptFile::read(&sent.receipt).unwrap();
    let mut signature = file.item.signatures[0].sig.to_vec();
    signature[0] ^= 1;
    file.item.signatures[0].sig = signature.into();
    let error = police.verify_receipt(&file).unwrap_err();
    assert!(error.reason().unwrap().starts_with("SIGNATURE"), "{error}");
    let mut file = ReceiptFile::read(&sent.receipt).unwrap();
    file.certificates.clear();
    assert_eq!(police.verify_receipt(&file).unwrap_err().kind(), Kind::NotVerified);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bit_of_a_receipt_file_can_be_turned_and_none_makes_it_a_file_of_another_kind() {
    let (_stage, police, _) = Stage::ready().await;
    let sent = send(&police).await;
    let whole = ReceiptFile::read(&sent.receipt).unwrap();
    let good: serde_json::Value = serde_json::from_slice(&whole.to_bytes()).unwrap();
    let mut holds = 0;
    let mut judge = |place: &str, touched: &serde_json::Value| {
        let read = ReceiptFile::parse(touched.to_string().as_bytes());
        match read.and_then(|file| police.verify_receipt(&file).map(|_| file)) {
            Ok(mut file) => {
                // The envelope's hint which key it was is looked at by nobody.
                file.item.signatures[0].keyid = whole.item.signatures[0].keyid.clone();
                assert_eq!(file, whole, "{place} was turned, and the receipt holds");
                holds += 1;
            }
            Err(error) => assert!(error.kind() == Kind::NotVerified && error.reason().is_some(), "{place}: {error:?}"),
        }
    };
    for field in ["log_origin", "item_id", "item_digest", "covenant_digest"] {
        let text = good[field].as_str().unwrap();
        for at in 0..text.len() {
            let mut touched = good.clone();
            let turned = if &text[at..=at] == "0" { "1" } else { "0" };
            touched[field] = [&text[..at], turned, &text[at + 1..]].concat().into();
            judge(&format!("{field} at {at}"), &touched);
        }
    }
    for pointer in ["/item", "/receipt", "/certificates/0"] {
        let bytes = BASE64.decode(good.pointer(pointer).unwrap().as_str().unwrap()).unwrap();
        // Each byte once, each time another bit of it.
        for at in 0..bytes.len() {
            let mut turned = bytes.clone();
            turned[at] ^= 1 << (at % 8);
            let mut touched = good.clone();
            *touched.pointer_mut(pointer).unwrap() = BASE64.encode(turned).into();
            judge(&format!("{pointer} byte {at}"), &touched);
        }
        let mut touched = good.clone();
        *touched.pointer_mut(pointer).unwrap() = "not base64!".into();
        judge(pointer, &touched);
    }
    assert!(holds <= whole.item.signatures[0].keyid.len(), "{holds}");

    // What is no receipt file is wrong use: nothing is said of anybody's proof.
    let mut other = good.clone();
    other["format"] = "seinpost.receipt.v2".into();
    for bytes in [&other.to_string().into_bytes()[..], b"{}", b"a letter", b""] {
        assert_eq!(ReceiptFile::parse(bytes).unwrap_err().kind(), Kind::Usage);
    }
    assert_eq!(ReceiptFile::read(sent.receipt.parent().unwrap()).unwrap_err().kind(), Kind::Usage);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_verified_with_the_hub_file_alone_and_says_what_that_leaves_open() {
    let (stage, police, _) = Stage::ready().await;
    let sent = send(&police).await;
    let file = ReceiptFile::read(&sent.receipt).unwrap();
    let hub = stage.hub_file();
    let verdict = verify(&file, &Judges { hub: &hub, covenants: &[], lists: &[], pin: None }).unwrap();
    assert!(verdict.proven.iter().any(|proven| matches!(proven, Proven::InLog { index, .. } if *index == sent.index)));
    assert!(
        verdict
            .proven
            .iter()
            .any(|proven| matches!(proven, Proven::Accepted { from, .. } if *from == police.address()))
    );
    assert!(!verdict.proven.iter().any(|proven| matches!(proven, Proven::Entitled { .. })));
    assert!(verdict.not_proven.iter().any(|open| matches!(open, NotProven::Entitled { .. })));
    assert!(verdict.not_proven.contains(&NotProven::SameForAll { pinned_size: None }));
    let pin = Pin { size: sent.index + 2, root: Digest::new([1; 32]) };
    let error = verify(&file, &Judges { hub: &hub, covenants: &[], lists: &[], pin: Some(pin) }).unwrap_err();
    assert_eq!(error.reason(), Some("LOG_FORK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_covenant_retires_counts_for_what_it_signed_before() {
    let (stage, police, _) = Stage::ready().await;
    let early = ReceiptFile::read(&send(&police).await.receipt).unwrap();
    let late = ReceiptFile::read(&send(&police).await.receipt).unwrap();
    let hub = stage.hub_file();
    let size = early.parsed().map(|_| Seen::parse(early.receipt.checkpoint.clone()).unwrap().size()).unwrap();
    let root = *Seen::parse(early.receipt.checkpoint.clone()).unwrap().root();
    let floor = Covenant::verify(stage.world.covenant(), &Trust::Floor(hub.floor())).unwrap();
    let retire = |until_size: u64| {
        let next = stage.world.covenant_after(
            floor.item(),
            |next| {
                let old = &mut next.log_keys[0];
                (old.until_size, old.until_root) = (until_size, root.into());
                let ed25519 = seinpost_certs::key::Key::generate(seinpost_certs::key::KeyKind::Ed25519).unwrap();
                let ed25519 = bytes::Bytes::copy_from_slice(&ed25519.ed25519_public().unwrap());
                next.log_keys.push(wire::LogKey { ed25519, ..Default::default() });
            },
            &[0, 1],
        );
        vec![floor.clone(), Covenant::verify(&next.unwrap(), &Trust::Last(&floor)).unwrap()]
    };
    let judge = |file: &ReceiptFile, covenants: &[Covenant]| {
        verify(file, &Judges { hub: &hub, covenants, lists: &[], pin: None })
    };
    let at_its_end = judge(&early, &retire(size)).unwrap();
    assert!(!at_its_end.not_proven.iter().any(|open| matches!(open, NotProven::RetiredKey { .. })));
    let before_its_end = judge(&early, &retire(size + 100)).unwrap();
    assert!(before_its_end.not_proven.contains(&NotProven::RetiredKey { until_size: size + 100 }));
    assert_eq!(judge(&late, &retire(size)).unwrap_err().reason(), Some("KEY_RETIRED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_by_a_participant_says_what_it_did_not_see_and_accuses_nobody_for_it() {
    let (stage, police, safe_home) = Stage::ready().await;
    send(&police).await;
    stage.hub.lie(Lie::HideOthers);
    let report = audit(&safe_home).await.unwrap();
    assert!(report.holds(), "{:?}", report.faults);
    // The signal's acceptance, for the police, and its consignment of a key statement to itself.
    assert!(report.not_checked.contains(&NotChecked::ForOthers(2)), "{:?}", report.not_checked);
    assert!(report.not_checked.contains(&NotChecked::Content));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_names_every_record_that_is_wrong() {
    let (stage, police, _) = Stage::ready().await;
    send(&police).await;
    {
        // A leaf that opens to nothing, and one whose record names another place: committed to as they are.
        let mut log = stage.hub.log();
        let last = log.leaves.last().unwrap().clone();
        log.leaves.push(last);
    }
    let report = audit(&stage.client("auditor")).await.unwrap();
    assert_eq!(report.faults.iter().map(|fault| fault.reason).collect::<Vec<_>>(), ["INDEX"]);
    assert!(!report.holds());
}
