//! The one way to a covenant: an item, what is trusted so far, and every rule between the two.
//!
//! Gateway, clients and auditors call [`Covenant::verify`] alike: at start, at adoption, at each fetch and load. The
//! questions go from cheap to dear: size, form, place in the succession, what the tables say by themselves and to each
//! other, signatures. It reads no clock; a covenant that is over is a covenant.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use crate::address::{Address, Function, Oin};
use crate::canonical::{self, Malformed};
use crate::digest::Digest;
use crate::item::{self, ItemType};
use crate::signature::{self, BadKey, PublicKey};
use crate::time::Timestamp;
use crate::wire;

use super::calendar::{self, Duration as ClockDuration};
use super::index::{Binding, Index, Tables};
use super::routes::{self, Row};
use super::{Covenant, Inner};

/// Largest covenant, its item with signatures, in bytes: the whole country takes some hundred KiB, and a client holds
/// two while it walks. (2 MiB, under the 4 MiB that a client decodes.)
pub const COVENANT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Longest validity: 100 days, so that a hub that withholds the next covenant stops working within a season.
pub const VALIDITY_MAX: Duration = Duration::from_secs(100 * 24 * 60 * 60);
/// Most registrars: far beyond any board that signs by hand, and a bound on the work of finding a signature's signer.
const REGISTRARS_MAX: usize = 32;
/// Most signatures: all of the old registrars and all of the new, as many as those can be.
const SIGNATURES_MAX: usize = 2 * REGISTRARS_MAX;
/// Longest id of a rule in bytes. An acceptance names one for each of up to eight addressees, and a record is at most
/// 8 KiB: a covenant with longer ids would make signals that no record can accept.
const RULE_ID_BYTES_MAX: usize = 64;

/// What a covenant is verified by.
#[derive(Debug, Clone)]
pub enum Trust<'a> {
    /// The hub file: nothing has been accepted yet, and only the covenant that it names will be.
    Floor(Floor),
    /// The last accepted covenant: the same again will be, and the next.
    Last(&'a Covenant),
}

/// Where trust starts: the hub file's word on the first covenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Floor {
    /// The log that the covenant must belong to.
    pub log_origin: String,
    /// The first registrars.
    pub registrars: Vec<wire::Registrar>,
    /// How many of them must have signed.
    pub threshold: u32,
    /// The first covenant's serial.
    pub serial: u64,
    /// The first covenant's digest.
    pub digest: Digest,
    /// The origin is a test's: one signature may do.
    pub test: bool,
}

/// A covenant that breaks a rule, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadCovenant {
    breach: Breach,
    field: String,
}

impl BadCovenant {
    /// Returns the rule that is broken.
    #[must_use]
    pub fn breach(&self) -> &Breach {
        &self.breach
    }

    /// Returns the path of the field at fault, such as `participants[3].functions[0]`; empty for the whole.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Returns the reason's code.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.breach.reason()
    }
}

impl fmt::Display for BadCovenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{} [{}]", self.breach, self.reason())
    }
}

impl std::error::Error for BadCovenant {}

