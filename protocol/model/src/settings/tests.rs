use std::time::Duration;

use serde_json::{Value, json};

use super::*;

fn nothing(_: &str) -> Option<String> {
    None
}

fn read(value: Value) -> Result<(Settings, Vec<Warning>), Vec<SettingsProblem>> {
    check(value, &nothing, Overrides::none())
}

fn keys(value: Value) -> Vec<String> {
    read(value).expect_err("has problems").into_iter().map(|problem| problem.key).collect()
}

#[test]
fn a_missing_file_gives_the_defaults_of_the_go_controller() {
    let (settings, warnings) = read(Value::Null).expect("defaults are fine");
    assert_eq!(warnings, vec![]);
    assert_eq!(settings.node_name, "mkube-node");
    assert_eq!(settings.routeros.rest_url, "https://192.168.200.1/rest");
    assert!(settings.routeros.insecure_verify);
    let network = settings.default_network();
    assert_eq!((network.name.as_str(), network.bridge.as_str()), ("containers", "containers"));
    assert_eq!(network.gateway.to_string(), "192.168.200.1");
    assert_eq!((network.dns.zone.as_str(), network.dns.server), ("gt.lo", "192.168.200.199".parse().ok()));
    assert_eq!(network.ipam_start.to_string(), "192.168.200.2");
    assert_eq!(network.ipam_end.to_string(), "192.168.200.254");
    assert_eq!(settings.api.listen.to_string(), "0.0.0.0:8082");
    assert_eq!(settings.store.kind, StoreKind::Embedded);
    assert_eq!(settings.store.path.to_str(), Some("/raid1/mkube/state.redb"));
    assert_eq!(settings.storage.gc_interval, Duration::from_secs(1800));
}

#[test]
fn every_problem_is_reported_at_once_with_its_key() {
    let found = keys(json!({
        "nodeNmae": "x",
        "backend": "docker",
        "routeros": {"restUrl": "ftp://x", "user": ["a"]},
        "networks": [
            {"name": "gt", "bridge": "b", "cidr": "10.0.0.0/24", "gateway": "10.0.1.1", "ipamStart": "10.0.0.9", "ipamEnd": "10.0.0.3"},
            {"name": "gt", "bridge": "", "cidr": "10.0.0.128/25", "dns": {"server": "dns", "staticRecords": [{"name": "a"}]}},
        ],
        "storage": {"gcKeepLastN": -1, "basePath": "raid1"},
        "store": {"kind": "nats"},
        "api": {"listen": "somewhere"},
    }));
    for key in [
        "nodeNmae",
        "backend",
        "routeros.restUrl",
        "routeros.user",
        "networks[0].gateway",
        "networks[1].name",
        "networks[1].bridge",
        "networks[1].cidr",
        "networks[1].dns.server",
        "networks[1].dns.staticRecords[0].ip",
        "storage.gcKeepLastN",
        "storage.basePath",
        "store.kind",
        "api.listen",
    ] {
        assert!(found.iter().any(|seen| seen == key), "{key} is missing in {found:?}");
    }
}

#[test]
fn a_range_that_ends_before_it_begins_is_a_problem() {
    let found = keys(json!({"networks": [
        {"name": "a", "bridge": "b", "cidr": "10.0.0.0/24", "ipamStart": "10.0.0.9", "ipamEnd": "10.0.0.3"}]}));
    assert_eq!(found, ["networks[0].ipamEnd"]);
}

#[test]
fn an_unknown_key_names_the_closest_known_one() {
    let problems = read(json!({"storage": {"tarballCash": "/x"}})).expect_err("unknown key");
    assert_eq!(problems[0].key, "storage.tarballCash");
    assert!(problems[0].text.contains("\"tarballCache\""), "{}", problems[0]);
}

#[test]
fn keys_without_effect_cost_one_warning_each() {
    let (_, warnings) = read(json!({
        "routeros": {"address": "192.168.200.1:8728"},
        "registry": {"enabled": true, "listenAddr": ":5000"},
        "cluster": {"enabled": false},
        "networks": [{"name": "gt", "bridge": "b", "cidr": "10.0.0.0/24", "vlan": 0}],
    }))
    .expect("all known");
    let keys: Vec<&str> = warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(keys, ["routeros.address", "networks[0].vlan", "registry.enabled", "registry.listenAddr", "cluster"]);
}

