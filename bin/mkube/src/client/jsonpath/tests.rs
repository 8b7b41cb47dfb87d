use super::*;
use proptest::prelude::*;
use serde_json::json;

fn list() -> Value {
    json!({"kind": "List", "items": [
        {"metadata": {"name": "a", "labels": {"app": "x"}, "annotations": {"vkube.io/file": "f"}},
            "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}, {"containerPort": 443}]}]},
            "status": {"phase": "Running", "restarts": 3}},
        {"metadata": {"name": "b"}, "spec": {"containers": []}, "status": {"phase": "Pending", "restarts": 0, "ready": false}},
    ]})
}

#[track_caller]
fn says(template: &str, wanted: &str) {
    let read = Template::parse(template).unwrap_or_else(|why| panic!("{template}: {why}"));
    assert_eq!(read.render(&list()), wanted, "{template}");
}

#[test]
fn templates_say_what_kubectl_makes_of_them() {
    says("{.items[*].metadata.name}", "a b");
    says(".items[0].metadata.name", "a");
    says("$.items[-1:].metadata.name", "b");
    says("{.items[0:1].status.phase}", "Running");
    says("{.items[-1].metadata.name}", "b");
    says("{.items[0,1].metadata.name}", "a b");
    says("{.items[::2].metadata.name}", "a");
    says("{.kind}: {.items[0].spec.containers[*].ports[*].containerPort}", "List: 80 443");
    says("{range .items[*]}{.metadata.name}{\"\\t\"}{.status.phase}{\"\\n\"}{end}", "a\tRunning\nb\tPending\n");
    says("{range .items[*]}{$.kind}/{@.metadata.name} {end}", "List/a List/b ");
    says("{range .items[*]}{range .spec.containers[*]}[{.name}]{end};{end}", "[c];;");
    says("{.items[?(@.status.phase==\"Running\")].metadata.name}", "a");
    says("{.items[?(@.status.phase!='Running')].metadata.name}", "b");
    says("{.items[?(@.status.restarts>0)].metadata.name}", "a");
    says("{.items[?(@.status.restarts <= 3)].metadata.name}", "a b");
    says("{.items[?(@.metadata.labels.app)].metadata.name}", "a");
    says("{.items[?(@.status.ready==false)].metadata.name}", "b");
    says("{.items[?(@.metadata.name==$.items[1].metadata.name)].status.phase}", "Pending");
    says("{..containerPort}", "80 443");
    says("{.items[0].metadata.annotations.vkube\\.io/file}", "f");
    says("{.items[0].metadata['name','labels']}", "a {\"app\":\"x\"}");
    says("{.items[0].metadata.labels}", "{\"app\":\"x\"}");
    says("{.items[0].metadata.labels.*}", "x");
    says("{.items[7].metadata.name}{.nothing.at.all}", "");
    says("{'it''s'} {\"a\"}", "its a");
    says("no path at all", "no path at all");
    says("{.items[1].status.ready} {.items[0].status.restarts}", "false 3");
}

#[test]
fn what_cannot_be_understood_is_said() {
    for (template, words) in [
        ("{.items[*].name", "without its }"),
        ("{range .items[*]}{.x}", "without {end}"),
        ("{end}", "without {range"),
        ("{.items[x]}", "a number is missing"),
        ("{.items[1}", "\"]\" is missing"),
        ("{.items[?(@.x==y)]}", "\"y\" is neither"),
        ("{.items[?(@.x==\"y]}", "without its end"),
        ("{.items[0:2:0]}", "step"),
        ("{%}", "a path is missing"),
        ("{.items[99999999999999999999]}", "is no number"),
        ("{.a..}", ""),
    ] {
        match Template::parse(template) {
            Err(why) => assert!(why.contains(words), "{template}: {why}"),
            Ok(read) => assert!(words.is_empty(), "{template}: {read:?}"),
        }
    }
    assert!(Template::parse(&"{range .a}".repeat(100_000)).is_err());
    assert!(Template::parse(&format!("{{{}}}", ".a".repeat(100_000))).is_err());
}

proptest! {
    #[test]
    fn nothing_that_is_typed_makes_it_panic(text in "[{}\\[\\].*$@?()'\"\\\\:,<>=! a-z0-9-]{0,40}") {
        if let Ok(read) = Template::parse(&text) {
            read.render(&list());
        }
    }
}
