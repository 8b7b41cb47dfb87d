//! `mkube describe`: all of an object as a person reads it, and what happened to it.

use base64::Engine as _;
use jiff::Timestamp;
use mkube_model::applied::LAST_APPLIED;
use mkube_model::kinds::human_duration;
use mkube_model::neighbours::wall_clock::{SystemClock, WallClock};
use serde_json::Value;

use super::api::{Api, block_on, encoded};
use super::columns::Columns;
use super::get::JSON;
use super::look::{Look, Tone};
use super::targets;
use crate::cli::DescribeArgs;
use crate::failure::{Failure, USAGE};
use crate::say::print;

/// `mkube describe`.
pub fn describe(args: &DescribeArgs, look: Look) -> Result<(), Failure> {
    let api = Api::new(&args.reach.server)?;
    block_on(async {
        let namespace = api.namespace(args.reach.namespace.as_deref()).to_owned();
        let mut first = true;
        for target in targets::of(&api, &args.what.words, &args.what.filename).await? {
            let home = target.namespace.clone().unwrap_or_else(|| namespace.clone());
            if target.names.is_empty()
                && args.what.words.first().is_some_and(|word| word.contains(',') || word == "all")
            {
                return Err(Failure::text(USAGE, "one kind is described at a time, or objects that are named"));
            }
            let mut objects = Vec::new();
            if target.names.is_empty() {
                let list = api.get_json(&target.resource.path(Some(&home), None), JSON).await?;
                objects = list["items"].as_array().cloned().unwrap_or_default();
            }
            for name in &target.names {
                objects.push(api.get_json(&target.resource.path(Some(&home), Some(name)), JSON).await?);
            }
            for mut object in objects {
                if !std::mem::replace(&mut first, false) {
                    print("\n---\n\n")?;
                }
                object["kind"] = target.resource.kind.clone().into();
                hide(&mut object);
                let events = events(&api, &object).await?;
                print(text(object, &events, look, SystemClock.now()))?;
            }
        }
        Ok(())
    })
}

/// Of a Secret only how long its values are.
fn hide(object: &mut Value) {
    if object["kind"] != "Secret" {
        return;
    }
    for value in object["data"].as_object_mut().into_iter().flat_map(|data| data.values_mut()) {
        let decoded = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap_or_default());
        *value = format!("{} bytes", decoded.map_or(0, |bytes| bytes.len())).into();
    }
}

/// What was told of an object, the oldest first.
async fn events(api: &Api, object: &Value) -> Result<Vec<Value>, Failure> {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default();
    let fields = format!("involvedObject.name={},involvedObject.kind={kind}", text("name"));
    let list = api.get_json(&format!("/api/v1/events?fieldSelector={}", encoded(&fields)), JSON).await?;
    let mut found = list["items"].as_array().cloned().unwrap_or_default();
    found.retain(|one| {
        let namespace = one["involvedObject"]["namespace"].as_str().unwrap_or_default();
        namespace.is_empty() || namespace == text("namespace")
    });
    let time = |one: &Value| one["lastTimestamp"].as_str().unwrap_or_default().to_owned();
    found.sort_by_key(time);
    Ok(found)
}

fn text(mut object: Value, events: &[Value], look: Look, now: Timestamp) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            out += &format!("{}{value}\n", look.paint(Some(Tone::Heading), &format!("{name:<13}")));
        }
    };
    let meta = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    line("Kind:", object["kind"].as_str().unwrap_or_default());
    line("Name:", &meta("name"));
    line("Namespace:", &meta("namespace"));
    line("Age:", &age(&meta("creationTimestamp"), now));
    for (name, field) in [("Labels:", "labels"), ("Annotations:", "annotations")] {
        let all = object["metadata"][field].as_object();
        let shown = all.into_iter().flatten().filter(|(key, _)| *key != LAST_APPLIED);
        for (index, (key, value)) in shown.enumerate() {
            let pair = format!("{key}={}", value.as_str().unwrap_or_default());
            line(if index == 0 { name } else { "" }, &pair);
        }
    }
    let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    for owner in owners {
        let of = |field: &str| owner[field].as_str().unwrap_or_default();
        line("Owned by:", &format!("{}/{}", of("kind"), of("name")));
    }
    let fields = object.as_object_mut().map(std::mem::take).unwrap_or_default();
    for (name, value) in &fields {
        if ["kind", "apiVersion", "metadata"].contains(&name.as_str()) {
            continue;
        }
        let title = name[..1].to_uppercase() + &name[1..];
        out += &format!("{}\n", look.paint(Some(Tone::Heading), &format!("{title}:")));
        mkube_manifests::to_yaml(value).lines().for_each(|line| out += &format!("  {line}\n"));
    }
    if events.is_empty() {
        return out + &format!("{}\n", look.paint(Some(Tone::Heading), "Events:      none"));
    }
    let rows: Vec<Vec<String>> = events.iter().map(|one| event(one, now)).collect();
    let table = Columns::new(["TYPE", "REASON", "AGE", "MESSAGE"], look.out).whole(&rows);
    out += &format!("{}\n", look.paint(Some(Tone::Heading), "Events:"));
    table.lines().for_each(|line| out += &format!("  {line}\n"));
    out
}

fn event(one: &Value, now: Timestamp) -> Vec<String> {
    let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let count = one["count"].as_u64().filter(|count| *count > 1).map(|count| format!(" (x{count})"));
    let when = age(&text("lastTimestamp"), now) + &count.unwrap_or_default();
    vec![text("type"), text("reason"), when, text("message").replace('\n', " ")]
}

fn age(stamp: &str, now: Timestamp) -> String {
    stamp.parse::<Timestamp>().map_or_else(|_| String::new(), |then| human_duration(now.duration_since(then).as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ColorChoice;
    use serde_json::json;

    #[test]
    fn an_object_is_told_with_what_happened_to_it() {
        let pod = json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "web", "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"app": "web"}, "annotations": {LAST_APPLIED: "{}"}, "managedFields": [1]},
            "spec": {"containers": [{"name": "c"}]}, "status": {"phase": "Running"},
        });
        let events = [
            json!({"type": "Normal", "reason": "Started", "message": "it runs", "count": 3, "lastTimestamp": "2026-01-01T00:59:00Z"}),
        ];
        let now = "2026-01-01T01:00:00Z".parse().expect("a time");
        let told = text(pod, &events, Look::new(ColorChoice::Never), now);
        for words in [
            "Name:        web\n",
            "Age:         60m\n",
            "Labels:      app=web\n",
            "Spec:\n  containers:\n",
            "Status:\n  phase: Running\n",
            "Started   60s (x3)   it runs",
        ] {
            assert!(told.contains(words), "{words}: {told}");
        }
        let mut secret = json!({"kind": "Secret", "data": {"password": "aHVudGVyMg=="}});
        hide(&mut secret);
        assert_eq!(secret["data"]["password"], "7 bytes");
        assert!(!told.contains("managedFields") && !told.contains("last-applied"), "{told}");
    }
}
