//! Tables of what is found in which world.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mkube_messages::consistency::CheckStatus::{self, Fail, Pass, Warn};
use mkube_messages::consistency::{Section, Severity};
use mkube_messages::dns::{Purpose, RecordSight, RecordType, ZoneSight};
use mkube_messages::ipam::HeldAddress;
use mkube_messages::rollouts::{ImageRollout, RolloutState};
use mkube_messages::volumes::{VolumeKind, VolumeRow};
use mkube_model::neighbours::router::{ContainerState, VethRow};
use mkube_model::neighbours::tarballs::CachedImage;
use serde_json::json;

use crate::testing::{Scene, deployment, ended, key, not_passed, pod};

/// What a spoilt world of three pods is found to be.
fn found(spoil: impl FnOnce(&mut Scene), name: &str) -> (CheckStatus, String) {
    let mut scene = Scene::with_pods(3);
    // What is there at the first look may be old.
    scene.run();
    spoil(&mut scene);
    ended(&scene.run().1, name)
}

#[test]
fn a_world_that_fits_has_a_check_for_everything_and_all_of_them_pass() {
    let mut scene = Scene::with_pods(2);
    let (_, findings) = scene.run();
    assert_eq!(not_passed(&findings), Vec::<&str>::new());
    for name in
        ["container/p0/c", "veth/veth_default_p0_0", "ipam/veth_default_p0_0", "network/default/p0/veth_default_p0_0"]
    {
        assert_eq!(ended(&findings, name).0, Pass);
    }
    let sections: BTreeSet<Section> = findings.iter().map(|one| one.section).collect();
    assert!(sections.contains(&Section::Dns) && sections.contains(&Section::Manifest));
}

#[test]
fn a_container_is_running_or_it_fails() {
    let gone = |scene: &mut Scene| drop(scene.device.containers.remove("default_p0_c"));
    assert_eq!(found(gone, "container/p0/c"), (Fail, "not found".into()));
    let in_state =
        |state| found(move |scene| scene.container("default_p0_c", |row| row.state = state), "container/p0/c");
    assert_eq!(in_state(ContainerState::Running).0, Pass);
    assert_eq!(in_state(ContainerState::Stopped), (Fail, "stopped".into()));
    assert_eq!(in_state(ContainerState::Failed).0, Fail);
    assert_eq!(in_state(ContainerState::Unknown).0, Fail, "never read as anything else");
    assert_eq!(in_state(ContainerState::Starting), (Warn, "recovering: starting".into()));
    // A row of somebody else that has the name is not the pod's.
    let theirs =
        |scene: &mut Scene| scene.container("default_p0_c", |row| row.comment = "mkube a/b 0123456789abcdef".into());
    assert_eq!(found(theirs, "container/p0/c").0, Fail);
}

#[test]
fn what_waits_for_the_node_or_for_its_turn_is_no_failure() {
    for (reason, expected) in
        [("NodeDrained", Warn), ("BootOrder", Warn), ("WaitingForDependencies", Warn), ("Error", Fail)]
    {
        let waits = |scene: &mut Scene| {
            let mut pod = pod("p0");
            pod["status"]["containerStatuses"] = json!([{"name": "c", "state": {"waiting": {"reason": reason}}}]);
            scene.put("Pod", pod);
            scene.container("default_p0_c", |row| row.state = ContainerState::Stopped);
        };
        assert_eq!(found(waits, "container/p0/c").0, expected, "{reason}");
    }
    let pending = |scene: &mut Scene| {
        let mut pod = pod("p0");
        let placed = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable"});
        pod["status"]["conditions"] = json!([placed]);
        scene.put("Pod", pod);
        scene.device.containers.remove("default_p0_c");
    };
    assert_eq!(found(pending, "container/p0/c"), (Warn, "not found, and its pod waits (Unschedulable)".into()));
}