#[test]
fn the_environment_wins_over_the_file_and_a_flag_over_both() {
    let file = json!({"nodeName": "file", "routeros": {"user": "file", "password": "file"}});
    let env = |name: &str| match name {
        "MKUBE_NODE_NAME" => Some("env".to_owned()),
        "MKUBE_PASSWORD" => Some("from-env".to_owned()),
        _ => None,
    };
    let flags =
        Overrides::none().set("nodeName", "--node-name", Some("flag")).set("backend", "--backend", None::<String>);
    let (settings, _) = check(file, &env, flags).expect("fine");
    assert_eq!(settings.node_name, "flag");
    assert_eq!(settings.routeros.user, "file");
    assert_eq!(settings.routeros.password.expose(), "from-env");
}

#[test]
fn the_flags_of_the_go_controller_patch_the_first_network() {
    let flags = Overrides::none().set("networks[0].cidr", "--pod-cidr", Some("10.9.0.0/16")).set(
        "networks[0].bridge",
        "--bridge-name",
        Some("br"),
    );
    let (settings, _) = check(Value::Null, &nothing, flags).expect("fine");
    assert_eq!(settings.default_network().cidr.to_string(), "10.9.0.0/16");
    assert_eq!(settings.default_network().gateway.to_string(), "10.9.0.1");
    assert_eq!(settings.default_network().bridge, "br");

    let bad = Overrides::none().set("networks[0].cidr", "--pod-cidr", Some("10.9.0.0/99"));
    let problems = check(Value::Null, &nothing, bad).expect_err("no such prefix");
    assert!(problems[0].text.contains("--pod-cidr"), "{}", problems[0]);
}

#[test]
fn spellings_of_the_readme_are_honoured() {
    let (settings, warnings) = read(json!({
        "networks": [{"name": "gt", "bridge": "b", "podCIDR": "10.0.0.0/24"}],
        "registry": {"address": "10.0.0.3:5000", "localAddresses": ["registry.gt.lo:5000", "10.0.0.3:5000"]},
        "persistentMounts": {"/data": "raid1/d", "/data/deep": "raid1/e"},
        "systemd": {"maxRestarts": 9, "watchdogIntervalSeconds": 15},
    }))
    .expect("fine");
    assert_eq!(warnings, vec![]);
    assert_eq!(settings.networks[0].cidr.to_string(), "10.0.0.0/24");
    assert_eq!(settings.registry.local_addresses, ["10.0.0.3:5000", "registry.gt.lo:5000"]);
    assert_eq!(settings.storage.persistent_mounts[0].container_path, "/data/deep");
    assert_eq!(settings.lifecycle.max_restarts, 9);
    assert_eq!(settings.lifecycle.watchdog_interval, Duration::from_secs(15));
}

#[test]
fn the_older_network_block_replaces_networks() {
    let (settings, warnings) = read(json!({
        "network": {"podCIDR": "10.1.0.0/24", "gatewayIP": "10.1.0.9", "bridgeName": "old", "dnsServers": ["10.1.0.2", "1.1.1.1"]},
        "networks": [{"name": "gt", "bridge": "b", "cidr": "10.0.0.0/24"}],
    }))
    .expect("fine");
    assert_eq!(settings.networks.len(), 1);
    assert_eq!(settings.networks[0].name, "containers");
    assert_eq!(settings.networks[0].gateway.to_string(), "10.1.0.9");
    assert_eq!(settings.networks[0].to_network().dns.len(), 2);
    assert_eq!(warnings.len(), 1);
}

#[test]
fn the_api_listens_where_dzo_says_only_when_dzo_is_on_and_api_is_silent() {
    let listen = |value| read(value).expect("fine").0.api.listen.to_string();
    assert_eq!(listen(json!({"dzo": {"enabled": true, "listenAddr": ":9000"}})), "0.0.0.0:9000");
    assert_eq!(listen(json!({"dzo": {"enabled": false, "listenAddr": ":9000"}})), "0.0.0.0:8082");
    assert_eq!(
        listen(json!({"dzo": {"enabled": true, "listenAddr": ":9000"}, "api": {"listen": "127.0.0.1:1"}})),
        "127.0.0.1:1"
    );
}

#[test]
fn the_store_is_nats_where_nats_is_configured() {
    let kind = |value| read(value).expect("fine").0.store.kind;
    assert_eq!(kind(json!({"nats": {"url": "nats://x:4222"}})), StoreKind::Nats);
    assert_eq!(kind(json!({"nats": {"url": "nats://x:4222"}, "store": {"kind": "embedded"}})), StoreKind::Embedded);
}

