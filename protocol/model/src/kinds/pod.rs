//! Pod: the one kind that becomes containers.
//!
//! Unlike upstream, the spec may change while the pod exists: mkube recreates the containers concerned.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::pod_columns::{or_none, ready_cell, restarts_cell, status_word};
use super::{AGE, Home, Kind, NAME, at, column, pod_images, pod_probes, schema_of, template_wire, typed};
use crate::boot_order;
use crate::metadata;
use crate::problem::Problem;
use crate::static_addresses::{self, STATIC_IP};
use crate::workloads::DEPENDS_ON;

pub(super) const POD: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    namespaced: true,
    bucket: "PODS",
    graceful: true,
    read_only: false,
    has_status: true,
    subresources: &["attach", "eviction", "exec", "log", "portforward"],
    columns: &[
        NAME,
        column("Ready", "string", 0, ready_cell),
        column("Status", "string", 0, |object, _| status_word(object).into()),
        column("Restarts", "string", 0, restarts_cell),
        AGE,
        column("IP", "string", 1, |object, _| or_none(at(object, "/status/podIP")).into()),
        column("Node", "string", 1, |object, _| or_none(at(object, "/spec/nodeName")).into()),
        column("Nominated Node", "string", 1, |_, _| "<none>".into()),
        column("Readiness Gates", "string", 1, |_, _| "<none>".into()),
    ],
    selectable: &[
        "spec.hostNetwork",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.nominatedNodeName",
        "status.phase",
        "status.podIP",
    ],
    dotted_names: true,
    default,
    home: Home::Spec,
    validate,
    among,
    typed: |object| {
        let mut object = object.clone();
        spelled_as_types(&mut object);
        typed::<Pod>(&object)
    },
    schema: schema_of::<Pod>,
    warnings,
    protobuf: template_wire::POD,
};

/// Numbers and quantities as the types of Kubernetes spell them.
pub(super) fn spelled_as_types(object: &mut Value) {
    quantities_as_text(object);
    modes_as_numbers(object);
}

/// A quantity may be written as a number; it is kept as text.
fn quantities_as_text(object: &mut Value) {
    for list in ["containers", "initContainers"] {
        let containers = object.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            for set in ["/resources/limits", "/resources/requests"] {
                let quantities = container.pointer_mut(set).and_then(Value::as_object_mut).into_iter().flatten();
                for (_, quantity) in quantities.filter(|(_, quantity)| quantity.is_number()) {
                    *quantity = quantity.to_string().into();
                }
            }
        }
    }
}

/// A mode written as `0444` in a manifest is text to YAML 1.2, and the octal number to everybody who writes one.
fn modes_as_numbers(object: &mut Value) {
    let octal = |mode: &mut Value| {
        let digits = mode.as_str().filter(|text| text.starts_with('0') && text.len() <= 5);
        if let Some(number) = digits.and_then(|digits| u32::from_str_radix(digits, 8).ok()) {
            *mode = number.into();
        }
    };
    let volumes = object.pointer_mut("/spec/volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten() {
        for source in ["configMap", "secret"] {
            if let Some(mode) = volume.pointer_mut(&format!("/{source}/defaultMode")) {
                octal(mode);
            }
            let items = volume.pointer_mut(&format!("/{source}/items")).and_then(Value::as_array_mut);
            items.into_iter().flatten().filter_map(|item| item.get_mut("mode")).for_each(octal);
        }
    }
}

