//! A set of fields of an object, and its form in `fieldsV1`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::element;

/// Levels of a set: those of the deepest body.
const DEPTH: usize = 64;

/// Fields as a tree. Each edge is a path element as `fieldsV1` writes it: `f:name`, `k:{"name":"c"}`, `v:"x"`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Whether this very field is in the set.
    pub(super) member: bool,
    /// What is below it; never an empty set.
    pub(super) below: BTreeMap<Box<str>, FieldSet>,
}

impl FieldSet {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }

    /// One field and nothing below it.
    pub(super) fn leaf() -> Self {
        Self { member: true, below: BTreeMap::new() }
    }

    /// What is in it below an element.
    pub(super) fn under(&self, element: &str) -> Option<&Self> {
        self.below.get(element)
    }

    /// Adds a set below an element.
    pub(super) fn hang(&mut self, element: &str, set: Self) {
        if !set.is_empty() {
            self.below.entry(element.into()).or_default().unite(&set);
        }
    }

    /// Adds a set below a path.
    pub(super) fn hang_at(&mut self, path: &[Box<str>], set: &Self) {
        if set.is_empty() {
            return;
        }
        let mut place = self;
        for element in path {
            place = place.below.entry(element.clone()).or_default();
        }
        place.unite(set);
    }

    /// Adds what is in another.
    pub fn unite(&mut self, other: &Self) {
        self.member |= other.member;
        for (element, set) in &other.below {
            self.below.entry(element.clone()).or_default().unite(set);
        }
    }

    /// Takes away the fields that are in another.
    pub fn subtract(&mut self, other: &Self) {
        self.member &= !other.member;
        self.each_below(other, Self::subtract);
    }

    /// Takes away the fields that are in another, each with all that is below it.
    pub(super) fn subtract_trees(&mut self, other: &Self) {
        if other.member {
            *self = Self::default();
            return;
        }
        self.each_below(other, Self::subtract_trees);
    }

    fn each_below(&mut self, other: &Self, take: fn(&mut Self, &Self)) {
        self.below.retain(|element, set| {
            if let Some(other) = other.below.get(element) {
                take(set, other);
            }
            !set.is_empty()
        });
    }

    /// The fields that are in both.
    pub fn common(&self, other: &Self) -> Self {
        let mut common = Self { member: self.member && other.member, below: BTreeMap::new() };
        for (element, set) in &self.below {
            if let Some(other) = other.below.get(element) {
                common.hang(element, set.common(other));
            }
        }
        common
    }

    /// Its fields, each as people read it: `.spec.containers[name="c"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.tell(&mut String::new(), &mut found);
        found
    }

    fn tell(&self, path: &mut String, found: &mut Vec<String>) {
        if self.member {
            found.push(path.clone());
        }
        for (element, set) in &self.below {
            let length = path.len();
            element::print(element, path);
            set.tell(path, found);
            path.truncate(length);
        }
    }

    /// As `fieldsV1`.
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        for (element, set) in &self.below {
            let mut below = set.to_json();
            if set.member
                && !set.below.is_empty()
                && let Some(below) = below.as_object_mut()
            {
                below.insert(".".to_owned(), Value::Object(Map::new()));
            }
            fields.insert(element.to_string(), below);
        }
        Value::Object(fields)
    }

    /// From `fieldsV1`, or what is wrong with it.
    pub fn from_json(fields: &Value) -> Result<Self, String> {
        let mut set = Self::read(fields, DEPTH)?;
        // The object itself is nobody's.
        set.member = false;
        Ok(set)
    }

    fn read(fields: &Value, depth: usize) -> Result<Self, String> {
        let Value::Object(fields) = fields else { return Err(format!("{fields} is no object")) };
        if depth == 0 {
            return Err(format!("nested deeper than {DEPTH} levels"));
        }
        let mut set = Self { member: fields.is_empty() || fields.contains_key("."), below: BTreeMap::new() };
        for (element, below) in fields.iter().filter(|(element, _)| *element != ".") {
            set.hang(&element::canonical(element)?, Self::read(below, depth - 1)?);
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_set_reads_as_it_is_written() {
        let text = json!({"f:data": {".": {}, "f:a": {}}, "f:spec": {"f:containers": {
            r#"k:{"name":"c"}"#: {".": {}, "f:image": {}}}}, "f:metadata": {"f:finalizers": {r#"v:"x/y""#: {}}}});
        let set = FieldSet::from_json(&text).expect("a set");
        assert_eq!(set.to_json(), text);
        assert_eq!(
            set.paths(),
            [
                ".data",
                ".data.a",
                r#".metadata.finalizers[="x/y"]"#,
                r#".spec.containers[name="c"]"#,
                r#".spec.containers[name="c"].image"#
            ]
        );
        let other_way = FieldSet::from_json(&json!({r#"k:{ "b" : 1, "a":2 }"#: {}})).expect("a set");
        assert_eq!(other_way.to_json(), json!({r#"k:{"a":2,"b":1}"#: {}}), "one item has one name");
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for bad in [json!([]), json!({"data": {}}), json!({"f:a": 1}), json!({"k:{": {}}), json!({"k:[]": {}})] {
            assert!(FieldSet::from_json(&bad).is_err(), "{bad}");
        }
        let mut deep = json!({});
        for _ in 0..=DEPTH {
            deep = json!({"f:a": deep});
        }
        assert!(FieldSet::from_json(&deep).expect_err("deep").contains("nested deeper"));
    }

    #[test]
    fn fields_are_taken_away_alone_or_with_what_is_below() {
        let set = |text: Value| FieldSet::from_json(&text).expect("a set");
        let all = set(json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}}));
        let mut alone = all.clone();
        alone.subtract(&set(json!({"f:a": {}})));
        assert_eq!(alone.to_json(), json!({"f:a": {"f:b": {}}, "f:c": {}}));
        let mut trees = all.clone();
        trees.subtract_trees(&set(json!({"f:a": {}})));
        assert_eq!(trees.to_json(), json!({"f:c": {}}));
        assert_eq!(all.common(&alone), alone);
    }
}
