//! Where questions come in: datagrams and connections of an address, which may come and go while the server runs.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::answers::{Ask, Outcome, answer};
use crate::forwarding::{Forwarding, receive_framed, send_framed};
use crate::index::{Index, Owner};
use crate::passing_on::{add, pass_on};
use crate::question::{Question, code};
use crate::reply::{Flags, Transport, only};
use crate::transfer::Messages;

/// Connections at once, of all addresses together.
const CONNECTIONS: usize = 1000;
/// How long a connection may take for one message, either way.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an address that cannot be listened on is left alone.
const AGAIN: Duration = Duration::from_millis(500);
/// Pause after a socket failed, such as for want of file handles.
const BREATH: Duration = Duration::from_millis(20);
/// Tries for a port that is free for both, where the kernel chooses.
const PORTS: usize = 32;
/// Most threads that share the datagrams of one address.
const SHARES: usize = 4;
/// A code that says: not our zone.
const NOTAUTH: u16 = 9;

/// What came of the wish to listen on an address.
#[derive(Debug)]
pub enum Bound {
    /// It is listened on; where, in case the port was the kernel's to choose.
    Now(SocketAddr),
    /// Not yet, and why; it is tried again until it works or is not wanted any more.
    Later(io::Error),
}

/// What every listener needs.
pub struct Service {
    /// The picture.
    pub index: Arc<ArcSwap<Index>>,
    /// Whoever asks others.
    pub forwarding: Arc<Forwarding>,
    connections: Arc<Semaphore>,
}

impl Service {
    /// With nobody connected.
    pub fn new(index: Arc<ArcSwap<Index>>, forwarding: Arc<Forwarding>) -> Self {
        Self { index, forwarding, connections: Arc::new(Semaphore::new(CONNECTIONS)) }
    }
}

/// A task that ends with its owner.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Held {
    actual: Arc<Mutex<Option<SocketAddr>>>,
    stop: oneshot::Sender<()>,
    task: Task,
}

/// All addresses that are listened on.
pub struct Listeners {
    service: Arc<Service>,
    held: Mutex<BTreeMap<SocketAddr, Held>>,
}

