//! The REST surface: authentication, faults, bodies; everything else is the device's.

use std::any::Any;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::dev::Extensions;
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use futures_util::StreamExt;
use mkube_model::percent;
use mkube_router_machine::{Answer, Device, FetchOrder, Refusal, Request, Verb};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::faults::{Cut, Verdict};
use crate::world::World;
use crate::{exec, fetch, files};

/// Bytes of a body.
const LIMIT: usize = 1 << 20;
/// How long a device is away that was asked to reboot.
const REBOOT: Duration = Duration::from_secs(1);

/// Whether the device is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    On,
    /// Stopping in order and starting again.
    Rebooting,
    /// Without power for a while.
    Off,
}

/// What a request needs.
#[derive(Clone)]
pub struct Site {
    pub world: Arc<World>,
    /// Added to each request.
    pub latency: Duration,
    /// What takes longer is answered with `Session closed`, and goes on.
    pub longest: Duration,
    /// Requests at this moment.
    pub active: Arc<AtomicUsize>,
    pub power: watch::Sender<Power>,
    pub drawn: Arc<AtomicU64>,
    pub random: RandomState,
}

/// The socket of a connection, to be able to end it in the middle.
struct Wire(std::net::TcpStream);

/// Keeps the socket of a plain connection at hand for its requests.
pub fn remember_wire(io: &dyn Any, kept: &mut Extensions) {
    use std::os::fd::AsFd;
    if let Some(stream) = io.downcast_ref::<actix_web::rt::net::TcpStream>()
        && let Ok(copy) = stream.as_fd().try_clone_to_owned()
    {
        kept.insert(Wire(copy.into()));
    }
}

/// What becomes of a request.
enum Reply {
    Answer(Answer),
    /// The connection ends without one.
    Nothing,
}

impl Reply {
    fn refuse(status: u16, detail: &str) -> Self {
        Self::Answer(Refusal { status, detail: Some(detail.to_owned()) }.to_answer())
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self::Answer(refusal.to_answer())
    }
}

