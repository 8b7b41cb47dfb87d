//! Everything that reads what strangers send, and what must hold of it.

use mkube_messages::objects::ObjectKey;
use mkube_model::fields::{Intent, Manager, Managers, Operation, apply, check_lists, wanted};
use mkube_model::kinds::KindTable;
use mkube_model::list_types::Types;
use mkube_model::patch::{json_patch, merge_patch, strategic_merge_patch};
use mkube_model::protobuf::{DELETE_OPTIONS, EVICTION, Field, decode};
use mkube_model::selectors::{FieldSelector, LabelSelector};
use mkube_model::status::Status;
use serde_json::{Value, json};

use super::wire;
use crate::parts::Query;
use crate::{json_body, negotiate, parameters, read, write};

/// What came of an input, or the promise it broke.
pub type Outcome = Result<String, String>;

/// Something that reads.
pub struct Target {
    /// Directory of its corpus.
    pub name: &'static str,
    /// Reads an input, and checks what must hold.
    pub check: fn(&[u8]) -> Outcome,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "merge-patch", check: merged },
    Target { name: "strategic-patch", check: strategic },
    Target { name: "json-patch", check: operations },
    Target { name: "apply", check: applied },
    Target { name: "label-selector", check: labels },
    Target { name: "field-selector", check: fields },
    Target { name: "protobuf", check: protobuf },
    Target { name: "json-body", check: json_text },
    Target { name: "manifest", check: manifest },
    Target { name: "query", check: query },
    Target { name: "delete-options", check: options },
];

fn holds(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn told<T>(outcome: Result<T, Status>) -> String {
    outcome.map_or_else(|status| status.message, |_| "taken".to_owned())
}

/// Two parts of an input, called so in it.
fn parts(input: &[u8], names: [&str; 2]) -> Option<[Value; 2]> {
    let (mut value, _) = json_body::parse(input).ok()?;
    Some(names.map(|name| value.get_mut(name).map(Value::take).unwrap_or_default()))
}

fn merged(input: &[u8]) -> Outcome {
    let Some([current, patch]) = parts(input, ["current", "patch"]) else { return Ok("no JSON".into()) };
    let once = merge_patch(&current, &patch);
    if let Ok(once) = &once {
        let twice = merge_patch(once, &patch);
        holds(twice.as_ref() == Ok(once), || format!("once {once}, twice {twice:?}"))?;
    }
    Ok(told(once))
}

/// Whether a patch says what is to be done to a list, and not only what is to stand in it.
fn has_directives(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(name, value)| name.starts_with('$') || has_directives(value)),
        Value::Array(items) => items.iter().any(has_directives),
        _ => false,
    }
}

fn strategic(input: &[u8]) -> Outcome {
    let Some([current, patch]) = parts(input, ["current", "patch"]) else { return Ok("no JSON".into()) };
    let once = strategic_merge_patch(&current, &patch);
    if let Ok(once) = &once
        && !has_directives(&patch)
        // What is stored has keys that tell its items apart.
        && check_lists(&current, Types::new(true)).is_ok()
    {
        let twice = strategic_merge_patch(once, &patch);
        holds(twice.as_ref() == Ok(once), || format!("once {once}, twice {twice:?}"))?;
    }
    Ok(told(once))
}

fn operations(input: &[u8]) -> Outcome {
    let Some([current, patch]) = parts(input, ["current", "patch"]) else { return Ok("no JSON".into()) };
    let patched = json_patch(&current, &patch);
    if let Err(status) = &patched {
        holds([400, 413, 422].contains(&status.code), || format!("code {}", status.code))?;
        holds(!status.message.is_empty(), || "nothing is said".into())?;
    }
    Ok(told(patched))
}

fn applied(input: &[u8]) -> Outcome {
    let Some([live, config]) = parts(input, ["live", "config"]) else { return Ok("no JSON".into()) };
    if !(live["metadata"].is_object() && config["metadata"].is_object()) {
        return Ok("no objects".into());
    }
    let types = Types::new(live["apiVersion"] != "vkube.io/v1alpha1");
    let config = wanted(&config, "");
    if let Err(status) = check_lists(&config, types).and_then(|()| check_lists(&live, types)) {
        return Ok(status.message);
    }
    let name = "fuzzing".to_owned();
    let by = Manager { name, operation: Operation::Apply, api_version: "v1".to_owned(), subresource: String::new() };
    let intent = Intent { by: &by, force: true, types, now: "2026-01-01T00:00:00Z" };
    let once = apply(&live, &config, Managers::of(&live), intent);
    let (object, managers) = once.map_err(|conflicts| format!("force conflicts: {conflicts:?}"))?;
    let twice = apply(&object, &config, managers.clone(), intent);
    let (again, after) = twice.map_err(|conflicts| format!("the second time conflicts: {conflicts:?}"))?;
    holds(again == object, || format!("once {object}, twice {again}"))?;
    holds(after == managers, || format!("once {}, twice {}", managers.write(), after.write()))?;
    let read =
        Managers::read(&managers.write()).map_err(|problem| format!("what was written cannot be read: {problem:?}"))?;
    holds(read.say_what(&managers), || format!("written {}, read {}", managers.write(), read.write()))?;
    Ok("applied".into())
}

