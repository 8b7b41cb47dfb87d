//! Owners that are deleted, and what becomes of what depends on them.

use std::collections::BTreeMap;
use std::rc::Rc;

use mkube_fakes::Crossings;
use mkube_messages::objects::ObjectsView;

use super::*;

impl Bench {
    /// A reference to an object that is there.
    fn owner(&self, kind: &str, name: &str) -> Value {
        let owner = self.get(kind, name).expect("the owner is there");
        json!({"apiVersion": owner["apiVersion"], "kind": kind, "name": name, "uid": uid(&owner), "blockOwnerDeletion": true})
    }

    /// A ConfigMap with owners among the ConfigMaps.
    async fn owned_map(&self, name: &str, owners: &[&str]) {
        let owners: Vec<Value> = owners.iter().map(|owner| self.owner("ConfigMap", owner)).collect();
        let mut body = json!({"metadata": {"name": name}});
        if !owners.is_empty() {
            body["metadata"]["ownerReferences"] = owners.into();
        }
        self.create("ConfigMap", body).await.expect("made");
    }

    async fn owned_pod(&self, name: &str, owner: &str) {
        let mut body = pod(name);
        body["metadata"]["ownerReferences"] = json!([self.owner("ConfigMap", owner)]);
        self.create("Pod", body).await.expect("made");
    }

    async fn delete_as(&self, name: &str, policy: &str) -> Result<Written, Status> {
        let options = json!({"propagationPolicy": policy});
        self.write("ConfigMap", name, Verb::Delete { options }).await
    }

    /// Does what a controller of pods does: those that are being deleted are gone a moment later.
    async fn finish_pods(&self) {
        let pods = self.reader.view().kind(&self.kind("Pod").id());
        for (key, object) in pods.objects.iter().filter(|(_, object)| object.is_deleting()) {
            // What is still held is tried again.
            let _ = self.finish(&key.name, object.uid()).await;
        }
    }

    /// Name of each ConfigMap and Pod, `-` behind it when it is being deleted, and the names of its owners.
    fn told(&self) -> BTreeMap<String, String> {
        let view = self.reader.view();
        let mut told = BTreeMap::new();
        for kind in ["ConfigMap", "Pod"] {
            for (key, object) in &view.kind(&self.kind(kind).id()).objects {
                let value = object.value();
                let owners = value["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
                let owners: Vec<&str> = owners.iter().filter_map(|owner| owner["name"].as_str()).collect();
                let mark = if object.is_deleting() { "-" } else { "" };
                told.insert(format!("{}{mark}", key.name), owners.join(","));
            }
        }
        told
    }
}

fn told<const N: usize>(lines: [(&str, &str); N]) -> BTreeMap<String, String> {
    lines.into_iter().map(|(name, owners)| (name.to_owned(), owners.to_owned())).collect()
}

/// `o` owns `a`, `b` and the pod `p`, and with `q` it owns `c`; `a` owns `d`.
async fn family(bench: &Bench) {
    for (name, owners) in [("o", &[][..]), ("q", &[]), ("a", &["o"]), ("b", &["o"]), ("c", &["o", "q"]), ("d", &["a"])]
    {
        bench.owned_map(name, owners).await;
    }
    bench.owned_pod("p", "o").await;
}

fn after(policy: &str) -> BTreeMap<String, String> {
    match policy {
        "Orphan" => told([("q", ""), ("a", ""), ("b", ""), ("c", "q"), ("d", "a"), ("p", "")]),
        _ => told([("q", ""), ("c", "q")]),
    }
}

#[actix::test]
async fn background_marks_the_dependents_and_then_the_owner_goes() {
    let bench = bench().await;
    family(&bench).await;
    let deleted = bench.delete_as("o", "Background").await.expect("taken");
    assert!(!deleted.gone && deleted.object.is_deleting());
    assert_eq!(deleted.object.value()["metadata"].get("finalizers"), None);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.told(), told([("q", ""), ("c", "q"), ("p-", "o")]), "the pod takes the time it needs");
    bench.finish_pods().await;
    assert_eq!(bench.told(), after("Background"));
}

