//! IpamActor with a real RouterActor over the host's state machine, under paused time.

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use mkube_fakes::Verb as DeviceVerb;
use mkube_fakes::{FakeClock, FakeRouter};
use mkube_ipam::{IpamActor, IpamParts};
use mkube_messages::door::{CallError, Door, Doorway};
use mkube_messages::ipam::{AddressLease, IpamFault, LeaseAddress, ReleaseAddress, leases_view, networks_view};
use mkube_messages::objects::{KindView, ObjectKey, ObjectsPublisher, ObjectsView, StoredObject, objects_view};
use mkube_messages::request::{Request, RequestContext};
use mkube_messages::router::{EnsureVeth, RemoveVeth};
use mkube_model::kinds::{KindId, KindTable};
use mkube_model::neighbours::router::NewVeth;
use mkube_model::network::Network;
use mkube_router::{RouterActor, RouterParts, device_picture};
use mkube_supervision::{
    Child, ChildSpec, CrashHow, Intensity, OnLimit, RestartPace, RestartRule, Strategy, SupervisorSpec, Tree,
};
use serde_json::{Value, json};
use tokio::time::sleep;

const PODS: KindId = KindId { group: "", plural: "pods" };

struct Bench {
    device: FakeRouter,
    objects: ObjectsPublisher,
    ipam: Doorway,
    router: Doorway,
    tree: Tree,
}

fn network(managed: bool) -> Network {
    let ip = |text: &str| text.parse::<Ipv4Addr>().expect("a literal");
    Network {
        managed,
        last: ip("10.90.7.254"),
        dns: vec!["10.90.0.1".parse().expect("a literal")],
        reserved: vec![(ip("10.90.0.3"), "static record nas".into())],
        ..Network::plain("gt", "10.90.0.0/16".parse().expect("a literal"), "bridge-gt")
    }
}

fn with(networks: Vec<Network>, device: FakeRouter) -> Bench {
    let (objects, reader) = objects_view(KindTable::builtin());
    let (router, ipam) = (Doorway::new("router", 64), Doorway::new("ipam", 2048));
    let (publish, picture) = device_picture();
    let gate = RouterParts {
        router: device.router(),
        picture: publish,
        clock: Arc::new(FakeClock::default()),
        tick: Duration::from_secs(10),
    };
    let router_way = router.clone();
    let objects_way = Doorway::new("objects", 64);
    let parts = IpamParts {
        networks_publisher: networks_view(&networks).0,
        networks: networks.into_iter().map(Arc::new).collect(),
        config_file: "config.yaml".into(),
        release_bridge: router.door(),
        describe_neighbours: router.door(),
        write: objects_way.door(),
        report: objects_way.door(),
        finish: objects_way.door(),
        pods: PODS,
        objects: reader,
        device: picture,
        ensure_bridge: router.door(),
        describe_networks: router.door(),
        publisher: leases_view().0,
    };
    let gate = ChildSpec::actor("router", RestartRule::Permanent, router, move |_| RouterActor::new(gate.clone()));
    let keeper = ChildSpec::actor("ipam", RestartRule::Permanent, ipam.clone(), move |_| IpamActor::new(parts.clone()));
    let root = SupervisorSpec {
        name: "mkube".into(),
        strategy: Strategy::OneForOne,
        intensity: Intensity { restarts: 10, within: Duration::from_secs(60) },
        on_limit: OnLimit::Escalate,
        pace: RestartPace { jitter: 0.0, ..RestartPace::default() },
        children: vec![
            Child::Actor(mkube_router::answers(gate).done()),
            Child::Actor(mkube_ipam::answers(keeper).done()),
        ],
    };
    let tree = mkube_supervision::start(root, Arc::new(FakeClock::default()));
    Bench { device, objects, ipam, router: router_way, tree }
}