#[test]
fn what_ended_as_it_was_to_and_what_is_paused_is_no_failure() {
    let with = |change: fn(&mut serde_json::Value)| {
        move |scene: &mut Scene| {
            let mut pod = pod("p0");
            change(&mut pod);
            scene.put("Pod", pod);
            scene.container("default_p0_c", |row| row.state = ContainerState::Stopped);
        }
    };
    assert_eq!(found(with(|pod| pod["status"]["phase"] = json!("Succeeded")), "container/p0/c").0, Pass);
    assert_eq!(found(with(|pod| pod["status"]["phase"] = json!("Failed")), "container/p0/c").0, Fail);
    let pause = |pod: &mut serde_json::Value| pod["metadata"]["annotations"] = json!({"vkube.io/paused": "true"});
    assert_eq!(found(with(pause), "container/p0/c").0, Warn);
}

#[test]
fn what_is_in_flight_recovers_for_five_minutes_and_fails_then() {
    for change in [
        (|pod: &mut serde_json::Value| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T23:59:00Z"))
            as fn(&mut serde_json::Value),
        |pod| pod["metadata"]["creationTimestamp"] = json!("2026-01-01T23:59:00Z"),
        |pod| pod["status"]["observedGeneration"] = json!(0),
        |pod| {
            pod["metadata"]["generation"] = json!(2);
            pod["status"]["observedGeneration"] = json!(2);
        },
    ] {
        let spoil = |scene: &mut Scene| {
            let mut pod = pod("p0");
            change(&mut pod);
            scene.put("Pod", pod);
            scene.device.containers.remove("default_p0_c");
        };
        let (status, message) = found(spoil, "container/p0/c");
        assert_eq!((status, message.as_str()), (Warn, "recovering: not found"));
    }
    let mut scene = Scene::with_pods(2);
    scene.run();
    let mut changed = pod("p0");
    changed["metadata"]["generation"] = json!(2);
    changed["status"]["observedGeneration"] = json!(2);
    scene.put("Pod", changed);
    scene.device.containers.remove("default_p0_c");
    assert_eq!(ended(&scene.run().1, "container/p0/c").0, Warn);
    scene.pass(Duration::from_secs(301));
    assert_eq!(ended(&scene.run().1, "container/p0/c").0, Fail);
}

#[test]
fn leases_are_compared_with_interfaces_both_ways() {
    let veth = "veth_default_p0_0";
    let lease = |address: &str| HeldAddress { address: address.parse().expect("one"), pod: Some(key("p0")) };
    let name = "ipam/veth_default_p0_0";
    let lost = |scene: &mut Scene| drop(scene.device.veths.remove(veth));
    assert_eq!(found(lost, name).0, Warn);
    let moved = |scene: &mut Scene| drop(scene.leases.by_veth.insert(veth.into(), lease("10.90.9.9")));
    assert_eq!(found(moved, name), (Fail, "10.90.9.9 is allocated, and the interface has 10.90.0.2".into()));
    let forgotten = |scene: &mut Scene| drop(scene.leases.by_veth.remove(veth));
    assert_eq!(found(forgotten, name).0, Fail);
    assert_eq!(found(forgotten, "veth/veth_default_p0_0").0, Fail);
    let unread = |scene: &mut Scene| scene.leases.loaded = false;
    assert_eq!(found(unread, "ipam-leases").0, Warn, "what is not known is not missing");
}

#[test]
fn an_address_on_two_interfaces_is_critical_if_one_is_ours() {
    let mut scene = Scene::with_pods(2);
    scene.veth("veth-mine", "10.90.0.2/16", "mine");
    let (_, findings) = scene.run();
    let twice = findings.iter().find(|one| one.name == "duplicate-address/10.90.0.2").expect("found");
    assert_eq!((twice.status, twice.severity), (Fail, Severity::Critical));
    assert!(twice.message.contains("veth-mine") && twice.message.contains("veth_default_p0_0"));
    let mut scene = Scene::with_pods(2);
    scene.veth("veth-a", "10.1.1.1/24", "");
    scene.veth("veth-b", "10.1.1.1/24", "");
    assert!(!scene.run().1.iter().any(|one| one.name.starts_with("duplicate")), "not our business");
}

#[test]
fn interfaces_of_pods_have_an_address_the_right_one_and_a_bridge() {
    let (veth, name) = ("veth_default_p0_0", "network/default/p0/veth_default_p0_0");
    let with = |change: fn(&mut VethRow)| {
        move |scene: &mut Scene| {
            let mut row = (*scene.device.veths[veth]).clone();
            change(&mut row);
            scene.device.veths.insert(veth.into(), Arc::new(row));
        }
    };
    assert_eq!(found(|scene| drop(scene.device.veths.remove(veth)), name), (Fail, "there is no interface".into()));
    assert_eq!(found(with(|row| row.addresses.clear()), name), (Fail, "the interface has no address".into()));
    assert_eq!(found(|scene| drop(scene.device.ports.remove(veth)), name).0, Fail);
    let fixed = |scene: &mut Scene| {
        let mut pod = pod("p0");
        pod["metadata"]["annotations"] = json!({"vkube.io/static-ip": "10.90.0.77"});
        scene.put("Pod", pod);
    };
    assert_eq!(found(fixed, name), (Fail, "10.90.0.77 is wanted, and the interface has 10.90.0.2".into()));
    assert_eq!(found(fixed, "static-ip/p0/veth_default_p0_0").0, Fail);
    let away = |scene: &mut Scene| scene.device.reachable = false;
    assert_eq!(found(away, "network-ports").0, Fail);
    assert_eq!(found(away, "ipam-ports").0, Fail);
}

#[test]
fn lists_hold_what_the_container_mounts_and_sets() {
    let scene = |mounts: &[(&str, &str)], envs: &[(&str, &str)]| {
        let mut scene = Scene::with_pods(1);
        let mut pod = pod("p0");
        pod["spec"]["containers"][0]["volumeMounts"] =
            json!([{"name": "a", "mountPath": "/data"}, {"name": "b", "mountPath": "/etc/b/"}]);
        pod["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "1"}, {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
        scene.put("Pod", pod);
        scene.container("default_p0_c", |row| {
            row.mount_lists = vec![row.name.clone()];
            row.env_lists = vec![row.name.clone()];
        });
        scene.run();
        scene.lists(mounts, envs);
        scene.run().1
    };
    let list = "default_p0_c";
    let whole = scene(&[(list, "/data"), (list, "/etc/b")], &[(list, "A"), (list, "S")]);
    assert_eq!(ended(&whole, "mounts/default_p0_c").0, Pass);
    assert_eq!(ended(&whole, "envs/default_p0_c").0, Pass);
    let holes = scene(&[(list, "/data")], &[(list, "S")]);
    assert_eq!(ended(&holes, "mounts/default_p0_c"), (Fail, "not in the list: /etc/b/".into()));
    assert_eq!(ended(&holes, "envs/default_p0_c"), (Fail, "not in the list: A".into()));
    let nothing = scene(&[], &[]);
    assert_eq!(ended(&nothing, "envs/default_p0_c"), (Fail, "the list is empty".into()));
}

#[test]
fn images_are_cached_or_the_registry_is_needed_and_registries_are_as_they_last_were() {
    let mut scene = Scene::with_pods(1);
    let cached = |reference: &str| CachedImage {
        references: vec![reference.into()],
        digest: None,
        path: "/cache/x.tar".into(),
        bytes: 1,
        pulled_at: None,
        last_used: None,
    };
    scene.images.cached = vec![cached("other:1")];
    let rollout = |image: &str, error: Option<&str>| ImageRollout {
        image: image.into(),
        digest: None,
        state: RolloutState::Current,
        pods: 1,
        current: 1,
        last_checked: Some("2026-01-01T00:00:00Z".parse().expect("a literal")),
        error: error.map(str::to_owned),
    };
    scene.rollouts.images = vec![rollout("10.0.0.1:5000/a:1", None), rollout("web:1", Some("no route"))];
    let (_, findings) = scene.run();
    assert_eq!(ended(&findings, "archive/web:1").0, Warn);
    assert_eq!(ended(&findings, "registry/10.0.0.1:5000").0, Pass);
    assert_eq!(ended(&findings, "registry/docker.io").0, Warn);
    scene.images.cached = vec![cached("web:1")];
    assert_eq!(ended(&scene.run().1, "archive/web:1").0, Pass);
}

#[test]
fn directories_that_nobody_mounts_are_told_and_are_no_fault() {
    let mut scene = Scene::with_pods(1);
    let row = |path: &str, used| VolumeRow {
        namespace: String::new(),
        pod: String::new(),
        container: String::new(),
        volume: String::new(),
        kind: VolumeKind::Volume,
        path: path.into(),
        used,
        bytes: None,
    };
    scene.volumes.loaded = true;
    scene.volumes.rows = vec![row("/volumes/old", false), row("/volumes/new", true)];
    let (_, findings) = scene.run();
    assert_eq!(ended(&findings, "unmounted-volumes"), (Pass, "1 directories that nobody mounts are kept".into()));
}

#[test]
fn the_boot_manifest_is_what_was_brought_in() {
    let mut scene = Scene::with_pods(2);
    scene.put(
        "ConfigMap",
        json!({"metadata": {"namespace": "kube-system", "name": "mkube-boot-manifest"},
        "data": {"documents": "pods/default/p0\npods/default/deleted\nconfigmaps/default/x\n"}}),
    );
    let (_, findings) = scene.run();
    assert_eq!(ended(&findings, "boot-manifest"), (Pass, "2 pods were brought in".into()));
    assert_eq!(ended(&findings, "manifest/default/p0").0, Pass);
    assert_eq!(ended(&findings, "manifest/default/p1").0, Pass);
    assert_eq!(ended(&findings, "manifest/default/deleted").0, Warn);
    let (_, without) = Scene::with_pods(1).run();
    assert_eq!(ended(&without, "boot-manifest").0, Warn);
    assert_eq!(ended(&without, "manifest-load").0, Warn);
}

#[test]
fn a_deployment_has_as_many_pods_as_it_wants() {
    let owned = |by: fn(&mut serde_json::Value)| {
        let mut scene = Scene::with_pods(2);
        for name in ["p0", "p1"] {
            let mut pod = pod(name);
            by(&mut pod);
            scene.put("Pod", pod);
        }
        scene
    };
    let reference = |pod: &mut serde_json::Value| {
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web",
            "uid": "uid-of-web", "controller": true}]);
    };
    let annotation = |pod: &mut serde_json::Value| {
        pod["metadata"]["annotations"] = json!({"vkube.io/owner-deployment": "web"});
    };
    for by in [reference as fn(&mut serde_json::Value), annotation] {
        for (replicas, status) in [(2, Pass), (3, Fail), (1, Fail), (0, Fail)] {
            let mut scene = owned(by);
            scene.put("Deployment", deployment("web", replicas));
            let (_, findings) = scene.run();
            assert_eq!(ended(&findings, "deploy/default/web"), (status, format!("2 of {replicas} pods")));
        }
    }
    let mut scene = owned(reference);
    let mut young = deployment("web", 3);
    young["metadata"]["creationTimestamp"] = json!("2026-01-01T23:59:00Z");
    scene.put("Deployment", young);
    assert_eq!(ended(&scene.run().1, "deploy/default/web").0, Warn);
}

