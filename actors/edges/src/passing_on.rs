//! What is asked of a pod that another node has: the API of that node is asked the same, and its client gets what comes back.
//!
//! It is passed on once. Which API has a pod is known from objects that anybody may write, so an address is tried and never trusted:
//! it is sent nothing that tells who asks, and what it answers is shown only if it says that it is the node that was meant.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::http::header::HeaderMap;
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use mkube_messages::objects::{ObjectKey, ObjectsView, StoredObject};
use mkube_model::metadata;
use mkube_model::neighbours::node_apis::{BothWays, NodeAnswer, NodeApis, NodeBody, NodeRequest, Pieces, Unanswered};
use mkube_model::status::Status;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::parts::{HttpParts, Target};
use crate::respond;
use crate::spdy_upgrade::PROTOCOLS;
use crate::streams::{FAREWELL, Place, SIGN};

/// Names the node that a request was passed on to. It goes no further.
const PASSED_ON: &str = "x-mkube-passed-on";
/// The pod it is for: another one may have its name by now.
const POD: &str = "x-mkube-pod-uid";
/// Names the node that answers a request which was passed on.
const ANSWERS: &str = "x-mkube-node";

/// What goes along of a request's headers. A word that lets its client in somewhere does not.
const ASKED: [&str; 6] =
    ["accept", "user-agent", "sec-websocket-key", "sec-websocket-version", SOCKET_PROTOCOLS, PROTOCOLS];
const SOCKET_PROTOCOLS: &str = "sec-websocket-protocol";
/// Where clients that can set no headers put such a word: among the protocols.
const BEARER: &str = "base64url.bearer.authorization.k8s.io.";
/// What comes back of an answer's headers.
const ANSWERED: [&str; 7] =
    ["content-type", "warning", "retry-after", "allow", "sec-websocket-accept", SOCKET_PROTOCOLS, PROTOCOLS];
/// Bytes of a refusal to upgrade a connection, and how long they may take after its head.
const REFUSAL: (usize, Duration) = (64 << 10, Duration::from_secs(5));
/// How long the other API may say nothing on an upgraded connection. It gives signs of life, more often than that.
const SILENCE: Duration = SIGN.saturating_mul(4);
/// Bytes read at a time of a connection that is HTTP no more.
const PIECE: usize = 16 << 10;

/// How requests for pods of other nodes are passed on.
#[derive(Clone)]
pub struct HttpPassingOn {
    /// Name of this node.
    pub node: String,
    /// Reaches the others.
    pub apis: Arc<dyn NodeApis>,
}

/// A pod that another node has.
pub struct Elsewhere {
    pod: String,
    uid: String,
    /// Empty while nobody has it.
    node: String,
    /// Where the API of that node listens, as its Node says.
    address: Option<SocketAddr>,
}

impl Elsewhere {
    /// None: it runs here.
    pub fn of(parts: &HttpParts, view: &ObjectsView, target: &Target, object: &StoredObject) -> Option<Self> {
        if parts.objects.is_here(&target.kind.id(), &object.key) {
            return None;
        }
        let pod = object.value();
        let node = target.kind.home.of(&pod).unwrap_or_default();
        Some(Self {
            pod: object.key.name.clone(),
            uid: metadata::uid(&pod).to_owned(),
            node: node.to_owned(),
            address: api_of(parts, view, node),
        })
    }

    /// Where its containers can be asked for.
    pub fn refusal(&self) -> Status {
        let node = if self.node.is_empty() { "that is not known yet" } else { &self.node };
        let its = self.address.map_or_else(String::new, |address| format!(", http://{address}"));
        let pod = &self.pod;
        Status::bad_request(format!("pod {pod} runs on node {node}: ask the API of that node for its containers{its}"))
    }

    fn unanswered(&self, address: SocketAddr, why: &Unanswered) -> Status {
        let Self { pod, node, .. } = self;
        match why {
            Unanswered::Away(why) => {
                let why =
                    format!("pod {pod} runs on node {node}, and its API, http://{address}, cannot be reached: {why}");
                Status::new(503, "ServiceUnavailable", why)
            }
            Unanswered::Late => Status::timeout(format!(
                "pod {pod} runs on node {node}, and its API, http://{address}, does not answer in time: what became of the \
                 request is not known"
            )),
        }
    }

