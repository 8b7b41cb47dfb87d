//! What is read of the device, how often, and what of it is believed.

use super::*;

#[actix::test]
async fn steady_state_costs_one_poll_three_calls_a_tick_and_two_more_at_every_sixth_however_many_pods() {
    tokio::time::pause();
    for pods in [1, 100, 1000] {
        let device = a_device();
        for number in 0..pods {
            let veth = format!("veth_default_p{number}_0");
            device.operate(
                DeviceVerb::Put,
                "interface/veth",
                json!({"name": veth, "address": format!("10.90.{}.{}/16", number / 250, number % 250 + 2)}),
            );
            let row = json!({"name": format!("default_p{number}_c"), "file": "/cache/web.tar", "interface": veth,
                "root-dir": format!("/images/default_p{number}_c")});
            device.operate(DeviceVerb::Put, "container", row);
        }
        sleep(Duration::from_secs(1)).await;
        let bench = Bench::over(device);
        bench.read().await;
        assert_eq!(bench.picture.borrow().containers.len(), pods);
        sleep(Duration::from_secs(5)).await;
        let mut lists = 0;
        for _tick in 0..12 {
            bench.device.forget_calls();
            sleep(Duration::from_secs(10)).await;
            let calls: Vec<String> = bench.device.calls().into_iter().map(|call| call.operation).collect();
            let of_lists = ["GET /container/mounts", "GET /container/envs"].map(|one| bench.device.count(one));
            assert_eq!(of_lists[0], of_lists[1], "{pods} pods: {calls:?}");
            lists += of_lists[0];
            assert_eq!(calls.len() - 2 * of_lists[0], 3, "{pods} pods: {calls:?}");
            assert_eq!(bench.device.count("GET /container"), 1, "{pods} pods: {calls:?}");
            assert_eq!(bench.device.count("GET /interface/veth"), 1, "{pods} pods: {calls:?}");
        }
        assert_eq!(lists, 2, "lists are read once a minute");
        bench.tree.stop(Duration::from_secs(1)).await;
    }
}

#[actix::test]
async fn lists_are_read_slowly_without_values_and_a_fault_of_theirs_is_no_fault_of_the_reading() {
    let bench = Bench::new().await;
    let made = |menu: &str, body| drop(bench.device.operate(DeviceVerb::Put, menu, body));
    made("container/mounts", json!({"list": "a_b_c", "src": "/volumes/x", "dst": "/x"}));
    made("container/envs", json!({"list": "a_b_c", "key": "PASSWORD", "value": "between us"}));
    bench.device.cue("GET /container/envs", 1, Cue::Unreachable);
    assert_eq!(bench.picture.borrow().lists, None, "nobody waits for them at the start");
    sleep(Duration::from_secs(65)).await;
    assert!(bench.picture.borrow().reachable && bench.picture.borrow().lists.is_none());
    sleep(Duration::from_secs(60)).await;
    let lists = bench.picture.borrow().lists.clone().expect("they were read");
    assert_eq!(lists.mounts["a_b_c"][0].dst, "/x");
    assert_eq!(lists.envs["a_b_c"], ["PASSWORD"]);
    assert!(!format!("{lists:?}").contains("between us"));
    let read_at = bench.picture.borrow().read_at.expect("read");
    sleep(Duration::from_secs(25)).await;
    let picture = bench.picture.borrow().clone();
    assert!(picture.read_at > Some(read_at), "the rest goes on at its own pace");
    assert_eq!(picture.lists.as_deref(), Some(&*lists), "and they keep their own time");
}

#[actix::test]
async fn while_a_row_moves_the_looks_come_every_50_ms_to_1_s_one_in_flight() {
    let bench = Bench::new().await;
    bench.device.set_timings(Timings { extract: Duration::from_secs(15), ..Timings::default() });
    bench.ask(bridge()).await.expect("made");
    bench.ask(veth(VETH, "10.90.0.2/24")).await.expect("made");
    bench.ask(container(NAME, VETH)).await.expect("made");
    bench.device.forget_calls();
    bench.until(Some(ContainerState::Stopped)).await;
    let calls = bench.device.calls();
    let looks: Vec<Instant> =
        calls.iter().filter(|call| call.operation == "GET /container").map(|one| one.at).collect();
    let pauses: Vec<u128> = looks.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_millis()).collect();
    assert!((50..60).contains(&pauses[0]), "{pauses:?}");
    assert!(pauses.iter().all(|pause| (50..=1010).contains(pause)), "{pauses:?}");
    assert!(pauses.iter().filter(|pause| **pause >= 990).count() >= 5, "they grow to a second: {pauses:?}");
    assert!(looks.len() < 30, "{} looks in 15 s", looks.len());
    assert_eq!(bench.device.most_in_flight(), 1);
}