/// The rules that a covenant may break.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// Larger than [`COVENANT_BYTES_MAX`], or more registrars or signatures than are looked at.
    #[error("the covenant is too large")]
    Size,
    /// The envelope holds something else.
    #[error("the item is no covenant")]
    PayloadType,
    /// The bytes are not canonical, or a field by itself is wrong.
    #[error("{0}")]
    Malformed(Malformed),
    /// It belongs to another log.
    #[error("the covenant belongs to another log")]
    Origin,
    /// A lower serial than what is trusted.
    #[error("the serial is lower than that of the covenant that is trusted")]
    SerialLower,
    /// Another covenant of the same serial, which enough registrars have signed: they signed two.
    #[error("another covenant of this serial has been accepted: the registrars signed two")]
    SerialFork,
    /// By the hub file: another covenant of the serial that it names, which enough registrars have signed.
    #[error(
        "the registrars signed this covenant, and hub.toml names another of this serial: its covenant_digest is \
             wrong, or they signed two; ask the operator, and compare by phone"
    )]
    FloorFork,
    /// Not the next one.
    #[error("covenants are accepted one by one, and between the last one and this there is another")]
    SerialGap,
    /// By the hub file: a later covenant than the one that it names.
    #[error("the first covenant is exactly the one that hub.toml names, and this is a later one")]
    FloorGap,
    /// It does not name the one before it.
    #[error("the covenant does not follow the one that was accepted last")]
    PreviousDigest,
    /// An empty or too long validity, or one that begins before the old one's.
    #[error("a covenant is valid for up to 100 days, and not from before the old one")]
    Validity,
    /// Too low or beyond the number of registrars.
    #[error("the threshold is at least 2 (1 in a test) and at most the number of registrars")]
    Threshold,
    /// One OIN or one key as two registrars.
    #[error("a registrar's OIN or key stands twice")]
    RegistrarTwice,
    /// The hub as a registrar.
    #[error("the hub is never a registrar")]
    RegistrarIsHub,
    /// A registrar's or log's key that is no good Ed25519 key.
    #[error("{0}")]
    Key(BadKey),
    /// No live log key, or a retired one without its end.
    #[error("there is a live log key, and a retired one has both a size and a root")]
    LogKeys,
    /// One key for two uses, two OINs, or for a registrar or the log beside another use.
    #[error("one key has one use and one owner")]
    KeyUsedTwice,
    /// A root that is no certificate.
    #[error("the root is no certificate")]
    Root,
    /// Text that must be an OIN and is none.
    #[error("an OIN has exactly 20 digits or capital letters")]
    Oin,
    /// Text that must be a municipality's code and is none.
    #[error("a municipality is four digits")]
    Municipality,
    /// One OIN as two participants.
    #[error("a participant stands twice")]
    ParticipantTwice,
    /// One function twice in a participant.
    #[error("a function stands twice in one participant")]
    FunctionTwice,
    /// A case function of the hub.
    #[error("the hub is operator or auditor and nothing else")]
    HubCaseFunction,
    /// OPERATOR or AUDITOR without bound keys.
    #[error("operators and auditors have bound keys")]
    HubUnbound,
    /// A grant that has keys and is unbound.
    #[error("a grant has bound keys or is unbound, never both")]
    UnboundWithKeys,
    /// A grant that is bound and lacks a key of a use.
    #[error("a bound grant has at least one key for transport and one for signing")]
    KeyPerUse,
    /// A binding that is over before it begins.
    #[error("a binding ends after it begins")]
    KeyDates,
    /// A route's day that does not exist, or an end that is not after the beginning.
    #[error("a route begins on a day and ends on a later one")]
    RouteDate,
    /// A rule's id is too long.
    #[error("a rule's id has at most 64 bytes")]
    RuleId,
    /// A rule id twice.
    #[error("a rule's id stands twice")]
    RuleTwice,
    /// A rule without types, senders, recipients or regimes.
    #[error("a rule names types, senders, recipients and regimes")]
    RuleEmpty,
    /// A code list, or a code in one, twice.
    #[error("a code list or a code in it stands twice")]
    CodeTwice,
    /// A profile's name and version twice.
    #[error("a profile of this name and version stands twice")]
    ProfileTwice,
    /// A clock's id twice.
    #[error("a clock's id stands twice")]
    ClockTwice,
    /// A clock's duration that cannot be read.
    #[error("a clock has a positive ISO 8601 duration up to ten years, of working days in whole days")]
    ClockDuration,
    /// A signature that is none of an old or new registrar's.
    #[error("a signature is none of the old or new registrars'")]
    Signature,
    /// By the hub file: a signature that is none of the registrars' that it lists, nor of the covenant's own.
    #[error(
        "a signature is by none of the registrars that hub.toml lists, nor of the covenant's own; one who signed \
             this covenant and left with it has to be listed in hub.toml too: ask the operator for one that lists \
             him, and compare it by phone"
    )]
    FloorSignature,
    /// Fewer old registrars than the old threshold.
    #[error("too few registrars of the last accepted covenant have signed")]
    TooFewOld,
    /// By the hub file: fewer of the registrars that it lists than its threshold.
    #[error("fewer of the registrars that hub.toml lists have signed than its threshold says")]
    FloorTooFew,
    /// Fewer new registrars than the new threshold.
    #[error("too few of the covenant's own registrars have signed")]
    TooFewNew,
}

