//! What may be removed and what may not, over whole scenes.

use std::sync::Arc;
use std::time::Duration;

use mkube_messages::consistency::RepairAction::{
    DeletePod, ReleaseAddress, RemoveContainer, RemoveEnvs, RemoveInterface, RemoveMounts,
};
use mkube_messages::objects::ObjectKey;
use mkube_model::marks::mark;
use mkube_model::neighbours::router::{BridgePortRow, ContainerState, RowId};
use proptest::prelude::*;
use serde_json::json;

use crate::decide::{Decision, Verdict};
use crate::testing::{HASH, Scene, deployment, due, key, pod};

fn why(decision: &Decision) -> Vec<String> {
    let why = decision.verdicts.iter().map(|(_, verdict)| match verdict {
        Verdict::Due => "due".to_owned(),
        Verdict::Later(why, _) | Verdict::Refused(why) => why.clone(),
    });
    why.collect()
}

/// Ten pods, one of which left the store; its interface and port are away, so that one thing is left.
fn one_lost_container() -> Scene {
    let mut scene = Scene::with_pods(10);
    scene.lose("p3");
    scene.device.veths.remove("veth_default_p3_0");
    scene.device.ports.remove("veth_default_p3_0");
    scene.leases.by_veth.remove("veth_default_p3_0");
    scene
}

#[test]
fn in_a_world_that_fits_nothing_is_to_be_done() {
    let mut scene = Scene::with_pods(3);
    assert_eq!(scene.ripen(), Decision::default());
}

#[test]
fn what_lost_its_pod_goes_after_ten_minutes_and_two_readings_its_container_first() {
    let mut scene = Scene::with_pods(10);
    scene.lose("p3");
    let (first, _) = scene.run();
    assert_eq!(due(&first), []);
    assert_eq!(first.next(), Some(scene.now + scene.rules.orphan_age));
    scene.pass(Duration::from_secs(599));
    assert_eq!(due(&scene.run().0), []);
    scene.pass(Duration::from_secs(1));
    let (decision, _) = scene.run();
    assert_eq!(due(&decision), [(RemoveContainer, "default_p3_c")]);
    assert!(why(&decision).iter().any(|why| why.contains("default_p3_c uses it")), "{decision:?}");
    scene.device.containers.remove("default_p3_c");
    scene.pass(Duration::from_secs(10));
    assert_eq!(due(&scene.run().0), [(RemoveInterface, "veth_default_p3_0")]);
    scene.device.veths.remove("veth_default_p3_0");
    scene.device.ports.remove("veth_default_p3_0");
    assert_eq!(due(&scene.run().0), [(ReleaseAddress, "veth_default_p3_0")], "an address needs no ten minutes");
}

#[test]
fn one_reading_is_not_two_however_old_it_is() {
    let mut scene = one_lost_container();
    scene.run();
    scene.now += Duration::from_secs(50);
    scene.rules.orphan_age = Duration::from_secs(10);
    let (decision, _) = scene.run();
    assert_eq!(why(&decision), ["it was seen in one reading only"]);
    scene.pass(Duration::from_secs(1));
    assert_eq!(due(&scene.run().0), [(RemoveContainer, "default_p3_c")]);
}

#[test]
fn a_look_that_does_not_show_it_begins_the_clock_anew() {
    let mut scene = one_lost_container();
    scene.run();
    scene.pass(Duration::from_secs(500));
    scene.put("Pod", pod("p3"));
    scene.run();
    scene.lose("p3");
    scene.pass(Duration::from_secs(200));
    assert_eq!(due(&scene.run().0), []);
    // A row of the same name that is another one begins anew as well.
    scene.pass(Duration::from_secs(590));
    scene.run();
    scene.container("default_p3_c", |row| row.id = RowId("*ff".into()));
    scene.pass(Duration::from_secs(20));
    assert_eq!(due(&scene.run().0), []);
}

#[test]
fn nothing_is_concluded_before_everything_was_read_or_from_an_old_reading() {
    for spoil in [
        (|scene: &mut Scene| scene.loaded = false) as fn(&mut Scene),
        |scene| scene.stale = Some("the store is away".into()),
        |scene| scene.device.complete = false,
        |scene| scene.device.reachable = false,
    ] {
        let mut scene = one_lost_container();
        scene.run();
        scene.pass(Duration::from_secs(601));
        spoil(&mut scene);
        assert_eq!(scene.run().0.verdicts, []);
    }
    let mut scene = one_lost_container();
    assert_eq!(due(&scene.ripen()).len(), 1);
    scene.now += Duration::from_secs(61);
    assert_eq!(why(&scene.run().0), ["the device was not read lately"]);
}

