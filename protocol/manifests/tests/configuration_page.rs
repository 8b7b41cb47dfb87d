//! `docs/configuration.md` and the readers of the settings say the same, and a file of the Go controller loads.

use std::collections::{BTreeMap, BTreeSet};

use mkube_manifests::parse_one;
use mkube_model::settings::{ENVIRONMENT, Overrides, SettingsProblem, Warning, check};
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../../docs/configuration.md");
const CONFIG: &str = include_str!("../../../deploy/config.yaml");

/// Every key the Go controller knew in any of its versions, each with a value of its own type.
const EVERY_GO_KEY: &str = r#"
nodeName: edge1
standalone: true
kubeconfig: ""
backend: routeros
routeros:
  address: "192.168.200.1:8728"
  restUrl: "https://192.168.200.1/rest"
  user: admin
  password: secret
  useTLS: false
  caCert: /etc/mkube/device-ca.crt
  insecureVerify: true
  localFileRoot: /hostraid1
  localFileDevicePrefix: raid1
stormbase: {address: "", caCert: "", clientCert: "", clientKey: "", insecure: false}
networks:
  - name: gt
    bridge: bridge-gt
    cidr: 192.168.200.0/24
    gateway: 192.168.200.1
    vlan: 0
    type: data
    ipamStart: 192.168.200.20
    ipamEnd: 192.168.200.99
    externalDNS: false
    dns:
      endpoint: http://192.168.200.199:8080
      zone: gt.lo
      server: 192.168.200.199
      staticRecords: [{name: rose1, ip: 192.168.200.1}]
      dhcp:
        enabled: true
        rangeStart: 192.168.200.100
        rangeEnd: 192.168.200.150
        leaseTime: 0
        nextServer: 192.168.200.8
        bootFile: undionly.kpxe
        bootFileEfi: ipxe.efi
        serverNetwork: ""
        reservations: [{mac: "52:54:00:00:00:01", ip: 192.168.200.160, hostname: nas}]
storage:
  basePath: /raid1/images
  tarballCache: /raid1/cache
  selfRootDir: raid1/images/kube.gt.lo
  persistentMounts: [{containerPath: /data, hostPath: raid1/volumes/kube.gt.lo/data}]
  gcIntervalMinutes: 30
  gcKeepLastN: 5
  gcDryRun: false
  secretKeyPath: /etc/mkube/key
  iscsiPortalIP: 192.168.10.1
  stormblock: {enabled: false}