fn default(object: &mut Value) {
    if !object["spec"].is_object() {
        return;
    }
    spelled_as_types(object);
    let set = |target: &mut Value, field: &str, value: Value| {
        if target.get(field).is_none_or(Value::is_null) {
            target[field] = value;
        }
    };
    let spec = &mut object["spec"];
    set(spec, "restartPolicy", json!("Always"));
    set(spec, "terminationGracePeriodSeconds", json!(30));
    set(spec, "dnsPolicy", json!("ClusterFirst"));
    set(spec, "schedulerName", json!("default-scheduler"));
    set(spec, "securityContext", json!({}));
    set(spec, "enableServiceLinks", json!(true));
    for container in spec["containers"].as_array_mut().into_iter().flatten().filter(|c| c.is_object()) {
        let policy = pod_images::default_policy(container["image"].as_str().unwrap_or_default());
        set(container, "imagePullPolicy", json!(policy));
        set(container, "resources", json!({}));
        set(container, "terminationMessagePath", json!("/dev/termination-log"));
        set(container, "terminationMessagePolicy", json!("File"));
        for port in container["ports"].as_array_mut().into_iter().flatten().filter(|port| port.is_object()) {
            set(port, "protocol", json!("TCP"));
        }
        pod_probes::default(container);
    }
    for volume in spec["volumes"].as_array_mut().into_iter().flatten() {
        for source in ["configMap", "secret"] {
            if volume[source].is_object() {
                set(&mut volume[source], "defaultMode", json!(420));
            }
        }
    }
    for field in ["ports", "volumeMounts", "env", "volumes"] {
        if spec[field].is_null()
            && let Some(fields) = spec.as_object_mut()
        {
            fields.remove(field);
        }
        for container in spec["containers"].as_array_mut().into_iter().flatten() {
            if container[field].is_null()
                && let Some(fields) = container.as_object_mut()
            {
                fields.remove(field);
            }
        }
    }
    if object.pointer("/status/phase").is_none() {
        object["status"] = json!({"phase": "Pending", "qosClass": qos_class(&object["spec"])});
    }
}

/// How much of what it may use a pod has for sure, as Kubernetes names it.
fn qos_class(spec: &Value) -> &'static str {
    let containers = ["initContainers", "containers"].into_iter().filter_map(|list| spec[list].as_array()).flatten();
    let said = |container: &Value, which: &str, what: &str| container["resources"][which].get(what).cloned();
    let (mut none, mut all) = (true, true);
    for container in containers {
        for what in ["cpu", "memory"] {
            let (limit, request) = (said(container, "limits", what), said(container, "requests", what));
            none &= limit.is_none() && request.is_none();
            all &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (none, all) {
        (true, _) => "BestEffort",
        (false, true) => "Guaranteed",
        (false, false) => "Burstable",
    }
}

fn validate(new: &Value, _old: Option<&Value>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let policy = at(new, "/spec/restartPolicy");
    if !["Always", "OnFailure", "Never"].contains(&policy) {
        problems.push(Problem::not_supported("spec.restartPolicy", policy, &["Always", "OnFailure", "Never"]));
    }
    if new.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds < 0) {
        let value = new["spec"]["terminationGracePeriodSeconds"].clone();
        problems.push(Problem::invalid(
            "spec.terminationGracePeriodSeconds",
            value,
            "must be greater than or equal to 0",
        ));
    }
    let containers = new.pointer("/spec/containers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if containers.is_empty() {
        problems.push(Problem::required("spec.containers"));
    }
    let mut names = HashSet::new();
    for (index, container) in containers.iter().enumerate() {
        let field = format!("spec.containers[{index}]");
        check_container(container, &field, &mut problems);
        pod_probes::check(container, &field, &mut problems);
        let name = at(container, "/name");
        if !name.is_empty() && !names.insert(name) {
            problems.push(Problem::duplicate(format!("{field}.name"), name));
        }
    }
    check_volumes(new, &mut problems);
    check_annotations(new, &mut problems);
    pod_images::check(new, &mut problems);
    problems
}

/// Refuses a pod whose new dependencies lead back to itself. Who leaves them as they are is let through: what stands in the store
/// is dealt with where pods are started.
fn among(new: &Value, old: Option<&Value>, others: &mut dyn Iterator<Item = &str>) -> Vec<Problem> {
    let wanted = metadata::annotation(new, DEPENDS_ON);
    if wanted.is_none() || old.and_then(|old| metadata::annotation(old, DEPENDS_ON)) == wanted {
        return Vec::new();
    }
    // Only who depends on somebody can be part of a circle.
    let others = others.filter(|pod| pod.contains(DEPENDS_ON)).filter_map(|pod| serde_json::from_str(pod).ok());
    boot_order::circle_with(new, others.map(|pod: Value| boot_order::Member::of(&pod))).into_iter().collect()
}