#[actix::test]
async fn without_a_word_dependents_go_in_the_background() {
    let bench = bench().await;
    family(&bench).await;
    bench.delete("ConfigMap", "o").await.expect("taken");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.told(), told([("q", ""), ("c", "q"), ("p-", "o")]));
}

#[actix::test]
async fn foreground_keeps_the_owner_until_what_blocks_it_is_gone() {
    let bench = bench().await;
    family(&bench).await;
    let deleted = bench.delete_as("o", "Foreground").await.expect("taken");
    assert_eq!(deleted.object.value()["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.told(), told([("o-", ""), ("q", ""), ("c", "q"), ("p-", "o")]));
    let again = bench.create("ConfigMap", json!({"metadata": {"name": "o"}})).await.expect_err("it is still going");
    assert_eq!(again.reason, "AlreadyExists");
    bench.finish_pods().await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.told(), after("Foreground"));
}

#[actix::test]
async fn foreground_does_not_wait_for_what_does_not_block_it() {
    let bench = bench().await;
    bench.owned_map("o", &[]).await;
    let mut body = pod("p");
    body["metadata"]["ownerReferences"] = json!([bench.owner("ConfigMap", "o")]);
    body["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = json!(false);
    bench.create("Pod", body).await.expect("made");
    bench.delete_as("o", "Foreground").await.expect("taken");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.told(), told([("p-", "o")]));
}

#[actix::test]
async fn orphans_stay_and_lose_the_reference() {
    let bench = bench().await;
    family(&bench).await;
    let generation = bench.get("ConfigMap", "a").map(|map| map["metadata"]["generation"].clone());
    let deleted = bench.delete_as("o", "Orphan").await.expect("taken");
    assert_eq!(deleted.object.value()["metadata"]["finalizers"], json!(["orphan"]));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.told(), after("Orphan"));
    assert_eq!(bench.get("ConfigMap", "a").map(|map| map["metadata"]["generation"].clone()), generation);
}

#[actix::test]
async fn what_nobody_but_controllers_may_write_is_not_left_behind_as_an_orphan_but_what_it_owns_is() {
    let bench = bench().await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}});
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template});
    bench.create("Deployment", json!({"metadata": {"name": "web"}, "spec": spec})).await.expect("made");
    let owners = json!([bench.owner("Deployment", "web")]);
    let set = json!({"metadata": {"name": "web-1", "ownerReferences": owners}, "spec": spec});
    bench.create("ReplicaSet", set).await.expect("made");
    for (name, owner) in [("p", bench.owner("Deployment", "web")), ("q", bench.owner("ReplicaSet", "web-1"))] {
        let mut body = pod(name);
        body["metadata"]["ownerReferences"] = json!([owner]);
        bench.create("Pod", body).await.expect("made");
    }
    let options = json!({"propagationPolicy": "Orphan"});
    bench.write("Deployment", "web", Verb::Delete { options }).await.expect("taken");
    sleep(Duration::from_secs(1)).await;
    assert_eq!((bench.get("Deployment", "web"), bench.get("ReplicaSet", "web-1")), (None, None));
    assert_eq!(bench.told(), told([("p", ""), ("q", "")]));
}

#[actix::test]
async fn an_owner_without_dependents_goes_at_once_and_its_last_dependent_ends_the_wait() {
    let bench = bench().await;
    bench.owned_map("o", &[]).await;
    assert!(bench.delete("ConfigMap", "o").await.expect("gone").gone);
    bench.owned_map("o", &[]).await;
    bench.delete_as("o", "Foreground").await.expect("taken");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.told(), told([]));
}

#[actix::test]
async fn an_object_whose_owner_is_not_there_is_never_deleted_for_that() {
    tokio::time::pause();
    let store = Arc::new(MemoryStore::default());
    let lost = json!({"metadata": {"name": "m", "namespace": "default", "uid": "m", "ownerReferences": [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "lost", "controller": true}]}});
    store.put_behind("CONFIGMAPS", "default.m", Some(&lost.to_string()));
    let bench = over(store);
    sleep(Duration::from_secs(60)).await;
    bench.create("ConfigMap", json!({"metadata": {"name": "o"}})).await.expect("another of that name");
    bench.delete("ConfigMap", "o").await.expect("gone");
    bench.tree.crash("mkube/objects", CrashHow::Panic).await.expect("running");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.told(), told([("m", "o")]));
}