    fn not_it(&self, address: SocketAddr, says: Option<&str>) -> Status {
        let Self { pod, node, .. } = self;
        let who = says.map_or_else(String::new, |other| format!(", but says that it is {other:?}"));
        let why = format!("pod {pod} runs on node {node}, and what answers at http://{address} is not its API{who}");
        Status::new(502, "BadGateway", why)
    }
}

/// Where the API of a node listens, as its Node says.
fn api_of(parts: &HttpParts, view: &ObjectsView, node: &str) -> Option<SocketAddr> {
    let nodes = parts.objects.kinds().named("Node")?.id();
    let node = view.get(&nodes, &ObjectKey::new("", node))?.value();
    let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port")?.as_u64().filter(|port| *port > 0)?;
    let addresses = node.pointer("/status/addresses")?.as_array()?;
    let of = |kind: &str| addresses.iter().find(|one| one["type"] == kind)?["address"].as_str();
    let ip: IpAddr = of("ExternalIP").or_else(|| of("InternalIP"))?.parse().ok()?;
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
}

/// Whether another node can be there, seen from here. What is this machine's alone to reach is another node only where this one
/// listens there, too; elsewhere it is an address of the other machine, and here it would be somebody else.
fn can_be_there(own: Option<SocketAddr>, address: SocketAddr) -> bool {
    let (ip, here) = (address.ip().to_canonical(), own.map(|own| own.ip().to_canonical()));
    let reached = !ip.is_unspecified() && !ip.is_multicast();
    reached && own != Some(address) && (!ip.is_loopback() || here.is_some_and(|here| here.is_loopback()))
}

/// Refuses a request that was passed on for another pod of this name.
pub fn check(request: &HttpRequest, target: &Target, object: &StoredObject) -> Result<(), Status> {
    let meant = text(request.headers(), POD);
    if !was_passed_on(request) || meant.is_none_or(|meant| meant == metadata::uid(&object.value())) {
        return Ok(());
    }
    Err(Status::conflict(&target.kind, &object.key.name, "on its node another pod has this name by now"))
}

/// Says who answers, where a request was passed on.
pub fn sign(request: &HttpRequest, response: &mut HttpResponse, parts: &HttpParts) {
    if was_passed_on(request) {
        respond::set(response, ANSWERS, &parts.passing_on.node);
    }
}

