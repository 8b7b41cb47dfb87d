//! No name more than RouterOS has: what the host accepts and shows, held against the console schemas of each release.

#[path = "conformance/router.rs"]
#[allow(dead_code, reason = "shared with the conformance tests, which use more of it")]
mod router;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mkube_router_machine::{Menu, Release};
use reqwest::Method;
use router::{Router, id_of};
use serde_json::{Value, json};

const RELEASES: [&str; 6] = ["7.19", "7.20", "7.21", "7.22", "7.23", "7.24"];

/// Menu, then command, then arguments.
type Schema = BTreeMap<String, BTreeMap<String, Vec<String>>>;

fn schema(release: &str) -> Schema {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/fixtures/routeros-schema/{release}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("a schema")
}

/// Every word of any release, and a few that RouterOS never had.
fn words(pick: impl Fn(&Schema, &mut BTreeSet<String>)) -> BTreeSet<String> {
    let mut words: BTreeSet<String> = ["exit-code", "status", "pid", "exec", "logs", "image"].map(str::to_owned).into();
    RELEASES.iter().for_each(|release| pick(&schema(release), &mut words));
    words
}

/// Menus whose rows are written, with the rows a test needs first.
const WRITTEN: [(&str, &str); 8] = [
    ("interface/bridge", r#"{"name":"br-t"}"#),
    ("interface/veth", r#"{"name":"veth-a"}"#),
    ("interface/bridge/port", r#"{"bridge":"br-t","interface":"veth-a"}"#),
    ("ip/address", r#"{"address":"10.0.0.1/24","interface":"br-t"}"#),
    ("container/envs", r#"{"LIST":"e","key":"A","value":"1"}"#),
    ("container/mounts", r#"{"LIST":"m","src":"disk1/v","dst":"/v"}"#),
    ("user", r#"{"name":"u","group":"read"}"#),
    ("container", r#"{"file":"disk1/img.tar","interface":"veth-a","root-dir":"disk1/c"}"#),
];

/// What a device shows of a row beside what can be written: sections 1.7, 2 and appendix A of the reference.
fn shown_only(menu: &str, minor: u32) -> Vec<&'static str> {
    let mut shown = vec![".id"];
    shown.extend(match menu {
        "container" => [".about", "os", "arch"].as_slice(),
        "interface/veth" => &["running"],
        "interface/bridge" => &["running", "dynamic"],
        "interface/bridge/port" => &["dynamic", "inactive"],
        "ip/address" => &["actual-interface", "dynamic", "invalid"],
        "user" => &["expired"],
        _ => &[],
    });
    if menu == "container" {
        shown.push(if minor <= 19 { "repo" } else { "tag" });
        if minor <= 19 {
            shown.push("status");
        } else {
            shown.extend(["running", "stopped", "starting", "stopping", "memory-current", "cpu-usage"]);
            shown.push(if minor == 20 { "extracting" } else { "downloading/extracting" });
        }
        if minor >= 21 {
            shown.extend(["deleting", "download/extract failed", "env-current", "image-id", "container-size"]);
        }
        if minor >= 22 {
            shown.extend(["healthy", "unhealthy", "starting-with-healthcheck"]);
        }
        if minor >= 23 {
            shown.push("restart-count");
        }
    }
    shown
}

fn minor(release: &str) -> u32 {
    Release::parse(release).expect("a release").minor
}

/// A host of a release with one row in each menu; their ids.
async fn furnished(release: &str) -> (Router, BTreeMap<&'static str, String>) {
    let router = Router::of(release).await;
    router.archives().await;
    let mut ids = BTreeMap::new();
    for (menu, body) in WRITTEN {
        let renamed = if menu == "container/mounts" { 21 } else { 20 };
        let body = body.replace("LIST", if minor(release) >= renamed { "list" } else { "name" });
        let body: Value = serde_json::from_str(&body).expect("a body");
        ids.insert(menu, id_of(&router.put(&format!("/{menu}"), body).await.ok(201)));
    }
    (router, ids)
}

#[tokio::test]
async fn the_host_takes_no_property_that_the_release_does_not_have() {
    for release in RELEASES {
        let schema = schema(release);
        let (router, ids) = furnished(release).await;
        for (menu, id) in ids {
            let mut names = words(|schema, words| {
                let commands = schema.get(menu).into_iter().flat_map(BTreeMap::values);
                words.extend(commands.flatten().filter(|name| *name != "numbers" && *name != "number").cloned());
            });
            let table = Menu::ALL.into_iter().find(|one| one.path() == menu).expect("a menu");
            for any in RELEASES {
                names.extend(table.properties(&Release::parse(any).expect("a release")).map(|one| one.name.to_owned()));
            }
            for command in ["add", "set"] {
                let known = &schema[menu][command];
                for name in &names {
                    let mut body = json!({name: "x"});
                    if command == "set" {
                        body[".id"] = json!(id);
                    }
                    let reply = router.post(&format!("/{menu}/{command}"), body).await;
                    let taken = reply.body["detail"] != json!(format!("unknown parameter {name}"));
                    assert!(
                        !taken || known.contains(name),
                        "{release}: /{menu}/{command} takes {name}: {}",
                        reply.text
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn the_host_has_no_command_that_the_release_does_not_have() {
    for release in RELEASES {
        let schema = schema(release);
        let (router, _) = furnished(release).await;
        let menus: BTreeSet<String> = words(|schema, words| words.extend(schema.keys().cloned()));
        for menu in menus.iter().filter(|menu| *menu != "execute") {
            let commands =
                words(|schema, words| words.extend(schema.get(menu).into_iter().flat_map(BTreeMap::keys).cloned()));
            for command in commands {
                // Nothing is found under such a number, so nothing is done; what has no rows is asked with an odd key.
                let reply = router.post(&format!("/{menu}/{command}"), json!({".id": "*FFFFFF", "odd": "x"})).await;
                let detail = reply.body["detail"].as_str().unwrap_or_default();
                let there = !detail.starts_with("no such command");
                let known = schema.get(menu).is_some_and(|commands| commands.contains_key(&command));
                assert!(!there || known, "{release}: /{menu}/{command} is there: {}", reply.text);
            }
        }
    }
}

#[tokio::test]
async fn the_host_has_no_menu_that_the_release_does_not_have() {
    for release in RELEASES {
        let schema = schema(release);
        let (router, _) = furnished(release).await;
        let menus: BTreeSet<String> = words(|schema, words| words.extend(schema.keys().cloned()));
        for menu in menus {
            let reply = router.get(&format!("/{menu}")).await;
            assert!(reply.status != 200 || schema.contains_key(&menu), "{release}: /{menu} is there");
        }
    }
}

#[tokio::test]
async fn the_host_shows_nothing_that_the_release_does_not_show() {
    for release in RELEASES {
        let schema = schema(release);
        let (router, ids) = furnished(release).await;
        let container = &ids["container"];
        let state = if minor(release) <= 19 { "status" } else { "stopped" };
        router::until("it is unpacked", || async {
            let row = router.get(&format!("/container/{container}")).await.ok(200);
            (row[state] == "true" || row[state] == "stopped").then_some(())
        })
        .await;
        for started in [false, true] {
            if started {
                router.post("/container/start", json!({".id": container})).await.ok(200);
            }
            for menu in ids.keys() {
                let known = &schema[*menu]["add"];
                for row in router.rows(&format!("/{menu}")).await {
                    for name in row.as_object().expect("a row").keys() {
                        let shown = known.contains(name) || shown_only(menu, minor(release)).contains(&name.as_str());
                        assert!(shown, "{release}: /{menu} shows {name}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn settings_take_and_show_only_what_the_release_has() {
    for release in RELEASES {
        let schema = schema(release);
        let router = Router::of(release).await;
        for menu in ["container/config", "system/identity"] {
            let names = words(|schema, words| words.extend(schema[menu]["set"].iter().cloned()));
            let known = &schema[menu]["set"];
            for name in names {
                let reply = router.post(&format!("/{menu}/set"), json!({&name: "x"})).await;
                let taken = reply.body["detail"] != json!(format!("unknown parameter {name}"));
                assert!(!taken || known.contains(&name), "{release}: /{menu}/set takes {name}");
            }
            for name in router.get(&format!("/{menu}")).await.ok(200).as_object().expect("settings").keys() {
                assert!(known.contains(name), "{release}: /{menu} shows {name}");
            }
        }
        let update = &schema["system/device-mode"]["update"];
        let names = words(|schema, words| words.extend(schema["system/device-mode"]["update"].iter().cloned()));
        for name in names {
            // A bad value is answered at once whatever the name; a name that is not known is said to be so.
            let reply = router.send(Method::POST, "/system/device-mode/update", Some(json!({&name: "\u{1}"}))).await;
            let taken = reply.body["detail"] != json!(format!("unknown parameter {name}"));
            assert!(!taken || update.contains(&name), "{release}: device-mode update takes {name}");
        }
    }
}

#[tokio::test]
async fn fetch_takes_the_arguments_that_the_release_has_and_no_others() {
    for release in RELEASES {
        let known = &schema(release)["tool/fetch"][""];
        let router = Router::of(release).await;
        for name in words(|schema, words| words.extend(schema["tool/fetch"][""].iter().cloned())) {
            // Without an address nothing is fetched; a name that is not known is said to be so first.
            let reply = router.post("/tool/fetch", json!({&name: ""})).await;
            let taken = reply.body["detail"] != json!(format!("unknown parameter {name}"));
            assert_eq!(taken, known.contains(&name), "{release}: {name}");
        }
    }
}
