//! Events of `events.k8s.io/v1`: the same objects as those of the core group, with other names for some fields. One is stored, both
//! are served.

use k8s_openapi::api::events::v1::Event;
use serde_json::{Map, Value, json};

use super::event::{EVENT, REFERENCE, SERIES, SOURCE};
use super::{Kind, KindId, prune, schema_of, typed, unknown_fields};
use crate::protobuf::{Field, METADATA, Wire};

/// A second look at the objects of a kind.
#[derive(Debug)]
pub struct View {
    /// As clients see it.
    pub kind: Kind,
    /// The kind that is stored.
    pub of: KindId,
    /// Names of fields there and here.
    renamed: &'static [(&'static str, &'static str)],
}

/// Events as their own group has them.
pub static EVENT_VIEW: View = View {
    kind: Kind { group: "events.k8s.io", typed: typed::<Event>, schema: schema_of::<Event>, protobuf: WIRE, ..EVENT },
    of: KindId { group: "", plural: "events" },
    renamed: &[
        ("regarding", "involvedObject"),
        ("note", "message"),
        ("deprecatedCount", "count"),
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedSource", "source"),
        ("reportingController", "reportingComponent"),
    ],
};

const WIRE: &[Field] = &[
    Field::new(1, "metadata", Wire::Message(METADATA)),
    Field::new(2, "eventTime", Wire::MicroTime),
    Field::new(3, "series", Wire::Message(SERIES)),
    Field::new(4, "reportingController", Wire::Text),
    Field::new(5, "reportingInstance", Wire::Text),
    Field::new(6, "action", Wire::Text),
    Field::new(7, "reason", Wire::Text),
    Field::new(8, "regarding", Wire::Message(REFERENCE)),
    Field::new(9, "related", Wire::Message(REFERENCE)),
    Field::new(10, "note", Wire::Text),
    Field::new(11, "type", Wire::Text),
    Field::new(12, "deprecatedSource", Wire::Message(SOURCE)),
    Field::new(13, "deprecatedFirstTimestamp", Wire::Time),
    Field::new(14, "deprecatedLastTimestamp", Wire::Time),
    Field::new(15, "deprecatedCount", Wire::Number),
];

/// The view of a path, if it is one.
pub fn view_at(group: &str, version: &str, plural: &str) -> Option<&'static View> {
    let kind = &EVENT_VIEW.kind;
    (kind.group == group && kind.version == version && kind.plural == plural).then_some(&EVENT_VIEW)
}

impl View {
    /// An object as this view has it.
    pub fn shown(&self, object: &Value) -> Value {
        let rename = |field: &str| self.renamed.iter().find(|(_, here)| *here == field).map(|(there, _)| *there);
        let mut shown = renamed(object, rename);
        shown["apiVersion"] = json!(self.kind.api_version());
        shown
    }

    /// A body of this view as the stored kind has it, and the fields it does not know; an error names path and cause.
    pub fn taken(&self, mut body: Value) -> Result<(Value, Vec<String>), String> {
        let known = (self.kind.typed)(&body)?;
        let unknown = unknown_fields(&body, &known);
        prune(&mut body, &known);
        Ok((self.taken_patch(body), unknown))
    }

    /// A patch of this view as one of the stored kind: what it says of fields, or its operations.
    pub fn taken_patch(&self, patch: Value) -> Value {
        let rename = |field: &str| self.renamed.iter().find(|(there, _)| *there == field).map(|(_, here)| *here);
        if !(patch.is_object() || patch.is_array()) {
            // What is no patch stays none, and is refused as such.
            return patch;
        }
        let Value::Array(mut operations) = patch else {
            let mut patch = renamed(&patch, rename);
            if patch.get("apiVersion").is_some_and(|version| *version == json!(self.kind.api_version())) {
                // The stored kind's is filled in.
                patch.as_object_mut().map(|fields| fields.remove("apiVersion"));
            }
            return patch;
        };
        for operation in &mut operations {
            for member in ["path", "from"] {
                let Some(path) = operation.get(member).and_then(Value::as_str) else { continue };
                let first = path.strip_prefix('/').and_then(|rest| rest.split('/').next()).unwrap_or_default();
                if let Some(here) = rename(first) {
                    operation[member] = json!(format!("/{here}{}", &path[1 + first.len()..]));
                }
            }
        }
        Value::Array(operations)
    }

    /// A field selector of this view as one of the stored kind.
    pub fn taken_selector(&self, selector: &str) -> String {
        let one = |requirement: &str| {
            let end = requirement.find(['.', '=', '!']).unwrap_or(requirement.len());
            let (first, rest) = requirement.split_at(end);
            let here = self.renamed.iter().find(|(there, _)| *there == first).map_or(first, |(_, here)| here);
            format!("{here}{rest}")
        };
        selector.split(',').map(one).collect::<Vec<_>>().join(",")
    }
}

fn renamed(object: &Value, rename: impl Fn(&str) -> Option<&'static str>) -> Value {
    let fields = object.as_object().into_iter().flatten();
    let fields = fields.map(|(name, value)| (rename(name).unwrap_or(name).to_owned(), value.clone()));
    Value::Object(fields.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_the_same_from_both_sides() {
        let stored = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "d"},
            "involvedObject": {"kind": "Pod", "name": "p"}, "message": "m", "count": 3, "reason": "Started",
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:01:00Z",
            "source": {"component": "mkube"}, "reportingComponent": "mkube", "reportingInstance": "n", "type": "Normal"});
        let shown = EVENT_VIEW.shown(&stored);
        assert_eq!((&shown["apiVersion"], &shown["note"]), (&json!("events.k8s.io/v1"), &json!("m")));
        assert_eq!(shown["regarding"]["name"], "p");
        let known = (EVENT_VIEW.kind.typed)(&shown).expect("its type");
        assert_eq!(unknown_fields(&shown, &known), Vec::<String>::new());
        let (mut taken, unknown) = EVENT_VIEW.taken(shown).expect("fine");
        taken["apiVersion"] = json!("v1");
        assert_eq!((taken, unknown), (stored, vec![]));
    }

    #[test]
    fn a_name_of_the_other_side_is_unknown_and_patches_and_selectors_are_put_into_its_words() {
        let body = json!({"note": "m", "message": "x", "metadata": {"name": "e"}});
        let (taken, unknown) = EVENT_VIEW.taken(body).expect("fine");
        assert_eq!((&taken["message"], unknown), (&json!("m"), vec!["message".to_owned()]));
        let operations = json!([{"op": "replace", "path": "/deprecatedSource/host", "value": "n"}, {"op": "remove", "path": "/note"}]);
        let taken = EVENT_VIEW.taken_patch(operations);
        assert_eq!((&taken[0]["path"], &taken[1]["path"]), (&json!("/source/host"), &json!("/message")));
        assert_eq!(EVENT_VIEW.taken_patch(json!({"deprecatedCount": 2})), json!({"count": 2}));
        assert_eq!(
            EVENT_VIEW.taken_selector("regarding.name=x,reportingController!=y,type=Normal"),
            "involvedObject.name=x,reportingComponent!=y,type=Normal"
        );
    }
}
