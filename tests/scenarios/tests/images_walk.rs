//! What becomes of images on their way to containers: policy, credentials, pins, what is told, and what is written down.

mod world;

use std::time::Duration;

use mkube_fakes::Verb as DeviceVerb;
use mkube_fakes::{Cue, FakeTarballs};
use mkube_messages::objects::{PatchType, Verb};
use mkube_model::neighbours::tarballs::PullPolicy;
use serde_json::{Value, json};
use tokio::time::sleep;
use world::{Surroundings, World, pod};

const ROW: &str = "default_web_c";
const DEPLOYED: &str = "vkube.io/image-digest";

fn digest(number: u8) -> String {
    FakeTarballs::digest(number)
}

fn pod_of(image: &str) -> Value {
    let mut body = pod("web");
    body["spec"]["containers"][0]["image"] = json!(image);
    body
}

fn file(world: &World) -> Value {
    world.device.row("container", ROW).map(|row| row["file"].clone()).unwrap_or_default()
}

fn runs(world: &World, number: u8) -> bool {
    file(world) == FakeTarballs::path_of_digest(&digest(number)) && world.device.is_running(ROW)
}

fn image_id(world: &World) -> Value {
    world.status("web")["containerStatuses"][0]["imageID"].clone()
}

fn annotation(world: &World, key: &str) -> Value {
    world.get("Pod", "web").map(|pod| pod["metadata"]["annotations"][key].clone()).unwrap_or_default()
}

/// A pull secret for the registry of the tests.
fn pull_secret(password: &str) -> Value {
    let config = json!({"auths": {"r:5000": {"username": "bob", "password": password}}});
    json!({"metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": config.to_string()}})
}

async fn pin(world: &World, image: &str, number: u8) {
    let pin = format!("c={image}@{}", digest(number));
    world.patch("Pod", "web", json!({"metadata": {"annotations": {"vkube.io/image-pin": pin}}})).await;
}

#[actix::test]
async fn a_pulled_image_is_told_and_the_digest_that_runs_is_written_down() {
    let world = World::new().await;
    world.around.images.push("r:5000/web", &digest(1));
    world.create("Pod", pod_of("r:5000/web")).await;
    world.until_ready("web").await;
    assert_eq!(image_id(&world), format!("r:5000/web@{}", digest(1)));
    world.until("it is written down", |world| annotation(world, DEPLOYED) == digest(1)).await;
    sleep(Duration::from_secs(3)).await;
    let states = world.stored_states("web").len();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.stored_states("web").len(), states, "it is written once");
    assert_eq!(world.events("Pulling"), ["Pulling image \"r:5000/web\""]);
    let pulled = world.events("Pulled");
    assert!(pulled[0].starts_with("Successfully pulled image \"r:5000/web\" (sha256:"), "{pulled:?}");
    assert!(pulled[0].contains("Image size: 1000 bytes"), "{pulled:?}");
    // No tag: whoever makes the container asks the registry again.
    assert_eq!(world.around.images.requests().last().map(|asked| asked.policy), Some(PullPolicy::Always));
    assert_eq!(world.device.count("POST /container/add"), 1);
    world
        .create(
            "Pod",
            json!({"metadata": {"name": "again"}, "spec": {"containers": [{"name": "c", "image": "r:5000/web"}]}}),
        )
        .await;
    world.until_ready("again").await;
    world
        .until("it was there", |world| {
            world.events("Pulled").iter().any(|text| text.contains("already present on machine"))
        })
        .await;
    assert_eq!(world.around.images.pulls(), [digest(1)]);
}