#[test]
fn name_server_static_records_and_addresses_of_machines_are_never_handed_out() {
    let (settings, _) = read(json!({"networks": [{"name": "gt", "bridge": "b", "cidr": "10.0.0.0/24",
        "dns": {"zone": "gt.lo", "server": "10.0.0.199", "staticRecords": [{"name": "rose1", "ip": "10.0.0.7"}]},
        "dhcp": {"reservations": [{"mac": "aa:bb:cc:dd:ee:ff", "ip": "10.0.0.8"}]}}]}))
    .expect("fine");
    let reserved: Vec<String> =
        settings.networks[0].to_network().reserved.iter().map(|(ip, _)| ip.to_string()).collect();
    assert_eq!(reserved, ["10.0.0.1", "10.0.0.199", "10.0.0.7", "10.0.0.8"]);
}

#[test]
fn what_is_printed_is_a_config_file_again_and_hides_the_password() {
    let (settings, _) = read(json!({
        "routeros": {"password": "hunter2", "restUrl": "http://10.0.0.1", "caCert": "/ca"},
        "networks": [{"name": "gt", "bridge": "b", "cidr": "10.0.0.0/24", "managed": true, "dns": {
            "zone": "gt.lo", "server": "10.0.0.199", "endpoint": "http://10.0.0.199:8080",
            "dhcp": {"enabled": true, "rangeStart": "10.0.0.10", "rangeEnd": "10.0.0.20",
                     "reservations": [{"mac": "AA-BB-CC-DD-EE-FF", "ip": "10.0.0.30"}]}}}],
        "storage": {"gcIntervalMinutes": 90, "persistentMounts": [{"containerPath": "/d", "hostPath": "raid1/d"}]},
        "store": {"writeBehind": true},
    }))
    .expect("fine");
    let printed = serde_json::to_value(&settings).expect("serialises");
    assert!(!printed.to_string().contains("hunter2"), "{printed}");
    let (again, _) = check(printed, &nothing, Overrides::none().set("routeros.password", "test", Some("hunter2")))
        .expect("reads back");
    assert_eq!(again, settings);
}

#[test]
fn problems_of_the_older_network_block_name_its_own_keys() {
    let problems = read(json!({"network": {"podCIDR": "10.1.0.0/99", "bridgeNmae": "old", "dnsServers": "10.1.0.2"}}))
        .expect_err("three problems");
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    for part in ["network.bridgeNmae: is not a key of mkube; did you mean \"bridgeName\"", "given by network.podCIDR"] {
        assert!(texts.iter().any(|text| text.contains(part)), "{part} is missing in {texts:?}");
    }
    assert!(texts.iter().any(|text| text.starts_with("network.dnsServers: is text")), "{texts:?}");
}

#[test]
fn a_relay_must_name_a_network_that_is_there() {
    let file = |server: &str| {
        json!({"networks": [
            {"name": "g10", "bridge": "a", "cidr": "10.0.0.0/24"},
            {"name": "g11", "bridge": "b", "cidr": "10.0.1.0/24", "dns": {"dhcp": {"serverNetwork": server}}},
        ]})
    };
    assert_eq!(read(file("g10")).expect("fine").0.networks[1].dhcp.server_network, "g10");
    assert_eq!(keys(file("g12")), ["networks[1].dns.dhcp.serverNetwork"]);
}

#[test]
fn an_address_promised_to_a_machine_outside_the_network_is_warned_of() {
    let (_, warnings) =
        read(json!({"networks": [{"name": "gt", "bridge": "b", "cidr": "10.0.0.0/24", "ipamEnd": "10.0.0.9",
        "dhcp": {"enabled": true, "rangeStart": "10.0.0.10", "rangeEnd": "10.0.0.20",
                 "reservations": [{"mac": "aa:bb:cc:dd:ee:ff", "ip": "10.9.0.8"}]}}]}))
        .expect("fine");
    let keys: Vec<&str> = warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(keys, ["networks[0].dhcp.reservations[0].ip"]);
}

