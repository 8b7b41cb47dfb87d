//! Connections that were upgraded: which are, and WebSockets as tunnels of messages, bounded in number, kept alive, and ended when
//! either side has had enough.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, Session};
use bytes::Bytes;
use mkube_model::neighbours::container_exec::ContainerExec;
use mkube_model::neighbours::pod_ports::{PodPorts, Tunnel};
use mkube_model::neighbours::spdy_streams::SpdyStreams;
use mkube_model::status::Status;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::parts::{Figures, HttpParts};
use crate::spdy_upgrade;

/// Upgraded connections at the same time.
const STREAMS: usize = 128;
/// Bytes of a message.
const MESSAGE: usize = 1 << 20;
/// Messages that wait in either direction.
pub const WAITING: usize = 16;
/// Pause between two signs of life. kubectl gives up after a minute without one.
pub const SIGN: Duration = Duration::from_secs(15);
/// How long nothing may be said in either direction, as with a kubelet.
const IDLE: Duration = Duration::from_secs(4 * 3600);
/// How long a client may take to say farewell.
pub const FAREWELL: Duration = Duration::from_secs(2);

/// Who serves what an upgraded connection is for.
#[derive(Clone)]
pub struct HttpStreams {
    /// Runs commands in containers.
    pub exec: Arc<dyn ContainerExec>,
    /// Carries connections to ports of pods.
    pub ports: Arc<dyn PodPorts>,
    /// Carries the streams of clients that speak SPDY.
    pub spdy: Arc<dyn SpdyStreams>,
}

/// One of the bounded number; gives its place back when it ends.
pub struct Place(Arc<Figures>);

