//! Items made by hand, step by step, so that each step can be made wrong.
//!
//! A [`Forge`] has an agency's real keys and sends what it is told over its real connection. What it makes is right until
//! a test changes it, so that each test is wrong in exactly the way that it says.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use seinpost_client::client::Client;
use seinpost_client::content;
use seinpost_client::content::draft::{self, Writer};
use seinpost_client::keys::OwnStatement;
use seinpost_client::seal::{PublicKey, SUITE, SealTo, Sealing};
use seinpost_client::send::{Outgoing, Submitted};
use seinpost_protocol::address::Address;
use seinpost_protocol::covenant::Covenant;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{ItemId, ItemType};
use seinpost_protocol::key_statement::State;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use seinpost_rpc::exchange_service_client::ExchangeServiceClient;
use serde_json::Value as Json;
use tonic::transport::Channel;

use super::hand::Secret;
use super::hub::Hub;
use super::raw;
use super::world::{ORIGIN, now};

/// An agency that makes items by hand.
pub struct Forge {
    /// The agency's real client: certificate and sealing key are published.
    pub client: Client,
    /// Its connection, on which any message can be sent.
    pub channel: Channel,
    /// The covenant that rules.
    pub covenant: Covenant,
    seen: Bytes,
}

/// A signal of which the header can still be changed.
pub struct Open {
    /// The header; commitment and size class are those of the content.
    pub header: wire::SignalHeader,
    /// To whom the content will be sealed.
    pub seal_to: Vec<SealTo>,
    sealing: Sealing,
}

/// A sealed signal that is not signed yet.
#[derive(Clone)]
pub struct Sealed {
    /// The payload.
    pub manifest: wire::SignalManifest,
    /// The content, sealed.
    pub sealed_content: Bytes,
    /// The wrapped keys, in the header's order.
    pub wrapped_keys: Vec<Bytes>,
}

impl Forge {
    /// Takes an agency's place.
    ///
    /// # Panics
    /// If it cannot be had.
    pub async fn of(hub: &Hub, identity: &str) -> Self {
        let client = hub.client(identity).await;
        let covenant = client.refresh_covenant().await.expect("the hub shows its covenant");
        let seen = client.checkpoint().await.expect("the hub shows its checkpoint").note;
        let channel = raw::channel(hub.address(), &hub.credentials(identity));
        Self { client, channel, covenant, seen }
    }

    /// Returns a signer with a fresh id.
    #[must_use]
    pub fn signer(&self) -> wire::Signer {
        self.signer_at(now())
    }

    /// Returns a signer with a fresh id that signs at this time.
    #[must_use]
    pub fn signer_at(&self, at: Timestamp) -> wire::Signer {
        let statements = self.client.sealing_keys().list().expect("the state can be read");
        wire::Signer {
            log_origin: ORIGIN.to_owned(),
            item_id: item_id(at).to_string(),
            address: Some(self.client.address().into()),
            certificate_sha256: self.client.identity().certificate_sha256().into(),
            signed_at: Some(at.into()),
            seen_checkpoint: self.seen.clone(),
            covenant_digest: self.covenant.digest().into(),
            key_serial: statements.last().map_or(0, |own| own.statement.serial),
            on_behalf_of: None,
            mandate_digest: Bytes::new(),
        }
    }

    /// Begins a signal from a file as a person writes it, to recipients whose clients are given in the file's order.
    ///
    /// # Panics
    /// If the file is not right.
    #[must_use]
    pub fn signal(&self, file: &Json, recipients: &[&Client]) -> Open {
        let codes = |list: &str, code: &str| self.covenant.code(list, code).is_some();
        let draft = draft::parse(&file.to_string(), &codes, Writer { bsn_allowed: true }).expect("the file is right");
        self.signal_of(&draft.outgoing, &content::encode(&draft.content), recipients)
    }

