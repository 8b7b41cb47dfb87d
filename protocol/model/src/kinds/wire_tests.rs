use serde_json::{Map, Value, json};

use super::{EVENT_VIEW, KindTable, REVIEWS, unknown_fields};
use crate::protobuf::{Field, Wire};

/// An object with something in every field.
fn sample(fields: &[Field]) -> Map<String, Value> {
    let mut object = Map::new();
    for field in fields {
        let value = match field.wire {
            Wire::Text | Wire::Quantity => json!("1"),
            Wire::Number | Wire::OptionalNumber | Wire::NumberOrText => json!(1),
            Wire::Boolean | Wire::Flag => json!(true),
            Wire::Time => json!("2026-01-01T00:00:00Z"),
            Wire::MicroTime => json!("2026-01-01T00:00:00.000001Z"),
            Wire::Texts => json!(["1"]),
            Wire::Numbers => json!([1]),
            Wire::TextMap | Wire::Quantities => json!({"k": "1"}),
            Wire::BytesMap => json!({"k": "AP8="}),
            Wire::Message(fields) | Wire::Present(fields) => Value::Object(sample(fields)),
            Wire::Messages(fields) => json!([sample(fields)]),
            Wire::Inline(fields) => {
                object.extend(sample(fields));
                continue;
            }
            Wire::Skipped => continue,
        };
        object.insert(field.name.to_owned(), value);
    }
    object
}

fn assert_numbers_differ(fields: &[Field], inside: &str) {
    for (index, field) in fields.iter().enumerate() {
        let twice = fields[..index].iter().any(|other| other.number == field.number);
        assert!(!twice, "number {} is there twice in {inside}", field.number);
        if let Wire::Message(fields) | Wire::Present(fields) | Wire::Messages(fields) | Wire::Inline(fields) =
            field.wire
        {
            assert_numbers_differ(fields, &format!("{inside}.{}", field.name));
        }
    }
}

#[test]
fn every_field_that_is_read_from_protobuf_is_one_that_the_type_has() {
    let kinds = KindTable::builtin();
    for kind in kinds.iter().chain(&REVIEWS).chain([&EVENT_VIEW.kind]) {
        assert_numbers_differ(kind.protobuf, kind.kind);
        let mut object = Value::Object(sample(kind.protobuf));
        object["kind"] = json!(kind.kind);
        object["apiVersion"] = json!(kind.api_version());
        let known = (kind.typed)(&object).unwrap_or_else(|why| panic!("{}: {why}", kind.kind));
        assert_eq!(unknown_fields(&object, &known), Vec::<String>::new(), "{}", kind.kind);
    }
}
