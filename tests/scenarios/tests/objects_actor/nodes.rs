//! Controllers of several nodes over one store: each sees all objects, and acts on its own.

use std::sync::Arc;
use std::time::Duration;

use mkube_fakes::MemoryStore;
use mkube_messages::objects::{ObjectsView, Verb};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Bench, on_node, pod};

const A_MOMENT: Duration = Duration::from_millis(200);

async fn two() -> (Bench, Bench) {
    tokio::time::pause();
    let store = Arc::new(MemoryStore::default());
    let one = on_node(store.clone(), "one", true);
    sleep(A_MOMENT).await;
    let two = on_node(Arc::new(store.sharing()), "two", true);
    sleep(A_MOMENT).await;
    (one, two)
}

fn names(bench: &Bench, view: &ObjectsView, kind: &str) -> Vec<String> {
    let kind = view.kind(&bench.kind(kind).id());
    kind.objects.keys().map(|key| key.name.clone()).collect()
}

fn deployment() -> Value {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]});
    json!({"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}})
}

#[actix::test]
async fn each_sees_all_pods_and_acts_on_those_that_were_made_through_it_or_for_it() {
    let (one, two) = two().await;
    one.create("Pod", pod("a")).await.expect("made");
    two.create("Pod", pod("b")).await.expect("made");
    let mut for_two = pod("c");
    for_two["spec"]["nodeName"] = json!("two");
    one.create("Pod", for_two).await.expect("made");
    one.create("ConfigMap", json!({"metadata": {"name": "m"}})).await.expect("made");
    one.create("Deployment", deployment()).await.expect("made");
    sleep(A_MOMENT).await;
    for bench in [&one, &two] {
        let all = bench.reader.everywhere().view();
        assert_eq!(names(bench, &all, "Pod"), ["a", "b", "c"]);
        assert_eq!(names(bench, &bench.reader.view(), "ConfigMap"), ["m"]);
    }
    let acts_on = |bench: &Bench, kind| names(bench, &bench.reader.view(), kind);
    assert_eq!((acts_on(&one, "Pod"), acts_on(&two, "Pod")), (vec!["a".into()], vec!["b".to_owned(), "c".into()]));
    assert_eq!((acts_on(&one, "Deployment"), acts_on(&two, "Deployment")), (vec!["web".to_owned()], vec![]));

    // An edit through another node's API moves nothing, also one that says nothing of the node.
    let mut edited = deployment();
    edited["spec"]["replicas"] = json!(3);
    two.write("Deployment", "web", Verb::Update { body: edited }).await.expect("edited");
    sleep(A_MOMENT).await;
    assert_eq!((acts_on(&one, "Deployment"), acts_on(&two, "Deployment")), (vec!["web".to_owned()], vec![]));
    let pods = two.reader.view().kind(&two.kind("Pod").id());
    assert!(pods.history.iter().all(|change| change.object.key.name != "a"), "nobody here hears of it");
}

#[actix::test]
async fn what_a_foreign_writer_put_there_without_a_node_gets_exactly_one() {
    let (one, two) = two().await;
    for number in 0..20 {
        let mut theirs = pod(&format!("p{number}"));
        theirs["metadata"]["namespace"] = json!("default");
        theirs["metadata"]["uid"] = json!(format!("u{number}"));
        one.store.put_behind("PODS", &format!("default.p{number}"), Some(&theirs.to_string()));
    }
    sleep(A_MOMENT).await;
    let (ours, theirs) = (names(&one, &one.reader.view(), "Pod"), names(&two, &two.reader.view(), "Pod"));
    assert_eq!(ours.len() + theirs.len(), 20, "{ours:?} {theirs:?}");
    assert!(ours.iter().all(|name| !theirs.contains(name)));
    // Whoever starts anew knows the same.
    one.tree.crash("mkube/objects", mkube_supervision::CrashHow::Panic).await.expect("running");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(names(&one, &one.reader.view(), "Pod"), ours);
}

#[actix::test]
async fn an_object_that_leaves_a_node_is_seen_to_go_there_and_to_come_elsewhere() {
    let (one, two) = two().await;
    one.create("Deployment", deployment()).await.expect("made");
    sleep(A_MOMENT).await;
    one.merge("Deployment", "web", json!({"metadata": {"annotations": {"vkube.io/node": "two"}}}))
        .await
        .expect("moved");
    sleep(A_MOMENT).await;
    assert!(names(&one, &one.reader.view(), "Deployment").is_empty());
    assert_eq!(names(&two, &two.reader.view(), "Deployment"), ["web"]);
    assert_eq!(names(&one, &one.reader.everywhere().view(), "Deployment"), ["web"]);
}