#[actix::test]
async fn a_reference_from_another_namespace_means_nobody() {
    let bench = bench().await;
    bench.owned_map("o", &[]).await;
    bench.create("Namespace", json!({"metadata": {"name": "shop"}})).await.expect("made");
    let body = json!({"metadata": {"name": "m", "ownerReferences": [bench.owner("ConfigMap", "o")]}});
    let order = bench.order("ConfigMap", "", Verb::Create { body });
    bench.send(WriteObject { key: ObjectKey::new("shop", ""), ..order }).await.expect("made");
    assert!(bench.delete("ConfigMap", "o").await.expect("gone").gone);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.told(), told([("m", "o")]));
}

#[actix::test]
async fn a_finalizer_of_somebody_else_holds_the_owner_and_in_the_background_its_dependents_too() {
    let bench = bench().await;
    for (policy, meanwhile) in [("Background", ("m", "o")), ("Foreground", ("o-", ""))] {
        bench.create("ConfigMap", json!({"metadata": {"name": "o", "finalizers": ["a.io/x"]}})).await.expect("made");
        bench.owned_map("m", &["o"]).await;
        bench.delete_as("o", policy).await.expect("taken");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(bench.told(), told([("o-", ""), meanwhile]), "{policy}");
        let freed = bench.merge("ConfigMap", "o", json!({"metadata": {"finalizers": null}})).await.expect("patched");
        assert_eq!(freed.gone, policy == "Foreground");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(bench.told(), told([]), "{policy}");
    }
}

#[actix::test]
async fn whoever_deletes_again_may_choose_otherwise() {
    let bench = bench().await;
    bench.owned_map("o", &[]).await;
    bench.owned_pod("p", "o").await;
    bench.delete_as("o", "Foreground").await.expect("taken");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.told(), told([("o-", ""), ("p-", "o")]));
    assert!(!bench.delete("ConfigMap", "o").await.expect("nothing new").changed);
    bench.delete_as("o", "Background").await.expect("taken");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.told(), told([("p-", "o")]));
}

#[actix::test]
async fn objects_that_own_each_other_all_go() {
    let bench = bench().await;
    for policy in ["Background", "Foreground"] {
        for names in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
            for together in [false, true] {
                for name in names {
                    bench.owned_map(name, &[]).await;
                }
                for (at, name) in names.iter().enumerate() {
                    let owner = bench.owner("ConfigMap", names[(at + 1) % names.len()]);
                    let body = json!({"metadata": {"ownerReferences": [owner]}});
                    bench.merge("ConfigMap", name, body).await.expect("patched");
                }
                for name in &names[..if together { names.len() } else { 1 }] {
                    // The one before may have taken it along.
                    let _ = bench.delete_as(name, policy).await;
                }
                sleep(Duration::from_secs(1)).await;
                assert_eq!(bench.told(), told([]), "{policy} {names:?} {together}");
            }
        }
    }
}

/// Makes a child of `o` and deletes `o` in one batch, in this order or the other; answers what became of the child.
async fn together(bench: &Bench, child: &Value, child_first: bool) -> Result<Written, Status> {
    // Whatever comes while a commit is in flight forms the next batch.
    bench.store.cue(StoreCue::Late(Duration::from_millis(50)));
    let before = bench.merge("ConfigMap", "m", json!({"data": {"k": "v"}}));
    let making = async {
        sleep(Duration::from_millis(if child_first { 10 } else { 20 })).await;
        bench.create("ConfigMap", child.clone()).await
    };
    let deleting = async {
        sleep(Duration::from_millis(15)).await;
        bench.delete("ConfigMap", "o").await
    };
    let (before, made, deleted) = tokio::join!(before, making, deleting);
    before.expect("patched");
    deleted.expect("taken");
    sleep(Duration::from_secs(1)).await;
    made
}

