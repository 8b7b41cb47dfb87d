//! Probes, restarts without end, paused pods and reboots of the device: the whole controller under paused time, over a device
//! in memory and containers that answer as told.

mod world;

use std::time::Duration;

use mkube_fakes::{Answer, Command, Verb as DeviceVerb};
use mkube_model::status::Status;
use mkube_supervision::CrashHow;
use serde_json::{Value, json};
use tokio::time::sleep;
use world::{World, job, pod};

const PORT: u16 = 8080;

/// A pod of one container with these probes.
fn probed(name: &str, probes: Value) -> Value {
    let mut body = pod(name);
    let container = body["spec"]["containers"][0].as_object_mut().expect("a map");
    container.insert("ports".into(), json!([{"name": "web", "containerPort": PORT}]));
    container.extend(probes.as_object().expect("a map").clone());
    body
}

/// A probe every second that fails after three bad answers.
fn quick() -> Value {
    json!({"tcpSocket": {"port": "web"}, "periodSeconds": 1, "failureThreshold": 3})
}

fn container(world: &World, pod: &str) -> Value {
    world.status(pod)["containerStatuses"][0].clone()
}

fn condition(world: &World, pod: &str, kind: &str) -> Option<Value> {
    let status = world.status(pod);
    let conditions = status["conditions"].as_array()?;
    conditions.iter().find(|one| one["type"] == kind).cloned()
}

fn is_true(world: &World, pod: &str, kind: &str) -> bool {
    condition(world, pod, kind).is_some_and(|condition| condition["status"] == "True")
}

fn starts(world: &World) -> usize {
    world.device.count("POST /container/start")
}

async fn annotate(world: &World, pod: &str, key: &str, value: Value) {
    world.patch("Pod", pod, json!({"metadata": {"annotations": {key: value}}})).await;
}

#[actix::test]
async fn a_pod_is_ready_when_its_probe_says_so_and_no_longer_when_it_does_not() {
    let world = World::new().await;
    world.around.prober.set(PORT, Answer::Bad);
    world.create("Pod", probed("web", json!({"readinessProbe": quick()}))).await;
    world.until("it runs", |world| world.device.is_running("default_web_c")).await;
    sleep(Duration::from_secs(30)).await;
    let seen = container(&world, "web");
    assert_eq!((&seen["ready"], &seen["started"]), (&json!(false), &json!(true)));
    assert_eq!(world.phase("web"), "Running");
    let ready = condition(&world, "web", "Ready").expect("a condition");
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("ContainersNotReady")));
    world.around.prober.set(PORT, Answer::Good);
    world.until_ready("web").await;
    // Two bad answers are not three.
    world.around.prober.set(PORT, Answer::Bad);
    sleep(Duration::from_millis(1500)).await;
    world.around.prober.set(PORT, Answer::Good);
    sleep(Duration::from_secs(5)).await;
    assert!(world.is_ready("web"));
    world.around.prober.set(PORT, Answer::Hang);
    world.until("it is not ready", |world| !world.is_ready("web")).await;
    assert!(!world.events("Unhealthy").is_empty());
    assert_eq!(container(&world, "web")["restartCount"], 0, "readiness restarts nothing");
    assert_eq!(starts(&world), 1);
    world.stop().await;
}

#[actix::test]
async fn a_container_that_is_dead_by_its_probe_is_restarted_with_pauses_and_told_as_kubelet_tells_it() {
    let world = World::new().await;
    world.around.prober.set(PORT, Answer::Good);
    world.create("Pod", probed("web", json!({"livenessProbe": quick()}))).await;
    world.until_ready("web").await;
    world.around.prober.set(PORT, Answer::Hang);
    world.until("it was restarted", |world| container(world, "web")["restartCount"] == 1).await;
    world.around.prober.set(PORT, Answer::Good);
    world.until_ready("web").await;
    assert!(world.events("Unhealthy").iter().any(|event| event.starts_with("Liveness probe failed: ")));
    assert_eq!(world.events("Killing"), ["Container c failed liveness probe, will be restarted"]);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(container(&world, "web")["restartCount"], 1, "what was found out of one run says nothing of the next");
    world.stop().await;
}