impl Breach {
    /// Returns the reason's code.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Size => "SIZE",
            Self::PayloadType => "PAYLOAD_TYPE",
            Self::Malformed(malformed) => malformed.reason.as_str(),
            Self::Origin => "ORIGIN",
            Self::SerialLower => "SERIAL_LOWER",
            Self::SerialFork | Self::FloorFork => "SERIAL_FORK",
            Self::SerialGap | Self::FloorGap => "SERIAL_GAP",
            Self::PreviousDigest => "PREVIOUS_DIGEST",
            Self::Validity => "VALIDITY",
            Self::Threshold => "THRESHOLD",
            Self::RegistrarTwice => "REGISTRAR_TWICE",
            Self::RegistrarIsHub => "REGISTRAR_IS_HUB",
            Self::Key(bad) => bad.reason(),
            Self::LogKeys => "LOG_KEYS",
            Self::KeyUsedTwice => "KEY_USED_TWICE",
            Self::Root => "ROOT",
            Self::Oin => "OIN",
            Self::Municipality => "MUNICIPALITY",
            Self::ParticipantTwice => "PARTICIPANT_TWICE",
            Self::FunctionTwice => "FUNCTION_TWICE",
            Self::HubCaseFunction => "HUB_CASE_FUNCTION",
            Self::HubUnbound => "HUB_UNBOUND",
            Self::UnboundWithKeys => "UNBOUND_WITH_KEYS",
            Self::KeyPerUse => "KEY_PER_USE",
            Self::KeyDates => "KEY_DATES",
            Self::RouteDate => "ROUTE_DATE",
            Self::RuleId => "RULE_ID",
            Self::RuleTwice => "RULE_TWICE",
            Self::RuleEmpty => "RULE_EMPTY",
            Self::CodeTwice => "CODE_TWICE",
            Self::ProfileTwice => "PROFILE_TWICE",
            Self::ClockTwice => "CLOCK_TWICE",
            Self::ClockDuration => "CLOCK_DURATION",
            Self::Signature | Self::FloorSignature => "SIGNATURE",
            Self::TooFewOld | Self::FloorTooFew => "TOO_FEW_OLD",
            Self::TooFewNew => "TOO_FEW_NEW",
        }
    }

    fn at(self, field: impl Into<String>) -> BadCovenant {
        BadCovenant { breach: self, field: field.into() }
    }
}

impl Covenant {
    /// Checks a covenant's item against what is trusted so far; the only way to a covenant.
    ///
    /// By the hub file, exactly the covenant that it names; by the last accepted one, the same again or the next. Of the
    /// same again, the one already held is returned, with the signatures that it came with.
    ///
    /// # Errors
    /// [`BadCovenant`] names the first rule that it breaks.
    pub fn verify(item: &wire::SignedItem, trust: &Trust<'_>) -> Result<Self, BadCovenant> {
        if item.encoded_len() > COVENANT_BYTES_MAX || item.signatures.len() > SIGNATURES_MAX {
            return Err(Breach::Size.at(""));
        }
        if item.payload_type != ItemType::Covenant.payload_type() {
            return Err(Breach::PayloadType.at("payload_type"));
        }
        let message: wire::Covenant = canonical::decode(item.payload.clone()).map_err(|malformed| {
            let field = malformed.field.clone();
            Breach::Malformed(malformed).at(field)
        })?;
        let digest = item::digest_of(&item.payload_type, &item.payload);

        // Before any signature is looked at: each is held against every registrar.
        if message.registrars.len() > REGISTRARS_MAX {
            return Err(Breach::Size.at("registrars"));
        }

        let old = Old::of(trust);
        if message.log_origin == old.log_origin && message.serial == old.serial && digest != old.digest {
            // Signatures first: whoever changes a byte of a covenant makes another of its serial, and only if enough
            // registrars signed that too is it theirs to answer for.
            signed(item, &message, &old)?;
            return Err(old.says(Breach::SerialFork, Breach::FloorFork).at("serial"));
        }
        let previous_digest = succeeds(&message, &old)?;
        if let Some(last) = old.last.filter(|last| last.digest() == digest) {
            // Word for word the item that was accepted needs no second look; and it would not bear one, since the
            // registrars before it, who signed it too, may be unknown by now.
            if last.item().signatures != item.signatures {
                signed(item, &message, &old)?;
            }
            return Ok(last.clone());
        }
        let (valid_from, valid_until) = valid(&message, &old)?;
        let tables = tables(&message, old.test)?;
        signed(item, &message, &old)?;

        let hub_oin = oin(&message.hub_oin, || "hub_oin".to_owned())?;
        let index = Index::new(&message, tables);
        let item = item.clone();
        let test = old.test;
        Ok(Self(std::sync::Arc::new(Inner {
            item,
            message,
            digest,
            previous_digest,
            valid_from,
            valid_until,
            hub_oin,
            test,
            index,
        })))
    }

