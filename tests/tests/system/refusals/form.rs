//! What is not right by itself: a field, the bytes around it, or what travels beside it; named by its path.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use seinpost_protocol::item::ItemType;
use seinpost_protocol::wire;
use seinpost_tests::harness::forge::item_id;
use seinpost_tests::harness::raw::{self, fields, reason};
use seinpost_tests::harness::world::now;
use tonic::Code;

use super::{DAY, Scene, flipped, refused, signature, signer};

#[tokio::test(flavor = "multi_thread")]
async fn each_field_of_a_header_that_is_wrong_is_refused_by_its_path() {
    let scene = Scene::set().await;
    type Change = fn(&mut wire::SignalHeader);
    let cases: &[(&str, Change, &str, &str)] = &[
        ("another log", |h| signer(h).log_origin = "seinpost.test/other".into(), "LOG_ORIGIN", "signer.log_origin"),
        ("an id that is none", |h| signer(h).item_id = "1".into(), "ITEM_ID", "signer.item_id"),
        ("an upper-case id", |h| signer(h).item_id.make_ascii_uppercase(), "ITEM_ID", "signer.item_id"),
        (
            "an id of another day",
            |h| signer(h).item_id = item_id(now() - 2 * DAY).to_string(),
            "ITEM_ID_TIME",
            "signer.item_id",
        ),
        (
            "a mandate",
            |h| signer(h).mandate_digest = Bytes::from_static(&[1; 32]),
            "MANDATE_UNKNOWN",
            "signer.on_behalf_of",
        ),
        ("no checkpoint", |h| signer(h).seen_checkpoint = Bytes::new(), "MISSING", "signer.seen_checkpoint"),
        (
            "a short digest",
            |h| signer(h).covenant_digest = Bytes::from_static(&[1; 31]),
            "LENGTH",
            "signer.covenant_digest",
        ),
        ("an unknown type", |h| h.r#type = 99, "ENUM", "type"),
        ("no type", |h| h.r#type = 0, "ENUM", "type"),
        ("an unknown purpose", |h| h.purpose = 77, "ENUM", "purpose"),
        ("no recipient", |h| h.recipients.clear(), "RECIPIENT_COUNT", "recipients"),
        ("a recipient twice", |h| h.recipients.push(h.recipients[0].clone()), "RECIPIENT_TWICE", "recipients"),
        (
            "a municipality of three digits",
            |h| h.recipients[0].municipality = "363".into(),
            "MUNICIPALITY",
            "recipients.municipality",
        ),
        (
            "a name for a number",
            |h| h.recipients[0].basis_reference = "Jan".into(),
            "BASIS_REFERENCE",
            "recipients.basis_reference",
        ),
        (
            "a BSN for a number",
            |h| h.recipients[0].basis_reference = "9999.90-482".into(),
            "BASIS_REFERENCE_BSN",
            "recipients.basis_reference",
        ),
        ("handling out of order", |h| h.handling = vec![2, 1], "HANDLING", "handling"),
        ("handling twice", |h| h.handling = vec![2, 2], "HANDLING", "handling"),
        ("too short a life", |h| h.expires = Some((now() + DAY / 48).into()), "EXPIRES", "expires"),
        ("too long a life", |h| h.expires = Some((now() + 31 * DAY).into()), "EXPIRES", "expires"),
        ("nanoseconds", |h| signer(h).signed_at.as_mut().unwrap().nanos += 1, "TIMESTAMP_NANOS", "signer.signed_at"),
        (
            "a commitment of 33 bytes",
            |h| h.content_commitment = Bytes::from_static(&[1; 33]),
            "LENGTH",
            "content_commitment",
        ),
        ("no size class", |h| h.size_class = 0, "ENUM", "size_class"),
    ];
    let mut wrong = Vec::new();
    for (what, change, expected, path) in cases {
        let status = scene.changed(change).await;
        let named = fields(&status);
        let fits = named.iter().any(|field| field.ends_with(path));
        if (status.code(), reason(&status).as_str()) != (Code::InvalidArgument, expected) || !fits {
            wrong.push(format!("{what}: {:?} {} at {named:?}", status.code(), status.message()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_with_more_in_it_than_it_may_hold_is_refused() {
    let scene = Scene::set().await;
    let sealed = scene.signal().seal();
    // A field that no version knows: what belongs in the content might hide in it.
    let mut smuggling = sealed.clone();
    smuggling.manifest.header = [&smuggling.manifest.header[..], b"\xfa\x01\x05Semmi"].concat().into();
    let status = scene.police.submit(scene.police.submission(smuggling)).await.unwrap_err();
    refused(&status, Code::InvalidArgument, "UNKNOWN_FIELD");

    // The same message in another encoding.
    let mut other = sealed.clone();
    other.manifest.header = [&other.manifest.header[..], b"\x40\x01"].concat().into();
    let status = scene.police.submit(scene.police.submission(other)).await.unwrap_err();
    refused(&status, Code::InvalidArgument, "NOT_CANONICAL");

    let mut large = sealed.clone();
    large.manifest.header = vec![0; 16 * 1024 + 1].into();
    let status = scene.police.submit(scene.police.submission(large)).await.unwrap_err();
    refused(&status, Code::InvalidArgument, "HEADER_TOO_LARGE");

    // In the envelope, which nothing signs, somebody on the way may add what he likes: it does not get into the hub.
    let word = "Smokkelwaar der envelop";
    scene.hub.guard(word);
    let mut request = scene.police.submission(sealed);
    let item = request.item.take().unwrap().encode_to_vec();
    let item = [&item[..], b"\x92\x03\x17", word.as_bytes()].concat();
    let mut bytes = vec![0x0a];
    prost::encoding::encode_varint(item.len() as u64, &mut bytes);
    bytes.extend_from_slice(&item);
    bytes.extend_from_slice(&request.encode_to_vec());
    let answered = raw::call(&scene.police.channel, "/seinpost.v1.ExchangeService/Submit", bytes.into()).await;
    match answered {
        Ok(answers) => assert_eq!(answers.len(), 1),
        Err(status) => refused(&status, Code::InvalidArgument, "UNKNOWN_FIELD"),
    }
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_travels_beside_an_item_is_what_was_signed_or_refused() {
    let scene = Scene::set().await;
    let good = scene.police.submission(scene.signal().seal());
    type Change = fn(&mut wire::SubmitRequest);
    let cases: &[(&str, Change, &str)] = &[
        ("a flipped bit of content", |r| r.sealed_content = flipped(&r.sealed_content), "CONTENT_SHA256"),
        ("no content", |r| r.sealed_content.clear(), "SIZE_CLASS"),
        ("shorter content", |r| r.sealed_content.truncate(4095), "SIZE_CLASS"),
        ("a flipped bit of a key", |r| r.wrapped_keys[0] = flipped(&r.wrapped_keys[0]), "WRAPPED_SHA256"),
        ("no key", |r| r.wrapped_keys.clear(), "WRAPPED_COUNT"),
        ("a key more", |r| r.wrapped_keys.push(r.wrapped_keys[0].clone()), "WRAPPED_COUNT"),
        ("a shorter key", |r| r.wrapped_keys[0].truncate(1167), "WRAPPED_LENGTH"),
        ("a flipped bit of the signature", |r| signature(r).sig = flipped(&signature(r).sig), "SIGNATURE"),
        ("no signature", |r| r.item.as_mut().unwrap().signatures.clear(), "SIGNATURE_COUNT"),
        (
            "two signatures",
            |r| {
                let one = signature(r).clone();
                r.item.as_mut().unwrap().signatures.push(one)
            },
            "SIGNATURE_COUNT",
        ),
        ("no item", |r| r.item = None, "FIELD"),
        (
            "an item of another type",
            |r| r.item.as_mut().unwrap().payload_type = "application/vnd.seinpost.follow-up.v1+protobuf".into(),
            "PAYLOAD_TYPE",
        ),
        (
            "a covenant",
            |r| r.item.as_mut().unwrap().payload_type = ItemType::Covenant.payload_type().into(),
            "PAYLOAD_TYPE",
        ),
        (
            "a mailbox head",
            |r| r.item.as_mut().unwrap().payload_type = ItemType::MailboxHead.payload_type().into(),
            "PAYLOAD_TYPE",
        ),
    ];
    let mut wrong = Vec::new();
    for (what, change, expected) in cases {
        let mut request = good.clone();
        change(&mut request);
        let status = scene.police.submit(request).await.unwrap_err();
        if (status.code(), reason(&status).as_str()) != (Code::InvalidArgument, expected) {
            wrong.push(format!("{what}: {:?} {}", status.code(), status.message()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // None of them was recorded: the good one still is new, and is taken.
    scene.police.submit(good).await.unwrap();
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_counts_from_thirty_days_ago_to_five_minutes_ahead() {
    let scene = Scene::set().await;
    let signed_at = async |at| {
        let mut open = scene.signal();
        let signer = scene.police.signer_at(at);
        open.header.conversation = signer.item_id.clone();
        open.header.signer = Some(signer);
        open.header.expires = Some((at + 30 * DAY).into());
        scene.police.send(open).await.unwrap_err()
    };
    let minute = Duration::from_secs(60);
    refused(&signed_at(now() - 30 * DAY - minute).await, Code::FailedPrecondition, "ITEM_TOO_OLD");
    refused(&signed_at(now() + 6 * minute).await, Code::FailedPrecondition, "ITEM_FROM_FUTURE");
    // Signed a month ago but for an hour, it is not too old; that it expires within the next hour is another matter: its
    // key did not exist then.
    refused(&signed_at(now() - 29 * DAY).await, Code::FailedPrecondition, "KEY_WINDOW");
    let mut open = scene.signal();
    let at = now() - 2 * DAY;
    let signer = scene.police.signer_at(at);
    open.header.conversation = signer.item_id.clone();
    open.header.signer = Some(signer);
    open.header.expires = Some((at + DAY).into());
    refused(&scene.police.send(open).await.unwrap_err(), Code::FailedPrecondition, "EXPIRED_ON_ARRIVAL");
    scene.hub.end().await;
}