#[test]
fn an_owner_that_is_gone_is_told_for_every_kind_and_an_unknown_kind_says_nothing() {
    let mut scene = Scene::with_pods(1);
    let map = |name: &str, owner: serde_json::Value| json!({"metadata": {"namespace": "default", "name": name, "ownerReferences": [owner]}});
    let owner = |kind: &str, name: &str, uid: &str| json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": uid});
    scene.put("ConfigMap", map("good", owner("Pod", "p0", "uid-p0")));
    scene.put("ConfigMap", map("stale", owner("Pod", "p0", "before")));
    scene.put("ConfigMap", map("lost", owner("Pod", "p9", "uid-p9")));
    scene.put("ConfigMap", map("odd", owner("Thing", "t", "u")));
    let mut annotated = pod("p1");
    annotated["metadata"]["annotations"] = json!({"vkube.io/owner-deployment": "nowhere"});
    scene.put("Pod", annotated);
    let (_, findings) = scene.run();
    let told: Vec<&str> =
        findings.iter().filter(|one| one.section == Section::Owners).map(|one| one.name.as_str()).collect();
    assert_eq!(told, ["owner/configmaps/default/lost", "owner/configmaps/default/stale", "owner/pods/default/p1"]);
}

#[test]
fn what_only_looks_like_ours_is_told_and_never_repairable() {
    let mut scene = Scene::with_pods(1);
    scene.container("default_old_c", |row| row.interfaces = vec!["veth_default_old_0".into()]);
    scene.container("nas", |row| row.interfaces = vec!["veth-nas".into()]);
    scene.veth("veth_default_old_0", "10.90.7.7/16", "");
    scene.lists(&[("default_old_x", "/data")], &[]);
    let (_, findings) = scene.run();
    let names =
        ["unowned-container/default_old_c", "unowned-interface/veth_default_old_0", "unowned-mounts/default_old_x"];
    assert_eq!(not_passed(&findings), names);
    assert!(findings.iter().filter(|one| names.contains(&one.name.as_str())).all(|one| !one.repairable));
}

