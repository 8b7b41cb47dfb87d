//! Filters, property lists and query programs over printed rows.

use serde_json::{Map, Value};

use crate::answer::Refusal;
use crate::values::to_text;

/// Keeps the rows whose printed values equal every filter.
pub fn filter(rows: Vec<Map<String, Value>>, filters: &[(String, String)]) -> Vec<Map<String, Value>> {
    let conditions: Vec<_> = filters.iter().filter(|(name, _)| name != ".proplist").collect();
    rows.into_iter()
        .filter(|row| conditions.iter().all(|(name, wanted)| row.get(name).is_some_and(|value| value == wanted)))
        .collect()
}

/// Keeps the listed properties; `.id` always stays when `with_id`.
pub fn pick(rows: Vec<Map<String, Value>>, list: &str, with_id: bool) -> Vec<Map<String, Value>> {
    let wanted: Vec<&str> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if wanted.is_empty() {
        return rows;
    }
    rows.into_iter()
        .map(|row| {
            row.into_iter().filter(|(name, _)| wanted.contains(&name.as_str()) || (with_id && name == ".id")).collect()
        })
        .collect()
}

/// Runs a query program over one row.
pub fn passes(row: &Map<String, Value>, program: &[String]) -> Result<bool, Refusal> {
    // The stack starts as infinitely many `true`.
    let mut stack: Vec<bool> = Vec::new();
    let text = |name: &str| row.get(name).map(to_text);
    for word in program {
        let word = word.strip_prefix('?').unwrap_or(word);
        if let Some(operators) = word.strip_prefix('#') {
            for operator in operators.chars() {
                match operator {
                    '!' => {
                        let top = stack.pop().unwrap_or(true);
                        stack.push(!top);
                    }
                    '&' | '|' => {
                        let (one, other) = (stack.pop().unwrap_or(true), stack.pop().unwrap_or(true));
                        stack.push(if operator == '&' { one && other } else { one || other });
                    }
                    '.' => stack.push(stack.last().copied().unwrap_or(true)),
                    _ => return Err(Refusal::bad(format!("unknown query operator {operator}"))),
                }
            }
            continue;
        }
        let equality = word.strip_prefix('=').unwrap_or(word);
        let result = if let Some(name) = word.strip_prefix('-') {
            text(name).is_none()
        } else if let Some((name, wanted)) = word.strip_prefix('<').and_then(|rest| rest.split_once('=')) {
            text(name).is_some_and(|value| less(&value, wanted))
        } else if let Some((name, wanted)) = word.strip_prefix('>').and_then(|rest| rest.split_once('=')) {
            text(name).is_some_and(|value| less(wanted, &value))
        } else if let Some((name, wanted)) = equality.split_once('=') {
            text(name).is_some_and(|value| value == wanted)
        } else {
            text(word).is_some()
        };
        stack.push(result);
    }
    Ok(stack.into_iter().all(|value| value))
}

fn less(one: &str, other: &str) -> bool {
    match (one.parse::<f64>(), other.parse::<f64>()) {
        (Ok(one), Ok(other)) => one < other,
        _ => one < other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn query_programs_are_stack_machines() {
        let veth = row(json!({"type": "veth", "name": "a", "mtu": "1500"}));
        let run = |words: &[&str]| passes(&veth, &words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(run(&["type=bridge", "type=veth", "#|"]), Ok(true));
        assert_eq!(run(&["type=bridge", "type=veth"]), Ok(false));
        assert_eq!(run(&["comment"]), Ok(false));
        assert_eq!(run(&["-comment", "name"]), Ok(true));
        assert_eq!(run(&["type=bridge", "#!"]), Ok(true));
        assert_eq!(run(&[">mtu=900"]), Ok(true));
    }
}