#[test]
fn the_password_of_the_nats_server_is_used_but_never_printed() {
    let (settings, _) = read(json!({"nats": {"url": "nats://bob:hunter2@10.0.0.10:4222"}})).expect("fine");
    assert_eq!(settings.nats.url.expose(), "nats://bob:hunter2@10.0.0.10:4222");
    let printed = format!("{settings:?} {}", serde_json::to_value(&settings).expect("serialises"));
    assert!(!printed.contains("hunter2"), "{printed}");

    for good in ["10.0.0.10:4222", "tls://a:4222,nats://b"] {
        assert!(read(json!({"nats": {"url": good}})).is_ok(), "{good}");
    }
    for bad in ["http://bob:hunter2@10.0.0.10", "nats://", "nats://a,", "nats://:4222", "a b"] {
        let problems = read(json!({"nats": {"url": bad}})).expect_err(bad);
        assert_eq!(problems[0].key, "nats.url");
        assert!(!problems[0].text.contains("hunter2"), "{}", problems[0]);
    }
}

#[test]
fn an_address_with_a_password_is_refused_without_repeating_it() {
    for key in ["pxeManagerURL", "dhcpLeaseURL"] {
        let problems = read(json!({"bmh": {key: "http://bob:hunter2@10.0.0.10"}})).expect_err("holds a password");
        assert_eq!(problems[0].key, format!("bmh.{key}"));
        assert!(!problems[0].text.contains("hunter2"), "{}", problems[0]);
    }
}

#[test]
fn a_mask_in_place_of_the_password_is_noticed() {
    let (settings, warnings) = read(json!({"routeros": {"password": "***"}})).expect("fine");
    assert_eq!(settings.routeros.password.expose(), "***");
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].key, "routeros.password");
}

#[test]
fn a_number_that_lost_its_spelling_is_no_password() {
    let (settings, _) = read(json!({"routeros": {"password": 12345}})).expect("whole numbers are as written");
    assert_eq!(settings.routeros.password.expose(), "12345");
    let problems = read(json!({"routeros": {"password": 1e3}})).expect_err("was written 1e3");
    assert_eq!(problems[0].key, "routeros.password");
    assert!(!problems[0].text.contains("1000"), "{}", problems[0]);
}

#[test]
fn an_empty_environment_variable_counts_as_not_set() {
    let file = json!({"nodeName": "file", "standalone": false});
    let env = |name: &str| match name {
        "MKUBE_NODE_NAME" => Some(String::new()),
        "MKUBE_STANDALONE" => Some("1".to_owned()),
        _ => None,
    };
    let (settings, _) = check(file, &env, Overrides::none()).expect("fine");
    assert_eq!(settings.node_name, "file");
    assert!(settings.standalone);
}

#[test]
fn values_the_go_controller_took_without_a_word_do_not_stop_the_start() {
    let (settings, warnings) = read(json!({
        "routeros": {"restUrl": "http://10.0.0.1/rest", "useTLS": true},
        "lifecycle": {"maxRestarts": 0},
        "dzo": {"listenAddr": ":9000"},
        "networks": [{"name": "gt", "bridge": "b", "cidr": "10.0.0.0/24",
                      "dns": {"staticRecords": [{"name": "ROSE1", "ip": "10.0.0.1"}]}}],
    }))
    .expect("fine");
    let keys: Vec<&str> = warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(keys, ["routeros.useTLS", "dzo.listenAddr"]);
    assert!(!settings.routeros.use_tls);
    assert_eq!(settings.lifecycle.max_restarts, 0);
    assert_eq!(settings.networks[0].dns.static_records[0].name, "rose1");
}

#[test]
fn registries_of_images_are_read_and_their_passwords_are_not_printed() {
    let (settings, warnings) = read(json!({"images": {
    "architecture": "arm64", "parallelDownloads": 5, "maxAge": 7, "keepFreeBytes": "1Gi",
    "maxUnpackedBytes": 1048576, "delivery": "fetch", "fetchBaseURL": "http://192.168.200.2:8082/",
    "registries": [
        {"host": "docker.io", "user": "bob", "password": "hunter2", "mirrors": ["192.168.200.3:5000"]},
        {"host": "192.168.200.3:5000", "plainHTTP": true},
        {"host": "r.lo", "caFile": "/etc/mkube/r.crt"},
    ]}}))
    .expect("fine");
    assert_eq!(warnings, vec![]);
    let images = &settings.images;
    assert_eq!((images.architecture, images.parallel_downloads), (Some(Architecture::Arm64), 5));
    assert_eq!(images.max_age, Duration::from_secs(7 * 86_400));
    assert_eq!((images.keep_free_bytes, images.max_unpacked_bytes), (1 << 30, 1 << 20));
    assert_eq!((images.delivery, images.fetch_base_url.as_str()), (Delivery::Fetch, "http://192.168.200.2:8082"));
    assert_eq!(images.registries[0].password.expose(), "hunter2");
    assert_eq!(images.registries[0].mirrors, ["192.168.200.3:5000"]);
    assert!(images.registries[1].plain_http);
    assert_eq!(images.registries[2].ca_file.as_deref().and_then(|path| path.to_str()), Some("/etc/mkube/r.crt"));

    let mut printed = serde_json::to_value(&settings).expect("serialises");
    assert!(!printed.to_string().contains("hunter2") && !format!("{settings:?}").contains("hunter2"), "{printed}");
    printed["images"]["registries"][0]["password"] = json!("hunter2");
    assert_eq!(read(printed).expect("reads back").0, settings);
}