#[test]
fn an_orphan_is_a_check_that_says_what_becomes_of_it() {
    let mut scene = Scene::with_pods(10);
    scene.lose("p3");
    let (_, findings) = scene.run();
    let orphan = findings.iter().find(|one| one.name == "orphan-container/default_p3_c").expect("found");
    assert!(orphan.repairable && orphan.details.starts_with("not yet:"), "{orphan:?}");
    assert!(orphan.message.contains("pod default/p3, which is gone"));
}

/// A zone in which `web` is to answer with the addresses of `p0`.
fn zone(wanted: &str, there: &[&str]) -> ZoneSight {
    let set = |data: &[&str]| data.iter().map(|one| (*one).to_owned()).collect::<BTreeSet<_>>();
    let purpose = Purpose::Pods([key("p0")].into());
    let record = RecordSight { wanted: set(&[wanted]), found: set(there), purpose };
    ZoneSight {
        network: "gt".into(),
        endpoint: "http://10.90.0.99:8080".into(),
        compared: true,
        records: [(("web".to_owned(), RecordType::A), record)].into_iter().collect(),
        ..ZoneSight::default()
    }
}

fn with_zone(zone: ZoneSight) -> impl FnOnce(&mut Scene) {
    move |scene| {
        scene.names.loaded = true;
        scene.names.zones.insert("gt.lo".into(), Arc::new(zone));
    }
}

