//! Service: one name for the pods a selector finds.
//!
//! Names answer with the addresses of the pods that are ready, as those of a headless Service do: there is no address in between,
//! and nothing that turns one port into another. Manifests that want more are taken, with a warning that says what is not done;
//! `ExternalName` is refused, because its name would answer nothing.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::{AGE, Home, Kind, NAME, at, by_itself, column, schema_of, typed};
use crate::metadata;
use crate::problem::Problem;
use crate::protobuf::{Field, METADATA, Wire};

/// What `clusterIP` says where there is no address of its own.
const HEADLESS: &str = "None";
const TYPES: [&str; 3] = ["ClusterIP", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

pub(super) const SERVICE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    namespaced: true,
    bucket: "SERVICES",
    graceful: false,
    read_only: false,
    has_status: true,
    subresources: &[],
    columns: &[
        NAME,
        column("Type", "string", 0, |object, _| at(object, "/spec/type").into()),
        column("Cluster-IP", "string", 0, |object, _| or_none(at(object, "/spec/clusterIP").to_owned()).into()),
        column("External-IP", "string", 0, |object, _| external(object).into()),
        column("Port(s)", "string", 0, |object, _| or_none(ports_text(object)).into()),
        AGE,
        column("Selector", "string", 1, |object, _| or_none(selector_text(object)).into()),
    ],
    selectable: &["spec.clusterIP", "spec.type"],
    dotted_names: false,
    default,
    home: Home::Everywhere,
    validate,
    among: by_itself,
    typed: typed::<Service>,
    schema: schema_of::<Service>,
    warnings,
    protobuf: &[
        Field::new(1, "metadata", Wire::Message(METADATA)),
        Field::new(2, "spec", Wire::Message(SPEC)),
        Field::new(3, "status", Wire::Skipped),
    ],
};

const SPEC: &[Field] = &[
    Field::new(
        1,
        "ports",
        Wire::Messages(&[
            Field::new(1, "name", Wire::Text),
            Field::new(2, "protocol", Wire::Text),
            Field::new(3, "port", Wire::Number),
            Field::new(4, "targetPort", Wire::NumberOrText),
            Field::new(5, "nodePort", Wire::Number),
            Field::new(6, "appProtocol", Wire::Text),
        ]),
    ),
    Field::new(2, "selector", Wire::TextMap),
    Field::new(3, "clusterIP", Wire::Text),
    Field::new(4, "type", Wire::Text),
    Field::new(5, "externalIPs", Wire::Texts),
    Field::new(7, "sessionAffinity", Wire::Text),
    Field::new(8, "loadBalancerIP", Wire::Text),
    Field::new(9, "loadBalancerSourceRanges", Wire::Texts),
    Field::new(10, "externalName", Wire::Text),
    Field::new(11, "externalTrafficPolicy", Wire::Text),
    Field::new(12, "healthCheckNodePort", Wire::Number),
    Field::new(13, "publishNotReadyAddresses", Wire::Flag),
    Field::new(
        14,
        "sessionAffinityConfig",
        Wire::Message(&[Field::new(
            1,
            "clientIP",
            Wire::Message(&[Field::new(1, "timeoutSeconds", Wire::OptionalNumber)]),
        )]),
    ),
    Field::new(17, "ipFamilyPolicy", Wire::Text),
    Field::new(18, "clusterIPs", Wire::Texts),
    Field::new(19, "ipFamilies", Wire::Texts),
    Field::new(20, "allocateLoadBalancerNodePorts", Wire::Boolean),
    Field::new(21, "loadBalancerClass", Wire::Text),
    Field::new(22, "internalTrafficPolicy", Wire::Text),
    Field::new(23, "trafficDistribution", Wire::Text),
];

fn or_none(text: String) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text }
}

fn texts<'a>(object: &'a Value, pointer: &str) -> Vec<&'a str> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

fn ports(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten()
}

fn external(object: &Value) -> String {
    let given = texts(object, "/spec/externalIPs").join(",");
    match at(object, "/spec/type") {
        // As kubectl says it of a balancer that never comes.
        "LoadBalancer" if given.is_empty() => "<pending>".to_owned(),
        _ => or_none(given),
    }
}

fn ports_text(object: &Value) -> String {
    let one = |port: &Value| {
        let node = port["nodePort"].as_u64().filter(|node| *node > 0).map(|node| format!(":{node}"));
        format!("{}{}/{}", port["port"].as_u64().unwrap_or(0), node.unwrap_or_default(), at(port, "/protocol"))
    };
    ports(object).map(one).collect::<Vec<_>>().join(",")
}

