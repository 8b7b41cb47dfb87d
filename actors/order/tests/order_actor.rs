//! OrderActor alone: what it publishes, when, and what it tells.

use std::sync::Arc;
use std::time::Duration;

use actix::Actor;
use mkube_fakes::Recorder;
use mkube_messages::gates::{BootPlanReader, Drain, Gate, GatesReader, GatesView, Standing, boot_plan, gates_view};
use mkube_messages::objects::{
    KindView, ObjectKey, ObjectsPublisher, ObjectsView, RecordEvent, StoredObject, objects_view,
};
use mkube_messages::router::DeviceSnapshot;
use mkube_messages::watch;
use mkube_model::kinds::{KindId, KindTable};
use mkube_model::neighbours::router::{ContainerRow, ContainerState};
use mkube_order::{OrderActor, OrderParts, Rules};
use serde_json::{Value, json};
use tokio::time::sleep;

const PODS: KindId = KindId { group: "", plural: "pods" };
const NODES: KindId = KindId { group: "", plural: "nodes" };
const DEPLOYMENTS: KindId = KindId { group: "apps", plural: "deployments" };

struct Bench {
    publisher: ObjectsPublisher,
    device: watch::Sender<Arc<DeviceSnapshot>>,
    gates: GatesReader,
    plan: BootPlanReader,
    events: Recorder<RecordEvent>,
}

impl Bench {
    fn start() -> Self {
        tokio::time::pause();
        let (publisher, objects) = objects_view(KindTable::builtin());
        let (device, picture) = watch::channel(Arc::new(DeviceSnapshot::default()));
        let (publish_gates, gates) = gates_view();
        let (publish_plan, plan) = boot_plan();
        let events = Recorder::answering(|_: &RecordEvent| ());
        OrderActor::new(OrderParts {
            pods: PODS,
            nodes: NODES,
            deployments: DEPLOYMENTS,
            objects,
            device: picture,
            event: events.door(),
            gates: publish_gates,
            plan: publish_plan,
            node_name: "rose1".into(),
            rules: Rules::default(),
        })
        .start();
        Self { publisher, device, gates, plan, events }
    }

    /// Publishes pods, and a node with these annotations.
    async fn store(&self, pods: &[Value], node: Value) {
        let revision = self.publisher.view().number + 1;
        let view = |kind: KindId, objects: &[Value]| {
            let mut view = KindView::default();
            for object in objects {
                let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
                let key = ObjectKey::new(text("namespace"), text("name"));
                view.objects.insert(key.clone(), Arc::new(StoredObject::new(kind, key, object, revision)));
            }
            (kind, Arc::new(view))
        };
        let node = json!({"metadata": {"name": "rose1", "annotations": node}});
        let kinds = [view(PODS, pods), view(NODES, &[node])].into();
        self.publisher.publish(ObjectsView { loaded: true, kinds, ..ObjectsView::default() });
        sleep(Duration::from_millis(30)).await;
    }

    /// Shows a device on which these pods run.
    async fn show(&self, boots: u64, running: &[&str]) {
        let mut device = DeviceSnapshot { complete: true, reachable: true, boots, ..DeviceSnapshot::default() };
        for name in running {
            let row = ContainerRow {
                name: format!("default_{name}_c"),
                state: ContainerState::Running,
                comment: format!("mkube default/{name} 0123456789abcdef"),
                ..ContainerRow::default()
            };
            device.containers.insert(row.name.clone(), Arc::new(row));
        }
        self.device.send_replace(Arc::new(device));
        sleep(Duration::from_millis(30)).await;
    }

    fn view(&self) -> Arc<GatesView> {
        self.gates.borrow().clone()
    }

    fn gate(&self, name: &str, boots: u64) -> Gate {
        self.view().of(&ObjectKey::new("default", name), boots, true)
    }
}

