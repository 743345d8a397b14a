//! A content profile against a content: the law's "at least" and "at most", checked where content can be read.
//!
//! A profile lists paths. `subject` covers all below it; `observations[].text` means that field of every element. A
//! must path has to be filled, in every element where it goes through a list; whatever is filled and covered by
//! neither must nor may is excess.

use prost_reflect::{DynamicMessage, Kind, ReflectMessage, Value};
use seinpost_protocol::wire;

/// Most filled leaves that are held against a profile: a right content has less than a thousand, and one with more has
/// more elements somewhere than it may, which the check of the content by itself says.
const LEAVES_MAX: usize = 4_096;

/// How a content departs from its profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The path: of the profile for what is missing, of the content (with indexes) for what is too much.
    pub path: String,
    /// Which of the two it is.
    pub kind: DepartureKind,
}

/// In which way a content departs from its profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DepartureKind {
    /// A path that must be filled is not.
    Missing,
    /// A path is filled that the profile does not have.
    Excess,
}

/// Returns every departure of `content` from `profile`; none: it holds.
#[must_use]
pub fn departures(content: &DynamicMessage, profile: &wire::Profile) -> Vec<Departure> {
    let missing = profile
        .must
        .iter()
        .filter(|path| !filled(content, &path.split('.').collect::<Vec<_>>()))
        .map(|path| Departure { path: path.clone(), kind: DepartureKind::Missing });
    let mut leaves = Vec::new();
    collect(content, &mut String::new(), &mut String::new(), &mut leaves);
    let excess = leaves
        .into_iter()
        .filter(|(plain, _)| !profile.must.iter().chain(&profile.may).any(|path| covers(path, plain)))
        .map(|(_, path)| Departure { path, kind: DepartureKind::Excess });
    missing.chain(excess).collect()
}

/// Returns whether the profile's path covers the path of a leaf: equal to it, or above it.
fn covers(path: &str, leaf: &str) -> bool {
    leaf.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with("[]"))
}

/// Returns whether the path is filled in the message.
fn filled(message: &DynamicMessage, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    let name = first.trim_end_matches("[]");
    let Some(field) = message.descriptor().get_field_by_name(name) else {
        // A path of a later version of the format: nothing here can fill it.
        return false;
    };
    // False is how protobuf writes both "no" and "not said": a truth value cannot be demanded.
    if field.kind() == Kind::Bool && !field.is_list() {
        return true;
    }
    if !message.has_field(&field) {
        return false;
    }
    match &*message.get_field(&field) {
        Value::List(elements) => elements.iter().all(|element| match element {
            Value::Message(element) => filled(element, rest),
            _ => rest.is_empty(),
        }),
        Value::Message(inner) => filled(inner, rest),
        _ => rest.is_empty(),
    }
}

/// Collects the path of every filled leaf, once plain (`observations[].text`) and once with its indexes.
fn collect(message: &DynamicMessage, plain: &mut String, path: &mut String, leaves: &mut Vec<(String, String)>) {
    // A message that is there and holds nothing (all its fields at their zero) is a leaf of its own.
    let leaf = message.descriptor().full_name() == "google.protobuf.Timestamp" || message.fields().next().is_none();
    if leaf && !plain.is_empty() {
        leaves.push((plain.clone(), path.clone()));
        return;
    }
    for (field, value) in message.fields() {
        if leaves.len() >= LEAVES_MAX {
            return;
        }
        let lengths = (plain.len(), path.len());
        for text in [&mut *plain, &mut *path] {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(field.name());
        }
        match value {
            Value::List(elements) => {
                plain.push_str("[]");
                for (i, element) in elements.iter().enumerate().take(LEAVES_MAX) {
                    let length = path.len();
                    path.push_str(&format!("[{i}]"));
                    match element {
                        Value::Message(element) => collect(element, plain, path, leaves),
                        _ => leaves.push((plain.clone(), path.clone())),
                    }
                    path.truncate(length);
                }
            }
            Value::Message(inner) => collect(inner, plain, path, leaves),
            _ => leaves.push((plain.clone(), path.clone())),
        }
        plain.truncate(lengths.0);
        path.truncate(lengths.1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;

    fn profile(must: &[&str], may: &[&str]) -> wire::Profile {
        let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        wire::Profile { must: paths(must), may: paths(may), ..Default::default() }
    }

    #[track_caller]
    fn check(content: serde_json::Value, profile: &wire::Profile, missing: &[&str], excess: &[&str]) {
        let content = json::parse(&content, &json::descriptor("Content"), "").expect("the content has the right shape");
        let found = departures(&content, profile);
        let of = |kind| found.iter().filter(|d| d.kind == kind).map(|d| d.path.as_str()).collect::<Vec<_>>();
        assert_eq!(of(DepartureKind::Missing), missing);
        assert_eq!(of(DepartureKind::Excess), excess);
    }

    #[test]
    fn a_path_covers_all_below_it_and_nothing_beside_it() {
        let content = serde_json::json!({
            "subject": {"bsn": "999990408", "names": {"family": "Voorbeeld"}},
            "handler": {"name": "Duty desk"},
            "observations": [{"indicator": "DEBTS", "text": "a"}, {"indicator": "DEBTS"}],
        });
        check(content.clone(), &profile(&["subject", "handler", "observations"], &[]), &[], &[]);
        check(
            content.clone(),
            &profile(&["handler"], &["subject.bsn", "observations[].indicator"]),
            &[],
            &["subject.names.family", "observations[0].text"],
        );
        check(
            content,
            &profile(&["subject", "handler"], &["observation"]),
            &[],
            &["observations[0].indicator", "observations[0].text", "observations[1].indicator"],
        );
    }

    #[test]
    fn what_must_be_filled_is_missed_in_any_element() {
        let content = serde_json::json!({"observations": [{"text": "a"}, {"indicator": "DEBTS"}]});
        check(content.clone(), &profile(&["observations[].text"], &["observations"]), &["observations[].text"], &[]);
        check(content.clone(), &profile(&["observations", "subject"], &[]), &["subject"], &[]);
        check(content, &profile(&["a_field_of_later"], &["observations"]), &["a_field_of_later"], &[]);
    }

    #[test]
    fn an_empty_message_is_there_and_can_be_excess() {
        check(serde_json::json!({"safety": {}}), &profile(&[], &[]), &[], &["safety"]);
        check(serde_json::json!({}), &profile(&[], &[]), &[], &[]);
    }
}
