//! BareMetalHost: a machine that is started over the network, and the controller on its board. It is kept and shown; nothing here
//! switches a machine on or off.

use std::net::IpAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{AGE, Home, Kind, KindId, NAME, at, by_itself, column, no_warnings, schema_of, typed};
use crate::problem::Problem;

/// The key of the kind. Its objects hold a password.
pub const BARE_METAL_HOSTS: KindId = KindId { group: "vkube.io", plural: "baremetalhosts" };

pub(super) const BARE_METAL_HOST: Kind = Kind {
    group: BARE_METAL_HOSTS.group,
    version: "v1alpha1",
    kind: "BareMetalHost",
    plural: BARE_METAL_HOSTS.plural,
    singular: "baremetalhost",
    short_names: &["bmh"],
    categories: &[],
    namespaced: true,
    bucket: "BAREMETALHOSTS",
    graceful: false,
    read_only: false,
    has_status: true,
    subresources: &[],
    columns: &[
        NAME,
        column("Status", "string", 0, |object, _| at(object, "/status/phase").into()),
        column("Power", "string", 0, power),
        column("Image", "string", 0, image),
        column("IP", "string", 0, address),
        column("MAC", "string", 0, |object, _| at(object, "/spec/bootMACAddress").into()),
        AGE,
    ],
    selectable: &["spec.bootMACAddress", "status.phase"],
    dotted_names: true,
    default,
    home: Home::Everywhere,
    validate,
    among: by_itself,
    typed: typed::<BareMetalHost>,
    schema: schema_of::<BareMetalHost>,
    warnings: no_warnings,
    protobuf: &[],
};

/// A machine that is started over the network. It is kept and shown; nothing here switches it on or off.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "io.vkube.v1alpha1.BareMetalHost")]
struct BareMetalHost {
    /// `vkube.io/v1alpha1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<String>,
    /// `BareMetalHost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// Standard object metadata.
    #[serde(default)]
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    /// What is wanted of the machine.
    #[serde(default)]
    spec: Spec,
    /// What is known of the machine.
    #[serde(default)]
    status: Status,
}

/// What is wanted of the machine.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "io.vkube.v1alpha1.BareMetalHostSpec")]
struct Spec {
    /// The controller on its board.
    bmc: Option<Bmc>,
    /// Hardware address of the interface it starts from.
    #[serde(rename = "bootMACAddress")]
    boot_mac_address: Option<String>,
    /// Whether it is to be switched on.
    online: Option<bool>,
    /// What it starts.
    image: Option<String>,
    /// Name of the network it is in.
    network: Option<String>,
    /// IP address.
    ip: Option<String>,
    /// Host name.
    hostname: Option<String>,
    /// Where it fetches the boot file from.
    next_server: Option<String>,
    /// Boot file for a BIOS.
    boot_file: Option<String>,
    /// Boot file for EFI.
    boot_file_efi: Option<String>,
    /// Name of the ConfigMap with its boot configuration.
    boot_config_ref: Option<String>,
    /// The disk that is installed to.
    disk: Option<String>,
    /// `bios` or `uefi`.
    boot_mode: Option<String>,
    /// Name of a template.
    template: Option<String>,
    /// Ignition configuration.
    ignition: Option<String>,
    /// Kickstart configuration.
    kickstart: Option<String>,
    /// Its further interfaces.
    nics: Option<Vec<Nic>>,
}

/// The controller on the board.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "io.vkube.v1alpha1.BareMetalHostController")]
struct Bmc {
    /// Where it listens.
    address: Option<String>,
    /// The user.
    username: Option<String>,
    /// The password.
    password: Option<String>,
    /// Hardware address.
    mac: Option<String>,
    /// Host name.
    hostname: Option<String>,
    /// Name of the network it is in.
    network: Option<String>,
}

/// A further interface.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "io.vkube.v1alpha1.BareMetalHostInterface")]
struct Nic {
    /// Hardware address.
    mac: Option<String>,
    /// IP address.
    ip: Option<String>,
    /// What it is for.
    role: Option<String>,
    /// Name of the network it is in.
    network: Option<String>,
    /// Host name.
    hostname: Option<String>,
}

/// What is known of the machine. What it reports of itself is kept as it is.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "io.vkube.v1alpha1.BareMetalHostStatus")]
struct Status {
    /// How far it is.
    phase: Option<String>,
    /// Whether it is on.
    powered_on: Option<bool>,
    /// IP address.
    ip: Option<String>,
    /// When it was started last.
    last_boot: Option<String>,
    /// How often it was started.
    boot_count: Option<i64>,
    /// What went wrong last.
    error_message: Option<String>,
    /// Images it may start.
    available_images: Option<Vec<String>>,
    /// What it is made of, as reported.
    hardware: Option<Value>,
    /// Interfaces it has, as reported.
    network_interfaces: Option<Value>,
    /// State of its installation.
    state: Option<String>,
    /// When that changed last.
    last_state_change: Option<String>,
    /// Who reported.
    operator_version: Option<String>,
    /// Whether its serial console is open.
    serial_active: Option<bool>,
    /// Whether the controller on its board answers.
    ipmi_reachable: Option<bool>,
}

fn power(object: &Value, _now: Timestamp) -> Value {
    if object.pointer("/status/poweredOn") == Some(&json!(true)) { "on".into() } else { "off".into() }
}