impl Place {
    /// Refuses when there are as many as there may be.
    pub fn take(figures: &Arc<Figures>) -> Result<Self, Status> {
        let before = figures.streams.fetch_add(1, Ordering::Relaxed);
        let place = Self(figures.clone());
        if before >= STREAMS { Err(Status::busy(1)) } else { Ok(place) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection becomes, and the protocol that is spoken on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    /// Messages.
    WebSocket(&'static str),
    /// Streams of SPDY/3.1, as kubectl before 1.30 wants it (for ports before 1.31), and whoever is refused a WebSocket.
    Spdy(&'static str),
}

/// Refuses what is no upgrade to something that is spoken here: one of these protocols over a WebSocket, or this one over SPDY. The
/// protocol is chosen by the client's own order.
pub fn protocol(request: &HttpRequest, spoken: &[&'static str], over_spdy: &'static str) -> Result<Upgrade, Status> {
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let offered = |name: &str| -> Vec<&str> {
        let values = request.headers().get_all(name).filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(str::trim).collect()
    };
    let unspoken = |offered: Vec<&str>, spoken: &[&str]| {
        Status::bad_request(format!("none of the protocols {offered:?} is spoken here, but {}", spoken.join(" and ")))
    };
    let upgrade = text("upgrade");
    if upgrade.is_empty() {
        return Err(Status::bad_request("Upgrade request required"));
    }
    if upgrade.eq_ignore_ascii_case(spdy_upgrade::NAME) {
        spdy_upgrade::check(request)?;
        let offered = offered(spdy_upgrade::PROTOCOLS);
        let speaks = offered.contains(&over_spdy);
        return if speaks { Ok(Upgrade::Spdy(over_spdy)) } else { Err(unspoken(offered, &[over_spdy])) };
    }
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return Err(Status::bad_request(format!("{upgrade} is not spoken here, but WebSocket and SPDY/3.1")));
    }
    let offered = offered("sec-websocket-protocol");
    let chosen = offered.iter().find_map(|offered| spoken.iter().find(|spoken| *spoken == offered)).copied();
    let chosen = chosen.ok_or_else(|| unspoken(offered, spoken))?;
    if request.method() != Method::GET {
        return Err(Status::method_not_allowed("GET"));
    }
    Ok(Upgrade::WebSocket(chosen))
}

/// Upgrades a connection whose [`protocol`] was chosen. `serve` works on it for as long as its client is there; it notices by the
/// ends of the tunnel.
pub fn upgrade<Served: Future<Output = ()> + 'static>(
    request: &HttpRequest,
    payload: web::Payload,
    parts: &HttpParts,
    protocol: &'static str,
    serve: impl FnOnce(Tunnel) -> Served,
) -> Result<HttpResponse, Status> {
    let place = Place::take(&parts.figures)?;
    let refused = |error: actix_web::Error| Status::bad_request(format!("the connection cannot be upgraded: {error}"));
    let (response, session, messages) =
        actix_ws::handle_with_protocols(request, payload, &[protocol]).map_err(refused)?;
    let messages = messages.max_frame_size(MESSAGE).aggregate_continuations().max_continuation_size(MESSAGE);
    let (to_us, incoming) = mpsc::channel(WAITING);
    let (outgoing, from_us) = mpsc::channel(WAITING);
    let served = serve(Tunnel { incoming, outgoing });
    actix_rt::spawn(async move {
        let _place = place;
        tokio::join!(pump(session, messages, to_us, from_us), served);
    });
    Ok(response)
}

/// Passes messages on until one side has gone.
async fn pump(
    session: Session,
    mut messages: AggregatedMessageStream,
    to_us: mpsc::Sender<Bytes>,
    from_us: mpsc::Receiver<Bytes>,
) {
    let heard = Cell::new(Instant::now());
    let reading = async {
        let mut session = session.clone();
        while let Some(Ok(message)) = messages.recv().await {
            let bytes = match message {
                AggregatedMessage::Binary(bytes) => bytes,
                AggregatedMessage::Text(text) => text.into_bytes(),
                AggregatedMessage::Ping(bytes) => {
                    if session.pong(&bytes).await.is_err() {
                        return;
                    }
                    continue;
                }
                AggregatedMessage::Pong(_) => continue,
                AggregatedMessage::Close(_) => return,
            };
            heard.set(Instant::now());
            // Who serves it may have ended before its client has.
            let _ = to_us.send(bytes).await;
        }
    };
    let writing = write(session.clone(), from_us, &heard);
    let served = {
        tokio::pin!(reading);
        tokio::select! {
            biased;
            () = &mut reading => false,
            done = writing => {
                if done {
                    let farewell = CloseReason { code: CloseCode::Normal, description: None };
                    let farewell = async {
                        if session.clone().close(Some(farewell)).await.is_ok() {
                            reading.await;
                        }
                    };
                    let _ = tokio::time::timeout(FAREWELL, farewell).await;
                }
                done
            }
        }
    };
    if !served {
        // It went first, or nothing was said for too long: it may still read why, and need not.
        let _ = tokio::time::timeout(FAREWELL, session.close(None)).await;
    }
}

/// Where what is sent to a client goes. Each answers whether the client is still there.
pub trait Client {
    /// Something to read.
    async fn send(&mut self, bytes: Bytes) -> bool;
    /// A sign of life.
    async fn sign(&mut self) -> bool;
}

impl Client for Session {
    async fn send(&mut self, bytes: Bytes) -> bool {
        self.binary(bytes).await.is_ok()
    }

    async fn sign(&mut self) -> bool {
        // A pong nobody asked for: what the client asks may wait behind input that nobody takes yet.
        self.ping(b"").await.is_ok() && self.pong(b"").await.is_ok()
    }
}

/// Sends what there is to send, and signs of life; whether everything was sent.
pub async fn write(mut to: impl Client, mut from_us: mpsc::Receiver<Bytes>, heard: &Cell<Instant>) -> bool {
    let mut signs = tokio::time::interval_at(Instant::now() + SIGN, SIGN);
    signs.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut said = Instant::now();
    loop {
        tokio::select! {
            biased;
            bytes = from_us.recv() => {
                let Some(bytes) = bytes else { return true };
                if !to.send(bytes).await {
                    return false;
                }
                said = Instant::now();
            }
            _ = signs.tick() => {
                if !to.sign().await || said.max(heard.get()).elapsed() > IDLE {
                    return false;
                }
            }
        }
    }
}
