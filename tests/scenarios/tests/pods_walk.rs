//! The walk of pods from stored to running to gone, with what goes wrong on the way.

mod world;

use std::time::Duration;

use mkube_fakes::Verb as DeviceVerb;
use mkube_fakes::{Cue, FakeTarballs};
use mkube_model::neighbours::tarballs::PullPolicy;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use world::{Surroundings, World, full_pod, job, pod, settings};

const ROW: &str = "default_web_c";

#[actix::test]
async fn a_pod_comes_up_runs_and_leaves_nothing_behind() {
    let world = World::new().await;
    world.create("Pod", pod("web")).await;
    let began = Instant::now();
    world.until_ready("web").await;
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    let status = world.status("web");
    assert_eq!(status["phase"], "Running");
    assert_eq!(status["podIP"], "10.90.0.2");
    assert_eq!(status["containerStatuses"][0]["restartCount"], 0);
    assert!(world.device.is_running(ROW));
    let mutations = |operation: &str| world.device.count(operation);
    assert_eq!(
        [
            mutations("POST /interface/veth/add"),
            mutations("POST /interface/bridge/port/add"),
            mutations("POST /container/add"),
            mutations("POST /container/start"),
        ],
        [1, 1, 1, 1]
    );
    world.delete("Pod", "web").await;
    world.until_gone("web").await;
    world.nothing_is_left();
}

#[actix::test]
async fn the_first_thing_told_of_a_pod_that_is_made_quickly_is_that_it_runs() {
    let world = World::new().await;
    world.create("Pod", pod("web")).await;
    world.until_ready("web").await;
    // "Being made" would cost the one write a second, and "runs" would come a second late.
    let told: Vec<Value> = world
        .stored_states("web")
        .iter()
        .filter_map(|pod| pod.pointer("/status/containerStatuses/0/state").cloned())
        .collect();
    let first = told.iter().take_while(|state| **state == told[0]).count();
    assert_eq!(first, told.len(), "it never says anything else: {told:?}");
    assert!(told[0].get("running").is_some(), "{told:?}");
}

#[actix::test]
async fn everything_a_pod_uses_is_made_changed_and_cleared_away() {
    let world = World::new().await;
    world.create("ConfigMap", settings("one")).await;
    world.create("Pod", full_pod("web", "web:1")).await;
    world.until_ready("web").await;
    assert_eq!(world.around.disk.text(ROW, "config", "web.conf").as_deref(), Some("one"));
    let state = world.device.state();
    assert_eq!(state["mounts"].as_array().map(Vec::len), Some(2));
    let address = world.status("web")["podIP"].clone();
    assert!(state["envs"].as_array().is_some_and(|rows| rows.contains(&json!([ROW, "IP", address]))), "{state:#}");
    let side_before = world.device.row("container", "default_web_side").expect("there")[".id"].clone();

    world.patch("ConfigMap", "settings", json!({"data": {"web.conf": "two"}})).await;
    world
        .until("the new file is there", |world| {
            world.around.disk.text(ROW, "config", "web.conf").as_deref() == Some("two")
        })
        .await;
    sleep(Duration::from_secs(3)).await;
    world.until_ready("web").await;
    let side = world.device.row("container", "default_web_side").expect("there")[".id"].clone();
    assert_eq!(side, side_before, "the other container is left alone");
    assert_eq!(world.status("web")["podIP"], address, "the address stays");

    // Whoever deletes both at once may take the ConfigMap first.
    world.delete("ConfigMap", "settings").await;
    sleep(Duration::from_secs(1)).await;
    assert!(world.device.is_running(ROW), "what runs is left alone while its ConfigMap is missing");
    world.delete("Pod", "web").await;
    world.until_gone("web").await;
    world.nothing_is_left();
}

#[actix::test]
async fn a_changed_image_makes_the_container_anew_with_the_same_address() {
    let world = World::new().await;
    world.create("Pod", pod("web")).await;
    world.until_ready("web").await;
    let before = world.device.row("container", ROW).expect("there");
    world.patch("Pod", "web", json!({"spec": {"containers": [{"name": "c", "image": "web:2"}]}})).await;
    world
        .until("the new image runs", |world| {
            world
                .device
                .row("container", ROW)
                .is_some_and(|row| row["file"] == FakeTarballs::path("web:2") && row["running"] == "true")
        })
        .await;
    world.until_ready("web").await;
    let after = world.device.row("container", ROW).expect("there");
    assert_ne!(after["root-dir"], before["root-dir"], "a root directory is never used twice");
    assert_eq!(world.status("web")["podIP"], "10.90.0.2");
    assert_eq!(world.device.count("POST /interface/veth/add"), 1, "the interface stays");
}

