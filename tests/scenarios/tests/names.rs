//! `/api/v1/dns/validate`, `/api/v1/zones` and `/api/v1/instances` over real HTTP, with the real object layer and what DnsActor
//! would publish.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mkube_edges::{
    Figures, HealthChecks, HttpConsistency, HttpEdge, HttpImages, HttpLimits, HttpNames, HttpNetworks, HttpParts,
    HttpPassingOn, HttpStore, HttpStreams, HttpUsage, WrittenLists,
};
use mkube_fakes::{FakeClock, FakeStreams, MemoryStore, NoNodeApis};
use mkube_messages::bus::bus_view;
use mkube_messages::consistency::consistency_view;
use mkube_messages::dns::{NamesPublisher, NamesView, Purpose, RecordSight, RecordType, ZoneSight, names_view};
use mkube_messages::door::Doorway;
use mkube_messages::forwards::forwards_view;
use mkube_messages::gates::boot_plan;
use mkube_messages::images::images_view;
use mkube_messages::ipam::{leases_view, networks_view};
use mkube_messages::objects::{ObjectKey, ObjectsReader, objects_view};
use mkube_messages::offers::Offers;
use mkube_messages::rollouts::rollouts_view;
use mkube_messages::store::{news_bell, older_view};
use mkube_messages::volumes::volumes_view;
use mkube_messages::watch;
use mkube_model::kinds::KindTable;
use mkube_model::neighbours::pod_logs::{ContainerRef, LogOptions, PodLogs};
use mkube_model::neighbours::randomness::SystemRandomness;
use mkube_model::status::Status;
use mkube_objects::{Deletions, ObjectsActor, ObjectsParts};
use mkube_openapi::OpenApi;
use mkube_scenarios::Api;
use mkube_store::StoreActor;
use mkube_supervision::{
    Child, ChildSpec, Intensity, OnLimit, RestartPace, RestartRule, Strategy, SupervisorSpec, Tree,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

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

/// Store, object layer and edge, and the publishing end of names.
struct Bench {
    tree: Tree,
    api: Api,
    names: NamesPublisher,
    objects: ObjectsReader,
}

impl Bench {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let api = Api::new(listener.local_addr()?)?;
        let kinds = KindTable::builtin();
        let (publisher, objects) = objects_view(kinds.clone());
        let [store, way, others] = ["store", "objects", "others"].map(|name| Doorway::new(name, 64));
        let (names, names_reader) = names_view();
        let edge = HttpParts {
            listener: Arc::new(listener),
            objects: objects.clone(),
            write: way.door(),
            evict: others.door(),
            tree: watch::channel(None).1,
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
                pushed: others.door(),
                redeploy: others.door(),
                notify_secret: None,
            },
            boot_plan: boot_plan().1,
            consistency: HttpConsistency { report: consistency_view().1, repair: others.door() },
            volumes: volumes_view().1,
            store: HttpStore { older: older_view().1, accept: others.door() },
            networks: HttpNetworks { networks: networks_view(&[]).1, leases: leases_view().1 },
            bus: bus_view().1,
            names: HttpNames { names: names_reader, forwards: forwards_view().1 },
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
        let (bell, heard) = news_bell();
        let layer = ObjectsParts {
            kinds,
            publisher,
            load: store.door(),
            commit: store.door(),
            news: store.door(),
            notices: heard,
            clock: Arc::new(FakeClock::default()),
            randomness: Arc::new(SystemRandomness),
            node_name: "rose1".into(),
            shared: false,
            event_ring: 256,
            deletions: Deletions::default(),
        };
        let permanent = RestartRule::Permanent;
        let kept = Arc::new(MemoryStore::default());
        let store_spec = ChildSpec::actor("store", permanent, store, move |_| {
            StoreActor::new(kept.clone(), bell.clone(), older_view().0)
        });
        let objects_spec = ChildSpec::actor("objects", permanent, way, move |_| ObjectsActor::new(layer.clone()));
        let edge_spec = ChildSpec::actor("http", permanent, Doorway::new("http", 1), move |incarnation| {
            HttpEdge::new(edge.clone(), incarnation)
        });
        let root = SupervisorSpec {
            name: "mkube".into(),
            strategy: Strategy::OneForOne,
            intensity: Intensity { restarts: 0, within: Duration::from_secs(60) },
            on_limit: OnLimit::Escalate,
            pace: RestartPace::default(),
            children: vec![
                Child::Actor(mkube_store::answers(store_spec).done()),
                Child::Actor(mkube_objects::answers(objects_spec).done()),
                Child::Actor(edge_spec.done()),
            ],
        };
        let tree = mkube_supervision::start(root, Arc::new(FakeClock::default()));
        let mut notices = objects.notices();
        while !objects.view().loaded {
            tokio::time::timeout(Duration::from_secs(60), notices.changed()).await??;
        }
        Ok(Self { tree, api, names, objects })
    }

    fn publish(&self, zones: Vec<(&str, ZoneSight)>) {
        let zones = zones.into_iter().map(|(name, zone)| (name.to_owned(), Arc::new(zone))).collect();
        self.names.send_replace(Arc::new(NamesView { loaded: true, zones }));
    }

    fn annotations(&self, namespace: &str) -> Value {
        let kind = self.objects.kinds().named("Namespace").expect("a kind").id();
        let found = self.objects.view().get(&kind, &ObjectKey::new("", namespace));
        found.map(|object| object.value()["metadata"]["annotations"].clone()).unwrap_or_default()
    }
}

fn zone(network: &str) -> ZoneSight {
    ZoneSight {
        network: network.into(),
        endpoint: format!("http://{network}.example:8080"),
        server: "10.0.0.2".parse().ok(),
        id: Some(format!("id of {network}")),
        compared: true,
        ..ZoneSight::default()
    }
}

