//! A rollout over a host that lies, loses, hangs or boots; and over containers and probe endpoints that do not do what they should.
//! Never fewer replicas than may be missing, nothing made or removed twice, and the end is the wanted one.

mod world;

use std::time::Duration;

use mkube_fakes::{Answer, Cue, FakeTarballs, Timings};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use world::{Surroundings, World};

const WEB: [&str; 3] = ["web-0", "web-1", "web-2"];

fn deployment() -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3,
            "progressDeadlineSeconds": 100,
            "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": {"spec": {"containers": [{"name": "c", "image": "web:1"}]}},
        },
    })
}

fn new_image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

/// A template whose container is ready when somebody listens on this port.
fn probed(image: &str, port: u16) -> Value {
    let probe = json!({"httpGet": {"port": port}, "periodSeconds": 2, "timeoutSeconds": 1, "failureThreshold": 1});
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image, "readinessProbe": probe}]}}}})
}

fn progress(world: &World) -> String {
    let object = world.get("Deployment", "web").unwrap_or_default();
    let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = all.into_iter().find(|one| one["type"] == "Progressing").unwrap_or_default();
    found["reason"].as_str().unwrap_or_default().to_owned()
}

fn is_through(world: &World) -> bool {
    let Some(object) = world.get("Deployment", "web") else { return false };
    let status = &object["status"];
    status["observedGeneration"] == object["metadata"]["generation"]
        && progress(world) == "NewReplicaSetAvailable"
        && ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|field| status[field] == 3)
}

fn device_runs(world: &World, pod: &str, image: &str) -> bool {
    let row = world.device.row("container", &format!("default_{pod}_c"));
    row.is_some_and(|row| row["file"] == FakeTarballs::path(image).as_str() && row["running"] == "true")
}

fn restarts(world: &World, pod: &str) -> u64 {
    world.status(pod)["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()
}

async fn running(around: Surroundings) -> World {
    let world = World::over(around).await;
    world.create("Deployment", deployment()).await;
    world.until("the deployment is through", is_through).await;
    world
}

/// Waits; the fewest containers that ran meanwhile.
async fn fewest(world: &World, what: &str, holds: impl Fn(&World) -> bool) -> usize {
    let mut fewest = WEB.len();
    let end = Instant::now() + Duration::from_secs(1800);
    while !holds(world) {
        assert!(Instant::now() < end, "not so: {what}: {:#?}", world.get("Deployment", "web"));
        fewest = fewest.min(WEB.iter().filter(|pod| world.device.is_running(&format!("default_{pod}_c"))).count());
        sleep(Duration::from_millis(20)).await;
    }
    fewest
}

/// All three run this version in one row each, at addresses of their own, and nobody was restarted or taken for broken.
#[track_caller]
fn all_run(world: &World, image: &str, what: &str) {
    for pod in WEB {
        assert!(device_runs(world, pod, image), "{what}: {pod}");
        // Of a row that was listed as stopped after it was started nobody can tell that it did not end.
        let most = u64::from(what == "a stale list: GET /container");
        assert!(restarts(world, pod) <= most, "{what}: {pod}");
    }
    assert_eq!((world.device.rows("container").len(), world.device.rows("interface/veth").len()), (3, 3), "{what}");
    let mut addresses: Vec<String> =
        world.device.rows("interface/veth").iter().map(|row| row["address"].to_string()).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 3, "{what}");
    for reason in ["RolloutFailed", "RolledBack", "OrphanRemoved"] {
        assert_eq!(world.events(reason), Vec::<String>::new(), "{what}");
    }
}

/// Three rows were removed and made: each once.
#[track_caller]
fn each_once(world: &World, what: &str) {
    let counts = ["POST /container/remove", "POST /container/add"].map(|call| world.device.count(call));
    assert_eq!(counts, [3, 3], "{what}");
}

#[actix::test]
async fn a_host_that_lies_about_its_rows_during_a_rollout_only_makes_it_slower() {
    tokio::time::pause();
    for (cue, what) in
        [(Cue::EmptyList, "nothing listed"), (Cue::StaleList, "a stale list"), (Cue::TwiceListed, "rows twice")]
    {
        for list in ["GET /container", "GET /interface/veth", "GET /interface/bridge/port"] {
            let mut around = Surroundings::another();
            around.repairs.automatic = true;
            let world = running(around).await;
            world.device.forget_calls();
            world.patch("Deployment", "web", new_image("web:2")).await;
            for nth in [2, 3, 7, 12, 13, 14, 30] {
                world.device.cue(list, nth, cue.clone());
            }
            let what = format!("{what}: {list}");
            assert!(fewest(&world, &what, is_through).await >= 2, "{what}");
            world.device.clear_cues();
            sleep(Duration::from_secs(1200)).await;
            all_run(&world, "web:2", &what);
            world.stop().await;
        }
    }
}