fn image(object: &Value, _now: Timestamp) -> Value {
    match at(object, "/spec/image") {
        // It starts from its own disk.
        "" => "localboot".into(),
        image => image.into(),
    }
}

fn address(object: &Value, _now: Timestamp) -> Value {
    [at(object, "/status/ip"), at(object, "/spec/ip")].into_iter().find(|ip| !ip.is_empty()).unwrap_or_default().into()
}

fn default(object: &mut Value) {
    if object.pointer("/status/phase").and_then(Value::as_str).is_none_or(str::is_empty) {
        if !object["status"].is_object() {
            object["status"] = json!({});
        }
        object["status"]["phase"] = json!("Registering");
    }
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    parts.len() == 6 && parts.iter().all(|part| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit()))
}

/// Whether a text is a name or an address of a machine: it becomes part of what others are asked.
fn is_host(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || crate::metadata::subdomain_problem(&text.to_ascii_lowercase()).is_none()
}

/// A path of a field, what it says, whether that is right, and what it should be.
type Check = (&'static str, fn(&str) -> bool, &'static str);

const CHECKS: [Check; 8] = [
    ("/bootMACAddress", is_mac, "must be six bytes in hexadecimal, such as 02:00:00:00:00:07"),
    ("/bmc/mac", is_mac, "must be six bytes in hexadecimal, such as 02:00:00:00:00:07"),
    ("/bmc/address", is_host, "must be an address or a host name"),
    ("/bmc/hostname", is_host, "must be a host name"),
    ("/ip", |text| text.parse::<IpAddr>().is_ok(), "must be an IP address"),
    ("/hostname", is_host, "must be a host name"),
    ("/nextServer", is_host, "must be an address or a host name"),
    ("/image", |text| !text.chars().any(|c| c.is_whitespace() || c.is_control()), "must be one word"),
];

fn validate(new: &Value, _old: Option<&Value>) -> Vec<Problem> {
    let spec = &new["spec"];
    let mut problems = Vec::new();
    for (pointer, is_right, why) in CHECKS {
        let text = at(spec, pointer);
        if !text.is_empty() && !is_right(text) {
            problems.push(Problem::invalid(format!("spec{}", pointer.replace('/', ".")), text, why));
        }
    }
    let mode = at(spec, "/bootMode");
    if !["", "once", "forever"].contains(&mode) {
        problems.push(Problem::not_supported("spec.bootMode", mode, &["forever", "once"]));
    }
    for (index, nic) in spec["nics"].as_array().into_iter().flatten().enumerate() {
        for (field, is_right, why) in [
            ("mac", is_mac as fn(&str) -> bool, "must be six bytes in hexadecimal, such as 02:00:00:00:00:07"),
            ("ip", |text| text.parse::<IpAddr>().is_ok(), "must be an IP address"),
        ] {
            let text = nic[field].as_str().unwrap_or_default();
            if !text.is_empty() && !is_right(text) {
                problems.push(Problem::invalid(format!("spec.nics[{index}].{field}"), text, why));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::unknown_fields;

    #[test]
    fn what_is_no_address_is_refused_with_its_field_and_never_with_the_password() {
        let spec = json!({
            "bmc": {"address": "198.51.100.7/x?y", "username": "ADMIN", "password": "hunter2", "mac": "zz"},
            "bootMACAddress": "02:00:00:00:00", "bootMode": "often", "ip": "here", "image": "a b",
            "nics": [{"mac": "02:00:00:00:00:07"}, {"mac": "x", "ip": "y"}],
        });
        let problems = validate(&json!({"spec": spec}), None);
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "spec.bootMACAddress",
                "spec.bmc.mac",
                "spec.bmc.address",
                "spec.ip",
                "spec.image",
                "spec.bootMode",
                "spec.nics[1].mac",
                "spec.nics[1].ip"
            ]
        );
        assert!(problems.iter().all(|problem| !problem.to_string().contains("hunter2")));
        let good = json!({"bmc": {"address": "bmc.g10.lo"}, "bootMACAddress": "02-00-00-00-00-07", "ip": "fd00::7"});
        assert!(validate(&json!({"spec": good}), None).is_empty());
    }

    #[test]
    fn the_host_of_the_go_controller_is_known_whole() {
        let host = json!({"kind": "BareMetalHost", "apiVersion": "vkube.io/v1alpha1",
            "metadata": {"name": "node7", "namespace": "g11", "creationTimestamp": "2026-02-25T10:00:00Z"},
            "spec": {"bmc": {"address": "198.51.100.7", "username": "ADMIN", "password": "ADMIN"},
                "bootMACAddress": "02:00:00:00:00:07", "online": true, "image": "localboot"},
            "status": {"phase": "Ready", "poweredOn": true, "ip": "198.51.100.7", "bootCount": 4,
                "hardware": {"manufacturer": "x", "cpuCount": 8}}});
        let known = typed::<BareMetalHost>(&host).expect("a host");
        assert_eq!(unknown_fields(&host, &known), Vec::<String>::new());
        let wrong = typed::<BareMetalHost>(&json!({"spec": {"online": "yes"}})).map(drop);
        assert!(wrong.is_err_and(|why| why.contains("spec.online")));
    }
}
