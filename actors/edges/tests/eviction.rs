//! Evictions over real HTTP, with a stand-in behind the door that decides on them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Context, Handler};
use async_trait::async_trait;
use mkube_edges::{
    Figures, HealthChecks, HttpConsistency, HttpEdge, HttpImages, HttpLimits, HttpNames, HttpNetworks, HttpParts,
    HttpPassingOn, HttpStore, HttpStreams, HttpUsage, WrittenLists,
};
use mkube_fakes::{FakeClock, FakeStreams, NoNodeApis};
use mkube_messages::bus::bus_view;
use mkube_messages::consistency::consistency_view;
use mkube_messages::deployments::EvictPod;
use mkube_messages::dns::names_view;
use mkube_messages::door::Doorway;
use mkube_messages::forwards::forwards_view;
use mkube_messages::gates::boot_plan;
use mkube_messages::images::images_view;
use mkube_messages::ipam::{leases_view, networks_view};
use mkube_messages::objects::{ObjectKey, StoredObject, Written, objects_view};
use mkube_messages::offers::Offers;
use mkube_messages::rollouts::rollouts_view;
use mkube_messages::store::older_view;
use mkube_messages::volumes::volumes_view;
use mkube_messages::watch;
use mkube_model::kinds::{KindId, KindTable};
use mkube_model::neighbours::pod_logs::{ContainerRef, LogOptions, PodLogs};
use mkube_model::status::Status;
use mkube_openapi::OpenApi;
use mkube_supervision::{
    Child, ChildSpec, Intensity, OnLimit, RestartPace, RestartRule, Strategy, SupervisorSpec, Tree,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

const EVICTION: &str = "/api/v1/namespaces/default/pods/web-0/eviction";

struct NoLogs;

#[async_trait]
impl PodLogs for NoLogs {
    async fn open(
        &self,
        _container: &ContainerRef,
        _options: LogOptions,
    ) -> Result<(mpsc::Receiver<bytes::Bytes>, Option<String>), Status> {
        Err(Status::internal("nobody asks for logs here"))
    }
}

/// What was asked: pod, options, whether dry.
type Asked = Arc<Mutex<Vec<(String, Value, bool)>>>;

/// Lets pods go, but not the one called `needed`.
struct Decider(Asked);

impl Actor for Decider {
    type Context = Context<Self>;
}

impl Handler<EvictPod> for Decider {
    type Result = Result<Written, Status>;

    fn handle(&mut self, order: EvictPod, _ctx: &mut Self::Context) -> Self::Result {
        let EvictPod { pod, options, dry_run, .. } = order;
        self.0.lock().expect("nobody panics with it").push((pod.to_string(), options, dry_run));
        if pod.name == "needed" {
            let mut status = Status::busy(10);
            status.message = "Cannot evict pod as its Deployment would have too few".into();
            return Err(status);
        }
        let key = ObjectKey::new(pod.namespace, pod.name);
        let object = StoredObject::new(KindId { group: "", plural: "pods" }, key, &json!({"metadata": {}}), 1);
        Ok(Written { object: Arc::new(object), changed: true, created: false, gone: false, warnings: vec![] })
    }
}

struct Bench {
    tree: Tree,
    address: SocketAddr,
    asked: Asked,
}

impl Bench {
    /// With or without somebody behind the door.
    fn start(decides: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (_, objects) = objects_view(KindTable::builtin());
        let (objects_way, rollouts_way) = (Doorway::new("objects", 4), Doorway::new("rollouts", 4));
        let deployments_way = Doorway::new("deployments", 4);
        let (_, tree) = watch::channel(None);
        let parts = HttpParts {
            listener: Arc::new(listener),
            objects,
            write: objects_way.door(),
            evict: deployments_way.door(),
            tree,
            lease: None,
            logs: Arc::new(NoLogs),
            streams: HttpStreams {
                exec: Arc::new(FakeStreams),
                ports: Arc::new(FakeStreams),
                spdy: Arc::new(FakeStreams),
            },
            passing_on: HttpPassingOn { node: "mkube".to_owned(), apis: Arc::new(NoNodeApis) },
            usage: HttpUsage { device: watch::channel(Arc::default()).1, find: Arc::new(|_| None) },
            images: HttpImages {
                cache: images_view().1,
                rollouts: rollouts_view().1,
                pushed: rollouts_way.door(),
                redeploy: rollouts_way.door(),
                notify_secret: None,
            },
            boot_plan: boot_plan().1,
            consistency: HttpConsistency { report: consistency_view().1, repair: rollouts_way.door() },
            networks: HttpNetworks { networks: networks_view(&[]).1, leases: leases_view().1 },
            volumes: volumes_view().1,
            store: HttpStore { older: older_view().1, accept: rollouts_way.door() },
            bus: bus_view().1,
            names: HttpNames { names: names_view().1, forwards: forwards_view().1 },
            openapi: Arc::new(OpenApi::new(KindTable::builtin())),
            offers: Offers::default(),
            health: HealthChecks(vec![]),
            clock: Arc::new(FakeClock::default()),
            allow_chaos: false,
            allowed_hosts: None,
            version: "test",
            limits: HttpLimits::of_this_process(),
            lists: WrittenLists::default(),
            figures: Arc::new(Figures::default()),
        };
        let asked = Asked::default();
        let heard = asked.clone();
        let mut children = Vec::new();
        if decides {
            let decider = ChildSpec::actor("deployments", RestartRule::Permanent, deployments_way, move |_| {
                Decider(heard.clone())
            });
            children.push(Child::Actor(decider.answers::<EvictPod>().done()));
        }
        let edge = ChildSpec::actor("http", RestartRule::Permanent, Doorway::new("http", 1), move |incarnation| {
            HttpEdge::new(parts.clone(), incarnation)
        });
        children.push(Child::Actor(edge.done()));
        let root = SupervisorSpec {
            name: "mkube".into(),
            strategy: Strategy::OneForOne,
            intensity: Intensity { restarts: 0, within: Duration::from_secs(60) },
            on_limit: OnLimit::Escalate,
            pace: RestartPace::default(),
            children,
        };
        let tree = mkube_supervision::start(root, Arc::new(FakeClock::default()));
        Self { tree, address, asked }
    }

    /// Status code and body of an answer; the connection ends with it.
    async fn post(&self, path: &str, media: &str, body: &[u8]) -> (u16, Value) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {media}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let (address, request) = (self.address, [head.as_bytes(), body].concat());
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            stream.write_all(&request)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        });
        let answer = answer.await.expect("joined").expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let code = head.split_whitespace().nth(1).and_then(|code| code.parse().ok()).expect("a code");
        (code, serde_json::from_str(body).unwrap_or_default())
    }

    async fn evict(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post(path, "application/json", body.to_string().as_bytes()).await
    }

    fn take_asked(&self) -> Vec<(String, Value, bool)> {
        std::mem::take(&mut *self.asked.lock().expect("nobody panics with it"))
    }
}

