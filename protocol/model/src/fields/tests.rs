//! Apply, table by table: who gets what, who loses it, and who is asked first.

use serde_json::{Value, json};

use super::*;
use crate::applied::LAST_APPLIED;
use crate::list_types::Types;

const KUBERNETES: fn() -> Types = || Types::new(true);

pub(super) fn named(name: &str, operation: Operation) -> Manager {
    Manager { name: name.into(), operation, api_version: "v1".into(), subresource: String::new() }
}

pub(super) fn applies(live: &Value, managers: &Managers, name: &str, config: &Value, force: bool) -> Applied {
    let by = named(name, Operation::Apply);
    let intent = Intent { by: &by, force, types: KUBERNETES(), now: "2026-01-01T00:00:00Z" };
    apply(live, config, managers.clone(), intent)
}

type Applied = Result<(Value, Managers), Vec<Conflict>>;

/// An object and its managers, as several people write it.
struct Site(Value, Managers);

impl Site {
    fn new() -> Self {
        Self(json!({}), Managers::default())
    }

    fn apply(&mut self, name: &str, config: Value) -> &mut Self {
        (self.0, self.1) = applies(&self.0, &self.1, name, &config, false).expect("no conflict");
        self
    }

    fn force(&mut self, name: &str, config: Value) -> &mut Self {
        (self.0, self.1) = applies(&self.0, &self.1, name, &config, true).expect("forced");
        self
    }

    fn refused(&self, name: &str, config: Value) -> Status {
        conflict_status(&applies(&self.0, &self.1, name, &config, false).expect_err("a conflict"))
    }

    fn update(&mut self, name: &str, next: Value) -> &mut Self {
        let by = named(name, Operation::Update);
        self.1 = updated(&self.0, &next, self.1.clone(), &by, KUBERNETES(), "2026-01-02T00:00:00Z");
        self.0 = next;
        self
    }

    /// The fields of somebody.
    fn of(&self, name: &str) -> Value {
        let list = self.1.write();
        let found = list.as_array().into_iter().flatten().find(|entry| entry["manager"] == name);
        found.map_or(Value::Null, |entry| entry["fieldsV1"].clone())
    }
}

use crate::status::Status;

#[test]
fn what_is_applied_no_more_goes_unless_it_is_somebody_elses_too() {
    let mut site = Site::new();
    site.apply("a", json!({"data": {"x": "1", "y": "2"}})).apply("b", json!({"data": {"y": "2", "z": "3"}}));
    assert_eq!(site.of("a"), json!({"f:data": {"f:x": {}, "f:y": {}}}));
    site.apply("a", json!({}));
    assert_eq!(site.0, json!({"data": {"y": "2", "z": "3"}}), "y was shared");
    assert_eq!(site.of("a"), Value::Null, "who manages nothing is not named");
    site.update("u", json!({"data": {"y": "2", "z": "9"}})).apply("b", json!({}));
    assert_eq!(site.0, json!({"data": {"z": "9"}}), "what was written over is not taken away");
}

#[test]
fn a_struct_that_nobody_wants_goes_with_what_the_server_filled_in() {
    let mut site = Site::new();
    site.apply("a", json!({"spec": {"probe": {"port": 80}, "x": 1}, "metadata": {"labels": {"l": "1"}}}));
    let mut filled = site.0.clone();
    filled["spec"]["probe"]["period"] = json!(10);
    filled["metadata"]["labels"]["of-nobody"] = json!("2");
    site.0 = filled;
    site.apply("a", json!({"spec": {"x": 1}}));
    assert_eq!(site.0, json!({"spec": {"x": 1}, "metadata": {"labels": {"of-nobody": "2"}}}));
}

