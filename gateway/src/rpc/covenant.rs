//! `CovenantService`: what both sides go by, for any peer that the covenant knows.
//!
//! All of it is meant for everybody (covenant, certificates, revocation lists, key statements), so nothing here asks
//! whose it is; only what is published is asked to be the caller's own. What comes back is what was recorded, byte for
//! byte, with its receipt.

use std::sync::Arc;

use bytes::Bytes;
use seinpost_core::command::{Command, NewCertificate};
use seinpost_protocol::address::Address;
use seinpost_protocol::certificate::{BadCertificate, Chain};
use seinpost_protocol::covenant::{Acting, Covenant, NoRight};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use seinpost_rpc::covenant_service_server::CovenantService;
use tonic::{Request, Response, Status};

use super::receipts::Against;
use super::{Desk, caller, outcome, signers};
use crate::accept::ConnectInfo;
use crate::commit::BlobKind;
use crate::errors::{Refused, fault};
use crate::identity::{Caller, Peer};
use crate::sequencer::Outcome;

/// Key statements of one answer: 16 of 1.7 KiB each, with their receipts.
const STATEMENTS_MAX: usize = 16;

/// The service.
pub(super) struct CovenantDesk(pub(super) Arc<Desk>);

#[tonic::async_trait]
impl CovenantService for CovenantDesk {
    async fn get_covenant(
        &self,
        request: Request<wire::GetCovenantRequest>,
    ) -> Result<Response<wire::GetCovenantResponse>, Status> {
        self.0.caught_up().await?;
        let serial = match request.into_inner().serial {
            0 => self.0.state(|state| state.newest_covenant().map(|covenant| covenant.serial)),
            serial => Some(serial),
        };
        let answer = self.0.blocking(move |desk| {
            let serial = serial.ok_or_else(none)?;
            let index = desk.reader.covenant(serial).map_err(fault)?.ok_or_else(none)?;
            let bytes = desk.one_blob_at(index, BlobKind::Covenant)?;
            let covenant = prost::Message::decode(bytes).map_err(fault)?;
            Ok(wire::GetCovenantResponse { covenant: Some(covenant) })
        });
        answer.await.map(Response::new)
    }