fn check_container(container: &Value, field: &str, problems: &mut Vec<Problem>) {
    let name = at(container, "/name");
    if name.is_empty() {
        problems.push(Problem::required(format!("{field}.name")));
    } else if let Some(why) = metadata::label_problem(name) {
        problems.push(Problem::invalid(format!("{field}.name"), name, why));
    }
    let image = at(container, "/image");
    if image.is_empty() {
        problems.push(Problem::required(format!("{field}.image")));
    } else if image.trim() != image {
        problems.push(Problem::invalid(
            format!("{field}.image"),
            image,
            "must not have leading or trailing whitespace",
        ));
    }
    for word in ["command", "args"] {
        for (index, value) in container[word].as_array().into_iter().flatten().enumerate() {
            let text = value.as_str().unwrap_or_default().to_owned();
            if let Err(why) = crate::command_line::join(std::slice::from_ref(&text)) {
                problems.push(Problem::invalid(format!("{field}.{word}[{index}]"), text, why.why));
            }
        }
    }
    for (index, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
        match port["containerPort"].as_i64() {
            None => problems.push(Problem::required(format!("{field}.ports[{index}].containerPort"))),
            Some(1..=65535) => {}
            Some(number) => problems.push(Problem::invalid(
                format!("{field}.ports[{index}].containerPort"),
                number,
                "must be between 1 and 65535, inclusive",
            )),
        }
        let protocol = at(port, "/protocol");
        if !["TCP", "UDP", "SCTP"].contains(&protocol) {
            problems.push(Problem::not_supported(
                format!("{field}.ports[{index}].protocol"),
                protocol,
                &["SCTP", "TCP", "UDP"],
            ));
        }
    }
    for (index, variable) in container["env"].as_array().into_iter().flatten().enumerate() {
        let name = at(variable, "/name");
        let field = format!("{field}.env[{index}]");
        if name.is_empty() {
            problems.push(Problem::required(format!("{field}.name")));
        } else if name.contains('=') || name.chars().any(|c| c.is_control() || c == ' ') || !name.is_ascii() {
            problems.push(Problem::invalid(
                format!("{field}.name"),
                name,
                "a valid environment variable name must consist only of printable ASCII characters other than '='",
            ));
        }
        if !at(variable, "/value").is_empty() && variable.get("valueFrom").is_some_and(|from| !from.is_null()) {
            problems.push(Problem::invalid(
                format!("{field}.valueFrom"),
                "",
                "may not be specified when `value` is not empty",
            ));
        }
        if at(variable, "/value").chars().any(|c| c.is_control() && c != '\t') {
            let why = "RouterOS cannot express a value with a line break or another control character";
            problems.push(Problem::invalid(format!("{field}.value"), at(variable, "/value"), why));
        }
        if let Some(from) = variable.get("valueFrom").filter(|from| !from.is_null())
            && ["configMapKeyRef", "secretKeyRef", "fieldRef"].iter().all(|known| from.get(known).is_none())
        {
            problems.push(Problem::invalid(
                format!("{field}.valueFrom"),
                "",
                "only configMapKeyRef, secretKeyRef and fieldRef are supported",
            ));
        }
    }
    let mut paths = HashSet::new();
    for (index, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
        let field = format!("{field}.volumeMounts[{index}]");
        let path = at(mount, "/mountPath");
        if at(mount, "/name").is_empty() {
            problems.push(Problem::required(format!("{field}.name")));
        }
        if path.is_empty() {
            problems.push(Problem::required(format!("{field}.mountPath")));
        } else if !path.starts_with('/') || !steps(path).any(|_| true) || steps(path).any(|step| step == "..") {
            problems.push(Problem::invalid(format!("{field}.mountPath"), path, "must be an absolute path below /"));
        } else if !paths.insert(steps(path).collect::<Vec<_>>()) {
            problems.push(Problem::invalid(format!("{field}.mountPath"), path, "must be unique"));
        }
        if at(mount, "/subPath").split('/').any(|part| part == "..") {
            problems.push(Problem::invalid(format!("{field}.subPath"), at(mount, "/subPath"), "must not contain '..'"));
        }
    }
    if let Some(limit) = container.pointer("/resources/limits/memory") {
        let ok = limit.as_str().is_some_and(is_quantity) || limit.is_number();
        if !ok {
            problems.push(Problem::invalid(
                format!("{field}.resources.limits.memory"),
                limit.clone(),
                "must be a quantity such as 64Mi",
            ));
        }
    }
}

/// The steps of a path that lead somewhere.
fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|step| !step.is_empty() && *step != ".")
}

fn is_quantity(text: &str) -> bool {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    number.parse::<f64>().is_ok() && ["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"].contains(&unit)
}

