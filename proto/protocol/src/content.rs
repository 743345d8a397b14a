//! What the content of a signal must be by itself: every bound, every code, every number that must pass a test.
//!
//! In comes a content as decoded, with the covenant's code lists; out goes the list of all its faults, each with its
//! path, so that a person mends a file once and not once per fault. Which fields a type must and may fill is the
//! content profile's to say (the client checks it, since the hub is blind); here stands what holds for every type.
//! A fault names the field and the rule; it quotes what was written only for codes and numbers that the writer must
//! find again, and is shown to the writer alone.

use std::fmt;

use bytes::Bytes;
use prost::Message as _;

use crate::address::Oin;
use crate::time::Timestamp;
use crate::wire;

/// Longest content in bytes: the largest size class, 1,024 KiB, less four bytes of length and sixteen of tag.
pub const CONTENT_BYTES_MAX: usize = 1024 * 1024 - 20;
/// Most observations in one content: what a person can weigh, and a bound on the work of checking.
pub const OBSERVATIONS_MAX: usize = 40;
/// Longest text of an observation, in characters: a page.
pub const OBSERVATION_TEXT_CHARS_MAX: usize = 2_000;
/// Longest question or answer of a consultation, in characters: two pages.
pub const QUESTION_CHARS_MAX: usize = 4_000;

/// Most faults that are told of one content. Who opens a content opens what somebody else made: a mebibyte may hold half a
/// million empty observations, each wrong in three ways.
pub const FAULTS_MAX: usize = 256;
/// Longest word on what is wrong, in characters.
const WRONG_CHARS_MAX: usize = 200;

/// One thing that is wrong with a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldFault {
    /// Path of the field, such as `observations[2].indicator`.
    pub field: String,
    /// What is wrong with it.
    pub wrong: String,
    /// What would be right.
    pub allowed: String,
}

impl FieldFault {
    /// Makes a fault of one field.
    pub fn new(field: impl Into<String>, wrong: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { field: field.into(), wrong: wrong.into(), allowed: allowed.into() }
    }
}

impl fmt::Display for FieldFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; allowed: {}", self.field, self.wrong, self.allowed)
    }
}

/// Answers whether a code list of the covenant has a code.
pub trait Codes {
    /// Returns whether the list has the code.
    fn has(&self, list: &str, code: &str) -> bool;
}

impl<F: Fn(&str, &str) -> bool> Codes for F {
    fn has(&self, list: &str, code: &str) -> bool {
        self(list, code)
    }
}

/// Name of the covenant's code list of activities.
pub const LIST_ACTIVITY: &str = "activity";
/// Name of the covenant's code list of means.
pub const LIST_MEANS: &str = "means";
/// Name of the covenant's code list of indicators.
pub const LIST_INDICATOR: &str = "indicator";

/// Decodes a content from its canonical bytes.
///
/// # Errors
/// A fault at the path `content` if the bytes are no content, hold a field that is not known, or are not the one
/// canonical encoding of what they say.
pub fn decode(bytes: &Bytes) -> Result<wire::Content, FieldFault> {
    if bytes.len() > CONTENT_BYTES_MAX {
        return Err(FieldFault::new("content", "too long", format!("up to {CONTENT_BYTES_MAX} bytes")));
    }
    let content = wire::Content::decode(bytes.clone())
        .map_err(|_| FieldFault::new("content", "cannot be decoded", "a seinpost.v1.Content"))?;
    if content.encode_to_vec() != bytes.as_ref() {
        return Err(FieldFault::new("content", "holds an unknown field or is not canonical", "a seinpost.v1.Content"));
    }
    Ok(content)
}

/// Checks a content by itself and returns all its faults; none: it is right.
///
/// `bsn_allowed` says whether the covenant lets the sender use the citizen service number.
pub fn check(content: &wire::Content, codes: &dyn Codes, bsn_allowed: bool) -> Vec<FieldFault> {
    let mut check = Check { codes, bsn_allowed, faults: Vec::new() };
    check.content(content);
    check.faults
}