impl Listeners {
    /// None yet.
    pub fn new(service: Arc<Service>) -> Self {
        Self { service, held: Mutex::default() }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeMap<SocketAddr, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens on an address, now or as soon as it can be. Twice is once.
    pub async fn listen(&self, address: SocketAddr) -> Bound {
        if let Some(held) = self.held().get(&address) {
            let actual = *held.actual.lock().unwrap_or_else(PoisonError::into_inner);
            return actual.map_or_else(|| Bound::Later(io::ErrorKind::AddrNotAvailable.into()), Bound::Now);
        }
        let tried = bind(address).await;
        let actual = Arc::new(Mutex::new(tried.as_ref().ok().map(|sockets| sockets.address)));
        let (service, told) = (self.service.clone(), actual.clone());
        let (sockets, bound) = match tried {
            Ok(sockets) => {
                let at = sockets.address;
                (Some(sockets), Bound::Now(at))
            }
            Err(error) => (None, Bound::Later(error)),
        };
        let (stop, mut stopped) = oneshot::channel();
        let task = Task(tokio::spawn(async move {
            let sockets = match sockets {
                Some(sockets) => sockets,
                None => tokio::select! {
                    biased;
                    _ = &mut stopped => return,
                    sockets = until_bound(address) => sockets,
                },
            };
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(sockets.address);
            serve(sockets, service, stopped).await;
        }));
        self.held().insert(address, Held { actual, stop, task });
        bound
    }

    /// Listens there no more; `address` as it was given to [`Self::listen`].
    pub async fn unlisten(&self, address: SocketAddr) {
        let held = self.held().remove(&address);
        if let Some(held) = held {
            ended(held).await;
        }
    }

    /// Where it listens now.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let held = self.held();
        held.values().filter_map(|held| *held.actual.lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// Ends all of it; when this returns the sockets are closed.
    pub async fn stop(&self) {
        let all = std::mem::take(&mut *self.held());
        for held in all.into_values() {
            ended(held).await;
        }
    }
}

async fn ended(held: Held) {
    let Held { stop, mut task, .. } = held;
    // A task that is gone needs no telling.
    let _ = stop.send(());
    let _ = (&mut task.0).await;
}

/// The sockets of an address.
struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
    address: SocketAddr,
}

async fn bind(address: SocketAddr) -> io::Result<Sockets> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..if address.port() == 0 { PORTS } else { 1 } {
        let udp = UdpSocket::bind(address).await?;
        let actual = udp.local_addr()?;
        match TcpListener::bind(actual).await {
            Ok(tcp) => return Ok(Sockets { udp, tcp, address: actual }),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn until_bound(address: SocketAddr) -> Sockets {
    loop {
        sleep(AGAIN).await;
        match bind(address).await {
            Ok(sockets) => {
                tracing::info!(%address, "names are answered here now");
                return sockets;
            }
            Err(error) => tracing::debug!(%address, %error, "cannot listen yet"),
        }
    }
}

/// Serves until it is told to stop; when it returns the sockets are closed.
async fn serve(sockets: Sockets, service: Arc<Service>, mut stopped: oneshot::Receiver<()>) {
    let mut tasks = JoinSet::new();
    let udp = Arc::new(sockets.udp);
    let shares = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(SHARES));
    for _ in 0..shares {
        tasks.spawn(datagrams(udp.clone(), service.clone()));
    }
    tasks.spawn(connections(sockets.tcp, service));
    tokio::select! {
        biased;
        _ = &mut stopped => {}
        // They do not end by themselves.
        _ = tasks.join_next() => {}
    }
    tasks.shutdown().await;
    // An answer that is just being sent, which takes no time, holds it too.
    while Arc::strong_count(&udp) > 1 {
        tokio::task::yield_now().await;
    }
}

async fn datagrams(socket: Arc<UdpSocket>, service: Arc<Service>) {
    let mut packet = [0; 4096];
    let mut reply = Vec::with_capacity(4096);
    let mut asking = JoinSet::new();
    loop {
        let (length, from) = match socket.recv_from(&mut packet).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "a datagram was not received");
                sleep(BREATH).await;
                continue;
            }
        };
        while asking.try_join_next().is_some() {}
        let packet = &packet[..length];
        let outcome = answer(&service.index.load(), packet, Transport::Udp, &mut reply);
        match outcome {
            Outcome::Silence | Outcome::Transfer(_) => continue,
            Outcome::Answer => {}
            Outcome::Forward(ask) => {
                if !at_once(&service, packet, &ask, Transport::Udp, &mut reply) {
                    let Some(room) = service.forwarding.room() else {
                        overload(packet, &ask.question, Transport::Udp, &mut reply);
                        send(&socket, &reply, from).await;
                        continue;
                    };
                    // Who waits for others must not keep the address from being given up.
                    let (service, socket, packet) = (service.clone(), Arc::downgrade(&socket), packet.to_vec());
                    let mut reply = std::mem::replace(&mut reply, Vec::with_capacity(4096));
                    asking.spawn(async move {
                        from_others(&service, &packet, &ask, Transport::Udp, &mut reply, room).await;
                        if let Some(socket) = socket.upgrade() {
                            send(&socket, &reply, from).await;
                        }
                    });
                    continue;
                }
            }
        }
        send(&socket, &reply, from).await;
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], to: SocketAddr) {
    if !reply.is_empty()
        && let Err(error) = socket.send_to(reply, to).await
    {
        // Whoever asked asks again.
        tracing::debug!(%to, %error, "an answer was not sent");
    }
}