#[actix::test]
async fn a_slow_start_is_waited_for_and_its_other_probes_wait_too() {
    let world = World::new().await;
    let startup = json!({"tcpSocket": {"port": 9000}, "periodSeconds": 1, "failureThreshold": 60});
    world.around.prober.set(PORT, Answer::Bad);
    let probes = json!({"startupProbe": startup, "livenessProbe": quick(), "readinessProbe": quick()});
    world.create("Pod", probed("web", probes)).await;
    world.until("it runs", |world| world.device.is_running("default_web_c")).await;
    sleep(Duration::from_secs(40)).await;
    let seen = container(&world, "web");
    assert_eq!((&seen["started"], &seen["restartCount"]), (&json!(false), &json!(0)));
    world.around.prober.set(PORT, Answer::Good);
    world.around.prober.set(9000, Answer::Good);
    world.until_ready("web").await;
    assert_eq!(container(&world, "web")["started"], true);
    world.stop().await;
}

#[actix::test]
async fn a_restart_of_mkube_takes_nobody_out_of_service_and_probes_go_on() {
    let world = World::new().await;
    world.around.prober.set(PORT, Answer::Good);
    world.create("Pod", probed("web", json!({"readinessProbe": quick(), "livenessProbe": quick()}))).await;
    world.until_ready("web").await;
    sleep(Duration::from_secs(3)).await;
    let around = world.stop().await;
    let world = World::over(around).await;
    let asked = world.around.prober.asked().len();
    sleep(Duration::from_secs(20)).await;
    let states = world.stored_states("web");
    let ready = |state: &Value| state["status"]["containerStatuses"][0]["ready"] == true;
    assert!(states.iter().all(ready), "it was ready all the time: {states:#?}");
    assert!(world.around.prober.asked().len() > asked + 10);
    assert_eq!((starts(&world), container(&world, "web")["restartCount"].clone()), (1, json!(0)));
    world.stop().await;
}

#[actix::test]
async fn a_watchdog_that_dies_changes_nothing() {
    let world = World::new().await;
    world.around.prober.set(PORT, Answer::Good);
    world.create("Pod", probed("web", json!({"readinessProbe": quick(), "livenessProbe": quick()}))).await;
    world.until_ready("web").await;
    for how in [CrashHow::Panic, CrashHow::Stop] {
        world.tree.crash("mkube/deciders/watchdog", how).await.expect("it is there");
        sleep(Duration::from_secs(5)).await;
    }
    world.around.prober.forget();
    sleep(Duration::from_secs(5)).await;
    assert!(world.around.prober.asked().len() >= 8, "probes go on");
    assert!(world.is_ready("web") && starts(&world) == 1);
    world.stop().await;
}

#[actix::test]
async fn nobody_is_judged_while_the_device_is_away() {
    let world = World::new().await;
    world.around.prober.set(PORT, Answer::Good);
    world.create("Pod", probed("web", json!({"livenessProbe": quick(), "readinessProbe": quick()}))).await;
    world.until_ready("web").await;
    // The way to the device and to its containers is lost at the same time.
    world.device.set_away(true);
    world.around.prober.set(PORT, Answer::Hang);
    sleep(Duration::from_secs(120)).await;
    world.device.set_away(false);
    world.around.prober.set(PORT, Answer::Good);
    sleep(Duration::from_secs(60)).await;
    assert_eq!((starts(&world), world.device.count("POST /container/stop")), (1, 0));
    assert!(world.is_ready("web"));
    world.stop().await;
}

/// A probe every second that is a command, and fails after three bad answers.
fn command(word: &str) -> Value {
    json!({"exec": {"command": [word, "--now"]}, "periodSeconds": 1, "failureThreshold": 3})
}

fn exits(code: i32, text: &str) -> Command {
    Command::Exit(code, text.to_owned())
}

