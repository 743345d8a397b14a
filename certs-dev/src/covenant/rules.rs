//! The decision table and what it refers to: rules, code lists, content profiles, clocks.

use std::collections::BTreeMap;

use seinpost_protocol::wire;

use super::names;
use super::tables::{self, Tables};
use crate::fault::Fault;

/// Makes the rules, groups replaced by their members, in the table's order.
pub(super) fn rules(tables: &Tables) -> Result<Vec<wire::Rule>, Fault> {
    let table = &tables.rules;
    let known_bases = tables.code_lists.list.iter().find(|list| list.id == "legal_basis");
    let known_bases: Vec<&str> =
        known_bases.into_iter().flat_map(|list| &list.codes).map(|code| code.code.as_str()).collect();
    table.rule.iter().map(|rule| one_rule(rule, table, tables, &known_bases)).collect()
}

fn one_rule(
    rule: &tables::Rule,
    table: &tables::Rules,
    tables: &Tables,
    known_bases: &[&str],
) -> Result<wire::Rule, Fault> {
    let at = format!("rules.toml: rule {}", rule.id);
    let mut types = names::numbers(&at, &names::expand(&at, &rule.types, &table.types)?, names::signal_type)?;
    if rule.oral {
        types.push(wire::SignalType::OralDisclosureRecord.into());
    }
    if !known_bases.contains(&rule.legal_basis.as_str()) {
        return Err(Fault::data(at, format!("{} is not in the list of legal bases", rule.legal_basis)));
    }
    if let Some(unknown) =
        rule.profiles.iter().find(|name| tables.profiles.profiles.iter().all(|profile| profile.name != **name))
    {
        return Err(Fault::data(at, format!("{unknown} is no profile")));
    }
    let functions =
        |groups: &[String]| names::numbers(&at, &names::expand(&at, groups, &table.groups)?, names::function);
    Ok(wire::Rule {
        id: rule.id.clone(),
        types,
        from: functions(&rule.from)?,
        to: functions(&rule.to)?,
        legal_basis: rule.legal_basis.clone(),
        regimes: names::numbers(&at, &rule.regimes, names::regime)?,
        reference: match &rule.reference {
            Some(code) => names::reference(&at, code)?.into(),
            None => wire::Reference::None.into(),
        },
        urgencies: names::numbers(&at, &rule.urgencies, names::urgency)?,
        purposes: names::numbers(&at, &rule.purposes, names::purpose)?,
        article: rule.article.clone(),
        reason_nl: rule.reason_nl.clone(),
        reason_en: rule.reason_en.clone(),
        source: rule.source.clone(),
        profiles: rule.profiles.clone(),
        supersedes: rule.supersedes,
        four_eyes: rule.four_eyes,
        condition_nl: rule.condition_nl.clone(),
        condition_en: rule.condition_en.clone(),
    })
}

/// Makes the code lists: those of the table, and the labels of functions and types.
pub(super) fn code_lists(tables: &Tables) -> Result<Vec<wire::CodeList>, Fault> {
    let code = |code: &tables::Code| wire::Code {
        code: code.code.clone(),
        label_nl: code.nl.clone(),
        label_en: code.en.clone(),
        source: code.source.clone(),
    };
    let label = |code: &String, nl: &String, en: &String| wire::Code {
        code: code.clone(),
        label_nl: nl.clone(),
        label_en: en.clone(),
        source: String::new(),
    };
    let mut lists: Vec<wire::CodeList> = tables
        .code_lists
        .list
        .iter()
        .map(|list| wire::CodeList { id: list.id.clone(), codes: list.codes.iter().map(code).collect() })
        .collect();
    let functions = &tables.functions.functions;
    for function in functions {
        names::function("functions.toml", &function.code)?;
    }
    let types = &tables.signal_types.r#type;
    for one in types {
        names::signal_type("signal_types.toml", &one.code)?;
    }
    lists.push(wire::CodeList {
        id: "function".to_owned(),
        codes: functions.iter().map(|one| label(&one.code, &one.nl, &one.en)).collect(),
    });
    lists.push(wire::CodeList {
        id: "signal_type".to_owned(),
        codes: types.iter().map(|one| label(&one.code, &one.nl, &one.en)).collect(),
    });
    Ok(lists)
}

