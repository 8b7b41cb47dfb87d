//! From settings to a registry that runs: everything is opened, wired and listening, or the first fault is told.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_server::ServerHandle;
use actix_web::App;
use mkube_model::neighbours::bus::Bus;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_model::settings::RegistryServerSettings;

use crate::access::{AccessControl, AccessFault};
use crate::certificates::{CertificateFault, CertificateSource};
use crate::fault::Fault;
use crate::notices::{NoticeFault, NoticePatience, NoticeTarget, Notices, OnBus, Webhook};
use crate::parts::{ContentSource, Limits, RegistryParts};
use crate::routes;
use crate::serve::{Rounds, look_after, serve};
use crate::store::{Store, StoreOptions};
use crate::tls::{LOOK_AGAIN, TlsIdentity};
use crate::upstream::Upstreams;
use crate::watcher::Watcher;
use crate::wire::{self, Encryption, Listening};

/// Always in certificates made here: this machine's names, and the one the Go installer gave.
const OWN_NAMES: [&str; 4] = ["localhost", "127.0.0.1", "::1", "registry.gt.lo"];
/// Longest pause between two looks for uploads nobody goes on with.
const UPLOADS_ROUND: Duration = Duration::from_secs(600);

/// Why a registry does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    /// The address cannot be listened on.
    #[error("the registry cannot listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Cause in words.
        cause: std::io::Error,
    },
    /// The directory cannot be used.
    #[error("{}: {fault}", path.display())]
    Store {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        fault: Fault,
    },
    /// Certificate or key.
    #[error("certificate: {0}")]
    Certificate(#[from] CertificateFault),
    /// Users and tokens.
    #[error(transparent)]
    Access(#[from] AccessFault),
    /// Notices.
    #[error(transparent)]
    Notices(#[from] NoticeFault),
    /// What the configuration says cannot be done.
    #[error("{0}")]
    Settings(String),
}

/// A running registry. Dropping it ends it at once; what was acknowledged is on the disk.
pub struct RunningRegistry {
    address: SocketAddr,
    management: Option<SocketAddr>,
    encryption: &'static str,
    authority: Option<PathBuf>,
    servers: Vec<ServerHandle>,
    tasks: Tasks,
    notices: Arc<Notices>,
}

impl RunningRegistry {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its management port is.
    pub fn management(&self) -> Option<SocketAddr> {
        self.management
    }

    /// `http`, `https`, or `http and https`.
    pub fn encryption(&self) -> &'static str {
        self.encryption
    }

    /// The file clients trust, where it is ours.
    pub fn authority(&self) -> Option<&Path> {
        self.authority.as_deref()
    }

    /// Pushes nobody was told of so far.
    pub fn untold(&self) -> usize {
        self.notices.waiting()
    }

    /// Lets requests in flight end, then stops.
    pub async fn stop(self) {
        for server in &self.servers {
            server.stop(true).await;
        }
    }
}

impl Drop for RunningRegistry {
    fn drop(&mut self) {
        for server in &self.servers {
            drop(server.stop(false));
        }
    }
}

/// Work that goes on by itself; it ends with its owner, also when a start comes to nothing.
#[derive(Default)]
struct Tasks(Vec<tokio::task::JoinHandle<()>>);

impl Tasks {
    fn go(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.push(tokio::spawn(work));
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// Starts a registry on the present runtime. Pushes are told on the bus too, if there is one.
///
/// # Errors
/// Whatever is in the way, named.
pub async fn start(
    settings: &RegistryServerSettings,
    clock: Arc<dyn WallClock>,
    bus: Option<Arc<dyn Bus>>,
) -> Result<RunningRegistry, StartFault> {
    let listener = listen(settings.listen_addr)?;
    let address = listener.local_addr().map_err(|cause| StartFault::Listen { address: settings.listen_addr, cause })?;
    let management = settings.management.listen.map(listen).transpose()?;
    let mut access = AccessControl::new(&settings.access, clock.clone())?;
    if address.ip().is_loopback() {
        access = access.only_called(names(settings, address));
    }
    let access = Arc::new(access);
    let source = certificate_source(settings, address)?;
    let mut tasks = Tasks::default();
    let identity = match source.clone() {
        None => None,
        Some(source) => {
            let identity = TlsIdentity::open(source, clock)?;
            tasks.go(identity.clone().keep_fresh(LOOK_AGAIN));
            Some(identity)
        }
    };
    let store_fault = |fault| StartFault::Store { path: settings.store_path.clone(), fault };
    let store = Store::open(store_options(settings)).await.map_err(store_fault)?;
    let rounds = Rounds {
        uploads: (settings.storage.upload_expiry / 4).clamp(Duration::from_secs(1), UPLOADS_ROUND),
        garbage: settings.storage.gc_interval,
    };
    tasks.go(look_after(store.clone(), rounds));
    let name = settings.local_addresses.first().cloned().unwrap_or_else(|| address.to_string());
    let targets = targets(settings, bus)?;
    let children = settings.notices.child_manifests;
    let folder = settings.store_path.join("notices");
    let notices = Arc::new(Notices::open(&folder, name, children, targets, NoticePatience::default())?);
    let upstreams = upstreams(settings, &store)?;
    let mut poke = None;
    if let Some(upstreams) = &upstreams {
        let folder = settings.store_path.join("upstream");
        let watcher = Watcher::open(settings, upstreams.clone(), store.clone(), notices.clone(), &folder);
        if let Some(watcher) = watcher.map_err(StartFault::Settings)? {
            poke = Some(watcher.handle());
            tasks.go(watcher.run());
        }
    }
    let parts = RegistryParts {
        access: access.clone(),
        sink: notices.clone(),
        source: upstreams.clone().map(|upstreams| Arc::new(upstreams) as Arc<dyn ContentSource>),
        ..RegistryParts::new(store)
    };
    let (encryption, words) = encryption(settings, identity.as_ref())?;
    let mut running = RunningRegistry {
        address,
        management: management.as_ref().and_then(|listener| listener.local_addr().ok()),
        encryption: words,
        authority: source.as_ref().and_then(authority),
        servers: Vec::new(),
        tasks,
        notices,
    };
    let refused = |cause| StartFault::Listen { address, cause };
    let listening = vec![Listening { listener, encryption }];
    let (server, handle) = serve(listening, parts, routes::beside(access, upstreams)).map_err(refused)?;
    running.go(server, handle);
    if let Some(listener) = management {
        let configure = routes::management(poke);
        let limits = Limits { workers: 1, connections: 64, ..Limits::default() };
        let server =
            wire::serve(vec![Listening::plain(listener)], limits, move || App::new().configure(configure.clone()));
        let server = server.map_err(refused)?;
        let handle = server.handle();
        running.go(server, handle);
    }
    Ok(running)
}

impl RunningRegistry {
    fn go(&mut self, server: actix_server::Server, handle: ServerHandle) {
        self.servers.push(handle);
        self.tasks.go(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "a server of the registry ended");
            }
        });
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartFault> {
    TcpListener::bind(address).map_err(|cause| StartFault::Listen { address, cause })
}

fn store_options(settings: &RegistryServerSettings) -> StoreOptions {
    let storage = &settings.storage;
    StoreOptions {
        quota: (storage.quota > 0).then_some(storage.quota),
        keep_free: storage.free_reserve,
        upload_life: storage.upload_expiry,
        grace: storage.gc_grace,
        ..StoreOptions::new(&settings.store_path)
    }
}

fn targets(
    settings: &RegistryServerSettings,
    bus: Option<Arc<dyn Bus>>,
) -> Result<Vec<Arc<dyn NoticeTarget>>, StartFault> {
    let secret = &settings.notices.secret;
    let mut targets: Vec<Arc<dyn NoticeTarget>> = Vec::new();
    if !settings.notify_url.is_empty() {
        targets.push(Arc::new(Webhook::new(&settings.notify_url, secret).map_err(StartFault::Settings)?));
    }
    targets.extend(bus.map(|bus| Arc::new(OnBus::new(bus, secret)) as Arc<dyn NoticeTarget>));
    Ok(targets)
}

/// None where there is nobody to ask.
fn upstreams(settings: &RegistryServerSettings, store: &Store) -> Result<Option<Upstreams>, StartFault> {
    if settings.upstream_registries.is_empty() && settings.watch_images.is_empty() {
        return Ok(None);
    }
    let folder = settings.store_path.join("upstream");
    Upstreams::open(settings, store.clone(), &folder).map(Some).map_err(StartFault::Settings)
}

fn encryption(
    settings: &RegistryServerSettings,
    identity: Option<&Arc<TlsIdentity>>,
) -> Result<(Encryption, &'static str), StartFault> {
    let Some(identity) = identity else { return Ok((Encryption::Off, "http")) };
    let config = identity.server_config().map_err(|error| StartFault::Settings(format!("TLS: {error}")))?;
    Ok(match settings.tls.required {
        true => (Encryption::Required(config), "https"),
        false => (Encryption::Offered(config), "http and https"),
    })
}

fn authority(source: &CertificateSource) -> Option<PathBuf> {
    match source {
        CertificateSource::Own { directory, .. } => Some(directory.join("ca.crt")).filter(|path| path.exists()),
        CertificateSource::Given { .. } => None,
    }
}

/// Files that are named win over a directory of our own, unless they are the ones in it. A pair that is missing as a whole means plain
/// HTTP, as it did for the Go registry.
fn certificate_source(
    settings: &RegistryServerSettings,
    address: SocketAddr,
) -> Result<Option<CertificateSource>, StartFault> {
    let named = settings.tls_cert_file.clone().zip(settings.tls_key_file.clone());
    if let Some(directory) = &settings.tls.directory {
        let inside = (directory.join("tls.crt"), directory.join("tls.key"));
        if named.as_ref().is_none_or(|named| *named == inside) {
            return Ok(Some(CertificateSource::Own { directory: directory.clone(), names: names(settings, address) }));
        }
    }
    if let Some((certificate, key)) = named.filter(|(certificate, key)| certificate.exists() || key.exists()) {
        return Ok(Some(CertificateSource::Given { certificate, key }));
    }
    if settings.tls.required {
        let text = "tls.required is true, but there is no certificate; set tls.directory to have one made";
        return Err(StartFault::Settings(text.to_owned()));
    }
    if !address.ip().is_loopback() {
        tracing::warn!(
            "there is no certificate: plain HTTP only, passwords and images can be read on the way; set tls.directory to have one made"
        );
    }
    Ok(None)
}

/// Every name clients may use.
fn names(settings: &RegistryServerSettings, address: SocketAddr) -> Vec<String> {
    let mut names: Vec<String> = OWN_NAMES.map(str::to_owned).to_vec();
    let bare = |host: &str| {
        let host = crate::upstream::place::bare(host);
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        host.to_owned()
    };
    let listening = (!address.ip().is_unspecified()).then(|| address.ip().to_string());
    let told = settings.local_addresses.iter().map(|host| bare(host));
    for name in told.chain(settings.tls.names.iter().cloned()).chain(listening) {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
pub(crate) mod tests;