fn check_volumes(new: &Value, problems: &mut Vec<Problem>) {
    let mut names = HashSet::new();
    for (index, volume) in new.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let field = format!("spec.volumes[{index}]");
        let name = at(volume, "/name");
        if name.is_empty() {
            problems.push(Problem::required(format!("{field}.name")));
        } else if let Some(why) = metadata::label_problem(name) {
            problems.push(Problem::invalid(format!("{field}.name"), name, why));
        } else if !names.insert(name) {
            problems.push(Problem::duplicate(format!("{field}.name"), name));
        }
        if let Some(path) = volume.pointer("/hostPath/path").and_then(Value::as_str)
            && (!path.starts_with('/') || path.split('/').any(|part| part == ".."))
        {
            problems.push(Problem::invalid(
                format!("{field}.hostPath.path"),
                path,
                "must be absolute and must not contain '..'",
            ));
        }
        for (source, name) in [("configMap", "name"), ("secret", "secretName")] {
            let Some(made_from) = volume.get(source).filter(|made_from| made_from.is_object()) else { continue };
            if at(made_from, &format!("/{name}")).is_empty() {
                problems.push(Problem::required(format!("{field}.{source}.{name}")));
            }
            for (item, entry) in made_from["items"].as_array().into_iter().flatten().enumerate() {
                let path = at(entry, "/path");
                if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..") {
                    let why = "must be a relative path without '..'";
                    problems.push(Problem::invalid(format!("{field}.{source}.items[{item}].path"), path, why));
                }
            }
        }
    }
}

fn check_annotations(new: &Value, problems: &mut Vec<Problem>) {
    if let Err(why) = static_addresses::wanted(new) {
        let text = metadata::annotation(new, STATIC_IP).unwrap_or_default();
        problems.push(Problem::invalid(format!("metadata.annotations[{STATIC_IP}]"), text, why));
    }
    if let Some(file) = metadata::annotation(new, "vkube.io/file")
        && file.split('/').any(|part| part == "..")
    {
        problems.push(Problem::invalid("metadata.annotations[vkube.io/file]", file, "must not contain '..'"));
    }
    problems.extend(boot_order::problems(new));
}