    /// Begins a signal whose content is any bytes.
    ///
    /// # Panics
    /// If the content is too large.
    #[must_use]
    pub fn signal_of(&self, outgoing: &Outgoing, content: &[u8], recipients: &[&Client]) -> Open {
        assert_eq!(outgoing.to.len(), recipients.len(), "one client per recipient of the file");
        let sealing = Sealing::begin(content).expect("the content fits");
        let signer = self.signer();
        // A profile that no rule names is the type's own; the only one that depends on the recipient is the mayor's.
        let to_mayor = recipients.iter().any(|to| to.address().function == wire::Function::Mayor);
        let mut profiles =
            self.covenant.message().profiles.iter().filter(|profile| profile.r#type() == outgoing.signal_type);
        let profile = profiles.find(|profile| profile.name.to_lowercase().contains("mayor") == to_mayor);
        let profile = profile.expect("each type has a profile");
        let header = wire::SignalHeader {
            r#type: outgoing.signal_type.into(),
            conversation: outgoing.conversation.map_or_else(|| signer.item_id.clone(), |id| id.to_string()),
            in_reply_to: outgoing.in_reply_to.map(Bytes::from).unwrap_or_default(),
            supersedes: outgoing.supersedes.map(Bytes::from).unwrap_or_default(),
            recipients: outgoing
                .to
                .iter()
                .zip(recipients)
                .map(|(to, client)| wire::Recipient {
                    address: Some(client.address().into()),
                    legal_basis: to.legal_basis.clone(),
                    basis_reference: to.basis_reference.clone().unwrap_or_default(),
                    municipality: to.municipality.clone().unwrap_or_default(),
                })
                .collect(),
            source_regime: outgoing.source_regime.into(),
            purpose: outgoing.purpose.into(),
            urgency: outgoing.urgency.into(),
            handling: outgoing.handling.iter().map(|handling| i32::from(*handling)).collect(),
            content_profile: Some(wire::ContentProfile {
                name: profile.name.clone(),
                version: profile.version,
                sha256: Digest::of(&profile.encode_to_vec()).into(),
            }),
            content_commitment: sealing.commitment().into(),
            expires: Some((now() + Duration::from_secs(14 * 86_400)).into()),
            retention_class: outgoing.retention_class.unwrap_or(wire::RetentionClass::Hub24h).into(),
            size_class: sealing.size_class().into(),
            signer: Some(signer),
        };
        Open { header, seal_to: recipients.iter().map(|client| seal_to(client)).collect(), sealing }
    }

    /// Signs a payload as an item of a type.
    ///
    /// # Panics
    /// If the system gives no random bytes.
    #[must_use]
    pub fn sign(&self, item_type: ItemType, payload: &impl prost::Message) -> wire::SignedItem {
        self.sign_bytes(item_type, payload.encode_to_vec().into())
    }

    /// Signs any bytes as an item of a type.
    ///
    /// # Panics
    /// If the system gives no random bytes.
    #[must_use]
    pub fn sign_bytes(&self, item_type: ItemType, payload: Bytes) -> wire::SignedItem {
        self.client.identity().sign(item_type, payload).expect("an agency can sign")
    }

    /// Signs a sealed signal, ready to be submitted.
    #[must_use]
    pub fn submission(&self, sealed: Sealed) -> wire::SubmitRequest {
        wire::SubmitRequest {
            item: Some(self.sign(ItemType::Signal, &sealed.manifest)),
            sealed_content: sealed.sealed_content,
            wrapped_keys: sealed.wrapped_keys,
            seen_size: 0,
        }
    }

    /// Seals and signs a signal, and submits it.
    ///
    /// # Errors
    /// What the gateway says.
    pub async fn send(&self, open: Open) -> Result<wire::SubmitResponse, tonic::Status> {
        self.submit(self.submission(open.seal())).await
    }

    /// Submits an item without anything beside it.
    ///
    /// # Errors
    /// What the gateway says.
    pub async fn submit_item(&self, item: wire::SignedItem) -> Result<wire::SubmitResponse, tonic::Status> {
        self.submit(wire::SubmitRequest { item: Some(item), ..Default::default() }).await
    }

    /// Submits anything.
    ///
    /// # Errors
    /// What the gateway says.
    pub async fn submit(&self, request: wire::SubmitRequest) -> Result<wire::SubmitResponse, tonic::Status> {
        self.exchange().submit(request).await.map(tonic::Response::into_inner)
    }

    /// Returns the exchange's calls on this agency's connection.
    #[must_use]
    pub fn exchange(&self) -> ExchangeServiceClient<Channel> {
        ExchangeServiceClient::new(self.channel.clone()).max_decoding_message_size(4 * 1024 * 1024)
    }
}

impl Open {
    /// Seals by hand: for each recipient the secret that it is to get, all under one sealed content of the first.
    ///
    /// # Panics
    /// If there is no secret for each recipient.
    #[must_use]
    pub fn seal_by_hand(self, secrets: &[Secret], padded: &[u8]) -> Sealed {
        assert_eq!(secrets.len(), self.seal_to.len(), "one secret per recipient");
        let header = Bytes::from(self.header.encode_to_vec());
        let sealed_content = secrets[0].seal(&header, padded);
        let wrapped_keys: Vec<Bytes> =
            secrets.iter().zip(&self.seal_to).map(|(secret, to)| secret.wrap(&header, &sealed_content, to)).collect();
        let manifest = manifest(header, &sealed_content, &self.seal_to, &wrapped_keys);
        Sealed { manifest, sealed_content, wrapped_keys }
    }