#[actix::test]
async fn a_host_that_loses_a_reply_of_each_kind_during_a_rollout_does_nothing_twice() {
    tokio::time::pause();
    let all = ["POST /container/stop", "POST /container/remove", "POST /container/add", "POST /container/start"];
    for lost in all {
        for nth in [1, 3] {
            for cue in [Cue::LoseReply, Cue::LoseReplyAndGoAway(Duration::from_secs(45))] {
                let world = running(Surroundings::another()).await;
                world.device.forget_calls();
                world.device.cue(lost, nth, cue.clone());
                world.patch("Deployment", "web", new_image("web:2")).await;
                let what = format!("{cue:?} {lost} {nth}");
                assert!(fewest(&world, &what, is_through).await >= 2, "{what}");
                sleep(Duration::from_secs(60)).await;
                all_run(&world, "web:2", &what);
                world.stop().await;
            }
        }
    }
}

#[actix::test]
async fn a_reboot_at_whatever_moment_of_a_rollout_is_no_failure_of_it() {
    tokio::time::pause();
    let roll = async |reboot: Option<usize>| {
        let around = Surroundings::another();
        let crossings = around.crossings.clone();
        around.device.set_crossings(crossings.clone());
        let world = running(around).await;
        world.device.forget_calls();
        if let Some(number) = reboot {
            let device = world.device.clone();
            crossings.at(number, move || Box::pin(async move { device.reboot(Duration::from_secs(20)) }));
        }
        crossings.start();
        world.patch("Deployment", "web", new_image("web:2")).await;
        fewest(&world, "the deployment is through", is_through).await;
        crossings.stop();
        sleep(Duration::from_secs(60)).await;
        all_run(&world, "web:2", &format!("{reboot:?}"));
        if reboot.is_none() {
            each_once(&world, "without a reboot");
        }
        world.stop().await;
        crossings.names()
    };
    let crossings = roll(None).await;
    let moves =
        crossings.iter().enumerate().filter(|(_, name)| name.contains("/container/") && name.contains(" POST "));
    let moves: Vec<usize> = moves.map(|(number, _)| number).collect();
    assert!(moves.len() >= 24, "{crossings:?}");
    for number in moves.into_iter().step_by(3) {
        roll(Some(number)).await;
    }
}

#[actix::test]
async fn a_version_that_hangs_in_its_start_takes_one_pod_and_no_more_and_a_better_one_goes_on() {
    let world = running(Surroundings::new()).await;
    world.patch("Deployment", "web", new_image("web:2")).await;
    world
        .until("the first one is replaced", |world| {
            world.get("Pod", "web-0").expect("it")["spec"]["containers"][0]["image"] == "web:2"
        })
        .await;
    world.device.set_timings(Timings { start: Duration::from_secs(100_000), ..Timings::default() });
    assert!(fewest(&world, "it is given up", |world| progress(world) == "ProgressDeadlineExceeded").await >= 2);
    assert!(device_runs(&world, "web-1", "web:1") && device_runs(&world, "web-2", "web:1"));
    world.device.set_timings(Timings::default());
    world.patch("Deployment", "web", new_image("side:1")).await;
    assert!(fewest(&world, "a better one is through", is_through).await >= 2);
}

#[actix::test]
async fn a_version_that_ignores_being_told_to_end_is_replaced_all_the_same() {
    let around = Surroundings::new();
    let world = running(around).await;
    world.device.set_timings(Timings { stop: Duration::from_secs(29), ..Timings::default() });
    world.device.forget_calls();
    world.patch("Deployment", "web", new_image("web:2")).await;
    assert!(fewest(&world, "the deployment is through", is_through).await >= 2);
    all_run(&world, "web:2", "slow to end");
    each_once(&world, "slow to end");
}

#[actix::test]
async fn a_version_whose_probe_hangs_or_flaps_takes_one_pod_and_no_more() {
    tokio::time::pause();
    for flaps in [false, true] {
        let around = Surroundings::another();
        around.prober.set(80, Answer::Good);
        around.prober.set(81, Answer::Hang);
        let world = World::over(around).await;
        let mut body = deployment();
        body["spec"]["template"] = probed("web:1", 80)["spec"]["template"].clone();
        world.create("Deployment", body).await;
        world.until("the deployment is through", is_through).await;
        world.patch("Deployment", "web", probed("web:2", 81)).await;
        let flapping = async {
            let mut good = false;
            loop {
                sleep(Duration::from_secs(2)).await;
                good = flaps && !good;
                world.around.prober.set(81, if good { Answer::Good } else { Answer::Hang });
            }
        };
        let judged = fewest(&world, "it is given up", |world| progress(world) == "ProgressDeadlineExceeded");
        let fewest = tokio::select! { biased; fewest = judged => fewest, () = flapping => unreachable!("without end") };
        assert!(fewest >= 2, "flaps: {flaps}");
        assert!(device_runs(&world, "web-1", "web:1") && device_runs(&world, "web-2", "web:1"), "flaps: {flaps}");
        assert!(world.is_ready("web-1") && world.is_ready("web-2"));
        world.stop().await;
    }
}
