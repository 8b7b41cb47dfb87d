//! The other direction of `mkube_model::protobuf`: what a client would send for an object.

use base64::Engine as _;
use jiff::Timestamp;
use mkube_model::protobuf::{Field, Wire};
use serde_json::{Map, Value};

/// A body with this object; none when it holds what cannot be written.
pub fn body(value: &Value, fields: &[Field]) -> Option<Vec<u8>> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let types = [field(1, text("apiVersion").as_bytes()), field(2, text("kind").as_bytes())].concat();
    let object = message(value.as_object()?, fields)?;
    Some([b"k8s\0".to_vec(), field(1, &types), field(2, &object), field(3, b""), field(4, b"")].concat())
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    [varint(u64::from(number) << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn number(number: u32, value: i64) -> Vec<u8> {
    [varint(u64::from(number) << 3), varint(value.cast_unsigned())].concat()
}

fn message(value: &Map<String, Value>, fields: &[Field]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for known in fields {
        if let Wire::Inline(inner) = known.wire {
            bytes.extend(field(known.number, &message(value, inner)?));
        } else if let Some(found) = value.get(known.name) {
            bytes.extend(one(known, found)?);
        }
    }
    Some(bytes)
}

fn one(known: &Field, value: &Value) -> Option<Vec<u8>> {
    let at = known.number;
    let quantity = |value: &Value| Some(field(1, value.as_str()?.as_bytes()));
    let entries = |write: &dyn Fn(&Value) -> Option<Vec<u8>>| {
        let entry = |(key, value): (&String, &Value)| {
            Some(field(at, &[field(1, key.as_bytes()), field(2, &write(value)?)].concat()))
        };
        value.as_object()?.iter().map(entry).collect::<Option<Vec<_>>>().map(|all| all.concat())
    };
    let each = |write: &dyn Fn(&Value) -> Option<Vec<u8>>| {
        value.as_array()?.iter().map(write).collect::<Option<Vec<_>>>().map(|all| all.concat())
    };
    match known.wire {
        Wire::Skipped | Wire::Inline(_) => Some(Vec::new()),
        Wire::Text => Some(field(at, value.as_str()?.as_bytes())),
        Wire::Number | Wire::OptionalNumber => Some(number(at, value.as_i64()?)),
        Wire::Boolean | Wire::Flag => Some(number(at, i64::from(value.as_bool()?))),
        Wire::Time | Wire::MicroTime => {
            let time: Timestamp = value.as_str()?.parse().ok()?;
            let parts = [number(1, time.as_second()), number(2, i64::from(time.subsec_nanosecond()))];
            Some(field(at, &parts.concat()))
        }
        Wire::Texts => each(&|item| Some(field(at, item.as_str()?.as_bytes()))),
        Wire::Numbers => each(&|item| Some(number(at, item.as_i64()?))),
        Wire::Quantity => Some(field(at, &quantity(value)?)),
        Wire::NumberOrText => {
            let (kind, figure, text) = match value {
                Value::String(text) => (1, 0, text.as_str()),
                other => (0, other.as_i64()?, ""),
            };
            Some(field(at, &[number(1, kind), number(2, figure), field(3, text.as_bytes())].concat()))
        }
        Wire::TextMap => entries(&|value| Some(value.as_str()?.as_bytes().to_vec())),
        Wire::BytesMap => entries(&|value| base64::engine::general_purpose::STANDARD.decode(value.as_str()?).ok()),
        Wire::Quantities => entries(&quantity),
        Wire::Message(fields) | Wire::Present(fields) => Some(field(at, &message(value.as_object()?, fields)?)),
        Wire::Messages(fields) => each(&|item| Some(field(at, &message(item.as_object()?, fields)?))),
    }
}
