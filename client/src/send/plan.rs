//! What would be sent, to whom, by which rule, readable by which keys: asked and explained before anything leaves.
//!
//! In comes what somebody wants sent, but for the content; out goes a [`Plan`], or a refusal that names the rule that comes
//! nearest. The covenant alone decides here, by the same code as at the gateway. Nothing is sealed, signed or written.

use std::time::Duration;

use seinpost_protocol::address::{Address, Function};
use seinpost_protocol::covenant::{Covenant, Intent, IntentProfile, IntentRecipient, Permit, Refusal as PermitRefusal};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::key_statement::State;
use seinpost_protocol::signal::{EXPIRES_AFTER_MAX, EXPIRES_AFTER_MIN, RECIPIENTS_MAX};
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;

use super::keys::no_key;
use super::{Outgoing, To};
use crate::client::Client;
use crate::directory::organisation_of;
use crate::error::{By, Error, Fault, NotAllowed, Refusal, Result};
use crate::seal::{PublicKey, SealTo};

/// How long a signal waits for its answer where nothing else is said.
const EXPIRES_AFTER: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// What would be sent, to whom, by which rule, readable by which keys: nothing has left yet.
pub struct Plan {
    /// The covenant by which it is judged.
    pub covenant: Covenant,
    /// The rule for each recipient, and the profile that all share.
    pub permit: Permit,
    /// Who would be able to read it, in the header's order.
    pub readers: Vec<Reader>,
    /// Until when an answer counts.
    pub expires: Timestamp,
    pub(super) outgoing: Outgoing,
    pub(super) made_at: Timestamp,
}

/// Somebody who would be able to read a signal.
#[derive(Debug, Clone)]
pub struct Reader {
    /// The address.
    pub address: Address,
    /// The organisation's name by the covenant.
    pub name: String,
    /// The organisation's name by the certificate with which it signed its key statement.
    pub certificate_name: Option<String>,
    /// The rule of the covenant that permits it.
    pub rule: wire::Rule,
    /// Whether a route leads there; if not, both are party to the conversation.
    pub routed: bool,
    /// Serial of the key statement.
    pub key_serial: u64,
    /// Digest of the key statement.
    pub key_statement: Digest,
    /// Until when may be sealed to it.
    pub seal_until: Timestamp,
    /// Whether this client never saw a key of this address before: compare by phone if in doubt.
    pub is_first_sight: bool,
    pub(super) to: To,
    pub(super) seal_to: SealTo,
    open_until: Timestamp,
}

impl Plan {
    /// Returns the profile that the content must follow.
    #[must_use]
    pub fn profile(&self) -> &wire::Profile {
        self.covenant.profile_for(&self.permit).expect("a permit names a profile of its covenant")
    }
}

impl Client {
    /// Plans a signal: resolves routes, asks the rules, fetches and verifies each recipient's key. Nothing leaves.
    ///
    /// # Errors
    /// A refusal by the covenant says which rule comes nearest and what would do; a key that does not verify is not
    /// sealed to.
    pub async fn plan(&self, outgoing: &Outgoing) -> Result<Plan> {
        let covenant = self.refresh_covenant().await?;
        let now = self.now();
        self.judge_self(&covenant, now)?;
        judge_form(outgoing, now)?;
        let (addresses, permit) = match judge_recipients(outgoing, self.address().function, &covenant, now)? {
            Ok(judged) => judged,
            Err(refused) => return Err(together(refused, outgoing.to.len())),
        };
        let mut readers = Vec::with_capacity(addresses.len());
        let mut refused = Vec::new();
        for (at, (address, (to, permitted))) in
            addresses.iter().zip(outgoing.to.iter().zip(&permit.recipients)).enumerate()
        {
            let rule = covenant.rule(&permitted.rule_id).expect("a permit names a rule of its covenant").clone();
            match self.reader(*address, to, rule, permitted.routed, &covenant, now).await {
                Ok(reader) => readers.push(reader),
                Err(Error::Refused(refusal)) => refused.push((at, refusal)),
                Err(error) => return Err(error),
            }
        }
        if !refused.is_empty() {
            return Err(together(refused, outgoing.to.len()));
        }
        let expires = judge_expiry(outgoing, &readers, now)?;
        Ok(Plan { covenant, permit, readers, expires, outgoing: outgoing.clone(), made_at: now })
    }

