//! A question without a person, and its advice: what each must and must not hold, and who may write it on which ground.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use seinpost_client::client::Client;
use seinpost_client::content::draft::{self, Writer};
use seinpost_client::error::Error;
use seinpost_protocol::wire::{self, AnswerCode, Content, Function, SignalType};
use seinpost_tests::harness::agency;
use seinpost_tests::harness::forge::Forge;
use seinpost_tests::harness::hub::Hub;
use seinpost_tests::harness::raw::reason;
use serde_json::json;
use tonic::Code;

/// Police and safe home, each of whom can ask, advise and forge.
struct Scene {
    hub: Hub,
    police: Forge,
    safe_home: Forge,
}

impl Scene {
    async fn set() -> Self {
        let hub = Hub::start().await;
        // Both have published a key before either looks at the log.
        for identity in ["police-amsterdam", "safe-home-amsterdam"] {
            hub.client(identity).await;
        }
        let police = Forge::of(&hub, "police-amsterdam").await;
        let safe_home = Forge::of(&hub, "safe-home-amsterdam").await;
        Self { hub, police, safe_home }
    }

    /// Returns who writes a type, and to whom.
    fn way(&self, signal_type: SignalType) -> (&Forge, &Client) {
        match signal_type {
            SignalType::ConsultationAdvice => (&self.safe_home, &self.police.client),
            _ => (&self.police, &self.safe_home.client),
        }
    }

    fn content(&self, signal_type: SignalType) -> Content {
        let codes = |_: &str, _: &str| true;
        let file = self.hub.example(signal_type).to_string();
        draft::parse(&file, &codes, Writer { bsn_allowed: true }).unwrap().content
    }

