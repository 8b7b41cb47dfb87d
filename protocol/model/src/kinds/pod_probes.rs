//! Probes on their way in: what is filled in, what is refused, what is accepted and has no effect.

use serde_json::{Value, json};

use super::at;
use crate::probes::{FIELDS, port};
use crate::problem::Problem;

const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];

/// Fills in what is not written, as Kubernetes does. Zero counts as not written.
pub(super) fn default(container: &mut Value) {
    for field in FIELDS {
        let Some(probe) = container.get_mut(field).filter(|probe| probe.is_object()) else { continue };
        for (field, value) in
            [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
        {
            if probe.get(field).is_none_or(|written| written.is_null() || *written == 0) {
                probe[field] = json!(value);
            }
        }
        if let Some(http) = probe.get_mut("httpGet").filter(|http| http.is_object()) {
            for (field, value) in [("path", "/"), ("scheme", "HTTP")] {
                if at(http, &format!("/{field}")).is_empty() {
                    http[field] = json!(value);
                }
            }
        }
    }
}

/// What is wrong with the probes of a container; `path` is where the container stands.
pub(super) fn check(container: &Value, path: &str, problems: &mut Vec<Problem>) {
    for name in FIELDS {
        let Some(probe) = container.get(name).filter(|probe| probe.is_object()) else { continue };
        let field = format!("{path}.{name}");
        let handlers: Vec<&str> =
            HANDLERS.into_iter().filter(|handler| probe.get(handler).is_some_and(Value::is_object)).collect();
        match handlers.as_slice() {
            [] => problems.push(Problem::required_because(field.as_str(), "must specify a handler type")),
            [handler] => check_handler(handler, &probe[handler], container, &format!("{field}.{handler}"), problems),
            [_, second, ..] => {
                let why = "may not specify more than 1 handler type";
                problems.push(Problem::forbidden(format!("{field}.{second}"), why));
            }
        }
        check_times(name, probe, &field, problems);
    }
}

fn check_times(name: &str, probe: &Value, field: &str, problems: &mut Vec<Problem>) {
    let mut number = |of: &str, least: i64, most: i64| {
        let Some(written) = probe[of].as_i64() else { return };
        if written < least {
            let why = format!("must be greater than or equal to {least}");
            problems.push(Problem::invalid(format!("{field}.{of}"), written, why));
        } else if written > most {
            let why = if most == 1 { "must be 1".to_owned() } else { format!("must be at most {most}") };
            problems.push(Problem::invalid(format!("{field}.{of}"), written, why));
        }
    };
    let long = i64::from(i32::MAX);
    number("initialDelaySeconds", 0, long);
    number("periodSeconds", 1, long);
    number("timeoutSeconds", 1, long);
    number("failureThreshold", 1, long);
    // A container is restarted for the others: one good answer is enough to be well.
    number("successThreshold", 1, if name == "readinessProbe" { long } else { 1 });
    if name == "readinessProbe" {
        if !probe["terminationGracePeriodSeconds"].is_null() {
            let value = probe["terminationGracePeriodSeconds"].clone();
            let why = "must not be set for readinessProbes";
            problems.push(Problem::invalid(format!("{field}.terminationGracePeriodSeconds"), value, why));
        }
    } else {
        number("terminationGracePeriodSeconds", 1, long);
    }
}

fn check_handler(handler: &str, asked: &Value, container: &Value, field: &str, problems: &mut Vec<Problem>) {
    if handler == "exec" {
        if asked["command"].as_array().is_none_or(Vec::is_empty) {
            problems.push(Problem::required(format!("{field}.command")));
        }
        for (index, word) in asked["command"].as_array().into_iter().flatten().enumerate() {
            if !word.is_string() {
                let why = "must be a string";
                problems.push(Problem::invalid(format!("{field}.command[{index}]"), word.clone(), why));
            }
        }
        return;
    }
    match &asked["port"] {
        Value::Null => problems.push(Problem::required(format!("{field}.port"))),
        written if port(written, container).is_some() => {}
        Value::String(name) => {
            let why = "must be the name of a port of this container";
            problems.push(Problem::invalid(format!("{field}.port"), name.as_str(), why));
        }
        written => {
            let why = "must be between 1 and 65535, inclusive";
            problems.push(Problem::invalid(format!("{field}.port"), written.clone(), why));
        }
    }
    if handler == "httpGet" {
        let scheme = at(asked, "/scheme");
        if !["", "HTTP", "HTTPS"].contains(&scheme) {
            problems.push(Problem::not_supported(format!("{field}.scheme"), scheme, &["HTTP", "HTTPS"]));
        }
        let path = at(asked, "/path");
        if path.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
            problems.push(Problem::invalid(format!("{field}.path"), path, "must not contain spaces"));
        }
        for (index, header) in asked["httpHeaders"].as_array().into_iter().flatten().enumerate() {
            let name = at(header, "/name");
            let fits = |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter);
            if name.is_empty() || !name.chars().all(fits) {
                let why = "a valid HTTP header must consist of alphanumeric characters or '-'";
                problems.push(Problem::invalid(format!("{field}.httpHeaders[{index}].name"), name, why));
            }
            let value = at(header, "/value");
            if value.chars().any(|letter| letter.is_control() && letter != '\t') {
                let why = "must not contain line breaks or other control characters";
                problems.push(Problem::invalid(format!("{field}.httpHeaders[{index}].value"), value, why));
            }
        }
    }
    let host = at(asked, "/host");
    if host.chars().any(|letter| letter.is_whitespace() || letter.is_control() || "/@?#".contains(letter)) {
        problems.push(Problem::invalid(format!("{field}.host"), host, "must be an address or a host name"));
    }
}