fn pod(name: &str, annotations: Value, ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({"metadata": {"namespace": "default", "name": name, "uid": name, "annotations": annotations},
        "spec": {"containers": [{"name": "c"}]},
        "status": {"phase": "Running", "conditions":
            [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
}

fn app() -> Value {
    pod("app", json!({"vkube.io/depends-on": "db"}), false)
}

#[actix::test]
async fn nothing_is_opened_before_objects_and_device_were_read() {
    let bench = Bench::start();
    bench.device.send_modify(|_| {});
    sleep(Duration::from_secs(100)).await;
    assert!(!bench.view().decided);
    bench.store(&[pod("plain", json!({}), false)], json!({})).await;
    assert!(!bench.view().decided, "the device is not read");
    bench.show(0, &[]).await;
    assert!(bench.view().decided && bench.plan.borrow().decided);
    assert!(bench.view().gates.is_empty(), "nobody has a place in the order");
}

#[actix::test]
async fn gates_open_when_the_other_is_ready_and_close_when_the_device_boots() {
    let bench = Bench::start();
    bench.store(&[app(), pod("db", json!({}), false)], json!({})).await;
    bench.show(0, &["db"]).await;
    assert!(matches!(bench.gate("app", 0), Gate::Closed { .. }));
    bench.store(&[app(), pod("db", json!({}), true)], json!({})).await;
    assert_eq!(bench.gate("app", 0), Gate::Open);
    bench.show(0, &["db", "app"]).await;
    assert!(matches!(bench.gate("app", 1), Gate::Closed { .. }), "what was decided for another boot is void");
    // The status is that of the time before: nothing runs.
    bench.show(1, &[]).await;
    assert!(matches!(bench.gate("app", 1), Gate::Closed { .. }));
    assert_eq!(bench.gate("db", 1), Gate::Open);
    bench.show(1, &["db"]).await;
    assert_eq!(bench.gate("app", 1), Gate::Open);
}

#[actix::test]
async fn who_is_not_waited_for_any_longer_is_told_without_anything_happening() {
    let bench = Bench::start();
    bench.store(&[app()], json!({})).await;
    bench.show(0, &[]).await;
    sleep(Duration::from_secs(59)).await;
    assert!(matches!(bench.gate("app", 0), Gate::Closed { .. }));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.gate("app", 0), Gate::Open);
    let told = bench.events.seen();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].reason, told[0].uid.as_str()), ("DependencyNotReady", "app"));
}

#[actix::test]
async fn a_node_is_emptied_level_by_level() {
    let bench = Bench::start();
    let pods = [
        pod("app", json!({"vkube.io/depends-on": "db"}), true),
        pod("db", json!({}), true),
        pod("web", json!({}), true),
    ];
    bench.store(&pods, json!({"vkube.io/drain": "true"})).await;
    bench.show(0, &["app", "db", "web"]).await;
    let stopped = |bench: &Bench| ["app", "db", "web"].map(|name| bench.gate(name, 0) == Gate::drained());
    assert_eq!(stopped(&bench), [false, false, true]);
    bench.show(0, &["app", "db"]).await;
    assert_eq!(stopped(&bench), [true, false, true]);
    bench.show(0, &["db"]).await;
    assert_eq!(bench.view().drain, Some(Drain { left: 1, pods: 3 }));
    bench.show(0, &[]).await;
    assert_eq!(stopped(&bench), [true, true, true]);
    assert_eq!(bench.view().drain, Some(Drain { left: 0, pods: 3 }));
    assert!(bench.plan.borrow().pods.iter().all(|pod| pod.standing == Standing::Stopped));
    bench.store(&pods, json!({})).await;
    assert_eq!(
        [bench.gate("db", 0), bench.view().drain.map_or(Gate::Open, |_| Gate::drained())],
        [Gate::Open, Gate::Open]
    );
    assert!(matches!(bench.gate("app", 0), Gate::Closed { .. }), "it starts in order again");
}

#[actix::test]
async fn an_emptied_node_does_not_wait_for_a_pod_that_is_paused_and_tells_that_it_runs() {
    let bench = Bench::start();
    let paused = json!({"vkube.io/depends-on": "db", "vkube.io/paused": "true"});
    bench.store(&[pod("app", paused, true), pod("db", json!({}), true)], json!({"vkube.io/drain": "true"})).await;
    bench.show(0, &["app", "db"]).await;
    assert_eq!(bench.gate("db", 0), Gate::drained());
    assert_eq!(bench.view().drain, Some(Drain { left: 2, pods: 2 }));
    bench.show(0, &["app"]).await;
    assert_eq!(bench.view().drain, Some(Drain { left: 1, pods: 2 }));
}