/// Makes the content profiles.
pub(super) fn profiles(tables: &Tables) -> Result<Vec<wire::Profile>, Fault> {
    let one = |profile: &tables::Profile| {
        let at = format!("profiles.toml: profile {}", profile.name);
        if let Some(path) = profile.must.iter().chain(&profile.may).find(|path| !is_content_path(path)) {
            return Err(Fault::data(at, format!("{path} is no field of a content")));
        }
        Ok(wire::Profile {
            name: profile.name.clone(),
            version: profile.version,
            r#type: names::signal_type(&at, &profile.r#type)?.into(),
            must: profile.must.clone(),
            may: profile.may.clone(),
        })
    };
    tables.profiles.profiles.iter().map(one).collect()
}

/// Answers whether a path begins with a field of a content. (Those of types that come later are listed already: the
/// covenant names them before their messages exist.)
fn is_content_path(path: &str) -> bool {
    const FIELDS: [&str; 25] = [
        "subject",
        "authority",
        "measures",
        "observations",
        "exploitation",
        "other_persons",
        "safety",
        "missing",
        "return_from_absence",
        "shelter",
        "offer",
        "placement",
        "request",
        "response",
        "investigation",
        "prosecution",
        "not_suspect",
        "registration",
        "invite",
        "oral",
        "change",
        "question",
        "advice",
        "handler",
        "attachments",
    ];
    let first = path.split(['.', '[']).next().unwrap_or_default();
    FIELDS.contains(&first)
}

/// Makes the clocks that hold now. No types, senders or recipients means all.
pub(super) fn clocks(tables: &Tables) -> Result<Vec<wire::Clock>, Fault> {
    let now = tables.clocks.clock.iter().filter(|clock| !clock.later);
    let groups = &tables.rules.groups;
    now.map(|clock| {
        let at = format!("clocks.toml: clock {}", clock.id);
        let functions = |names: &[String]| names::numbers(&at, &names::expand(&at, names, groups)?, names::function);
        Ok(wire::Clock {
            id: clock.id.clone(),
            types: names::numbers(&at, &clock.types, names::signal_type)?,
            from: functions(&clock.from)?,
            to: functions(&clock.to)?,
            urgency: match &clock.urgency {
                Some(code) => names::urgency(&at, code)?.into(),
                None => wire::Urgency::Unspecified.into(),
            },
            step: clock.step.clone(),
            duration: clock.duration.clone(),
            working_days: clock.working_days,
            article: clock.article.clone(),
        })
    })
    .collect()
}

/// A type of signal from one function to another.
pub type Cell = (wire::SignalType, wire::Function, wire::Function);

/// Returns every (type, from, to) that the chain needs: the table of signal types, its groups expanded.
pub(super) fn needed_cells(tables: &Tables) -> Result<std::collections::BTreeSet<Cell>, Fault> {
    let groups: &BTreeMap<_, _> = &tables.rules.groups;
    let mut cells = std::collections::BTreeSet::new();
    for one in &tables.signal_types.r#type {
        let at = format!("signal_types.toml: type {}", one.code);
        let signal_type = names::signal_type(&at, &one.code)?;
        let functions = |names: &[String]| -> Result<Vec<wire::Function>, Fault> {
            names::expand(&at, names, groups)?.iter().map(|code| names::function(&at, code)).collect()
        };
        for pairs in &one.pairs {
            let to = functions(&pairs.to)?;
            for from in functions(&pairs.from)? {
                cells.extend(to.iter().map(|to| (signal_type, from, *to)));
            }
        }
    }
    Ok(cells)
}
