//! Messages by themselves: canonical encoding, signatures, records.

use seinpost_protocol::answer::Answer;
use seinpost_protocol::canonical::{self, Checked, Malformed};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::record::{self, BadRecord, Revealed};
use seinpost_protocol::signature::PublicKey;
use seinpost_protocol::{item, tree, wire};

use super::frame::{Family, Inputs, Refusal, Values, unhex};

pub(crate) const FAMILY: Family = Family {
    ops: &[
        ("canonical", canonical),
        ("verify", verify),
        ("record", record),
        ("acceptance", acceptance),
        ("answer", answer),
    ],
    reasons: &[
        // What does not decode is not told apart: no sender can repair one and not the other.
        ("TRUNCATED", &["UNDECODABLE"]),
        ("VARINT", &["UNDECODABLE"]),
        ("WIRE_TYPE", &["UNDECODABLE"]),
        ("TAG", &["UNDECODABLE"]),
        ("UTF8", &["UNDECODABLE"]),
        // A SubjectPublicKeyInfo that is nearly one of the four forms is of another algorithm or badly written: taste.
        ("KEY_ALGORITHM", &["KEY_ENCODING"]),
        ("KEY_ENCODING", &["KEY_ALGORITHM"]),
    ],
};

pub(crate) fn malformed(fault: Malformed) -> Refusal {
    Refusal::at(fault.reason.as_str(), fault.field)
}

fn bad_record(bad: BadRecord) -> Refusal {
    Refusal::at(bad.reason(), bad.field())
}

/// Tries every message by its name, so that a name that the vectors bring anew is a fault and not a gap.
macro_rules! decode_as {
    ($name:expr, $bytes:expr, [$($message:ident),* $(,)?]) => {
        match $name {
            "Timestamp" => canonical::decode::<prost_types::Timestamp>($bytes).map(|message| name_of(&message)),
            $(stringify!($message) => canonical::decode::<wire::$message>($bytes).map(|message| name_of(&message)),)*
            other => panic!("message {other} is not known"),
        }
    };
}

fn name_of<M: Checked>(_: &M) -> &'static str {
    M::NAME
}

fn canonical(inputs: &Inputs) -> Result<Values, Refusal> {
    let bytes = inputs.bytes("bytes");
    let name = decode_as!(
        inputs.text("message"),
        bytes.clone(),
        [
            SignedItem,
            ItemSignature,
            Signer,
            Address,
            SignalManifest,
            Sealed,
            WrappedKeyRef,
            SignalHeader,
            Recipient,
            ContentProfile,
            KeyStatement,
            SealingKey,
            Withdrawn,
            Answer,
            Covenant,
            Registrar,
            Root,
            LogKey,
            Participant,
            Contact,
            FunctionGrant,
            BoundKey,
            Route,
            Rule,
            CodeList,
            Code,
            Profile,
            Clock,
            Record,
            Audience,
            MailboxPlace,
            ConversationPlace,
            SubmissionAcceptance,
            AboutSignal,
            AboutAnswer,
            AboutKey,
            Addressee,
            ContentConsignment,
            ContentHandover,
            Expiry,
            SubmissionRejection,
            MailboxHead,
            Receipt,
        ]
    )
    .map_err(malformed)?;
    assert!(name.ends_with(inputs.text("message")));
    Ok(Values::default().with_bytes("sha256", Digest::of(&bytes)))
}

fn verify(inputs: &Inputs) -> Result<Values, Refusal> {
    let (message, signature) = (inputs.bytes("message"), inputs.bytes("signature"));
    let key =
        PublicKey::from_spki(&inputs.bytes("spki"), inputs.flag("rsa2048")).map_err(|bad| Refusal::of(bad.reason()))?;
    key.verify(&message, &signature).map_err(|bad| Refusal::of(bad.reason()))?;
    Ok(Values::default().with_bytes("keyid", key.spki_sha256()))
}

fn record(inputs: &Inputs) -> Result<Values, Refusal> {
    let commitment = Digest::try_from(&inputs.bytes("commitment")).expect("a commitment is a digest");
    record::open(inputs.bytes("record"), &inputs.bytes("salt"), &commitment).map_err(bad_record)?;
    let leaf = tree::leaf_hash(&commitment);
    Ok(Values::default().with_bytes("commitment", commitment).with_bytes("leaf", leaf))
}

fn acceptance(inputs: &Inputs) -> Result<Values, Refusal> {
    let acceptance = record::decode(inputs.bytes("record")).map_err(malformed)?;
    let consignments: Vec<Revealed> = inputs
        .list("consignments")
        .iter()
        .map(|value| Revealed { record: unhex(&value["record"]), salt: unhex(&value["salt"]) })
        .collect();
    let indexes = record::acceptance_matches(&acceptance, &consignments).map_err(bad_record)?;
    Ok(Values::default().with("indexes", indexes))
}

fn answer(inputs: &Inputs) -> Result<Values, Refusal> {
    let acceptance = record::decode(inputs.bytes("record")).map_err(malformed)?;
    let item = item::decode_envelope(inputs.bytes("answer")).map_err(super::items::bad_item)?;
    let answer = Answer::parse(item.payload).map_err(super::items::bad_item)?;
    record::answer_matches(&acceptance, &answer).map_err(bad_record)?;
    Ok(Values::default())
}
