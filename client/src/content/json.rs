//! Content as people and programs write it: JSON with snake_case names, enums by their short code, times in RFC 3339.
//!
//! In comes a JSON value and the descriptor of the message that it should be; out comes the message, or every fault
//! of shape at once (a wrong type, an unknown field, an unknown code), each with its path. What the values must be is
//! not asked here but in `seinpost_protocol::content`. The other way round, a message becomes the same JSON.

use std::sync::LazyLock;

use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor,
    ReflectMessage, Value as Proto,
};
use seinpost_protocol::content::FieldFault;
use serde_json::{Map, Value as Json};

/// The descriptors of every message of the exchange.
pub(super) static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(seinpost_protocol::DESCRIPTORS).expect("the descriptors were made by this build")
});

/// Returns the descriptor of `seinpost.v1.NAME`.
pub(super) fn descriptor(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(&format!("seinpost.v1.{name}")).expect("the message stands in proto/seinpost/v1")
}

/// Reads a message from JSON; `at` is the path of the value, empty at the top. With it come all faults of shape, in the
/// order of the file: what is at fault is left out of the message, so that the rest can be asked further.
pub(super) fn read(json: &Json, descriptor: &MessageDescriptor, at: &str) -> (DynamicMessage, Vec<FieldFault>) {
    let mut faults = Vec::new();
    let message = message(json, descriptor, at, &mut faults);
    (message, faults)
}

/// Reads a message from JSON that has to be right.
///
/// # Errors
/// As [`read`].
#[cfg(test)]
pub(super) fn parse(json: &Json, descriptor: &MessageDescriptor, at: &str) -> Result<DynamicMessage, Vec<FieldFault>> {
    let (message, faults) = read(json, descriptor, at);
    if faults.is_empty() { Ok(message) } else { Err(faults) }
}

/// Writes a message as JSON: only fields that are set.
pub(super) fn write(message: &DynamicMessage) -> Json {
    if message.descriptor().full_name() == TIMESTAMP {
        return Json::String(timestamp_text(message));
    }
    let mut object = Map::new();
    for (field, value) in message.fields() {
        object.insert(field.name().to_owned(), write_value(&field, value));
    }
    Json::Object(object)
}

/// Returns an enum value's short code: its name without the enum's prefix.
pub(super) fn short_code(descriptor: &EnumDescriptor, name: &str) -> String {
    name.strip_prefix(&prefix(descriptor)).unwrap_or(name).to_owned()
}

const TIMESTAMP: &str = "google.protobuf.Timestamp";

fn message(json: &Json, descriptor: &MessageDescriptor, at: &str, faults: &mut Vec<FieldFault>) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    if descriptor.full_name() == TIMESTAMP {
        timestamp(json, &mut message, at, faults);
        return message;
    }
    let Json::Object(object) = json else {
        faults.push(FieldFault::new(shown(at), kind_of(json), "an object"));
        return message;
    };
    for (name, json) in object {
        let at = join(at, name);
        // The names of the JSON mapping of protobuf are taken too, for programs that generate it.
        let field = descriptor.get_field_by_name(name).or_else(|| descriptor.get_field_by_json_name(name));
        let Some(field) = field else {
            let names: Vec<String> = descriptor.fields().map(|field| field.name().to_owned()).collect();
            faults.push(FieldFault::new(at, "an unknown field", names.join(", ")));
            continue;
        };
        // In JSON, null is how a field is left out.
        if json.is_null() {
            continue;
        }
        if message.has_field(&field) {
            faults.push(FieldFault::new(at, "given twice, under two names", format!("{} once", field.name())));
            continue;
        }
        let value = if field.cardinality() == Cardinality::Repeated {
            let Json::Array(elements) = json else {
                faults.push(FieldFault::new(at, kind_of(json), "a list"));
                continue;
            };
            let values =
                elements.iter().enumerate().filter_map(|(i, json)| scalar(json, &field, &format!("{at}[{i}]"), faults));
            Some(Proto::List(values.collect()))
        } else {
            scalar(json, &field, &at, faults)
        };
        if let Some(value) = value {
            message.set_field(&field, value);
        }
    }
    message
}

