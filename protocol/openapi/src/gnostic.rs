//! A document of version 2 in protobuf, in the messages of gnostic's `openapi.v2`: only these do clients of Kubernetes read.
//! The numbers are those of its `OpenAPIv2.proto`; what our documents never hold is left out.

use serde_json::Value;

/// A message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A text, if there is one.
    fn text(&mut self, field: u64, text: &Value) {
        if let Some(text) = text.as_str().filter(|text| !text.is_empty()) {
            self.bytes(field, text.as_bytes());
        }
    }

    fn texts(&mut self, field: u64, texts: &Value) {
        texts.as_array().into_iter().flatten().for_each(|text| self.text(field, text));
    }

    /// A flag, if it is set.
    fn flag(&mut self, field: u64, flag: &Value) {
        if flag == &Value::Bool(true) {
            self.varint(field << 3);
            self.varint(1);
        }
    }

    fn message(&mut self, field: u64, message: &Message) {
        self.bytes(field, &message.0);
    }

    /// Entries of an object, each a message with a name and a value.
    fn named(&mut self, field: u64, object: &Value, value: impl Fn(&Value) -> Message) {
        for (name, one) in object.as_object().into_iter().flatten() {
            let mut entry = Message::default();
            entry.bytes(1, name.as_bytes());
            entry.message(2, &value(one));
            self.message(field, &entry);
        }
    }

    /// What stands in `object` beyond the specification, as YAML; JSON is such.
    fn extensions(&mut self, field: u64, object: &Value) {
        for (name, value) in object.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-")) {
            let (mut entry, mut any) = (Message::default(), Message::default());
            any.bytes(2, value.to_string().as_bytes());
            entry.bytes(1, name.as_bytes());
            entry.message(2, &any);
            self.message(field, &entry);
        }
    }
}

fn wrapped(field: u64, inner: &Message) -> Message {
    let mut message = Message::default();
    message.message(field, inner);
    message
}

/// The document's bytes.
pub fn encoded(swagger: &Value) -> Vec<u8> {
    let mut document = Message::default();
    document.text(1, &swagger["swagger"]);
    let mut info = Message::default();
    info.text(1, &swagger["info"]["title"]);
    info.text(2, &swagger["info"]["version"]);
    document.message(2, &info);
    let mut paths = Message::default();
    paths.named(2, &swagger["paths"], path_item);
    document.message(8, &paths);
    let mut definitions = Message::default();
    definitions.named(1, &swagger["definitions"], schema);
    document.message(9, &definitions);
    document.0
}

fn path_item(item: &Value) -> Message {
    let mut message = Message::default();
    for (field, verb) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(described) = item.get(verb) {
            message.message(field, &operation(described));
        }
    }
    parameters(&mut message, 9, &item["parameters"]);
    message
}

fn operation(described: &Value) -> Message {
    let mut message = Message::default();
    message.texts(1, &described["tags"]);
    message.text(3, &described["description"]);
    message.text(5, &described["operationId"]);
    message.texts(6, &described["produces"]);
    message.texts(7, &described["consumes"]);
    parameters(&mut message, 8, &described["parameters"]);
    let mut responses = Message::default();
    responses.named(1, &described["responses"], |response| {
        let mut answer = Message::default();
        answer.text(1, &response["description"]);
        if let Some(described) = response.get("schema") {
            answer.message(2, &wrapped(1, &schema(described)));
        }
        wrapped(1, &answer)
    });
    message.message(9, &responses);
    message.extensions(13, described);
    message
}

fn parameters(message: &mut Message, field: u64, parameters: &Value) {
    for one in parameters.as_array().into_iter().flatten() {
        message.message(field, &wrapped(1, &parameter(one)));
    }
}

fn parameter(described: &Value) -> Message {
    let mut message = Message::default();
    if described["in"] == "body" {
        message.text(2, &described["name"]);
        message.text(3, &described["in"]);
        message.flag(4, &described["required"]);
        message.message(5, &schema(&described["schema"]));
        return wrapped(1, &message);
    }
    message.flag(1, &described["required"]);
    message.text(2, &described["in"]);
    message.text(3, &described["description"]);
    message.text(4, &described["name"]);
    // The two messages differ in this: a value of the query may be empty.
    let (place, kind) = if described["in"] == "path" { (4, 5) } else { (3, 6) };
    message.text(kind, &described["type"]);
    wrapped(2, &wrapped(place, &message))
}

fn schema(described: &Value) -> Message {
    let mut message = Message::default();
    message.text(1, &described["$ref"]);
    message.text(2, &described["format"]);
    message.text(4, &described["description"]);
    message.texts(19, &described["required"]);
    match &described["additionalProperties"] {
        Value::Object(_) => message.message(21, &wrapped(1, &schema(&described["additionalProperties"]))),
        Value::Bool(any) => {
            let mut allowed = Message::default();
            allowed.varint(2 << 3);
            allowed.varint(u64::from(*any));
            message.message(21, &allowed);
        }
        _ => {}
    }
    if described["type"].is_string() {
        let mut kind = Message::default();
        kind.text(1, &described["type"]);
        message.message(22, &kind);
    }
    if let Some(items) = described.get("items") {
        message.message(23, &wrapped(1, &schema(items)));
    }
    if let Some(properties) = described.get("properties") {
        let mut all = Message::default();
        all.named(1, properties, schema);
        message.message(25, &all);
    }
    message.extensions(31, described);
    message
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_small_document_is_these_bytes() {
        let swagger = json!({
            "swagger": "2.0", "info": {"title": "m", "version": "1"}, "paths": {},
            "definitions": {"a": {
                "type": "object", "required": ["b"], "x-y": true,
                "properties": {"b": {"$ref": "#/definitions/a"}},
            }},
        });
        let mut expected = b"\x0a\x032.0\x12\x06\x0a\x01m\x12\x011\x42\x00\x4a\x41\x0a\x3f\x0a\x01a\x12\x3a".to_vec();
        expected.extend(b"\x9a\x01\x01b\xb2\x01\x08\x0a\x06object");
        expected.extend(b"\xca\x01\x18\x0a\x16\x0a\x01b\x12\x11\x0a\x0f#/definitions/a");
        expected.extend(b"\xfa\x01\x0d\x0a\x03x-y\x12\x06\x12\x04true");
        assert_eq!(encoded(&swagger), expected);
    }

    #[test]
    fn parameters_are_told_apart_by_where_they_stand() {
        let in_query = parameter(&json!({"in": "query", "name": "q", "type": "string"}));
        assert_eq!(in_query.0, b"\x12\x14\x1a\x12\x12\x05query\x22\x01q\x32\x06string");
        let in_path = parameter(&json!({"in": "path", "name": "p", "type": "string", "required": true}));
        assert_eq!(in_path.0, b"\x12\x15\x22\x13\x08\x01\x12\x04path\x22\x01p\x2a\x06string");
        let body = parameter(&json!({"in": "body", "name": "body", "schema": {"format": "f"}}));
        assert_eq!(body.0, b"\x0a\x11\x12\x04body\x1a\x04body\x2a\x03\x12\x01f");
    }
}