#[actix::test]
async fn a_command_judges_a_container_as_any_other_probe_does() {
    let world = World::new().await;
    let commands = world.around.commands.clone();
    commands.set("up", exits(1, "not yet"));
    commands.set("alive", exits(0, ""));
    commands.set("ready", exits(3, "database is away\n"));
    let mut startup = command("up");
    startup["failureThreshold"] = json!(60);
    let probes =
        json!({"startupProbe": startup, "livenessProbe": command("alive"), "readinessProbe": command("ready")});
    world.create("Pod", probed("web", probes)).await;
    world.until("it runs", |world| world.device.is_running("default_web_c")).await;
    sleep(Duration::from_secs(20)).await;
    assert_eq!(container(&world, "web")["started"], false);
    let runs = commands.runs();
    assert!(runs.len() > 10 && runs.iter().all(|(_, words)| *words == ["up", "--now"]), "the others wait: {runs:?}");
    assert_eq!((runs[0].0.pod.as_str(), runs[0].0.container.as_str()), ("web", "c"));
    commands.set("up", exits(0, ""));
    world.until("it is started", |world| container(world, "web")["started"] == true).await;
    let told = "Readiness probe failed: command exited with code 3: database is away";
    world.until("it is told", |world| world.events("Unhealthy").iter().any(|event| event == told)).await;
    assert!(!world.is_ready("web"));
    commands.set("ready", exits(0, ""));
    world.until_ready("web").await;
    // A restart of mkube takes nobody out of service, and commands go on.
    commands.set("ready", exits(1, ""));
    let world = World::over(world.stop().await).await;
    assert!(world.is_ready("web"));
    world.until("it is not ready", |world| !world.is_ready("web")).await;
    commands.set("ready", exits(0, ""));
    commands.set("alive", exits(1, ""));
    world.until("it was restarted", |world| container(world, "web")["restartCount"] == 1).await;
    assert_eq!(world.events("Killing"), ["Container c failed liveness probe, will be restarted"]);
    commands.set("alive", exits(0, ""));
    world.until_ready("web").await;
    world.stop().await;
}

#[actix::test]
async fn a_command_that_goes_on_for_too_long_fails_and_is_ended_and_a_long_speech_is_cut() {
    let world = World::new().await;
    world.around.commands.set("ready", Command::Hang);
    world.create("Pod", probed("web", json!({"readinessProbe": command("ready")}))).await;
    let told = "Readiness probe failed: command timed out after 1 s";
    world.until("it is told", |world| world.events("Unhealthy").iter().any(|event| event == told)).await;
    let cut = "Readiness probe failed: command exited with code 127: ";
    let is_cut = |event: &String| event.strip_prefix(cut).is_some_and(|said| said.len() == 10 << 10);
    // Told when the bad answers begin and when they are enough.
    world.around.commands.set("ready", exits(0, ""));
    world.until_ready("web").await;
    assert_eq!(world.around.commands.running(), 0, "nobody left one running");
    world.around.commands.set("ready", exits(127, &"x".repeat(100_000)));
    world.until("it is told", |world| world.events("Unhealthy").iter().any(is_cut)).await;
    world.stop().await;
}

#[actix::test]
async fn a_command_of_which_nothing_is_known_is_held_against_nobody() {
    let world = World::new().await;
    world.around.commands.set("alive", exits(0, ""));
    world
        .create("Pod", probed("web", json!({"livenessProbe": command("alive"), "readinessProbe": command("alive")})))
        .await;
    world.until_ready("web").await;
    for unknown in [
        Command::Lost,
        Command::Refused(Status::bad_request("container c is not running")),
        Command::Refused(Status::unavailable("the device does not answer in time", 2)),
    ] {
        world.around.commands.set("alive", unknown);
        let before = world.around.commands.runs().len();
        sleep(Duration::from_secs(30)).await;
        assert!(world.around.commands.runs().len() > before + 20, "it is asked again and again");
        assert!(world.is_ready("web"));
    }
    assert_eq!((starts(&world), world.events("Unhealthy")), (1, Vec::<String>::new()));
    assert_eq!(world.events("ProbeWarning").len(), 2, "once for each probe: {:?}", world.events("ProbeWarning"));
    world.stop().await;
}