#[actix::test]
async fn a_change_to_an_image_that_is_not_there_leaves_the_running_container_alone_until_it_is() {
    let world = World::new().await;
    world.create("Pod", pod("web")).await;
    world.until_ready("web").await;
    world.patch("Pod", "web", json!({"spec": {"containers": [{"name": "c", "image": "late:1"}]}})).await;
    world.until("it says so", |world| world.events("Failed").iter().any(|text| text.contains("late:1"))).await;
    sleep(Duration::from_secs(30)).await;
    assert!(world.device.is_running(ROW) && world.is_ready("web"));
    assert_eq!(world.device.count("POST /container/stop"), 0);
    world.around.images.add("late:1");
    world
        .until("the new image runs", |world| {
            let row = world.device.row("container", ROW);
            row.is_some_and(|row| row["file"] == FakeTarballs::path("late:1") && row["running"] == "true")
        })
        .await;
}

#[actix::test]
async fn a_pod_that_moves_to_another_network_gets_another_address_there() {
    let world = World::new().await;
    world.create("Pod", pod("web")).await;
    world.until_ready("web").await;
    world.patch("Pod", "web", json!({"metadata": {"annotations": {"vkube.io/network": "g10"}}})).await;
    world.until("it has moved", |world| world.is_ready("web") && world.status("web")["podIP"] == "10.91.0.2").await;
    let state = world.device.state();
    assert_eq!(state["veths"][0][1], "10.91.0.2/24", "{state:#}");
    assert_eq!(state["ports"][0][1], "bridge-g10", "{state:#}");
    world.create("Pod", pod("other")).await;
    world.until_ready("other").await;
    world.delete("Pod", "web").await;
    world.until_gone("web").await;
}

#[actix::test]
async fn a_container_that_leaves_the_spec_goes_and_a_renamed_one_takes_its_interface_over() {
    let world = World::new().await;
    let mut body = pod("web");
    body["spec"]["containers"] = json!([{"name": "c", "image": "web:1"}, {"name": "side", "image": "side:1"}]);
    world.create("Pod", body.clone()).await;
    // A pod whose name begins alike must not be taken for it.
    world.create("Pod", pod("web.x")).await;
    world.until_ready("web").await;
    world.until_ready("web.x").await;
    let address = world.status("web")["podIP"].clone();
    world.patch("Pod", "web", json!({"spec": {"containers": [{"name": "renamed", "image": "web:1"}]}})).await;
    world
        .until("only the renamed one is there", |world| {
            let state = world.device.state();
            let names: Vec<&str> =
                state["containers"].as_array().into_iter().flatten().filter_map(|row| row[0].as_str()).collect();
            names == ["default_web_renamed", "default_web_x_c"] && state["veths"].as_array().map(Vec::len) == Some(2)
        })
        .await;
    world.until_ready("web").await;
    assert_eq!(world.status("web")["podIP"], address);
    assert!(world.is_ready("web.x"));
    world.delete("Pod", "web").await;
    world.until_gone("web").await;
    world.delete("Pod", "web.x").await;
    world.until_gone("web.x").await;
    world.nothing_is_left();
}

