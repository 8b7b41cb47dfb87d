//! Network: a bridge of the device, and the addresses and names of what is on it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::metadata;
use crate::network::Network;
use crate::problem::Problem;
use crate::settings::{NetworkSettings, SettingsProblem, network_among, read_network_spec};

use super::{AGE, Home, Kind, KindId, NAME, at, column, no_default, schema_of, typed};

/// The key of the kind.
pub const NETWORKS: KindId = KindId { group: "vkube.io", plural: "networks" };

/// On a Network that stands in the configuration file: where. Only the file changes it.
pub const CONFIGURED_IN: &str = "vkube.io/configured-in";

pub(super) const NETWORK: Kind = Kind {
    group: NETWORKS.group,
    version: "v1alpha1",
    kind: "Network",
    plural: NETWORKS.plural,
    singular: "network",
    short_names: &["net"],
    categories: &[],
    namespaced: false,
    bucket: "NETWORKS",
    // Bridge and gateway address go first.
    graceful: true,
    read_only: false,
    has_status: true,
    subresources: &[],
    columns: &[
        NAME,
        column("CIDR", "string", 0, |object, _| at(object, "/spec/cidr").into()),
        column("Gateway", "string", 0, |object, _| of_settings(object, |network| network.gateway.to_string())),
        column("Bridge", "string", 0, |object, _| at(object, "/spec/bridge").into()),
        column("Zone", "string", 0, |object, _| at(object, "/spec/dns/zone").into()),
        column("Ready", "string", 0, ready),
        AGE,
        column("Range", "string", 1, |object, _| {
            of_settings(object, |network| format!("{}-{}", network.ipam_start, network.ipam_end))
        }),
        column("Managed", "boolean", 1, |object, _| json!(object.pointer("/spec/managed") == Some(&json!(true)))),
        column("Configured-In", "string", 1, |object, _| configured_in(object).unwrap_or_default().into()),
    ],
    selectable: &["spec.bridge"],
    dotted_names: false,
    default: no_default,
    home: Home::Annotation,
    validate,
    among,
    typed: typed::<NetworkObject>,
    schema: schema_of::<NetworkObject>,
    warnings,
    protobuf: &[],
};

/// A bridge of the device, and the addresses and names of what is on it. Networks of the configuration file are shown as
/// objects too, and only the file changes them.
// What is in the fields is read by the rules of the configuration file.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "io.vkube.v1alpha1.Network", extend("required" = ["spec"]))]
struct NetworkObject {
    /// `vkube.io/v1alpha1`.
    api_version: Option<String>,
    /// `Network`.
    kind: Option<String>,
    /// Standard object metadata.
    #[serde(default)]
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    /// What the network is to be.
    #[serde(default)]
    spec: Spec,
    /// What was found of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Status")]
    status: Option<Found>,
}

/// What a network is to be.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, extend("required" = ["bridge", "cidr"]))]
struct Spec {
    /// The subnet, such as `10.8.0.0/24`. Networks do not overlap.
    cidr: Option<String>,
    /// The router's address in it; the first address when it is not said.
    gateway: Option<String>,
    /// The bridge on the device.
    bridge: Option<String>,
    /// Whether bridge and gateway address are made and removed with the network; they are there already otherwise.
    managed: Option<bool>,
    /// The first address pods may get.
    ipam_start: Option<String>,
    /// The last address pods may get.
    ipam_end: Option<String>,
    /// The network's names are kept by somebody else; mkube writes none.
    #[serde(rename = "externalDNS")]
    external_dns: Option<bool>,
    /// Names of what is in it.
    dns: Option<Dns>,
    /// Addresses given to machines that are no pods.
    dhcp: Option<Dhcp>,
}

/// Names of what is in a network.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
struct Dns {
    /// The zone, such as `g8.lo`.
    zone: Option<String>,
    /// Address of the name server.
    server: Option<String>,
    /// Addresses of further name servers with the same zone.
    more_servers: Option<Vec<String>>,
    /// URL of the name server's REST interface.
    endpoint: Option<String>,
    /// Names that stay.
    static_records: Option<Vec<Record>>,
}

/// A name that stays.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(inline)]
struct Record {
    /// The name, within the zone.
    name: Option<String>,
    /// Its address.
    ip: Option<String>,
}

