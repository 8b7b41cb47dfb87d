//! `mkube dev`: host, registry, name server, store and controller in one process on this Linux machine. The controller reaches the host only over
//! loopback HTTP, as it would reach a router.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mkube_desired_store::journal_of;
use mkube_model::kinds::KindTable;
use mkube_model::settings::{self, Overrides, RegistryServerSettings, Settings};
use mkube_routeros_host::{EngineKind, HostOptions, Timings};
use ring::rand::SecureRandom;
use serde_json::json;

use crate::cli::{DevArgs, HostKind};
use crate::compose::Controller;
use crate::failure::{CONFIGURATION, FAILED, Failure, INTERNAL};
use crate::host;
use crate::names_beside::NamesBeside;
use crate::registry;
use crate::run::{Signals, system, until_stopped};
use crate::say::tell;
use crate::serve::{Extras, start_controller};
use crate::{hello_image, kubeconfig, manifests};

/// Release the host imitates.
const RELEASE: &str = "7.23.2";
/// The host's user.
const USER: &str = "mkube";
/// Zone of the network.
const ZONE: &str = "gt.lo";

/// Runs everything until a signal.
pub fn main(args: DevArgs) -> Result<(), Failure> {
    let engine = match args.host {
        HostKind::Simulated => EngineKind::Simulated,
        HostKind::Auto | HostKind::Linux => EngineKind::Linux,
    };
    host::check_permission(engine, "`mkube dev --host simulated`")?;
    if args.clean {
        return clean(&args.data_dir, engine);
    }
    let kinds = KindTable::builtin();
    let mut documents = Vec::new();
    for path in &args.manifest {
        documents.extend(manifests::read(&kinds, path)?);
    }
    let place = Place::make(&args.data_dir)?;
    let password = place.password()?;
    let host = host::beside(HostOptions {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        tls_listen: None,
        data_dir: place.host(),
        engine,
        ros_version: RELEASE.to_owned(),
        user: USER.to_owned(),
        password: password.clone(),
        latency: Duration::ZERO,
        faults: Vec::new(),
        timings: Timings::default(),
    })?;
    let registry = registry::beside(registry_settings(&args, &place)?)?;
    let names = NamesBeside::start(place.0.join("names.redb"), place.names_rest(), args.dns)?;
    place.keep_names_rest(names.server.address)?;
    let settings = settings(
        &args,
        &place,
        Beside { host: host.address, registry: registry.address, names: names.server.address },
        &password,
    )?;
    let image = hello_image::ensure(&place.disk().join("cache"))
        .map_err(|error| Failure::text(FAILED, format!("the hello image cannot be assembled: {error}")))?;
    let ended = system(async {
        let mut signals = Signals::new().map_err(|error| Failure::new(INTERNAL, error))?;
        let extras = Extras {
            manifests: documents,
            allowed_hosts: Some(own_names(args.listen)),
            allow_chaos: args.allow_chaos,
            log_directory: (engine == EngineKind::Linux).then(|| place.host().join("engine/logs")),
            made_here: vec![hello_image::NAME.to_owned()],
            config_file: "the command line of mkube dev".to_owned(),
        };
        let controller = start_controller(&settings, extras).await?;
        // It ends with this thread's system.
        actix_rt::spawn(names.gateways().follow(controller.networks.clone()));
        let config = place.0.join("kubeconfig");
        kubeconfig::write(&config, args.listen)
            .map_err(|error| Failure::text(FAILED, format!("{} cannot be written: {error}", config.display())))?;
        tell(format_args!("mkube {} in {}", crate::compose::VERSION, place.0.display()));
        tell(format_args!("  API         http://{}", args.listen));
        tell(format_args!("  host        http://{}/rest ({})", host.address, engine_words(engine)));
        tell(format_args!("  registry    http://{} (no login; pushes are told to the API)", registry.address));
        tell(format_args!("  names       {} (zone {ZONE}; pods ask the gateway of their network)", names.dns));
        tell(format_args!("  network     gt {}", args.cidr));
        match &image {
            Some(archive) => {
                tell(format_args!(
                    "  image       {} (from this machine's busybox; make run pushes it)",
                    archive.display()
                ));
            }
            None => tell("  image       none: install busybox-static for the example's image"),
        }
        tell(format_args!("  kubeconfig  {}", config.display()));
        tokio::select! {
            () = pods_can_be_created(&controller) => {
                tell(format_args!("ready: kubectl --kubeconfig {} get pods", config.display()));
                until_stopped(&controller.tree, &mut signals).await
            }
            ended = until_stopped(&controller.tree, &mut signals) => ended,
        }
    });
    host.stop();
    registry.stop();
    names.server.stop();
    ended
}

