//! Who takes part, and which address a function has for a municipality: participants and routes.
//!
//! In come organisations with the part of the country that each serves; out come participants with their grants, and
//! routes. Everything stands in the order of the tables, so that the same tables give the same bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use seinpost_protocol::address::{Address, Function, Oin};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::wire;

use super::names;
use super::tables::{Kind, Organisation, Organisations, Per, Tables};
use super::{Draft, oin};
use crate::fault::Fault;

/// Two digits of an OIN that say "municipality".
pub(super) const MUNICIPALITY: u32 = 10;

/// Makes all participants.
pub(super) fn participants(tables: &Tables, draft: &Draft) -> Result<Vec<wire::Participant>, Fault> {
    let granting = Granting::new(tables, draft)?;
    let mut participants = Vec::new();
    for kind in &tables.organisations.kind {
        let members = members(kind, tables)?;
        let several = members.len() > 1;
        for member in &members {
            let oin = oin(kind.kind, member.number)?;
            let name = if several { format!("{}-{:02}", kind.mailbox, member.number) } else { kind.mailbox.clone() };
            participants.push(wire::Participant {
                oin: oin.as_str().to_owned(),
                name: format!("{} (TEST)", member.name),
                municipality: String::new(),
                contact: Some(contact(&format!("{name}@seinpost.test"), kind.kind, member.number)),
                functions: granting.all(oin, &kind.functions)?,
                suspended: false,
            });
        }
    }
    let town_halls = tables.municipalities.iter().map(|one| (one.code.as_str(), one.name.as_str(), false));
    let former = tables.organisations.former.iter().map(|one| (one.municipality.as_str(), one.name.as_str(), true));
    let mut town_halls: Vec<_> = town_halls.chain(former).collect();
    town_halls.sort_unstable();
    for (code, name, suspended) in town_halls {
        let number =
            code.parse().map_err(|_| Fault::data("organisations.toml", format!("{code} is no municipality")))?;
        let oin = oin(MUNICIPALITY, number)?;
        let mut functions = tables.organisations.municipality_functions.clone();
        if tables.organisations.care_coordinators.iter().any(|coordinator| coordinator.municipality == code) {
            functions.push("CARE_COORDINATOR".to_owned());
        }
        participants.push(wire::Participant {
            oin: oin.as_str().to_owned(),
            name: format!("Gemeente {name} (TEST)"),
            municipality: code.to_owned(),
            contact: Some(contact(&format!("{}@gemeente.test", plain(name)), MUNICIPALITY, number)),
            functions: granting.all(oin, &functions)?,
            suspended,
        });
    }
    Ok(participants)
}

/// Makes all routes: of each organisation's functions for whom it serves, then the care coordinators', then those that
/// lead from a municipality that is no more to its successor.
pub(super) fn routes(tables: &Tables) -> Result<Vec<wire::Route>, Fault> {
    let organisations = &tables.organisations;
    let mut routes = Vec::new();
    for kind in &organisations.kind {
        for member in members(kind, tables)? {
            let oin = oin(kind.kind, member.number)?;
            for code in &kind.functions {
                let function = names::function("organisations.toml", code)?;
                let serves = |region: &str| member.all || member.regions.iter().any(|one| one == region);
                serve(tables, Address { oin, function }, serves, &mut routes)?;
            }
        }
    }
    for coordinator in &organisations.care_coordinators {
        let at = || {
            Fault::data(
                "organisations.toml: care_coordinators",
                format!("{} is no municipality of its region", coordinator.municipality),
            )
        };
        let municipality = tables
            .municipalities
            .iter()
            .find(|one| one.code == coordinator.municipality && one.region == coordinator.region);
        let number = municipality.ok_or_else(at)?.code.parse().map_err(|_| at())?;
        let to = Address { oin: oin(MUNICIPALITY, number)?, function: Function::CareCoordinator };
        serve(tables, to, |region| region == coordinator.region, &mut routes)?;
    }
    for former in &organisations.former {
        let number =
            former.into.parse().map_err(|_| Fault::data("organisations.toml: former", "into is no municipality"))?;
        let oin = oin(MUNICIPALITY, number)?;
        for code in &organisations.municipality_functions {
            let function = names::function("organisations.toml", code)?;
            routes.push(wire::Route {
                function: function.into(),
                types: Vec::new(),
                municipalities: vec![former.municipality.clone()],
                to: Some(Address { oin, function }.into()),
                from: former.on.clone(),
                until: String::new(),
            });
        }
    }
    Ok(routes)
}

/// Adds the routes to an address for the municipalities of the regions that it serves. One that is no more belonged to
/// its own region until it was merged, and to its successor's from that day.
fn serve(
    tables: &Tables,
    to: Address,
    serves: impl Fn(&str) -> bool,
    routes: &mut Vec<wire::Route>,
) -> Result<(), Fault> {
    let organisations = &tables.organisations;
    let mut rows: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for municipality in &tables.municipalities {
        if serves(&municipality.region) {
            rows.entry((&organisations.routes_from, "")).or_default().push(&municipality.code);
        }
    }
    for former in &organisations.former {
        let successor = tables.municipalities.iter().find(|one| one.code == former.into);
        let after =
            &successor.ok_or_else(|| Fault::data("organisations.toml: former", "into is no municipality"))?.region;
        let validity = match (serves(&former.region), serves(after)) {
            (true, true) => (organisations.routes_from.as_str(), ""),
            (true, false) => (organisations.routes_from.as_str(), former.on.as_str()),
            (false, true) => (former.on.as_str(), ""),
            (false, false) => continue,
        };
        rows.entry(validity).or_default().push(&former.municipality);
    }
    for ((from, until), mut municipalities) in rows {
        municipalities.sort_unstable();
        routes.push(wire::Route {
            function: to.function.into(),
            types: Vec::new(),
            municipalities: municipalities.into_iter().map(str::to_owned).collect(),
            to: Some(to.into()),
            from: from.to_owned(),
            until: until.to_owned(),
        });
    }
    Ok(())
}

