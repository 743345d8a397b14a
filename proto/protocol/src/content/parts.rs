//! The parts of a content, one function for each message: which fields it must have, and how much may stand in each.
//!
//! In comes a part as decoded; its faults go to the list of [`Check`]. A bound stands where it is asked.

use super::fields::Check;
use super::{
    LIST_ACTIVITY, LIST_INDICATOR, LIST_MEANS, OBSERVATION_TEXT_CHARS_MAX, OBSERVATIONS_MAX, QUESTION_CHARS_MAX,
    passes_eleven_test,
};
use crate::address::Oin;
use crate::wire;

impl Check<'_> {
    pub(super) fn content(&mut self, content: &wire::Content) {
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
}