fn selector_text(object: &Value) -> String {
    let pairs = object.pointer("/spec/selector").and_then(Value::as_object).into_iter().flatten();
    pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
}

fn default(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    let set = |target: &mut Value, field: &str, value: Value| {
        if target.get(field).is_none_or(|now| now.is_null() || now == "") {
            target[field] = value;
        }
    };
    set(spec, "type", json!("ClusterIP"));
    // What names a single address is enough: the list follows it, and the other way round.
    let first = texts(&json!({"spec": &*spec}), "/spec/clusterIPs").first().map(|ip| (*ip).to_owned());
    set(spec, "clusterIP", json!(first.unwrap_or_else(|| HEADLESS.to_owned())));
    let own = spec["clusterIP"].clone();
    set(spec, "clusterIPs", json!([own]));
    set(spec, "sessionAffinity", json!("None"));
    set(spec, "internalTrafficPolicy", json!("Cluster"));
    set(spec, "ipFamilies", json!(["IPv4"]));
    set(spec, "ipFamilyPolicy", json!("SingleStack"));
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter(|port| port.is_object()) {
        set(port, "protocol", json!("TCP"));
        let number = port["port"].clone();
        if port.get("targetPort").is_none_or(|target| target.is_null() || *target == 0 || *target == "") {
            port["targetPort"] = number;
        }
    }
    if !object["status"].is_object() {
        object["status"] = json!({"loadBalancer": {}});
    }
}

fn validate(new: &Value, _old: Option<&Value>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let spec = &new["spec"];
    if !spec.is_object() {
        return vec![Problem::required("spec")];
    }
    let kind = at(spec, "/type");
    if kind == "ExternalName" {
        let why = "a name that stands for another one is not served here; supported values: \"ClusterIP\", \
                   \"LoadBalancer\", \"NodePort\"";
        problems.push(Problem::invalid("spec.type", kind, why));
    } else if !TYPES.contains(&kind) {
        problems.push(Problem::not_supported("spec.type", kind, &TYPES));
    }
    check_addresses(spec, &mut problems);
    check_selector(&spec["selector"], &mut problems);
    check_ports(new, kind, &mut problems);
    let affinity = at(spec, "/sessionAffinity");
    if !["", "ClientIP", "None"].contains(&affinity) {
        problems.push(Problem::not_supported("spec.sessionAffinity", affinity, &["ClientIP", "None"]));
    }
    problems
}

fn check_addresses(spec: &Value, problems: &mut Vec<Problem>) {
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    let own = at(spec, "/clusterIP");
    if own != HEADLESS && !own.is_empty() && !is_address(own) {
        let why = "must be empty, 'None', or a valid IP address";
        problems.push(Problem::invalid("spec.clusterIP", own, why));
    }
    for (index, one) in spec["clusterIPs"].as_array().into_iter().flatten().enumerate() {
        let text = one.as_str().unwrap_or_default();
        let field = format!("spec.clusterIPs[{index}]");
        if index == 0 && text != own {
            problems.push(Problem::invalid(field, one.clone(), "must match `clusterIP`"));
        } else if index > 0 && !is_address(text) {
            problems.push(Problem::invalid(field, one.clone(), "must be a valid IP address"));
        }
    }
    for (index, one) in spec["externalIPs"].as_array().into_iter().flatten().enumerate() {
        if !one.as_str().is_some_and(is_address) {
            let why = "must be a valid IP address";
            problems.push(Problem::invalid(format!("spec.externalIPs[{index}]"), one.clone(), why));
        }
    }
}

fn check_selector(selector: &Value, problems: &mut Vec<Problem>) {
    for (key, value) in selector.as_object().into_iter().flatten() {
        let why = metadata::key_problem(key).or_else(|| value.as_str().and_then(metadata::label_value_problem));
        problems.extend(why.map(|why| Problem::invalid("spec.selector", key.as_str(), why)));
    }
}

