//! Which question is asked first: of two faults the earlier is named, a known item is asked nothing, and what is kept of
//! a refusal.

use bytes::Bytes;
use prost::Message as _;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::wire;
use seinpost_rpc::audit_service_client::AuditServiceClient;
use seinpost_tests::harness::forge::Open;
use seinpost_tests::harness::raw::reason;
use seinpost_tests::harness::world::now;
use tonic::Code;

use super::{DAY, Scene, flipped, refused, signature, signer};

#[tokio::test(flavor = "multi_thread")]
async fn of_two_faults_the_one_is_named_that_is_asked_first() {
    let scene = Scene::set().await;
    let taken = scene.signal();
    let taken_id = taken.header.signer.as_ref().unwrap().item_id.clone();
    scene.police.send(taken).await.unwrap();

    let mut wrong = Vec::new();
    for (place, first) in Flaw::ALL.into_iter().enumerate() {
        // Alone, to see that each is what it says; then with each of those that are asked later.
        for second in std::iter::once(first).chain(Flaw::ALL.into_iter().skip(place + 1)) {
            // An id that was used just now cannot be of an item of a month ago: its form would be wrong.
            if (first, second) == (Flaw::Age, Flaw::TakenId) {
                continue;
            }
            let mut open = scene.signal();
            first.spoil(&scene, &taken_id, &mut open);
            if second != first {
                second.spoil(&scene, &taken_id, &mut open);
            }
            let mut request = scene.police.submission(open.seal());
            if [first, second].contains(&Flaw::Signature) {
                signature(&mut request).sig = flipped(&signature(&mut request).sig);
            }
            match scene.police.submit(request).await {
                Err(status) if reason(&status) == first.reason() => {}
                other => wrong.push(format!(
                    "{first:?} and {second:?}: {:?}",
                    other.map(|_| "accepted").map_err(|s| s.message().to_owned())
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    scene.hub.end().await;
}

/// Faults, in the order in which the gateway asks; each is wrong in that way alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// Not right by itself.
    Form,
    /// Signed for an address that is not the connection's.
    Peer,
    /// Too old.
    Age,
    /// With a certificate that was never published.
    Certificate,
    /// With a signature that does not verify.
    Signature,
    /// With an id that the signer used before for another item, which is said to who holds the key alone.
    TakenId,
    /// With a checkpoint that the log did not sign.
    Seen,
    /// On a basis that no rule has.
    Rule,
    /// Sealed to a statement that is unknown.
    Decide,
}

impl Flaw {
    const ALL: [Self; 9] = [
        Self::Form,
        Self::Peer,
        Self::Age,
        Self::Certificate,
        Self::Signature,
        Self::TakenId,
        Self::Seen,
        Self::Rule,
        Self::Decide,
    ];

    fn reason(self) -> &'static str {
        match self {
            Self::Form => "MANDATE_UNKNOWN",
            Self::Peer => "SIGNER_NOT_PEER",
            Self::Age => "ITEM_TOO_OLD",
            Self::Certificate => "CERTIFICATE_UNKNOWN",
            Self::Signature => "SIGNATURE",
            Self::TakenId => "ALREADY_EXISTS",
            Self::Seen => "NOTE_SIGNATURE",
            Self::Rule => "BASIS",
            Self::Decide => "KEY_UNKNOWN",
        }
    }

    /// Changes what is signed.
    fn spoil(self, scene: &Scene, taken: &str, open: &mut Open) {
        match self {
            Self::Form => signer(&mut open.header).mandate_digest = Bytes::from_static(&[1; 32]),
            Self::Peer => signer(&mut open.header).address = Some(scene.safe_home.address().into()),
            Self::Age => {
                let at = now() - 31 * DAY;
                let old = scene.police.signer_at(at);
                open.header.conversation = old.item_id.clone();
                let signer = signer(&mut open.header);
                (signer.item_id, signer.signed_at) = (old.item_id, old.signed_at);
                open.header.expires = Some((at + DAY).into());
            }
            Self::Certificate => signer(&mut open.header).certificate_sha256 = Bytes::from_static(&[1; 32]),
            Self::Signature => {}
            Self::TakenId => {
                signer(&mut open.header).item_id = taken.to_owned();
                open.header.conversation = taken.to_owned();
            }
            Self::Seen => {
                let signer = signer(&mut open.header);
                let note = String::from_utf8(signer.seen_checkpoint.to_vec()).unwrap();
                // Another root under the same signature; the size stays, so that it could be ours.
                let mut lines: Vec<String> = note.lines().map(str::to_owned).collect();
                lines[2] = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".to_owned();
                signer.seen_checkpoint = (lines.join("\n") + "\n").into();
            }
            Self::Rule => open.header.recipients[0].legal_basis = "BECAUSE".into(),
            Self::Decide => open.seal_to[0].statement = Digest::new([9; 32]),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_item_earns_its_receipt_again_whatever_changed_since() {
    let scene = Scene::set().await;
    let request = scene.police.submission(scene.signal().seal());
    let first = scene.police.submit(request.clone()).await.unwrap().receipt.unwrap();
    // The key that it was sealed to is withdrawn, so that as a new item it would be refused.
    scene.safe_home.withdraw_key().await.unwrap();
    let status = scene.police.send(scene.signal()).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "KEY_WITHDRAWN");
    // What is bad beside it, and even its signature, is not asked again: it is the item that is known.
    let mut spoilt = request.clone();
    signature(&mut spoilt).sig = flipped(&signature(&mut spoilt).sig);
    spoilt.sealed_content.clear();
    for request in [request, spoilt] {
        let again = scene.police.submit(request).await.unwrap().receipt.unwrap();
        assert_eq!((again.index, &again.commitment, &again.record), (first.index, &first.commitment, &first.record));
    }
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_refuses_is_recorded_for_the_refused_alone_and_what_is_badly_formed_is_not() {
    let scene = Scene::set().await;
    let records = async || {
        let mut audit = AuditServiceClient::new(scene.police.channel.clone());
        let mut stream = audit.list_records(wire::ListRecordsRequest { from: 0, to: 0 }).await.unwrap().into_inner();
        let mut events = Vec::new();
        while let Some(row) = stream.message().await.unwrap() {
            if !row.record.is_empty() {
                let record = wire::Record::decode(row.record).unwrap();
                if let Some(wire::record::Event::SubmissionRejection(rejection)) = record.event {
                    events.push((record.audience.unwrap(), rejection.reason));
                }
            }
        }
        events
    };
    refused(&scene.changed(|header| header.r#type = 99).await, Code::InvalidArgument, "ENUM");
    assert_eq!(records().await, []);
    refused(
        &scene.changed(|header| header.recipients[0].legal_basis = "BECAUSE".into()).await,
        Code::FailedPrecondition,
        "BASIS",
    );
    let own = wire::Audience { of: Some(wire::audience::Of::Address(scene.police.client.address().into())) };
    assert_eq!(records().await, [(own, "BASIS".to_owned())]);
    scene.hub.end().await;
}
