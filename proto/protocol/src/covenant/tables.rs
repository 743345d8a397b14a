//! What a covenant's tables say by themselves and to each other.
//!
//! In comes the canonical message, before anybody looks at its signatures; out goes what was read on the way, which the
//! index keeps ([`Tables`]), or the first rule that a row breaks, with its place. Which covenant came before, and who
//! signed, is never asked here.

use std::collections::HashSet;

use bytes::Bytes;

use crate::address::{Address, Function, Oin};
use crate::digest::Digest;
use crate::signature::PublicKey;
use crate::time::Timestamp;
use crate::wire;

use super::breach::{BadCovenant, Breach};
use super::calendar::{self, Duration as ClockDuration};
use super::index::{Binding, Tables};
use super::routes::{self, Row};

/// Longest id of a rule in bytes. An acceptance names one for each of up to eight addressees, and a record is at most
/// 8 KiB: a covenant with longer ids would make signals that no record can accept.
const RULE_ID_BYTES_MAX: usize = 64;

/// All that the tables say by themselves and to each other; what was read on the way is the index.
pub(super) fn read(message: &wire::Covenant, test: bool) -> Result<Tables, BadCovenant> {
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

/// Returns the digest of an Ed25519 key's SubjectPublicKeyInfo, if it is a good key.
fn spki_of(raw: &Bytes) -> Result<Digest, Breach> {
    let raw = raw.as_ref().try_into().expect("the canonical form has 32 bytes here");
    PublicKey::from_ed25519(raw).map(|key| key.spki_sha256()).map_err(Breach::Key)
}

pub(super) fn oin(text: &str, field: impl FnOnce() -> String) -> Result<Oin, BadCovenant> {
    Oin::try_from(text).map_err(|_| Breach::Oin.at(field()))
}

fn municipality(text: &str, field: impl FnOnce() -> String) -> Result<routes::Municipality, BadCovenant> {
    routes::municipality(text).ok_or_else(|| Breach::Municipality.at(field()))
}

pub(super) fn time(time: Option<&prost_types::Timestamp>) -> Timestamp {
    let time = time.expect("the canonical form has a time here");
    Timestamp::try_from(time).expect("the canonical form has times within 2020–2100")
}
