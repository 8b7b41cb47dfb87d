//! Secret: what nobody but containers and registries may read. Its values stand in no message of any kind.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Map, Value, json};

use super::{AGE, Home, Kind, NAME, at, by_itself, column, config_key_problem, no_warnings, schema_of, typed};
use crate::problem::Problem;
use crate::protobuf::{Field, METADATA, Wire};
use crate::pull_secrets;

/// Bytes of all values together, as Kubernetes limits them.
const LIMIT: usize = 1 << 20;
/// Stands in messages where Kubernetes has it stand.
const REDACTED: &str = "<secret contents redacted>";

pub(super) const SECRET: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    short_names: &[],
    categories: &[],
    namespaced: true,
    bucket: "SECRETS",
    graceful: false,
    read_only: false,
    has_status: false,
    subresources: &[],
    columns: &[
        NAME,
        column("Type", "string", 0, |object, _| at(object, "/type").into()),
        column("Data", "integer", 0, |object, _| entries(object).count().into()),
        AGE,
    ],
    selectable: &["type"],
    dotted_names: true,
    default,
    home: Home::Everywhere,
    validate,
    among: by_itself,
    typed: checked,
    schema: schema_of::<Secret>,
    warnings: no_warnings,
    protobuf: &[
        Field::new(1, "metadata", Wire::Message(METADATA)),
        Field::new(2, "data", Wire::BytesMap),
        Field::new(3, "type", Wire::Text),
        Field::new(4, "stringData", Wire::TextMap),
        Field::new(5, "immutable", Wire::Boolean),
    ],
};

fn entries(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.get("data").and_then(Value::as_object).into_iter().flatten()
}

/// Base 64 as Go reads it: line breaks do not count.
fn without_line_breaks(object: &mut Value) {
    let data = object.get_mut("data").and_then(Value::as_object_mut).into_iter().flatten();
    for (_, value) in data {
        if let Some(text) = value.as_str().filter(|text| text.contains(['\r', '\n'])) {
            *value = json!(text.replace(['\r', '\n'], ""));
        }
    }
}

/// The errors of the type itself would repeat what is wrong with a value, so values are looked at first.
fn checked(object: &Value) -> Result<Value, String> {
    let mut object = object.clone();
    without_line_breaks(&mut object);
    for (key, value) in entries(&object) {
        let ok = value.is_null() || value.as_str().is_some_and(|text| STANDARD.decode(text).is_ok());
        if !ok {
            return Err(format!("data.{key}: the value is no base64-encoded text"));
        }
    }
    for (key, value) in object.get("stringData").and_then(Value::as_object).into_iter().flatten() {
        if !value.is_string() {
            return Err(format!("stringData.{key}: the value is no text"));
        }
    }
    for field in ["data", "stringData"] {
        if object.get(field).is_some_and(|value| !value.is_object() && !value.is_null()) {
            return Err(format!("{field}: it is no map"));
        }
    }
    typed::<Secret>(&object)
}

fn default(object: &mut Value) {
    without_line_breaks(object);
    let Some(fields) = object.as_object_mut() else { return };
    if fields.get("type").and_then(Value::as_str).unwrap_or_default().is_empty() {
        fields.insert("type".into(), json!("Opaque"));
    }
    // Text is a way of writing; what is kept is data.
    if let Some(Value::Object(texts)) = fields.remove("stringData") {
        let data = fields.entry("data").or_insert(Value::Null);
        if !data.is_object() {
            *data = Value::Object(Map::new());
        }
        if let Value::Object(data) = data {
            data.extend(texts.into_iter().map(|(key, text)| {
                let encoded = STANDARD.encode(text.as_str().unwrap_or_default());
                (key, json!(encoded))
            }));
        }
    }
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut size = 0;
    for (key, value) in entries(new) {
        // Four letters for three bytes.
        size += value.as_str().map_or(0, |text| (text.len() / 4 * 3).saturating_sub(padding(text)));
        problems.extend(config_key_problem("data", key));
    }
    if size > LIMIT {
        problems.push(Problem::too_long("data", LIMIT));
    }
    check_type(new, &mut problems);
    if let Some(old) = old {
        if new["type"] != old["type"] {
            problems.push(Problem::invalid("type", new["type"].clone(), "field is immutable"));
        }
        if old["immutable"] == true {
            let why = "field is immutable when `immutable` is set";
            if new["immutable"] != true {
                problems.push(Problem::forbidden("immutable", why));
            }
            if new.get("data") != old.get("data") {
                problems.push(Problem::forbidden("data", why));
            }
        }
    }
    problems
}

fn padding(text: &str) -> usize {
    text.bytes().rev().take_while(|byte| *byte == b'=').count()
}