lifecycle: {bootManifestPath: /etc/mkube/boot-order.yaml, watchdogIntervalSeconds: 5, maxRestarts: 5, restartCooldown: 10}
registry:
  enabled: true
  listenAddr: ":5000"
  storePath: /raid1/registry
  tlsCertFile: /etc/registry/tls.crt
  tlsKeyFile: /etc/registry/tls.key
  tlsCACertFile: /etc/mkube/registry-ca.crt
  localAddresses: ["192.168.200.3:5000"]
  pullThrough: true
  upstreamRegistries: [https://192.168.200.9]
  notifyURL: http://192.168.200.2:8082
  watchImages: [{upstream: a, localRepo: b}]
  watchPollSeconds: 120
  upstreamSyncEnabled: false
  upstreamToken: token
  upstreamTokenFile: /etc/registry/token
dzo: {enabled: true, listenAddr: ":8082", statePath: /etc/mkube/dzo-state.yaml, microdnsImage: "192.168.200.3:5000/microdns:edge", defaultMode: open}
namespace: {statePath: /etc/mkube/namespace-state.yaml, defaultMode: nested}
logging: {enabled: true, url: "http://192.168.200.7:8080"}
nats: {url: "nats://192.168.200.10:4222", replicas: 1, embedded: false, storeDir: /data/nats, port: 4222}
bmh: {pxeManagerURL: "http://pxe.g10.lo:8080", dhcpLeaseURL: "http://dns.g11.lo:8080", watchInterval: 30}
proxmox: {url: "https://192.168.10.9:8006"}
cluster: {enabled: false, peers: [], failoverTimeout: 30}
console: {enabled: true, apiBase: "http://192.168.200.2:8082", cloudidURL: ""}
gitBackup: {enabled: false}
"#;

const GO_KEYS_WITHOUT_EFFECT: [&str; 27] = [
    "routeros.address",
    "routeros.localFileRoot",
    "routeros.localFileDevicePrefix",
    "networks[0].vlan",
    "networks[0].type",
    "storage.secretKeyPath",
    "storage.iscsiPortalIP",
    "storage.stormblock",
    "registry.enabled",
    "registry.listenAddr",
    "registry.storePath",
    "registry.tlsCertFile",
    "registry.tlsKeyFile",
    "registry.pullThrough",
    "registry.upstreamRegistries",
    "registry.notifyURL",
    "registry.watchImages",
    "registry.watchPollSeconds",
    "registry.upstreamSyncEnabled",
    "registry.upstreamToken",
    "registry.upstreamTokenFile",
    "nats.embedded",
    "nats.storeDir",
    "nats.port",
    "proxmox",
    "cluster",
    "console",
];

fn read(value: Value) -> Result<Vec<Warning>, Vec<SettingsProblem>> {
    check(value, &|_| None, Overrides::none()).map(|(_, warnings)| warnings)
}

#[test]
fn every_key_of_the_go_controller_has_its_effect_or_costs_one_warning_line() {
    let warnings = read(parse_one(EVERY_GO_KEY).expect("YAML")).expect("a file of the Go controller loads");
    let mut warned: Vec<&str> = warnings.iter().map(|warning| warning.key.as_str()).collect();
    let mut expected: Vec<&str> = GO_KEYS_WITHOUT_EFFECT.into_iter().chain(["gitBackup"]).collect();
    warned.sort_unstable();
    expected.sort_unstable();
    assert_eq!(warned, expected);
}

#[test]
fn every_key_of_the_older_network_block_is_taken() {
    let older = json!({"network": {"podCIDR": "10.1.0.0/24", "serviceCIDR": "10.2.0.0/24", "gatewayIP": "10.1.0.1",
                                   "bridgeName": "old", "vlan": 0, "dnsServers": ["10.1.0.2"]}});
    let warned: Vec<String> = read(older).expect("loads").into_iter().map(|warning| warning.key).collect();
    assert_eq!(warned, ["network.serviceCIDR", "network.vlan"]);
}

/// The keys a section knows, by asking it for one that no section has. Nothing where the path is no section.
fn known_at(path: &str) -> Option<Vec<String>> {
    const NOBODY: &str = "qqqqqq";
    let mut value = json!({NOBODY: 1});
    for part in path.split('.').rev().filter(|part| !part.is_empty()) {
        value = match part.strip_suffix("[]") {
            Some(list) => json!({list: [value]}),
            None => json!({part: value}),
        };
    }
    let problems = read(value).err()?;
    let said = problems.iter().find(|problem| problem.key.ends_with(NOBODY))?;
    let (_, list) = said.text.split_once("known here: ")?;
    Some(list.split(", ").map(str::to_owned).collect())
}

/// Every key any reader asks for, `networks[].dns.zone`.
fn known_keys() -> BTreeSet<String> {
    fn walk(path: &str, found: &mut BTreeSet<String>) {
        for key in known_at(path).unwrap_or_default() {
            let key = if path.is_empty() { key } else { format!("{path}.{key}") };
            walk(&key, found);
            walk(&format!("{key}[]"), found);
            found.insert(key);
        }
    }
    let mut found = BTreeSet::new();
    walk("", &mut found);
    // Read before the sections are.
    found.insert("network".to_owned());
    walk("network", &mut found);
    found
}

/// Keys that the page explains once, under the name they are better written with.
fn as_explained(key: &str) -> String {
    key.replace("networks[].dns.dhcp", "networks[].dhcp").replace("systemd", "lifecycle")
}

/// Rows of the page's tables whose first cell is one word in backticks: that word, and the other cells.
fn rows() -> Vec<(String, Vec<String>)> {
    PAGE.lines()
        .filter_map(|line| {
            let cells: Vec<String> =
                line.trim().strip_prefix('|')?.split('|').map(|cell| cell.trim().to_owned()).collect();
            let key = cells.first()?.strip_prefix('`')?.strip_suffix('`')?.to_owned();
            Some((key, cells.into_iter().skip(1).filter(|cell| !cell.is_empty()).collect()))
        })
        .collect()
}

#[test]
fn the_page_explains_every_key_and_no_other() {
    // Sections that only hold other keys have a heading, not a row.
    let keys = known_keys();
    let is_heading = |key: &String| {
        !key.contains('.')
            && keys.iter().any(|other| other.starts_with(&format!("{key}.")) || other.starts_with(&format!("{key}[]")))
    };
    let wanted: BTreeSet<String> =
        keys.iter().filter(|key| !is_heading(key) || key.as_str() == "network").map(|key| as_explained(key)).collect();
    assert!(wanted.len() > 100, "{wanted:?}");

    let rows = rows();
    let explained: Vec<&String> = rows.iter().map(|(key, _)| key).filter(|key| !key.starts_with("MKUBE_")).collect();
    let once: BTreeSet<String> = explained.iter().map(|key| (*key).clone()).collect();
    assert_eq!(wanted.difference(&once).collect::<Vec<_>>(), [""; 0], "not on the page");
    assert_eq!(once.difference(&wanted).collect::<Vec<_>>(), [""; 0], "on the page, but no reader knows it");
    assert_eq!(once.len(), explained.len(), "a key has two rows");
    let headings: Vec<&str> = PAGE.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    for section in keys.iter().filter(|key| is_heading(key)) {
        let has_heading = headings.iter().any(|heading| heading.split(' ').any(|word| word == section));
        assert!(has_heading || PAGE.contains(&format!("`{section}`")), "{section} has no heading");
    }
}

#[test]
fn the_page_lists_exactly_the_keys_without_effect() {
    let (_, section) = PAGE.split_once("## Keys without effect\n").expect("has the section");
    let listed: BTreeSet<String> =
        rows().into_iter().map(|(key, _)| key).filter(|key| section.contains(&format!("| `{key}` |"))).collect();
    let mut expected: BTreeSet<String> =
        GO_KEYS_WITHOUT_EFFECT.iter().map(|key| key.replace("networks[0]", "networks[]")).collect();
    expected.extend(["gitBackup", "network.serviceCIDR", "network.vlan"].map(str::to_owned));
    assert_eq!(listed, expected);
}

#[test]
fn the_page_lists_every_variable_with_its_key() {
    let listed: Vec<(String, String)> = rows()
        .into_iter()
        .filter(|(name, _)| name.starts_with("MKUBE_"))
        .map(|(name, cells)| (name, cells[0].trim_matches('`').to_owned()))
        .collect();
    assert_eq!(listed, ENVIRONMENT.map(|(name, key)| (name.to_owned(), key.to_owned())));
}

/// Keys of single values with the value they have when nothing is written; networks have none.
fn defaults() -> BTreeMap<String, String> {
    fn walk(value: &Value, path: &str, found: &mut BTreeMap<String, String>) {
        let text = match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    walk(value, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, found);
                }
                return;
            }
            Value::Null => "none".to_owned(),
            Value::Array(items) if items.is_empty() => "none".to_owned(),
            Value::Array(_) => return,
            Value::String(text) if text.is_empty() => "empty".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        found.insert(path.to_owned(), text);
    }
    let (settings, _) = check(Value::Null, &|_| None, Overrides::none()).expect("defaults are fine");
    let mut found = BTreeMap::new();
    walk(&serde_json::to_value(settings).expect("JSON"), "", &mut found);
    found
}