    /// Asks the covenant alone which recipients it refuses, and why: all of them, each with its place among the recipients.
    ///
    /// # Errors
    /// If no covenant rules now, or an address stands twice.
    pub fn refusals(&self, outgoing: &Outgoing) -> Result<Vec<(usize, Refusal)>> {
        if outgoing.to.is_empty() {
            return Ok(Vec::new());
        }
        let judged = judge_recipients(outgoing, self.address().function, &self.covenant()?, self.now())?;
        Ok(judged.err().unwrap_or_default())
    }

    /// Asks the covenant whether one may sign at all, before anything else is asked.
    fn judge_self(&self, covenant: &Covenant, now: Timestamp) -> Result<()> {
        let spki = self.inner.identity.certificate().spki_sha256();
        covenant.may_act(self.address(), wire::Use::Signing, &spki, now).map(|_| ()).map_err(|no| {
            Error::NotAllowed(NotAllowed {
                reason: Some(no.reason().to_owned()),
                message: format!(
                    "by covenant {} this signing key may not act for {}: {no}",
                    covenant.serial(),
                    self.address()
                ),
            })
        })
    }

    async fn reader(
        &self,
        address: Address,
        to: &To,
        rule: wire::Rule,
        routed: bool,
        covenant: &Covenant,
        now: Timestamp,
    ) -> Result<Reader> {
        let is_first_sight = self.inner.pins.read()?.key(address).is_none();
        let entry = self.key_to_seal_to(address, covenant, now).await?;
        let State::Windowed { seal_until, open_until, public_key, .. } = &entry.statement.state else {
            unreachable!("a statement that is sealed to has windows");
        };
        let key = PublicKey::from_bytes(public_key)
            .map_err(|error| Error::not_verified("ENCAPSULATION_KEY", format!("the key of {address}: {error}")))?;
        let chain = self.certificate(&entry.statement.signer.certificate_sha256).await?;
        Ok(Reader {
            address,
            name: covenant.participant(address.oin).map(|participant| participant.name.clone()).unwrap_or_default(),
            certificate_name: organisation_of(chain.leaf.der()),
            rule,
            routed,
            key_serial: entry.serial,
            key_statement: entry.digest,
            seal_until: *seal_until,
            is_first_sight,
            to: to.clone(),
            seal_to: SealTo { key, statement: entry.digest },
            open_until: *open_until,
        })
    }
}

fn judge_form(outgoing: &Outgoing, now: Timestamp) -> Result<()> {
    let mut faults = Vec::new();
    if !(1..=RECIPIENTS_MAX).contains(&outgoing.to.len()) {
        faults.push(Fault::new("to", format!("a signal has 1 to {RECIPIENTS_MAX} recipients")));
    }
    for (at, to) in outgoing.to.iter().enumerate() {
        if to.oin.is_none() && to.municipality.is_none() {
            faults.push(
                Fault::new(format!("to[{at}]"), "neither organisation nor municipality is given")
                    .hint("a municipality's four digits, or an OIN"),
            );
        }
    }
    if let Some(expires) = outgoing.expires
        && !(now + EXPIRES_AFTER_MIN <= expires && expires <= now + EXPIRES_AFTER_MAX)
    {
        faults.push(Fault::new("expires", "must lie 1 hour to 30 days ahead"));
    }
    if faults.is_empty() { Ok(()) } else { Err(Error::Usage(faults)) }
}

/// What a covenant says to a signal's recipients: their addresses and the rules that permit it, or who is refused and why.
type Judged = std::result::Result<(Vec<Address>, Permit), Vec<(usize, Refusal)>>;

/// Asks routes and rules for each recipient by itself, so that all refusals are known at once, and then for all together.
fn judge_recipients(outgoing: &Outgoing, from: Function, covenant: &Covenant, now: Timestamp) -> Result<Judged> {
    let mut addresses = Vec::with_capacity(outgoing.to.len());
    let mut refused = Vec::new();
    for (at, to) in outgoing.to.iter().enumerate() {
        match resolve(to, outgoing.signal_type, covenant, now) {
            Ok(address) => {
                if addresses.contains(&address) {
                    let fault = Fault::new(format!("to[{at}]"), format!("{address} is a recipient already"));
                    let hint = "each address once; two municipalities may have one safe home";
                    return Err(Error::Usage(vec![fault.hint(hint)]));
                }
                addresses.push(address);
                if let Err(no) = permit(outgoing, &[to], &[address], from, covenant, now) {
                    refused.push((at, no));
                }
            }
            Err(no) => refused.push((at, no)),
        }
    }
    if !refused.is_empty() {
        return Ok(Err(refused));
    }
    let to: Vec<&To> = outgoing.to.iter().collect();
    // What each may get by itself may still find no profile that serves all.
    Ok(permit(outgoing, &to, &addresses, from, covenant, now)
        .map(|permit| (addresses, permit))
        .map_err(|no| vec![(0, no)]))
}