async fn bench() -> Bench {
    tokio::time::pause();
    let bench = with(vec![network(true)], FakeRouter::new("7.23.2"));
    bench.publish(&[]);
    sleep(Duration::from_secs(1)).await;
    bench
}

impl Bench {
    /// The store holds these pods, each with an address in its status.
    fn publish(&self, pods: &[(&str, Option<&str>)]) {
        let mut kind = KindView::default();
        for (name, address) in pods {
            let key = ObjectKey::new("default", *name);
            let ips: Vec<Value> = address.iter().map(|ip| json!({"ip": ip})).collect();
            let value = json!({"metadata": {"name": name, "namespace": "default"}, "status": {"podIPs": ips}});
            let object = StoredObject::new(PODS, key.clone(), &value, 1);
            kind.objects.insert(key, Arc::new(object));
        }
        let kinds = [(PODS, Arc::new(kind))].into();
        self.objects.publish(ObjectsView { loaded: true, kinds, ..ObjectsView::default() });
    }

    async fn ask<M: Request>(&self, message: M) -> Result<M::Reply, CallError<M::Fault>> {
        let door: Door<M> = self.ipam.door();
        door.ask(message).await
    }

    async fn lease(&self, pod: &str, wanted: Option<&str>) -> Result<AddressLease, IpamFault> {
        self.ask(order(pod, wanted)).await.map_err(|error| match error {
            CallError::Fault(fault) => fault,
            CallError::NotAnswered(why) => panic!("not answered: {why}"),
        })
    }

    async fn release(&self, pod: &str) -> Result<(), CallError<IpamFault>> {
        self.ask(ReleaseAddress { context: within(), veth: veth_of(pod) }).await
    }
}

fn within() -> RequestContext {
    RequestContext::new("test", Duration::from_secs(30))
}

fn veth_of(pod: &str) -> String {
    format!("veth_default_{pod}_0")
}

fn order(pod: &str, wanted: Option<&str>) -> LeaseAddress {
    LeaseAddress {
        context: within(),
        veth: veth_of(pod),
        pod: ObjectKey::new("default", pod),
        network: None,
        wanted: wanted.map(|text| text.parse().expect("a literal")),
        previous: None,
    }
}

fn address(lease: &AddressLease) -> String {
    lease.address.addr().to_string()
}

#[actix::test]
async fn addresses_are_handed_out_with_everything_an_interface_needs_and_conflicts_are_named() {
    let bench = bench().await;
    let lease = bench.lease("a", None).await.expect("free");
    assert_eq!((lease.address.to_string().as_str(), lease.bridge.as_str()), ("10.90.0.2/16", "bridge-gt"));
    assert_eq!((lease.gateway.to_string().as_str(), lease.dns.len()), ("10.90.0.1", 1));
    assert_eq!(bench.lease("a", None).await.as_ref(), Ok(&lease), "safe to repeat");
    assert_eq!(address(&bench.lease("b", Some("10.90.200.1")).await.expect("free")), "10.90.200.1");
    assert_eq!(address(&bench.lease("d", None).await.expect("free")), "10.90.0.4", "the reserved one is skipped");
    let taken = bench.lease("c", Some("10.90.200.1")).await;
    assert!(matches!(&taken, Err(IpamFault::Taken { holder, .. }) if holder == "veth_default_b_0"), "{taken:?}");
    let outside = bench.lease("c", Some("10.91.0.1")).await;
    assert!(matches!(outside, Err(IpamFault::OutOfRange { .. })), "{outside:?}");
    let gateway = bench.lease("c", Some("10.90.0.1")).await;
    assert!(matches!(gateway, Err(IpamFault::Reserved { .. })), "{gateway:?}");
    let unknown = bench.ask(LeaseAddress { network: Some("nope".into()), ..order("c", None) }).await;
    assert!(matches!(unknown, Err(CallError::Fault(IpamFault::UnknownNetwork { .. }))), "{unknown:?}");
    assert_eq!(
        bench.device.row("interface/bridge", "bridge-gt").map(|row| row["comment"].clone()),
        Some("mkube".into())
    );
}