fn eviction(more: Value) -> Value {
    let mut body =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web-0", "namespace": "default"}});
    for (field, value) in more.as_object().into_iter().flatten() {
        body[field] = value.clone();
    }
    body
}

#[actix_rt::test]
async fn an_eviction_reaches_whoever_decides_on_it() {
    let bench = Bench::start(true);
    let (code, answer) = bench.evict(EVICTION, &eviction(json!({}))).await;
    assert_eq!((code, &answer["kind"], &answer["status"]), (201, &json!("Status"), &json!("Success")), "{answer}");
    let asked = bench.take_asked();
    assert_eq!((asked.len(), asked[0].0.as_str(), asked[0].2), (1, "default/web-0", false));

    // As old clients write it, and where the group's list says that it is.
    let listed = "/apis/policy/v1/namespaces/default/pods/web-0/eviction";
    for (path, version) in [(EVICTION, "policy/v1beta1"), (listed, "policy/v1")] {
        assert_eq!(bench.evict(path, &eviction(json!({"apiVersion": version}))).await.0, 201, "{path} {version}");
        assert_eq!(bench.take_asked().len(), 1, "{path} {version}");
    }

    let options = json!({"deleteOptions": {"gracePeriodSeconds": 5, "preconditions": {"uid": "u"}}});
    bench.evict(EVICTION, &eviction(options)).await;
    let asked = bench.take_asked();
    assert_eq!((&asked[0].1["gracePeriodSeconds"], &asked[0].1["preconditions"]["uid"]), (&json!(5), &json!("u")));

    bench.evict(&format!("{EVICTION}?dryRun=All"), &eviction(json!({}))).await;
    bench.evict(EVICTION, &eviction(json!({"deleteOptions": {"dryRun": ["All"]}}))).await;
    assert_eq!(bench.take_asked().iter().map(|one| one.2).collect::<Vec<_>>(), [true, true]);
    bench.tree.stop(Duration::from_secs(5)).await;
}