/// Returns the first run of nine digits in `text` that passes the eleven-test, with `.`, `/`, `-` and spaces left
/// out: what looks like a BSN must not stand in free text.
pub fn bsn_within(text: &str) -> Option<String> {
    let mut run = String::new();
    for character in text.chars().chain(std::iter::once('x')) {
        match character {
            '0'..='9' => run.push(character),
            '.' | '/' | '-' | ' ' => {}
            _ => {
                let found = run.as_bytes().windows(9).find_map(|nine| {
                    let nine = std::str::from_utf8(nine).expect("digits are ASCII");
                    passes_eleven_test(nine).then(|| nine.to_owned())
                });
                if found.is_some() {
                    return found;
                }
                run.clear();
            }
        }
    }
    None
}

/// Returns whether `number` is nine digits that pass the eleven-test of the BSN: 9·d₁ + 8·d₂ + … + 2·d₈ − d₉ is a
/// multiple of eleven, and not all digits are zero.
#[must_use]
pub fn passes_eleven_test(number: &str) -> bool {
    let digits = number.as_bytes();
    if digits.len() != 9 || !digits.iter().all(u8::is_ascii_digit) || digits.iter().all(|digit| *digit == b'0') {
        return false;
    }
    let weights = [9, 8, 7, 6, 5, 4, 3, 2, -1];
    let sum: i32 = digits.iter().zip(weights).map(|(digit, weight)| i32::from(digit - b'0') * weight).sum();
    sum % 11 == 0
}

struct Check<'a> {
    codes: &'a dyn Codes,
    bsn_allowed: bool,
    faults: Vec<FieldFault>,
}