fn sample() -> Value {
    json!({"metadata": {"name": "a", "namespace": "b", "labels": {"app": "web", "tier": "front", "x/y": ""}},
        "spec": {"nodeName": "n"}, "status": {"phase": "Running"}, "source": {"component": "c"}})
}

fn labels(input: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(input);
    let selector = match LabelSelector::parse(&text) {
        Ok(selector) => selector,
        Err(why) => return Ok(why.split(':').next().unwrap_or_default().to_owned()),
    };
    let printed = selector.to_string();
    let again = LabelSelector::parse(&printed);
    holds(again.as_ref() == Ok(&selector), || format!("{selector:?} is printed as {printed:?}: {again:?}"))?;
    Ok((if selector.matches(&sample()) { "selected" } else { "passed over" }).to_owned())
}

fn fields(input: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(input);
    match FieldSelector::parse(&text, &["spec.nodeName", "status.phase", "source"]) {
        Ok(selector) => {
            let opposite = text.split(',').all(|part| part.trim().is_empty());
            holds(opposite == selector.is_empty(), || "it selects everything, or says it does".into())?;
            Ok((if selector.matches(&sample()) { "selected" } else { "passed over" }).to_owned())
        }
        Err(why) => Ok(why.split(':').next().unwrap_or_default().to_owned()),
    }
}

fn protobuf(input: &[u8]) -> Outcome {
    let kinds = KindTable::builtin();
    let of_kinds = kinds.served().map(|kind| kind.protobuf).filter(|fields| !fields.is_empty());
    let tables: Vec<&[Field]> = of_kinds.chain([DELETE_OPTIONS, EVICTION]).collect();
    let mut taken = String::new();
    for fields in tables {
        match decode(input, fields) {
            Ok(value) => {
                taken.push_str("taken ");
                if let Some(body) = wire::body(&value, fields) {
                    let again = decode(&body, fields);
                    holds(again.as_ref() == Ok(&value), || format!("{value} is written and read as {again:?}"))?;
                }
            }
            Err(fault) => taken.push_str(fault.to_string().split(':').next_back().unwrap_or_default()),
        }
    }
    Ok(taken)
}

fn json_text(input: &[u8]) -> Outcome {
    let others = serde_json::from_slice::<Value>(input);
    match json_body::parse(input) {
        Ok((value, repeated)) => {
            let others = others.map_err(|error| format!("others do not read it: {error}"))?;
            holds(others == value, || format!("others read {others}, we {value}"))?;
            // What is stored as text is read again by everybody.
            let again = serde_json::from_str::<Value>(&value.to_string());
            holds(again.as_ref().ok() == Some(&value), || format!("{value} reads as {again:?}"))?;
            Ok(format!("read {}", if repeated.is_empty() { "once" } else { "twice" }))
        }
        Err(why) => Ok(why),
    }
}

fn manifest(input: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(input);
    let documents = match mkube_manifests::parse_documents(&text) {
        Ok(documents) => documents,
        Err(fault) => return Ok(fault.to_string()),
    };
    for value in &documents {
        let printed = mkube_manifests::to_yaml(value);
        let again = mkube_manifests::parse_one(&printed);
        holds(again.as_ref().ok() == Some(value), || format!("{value} is printed as {printed:?}: {again:?}"))?;
        let again = serde_json::from_str::<Value>(&value.to_string());
        holds(again.as_ref().ok() == Some(value), || format!("{value} reads as {again:?}"))?;
    }
    Ok(format!("{} documents", "x".repeat(documents.len().min(5))))
}

fn query(input: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(input);
    let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    holds(parameters::percent_decoded(&encoded).as_deref() == Ok(&*text), || {
        "encoded it reads as something else".into()
    })?;
    let one = parameters::query_of(&format!("?&x={encoded}&x=y")).map_err(|status| status.message)?;
    holds(one.get("x").map(String::as_str) == Some(&*text), || format!("as a parameter it reads as {one:?}"))?;
    let key = ObjectKey::new(text.clone(), "name");
    let token = read::parse_token(&read::token(7, &key));
    holds(token == Ok((7, key)), || format!("the token reads as {token:?}"))?;
    let _ = negotiate::form(Some(&text));
    let all = [
        told(parameters::percent_decoded(&text)),
        told(parameters::query_of(&text)),
        told(parameters::values_of(&text, "command")),
        told(read::parse_token(&text)),
    ];
    Ok(all.concat())
}

fn options(input: &[u8]) -> Outcome {
    let Some([query, body]) = parts(input, ["query", "body"]) else { return Ok("no JSON".into()) };
    let query = match parameters::query_of(query.as_str().unwrap_or_default()) {
        Ok(query) => query,
        Err(status) => return Ok(status.message),
    };
    let options = write::delete_options(&query, body);
    let dry = options.as_ref().map_err(Clone::clone).and_then(write::asks_for_dry_run);
    if let Ok(options) = &options {
        let again = write::delete_options(&Query::new(), options.clone());
        // Both words for the same are refused together; one of them was translated.
        let spoken = options["orphanDependents"].is_null();
        holds(!spoken || again.as_ref() == Ok(options), || format!("{options} reads as {again:?}"))?;
    }
    Ok(format!("{} {}", told(options), told(dry)))
}