fn engine_words(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Linux => "real containers",
        EngineKind::Simulated => "simulated containers",
    }
}

/// The store was read and the device too.
async fn pods_can_be_created(controller: &Controller) {
    let mut objects = controller.objects.notices();
    let mut device = controller.device.clone();
    loop {
        if controller.objects.view().loaded && device.borrow_and_update().complete {
            return;
        }
        tokio::select! {
            changed = objects.changed() => if changed.is_err() { return },
            changed = device.changed() => if changed.is_err() { return },
        }
    }
}

/// Names under which this API may be addressed, with and without the port.
fn own_names(listen: SocketAddr) -> Vec<String> {
    let port = listen.port();
    let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()];
    let own = SocketAddr::new(listen.ip(), 0).to_string();
    let own = own.trim_end_matches(":0").to_owned();
    if !hosts.contains(&own) {
        hosts.push(own);
    }
    hosts.iter().flat_map(|host| [host.clone(), format!("{host}:{port}")]).collect()
}

/// Names of the registry in references; the first is its own, and one it can be reached by.
fn local_names(registry: SocketAddr) -> Vec<String> {
    let mut names = Vec::new();
    if registry.ip().is_loopback() || registry.ip().is_unspecified() {
        names.extend(["127.0.0.1", "localhost"].map(|name| format!("{name}:{}", registry.port())));
    }
    let own = registry.to_string();
    if !names.contains(&own) {
        names.insert(if registry.ip().is_unspecified() { names.len() } else { 0 }, own);
    }
    names
}

fn clean(data_dir: &Path, engine: EngineKind) -> Result<(), Failure> {
    if !data_dir.exists() {
        tell(format_args!("nothing to clean: {} does not exist", data_dir.display()));
        return Ok(());
    }
    if !data_dir.join("host").exists() && !data_dir.join("state.redb").exists() {
        let text = format!("{} is not a directory of mkube dev, it is left alone", data_dir.display());
        return Err(Failure::text(FAILED, text));
    }
    host::clean(&data_dir.join("host"), engine)?;
    let journal = journal_of(Path::new("state.redb"));
    let own = ["state.redb", "names.redb", "names-address", "kubeconfig", "host-password", "configmaps", "registry"];
    for own in own.map(Path::new).into_iter().chain([journal.as_path()]) {
        let path = data_dir.join(own);
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        if let Err(error) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(Failure::text(FAILED, format!("{}: {error}", path.display())));
        }
    }
    // Whatever else lies there is not ours.
    let _ = std::fs::remove_dir(data_dir);
    tell(format_args!("cleaned {}", data_dir.display()));
    Ok(())
}

/// The data directory.
struct Place(PathBuf);

impl Place {
    fn make(directory: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::text(FAILED, format!("{}: {error}", directory.display()));
        std::fs::create_dir_all(directory).map_err(failed)?;
        Ok(Self(directory.canonicalize().map_err(failed)?))
    }

    fn host(&self) -> PathBuf {
        self.0.join("host")
    }

    /// What the host calls `disk1`.
    fn disk(&self) -> PathBuf {
        self.host().join("disk1")
    }