#[actix_rt::test]
async fn the_eviction_of_kubectl_drain_is_understood() {
    let bench = Bench::start(true);
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let metadata = [field(1, b"web-0"), field(2, b""), field(3, b"default"), vec![7 << 3, 0], field(8, b"")].concat();
    let object = [field(1, &metadata), field(2, &[1 << 3, 7])].concat();
    let types = [field(1, b"policy/v1"), field(2, b"Eviction")].concat();
    let body = [b"k8s\0".to_vec(), field(1, &types), field(2, &object), field(3, b""), field(4, b"")].concat();
    let (code, answer) = bench.post(EVICTION, "application/vnd.kubernetes.protobuf", &body).await;
    assert_eq!((code, &answer["status"]), (201, &json!("Success")), "{answer}");
    let asked = bench.take_asked();
    assert_eq!((asked[0].0.as_str(), &asked[0].1["gracePeriodSeconds"]), ("default/web-0", &json!(7)));
    bench.tree.stop(Duration::from_secs(5)).await;
}

#[actix_rt::test]
async fn a_pod_that_is_needed_and_an_answer_that_does_not_come_are_told_apart() {
    let bench = Bench::start(true);
    let path = "/api/v1/namespaces/default/pods/needed/eviction";
    let (code, answer) = bench.evict(path, &eviction(json!({"metadata": {"name": "needed"}}))).await;
    assert_eq!((code, &answer["reason"]), (429, &json!("TooManyRequests")));
    assert!(answer["message"].as_str().is_some_and(|text| text.contains("too few")), "{answer}");
    bench.tree.stop(Duration::from_secs(5)).await;
    let bench = Bench::start(false);
    let (code, answer) = bench.evict(EVICTION, &eviction(json!({}))).await;
    assert_eq!(code, 503, "{answer}");
    bench.tree.stop(Duration::from_secs(5)).await;
}

#[actix_rt::test]
async fn a_bad_eviction_is_refused_and_nobody_is_asked() {
    let bench = Bench::start(true);
    for (path, body, code) in [
        (EVICTION, json!([]), 400),
        (EVICTION, Value::Null, 400),
        (EVICTION, eviction(json!({"kind": "Pod"})), 400),
        (EVICTION, eviction(json!({"apiVersion": "policy/v2"})), 400),
        (EVICTION, eviction(json!({"metadata": {"name": "other"}})), 400),
        (EVICTION, eviction(json!({"metadata": {"name": "web-0", "namespace": "other"}})), 400),
        (EVICTION, eviction(json!({"deleteOptions": {"gracePeriodSeconds": -1}})), 422),
        (EVICTION, eviction(json!({"deleteOptions": {"propagationPolicy": "Sideways"}})), 422),
        (EVICTION, eviction(json!({"deleteOptions": []})), 400),
        ("/api/v1/namespaces/default/pods/web-0/eviction?dryRun=Some", eviction(json!({})), 422),
        ("/api/v1/namespaces/default/configmaps/web-0/eviction", eviction(json!({})), 404),
        ("/api/v1/pods/web-0/eviction", eviction(json!({})), 404),
    ] {
        assert_eq!(bench.evict(path, &body).await.0, code, "{path} {body}");
    }
    assert_eq!(bench.take_asked(), []);
    bench.tree.stop(Duration::from_secs(5)).await;
}