#[actix::test]
async fn commands_of_probes_take_turns_and_hold_up_nobody_else() {
    let world = World::new().await;
    world.around.commands.set("ready", Command::Hang);
    world.around.prober.set(PORT, Answer::Good);
    for number in 0..40 {
        world.create("Pod", probed(&format!("slow-{number}"), json!({"readinessProbe": command("ready")}))).await;
    }
    world.until("they run", |world| (0..40).all(|n| world.device.is_running(&format!("default_slow-{n}_c")))).await;
    world.create("Pod", probed("web", json!({"readinessProbe": quick()}))).await;
    world.until_ready("web").await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(world.around.commands.most_at_once(), 8);
    world.around.commands.set("ready", exits(0, ""));
    world.until("all are ready", |world| (0..40).all(|n| world.is_ready(&format!("slow-{n}")))).await;
    world.stop().await;
}

#[actix::test]
async fn where_the_device_runs_no_commands_such_a_probe_counts_as_absent_and_the_pod_says_so() {
    let world = World::new().await;
    let commands = world.around.commands.clone();
    commands.set("up", Command::Refused(Status::new(501, "NotImplemented", "RouterOS offers no way to run commands")));
    let probes =
        json!({"livenessProbe": command("up"), "readinessProbe": command("up"), "startupProbe": command("up")});
    world.create("Pod", probed("web", probes)).await;
    world.until_ready("web").await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!((starts(&world), commands.runs().len()), (1, 3), "each was tried once");
    let told = world.events("ProbeUnsupported");
    assert!(told.len() == 3 && told.iter().all(|one| one.contains("counts as absent: RouterOS")), "{told:?}");
    let said = condition(&world, "web", "vkube.io/ProbesNotAsked").expect("it is said");
    let message = said["message"].as_str().expect("a text");
    assert_eq!(said["status"], "True");
    assert!(
        message.starts_with("container c, Startup probe: RouterOS") && message.contains("Readiness probe"),
        "{message}"
    );
    // A new run is known to be asked nothing.
    world.device.end_process("default_web_c", 1);
    world.until("it was restarted", |world| container(world, "web")["restartCount"] == 1).await;
    world.until_ready("web").await;
    assert_eq!(commands.runs().len(), 3);
    // What is there when the device is back may be a host that can.
    commands.set("up", exits(1, "bad"));
    world.device.set_away(true);
    sleep(Duration::from_secs(60)).await;
    world.device.set_away(false);
    world.until("it is asked", |world| !world.is_ready("web")).await;
    assert_eq!(condition(&world, "web", "vkube.io/ProbesNotAsked"), None);
    world.stop().await;
}

#[actix::test]
async fn probes_that_make_no_sense_are_refused_with_their_field() {
    let world = World::new().await;
    for (probe, field) in [
        (json!({}), "spec.containers[0].livenessProbe"),
        (json!({"tcpSocket": {"port": "nowhere"}}), "spec.containers[0].livenessProbe.tcpSocket.port"),
        (json!({"tcpSocket": {"port": 1}, "successThreshold": 2}), "spec.containers[0].livenessProbe.successThreshold"),
    ] {
        let body = probed("web", json!({"livenessProbe": probe}));
        let status = world.write("Pod", "", mkube_messages::objects::Verb::Create { body }).await.expect_err("refused");
        assert_eq!(status.code, 422, "{status:?}");
        assert!(status.message.contains(field), "{field}: {}", status.message);
    }
    assert!(world.get("Pod", "web").is_none());
    world.stop().await;
}

#[actix::test]
async fn a_thousand_questions_are_never_more_than_a_few_at_once() {
    let world = World::new().await;
    world.around.prober.set(PORT, Answer::Hang);
    for number in 0..100 {
        world.create("Pod", probed(&format!("web-{number}"), json!({"readinessProbe": quick()}))).await;
    }
    world.until("all run", |world| (0..100).all(|n| world.device.is_running(&format!("default_web-{n}_c")))).await;
    sleep(Duration::from_secs(10)).await;
    let most = world.around.prober.most_at_once();
    assert!((32..=64).contains(&most), "{most}");
    world.stop().await;
}

/// Waits until a crash loop came to its end.
async fn until_held(world: &World) {
    world
        .until("it is held", |world| {
            is_true(world, "web", "vkube.io/Held") && world.waits_for("web", "CrashLoopBackOff")
        })
        .await;
}