fn scalar(json: &Json, field: &FieldDescriptor, at: &str, faults: &mut Vec<FieldFault>) -> Option<Proto> {
    let wanted = match field.kind() {
        Kind::Message(descriptor) => return Some(Proto::Message(message(json, &descriptor, at, faults))),
        Kind::Enum(descriptor) => return enumeration(json, &descriptor, at, faults),
        Kind::String => match json {
            Json::String(text) => return Some(Proto::String(text.clone())),
            _ => "text in quotes",
        },
        Kind::Bool => match json {
            Json::Bool(truth) => return Some(Proto::Bool(*truth)),
            _ => "true or false",
        },
        Kind::Uint32 => match json.as_u64().and_then(|number| u32::try_from(number).ok()) {
            Some(number) => return Some(Proto::U32(number)),
            None => "a whole number",
        },
        other => unreachable!("content has no field of kind {other:?}"),
    };
    faults.push(FieldFault::new(at, kind_of(json), wanted));
    None
}

fn enumeration(json: &Json, descriptor: &EnumDescriptor, at: &str, faults: &mut Vec<FieldFault>) -> Option<Proto> {
    let prefix = prefix(descriptor);
    let found = json.as_str().and_then(|text| {
        let full = if text.starts_with(&prefix) { text.to_owned() } else { format!("{prefix}{text}") };
        descriptor.get_value_by_name(&full).filter(|value| value.number() != 0)
    });
    if found.is_none() {
        let codes: Vec<String> = descriptor
            .values()
            .filter(|value| value.number() != 0)
            .map(|value| short_code(descriptor, value.name()))
            .collect();
        let wrong = match json {
            Json::String(text) if text.len() <= 40 => format!("{text} is not one of its values"),
            other => kind_of(other).to_owned(),
        };
        faults.push(FieldFault::new(at, wrong, codes.join(", ")));
    }
    found.map(|value| Proto::EnumNumber(value.number()))
}

fn timestamp(json: &Json, message: &mut DynamicMessage, at: &str, faults: &mut Vec<FieldFault>) {
    let parsed = json.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let Some(time) = parsed else {
        let wrong = if json.is_string() { "no time with an offset" } else { kind_of(json) };
        faults.push(FieldFault::new(at, wrong, "RFC 3339, such as 2026-11-20T14:30:00+01:00"));
        return;
    };
    // Zero is how protobuf leaves a field out, and encoding it would not be canonical.
    if time.as_second() != 0 {
        message.set_field_by_name("seconds", Proto::I64(time.as_second()));
    }
    if time.subsec_nanosecond() != 0 {
        message.set_field_by_name("nanos", Proto::I32(time.subsec_nanosecond()));
    }
}

fn write_value(field: &FieldDescriptor, value: &Proto) -> Json {
    match value {
        Proto::List(values) => Json::Array(values.iter().map(|value| write_value(field, value)).collect()),
        Proto::Message(message) => write(message),
        Proto::EnumNumber(number) => {
            let Kind::Enum(descriptor) = field.kind() else { unreachable!("an enum number stands in an enum field") };
            // A value that this version does not know is shown raw rather than hidden.
            descriptor
                .get_value(*number)
                .map_or(Json::from(*number), |value| Json::String(short_code(&descriptor, value.name())))
        }
        Proto::String(text) => Json::String(text.clone()),
        Proto::Bool(truth) => Json::Bool(*truth),
        Proto::U32(number) => Json::from(*number),
        other => unreachable!("content has no value such as {other:?}"),
    }
}

fn timestamp_text(message: &DynamicMessage) -> String {
    let part = |name: &str| message.get_field_by_name(name).expect("a timestamp has seconds and nanos").into_owned();
    let (Proto::I64(seconds), Proto::I32(nanos)) = (part("seconds"), part("nanos")) else {
        unreachable!("seconds are int64, nanos int32")
    };
    jiff::Timestamp::new(seconds, nanos).map_or_else(|_| format!("{seconds}.{nanos:09}"), |time| time.to_string())
}

fn prefix(descriptor: &EnumDescriptor) -> String {
    let zero = descriptor.get_value(0).expect("every enum has its zero");
    zero.name().trim_end_matches("UNSPECIFIED").to_owned()
}

fn join(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

fn shown(at: &str) -> String {
    if at.is_empty() { "the file".to_owned() } else { at.to_owned() }
}

fn kind_of(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}