    /// Seals the content under the header as it now is.
    ///
    /// # Panics
    /// If the system gives no random bytes.
    #[must_use]
    pub fn seal(self) -> Sealed {
        let header = Bytes::from(self.header.encode_to_vec());
        let sealed = self.sealing.finish(&header, &self.seal_to).expect("the system gives random bytes");
        let manifest = manifest(header, &sealed.sealed_content, &self.seal_to, &sealed.wrapped);
        Sealed { manifest, sealed_content: sealed.sealed_content, wrapped_keys: sealed.wrapped }
    }
}

fn manifest(header: Bytes, sealed_content: &[u8], seal_to: &[SealTo], wrapped_keys: &[Bytes]) -> wire::SignalManifest {
    let keys = seal_to.iter().zip(wrapped_keys).map(|(to, wrapped)| wire::WrappedKeyRef {
        key_statement_digest: to.statement.into(),
        wrapped_sha256: Digest::of(wrapped).into(),
    });
    let content_sha256 = Digest::of(sealed_content).into();
    wire::SignalManifest { header, sealed: Some(wire::Sealed { suite: SUITE, content_sha256, keys: keys.collect() }) }
}

/// Returns the newest sealing key that an agency ever stated, from its own state.
///
/// # Panics
/// If it has stated none.
#[must_use]
pub fn seal_to(client: &Client) -> SealTo {
    let statements = client.sealing_keys().list().expect("the state can be read");
    let key = |own: &OwnStatement| match &own.statement.state {
        State::Windowed { public_key, .. } => {
            Some((own.digest, PublicKey::from_bytes(public_key).expect("it is a key")))
        }
        State::Withdrawn => None,
    };
    let (statement, key) = statements.iter().rev().find_map(key).expect("the agency has a sealing key");
    SealTo { key, statement }
}

/// Returns a fresh item id of a time.
///
/// # Panics
/// If the system gives no random bytes.
#[must_use]
pub fn item_id(at: Timestamp) -> ItemId {
    let mut random = [0; 10];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random)
        .expect("the system gives random bytes");
    ItemId::new(at, random)
}

/// Returns the address of the only one to whom an item was consigned, with the commitment of the consignment.
///
/// # Panics
/// If it was consigned to several.
#[must_use]
pub fn only_consignment(submitted: &Submitted) -> (Address, Digest) {
    let [consigned] = submitted.consigned.as_slice() else { panic!("{} consignments", submitted.consigned.len()) };
    (consigned.to, consigned.commitment)
}
