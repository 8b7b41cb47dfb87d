//! A site with something of everything (Deployments, Jobs, probes, an order of boot, automatic repairs): what its checks say of it when
//! all is well, and that nothing is taken away whatever the store or the clock does.

mod site;
mod world;

use std::time::Duration;

use mkube_fakes::Answer;
use mkube_messages::consistency::CheckStatus;
use mkube_model::neighbours::desired_store::{StoreFault, StoreKey};
use serde_json::json;
use site::{NODE, deployment, device_runs, is_through, new_image, nothing_failed, restarts, set_node};
use tokio::time::{Instant, sleep};
use world::{Surroundings, World, job, pod};

const PODS: [&str; 3] = ["first", "web-0", "web-1"];

fn automatic(mut around: Surroundings) -> Surroundings {
    around.repairs.automatic = true;
    around
}

/// Commands that took something away or made something.
fn touched(world: &World) -> Vec<String> {
    let calls = world.device.calls().into_iter().map(|call| call.operation);
    calls.filter(|call| ["/add", "/remove", "/start", "/stop", "/set"].iter().any(|end| call.ends_with(end))).collect()
}

/// Checks of the newest report that did not pass, as far as `which` goes.
fn not_passed(world: &World, which: CheckStatus) -> Vec<String> {
    let report = world.report().expect("there is one");
    let found = report.checks.iter().filter(|(_, check)| check.status == which);
    found.map(|(_, check)| format!("{}: {:?}", check.name, check)).collect()
}

/// A site with something of everything.
async fn whole_site(around: Surroundings) -> World {
    around.prober.set(80, Answer::Good);
    let world = World::over(around).await;
    world.create("Node", json!({"metadata": {"name": NODE}})).await;
    let mut first = pod("first");
    first["metadata"]["annotations"] = json!({"vkube.io/boot-priority": "1"});
    world.create("Pod", first).await;
    let mut body = deployment(2);
    body["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 80}});
    body["spec"]["template"]["metadata"] = json!({"annotations": {"vkube.io/depends-on": "first"}});
    world.create("Deployment", body).await;
    let spec = job("", "Never", &["exit", "0"])["spec"].clone();
    world.create("Job", json!({"metadata": {"name": "once"}, "spec": {"template": {"spec": spec}}})).await;
    world.until("the deployment is through", is_through).await;
    world.until("the job is done", |world| world.get("Job", "once").expect("it")["status"]["succeeded"] == 1).await;
    world
}

#[actix::test]
async fn a_healthy_site_has_nothing_to_report_also_after_a_rollout_a_reboot_and_a_drain() {
    let mut around = Surroundings::new();
    around.repairs.automatic = true;
    let world = whole_site(around).await;
    let all_is_well = |world: &World, when: &str| {
        let report = world.report().expect("there is one");
        assert_eq!(not_passed(world, CheckStatus::Fail), Vec::<String>::new(), "{when}");
        assert!(report.planned.is_empty(), "{when}: {:#?}", report.planned);
    };
    sleep(Duration::from_secs(400)).await;
    all_is_well(&world, "at first");
    world.patch("Deployment", "web", new_image("web:2")).await;
    world.until("the deployment is through", is_through).await;
    sleep(Duration::from_secs(400)).await;
    all_is_well(&world, "after every pod was replaced");
    world.device.reboot(Duration::from_secs(30));
    sleep(Duration::from_secs(400)).await;
    assert!(is_through(&world), "{:#?}", world.get("Deployment", "web"));
    all_is_well(&world, "after a boot of the device");
    nothing_failed(&world);
    set_node(&world, true, true).await;
    sleep(Duration::from_secs(900)).await;
    all_is_well(&world, "while the node is empty on purpose");
    set_node(&world, false, false).await;
    world.until("the deployment is through", is_through).await;
    set_node(&world, false, true).await;
    world.create("Pod", pod("late")).await;
    sleep(Duration::from_secs(900)).await;
    all_is_well(&world, "while a pod waits for the node to open");
}

/// A store that lost this, in which revisions go on from there; the site goes on over it, for an hour.
async fn an_hour_over(world: World, what: &str, lost: impl Fn(&StoreKey) -> bool, revision: u64) -> World {
    let around = world.stop().await;
    let before = around.device.state();
    around.store.forget(lost, revision);
    around.device.forget_calls();
    let world = World::over(around).await;
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.device.state(), before, "{what}");
    assert!(PODS.iter().all(|pod| world.device.is_running(&format!("default_{pod}_c"))), "{what}");
    assert_eq!(touched(&world), Vec::<String>::new(), "{what}");
    world
}