fn check_ports(object: &Value, kind: &str, problems: &mut Vec<Problem>) {
    let many = ports(object).count() > 1;
    let (mut names, mut numbers) = (Vec::new(), Vec::new());
    for (index, port) in ports(object).enumerate() {
        let field = |name: &str| format!("spec.ports[{index}].{name}");
        let is_number = |value: &Value| value.as_i64().is_some_and(|number| (1..=65535).contains(&number));
        let in_range = "must be between 1 and 65535, inclusive";
        let name = at(port, "/name");
        if name.is_empty() && many {
            problems.push(Problem::required(field("name")));
        } else if !name.is_empty() {
            problems.extend(metadata::label_problem(name).map(|why| Problem::invalid(field("name"), name, why)));
            if names.contains(&name) {
                problems.push(Problem::duplicate(field("name"), name));
            }
            names.push(name);
        }
        if !is_number(&port["port"]) {
            problems.push(Problem::invalid(field("port"), port["port"].clone(), in_range));
        }
        let protocol = at(port, "/protocol");
        if !PROTOCOLS.contains(&protocol) {
            problems.push(Problem::not_supported(field("protocol"), protocol, &PROTOCOLS));
        }
        if numbers.contains(&(&port["port"], protocol)) {
            problems.push(Problem::duplicate(format!("spec.ports[{index}]"), port.clone()));
        }
        numbers.push((&port["port"], protocol));
        match &port["targetPort"] {
            Value::String(name) => {
                problems.extend(port_name_problem(name).map(|why| Problem::invalid(field("targetPort"), &**name, why)));
            }
            // The default, which the port itself answers for.
            target if *target == port["port"] || is_number(target) => {}
            target => problems.push(Problem::invalid(field("targetPort"), target.clone(), in_range)),
        }
        if let Some(node) = port.get("nodePort").filter(|node| !node.is_null() && **node != 0) {
            if !["LoadBalancer", "NodePort"].contains(&kind) {
                let why = "may not be used when `type` is 'ClusterIP'";
                problems.push(Problem::forbidden(field("nodePort"), why));
            } else if !is_number(node) {
                problems.push(Problem::invalid(field("nodePort"), node.clone(), in_range));
            }
        }
    }
}

/// What is wrong with the name of a container's port.
fn port_name_problem(name: &str) -> Option<&'static str> {
    let plain = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    match () {
        () if name.len() > 15 => Some("must be no more than 15 characters"),
        () if !plain => Some("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"),
        () if !name.bytes().any(|byte| byte.is_ascii_lowercase()) => Some("must contain at least one letter (a-z)"),
        () if name.contains("--") => Some("must not contain consecutive hyphens"),
        () if name.starts_with('-') || name.ends_with('-') => Some("must not begin or end with a hyphen"),
        () => None,
    }
}

