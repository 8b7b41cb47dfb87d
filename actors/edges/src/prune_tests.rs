use super::*;
use mkube_messages::objects::KindView;

fn view(objects: &[(&str, Value)]) -> ObjectsView {
    let kinds = KindTable::builtin();
    let mut by_kind: BTreeMap<KindId, KindView> = BTreeMap::new();
    for (number, (kind, object)) in objects.iter().enumerate() {
        let row = kinds.by_written_kind("v1", kind).expect("a kind");
        let key = ObjectKey::new(metadata::namespace(object), metadata::name(object));
        let stored = StoredObject::new(row.id(), key.clone(), object, number as u64);
        by_kind.entry(row.id()).or_default().objects.insert(key, Arc::new(stored));
    }
    let kinds = by_kind.into_iter().map(|(id, kind)| (id, Arc::new(kind))).collect();
    ObjectsView { loaded: true, kinds, ..ObjectsView::default() }
}

/// As it stands after it was applied.
fn applied(namespace: &str, name: &str, labels: Value) -> Value {
    let mut object = json!({"metadata": {"name": name, "labels": labels}});
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    let text = object.to_string();
    object["metadata"]["uid"] = json!(format!("{namespace}/{name}"));
    object["metadata"]["annotations"] = json!({LAST_APPLIED: text});
    object
}

fn prune(text: &str) -> Prune {
    let query = Query::from([("prune".to_owned(), text.to_owned())]);
    Prune::asked(&query, How::Apply, "ApplyOptions").expect("understood").expect("asked for")
}

fn going(plan: &Plan) -> Vec<String> {
    plan.going.iter().map(|(kind, object)| format!("{} {}", kind.kind, object.key)).collect()
}

fn of(view: &ObjectsView, named: &[(&str, &str, &str)], namespaces: &[&str]) -> Plan {
    let kinds = KindTable::builtin();
    let id = |kind: &str| kinds.by_written_kind("v1", kind).expect("a kind").id();
    let named = named.iter().map(|(kind, namespace, name)| (id(kind), ObjectKey::new(*namespace, *name))).collect();
    let namespaces = namespaces.iter().map(|one| (*one).to_owned()).collect();
    prune("app=shop").plan(&kinds, view, &named, &namespaces).expect("the store is there")
}

#[test]
fn only_what_was_applied_with_the_label_and_belongs_to_nobody_else_goes() {
    let shop = || json!({"app": "shop"});
    let mut owned = applied("default", "owned", shop());
    owned["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Pod", "name": "o", "uid": "o"}]);
    let mut labelled_later = applied("default", "labelled-later", json!({}));
    labelled_later["metadata"]["labels"] = shop();
    let mut never_applied = applied("default", "never-applied", shop());
    never_applied["metadata"]["annotations"] = json!({});
    let mut leaving = applied("default", "leaving", shop());
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let of_set = applied("default", "of-another-set", json!({"app": "shop", OTHERS_SET: "x"}));
    let view = view(&[
        ("ConfigMap", applied("default", "old", shop())),
        ("ConfigMap", applied("default", "named", shop())),
        ("ConfigMap", applied("default", "other-app", json!({"app": "other"}))),
        ("ConfigMap", applied("elsewhere", "of-another-namespace", shop())),
        ("Pod", applied("default", "old", shop())),
        ("ConfigMap", owned),
        ("ConfigMap", labelled_later),
        ("ConfigMap", never_applied),
        ("ConfigMap", leaving),
        ("ConfigMap", of_set),
        ("Event", applied("default", "event", shop())),
        ("Node", applied("", "node", shop())),
    ]);
    let plan = of(&view, &[("ConfigMap", "default", "named")], &["default"]);
    assert_eq!(going(&plan), ["Pod default/old", "ConfigMap default/old"], "pods before what they need");
    assert_eq!(plan.applied, 4);
}