/// Counts a request for as long as it is there, whatever becomes of it.
struct Presence(Arc<AtomicUsize>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub async fn dispatch(request: HttpRequest, payload: Payload, site: Data<Site>) -> HttpResponse {
    let path = request.path();
    let mut power = site.power.subscribe();
    let away = *power.borrow_and_update() != Power::On;
    // What no router has is there also when the router is not.
    if away && !path.starts_with("/rest/_mkube/") {
        return cut(&request);
    }
    if path == "/" {
        return HttpResponse::Ok().content_type("text/html").body("<html><body>RouterOS</body></html>");
    }
    let Some(rest) = path.strip_prefix("/rest") else {
        return respond(&Refusal::not_found().to_answer());
    };
    let segments: Vec<String> = match rest.split('/').filter(|part| !part.is_empty()).map(percent::decoded).collect() {
        Some(segments) => segments,
        None => return respond(&Refusal::bad("bad path encoding").to_answer()),
    };
    let group = match authenticate(&request, &site.world) {
        Ok(group) => group,
        Err(refusal) => return respond(&refusal.to_answer()),
    };
    if segments.first().is_some_and(|first| first == "_mkube") {
        return own(&request, payload, &segments, &group, &site).await;
    }
    let named = segments.iter().map(|part| if part.starts_with('*') { "*" } else { part.as_str() });
    let route = format!("/{}", named.collect::<Vec<_>>().join("/"));
    let verdict = site.world.faults.judge(request.method().as_str(), &route, || site.chance());
    let present = site.active.fetch_add(1, Ordering::SeqCst) + 1;
    let presence = Presence(site.active.clone());
    let Some(verb) = verb_of(request.method()) else {
        return respond(&Refusal { status: 501, detail: Some("not implemented".into()) }.to_answer());
    };
    let body = match body(&request, payload, verb).await {
        Ok(body) => body,
        Err(refusal) => return respond(&refusal.to_answer()),
    };
    let asked = Request { verb, segments, query: query_of(request.query_string()), body };
    // A task of its own: neither a client that goes away nor the time limit ends what was begun.
    let site = site.get_ref().clone();
    let limit = tokio::time::sleep(site.longest);
    let mut work = actix_web::rt::spawn(async move {
        let _presence = presence;
        work(asked, group, site, verdict, present).await
    });
    tokio::select! {
        biased;
        done = &mut work => match done {
            Ok(Reply::Answer(answer)) => respond(&answer),
            Ok(Reply::Nothing) => cut(&request),
            Err(_) => respond(&Refusal { status: 500, detail: Some("internal fault of the host".into()) }.to_answer()),
        },
        _ = power.wait_for(|power| *power != Power::On) => cut(&request),
        () = limit => respond(&Refusal::bad("Session closed").to_answer()),
    }
}

async fn work(request: Request, group: String, site: Site, verdict: Verdict, present: usize) -> Reply {
    let delay = site.latency + verdict.delay;
    // Even no time at all takes a tick of the timer.
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    if verdict.session_limit.is_some_and(|limit| present > limit) {
        return Reply::refuse(503, "too many sessions");
    }
    if let Some(down) = verdict.reboot {
        // As if somebody had pulled the plug.
        site.go_down(Power::Off, down);
        return Reply::Nothing;
    }
    if verdict.drop == Some(Cut::Before) {
        return Reply::Nothing;
    }
    if let (Some(status), None) = (verdict.status, verdict.drop) {
        return Reply::refuse(status, "fault on request");
    }
    let reply = match Device::permits(&group, &request) {
        Ok(()) => answer(request, &site).await,
        Err(refusal) => refusal.into(),
    };
    match (verdict.drop, verdict.status) {
        (None, _) => reply,
        (Some(_), None) => Reply::Nothing,
        (Some(_), Some(status)) => Reply::refuse(status, "fault on request"),
    }
}

async fn answer(request: Request, site: &Site) -> Reply {
    let words: Vec<&str> = request.segments.iter().map(String::as_str).collect();
    let takes = |known: &[&str]| match request
        .body
        .as_object()
        .into_iter()
        .flatten()
        .find(|(name, _)| !known.contains(&name.as_str()))
    {
        Some((odd, _)) => Err(Refusal::bad(format!("unknown parameter {odd}"))),
        None => Ok(()),
    };
    match (request.verb, words.as_slice()) {
        (Verb::Post, ["system", "reboot"]) => {
            if let Err(refusal) = takes(&[]) {
                return refusal.into();
            }
            site.go_down(Power::Rebooting, REBOOT);
            Reply::Answer(Answer::done())
        }
        (Verb::Post, ["system", "package", "apply-changes"]) => {
            if let Err(refusal) = takes(&["ignore-missing"]) {
                return refusal.into();
            }
            site.world.device().apply_packages();
            site.go_down(Power::Rebooting, REBOOT);
            Reply::Answer(Answer::done())
        }
        (Verb::Post, ["system", "device-mode", "update"]) => update_mode(&request.body, site).await,
        (Verb::Post, ["tool", "fetch"]) => {
            let order = site.world.device().fetch_order(&request.body);
            fetched(order, site).await.map_or_else(Reply::from, Reply::Answer)
        }
        (Verb::Post, ["execute"]) => execute(&request.body, site).map_or_else(Reply::from, Reply::Answer),
        (_, ["file", ..]) => {
            let disks = site.world.disks().clone();
            let read = tokio::task::spawn_blocking(move || files::answer(&disks, &request)).await;
            read.map_or_else(|_| Reply::refuse(500, "internal fault of the host"), Reply::Answer)
        }
        _ => Reply::Answer(site.world.request(&request).await),
    }
}

async fn fetched(order: Result<FetchOrder, Refusal>, site: &Site) -> Result<Answer, Refusal> {
    let order = order?;
    let fault = site.world.faults.fetch(|| site.chance());
    let fetched = fetch::fetch(site.world.disks(), &order, fault).await?;
    Ok(order.finished(&fetched))
}

/// A script runs as a job: the request does not wait for it, and no time limit ends it.
fn execute(body: &Value, site: &Site) -> Result<Answer, Refusal> {
    let fields = body.as_object().ok_or_else(|| Refusal::bad("expected a JSON object"))?;
    if let Some(odd) = fields.keys().find(|name| !["script", "as-string", "file"].contains(&name.as_str())) {
        return Err(Refusal::bad(format!("unknown parameter {odd}")));
    }
    let script = body.get("script").and_then(Value::as_str).ok_or_else(|| Refusal::bad("missing =script="))?;
    if body.get("as-string").is_some() || body.get("file").is_some() {
        return Err(Refusal::failure("this host runs no scripts for their output"));
    }
    let order = site.world.device().fetch_script(script)?;
    let job = site.drawn.fetch_add(1, Ordering::Relaxed);
    let site = site.clone();
    actix_web::rt::spawn(async move {
        // As on a router: nobody hears of a job that failed.
        if let Err(refusal) = fetched(Ok(order), &site).await {
            tracing::info!(why = refusal.detail, "a job failed");
        }
    });
    Ok(Answer::ok(json!({"ret": format!("*B{job:X}")})))
}

/// A change of device-mode waits for a power cycle; without one it is given up.
async fn update_mode(body: &Value, site: &Site) -> Reply {
    let change = match site.world.device().mode_change(body) {
        Ok(change) => change,
        Err(refusal) => return refusal.into(),
    };
    let mut power = site.power.subscribe();
    let confirmed = tokio::time::timeout(change.patience, power.wait_for(|power| *power == Power::Off)).await.is_ok();
    let reply = if confirmed {
        site.world.device().confirm_mode(&change);
        Reply::Nothing
    } else {
        site.world.device().cancel_mode().into()
    };
    site.world.keep().await;
    reply
}

impl Site {
    fn chance(&self) -> f64 {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        (self.random.hash_one(drawn) % 10_000) as f64 / 10_000.0
    }

    fn go_down(&self, how: Power, down: Duration) {
        self.power.send_replace(how);
        let (world, power) = (self.world.clone(), self.power.clone());
        tokio::spawn(async move {
            world.go_down(how == Power::Off).await;
            tokio::time::sleep(down).await;
            world.come_up().await;
            power.send_replace(Power::On);
        });
    }
}

/// Menus no router has: for tests, and commands in containers.
async fn own(request: &HttpRequest, payload: Payload, segments: &[String], group: &str, site: &Site) -> HttpResponse {
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
        (&Method::GET, ["_mkube", "exec"]) => {
            let answered = exec::answer(request, payload, group, site).await;
            answered.unwrap_or_else(|refusal| exec::refused(&refusal))
        }
        _ => respond(&Refusal::bad("no such command or directory (_mkube)").to_answer()),
    }
}