#[actix::test]
async fn a_pin_makes_the_container_anew_from_its_digest_and_stops_nothing_before_that_is_there() {
    let world = World::new().await;
    let images = &world.around.images;
    images.push("r:5000/web:edge", &digest(1));
    images.push("r:5000/web:edge", &digest(2));
    world.create("Pod", pod_of("r:5000/web:edge")).await;
    world.until("the newer one runs", |world| runs(world, 2)).await;
    world.until("it is written down", |world| annotation(world, DEPLOYED) == digest(2)).await;
    // A digest that is nowhere.
    pin(&world, "r:5000/web:edge", 7).await;
    world.until("it says so", |world| !world.events("Failed").is_empty()).await;
    sleep(Duration::from_secs(60)).await;
    assert!(runs(&world, 2) && world.is_ready("web"));
    assert_eq!(world.device.count("POST /container/stop"), 0);
    pin(&world, "r:5000/web:edge", 1).await;
    world.until("the pinned one runs", |world| runs(world, 1)).await;
    let image = format!("r:5000/web@{}", digest(1));
    world.until("its status says so", |world| image_id(world) == image && world.is_ready("web")).await;
    world.until("it is written down", |world| annotation(world, DEPLOYED) == digest(1)).await;
    assert_eq!(annotation(&world, "vkube.io/image-digest-before"), digest(2));
    assert_eq!(world.device.count("POST /container/stop"), 1);
    // Another image: the pin speaks of what is not wanted any more.
    world.patch("Pod", "web", json!({"spec": {"containers": [{"name": "c", "image": "web:1"}]}})).await;
    world
        .until("the new image runs", |world| file(world) == FakeTarballs::path("web:1") && world.device.is_running(ROW))
        .await;
    let adds = world.device.count("POST /container/add");
    pin(&world, "r:5000/web:edge", 2).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(world.device.count("POST /container/add"), adds, "a void pin changes nothing");
}

#[actix::test]
async fn a_registry_that_dies_between_stop_and_start_does_not_keep_the_new_container_from_running() {
    let world = World::new().await;
    world.around.images.push("r:5000/web", &digest(1));
    world.create("Pod", pod_of("r:5000/web")).await;
    world.until_ready("web").await;
    world.around.images.push("r:5000/web", &digest(2));
    let asked = world.around.images.requests().len();
    world.patch("Pod", "web", json!({"spec": {"terminationGracePeriodSeconds": 5}})).await;
    world.until("it runs anew", |world| runs(world, 2)).await;
    world.until_ready("web").await;
    let requests = world.around.images.requests().split_off(asked);
    assert!(requests.len() <= 2, "asked for once, before anything was stopped: {requests:?}");
}

#[actix::test]
async fn while_an_image_is_pulled_the_other_container_is_looked_after_and_a_newer_wish_is_not_kept_waiting() {
    let world = World::new().await;
    let mut body = pod("web");
    body["spec"]["containers"] = json!([{"name": "c", "image": "web:1"}, {"name": "side", "image": "side:1"}]);
    world.create("Pod", body).await;
    world.until_ready("web").await;
    for number in [1, 2] {
        world.around.images.push("r:5000/big:1", &digest(number));
    }
    world.around.images.set_delay(Duration::from_secs(60));
    let containers = |image: &str| json!([{"name": "c", "image": image}, {"name": "side", "image": "side:1"}]);
    world.patch("Pod", "web", json!({"spec": {"containers": containers("r:5000/big:1")}})).await;
    world.until("it is asked for", |world| !world.events("Pulling").iter().all(|text| !text.contains("big"))).await;
    world.device.end_process("default_web_side", 1);
    world
        .until("the other one was started again", |world| {
            world.status("web")["containerStatuses"][1]["restartCount"] == 1
                && world.device.is_running("default_web_side")
        })
        .await;
    assert_eq!(file(&world), FakeTarballs::path("web:1"), "the image is not there yet");
    // A pin is no new generation of the spec, and a newer wish all the same.
    let pin = format!("c=r:5000/big:1@{}", digest(1));
    world.patch("Pod", "web", json!({"metadata": {"annotations": {"vkube.io/image-pin": pin}}})).await;
    sleep(Duration::from_secs(2)).await;
    let last = world.around.images.requests().pop().expect("asked");
    assert_eq!(last.digest, Some(digest(1)), "it does not wait for the first one to end");
    world.until("the pinned one runs", |world| runs(world, 1)).await;
    assert_eq!(world.device.count("POST /container/add"), 3);
}

#[actix::test]
async fn what_runs_is_known_after_a_restart_whatever_the_tag_means_by_then() {
    let world = World::new().await;
    world.around.images.push("r:5000/web:1", &digest(1));
    world.create("Pod", pod_of("r:5000/web:1")).await;
    world
        .create(
            "Pod",
            json!({"metadata": {"name": "named"}, "spec": {"containers": [{"name": "c", "image": "web:2"}]}}),
        )
        .await;
    world.until_ready("web").await;
    world.until_ready("named").await;
    let named = world.status("named")["containerStatuses"][0]["imageID"].clone();
    assert!(named.as_str().is_some_and(|text| text.starts_with("web@sha256:")), "{named}");
    sleep(Duration::from_secs(60)).await;
    let around = world.stop().await;
    around.images.push("r:5000/web:1", &digest(2));
    around.device.forget_calls();
    let world = World::over(around).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(image_id(&world), format!("r:5000/web@{}", digest(1)));
    assert_eq!(world.status("named")["containerStatuses"][0]["imageID"], named);
    assert_eq!(annotation(&world, DEPLOYED), digest(1));
    assert_eq!(world.device.count("POST /container/stop"), 0);
}