/// A device with so many containers, read once.
async fn with_many(pods: usize) -> Bench {
    tokio::time::pause();
    let device = a_device();
    for number in 0..pods {
        let veth = format!("veth_default_p{number}_0");
        let address = format!("10.90.{}.{}/16", number / 250 + 1, number % 250 + 2);
        device.operate(DeviceVerb::Put, "interface/veth", json!({"name": veth, "address": address}));
        let row = json!({"name": format!("default_p{number}_c"), "file": "/cache/web.tar", "interface": veth,
            "root-dir": format!("/images/default_p{number}_c")});
        device.operate(DeviceVerb::Put, "container", row);
    }
    sleep(Duration::from_secs(1)).await;
    let bench = Bench::over(device);
    bench.read().await;
    sleep(Duration::from_secs(5)).await;
    bench.ask(bridge()).await.expect("made");
    bench.ask(veth(VETH, "10.90.0.2/16")).await.expect("made");
    bench
}

/// Readings of single containers so far.
fn single_rows(bench: &Bench) -> usize {
    bench.device.calls().iter().filter(|call| call.operation.starts_with("GET /container/*")).count()
}

#[actix::test]
async fn of_many_containers_those_are_read_that_move_and_once_a_second_all() {
    let bench = with_many(100).await;
    bench.device.set_timings(Timings { extract: Duration::from_secs(8), ..Timings::default() });
    bench.ask(container(NAME, VETH)).await.expect("made");
    sleep(Duration::from_millis(1500)).await;
    bench.device.forget_calls();
    let mut picture = bench.picture.clone();
    let first = picture.borrow().read_at;
    picture.wait_for(|picture| picture.read_at != first).await.expect("alive");
    let read_at = picture.borrow().read_at;
    // Somebody else's row changes meanwhile: a look at the one that moves says nothing of it, and does not pretend to.
    bench.ask(StartContainer { context: within(), name: "default_p7_c".into() }).await.expect("accepted");
    bench.device.forget_calls();
    let started = |picture: &DeviceSnapshot| picture.containers["default_p7_c"].state == ContainerState::Running;
    picture.wait_for(|picture| started(picture)).await.expect("alive");
    assert_eq!(bench.device.count("GET /container"), 0, "{:?}", bench.device.calls());
    assert!(single_rows(&bench) > 0, "{:?}", bench.device.calls());
    assert_eq!(picture.borrow().read_at, read_at, "not everything was seen since");
    bench.until(Some(ContainerState::Stopped)).await;
    let took = read_at.expect("read").elapsed();
    let lists = u128::try_from(bench.device.count("GET /container")).expect("few");
    assert!(lists <= took.as_millis() / 1000 + 1, "{lists} lists in {took:?}");
    assert!(lists + 2 >= took.as_millis() / 2000, "{lists} lists in {took:?}");
}

#[actix::test]
async fn a_container_that_is_gone_and_was_not_going_is_looked_for_in_a_list_of_all() {
    let bench = with_many(100).await;
    bench.ask(container(NAME, VETH)).await.expect("made");
    bench.until(Some(ContainerState::Stopped)).await;
    let mut picture = bench.picture.clone();
    let read_at = picture.borrow().read_at;
    picture.wait_for(|picture| picture.read_at != read_at).await.expect("alive");
    let id = picture.borrow().containers[NAME].id.clone();
    bench.device.operate(DeviceVerb::Delete, &format!("container/{id}"), Value::Null);
    bench.device.forget_calls();
    bench.until(None).await;
    assert!(bench.device.count(&format!("GET /container/{id}")) > 0, "{:?}", bench.device.calls());
    assert!(bench.device.count("GET /container") > 0, "one row that is missing is not believed");
}

#[actix::test]
async fn many_containers_live_as_few_do() {
    let bench = with_many(100).await;
    bench.ask(container(NAME, VETH)).await.expect("made");
    bench.until(Some(ContainerState::Stopped)).await;
    bench.ask(StartContainer { context: within(), name: NAME.into() }).await.expect("accepted");
    bench.until(Some(ContainerState::Running)).await;
    bench.ask(StopContainer { context: within(), name: NAME.into() }).await.expect("accepted");
    bench.until(Some(ContainerState::Stopped)).await;
    bench.ask(RemoveContainer { context: within(), name: NAME.into() }).await.expect("accepted");
    bench.until(None).await;
    assert!(single_rows(&bench) > 4, "{:?}", bench.device.calls());
    assert_eq!(bench.picture.borrow().containers.len(), 100);
}

#[actix::test]
async fn a_stream_of_commands_does_not_put_the_next_look_off() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    for number in 0..30 {
        let name = format!("veth_default_p{number}_0");
        bench.ask(veth(&name, &format!("10.90.0.{}/24", number + 2))).await.expect("made");
    }
    bench.device.forget_calls();
    let began = Instant::now();
    for number in 0..30 {
        let (name, veth) = (format!("default_p{number}_c"), format!("veth_default_p{number}_0"));
        bench.ask(container(&name, &veth)).await.expect("made");
        sleep(Duration::from_millis(20)).await;
    }
    let took = began.elapsed();
    let looks = bench.device.count("GET /container");
    assert!(looks >= 6, "{looks} looks in {took:?}");
}