#[actix::test]
async fn a_crash_loop_restarts_at_once_then_with_growing_pauses_and_is_counted() {
    let world = World::new().await;
    world.create("Pod", job("web", "Always", &["exit", "3"])).await;
    sleep(Duration::from_secs(200)).await;
    let calls = world.device.calls();
    let starts: Vec<Instant> =
        calls.iter().filter(|call| call.operation == "POST /container/start").map(|call| call.at).collect();
    let pauses: Vec<u64> = starts.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs()).collect();
    assert!(pauses.len() >= 4, "{pauses:?}");
    let expected = [0, 10, 20, 40, 80];
    for (pause, expected) in pauses.iter().zip(expected) {
        assert!((expected..=expected + 2).contains(pause), "{pauses:?}");
    }
    let status = world.status("web");
    let container = &status["containerStatuses"][0];
    assert_eq!(container["restartCount"], starts.len() - 1);
    assert_eq!(container["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(world.device.count("POST /container/add"), 1, "it is started again, not made again");
    assert!(!world.events("BackOff").is_empty());
    // The next restart lies minutes away; a changed pod does not wait for it.
    world.patch("Pod", "web", json!({"spec": {"containers": [{"name": "c", "image": "web:2"}]}})).await;
    world.until_ready("web").await;
}

#[actix::test]
async fn jobs_end_as_their_policy_says() {
    let world = World::new().await;
    world.create("Pod", job("good", "Never", &["exit", "0"])).await;
    world.create("Pod", job("bad", "Never", &["exit", "4"])).await;
    world.create("Pod", job("again", "OnFailure", &["exit", "5"])).await;
    world.create("Pod", job("enough", "OnFailure", &["exit", "0"])).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(world.phase("good"), "Succeeded");
    assert_eq!(world.phase("bad"), "Failed");
    assert_eq!(world.phase("enough"), "Succeeded");
    let failed = world.status("bad");
    assert_eq!(failed["containerStatuses"][0]["state"]["terminated"]["exitCode"], 4);
    assert!(world.status("again")["containerStatuses"][0]["restartCount"].as_u64() > Some(0));
    assert_eq!(world.device.count("POST /container/start"), 3 + 1 + 2, "only the failing one is repeated");
}

#[actix::test]
async fn a_finished_job_is_not_run_again_when_the_device_forgot_how_it_ended() {
    let world = World::new().await;
    world.create("Pod", job("once", "OnFailure", &["exit", "0"])).await;
    world.until("it is done", |world| world.phase("once") == "Succeeded").await;
    let around = world.stop().await;
    // A device that was restarted has an empty log; so has one that was restored.
    around.device.operate(DeviceVerb::Put, "interface/veth", json!({"name": "x", "address": "10.1.1.1/24"}));
    around.device.lose_veth("x");
    around.device.forget_calls();
    let world = World::over(around).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.device.count("POST /container/start"), 0);
    assert_eq!(world.phase("once"), "Succeeded");
}

#[actix::test]
async fn a_missing_image_is_said_and_tried_again_until_it_is_there() {
    let world = World::new().await;
    let mut body = pod("web");
    body["spec"]["containers"] = json!([{"name": "c", "image": "late:1"}, {"name": "side", "image": "side:1"}]);
    world.create("Pod", body).await;
    world.until("it says so", |world| world.waits_for("web", "ErrImagePull")).await;
    let message = world.status("web").pointer("/containerStatuses/0/state/waiting/message").cloned();
    let message = message.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    assert!(message.contains("late:1") && message.contains("next try in"), "{message}");
    world.until("the other container runs", |world| world.device.is_running("default_web_side")).await;
    assert_eq!(world.phase("web"), "Pending");
    sleep(Duration::from_secs(100)).await;
    let requests = world.around.images.requests();
    let tries = requests.iter().filter(|asked| asked.image == "late:1" && asked.policy != PullPolicy::Never).count();
    assert!((6..=9).contains(&tries), "{tries} tries in 100 s");
    world.around.images.add("late:1");
    let began = Instant::now();
    world.until_ready("web").await;
    assert!(began.elapsed() < Duration::from_secs(62));
}