fn was_passed_on(request: &HttpRequest) -> bool {
    request.headers().contains_key(PASSED_ON)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Asks the node that has the pod, and answers what it answers.
pub async fn pass_on(
    request: &HttpRequest,
    payload: web::Payload,
    parts: &HttpParts,
    there: &Elsewhere,
) -> Result<HttpResponse, Status> {
    if let Some(to) = text(request.headers(), PASSED_ON) {
        let Elsewhere { pod, node, .. } = there;
        let why =
            format!("this was passed on to node {to:?} for pod {pod}, and seen from here the pod is on node {node}");
        return Err(Status::new(503, "ServiceUnavailable", why));
    }
    let own = parts.listener.local_addr().ok();
    let address = there.address.filter(|address| !there.node.is_empty() && can_be_there(own, *address));
    let address = address.ok_or_else(|| there.refusal())?;
    let place = Place::take(&parts.figures)?;
    let asked = NodeRequest {
        to: address,
        method: request.method().to_string(),
        path: request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        headers: headers(request, there),
    };
    let answer = parts.passing_on.apis.ask(asked).await.map_err(|why| there.unanswered(address, &why))?;
    let says = answer.header(ANSWERS);
    if says != Some(&there.node) {
        return Err(there.not_it(address, says));
    }
    if answer.code >= 400 {
        parts.figures.errors.fetch_add(1, Ordering::Relaxed);
    }
    let wanted = text(request.headers(), "upgrade").map(str::to_owned);
    let code = StatusCode::from_u16(answer.code).map_err(|_| there.not_it(address, says))?;
    let mut response = HttpResponse::build(code);
    come_back(&answer, &mut response);
    match (answer.body, wanted) {
        (NodeBody::Upgraded(stream), Some(protocol)) => Ok(spliced(response, &protocol, payload, stream, place)),
        (NodeBody::Upgraded(_), None) => Err(there.not_it(address, None)),
        (NodeBody::Pieces(pieces), None) => Ok(streamed(response, pieces, place)),
        (NodeBody::Pieces(pieces), Some(_)) => {
            let lost = || there.unanswered(address, &Unanswered::Away("its refusal did not come to an end".to_owned()));
            let refusal = whole(pieces).await.ok_or_else(lost)?;
            let mut response = response.body(refusal);
            // What was to be no HTTP any more is not gone on with as HTTP.
            response.head_mut().set_connection_type(ConnectionType::Close);
            Ok(response)
        }
    }
}

/// Those of the request that the other API has to know, and who passed it on.
fn headers(request: &HttpRequest, there: &Elsewhere) -> Vec<(String, String)> {
    let mut headers = vec![(PASSED_ON.to_owned(), there.node.clone()), (POD.to_owned(), there.uid.clone())];
    // Only the first: `wire` may have put another one behind it.
    if let Some(protocol) = text(request.headers(), "upgrade") {
        headers.push(("connection".to_owned(), "Upgrade".to_owned()));
        headers.push(("upgrade".to_owned(), protocol.to_owned()));
    }
    for name in ASKED {
        let values = request.headers().get_all(name).filter_map(|value| value.to_str().ok());
        let values = values.map(|value| if name == SOCKET_PROTOCOLS { without_words(value) } else { value.to_owned() });
        headers.extend(values.filter(|value| !value.is_empty()).map(|value| (name.to_owned(), value)));
    }
    headers
}

fn without_words(protocols: &str) -> String {
    let protocols = protocols.split(',').map(str::trim).filter(|one| !one.starts_with(BEARER));
    protocols.collect::<Vec<_>>().join(", ")
}

fn come_back(answer: &NodeAnswer, response: &mut HttpResponseBuilder) {
    for (name, value) in answer.headers.iter().filter(|(name, _)| ANSWERED.contains(&name.as_str())) {
        response.append_header((name.as_str(), value.as_str()));
    }
}

/// A refusal as a whole: to a request for an upgrade the framework writes no body that comes in pieces as HTTP has it.
async fn whole(mut pieces: Box<dyn Pieces>) -> Option<Vec<u8>> {
    let reading = async {
        let mut all = Vec::new();
        while let Some(piece) = pieces.next().await {
            all.extend_from_slice(&piece.ok()?);
            if all.len() > REFUSAL.0 {
                return None;
            }
        }
        Some(all)
    };
    tokio::time::timeout(REFUSAL.1, reading).await.ok().flatten()
}

/// A body as it comes. Where the rest is lost the client is told by an end that is none.
fn streamed(mut response: HttpResponseBuilder, pieces: Box<dyn Pieces>, place: Place) -> HttpResponse {
    let pieces = stream::unfold((pieces, place), async |(mut pieces, place)| {
        let piece = pieces.next().await?;
        Some((piece.map_err(std::io::Error::other), (pieces, place)))
    });
    response.streaming(Box::pin(pieces))
}

/// A connection that is HTTP no more, from one side to the other.
fn spliced(
    mut response: HttpResponseBuilder,
    protocol: &str,
    payload: web::Payload,
    there: Box<dyn BothWays>,
    place: Place,
) -> HttpResponse {
    let (to_client, body) = mpsc::channel(1);
    actix_rt::spawn(async move {
        let _place = place;
        splice(payload, to_client, there).await;
    });
    response.upgrade(protocol);
    response.streaming(ReceiverStream::new(body))
}

/// Passes bytes on until one side has gone; then the other's connection ends, too.
async fn splice<E>(
    mut payload: impl Stream<Item = Result<Bytes, E>> + Unpin,
    to_client: mpsc::Sender<Result<Bytes, Infallible>>,
    there: Box<dyn BothWays>,
) {
    let (mut from_there, mut to_there) = tokio::io::split(there);
    let gone = to_client.clone();
    let up = async {
        let mut taken = true;
        while let Some(Ok(bytes)) = payload.next().await {
            // Who takes nothing more may have something to say still.
            taken = taken && to_there.write_all(&bytes).await.is_ok() && to_there.flush().await.is_ok();
        }
    };
    let down = async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE);
            match tokio::time::timeout(SILENCE, from_there.read_buf(&mut buffer)).await {
                Err(_) | Ok(Ok(0) | Err(_)) => return true,
                Ok(Ok(_)) if to_client.send(Ok(buffer.split().freeze())).await.is_ok() => {}
                Ok(Ok(_)) => return false,
            }
        }
    };
    tokio::pin!(up);
    let ended = tokio::select! {
        biased;
        // Also while nobody takes what the client sends.
        () = gone.closed() => false,
        () = &mut up => false,
        ended = down => ended,
    };
    drop(gone);
    if ended {
        // It goes when it has read the end; were the connection closed before, it might lose that.
        let _ = tokio::time::timeout(FAREWELL, up).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::*;

    /// What a client sends that never goes by itself.
    fn typed(bytes: &'static [u8]) -> impl Stream<Item = Result<Bytes, Infallible>> + Unpin {
        let all = stream::iter([Ok(Bytes::from_static(bytes))]);
        Box::pin(all.chain(stream::pending()))
    }

    fn between(
        bytes: &'static [u8],
    ) -> (DuplexStream, mpsc::Receiver<Result<Bytes, Infallible>>, impl Future<Output = ()>) {
        let (there, here) = tokio::io::duplex(16);
        let (to_client, client) = mpsc::channel(1);
        (there, client, splice(typed(bytes), to_client, Box::new(here)))
    }

    #[tokio::test(start_paused = true)]
    async fn another_api_that_is_silent_is_given_up_and_one_that_gives_signs_is_not() {
        let (mut there, mut client, splicing) = between(b"typed");
        let talking = async {
            for _ in 0..20 {
                tokio::time::sleep(SIGN).await;
                there.write_all(b"sign").await.expect("it is taken");
                assert_eq!(client.recv().await, Some(Ok(Bytes::from_static(b"sign"))));
            }
            assert_eq!(client.recv().await, None, "the end is told");
        };
        let both = async { tokio::join!(splicing, talking) };
        tokio::time::timeout(SIGN * 30, both).await.expect("an end, some time after the last sign");
        let mut left = Vec::new();
        there.read_to_end(&mut left).await.expect("its end");
        assert_eq!(left, b"typed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_is_noticed_also_while_nobody_takes_what_it_sent() {
        let (mut there, client, splicing) = between(b"more than there is room for");
        drop(client);
        tokio::time::timeout(SIGN, splicing).await.expect("it ends at once");
        let mut taken = Vec::new();
        there.read_to_end(&mut taken).await.expect("its end");
        assert!(taken.len() <= 16, "{taken:?}");
    }

    #[test]
    fn an_address_that_means_this_machine_is_another_node_only_where_this_one_listens_there() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let can = |own: &str, other: &str| can_be_there(Some(at(own)), at(other));
        assert!(can("0.0.0.0:8082", "10.0.0.2:8082") && can("127.0.0.1:8082", "10.0.0.2:8082"));
        assert!(can("127.0.0.1:8082", "127.0.0.1:8083") && can("[::1]:8082", "127.0.0.1:8082"));
        for loopback in ["127.0.0.1:8082", "127.9.9.9:1", "[::1]:8082", "[::ffff:127.0.0.1]:8083"] {
            assert!(!can("0.0.0.0:8082", loopback) && !can("10.0.0.1:8082", loopback), "{loopback}");
        }
        for nobody in ["0.0.0.0:8082", "[::]:8082", "224.0.0.1:80", "127.0.0.1:8082"] {
            assert!(!can("127.0.0.1:8082", nobody), "{nobody}");
        }
        assert!(!can_be_there(None, at("127.0.0.1:1")));
    }

    #[test]
    fn a_word_that_lets_somebody_in_is_not_among_the_protocols_that_go_on() {
        let told = "base64url.bearer.authorization.k8s.io.c2VjcmV0, v5.channel.k8s.io,v4.channel.k8s.io";
        assert_eq!(without_words(told), "v5.channel.k8s.io, v4.channel.k8s.io");
        assert_eq!(without_words("base64url.bearer.authorization.k8s.io.c2VjcmV0"), "");
    }
}