#[actix::test]
async fn a_child_that_comes_with_the_deletion_of_its_owner_goes_with_it_or_is_refused() {
    tokio::time::pause();
    for child_first in [true, false] {
        let bench = over(Arc::new(MemoryStore::default()));
        sleep(Duration::from_secs(1)).await;
        bench.owned_map("o", &[]).await;
        bench.owned_map("m", &[]).await;
        let child = json!({"metadata": {"name": "c", "ownerReferences": [bench.owner("ConfigMap", "o")]}});
        let made = together(&bench, &child, child_first).await;
        assert_eq!(bench.told(), told([("m", "")]), "child first: {child_first}");
        assert_eq!(made.map_err(|status| status.code).err(), (!child_first).then_some(409));
    }
}

#[actix::test]
async fn nothing_begins_to_depend_on_what_was_just_deleted() {
    let bench = bench().await;
    bench.owned_map("o", &[]).await;
    bench.owned_map("m", &[]).await;
    let owner = bench.owner("ConfigMap", "o");
    let child = json!({"metadata": {"name": "c", "ownerReferences": [owner.clone()]}});
    bench.delete("ConfigMap", "o").await.expect("gone");
    let refused = bench.create("ConfigMap", child.clone()).await.expect_err("its owner is known to be gone");
    assert!(refused.code == 409 && refused.message.contains("has been deleted"), "{refused}");
    let patch = json!({"metadata": {"ownerReferences": [owner]}});
    assert_eq!(bench.merge("ConfigMap", "m", patch).await.expect_err("nor by a patch").code, 409);
    bench.owned_map("o", &[]).await;
    assert_eq!(bench.create("ConfigMap", child).await.expect_err("the name alone is not the owner").code, 409);
    bench.owned_map("c", &["o"]).await;
}

#[actix::test]
async fn what_others_depend_on_makes_no_room_for_another_and_does_not_finish_before_them() {
    let bench = bench().await;
    bench.create("Pod", pod("p")).await.expect("made");
    let body =
        json!({"metadata": {"name": "m", "finalizers": ["a.io/x"], "ownerReferences": [bench.owner("Pod", "p")]}});
    bench.create("ConfigMap", body).await.expect("made");
    let refused = bench.write("Pod", "p", Verb::Replace { body: pod("p") }).await.expect_err("needed");
    assert_eq!(refused.code, 409);
    bench.delete("Pod", "p").await.expect("marked");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.told(), told([("p-", ""), ("m-", "p")]));
    bench.finish_pods().await;
    assert_eq!(bench.told(), told([("m-", "p")]), "what is marked goes when its own time has come");
}

#[actix::test]
async fn a_pod_with_more_dependents_than_one_commit_marks_does_not_end_before_the_last_is_marked() {
    let bench = Rc::new(bench().await);
    let made = bench.create("Pod", pod("p")).await.expect("made");
    let owner = bench.owner("Pod", "p");
    let making = (0..600).map(|number| {
        let (bench, owner) = (bench.clone(), owner.clone());
        async move {
            let body = json!({"metadata": {"name": format!("m{number}"), "ownerReferences": [owner]}});
            bench.create("ConfigMap", body).await.expect("made");
        }
    });
    futures_util::future::join_all(making).await;
    bench.delete("Pod", "p").await.expect("marked");
    let early = bench.finish("p", &uid(&made.object.value())).await;
    assert!(matches!(early, Err(CallError::Fault(status)) if status.code == 409));
    sleep(Duration::from_secs(1)).await;
    bench.finish("p", &uid(&made.object.value())).await.expect("all are marked");
    assert_eq!(bench.told(), told([]));
}

#[actix::test]
async fn a_namespace_takes_owners_and_dependents_along() {
    let bench = bench().await;
    bench.create("Namespace", json!({"metadata": {"name": "shop"}})).await.expect("made");
    let inside = |body: Value| WriteObject {
        key: ObjectKey::new("shop", ""),
        ..bench.order("ConfigMap", "", Verb::Create { body })
    };
    let owner = bench.send(inside(json!({"metadata": {"name": "o"}}))).await.expect("made").object.value();
    let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": uid(&owner)});
    for number in 0..5 {
        let body = json!({"metadata": {"name": format!("m{number}"), "ownerReferences": [reference]}});
        bench.send(inside(body)).await.expect("made");
    }
    bench.delete("Namespace", "shop").await.expect("marked");
    sleep(Duration::from_secs(1)).await;
    assert_eq!((bench.told(), bench.get("Namespace", "shop")), (told([]), None));
}