#[actix::test]
async fn a_container_of_the_go_controller_runs_what_its_annotation_says_also_after_a_restart() {
    let around = Surroundings::new();
    let device = &around.device;
    device.operate(DeviceVerb::Put, "interface/bridge", json!({"name": "bridge-gt"}));
    device.operate(DeviceVerb::Put, "ip/address", json!({"address": "10.90.0.1/24", "interface": "bridge-gt"}));
    let veth = json!({"name": "veth_default_web_0", "address": "10.90.0.77/24", "gateway": "10.90.0.1"});
    device.operate(DeviceVerb::Put, "interface/veth", veth);
    let port = json!({"bridge": "bridge-gt", "interface": "veth_default_web_0"});
    device.operate(DeviceVerb::Put, "interface/bridge/port", port);
    let row = json!({"name": ROW, "file": FakeTarballs::path("web:1"), "interface": "veth_default_web_0",
        "root-dir": "/images/default_web_c", "logging": "true", "start-on-boot": "true"});
    device.operate(DeviceVerb::Put, "container", row);
    sleep(Duration::from_secs(1)).await;
    device.operate(DeviceVerb::Post, "container/start", json!({".id": ROW}));
    sleep(Duration::from_secs(1)).await;
    let world = World::over(around.clone()).await;
    let mut body = pod("web");
    body["metadata"]["annotations"] = json!({DEPLOYED: digest(5)});
    world.create("Pod", body).await;
    world.until_ready("web").await;
    assert_eq!(image_id(&world), format!("web@{}", digest(5)));
    sleep(Duration::from_secs(30)).await;
    let world = World::over(world.stop().await).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(image_id(&world), format!("web@{}", digest(5)));
    assert_eq!(annotation(&world, DEPLOYED), digest(5));
    assert_eq!([world.device.count("POST /container/stop"), world.device.count("POST /container/add")], [0, 0]);
}

#[actix::test]
async fn credentials_come_from_pull_secrets_and_a_missing_one_is_only_told() {
    let world = World::new().await;
    world.around.images.push("r:5000/web:1", &digest(1));
    let mut body = pod_of("r:5000/web:1");
    body["spec"]["imagePullSecrets"] = json!([{"name": "pull"}, {"name": "lost"}]);
    world.create("Secret", pull_secret("hunter2")).await;
    world.create("Pod", body).await;
    world.until_ready("web").await;
    let asked = world.around.images.requests().pop().expect("asked");
    assert_eq!(asked.credentials.len(), 1);
    assert_eq!((asked.credentials[0].registry.as_str(), asked.credentials[0].user.as_str()), ("r:5000", "bob"));
    assert_eq!(asked.credentials[0].password.expose(), "hunter2");
    world.until("the other is told of", |world| !world.events("FailedToRetrieveImagePullSecret").is_empty()).await;
    let told = world.events("FailedToRetrieveImagePullSecret");
    assert!(told[0].contains("(lost)"), "{told:?}");
    let everything = format!("{:?} {}", world.stored_states("web"), world.all_events());
    assert!(!everything.contains("hunter2") && !everything.contains("aHVudGVyMg"), "{everything}");
}

#[actix::test]
async fn an_image_that_may_be_old_is_told_of_once() {
    let world = World::new().await;
    world.around.images.push("r:5000/web", &digest(1));
    world.create("Pod", pod_of("r:5000/web")).await;
    world.until_ready("web").await;
    world.around.images.set_away(true);
    world
        .create(
            "Pod",
            json!({"metadata": {"name": "late"}, "spec": {"containers": [{"name": "c", "image": "r:5000/web"}]}}),
        )
        .await;
    world.until_ready("late").await;
    sleep(Duration::from_secs(60)).await;
    let told = world.events("ImageStale");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("does not answer"), "{told:?}");
}