    /// Checks a covenant as it is kept in a file: the bytes of its item, in which no field is unknown.
    ///
    /// # Errors
    /// As [`Covenant::verify`].
    pub fn verify_bytes(bytes: Bytes, trust: &Trust<'_>) -> Result<Self, BadCovenant> {
        if bytes.len() > COVENANT_BYTES_MAX {
            return Err(Breach::Size.at(""));
        }
        let item = canonical::decode_envelope("seinpost.v1.SignedItem", bytes)
            .map_err(|malformed| Breach::Malformed(malformed).at("item"))?;
        Self::verify(&item, trust)
    }
}

/// Verifies covenants one by one from what is trusted, and returns the last.
///
/// Those on the way may be over; that the start is not over for too long is the caller's to ask
/// ([`Covenant::may_start_a_walk_at`]), and that the last is valid too. Without items the start itself is the end, and
/// there is none when nothing has been accepted yet.
///
/// # Errors
/// The place of the first that breaks a rule, counted from 0, and the rule.
pub fn walk<'i>(
    trust: &Trust<'_>,
    items: impl IntoIterator<Item = &'i wire::SignedItem>,
) -> Result<Option<Covenant>, (usize, BadCovenant)> {
    let mut last: Option<Covenant> = match trust {
        Trust::Floor(_) => None,
        Trust::Last(last) => Some((*last).clone()),
    };
    for (at, item) in items.into_iter().enumerate() {
        let next = match &last {
            None => Covenant::verify(item, trust),
            Some(last) => Covenant::verify(item, &Trust::Last(last)),
        };
        last = Some(next.map_err(|bad| (at, bad))?);
    }
    Ok(last)
}

/// What is trusted so far, in one shape.
struct Old<'a> {
    last: Option<&'a Covenant>,
    log_origin: &'a str,
    registrars: &'a [wire::Registrar],
    threshold: u32,
    serial: u64,
    digest: Digest,
    test: bool,
}

impl<'a> Old<'a> {
    fn of(trust: &'a Trust<'_>) -> Self {
        match trust {
            Trust::Floor(floor) => Self {
                last: None,
                log_origin: &floor.log_origin,
                registrars: &floor.registrars,
                threshold: floor.threshold,
                serial: floor.serial,
                digest: floor.digest,
                test: floor.test,
            },
            Trust::Last(last) => Self {
                last: Some(last),
                log_origin: last.log_origin(),
                registrars: &last.message().registrars,
                threshold: last.message().threshold,
                serial: last.serial(),
                digest: last.digest(),
                test: last.is_test(),
            },
        }
    }

    /// Returns the breach in the words of what is trusted: the last accepted covenant, or the hub file.
    fn says(&self, by_last: Breach, by_floor: Breach) -> Breach {
        if self.last.is_some() { by_last } else { by_floor }
    }
}

/// Its place: the same log, the same covenant again or the next, which names the one before it.
fn succeeds(message: &wire::Covenant, old: &Old<'_>) -> Result<Option<Digest>, BadCovenant> {
    if message.log_origin != old.log_origin {
        return Err(Breach::Origin.at("log_origin"));
    }
    let is_next = old.last.is_some() && old.serial.checked_add(1) == Some(message.serial);
    if message.serial < old.serial {
        return Err(Breach::SerialLower.at("serial"));
    }
    if message.serial > old.serial && !is_next {
        return Err(old.says(Breach::SerialGap, Breach::FloorGap).at("serial"));
    }
    let previous = Digest::try_from(&message.previous_digest).ok();
    // The first of all follows nothing; every other follows something, and the next one what is trusted.
    if previous.is_none() != (message.serial == 1) || is_next && previous != Some(old.digest) {
        return Err(Breach::PreviousDigest.at("previous_digest"));
    }
    Ok(previous)
}