#[test]
fn names_are_compared_with_what_their_servers_have_and_with_the_addresses_of_their_pods() {
    // As the first pod has it.
    let own = "10.90.0.2";
    let right = || with_zone(zone(own, &[own]));
    assert_eq!(found(right(), "dns-client").0, Pass);
    assert_eq!(found(right(), "dns-zone/gt").0, Pass);
    assert_eq!(found(right(), "dns/gt/web"), (Pass, own.into()));
    let (status, told) = found(with_zone(zone(own, &[])), "dns/gt/web");
    assert_eq!((status, told.as_str()), (Fail, "10.90.0.2 is wanted, and nothing is there"));
    // The address of another pod, and one that nobody has.
    let (status, told) = found(with_zone(zone(own, &["10.90.0.3"])), "dns-address/gt/web");
    assert_eq!((status, told.as_str()), (Fail, "answers 10.90.0.3, which is default/p1's"));
    let (_, told) = found(with_zone(zone(own, &["10.90.9.9"])), "dns-address/gt/web");
    assert_eq!(told, "answers 10.90.9.9, which nobody was given");
    let away = ZoneSight { fault: Some("no answer".into()), compared: false, ..zone(own, &[own]) };
    assert_eq!(found(with_zone(away), "dns-zone/gt"), (Fail, "no answer".into()));
}

#[test]
fn nothing_is_said_of_records_that_were_not_compared_nor_against_addresses_that_are_not_known() {
    let mut scene = Scene::with_pods(1);
    scene.run();
    with_zone(ZoneSight { compared: false, ..zone("10.90.0.2", &[]) })(&mut scene);
    let (_, findings) = scene.run();
    assert_eq!(ended(&findings, "dns-zone/gt").0, Warn);
    assert!(findings.iter().all(|one| one.name != "dns/gt/web"));
    with_zone(zone("10.90.0.2", &["10.90.9.9"]))(&mut scene);
    scene.leases.loaded = false;
    assert!(scene.run().1.iter().all(|one| !one.name.starts_with("dns-address/")));
}
