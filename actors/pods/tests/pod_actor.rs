//! PodActor and NodeActor among peers that answer as told.

use std::sync::Arc;
use std::time::Duration;

use actix::Actor;
use mkube_fakes::{FakeClock, FakeDisk, Recorder};
use mkube_messages::door::Doorway;
use mkube_messages::gates::GatesView;
use mkube_messages::health::health_view;
use mkube_messages::images::EnsureTarball;
use mkube_messages::ipam::{AddressLease, LeaseAddress, leases_view, networks_view};
use mkube_messages::objects::{
    KindView, ObjectKey, ObjectsView, ReportStatus, StoredObject, Verb, WriteObject, Written, objects_view,
};
use mkube_messages::router::DeviceSnapshot;
use mkube_messages::watch;
use mkube_model::kinds::{KindId, KindTable};
use mkube_model::neighbours::tarballs::TarballFault;
use mkube_pods::{Desired, NodeActor, NodeParts, PlanSettings, PodActor, PodDoors, PodParts, RestartRules, Turns};
use serde_json::{Value, json};
use tokio::time::sleep;

const PODS: KindId = KindId { group: "", plural: "pods" };
const NODES: KindId = KindId { group: "", plural: "nodes" };
const CONFIG_MAPS: KindId = KindId { group: "", plural: "configmaps" };
const SECRETS: KindId = KindId { group: "", plural: "secrets" };

fn settings() -> Arc<PlanSettings> {
    Arc::new(PlanSettings {
        images_base: "/images".into(),
        volumes_base: "/volumes".into(),
        host_ip: "10.90.0.1".into(),
        node_name: "rose1".into(),
    })
}

fn an_empty_device() -> Arc<DeviceSnapshot> {
    Arc::new(DeviceSnapshot { sequence: 1, reachable: true, complete: true, ..DeviceSnapshot::default() })
}

fn a_lease() -> AddressLease {
    AddressLease {
        network: "gt".into(),
        address: "10.90.0.2/24".parse().expect("a literal"),
        gateway: "10.90.0.1".parse().expect("a literal"),
        bridge: "bridge-gt".into(),
        dns: vec![],
    }
}

#[actix::test]
async fn a_pod_whose_image_is_missing_tries_again_with_growing_pauses() {
    tokio::time::pause();
    let missing = |order: &EnsureTarball| {
        Err(TarballFault::Missing { image: order.request.image.clone(), path: "/cache/web-1.tar".into() })
    };
    let images = Recorder::answering(missing);
    let addresses = Recorder::answering(|_: &LeaseAddress| Ok(a_lease()));
    let reports = Recorder::answering(|_: &ReportStatus| Ok(()));
    let nobody = Doorway::new("nobody", 1);
    let doors = PodDoors {
        lease: addresses.door(),
        release: nobody.door(),
        withdraw: nobody.door(),
        tarball: images.door(),
        ensure_veth: nobody.door(),
        remove_veth: nobody.door(),
        mounts: nobody.door(),
        envs: nobody.door(),
        container: nobody.door(),
        start: nobody.door(),
        stop: nobody.door(),
        remove: nobody.door(),
        mark: nobody.door(),
        on_boot: nobody.door(),
        log: nobody.door(),
        report: reports.door(),
        finish: nobody.door(),
        write: nobody.door(),
        event: nobody.door(),
    };
    let (_publisher, objects) = objects_view(KindTable::builtin());
    let (_device, picture) = watch::channel(an_empty_device());
    let parts = PodParts {
        doors,
        objects,
        device: picture,
        leases: leases_view().1,
        networks: networks_view(&[]).1,
        gates: watch::channel(Arc::new(GatesView::open())).1,
        disk: Arc::new(FakeDisk::blind()),
        clock: Arc::new(FakeClock::default()),
        turns: Turns::default(),
        health: health_view().1,
        restarts: RestartRules::default(),
        settings: settings(),
        kind: PODS,
        nodes: NODES,
        config_maps: CONFIG_MAPS,
        secrets: SECRETS,
    };
    let value = json!({"metadata": {"name": "web", "namespace": "default", "uid": "u", "generation": 1},
        "spec": {"containers": [{"name": "c", "image": "web:1"}], "restartPolicy": "Always"}, "status": {}});
    let pod = StoredObject::new(PODS, ObjectKey::new("default", "web"), &value, 1);
    let names = vec![names_of("default_web_c", "veth_default_web_0")];
    let (_wish, desired) = watch::channel(Desired { pod: Arc::new(pod), names, settled: true });
    let _pod = PodActor::new(std::sync::Arc::new(parts), desired).start();
    sleep(Duration::from_secs(70)).await;
    assert_eq!(images.seen_at_seconds(), [0, 1, 3, 7, 15, 31, 63]);
    assert_eq!(addresses.seen().len(), 1, "the address is kept");
    let last = reports.seen().pop().expect("reported").status;
    let waiting = &last["containerStatuses"][0]["state"]["waiting"];
    assert_eq!(waiting["reason"], "ImagePullBackOff");
    assert!(waiting["message"].as_str().is_some_and(|text| text.contains("next try in 60 s")), "{waiting}");
}