#[test]
fn what_is_wrong_with_images_is_reported_key_by_key() {
    let found = keys(json!({"images": {
    "architecture": "mips", "parallelDownloads": 0, "maxUnpackedBytes": 0,
    "keepFreeBytes": "1X", "delivery": "pigeon", "fetchBaseURL": "192.168.200.2",
    "registries": [
        {"host": "https://r.lo", "mirrors": ["http://m"]},
        {"host": "a:5000", "plainHTTP": true, "caFile": "/x", "password": "p", "mirrors": ["a:5000"]},
        {"host": "a:5000", "plainHttp": true},
        {},
    ]}}));
    for key in [
        "images.architecture",
        "images.parallelDownloads",
        "images.maxUnpackedBytes",
        "images.keepFreeBytes",
        "images.delivery",
        "images.fetchBaseURL",
        "images.registries[0].host",
        "images.registries[0].mirrors[0]",
        "images.registries[1].caFile",
        "images.registries[1].user",
        "images.registries[1].mirrors[0]",
        "images.registries[2].host",
        "images.registries[2].plainHttp",
        "images.registries[3].host",
    ] {
        assert!(found.iter().any(|seen| seen == key), "{key} is missing in {found:?}");
    }
}

#[test]
fn rollouts_ask_a_registry_once_a_minute_at_most_and_their_secret_is_not_printed() {
    let bad = json!({"rollouts": {"checkInterval": "10s", "settle": "1h", "timeout": "5s", "notify": 1}});
    let problems = read(bad).expect_err("four problems");
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    for key in ["rollouts.checkInterval", "rollouts.timeout", "rollouts.notify"] {
        assert!(keys.contains(&key), "{key} is not in {keys:?}");
    }
    let (settings, _) = read(json!({"rollouts": {"notifySecret": "between us", "settle": 5}})).expect("fine");
    assert_eq!(settings.rollouts.settle, Duration::from_secs(5));
    let printed = serde_json::to_string(&settings).expect("settings are plain data");
    assert!(!printed.contains("between us") && !format!("{settings:?}").contains("between us"));
}

#[test]
fn nothing_is_removed_unasked_unless_it_is_written_and_odd_limits_are_refused() {
    let (settings, _) = read(json!({})).expect("fine");
    assert_eq!(settings.consistency.repair, RepairMode::Report);
    let (settings, _) =
        read(json!({"consistency": {"repair": "auto", "maxShare": 5, "orphanAge": "1h"}})).expect("fine");
    let found = settings.consistency;
    assert_eq!((found.repair, found.max_share, found.orphan_age), (RepairMode::Auto, 5, Duration::from_secs(3600)));
    let bad =
        json!({"consistency": {"repair": "always", "maxShare": 0, "orphanAge": "10s", "interval": "1s", "age": 1}});
    let problems = read(bad).expect_err("five problems");
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    for key in ["repair", "maxShare", "orphanAge", "interval", "age"] {
        assert!(keys.contains(&format!("consistency.{key}").as_str()), "{key} is not in {keys:?}");
    }
}

#[test]
fn so_many_events_are_kept_as_are_asked_for_within_reason() {
    assert_eq!(read(json!({})).expect("fine").0.events.ring, 256);
    assert_eq!(read(json!({"events": {"ring": 1000}})).expect("fine").0.events.ring, 1000);
    for bad in [json!({"ring": 0}), json!({"ring": 1_000_000}), json!({"rings": 5})] {
        let problems = read(json!({"events": bad})).expect_err("a problem");
        assert!(problems[0].key.starts_with("events.ring"), "{problems:?}");
    }
}
