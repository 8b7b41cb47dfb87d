//! Filters, property lists and query programs over printed rows.

use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::answer::{Answer, Refusal};
use crate::values::{duration, to_text};

/// Words of `print` that change how a console shows rows and nothing about them.
const PRINT_SWITCHES: &[&str] =
    &["as-value", "brief", "count-only", "detail", "show-ids", "terse", "value-list", "without-paging"];

/// The property list of a `GET`; empty when all are wanted.
pub fn wanted(query: &[(String, String)]) -> &str {
    query.iter().find(|(name, _)| name == ".proplist").map_or("", |(_, list)| list)
}

/// What a `GET` with this query answers.
pub fn select(rows: Vec<Map<String, Value>>, query: &[(String, String)]) -> Vec<Map<String, Value>> {
    pick(filter(rows, query), wanted(query), true)
}

/// Rows as a JSON array.
pub fn to_array(rows: Vec<Map<String, Value>>) -> Value {
    Value::Array(rows.into_iter().map(Value::Object).collect())
}

/// What `POST …/print` answers: rows, or their number.
pub fn print_or_count(rows: Vec<Map<String, Value>>, body: &Value) -> Result<Answer, Refusal> {
    let rows = print(rows, body)?;
    if body.get("count-only").is_some() {
        return Ok(Answer::ok(serde_json::json!({"ret": rows.len().to_string()})));
    }
    Ok(Answer::ok(to_array(rows)))
}

/// The rows `POST …/print` lets through, with the properties it asks for.
pub fn print(rows: Vec<Map<String, Value>>, body: &Value) -> Result<Vec<Map<String, Value>>, Refusal> {
    let list = |value: &Value| match value {
        Value::Array(words) => words.iter().map(to_text).collect::<Vec<_>>(),
        other => vec![to_text(other)],
    };
    let known = |name: &str| name == ".query" || name == ".proplist" || PRINT_SWITCHES.contains(&name);
    if let Some(odd) = body.as_object().into_iter().flatten().map(|(name, _)| name).find(|name| !known(name)) {
        return Err(Refusal::bad(format!("unknown parameter {odd}")));
    }
    let program = body.get(".query").map(list).unwrap_or_default();
    let mut kept = Vec::new();
    for row in rows {
        if passes(&row, &program)? {
            kept.push(row);
        }
    }
    let wanted = body.get(".proplist").map(list).unwrap_or_default().join(",");
    Ok(pick(kept, &wanted, false))
}

/// Keeps the rows whose printed values equal every filter.
pub fn filter(rows: Vec<Map<String, Value>>, filters: &[(String, String)]) -> Vec<Map<String, Value>> {
    let conditions: Vec<_> = filters.iter().filter(|(name, _)| name != ".proplist").collect();
    // Ids are read in any case, everything else is compared as printed.
    let same = |name: &str, value: &Value, wanted: &str| {
        value.as_str().is_some_and(|text| text == wanted || (name == ".id" && text.eq_ignore_ascii_case(wanted)))
    };
    rows.into_iter()
        .filter(|row| {
            conditions.iter().all(|(name, wanted)| row.get(name).is_some_and(|value| same(name, value, wanted)))
        })
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
            operate(&mut stack, operators)?;
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

/// Operators on the stack: `!`, `&`, `|`; `.` copies the top; a number copies that value to the top, or, at the end of the
/// word, replaces the stack with it.
fn operate(stack: &mut Vec<bool>, operators: &str) -> Result<(), Refusal> {
    let mut rest = operators;
    while let Some(operator) = rest.chars().next() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if digits > 0 {
            let index: usize = rest[..digits].parse().map_err(|_| Refusal::bad("query index is out of range"))?;
            let value = stack.get(index).copied().unwrap_or(true);
            rest = &rest[digits..];
            if rest.is_empty() {
                stack.clear();
            }
            stack.push(value);
            // A dot after a number only ends it.
            rest = rest.strip_prefix('.').unwrap_or(rest);
            continue;
        }
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
        rest = &rest[operator.len_utf8()..];
    }
    Ok(())
}

/// Numbers, addresses and durations compare by what they mean.
fn less(one: &str, other: &str) -> bool {
    if let (Ok(one), Ok(other)) = (one.parse::<f64>(), other.parse::<f64>()) {
        return one < other;
    }
    if let (Ok(one), Ok(other)) = (one.parse::<IpAddr>(), other.parse::<IpAddr>()) {
        return one < other;
    }
    match (duration(one), duration(other)) {
        (Some(one), Some(other)) => one < other,
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
        assert_eq!(run(&["name=x", "mtu=1500", "#1"]), Ok(true), "the stack is replaced by its second value");
        assert_eq!(run(&["mtu=1500", "name=x", "#0.|"]), Ok(true), "a copy of the first value is put on top");
        assert!(run(&["#x"]).is_err());
    }

    #[test]
    fn more_and_less_go_by_value_not_by_spelling() {
        for (small, large) in [("9", "10"), ("10.0.0.9", "10.0.0.10"), ("50s", "1m"), ("abc", "abd")] {
            assert!(less(small, large) && !less(large, small), "{small} {large}");
        }
    }
}