#[actix::test]
async fn a_pod_that_waits_for_its_image_is_deleted_and_changed_at_once() {
    let world = World::new().await;
    world.around.images.set_delay(Duration::from_secs(300));
    world.create("Pod", pod("web")).await;
    world.create("Pod", pod("other")).await;
    sleep(Duration::from_secs(5)).await;
    world.around.images.set_delay(Duration::ZERO);
    let began = Instant::now();
    world.delete("Pod", "web").await;
    world.until_gone("web").await;
    world.patch("Pod", "other", json!({"spec": {"containers": [{"name": "c", "image": "web:2"}]}})).await;
    world.until_ready("other").await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[actix::test]
async fn a_missing_config_map_blocks_and_its_arrival_goes_on_at_once() {
    let world = World::new().await;
    world.create("Pod", full_pod("web", "web:1")).await;
    world.until("it says so", |world| world.waits_for("web", "CreateContainerConfigError")).await;
    let message = world.status("web").pointer("/containerStatuses/0/state/waiting/message").cloned();
    assert_eq!(message, Some(json!("configmap \"settings\" not found")));
    let began = Instant::now();
    world.create("ConfigMap", settings("one")).await;
    world.until_ready("web").await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[actix::test]
async fn a_bad_archive_is_tried_again_with_growing_pauses_and_a_mended_one_runs() {
    let world = World::new().await;
    world.device.spoil_archive(&FakeTarballs::path("web:1"), "no manifest.json in archive");
    world.create("Pod", pod("web")).await;
    sleep(Duration::from_secs(120)).await;
    let adds = world.device.count("POST /container/add");
    assert!((3..=5).contains(&adds), "{adds} tries in 120 s");
    assert!(world.waits_for("web", "ErrImageUnpack"), "{:#}", world.status("web"));
    let message = world.status("web").pointer("/containerStatuses/0/state/waiting/message").cloned();
    assert!(message.is_some_and(|text| text.to_string().contains("no manifest.json")));
    world.device.mend_archive(&FakeTarballs::path("web:1"));
    world.until_ready("web").await;
    world.delete("Pod", "web").await;
    world.until_gone("web").await;
    world.nothing_is_left();
}

#[actix::test]
async fn an_interface_or_a_container_removed_behind_our_back_comes_back() {
    let world = World::new().await;
    world.create("Pod", pod("web")).await;
    world.until_ready("web").await;
    let address = world.status("web")["podIP"].clone();
    world.device.lose_veth("veth_default_web_0");
    world
        .until("the interface is back", |world| {
            world.device.row("interface/veth", "veth_default_web_0").is_some() && world.device.is_running(ROW)
        })
        .await;
    world.until_ready("web").await;
    assert_eq!(world.status("web")["podIP"], address);
    let ports = world.device.rows("interface/bridge/port");
    assert_eq!(ports.len(), 1, "no dead port is left: {ports:?}");

    let first = world.device.row("container", ROW).expect("there")["root-dir"].clone();
    world.device.remove_container_behind(ROW);
    world.until("the container is back", |world| world.device.is_running(ROW)).await;
    world.until_ready("web").await;
    assert_ne!(world.device.row("container", ROW).expect("there")["root-dir"], first);
    assert_eq!(world.status("web")["podIP"], address);
}

#[actix::test]
async fn lists_that_somebody_emptied_are_written_anew_when_a_container_is_refused_for_them() {
    let world = World::new().await;
    world.create("ConfigMap", settings("port 80")).await;
    let mut one = full_pod("web", "web:1");
    one["spec"]["containers"].as_array_mut().expect("a list").truncate(1);
    world.create("Pod", one).await;
    world.until_ready("web").await;
    let menus = ["container/envs", "container/mounts"];
    let before = menus.map(|menu| world.device.rows(menu).len());
    assert!(before.iter().all(|rows| *rows > 0), "{before:?}");
    let row = world.device.rows("container")[0]["name"].as_str().expect("a name").to_owned();
    world.device.remove_container_behind(&row);
    for menu in menus {
        for row in world.device.rows(menu) {
            let path = format!("{menu}/{}", row[".id"].as_str().expect("an id"));
            world.device.operate(DeviceVerb::Delete, &path, Value::Null);
        }
    }
    world.until("the container is back", |world| world.device.is_running(&row)).await;
    assert_eq!(menus.map(|menu| world.device.rows(menu).len()), before);
}

#[actix::test]
async fn an_interface_lost_before_its_pod_is_deleted_leaves_no_port_behind() {
    let world = World::new().await;
    world.create("Pod", pod("web")).await;
    world.until_ready("web").await;
    world.device.set_away(true);
    world.device.lose_veth("veth_default_web_0");
    world.delete("Pod", "web").await;
    sleep(Duration::from_secs(5)).await;
    world.device.set_away(false);
    world.until_gone("web").await;
    world.nothing_is_left();
}

#[actix::test]
async fn a_root_directory_that_exists_is_never_used() {
    tokio::time::pause();
    for blind in [false, true] {
        let mut around = Surroundings::another();
        if blind {
            around.disk = std::sync::Arc::new(mkube_fakes::FakeDisk::blind());
        }
        around.device.add_file("/images/default_web_c");
        around.device.add_file("/images/default_web_c.2");
        let world = World::over(around).await;
        world.create("Pod", pod("web")).await;
        world.until_ready("web").await;
        let row = world.device.row("container", ROW).expect("there");
        assert_eq!(row["root-dir"], "/images/default_web_c.3", "blind: {blind}");
        world.stop().await;
    }
}

#[actix::test]
async fn a_container_of_the_go_controller_is_adopted_without_a_restart() {
    let around = Surroundings::new();
    let device = &around.device;
    device.operate(DeviceVerb::Put, "interface/bridge", json!({"name": "bridge-gt"}));
    device.operate(DeviceVerb::Put, "ip/address", json!({"address": "10.90.0.1/24", "interface": "bridge-gt"}));
    let veth = json!({"name": "veth_default_web_0", "address": "10.90.0.77/24", "gateway": "10.90.0.1"});
    device.operate(DeviceVerb::Put, "interface/veth", veth);
    let port = json!({"bridge": "bridge-gt", "interface": "veth_default_web_0"});
    device.operate(DeviceVerb::Put, "interface/bridge/port", port);
    let row = json!({"name": ROW, "file": FakeTarballs::path("web:1"), "interface": "veth_default_web_0",
        "root-dir": "/images/default_web_c", "hostname": "web", "logging": "true", "start-on-boot": "true"});
    device.operate(DeviceVerb::Put, "container", row);
    sleep(Duration::from_secs(1)).await;
    device.operate(DeviceVerb::Post, "container/start", json!({".id": ROW}));
    sleep(Duration::from_secs(1)).await;
    let world = World::over(around.clone()).await;
    world.create("Pod", pod("web")).await;
    world.until_ready("web").await;
    assert_eq!(world.status("web")["podIP"], "10.90.0.77");
    for operation in ["POST /container/add", "POST /container/start", "POST /container/stop", "POST /container/remove"]
    {
        assert_eq!(world.device.count(operation), 0, "{operation}");
    }
    let comment = world.device.row("container", ROW).expect("there")["comment"].clone();
    assert!(comment.as_str().is_some_and(|text| text.starts_with("mkube default/web ")), "{comment}");
    // The next controller finds it running too.
    let world = World::over(world.stop().await).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(world.device.count("POST /container/stop"), 0);
    assert!(world.is_ready("web"));
    world.delete("Pod", "web").await;
    world.until_gone("web").await;
    world.nothing_is_left();
}

#[actix::test]
async fn what_only_has_the_name_of_ours_is_left_alone_and_said() {
    let around = Surroundings::new();
    around.device.operate(DeviceVerb::Put, "interface/veth", json!({"name": "veth-nas", "address": "10.9.9.9/24"}));
    let theirs = json!({"name": ROW, "file": FakeTarballs::path("web:1"), "interface": "veth-nas",
        "root-dir": "/images/nas", "comment": "nas, do not touch"});
    around.device.operate(DeviceVerb::Put, "container", theirs);
    sleep(Duration::from_secs(1)).await;
    let before = around.device.state();
    let world = World::over(around).await;
    world.create("Pod", pod("web")).await;
    world.until("it says so", |world| world.waits_for("web", "CreateContainerConfigError")).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.device.state(), before);
    world.delete("Pod", "web").await;
    world.until_gone("web").await;
    assert_eq!(world.device.state(), before);
}

#[actix::test]
async fn while_the_device_is_away_pods_wait_and_say_so_and_go_on_when_it_is_back() {
    let around = Surroundings::new();
    around.device.set_away(true);
    let world = World::over(around).await;
    world.create("Pod", pod("web")).await;
    world.until("it says so", |world| world.waits_for("web", "DeviceUnreachable")).await;
    assert_eq!(world.phase("web"), "Pending");
    world.device.set_away(false);
    world.until_ready("web").await;
    let before = world.status("web");
    world.device.set_away(true);
    sleep(Duration::from_secs(120)).await;
    assert_eq!(world.status("web"), before, "not seeing the device says nothing about the pod");
    world.create("Pod", pod("late")).await;
    sleep(Duration::from_secs(30)).await;
    assert_ne!(world.phase("late"), "Running");
    world.device.set_away(false);
    world.until_ready("late").await;
    assert_eq!(world.device.count("POST /container/stop"), 0);
}

#[actix::test]
async fn a_clock_that_steps_backwards_disturbs_nothing() {
    let world = World::new().await;
    world.create("Pod", job("web", "Always", &["sleep", "30", "exit", "1"])).await;
    world.until_ready("web").await;
    let before = world.status("web");
    world.around.clock.step(-7200);
    sleep(Duration::from_secs(15)).await;
    assert_eq!(world.status("web"), before);
    world.until("it is restarted", |world| world.status("web")["containerStatuses"][0]["restartCount"] == 1).await;
    let ended = world.status("web")["containerStatuses"][0]["lastState"]["terminated"].clone();
    assert!(ended["finishedAt"].as_str() >= ended["startedAt"].as_str(), "{ended}");
    world.create("Pod", pod("new")).await;
    world.until_ready("new").await;
    world.delete("Pod", "new").await;
    world.until_gone("new").await;
}

#[actix::test]
async fn a_status_that_got_lost_on_its_way_to_the_store_is_reported_again() {
    let world = World::new().await;
    world.create("Pod", pod("web")).await;
    world.until("it runs", |world| world.device.is_running(ROW)).await;
    // The reports of these moments die with the actor that took them.
    for _ in 0..2 {
        world.tree.crash("mkube/objects", mkube_supervision::CrashHow::Panic).await.expect("running");
        sleep(Duration::from_millis(60)).await;
    }
    let began = Instant::now();
    world.until_ready("web").await;
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
}

#[actix::test]
async fn pods_whose_names_are_cut_to_the_same_keep_their_own_things_also_after_a_restart() {
    let long = ["a-very-long-pod-name-1", "a-very-long-pod-name-2", "a-very-long-pod-name-3"];
    let world = World::new().await;
    for name in long {
        world.create("Pod", pod(name)).await;
        world.until_ready(name).await;
        // Their ages differ.
        sleep(Duration::from_secs(2)).await;
    }
    let addresses: Vec<Value> = long.iter().map(|name| world.status(name)["podIP"].clone()).collect();
    assert_eq!(addresses, ["10.90.0.2", "10.90.0.3", "10.90.0.4"]);
    world.delete("Pod", long[0]).await;
    world.until_gone(long[0]).await;
    sleep(Duration::from_secs(90)).await;
    let before = world.device.state();
    world.device.forget_calls();
    let world = World::over(world.stop().await).await;
    sleep(Duration::from_secs(90)).await;
    assert_eq!(world.device.state(), before, "nobody takes a name over that became free");
    for operation in ["POST /container/add", "POST /container/stop", "POST /interface/veth/add"] {
        assert_eq!(world.device.count(operation), 0, "{operation}");
    }
    assert!(long[1..].iter().all(|name| world.is_ready(name)));
    for name in &long[1..] {
        world.delete("Pod", name).await;
        world.until_gone(name).await;
    }
    world.nothing_is_left();
}

#[actix::test]
async fn a_reply_lost_on_any_command_leaves_one_pod_and_then_nothing() {
    tokio::time::pause();
    for operation in [
        "POST /interface/veth/add",
        "POST /interface/bridge/port/add",
        "POST /container/mounts/add",
        "POST /container/envs/add",
        "POST /container/add",
        "POST /container/start",
        "POST /container/stop",
        "POST /container/remove",
        "POST /interface/bridge/port/remove",
        "POST /interface/veth/remove",
        "POST /container/mounts/remove",
        "POST /container/envs/remove",
        "POST /container/set",
    ] {
        for cue in [Cue::LoseReply, Cue::LoseReplyAndGoAway(Duration::from_secs(3)), Cue::LoseRequest] {
            let world = World::over(Surroundings::another()).await;
            world.device.cue(operation, 1, cue.clone());
            world.create("ConfigMap", settings("one")).await;
            world.create("Pod", full_pod("web", "web:1")).await;
            world.until_ready("web").await;
            let state = world.device.state();
            assert_eq!(state["containers"].as_array().map(Vec::len), Some(2), "{operation} {cue:?}: {state:#}");
            assert_eq!(state["veths"].as_array().map(Vec::len), Some(2), "{operation} {cue:?}: {state:#}");
            assert_eq!(state["ports"].as_array().map(Vec::len), Some(2), "{operation} {cue:?}: {state:#}");
            assert_eq!(state["mounts"].as_array().map(Vec::len), Some(2), "{operation} {cue:?}: {state:#}");
            assert_eq!(state["envs"].as_array().map(Vec::len), Some(2), "{operation} {cue:?}: {state:#}");
            world.delete("Pod", "web").await;
            world.until_gone("web").await;
            world.nothing_is_left();
            world.stop().await;
        }
    }
}

#[actix::test]
async fn a_hundred_pods_at_once_all_come_up_with_an_address_of_their_own() {
    let world = World::new().await;
    for number in 0..100 {
        world.create("Pod", pod(&format!("p{number}"))).await;
    }
    world.until("all are ready", |world| (0..100).all(|number| world.is_ready(&format!("p{number}")))).await;
    let mut addresses: Vec<String> =
        (0..100).map(|number| world.status(&format!("p{number}"))["podIP"].to_string()).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 100);
    assert_eq!(world.events("FailedCreatePodSandBox"), Vec::<String>::new(), "a queue that is full is no fault");
    for number in 0..100 {
        world.delete("Pod", &format!("p{number}")).await;
    }
    world.until("all are gone", |world| (0..100).all(|n| world.get("Pod", &format!("p{n}")).is_none())).await;
    world.nothing_is_left();
}