impl Check<'_> {
    fn content(&mut self, content: &wire::Content) {
        if let Some(subject) = &content.subject {
            self.subject("subject", subject, true);
        }
        self.count("authority", content.authority.len(), 0, 8);
        // Of more than there may be, those beyond are not looked at.
        for (i, authority) in content.authority.iter().enumerate().take(8) {
            self.authority(&format!("authority[{i}]"), authority);
        }
        self.count("measures", content.measures.len(), 0, 8);
        for (i, measure) in content.measures.iter().enumerate().take(8) {
            self.measure(&format!("measures[{i}]"), measure);
        }
        self.count("observations", content.observations.len(), 0, OBSERVATIONS_MAX);
        for (i, observation) in content.observations.iter().enumerate().take(OBSERVATIONS_MAX) {
            self.observation(&format!("observations[{i}]"), observation);
        }
        if let Some(exploitation) = &content.exploitation {
            self.exploitation("exploitation", exploitation);
        }
        self.count("other_persons", content.other_persons.len(), 0, 16);
        for (i, person) in content.other_persons.iter().enumerate().take(16) {
            let at = format!("other_persons[{i}]");
            self.known::<wire::PersonRole>(&at, "role", person.role);
            match &person.identity {
                Some(identity) => self.subject(&format!("{at}.identity"), identity, false),
                None => self.fault(format!("{at}.identity"), "missing", "who the person is"),
            }
        }
        if let Some(safety) = &content.safety {
            self.texts("safety.do_not_contact", &safety.do_not_contact, 8, 160);
            self.text("safety.medical_need", &safety.medical_need, 0, 500);
            self.text("safety.safe_contact_way", &safety.safe_contact_way, 0, 500);
        }
        if let Some(question) = &content.question {
            self.question("question", question);
        }
        if let Some(advice) = &content.advice {
            self.advice("advice", advice);
        }
        if let Some(handler) = &content.handler {
            self.text("handler.name", &handler.name, 1, 120);
            self.text("handler.role", &handler.role, 0, 120);
            self.phone("handler.phone", &handler.phone);
            self.text("handler.email", &handler.email, 0, 160);
            if !handler.email.is_empty() && !handler.email.contains('@') {
                self.fault("handler.email", "no e-mail address", "name@domain, or leave it out");
            }
            self.text("handler.reachable_hours", &handler.reachable_hours, 0, 80);
        }
    }

    /// A person is identified in one way, as CORV has it: the more ways, the more that can contradict each other,
    /// and the more is shared than is needed.
    fn subject(&mut self, at: &str, subject: &wire::Subject, minor: bool) {
        let personalia = subject.names.is_some() || subject.birth.is_some();
        let ways = [
            !subject.bsn.is_empty(),
            !subject.v_number.is_empty(),
            !subject.skn.is_empty(),
            personalia,
            subject.unborn.is_some(),
        ];
        match ways.iter().filter(|way| **way).count() {
            1 => {}
            0 => self.fault(at, "identifies nobody", "bsn, v_number, skn, names and birth, or unborn: one of them"),
            _ => self.fault(
                at,
                "identifies in more than one way",
                "bsn, v_number, skn, names and birth, or unborn: one of them",
            ),
        }
        if !subject.bsn.is_empty() {
            self.bsn(&format!("{at}.bsn"), &subject.bsn);
            if subject.sex == 0 {
                self.fault(format!("{at}.sex"), "missing", "MALE, FEMALE or UNKNOWN, beside a bsn");
            }
        }
        if !subject.v_number.is_empty() {
            self.digits(&format!("{at}.v_number"), &subject.v_number, 10, 10);
        }
        if !subject.skn.is_empty() {
            self.digits(&format!("{at}.skn"), &subject.skn, 7, 10);
        }
        match (&subject.names, &subject.birth) {
            (Some(names), birth) => {
                self.names(&format!("{at}.names"), names);
                if minor && birth.is_none() {
                    self.fault(format!("{at}.birth"), "missing", "date or year, beside names");
                }
            }
            (None, Some(_)) => {
                self.fault(format!("{at}.names"), "missing", "a family name, given name or alias, beside birth")
            }
            (None, None) => {}
        }
        if let Some(birth) = &subject.birth {
            self.birth(&format!("{at}.birth"), birth);
        }
        self.known_or_absent::<wire::Sex>(at, "sex", subject.sex);
        self.language(&format!("{at}.language"), &subject.language);
        for (name, place) in [("residence", &subject.residence), ("whereabouts", &subject.whereabouts)] {
            if let Some(place) = place {
                self.place(&format!("{at}.{name}"), place);
            }
        }
        self.text(&format!("{at}.school"), &subject.school, 0, 120);
        if let Some(unborn) = &subject.unborn {
            self.date(&format!("{at}.unborn.due_date"), &unborn.due_date, false);
            if let Some(mother) = &unborn.mother {
                self.names(&format!("{at}.unborn.mother"), mother);
            }
        }
    }

    fn bsn(&mut self, at: &str, bsn: &str) {
        if !passes_eleven_test(bsn) {
            self.fault(
                at,
                format!("{bsn} fails the eleven-test"),
                "nine digits that pass it, or leave it out and fill names and birth",
            );
        } else if !self.bsn_allowed {
            self.fault(
                at,
                "the covenant does not let this function use the BSN",
                "names and birth, or a function that may",
            );
        }
    }

    fn names(&mut self, at: &str, names: &wire::PersonNames) {
        self.texts(&format!("{at}.given"), &names.given, 8, 60);
        self.text(&format!("{at}.prefix"), &names.prefix, 0, 20);
        self.text(&format!("{at}.family"), &names.family, 0, 120);
        self.texts(&format!("{at}.aliases"), &names.aliases, 8, 60);
        if names.given.is_empty() && names.family.is_empty() && names.aliases.is_empty() {
            self.fault(at, "names nobody", "a family name, given name or alias");
        }
    }

    fn birth(&mut self, at: &str, birth: &wire::Birth) {
        match (birth.date.is_empty(), birth.year) {
            (false, 0) => self.date(&format!("{at}.date"), &birth.date, false),
            (true, 1900..=2099) => {}
            (true, 0) => self.fault(at, "says nothing", "date (YYYY-MM-DD) or year"),
            (true, _) => self.fault(format!("{at}.year"), "no year of birth", "1900..2099"),
            (false, _) => self.fault(at, "both date and year", "date (YYYY-MM-DD) or year"),
        }
    }

    fn place(&mut self, at: &str, place: &wire::Place) {
        self.text(&format!("{at}.street"), &place.street, 0, 160);
        self.text(&format!("{at}.postal_code"), &place.postal_code, 0, 10);
        self.text(&format!("{at}.town"), &place.town, 0, 80);
        self.municipality(&format!("{at}.municipality"), &place.municipality);
        let country = place.country.as_bytes();
        let fits = country.is_empty() || country.len() == 2 && country.iter().all(u8::is_ascii_uppercase);
        if !fits {
            self.fault(format!("{at}.country"), "no country code", "two capital letters, such as BE");
        }
    }

    fn authority(&mut self, at: &str, authority: &wire::Authority) {
        self.known::<wire::AuthorityKind>(at, "kind", authority.kind);
        self.text(&format!("{at}.name"), &authority.name, 1, 160);
        self.text(&format!("{at}.contact"), &authority.contact, 0, 160);
        self.text(&format!("{at}.not_informed_reason"), &authority.not_informed_reason, 0, 500);
        if authority.informed && !authority.not_informed_reason.is_empty() {
            self.fault(
                format!("{at}.not_informed_reason"),
                "given although they are informed",
                "leave it out, or informed = false",
            );
        }
    }

    fn measure(&mut self, at: &str, measure: &wire::Measure) {
        self.known::<wire::MeasureKind>(at, "kind", measure.kind);
        if Oin::try_from(measure.by_oin.as_str()).is_err() {
            self.fault(format!("{at}.by_oin"), "no OIN", "20 digits or capital letters");
        }
        self.date(&format!("{at}.from"), &measure.from, false);
        if !measure.until.is_empty() {
            self.date(&format!("{at}.until"), &measure.until, false);
            // Dates in this form order as their text does.
            if measure.until <= measure.from {
                self.fault(format!("{at}.until"), "not after from", "a later day, or leave it out");
            }
        }
    }

    fn observation(&mut self, at: &str, observation: &wire::Observation) {
        self.code(&format!("{at}.indicator"), LIST_INDICATOR, &observation.indicator);
        self.known::<wire::ObservationKind>(at, "kind", observation.kind);
        self.known_or_absent::<wire::PlaceKind>(at, "place_kind", observation.place_kind);
        self.municipality(&format!("{at}.municipality"), &observation.municipality);
        self.text(&format!("{at}.text"), &observation.text, 0, OBSERVATION_TEXT_CHARS_MAX);
        let Some(seen) = &observation.seen else { return };
        let from = self.time(&format!("{at}.seen.from"), seen.from.as_ref());
        if seen.from.is_none() {
            self.fault(format!("{at}.seen.from"), "missing", "the time from which it was seen");
        }
        let to = self.time(&format!("{at}.seen.to"), seen.to.as_ref());
        if let (Some(from), Some(to)) = (from, to)
            && to < from
        {
            self.fault(format!("{at}.seen.to"), "before from", "a later time, or leave it out");
        }
        self.known_or_absent::<wire::Precision>(&format!("{at}.seen"), "precision", seen.precision);
    }

    fn exploitation(&mut self, at: &str, exploitation: &wire::Exploitation) {
        self.codes(&format!("{at}.activities"), LIST_ACTIVITY, &exploitation.activities, 1, 16);
        self.codes(&format!("{at}.means"), LIST_MEANS, &exploitation.means, 0, 12);
        self.known_or_absent::<wire::DirectionBy>(at, "direction_by", exploitation.direction_by);
        if !exploitation.since.is_empty() {
            self.date(&format!("{at}.since"), &exploitation.since, true);
        }
    }

    fn question(&mut self, at: &str, question: &wire::Question) {
        self.known_or_absent::<wire::AgeBand>(at, "age_band", question.age_band);
        self.anonymous(&format!("{at}.setting"), &question.setting, 0, 200);
        self.count(&format!("{at}.observations"), question.observations.len(), 0, OBSERVATIONS_MAX);
        for (i, observation) in question.observations.iter().enumerate().take(OBSERVATIONS_MAX) {
            let at = format!("{at}.observations[{i}]");
            self.code(&format!("{at}.indicator"), LIST_INDICATOR, &observation.indicator);
            self.known::<wire::ObservationKind>(&at, "kind", observation.kind);
            self.anonymous(&format!("{at}.region"), &observation.region, 0, 60);
            self.anonymous(&format!("{at}.text"), &observation.text, 0, OBSERVATION_TEXT_CHARS_MAX);
        }
        self.anonymous(&format!("{at}.question"), &question.question, 1, QUESTION_CHARS_MAX);
    }

    fn advice(&mut self, at: &str, advice: &wire::Advice) {
        self.count(&format!("{at}.answers"), advice.answers.len(), 1, 10);
        for (i, answer) in advice.answers.iter().enumerate().take(10) {
            self.anonymous(&format!("{at}.answers[{i}]"), answer, 1, QUESTION_CHARS_MAX);
        }
        self.count(&format!("{at}.next_steps"), advice.next_steps.len(), 0, 10);
        for (i, step) in advice.next_steps.iter().enumerate().take(10) {
            self.anonymous(&format!("{at}.next_steps[{i}]"), step, 1, 500);
        }
        self.known_or_absent::<wire::Function>(at, "better_function", advice.better_function);
    }

    /// A consultation names nobody: a number that passes for a BSN in its text is refused.
    fn anonymous(&mut self, at: &str, text: &str, chars_min: usize, chars_max: usize) {
        self.text(at, text, chars_min, chars_max);
        if bsn_within(text).is_some() {
            self.fault(at, "holds a number that passes for a BSN", "text that identifies nobody");
        }
    }

    fn text(&mut self, at: &str, text: &str, chars_min: usize, chars_max: usize) {
        let chars = text.chars().count();
        if chars < chars_min {
            self.fault(at, "empty", format!("{chars_min}..{chars_max} characters"));
        } else if chars > chars_max {
            self.fault(at, format!("{chars} characters"), format!("up to {chars_max} characters"));
        }
        if text.chars().any(|character| character.is_control() && character != '\n' && character != '\t') {
            self.fault(at, "holds a control character", "text, with line ends and tabs");
        }
    }

    fn texts(&mut self, at: &str, texts: &[String], count_max: usize, chars_max: usize) {
        self.count(at, texts.len(), 0, count_max);
        for (i, text) in texts.iter().enumerate().take(count_max) {
            self.text(&format!("{at}[{i}]"), text, 1, chars_max);
        }
    }

    fn codes(&mut self, at: &str, list: &str, codes: &[String], count_min: usize, count_max: usize) {
        self.count(at, codes.len(), count_min, count_max);
        for (i, code) in codes.iter().enumerate().take(count_max) {
            self.code(&format!("{at}[{i}]"), list, code);
            if codes.iter().take(i).any(|earlier| earlier == code) {
                self.fault(format!("{at}[{i}]"), format!("{code} stands twice"), "each code once");
            }
        }
    }

    fn code(&mut self, at: &str, list: &str, code: &str) {
        if code.is_empty() {
            self.fault(at, "missing", format!("a code of the list {list} (seinpost codes {list})"));
        } else if !self.codes.has(list, code) {
            // The code is the writer's own and must be found again, but a long one may be anything: it is not echoed.
            let shown = if code.len() <= 40 { code } else { "what is given" };
            self.fault(
                at,
                format!("{shown} is not in the list {list}"),
                format!("a code of the list (seinpost codes {list})"),
            );
        }
    }

    fn count(&mut self, at: &str, count: usize, min: usize, max: usize) {
        if count < min || count > max {
            self.fault(at, format!("{count} of them"), format!("{min}..{max}"));
        }
    }

    fn digits(&mut self, at: &str, text: &str, min: usize, max: usize) {
        if text.len() < min || text.len() > max || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            let length = if min == max { min.to_string() } else { format!("{min}..{max}") };
            self.fault(at, "not of the right form", format!("{length} digits"));
        }
    }

    fn municipality(&mut self, at: &str, code: &str) {
        if !code.is_empty() {
            self.digits(at, code, 4, 4);
        }
    }

    fn phone(&mut self, at: &str, phone: &str) {
        let digits = phone.strip_prefix('+').unwrap_or(phone);
        if phone.len() > 20 || !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b' ') {
            self.fault(at, "no telephone number", "up to 20 digits and spaces, with an optional leading +");
        }
    }

    fn language(&mut self, at: &str, tag: &str) {
        let fits =
            (2..=12).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !tag.is_empty() && !fits {
            self.fault(at, "no language tag", "2..12 letters, digits or -, such as nl or ti");
        }
    }

    fn date(&mut self, at: &str, text: &str, month_suffices: bool) {
        let full = if month_suffices && text.len() == 7 { format!("{text}-01") } else { text.to_owned() };
        let right = full.len() == 10 && full.parse::<jiff::civil::Date>().is_ok();
        if !right {
            let form = if month_suffices { "YYYY-MM-DD or YYYY-MM" } else { "YYYY-MM-DD" };
            self.fault(at, if text.is_empty() { "missing" } else { "no date" }, form);
        }
    }

    fn time(&mut self, at: &str, time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
        let time = time?;
        match Timestamp::try_from(time) {
            Ok(time) => Some(time),
            Err(_) => {
                self.fault(
                    at,
                    "no time within 2020..2100 in whole milliseconds",
                    "RFC 3339, such as 2026-11-20T14:30:00Z",
                );
                None
            }
        }
    }

    fn known<E: TryFrom<i32>>(&mut self, at: &str, name: &str, value: i32) {
        if value == 0 {
            self.fault(format!("{at}.{name}"), "missing", "one of its values (seinpost template shows them)");
        } else {
            self.known_or_absent::<E>(at, name, value);
        }
    }

    fn known_or_absent<E: TryFrom<i32>>(&mut self, at: &str, name: &str, value: i32) {
        if value != 0 && E::try_from(value).is_err() {
            self.fault(format!("{at}.{name}"), "an unknown value", "one of its values");
        }
    }

    fn fault(&mut self, field: impl Into<String>, wrong: impl Into<String>, allowed: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            // What was written stands in it at times, which may be as long as the content, or steer a terminal.
            let visible =
                |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
            let wrong: String = wrong.into().chars().take(WRONG_CHARS_MAX).map(visible).collect();
            self.faults.push(FieldFault::new(field, wrong, allowed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_code(_: &str, code: &str) -> bool {
        code.starts_with("GOOD")
    }

    fn right() -> wire::Content {
        wire::Content {
            subject: Some(wire::Subject { bsn: "999990408".into(), sex: wire::Sex::Male.into(), ..Default::default() }),
            observations: vec![wire::Observation {
                indicator: "GOOD".into(),
                kind: wire::ObservationKind::Fact.into(),
                text: "a".repeat(2_000),
                ..Default::default()
            }],
            exploitation: Some(wire::Exploitation { activities: vec!["GOOD".into()], ..Default::default() }),
            handler: Some(wire::Handler {
                name: "Duty desk".into(),
                phone: "+31 20 0000000".into(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// Changes the right content and demands exactly these faults, by field.
    fn check_faults(change: impl FnOnce(&mut wire::Content), fields: &[&str]) {
        let mut content = right();
        change(&mut content);
        let faults = check(&content, &any_code, true);
        assert_eq!(faults.iter().map(|fault| fault.field.as_str()).collect::<Vec<_>>(), fields, "{faults:?}");
    }

    fn subject(content: &mut wire::Content) -> &mut wire::Subject {
        content.subject.as_mut().expect("the right content has a subject")
    }

    #[test]
    fn a_right_content_has_no_fault() {
        check_faults(|_| {}, &[]);
    }

    #[test]
    fn what_is_made_to_be_wrong_in_many_ways_and_at_length_is_told_in_bounds() {
        let mut content = right();
        content.observations = vec![wire::Observation::default(); 400_000];
        content.other_persons = vec![wire::OtherPerson::default(); 100_000];
        subject(&mut content).bsn = "9".repeat(1_000_000);
        let activities = (0..200_000).map(|number: u32| format!("{number:x}"));
        content.exploitation.get_or_insert_default().activities = activities.collect();
        let faults = check(&content, &any_code, true);
        assert!(faults.len() <= FAULTS_MAX, "{}", faults.len());
        assert!(faults.iter().any(|fault| fault.field == "observations" && fault.wrong == "400000 of them"));
        assert!(faults.iter().map(|fault| fault.to_string().len()).sum::<usize>() < 64 * 1024);
    }

    #[test]
    fn the_test_persons_pass_the_eleven_test_and_others_do_not() {
        for bsn in ["999990408", "999993653", "999990482"] {
            assert!(passes_eleven_test(bsn), "{bsn}");
        }
        for number in ["123456789", "999990409", "000000000", "99999040", "9999904080", "99999040x", ""] {
            assert!(!passes_eleven_test(number), "{number}");
        }
    }

    #[test]
    fn a_bsn_that_fails_the_test_is_named_with_what_would_be_right() {
        check_faults(|content| subject(content).bsn = "123456789".into(), &["subject.bsn"]);
    }

    #[test]
    fn a_bsn_needs_the_covenants_leave_and_a_sex_beside_it() {
        let faults = check(&right(), &any_code, false);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].field, "subject.bsn");
        check_faults(|content| subject(content).sex = 0, &["subject.sex"]);
    }

    #[test]
    fn a_person_is_identified_in_exactly_one_way() {
        check_faults(|content| subject(content).bsn.clear(), &["subject"]);
        check_faults(|content| subject(content).v_number = "1234567890".into(), &["subject"]);
        check_faults(
            |content| {
                subject(content).bsn.clear();
                subject(content).names = Some(wire::PersonNames { family: "Voorbeeld".into(), ..Default::default() });
            },
            &["subject.birth"],
        );
    }

    #[test]
    fn each_bound_holds_at_its_edge() {
        check_faults(|content| content.observations[0].text.push('a'), &["observations[0].text"]);
        check_faults(|content| content.observations = vec![content.observations[0].clone(); 40], &[]);
        check_faults(|content| content.observations = vec![content.observations[0].clone(); 41], &["observations"]);
        check_faults(
            |content| content.exploitation.as_mut().expect("it is there").activities.clear(),
            &["exploitation.activities"],
        );
        check_faults(|content| content.handler.as_mut().expect("it is there").name.clear(), &["handler.name"]);
        check_faults(
            |content| content.handler.as_mut().expect("it is there").phone = "call me".into(),
            &["handler.phone"],
        );
    }

    #[test]
    fn an_unknown_code_and_an_unknown_enum_value_are_refused_by_path() {
        check_faults(|content| content.observations[0].indicator = "BAD".into(), &["observations[0].indicator"]);
        check_faults(|content| content.observations[0].kind = 99, &["observations[0].kind"]);
        check_faults(
            |content| {
                content.exploitation.as_mut().expect("it is there").activities = vec!["GOOD".into(), "GOOD".into()]
            },
            &["exploitation.activities[1]"],
        );
    }

    #[test]
    fn all_faults_are_named_in_one_go() {
        check_faults(
            |content| {
                subject(content).bsn = "1".into();
                content.observations[0].indicator = "BAD".into();
                content.handler.as_mut().expect("it is there").email = "nobody".into();
            },
            &["subject.bsn", "observations[0].indicator", "handler.email"],
        );
    }

    #[test]
    fn a_consultation_that_holds_a_bsn_is_refused_however_it_is_written() {
        for text in ["bsn 999990408?", "9999.90.408", "999 990 408", "in 12999990408 hidden"] {
            check_faults(
                |content| {
                    content.question =
                        Some(wire::Question { question: text.into(), age_band: 1, ..Default::default() });
                },
                &["question.question"],
            );
        }
        check_faults(
            |content| content.question = Some(wire::Question { question: "123456789".into(), ..Default::default() }),
            &[],
        );
    }

    #[test]
    fn dates_exist_and_periods_run_forward() {
        let measure = |from: &str, until: &str| wire::Measure {
            kind: 1,
            by_oin: "00000099155005000000".into(),
            from: from.into(),
            until: until.into(),
        };
        check_faults(|content| content.measures = vec![measure("2026-02-30", "")], &["measures[0].from"]);
        check_faults(|content| content.measures = vec![measure("2026-02-28", "2026-02-27")], &["measures[0].until"]);
        check_faults(|content| content.measures = vec![measure("2026-02-28", "2027-02-28")], &[]);
    }

    #[test]
    fn content_with_an_unknown_field_is_not_canonical() {
        let mut bytes = right().encode_to_vec();
        assert!(decode(&Bytes::from(bytes.clone())).is_ok());
        bytes.extend([0xf8, 0x3f, 0x01]);
        assert!(decode(&Bytes::from(bytes)).is_err());
    }
}