#[test]
fn another_value_is_a_conflict_and_the_same_one_is_shared() {
    let mut site = Site::new();
    site.apply("m1", json!({"data": {"a": "1"}})).apply("m2", json!({"data": {"a": "1"}}));
    assert_eq!(site.of("m1"), site.of("m2"));
    let refused = site.refused("m2", json!({"data": {"a": "2"}}));
    assert_eq!((refused.code, refused.reason), (409, "Conflict"));
    assert_eq!(refused.message, "Apply failed with 1 conflict: conflict with \"m1\": .data.a");
    assert_eq!(
        refused.details["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"m1\"", "field": ".data.a"}])
    );
    site.force("m2", json!({"data": {"a": "2"}}));
    assert_eq!((site.0["data"]["a"].clone(), site.of("m1")), (json!("2"), Value::Null));
}

#[test]
fn several_conflicts_are_told_by_manager_and_field() {
    let mut site = Site::new();
    site.apply("b", json!({"data": {"x": "1"}}));
    let next = json!({"data": {"x": "1", "y": "1", "z": "1"}});
    site.update("a", next);
    let refused = site.refused("c", json!({"data": {"x": "2", "y": "2", "z": "2"}}));
    let told = "Apply failed with 3 conflicts: conflicts with \"a\" using v1:\n- .data.y\n- .data.z\nconflicts with \"b\":\n- .data.x";
    assert_eq!(refused.message, told);
    assert_eq!(refused.details["causes"].as_array().map(Vec::len), Some(3));
}

