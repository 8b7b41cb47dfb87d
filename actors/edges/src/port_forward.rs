//! `…/pods/{name}/portforward`: connections to ports of a pod, over a WebSocket or SPDY.

use actix_web::{HttpRequest, HttpResponse, web};
use mkube_model::neighbours::pod_ports::{PodAddress, PortFraming};
use mkube_model::status::Status;

use crate::containers;
use crate::parameters::values_of;
use crate::parts::{HttpParts, Target};
use crate::spdy_upgrade;
use crate::streams::{self, Upgrade};

/// kubectl's framing: SPDY in messages.
const SPDY: &str = "SPDY/3.1+portforward.k8s.io";
/// The same without messages around it.
const PLAIN_SPDY: &str = "portforward.k8s.io";
/// That of the libraries.
const CHANNELS: &str = "v4.channel.k8s.io";
/// Ports of one request of a library.
const PORTS: usize = 64;

pub fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    parts: &HttpParts,
    target: &Target,
) -> Result<HttpResponse, Status> {
    let object = containers::pod(parts, target)?;
    let (key, pod) = (&object.key, object.value());
    let text = |path: &str| pod.pointer(path).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let (phase, address) = (text("/status/phase"), text("/status/podIP"));
    if phase != "Running" {
        let why = format!("unable to forward port because pod is not running. Current status={phase}");
        return Err(Status::bad_request(why));
    }
    let address = address.parse().map_err(|_| Status::bad_request(format!("pod {} has no address yet", key.name)))?;
    let upgrade = streams::protocol(request, &[SPDY, CHANNELS], PLAIN_SPDY)?;
    let framing = match upgrade {
        Upgrade::WebSocket(CHANNELS) => PortFraming::Channels(ports(request)?),
        _ => PortFraming::Spdy,
    };
    let ports = parts.streams.ports.clone();
    let to = PodAddress { pod: key.to_string(), address };
    let serve = |tunnel| async move { ports.forward(to, framing, tunnel).await };
    match upgrade {
        Upgrade::WebSocket(protocol) => streams::upgrade(request, payload, parts, protocol, serve),
        Upgrade::Spdy(protocol) => spdy_upgrade::upgrade(payload, parts, protocol, serve),
    }
}

/// `?ports=80`, several times or with commas.
fn ports(request: &HttpRequest) -> Result<Vec<u16>, Status> {
    let texts = values_of(request.query_string(), "ports")?;
    let texts: Vec<&str> = texts.iter().flat_map(|text| text.split(',')).filter(|text| !text.is_empty()).collect();
    if texts.is_empty() {
        return Err(Status::bad_request("query parameter \"ports\" is required"));
    }
    if texts.len() > PORTS {
        return Err(Status::bad_request(format!("at most {PORTS} ports are forwarded at once")));
    }
    let port = |text: &&str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let ports = texts.iter().map(|text| port(text).ok_or(text));
    ports.collect::<Result<_, _>>().map_err(|text| Status::bad_request(format!("ports: {text:?} is no port")))
}
