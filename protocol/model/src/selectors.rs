//! Label and field selectors, as they stand in query strings.

use serde_json::Value;

use crate::metadata;

/// A condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LabelTest {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// All conditions of a `labelSelector`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector(Vec<LabelTest>);

impl LabelSelector {
    /// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut tests = Vec::new();
        for part in split_outside_parentheses(text) {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
            tests.push(parse_test(part).ok_or_else(|| format!("unable to parse requirement: {part:?}"))?);
        }
        Ok(Self(tests))
    }

    /// Reads a `LabelSelector` object: `matchLabels` and `matchExpressions`. An error says what cannot be understood.
    pub fn of_object(selector: &Value) -> Result<Self, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut tests = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            tests.push(LabelTest::In(key.clone(), vec![text(value)]));
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let (key, operator) = (text(&expression["key"]), text(&expression["operator"]));
            let values: Vec<String> = expression["values"].as_array().into_iter().flatten().map(text).collect();
            if let Some(why) = metadata::key_problem(&key) {
                return Err(format!("{key:?} is no label key: {why}"));
            }
            tests.push(match (operator.as_str(), values.is_empty()) {
                ("In", false) => LabelTest::In(key, values),
                ("NotIn", false) => LabelTest::NotIn(key, values),
                ("Exists", true) => LabelTest::Exists(key),
                ("DoesNotExist", true) => LabelTest::Absent(key),
                ("In" | "NotIn", true) => return Err(format!("operator {operator} needs values")),
                ("Exists" | "DoesNotExist", false) => return Err(format!("operator {operator} takes no values")),
                _ => return Err(format!("{operator:?} is not one of In, NotIn, Exists, DoesNotExist")),
            });
        }
        Ok(Self(tests))
    }

    /// Whether an object's labels fulfil every condition.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = metadata::labels(object);
        let value = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        self.0.iter().all(|test| match test {
            LabelTest::In(key, values) => value(key).is_some_and(|value| values.iter().any(|one| one == value)),
            LabelTest::NotIn(key, values) => value(key).is_none_or(|value| values.iter().all(|one| one != value)),
            LabelTest::Exists(key) => value(key).is_some(),
            LabelTest::Absent(key) => value(key).is_none(),
        })
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it selects only objects that have some label.
    pub fn asks_for_a_label(&self) -> bool {
        self.0.iter().any(|test| matches!(test, LabelTest::In(..) | LabelTest::Exists(_)))
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0i32, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

fn parse_test(part: &str) -> Option<LabelTest> {
    let key = |text: &str| {
        let text = text.trim();
        metadata::key_problem(text).is_none().then(|| text.to_owned())
    };
    let value = |text: &str| {
        let text = text.trim();
        metadata::label_value_problem(text).is_none().then(|| text.to_owned())
    };
    if let Some(name) = part.strip_prefix('!') {
        return Some(LabelTest::Absent(key(name)?));
    }
    if let Some((name, set)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) {
        let mut words = name.split_whitespace();
        let (name, operator) = (key(words.next()?)?, words.next()?);
        if words.next().is_some() {
            return None;
        }
        let values = set.split(',').map(value).collect::<Option<Vec<_>>>()?;
        return match operator {
            "in" => Some(LabelTest::In(name, values)),
            "notin" => Some(LabelTest::NotIn(name, values)),
            _ => None,
        };
    }
    if let Some((name, wanted)) = part.split_once("!=") {
        return Some(LabelTest::NotIn(key(name)?, vec![value(wanted)?]));
    }
    if let Some((name, wanted)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(LabelTest::In(key(name)?, vec![value(wanted)?]));
    }
    Some(LabelTest::Exists(key(part)?))
}

impl std::fmt::Display for LabelSelector {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, test) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str(",")?;
            }
            match test {
                LabelTest::In(key, values) if values.len() == 1 => write!(out, "{key}={}", values[0])?,
                LabelTest::In(key, values) => write!(out, "{key} in ({})", values.join(","))?,
                LabelTest::NotIn(key, values) => write!(out, "{key} notin ({})", values.join(","))?,
                LabelTest::Exists(key) => write!(out, "{key}")?,
                LabelTest::Absent(key) => write!(out, "!{key}")?,
            }
        }
        Ok(())
    }
}