/// Returns the organisations of a kind: those that are written out, or one for each area or region.
fn members(kind: &Kind, tables: &Tables) -> Result<Vec<Organisation>, Fault> {
    let Organisations { areas, .. } = &tables.organisations;
    let member = |number, name, regions| Organisation { number, name, regions, all: false };
    match kind.per {
        None => Ok(kind.organisations.clone()),
        Some(_) if !kind.organisations.is_empty() => {
            Err(Fault::data(format!("organisations.toml: kind {}", kind.kind), "has both `per` and `organisations`"))
        }
        Some(Per::Area) => {
            let named = |name: &str| kind.name.replace("{area}", name);
            Ok(areas.iter().map(|area| member(area.number, named(&area.name), area.regions.clone())).collect())
        }
        Some(Per::Region) => {
            let regions: BTreeMap<&str, &str> =
                tables.municipalities.iter().map(|one| (one.region.as_str(), one.region_name.as_str())).collect();
            let one = |(code, name): (&str, &str)| {
                let number = code.parse().expect("a region's code is two digits");
                member(number, kind.name.replace("{region}", name), vec![code.to_owned()])
            };
            Ok(regions.into_iter().map(one).collect())
        }
    }
}

/// Makes grants: which keys each function is bound to.
struct Granting<'a> {
    draft: &'a Draft,
    bsn: Vec<Function>,
}

impl<'a> Granting<'a> {
    fn new(tables: &Tables, draft: &'a Draft) -> Result<Self, Fault> {
        let may = tables.functions.functions.iter().filter(|function| function.bsn);
        let bsn = may.map(|function| names::function("functions.toml", &function.code)).collect::<Result<_, _>>()?;
        Ok(Self { draft, bsn })
    }

    fn all(&self, oin: Oin, functions: &[String]) -> Result<Vec<wire::FunctionGrant>, Fault> {
        let read = functions.iter().map(|code| names::function("organisations.toml", code));
        read.map(|function| function.map(|function| self.one(Address { oin, function }))).collect()
    }

    fn one(&self, address: Address) -> wire::FunctionGrant {
        let mut grant = wire::FunctionGrant {
            function: address.function.into(),
            keys: Vec::new(),
            unbound: self.draft.unbound.contains(&address),
            key_floor: 0,
            bsn: self.bsn.contains(&address.function),
        };
        if grant.unbound {
            return grant;
        }
        for used_for in [wire::Use::Transport, wire::Use::Signing] {
            let known = self.draft.keys.iter().filter(|key| key.address == address && key.used_for == used_for);
            let mut keys: Vec<Digest> = known.map(|key| key.spki_sha256).collect();
            if keys.is_empty() {
                keys.push(thrown_away(address, used_for));
            }
            grant.keys.extend(keys.into_iter().map(|key| wire::BoundKey {
                spki_sha256: Bytes::from(key),
                r#use: used_for.into(),
                valid_from: Some(self.draft.keys_validity.from.into()),
                valid_until: Some(self.draft.keys_validity.until.into()),
            }));
        }
        grant
    }
}

/// Returns what stands for a key that nobody has: a function that no development profile uses is bound to it, so that
/// nobody can act in it. The digest is of a text, not of a key; finding a key with it would mean breaking SHA-256.
pub(super) fn thrown_away(address: Address, used_for: wire::Use) -> Digest {
    Digest::of(format!("seinpost.test/thrown-away/{address}/{}", used_for.as_str_name()).as_bytes())
}

/// Makes a contact with telephone numbers that cannot be dialled: no number begins with a zero after its country code.
fn contact(mailbox: &str, kind: u32, number: u32) -> wire::Contact {
    wire::Contact {
        mailbox: mailbox.to_owned(),
        phone: format!("+31 0{kind} 0{number:04}"),
        urgent_phone: format!("+31 0{kind} 9{number:04}"),
    }
}

/// Writes a name in small letters without accents, with a hyphen for all else.
fn plain(name: &str) -> String {
    let mut plain = String::new();
    for character in name.to_lowercase().chars() {
        let letter = match character {
            'á' | 'à' | 'â' | 'ä' => 'a',
            'é' | 'è' | 'ê' | 'ë' => 'e',
            'í' | 'ï' => 'i',
            'ó' | 'ô' | 'ö' => 'o',
            'ú' | 'û' | 'ü' => 'u',
            other => other,
        };
        if letter.is_ascii_alphanumeric() {
            plain.push(letter);
        } else if !plain.is_empty() && !plain.ends_with('-') {
            plain.push('-');
        }
    }
    plain.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_a_plain_mailbox() {
        assert_eq!(plain("Súdwest-Fryslân"), "sudwest-fryslan");
        assert_eq!(plain("'s-Gravenhage"), "s-gravenhage");
        assert_eq!(plain("Bergen (L.)"), "bergen-l");
        assert_eq!(plain("Nuenen, Gerwen en Nederwetten"), "nuenen-gerwen-en-nederwetten");
    }
}
