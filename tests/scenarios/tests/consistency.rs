//! What nobody owns is found, judged and taken away; and everything else stays, whatever the store says.

mod world;

use std::time::Duration;

use mkube_fakes::{Cue, FakeTarballs, Timings, Verb as DeviceVerb};
use mkube_messages::consistency::{ActionReport, CheckStatus, RepairAction, RepairFault, RepairOutcome, Repaired};
use mkube_messages::door::CallError;
use mkube_model::neighbours::desired_store::StoreFault;
use mkube_supervision::CrashHow;
use serde_json::{Value, json};
use tokio::time::sleep;
use world::{Surroundings, World, full_pod, pod, settings};

const ACTOR: &str = "mkube/deciders/consistency";
const LOST: &str = "default_lost_c";
/// Older than anything has to be.
const LONG: Duration = Duration::from_secs(780);

/// A container and an interface of somebody else, called as mkube would call them.
fn foreign(around: &Surroundings) {
    let device = &around.device;
    device.operate(DeviceVerb::Put, "interface/veth", json!({"name": "veth_default_nas_0", "address": "10.9.9.9/24"}));
    device.operate(
        DeviceVerb::Put,
        "container",
        json!({"name": "default_nas_c", "file": FakeTarballs::path("web:1"), "interface": "veth_default_nas_0",
            "root-dir": "/images/nas", "comment": "nas, do not touch"}),
    );
    device.operate(DeviceVerb::Put, "container/mounts", json!({"list": "default_nas_c", "src": "/nas", "dst": "/nas"}));
}

/// Pods `p0`, `p1` … run, and one called `lost` that has everything a pod can have. mkube has stopped.
async fn fleet(around: Surroundings, pods: usize) -> Surroundings {
    foreign(&around);
    let world = World::over(around).await;
    world.create("ConfigMap", settings("x")).await;
    let mut lost = full_pod("lost", "web:1");
    lost["spec"]["containers"].as_array_mut().expect("a list").truncate(1);
    world.create("Pod", lost).await;
    for number in 0..pods {
        world.create("Pod", pod(&format!("p{number}"))).await;
    }
    world.until_ready("lost").await;
    for number in 0..pods {
        world.until_ready(&format!("p{number}")).await;
    }
    world.stop().await
}

/// The store loses a pod behind everybody's back.
fn lose(around: &Surroundings, name: &str) {
    around.store.put_behind("PODS", &format!("default.{name}"), None);
}

async fn until_found(world: &World) {
    world
        .until("it is found", |world| {
            world.report().is_some_and(|report| report.planned.iter().any(|one| one.object == LOST))
        })
        .await;
}

fn removals(world: &World) -> usize {
    let commands = ["container/stop", "container/remove", "container/mounts/remove", "container/envs/remove"];
    let commands = commands.iter().chain(&["interface/veth/remove", "interface/bridge/port/remove"]);
    commands.map(|command| world.device.count(&format!("POST /{command}"))).sum()
}

/// What there is of a pod on the device, by its name.
fn traces(world: &World, name: &str) -> Vec<String> {
    let state = world.device.state();
    let rows = state.as_object().expect("menus").values().filter_map(Value::as_array).flatten();
    rows.map(Value::to_string)
        .filter(|row| row.contains(&format!("_{name}_")) || row.contains(&format!("/{name}")))
        .collect()
}

fn outcome(actions: &[ActionReport], action: RepairAction) -> Option<RepairOutcome> {
    actions.iter().find(|one| one.action == action).map(|one| one.outcome)
}

#[actix::test]
async fn what_lost_its_pod_is_planned_at_first_and_removed_when_asked_for_after_ten_minutes() {
    let around = fleet(Surroundings::new(), 5).await;
    lose(&around, "lost");
    let world = World::over(around).await;
    until_found(&world).await;
    world.device.forget_calls();
    let before = world.device.state();
    let early = world.repair(false).await.expect("answered");
    assert_eq!(outcome(&early.actions, RepairAction::RemoveContainer), Some(RepairOutcome::Planned));
    assert!(early.actions.iter().all(|one| one.outcome == RepairOutcome::Planned && !one.why.is_empty()), "{early:#?}");

    sleep(LONG).await;
    let dry = world.repair(true).await.expect("answered");
    assert!(dry.actions.iter().any(|one| one.object == LOST && one.why.is_empty()), "it could go now: {dry:#?}");
    assert_eq!((removals(&world), world.device.state()), (0, before), "nothing goes unasked, and a dry run is dry");

    let done = world.repair(false).await.expect("answered");
    let expected = [(LOST, RepairOutcome::Done), ("veth_default_lost_0", RepairOutcome::Done)];
    let found: Vec<(&str, RepairOutcome)> = done
        .actions
        .iter()
        .filter(|one| one.action != RepairAction::ReleaseAddress)
        .map(|one| (one.object.as_str(), one.outcome))
        .collect();
    assert_eq!(found, expected, "{done:#?}");
    assert_eq!(traces(&world, "lost"), Vec::<String>::new());
    assert!(!traces(&world, "nas").is_empty() && world.device.row("container", "default_nas_c").is_some());
    for number in 0..5 {
        assert!(world.device.is_running(&format!("default_p{number}_c")));
    }
    world.until("both removals are told", |world| world.events("OrphanRemoved").len() == 2).await;
    let again = world.repair(false).await.expect("answered");
    assert!(again.actions.iter().all(|one| one.action == RepairAction::ReleaseAddress), "{again:#?}");
    assert_eq!(world.report().expect("made").stopped, None);
}