/// The group of whoever asks.
fn authenticate(request: &HttpRequest, world: &World) -> Result<String, Refusal> {
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
    let group = world.device().group_of(user, password);
    group.ok_or_else(|| {
        world.device().login_failed(user, &crate::world::stamp());
        Refusal::unauthorized()
    })
}

fn verb_of(method: &Method) -> Option<Verb> {
    match *method {
        Method::GET => Some(Verb::Get),
        Method::PUT => Some(Verb::Put),
        Method::PATCH => Some(Verb::Patch),
        Method::DELETE => Some(Verb::Delete),
        Method::POST => Some(Verb::Post),
        _ => None,
    }
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

/// Ends the connection without an answer; where the socket is not at hand, in the middle of one.
fn cut(request: &HttpRequest) -> HttpResponse {
    if let Some(Wire(socket)) = request.conn_data::<Wire>()
        && let Err(error) = socket.shutdown(std::net::Shutdown::Both)
    {
        tracing::debug!(%error, "the connection was gone already");
    }
    let broken = futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) });
    HttpResponse::Ok().content_type("application/json").streaming(broken)
}

pub fn query_of(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|part| !part.is_empty())
        .filter_map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Some((percent::decoded(name)?, percent::decoded(&value.replace('+', " "))?))
        })
        .collect()
}
