//! The REST surface: authentication, faults, bodies; everything else is the device's.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use futures_util::StreamExt;
use mkube_router_machine::{Answer, Refusal, Request, Verb};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::faults::Cut;
use crate::files;
use crate::world::World;

/// Bytes of a body.
const LIMIT: usize = 1 << 20;

/// What a request needs.
#[derive(Clone)]
pub struct Site {
    pub world: Arc<World>,
    /// Added to each request.
    pub latency: Duration,
    /// Requests at this moment.
    pub active: Arc<AtomicUsize>,
    /// The device is rebooting until this becomes false.
    pub down: watch::Sender<bool>,
    pub drawn: Arc<AtomicU64>,
    pub random: RandomState,
}

pub async fn dispatch(request: HttpRequest, payload: Payload, site: Data<Site>) -> HttpResponse {
    let path = request.path();
    if path == "/" {
        return HttpResponse::Ok().content_type("text/html").body("<html><body>RouterOS</body></html>");
    }
    let Some(rest) = path.strip_prefix("/rest") else {
        return respond(&Refusal::not_found().to_answer());
    };
    if *site.down.borrow() {
        return cut();
    }
    let segments: Vec<String> = match rest.split('/').filter(|part| !part.is_empty()).map(decoded).collect() {
        Some(segments) => segments,
        None => return respond(&Refusal::bad("bad path encoding").to_answer()),
    };
    if let Err(refusal) = authenticate(&request, &site.world) {
        return respond(&refusal.to_answer());
    }
    if segments.first().is_some_and(|first| first == "_mkube") {
        return own(&request, payload, &segments, &site).await;
    }
    let active = site.active.fetch_add(1, Ordering::SeqCst) + 1;
    let response = work(&request, payload, segments, &site, active).await;
    site.active.fetch_sub(1, Ordering::SeqCst);
    response
}

async fn work(
    request: &HttpRequest,
    payload: Payload,
    segments: Vec<String>,
    site: &Site,
    active: usize,
) -> HttpResponse {
    let named = segments.iter().map(|part| if part.starts_with('*') { "*" } else { part.as_str() });
    let route = format!("/{}", named.collect::<Vec<_>>().join("/"));
    let verdict = site.world.faults.judge(request.method().as_str(), &route, || site.chance());
    tokio::time::sleep(site.latency + verdict.delay).await;
    if verdict.session_limit.is_some_and(|limit| active > limit) {
        return respond(&Refusal { status: 503, detail: Some("too many sessions".into()) }.to_answer());
    }
    if verdict.drop == Some(Cut::Before) {
        return cut();
    }
    if let Some(status) = verdict.status {
        return respond(&Refusal { status, detail: Some("fault on request".into()) }.to_answer());
    }
    if let Some(down) = verdict.reboot {
        reboot(site, down);
        return respond(&Answer::done());
    }
    if segments == ["system", "reboot"] && request.method() == Method::POST {
        reboot(site, Duration::from_secs(1));
        return respond(&Answer::done());
    }
    let verb = match *request.method() {
        Method::GET => Verb::Get,
        Method::PUT => Verb::Put,
        Method::PATCH => Verb::Patch,
        Method::DELETE => Verb::Delete,
        Method::POST => Verb::Post,
        _ => return respond(&Refusal { status: 501, detail: Some("not implemented".into()) }.to_answer()),
    };
    let body = match body(request, payload, verb).await {
        Ok(body) => body,
        Err(refusal) => return respond(&refusal.to_answer()),
    };
    let query = query_of(request.query_string());
    let request = Request { verb, segments, query, body };
    let answer = match request.segments.first().map(String::as_str) {
        Some("file") => files::answer(site.world.data_dir(), &request),
        _ => site.world.request(&request).await,
    };
    if verdict.drop == Some(Cut::After) { cut() } else { respond(&answer) }
}

impl Site {
    fn chance(&self) -> f64 {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        (self.random.hash_one(drawn) % 10_000) as f64 / 10_000.0
    }
}

fn reboot(site: &Site, down: Duration) {
    site.down.send_replace(true);
    let (world, back) = (site.world.clone(), site.down.clone());
    tokio::spawn(async move {
        world.reboot().await;
        tokio::time::sleep(down).await;
        back.send_replace(false);
    });
}

/// Menus no router has: for tests.
async fn own(request: &HttpRequest, payload: Payload, segments: &[String], site: &Site) -> HttpResponse {
    let words: Vec<&str> = segments.iter().map(String::as_str).collect();
    let faults = &site.world.faults;
    match (request.method(), words.as_slice()) {
        (&Method::GET, ["_mkube", "calls"]) => {
            let routes = faults.calls();
            respond(&Answer::ok(json!({"total": routes.values().sum::<u64>(), "routes": routes})))
        }
        (&Method::DELETE, ["_mkube", "calls"]) => {
            faults.reset_calls();
            respond(&Answer::nothing())
        }
        (&Method::GET, ["_mkube", "faults"]) => respond(&Answer::ok(json!(faults.rules()))),
        (&Method::PUT, ["_mkube", "faults"]) => {
            let body = match body(request, payload, Verb::Put).await {
                Ok(body) => body,
                Err(refusal) => return respond(&refusal.to_answer()),
            };
            let set =
                serde_json::from_value(body).map_err(|error| error.to_string()).and_then(|rules| faults.set(rules));
            match set {
                Ok(()) => respond(&Answer::ok(json!(faults.rules()))),
                Err(why) => respond(&Refusal::bad(why).to_answer()),
            }
        }
        _ => respond(&Refusal::bad("no such command or directory (_mkube)").to_answer()),
    }
}

fn authenticate(request: &HttpRequest, world: &World) -> Result<(), Refusal> {
    let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let Some(encoded) = header.and_then(|header| header.strip_prefix("Basic ")) else {
        return Err(Refusal::unauthorized());
    };
    let text = base64::engine::general_purpose::STANDARD
        .decode(encoded.trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let Some((user, password)) = text.as_deref().and_then(|text| text.split_once(':')) else {
        return Err(Refusal::unauthorized());
    };
    if world.device().may_enter(user, password) {
        return Ok(());
    }
    world.device().login_failed(user, &crate::world::stamp());
    Err(Refusal::unauthorized())
}

async fn body(request: &HttpRequest, mut payload: Payload, verb: Verb) -> Result<Value, Refusal> {
    let mut bytes = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| Refusal::bad(error.to_string()))?;
        if bytes.len() + chunk.len() > LIMIT {
            return Err(Refusal { status: 413, detail: None });
        }
        bytes.extend_from_slice(&chunk);
    }
    if matches!(verb, Verb::Get | Verb::Delete) || bytes.is_empty() {
        return Ok(json!({}));
    }
    let kind = request.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    // Literally, as some releases do.
    if kind != "application/json" {
        return Err(Refusal { status: 415, detail: None });
    }
    serde_json::from_slice(&bytes).map_err(|error| Refusal::bad(error.to_string()))
}

fn respond(answer: &Answer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    match &answer.body {
        Some(body) => response.content_type("application/json").body(body.to_string()),
        None => response.finish(),
    }
}

/// Ends the connection in the middle of an answer.
fn cut() -> HttpResponse {
    let broken = futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) });
    HttpResponse::Ok().content_type("application/json").streaming(broken)
}

fn query_of(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|part| !part.is_empty())
        .filter_map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Some((decoded(name)?, decoded(&value.replace('+', " "))?))
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            bytes.push((high * 16 + low) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
