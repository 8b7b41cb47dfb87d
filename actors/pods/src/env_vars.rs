//! Environment variables of a container: values, references, and `$(NAME)` expansion, as Kubernetes reads them.

use mkube_model::image_pins::{DEPLOYED, DEPLOYED_BEFORE};
use mkube_model::metadata;
use serde_json::Value;

use crate::sources::{Sources, entries_of_map, entries_of_secret, value_of_secret};

/// The variables in order of definition (later definitions of a name win), or what is missing.
pub fn resolve(
    pod: &Value,
    container: &Value,
    sources: &Sources,
    pod_ip: &str,
    host_ip: &str,
) -> Result<Vec<(String, String)>, String> {
    let mut variables: Vec<(String, String)> = Vec::new();
    for source in list(container, "envFrom") {
        for (key, value) in all_of(source, sources)? {
            set(&mut variables, format!("{}{key}", text(source, "prefix")), value);
        }
    }
    for variable in list(container, "env") {
        let name = text(variable, "name").to_owned();
        let value = match variable.get("valueFrom") {
            None => Some(expand(text(variable, "value"), &variables)),
            Some(from) => referenced(pod, from, sources, pod_ip, host_ip)?,
        };
        if let Some(value) = value {
            set(&mut variables, name, value);
        }
    }
    Ok(variables)
}

fn is_optional(reference: &Value) -> bool {
    reference.get("optional").and_then(Value::as_bool).unwrap_or(false)
}

/// Everything in the ConfigMap or Secret of an `envFrom`.
fn all_of(source: &Value, sources: &Sources) -> Result<Vec<(String, String)>, String> {
    if let Some(reference) = source.get("configMapRef") {
        let name = text(reference, "name");
        return match sources.maps.get(name) {
            Some(map) => Ok(entries_of_map(map)),
            None if is_optional(reference) => Ok(Vec::new()),
            None => Err(format!("configmap {name:?} not found")),
        };
    }
    let Some(reference) = source.get("secretRef") else { return Ok(Vec::new()) };
    let name = text(reference, "name");
    match sources.secrets.get(name) {
        Some(secret) => entries_of_secret(name, secret),
        None if is_optional(reference) => Ok(Vec::new()),
        None => Err(format!("secret {name:?} not found")),
    }
}

/// `$(NAME)` becomes the value of a variable defined before, `$$` becomes `$`, everything else stays.
pub fn expand(text: &str, variables: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let reference = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        match reference {
            Some((name, after)) if variables.iter().any(|(known, _)| known == name) => {
                let value = variables.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value);
                out.push_str(value);
                rest = after;
            }
            _ => out.push('$'),
        }
    }
    out.push_str(rest);
    out
}

fn referenced(
    pod: &Value,
    from: &Value,
    sources: &Sources,
    pod_ip: &str,
    host_ip: &str,
) -> Result<Option<String>, String> {
    if let Some(reference) = from.get("fieldRef") {
        return field(pod, text(reference, "fieldPath"), pod_ip, host_ip).map(Some);
    }
    let (kind, reference) = match (from.get("configMapKeyRef"), from.get("secretKeyRef")) {
        (Some(reference), _) => ("configmap", reference),
        (None, Some(reference)) => ("secret", reference),
        (None, None) => {
            let known = "only configMapKeyRef, secretKeyRef and fieldRef are supported as the source of a variable";
            return Err(known.to_owned());
        }
    };
    let (name, key) = (text(reference, "name"), text(reference, "key"));
    let object = if kind == "secret" { sources.secrets.get(name) } else { sources.maps.get(name) };
    let value = match object {
        Some(secret) if kind == "secret" => value_of_secret(name, secret, key)?,
        Some(map) => map.pointer("/data").and_then(|data| data.get(key)?.as_str().map(str::to_owned)),
        None => None,
    };
    match value {
        Some(value) => Ok(Some(value)),
        None if is_optional(reference) => Ok(None),
        None if object.is_some() => Err(format!("{kind} {name:?} has no key {key:?}")),
        None => Err(format!("{kind} {name:?} not found")),
    }
}

