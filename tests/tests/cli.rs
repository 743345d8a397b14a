//! The command line as agencies, operators and auditors meet it: the real binary against a real hub.
//!
//! What a script may go by is held here: exit codes, the names in JSON, and the texts of errors. How a table is laid out
//! is tried where it is made.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that unwraps what must be there fails at the line that says so"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use seinpost_client::content::draft::{TYPES, type_code};
use seinpost_protocol::wire::SignalType;
use seinpost_tests::harness::hostile::{HostileHub, Lies};
use seinpost_tests::harness::hub::Hub;
use seinpost_tests::harness::process::client_binary;
use seinpost_tests::harness::world::now;
use serde_json::{Value as Json, json};

const POLICE: &str = "police-amsterdam";
const SAFE_HOME: &str = "safe-home-amsterdam";

/// What a command came to.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    /// Expects an exit code, and shows all that was said if it is another.
    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Expects these lines, in this order, on standard error.
    #[track_caller]
    fn says(self, lines: &[&str]) -> Self {
        let mut said = self.err.lines();
        for line in lines {
            assert!(said.any(|said| said == *line), "{line:?} is not where it should be in:\n{}", self.err);
        }
        self
    }

    #[track_caller]
    fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in:\n{}\n{}", self.out, self.err))
    }

    #[track_caller]
    fn jsonl(&self) -> Vec<Json> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A command with nothing of the environment that could change what it says.
fn bare(folder: &Path) -> Command {
    let mut command = Command::new(client_binary());
    command
        .env_clear()
        .env("HOME", folder)
        .env("LC_ALL", "C")
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.current_dir(folder);
    command
}

fn command(hub: &Hub, who: &str, arguments: &[&str]) -> Command {
    let mut command = bare(hub.scratch());
    command.env("SEINPOST_PROFILE", hub.world().profile(who)).args(arguments);
    command
}