/// What the types of Kubernetes must hold.
fn check_type(new: &Value, problems: &mut Vec<Problem>) {
    let has = |key: &str| new["data"].get(key).is_some();
    let mut require = |keys: &[&str]| {
        for key in keys.iter().filter(|key| !has(key)) {
            problems.push(Problem::required(format!("data[{key}]")));
        }
    };
    match at(new, "/type") {
        "kubernetes.io/dockerconfigjson" => require(&[pull_secrets::CONFIG_JSON]),
        "kubernetes.io/dockercfg" => require(&[pull_secrets::CONFIG]),
        "kubernetes.io/tls" => require(&["tls.crt", "tls.key"]),
        "kubernetes.io/ssh-auth" => require(&["ssh-privatekey"]),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => require(&["username", "password"]),
        "kubernetes.io/service-account-token" => {
            let annotation = "kubernetes.io/service-account.name";
            if crate::metadata::annotation(new, annotation).unwrap_or_default().is_empty() {
                problems.push(Problem::required(format!("metadata.annotations[{annotation}]")));
            }
        }
        _ => {}
    }
    for key in [pull_secrets::CONFIG_JSON, pull_secrets::CONFIG] {
        let of_its_type = match at(new, "/type") {
            "kubernetes.io/dockerconfigjson" => key == pull_secrets::CONFIG_JSON,
            "kubernetes.io/dockercfg" => key == pull_secrets::CONFIG,
            _ => false,
        };
        let text = new["data"].get(key).and_then(Value::as_str).and_then(|text| STANDARD.decode(text).ok());
        if let Some(text) = text.filter(|_| of_its_type)
            && serde_json::from_slice::<Map<String, Value>>(&text).is_err()
        {
            problems.push(Problem::invalid(format!("data[{key}]"), REDACTED, "it is no JSON object"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(kind: &str, data: Value) -> Value {
        let mut secret = json!({"metadata": {"name": "s"}, "type": kind, "data": data});
        default(&mut secret);
        secret
    }

    fn fields(problems: &[Problem]) -> Vec<&str> {
        problems.iter().map(|problem| problem.field.as_str()).collect()
    }

    #[test]
    fn text_becomes_data_and_the_type_is_opaque_unless_said() {
        let mut secret = json!({"stringData": {"a": "new", "b": "x"}, "data": {"a": "b2xk", "c": "Yw==\n"}});
        assert!((SECRET.typed)(&secret).is_ok());
        default(&mut secret);
        assert_eq!(secret, json!({"type": "Opaque", "data": {"a": "bmV3", "b": "eA==", "c": "Yw=="}}));
        assert_eq!(validate(&secret, None), []);
    }

    #[test]
    fn each_type_has_the_keys_that_kubernetes_wants() {
        for (kind, wanted) in [
            ("Opaque", vec![]),
            ("example.com/own", vec![]),
            ("kubernetes.io/dockerconfigjson", vec!["data[.dockerconfigjson]"]),
            ("kubernetes.io/dockercfg", vec!["data[.dockercfg]"]),
            ("kubernetes.io/tls", vec!["data[tls.crt]", "data[tls.key]"]),
            ("kubernetes.io/ssh-auth", vec!["data[ssh-privatekey]"]),
            ("kubernetes.io/basic-auth", vec!["data[username]", "data[password]"]),
            ("kubernetes.io/service-account-token", vec!["metadata.annotations[kubernetes.io/service-account.name]"]),
        ] {
            assert_eq!(fields(&validate(&secret(kind, json!({})), None)), wanted, "{kind}");
        }
        let half = secret("kubernetes.io/basic-auth", json!({"username": "eA=="}));
        assert_eq!(validate(&half, None), []);
    }

    #[test]
    fn no_message_repeats_a_value() {
        let bad = secret("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": STANDARD.encode("hunter2")}));
        let problems = validate(&bad, None);
        assert_eq!(fields(&problems), ["data[.dockerconfigjson]"]);
        assert!(!problems[0].message.contains("hunter2") && problems[0].message.contains(REDACTED), "{problems:?}");
        for wrong in [
            json!({"data": {"k": "hunter2%"}}),
            json!({"data": {"k": 4711}}),
            json!({"stringData": {"k": 4711}}),
            json!({"stringData": {"k": ["hunter2"]}}),
            json!({"data": "hunter2"}),
            json!({"stringData": "hunter2"}),
        ] {
            let why = (SECRET.typed)(&wrong).expect_err("not a secret");
            assert!(!why.contains("hunter2") && !why.contains("4711"), "{why}");
        }
    }

    #[test]
    fn an_immutable_secret_and_the_type_of_any_stay_as_they_are() {
        let mut old = secret("Opaque", json!({"k": "eA=="}));
        let mut other = secret("kubernetes.io/basic-auth", json!({"username": "eA=="}));
        assert_eq!(fields(&validate(&other, Some(&old))), ["type"]);
        old["immutable"] = json!(true);
        other["type"] = json!("Opaque");
        assert_eq!(fields(&validate(&other, Some(&old))), ["immutable", "data"]);
        assert_eq!(validate(&old, Some(&old)), []);
    }

    #[test]
    fn a_mebibyte_is_the_most_it_holds() {
        let of = |bytes: usize| secret("Opaque", json!({"k": STANDARD.encode(vec![0; bytes])}));
        assert_eq!(validate(&of(LIMIT), None), []);
        assert_eq!(fields(&validate(&of(LIMIT + 1), None)), ["data"]);
        let strange = secret("Opaque", json!({"../k": "", "..": ""}));
        assert_eq!(validate(&strange, None).len(), 2);
    }
}