    /// Seals a content that its sender's client would not have let through, and returns what the recipient answers.
    async fn answered(&self, signal_type: SignalType, content: &[u8]) -> Option<AnswerCode> {
        let (from, to) = self.way(signal_type);
        let codes = |_: &str, _: &str| true;
        let file = self.hub.example(signal_type).to_string();
        let draft = draft::parse(&file, &codes, Writer { bsn_allowed: true }).unwrap();
        let open = from.signal_of(&draft.outgoing, content, &[to]);
        let submitted = from.submission(open.seal());
        from.submit(submitted).await.expect("the hub is blind, so it accepts");
        let mut mailbox = agency::mailbox(to).await.unwrap();
        let signal = agency::next_signal(&mut mailbox).await.unwrap();
        agency::acknowledge(to, &signal).await.unwrap();
        signal.content.answer()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_or_an_advice_with_more_or_less_than_its_profile_is_answered_with_what_is_wrong() {
    let scene = Scene::set().await;
    let (question, advice) = (SignalType::Consultation, SignalType::ConsultationAdvice);
    let subject = scene.content(SignalType::ExploitationSignal).subject;
    type Change = Box<dyn Fn(&mut Content)>;
    let cases: Vec<(&str, SignalType, Change, AnswerCode)> = vec![
        ("as it should be", question, Box::new(|_| ()), AnswerCode::DeliveredReadable),
        ("as it should be", advice, Box::new(|_| ()), AnswerCode::DeliveredReadable),
        // A consultation is about nobody: whoever can be recognised in it is too much.
        (
            "who it is about",
            question,
            Box::new(move |content| content.subject.clone_from(&subject)),
            AnswerCode::ExcessData,
        ),
        ("no question", question, Box::new(|content| content.question = None), AnswerCode::ProfileViolation),
        ("nobody to call", question, Box::new(|content| content.handler = None), AnswerCode::ProfileViolation),
        (
            "an indicator that is none",
            question,
            Box::new(|content| content.question.as_mut().unwrap().observations[0].indicator = "ETHNICITY".into()),
            AnswerCode::ProfileViolation,
        ),
        ("no advice", advice, Box::new(|content| content.advice = None), AnswerCode::ProfileViolation),
        (
            "advice without an answer",
            advice,
            Box::new(|content| content.advice.as_mut().unwrap().answers.clear()),
            AnswerCode::ProfileViolation,
        ),
    ];
    let mut wrong = Vec::new();
    for (what, signal_type, change, expected) in cases {
        let mut content = scene.content(signal_type);
        change(&mut content);
        let answered = scene.answered(signal_type, &seinpost_client::content::encode(&content)).await;
        if answered != Some(expected) {
            wrong.push(format!("{what} in {signal_type:?}: {answered:?}"));
        }
    }
    // The content of one type under the header of another.
    let exploitation = seinpost_client::content::encode(&scene.content(SignalType::ExploitationSignal));
    for signal_type in [question, advice] {
        let answered = scene.answered(signal_type, &exploitation).await;
        if !matches!(answered, Some(AnswerCode::ProfileViolation | AnswerCode::ExcessData)) {
            wrong.push(format!("an exploitation signal as {signal_type:?}: {answered:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_senders_client_names_each_field_that_a_question_or_an_advice_may_not_or_must_hold() {
    let scene = Scene::set().await;
    let mut question = scene.hub.example(SignalType::Consultation);
    question["content"]["subject"] = json!({ "names": { "given": ["Sem"], "family": "Voorbeeld" } });
    question["content"]["question"]["observations"][0]["municipality"] = json!("0363");
    question["content"]["question"]["observations"][1]["indicator"] = json!("ETHNICITY");
    let mut unknown = scene.hub.example(SignalType::ConsultationAdvice);
    unknown["content"]["advice"]["better_function"] = json!("NOBODY");
    // Each part is right by itself; the profile of the type is what forbids the one and demands the other.
    let mut advice = scene.hub.example(SignalType::ConsultationAdvice);
    advice["content"]["question"] = scene.hub.example(SignalType::Consultation)["content"]["question"].clone();
    advice["content"].as_object_mut().unwrap().remove("handler");
    let before = scene.police.client.checkpoint().await.unwrap().pin.size;
    for (from, file, paths) in [
        (
            &scene.police.client,
            &question,
            &[
                "content.subject",
                "content.question.observations[0].municipality",
                "content.question.observations[1].indicator",
            ][..],
        ),
        (&scene.safe_home.client, &unknown, &["content.advice.better_function"]),
        (&scene.safe_home.client, &advice, &["content.question", "content.handler"]),
    ] {
        let Err(Error::Usage(faults)) = agency::send(from, file).await else { panic!("{file} was sent") };
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        for path in paths {
            assert!(told.iter().any(|fault| fault.contains(path)), "{path} in {told:#?}");
        }
    }
    let size = scene.police.client.checkpoint().await.unwrap().pin.size;
    assert_eq!(size, before, "nothing left either client");
    scene.hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_ask_and_who_may_advise_on_which_ground_is_asked_by_the_hub_too() {
    let scene = Scene::set().await;
    let (question, advice) = (SignalType::Consultation, SignalType::ConsultationAdvice);
    type Change = fn(&mut wire::SignalHeader);
    let cases: Vec<(&str, SignalType, Change, &str)> = vec![
        ("a basis of another type", question, |h| h.recipients[0].legal_basis = "BPG_4_2_1_I".into(), "BASIS"),
        ("a basis of another type", advice, |h| h.recipients[0].legal_basis = "BPG_4_2_1_I".into(), "BASIS"),
        ("police data", question, |h| h.source_regime = wire::SourceRegime::Wpg8.into(), "BASIS_REGIME"),
        ("police data", advice, |h| h.source_regime = wire::SourceRegime::Wpg8.into(), "BASIS_REGIME"),
        ("asking the mayor", question, |h| function(h, Function::Mayor), "NO_RULE"),
        ("advising the rapporteur", advice, |h| function(h, Function::Rapporteur), "NO_RULE"),
        ("the other's profile", question, |h| profile(h, "consultation-advice"), "BASIS_PROFILE"),
        ("the other's profile", advice, |h| profile(h, "consultation"), "BASIS_PROFILE"),
        ("another safe home than the town's", question, |h| h.recipients[0].municipality = "0599".into(), "NO_ROUTE"),
        ("another police than the town's", advice, |h| h.recipients[0].municipality = "0599".into(), "NO_ROUTE"),
    ];
    let mut wrong = Vec::new();
    for (what, signal_type, change, expected) in cases {
        let (from, to) = scene.way(signal_type);
        let mut open = from.signal(&scene.hub.example(signal_type), &[to]);
        change(&mut open.header);
        match from.send(open).await {
            Err(status) if (status.code(), reason(&status).as_str()) == (Code::FailedPrecondition, expected) => {}
            Err(status) => wrong.push(format!("{what} in {signal_type:?}: {:?} {}", status.code(), status.message())),
            Ok(_) => wrong.push(format!("{what} in {signal_type:?}: accepted")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    scene.hub.end().await;
}

fn function(header: &mut wire::SignalHeader, function: Function) {
    header.recipients[0].address.as_mut().unwrap().function = function.into();
}

fn profile(header: &mut wire::SignalHeader, name: &str) {
    header.content_profile.as_mut().unwrap().name = name.into();
}