    /// Where the name server's REST surface was the last time, or any port of this machine. Names were written to a server at an
    /// address: at another one it would be another server.
    fn names_rest(&self) -> SocketAddr {
        let kept = std::fs::read_to_string(self.0.join("names-address")).unwrap_or_default();
        let kept = kept.trim().parse().ok().filter(|address: &SocketAddr| address.ip().is_loopback());
        kept.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    fn keep_names_rest(&self, address: SocketAddr) -> Result<(), Failure> {
        let path = self.0.join("names-address");
        std::fs::write(&path, address.to_string())
            .map_err(|error| Failure::text(FAILED, format!("{}: {error}", path.display())))
    }

    /// The host's password: random, made once, readable by its owner only.
    fn password(&self) -> Result<String, Failure> {
        let path = self.0.join("host-password");
        let failed = |error: std::io::Error| Failure::text(FAILED, format!("{}: {error}", path.display()));
        match std::fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut bytes = [0u8; 16];
        ring::rand::SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| Failure::text(INTERNAL, "the machine gives no random numbers"))?;
        let password: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let options = std::fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(&path);
        options.and_then(|mut file| file.write_all(password.as_bytes())).map_err(failed)?;
        Ok(password)
    }
}

/// The registry inside: plain HTTP, no login, told to the API.
fn registry_settings(args: &DevArgs, place: &Place) -> Result<RegistryServerSettings, Failure> {
    if !args.registry.ip().is_loopback() {
        tracing::warn!(registry = %args.registry, "the registry asks for no login and can be reached from other machines");
    }
    let mut api = args.listen;
    if api.ip().is_unspecified() {
        api.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let flags = Overrides::none()
        .set("listenAddr", "--registry", Some(args.registry.to_string()))
        .set("storePath", "--data-dir", Some(place.0.join("registry").display().to_string()))
        .set("notifyURL", "--listen", Some(format!("http://{api}/api/v1/registry/push-notify")))
        .set("nats.url", "--nats", args.nats.clone());
    // No environment, no file: what the machine's own registry is told is not meant for this one.
    let checked = settings::check_registry(serde_json::Value::Null, &|_| None, flags);
    checked.map(|(settings, _)| settings).map_err(|problems| {
        let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Failure::text(CONFIGURATION, list.join("; "))
    })
}

/// Where the servers beside the controller listen.
struct Beside {
    host: SocketAddr,
    registry: SocketAddr,
    names: SocketAddr,
}

/// The configuration a router with such a disk and network would have.
fn settings(args: &DevArgs, place: &Place, beside: Beside, password: &str) -> Result<Settings, Failure> {
    let Beside { host, registry, names } = beside;
    let gateway = args.cidr.hosts().next().map(|address| address.to_string()).unwrap_or_default();
    let text = |path: PathBuf| path.display().to_string();
    let file = json!({
        "nodeName": "mkube",
        "standalone": true,
        "routeros": {"restUrl": format!("http://{host}/rest"), "user": USER, "password": password},
        "networks": [{
            "name": "gt", "cidr": args.cidr, "gateway": gateway, "bridge": "bridge-gt", "managed": true,
            "dns": {"zone": ZONE, "server": gateway, "endpoint": format!("http://{names}")},
        }],
        "storage": {
            "basePath": "/disk1/images",
            "tarballCache": text(place.disk().join("cache")),
            "persistentMounts": [{"containerPath": text(place.disk()), "hostPath": "disk1"}],
        },
        // Its own registry, and no other, is spoken to without TLS.
        "registry": {"localAddresses": local_names(registry)},
        "images": {"registries": [{"host": local_names(registry).first(), "plainHTTP": true}]},
        "lifecycle": {"bootManifestPath": text(place.0.join("boot-order.yaml"))},
        "nats": {"url": args.nats.clone().unwrap_or_default()},
        "store": {"kind": "embedded", "path": text(place.0.join("state.redb"))},
        "api": {"listen": args.listen.to_string()},
    });
    let checked = settings::check(file, &|_| None, Overrides::none());
    checked.map(|(settings, _)| settings).map_err(|problems| {
        let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Failure::text(CONFIGURATION, list.join("; ")).hint("--cidr must be a network such as 10.90.0.0/24")
    })
}