#[actix_rt::test]
async fn nothing_is_told_of_zones_before_they_are_known_and_the_report_says_so() -> anyhow::Result<()> {
    let bench = Bench::start().await?;
    for path in ["/api/v1/zones", "/api/v1/zones/gt.lo", "/api/v1/instances"] {
        bench.api.get(path).await?.refused(503, "ServiceUnavailable");
    }
    bench.api.post("/api/v1/zones", &json!({"name": "a.gt.lo"})).await?.refused(503, "ServiceUnavailable");
    let report = bench.api.get("/api/v1/dns/validate").await?.expect(200).body;
    assert_eq!(report["summary"], json!({"pass": 0, "fail": 0, "warn": 1}));
    assert_eq!(report["checks"][0]["name"], "dns-client");
    assert!(report["timestamp"].as_str().is_some_and(|text| text.ends_with('Z')), "{report}");
    bench.tree.stop(Duration::from_secs(5)).await;
    Ok(())
}

#[actix_rt::test]
async fn a_zone_that_is_asked_for_is_that_of_a_namespace_and_goes_without_it() -> anyhow::Result<()> {
    let bench = Bench::start().await?;
    bench.publish(vec![("g10.lo", zone("g10")), ("gt.lo", zone("gt"))]);
    let made = json!({"name": "team.g10.lo", "parent": "g10.lo", "microdnsId": "", "endpoint": "http://g10.example:8080",
        "network": "g10", "dedicated": false});
    let asked = json!({"name": "Team.g10.lo.", "dedicated": false});
    assert_eq!(bench.api.post("/api/v1/zones?dryRun=All", &asked).await?.expect(201).body, made);
    assert_eq!(bench.annotations("team"), Value::Null, "dry");
    assert_eq!(bench.api.post("/api/v1/zones", &asked).await?.expect(201).body, made);
    let said = json!({"vkube.io/domain": "team.g10.lo", "vkube.io/network": "g10"});
    assert_eq!(bench.annotations("team"), said);
    // Whoever wrote it reads it.
    let zones = bench.api.get("/api/v1/zones").await?.expect(200).body;
    let names: Vec<&str> = zones.as_array().expect("a list").iter().filter_map(|zone| zone["name"].as_str()).collect();
    assert_eq!(names, ["g10.lo", "gt.lo", "team.g10.lo"]);
    assert_eq!(bench.api.get("/api/v1/zones/team.g10.lo").await?.expect(200).body, made);
    bench.api.get("/api/v1/zones/other.lo").await?.refused(404, "NotFound");
    for twice in ["team.g10.lo", "gt.lo", "team.gt.lo"] {
        bench.api.post("/api/v1/zones", &json!({"name": twice})).await?.refused(409, "AlreadyExists");
    }
    let refused = bench.api.post("/api/v1/zones", &json!({"name": "a.gt.lo", "network": "nowhere"})).await?;
    assert_eq!(refused.refused(422, "Invalid").fields(), ["network"]);
    // A namespace that is there already gets the zone too, and keeps the rest.
    bench.api.post("/api/v1/zones", &json!({"name": "default.gt.lo", "network": "gt"})).await?.expect(201);
    assert_eq!(bench.annotations("default")["vkube.io/domain"], "default.gt.lo");
    // Gone with its namespace left alone.
    bench.api.send("DELETE", "/api/v1/zones/team.g10.lo", &[], "").await?.expect(204);
    assert_eq!(bench.annotations("team"), json!({"vkube.io/network": "g10", "vkube.io/mode": "open"}));
    bench.api.send("DELETE", "/api/v1/zones/team.g10.lo", &[], "").await?.refused(404, "NotFound");
    bench.api.send("DELETE", "/api/v1/zones/gt.lo", &[], "").await?.refused(409, "Conflict").saying("network \"gt\"");
    let instances = bench.api.get("/api/v1/instances").await?.expect(200).body;
    assert_eq!((&instances[0]["name"], &instances[1]["zones"]), (&json!("mdns-g10"), &json!(["gt.lo"])));
    bench.api.get("/api/v1/instances/mdns-gt").await?.expect(200);
    bench.api.get("/api/v1/instances/none").await?.refused(404, "NotFound");
    bench.api.send("PUT", "/api/v1/instances", &[], "").await?.refused(405, "MethodNotAllowed");
    bench.tree.stop(Duration::from_secs(5)).await;
    Ok(())
}

#[actix_rt::test]
async fn ten_thousand_records_are_all_compared_in_one_answer() -> anyhow::Result<()> {
    let bench = Bench::start().await?;
    let mut gt = zone("gt");
    for number in 0..10_000_u32 {
        let address = BTreeSet::from([std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string()]);
        let found = if number == 7 { BTreeSet::new() } else { address.clone() };
        let purpose = Purpose::Pods([ObjectKey::new("default", format!("p{number}"))].into());
        let key = (format!("p{number}"), RecordType::A);
        gt.records.insert(key, RecordSight { wanted: address, found, purpose });
    }
    bench.publish(vec![("gt.lo", gt)]);
    let begun = tokio::time::Instant::now();
    let report = bench.api.get("/api/v1/dns/validate").await?.expect(200).body;
    println!("10,000 records: {:?}", begun.elapsed());
    assert_eq!(report["summary"], json!({"pass": 10_001, "fail": 1, "warn": 0}));
    let failed = report["checks"].as_array().expect("a list").iter().find(|check| check["status"] == "fail");
    assert_eq!(failed.expect("one")["name"], "zone/gt/pod/p7");
    bench.tree.stop(Duration::from_secs(5)).await;
    Ok(())
}