#[actix::test]
async fn each_way_to_have_no_image_is_called_as_kubelet_calls_it() {
    let world = World::new().await;
    world.around.images.push("r:5000/web:1", &digest(1));
    let mut never = pod_of("r:5000/web:1");
    never["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
    world.create("Pod", never).await;
    world.until("nobody may pull it", |world| world.waits_for("web", "ErrImageNeverPull")).await;
    world.until("it is told", |world| !world.events("ErrImageNeverPull").is_empty()).await;
    assert_eq!(world.around.images.pulls(), Vec::<String>::new());
    world.patch("Pod", "web", json!({"spec": {"containers": [{"name": "c", "image": "r:5000/other:1"}]}})).await;
    world.until("it is not there", |world| world.waits_for("web", "ErrImagePull")).await;
    world.until("it is tried again", |world| world.waits_for("web", "ImagePullBackOff")).await;
    world.until("it is told", |world| !world.events("BackOff").is_empty()).await;
    assert!(world.events("Failed").iter().any(|text| text == "Error: ImagePullBackOff"));
    assert!(world.events("Failed").iter().any(|text| text.starts_with("Failed to pull image \"r:5000/other:1\"")));
}

#[actix::test]
async fn an_archive_that_went_before_the_device_took_it_is_asked_for_again() {
    let world = World::new().await;
    world.around.images.push("r:5000/web:1", &digest(1));
    world
        .create(
            "Pod",
            json!({"metadata": {"name": "first"}, "spec": {"containers": [{"name": "c", "image": "r:5000/web:1"}]}}),
        )
        .await;
    world.until_ready("first").await;
    // The interface takes its time; meanwhile somebody cleans up.
    world.device.cue_every("POST /interface/veth/add", Cue::LoseRequest);
    world.create("Pod", pod_of("r:5000/web:1")).await;
    world.until("it has its archive", |world| world.events("Pulled").len() == 2).await;
    world.around.images.lose(&digest(1));
    world.device.clear_cues();
    world.until_ready("web").await;
    assert_eq!(world.around.images.pulls(), [digest(1), digest(1)]);
}

#[actix::test]
async fn a_container_gets_the_values_of_secrets_and_its_hash_does_not_tell_them() {
    let world = World::new().await;
    let secret = |password: &str| json!({"metadata": {"name": "db"}, "stringData": {"password": password}});
    let mut body = pod("web");
    body["spec"]["containers"][0]["env"] =
        json!([{"name": "PW", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]);
    world.create("Pod", body).await;
    world.until("it waits for it", |world| world.waits_for("web", "CreateContainerConfigError")).await;
    world.create("Secret", secret("hunter2")).await;
    world.until_ready("web").await;
    let env = |world: &World| world.device.state()["envs"][0].clone();
    assert_eq!(env(&world), json!([ROW, "PW", "hunter2"]));
    let comment = |world: &World| world.device.row("container", ROW).expect("there")["comment"].clone();
    let before = comment(&world);
    world.patch("Secret", "db", json!({"metadata": {"labels": {"a": "b"}}})).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(comment(&world), before, "its value did not change");
    world.patch("Secret", "db", json!({"stringData": {"password": "hunter3"}})).await;
    world.until("the new value is there", |world| env(world) == json!([ROW, "PW", "hunter3"])).await;
    world.until_ready("web").await;
    let strange = Verb::Patch { patch: PatchType::Merge, body: json!({"stringData": {"password": "hunter\n4"}}) };
    world.insist("Secret", "db", strange).await;
    world.until("it says so", |world| world.device.is_running(ROW)).await;
    sleep(Duration::from_secs(30)).await;
    let everything = format!("{} {}", world.status("web"), world.all_events());
    assert!(!everything.contains("hunter"), "{everything}");
    assert!(world.device.is_running(ROW), "what runs is left alone");
}

#[actix::test]
async fn what_is_needed_is_not_collected_and_a_device_that_is_away_needs_everything() {
    let world = World::new().await;
    world.around.images.push("r:5000/web:1", &digest(1));
    world.create("Pod", pod_of("r:5000/web:1")).await;
    world.until_ready("web").await;
    sleep(Duration::from_secs(1860)).await;
    let needed = world.around.images.collections().pop().expect("collected");
    assert!(needed.digests.contains(&digest(1)) && needed.references.contains("r:5000/web:1"), "{needed:?}");
    assert!(needed.paths.contains(std::path::Path::new(&FakeTarballs::path_of_digest(&digest(1)))), "{needed:?}");
    world.device.set_away(true);
    sleep(Duration::from_secs(60)).await;
    let before = world.around.images.collections().len();
    sleep(Duration::from_secs(4000)).await;
    assert_eq!(world.around.images.collections().len(), before);
    assert_eq!(world.images().cached.len(), 1);
}