#[test]
fn what_belongs_to_a_pod_that_cannot_be_read_is_nobodys_to_remove() {
    let mut scene = one_lost_container();
    assert!(!scene.ripen().verdicts.is_empty());
    let lost: Vec<ObjectKey> = scene.run().0.verdicts.into_iter().filter_map(|(orphan, _)| orphan.owner).collect();
    scene.unreadable = lost.into_iter().map(|key| ("Pod", key)).collect();
    assert_eq!(scene.run().0.verdicts, []);
}

#[test]
fn a_store_without_any_pod_removes_nothing_and_calls_somebody() {
    let mut scene = Scene::with_pods(1);
    scene.lose("p0");
    let decision = scene.ripen();
    assert_eq!(due(&decision), []);
    assert!(decision.alarm.as_deref().is_some_and(|why| why.contains("no pod at all")), "{decision:?}");
    assert!(decision.verdicts.iter().all(|(_, verdict)| matches!(verdict, Verdict::Refused(_))));
}

#[test]
fn more_than_the_share_stops_everything_and_one_is_always_allowed() {
    for (pods, lost, stops) in [(10, 2, false), (10, 3, true), (4, 1, false), (4, 2, true), (2, 1, false)] {
        let mut scene = Scene::with_pods(pods);
        for number in 0..lost {
            scene.lose(&format!("p{number}"));
        }
        let decision = scene.ripen();
        assert_eq!(decision.alarm.is_some(), stops, "{lost} of {pods}: {:?}", decision.alarm);
        assert_eq!(due(&decision).is_empty(), stops, "{lost} of {pods}");
    }
}

#[test]
fn what_is_seen_once_alarms_nobody() {
    let mut scene = Scene::with_pods(4);
    scene.lose("p0");
    scene.lose("p1");
    assert_eq!(scene.run().0.alarm, None);
}

#[test]
fn only_a_mark_proves_that_a_row_is_ours() {
    let mut scene = Scene::with_pods(10);
    for (name, comment) in [
        ("default_gone_c", ""),
        ("default_gone_d", "mkube"),
        ("default_gone_e", "mkube default/gone"),
        ("default_gone_f", "nas, do not touch"),
        ("kube.gt.lo", ""),
    ] {
        scene.container(name, |row| {
            row.comment = comment.into();
            row.state = ContainerState::Stopped;
            row.interfaces = vec![format!("veth_{name}_0")];
        });
        scene.veth(&format!("veth_{name}_0"), "10.99.0.1/24", comment.trim_start_matches("mkube default/gone"));
    }
    assert_eq!(scene.ripen(), Decision::default(), "they are not even suspected");
}

#[test]
fn a_container_on_its_way_is_left_until_it_has_arrived() {
    for state in [ContainerState::Extracting, ContainerState::Deleting, ContainerState::Unknown] {
        let mut scene = one_lost_container();
        scene.container("default_p3_c", |row| row.state = state);
        assert_eq!(due(&scene.ripen()), [], "{state:?}");
    }
}

#[test]
fn a_port_whose_interface_is_gone_goes_when_its_pod_is_gone() {
    let mut scene = Scene::with_pods(10);
    let port = |owner: &str| BridgePortRow {
        id: RowId("*p99".into()),
        bridge: "bridge-gt".into(),
        interface: "*4A".into(),
        dynamic: false,
        comment: format!("mkube default/{owner}"),
    };
    scene.device.ports.insert("*4A".into(), Arc::new(port("p1")));
    assert_eq!(due(&scene.ripen()), [], "its pod's actor knows it by its comment");
    scene.device.ports.insert("*4A".into(), Arc::new(port("gone")));
    assert_eq!(due(&scene.ripen()), [(RemoveInterface, "*4A")]);
    scene.device.ports.insert("*4A".into(), Arc::new(BridgePortRow { dynamic: true, ..port("gone") }));
    assert_eq!(due(&scene.ripen()), [], "the device's own");
}

#[test]
fn a_list_is_ours_only_if_a_marked_container_was_seen_to_use_it() {
    let lists = [("default_p3_c", "/data"), ("default_other_c", "/data")];
    let envs = [("default_p3_c", "A"), ("default_other_c", "A")];
    let mut scene = Scene::with_pods(10);
    scene.container("default_p3_c", |row| {
        row.mount_lists = vec![row.name.clone()];
        row.env_lists = vec![row.name.clone()];
    });
    scene.lists(&lists, &envs);
    scene.run();
    scene.lose("p3");
    scene.device.containers.remove("default_p3_c");
    scene.device.veths.remove("veth_default_p3_0");
    scene.device.ports.remove("veth_default_p3_0");
    scene.leases.by_veth.remove("veth_default_p3_0");
    // The lists were read while the pod was there: that shows nothing.
    scene.run();
    scene.pass(Duration::from_secs(601));
    assert_eq!(why(&scene.run().0), ["it was seen in one reading only"; 2]);
    scene.lists(&lists, &envs);
    assert_eq!(due(&scene.run().0), [(RemoveMounts, "default_p3_c"), (RemoveEnvs, "default_p3_c")]);
    scene.container("mine", |row| row.mount_lists = vec!["default_p3_c".into()]);
    assert_eq!(due(&scene.run().0), [], "somebody uses them");
}

