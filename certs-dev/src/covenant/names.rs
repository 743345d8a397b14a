//! What the names in the tables mean: functions, types, regimes and the groups of them.

use std::collections::BTreeMap;

use seinpost_protocol::wire;

use crate::fault::Fault;

/// Reads a function's code, such as `SAFE_HOME`.
pub(super) fn function(at: &str, code: &str) -> Result<wire::Function, Fault> {
    known(at, code, wire::Function::from_str_name(&format!("FUNCTION_{code}")), wire::Function::Unspecified)
}

/// Reads a signal type's code, such as `CARE_REPORT`.
pub(super) fn signal_type(at: &str, code: &str) -> Result<wire::SignalType, Fault> {
    known(at, code, wire::SignalType::from_str_name(&format!("SIGNAL_TYPE_{code}")), wire::SignalType::Unspecified)
}

/// Reads a source regime's code, such as `WPG_8`.
pub(super) fn regime(at: &str, code: &str) -> Result<wire::SourceRegime, Fault> {
    known(
        at,
        code,
        wire::SourceRegime::from_str_name(&format!("SOURCE_REGIME_{code}")),
        wire::SourceRegime::Unspecified,
    )
}

/// Reads a purpose's code, such as `PROTECT_CHILD`.
pub(super) fn purpose(at: &str, code: &str) -> Result<wire::Purpose, Fault> {
    known(at, code, wire::Purpose::from_str_name(&format!("PURPOSE_{code}")), wire::Purpose::Unspecified)
}

/// Reads an urgency's code, such as `IMMEDIATE`.
pub(super) fn urgency(at: &str, code: &str) -> Result<wire::Urgency, Fault> {
    known(at, code, wire::Urgency::from_str_name(&format!("URGENCY_{code}")), wire::Urgency::Unspecified)
}

/// Reads which reference a rule requires.
pub(super) fn reference(at: &str, code: &str) -> Result<wire::Reference, Fault> {
    known(at, code, wire::Reference::from_str_name(&format!("REFERENCE_{code}")), wire::Reference::Unspecified)
}

/// Reads codes of one kind into the wire's numbers, in their order.
pub(super) fn numbers<T: Into<i32>>(
    at: &str,
    codes: &[String],
    read: impl Fn(&str, &str) -> Result<T, Fault>,
) -> Result<Vec<i32>, Fault> {
    codes.iter().map(|code| read(at, code).map(Into::into)).collect()
}

fn known<T: PartialEq>(at: &str, code: &str, found: Option<T>, unspecified: T) -> Result<T, Fault> {
    found.filter(|found| *found != unspecified).ok_or_else(|| Fault::data(at, format!("{code} is not known")))
}

/// Replaces each group by its members, groups within groups too; each name once, in the order of first mention.
pub(super) fn expand(at: &str, names: &[String], groups: &BTreeMap<String, Vec<String>>) -> Result<Vec<String>, Fault> {
    fn add(
        at: &str,
        names: &[String],
        groups: &BTreeMap<String, Vec<String>>,
        depth: usize,
        all: &mut Vec<String>,
    ) -> Result<(), Fault> {
        // No group holds itself if none is deeper than there are groups.
        if depth > groups.len() {
            return Err(Fault::data(at, "a group holds itself"));
        }
        for name in names {
            match groups.get(name) {
                Some(members) => add(at, members, groups, depth + 1, all)?,
                None if all.contains(name) => {}
                None => all.push(name.clone()),
            }
        }
        Ok(())
    }
    let mut all = Vec::new();
    add(at, names, groups, 0, &mut all)?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_group_within_a_group_is_expanded_and_nobody_stands_twice() {
        let groups =
            BTreeMap::from([("police".to_owned(), names(&["A", "B"])), ("law".to_owned(), names(&["police", "C"]))]);
        assert_eq!(expand("x", &names(&["B", "law", "C"]), &groups).expect("names"), names(&["B", "A", "C"]));
    }

    #[test]
    fn a_group_that_holds_itself_is_refused() {
        let groups = BTreeMap::from([("a".to_owned(), names(&["b"])), ("b".to_owned(), names(&["a"]))]);
        assert!(expand("x", &names(&["a"]), &groups).is_err());
    }

    #[test]
    fn an_unknown_name_and_a_name_for_nothing_are_refused() {
        assert!(function("x", "SAFE_HOUSE").is_err());
        assert!(function("x", "UNSPECIFIED").is_err());
        assert_eq!(function("x", "SAFE_HOME").expect("a function"), wire::Function::SafeHome);
    }
}