#[actix::test]
async fn a_list_that_is_suddenly_empty_is_believed_only_at_the_third_time() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    bench.ask(veth(VETH, "10.90.0.2/24")).await.expect("made");
    bench.ask(container(NAME, VETH)).await.expect("made");
    bench.until(Some(ContainerState::Stopped)).await;
    sleep(Duration::from_secs(15)).await;
    [1, 2].into_iter().for_each(|nth| bench.device.cue("GET /container", nth, Cue::EmptyList));
    let mut picture = bench.picture.clone();
    let until = Instant::now() + Duration::from_secs(30);
    while tokio::time::timeout_at(until, picture.changed()).await.is_ok() {
        assert!(picture.borrow_and_update().containers.contains_key(NAME));
    }
    assert!(bench.device.count("GET /container") > 3 && bench.picture.borrow().reachable);
    bench.device.remove_container_behind(NAME);
    sleep(Duration::from_secs(12)).await;
    assert_eq!(bench.state(), None, "gone for good is seen within a tick and a bit");
}

#[actix::test]
async fn a_strange_reading_is_believed_only_right_after_two_that_were_strange_in_the_same_way() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    bench.ask(veth(VETH, "10.90.0.2/24")).await.expect("made");
    bench.ask(container(NAME, VETH)).await.expect("made");
    bench.until(Some(ContainerState::Stopped)).await;
    let empty = |operation, nth| (operation, nth, Cue::EmptyList);
    let containers = |nth| empty("GET /container", nth);
    let otherwise = [containers(1), containers(2), empty("GET /interface/veth", 3)];
    let failed_between = [containers(1), containers(2), ("GET /container", 3, Cue::Unreachable), containers(4)];
    for cues in [otherwise.as_slice(), failed_between.as_slice()] {
        sleep(Duration::from_secs(15)).await;
        cues.iter().for_each(|(operation, nth, cue)| bench.device.cue(operation, *nth, cue.clone()));
        let mut picture = bench.picture.clone();
        let until = Instant::now() + Duration::from_secs(30);
        while tokio::time::timeout_at(until, picture.changed()).await.is_ok() {
            let picture = picture.borrow_and_update();
            assert!(picture.containers.contains_key(NAME) && picture.veths.contains_key(VETH), "{cues:?}");
        }
        assert!(bench.picture.borrow().reachable);
    }
}

#[actix::test]
async fn half_a_reading_is_never_published() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    bench.ask(veth(VETH, "10.90.0.2/24")).await.expect("made");
    bench.ask(container(NAME, VETH)).await.expect("made");
    bench.until(Some(ContainerState::Stopped)).await;
    sleep(Duration::from_secs(15)).await;
    // The containers can be read and show something new; the interfaces cannot.
    bench.device.remove_container_behind(NAME);
    bench.device.cue_every("GET /interface/veth", Cue::Unreachable);
    sleep(Duration::from_secs(20)).await;
    let picture = bench.picture.borrow().clone();
    assert!(!picture.reachable && picture.fault.is_some());
    assert!(picture.containers.contains_key(NAME), "what was read before the failure is not shown");
    bench.device.clear_cues();
    bench.until(None).await;
    assert!(bench.picture.borrow().reachable);
}

#[actix::test]
async fn before_everything_was_read_once_the_picture_is_not_complete() {
    tokio::time::pause();
    for list in ["GET /container", "GET /interface/veth", "GET /interface/bridge/port", "GET /system/resource"] {
        let device = a_device();
        device.cue_every(list, Cue::Unreachable);
        let bench = Bench::over(device);
        sleep(Duration::from_secs(30)).await;
        assert!(!bench.picture.borrow().complete, "{list}");
        bench.device.clear_cues();
        bench.read().await;
        bench.tree.stop(Duration::from_secs(1)).await;
    }
}

#[actix::test]
async fn a_device_that_goes_away_keeps_its_picture_and_is_seen_again_when_it_is_back() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    bench.ask(veth(VETH, "10.90.0.2/24")).await.expect("made");
    sleep(Duration::from_secs(12)).await;
    bench.device.set_away(true);
    sleep(Duration::from_secs(60)).await;
    let picture = bench.picture.borrow().clone();
    assert!(!picture.reachable && picture.complete && picture.veths.contains_key(VETH), "{picture:?}");
    assert!(picture.fault.as_ref().is_some_and(|fault| fault.contains("cannot be reached")), "{:?}", picture.fault);
    let refused = bench.ask(veth("veth_default_other_0", "10.90.0.3/24")).await;
    assert!(matches!(refused, Err(CallError::Fault(RouterFault::Unreachable { .. }))), "{refused:?}");
    bench.device.set_away(false);
    sleep(Duration::from_secs(11)).await;
    assert!(bench.picture.borrow().reachable);
}