/// All conditions of a `fieldSelector`: path, wanted value, and whether equality is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector(Vec<(String, String, bool)>);

impl FieldSelector {
    /// Reads `metadata.name=a,status.phase!=b`; only `allowed` paths (and `metadata.name`, `metadata.namespace`) may occur.
    pub fn parse(text: &str, allowed: &[&str]) -> Result<Self, String> {
        let mut tests = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (path, value, equal) = if let Some((path, value)) = part.split_once("!=") {
                (path, value, false)
            } else if let Some((path, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (path, value, true)
            } else {
                return Err(format!("invalid selector: {part:?}; can't understand {part:?}"));
            };
            let path = path.trim();
            if !(path == "metadata.name" || path == "metadata.namespace" || allowed.contains(&path)) {
                return Err(format!("field label not supported: {path}"));
            }
            tests.push((path.to_owned(), value.trim().to_owned(), equal));
        }
        Ok(Self(tests))
    }

    /// Whether an object fulfils every condition. An absent field is empty.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(path, wanted, equal)| {
            let found = object.pointer(&format!("/{}", path.replace('.', "/")));
            let same = match found {
                Some(Value::String(text)) => text == wanted,
                // A flag that is not set is a flag that is false.
                Some(Value::Null) | None => wanted.is_empty() || wanted == "false",
                // The source of an event: its component is what clients mean.
                Some(Value::Object(fields)) => fields.get("component").and_then(Value::as_str) == Some(wanted),
                Some(Value::Bool(flag)) => wanted == if *flag { "true" } else { "false" },
                Some(Value::Number(number)) => wanted.parse().is_ok_and(|wanted: serde_json::Number| wanted == *number),
                Some(Value::Array(_)) => false,
            };
            same == *equal
        })
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn label_selectors_select_by_equality_and_by_set() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "front"}}});
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app!=web", false),
            ("none!=web", true),
            ("app in (db, web)", true),
            ("app notin (db,web)", false),
            ("none notin (db)", true),
            ("tier", true),
            ("!tier", false),
            ("!none,app", true),
        ] {
            assert_eq!(LabelSelector::parse(selector).map(|s| s.matches(&object)), Ok(expected), "{selector}");
        }
        for bad in ["a b", "a in b", "=x", "a in (b", "-a=b", "a=b c"] {
            assert!(LabelSelector::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn field_selectors_know_only_their_fields() {
        let object = json!({"metadata": {"name": "a"}, "status": {"phase": "Running"}});
        let parse = |text| FieldSelector::parse(text, &["status.phase"]);
        assert_eq!(parse("metadata.name=a,status.phase!=Failed").map(|s| s.matches(&object)), Ok(true));
        assert_eq!(parse("status.phase=Failed").map(|s| s.matches(&object)), Ok(false));
        assert_eq!(parse("spec.x=1"), Err("field label not supported: spec.x".into()));
        assert!(parse("nonsense").is_err());
        let flag = |text| {
            FieldSelector::parse(text, &["spec.unschedulable", "source"])
                .map(|s| s.matches(&json!({"spec": {}, "source": {"component": "mkube"}})))
        };
        assert_eq!(flag("spec.unschedulable=false,source=mkube"), Ok(true));
        assert_eq!(flag("spec.unschedulable=true"), Ok(false));
        assert_eq!(flag("source!=mkube"), Ok(false));
    }

    #[test]
    fn a_selector_object_is_the_same_selector() {
        let object = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "tier", "operator": "NotIn", "values": ["db", "cache"]}, {"key": "canary", "operator": "DoesNotExist"}]});
        let selector = LabelSelector::of_object(&object).expect("good");
        assert_eq!(selector.to_string(), "app=web,tier notin (db,cache),!canary");
        assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector));
        for bad in [json!({"key": "a", "operator": "In"}), json!({"key": "a", "operator": "Is", "values": ["b"]})] {
            assert!(LabelSelector::of_object(&json!({"matchExpressions": [bad]})).is_err());
        }
    }
}