fn valid(message: &wire::Covenant, old: &Old<'_>) -> Result<(Timestamp, Timestamp), BadCovenant> {
    let from = time(message.valid_from.as_ref());
    let until = time(message.valid_until.as_ref());
    if until <= from || until.since(from) > VALIDITY_MAX {
        return Err(Breach::Validity.at("valid_until"));
    }
    if old.last.is_some_and(|last| from < last.valid_from()) {
        return Err(Breach::Validity.at("valid_from"));
    }
    Ok((from, until))
}

/// All that the tables say by themselves and to each other; what was read on the way is the index.
fn tables(message: &wire::Covenant, test: bool) -> Result<Tables, BadCovenant> {
    let mut tables = Tables::default();
    let hub_oin = oin(&message.hub_oin, || "hub_oin".to_owned())?;
    registrars(message, hub_oin, test, &mut tables)?;
    log_keys(message, &mut tables)?;
    roots(&message.transport_roots, "transport_roots")?;
    roots(&message.signing_roots, "signing_roots")?;
    participants(message, hub_oin, &mut tables)?;
    routes(message, &mut tables)?;
    rules(message)?;
    lists(message)?;
    clocks(message, &mut tables)?;
    Ok(tables)
}

fn registrars(message: &wire::Covenant, hub_oin: Oin, test: bool, tables: &mut Tables) -> Result<(), BadCovenant> {
    let lowest = if test { 1 } else { 2 };
    if message.threshold < lowest || message.threshold as usize > message.registrars.len() {
        return Err(Breach::Threshold.at("threshold"));
    }
    let mut oins = HashSet::new();
    for (at, registrar) in message.registrars.iter().enumerate() {
        let field = || format!("registrars[{at}]");
        let oin = oin(&registrar.oin, || format!("registrars[{at}].oin"))?;
        if oin == hub_oin {
            return Err(Breach::RegistrarIsHub.at(field()));
        }
        let spki = spki_of(&registrar.ed25519).map_err(|breach| breach.at(field()))?;
        // Kept as a key without rows: whoever would act with it finds it taken.
        if !oins.insert(oin) || tables.bindings.insert(spki, Vec::new()).is_some() {
            return Err(Breach::RegistrarTwice.at(field()));
        }
    }
    Ok(())
}

fn log_keys(message: &wire::Covenant, tables: &mut Tables) -> Result<(), BadCovenant> {
    for (at, key) in message.log_keys.iter().enumerate() {
        let field = || format!("log_keys[{at}]");
        if (key.until_size == 0) != key.until_root.is_empty() {
            return Err(Breach::LogKeys.at(field()));
        }
        let spki = spki_of(&key.ed25519).map_err(|breach| breach.at(field()))?;
        if tables.bindings.insert(spki, Vec::new()).is_some() {
            return Err(Breach::KeyUsedTwice.at(field()));
        }
    }
    if message.log_keys.iter().all(|key| key.until_size != 0) {
        return Err(Breach::LogKeys.at("log_keys"));
    }
    Ok(())
}

fn roots(roots: &[wire::Root], name: &str) -> Result<(), BadCovenant> {
    for (at, root) in roots.iter().enumerate() {
        let is_whole = x509_parser::parse_x509_certificate(&root.der).is_ok_and(|(rest, _)| rest.is_empty());
        if !is_whole {
            return Err(Breach::Root.at(format!("{name}[{at}]")));
        }
        for (of, text) in root.oins.iter().enumerate() {
            oin(text, || format!("{name}[{at}].oins[{of}]"))?;
        }
    }
    Ok(())
}

