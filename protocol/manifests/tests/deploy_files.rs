//! The files under `deploy/` are what owners start from: each loads, each says the same as the others, and nothing in them
//! is without effect unless it is there to show that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use mkube_manifests::{parse_documents, parse_one, to_yaml};
use mkube_model::kinds::{KindTable, unknown_fields};
use mkube_model::settings::{NetworkSettings, Overrides, Settings, StoreKind, Warning, check, check_registry};
use mkube_model::{command_line, metadata, names};
use serde_json::Value;

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");
const CONFIGS: [&str; 2] = ["config.yaml", "rose1-config.yaml"];
const SITE: [&str; 2] = ["boot-order.yaml", "site-pods"];
/// The image of the examples, in the registry of `mkube dev`.
const HELLO: &str = "127.0.0.1:5000/hello:latest";

fn text(file: &str) -> String {
    let path = Path::new(DEPLOY).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn load(value: Value) -> (Settings, Vec<Warning>) {
    let env = |name: &str| (name == "MKUBE_PASSWORD").then(|| "hunter2".to_owned());
    check(value, &env, Overrides::none()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn config(file: &str) -> (Settings, Vec<Warning>) {
    load(parse_one(&text(file)).unwrap_or_else(|fault| panic!("{file}: {fault}")))
}

/// Every YAML file at or below a path, in the order of their names.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(path).expect("deploy is there").map(|entry| entry.expect("readable").path()).collect();
    found.sort();
    found.iter().flat_map(|path| files(path)).filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect()
}

/// An object of a manifest, with the defaults of its kind.
struct Object {
    file: String,
    value: Value,
}

impl Object {
    fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    fn place(&self) -> String {
        format!("{} {}/{}", self.kind(), metadata::namespace(&self.value), metadata::name(&self.value))
    }

    fn containers(&self) -> &[Value] {
        self.value["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    fn words(container: &Value) -> Vec<String> {
        ["command", "args"]
            .iter()
            .flat_map(|field| container[field].as_array().into_iter().flatten())
            .map(|word| word.as_str().expect("words are text").to_owned())
            .collect()
    }
}

fn objects(under: &[&str]) -> Vec<Object> {
    let kinds = KindTable::builtin();
    let mut found = Vec::new();
    for path in under.iter().flat_map(|path| files(&Path::new(DEPLOY).join(path))) {
        let file = path.strip_prefix(DEPLOY).expect("below deploy").display().to_string();
        let documents = parse_documents(&text(&file)).unwrap_or_else(|fault| panic!("{file}: {fault}"));
        assert!(!documents.is_empty(), "{file} is empty");
        for mut value in documents {
            let (version, kind) = (value["apiVersion"].clone(), value["kind"].clone());
            let kind = kinds
                .by_kind(version.as_str().unwrap_or_default(), kind.as_str().unwrap_or_default())
                .unwrap_or_else(|| panic!("{file}: {version} {kind} is no kind of mkube"));
            (kind.default)(&mut value);
            found.push(Object { file: file.clone(), value });
        }
    }
    found
}

fn pods(under: &[&str]) -> Vec<Object> {
    objects(under).into_iter().filter(|object| object.kind() == "Pod").collect()
}

fn network_of<'s>(settings: &'s Settings, pod: &Object) -> &'s NetworkSettings {
    let name =
        metadata::annotation(&pod.value, "vkube.io/network").unwrap_or_else(|| panic!("{}: no network", pod.file));
    let found = settings.networks.iter().find(|network| network.name == name);
    found.unwrap_or_else(|| panic!("{}: {name} is not a network of config.yaml", pod.file))
}

#[test]
fn each_config_loads_and_warns_only_of_the_keys_it_keeps_for_show() {
    let warned = |file| -> Vec<String> { config(file).1.into_iter().map(|warning| warning.key).collect() };
    assert_eq!(warned("config.yaml"), [""; 0]);
    assert_eq!(warned("rose1-config.yaml"), ["routeros.address", "networks[0].vlan", "registry.enabled"]);
}

#[test]
fn both_configs_describe_the_same_four_networks() {
    let [one, other] = CONFIGS.map(|file| config(file).0);
    let names: Vec<&str> = one.networks.iter().map(|network| network.name.as_str()).collect();
    assert_eq!(names, ["gt", "g10", "g11", "gw"]);
    for (one, other) in one.networks.iter().zip(&other.networks) {
        let facts = |network: &NetworkSettings| {
            let NetworkSettings { name, cidr, gateway, bridge, ipam_start, ipam_end, external_dns, .. } =
                network.clone();
            let dns = (network.dns.zone.clone(), network.dns.server, network.dns.endpoint.clone());
            (name, cidr, gateway, bridge, (ipam_start, ipam_end), external_dns, dns, network.dhcp.clone())
        };
        assert_eq!(facts(one), facts(other));
    }
    assert_eq!(one.networks.len(), other.networks.len());
    assert_eq!((one.storage, one.registry), (other.storage, other.registry));
}

#[test]
fn what_check_config_prints_of_each_config_loads_to_the_same_settings_without_the_password() {
    for file in CONFIGS {
        let (settings, _) = config(file);
        assert_eq!(settings.routeros.password.expose(), "hunter2");
        let printed = to_yaml(&serde_json::to_value(&settings).expect("settings are JSON"));
        assert!(!printed.contains("hunter2") && printed.contains("password: \"***\""), "{printed}");
        let (again, warnings) = load(parse_one(&printed).unwrap_or_else(|fault| panic!("{fault}\n{printed}")));
        assert_eq!(again, settings, "{file}");
        assert_eq!(warnings, [], "{file}: nothing without effect is printed");
    }
}

#[test]
fn config_yaml_shows_every_key_that_settings_have() {
    let (everything, _) = config("config.yaml");
    let shown = paths(&parse_one(&text("config.yaml")).expect("loads above"));
    let missing: Vec<String> = paths(&serde_json::to_value(&everything).expect("JSON"))
        .into_iter()
        .filter(|key| !shown.contains(key))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn registry_config_yaml_loads_without_a_warning_and_shows_every_key() {
    let file = parse_one(&text("registry-config.yaml")).expect("YAML");
    let checked = check_registry(file.clone(), &|_| None, Overrides::none());
    let (settings, warnings) = checked.unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(warnings, []);
    let shown = paths(&file);
    let all = paths(&serde_json::to_value(&settings).expect("JSON"));
    assert_eq!(all.difference(&shown).collect::<Vec<_>>(), [""; 0], "the file shows every key");
    let chapter = std::fs::read_to_string(Path::new(DEPLOY).join("../docs/registry.md")).expect("the page");
    for key in &shown {
        let (section, last) = key.rsplit_once('.').unwrap_or(("", key));
        let told = [key.clone(), format!("{section}.{last}"), format!(".{last}")];
        let is_block =
            shown.iter().any(|other| other.starts_with(&format!("{key}.")) || other.starts_with(&format!("{key}[]")));
        assert!(is_block || told.iter().any(|name| chapter.contains(&format!("`{name}`"))), "{key} is not on the page");
    }
}

/// Paths of all keys, `networks[].dns.zone`.
fn paths(value: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(value, &path, found);
                    found.insert(path);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, &format!("{path}[]"), found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    walk(value, "", &mut found);
    found
}

#[test]
fn the_files_that_must_outlive_the_container_lie_on_its_mounts() {
    for file in CONFIGS {
        let (settings, _) = config(file);
        assert_eq!(settings.store.kind, StoreKind::Embedded, "{file}: the kind that serve has");
        for path in [&settings.store.path, &settings.storage.tarball_cache] {
            let kept = settings.storage.persistent_mounts.iter().any(|mount| path.starts_with(&mount.container_path));
            assert!(kept, "{file}: {} is lost with the container", path.display());
        }
    }
}

#[test]
fn every_manifest_is_admitted_without_a_problem_or_a_warning() {
    let kinds = KindTable::builtin();
    let mut seen = BTreeMap::new();
    for object in objects(&["boot-order.yaml", "site-pods", "examples"]) {
        let (place, value) = (object.place(), &object.value);
        let kind = kinds.named(object.kind()).expect("found before");
        let known = (kind.typed)(value).unwrap_or_else(|why| panic!("{}: {place}: {why}", object.file));
        assert_eq!(unknown_fields(value, &known), [""; 0], "{}: {place}", object.file);
        assert_eq!((kind.validate)(value, None), [], "{}: {place}", object.file);
        assert_eq!((kind.warnings)(value), [""; 0], "{}: {place}", object.file);
        assert_eq!(metadata::subdomain_problem(metadata::name(value)), None, "{}: {place}", object.file);
        assert_eq!(metadata::namespace(value).is_empty(), !kind.namespaced, "{}: {place}", object.file);
        for key in value.pointer("/metadata/annotations").and_then(Value::as_object).into_iter().flatten() {
            assert_eq!(metadata::key_problem(key.0), None, "{}: {place}", object.file);
            assert!(key.1.is_string(), "{}: {place}: {} is not text", object.file, key.0);
        }
        if let Some(other) = seen.insert(place.clone(), object.file.clone()) {
            panic!("{place} is in {other} and in {}", object.file);
        }
    }
    assert!(seen.len() >= 20, "only {} objects were found", seen.len());
}

#[test]
fn every_command_reaches_the_container_word_by_word() {
    let mut commands = 0;
    for pod in pods(&["boot-order.yaml", "site-pods", "examples"]) {
        for container in pod.containers() {
            let words = Object::words(container);
            assert!(!words.is_empty(), "{}: a container relies on its image's command", pod.file);
            let line = command_line::join(&words).unwrap_or_else(|why| panic!("{}: {why}", pod.file));
            assert_eq!(command_line::split(&line), words, "{}", pod.file);
            commands += 1;
        }
    }
    assert!(commands >= 12, "only {commands} commands were found");
}

#[test]
fn every_config_map_a_pod_names_comes_with_it_and_has_the_keys() {
    let all = objects(&["boot-order.yaml", "site-pods", "examples"]);
    let mut references = 0;
    for pod in all.iter().filter(|object| object.kind() == "Pod") {
        let mut wanted: Vec<(String, Option<String>)> = Vec::new();
        for volume in pod.value["spec"]["volumes"].as_array().into_iter().flatten() {
            let Some(map) = volume["configMap"]["name"].as_str() else { continue };
            wanted.push((map.to_owned(), None));
            for item in volume["configMap"]["items"].as_array().into_iter().flatten() {
                wanted.push((map.to_owned(), item["key"].as_str().map(str::to_owned)));
            }
        }
        for variable in pod.containers().iter().flat_map(|container| container["env"].as_array().into_iter().flatten())
        {
            if let Some(map) = variable.pointer("/valueFrom/configMapKeyRef/name").and_then(Value::as_str) {
                let key = variable.pointer("/valueFrom/configMapKeyRef/key").and_then(Value::as_str);
                wanted.push((map.to_owned(), key.map(str::to_owned)));
            }
        }
        for (map, key) in wanted {
            references += 1;
            let found = all.iter().find(|object| {
                object.kind() == "ConfigMap"
                    && object.file == pod.file
                    && metadata::name(&object.value) == map
                    && metadata::namespace(&object.value) == metadata::namespace(&pod.value)
            });
            let found = found.unwrap_or_else(|| panic!("{}: {}: no ConfigMap {map}", pod.file, pod.place()));
            if let Some(key) = key {
                assert!(found.value["data"][&key].is_string(), "{}: {map} has no key {key}", pod.file);
            }
        }
    }
    assert!(references >= 8, "only {references} references were found");
}

#[test]
fn the_pods_of_the_site_fit_its_networks() {
    let (settings, _) = config("config.yaml");
    let mut addresses: BTreeMap<Ipv4Addr, String> = BTreeMap::new();
    let mut networks = BTreeSet::new();
    for pod in pods(&SITE) {
        let network = network_of(&settings, &pod);
        networks.insert(network.name.clone());
        for container in pod.containers() {
            let image = container["image"].as_str().unwrap_or_default();
            let host = image.split('/').next().unwrap_or_default();
            assert_eq!(host, settings.registry.local_addresses[0], "{}: {image}", pod.file);
        }
        let Some(address) = metadata::annotation(&pod.value, "vkube.io/static-ip") else { continue };
        let address: Ipv4Addr = address.parse().expect("validated");
        assert!(network.cidr.contains(&address), "{}: {address} is not in {}", pod.file, network.name);
        assert_ne!(address, network.gateway, "{}", pod.file);
        assert_eq!(pod.containers().len(), 1, "{}: two containers cannot share {address}", pod.file);
        if Some(address.into()) != network.dns.server {
            let handed_out = network.ipam_start <= address && address <= network.ipam_end;
            assert!(
                !handed_out || network.to_network().reserved.iter().any(|(other, _)| *other == address),
                "{address}"
            );
        }
        if let Some(other) = addresses.insert(address, pod.place()) {
            panic!("{address} is asked for by {other} and by {}", pod.place());
        }
    }
    assert_eq!(networks.into_iter().collect::<Vec<_>>(), ["g10", "g11", "gt", "gw"]);
}

#[test]
fn the_namespaces_of_the_site_come_before_its_pods() {
    let mut there: BTreeSet<String> = BTreeSet::new();
    for object in objects(&["site-pods"]) {
        if object.kind() == "Namespace" {
            there.insert(metadata::name(&object.value).to_owned());
        } else {
            assert!(there.contains(metadata::namespace(&object.value)), "{}: {}", object.file, object.place());
        }
    }
}

#[test]
fn the_boot_manifest_lays_down_what_the_go_controller_did() {
    let order: Vec<(String, String, String, String)> = pods(&["boot-order.yaml"])
        .iter()
        .map(|pod| {
            let annotation = |key: &str| metadata::annotation(&pod.value, key).unwrap_or_default().to_owned();
            assert_eq!(annotation("vkube.io/image-policy"), "auto");
            assert_eq!(pod.value["spec"]["restartPolicy"], "Always");
            let (namespace, name) = (metadata::namespace(&pod.value), metadata::name(&pod.value));
            let container = pod.containers()[0]["name"].as_str().unwrap_or_default();
            (
                names::container_name(namespace, name, container),
                names::veth_name(namespace, name, 0),
                annotation("vkube.io/static-ip"),
                annotation("vkube.io/boot-priority"),
            )
        })
        .collect();
    let expected = [
        ("infra_nats_nats", "veth_infra_nats_0", "192.168.200.10", "5"),
        ("g10_dns_microdns", "veth_g10_dns_0", "192.168.10.252", "11"),
        ("g11_dns_microdns", "veth_g11_dns_0", "192.168.11.252", "12"),
        ("gt_dns_microdns", "veth_gt_dns_0", "192.168.200.199", "13"),
    ];
    assert_eq!(order, expected.map(|(a, b, c, d)| (a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned())));

    let nats = &pods(&["boot-order.yaml"])[0];
    let line = command_line::join(&Object::words(&nats.containers()[0])).expect("expressible");
    assert_eq!(line, "nats-server -js --store_dir /data --addr 0.0.0.0 -m 8222");
}

#[test]
fn data_volumes_of_the_boot_manifest_are_left_undeclared_so_that_they_stay_where_they_are() {
    for pod in pods(&["boot-order.yaml"]) {
        let mounts = pod.containers()[0]["volumeMounts"].as_array().expect("each has mounts");
        assert!(mounts.iter().any(|mount| mount["name"] == "data" && mount["mountPath"] == "/data"), "{}", pod.place());
        let declared = pod.value["spec"]["volumes"].as_array().into_iter().flatten();
        assert!(declared.into_iter().all(|volume| volume["name"] != "data"), "{}", pod.place());
    }
}

#[test]
fn the_name_servers_of_the_boot_manifest_agree_with_config_yaml() {
    let (settings, _) = config("config.yaml");
    let objects = objects(&["boot-order.yaml"]);
    for pod in objects.iter().filter(|object| metadata::name(&object.value) == "dns") {
        let network = network_of(&settings, pod);
        let server = network.dns.server.expect("each has one").to_string();
        assert_eq!(metadata::annotation(&pod.value, "vkube.io/static-ip"), Some(server.as_str()));
        assert_eq!(network.dns.endpoint, format!("http://{server}:8080"));

        let toml = objects
            .iter()
            .filter(|object| object.kind() == "ConfigMap")
            .find(|object| metadata::namespace(&object.value) == network.name)
            .and_then(|object| object.value["data"]["microdns.toml"].as_str())
            .unwrap_or_else(|| panic!("no microdns.toml in {}", network.name));
        let mut lines = vec![
            format!("id = \"microdns-{}\"", network.name),
            format!("zones = [\"{}\"]", network.dns.zone),
            "path = \"/data/microdns.redb\"".to_owned(),
        ];
        for other in settings.networks.iter().filter(|other| other.name != network.name) {
            lines.push(format!("\"{}\" = [\"{}:53\"]", other.dns.zone, other.dns.server.expect("each has one")));
        }
        let dhcp = &network.dhcp;
        assert_eq!(toml.contains("[dhcp.v4]"), dhcp.enabled, "{}", network.name);
        if dhcp.enabled {
            lines.push(format!("server_ip = \"{server}\""));
            lines.push(format!("range_start = \"{}\"", dhcp.range_start.expect("checked")));
            lines.push(format!("range_end = \"{}\"", dhcp.range_end.expect("checked")));
            lines.push(format!("subnet = \"{}\"", network.cidr));
            lines.push(format!("gateway = \"{}\"", network.gateway));
            lines.push(format!("lease_time_secs = {}", dhcp.lease_time.as_secs()));
        }
        if !dhcp.next_server.is_empty() {
            lines.push(format!("next_server = \"{}\"", dhcp.next_server));
            lines.push(format!("boot_file = \"{}\"", dhcp.boot_file));
            lines.push(format!("boot_file_efi = \"{}\"", dhcp.boot_file_efi));
        }
        for reservation in &dhcp.reservations {
            lines.push(format!("mac = \"{}\"", reservation.mac));
            lines.push(format!("ip = \"{}\"", reservation.ip));
            lines.push(format!("hostname = \"{}\"", reservation.hostname));
        }
        for line in lines {
            assert!(toml.lines().any(|one| one.trim() == line), "{}: {line} is missing in\n{toml}", network.name);
        }
    }
}

#[test]
fn the_hello_example_is_one_pod_and_its_page() {
    let found = objects(&["examples/hello.yaml"]);
    let places: Vec<String> = found.iter().map(Object::place).collect();
    assert_eq!(places, ["ConfigMap default/hello", "Pod default/hello"]);
    assert!(found[0].value["data"]["index.html"].is_string());
    let container = &found[1].containers()[0];
    assert_eq!(container["image"], HELLO);
    assert_eq!(Object::words(container), ["busybox", "httpd", "-f", "-v", "-p", "80", "-h", "/www"]);
    assert_eq!(container["ports"][0]["containerPort"], 80);
}

#[test]
fn the_examples_need_no_network_and_no_image_but_those_of_dev() {
    let found = pods(&["examples"]);
    assert_eq!(found.len(), 2);
    for pod in found {
        assert_eq!(metadata::annotation(&pod.value, "vkube.io/network"), None, "{}", pod.file);
        assert!(pod.containers().iter().all(|container| container["image"] == HELLO), "{}", pod.file);
        assert_eq!(pod.value["spec"]["restartPolicy"], "Always", "{}", pod.file);
        let containers = if pod.file.ends_with("two-containers.yaml") { 2 } else { 1 };
        assert_eq!(pod.containers().len(), containers, "{}", pod.file);
    }
}

#[test]
fn the_examples_of_jobs_run_the_image_of_dev() {
    for (file, template) in
        [("job.yaml", "/spec/template/spec"), ("cronjob.yaml", "/spec/jobTemplate/spec/template/spec")]
    {
        let found = objects(&[&format!("examples/{file}")]);
        assert_eq!(found.len(), 1, "{file}");
        let pod = found[0].value.pointer(template).unwrap_or_else(|| panic!("{file} has no template"));
        assert_eq!(pod["containers"][0]["image"], HELLO, "{file}");
        assert!(!Object::words(&pod["containers"][0]).is_empty(), "{file}");
    }
}