    async fn publish_certificate(
        &self,
        request: Request<wire::PublishCertificateRequest>,
    ) -> Result<Response<wire::PublishCertificateResponse>, Status> {
        let caller = caller(&request)?;
        let connection = request.extensions().get::<ConnectInfo>().ok_or_else(|| Refused::of("NOT_PERMITTED"))?;
        let peer = connection.peer.clone();
        publish(&self.0, &caller, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn get_certificate(
        &self,
        request: Request<wire::GetCertificateRequest>,
    ) -> Result<Response<wire::GetCertificateResponse>, Status> {
        let wire::GetCertificateRequest { sha256, seen_size } = request.into_inner();
        let sha256 = digest(&sha256, "sha256")?;
        self.0.caught_up().await?;
        let answer = self.0.blocking(move |desk| {
            let index = desk.reader.certificate(&sha256).map_err(fault)?.ok_or_else(none)?;
            let mut chain = desk.blobs_at(index, BlobKind::Chain)?.into_iter();
            let leaf = chain.next().ok_or_else(|| fault("a certificate is recorded without its bytes"))?;
            let against = desk.newest();
            let receipt = Some(against.receipt(index, &desk.entry(index)?)?);
            let consistency = against.consistency(seen_size);
            Ok(wire::GetCertificateResponse { leaf, chain: chain.collect(), receipt, consistency })
        });
        answer.await.map(Response::new)
    }

    async fn get_revocation_list(
        &self,
        request: Request<wire::GetRevocationListRequest>,
    ) -> Result<Response<wire::GetRevocationListResponse>, Status> {
        let sha256 = request.into_inner().sha256;
        self.0.caught_up().await?;
        let wanted = if sha256.is_empty() {
            self.0.state(|state| state.newest_crls().map(|(_, crl)| crl.sha256).collect())
        } else {
            vec![digest(&sha256, "sha256")?]
        };
        let answer = self.0.blocking(move |desk| {
            let mut lists = Vec::with_capacity(wanted.len());
            for sha256 in wanted {
                let index = desk.reader.crl(&sha256).map_err(fault)?.ok_or_else(none)?;
                lists.push(desk.one_blob_at(index, BlobKind::Crl)?);
            }
            Ok(wire::GetRevocationListResponse { lists })
        });
        answer.await.map(Response::new)
    }

    async fn get_key_statements(
        &self,
        request: Request<wire::GetKeyStatementsRequest>,
    ) -> Result<Response<wire::GetKeyStatementsResponse>, Status> {
        let wire::GetKeyStatementsRequest { address, after_serial, seen_size } = request.into_inner();
        let address = super::address(address.as_ref())?;
        self.0.caught_up().await?;
        let newest_serial = self.0.state(|state| state.key_statement(address).map_or(0, |keys| keys.serial));
        let answer = self.0.blocking(move |desk| {
            let against = desk.newest();
            let mut statements = Vec::new();
            for index in desk.reader.key_statements(&address, after_serial, STATEMENTS_MAX).map_err(fault)? {
                let receipt = Some(against.receipt(index, &desk.entry(index)?)?);
                statements.push(wire::KeyStatementEntry { item: Some(desk.item_at(index)?), receipt });
            }
            let consistency = against.consistency(seen_size);
            Ok(wire::GetKeyStatementsResponse { statements, consistency, newest_serial })
        });
        answer.await.map(Response::new)
    }
}

fn none() -> Status {
    Refused::of("NOT_FOUND").into()
}

fn digest(bytes: &Bytes, field: &str) -> Result<Digest, Status> {
    Digest::try_from(bytes).map_err(|bad| Refused::bad("LENGTH", field, bad).into())
}

/// Makes a signing certificate known: the caller's own, vouched for, and one that the covenant lets sign something.
async fn publish(
    desk: &Arc<Desk>,
    caller: &Caller,
    peer: &Peer,
    request: wire::PublishCertificateRequest,
) -> Result<wire::PublishCertificateResponse, Status> {
    let pin = request.seen_size;
    let certificates: Vec<Bytes> = std::iter::once(request.leaf).chain(request.chain).collect();
    let chain = Chain::parse(&certificates, false).map_err(signers::refuse)?;
    if chain.leaf.oin() != caller.oin {
        return Err(Refused::of("CERTIFICATE_NOT_OWN").at("leaf").into());
    }
    // The first chain of a leaf is kept, whoever brings another: so its receipt comes before all that may change.
    let known = desk.state(|state| state.certificate(&chain.leaf.sha256()).copied());
    if let Some(known) = known {
        let (receipt, consistency) = desk.receipt(known.index, pin).await?;
        return Ok(wire::PublishCertificateResponse { receipt: Some(receipt), consistency });
    }
    let now = desk.time_for_intake()?;
    let covenant = desk.covenants.ruling(now);
    // One public key has one use: a stolen key of the one must not be worth anything in the other.
    if chain.leaf.spki_sha256() == peer.spki {
        return Err(Refused::of("CERTIFICATE_KEY").at("leaf").into());
    }
    usable(&chain, &covenant, now)?;
    let verified = desk.signers.verify(&chain, &covenant, &desk.intake.crls(), now)?.at(now)?;
    let command = Command::PublishCertificate(NewCertificate {
        oin: caller.oin,
        leaf: chain.leaf.sha256(),
        chain: chain.above.iter().map(|above| Digest::of(above)).collect(),
        spki: chain.leaf.spki_sha256(),
        not_after: chain.leaf.not_after(),
        crls: verified.chain.crl_sha256().to_vec(),
    });
    let blobs = certificates.into_iter().map(|certificate| (BlobKind::Chain, certificate)).collect();
    let (receipt, consistency) = match desk.sequencer.submit(command, blobs).await {
        Outcome::Recorded { durable, index } => {
            desk.seen.went_out(durable.size(), &durable.checkpoint);
            let against = Against::commit(desk.tree.clone(), &durable);
            let entry = usize::try_from(index - durable.base).ok().and_then(|place| durable.entries.get(place));
            let entry = entry.ok_or_else(|| fault("a publication lies outside of its commit"))?;
            (against.receipt(index, entry)?, against.consistency(pin))
        }
        Outcome::Already { index } => desk.receipt(index, pin).await?,
        other => return Err(outcome::refused(other)),
    };
    Ok(wire::PublishCertificateResponse { receipt: Some(receipt), consistency })
}

/// Checks that the certificate may sign for at least one function of its organisation.
fn usable(chain: &Chain, covenant: &Covenant, now: Timestamp) -> Result<(), Refused> {
    let (oin, spki) = (chain.leaf.oin(), chain.leaf.spki_sha256());
    let grants = covenant.participant(oin).map_or(&[][..], |participant| &participant.functions);
    let mut no_right = NoRight::NoFunction;
    let mut bad_usage: Option<BadCertificate> = None;
    for grant in grants {
        let address = Address { oin, function: grant.function() };
        match covenant.may_act(address, wire::Use::Signing, &spki, now) {
            Ok(Acting { bound }) => match chain.leaf.check_usage(bound) {
                Ok(()) => return Ok(()),
                Err(bad) => bad_usage = Some(bad),
            },
            Err(no) => no_right = no,
        }
    }
    match bad_usage {
        Some(bad) => Err(Refused::bad(bad.reason(), "leaf", bad)),
        None => Err(Refused::of(no_right.reason()).at("leaf")),
    }
}
