//! Environment variables of a container: values, references, and `$(NAME)` expansion, as Kubernetes reads them.

use std::collections::BTreeMap;

use mkube_model::metadata;
use serde_json::Value;

/// ConfigMaps of the pod's namespace, by name.
pub type ConfigMaps = BTreeMap<String, Value>;

/// The variables in order of definition (later definitions of a name win), or what is missing.
pub fn resolve(
    pod: &Value,
    container: &Value,
    maps: &ConfigMaps,
    pod_ip: &str,
    host_ip: &str,
) -> Result<Vec<(String, String)>, String> {
    let mut variables: Vec<(String, String)> = Vec::new();
    for source in list(container, "envFrom") {
        let Some(reference) = source.get("configMapRef") else { continue };
        let name = text(reference, "name");
        let optional = reference.get("optional").and_then(Value::as_bool).unwrap_or(false);
        let Some(map) = maps.get(name) else {
            if optional {
                continue;
            }
            return Err(format!("configmap {name:?} not found"));
        };
        let prefix = text(source, "prefix");
        for (key, value) in map.get("data").and_then(Value::as_object).into_iter().flatten() {
            set(&mut variables, format!("{prefix}{key}"), value.as_str().unwrap_or_default().to_owned());
        }
    }
    for variable in list(container, "env") {
        let name = text(variable, "name").to_owned();
        let value = match variable.get("valueFrom") {
            None => Some(expand(text(variable, "value"), &variables)),
            Some(from) => referenced(pod, from, maps, pod_ip, host_ip)?,
        };
        if let Some(value) = value {
            set(&mut variables, name, value);
        }
    }
    Ok(variables)
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
    maps: &ConfigMaps,
    pod_ip: &str,
    host_ip: &str,
) -> Result<Option<String>, String> {
    if let Some(reference) = from.get("configMapKeyRef") {
        let (name, key) = (text(reference, "name"), text(reference, "key"));
        let optional = reference.get("optional").and_then(Value::as_bool).unwrap_or(false);
        let value = maps.get(name).and_then(|map| map.pointer("/data")?.get(key)?.as_str().map(str::to_owned));
        return match value {
            Some(value) => Ok(Some(value)),
            None if optional => Ok(None),
            None if maps.contains_key(name) => Err(format!("configmap {name:?} has no key {key:?}")),
            None => Err(format!("configmap {name:?} not found")),
        };
    }
    if let Some(reference) = from.get("fieldRef") {
        return field(pod, text(reference, "fieldPath"), pod_ip, host_ip).map(Some);
    }
    Err("only configMapKeyRef and fieldRef are supported as the source of a variable".to_owned())
}

fn field(pod: &Value, path: &str, pod_ip: &str, host_ip: &str) -> Result<String, String> {
    let quoted = |map: &str| {
        let key = path.strip_prefix(map)?.strip_prefix("['")?.strip_suffix("']")?;
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
            "envFrom": [{"configMapRef": {"name": "m"}, "prefix": "P_"}],
            "env": [
                {"name": "A", "value": "a"},
                {"name": "B", "value": "$(A)b"},
                {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}},
                {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "F", "valueFrom": {"configMapKeyRef": {"name": "zz", "key": "k", "optional": true}}},
            ]
        });
        let maps = ConfigMaps::from([("m".to_owned(), json!({"data": {"k": "v"}}))]);
        let found = resolve(&pod, &container, &maps, "10.0.0.2", "10.0.0.1").expect("all there");
        let found: Vec<_> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, [("P_k", "v"), ("A", "a"), ("B", "ab"), ("C", "v"), ("D", "x"), ("E", "10.0.0.2")]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let container = json!({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]});
        let fault = resolve(&json!({}), &container, &ConfigMaps::new(), "", "");
        assert_eq!(fault, Err("configmap \"m\" not found".to_owned()));
    }
}