#[actix::test]
async fn a_network_without_a_free_address_says_how_full_it_is() {
    tokio::time::pause();
    let last = "10.90.0.4".parse().expect("a literal");
    let bench = with(vec![Network { last, ..network(true) }], FakeRouter::new("7.23.2"));
    bench.publish(&[]);
    sleep(Duration::from_secs(1)).await;
    bench.lease("a", None).await.expect("free");
    bench.lease("b", None).await.expect("free");
    let full = bench.lease("c", None).await;
    let holders = "pod default/a, pod default/b".into();
    assert_eq!(full, Err(IpamFault::Exhausted { network: "gt".into(), used: 3, size: 3, holders }));
}

#[actix::test]
async fn a_thousand_leases_at_once_are_a_thousand_addresses() {
    let bench = Arc::new(bench().await);
    let asking: Vec<_> = (0..1000)
        .map(|number| {
            let bench = bench.clone();
            actix_rt::spawn(async move { bench.lease(&format!("p{number}"), None).await.expect("free").address })
        })
        .collect();
    let mut given = HashSet::new();
    for one in asking {
        assert!(given.insert(one.await.expect("joined")), "an address was given twice");
    }
    assert_eq!(given.len(), 1000);
    assert_eq!(bench.device.count("POST /interface/bridge/add"), 1);
}

#[actix::test]
async fn after_a_restart_nothing_is_given_away_that_the_device_or_a_pod_has() {
    let bench = bench().await;
    let on_device = json!({"name": veth_of("running"), "address": "10.90.0.2/16", "comment": "mkube default/running"});
    bench.device.operate(DeviceVerb::Put, "interface/veth", on_device);
    bench.device.operate(DeviceVerb::Put, "interface/veth", json!({"name": "veth-mkube", "address": "10.90.0.5/16"}));
    sleep(Duration::from_secs(11)).await;
    // A pod whose container is being made anew has its address in the store only.
    bench.publish(&[("running", Some("10.90.0.2")), ("remade", Some("10.90.0.4"))]);
    bench.tree.crash("mkube/ipam", CrashHow::Panic).await.expect("running");
    sleep(Duration::from_millis(50)).await;
    assert_eq!(address(&bench.lease("new", None).await.expect("free")), "10.90.0.6");
    let previous = Some("10.90.0.4".parse().expect("a literal"));
    let remade = bench.ask(LeaseAddress { previous, ..order("remade", None) }).await.expect("its own");
    assert_eq!(address(&remade), "10.90.0.4");
    assert_eq!(address(&bench.lease("running", None).await.expect("its own")), "10.90.0.2");
}

#[actix::test]
async fn nothing_is_answered_before_device_and_store_were_read() {
    tokio::time::pause();
    let device = FakeRouter::new("7.23.2");
    device.set_away(true);
    let bench = with(vec![network(true)], device);
    sleep(Duration::from_secs(1)).await;
    let refused = bench.lease("a", None).await;
    assert!(matches!(&refused, Err(IpamFault::NotReady(_))), "{refused:?}");
    bench.device.set_away(false);
    sleep(Duration::from_secs(15)).await;
    let refused = bench.lease("a", None).await;
    assert!(matches!(&refused, Err(IpamFault::NotReady(why)) if why.contains("store")), "{refused:?}");
    bench.publish(&[("other", Some("10.90.0.2"))]);
    assert_eq!(address(&bench.lease("a", None).await.expect("free")), "10.90.0.4");
}