/// Addresses given to machines that are no pods.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
struct Dhcp {
    /// Whether addresses are given out.
    enabled: Option<bool>,
    /// The first address to give out.
    range_start: Option<String>,
    /// The last address to give out.
    range_end: Option<String>,
    /// How long an address is given for: seconds, or text with a unit.
    #[schemars(with = "Option<IntOrString>")]
    lease_time: Option<Value>,
    /// Server that machines boot from.
    next_server: Option<String>,
    /// File that machines boot.
    boot_file: Option<String>,
    /// File that machines with EFI boot.
    boot_file_efi: Option<String>,
    /// The network whose DHCP server answers for this one.
    server_network: Option<String>,
    /// Addresses kept for machines.
    reservations: Option<Vec<Machine>>,
}

/// An address kept for a machine.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(inline)]
struct Machine {
    /// The machine's hardware address.
    mac: Option<String>,
    /// The address it gets.
    ip: Option<String>,
    /// What it is called.
    hostname: Option<String>,
}

/// What was found of a network, as it was written.
#[derive(Serialize, Deserialize)]
struct Found {
    #[serde(skip_serializing_if = "Option::is_none")]
    conditions: Option<Vec<Map<String, Value>>>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// What it looks like.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "only its schema is used")]
struct Status {
    /// `Ready`: bridge and address are there, and names and addresses are given out as they are to be.
    conditions: Option<Vec<Condition>>,
}

/// One thing that was found out.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "only its schema is used")]
struct Condition {
    /// What it speaks of.
    r#type: String,
    /// `True`, `False` or `Unknown`.
    status: String,
    /// Why, in one word.
    reason: Option<String>,
    /// Why, for people.
    message: Option<String>,
}

/// The file a Network stands in, if it stands in one.
pub fn configured_in(object: &Value) -> Option<&str> {
    metadata::annotation(object, CONFIGURED_IN)
}

/// The network an object is, or what is wrong with it.
pub fn network_of(object: &Value) -> Result<Network, Vec<Problem>> {
    let settings = settings_of(object)?;
    Ok(Network { from_config: configured_in(object).is_some(), ..settings.to_network() })
}

/// The object that shows a network of the configuration file.
pub fn network_object(network: &Network, file: &str) -> Value {
    without_nulls(json!({
        "apiVersion": NETWORK.api_version(), "kind": NETWORK.kind,
        "metadata": {"name": network.name, "annotations": {CONFIGURED_IN: file}},
        "spec": {
            "cidr": network.cidr.to_string(), "gateway": network.gateway, "bridge": network.bridge,
            "managed": network.managed, "ipamStart": network.first, "ipamEnd": network.last,
            "externalDNS": network.external_dns, "dns": network.names, "dhcp": network.dhcp,
        },
    }))
}

/// As it is stored: what is not said is not there.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let said = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(said.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// What keeps networks from being there together with `network`, in the words of an object's fields.
pub fn network_clashes(network: &Network, other: &Network) -> Vec<String> {
    let (one, other) = (NetworkSettings::of(network), NetworkSettings::of(other));
    let relayed = NetworkSettings { dhcp: Default::default(), ..one };
    network_among(&relayed, std::iter::once(&other)).iter().map(ToString::to_string).collect()
}

/// Who keeps a network from being deleted: pods that are to be in it, and networks whose DHCP server is in it. All texts are
/// those of the objects; pods that name no network are in the first one of the configuration file, which is never deleted.
pub fn network_holders<'a>(
    name: &str,
    pods: impl Iterator<Item = &'a str>,
    networks: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let quoted = format!("\"{name}\"");
    let read = |text: &'a str| serde_json::from_str::<Value>(text).ok().filter(|_| text.contains(&quoted));
    let pods = pods.filter_map(read).filter(|pod| in_network(pod) == Some(name));
    let mut holders: Vec<String> =
        pods.map(|pod| format!("pod {}/{}", metadata::namespace(&pod), metadata::name(&pod))).collect();
    let relays = |network: &Value| at(network, "/spec/dhcp/serverNetwork") == name && metadata::name(network) != name;
    let networks = networks.filter_map(read).filter(relays);
    holders.extend(networks.map(|network| format!("network {} (spec.dhcp.serverNetwork)", metadata::name(&network))));
    holders
}

