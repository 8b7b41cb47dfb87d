//! Kubernetes' protobuf bodies, which kubectl 1.32 and later send for objects it makes itself: decoded to JSON. Answers
//! are JSON always, which every client takes.

use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The first bytes of every body.
const MAGIC: &[u8] = b"k8s\0";

/// How a field is written.
#[derive(Debug, Clone, Copy)]
pub enum Wire {
    /// Text; empty means not set.
    Text,
    /// A number; zero means not set.
    Number,
    /// A number that is sent only when it is set, zero included.
    OptionalNumber,
    /// True or false, sent only when set.
    Boolean,
    /// True or false, sent always; false means not set.
    Flag,
    /// Seconds and nanoseconds.
    Time,
    /// The same to the microsecond.
    MicroTime,
    /// A list of texts.
    Texts,
    /// A list of numbers.
    Numbers,
    /// A quantity; none means not set.
    Quantity,
    /// A number or a text, such as a port.
    NumberOrText,
    /// Text to text.
    TextMap,
    /// Text to bytes, which JSON writes in base 64.
    BytesMap,
    /// Text to quantity.
    Quantities,
    /// A structure; empty means not set.
    Message(&'static [Field]),
    /// A structure that says something also when it is empty.
    Present(&'static [Field]),
    /// A structure whose fields JSON writes in the one around it.
    Inline(&'static [Field]),
    /// A list of structures.
    Messages(&'static [Field]),
    /// Known and not wanted.
    Skipped,
}

/// A field of a structure.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its number on the wire.
    pub number: u32,
    /// Its name in JSON.
    pub name: &'static str,
    /// How it is written.
    pub wire: Wire,
}

impl Field {
    /// A field.
    pub const fn new(number: u32, name: &'static str, wire: Wire) -> Self {
        Self { number, name, wire }
    }
}

/// `metadata` of every kind.
pub const METADATA: &[Field] = &[
    Field::new(1, "name", Wire::Text),
    Field::new(2, "generateName", Wire::Text),
    Field::new(3, "namespace", Wire::Text),
    Field::new(4, "selfLink", Wire::Skipped),
    Field::new(5, "uid", Wire::Text),
    Field::new(6, "resourceVersion", Wire::Text),
    Field::new(7, "generation", Wire::Number),
    Field::new(8, "creationTimestamp", Wire::Time),
    Field::new(9, "deletionTimestamp", Wire::Time),
    Field::new(10, "deletionGracePeriodSeconds", Wire::OptionalNumber),
    Field::new(11, "labels", Wire::TextMap),
    Field::new(12, "annotations", Wire::TextMap),
    Field::new(13, "ownerReferences", Wire::Messages(OWNER)),
    Field::new(14, "finalizers", Wire::Texts),
    Field::new(17, "managedFields", Wire::Skipped),
];

const OWNER: &[Field] = &[
    Field::new(1, "kind", Wire::Text),
    Field::new(3, "name", Wire::Text),
    Field::new(4, "uid", Wire::Text),
    Field::new(5, "apiVersion", Wire::Text),
    Field::new(6, "controller", Wire::Boolean),
    Field::new(7, "blockOwnerDeletion", Wire::Boolean),
];

/// `DeleteOptions`.
pub const DELETE_OPTIONS: &[Field] = &[
    Field::new(1, "gracePeriodSeconds", Wire::OptionalNumber),
    Field::new(
        2,
        "preconditions",
        Wire::Message(&[Field::new(1, "uid", Wire::Text), Field::new(2, "resourceVersion", Wire::Text)]),
    ),
    Field::new(3, "orphanDependents", Wire::Boolean),
    Field::new(4, "propagationPolicy", Wire::Text),
    Field::new(5, "dryRun", Wire::Texts),
];

/// `Eviction`.
pub const EVICTION: &[Field] = &[
    Field::new(1, "metadata", Wire::Message(METADATA)),
    Field::new(2, "deleteOptions", Wire::Message(DELETE_OPTIONS)),
];

/// Why a body is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufFault {
    /// Not protobuf as Kubernetes wraps it, or broken.
    #[error("the body is not protobuf of Kubernetes: {0}")]
    Broken(&'static str),
    /// A field this build does not know: dropping it would lose what the client means.
    #[error("field number {number} of {inside} is not known here; send JSON")]
    Unknown {
        /// Its number.
        number: u32,
        /// Where.
        inside: String,
    },
}

/// An object with `apiVersion` and `kind`, from a body whose object has these fields.
pub fn decode(body: &[u8], fields: &[Field]) -> Result<Value, ProtobufFault> {
    let envelope = body.strip_prefix(MAGIC).ok_or(ProtobufFault::Broken("it does not begin with \"k8s\""))?;
    let (mut types, mut object) = (Map::new(), &[][..]);
    let mut reader = Reader(envelope);
    while let Some((number, item)) = reader.next()? {
        match (number, item) {
            (1, Item::Bytes(bytes)) => {
                let type_meta = [Field::new(1, "apiVersion", Wire::Text), Field::new(2, "kind", Wire::Text)];
                types = message(bytes, &type_meta, "typeMeta")?;
            }
            (2, Item::Bytes(bytes)) => object = bytes,
            // Encoding and content type of the object: empty.
            (3 | 4, Item::Bytes([])) => {}
            _ => return Err(ProtobufFault::Broken("the envelope holds what it should not")),
        }
    }
    let mut value = message(object, fields, "the object")?;
    value.extend(types);
    Ok(Value::Object(value))
}

enum Item<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Result<u64, ProtobufFault> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(ProtobufFault::Broken("it ends in a number"))?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ProtobufFault::Broken("a number is too long"))
    }