#[actix::test]
async fn an_address_is_given_back_only_after_its_interface_is_gone() {
    let bench = bench().await;
    bench.lease("a", Some("10.90.0.9")).await.expect("free");
    let row = json!({"name": veth_of("a"), "address": "10.90.0.9/16"});
    bench.device.operate(DeviceVerb::Put, "interface/veth", row);
    sleep(Duration::from_secs(11)).await;
    let refused = bench.release("a").await;
    assert!(refused.is_err_and(|error| error.to_string().contains("still on the device")));
    assert!(matches!(bench.lease("b", Some("10.90.0.9")).await, Err(IpamFault::Taken { .. })));
    bench.device.operate(DeviceVerb::Delete, &format!("interface/veth/{}", veth_of("a")), Value::Null);
    // The only interface there was: an empty list is believed when it comes twice.
    sleep(Duration::from_secs(12)).await;
    bench.release("a").await.expect("gone");
    bench.release("a").await.expect("safe to repeat");
    assert!(bench.lease("b", Some("10.90.0.9")).await.is_ok());
}

#[actix::test]
async fn a_lease_lasts_as_long_as_its_pod_and_a_forgotten_one_comes_back() {
    let bench = bench().await;
    bench.publish(&[("waiting", None)]);
    // This one has no interface yet: its image is missing, or its interface's name got a suffix.
    let waiting =
        LeaseAddress { veth: "veth_default_waiting_0-0123abcd".into(), ..order("waiting", Some("10.90.0.9")) };
    bench.ask(waiting).await.expect("free");
    bench.lease("crashed", Some("10.90.0.8")).await.expect("free");
    sleep(Duration::from_secs(65)).await;
    assert!(matches!(bench.lease("b", Some("10.90.0.9")).await, Err(IpamFault::Taken { .. })), "its pod exists");
    assert!(bench.lease("b", Some("10.90.0.8")).await.is_ok(), "its pod does not exist");
    bench.publish(&[]);
    sleep(Duration::from_secs(65)).await;
    assert!(bench.lease("c", Some("10.90.0.9")).await.is_ok());
}

#[actix::test]
async fn an_unmanaged_network_must_find_its_bridge_and_gateway_and_says_what_is_missing() {
    tokio::time::pause();
    let bench = with(vec![network(false)], FakeRouter::new("7.23.2"));
    bench.publish(&[]);
    sleep(Duration::from_secs(1)).await;
    let missing = |result: Result<AddressLease, IpamFault>| match result {
        Err(IpamFault::NoBridge { missing, .. }) => missing,
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(bench.lease("a", None).await), "bridge \"bridge-gt\"");
    bench.device.operate(DeviceVerb::Put, "interface/bridge", json!({"name": "bridge-gt"}));
    assert_eq!(missing(bench.lease("a", None).await), "gateway address 10.90.0.1");
    assert_eq!(bench.device.rows("ip/address"), Vec::<Value>::new(), "it is not made");
    bench.device.operate(DeviceVerb::Put, "ip/address", json!({"address": "10.90.0.1/16", "interface": "bridge-gt"}));
    assert!(bench.lease("a", None).await.is_ok());
}