fn field(pod: &Value, path: &str, pod_ip: &str, host_ip: &str) -> Result<String, String> {
    let quoted = |map: &str| {
        let key = path.strip_prefix(map)?.strip_prefix("['")?.strip_suffix("']")?;
        // What mkube writes about a container once it is made must not make it anew.
        if [DEPLOYED, DEPLOYED_BEFORE].contains(&key) {
            return None;
        }
        let value = pod.pointer(&format!("/{}", map.replace('.', "/")))?.get(key)?.as_str()?;
        Some(value.to_owned())
    };
    Ok(match path {
        "metadata.name" => metadata::name(pod).to_owned(),
        "metadata.namespace" => metadata::namespace(pod).to_owned(),
        "metadata.uid" => metadata::uid(pod).to_owned(),
        "spec.nodeName" => pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default().to_owned(),
        "spec.serviceAccountName" => "default".to_owned(),
        "status.podIP" | "status.podIPs" => pod_ip.to_owned(),
        "status.hostIP" | "status.hostIPs" => host_ip.to_owned(),
        _ if path.starts_with("metadata.labels[") => quoted("metadata.labels").unwrap_or_default(),
        _ if path.starts_with("metadata.annotations[") => quoted("metadata.annotations").unwrap_or_default(),
        _ => return Err(format!("field {path:?} is not available to variables")),
    })
}

fn set(variables: &mut Vec<(String, String)>, name: String, value: String) {
    match variables.iter_mut().find(|(known, _)| *known == name) {
        Some(slot) => slot.1 = value,
        None => variables.push((name, value)),
    }
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_expand_only_to_what_was_defined_before() {
        let known = vec![("A".to_owned(), "1".to_owned())];
        assert_eq!(expand("$(A)-$(B)-$$(A)-$A-$", &known), "1-$(B)-$(A)-$A-$");
    }

    #[test]
    fn values_come_from_text_config_maps_and_fields() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "labels": {"app": "x"}}});
        let container = json!({
            "envFrom": [{"configMapRef": {"name": "m"}, "prefix": "P_"}, {"secretRef": {"name": "s"}, "prefix": "S_"}],
            "env": [
                {"name": "A", "value": "a"},
                {"name": "B", "value": "$(A)b"},
                {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}},
                {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}},
                {"name": "F", "valueFrom": {"configMapKeyRef": {"name": "zz", "key": "k", "optional": true}}},
            ]
        });
        let sources = Sources {
            maps: [("m".to_owned(), json!({"data": {"k": "v"}}))].into(),
            secrets: [("s".to_owned(), json!({"data": {"password": "aHVudGVyMg=="}}))].into(),
        };
        let found = resolve(&pod, &container, &sources, "10.0.0.2", "10.0.0.1").expect("all there");
        let found: Vec<_> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let expected = [
            ("P_k", "v"),
            ("S_password", "hunter2"),
            ("A", "a"),
            ("B", "ab"),
            ("C", "v"),
            ("D", "x"),
            ("E", "10.0.0.2"),
            ("S", "hunter2"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (from, words) in [
            (json!({"configMapKeyRef": {"name": "m", "key": "k"}}), "configmap \"m\" not found"),
            (json!({"secretKeyRef": {"name": "m", "key": "k"}}), "secret \"m\" not found"),
            (json!({"secretKeyRef": {"name": "s", "key": "k"}}), "secret \"s\" has no key \"k\""),
        ] {
            let container = json!({"env": [{"name": "A", "valueFrom": from}]});
            let sources = Sources { secrets: [("s".to_owned(), json!({}))].into(), ..Sources::default() };
            assert_eq!(resolve(&json!({}), &container, &sources, "", ""), Err(words.to_owned()));
        }
    }

    #[test]
    fn what_mkube_itself_notes_of_a_container_is_no_value_for_it() {
        let pod = json!({"metadata": {"annotations": {DEPLOYED: "sha256:0", "mine": "1"}}});
        let of = |key: &str| {
            let path = format!("metadata.annotations['{key}']");
            field(&pod, &path, "", "")
        };
        assert_eq!((of(DEPLOYED), of("mine")), (Ok(String::new()), Ok("1".to_owned())));
    }
}