#[actix::test]
async fn what_lost_its_pod_goes_by_itself_where_that_is_wanted_and_a_restart_begins_the_clock_anew() {
    let mut around = Surroundings::new();
    around.repairs.automatic = true;
    let around = fleet(around, 5).await;
    lose(&around, "lost");
    let world = World::over(around).await;
    sleep(Duration::from_secs(540)).await;
    // The actor dies in between: what it suspected dies with it.
    world.tree.crash(ACTOR, CrashHow::Panic).await.expect("it runs");
    sleep(Duration::from_secs(540)).await;
    assert!(world.device.is_running(LOST));
    let world = World::over(world.stop().await).await;
    sleep(Duration::from_secs(540)).await;
    assert!(world.device.is_running(LOST));
    world.until("it is gone", |world| traces(world, "lost").is_empty()).await;
    assert!(!traces(&world, "nas").is_empty());
    assert!((0..5).all(|number| world.device.is_running(&format!("default_p{number}_c"))));
}

#[actix::test]
async fn a_store_that_is_empty_or_partial_removes_nothing_and_calls_somebody() {
    for lost in [3, 6] {
        let mut around = if lost == 3 { Surroundings::new() } else { Surroundings::another() };
        around.repairs.automatic = true;
        let around = fleet(around, 5).await;
        lose(&around, "lost");
        for number in 0..lost - 1 {
            lose(&around, &format!("p{number}"));
        }
        let before = around.device.state();
        let world = World::over(around).await;
        world.device.forget_calls();
        sleep(2 * LONG).await;
        assert_eq!((removals(&world), world.device.state()), (0, before), "{lost} of 6 are lost");
        let refused = world.repair(false).await.expect("answered");
        assert_eq!(outcome(&refused.actions, RepairAction::RemoveContainer), Some(RepairOutcome::Refused));
        assert_eq!(removals(&world), 0);
        assert!(!world.events("RepairStopped").is_empty());
        assert!(world.report().expect("made").stopped.is_some());
        world.stop().await;
    }
}

#[actix::test]
async fn while_the_store_cannot_be_read_nothing_is_removed() {
    let mut around = Surroundings::new();
    around.repairs.automatic = true;
    let around = fleet(around, 5).await;
    lose(&around, "lost");
    let world = World::over(around).await;
    until_found(&world).await;
    world.device.forget_calls();
    world.around.store.set_load_fault(Some(StoreFault::Unreadable("damaged".into())));
    world.tree.crash("mkube/objects", CrashHow::Panic).await.expect("it runs");
    sleep(2 * LONG).await;
    assert_eq!(removals(&world), 0);
    assert!(world.device.is_running(LOST));
    world.around.store.set_load_fault(None);
    // What was suspected before is forgotten: the clock begins anew.
    sleep(Duration::from_secs(540)).await;
    assert_eq!(removals(&world), 0);
    world.until("it is gone when the store was read", |world| world.device.row("container", LOST).is_none()).await;
}

#[actix::test]
async fn a_device_that_lists_nothing_for_a_tick_or_is_away_costs_nothing() {
    let mut around = Surroundings::new();
    around.repairs.automatic = true;
    let around = fleet(around, 5).await;
    let world = World::over(around).await;
    world.until("there is a report", |world| world.report().is_some()).await;
    sleep(Duration::from_secs(120)).await;
    let before = world.device.state();
    world.device.forget_calls();
    for list in ["GET /container", "GET /interface/veth", "GET /container/mounts", "GET /container/envs"] {
        world.device.cue(list, 1, Cue::EmptyList);
    }
    sleep(LONG).await;
    world.device.set_away(true);
    sleep(Duration::from_secs(300)).await;
    let away = world.report().expect("made");
    let ports = away.checks.iter().find(|(_, check)| check.name == "network-ports").expect("it is said");
    assert_eq!(ports.1.status, CheckStatus::Fail);
    world.device.set_away(false);
    sleep(LONG).await;
    assert_eq!((removals(&world), world.device.state()), (0, before));
    let report = world.report().expect("made");
    let failed: Vec<_> = report.checks.iter().filter(|(_, check)| check.status == CheckStatus::Fail).collect();
    assert!(failed.is_empty() && report.planned.is_empty(), "{failed:#?} {:#?}", report.planned);
}