fn warnings(object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let spec = &object["spec"];
    let kind = at(spec, "/type");
    if ["LoadBalancer", "NodePort"].contains(&kind) {
        warnings.push(format!(
            "spec.type: {kind} has no effect beyond ClusterIP: no port of the node is forwarded; the name answers with the pods"
        ));
    }
    let own = at(spec, "/clusterIP");
    if own != HEADLESS && !own.is_empty() {
        warnings.push(format!("spec.clusterIP: {own} is not given to anybody; the name answers with the pods"));
    }
    if spec["selector"].as_object().is_none_or(serde_json::Map::is_empty) {
        warnings.push("spec.selector: without one the name answers nothing: Endpoints are not kept here".to_owned());
    }
    for (index, port) in ports(object).enumerate() {
        if port["targetPort"].is_i64() && port["targetPort"] != port["port"] {
            warnings.push(format!(
                "spec.ports[{index}].targetPort: ports are not translated; clients of the name must ask for port {}",
                port["targetPort"]
            ));
        }
    }
    if !texts(object, "/spec/externalIPs").is_empty() {
        warnings.push("spec.externalIPs: has no effect".to_owned());
    }
    if at(spec, "/sessionAffinity") == "ClientIP" {
        warnings.push("spec.sessionAffinity: has no effect: the client picks one of the addresses".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::unknown_fields;
    use crate::patch::strategic_merge_patch;

    fn service(spec: Value) -> Value {
        let mut object = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "default"}, "spec": spec});
        default(&mut object);
        object
    }

    fn fields(spec: Value) -> Vec<String> {
        validate(&service(spec), None).into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn a_usual_manifest_is_filled_in_and_says_nothing() {
        let object = service(json!({"selector": {"app": "web"}, "ports": [{"port": 80}]}));
        assert_eq!(validate(&object, None), []);
        assert_eq!(warnings(&object), Vec::<String>::new());
        assert_eq!(
            object["spec"],
            json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "selector": {"app": "web"},
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "sessionAffinity": "None",
                "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"})
        );
        assert_eq!(unknown_fields(&object, &(SERVICE.typed)(&object).expect("a Service")), Vec::<String>::new());
        let mut again = object.clone();
        default(&mut again);
        assert_eq!(again, object, "defaults are stable");
    }

    #[test]
    fn a_service_without_ports_gets_none_not_a_null() {
        assert_eq!(service(json!({"selector": {"app": "web"}}))["spec"].get("ports"), None);
    }

    #[test]
    fn each_problem_names_its_field() {
        assert_eq!(fields(json!({"type": "ExternalName", "externalName": "x.example"})), ["spec.type"]);
        assert_eq!(fields(json!({"type": "Other"})), ["spec.type"]);
        assert_eq!(fields(json!({"clusterIP": "here"})), ["spec.clusterIP"]);
        assert_eq!(fields(json!({"clusterIPs": ["10.0.0.1"], "clusterIP": "None"})), ["spec.clusterIPs[0]"]);
        assert_eq!(fields(json!({"externalIPs": ["x"]})), ["spec.externalIPs[0]"]);
        assert_eq!(fields(json!({"selector": {"-bad": "x"}})), ["spec.selector"]);
        assert_eq!(fields(json!({"selector": {"app": "not a value"}})), ["spec.selector"]);
        assert_eq!(fields(json!({"sessionAffinity": "Sticky"})), ["spec.sessionAffinity"]);
        assert_eq!(
            fields(json!({"ports": [
                {"name": "a", "port": 0},
                {"name": "A", "port": 70000, "targetPort": 1},
                {"name": "c", "port": 1, "protocol": "ICMP"},
                {"name": "d", "port": 2, "targetPort": "much-too-long-for-a-port"},
                {"name": "e", "port": 3, "nodePort": 30000},
                {"port": 4},
            ]})),
            [
                "spec.ports[0].port",
                "spec.ports[1].name",
                "spec.ports[1].port",
                "spec.ports[2].protocol",
                "spec.ports[3].targetPort",
                "spec.ports[4].nodePort",
                "spec.ports[5].name",
            ]
        );
        assert_eq!(
            fields(json!({"ports": [{"name": "a", "port": 53}, {"name": "a", "port": 53}]})),
            ["spec.ports[1].name", "spec.ports[1]"]
        );
        let both = json!({"ports": [{"name": "a", "port": 53}, {"name": "b", "port": 53, "protocol": "UDP"}]});
        assert_eq!(fields(both), Vec::<String>::new());
        assert_eq!(validate(&json!({"metadata": {"name": "web"}}), None).len(), 1);
    }

    #[test]
    fn what_is_not_done_is_said() {
        let told = |spec: Value| warnings(&service(spec));
        let selector = json!({"app": "web"});
        for (spec, field) in [
            (json!({"type": "NodePort", "selector": selector}), "spec.type"),
            (json!({"type": "LoadBalancer", "selector": selector}), "spec.type"),
            (json!({"clusterIP": "10.96.0.10", "selector": selector}), "spec.clusterIP"),
            (json!({}), "spec.selector"),
            (json!({"selector": selector, "ports": [{"port": 80, "targetPort": 8080}]}), "spec.ports[0].targetPort"),
            (json!({"selector": selector, "externalIPs": ["10.0.0.1"]}), "spec.externalIPs"),
            (json!({"selector": selector, "sessionAffinity": "ClientIP"}), "spec.sessionAffinity"),
        ] {
            let told = told(spec.clone());
            assert!(told.len() == 1 && told[0].starts_with(field), "{spec}: {told:?}");
        }
    }

    #[test]
    fn its_columns_are_those_of_kubectl() {
        let cells = |spec: Value| -> Vec<Value> {
            let object = service(spec);
            SERVICE.columns[1..5].iter().map(|column| (column.cell)(&object, jiff::Timestamp::UNIX_EPOCH)).collect()
        };
        assert_eq!(
            cells(json!({"ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}]})),
            ["ClusterIP", "None", "<none>", "80/TCP,53/UDP"]
        );
        assert_eq!(
            cells(json!({"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30080}]})),
            ["LoadBalancer", "None", "<pending>", "80:30080/TCP"]
        );
    }

    #[test]
    fn ports_merge_by_their_number_and_protocol() {
        let object =
            service(json!({"ports": [{"name": "a", "port": 53}, {"name": "b", "port": 53, "protocol": "UDP"}]}));
        let patch = json!({"spec": {"ports": [{"port": 53, "protocol": "UDP", "targetPort": 5353}]}});
        let patched = strategic_merge_patch(&object, &patch).expect("a patch");
        let mut ports = patched["spec"]["ports"].as_array().cloned().expect("ports");
        ports.sort_by_key(|port| port["name"].to_string());
        assert_eq!((&ports[0]["targetPort"], &ports[1]["targetPort"]), (&json!(53), &json!(5353)));
    }
}