/// The network a pod names.
fn in_network(pod: &Value) -> Option<&str> {
    metadata::annotation(pod, "vkube.io/network")
}

fn settings_of(object: &Value) -> Result<NetworkSettings, Vec<Problem>> {
    let empty = json!({});
    let spec = object.get("spec").filter(|spec| !spec.is_null()).unwrap_or(&empty);
    let read = read_network_spec(metadata::name(object), spec);
    read.map(|(settings, _)| settings).map_err(|problems| in_words_of(object, problems))
}

/// Problems of settings as problems of the object's fields.
fn in_words_of(object: &Value, problems: Vec<SettingsProblem>) -> Vec<Problem> {
    let told = problems.into_iter().map(|SettingsProblem { key, text }| {
        let pointer = format!("/{}", key.replace('[', "/").replace(']', "").replace('.', "/"));
        match object.pointer(&pointer).filter(|value| !value.is_null()) {
            Some(value) => Problem::invalid(key, value.clone(), text),
            None => Problem::required_because(key, text),
        }
    });
    told.collect()
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<Problem> {
    let mut problems = match settings_of(new) {
        Ok(_) => Vec::new(),
        Err(problems) => problems,
    };
    // Addresses that are given out do not move by themselves.
    if let Some(old) = old
        && metadata::is_deleting(old)
        && new.get("spec") != old.get("spec")
    {
        problems.push(Problem::forbidden("spec", "the network is being deleted"));
    }
    problems
}

fn among(new: &Value, _old: Option<&Value>, others: &mut dyn Iterator<Item = &str>) -> Vec<Problem> {
    let Ok(settings) = settings_of(new) else { return Vec::new() };
    let others = others.filter_map(|text| serde_json::from_str::<Value>(text).ok());
    let others = others.filter(|other| metadata::name(other) != settings.name);
    let others: Vec<NetworkSettings> = others.filter_map(|other| settings_of(&other).ok()).collect();
    in_words_of(new, network_among(&settings, others.iter()))
}

fn warnings(object: &Value) -> Vec<String> {
    let empty = json!({});
    let read = read_network_spec(metadata::name(object), object.get("spec").unwrap_or(&empty));
    read.map(|(_, warnings)| warnings.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

fn of_settings(object: &Value, cell: impl Fn(&NetworkSettings) -> String) -> Value {
    settings_of(object).map(|settings| cell(&settings)).unwrap_or_default().into()
}

fn ready(object: &Value, _now: Timestamp) -> Value {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().find(|one| one["type"] == "Ready");
    ready.map_or("Unknown", |one| one["status"].as_str().unwrap_or("Unknown")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str, spec: Value) -> Value {
        json!({"apiVersion": "vkube.io/v1alpha1", "kind": "Network", "metadata": {"name": name}, "spec": spec})
    }

    fn plain(name: &str, cidr: &str) -> Value {
        network(name, json!({"cidr": cidr, "bridge": format!("bridge-{name}")}))
    }

    fn fields(problems: &[Problem]) -> Vec<&str> {
        problems.iter().map(|problem| problem.field.as_str()).collect()
    }

    #[test]
    fn what_is_left_out_is_filled_in_as_in_the_file() {
        let found = network_of(&plain("g8", "10.8.0.0/24")).expect("a network");
        assert_eq!((found.gateway.to_string(), found.first.to_string()), ("10.8.0.1".into(), "10.8.0.2".into()));
        assert_eq!((found.last.to_string(), found.managed, found.from_config), ("10.8.0.254".into(), false, false));
    }

    #[test]
    fn the_rules_of_the_file_hold_and_name_the_fields_of_the_object() {
        for (spec, field) in [
            (json!({"cidr": "10.8.0.0/24"}), "spec.bridge"),
            (json!({"bridge": "b"}), "spec.cidr"),
            (json!({"bridge": "b", "cidr": "10.8.0.0/33"}), "spec.cidr"),
            (json!({"bridge": "b", "cidr": "10.8.0.0/24", "gateway": "10.9.0.1"}), "spec.gateway"),
            (json!({"bridge": "b", "cidr": "10.8.0.0/24", "ipamStart": "10.9.0.1"}), "spec.ipamStart"),
            (json!({"bridge": "b", "cidr": "10.8.0.0/24", "ipamEnd": "10.8.0.255"}), "spec.ipamEnd"),
            (json!({"bridge": "b", "cidr": "10.8.0.0/24", "dns": {"zone": "no zone"}}), "spec.dns.zone"),
            (json!({"bridge": "b", "cidr": "10.8.0.0/24", "dhcp": {"enabled": true}}), "spec.dhcp.rangeStart"),
            (
                json!({"bridge": "b", "cidr": "10.8.0.0/24", "dns": {"staticRecords": [{"name": "a", "ip": "x"}]}}),
                "spec.dns.staticRecords[0].ip",
            ),
        ] {
            let problems = validate(&network("g8", spec.clone()), None);
            assert!(fields(&problems).contains(&field), "{spec}: {problems:?}");
        }
        assert_eq!(validate(&plain("g8", "10.8.0.0/24"), None), []);
    }

    #[test]
    fn subnets_that_overlap_and_zones_used_twice_are_refused() {
        let mut there = plain("g8", "10.8.0.0/16");
        there["spec"]["dns"] = json!({"zone": "g8.lo"});
        let text = there.to_string();
        let of = |new: &Value| among(new, None, &mut std::iter::once(text.as_str()));
        assert_eq!(fields(&of(&plain("g9", "10.8.3.0/24"))), ["spec.cidr"]);
        let mut same_zone = plain("g9", "10.9.0.0/24");
        same_zone["spec"]["dns"] = json!({"zone": "g8.lo"});
        assert_eq!(fields(&of(&same_zone)), ["spec.dns.zone"]);
        let mut relayed = plain("g9", "10.9.0.0/24");
        relayed["spec"]["dhcp"] = json!({"serverNetwork": "g7"});
        assert_eq!(fields(&of(&relayed)), ["spec.dhcp.serverNetwork"]);
        relayed["spec"]["dhcp"] = json!({"serverNetwork": "g8"});
        assert_eq!(of(&relayed), []);
        // Itself as it was is no other.
        assert_eq!(of(&there), []);
    }

    #[test]
    fn a_network_of_the_file_reads_back_from_its_object_as_it_was() {
        let mut object = plain("g8", "10.8.0.0/24");
        object["spec"]["dns"] = json!({
            "zone": "g8.lo", "server": "10.8.0.252", "endpoint": "http://10.8.0.252:8080",
            "staticRecords": [{"name": "nas", "ip": "10.8.0.9"}],
        });
        object["spec"]["dhcp"] = json!({
            "enabled": true, "rangeStart": "10.8.0.100", "rangeEnd": "10.8.0.199", "leaseTime": 600,
            "reservations": [{"mac": "aa:bb:cc:dd:ee:ff", "ip": "10.8.0.20", "hostname": "host"}],
        });
        let configured = Network { from_config: true, ..network_of(&object).expect("a network") };
        let shown = network_object(&configured, "config.yaml");
        assert_eq!(configured_in(&shown), Some("config.yaml"));
        let known = (NETWORK.typed)(&shown).expect("fields of the type");
        assert_eq!(super::super::unknown_fields(&shown, &known), Vec::<String>::new());
        assert_eq!(network_of(&shown), Ok(configured));
        let plain = network_of(&plain("g9", "10.9.0.0/24")).expect("a network");
        let mut stored = network_object(&plain, "config.yaml");
        let before = stored.clone();
        super::super::prune(&mut stored, &(NETWORK.typed)(&before).expect("fields of the type"));
        assert_eq!(stored, before, "it is stored as it is shown");
    }

    #[test]
    fn pods_and_relays_hold_a_network() {
        let pod = |name: &str, network: &str| {
            json!({"metadata": {"namespace": "d", "name": name, "annotations": {"vkube.io/network": network}}})
                .to_string()
        };
        let (inside, outside) = (pod("a", "g8"), pod("b", "g9"));
        let mut relayed = plain("g9", "10.9.0.0/24");
        relayed["spec"]["dhcp"] = json!({"serverNetwork": "g8"});
        let relayed = relayed.to_string();
        let holders =
            network_holders("g8", [inside.as_str(), outside.as_str()].into_iter(), std::iter::once(relayed.as_str()));
        assert_eq!(holders, ["pod d/a", "network g9 (spec.dhcp.serverNetwork)"]);
    }
}
