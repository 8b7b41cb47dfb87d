//! The name server of `mkube dev`, on threads of its own beside the controller: it answers on one address of this machine, and on
//! the gateway of each network whose bridge mkube makes, where the pods ask.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use mkube_messages::ipam::NetworksReader;
use mkube_name_server::{Bound, NameServer, Options, Running, StartFault};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::dns;
use crate::failure::Failure;
use crate::server_thread::ServerThread;

/// The port names are asked at.
const PORT: u16 = 53;

/// A name server that follows the networks.
pub struct NamesBeside {
    /// The thread; its address is that of the REST surface.
    pub server: ServerThread,
    /// Where questions are answered, whatever networks there are.
    pub dns: SocketAddr,
    gateways: watch::Sender<BTreeSet<SocketAddr>>,
}

/// Tells it on which gateways it is to answer too.
pub struct Gateways(watch::Sender<BTreeSet<SocketAddr>>);

impl NamesBeside {
    /// Starts it over its file, and answers questions at `dns`. Its REST surface is at `rest`, or at another port if somebody else
    /// has that one.
    ///
    /// # Errors
    /// An address or the file that others use.
    pub fn start(data: PathBuf, rest: SocketAddr, dns: SocketAddr) -> Result<Self, Failure> {
        let (gateways, wanted) = watch::channel(BTreeSet::new());
        let (told, answers_at) = std::sync::mpsc::channel();
        let start = async move || {
            let options = |rest| Options { dns: vec![dns], only_here: true, ..Options::new(data.clone(), rest) };
            let started = match NameServer::start(options(rest)).await {
                Err(StartFault::Listen { address, cause }) if address == rest && rest.port() != 0 => {
                    tracing::warn!(%address, %cause, "the name server's REST surface gets another port: names are compared anew");
                    NameServer::start(options(SocketAddr::new(rest.ip(), 0))).await
                }
                started => started,
            };
            let server = Arc::new(started.map_err(|fault| {
                dns::failure(fault).hint("is another mkube running? --dns names another address for the name server")
            })?);
            // Nobody listens only when the whole process is ending.
            let _ = told.send(server.dns_addr().unwrap_or(dns));
            let following = tokio::spawn(follow(server.clone(), wanted));
            Ok((server.rest_addr(), (server, following)))
        };
        let end = async |(server, following): (Arc<Running>, JoinHandle<()>)| {
            following.abort();
            // An error means that it was ended.
            let _ = following.await;
            if let Some(server) = Arc::into_inner(server) {
                server.stop().await;
            }
        };
        let server = ServerThread::start("name server", dns::runtime, start, end)?;
        Ok(Self { server, dns: answers_at.recv().unwrap_or(dns), gateways })
    }

    /// For whoever knows the networks.
    pub fn gateways(&self) -> Gateways {
        Gateways(self.gateways.clone())
    }
}

impl Gateways {
    /// Has it answer on the gateways of managed networks, as they come and go; for ever.
    pub async fn follow(self, mut networks: NetworksReader) {
        loop {
            let managed: BTreeSet<SocketAddr> = {
                let view = networks.borrow_and_update();
                let all = view.by_name.values().filter(|network| network.managed);
                all.map(|network| SocketAddr::from((network.gateway, PORT))).collect()
            };
            self.0.send_replace(managed);
            if networks.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Listens where it is wanted and nowhere else.
async fn follow(server: Arc<Running>, mut wanted: watch::Receiver<BTreeSet<SocketAddr>>) {
    let mut present = BTreeSet::new();
    loop {
        let now = wanted.borrow_and_update().clone();
        for gone in present.difference(&now) {
            server.unlisten(*gone).await;
        }
        for new in now.difference(&present) {
            match server.listen(*new).await {
                // The bridge is made when the first pod needs it.
                Bound::Later(error) if error.kind() != std::io::ErrorKind::AddrNotAvailable => {
                    tracing::warn!(address = %new, %error, "pods of this network are not told names: something else listens there; it is tried again");
                }
                Bound::Now(_) | Bound::Later(_) => {}
            }
        }
        present = now;
        if wanted.changed().await.is_err() {
            return;
        }
    }
}