    fn next(&mut self) -> Result<Option<(u32, Item<'a>)>, ProtobufFault> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| ProtobufFault::Broken("a field number is too large"))?;
        let item = match tag & 7 {
            0 => Item::Number(self.varint()?),
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                let (bytes, rest) =
                    self.0.split_at_checked(length).ok_or(ProtobufFault::Broken("it ends in a field"))?;
                self.0 = rest;
                Item::Bytes(bytes)
            }
            _ => return Err(ProtobufFault::Broken("a field has a type that Kubernetes does not use")),
        };
        Ok(Some((number, item)))
    }
}

fn text(bytes: &[u8]) -> Result<String, ProtobufFault> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ProtobufFault::Broken("a text is not UTF-8"))
}

fn entry(bytes: &[u8]) -> Result<(String, &[u8]), ProtobufFault> {
    let (mut key, mut value) = (String::new(), &[][..]);
    let mut reader = Reader(bytes);
    while let Some((number, item)) = reader.next()? {
        match (number, item) {
            (1, Item::Bytes(bytes)) => key = text(bytes)?,
            (2, Item::Bytes(bytes)) => value = bytes,
            _ => return Err(ProtobufFault::Broken("an entry of a map holds what it should not")),
        }
    }
    Ok((key, value))
}

fn time(bytes: &[u8], format: &str) -> Result<Option<String>, ProtobufFault> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    let mut reader = Reader(bytes);
    while let Some((number, item)) = reader.next()? {
        match (number, item) {
            (1, Item::Number(value)) => seconds = value.cast_signed(),
            (2, Item::Number(value)) => nanos = value.cast_signed(),
            _ => {}
        }
    }
    if bytes.is_empty() {
        return Ok(None);
    }
    let range = |_| ProtobufFault::Broken("a time is out of range");
    let nanos = i32::try_from(nanos).map_err(|_| ProtobufFault::Broken("a time is out of range"))?;
    let at = Timestamp::new(seconds, nanos).map_err(range)?;
    Ok(Some(at.strftime(format).to_string()))
}

/// Type 0 is a number, type 1 a text; the other one is sent too, empty.
fn number_or_text(bytes: &[u8]) -> Result<Value, ProtobufFault> {
    let (mut is_text, mut number, mut word) = (false, 0u64, String::new());
    let mut reader = Reader(bytes);
    while let Some(part) = reader.next()? {
        match part {
            (1, Item::Number(kind)) => is_text = kind == 1,
            (2, Item::Number(value)) => number = value,
            (3, Item::Bytes(bytes)) => word = text(bytes)?,
            _ => return Err(ProtobufFault::Broken("a number or text holds what it should not")),
        }
    }
    Ok(if is_text { word.into() } else { number.cast_signed().into() })
}

/// Recursion ends with the nesting of the fields, which is fixed.
fn message(bytes: &[u8], fields: &[Field], inside: &str) -> Result<Map<String, Value>, ProtobufFault> {
    let mut found = Map::new();
    let mut reader = Reader(bytes);
    while let Some((number, item)) = reader.next()? {
        let Some(field) = fields.iter().find(|field| field.number == number) else {
            if matches!(item, Item::Bytes([])) {
                continue;
            }
            return Err(ProtobufFault::Unknown { number, inside: inside.to_owned() });
        };
        put(&mut found, field, item)?;
    }
    Ok(found)
}

