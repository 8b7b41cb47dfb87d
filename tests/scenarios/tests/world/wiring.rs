//! Who is started under whom, and who talks to whom.

use super::*;

fn supervisor(name: &str, on_limit: OnLimit, children: Vec<Child>) -> SupervisorSpec {
    SupervisorSpec {
        name: name.into(),
        strategy: Strategy::OneForOne,
        intensity: Intensity { restarts: 50, within: Duration::from_secs(60) },
        on_limit,
        pace: RestartPace { jitter: 0.0, ..RestartPace::default() },
        children,
    }
}

impl World {
    /// mkube starts in these surroundings, of which the store may be out of reach.
    pub async fn unread(around: Surroundings) -> Self {
        let kinds = KindTable::builtin();
        let kind = |name: &str| kinds.named(name).expect("a kind").id();
        let (publisher, reader) = objects_view(kinds.clone());
        let (publish, picture) = device_picture();
        let [store, router, objects, ipam, images, dns, pods] =
            ["store", "router", "objects", "ipam", "images", "dns", "pods"].map(|name| Doorway::new(name, 256));
        let crossings = around.crossings.clone();
        let (bell, heard) = news_bell();
        let gate = RouterParts {
            router: around.device.router(),
            picture: publish,
            clock: around.clock.clone(),
            tick: Duration::from_secs(10),
        };
        let one_way = ObjectsParts {
            kinds: kinds.clone(),
            publisher,
            load: relay(store.door(), "LoadContents", &crossings),
            commit: relay(store.door(), "CommitChanges", &crossings),
            news: relay(store.door(), "LoadNews", &crossings),
            notices: heard,
            clock: around.clock.clone(),
            randomness: Arc::new(SystemRandomness),
            node_name: "rose1".into(),
            shared: false,
            event_ring: 256,
            deletions: Deletions::default(),
        };
        let (publish_leases, leases) = leases_view();
        let mut named = network();
        if around.servers.has(NAME_SERVER) {
            named.names = DnsSettings {
                zone: "gt.lo".into(),
                server: Some("10.90.0.252".parse().expect("a literal")),
                endpoint: NAME_SERVER.into(),
                ..DnsSettings::default()
            };
        }
        let networks: Vec<_> = [named, other_network()].into_iter().chain(around.wide.then(wide_network)).collect();
        let (publish_networks, networks_reader) = networks_view(&networks);
        let (publish_names, names) = names_view();
        let names_keeper = DnsParts {
            pods: kind("Pod"),
            namespaces: kind("Namespace"),
            entries: kind("DnsEntry"),
            objects: reader.clone(),
            networks: networks_reader.clone(),
            servers: around.servers.clone(),
            write: relay(objects.door(), "WriteObject of names", &crossings),
            event: objects.door(),
            publish: publish_names,
            clock: around.clock.clone(),
            origin: "mkube/rose1".into(),
            mode: None,
        };
        let addresses = IpamParts {
            publisher: publish_leases,
            networks_publisher: publish_networks,
            networks: networks.into_iter().map(Arc::new).collect(),
            config_file: "config.yaml".into(),
            release_bridge: relay(router.door(), "ReleaseBridge", &crossings),
            describe_neighbours: relay(router.door(), "DescribeNeighbours", &crossings),
            write: relay(objects.door(), "WriteObject", &crossings),
            report: relay(objects.door(), "ReportStatus", &crossings),
            finish: relay(objects.door(), "FinishDeletion", &crossings),
            pods: kind("Pod"),
            objects: reader.clone(),
            device: picture.clone(),
            ensure_bridge: relay(router.door(), "EnsureBridge", &crossings),
            describe_networks: relay(router.door(), "DescribeNetworks", &crossings),
        };
        let doors = PodDoors {
            withdraw: relay(dns.door(), "WithdrawNames", &crossings),
            lease: relay(ipam.door(), "LeaseAddress", &crossings),
            release: relay(ipam.door(), "ReleaseAddress", &crossings),
            tarball: relay(images.door(), "EnsureTarball", &crossings),
            ensure_veth: relay(router.door(), "EnsureVeth", &crossings),
            remove_veth: relay(router.door(), "RemoveVeth", &crossings),
            mounts: relay(router.door(), "EnsureMounts", &crossings),
            envs: relay(router.door(), "EnsureEnvs", &crossings),
            container: relay(router.door(), "EnsureContainer", &crossings),
            start: relay(router.door(), "StartContainer", &crossings),
            stop: relay(router.door(), "StopContainer", &crossings),
            remove: relay(router.door(), "RemoveContainer", &crossings),
            mark: relay(router.door(), "MarkContainer", &crossings),
            on_boot: relay(router.door(), "SetStartOnBoot", &crossings),
            log: relay(router.door(), "DescribeContainerLog", &crossings),
            report: relay(objects.door(), "ReportStatus", &crossings),
            finish: relay(objects.door(), "FinishDeletion", &crossings),
            write: relay(objects.door(), "WriteObject", &crossings),
            event: objects.door(),
        };
        let (tree_cell, tree_reader) = watch::channel(None);
        let (publish_gates, gates) = gates_view();
        let order = OrderParts {
            pods: kind("Pod"),
            nodes: kind("Node"),
            deployments: kind("Deployment"),
            objects: reader.clone(),
            device: picture.clone(),
            event: objects.door(),
            gates: publish_gates,
            plan: boot_plan().0,
            node_name: "rose1".into(),
            rules: mkube_order::Rules::default(),
        };
        let (publish_health, probed) = health_view();
        let settings = PlanSettings {
            images_base: "/images".into(),
            volumes_base: "/volumes".into(),
            host_ip: "10.90.0.1".into(),
            node_name: "rose1".into(),
        };
        let watcher = PodsParts {
            pod: Arc::new(PodParts {
                doors,
                objects: reader.clone(),
                device: picture.clone(),
                leases: leases.clone(),
                networks: networks_reader,
                gates,
                disk: around.disk.clone(),
                clock: around.clock.clone(),
                turns: Turns::default(),
                health: probed.clone(),
                restarts: RestartRules::default(),
                settings: Arc::new(settings),
                kind: kind("Pod"),
                nodes: kind("Node"),
                config_maps: kind("ConfigMap"),
                secrets: kind("Secret"),
            }),
            tree: tree_reader,
            supervisor: "mkube/pods".into(),
        };
        let (kept, tarballs) = (around.store.clone(), around.images.clone());
        let permanent = RestartRule::Permanent;
        let write = objects.door();
        let (publisher, images_reader) = images_view();
        let keeper = ImageParts {
            source: tarballs,
            map: Default::default(),
            delivery: Delivery::Shared(Default::default()),
            publisher,
            objects: reader.clone(),
            device: picture.clone(),
            pods: kind("Pod"),
            gc_interval: Duration::from_secs(1800),
        };
        let rollouts = Doorway::new("rollouts", 256);
        let (publish_rollouts, rollouts_reader) = rollouts_view();
        let decider = RolloutParts {
            pods: kind("Pod"),
            secrets: kind("Secret"),
            deployments: kind("Deployment"),
            objects: reader.clone(),
            device: picture.clone(),
            resolve: relay(images.door(), "ResolveImage", &crossings),
            fetch: relay(images.door(), "EnsureTarball of a rollout", &crossings),
            write: relay(objects.door(), "WriteObject of a rollout", &crossings),
            event: objects.door(),
            publish: publish_rollouts,
            clock: around.clock.clone(),
            rules: Rules::default(),
        };
        let worker = JobsParts {
            jobs: kind("Job"),
            cron_jobs: kind("CronJob"),
            pods: kind("Pod"),
            objects: reader.clone(),
            write: relay(objects.door(), "WriteObject of a job", &crossings),
            event: objects.door(),
            clock: around.clock.clone(),
        };
        let jobs_spec =
            ChildSpec::actor("jobs", permanent, Doorway::new("jobs", 1), move |_| JobsActor::new(worker.clone()));
        let writer = GeneratedParts {
            config_maps: kind("ConfigMap"),
            namespaces: kind("Namespace"),
            objects: reader.clone(),
            networks: around.networks.1.clone(),
            write: relay(objects.door(), "WriteObject of generated configuration", &crossings),
            node_name: "rose1".into(),
            shared: false,
        };
        let generated_spec = ChildSpec::actor("generated", permanent, Doorway::new("generated", 1), move |_| {
            GeneratedActor::new(writer.clone())
        });
        let judge = WatchdogParts {
            pods: kind("Pod"),
            objects: reader.clone(),
            device: picture.clone(),
            networks: around.networks.1.clone(),
            prober: around.prober.clone(),
            exec: Arc::new(around.commands.clone()),
            publish: publish_health,
            event: objects.door(),
            interval: Duration::from_secs(5),
            dns: DnsRules::default(),
        };
        let watchdog = Doorway::new("watchdog", 1);
        let (redeploy, pushed) = (rollouts.door(), rollouts.door());
        let deployments = Doorway::new("deployments", 256);
        let evict = deployments.door();
        let keeper_of_replicas = DeploymentsParts {
            kinds: kinds.clone(),
            objects: reader.clone(),
            device: picture.clone(),
            write: relay(objects.door(), "WriteObject of a deployment", &crossings),
            report: relay(objects.door(), "ReportStatus of a deployment", &crossings),
            event: objects.door(),
            clock: around.clock.clone(),
        };
        let deployments_spec = ChildSpec::actor("deployments", permanent, deployments, move |_| {
            DeploymentsActor::new(keeper_of_replicas.clone())
        });
        let consistency = Doorway::new("consistency", 8);
        let (publish_report, report_reader) = consistency_view();
        let comparer = ConsistencyParts {
            objects: reader.clone(),
            device: picture,
            leases,
            names: names_view().1,
            images: images_reader.clone(),
            rollouts: rollouts_reader.clone(),
            volumes: volumes_view().1,
            doors: ConsistencyDoors {
                stop: relay(router.door(), "StopContainer of a repair", &crossings),
                remove: relay(router.door(), "RemoveContainer of a repair", &crossings),
                remove_veth: relay(router.door(), "RemoveVeth of a repair", &crossings),
                mounts: relay(router.door(), "EnsureMounts of a repair", &crossings),
                envs: relay(router.door(), "EnsureEnvs of a repair", &crossings),
                release: relay(ipam.door(), "ReleaseAddress of a repair", &crossings),
                write: relay(objects.door(), "WriteObject of a repair", &crossings),
                event: objects.door(),
            },
            publisher: publish_report,
            clock: around.clock.clone(),
            volumes_base: "/volumes".into(),
            node_name: "rose1".into(),
            rules: around.repairs,
        };
        let repair = consistency.door();
        let consistency_spec =
            ChildSpec::actor("consistency", permanent, consistency, move |_| ConsistencyActor::new(comparer.clone()));
        let dns_spec = ChildSpec::actor("dns", permanent, dns, move |_| DnsActor::new(names_keeper.clone()));
        let images_spec = ChildSpec::actor("images", permanent, images, move |_| ImageActor::new(keeper.clone()));
        let rollouts_spec =
            ChildSpec::actor("rollouts", permanent, rollouts, move |_| RolloutActor::new(decider.clone()));
        let watchdog_spec =
            ChildSpec::actor("watchdog", permanent, watchdog, move |_| WatchdogActor::new(judge.clone())).done();
        let store_spec = ChildSpec::actor("store", permanent, store, move |_| {
            StoreActor::new(kept.clone(), bell.clone(), older_view().0)
        });
        let router_spec = ChildSpec::actor("router", permanent, router, move |_| RouterActor::new(gate.clone()));
        let objects_spec = ChildSpec::actor("objects", permanent, objects, move |_| ObjectsActor::new(one_way.clone()));
        let ipam_spec = ChildSpec::actor("ipam", permanent, ipam, move |_| IpamActor::new(addresses.clone()));
        let pods_spec = ChildSpec::actor("roster", permanent, pods, move |_| PodsActor::new(watcher.clone())).done();
        let order_way = Doorway::new("order", 1);
        let order_spec =
            ChildSpec::actor("order", permanent, order_way, move |_| OrderActor::new(order.clone())).done();
        let root = supervisor(
            "mkube",
            OnLimit::Escalate,
            vec![
                Child::Actor(mkube_store::answers(store_spec).done()),
                Child::Actor(mkube_router::answers(router_spec).done()),
                Child::Actor(mkube_objects::answers(objects_spec).done()),
                Child::Actor(mkube_ipam::answers(ipam_spec).done()),
                Child::Actor(mkube_images::answers(images_spec).done()),
                Child::Actor(mkube_dns::answers(dns_spec).done()),
                Child::Supervisor(SupervisorSpec {
                    intensity: Intensity { restarts: 5, within: Duration::from_secs(300) },
                    ..supervisor("pods", OnLimit::HoldChild, vec![])
                }),
                Child::Supervisor(supervisor(
                    "deciders",
                    OnLimit::Escalate,
                    vec![
                        Child::Actor(pods_spec),
                        Child::Actor(order_spec),
                        Child::Actor(mkube_rollouts::answers(rollouts_spec).done()),
                        Child::Actor(mkube_deployments::answers(deployments_spec).done()),
                        Child::Actor(jobs_spec.done()),
                        Child::Actor(generated_spec.done()),
                        Child::Actor(watchdog_spec),
                        Child::Actor(mkube_consistency::answers(consistency_spec).done()),
                    ],
                )),
            ],
        );
        let tree = mkube_supervision::start(root, around.clock.clone());
        tree_cell.send_replace(Some(tree.clone()));
        Self {
            device: around.device.clone(),
            around,
            tree,
            images: images_reader,
            rollouts: rollouts_reader,
            redeploy,
            pushed,
            evict,
            names,
            consistency: report_reader,
            repair,
            reader,
            write,
        }
    }
}