/// Answers from what others told before; whether that was possible.
fn at_once(service: &Service, packet: &[u8], ask: &Ask, transport: Transport, reply: &mut Vec<u8>) -> bool {
    let known = service.forwarding.known(ask.name.bytes(), ask.question.kind);
    known.is_some_and(|told| {
        if ask.through_aliases {
            add(&ask.question, &told, transport, reply);
        } else {
            pass_on(packet, &ask.question, &told, transport, reply);
        }
        true
    })
}

/// Asks others and makes the answer of what they say. Where aliases of ours lead to somebody who says nothing, the aliases are answered.
async fn from_others(
    service: &Service,
    packet: &[u8],
    ask: &Ask,
    transport: Transport,
    reply: &mut Vec<u8>,
    _room: OwnedSemaphorePermit,
) {
    let servers = match service.index.load().owner_of(ask.name.bytes()) {
        Owner::Others(servers) => Some(servers.clone()),
        Owner::Zone(_) | Owner::Nobody => None,
    };
    let told = match servers {
        Some(servers) => service.forwarding.ask(&servers, ask.name.bytes(), ask.question.kind).await,
        None => None,
    };
    match told {
        Some(told) if ask.through_aliases => add(&ask.question, &told, transport, reply),
        Some(told) => pass_on(packet, &ask.question, &told, transport, reply),
        None if ask.through_aliases => {}
        None => overload(packet, &ask.question, transport, reply),
    }
}

/// Nobody can say at the moment.
fn overload(packet: &[u8], question: &Question, transport: Transport, reply: &mut Vec<u8>) {
    let flags = Flags { authoritative: false, recursion_available: true };
    only(packet, question, transport, flags, code::SERVFAIL, reply);
}

async fn connections(listener: TcpListener, service: Arc<Service>) {
    let mut open = JoinSet::new();
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                sleep(BREATH).await;
                continue;
            }
        };
        while open.try_join_next().is_some() {}
        // One too many is closed at once.
        if let Ok(room) = service.connections.clone().try_acquire_owned() {
            let service = service.clone();
            open.spawn(async move {
                if let Err(error) = connection(stream, from, &service).await {
                    tracing::trace!(%from, %error, "a connection ended");
                }
                drop(room);
            });
        }
    }
}

async fn connection(mut stream: TcpStream, from: SocketAddr, service: &Service) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reply = Vec::new();
    loop {
        let packet = timeout(PATIENCE, receive_framed(&mut stream)).await??;
        let outcome = answer(&service.index.load(), &packet, Transport::Tcp, &mut reply);
        match outcome {
            Outcome::Silence => return Ok(()),
            Outcome::Answer => {}
            Outcome::Transfer(question) => {
                copy(&mut stream, from, service, &packet, &question).await?;
                continue;
            }
            Outcome::Forward(ask) => {
                if !at_once(service, &packet, &ask, Transport::Tcp, &mut reply) {
                    match service.forwarding.room() {
                        Some(room) => {
                            from_others(service, &packet, &ask, Transport::Tcp, &mut reply, room).await;
                        }
                        None => overload(&packet, &ask.question, Transport::Tcp, &mut reply),
                    }
                }
            }
        }
        timeout(PATIENCE, send_framed(&mut stream, &reply)).await??;
    }
}

/// Copies a zone to whoever may have it.
async fn copy(
    stream: &mut TcpStream,
    from: SocketAddr,
    service: &Service,
    packet: &[u8],
    question: &Question,
) -> io::Result<()> {
    let index = service.index.load_full();
    let refused = match index.zones.get(question.name.bytes()) {
        _ if !index.may_copy(from.ip()) => code::REFUSED,
        None => NOTAUTH,
        Some(zone) => {
            for message in Messages::new(packet, question, zone) {
                timeout(PATIENCE, send_framed(stream, &message)).await??;
            }
            return Ok(());
        }
    };
    let mut reply = Vec::new();
    only(packet, question, Transport::Tcp, Flags::default(), refused, &mut reply);
    timeout(PATIENCE, send_framed(stream, &reply)).await?
}
