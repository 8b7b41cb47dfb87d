//! Names of pods, from stored to answered to gone: the whole controller under paused time, over a device and a name server in
//! memory.

mod world;

use std::time::Duration;

use mkube_fakes::{Cue, Release};
use mkube_supervision::CrashHow;
use serde_json::json;
use tokio::time::sleep;
use world::{NAME_SERVER, Surroundings, World, pod};

impl World {
    fn named(&self, name: &str) -> Vec<String> {
        self.around.servers.data(NAME_SERVER, "gt.lo", name)
    }

    async fn until_named(&self, name: &str) {
        self.until(&format!("{name} is named"), |world| !world.named(name).is_empty()).await;
    }

    async fn until_unnamed(&self, name: &str) {
        self.until(&format!("{name} has no name"), |world| world.named(name).is_empty()).await;
    }
}

async fn world(release: Release) -> World {
    World::over(Surroundings::new().with_name_server(release)).await
}

#[actix_rt::test]
async fn a_pod_is_named_when_it_is_ready_and_its_names_are_gone_before_its_container_stops() {
    let world = world(Release::Current).await;
    let mut web = pod("web");
    web["metadata"]["annotations"] = json!({"vkube.io/aliases": "www,front=c"});
    world.create("Pod", web).await;
    world.until_ready("web").await;
    for name in ["web", "c.web", "www", "front"] {
        world.until_named(name).await;
        assert_eq!(world.named(name), [world.status("web")["podIP"].as_str().expect("an address")]);
    }
    world.around.servers.set_latency(NAME_SERVER, Duration::from_millis(500));
    world.delete("Pod", "web").await;
    world.until("the container is told to stop", |world| world.device.count("POST /container/stop") > 0).await;
    for name in ["web", "c.web", "www", "front"] {
        assert!(world.named(name).is_empty(), "{name} still leads to a container that is told to stop");
    }
    world.until_gone("web").await;
    assert_eq!(world.named("rose1"), ["10.90.0.1"]);
}

#[actix_rt::test]
async fn a_name_server_that_is_away_holds_up_no_pod_and_no_stop() {
    let world = world(Release::Current).await;
    world.create("Pod", pod("web")).await;
    world.until_named("web").await;
    world.around.servers.set_away(NAME_SERVER, true);
    let before = tokio::time::Instant::now();
    world.create("Pod", pod("db")).await;
    world.until_ready("db").await;
    world.delete("Pod", "web").await;
    world.until_gone("web").await;
    assert!(before.elapsed() < Duration::from_secs(30), "{:?}", before.elapsed());
    world.around.servers.set_away(NAME_SERVER, false);
    world.until_named("db").await;
    world.until_unnamed("web").await;
}

#[actix_rt::test]
async fn a_restart_of_mkube_or_of_the_name_keeper_changes_no_record() {
    for release in [Release::Current, Release::Early] {
        let around = if release == Release::Current { Surroundings::new() } else { Surroundings::another() };
        let world = World::over(around.with_name_server(release)).await;
        world.create("Pod", pod("web")).await;
        world.create("Pod", pod("db")).await;
        for name in ["web", "c.web", "db", "c.db"] {
            world.until_named(name).await;
        }
        sleep(Duration::from_secs(30)).await;
        world.around.servers.forget_calls();
        world.tree.crash("mkube/dns", CrashHow::Panic).await.expect("it is there");
        sleep(Duration::from_secs(30)).await;
        let world = World::over(world.stop().await).await;
        sleep(Duration::from_secs(1000)).await;
        let calls = world.around.servers.calls(NAME_SERVER);
        let changes: Vec<&String> = calls.iter().filter(|call| call.contains("_record ")).collect();
        assert!(changes.is_empty(), "{release:?}: {changes:?}");
        world.stop().await;
    }
}

#[actix_rt::test]
async fn a_container_that_is_replaced_is_out_of_the_names_meanwhile_and_what_others_wrote_stays() {
    let world = world(Release::Early).await;
    world.around.servers.plant(NAME_SERVER, "gt.lo", "web", "10.90.0.77");
    world.create("Pod", pod("web")).await;
    world.until("web is named", |world| world.named("web").len() == 2).await;
    world.around.servers.at_nth(NAME_SERVER, "delete_record", 1, Cue::DoneYet500);
    world.patch("Pod", "web", json!({"spec": {"containers": [{"name": "c", "image": "web:2"}]}})).await;
    world.until("the old container is told to stop", |world| world.device.count("POST /container/stop") > 0).await;
    assert_eq!(world.named("web"), ["10.90.0.77"]);
    world.until("web is named again", |world| world.named("web").len() == 2).await;
    world.delete("Pod", "web").await;
    world.until_gone("web").await;
    world.until("what somebody else wrote is left", |world| world.named("web") == ["10.90.0.77"]).await;
}
