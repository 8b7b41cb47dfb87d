//! JSONPath as kubectl speaks it: text with `{…}` in it, paths that begin with a point, `range` and `end`, filters. RFC 9535 is
//! another dialect, so this is ours. Pure.

use std::cmp::Ordering;

use serde_json::Value;

mod parser;

use parser::Parser;

/// A template that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Vec<Node>);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    Path(Path),
    Range(Path, Vec<Node>),
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Path {
    /// Begins at the whole object, also inside a range.
    rooted: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Fields(Vec<String>),
    Indices(Vec<i64>),
    Slice(Option<i64>, Option<i64>, i64),
    All,
    /// Every value below, and the value itself.
    Deep,
    Filter(Filter),
}

#[derive(Debug, Clone, PartialEq)]
struct Filter {
    left: Path,
    /// Without one, being there is enough.
    compared: Option<(Operator, Operand)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Literal(Value),
    Path(Path),
}

impl Template {
    /// Reads a template. A path alone does without its braces.
    ///
    /// # Errors
    /// What cannot be understood, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bare = !text.contains('{') && text.starts_with(['.', '$', '[']);
        let wrapped = if bare { format!("{{{text}}}") } else { text.to_owned() };
        Parser::new(&wrapped).whole().map(Self)
    }

    /// What it says of a value; what is not there says nothing.
    pub fn render(&self, value: &Value) -> String {
        let mut out = String::new();
        render(&self.0, value, value, &mut out);
        out
    }

    /// What its paths find, one by one; what stands between them is left out.
    pub fn found(&self, value: &Value) -> Vec<String> {
        let paths = self.0.iter().filter_map(|node| match node {
            Node::Path(path) | Node::Range(path, _) => Some(path),
            Node::Text(_) => None,
        });
        paths.flat_map(|path| path.of(value, value)).filter(|one| !one.is_null()).map(shown).collect()
    }
}

fn render(nodes: &[Node], root: &Value, current: &Value, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(path) => {
                let found: Vec<String> = path.of(root, current).into_iter().map(shown).collect();
                out.push_str(&found.join(" "));
            }
            Node::Range(path, body) => {
                for one in path.of(root, current) {
                    render(body, root, one, out);
                }
            }
        }
    }
}

/// A text without quotes, everything else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

impl Path {
    fn of<'v>(&self, root: &'v Value, current: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![if self.rooted { root } else { current }];
        for step in &self.steps {
            found = found.into_iter().flat_map(|value| step.of(root, value)).collect();
        }
        found
    }
}

impl Step {
    fn of<'v>(&self, root: &'v Value, value: &'v Value) -> Vec<&'v Value> {
        let items = || match value {
            Value::Array(all) => all.iter().collect(),
            Value::Object(all) => all.values().collect(),
            _ => Vec::new(),
        };
        match self {
            Self::Fields(names) => names.iter().filter_map(|name| value.get(name)).collect(),
            Self::Indices(numbers) => {
                let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let place = |number: &i64| {
                    let from_end = i64::try_from(list.len()).unwrap_or(i64::MAX).checked_add(*number);
                    usize::try_from(if *number < 0 { from_end? } else { *number }).ok()
                };
                numbers.iter().filter_map(|number| list.get(place(number)?)).collect()
            }
            Self::Slice(from, to, step) => {
                let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
                let place = |number: Option<i64>, usual: i64| {
                    let number = number.unwrap_or(usual);
                    (if number < 0 { number.saturating_add(length) } else { number }).clamp(0, length)
                };
                let (from, to) = (place(*from, 0), place(*to, length));
                let wide = usize::try_from(*step).unwrap_or(1).max(1);
                let range = usize::try_from(from).unwrap_or(0)..usize::try_from(to.max(from)).unwrap_or(0);
                list.get(range).unwrap_or_default().iter().step_by(wide).collect()
            }
            Self::All => items(),
            Self::Deep => {
                let mut found = vec![value];
                let mut next = 0;
                while let Some(one) = found.get(next).copied() {
                    next += 1;
                    match one {
                        Value::Array(all) => found.extend(all),
                        Value::Object(all) => found.extend(all.values()),
                        _ => {}
                    }
                }
                found
            }
            Self::Filter(filter) => items().into_iter().filter(|one| filter.takes(root, one)).collect(),
        }
    }
}

impl Filter {
    fn takes(&self, root: &Value, value: &Value) -> bool {
        let found = self.left.of(root, value);
        let Some((operator, operand)) = &self.compared else { return !found.is_empty() };
        let Some(left) = found.first() else { return false };
        let right = match operand {
            Operand::Literal(literal) => Some(literal),
            Operand::Path(path) => path.of(root, value).first().copied(),
        };
        right.is_some_and(|right| operator.holds(left, right))
    }
}

impl Operator {
    fn holds(self, left: &Value, right: &Value) -> bool {
        let order = match (left, right) {
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            (Value::Number(_), Value::Number(_)) => left.as_f64().partial_cmp(&right.as_f64()),
            _ => (left == right).then_some(Ordering::Equal),
        };
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::Unequal => order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

#[cfg(test)]
mod tests;