#[actix::test]
async fn a_dry_deletion_touches_neither_owner_nor_dependents() {
    let bench = bench().await;
    family(&bench).await;
    let before = (bench.told(), bench.store.batches().len());
    for policy in ["Background", "Foreground", "Orphan"] {
        let options = json!({"propagationPolicy": policy});
        let order = WriteObject { dry_run: true, ..bench.order("ConfigMap", "o", Verb::Delete { options }) };
        assert!(bench.send(order).await.expect("taken").object.is_deleting());
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!((bench.told(), bench.store.batches().len()), before);
}

#[actix::test]
async fn a_thousand_dependents_go_in_a_few_commits_and_cost_others_nothing() {
    let bench = bench().await;
    bench.owned_map("o", &[]).await;
    let owner = bench.owner("ConfigMap", "o");
    let bench = Rc::new(bench);
    let making = (0..1000).map(|number| {
        let (bench, owner) = (bench.clone(), owner.clone());
        async move {
            let body = json!({"metadata": {"name": format!("m{number}"), "ownerReferences": [owner]}});
            bench.create("ConfigMap", body).await.expect("made");
        }
    });
    futures_util::future::join_all(making).await;
    let before = bench.store.batches().len();
    bench.delete("ConfigMap", "o").await.expect("taken");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.told(), told([]));
    let commits = bench.store.batches().len() - before;
    assert!(commits <= 6, "the mark, four batches, the end: {commits}");
}

/// No published view shows a dependent that nobody will delete any more: neither marked, nor with an owner that is there.
fn nobody_is_forgotten(view: &ObjectsView, maps: &Kind, pods: &Kind) {
    let objects = || [maps, pods].into_iter().flat_map(|kind| view.kind(&kind.id()).objects.clone());
    let there: Vec<String> = objects().map(|(_, object)| object.uid().to_owned()).collect();
    for (key, object) in objects() {
        let left = object.owners().iter().filter(|owner| !there.iter().any(|uid| **uid == *owner.uid)).count();
        assert!(left == 0 || object.is_deleting(), "{key} was left behind");
    }
}

#[actix::test]
async fn a_crash_before_or_after_any_commit_changes_nothing_of_the_end() {
    tokio::time::pause();
    for policy in ["Background", "Foreground", "Orphan"] {
        for actor in ["mkube/objects", "mkube/store"] {
            let mut runs = 0;
            loop {
                let bench = Rc::new(over(Arc::new(MemoryStore::default())));
                sleep(Duration::from_secs(1)).await;
                family(&bench).await;
                let crossings = Crossings::default();
                bench.store.set_crossings(crossings.clone());
                let tree = bench.tree.clone();
                crossings.at(runs, move || {
                    Box::pin(async move { tree.crash(actor, CrashHow::Panic).await.expect("running") })
                });
                crossings.start();
                let (watched, reader) = (bench.clone(), bench.reader.clone());
                let watching = actix_rt::spawn(async move {
                    let (maps, pods) = (watched.kind("ConfigMap"), watched.kind("Pod"));
                    let mut notices = reader.notices();
                    loop {
                        nobody_is_forgotten(&reader.view(), &maps, &pods);
                        if notices.changed().await.is_err() {
                            return;
                        }
                    }
                });
                for _ in 0..20 {
                    // Nobody knows what became of a deletion without an answer: it is repeated, as clients do.
                    let order =
                        bench.order("ConfigMap", "o", Verb::Delete { options: json!({"propagationPolicy": policy}) });
                    let answer = bench.ask(order).await;
                    sleep(Duration::from_secs(1)).await;
                    bench.finish_pods().await;
                    if matches!(answer, Err(CallError::Fault(status)) if status.code == 404) {
                        break;
                    }
                }
                crossings.stop();
                sleep(Duration::from_secs(2)).await;
                assert_eq!(bench.told(), after(policy), "{policy}, {actor} at {runs} of {:?}", crossings.names());
                assert!(!watching.is_finished(), "{policy}, {actor} at {runs}: somebody was forgotten");
                watching.abort();
                bench.tree.stop(Duration::from_secs(1)).await;
                if !crossings.done() {
                    break;
                }
                runs += 1;
            }
            assert!(runs >= 6, "{policy}: {runs} crossings were seen");
        }
    }
}