fn names_of(row: &str, veth: &str) -> mkube_pods::ContainerNames {
    mkube_pods::ContainerNames { row: row.into(), veth: veth.into() }
}

#[actix::test]
async fn the_node_is_made_once_and_says_when_the_device_goes_and_comes() {
    tokio::time::pause();
    let (publisher, objects) = objects_view(KindTable::builtin());
    publisher.publish(ObjectsView { loaded: true, ..ObjectsView::default() });
    let publish = publisher.clone();
    let store = move |value: Value| {
        let key = ObjectKey::new("", "rose1");
        let revision = publish.view().number + 1;
        let object = Arc::new(StoredObject::new(NODES, key.clone(), &value, revision));
        let mut kind = KindView::default();
        kind.objects.insert(key, object.clone());
        let kinds = [(NODES, Arc::new(kind))].into();
        publish.publish(ObjectsView { loaded: true, kinds, ..ObjectsView::default() });
        object
    };
    let made = store.clone();
    let writes = Recorder::answering(move |order: &WriteObject| {
        let Verb::Create { body } = &order.verb else { panic!("only made") };
        let mut body = body.clone();
        body["metadata"]["uid"] = json!("u");
        Ok(Written { object: made(body), changed: true, created: false, gone: false, warnings: vec![] })
    });
    let reports = Recorder::answering(move |report: &ReportStatus| {
        store(json!({"metadata": {"name": "rose1", "uid": "u"}, "status": report.status}));
        Ok(())
    });
    let (device, picture) = watch::channel(an_empty_device());
    let _node = NodeActor::new(NodeParts {
        kind: NODES,
        objects,
        device: picture,
        write: writes.door(),
        report: reports.door(),
        gates: watch::channel(Arc::new(GatesView::open())).1,
        event: Doorway::new("nobody", 1).door(),
        clock: Arc::new(FakeClock::default()),
        settings: settings(),
        api: Some("192.0.2.7:8082".parse().expect("a literal")),
        version: "0",
    })
    .start();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(writes.seen().len(), 1);
    let ready = |reports: &Recorder<ReportStatus>| -> Vec<Value> {
        reports.seen().iter().map(|report| report.status["conditions"][0]["status"].clone()).collect()
    };
    assert_eq!(ready(&reports), ["True"], "nothing new is not reported");
    let gone = DeviceSnapshot { reachable: false, fault: Some("no route".into()), ..(*an_empty_device()).clone() };
    device.send_replace(Arc::new(gone));
    sleep(Duration::from_secs(60)).await;
    device.send_replace(an_empty_device());
    sleep(Duration::from_secs(60)).await;
    assert_eq!(ready(&reports), ["True", "False", "True"]);
    let away = &reports.seen()[1].status["conditions"][0];
    assert_eq!((&away["reason"], &away["message"]), (&json!("DeviceUnreachable"), &json!("no route")));
}