#[test]
fn items_belong_to_who_put_them_there() {
    let containers = |list: Value| json!({"spec": {"containers": list}});
    let mut site = Site::new();
    site.apply("a", containers(json!([{"name": "one", "image": "1", "env": [{"name": "E", "value": "x"}]}])));
    site.apply("b", containers(json!([{"name": "two", "image": "2"}, {"name": "one", "args": ["x"]}])));
    let images: Vec<&Value> =
        site.0["spec"]["containers"].as_array().expect("a list").iter().map(|one| &one["image"]).collect();
    assert_eq!(images, ["2", "1"]);
    assert_eq!(
        site.of("b"),
        json!({"f:spec": {"f:containers": {
            r#"k:{"name":"one"}"#: {".": {}, "f:name": {}, "f:args": {}},
            r#"k:{"name":"two"}"#: {".": {}, "f:name": {}, "f:image": {}}}}})
    );
    site.apply("a", json!({}));
    let expected = containers(json!([{"name": "two", "image": "2"}, {"name": "one", "args": ["x"]}]));
    assert_eq!(site.0, expected, "what is shared stays, without what was only the other's");
}

#[test]
fn ports_differ_by_protocol_finalizers_are_a_set_and_selectors_are_one_value() {
    let mut site = Site::new();
    let port = |port: u16, rest: Value| {
        let mut item = json!({"containerPort": port});
        item.as_object_mut().expect("a map").extend(rest.as_object().expect("a map").clone());
        item
    };
    site.apply(
        "a",
        json!({
            "metadata": {"finalizers": ["x/a"]},
            "spec": {"selector": {"matchLabels": {"a": "1"}}, "containers": [{"name": "c", "ports": [port(53, json!({}))]}]},
        }),
    );
    site.apply(
        "b",
        json!({
            "metadata": {"finalizers": ["x/b"]},
            "spec": {"containers": [{"name": "c", "ports": [port(53, json!({"protocol": "UDP"}))]}]},
        }),
    );
    assert_eq!(site.0["metadata"]["finalizers"], json!(["x/b", "x/a"]));
    assert_eq!(site.0["spec"]["containers"][0]["ports"].as_array().map(Vec::len), Some(2));
    assert_eq!(site.of("a")["f:spec"]["f:selector"], json!({}));
    let refused = site.refused("b", json!({"spec": {"selector": {"matchLabels": {"a": "1", "b": "2"}}}}));
    assert!(refused.message.ends_with(": .spec.selector"), "{refused}");
    site.apply("b", json!({}));
    assert_eq!(site.0["metadata"]["finalizers"], json!(["x/a"]));
    assert_eq!(site.0["spec"]["containers"][0]["ports"], json!([{"containerPort": 53}]));
}

#[test]
fn lists_that_cannot_be_merged_are_refused_with_their_place() {
    let check = |config: Value| check_lists(&config, KUBERNETES()).expect_err("refused").message;
    let refused = check(json!({"spec": {"containers": [{"name": "a"}, {"image": "x"}]}}));
    assert!(refused.contains(".spec.containers: element 1:") && refused.contains("\"name\""), "{refused}");
    let twice = check(json!({"spec": {"containers": [{"name": "a", "env": [{"name": "E"}, {"name": "E"}]}]}}));
    assert!(twice.contains(".spec.containers[name=\"a\"].env[name=\"E\"]: duplicate"), "{twice}");
    assert!(check_lists(&json!({"spec": {"args": ["x", "x"]}}), KUBERNETES()).is_ok());
}

#[test]
fn other_writes_take_what_they_change_and_nothing_is_kept_where_nobody_applied() {
    let mut site = Site::new();
    site.update("u", json!({"data": {"a": "1"}}));
    assert!(site.1.is_empty(), "who does not apply need not pay for it");
    site.apply("a", json!({"data": {"a": "1", "b": "2"}})).update("u", json!({"data": {"a": "3", "c": "4"}}));
    assert_eq!(site.of("u"), json!({"f:data": {"f:a": {}, "f:c": {}}}));
    assert_eq!(site.of("a"), Value::Null, "a was changed, b was removed");
    let before = site.1.clone();
    site.update("u", site.0.clone());
    assert_eq!(site.1, before, "who changes nothing manages nothing more");
}

#[test]
fn what_stood_there_before_anybody_applied_is_somebodys() {
    let live = json!({"metadata": {"name": "m", "uid": "u"}, "data": {"a": "1"}});
    let before = before_first_apply(&live, "v1", KUBERNETES(), "2026-01-01T00:00:00Z");
    let refused = applies(&live, &before, "a", &json!({"data": {"a": "2"}}), false).expect_err("a conflict");
    let told = conflict_status(&refused).message;
    assert_eq!(told, "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a");
    assert_eq!(before.write()[0]["fieldsV1"], json!({"f:data": {"f:a": {}}}), "its name and uid are nobody's");
}

#[test]
fn what_kubectl_applied_on_its_own_side_is_no_conflict_for_it() {
    let text = r#"{"data": {"a": "1", "b": "1"}}"#;
    let live = json!({"metadata": {"annotations": {LAST_APPLIED: text}}, "data": {"a": "1", "b": "changed"}});
    let before = created(&live, &named("kubectl-client-side-apply", Operation::Update), KUBERNETES(), "t");
    let mut config = json!({"metadata": {"annotations": {}}, "data": {"a": "2"}});
    let (mut next, _) = applies(&live, &before, "kubectl", &config, false).expect("it was kubectl's");
    assert_eq!(next["data"]["a"], "2");
    refresh_last_applied(&named("kubectl", Operation::Apply), &mut next, &config);
    assert_eq!(next["metadata"]["annotations"][LAST_APPLIED], json!(format!("{config}\n")));
    assert!(applies(&live, &before, "somebody", &config, false).is_err(), "others do not know of the annotation");
    config["data"]["b"] = json!("2");
    let refused = applies(&live, &before, "kubectl", &config, false).expect_err("b was changed since");
    assert!(conflict_status(&refused).message.ends_with(": .data.b"));
}

#[test]
fn a_status_report_is_one_field_and_is_noted_once() {
    let by =
        |name: &str, subresource: &str| Manager { subresource: subresource.into(), ..named(name, Operation::Update) };
    let mut object = json!({"metadata": {}, "spec": {"x": 1}, "status": {"phase": "Pending"}});
    reported(&mut object, "v1", "t");
    assert_eq!(object["metadata"], json!({}), "nothing is noted where nobody is known");
    let managers = created(&object, &by("u", ""), KUBERNETES(), "t");
    let next = json!({"spec": {"x": 1}, "status": {"phase": "Running", "ready": true}});
    let managers = updated(&object, &next, managers, &by("v", "status"), KUBERNETES(), "t");
    object["metadata"]["managedFields"] = managers.write();
    reported(&mut object, "v1", "t1");
    let told = object["metadata"]["managedFields"].clone();
    assert_eq!(told.as_array().map(Vec::len), Some(2), "{told}");
    assert_eq!((&told[1]["manager"], &told[1]["fieldsV1"]), (&json!("mkube"), &json!({"f:status": {}})));
    reported(&mut object, "v1", "t2");
    assert_eq!(object["metadata"]["managedFields"], told);
    let later = updated(&next, &object, Managers::of(&object), &by(OWN, "status"), KUBERNETES(), "t3");
    assert_eq!(later.write(), told, "our own writes of the status are as coarse");
}

#[test]
fn of_those_who_wrote_ten_are_told_apart() {
    let mut site = Site::new();
    site.apply("keeper", json!({"data": {"k": "1"}}));
    for number in 0..14 {
        let mut next = site.0.clone();
        next["data"][format!("x{number}")] = json!("1");
        let by = named(&format!("u{number}"), Operation::Update);
        let now = format!("2026-01-02T00:00:{number:02}Z");
        site.1 = updated(&site.0, &next, site.1.clone(), &by, KUBERNETES(), &now);
        site.0 = next;
    }
    let list = site.1.write();
    let names: Vec<&str> = list.as_array().expect("a list").iter().filter_map(|one| one["manager"].as_str()).collect();
    assert_eq!((names.len(), names[0], names[1], names[2]), (11, "keeper", "ancient-changes", "u5"));
    assert_eq!(site.of("ancient-changes")["f:data"].as_object().map(serde_json::Map::len), Some(5));
}

#[test]
fn submitted_managers_are_read_cleared_or_refused() {
    let of = |list: Value| Submitted::of(&json!({"metadata": {"managedFields": list}}));
    assert_eq!(of(json!([])), Ok(Submitted::Nothing), "who does not know of them says nothing");
    assert_eq!(of(json!([{}])), Ok(Submitted::Cleared));
    let entry = json!({"manager": "m", "operation": "Apply", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}}}, "subresource": "status"});
    let Ok(Submitted::These(managers)) = of(json!([entry])) else { panic!("they are read") };
    assert_eq!(managers.write(), json!([entry]), "they are written as they were read");
    for (field, value) in [
        ("operation", json!("Steal")),
        ("fieldsType", json!("FieldsV2")),
        ("fieldsV1", json!({"data": {}})),
        ("manager", json!("x".repeat(129))),
    ] {
        let mut bad = entry.clone();
        bad[field] = value;
        let problem = of(json!([entry, bad])).expect_err("refused");
        assert_eq!(problem.field, format!("metadata.managedFields[1].{field}"));
    }
}

#[test]
fn what_is_no_field_of_the_object_is_not_kept() {
    let by = named("a", Operation::Apply);
    let (_, mut managers) =
        applies(&json!({}), &Managers::default(), "a", &json!({"data": {"a": "1"}, "oops": {"x": 1}}), false)
            .expect("no conflict");
    managers.settle(&by, &json!({"data": {"a": "1"}}), KUBERNETES());
    assert_eq!(managers.write()[0]["fieldsV1"], json!({"f:data": {"f:a": {}}}));
}

#[test]
fn what_may_be_wanted_has_no_nulls_and_nothing_of_the_server() {
    let body = json!({"metadata": {"name": "a", "uid": "u", "creationTimestamp": null, "labels": {"l": "1", "m": null}},
        "spec": {"x": null, "y": 1}, "status": {"z": 1}});
    assert_eq!(wanted(&body, ""), json!({"metadata": {"labels": {"l": "1"}}, "spec": {"y": 1}}));
    assert_eq!(wanted(&body, "status"), json!({"status": {"z": 1}}));
}