#[actix::test]
async fn a_store_that_is_empty_or_partial_takes_nothing_away_from_the_site() {
    tokio::time::pause();
    let buckets: [(&str, &[&str]); 4] = [
        ("everything is lost", &[""]),
        ("the pods are lost", &["PODS"]),
        ("the Deployments and their records are lost", &["DEPLOYMENTS", "REPLICASETS"]),
        ("the Jobs and the node are lost", &["JOBS", "NODES"]),
    ];
    for (what, lost) in buckets {
        let world = whole_site(automatic(Surroundings::another())).await;
        sleep(Duration::from_secs(400)).await;
        let is_lost = |at: &StoreKey| lost.iter().any(|bucket| at.bucket.starts_with(bucket));
        if what.contains("pods are") {
            // Whoever has a Deployment gets its pods again, over the containers that are there.
            let around = world.stop().await;
            around.store.forget(is_lost, 10_000);
            around.device.forget_calls();
            let world = World::over(around).await;
            sleep(Duration::from_secs(3600)).await;
            let removed = touched(&world).iter().filter(|call| call.ends_with("container/remove")).count();
            assert!(removed == 0 && world.device.is_running("default_first_c"), "{what}: {:?}", touched(&world));
            assert!(is_through(&world), "{what}");
            world.stop().await;
        } else {
            an_hour_over(world, what, is_lost, 10_000).await.stop().await;
        }
    }
}

#[actix::test]
async fn a_store_whose_revisions_begin_again_is_written_to_and_nothing_is_taken_away() {
    let world = whole_site(automatic(Surroundings::new())).await;
    sleep(Duration::from_secs(400)).await;
    let world = an_hour_over(world, "revisions begin again", |_| false, 1).await;
    world.patch("Deployment", "web", json!({"spec": {"replicas": 3}})).await;
    world.until("a write arrives", |world| is_through(world) && world.is_ready("web-2")).await;
    nothing_failed(&world);
}

#[actix::test]
async fn a_store_that_cannot_be_read_takes_nothing_away_from_the_site_and_it_goes_on_afterwards() {
    tokio::time::pause();
    for fault in [StoreFault::Unreadable("damaged".into()), StoreFault::Away("it is being moved".into())] {
        let world = whole_site(automatic(Surroundings::another())).await;
        sleep(Duration::from_secs(400)).await;
        let around = world.stop().await;
        let before = around.device.state();
        around.store.set_load_fault(Some(fault));
        around.device.forget_calls();
        let world = World::unread(around).await;
        sleep(Duration::from_secs(1800)).await;
        assert_eq!((touched(&world), world.device.state()), (vec![], before.clone()));
        world.around.store.set_load_fault(None);
        world.until("the store is read", is_through).await;
        sleep(Duration::from_secs(1800)).await;
        assert_eq!(world.device.state(), before);
        nothing_failed(&world);
        world.stop().await;
    }
}

#[actix::test]
async fn while_the_store_is_away_for_ten_minutes_pods_that_crash_are_restarted_and_a_rollout_goes_on_afterwards() {
    let world = whole_site(automatic(Surroundings::new())).await;
    sleep(Duration::from_secs(400)).await;
    world.around.store.go_away_for(Duration::from_secs(600));
    let end = Instant::now() + Duration::from_secs(600);
    let mut crashes = 0;
    while Instant::now() < end {
        let pod = PODS[crashes % PODS.len()];
        if world.device.is_running(&format!("default_{pod}_c")) && crashes < 6 {
            world.device.end_process(&format!("default_{pod}_c"), 3);
            crashes += 1;
        }
        sleep(Duration::from_secs(45)).await;
    }
    assert_eq!(crashes, 6);
    assert!(PODS.iter().all(|pod| world.device.is_running(&format!("default_{pod}_c"))), "each was restarted");
    assert_eq!(world.device.count("POST /container/remove"), 0);
    world.until("the counts are told", |world| PODS.iter().all(|pod| restarts(world, pod) == 2)).await;
    world.patch("Deployment", "web", new_image("web:2")).await;
    world.until("the deployment is through", is_through).await;
    assert!(device_runs(&world, "web-0", "web:2") && device_runs(&world, "web-1", "web:2"));
}

#[actix::test]
async fn a_clock_that_jumps_takes_nothing_away_fails_no_rollout_and_restarts_nobody() {
    tokio::time::pause();
    for seconds in [10 * 365 * 86_400, -365 * 86_400, 3600, -3600] {
        let world = whole_site(automatic(Surroundings::another())).await;
        world.patch("Deployment", "web", new_image("web:2")).await;
        world.until("the first one is replaced", |world| device_runs(world, "web-0", "web:2")).await;
        world.around.clock.step(seconds);
        world.until("the deployment is through", is_through).await;
        let before = world.device.state();
        world.around.clock.step(-seconds);
        sleep(Duration::from_secs(1800)).await;
        world.around.clock.step(seconds);
        sleep(Duration::from_secs(1800)).await;
        assert_eq!(world.device.state(), before, "{seconds}");
        assert!(PODS.iter().all(|pod| restarts(&world, pod) == 0 && world.is_ready(pod)), "{seconds}");
        nothing_failed(&world);
        let world = World::over(world.stop().await).await;
        sleep(Duration::from_secs(900)).await;
        assert_eq!(world.device.state(), before, "{seconds}, after a restart");
        nothing_failed(&world);
        world.stop().await;
    }
}
