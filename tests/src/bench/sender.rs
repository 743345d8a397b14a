//! The one agency that sends: it seals and signs before the clock starts, and verifies every receipt after it stopped.
//!
//! The first signal is made by the real client from the template that people get. All others are its like: each with an
//! id, times, content key, wrapped key and signature of its own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prost::Message as _;
use seinpost_certs::world::World;
use seinpost_client::client::Client;
use seinpost_client::content::{self, Check, draft};
use seinpost_client::keys::Windows;
use seinpost_client::pins::PinnedCheckpoint;
use seinpost_client::profile::Profile;
use seinpost_client::seal::{SUITE, SealTo, Sealing};
use seinpost_protocol::checkpoint::{LogKey, Pin};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{ItemType, digest_of};
use seinpost_protocol::receipt;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use seinpost_tests::harness::forge;
use tonic::transport::Channel;

use crate::Failure;
use crate::load::{Items, Slice};

/// How long after its signing a signal of this benchmark expires.
const EXPIRES_AFTER: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The agency.
pub(crate) struct Sender {
    client: Client,
    profile: Profile,
    log_keys: Vec<LogKey>,
    /// The header of the first signal.
    pattern: wire::SignalHeader,
    content: Bytes,
    recipient: SealTo,
    pin: Pin,
}

impl Sender {
    /// Makes sender and recipient known to the hub, and the first signal.
    pub(crate) async fn new(world: &World) -> Result<Self, Failure> {
        let recipient = known(world, "safe-home-amsterdam").await?;
        let client = known(world, "police-amsterdam").await?;
        let profile = Profile::load(&world.profile("police-amsterdam"))?;
        let covenant = client.refresh_covenant().await?;
        let codes = |list: &str, code: &str| covenant.code(list, code).is_some();
        let template = content::template(wire::SignalType::ExploitationSignal).ok_or("no template")?;
        let draft = draft::parse(template, &codes, draft::Writer { bsn_allowed: true })
            .map_err(|faults| format!("the template is not right: {}", faults[0]))?;
        let content = content::encode(&draft.content);
        let plan = client.plan(&draft.outgoing).await?;
        let first = client.seal(&plan, &content, &Check::default()).await?;
        let item = first.request.item.ok_or("a submission without an item")?;
        let manifest = wire::SignalManifest::decode(item.payload)?;
        Ok(Self {
            profile,
            log_keys: covenant.live_log_keys(),
            pattern: wire::SignalHeader::decode(manifest.header)?,
            content,
            recipient: forge::seal_to(&recipient),
            pin: client.checkpoint().await?.pin,
            client,
        })
    }

    /// Returns the key with which the agency signs, SubjectPublicKeyInfo in hexadecimal.
    pub(crate) fn spki(&self) -> Result<String, Failure> {
        let der = self.client.identity().certificate().der();
        let (_, certificate) = x509_parser::parse_x509_certificate(der)?;
        Ok(hex::encode(certificate.public_key().raw))
    }

    /// Seals and signs so many new items, on all cores; their signer has just looked at the log, and pinned it.
    pub(crate) async fn items(&mut self, count: usize) -> Result<Items, Failure> {
        let seen = self.client.checkpoint().await?;
        self.pin = seen.pin;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (sender, seen) = (&*self, &seen);
        let parts: Vec<Result<Vec<_>, Failure>> = std::thread::scope(|scope| {
            let share = move || (0..count.div_ceil(threads)).map(|_| sender.item(seen)).collect();
            let sealing: Vec<_> = (0..threads).map(|_| scope.spawn(share)).collect();
            sealing.into_iter().map(|thread| thread.join().expect("sealing does not panic")).collect()
        });
        Ok(parts.into_iter().collect::<Result<Vec<_>, _>>()?.concat().into())
    }

    /// Seals and signs one new item.
    fn item(&self, seen: &PinnedCheckpoint) -> Result<wire::SubmitRequest, Failure> {
        let now = now();
        let sealing = Sealing::begin(&self.content)?;
        let mut header = self.pattern.clone();
        header.conversation = forge::item_id(now).to_string();
        header.content_commitment = sealing.commitment().into();
        header.expires = Some((now + EXPIRES_AFTER).into());
        let signer = header.signer.as_mut().expect("every header has its signer");
        signer.item_id = header.conversation.clone();
        signer.signed_at = Some(now.into());
        signer.seen_checkpoint = seen.note.clone();

        let header = Bytes::from(header.encode_to_vec());
        let sealed = sealing.finish(&header, std::slice::from_ref(&self.recipient))?;
        let keys = sealed.wrapped.iter().map(|wrapped| wire::WrappedKeyRef {
            key_statement_digest: self.recipient.statement.into(),
            wrapped_sha256: Digest::of(wrapped).into(),
        });
        let sealed_by =
            wire::Sealed { suite: SUITE, content_sha256: sealed.content_sha256.into(), keys: keys.collect() };
        let manifest = wire::SignalManifest { header, sealed: Some(sealed_by) };
        Ok(wire::SubmitRequest {
            item: Some(self.client.identity().sign(ItemType::Signal, manifest.encode_to_vec().into())?),
            sealed_content: sealed.sealed_content,
            wrapped_keys: sealed.wrapped,
            seen_size: seen.pin.size,
        })
    }

    /// Opens so many connections of their own.
    pub(crate) fn channels(&self, address: &str, count: usize) -> Result<Vec<Channel>, Failure> {
        let profile = Profile { gateway: address.to_owned(), ..self.profile.clone() };
        (0..count).map(|_| Ok(Client::open(profile.clone())?.channel())).collect()
    }

    /// Verifies every receipt of a slice: commitment, inclusion, signature of the log, the link to the pin, and that it is
    /// about the item that was sent.
    pub(crate) fn verify(&self, items: &Items, slice: &Slice) -> Result<(), Failure> {
        let origin = &self.profile.hub.origin;
        let mut indexes = Vec::with_capacity(slice.answers.len());
        for (place, answer) in &slice.answers {
            let receipt = answer.receipt.as_ref().ok_or("an answer without a receipt")?;
            let verified = receipt::verify(receipt, origin, &self.log_keys, &self.pin, &answer.consistency)
                .map_err(|bad| format!("a receipt does not hold: {bad}"))?;
            let sent = items[*place].item.as_ref().expect("every submission has an item");
            let record = verified.record.as_ref().ok_or("a receipt without its record")?;
            let about = record.event.as_ref().and_then(receipt::item_digest_of).ok_or("a receipt of another event")?;
            if about.as_ref() != digest_of(&sent.payload_type, &sent.payload).as_bytes() {
                return Err("a receipt of another item".into());
            }
            indexes.push(verified.index);
        }
        indexes.sort_unstable();
        if indexes.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("two receipts name one record".into());
        }
        Ok(())
    }
}

/// Opens an identity's client and makes its certificate and key known to the hub.
async fn known(world: &World, identity: &str) -> Result<Client, Failure> {
    let client = Client::open(Profile::load(&world.profile(identity))?)?;
    client.refresh_covenant().await?;
    client.publish_certificate().await?;
    client.publish_key(Windows::default()).await?;
    Ok(client)
}

/// Returns the time of this machine.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::clamped(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