async fn crash_looping() -> World {
    let world = World::new().await;
    world.create("Pod", job("web", "Always", &["sleep", "1", "exit", "3"])).await;
    // 0, 10, 20, 40, 80, 160 s and then four times 300 s: longer than the patience of one wait.
    sleep(Duration::from_secs(1600)).await;
    until_held(&world).await;
    world
}

#[actix::test]
async fn a_container_that_ends_again_and_again_is_made_anew_once_and_then_held() {
    let world = crash_looping().await;
    assert_eq!(world.device.count("POST /container/add"), 2, "once with a fresh root directory");
    let roots: Vec<Value> = world.device.rows("container").iter().map(|row| row["root-dir"].clone()).collect();
    assert_eq!(roots, [json!("/images/default_web_c.2")]);
    assert_eq!(container(&world, "web")["restartCount"], 10);
    let waiting = container(&world, "web")["state"]["waiting"]["message"].to_string();
    assert!(waiting.contains("is held") && waiting.contains("annotation"), "{waiting}");
    assert_eq!(world.events("Held").len(), 1);
    let before = starts(&world);
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(starts(&world), before, "it stays stopped");
    // A restart of mkube does not start it again.
    let around = world.stop().await;
    let world = World::over(around).await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!((starts(&world), world.events("Held").len()), (before, 1));
    assert_eq!(container(&world, "web")["restartCount"], 10);
    // Whoever touches the pod wants to see it tried.
    annotate(&world, "web", "example.com/try", json!("again")).await;
    world.until("it is tried", |world| starts(world) > before).await;
    world.until("it is not held", |world| !is_true(world, "web", "vkube.io/Held")).await;
    world.stop().await;
}

#[actix::test]
async fn a_reboot_of_the_device_releases_what_is_held() {
    let world = crash_looping().await;
    let before = starts(&world);
    world.device.reboot(Duration::from_secs(30));
    world.until("it is not held", |world| !is_true(world, "web", "vkube.io/Held")).await;
    world.until("it is tried again", |world| starts(world) > before).await;
    world.stop().await;
}

#[actix::test]
async fn the_pauses_of_a_crash_loop_go_on_after_a_restart_of_mkube() {
    let world = World::new().await;
    world.create("Pod", job("web", "Always", &["sleep", "1", "exit", "3"])).await;
    world.until("it was restarted some times", |world| container(world, "web")["restartCount"] == 4).await;
    sleep(Duration::from_secs(15)).await;
    let around = world.stop().await;
    let world = World::over(around).await;
    let before = starts(&world);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(starts(&world), before, "it waits at least as long as before");
    world.until("it goes on", |world| starts(world) > before).await;
    world.stop().await;
}

#[actix::test]
async fn a_container_that_ran_for_long_has_its_restarts_forgiven() {
    let world = World::new().await;
    world.create("Pod", pod("web")).await;
    world.until_ready("web").await;
    for crash in 1..=12 {
        world.device.end_process("default_web_c", 1);
        world.until("it was restarted", |world| container(world, "web")["restartCount"] == crash).await;
        world.until_ready("web").await;
        sleep(Duration::from_secs(700)).await;
        assert_eq!(condition(&world, "web", "vkube.io/Held"), None, "after crash {crash}");
    }
    assert_eq!(world.device.count("POST /container/add"), 1);
    world.stop().await;
}