fn run(command: &mut Command, input: &str) -> Ran {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn seinpost(hub: &Hub, who: &str, arguments: &[&str]) -> Ran {
    run(&mut command(hub, who, arguments), "")
}

/// Sends what is piped into `send -`.
fn send(hub: &Hub, who: &str, signal: &Json) -> String {
    let sent = run(&mut command(hub, who, &["send", "-", "--quiet"]), &signal.to_string()).ends(0);
    sent.out.trim().to_owned()
}

fn publish(hub: &Hub, identities: &[&str]) {
    for identity in identities {
        seinpost(hub, identity, &["keys", "publish"]).ends(0);
    }
}

fn write(hub: &Hub, name: &str, text: &str) -> PathBuf {
    let path = hub.scratch().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[track_caller]
fn names(object: &Json, expected: &[&str]) {
    let object = object.as_object().unwrap_or_else(|| panic!("no object: {object}"));
    assert_eq!(object.keys().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agency_system_lives_by_json_and_exit_codes_alone() {
    let hub = Hub::start().await;
    publish(&hub, &[POLICE, SAFE_HOME]);
    let signal = hub.example(SignalType::ExploitationSignal).to_string();
    write(&hub, "signal.json", &signal);

    let dry = seinpost(&hub, POLICE, &["send", "signal.json", "--dry-run", "--output", "json"]).ends(0).json();
    names(&dry[0], &["address", "organisation", "function", "rule", "legal_basis", "reason", "key_statement"]);
    assert_eq!(dry[0]["function"], "SAFE_HOME");
    assert!(seinpost(&hub, POLICE, &["list", "--output", "json"]).ends(0).json().as_array().unwrap().is_empty());

    let sent = seinpost(&hub, POLICE, &["send", "signal.json", "--output", "json"]).ends(0).json();
    names(&sent, &["item_id", "item_digest", "index", "recorded_at", "covenant", "consigned", "receipt"]);
    names(&sent["consigned"][0], &["to", "rule", "index", "commitment"]);
    let id = sent["item_id"].as_str().unwrap();
    let receipt = sent["receipt"].as_str().unwrap();
    assert!(!receipt.contains("..") && Path::new(receipt).is_file(), "{receipt}");

    let received = seinpost(&hub, SAFE_HOME, &["receive", "--show", "--output", "jsonl"]).ends(0).jsonl();
    let signal = received.iter().find(|received| received["kind"] == "signal").unwrap();
    for name in ["item_id", "item_digest", "from", "type", "rule_id", "urgency", "answer_due", "content", "folder"] {
        assert!(!signal[name].is_null(), "{name} in {signal}");
    }
    assert_eq!(signal["item_id"], id);
    assert_eq!(signal["content"]["subject"]["names"]["family"], hub.canary());
    assert!(Path::new(signal["folder"].as_str().unwrap()).join("header.json").is_file());

    let answered = seinpost(&hub, SAFE_HOME, &["ack", &id[..18], "--output", "json"]).ends(0).json();
    names(&answered, &["item_id", "answer", "index", "receipt"]);

    let listed = seinpost(&hub, POLICE, &["list", "--output", "jsonl"]).ends(0).jsonl();
    let columns = ["item_id", "direction", "type", "urgency", "state", "with", "recorded_at", "expires", "item_digest"];
    names(&listed[0], &[&columns[..], &["conversation"]].concat());
    assert_eq!((&listed[0]["direction"], &listed[0]["state"]), (&json!("SENT"), &json!("ANSWERED")));
    assert!(listed[0]["recorded_at"].as_str().unwrap().ends_with('Z'));

    let status = seinpost(&hub, POLICE, &["status", id, "--output", "json"]).ends(0).json();
    names(&status, &["item_id", "item_digest", "type", "from", "signature_verified", "steps", "recipients", "alarms"]);
    names(&status["steps"][0], &["event", "at", "recipient", "item_digest", "index", "commitment", "mailbox_number"]);
    names(&status["recipients"][0], &["address", "state", "answer", "answer_verified", "late"]);
    assert_eq!(status["recipients"][0]["answer"], "DELIVERED_READABLE");
    assert_eq!(status["recipients"][0]["answer_verified"], true);
    let events: Vec<_> = status["steps"].as_array().unwrap().iter().map(|step| step["event"].clone()).collect();
    assert_eq!(events, ["SUBMISSION_ACCEPTANCE", "CONTENT_HANDOVER", "CONTENT_CONSIGNMENT"]);

    let verdict = seinpost(&hub, POLICE, &["verify", receipt, "--output", "json"]).ends(0).json();
    names(&verdict, &["item_id", "item_digest", "proven", "not_proven"]);
    assert_eq!(verdict["item_id"], id);

    let checked = seinpost(&hub, POLICE, &["check", "--output", "json"]).ends(0).json();
    names(&checked[0], &["check", "state", "says", "hint"]);
    let asked: Vec<_> = checked.as_array().unwrap().iter().map(|line| line["check"].as_str().unwrap()).collect();
    assert_eq!(
        asked,
        [
            "profile",
            "certificate",
            "gateway",
            "covenant",
            "participant",
            "signing key",
            "log",
            "mailbox",
            "clock",
            "sealing key",
            "outbox"
        ]
    );
    assert!(checked.as_array().unwrap().iter().all(|line| line["state"] == "ok"), "{checked}");

    let keys = seinpost(&hub, POLICE, &["keys", "list", "--output", "json"]).ends(0).json();
    names(&keys[0], &["serial", "statement", "seal_from", "seal_until", "open_until", "private_key"]);

    let deliveries = seinpost(&hub, "operator", &["ops", "deliveries", "--output", "json"]).ends(0).json();
    let columns =
        ["item_id", "late", "type", "urgency", "state", "from", "to", "consigned_at", "answer_due", "expires"];
    names(&deliveries[0], &[&columns[..], &["contact"]].concat());
    assert_eq!((&deliveries[0]["late"], &deliveries[0]["state"]), (&json!(false), &json!("ANSWERED")));

    let audited = seinpost(&hub, "auditor", &["audit", "verify", "--output", "json"]).ends(0).json();
    let columns =
        ["holds", "size", "root", "extends", "events", "items_verified", "permits_verified", "covenants", "first"];
    names(&audited, &[&columns[..], &["last", "faults", "more_faults", "not_checked"]].concat());
    assert_eq!((&audited["holds"], &audited["events"]["CONTENT_HANDOVER"]), (&json!(true), &json!(1)));

    let checkpoint = seinpost(&hub, "auditor", &["audit", "checkpoint", "--output", "json"]).ends(0).json();
    names(&checkpoint, &["size", "root", "extends", "note"]);
    let records = seinpost(&hub, "auditor", &["audit", "records", "--to", "2", "--output", "jsonl"]).ends(0).jsonl();
    names(&records[0], &["index", "event", "time", "audience", "mailbox_number", "commitment", "item_digest"]);
    assert_eq!((records.len(), &records[0]["event"]), (2, &json!("COVENANT_ADOPTED")));
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_template_is_sent_as_it_is_printed() {
    let hub = Hub::start().await;
    publish(&hub, &[POLICE, SAFE_HOME]);
    for signal_type in TYPES {
        let sender = if signal_type == SignalType::ConsultationAdvice { SAFE_HOME } else { POLICE };
        // Neither a gateway nor a profile is needed for an example.
        let template = run(bare(hub.scratch()).args(["template", type_code(signal_type)]), "").ends(0).out;
        let sent = run(&mut command(&hub, sender, &["send", "-"]), &template).ends(0);
        assert!(sent.out.starts_with("accepted by the hub: "), "{}", sent.out);
        assert!(!sent.out.contains("delivered"), "accepted is not delivered: {}", sent.out);
        let lower = type_code(signal_type).to_lowercase().replace('_', "-");
        assert_eq!(run(bare(hub.scratch()).args(["template", &lower]), "").ends(0).out, template);
    }
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_faults_of_a_file_are_named_in_one_go_each_with_what_is_allowed() {
    let hub = Hub::start().await;
    publish(&hub, &[POLICE, SAFE_HOME]);
    let mut signal = hub.example(SignalType::ExploitationSignal);
    signal["urgency"] = json!("SOON");
    signal["to"][0]["function"] = json!("SAFE_HOMES");
    signal["colour"] = json!("red");
    signal["content"]["observations"][0]["indicator"] = json!("BAD_WEATHER");
    signal["content"]["observations"][0]["seen"]["from"] = json!("yesterday");
    signal["content"]["subject"] = json!({"bsn": "123456789", "sex": "MALE"});
    write(&hub, "signal.json", &signal.to_string());
    let ran = seinpost(&hub, POLICE, &["send", "signal.json"]).ends(2).says(&[
        "error: the signal cannot be sent",
        "  signal.json: urgency: SOON is not one of its values",
        "  allowed: IMMEDIATE, TODAY, NORMAL",
        "  signal.json: content.observations[0].seen.from: no time with an offset",
        "  signal.json: content.subject.bsn: 123456789 fails the eleven-test",
        "  signal.json: content.observations[0].indicator: BAD_WEATHER is not in the list indicator",
        "  signal.json: colour: an unknown field",
        "  hint: seinpost template EXPLOITATION_SIGNAL shows a filled example",
    ]);
    assert!(ran.err.contains("to[0].function: SAFE_HOMES is not one of its values; SAFE_HOME is"), "{}", ran.err);
    assert!(ran.out.is_empty());

    // What the profile says is told together with the rest of the content.
    let mut signal = hub.example(SignalType::ExploitationSignal);
    signal["content"]["exploitation"]["activities"] = json!(["HOMEWORK"]);
    signal["content"].as_object_mut().unwrap().shift_remove("observations");
    write(&hub, "signal.json", &signal.to_string());
    seinpost(&hub, POLICE, &["send", "signal.json"]).ends(2).says(&[
        "  signal.json: content.exploitation.activities[0]: HOMEWORK is not in the list activity",
        "  signal.json: content.observations: missing: the profile exploitation-signal demands it",
    ]);

    // What routes and rules refuse too, each recipient by itself.
    let mut signal = hub.example(SignalType::ExploitationSignal);
    let to = signal["to"][0].clone();
    signal["to"] = json!([to, to, to]);
    signal["to"][0]["municipality"] = json!("9999");
    signal["to"][1]["legal_basis"] = json!("WPG_16_1_C");
    signal["to"][2]["function"] = json!("SHELTER");
    write(&hub, "signal.json", &signal.to_string());
    let ran = seinpost(&hub, POLICE, &["send", "signal.json"]).ends(1).says(&["  3 of 3 recipients are refused"]);
    for place in ["  to[0]: ", "  to[1]: ", "  to[2]: "] {
        assert_eq!(ran.err.matches(place).count(), 1, "{place} in {}", ran.err);
    }
    assert!(ran.err.contains("[BASIS]"), "{}", ran.err);

    let mut signal = hub.example(SignalType::ExploitationSignal);
    signal["to"] = json!([to, to]);
    signal["to"][0]["legal_basis"] = json!("XX");
    signal["to"][1]["municipality"] = json!("9999");
    signal["source_regime"] = json!("WPG_9");
    signal["content"]["subject"]["birth"] = json!({"date": "2011-13-14"});
    signal["content"].as_object_mut().unwrap().shift_remove("observations");
    write(&hub, "signal.json", &signal.to_string());
    let ran = seinpost(&hub, POLICE, &["send", "signal.json"]).ends(2).says(&[
        "  signal.json: to[0].legal_basis: XX is not in the list legal_basis",
        "  signal.json: content.observations: missing: the profile exploitation-signal demands it",
    ]);
    for word in ["to[1]: ", "[NO_ROUTE]", "content.subject.birth"] {
        assert!(ran.err.contains(word), "{word} in {}", ran.err);
    }
    assert!(!ran.err.contains("to[0]: "), "what a wrong code permits is no second fault: {}", ran.err);

    signal["to"] = json!([to]);
    write(&hub, "signal.json", &signal.to_string());
    let ran = seinpost(&hub, POLICE, &["send", "signal.json"]).ends(2);
    for word in ["to[0]: ", "[BASIS_REGIME]", "content.subject.birth"] {
        assert!(ran.err.contains(word), "{word} in {}", ran.err);
    }

    run(&mut command(&hub, POLICE, &["send", "-"]), "{\"type\":")
        .ends(2)
        .says(&["  -: line 1, column 8: the JSON ends too early"]);
    seinpost(&hub, POLICE, &["send", "nowhere.json"]).ends(2).says(&["  nowhere.json: the file does not exist"]);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_exit_code_says_what_can_be_done_about_it() {
    let mut hub = Hub::start().await;
    publish(&hub, &[POLICE, SAFE_HOME]);
    let id = send(&hub, POLICE, &hub.example(SignalType::ExploitationSignal));

    // 1: a rule says no, and which one comes nearest.
    let mut signal = hub.example(SignalType::ExploitationSignal);
    signal["to"][0]["legal_basis"] = json!("WPG_16_1_C");
    write(&hub, "refused.json", &signal.to_string());
    seinpost(&hub, POLICE, &["send", "refused.json"]).ends(1).says(&[
        "error: the signal cannot be sent",
        "  nearest rule: bpg-4-2-1-i-vt (seinpost covenant show rules --filter bpg-4-2-1-i-vt)",
        "  [BASIS]",
    ]);
    // 1: the hub says no. Received twice it is answered once; an answer is final.
    seinpost(&hub, SAFE_HOME, &["receive", "--ack"]).ends(0);
    seinpost(&hub, SAFE_HOME, &["receive", "--again", "--ack"]).ends(0).says(&["  answered before"]);
    seinpost(&hub, SAFE_HOME, &["reject", &id, "not-competent"]).ends(1).says(&["  [ALREADY_ANSWERED]"]);

    // 2: wrong use, with the nearest right word.
    let ran = run(bare(hub.scratch()).arg("recieve"), "").ends(2);
    assert!(ran.err.contains("'receive'"), "{}", ran.err);
    let ran = run(bare(hub.scratch()).args(["audit", "verfy"]), "").ends(2);
    assert!(ran.err.contains("'verify'"), "{}", ran.err);
    seinpost(&hub, POLICE, &["route", "SAVE_HOME", "0363"])
        .ends(2)
        .says(&["  SAVE_HOME: no function; did you mean SAFE_HOME?"]);
    seinpost(&hub, POLICE, &["codes", "indicators"])
        .ends(2)
        .says(&["  indicators: the covenant has no such list; did you mean indicator?"]);
    seinpost(&hub, SAFE_HOME, &["reject", &id, "WRONG_RECIPIENT"]).ends(2).says(&["  --better: missing"]);
    seinpost(&hub, POLICE, &["template", "MISSING_FROM_CARE"]).ends(2).says(&[
        "  MISSING_FROM_CARE: this version cannot send it yet",
        "  allowed: EXPLOITATION_SIGNAL, CONSULTATION, CONSULTATION_ADVICE",
    ]);

    // For programs an error is one JSON object, the last line on standard error, with the same exit code.
    let error = |ran: Ran| serde_json::from_str::<Json>(ran.err.lines().last().unwrap()).unwrap()["error"].clone();
    let told = error(seinpost(&hub, SAFE_HOME, &["reject", &id, "WRONG_RECIPIENT", "--output", "json"]).ends(2));
    let all =
        ["code", "message", "path", "doing", "exit_code", "faults", "nearest_rule", "evidence", "retry_after_seconds"];
    names(&told, &all);
    assert_eq!((&told["code"], &told["path"], &told["exit_code"]), (&json!("USAGE"), &json!("--better"), &json!(2)));
    let told = error(seinpost(&hub, POLICE, &["ops", "deliveries", "--output=jsonl"]).ends(6));
    assert_eq!((&told["code"], &told["exit_code"]), (&json!("NOT_PERMITTED"), &json!(6)));
    let told = error(seinpost(&hub, POLICE, &["sned", "--output", "json"]).ends(2));
    assert!(told["message"].as_str().unwrap().contains("sned"), "{told}");

    // 3: not verified: a covenant with one letter changed, signed by nobody.
    let covenant =
        std::fs::read_dir(hub.world().hub_folder().join("covenants")).unwrap().next().unwrap().unwrap().path();
    seinpost(&hub, POLICE, &["covenant", "verify", covenant.to_str().unwrap()]).ends(0);
    let mut bytes = std::fs::read(&covenant).unwrap();
    let at = bytes.windows(9).position(|window| window == b"Amsterdam").unwrap();
    bytes[at] = b'X';
    std::fs::write(hub.scratch().join("changed.covenant"), bytes).unwrap();
    seinpost(&hub, POLICE, &["covenant", "verify", "changed.covenant"]).ends(3).says(&["  [SIGNATURE]"]);

    // 4: not found, and not one's own is the same.
    let unknown = "01900000-0000-7000-8000-000000000000";
    seinpost(&hub, POLICE, &["status", unknown]).ends(4).says(&["  [NOT_FOUND]"]);
    seinpost(&hub, "shelter", &["status", &id]).ends(4).says(&["  [NOT_FOUND]"]);
    seinpost(&hub, POLICE, &["route", "SAFE_HOME", "9999"]).ends(4);
    seinpost(&hub, POLICE, &["ack", &id]).ends(4);

    // 6: not allowed; the reason stands at the end, once.
    let ran = seinpost(&hub, POLICE, &["ops", "deliveries"]).ends(6).says(&["  [NOT_PERMITTED]"]);
    assert_eq!(ran.err.matches("NOT_PERMITTED").count(), 1, "{}", ran.err);

    // 5: not reachable.
    hub.stop().await;
    let ran = seinpost(&hub, POLICE, &["status", &id]).ends(5);
    assert!(ran.err.contains("try again"), "{}", ran.err);
    let checked = seinpost(&hub, POLICE, &["check"]).ends(5);
    assert!(checked.out.contains("failed   gateway"), "{}", checked.out);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_sent_again_because_no_answer_came_is_one_signal() {
    let hub = Hub::start().await;
    publish(&hub, &[POLICE, SAFE_HOME]);
    write(&hub, "signal.json", &hub.example(SignalType::ExploitationSignal).to_string());
    // The hub accepts it, and the answer is lost on the way.
    let lossy = HostileHub::start(
        &hub,
        Lies::none().on_the_way_out(|call, message| if call.is("Submit", POLICE) { vec![] } else { vec![message] }),
    )
    .await;
    let text = std::fs::read_to_string(hub.world().profile(POLICE)).unwrap();
    let text = text.replace(&hub.address().to_string(), &lossy.address().to_string());
    let profile = hub.world().profile(POLICE).with_file_name("lossy.toml");
    std::fs::write(&profile, text).unwrap();
    let arguments = ["send", "signal.json", "--profile", profile.to_str().unwrap()];
    let lost = seinpost(&hub, POLICE, &arguments);
    assert_ne!(lost.code, Some(0), "{}", lost.out);
    assert_eq!(seinpost(&hub, POLICE, &["list", "--quiet"]).ends(0).out.lines().count(), 1);

    let again = seinpost(&hub, POLICE, &["send", "signal.json", "--quiet"]).ends(0).out;
    assert_eq!(seinpost(&hub, POLICE, &["list", "--quiet"]).ends(0).out, again);
    // Once it is known to have been accepted, the same text is another signal if it is sent again.
    assert_ne!(seinpost(&hub, POLICE, &["send", "signal.json", "--quiet"]).ends(0).out, again);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_interrupts_is_told_that_what_was_sent_stays_sent() {
    let hub = Hub::start().await;
    publish(&hub, &[POLICE, SAFE_HOME]);
    let mut follow = command(&hub, SAFE_HOME, &["receive", "--follow", "--output", "jsonl"]);
    let mut child = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let id = send(&hub, POLICE, &hub.example(SignalType::ExploitationSignal));
    // Its own key statement comes first.
    let arrived = lines.by_ref().map(|line| serde_json::from_str::<Json>(&line.unwrap()).unwrap());
    assert!(arrived.take(2).any(|received| received["item_id"] == id.as_str()));
    interrupt(&child);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("what was sent stays sent"), "{said}");
    hub.end().await;
}

fn interrupt(child: &Child) {
    assert!(Command::new("kill").arg("-INT").arg(child.id().to_string()).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_named_or_the_only_one_and_otherwise_they_are_listed() {
    let hub = Hub::start().await;
    let folder = hub.scratch().join("seinpost");
    std::fs::create_dir(&folder).unwrap();
    let chosen = |arguments: &[&str]| {
        let mut command = bare(hub.scratch());
        command.env("XDG_CONFIG_HOME", hub.scratch()).args(arguments);
        run(&mut command, "")
    };
    let none = chosen(&["codes"]).ends(2).says(&["error: the profile cannot be used"]);
    assert!(none.err.contains("holds none"), "{}", none.err);

    let profile = |name: &str| {
        // A profile's paths are relative to its own folder.
        let text = std::fs::read_to_string(hub.world().profile(name)).unwrap();
        text.replace("\"../", &format!("\"{}/", hub.world().folder().display()))
    };
    std::fs::write(folder.join("police.toml"), profile(POLICE)).unwrap();
    chosen(&["codes"]).ends(0);
    std::fs::write(folder.join("safe-home.toml"), profile(SAFE_HOME)).unwrap();
    let two = chosen(&["codes"]).ends(2);
    assert!(two.err.contains("one of police, safe-home"), "{}", two.err);
    chosen(&["codes", "--profile", "safe-home"]).ends(0);
    let unknown = chosen(&["codes", "--profile", "mayor"]).ends(2);
    assert!(unknown.err.contains("--profile mayor: neither a file nor a profile by that name"), "{}", unknown.err);
    assert!(unknown.err.contains("one of police, safe-home"), "{}", unknown.err);

    let broken =
        profile(POLICE).replace("tls.key", "gone.key").replace("POLICE_OPERATIONS", "BAKER").replace("0000", "00");
    std::fs::write(folder.join("broken.toml"), broken).unwrap();
    let faults = chosen(&["check", "--profile", "broken"]).ends(2);
    for fault in ["oin", "function", "tls_key"] {
        assert!(faults.out.contains(fault), "{fault} in {}", faults.out);
    }
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_gets_all_of_it_without_colour_and_may_be_closed_at_any_time() {
    let hub = Hub::start().await;
    let whole = seinpost(&hub, POLICE, &["covenant", "show", "participants"]).ends(0);
    assert!(!whole.out.contains('\u{1b}') && !whole.out.contains('…'), "{}", whole.out);
    assert!(whole.out.lines().count() > 300);

    let mut child = command(&hub, POLICE, &["covenant", "show", "participants"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("OIN"), "{first}");
    let closed = child.wait_with_output().unwrap();
    assert_eq!((closed.status.code(), closed.stderr.as_slice()), (Some(0), &b""[..]));

    let always = seinpost(&hub, POLICE, &["check", "--color", "always"]).ends(0);
    assert!(always.out.contains("\u{1b}[32mok"), "{}", always.out);
    let quiet = seinpost(&hub, POLICE, &["check", "--quiet"]).ends(0);
    assert_eq!(quiet.out, "warning  sealing key: none yet: nobody can seal to this address\n");

    let english = seinpost(&hub, POLICE, &["codes", "missing_urgency"]).ends(0).out;
    let dutch = seinpost(&hub, POLICE, &["codes", "missing_urgency", "--lang", "nl"]).ends(0).out;
    let by_locale = run(command(&hub, POLICE, &["codes", "missing_urgency"]).env("LC_ALL", "nl_NL.UTF-8"), "").out;
    assert!(dutch.contains("jonge leeftijd") && !english.contains("jonge leeftijd"), "{dutch}{english}");
    assert_eq!(dutch, by_locale);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ladder_says_of_each_step_who_says_so() {
    let hub = Hub::start().await;
    publish(&hub, &[POLICE, SAFE_HOME]);
    let id = send(&hub, POLICE, &hub.example(SignalType::ExploitationSignal));
    let status = || seinpost(&hub, POLICE, &["status", &id]).ends(0).out;
    let rung = |text: &str, words: &[&str]| {
        assert!(text.lines().any(|line| words.iter().all(|word| line.contains(word))), "{words:?} in\n{text}");
    };
    let accepted = status();
    rung(&accepted, &["accepted by the hub ", "the hub", "record "]);
    rung(&accepted, &["to Veilig Thuis", "SAFE_HOME: accepted by the hub, not yet handed over"]);
    assert!(!accepted.contains("the recipient"), "{accepted}");
    // A profile is tested without anything being handed over.
    seinpost(&hub, SAFE_HOME, &["check"]).ends(0);
    rung(&status(), &["to Veilig Thuis", "SAFE_HOME: accepted by the hub, not yet handed over"]);

    seinpost(&hub, SAFE_HOME, &["receive"]).ends(0);
    let waiting = seinpost(&hub, SAFE_HOME, &["list", "--waiting", "--quiet"]).ends(0).out;
    assert_eq!(waiting.trim(), id);
    seinpost(&hub, SAFE_HOME, &["reject", &id, "WRONG_RECIPIENT", "--better", "certified-institution"]).ends(0);
    let answered = status();
    rung(&answered, &["handed over ", "the hub", "record "]);
    rung(&answered, &["answered WRONG_RECIPIENT", "the recipient", "signed, record "]);
    rung(&answered, &["SAFE_HOME: undeliverable"]);
    assert!(!answered.contains("delivered to"), "{answered}");
    assert!(
        seinpost(&hub, SAFE_HOME, &["list", "--waiting"]).ends(0).says(&["nothing waits for an answer"]).out.is_empty()
    );
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_what_is_late_and_whom_to_call() {
    let mut hub = Hub::prepare();
    let hand = hub.serve_with_clock(now()).await;
    publish(&hub, &[POLICE, SAFE_HOME]);
    let id = send(&hub, POLICE, &hub.example(SignalType::ExploitationSignal));
    let deliveries = || seinpost(&hub, "operator", &["ops", "deliveries", "--output", "json"]).ends(0).json();
    assert_eq!((&deliveries()[0]["late"], &deliveries()[0]["contact"]), (&json!(false), &json!("")));
    // The covenant gives four hours for what is for today.
    hand.pass(Duration::from_secs(5 * 3600));
    assert_eq!((&deliveries()[0]["late"], &deliveries()[0]["item_id"]), (&json!(true), &json!(id)));
    assert!(!deliveries()[0]["contact"].as_str().unwrap().is_empty());
    let table = seinpost(&hub, "operator", &["ops", "deliveries", "--late"]).ends(0);
    assert!(table.out.contains("LATE") && table.out.contains("Veilig Thuis"), "{}", table.out);
    assert!(table.err.contains("1 late"), "{}", table.err);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_made_with_what_a_registrar_must_know_and_never_over_another() {
    let hub = Hub::start().await;
    let folder = hub.world().identity_folder("shelter");
    let file = |name: &str| folder.join(name).display().to_string();
    let address = hub.address().to_string();
    let hub_file = hub.world().hub_file().display().to_string();
    let arguments = [
        "init",
        "--hub",
        &hub_file,
        "--gateway",
        &address,
        "--function",
        "shelter",
        "--tls-cert",
        &file("tls.pem"),
        "--tls-key",
        &file("tls.key"),
        "--sign-cert",
        &file("signing.pem"),
        "--sign-key",
        &file("signing.key"),
        "--into",
        "mine",
    ];
    let made = run(bare(hub.scratch()).args(arguments), "").ends(0).out;
    let oin = hub.world().address("shelter").unwrap().oin;
    for word in
        ["hub file digest: ", "enrolment, for a registrar:", oin.as_str(), "SHELTER", "transport key", "signing key"]
    {
        assert!(made.contains(word), "{word} in\n{made}");
    }
    run(bare(hub.scratch()).args(["check", "--profile", "mine/shelter.toml"]), "").ends(0);
    let again = run(bare(hub.scratch()).args(arguments), "").ends(2);
    assert!(again.err.contains("exists already"), "{}", again.err);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_verb_prints_one_json_document_and_an_empty_one_where_there_is_nothing() {
    let hub = Hub::start().await;
    let empty = json!([]);
    for (who, arguments) in [
        (POLICE, &["list"][..]),
        (POLICE, &["receive"]),
        (POLICE, &["keys", "list"]),
        (POLICE, &["covenant", "show", "rules", "--filter", "no row has this"]),
        ("operator", &["ops", "deliveries"]),
    ] {
        let json = seinpost(&hub, who, &[arguments, &["--output", "json"]].concat()).ends(0).json();
        assert_eq!(json, empty, "{arguments:?}");
        let jsonl = seinpost(&hub, who, &[arguments, &["--output", "jsonl"]].concat()).ends(0);
        assert_eq!(jsonl.out, "", "{arguments:?}");
    }
    let published = seinpost(&hub, SAFE_HOME, &["keys", "publish", "--output", "json"]).ends(0).json();
    names(&published[0], &["item_id", "receipt"]);
    assert_eq!(seinpost(&hub, SAFE_HOME, &["keys", "publish", "--output", "json"]).ends(0).json(), empty);
    publish(&hub, &[POLICE]);
    let ids = [0, 1].map(|_| send(&hub, POLICE, &hub.example(SignalType::ExploitationSignal)));

    let received = seinpost(&hub, SAFE_HOME, &["receive", "--output", "json"]).ends(0).json();
    let of_signals = received.as_array().unwrap().iter().filter(|received| received["kind"] == "signal");
    assert_eq!(of_signals.map(|signal| signal["item_id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
    assert_eq!(seinpost(&hub, SAFE_HOME, &["receive", "--output", "json"]).ends(0).json(), empty);

    // It is one document even if it is interrupted.
    let mut follow = command(&hub, SAFE_HOME, &["receive", "--again", "--follow", "--output", "json"]);
    let mut child = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains(&ids[1]) {
        assert_ne!(reader.read_line(&mut text).unwrap(), 0, "{text}");
    }
    interrupt(&child);
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(serde_json::from_str::<Json>(&text).unwrap().as_array().unwrap().len() >= 3, "{text}");
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_does_not_hold_is_told_from_a_file_that_is_none() {
    let mut hub = Hub::start().await;
    publish(&hub, &[POLICE, SAFE_HOME]);
    let signal = hub.example(SignalType::ExploitationSignal).to_string();
    write(&hub, "signal.json", &signal);
    let sent = seinpost(&hub, POLICE, &["send", "signal.json", "--output", "json"]).ends(0).json();
    let good = std::fs::read_to_string(sent["receipt"].as_str().unwrap()).unwrap();
    let good: Json = serde_json::from_str(&good).unwrap();
    for field in ["log_origin", "item_id", "item_digest", "covenant_digest", "item", "certificates", "receipt"] {
        let mut turned = good.clone();
        let text = if field == "certificates" { &mut turned[field][0] } else { &mut turned[field] };
        let mut characters: Vec<char> = text.as_str().unwrap().chars().collect();
        let middle = characters.len() / 2;
        characters[middle] = if characters[middle] == '1' { '2' } else { '1' };
        *text = characters.into_iter().collect::<String>().into();
        write(&hub, "turned.receipt", &turned.to_string());
        let ran = seinpost(&hub, POLICE, &["verify", "turned.receipt"]).ends(3);
        assert!(ran.err.starts_with("error: the receipt does not hold\n"), "{field}: {}", ran.err);
        assert!(ran.err.trim_end().ends_with(']'), "{field} has its code: {}", ran.err);
    }
    write(&hub, "letter.receipt", "a letter");
    for (file, says) in [
        ("nowhere.receipt", "  nowhere.receipt: the file does not exist"),
        ("letter.receipt", "  letter.receipt: no receipt file: expected value at line 1 column 1"),
        ("/", "  /: a folder, not a file"),
    ] {
        seinpost(&hub, POLICE, &["verify", file]).ends(2).says(&["error: the receipt cannot be verified", says]);
    }

    // A folder for a file and a file for a folder are no fault of ours.
    seinpost(&hub, POLICE, &["send", "/"]).ends(2).says(&["  /: a folder, not a file"]);
    seinpost(&hub, POLICE, &["receive", "--into", "signal.json"])
        .ends(2)
        .says(&["  signal.json: a file, where a folder is needed"]);
    for file in ["/", "nowhere"] {
        seinpost(&hub, POLICE, &["covenant", "verify", file]).ends(2).says(&["error: the covenant cannot be read"]);
    }
    // Nor is a log bad that nobody could look at, or who may not.
    let none = seinpost(&hub, "auditor", &["keys", "publish"]).ends(6);
    assert!(none.err.contains("AUDITOR has no mailbox") && none.err.contains("nothing was published"), "{}", none.err);
    seinpost(&hub, "auditor", &["audit", "checkpoint"])
        .ends(0)
        .says(&["the first that this profile sees: there is none yet to compare it with"]);
    let again = seinpost(&hub, "auditor", &["audit", "checkpoint"]).ends(0);
    assert!(again.err.contains("records that this profile saw before"), "{}", again.err);
    hub.stop().await;
    seinpost(&hub, "auditor", &["audit", "verify"]).ends(5).says(&["error: the log cannot be verified"]);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_wrongly_is_told_with_what_was_probably_meant() {
    let hub = Hub::start().await;
    for (written, allowed) in [("363", "0363 ("), ("amsterdam", "0363 ("), ("Xyz", "")] {
        let ran = seinpost(&hub, POLICE, &["route", "SAFE_HOME", written]).ends(2);
        assert!(ran.err.contains(&format!("  {written}: a municipality is four digits, as 0363\n")), "{}", ran.err);
        assert!(ran.err.contains(&format!("  allowed: {allowed}")) != allowed.is_empty(), "{}", ran.err);
    }
    let none = seinpost(&hub, "shelter", &["route", "MAYOR", "0363"]).ends(1);
    assert!(!none.out.contains("may send it"), "{}", none.out);
    assert!(none.err.contains("no rule permits it"), "{}", none.err);

    let sendable = "  allowed: EXPLOITATION_SIGNAL, CONSULTATION, CONSULTATION_ADVICE";
    seinpost(&hub, POLICE, &["template", "NONSENSE"]).ends(2).says(&["  NONSENSE: no type of signal", sendable]);
    run(&mut command(&hub, POLICE, &["send", "-"]), "{}").ends(2).says(&["  -: type: missing", sendable]);

    let beyond = seinpost(&hub, "auditor", &["audit", "records", "--to", "99999"]);
    assert_eq!(beyond.err.matches("the newest checkpoint covers").count(), 1, "{}", beyond.err);
    seinpost(&hub, "operator", &["ops", "deliveries", "--limit", "0"]).ends(2);
    let usage = seinpost(&hub, POLICE, &["template"]).ends(2);
    assert!(usage.err.contains("Usage: seinpost template <TYPE>"), "{}", usage.err);
    hub.end().await;
}
