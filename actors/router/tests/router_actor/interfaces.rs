//! Interfaces: whose they are, and what becomes of their ports.

use super::*;

#[actix::test]
async fn an_interface_of_somebody_else_is_neither_changed_nor_removed() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    let theirs = json!({"name": VETH, "address": "192.168.7.7/24", "comment": "camera, do not touch"});
    bench.device.operate(DeviceVerb::Put, "interface/veth", theirs);
    sleep(Duration::from_secs(11)).await;
    let before = bench.device.state();
    let refused = bench.ask(veth(VETH, "10.90.0.2/24")).await;
    assert!(matches!(&refused, Err(CallError::Fault(RouterFault::AlreadyExists { .. }))), "{refused:?}");
    assert!(refused.is_err_and(|error| error.to_string().contains("camera, do not touch")));
    let order = RemoveVeth { context: within(), name: VETH.into(), owner: "mkube default/web".into() };
    let refused = bench.ask(order).await;
    assert!(matches!(refused, Err(CallError::Fault(RouterFault::AlreadyExists { .. }))), "{refused:?}");
    assert_eq!(bench.device.state(), before);
}

#[actix::test]
async fn an_interface_that_was_not_listed_is_removed_all_the_same() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    bench.ask(veth(VETH, "10.90.0.2/24")).await.expect("made");
    bench.device.cue_every("GET /interface/veth", Cue::EmptyList);
    // Long enough for an empty list to be believed.
    sleep(Duration::from_secs(21)).await;
    assert!(bench.picture.borrow().veths.is_empty());
    bench.device.clear_cues();
    let order = RemoveVeth { context: within(), name: VETH.into(), owner: "mkube default/web".into() };
    bench.ask(order).await.expect("removed");
    assert_eq!(bench.device.row("interface/veth", VETH), None);
    assert_eq!(bench.device.rows("interface/bridge/port"), Vec::<Value>::new());
}

#[actix::test]
async fn an_interface_without_a_comment_is_adopted_by_its_name() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    bench.device.operate(DeviceVerb::Put, "interface/veth", json!({"name": VETH, "address": "10.90.0.9/24"}));
    sleep(Duration::from_secs(11)).await;
    bench.ask(veth(VETH, "10.90.0.2/24")).await.expect("adopted and changed");
    let row = bench.device.row("interface/veth", VETH).expect("one row");
    assert_eq!(row["address"], "10.90.0.2/24");
}

#[actix::test]
async fn an_address_another_interface_has_is_not_given_to_a_second_one() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    bench.ask(veth("veth_default_first_0", "10.90.0.2/24")).await.expect("made");
    let refused = bench.ask(veth(VETH, "10.90.0.2/24")).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("veth_default_first_0")));
    assert_eq!(bench.device.row("interface/veth", VETH), None);
}

#[actix::test]
async fn a_lost_interface_comes_back_with_a_live_port_and_leaves_no_dead_one() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    bench.ask(veth(VETH, "10.90.0.2/24")).await.expect("made");
    bench.device.lose_veth(VETH);
    sleep(Duration::from_secs(25)).await;
    let dead = bench.device.rows("interface/bridge/port");
    assert!(dead[0]["interface"].as_str().is_some_and(|name| name.starts_with('*')), "{dead:?}");
    bench.ask(veth(VETH, "10.90.0.2/24")).await.expect("made again");
    let ports = bench.device.rows("interface/bridge/port");
    assert_eq!(ports.len(), 1, "{ports:?}");
    assert_ne!(ports[0][".id"], dead[0][".id"], "the dead port is gone");
    assert_eq!(ports[0]["interface"], VETH);
}