#[test]
fn a_namespace_goes_with_what_is_in_it_or_not_at_all() {
    let shop = || json!({"app": "shop"});
    let mut objects = vec![
        ("Namespace", applied("", "shop", shop())),
        ("ConfigMap", applied("shop", "m", shop())),
        ("ConfigMap", applied("default", "named", shop())),
    ];
    let named = [("ConfigMap", "default", "named")];
    let plan = of(&view(&objects), &named, &["default"]);
    assert_eq!(going(&plan), ["ConfigMap shop/m", "Namespace shop"]);
    objects.push(("ConfigMap", applied("shop", "of-somebody", json!({}))));
    let plan = of(&view(&objects), &named, &["default"]);
    assert_eq!(going(&plan), Vec::<String>::new());
    assert_eq!(plan.kept, [(ObjectKey::new("", "shop"), 1)]);
    let plan = of(&view(&objects), &named, &["default", "shop"]);
    assert_eq!(going(&plan), ["ConfigMap shop/m"], "documents are about that namespace too");
}

#[test]
fn much_at_once_goes_only_when_its_sender_says_how_much() {
    let objects: Vec<(&str, Value)> = ["a", "b", "c", "d", "e"]
        .iter()
        .map(|name| ("ConfigMap", applied("default", name, json!({"app": "shop"}))))
        .collect();
    let view = view(&objects);
    let keep = |names: &[&'static str]| {
        let named: Vec<_> = names.iter().map(|name| ("ConfigMap", "default", *name)).collect();
        of(&view, &named, &["default"])
    };
    let told = |plan: &Plan, confirmed: Option<usize>, documents: usize| {
        let one = Prune { confirmed, ..prune("app=shop") };
        one.check(plan, documents).map_err(|status| (status.code, status.message))
    };
    assert_eq!(told(&keep(&["a", "b", "c"]), None, 3), Ok(()), "two of five");
    let most = keep(&["a", "b"]);
    let (code, why) = told(&most, None, 2).expect_err("three of five");
    assert_eq!(code, 409);
    assert!(why.contains("3 of 5 objects with app=shop") && why.contains("confirm=3"), "{why}");
    assert_eq!(told(&most, Some(3), 2), Ok(()));
    assert!(told(&most, Some(2), 2).expect_err("another number").1.contains("not the 2"));
    assert!(told(&keep(&["a", "b", "c"]), Some(1), 3).is_err(), "also where it is little");
    assert!(told(&keep(&[]), None, 0).expect_err("no document").1.contains("no document"));
    assert_eq!(told(&keep(&["a", "b", "c", "d", "e"]), None, 0), Ok(()), "nothing goes");
}

#[test]
fn a_selector_that_asks_for_no_label_is_refused_by_name() {
    for text in ["", " ", "!app", "app!=shop", "app notin (a)", "a b", "app in shop"] {
        let query = Query::from([("prune".to_owned(), text.to_owned())]);
        let status = Prune::asked(&query, How::Apply, "ApplyOptions").expect_err(text);
        assert_eq!(status.code, 422, "{text}");
        assert!(status.message.contains("prune"), "{}", status.message);
    }
    for text in ["app=shop", "app", "app in (a,b),!x"] {
        prune(text);
    }
    let query = Query::from([("prune".to_owned(), "app".to_owned()), ("confirm".to_owned(), "all".to_owned())]);
    assert!(Prune::asked(&query, How::Apply, "ApplyOptions").expect_err("no number").message.contains("confirm"));
    assert!(Prune::asked(&query, How::Import, "ImportOptions").expect_err("an import").message.contains("import"));
}

#[test]
fn nothing_is_pruned_while_the_store_is_away() {
    let mut view = view(&[("ConfigMap", applied("default", "old", json!({"app": "shop"})))]);
    view.stale = Some("nobody answers".to_owned());
    let planned = prune("app=shop").plan(&KindTable::builtin(), &view, &BTreeSet::new(), &BTreeSet::new());
    assert_eq!(planned.expect_err("stale").code, 503);
}