#[test]
fn an_address_goes_back_only_without_pod_and_interface() {
    let mut scene = Scene::with_pods(10);
    scene.device.veths.remove("veth_default_p1_0");
    assert_eq!(due(&scene.run().0), [], "its pod is there and will have it");
    scene.lose("p1");
    scene.device.containers.remove("default_p1_c");
    scene.device.ports.remove("veth_default_p1_0");
    assert_eq!(due(&scene.run().0), [(ReleaseAddress, "veth_default_p1_0")]);
}

/// Five pods of a Deployment, and a sixth of another one.
fn of_deployments() -> Scene {
    let mut scene = Scene::with_pods(6);
    scene.put("Deployment", deployment("web", 5));
    scene.put("Deployment", deployment("db", 1));
    for number in 0..6 {
        let mut pod = pod(&format!("p{number}"));
        let owner = if number < 5 { "web" } else { "db" };
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": owner,
            "uid": format!("uid-of-{owner}"), "controller": true}]);
        scene.put("Pod", pod);
    }
    scene
}

#[test]
fn a_pod_goes_when_its_deployment_is_gone_or_another_one_of_that_name() {
    let mut scene = of_deployments();
    assert_eq!(scene.ripen().verdicts, []);
    scene.objects.remove(&("Deployment", key("db")));
    assert_eq!(due(&scene.ripen()), [(DeletePod, "default/p5")]);
    let mut another = deployment("db", 1);
    another["metadata"]["uid"] = json!("new");
    scene.put("Deployment", another);
    assert_eq!(due(&scene.ripen()), [(DeletePod, "default/p5")]);
    // Those of the other one would be too many.
    scene.objects.remove(&("Deployment", key("web")));
    let decision = scene.ripen();
    assert_eq!(due(&decision), []);
    assert!(decision.alarm.is_some_and(|why| why.contains("delete-pod would touch 6 of 6")));
    scene.objects.remove(&("Deployment", key("db")));
    assert!(scene.ripen().alarm.is_some_and(|why| why.contains("no deployment at all")));
}

#[test]
fn what_failed_is_not_tried_again_at_once() {
    let mut scene = one_lost_container();
    let orphan = scene.ripen().verdicts[0].0.clone();
    let later = scene.now + Duration::from_secs(300);
    scene.memory.not_before.insert(orphan.suspicion(), later);
    assert_eq!(scene.run().0.next(), Some(later));
    scene.pass(Duration::from_secs(301));
    assert_eq!(due(&scene.run().0).len(), 1);
}

/// What a row may carry: our mark for a pod that is there or not, or something else.
fn comment() -> impl Strategy<Value = String> {
    let marked = (0..12_usize).prop_map(|number| mark("default", &format!("p{number}"), HASH));
    let veth = (0..12_usize).prop_map(|number| format!("mkube default/p{number}"));
    prop_oneof![marked, veth, "[a-z /]{0,12}", Just(String::new())]
}

proptest! {
    #[test]
    fn nothing_is_ever_named_that_is_not_provably_ours_or_whose_pod_is_there(
        there in prop::collection::btree_set(0..12_usize, 0..12),
        rows in prop::collection::vec((0..12_usize, comment(), comment()), 0..20),
        share in 1..=100_u32,
        loaded in prop::bool::weighted(0.9),
        complete in prop::bool::weighted(0.9),
    ) {
        let mut scene = Scene::new();
        scene.rules.max_share = share;
        for number in &there {
            scene.put("Pod", pod(&format!("p{number}")));
        }
        for (number, container, veth) in rows {
            let (row, interface) = (format!("default_p{number}_c"), format!("veth_default_p{number}_0"));
            scene.container(&row, |row| {
                row.state = ContainerState::Stopped;
                row.comment = container;
            });
            scene.veth(&interface, &format!("10.0.0.{}/24", number + 1), &veth);
        }
        scene.run();
        scene.pass(Duration::from_secs(601));
        (scene.loaded, scene.device.complete) = (loaded, complete);
        let (decision, _) = scene.run();
        let due = due(&decision);
        prop_assert!(due.is_empty() || (loaded && complete && !there.is_empty()), "{due:?}");
        for (action, object) in due {
            let comment = match action {
                RemoveContainer => scene.device.containers[object].comment.clone(),
                RemoveInterface => scene.device.veths[object].comment.clone(),
                other => panic!("{other:?} of {object}"),
            };
            let owner = comment.strip_prefix("mkube default/p").and_then(|rest| rest.split(' ').next());
            let owner: usize = owner.and_then(|number| number.parse().ok()).expect("our own words");
            prop_assert!(!there.contains(&owner), "{object} belongs to p{owner}, which is there");
        }
    }
}