/// Defaults that depend on other keys are said in words.
const IN_WORDS: [&str; 3] = ["routeros.useTLS", "store.kind", "store.path"];

#[test]
fn the_page_names_the_default_of_every_key() {
    let rows: BTreeMap<String, Vec<String>> = rows().into_iter().collect();
    let mut compared = 0;
    for (key, default) in defaults().into_iter().filter(|(key, _)| !IN_WORDS.contains(&key.as_str())) {
        let cell = rows[&key][1].trim_matches('`');
        assert_eq!(cell, default, "default of {key}");
        compared += 1;
    }
    assert!(compared >= 40, "only {compared} defaults were compared");
}

#[test]
fn config_yaml_names_the_default_of_every_key() {
    // A section, and one in it.
    let mut sections = [String::new(), String::new()];
    let mut comment = String::new();
    let mut named = BTreeMap::new();
    for line in CONFIG.lines() {
        let indent = line.len() - line.trim_start().len();
        match (line.trim_start().strip_prefix('#'), line.trim_start().split_once(':')) {
            (Some(text), _) => comment.push_str(text),
            (None, Some((key, value))) if indent <= 4 && !key.starts_with('-') => {
                let above = &sections[..indent / 2];
                let path = above.iter().map(String::as_str).chain([key]).collect::<Vec<_>>().join(".");
                if indent < 4 && value.is_empty() {
                    sections[indent / 2] = key.to_owned();
                }
                if let Some((_, default)) = comment.rsplit_once("Default: ") {
                    named.insert(path, default.trim().to_owned());
                }
                comment.clear();
            }
            _ => comment.clear(),
        }
    }
    for (key, default) in defaults().into_iter().filter(|(key, _)| !IN_WORDS.contains(&key.as_str())) {
        let said = named.get(&key).unwrap_or_else(|| panic!("{key} has no comment with its default"));
        let said = said.split(" (").next().unwrap_or_default();
        assert_eq!(said, default, "default of {key}");
    }
}
