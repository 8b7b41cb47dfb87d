use std::time::Duration;

use serde_json::{Value, json};

use super::*;

fn read(value: Value) -> Result<(RegistryServerSettings, Vec<Warning>), Vec<SettingsProblem>> {
    check_registry(value, &|_| None, Overrides::none())
}

fn keys(value: Value) -> Vec<String> {
    read(value).expect_err("has problems").into_iter().map(|problem| problem.key).collect()
}

/// As the Go registry's installer and its sample wrote it.
fn of_the_go_registry() -> Value {
    json!({
        "enabled": true, "listenAddr": ":5000", "storePath": "/raid1/registry",
        "tlsCertFile": "/etc/registry/tls.crt", "tlsKeyFile": "/etc/registry/tls.key",
        "pullThrough": true, "upstreamRegistries": ["ghcr.io", "docker.io"],
        "localAddresses": ["192.168.200.3:5000", "registry.gt.lo:5000"],
        "notifyURL": "http://192.168.200.2:8082/api/v1/registry/push-notify",
        "watchImages": [{"upstream": "ghcr.io/owner/mkube:edge", "localRepo": "mkube"}],
        "watchPollSeconds": 60, "upstreamSyncEnabled": false, "upstreamToken": "", "upstreamTokenFile": "",
    })
}

#[test]
fn a_file_of_the_go_registry_loads_unchanged_and_without_a_warning() {
    let (settings, warnings) = read(of_the_go_registry()).expect("it loads");
    assert_eq!(warnings, vec![]);
    assert_eq!(settings.listen_addr.to_string(), "0.0.0.0:5000");
    assert_eq!(settings.management.listen.map(|listen| listen.to_string()).as_deref(), Some("0.0.0.0:5001"));
    assert_eq!(settings.watch_poll, Duration::from_secs(60));
    assert_eq!(settings.watch_images[0].local_repo, "mkube");
    assert!(settings.pull_through && settings.access.anonymous_pull && settings.access.users.is_empty());
    assert_eq!(settings.storage.quota, 0);
}

#[test]
fn without_a_file_only_this_machine_is_served_and_there_is_no_management_port() {
    let (settings, warnings) = read(Value::Null).expect("defaults are fine");
    assert_eq!(warnings, vec![]);
    assert_eq!(settings.listen_addr.to_string(), "127.0.0.1:5000");
    assert_eq!(settings.management.listen, None);
    assert!(!settings.pull_through);
}

#[test]
fn the_go_registrys_certificate_is_meant_where_a_file_says_nothing_else() {
    let pair = |file: Value| {
        let (settings, _) = read(file).expect("fine");
        (settings.tls_cert_file.is_some(), settings.tls_key_file.is_some())
    };
    assert_eq!(pair(json!({"storePath": "/x"})), (true, true));
    assert_eq!(pair(json!({"tlsCertFile": "/x.crt", "tls": {"directory": "/x"}})), (true, true));
    assert_eq!(pair(json!({"tls": {"directory": "/x"}})), (false, false));
    assert_eq!(pair(Value::Null), (false, false));
}

#[test]
fn the_new_blocks_are_read() {
    let (settings, _) = read(json!({
        "storage": {"quota": "20GiB", "freeReserve": 1000, "uploadExpiry": "30m", "gcInterval": "10m", "gcGrace": "5m"},
        "access": {
            "users": [{"name": "ann", "password": "hunter2", "roles": ["read", "write"]}, {"name": "bob", "password": "x"}],
            "tokens": [{"name": "ci", "token": "t0ken", "roles": ["write"]}],
        },
        "tls": {"directory": "/x", "names": ["registry.gt.lo", "10.0.0.1"], "required": true},
        "notices": {"secret": "s", "childManifests": true},
        "management": {"listen": ""},
    }))
    .expect("fine");
    assert_eq!((settings.storage.quota, settings.storage.free_reserve), (20 << 30, 1000));
    assert_eq!(settings.storage.gc_grace, Duration::from_secs(300));
    assert_eq!(settings.access.users[0].roles, [RegistryRole::Read, RegistryRole::Write]);
    assert_eq!(settings.access.users[1].roles, [RegistryRole::Read], "no more than was said");
    assert!(!settings.access.anonymous_pull, "with users, nobody is let in without a name unless that is said");
    assert_eq!(settings.management.listen, None);
}

#[test]
fn every_problem_of_the_registrys_file_is_reported_at_once() {
    let found = keys(json!({
        "listenAdr": ":5000",
        "listenAddr": "somewhere",
        "notifyURL": "ftp://x",
        "watchImages": [{"upstream": "app", "localRepo": "App"}],
        "upstreamRegistries": ["ghcr.io/owner"],
        "storage": {"quota": "many", "gcGrace": "soon"},
        "access": {"users": [{"name": "a:b", "password": "x"}, {"name": "ann"}], "tokens": [{"name": "t", "token": "***"}]},
        "tls": {"names": ["not a name"]},
    }));
    for key in [
        "listenAdr",
        "listenAddr",
        "notifyURL",
        "watchImages[0].upstream",
        "watchImages[0].localRepo",
        "upstreamRegistries[0]",
        "storage.quota",
        "storage.gcGrace",
        "access.users[0].name",
        "access.users[1].password",
        "access.tokens[0].token",
        "tls.names[0]",
    ] {
        assert!(found.iter().any(|seen| seen == key), "{key} is missing in {found:?}");
    }
    assert_eq!(keys(json!({"access": {"anonymousPull": false}})), ["access.anonymousPull"]);
}

#[test]
fn no_secret_of_the_registrys_file_is_printed() {
    let (settings, _) = read(json!({
        "upstreamToken": "hunter2-upstream", "upstream": {"credentials": [{"registry": "ghcr.io", "user": "a", "password": "hunter2-pull"}]},
        "notices": {"secret": "hunter2-notices"},
        "access": {"users": [{"name": "ann", "password": "hunter2-user"}], "tokens": [{"name": "t", "token": "hunter2-token"}]},
    }))
    .expect("fine");
    let printed = format!("{settings:?} {}", json!(settings));
    assert!(!printed.contains("hunter2"), "{printed}");
    let nats = json!({"nats": {"url": "nats://bob:hunter2@x"}});
    let (settings, _) = read(nats).expect("fine");
    assert!(!settings.nats.url.is_empty() && !json!(settings).to_string().contains("hunter2"));
    let problems = read(json!({"notifyURL": "http://ann:hunter2@host/x"})).expect_err("holds a password");
    assert!(!format!("{problems:?}").contains("hunter2"), "{problems:?}");
}

#[test]
fn a_flag_wins_over_the_environment_and_both_over_the_file() {
    let env = |name: &str| (name == "MKUBE_REGISTRY_LISTEN").then(|| "127.0.0.1:7".to_owned());
    let flags = Overrides::none().set("storePath", "--data-dir", Some("/flag"));
    let (settings, _) = check_registry(of_the_go_registry(), &env, flags).expect("fine");
    assert_eq!(settings.listen_addr.to_string(), "127.0.0.1:7");
    assert_eq!(settings.store_path.to_str(), Some("/flag"));
}

#[test]
fn the_registrys_file_is_told_from_the_controllers() {
    assert!(is_registry_file(&of_the_go_registry()));
    assert!(!is_registry_file(&json!({"nodeName": "x", "registry": {"storePath": "/x"}})));
    assert!(!is_registry_file(&Value::Null));
}
