//! From a few options to a name server that runs.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use mkube_model::neighbours::wall_clock::{SystemClock, WallClock};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::changes::Refusal;
use crate::desk::Desk;
use crate::forwarding::Forwarding;
use crate::listeners::{Bound, Listeners, Service};
use crate::records::{NewForwarder, TransferConfig, private_ranges};
use crate::rest::{self, Rest};
use crate::store::StoreFault;

/// Answers of others that are kept, where nobody says how many.
pub const CACHE: usize = 10_000;

/// What a name server needs to know.
pub struct Options {
    /// The file; made when there is none.
    pub data: PathBuf,
    /// Where the REST surface listens.
    pub rest: SocketAddr,
    /// Where questions are answered from the start. [`Running::listen`] adds more.
    pub dns: Vec<SocketAddr>,
    /// Name of the instance.
    pub instance: String,
    /// Needed to change anything over REST, where it is set.
    pub api_key: Option<String>,
    /// Whether requests of pages in browsers, and those for other names than this machine's, are refused.
    pub only_here: bool,
    /// Answers of others that are kept.
    pub cache: usize,
    /// Brought in once, when the file is new.
    pub seed: Seed,
    /// Stamps and serials.
    pub clock: Arc<dyn WallClock>,
}

impl Options {
    /// With defaults for all but the file and where REST listens.
    pub fn new(data: impl Into<PathBuf>, rest: SocketAddr) -> Self {
        Self {
            data: data.into(),
            rest,
            dns: Vec::new(),
            instance: "mkube".to_owned(),
            api_key: None,
            only_here: false,
            cache: CACHE,
            seed: Seed::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// What the file begins with.
#[derive(Debug, Clone)]
pub struct Seed {
    /// Who is asked about which zone.
    pub forwarders: Vec<NewForwarder>,
    /// Who may copy zones, and so on.
    pub transfer: TransferConfig,
}

impl Default for Seed {
    fn default() -> Self {
        let transfer = TransferConfig { allow_transfer: private_ranges(), notify: Vec::new(), secondary: Vec::new() };
        Self { forwarders: Vec::new(), transfer }
    }
}

/// Why a name server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    /// An address cannot be listened on, and waiting would not change that.
    #[error("the name server cannot listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Cause in words.
        cause: std::io::Error,
    },
    /// The file.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// What the file is to begin with cannot be.
    #[error("the configuration: {0}")]
    Seed(String),
}

/// Starts name servers.
pub struct NameServer;

/// A name server that runs. Dropping it ends it at once; what was acknowledged is on the disk.
pub struct Running {
    rest: SocketAddr,
    /// Requests hold it too, on threads that end in their own time.
    desk: Arc<Desk>,
    server: ServerHandle,
    serving: Option<JoinHandle<()>>,
    listeners: Listeners,
    stopping: watch::Sender<bool>,
}

impl NameServer {
    /// Starts one on the present runtime.
    ///
    /// # Errors
    /// Whatever is in the way, named. An address that does not exist yet is not: it is listened on as soon as it does.
    pub async fn start(options: Options) -> Result<Running, StartFault> {
        let refused = |address| move |cause| StartFault::Listen { address, cause };
        let listener = TcpListener::bind(options.rest).map_err(refused(options.rest))?;
        let rest_address = listener.local_addr().map_err(refused(options.rest))?;
        let desk = Arc::new(Desk::open(&options.data, options.clock).await?);
        seed(&desk, options.seed).await?;
        let forwarding = Arc::new(Forwarding::new(options.cache));
        let listeners = Listeners::new(Arc::new(Service::new(desk.index(), forwarding.clone())));
        for address in options.dns {
            match listeners.listen(address).await {
                Bound::Now(_) => {}
                Bound::Later(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
                    tracing::warn!(%address, "this address is not there yet; names are answered there as soon as it is");
                }
                Bound::Later(cause) => {
                    listeners.stop().await;
                    return Err(StartFault::Listen { address, cause });
                }
            }
        }
        let (stopping, told) = watch::channel(false);
        let rest = Rest {
            desk: desk.clone(),
            forwarding,
            api_key: options.api_key,
            instance: options.instance,
            only_here: options.only_here,
            started: Instant::now(),
            watchers: Rest::room_for_watchers(),
            stopping: told,
        };
        let (server, handle) = rest::serve(listener, rest).map_err(refused(rest_address))?;
        let serving = tokio::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the REST server of the name server ended");
            }
        });
        Ok(Running { rest: rest_address, desk, server: handle, serving: Some(serving), listeners, stopping })
    }
}

async fn seed(desk: &Desk, seed: Seed) -> Result<(), StartFault> {
    if desk.read(|file| file.is_seeded()).await.map_err(|fault: StoreFault| StartFault::Store(fault))? {
        return Ok(());
    }
    let done = desk.change(move |change| change.seed(&seed.forwarders, seed.transfer)).await;
    done.map_err(|refusal| match refusal {
        Refusal::Broken(fault) => StartFault::Store(fault),
        other => StartFault::Seed(other.to_string()),
    })
}

impl Running {
    /// Base of the REST surface, such as `http://127.0.0.1:8080`.
    pub fn rest_url(&self) -> String {
        format!("http://{}", self.rest)
    }

    /// Where the REST surface listens.
    pub fn rest_addr(&self) -> SocketAddr {
        self.rest
    }

    /// Where questions are answered, the first of the addresses; none while there is none.
    pub fn dns_addr(&self) -> Option<SocketAddr> {
        self.dns_addrs().into_iter().next()
    }

    /// Everywhere questions are answered.
    pub fn dns_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.addresses()
    }

    /// Answers questions on an address too, as soon as it can be listened on. Twice is once.
    pub async fn listen(&self, address: SocketAddr) -> Bound {
        self.listeners.listen(address).await
    }

    /// Answers there no more; `address` as it was given to [`Self::listen`]. The port is free when this returns.
    pub async fn unlisten(&self, address: SocketAddr) {
        self.listeners.unlisten(address).await;
    }

    /// Lets requests in flight end, then stops; the file is closed when this returns.
    pub async fn stop(mut self) {
        // Watchers would hold the server up for as long as they may.
        let _ = self.stopping.send(true);
        self.listeners.stop().await;
        self.server.stop(true).await;
        if let Some(serving) = self.serving.take() {
            // A server that panicked has nothing more to end.
            let _ = serving.await;
        }
        self.desk.close().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stopping.send(true);
        if self.serving.take().is_some() {
            // Told is enough: its task goes on until it has ended.
            drop(self.server.stop(false));
        }
    }
}