#[actix::test]
async fn a_pod_that_comes_back_while_its_container_is_being_stopped_keeps_it() {
    let around = fleet(Surroundings::new(), 5).await;
    lose(&around, "lost");
    around.device.set_timings(Timings { stop: Duration::from_secs(20), ..Timings::default() });
    let world = World::over(around).await;
    until_found(&world).await;
    sleep(LONG).await;
    world.device.forget_calls();
    let repair = world.repair(false);
    let returns = async {
        world.until("it is being stopped", |world| world.device.count("POST /container/stop") > 0).await;
        let mut lost = full_pod("lost", "web:1");
        lost["spec"]["containers"].as_array_mut().expect("a list").truncate(1);
        world.create("Pod", lost).await;
    };
    let (repaired, ()) = tokio::join!(repair, returns);
    let refused = repaired.expect("answered");
    let told = refused.actions.iter().find(|one| one.object == LOST).expect("it was tried");
    assert_eq!((told.outcome, told.why.as_str()), (RepairOutcome::Refused, "pod default/lost is there now"));
    world.until_ready("lost").await;
    assert_eq!(world.device.count("POST /container/remove"), 0);
    assert_eq!(world.device.count("POST /container/add"), 0);
    assert!(!world.events("RepairFailed").is_empty());
}

#[actix::test]
async fn repairs_are_one_at_a_time_and_a_death_in_the_middle_leaves_nothing_half_done() {
    let around = fleet(Surroundings::new(), 5).await;
    lose(&around, "lost");
    around.device.set_timings(Timings { stop: Duration::from_secs(20), ..Timings::default() });
    let world = World::over(around).await;
    until_found(&world).await;
    sleep(LONG).await;
    world.device.forget_calls();
    let first = world.repair(false);
    let second = async {
        world.until("it is being stopped", |world| world.device.count("POST /container/stop") > 0).await;
        let second = world.repair(false).await;
        assert!(matches!(second, Err(CallError::Fault(RepairFault::UnderWay))), "{second:?}");
        let dry = world.repair(true).await;
        assert!(dry.is_ok(), "a dry run is in nobody's way: {dry:?}");
        world.tree.crash(ACTOR, CrashHow::Panic).await.expect("it runs");
    };
    let (first, ()) = tokio::join!(first, second);
    assert!(first.is_err(), "{first:?}");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.device.count("POST /container/remove"), 0);
    sleep(LONG).await;
    let done = world.repair(false).await.expect("answered");
    assert_eq!(outcome(&done.actions, RepairAction::RemoveContainer), Some(RepairOutcome::Done));
    assert_eq!(traces(&world, "lost"), Vec::<String>::new());
}

#[actix::test]
async fn before_anything_was_read_there_is_no_report_and_no_repair() {
    let around = fleet(Surroundings::new(), 1).await;
    around.device.set_away(true);
    let world = World::over(around).await;
    sleep(Duration::from_secs(60)).await;
    assert!(world.report().is_none());
    for dry in [true, false] {
        assert_eq!(world.repair(dry).await, Err(CallError::Fault(RepairFault::NotYet)));
    }
    world.device.set_away(false);
    world.until("there is a report", |world| world.report().is_some()).await;
}

#[actix::test]
async fn a_pod_whose_deployment_is_gone_from_the_store_is_deleted_like_any_other() {
    let mut around = Surroundings::new();
    around.repairs.automatic = true;
    let world = World::over(around).await;
    let mut uids = Vec::new();
    for name in ["web", "gone"] {
        let template =
            json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}});
        let body = json!({"metadata": {"name": name}, "spec": {"replicas": 1,
            "selector": {"matchLabels": {"app": name}}, "template": template}});
        world.create("Deployment", body).await;
        uids.push(world.get("Deployment", name).expect("made")["metadata"]["uid"].clone());
    }
    for (name, owner) in [("web", 0), ("gone", 1)] {
        let mut body = pod(&format!("{name}-0"));
        body["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": name,
            "uid": uids[owner], "controller": true}]);
        world.create("Pod", body).await;
        world.until_ready(&format!("{name}-0")).await;
    }
    let around = world.stop().await;
    around.store.put_behind("DEPLOYMENTS", "default.gone", None);
    let world = World::over(around).await;
    sleep(Duration::from_secs(300)).await;
    assert!(world.is_ready("gone-0"), "not at once");
    world.until_gone("gone-0").await;
    assert_eq!(traces(&world, "gone-0"), Vec::<String>::new());
    sleep(LONG).await;
    assert!(world.is_ready("web-0"));
}

#[actix::test]
async fn a_run_asks_the_device_nothing() {
    let around = fleet(Surroundings::new(), 3).await;
    let world = World::over(around).await;
    world.until("there is a report", |world| world.report().is_some()).await;
    sleep(Duration::from_secs(30)).await;
    world.device.forget_calls();
    for _ in 0..50 {
        assert_eq!(world.repair(true).await, Ok(Repaired::default()));
    }
    assert_eq!(world.device.calls().len(), 0);
    let report = world.report().expect("made");
    assert_eq!(report.count(CheckStatus::Fail), 0, "{report:#?}");
}