/// Fields that are accepted and do nothing yet.
fn warnings(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut warn = |field: &str| found.push(format!("{field}: this field has no effect in mkube"));
    let spec = &object["spec"];
    let says_something = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    };
    for field in [
        "initContainers",
        "ephemeralContainers",
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "nodeSelector",
        "affinity",
        "topologySpreadConstraints",
        "priorityClassName",
        "runtimeClassName",
        "hostAliases",
        "dnsConfig",
        "activeDeadlineSeconds",
    ] {
        if says_something(&spec[field]) {
            warn(&format!("spec.{field}"));
        }
    }
    for (index, container) in spec["containers"].as_array().into_iter().flatten().enumerate() {
        for field in ["lifecycle", "stdin", "tty", "volumeDevices"] {
            if says_something(&container[field]) {
                warn(&format!("spec.containers[{index}].{field}"));
            }
        }
        for field in container["securityContext"].as_object().into_iter().flatten().map(|(field, _)| field) {
            if !["runAsUser", "runAsGroup"].contains(&field.as_str()) {
                warn(&format!("spec.containers[{index}].securityContext.{field}"));
            }
        }
        if says_something(&container["resources"]["limits"]["cpu"]) {
            warn(&format!("spec.containers[{index}].resources.limits.cpu"));
        }
    }
    for (index, container) in spec["containers"].as_array().into_iter().flatten().enumerate() {
        found.extend(pod_probes::warnings(container, &format!("spec.containers[{index}]")));
    }
    for (index, volume) in spec["volumes"].as_array().into_iter().flatten().enumerate() {
        for field in volume.as_object().into_iter().flatten().map(|(field, _)| field.as_str()) {
            if !["name", "configMap", "secret", "emptyDir", "hostPath"].contains(&field) {
                found.push(format!(
                    "spec.volumes[{index}].{field}: not supported, a persistent directory is used instead"
                ));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: Value) -> Value {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
        default(&mut pod);
        pod
    }

    fn problems(spec: Value) -> Vec<String> {
        validate(&pod(spec), None).into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn a_plain_pod_has_no_problems_and_gets_the_defaults_of_kubernetes() {
        let pod = pod(json!({"containers": [{"name": "c", "image": "x:1", "ports": [{"containerPort": 80}]}]}));
        assert_eq!(validate(&pod, None), []);
        assert_eq!(pod["spec"]["restartPolicy"], "Always");
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], "IfNotPresent");
        assert_eq!(pod["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
        assert_eq!(pod["status"]["phase"], "Pending");
        assert_eq!(warnings(&pod), Vec::<String>::new());
    }

    #[test]
    fn quantities_may_be_written_as_numbers() {
        let limits = json!({"cpu": 1, "memory": 67108864});
        let raw = json!({"spec": {"containers": [{"name": "c", "image": "x", "resources": {"limits": limits}}]}});
        assert!((POD.typed)(&raw).is_ok());
        let pod = pod(raw["spec"].clone());
        assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"], json!({"cpu": "1", "memory": "67108864"}));
    }

    #[test]
    fn modes_may_be_written_as_octal_numbers_of_yaml() {
        let mut pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}, "spec": {
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "configMap": {"name": "m", "defaultMode": "0444", "items": [
                {"key": "a", "path": "a", "mode": "0600"}, {"key": "b", "path": "b", "mode": 256},
            ]}}],
        }});
        (POD.typed)(&pod).expect("a mode is a number");
        (POD.default)(&mut pod);
        let map = &pod["spec"]["volumes"][0]["configMap"];
        let modes = [&map["defaultMode"], &map["items"][0]["mode"], &map["items"][1]["mode"]];
        assert_eq!(modes, [&json!(0o444), &json!(0o600), &json!(256)]);
        pod["spec"]["volumes"][0]["configMap"]["defaultMode"] = json!("rw");
        assert!((POD.typed)(&pod).is_err(), "other text is no mode");
    }

    #[test]
    fn each_problem_names_its_field() {
        assert_eq!(problems(json!({})), ["spec.containers"]);
        assert_eq!(
            problems(json!({"restartPolicy": "Sometimes", "containers": [
                {"name": "A", "image": ""},
                {"name": "b", "image": "x", "ports": [{"containerPort": 0}], "env": [{"name": "a=b"}, {"name": "C", "value": "x\ny"}]},
                {"name": "b", "image": "x", "command": ["say \"hi\""],
                 "volumeMounts": [{"name": "v", "mountPath": "relative"}, {"name": "v", "mountPath": "/x"}, {"name": "v", "mountPath": "/x"}]}]})),
            [
                "spec.restartPolicy",
                "spec.containers[0].name",
                "spec.containers[0].image",
                "spec.containers[1].ports[0].containerPort",
                "spec.containers[1].env[0].name",
                "spec.containers[1].env[1].value",
                "spec.containers[2].command[0]",
                "spec.containers[2].volumeMounts[0].mountPath",
                "spec.containers[2].volumeMounts[2].mountPath",
                "spec.containers[2].name",
            ]
        );
    }

    #[test]
    fn a_mount_hides_neither_the_whole_root_nor_another_mount() {
        let mounted = |paths: &[&str]| {
            let mounts: Vec<Value> = paths.iter().map(|path| json!({"name": "v", "mountPath": path})).collect();
            problems(json!({"containers": [{"name": "c", "image": "x", "volumeMounts": mounts}]}))
        };
        let field = |index: usize| format!("spec.containers[0].volumeMounts[{index}].mountPath");
        for root in ["/", "//", "/.", "/./", "/data/..", "/../etc"] {
            assert_eq!(mounted(&[root]), [field(0)], "{root}");
        }
        assert_eq!(mounted(&["/data", "/data/"]), [field(1)]);
        assert_eq!(mounted(&["/data", "/./data"]), [field(1)]);
        assert_eq!(mounted(&["/data", "/data/inner", "/..data"]), Vec::<String>::new());
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let pod = pod(json!({"hostNetwork": true, "containers": [{"name": "c", "image": "x", "livenessProbe":
                {"exec": {"command": ["x"]}, "terminationGracePeriodSeconds": 5}}],
            "volumes": [{"name": "v", "nfs": {"server": "s"}}]}));
        let found = warnings(&pod);
        assert!(
            found[0].starts_with("spec.hostNetwork:")
                && found[1].starts_with("spec.containers[0].livenessProbe.terminationGracePeriodSeconds:"),
            "{found:?}"
        );
        assert!(found[2].starts_with("spec.volumes[0].nfs: not supported"), "{found:?}");
    }
}