/// The same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Pods that come, go and fail half-way, and an actor that dies: what the model says is what device and leases say.
async fn random_history(seed: u64) {
    const PODS_AT_MOST: u64 = 9;
    let last = "10.90.0.10".parse().expect("a literal");
    let bench = with(vec![Network { last, ..network(true) }], FakeRouter::new("7.23.2"));
    let mut dice = Dice(seed);
    // What each pod has: its address, and whether its interface was made.
    let mut model: BTreeMap<String, (String, bool)> = BTreeMap::new();
    let publish = |model: &BTreeMap<String, (String, bool)>| {
        // Only who has an interface has a status that tells the address.
        let pods: Vec<(&str, Option<&str>)> =
            model.iter().map(|(name, (address, made))| (name.as_str(), made.then_some(address.as_str()))).collect();
        bench.publish(&pods);
    };
    publish(&model);
    sleep(Duration::from_secs(1)).await;
    for step in 0..120 {
        let pod = format!("p{}", dice.below(PODS_AT_MOST));
        let veth = veth_of(&pod);
        let comment = format!("mkube default/{pod}");
        match dice.below(10) {
            0..5 => {
                let wanted = (dice.below(4) == 0).then(|| format!("10.90.0.{}", 2 + dice.below(10)));
                let held = model.get(&pod).filter(|(_, made)| *made).map(|(address, _)| address.clone());
                model.entry(pod.clone()).or_insert_with(|| (String::new(), false));
                publish(&model);
                let Ok(lease) = bench.lease(&pod, wanted.as_deref()).await else { continue };
                let address = address(&lease);
                let rival = model.iter().find(|(name, (other, _))| **name != pod && *other == address);
                assert_eq!(rival, None, "seed {seed}, step {step}: {address} was given to {pod} too");
                if let (Some(held), None) = (&held, &wanted) {
                    assert_eq!(*held, address, "seed {seed}, step {step}: {pod} keeps what it has");
                }
                // A creation may end here: then there is a lease and no interface.
                let made = dice.below(4) != 0;
                if made {
                    let row = NewVeth { name: veth, address: lease.address, gateway: None, comment };
                    let order = EnsureVeth { context: within(), veth: row, bridge: lease.bridge };
                    bench.router.door().ask(order).await.expect("the device is there");
                }
                if made || held.is_none() {
                    model.insert(pod, (address, made));
                }
            }
            5..8 => {
                let order = RemoveVeth { context: within(), name: veth, owner: comment };
                bench.router.door().ask(order).await.expect("the device is there");
                // A deletion may end here: then there is a lease, and no pod and no interface.
                if dice.below(4) != 0 {
                    bench.release(&pod).await.expect("the interface is gone");
                }
                model.remove(&pod);
                publish(&model);
            }
            8 => {
                bench.tree.crash("mkube/ipam", CrashHow::Panic).await.expect("running");
                sleep(Duration::from_secs(70)).await;
                // Leases without an interface died with it.
                model.values_mut().filter(|(_, made)| !made).for_each(|(address, _)| address.clear());
            }
            _ => sleep(Duration::from_secs(35)).await,
        }
        let mut on_device: Vec<String> =
            bench.device.rows("interface/veth").iter().map(|row| row["address"].to_string()).collect();
        let count = on_device.len();
        on_device.sort();
        on_device.dedup();
        assert_eq!(on_device.len(), count, "seed {seed}, step {step}: an address is on two interfaces");
    }
    // Nothing leaked: when all are gone, all addresses can be had.
    for pod in model.keys() {
        let owner = format!("mkube default/{pod}");
        let order = RemoveVeth { context: within(), name: veth_of(pod), owner };
        bench.router.door().ask(order).await.expect("the device is there");
    }
    bench.publish(&[]);
    sleep(Duration::from_secs(65)).await;
    for number in 0..8 {
        let lease = bench.lease(&format!("new{number}"), None).await;
        assert!(lease.is_ok(), "seed {seed}: address {number} of 8: {lease:?}");
    }
    assert!(matches!(bench.lease("one-more", None).await, Err(IpamFault::Exhausted { .. })), "seed {seed}");
    bench.tree.stop(Duration::from_secs(10)).await;
}

#[actix::test]
async fn whatever_happens_to_pods_and_actor_addresses_are_neither_shared_nor_lost() {
    tokio::time::pause();
    for seed in 1..=25 {
        random_history(seed).await;
    }
}

#[actix::test]
async fn two_who_need_to_know_who_is_heard_wait_for_one_question() {
    let bench = Arc::new(bench().await);
    let asking: Vec<_> = ["a", "b", "c"]
        .map(|pod| {
            let bench = bench.clone();
            actix_rt::spawn(async move { bench.lease(pod, None).await.is_ok() })
        })
        .into();
    for one in asking {
        assert!(one.await.expect("joined"));
    }
    assert_eq!(bench.device.count("GET /ip/arp"), 1);
}
