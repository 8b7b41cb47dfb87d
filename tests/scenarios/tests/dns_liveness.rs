//! Name servers that fall silent: the whole controller under paused time, over a device in memory and servers that answer as told.

mod world;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mkube_fakes::Answer;
use mkube_model::neighbours::prober::Question;
use mkube_model::network::Network;
use serde_json::{Value, json};
use tokio::time::sleep;
use world::{Surroundings, World, pod};

const FIRST: &str = "10.90.0.53";
const SECOND: &str = "10.90.0.54";
const MINUTE: Duration = Duration::from_secs(60);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("a literal")
}

/// The network `gt` is another from now on.
fn change_network(around: &Surroundings, change: impl Fn(&mut Network)) {
    around.networks.0.send_modify(|view| {
        let mut changed = (**view).clone();
        let mut network = changed.by_name.get("gt").expect("it is there").as_ref().clone();
        change(&mut network);
        changed.by_name.insert("gt".into(), Arc::new(network));
        *view = Arc::new(changed);
    });
}

/// Two name servers, of which the second is the one beside the first.
fn named() -> Surroundings {
    let around = Surroundings::new();
    change_network(&around, |network| {
        network.names.zone = "gt.lo".into();
        network.names.server = Some(ip(FIRST));
        network.dns = vec![ip(FIRST), ip(SECOND)];
    });
    around.prober.set(53, Answer::Good);
    around
}

fn server(name: &str, address: &str) -> Value {
    let mut body = pod(name);
    body["metadata"]["annotations"] = json!({"vkube.io/static-ip": address});
    body
}

async fn with_servers(servers: &[(&str, &str)]) -> World {
    let world = World::over(named()).await;
    for (name, address) in servers {
        world.create("Pod", server(name, address)).await;
    }
    for (name, _) in servers {
        world.until_ready(name).await;
    }
    // Past their youth.
    sleep(2 * MINUTE).await;
    world
}

fn restarts(world: &World, pod: &str) -> u64 {
    world.status(pod)["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()
}

fn stops(world: &World) -> usize {
    world.device.count("POST /container/stop")
}

/// Questions to a name server so far.
fn asked(world: &World, address: &str) -> usize {
    let is_it = |question: &Question| matches!(question, Question::Dns { host, port: 53, .. } if host == address);
    world.around.prober.asked().iter().filter(|(_, question)| is_it(question)).count()
}

#[actix::test]
async fn a_lost_packet_or_two_restart_nothing() {
    let world = with_servers(&[("dns", FIRST)]).await;
    for _ in 0..10 {
        world.around.prober.set(53, Answer::Hang);
        let before = asked(&world, FIRST);
        world.until("two rounds are lost", |world| asked(world, FIRST) == before + 2).await;
        sleep(Duration::from_secs(6)).await;
        world.around.prober.set(53, Answer::Good);
        sleep(MINUTE).await;
    }
    assert_eq!((restarts(&world, "dns"), stops(&world)), (0, 0));
    assert!(world.events("DNSServerDead").is_empty());
    assert!(world.events("Unhealthy").iter().any(|event| event.starts_with("DNS liveness probe failed: ")));
    let zone = |question: &Question| matches!(question, Question::Dns { zone, .. } if zone == "gt.lo");
    assert!(world.around.prober.asked().iter().all(|(_, question)| zone(question)), "nobody else was asked anything");
    world.stop().await;
}

#[actix::test]
async fn a_name_server_that_is_silent_is_restarted_once_and_told() {
    let world = with_servers(&[("dns", FIRST)]).await;
    world.create("Pod", pod("web")).await;
    world.until_ready("web").await;
    world.around.prober.set(53, Answer::Hang);
    world.until("it was restarted", |world| restarts(world, "dns") == 1).await;
    world.around.prober.set(53, Answer::Good);
    world.until_ready("dns").await;
    sleep(10 * MINUTE).await;
    assert_eq!((restarts(&world, "dns"), restarts(&world, "web"), stops(&world)), (1, 0, 1));
    let told = world.events("DNSServerDead");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("name server 10.90.0.53 of gt did not answer"), "{told:?}");
    assert_eq!(world.events("Killing"), ["Container c failed DNS liveness probe, will be restarted"]);
    world.stop().await;
}

#[actix::test]
async fn of_two_servers_that_die_at_once_one_is_restarted_after_the_other_is_back() {
    let world = with_servers(&[("one", FIRST), ("two", SECOND)]).await;
    world.around.prober.set(53, Answer::Hang);
    world.until("one of them was restarted", |world| restarts(world, "one") + restarts(world, "two") == 1).await;
    let (first, address, second) =
        if restarts(&world, "one") == 1 { ("one", FIRST, "two") } else { ("two", SECOND, "one") };
    world.until_ready(first).await;
    // It does not answer yet: the other one is left alone.
    sleep(4 * MINUTE).await;
    assert_eq!((restarts(&world, first), restarts(&world, second), stops(&world)), (1, 0, 1));
    assert!(world.events("DNSServerWaits").iter().any(|event| event.ends_with(&format!("when {address} is back"))));
    world.around.prober.set_of(address, 53, Answer::Good);
    world.until("now it is the other one's turn", |world| restarts(world, second) == 1).await;
    world.around.prober.set_of(if address == FIRST { SECOND } else { FIRST }, 53, Answer::Good);
    sleep(10 * MINUTE).await;
    assert_eq!((restarts(&world, "one"), restarts(&world, "two"), stops(&world)), (1, 1, 2));
    world.stop().await;
}