/// A small generator of numbers, so that a seed is a run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// What should be there after a deletion: an object goes when all of its owners do.
fn expected(graph: &BTreeMap<String, Vec<String>>, gone: &str, policy: &str) -> BTreeMap<String, Vec<String>> {
    let mut going = vec![gone.to_owned()];
    let next = |going: &[String]| {
        let in_going = |owner: &String| going.contains(owner);
        let mut left = graph.iter().filter(|(name, _)| !in_going(name));
        left.find(|(_, owners)| !owners.is_empty() && owners.iter().all(in_going)).map(|(name, _)| name.clone())
    };
    while let Some(name) = next(&going).filter(|_| policy != "Orphan") {
        going.push(name);
    }
    let left = graph.iter().filter(|(name, _)| !going.contains(name));
    left.map(|(name, owners)| (name.clone(), owners.iter().filter(|owner| !going.contains(owner)).cloned().collect()))
        .collect()
}

#[actix::test]
async fn whoever_owns_whom_an_object_goes_exactly_when_all_its_owners_went() {
    tokio::time::pause();
    for seed in 0..150 {
        let mut dice = Dice(seed);
        let bench = over(Arc::new(MemoryStore::default()));
        sleep(Duration::from_secs(1)).await;
        let names: Vec<String> = (0..2 + dice.below(6)).map(|number| format!("m{number}")).collect();
        for name in &names {
            bench.owned_map(name, &[]).await;
        }
        let mut graph = BTreeMap::new();
        let mut history = Vec::new();
        for name in &names {
            let mut owners: Vec<String> = Vec::new();
            for _ in 0..dice.below(3) {
                let owner = names[dice.below(names.len())].clone();
                if !owners.contains(&owner) {
                    owners.push(owner);
                }
            }
            let references: Vec<Value> = owners
                .iter()
                .map(|owner| {
                    let mut reference = bench.owner("ConfigMap", owner);
                    reference["blockOwnerDeletion"] = json!(dice.below(3) > 0);
                    reference
                })
                .collect();
            bench
                .merge("ConfigMap", name, json!({"metadata": {"ownerReferences": references}}))
                .await
                .expect("patched");
            graph.insert(name.clone(), owners);
        }
        for _ in 0..2 {
            let Some(name) = graph.keys().nth(dice.below(graph.len().max(1))).cloned() else { break };
            let policy = ["Background", "Foreground", "Orphan"][dice.below(3)];
            let crossings = Crossings::default();
            bench.store.set_crossings(crossings.clone());
            let (tree, at) = (bench.tree.clone(), dice.below(12));
            crossings.at(at, move || {
                Box::pin(async move { tree.crash("mkube/objects", CrashHow::Panic).await.expect("running") })
            });
            crossings.start();
            history.push(format!("{name} {policy} of {graph:?}, crash at {at}"));
            for _ in 0..5 {
                let order =
                    bench.order("ConfigMap", &name, Verb::Delete { options: json!({"propagationPolicy": policy}) });
                let answer = bench.ask(order).await;
                sleep(Duration::from_secs(2)).await;
                if matches!(answer, Err(CallError::Fault(status)) if status.code == 404) {
                    break;
                }
            }
            crossings.stop();
            graph = expected(&graph, &name, policy);
            let wanted: BTreeMap<String, String> =
                graph.iter().map(|(name, owners)| (name.clone(), owners.join(","))).collect();
            assert_eq!(bench.told(), wanted, "seed {seed}: {history:#?}");
        }
        bench.tree.stop(Duration::from_secs(1)).await;
    }
}