#[actix::test]
async fn a_paused_pod_is_left_to_whoever_paused_it_and_deleted_all_the_same() {
    let world = World::new().await;
    world.around.prober.set(PORT, Answer::Good);
    world.create("Pod", probed("web", json!({"livenessProbe": quick()}))).await;
    world.until_ready("web").await;
    annotate(&world, "web", "vkube.io/paused", json!("true")).await;
    world.until("it says so", |world| is_true(world, "web", "vkube.io/paused")).await;
    world.device.forget_calls();
    // Neither a dead probe nor another image nor an operator who stops it makes anything happen.
    world.around.prober.set(PORT, Answer::Bad);
    sleep(Duration::from_secs(60)).await;
    world.patch("Pod", "web", json!({"spec": {"terminationGracePeriodSeconds": 5}})).await;
    sleep(Duration::from_secs(60)).await;
    assert!(world.device.is_running("default_web_c"));
    world.device.operate(DeviceVerb::Post, "container/stop", json!({"numbers": "default_web_c"}));
    sleep(Duration::from_secs(600)).await;
    assert!(!world.device.is_running("default_web_c"));
    for command in ["start", "stop", "remove", "add"] {
        assert_eq!(world.device.count(&format!("POST /container/{command}")), 0, "{command}");
    }
    // When it is over, everything that waited is done.
    world.around.prober.set(PORT, Answer::Good);
    annotate(&world, "web", "vkube.io/paused", Value::Null).await;
    world.until_ready("web").await;
    assert_eq!(condition(&world, "web", "vkube.io/paused"), None);
    annotate(&world, "web", "vkube.io/paused", json!("true")).await;
    sleep(Duration::from_secs(2)).await;
    world.delete("Pod", "web").await;
    world.until_gone("web").await;
    world.nothing_is_left();
    world.stop().await;
}

#[actix::test]
async fn a_reboot_is_one_event_and_no_failure_of_anybody() {
    let world = World::new().await;
    world.around.prober.set(PORT, Answer::Good);
    for name in ["a", "b", "c"] {
        world.create("Pod", probed(name, json!({"readinessProbe": quick(), "livenessProbe": quick()}))).await;
    }
    // Not started by the device itself.
    world.create("Pod", job("often", "OnFailure", &["/serve"])).await;
    world.create("Pod", job("once", "Never", &["/serve"])).await;
    for name in ["a", "b", "c", "often", "once"] {
        world.until_ready(name).await;
    }
    let began = container(&world, "a")["state"]["running"]["startedAt"].clone();
    sleep(Duration::from_secs(30)).await;
    world.device.forget_calls();
    world.around.prober.set(PORT, Answer::Hang);
    world.device.reboot(Duration::from_secs(40));
    sleep(Duration::from_secs(45)).await;
    world.around.prober.set(PORT, Answer::Good);
    for name in ["a", "b", "c", "often"] {
        world
            .until("it runs again, as another run", |world| {
                let seen = container(world, name);
                world.is_ready(name) && seen["state"]["running"]["startedAt"] != began
            })
            .await;
    }
    sleep(Duration::from_secs(60)).await;
    for name in ["a", "b", "c", "often"] {
        let seen = container(&world, name);
        assert_eq!(seen["restartCount"], 0, "{name}");
        assert_eq!(seen["lastState"]["terminated"]["reason"], "DeviceRebooted", "{name}: {seen:#}");
        assert_eq!(condition(&world, name, "vkube.io/Held"), None, "{name}");
    }
    // Who is never started again ended, and says by what.
    let once = container(&world, "once");
    assert_eq!(once["state"]["terminated"]["reason"], "DeviceRebooted", "{once:#}");
    assert_eq!(world.phase("once"), "Failed");
    assert_eq!(starts(&world), 1, "all but one are started by the device");
    assert_eq!(world.device.count("POST /container/stop"), 0);
    assert_eq!(world.events("BackOff"), Vec::<String>::new());
    world.stop().await;
}

#[actix::test]
async fn a_reboot_while_mkube_is_away_is_seen_by_the_device_being_younger_than_the_runs() {
    let world = World::new().await;
    world.create("Pod", job("often", "OnFailure", &["/serve"])).await;
    world.create("Pod", pod("web")).await;
    world.until_ready("often").await;
    world.until_ready("web").await;
    sleep(Duration::from_secs(3)).await;
    let around = world.stop().await;
    around.device.reboot(Duration::ZERO);
    sleep(Duration::from_secs(60)).await;
    let world = World::over(around).await;
    for name in ["often", "web"] {
        world
            .until("it is another run", |world| {
                let seen = container(world, name);
                world.is_ready(name) && seen["lastState"]["terminated"]["reason"] == "DeviceRebooted"
            })
            .await;
        assert_eq!(container(&world, name)["restartCount"], 0);
    }
    world.stop().await;
}