fn put(found: &mut Map<String, Value>, field: &Field, item: Item<'_>) -> Result<(), ProtobufFault> {
    let one = match (field.wire, item) {
        (Wire::Skipped, _) | (Wire::Number | Wire::Flag, Item::Number(0)) | (Wire::Text, Item::Bytes([])) => {
            return Ok(());
        }
        (Wire::Text, Item::Bytes(bytes)) => text(bytes)?.into(),
        (Wire::Number | Wire::OptionalNumber, Item::Number(number)) => number.cast_signed().into(),
        (Wire::Boolean | Wire::Flag, Item::Number(number)) => Value::Bool(number != 0),
        (Wire::Time | Wire::MicroTime, Item::Bytes(bytes)) => {
            let format =
                if matches!(field.wire, Wire::MicroTime) { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
            match time(bytes, format)? {
                Some(time) => time.into(),
                None => return Ok(()),
            }
        }
        (Wire::Message(fields), Item::Bytes(bytes)) => {
            let inner = message(bytes, fields, field.name)?;
            if inner.is_empty() {
                return Ok(());
            }
            Value::Object(inner)
        }
        (Wire::Present(fields), Item::Bytes(bytes)) => Value::Object(message(bytes, fields, field.name)?),
        (Wire::Inline(fields), Item::Bytes(bytes)) => {
            found.extend(message(bytes, fields, field.name)?);
            return Ok(());
        }
        (Wire::NumberOrText, Item::Bytes(bytes)) => number_or_text(bytes)?,
        (Wire::Numbers, Item::Number(number)) => return push(found, field, number.cast_signed().into()),
        (Wire::Quantity, Item::Bytes(bytes)) => match quantity(bytes, field.name)? {
            Some(quantity) => quantity,
            None => return Ok(()),
        },
        (Wire::Texts, Item::Bytes(bytes)) => return push(found, field, text(bytes)?.into()),
        (Wire::Messages(fields), Item::Bytes(bytes)) => {
            let inner = Value::Object(message(bytes, fields, field.name)?);
            return push(found, field, inner);
        }
        (Wire::TextMap, Item::Bytes(bytes)) => {
            let (key, value) = entry(bytes)?;
            let value = text(value)?.into();
            return insert(found, field, key, value);
        }
        (Wire::Quantities, Item::Bytes(bytes)) => {
            let (key, value) = entry(bytes)?;
            let value = quantity(value, field.name)?.unwrap_or_else(|| "0".into());
            return insert(found, field, key, value);
        }
        (Wire::BytesMap, Item::Bytes(bytes)) => {
            let (key, value) = entry(bytes)?;
            let value = base64::engine::general_purpose::STANDARD.encode(value).into();
            return insert(found, field, key, value);
        }
        _ => return Err(ProtobufFault::Broken("a field has another type than it should")),
    };
    found.insert(field.name.to_owned(), one);
    Ok(())
}

fn quantity(bytes: &[u8], inside: &str) -> Result<Option<Value>, ProtobufFault> {
    Ok(message(bytes, &[Field::new(1, "quantity", Wire::Text)], inside)?.remove("quantity"))
}

fn push(found: &mut Map<String, Value>, field: &Field, item: Value) -> Result<(), ProtobufFault> {
    if let Value::Array(items) = found.entry(field.name).or_insert_with(|| json!([])) {
        items.push(item);
    }
    Ok(())
}

fn insert(found: &mut Map<String, Value>, field: &Field, key: String, value: Value) -> Result<(), ProtobufFault> {
    if let Value::Object(entries) = found.entry(field.name).or_insert_with(|| json!({})) {
        entries.insert(key, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KindTable;
    use proptest::prelude::*;

    /// A field with bytes in it.
    fn bytes(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).expect("a short field");
        assert!(length < 128, "one byte of length is enough here");
        [&[number << 3 | 2, length], bytes].concat()
    }

    fn body(api_version: &str, kind: &str, object: &[u8]) -> Vec<u8> {
        let types = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
        [MAGIC, &bytes(1, &types), &bytes(2, object), &bytes(3, b""), &bytes(4, b"")].concat()
    }

    fn fields(kind: &str) -> &'static [Field] {
        KindTable::builtin().named(kind).expect("a kind").protobuf
    }

    #[test]
    fn a_config_map_becomes_what_its_json_would_be() {
        let metadata = [bytes(1, b"m"), bytes(2, b""), bytes(3, b"default"), vec![7 << 3, 0], bytes(8, b"")].concat();
        let label = bytes(11, &[bytes(1, b"a"), bytes(2, b"b")].concat());
        let object = [
            bytes(1, &[metadata, label].concat()),
            bytes(2, &[bytes(1, b"k"), bytes(2, b"v")].concat()),
            bytes(2, &[bytes(1, b"empty"), bytes(2, b"")].concat()),
            bytes(3, &[bytes(1, b"raw"), bytes(2, &[0, 255])].concat()),
            vec![4 << 3, 1],
        ]
        .concat();
        assert_eq!(
            decode(&body("v1", "ConfigMap", &object), fields("ConfigMap")),
            Ok(json!({
                "apiVersion": "v1", "kind": "ConfigMap", "immutable": true,
                "metadata": {"name": "m", "namespace": "default", "labels": {"a": "b"}},
                "data": {"k": "v", "empty": ""}, "binaryData": {"raw": "AP8="},
            }))
        );
    }

    #[test]
    fn options_of_a_deletion_keep_a_grace_of_zero() {
        let object = [vec![1 << 3, 0], bytes(2, &bytes(1, b"u")), bytes(5, b"All")].concat();
        let options = decode(&body("v1", "DeleteOptions", &object), DELETE_OPTIONS).expect("options");
        assert_eq!(
            (&options["gracePeriodSeconds"], &options["preconditions"]["uid"], &options["dryRun"][0]),
            (&json!(0), &json!("u"), &json!("All"))
        );
    }

    #[test]
    fn a_job_becomes_what_its_json_would_be() {
        let quantity = bytes(2, &[bytes(1, b"memory"), bytes(2, &bytes(1, b"64Mi"))].concat());
        let key = [bytes(1, &bytes(1, b"settings")), bytes(2, b"a")].concat();
        let variable = [bytes(1, b"A"), bytes(2, b""), bytes(3, &bytes(3, &key))].concat();
        let container = [
            bytes(1, b"c"),
            bytes(2, b"x:1"),
            bytes(3, b"run"),
            bytes(7, &variable),
            bytes(8, &quantity),
            vec![0x80, 1, 0],
        ]
        .concat();
        let volume = [bytes(1, b"tmp"), bytes(2, &bytes(2, b""))].concat();
        let pod = [bytes(1, &volume), bytes(2, &container), bytes(3, b"Never"), vec![11 << 3, 0]].concat();
        let template = [bytes(1, &bytes(8, b"")), bytes(2, &pod)].concat();
        let spec = [vec![1 << 3, 0], bytes(6, &template)].concat();
        // Longer than one byte of length says.
        let length =
            [u8::try_from(spec.len() & 0x7f | 0x80).expect("a byte"), u8::try_from(spec.len() >> 7).expect("a byte")];
        let (spec, metadata) = ([&[2 << 3 | 2][..], &length, &spec].concat(), bytes(1, &bytes(1, b"j")));
        let found = message(&[metadata, spec, bytes(3, b"")].concat(), fields("Job"), "the object");
        assert_eq!(
            found.map(Value::Object),
            Ok(json!({"metadata": {"name": "j"}, "spec": {"parallelism": 0, "template": {"spec": {
                "restartPolicy": "Never", "volumes": [{"name": "tmp", "emptyDir": {}}],
                "containers": [{"name": "c", "image": "x:1", "command": ["run"],
                    "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}}],
                    "resources": {"requests": {"memory": "64Mi"}}}]}}}}))
        );
    }

    #[test]
    fn the_ports_of_a_service_are_numbers_or_names() {
        let by_number =
            [bytes(2, b"TCP"), vec![3 << 3, 80], bytes(4, &[8, 0, 16, 81, 26, 0]), vec![5 << 3, 0]].concat();
        let by_name = [vec![3 << 3, 81], bytes(4, &[vec![8, 1, 16, 0], bytes(3, b"web")].concat())].concat();
        let selector = bytes(2, &[bytes(1, b"app"), bytes(2, b"web")].concat());
        let spec = [bytes(1, &by_number), bytes(1, &by_name), selector, bytes(3, b"None"), vec![13 << 3, 0]].concat();
        let object = [bytes(1, &bytes(1, b"s")), bytes(2, &spec), bytes(3, b"")].concat();
        assert_eq!(
            message(&object, fields("Service"), "the object").map(Value::Object),
            Ok(json!({"metadata": {"name": "s"}, "spec": {"selector": {"app": "web"}, "clusterIP": "None", "ports": [
                {"protocol": "TCP", "port": 80, "targetPort": 81}, {"port": 81, "targetPort": "web"}]}}))
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_rather_than_lost() {
        let object = bytes(9, b"something");
        let fault = decode(&body("v1", "Namespace", &object), fields("Namespace"));
        assert_eq!(fault, Err(ProtobufFault::Unknown { number: 9, inside: "the object".into() }));
        assert!(decode(b"{}", fields("Namespace")).is_err());
        let whole = body("v1", "Namespace", &bytes(1, &bytes(1, b"x")));
        assert!(decode(&whole[..whole.len() - 6], fields("Namespace")).is_err(), "cut off");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&[MAGIC, &noise].concat(), fields("ConfigMap"));
            let object = body("v1", "ConfigMap", &noise[..noise.len().min(100)]);
            let _ = decode(&object, fields("ConfigMap"));
        }
    }
}