/// Finds the address of a recipient.
fn resolve(
    to: &To,
    signal_type: wire::SignalType,
    covenant: &Covenant,
    now: Timestamp,
) -> std::result::Result<Address, Refusal> {
    if let Some(oin) = to.oin {
        return Ok(Address { oin, function: to.function });
    }
    let municipality = to.municipality.as_deref().unwrap_or_default();
    covenant.resolve(to.function, municipality, signal_type, now).map_err(|no| Refusal {
        by: By::Covenant,
        reason: "NO_ROUTE".into(),
        message: format!(
            "the covenant leads no {} for municipality {municipality} to {}: {no}",
            signal_type.as_str_name().trim_start_matches("SIGNAL_TYPE_"),
            seinpost_protocol::address::function_code(to.function),
        ),
        nearest_rule: None,
        violations: Vec::new(),
    })
}

fn permit(
    outgoing: &Outgoing,
    to: &[&To],
    addresses: &[Address],
    from: Function,
    covenant: &Covenant,
    now: Timestamp,
) -> std::result::Result<Permit, Refusal> {
    let intent = Intent {
        from,
        signal_type: outgoing.signal_type,
        recipients: to
            .iter()
            .zip(addresses)
            .map(|(to, address)| IntentRecipient {
                address: *address,
                legal_basis: &to.legal_basis,
                has_reference: to.basis_reference.is_some(),
                municipality: to.municipality.as_deref(),
            })
            .collect(),
        source_regime: outgoing.source_regime,
        purpose: outgoing.purpose,
        urgency: outgoing.urgency,
        supersedes: outgoing.supersedes.is_some(),
        profile: None::<IntentProfile<'_>>,
        signed_at: now,
    };
    let permit = covenant.permit_intent(&intent).map_err(|refused| refusal(&refused))?;
    if outgoing.conversation.is_none()
        && let Some(unrouted) = permit.recipients.iter().find(|permitted| !permitted.routed)
    {
        return Err(Refusal {
            by: By::Covenant,
            reason: PermitRefusal::NoRoute.as_str().to_owned(),
            message: format!(
                "no route leads to {}: a new conversation needs the municipality for which it is addressed",
                unrouted.address
            ),
            nearest_rule: Some(unrouted.rule_id.clone()),
            violations: Vec::new(),
        });
    }
    Ok(permit)
}

/// Makes one error of what was refused: a lone refusal as it is, several each with its place.
fn together(mut refused: Vec<(usize, Refusal)>, of: usize) -> Error {
    if refused.len() == 1 {
        return Error::Refused(refused.remove(0).1);
    }
    Error::Refused(Refusal {
        by: By::Covenant,
        reason: refused[0].1.reason.clone(),
        message: format!("{} of {of} recipients are refused", refused.len()),
        nearest_rule: None,
        violations: refused.iter().map(|(at, refusal)| refusal.fault(format!("to[{at}]"))).collect(),
    })
}

pub(super) fn refusal(refused: &seinpost_protocol::covenant::Refused) -> Refusal {
    // The sentence ends in the reason in brackets; the error shows it there too.
    let reason = refused.reason.as_str();
    let message = refused.message.strip_suffix(&format!(" [{reason}]")).unwrap_or(&refused.message).to_owned();
    Refusal {
        by: By::Covenant,
        reason: reason.to_owned(),
        message,
        nearest_rule: refused.nearest_rule.clone(),
        violations: Vec::new(),
    }
}

/// Chooses until when an answer counts: as asked, or 14 days, or as long as all recipients' keys open.
fn judge_expiry(outgoing: &Outgoing, readers: &[Reader], now: Timestamp) -> Result<Timestamp> {
    let shortest = readers.iter().min_by_key(|reader| reader.open_until).expect("a plan has readers");
    let latest = shortest.open_until;
    match outgoing.expires {
        Some(expires) if expires > latest => {
            let what = format!("the key of {} opens until {latest}; the signal must expire before", shortest.address);
            Err(no_key(shortest.address, "KEY_WINDOW", &what))
        }
        Some(expires) => Ok(expires),
        // Some seconds pass between the plan and the signature; an hour is a must from the latter on.
        None if latest < now + EXPIRES_AFTER_MIN + Duration::from_secs(60) => {
            Err(no_key(shortest.address, "KEY_WINDOW", &format!("its key opens only until {latest}")))
        }
        None => Ok((now + EXPIRES_AFTER).min(latest)),
    }
}