#[actix::test]
async fn servers_that_never_come_back_are_taken_in_turns_and_not_without_end() {
    let world = with_servers(&[("one", FIRST), ("two", SECOND)]).await;
    world.around.prober.set(53, Answer::Bad);
    for _ in 0..55 {
        let down = |pod: &str| !world.device.is_running(&format!("default_{pod}_c"));
        assert!(!(down("one") && down("two")));
        sleep(MINUTE).await;
    }
    assert_eq!((restarts(&world, "one"), restarts(&world, "two")), (3, 3));
    assert_eq!(world.events("DNSRestartLimit").len(), 2);
    world.stop().await;
}

#[actix::test]
async fn a_network_where_nobody_is_reached_is_no_dead_server() {
    let world = with_servers(&[("one", FIRST), ("two", SECOND)]).await;
    world.create("Pod", pod("web")).await;
    world.until_ready("web").await;
    world.around.prober.set_away(true);
    sleep(30 * MINUTE).await;
    assert_eq!(stops(&world), 0);
    assert_eq!(world.events("DNSServerUnreachable").len(), 2, "each is told once");
    world.around.prober.set_away(false);
    sleep(30 * MINUTE).await;
    assert_eq!((restarts(&world, "one"), restarts(&world, "two"), stops(&world)), (0, 0, 0));
    world.stop().await;
}

#[actix::test]
async fn a_server_that_is_young_is_left_to_start() {
    let world = World::over(named()).await;
    world.around.prober.set(53, Answer::Bad);
    world.create("Pod", server("dns", FIRST)).await;
    world.until_ready("dns").await;
    sleep(4 * MINUTE).await;
    assert!(asked(&world, FIRST) > 10, "it is asked");
    assert_eq!((restarts(&world, "dns"), stops(&world)), (0, 0));
    // So is one whose watcher starts anew.
    let around = world.stop().await;
    let world = World::over(around).await;
    sleep(4 * MINUTE).await;
    assert_eq!((restarts(&world, "dns"), stops(&world)), (0, 0));
    world.until("in the end it had its time", |world| restarts(world, "dns") == 1).await;
    world.stop().await;
}

#[actix::test]
async fn one_that_somebody_else_keeps_is_never_asked_nor_one_that_is_paused() {
    let world = with_servers(&[("dns", FIRST), ("paused", SECOND)]).await;
    change_network(&world.around, |network| network.external_dns = true);
    sleep(MINUTE).await;
    world.around.prober.forget();
    world.around.prober.set(53, Answer::Bad);
    sleep(10 * MINUTE).await;
    assert_eq!((asked(&world, FIRST), stops(&world)), (0, 0));
    // It is ours from now on, and the other one is paused.
    world.patch("Pod", "paused", json!({"metadata": {"annotations": {"vkube.io/paused": "true"}}})).await;
    sleep(MINUTE).await;
    change_network(&world.around, |network| network.external_dns = false);
    world.until("it was restarted", |world| restarts(world, "dns") == 1).await;
    world.around.prober.set_of(FIRST, 53, Answer::Good);
    sleep(20 * MINUTE).await;
    assert_eq!((asked(&world, SECOND), restarts(&world, "paused"), stops(&world)), (0, 0, 1));
    world.stop().await;
}

#[actix::test]
async fn while_one_server_is_replaced_a_dead_one_beside_it_waits() {
    let world = with_servers(&[("one", FIRST), ("two", SECOND)]).await;
    // The new version does not answer.
    world.around.prober.set_of(SECOND, 53, Answer::Bad);
    world.patch("Pod", "two", json!({"spec": {"containers": [{"name": "c", "image": "web:2"}]}})).await;
    world.until("it was replaced", |world| world.device.count("POST /container/add") == 3).await;
    world.until_ready("two").await;
    let before = stops(&world);
    world.around.prober.set_of(FIRST, 53, Answer::Bad);
    sleep(3 * MINUTE).await;
    assert_eq!((restarts(&world, "one"), stops(&world)), (0, before));
    assert!(world.events("DNSServerWaits").iter().any(|event| event.ends_with("when 10.90.0.54 is back")));
    world.around.prober.set_of(SECOND, 53, Answer::Good);
    world.until("it has its turn", |world| restarts(world, "one") == 1).await;
    world.stop().await;
}

#[actix::test]
async fn a_name_servers_own_probes_count_beside_it_and_what_is_said_of_it_stays_the_same() {
    let world = World::over(named()).await;
    let mut body = server("dns", FIRST);
    body["spec"]["containers"][0]["livenessProbe"] =
        json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 3});
    world.around.prober.set(8080, Answer::Good);
    world.create("Pod", body).await;
    world.until_ready("dns").await;
    sleep(2 * MINUTE).await;
    world.around.prober.set(8080, Answer::Bad);
    world.until("its own probe restarts it", |world| restarts(world, "dns") == 1).await;
    world.around.prober.set(8080, Answer::Good);
    world.until_ready("dns").await;
    sleep(2 * MINUTE).await;
    assert_eq!(restarts(&world, "dns"), 1);
    world.around.prober.set(53, Answer::Bad);
    world.until("its silence does too", |world| restarts(world, "dns") == 2).await;
    assert_eq!(world.events("DNSServerDead").len(), 1);
    world.stop().await;
}

#[actix::test]
async fn nobody_is_restarted_for_what_was_not_heard_while_the_device_was_away() {
    let world = with_servers(&[("dns", FIRST)]).await;
    world.device.set_away(true);
    world.around.prober.set(53, Answer::Hang);
    sleep(5 * MINUTE).await;
    world.device.set_away(false);
    sleep(Duration::from_secs(15)).await;
    world.around.prober.set(53, Answer::Good);
    sleep(5 * MINUTE).await;
    assert_eq!((restarts(&world, "dns"), stops(&world)), (0, 0));
    world.stop().await;
}
