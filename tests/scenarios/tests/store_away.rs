//! A site whose store is away, and known to be: what it remembers of it may be all, half or nothing. Nothing is taken away, nothing
//! restarts, and when the store is back everything is as it was.

#[allow(dead_code, reason = "a part of it is used here")]
mod site;
mod world;

use std::time::Duration;

use mkube_fakes::{Answer, LoadCue, Release};
use mkube_messages::door::CallError;
use mkube_supervision::CrashHow;
use serde_json::json;
use site::{NODE, deployment, is_through, nothing_failed, restarts};
use tokio::time::sleep;
use world::{NAME_SERVER, Surroundings, World, job, pod};

const PODS: [&str; 3] = ["first", "web-0", "web-1"];
const AWAY: &str = "NATS does not answer";

/// Commands that took something away or made something.
fn touched(world: &World) -> Vec<String> {
    let calls = world.device.calls().into_iter().map(|call| call.operation);
    calls.filter(|call| ["/add", "/remove", "/start", "/stop", "/set"].iter().any(|end| call.ends_with(end))).collect()
}

fn names(world: &World) -> Vec<Vec<String>> {
    ["first", "web-0", "web-1", "rose1"].map(|name| world.around.servers.data(NAME_SERVER, "gt.lo", name)).into()
}

/// A site with something of everything, where repairs are automatic.
async fn whole_site() -> World {
    let mut around = Surroundings::another().with_name_server(Release::Current);
    around.repairs.automatic = true;
    around.prober.set(80, Answer::Good);
    let world = World::over(around).await;
    world.create("Node", json!({"metadata": {"name": NODE}})).await;
    world.create("Pod", pod("first")).await;
    let mut body = deployment(2);
    body["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 80}});
    world.create("Deployment", body).await;
    let spec = job("", "Never", &["exit", "0"])["spec"].clone();
    let spec = json!({"template": {"spec": spec}, "ttlSecondsAfterFinished": 900});
    world.create("Job", json!({"metadata": {"name": "once"}, "spec": spec})).await;
    world.until("the deployment is through", is_through).await;
    world.until("the job is done", |world| world.get("Job", "once").expect("it")["status"]["succeeded"] == 1).await;
    world.until("all are named", |world| names(world).iter().all(|found| !found.is_empty())).await;
    sleep(Duration::from_secs(400)).await;
    world
}

#[actix::test]
async fn a_store_that_is_away_costs_nothing_whatever_is_remembered_of_it() {
    tokio::time::pause();
    for (what, cue) in [("all", None), ("half", Some(LoadCue::Partial)), ("nothing", Some(LoadCue::Empty))] {
        let around = whole_site().await.stop().await;
        around.store.tell_what_others_do();
        around.store.set_stale(Some(AWAY));
        if let Some(cue) = cue {
            around.store.cue_load(cue);
        }
        let (before, starts) = (around.device.state(), around.device.starts());
        around.device.forget_calls();
        let world = World::over(around).await;
        let named = names(&world);
        // Longer than any patience, and than the job's time.
        sleep(Duration::from_secs(7200)).await;
        assert_eq!((touched(&world), names(&world)), (Vec::new(), named.clone()), "{what} is remembered");
        assert_eq!(world.device.state(), before, "{what} is remembered");
        let refused = world.write("Pod", "", mkube_messages::objects::Verb::Create { body: pod("new") }).await;
        assert_eq!(refused.expect_err("nobody can keep it").code, 503, "{what} is remembered");
        let refused = world.evict("made-by-others").await;
        let refused = refused.expect_err("nobody knows whether it is there");
        assert!(matches!(&refused, CallError::Fault(status) if status.code == 503), "{what}: {refused}");

        world.around.store.set_stale(None);
        world
            .until("everything is known again", |world| PODS.iter().all(|pod| world.is_ready(pod)) && is_through(world))
            .await;
        world.until("the job's time is over", |world| world.get("Job", "once").is_none()).await;
        sleep(Duration::from_secs(900)).await;
        let of_job = |name: &String| name.contains("once");
        let now = world.device.starts().into_iter().filter(|(name, _)| !of_job(name));
        assert!(now.eq(starts.into_iter().filter(|(name, _)| !of_job(name))), "{what} was remembered");
        assert_eq!(names(&world), named, "{what} was remembered");
        assert!(PODS.iter().all(|pod| restarts(&world, pod) == 0));
        nothing_failed(&world);
        world.create("Pod", pod("new")).await;
        world.until_ready("new").await;
        world.stop().await;
    }
}

#[actix::test]
async fn pods_go_on_as_always_while_the_store_is_away() {
    tokio::time::pause();
    let world = whole_site().await;
    world.around.store.tell_what_others_do();
    world.delete("Pod", "first").await;
    world.around.store.set_stale(Some(AWAY));
    world.until("it is known", |world| world.get("Pod", "web-0").is_some()).await;
    // One that ends is started again, and that is counted and told.
    world.device.end_process("default_web-0_c", 1);
    world.until("it runs again", |world| restarts(world, "web-0") == 1 && world.is_ready("web-0")).await;
    // What is on its way out is taken down, and waits for the store to be forgotten.
    world.until("it is taken down", |world| world.device.row("container", "default_first_c").is_none()).await;
    sleep(Duration::from_secs(600)).await;
    assert!(world.get("Pod", "first").is_some());
    let tries = world.around.store.batches().len();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(world.around.store.batches().len(), tries, "nothing is committed to a store that is away");
    world.tree.crash("mkube/objects", CrashHow::Panic).await.expect("it runs");
    world.around.store.set_stale(None);
    world.until_gone("first").await;
    world.until("what was told meanwhile stands", |world| restarts(world, "web-0") == 1).await;
    assert!(world.around.store.text("PODS", "default.web-0").expect("stored").contains("\"restartCount\":1"));
}