fn participants(message: &wire::Covenant, hub_oin: Oin, tables: &mut Tables) -> Result<(), BadCovenant> {
    for (at, participant) in message.participants.iter().enumerate() {
        let field = || format!("participants[{at}]");
        let oin = oin(&participant.oin, || format!("participants[{at}].oin"))?;
        if tables.participants.insert(oin, at).is_some() {
            return Err(Breach::ParticipantTwice.at(field()));
        }
        let municipality = match participant.municipality.as_str() {
            "" => None,
            code => Some(municipality(code, || format!("participants[{at}].municipality"))?),
        };
        for (place, grant) in participant.functions.iter().enumerate() {
            let field = || format!("participants[{at}].functions[{place}]");
            let address = Address { oin, function: grant.function() };
            if tables.grants.insert(address, (at, place)).is_some() {
                return Err(Breach::FunctionTwice.at(field()));
            }
            let of_hub = matches!(address.function, Function::Operator | Function::Auditor);
            if oin == hub_oin && !of_hub {
                return Err(Breach::HubCaseFunction.at(field()));
            }
            if grant.unbound && !grant.keys.is_empty() {
                return Err(Breach::UnboundWithKeys.at(field()));
            }
            if grant.unbound && of_hub {
                return Err(Breach::HubUnbound.at(field()));
            }
            let has = |used_for| grant.keys.iter().any(|key| key.r#use() == used_for);
            let has_both = has(wire::Use::Transport) && has(wire::Use::Signing);
            if !grant.unbound && !has_both {
                return Err(Breach::KeyPerUse.at(field()));
            }
            for (row, key) in grant.keys.iter().enumerate() {
                bind(address, key, tables).map_err(|breach| breach.at(format!("{}.keys[{row}]", field())))?;
            }
            // Of several participants of one municipality the first has its mail.
            if let Some(municipality) = municipality {
                tables.routes.own.entry((address.function, municipality)).or_insert(address);
            }
        }
    }
    Ok(())
}

/// One key may serve several functions of one OIN in one use; nothing else.
fn bind(address: Address, key: &wire::BoundKey, tables: &mut Tables) -> Result<(), Breach> {
    let (from, until) = (time(key.valid_from.as_ref()), time(key.valid_until.as_ref()));
    if until <= from {
        return Err(Breach::KeyDates);
    }
    let spki = Digest::try_from(&key.spki_sha256).expect("the canonical form has 32 bytes here");
    let binding = Binding { address, used_for: key.r#use(), from, until };
    let Some(rows) = tables.bindings.get_mut(&spki) else {
        tables.bindings.insert(spki, vec![binding]);
        return Ok(());
    };
    // No rows: a registrar's or the log's.
    let Some(other) = rows.first() else {
        return Err(Breach::KeyUsedTwice);
    };
    if other.address.oin != address.oin || other.used_for != binding.used_for {
        return Err(Breach::KeyUsedTwice);
    }
    rows.push(binding);
    Ok(())
}

fn routes(message: &wire::Covenant, tables: &mut Tables) -> Result<(), BadCovenant> {
    for (at, route) in message.routes.iter().enumerate() {
        let wire_to = route.to.as_ref().expect("the canonical form has a target here");
        let to = Address::try_from(wire_to).map_err(|_| Breach::Oin.at(format!("routes[{at}].to.oin")))?;
        let from =
            calendar::day_start(&route.from).ok_or_else(|| Breach::RouteDate.at(format!("routes[{at}].from")))?;
        let until = match route.until.as_str() {
            "" => Some(i64::MAX),
            day => calendar::day_start(day).filter(|until| from < *until),
        };
        let until = until.ok_or_else(|| Breach::RouteDate.at(format!("routes[{at}].until")))?;
        let types = route.types.iter().fold(0, |bits, number| bits | (1_u32 << number));
        for (place, code) in route.municipalities.iter().enumerate() {
            let municipality = municipality(code, || format!("routes[{at}].municipalities[{place}]"))?;
            let rows = tables.routes.rows.entry((route.function(), municipality)).or_default();
            rows.push(Row { types, from, until, to });
        }
        if to.function != route.function() && !tables.routes.diverting.contains(&route.function()) {
            tables.routes.diverting.push(route.function());
        }
    }
    Ok(())
}

fn rules(message: &wire::Covenant) -> Result<(), BadCovenant> {
    let mut ids = HashSet::new();
    for (at, rule) in message.rules.iter().enumerate() {
        if rule.id.len() > RULE_ID_BYTES_MAX {
            return Err(Breach::RuleId.at(format!("rules[{at}].id")));
        }
        if !ids.insert(rule.id.as_str()) {
            return Err(Breach::RuleTwice.at(format!("rules[{at}].id")));
        }
        let columns = [("types", &rule.types), ("from", &rule.from), ("to", &rule.to), ("regimes", &rule.regimes)];
        if let Some((name, _)) = columns.into_iter().find(|(_, values)| values.is_empty()) {
            return Err(Breach::RuleEmpty.at(format!("rules[{at}].{name}")));
        }
    }
    Ok(())
}

fn lists(message: &wire::Covenant) -> Result<(), BadCovenant> {
    let mut ids = HashSet::new();
    for (at, list) in message.code_lists.iter().enumerate() {
        if !ids.insert(list.id.as_str()) {
            return Err(Breach::CodeTwice.at(format!("code_lists[{at}].id")));
        }
        let mut codes = HashSet::new();
        if let Some(place) = list.codes.iter().position(|code| !codes.insert(code.code.as_str())) {
            return Err(Breach::CodeTwice.at(format!("code_lists[{at}].codes[{place}]")));
        }
    }
    let mut profiles = HashSet::new();
    for (at, profile) in message.profiles.iter().enumerate() {
        if !profiles.insert((profile.name.as_str(), profile.version)) {
            return Err(Breach::ProfileTwice.at(format!("profiles[{at}]")));
        }
    }
    Ok(())
}

fn clocks(message: &wire::Covenant, tables: &mut Tables) -> Result<(), BadCovenant> {
    let mut ids = HashSet::new();
    for (at, clock) in message.clocks.iter().enumerate() {
        if !ids.insert(clock.id.as_str()) {
            return Err(Breach::ClockTwice.at(format!("clocks[{at}].id")));
        }
        let duration = ClockDuration::parse(&clock.duration, clock.working_days);
        tables.clocks.push(duration.ok_or_else(|| Breach::ClockDuration.at(format!("clocks[{at}].duration")))?);
    }
    Ok(())
}

/// Every signature is an old or new registrar's; enough of both have signed, each counted once.
fn signed(item: &wire::SignedItem, message: &wire::Covenant, old: &Old<'_>) -> Result<(), BadCovenant> {
    // The hub file's own word is not taken for granted: with a threshold of 0 anybody could have signed.
    let lowest = if old.test { 1 } else { 2 };
    if old.threshold < lowest || old.registrars.len() > REGISTRARS_MAX {
        return Err(Breach::Threshold.at("trust"));
    }
    let signed = item::pae(&item.payload_type, &item.payload);
    let mut keys: HashSet<&Bytes> = HashSet::new();
    for (at, signature) in item.signatures.iter().enumerate() {
        let all = old.registrars.iter().chain(&message.registrars);
        let signer = all.map(|registrar| &registrar.ed25519).find(|key| {
            let key = <&[u8; 32]>::try_from(key.as_ref());
            key.is_ok_and(|key| signature::verify_ed25519(key, &signed, &signature.sig).is_ok())
        });
        let unknown = || old.says(Breach::Signature, Breach::FloorSignature).at(format!("signatures[{at}]"));
        keys.insert(signer.ok_or_else(unknown)?);
    }
    if count(old.registrars, &keys) < old.threshold as usize {
        return Err(old.says(Breach::TooFewOld, Breach::FloorTooFew).at("signatures"));
    }
    if count(&message.registrars, &keys) < message.threshold as usize {
        return Err(Breach::TooFewNew.at("signatures"));
    }
    Ok(())
}

/// Counts the registrars who signed, by distinct OIN and distinct key, whichever is less.
fn count(registrars: &[wire::Registrar], keys: &HashSet<&Bytes>) -> usize {
    let signers = registrars.iter().filter(|registrar| keys.contains(&registrar.ed25519));
    let (oins, keys): (HashSet<_>, HashSet<_>) =
        signers.map(|registrar| (registrar.oin.as_str(), &registrar.ed25519)).unzip();
    oins.len().min(keys.len())
}

/// Returns the digest of an Ed25519 key's SubjectPublicKeyInfo, if it is a good key.
fn spki_of(raw: &Bytes) -> Result<Digest, Breach> {
    let raw = raw.as_ref().try_into().expect("the canonical form has 32 bytes here");
    PublicKey::from_ed25519(raw).map(|key| key.spki_sha256()).map_err(Breach::Key)
}

fn oin(text: &str, field: impl FnOnce() -> String) -> Result<Oin, BadCovenant> {
    Oin::try_from(text).map_err(|_| Breach::Oin.at(field()))
}

fn municipality(text: &str, field: impl FnOnce() -> String) -> Result<routes::Municipality, BadCovenant> {
    routes::municipality(text).ok_or_else(|| Breach::Municipality.at(field()))
}

fn time(time: Option<&prost_types::Timestamp>) -> Timestamp {
    let time = time.expect("the canonical form has a time here");
    Timestamp::try_from(time).expect("the canonical form has times within 2020–2100")
}
