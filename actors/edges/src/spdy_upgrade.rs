//! Connections that become SPDY/3.1: bytes both ways, bounded in number, kept alive, and ended when either side has had enough.

use std::cell::Cell;
use std::convert::Infallible;

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::StreamExt;
use mkube_model::neighbours::pod_ports::Tunnel;
use mkube_model::status::Status;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use crate::parts::HttpParts;
use crate::streams::{Client, FAREWELL, Place, WAITING, write};

/// How the protocol is called where a client asks for it.
pub const NAME: &str = "SPDY/3.1";
/// The header in which clients say what they would speak in its streams, and are told what is spoken.
pub const PROTOCOLS: &str = "x-stream-protocol-version";

/// A sign of life. It is not compressed, so that it fits between any two frames; the client sends it back.
const PING: [u8; 12] = [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 2];

/// Refuses a request whose connection cannot be upgraded: [`Wire`](crate::wire::Wire) looks at the first of a connection only, and
/// says so by another header.
pub fn check(request: &HttpRequest) -> Result<(), Status> {
    if request.headers().get_all("upgrade").any(|value| value == "websocket") {
        return Ok(());
    }
    Err(Status::bad_request("SPDY/3.1 is spoken from the first request of a connection on, or not at all"))
}

/// Upgrades a connection whose protocol was chosen. `serve` works on it for as long as its client is there; it notices by the ends
/// of the tunnel.
pub fn upgrade<Served: Future<Output = ()> + 'static>(
    payload: web::Payload,
    parts: &HttpParts,
    protocol: &'static str,
    serve: impl FnOnce(Tunnel) -> Served,
) -> Result<HttpResponse, Status> {
    let place = Place::take(&parts.figures)?;
    let (to_us, incoming) = mpsc::channel(WAITING);
    let (outgoing, from_us) = mpsc::channel(WAITING);
    let (to_client, body) = mpsc::channel(1);
    let served = serve(Tunnel { incoming, outgoing });
    actix_rt::spawn(async move {
        let _place = place;
        tokio::join!(pump(payload, to_client, to_us, from_us), served);
    });
    let mut response = HttpResponse::SwitchingProtocols();
    response.upgrade(NAME).insert_header((PROTOCOLS, protocol));
    Ok(response.streaming(ReceiverStream::new(body)))
}

/// Passes bytes on until one side has gone.
async fn pump(
    mut payload: web::Payload,
    to_client: mpsc::Sender<Result<Bytes, Infallible>>,
    to_us: mpsc::Sender<Bytes>,
    from_us: mpsc::Receiver<Bytes>,
) {
    let heard = Cell::new(Instant::now());
    let reading = async {
        while let Some(Ok(bytes)) = payload.next().await {
            if !bytes.chunks(PING.len()).all(is_ping) {
                heard.set(Instant::now());
            }
            // Who serves it may have ended before its client has.
            let _ = to_us.send(bytes).await;
        }
    };
    tokio::pin!(reading);
    let done = tokio::select! {
        biased;
        () = &mut reading => false,
        done = write(to_client.clone(), from_us, &heard) => done,
    };
    if done {
        // It goes when it has read the end; were the connection closed before, it might lose that.
        let _ = tokio::time::timeout(FAREWELL, reading).await;
    }
}

impl Client for mpsc::Sender<Result<Bytes, Infallible>> {
    async fn send(&mut self, bytes: Bytes) -> bool {
        mpsc::Sender::send(self, Ok(bytes)).await.is_ok()
    }

    async fn sign(&mut self) -> bool {
        Client::send(self, Bytes::from_static(&PING)).await
    }
}

/// Whether this is a sign of life, whoever's: those are no conversation.
fn is_ping(frame: &[u8]) -> bool {
    frame.len() == PING.len() && frame.starts_with(&PING[..8])
}