/// What is accepted of a container's probes and has no effect.
pub(super) fn warnings(container: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for name in FIELDS {
        let Some(probe) = container.get(name).filter(|probe| probe.is_object()) else { continue };
        if !probe["terminationGracePeriodSeconds"].is_null() {
            let field = "terminationGracePeriodSeconds";
            found.push(format!("{path}.{name}.{field}: this field has no effect in mkube, the pod's own is used"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(container: Value) -> Vec<String> {
        let mut container = container;
        default(&mut container);
        let mut problems = Vec::new();
        check(&container, "c", &mut problems);
        problems.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn a_probe_gets_the_defaults_of_kubernetes() {
        let mut container = json!({"livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 0}});
        default(&mut container);
        let http = json!({"port": 80, "path": "/", "scheme": "HTTP"});
        assert_eq!(
            container["livenessProbe"],
            json!({"httpGet": http, "periodSeconds": 10, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3})
        );
        let mut problems = Vec::new();
        check(&container, "c", &mut problems);
        assert_eq!(problems, []);
    }

    #[test]
    fn a_probe_has_exactly_one_handler() {
        assert_eq!(fields(json!({"livenessProbe": {}})), ["c.livenessProbe"]);
        let two = json!({"readinessProbe": {"httpGet": {"port": 80}, "tcpSocket": {"port": 80}}});
        assert_eq!(fields(two), ["c.readinessProbe.tcpSocket"]);
        assert_eq!(fields(json!({"startupProbe": {"exec": {}}})), ["c.startupProbe.exec.command"]);
    }

    #[test]
    fn ports_are_numbers_in_range_or_declared_names() {
        let named = |port: Value| {
            fields(
                json!({"ports": [{"name": "web", "containerPort": 80}], "livenessProbe": {"tcpSocket": {"port": port}}}),
            )
        };
        assert_eq!(named(json!("web")), Vec::<String>::new());
        assert_eq!(named(json!(65535)), Vec::<String>::new());
        for wrong in [json!("other"), json!(0), json!(65536), json!(-1), json!("80"), json!(null)] {
            assert_eq!(named(wrong.clone()), ["c.livenessProbe.tcpSocket.port"], "{wrong}");
        }
        assert_eq!(fields(json!({"livenessProbe": {"grpc": {}}})), ["c.livenessProbe.grpc.port"]);
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused_by_name() {
        let probe = json!({"tcpSocket": {"port": 1}, "initialDelaySeconds": -1, "periodSeconds": -1, "timeoutSeconds": -1,
            "failureThreshold": -1, "successThreshold": 2});
        let names = ["initialDelaySeconds", "periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold"];
        assert_eq!(fields(json!({"livenessProbe": probe})), names.map(|name| format!("c.livenessProbe.{name}")));
        let patient = json!({"tcpSocket": {"port": 1}, "successThreshold": 5});
        assert_eq!(fields(json!({"readinessProbe": patient})), Vec::<String>::new());
        let grace = json!({"tcpSocket": {"port": 1}, "terminationGracePeriodSeconds": 5});
        assert_eq!(
            fields(json!({"readinessProbe": grace.clone()})),
            ["c.readinessProbe.terminationGracePeriodSeconds"]
        );
        assert!(warnings(&json!({"livenessProbe": grace}), "c")[0].contains("terminationGracePeriodSeconds"));
    }

    #[test]
    fn what_cannot_be_sent_is_refused_by_name() {
        let http = |more: Value| {
            let mut http = json!({"port": 80});
            http.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
            fields(json!({"livenessProbe": {"httpGet": http}}))
        };
        let at = |field: &str| [format!("c.livenessProbe.httpGet.{field}")];
        assert_eq!(http(json!({"scheme": "GOPHER"})), at("scheme"));
        assert_eq!(http(json!({"path": "/a b"})), at("path"));
        assert_eq!(http(json!({"host": "a/b"})), at("host"));
        assert_eq!(http(json!({"httpHeaders": [{"name": "a b", "value": ""}]})), at("httpHeaders[0].name"));
        assert_eq!(http(json!({"httpHeaders": [{"name": "a", "value": "x\r\ny"}]})), at("httpHeaders[0].value"));
    }

    #[test]
    fn a_command_is_accepted_and_its_words_are_texts() {
        let container = json!({"livenessProbe": {"exec": {"command": ["true"]}}});
        assert_eq!(fields(container.clone()), Vec::<String>::new());
        assert_eq!(warnings(&container, "c"), Vec::<String>::new());
        let odd = json!({"livenessProbe": {"exec": {"command": ["sleep", 1]}}});
        assert_eq!(fields(odd), ["c.livenessProbe.exec.command[1]"]);
    }
}
