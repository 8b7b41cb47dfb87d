//! The REST surface of microdns: who may, what is asked, in which form it is answered.

mod answers;
mod route;
mod watch;

use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use futures_util::StreamExt;
use ring::digest::{SHA256, digest};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::desk::Desk;
use crate::forwarding::Forwarding;
use answers::{Asking, Fault};
use route::Route;

/// The version told: that of the surface, and ours behind it.
pub const VERSION: &str = concat!("0.9.1+mkube-", env!("CARGO_PKG_VERSION"));
/// Longest body.
const LARGEST: usize = 1 << 20;
/// How long a head, and then a body, may take to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections at once, and those of them that watch.
const CONNECTIONS: usize = 512;
/// Watchers at once.
const WATCHERS: usize = 100;
/// How long requests may take to end when the server stops, in seconds.
const STOPPING: u64 = 5;

/// What the routes need.
pub struct Rest {
    /// The file.
    pub desk: Arc<Desk>,
    /// Whoever asks others.
    pub forwarding: Arc<Forwarding>,
    /// Needed to change anything, where it is set.
    pub api_key: Option<String>,
    /// Name of the instance.
    pub instance: String,
    /// Whether pages in browsers, and other names of this machine, are kept out.
    pub only_here: bool,
    /// When it began.
    pub started: Instant,
    /// Room for watchers.
    pub watchers: Arc<Semaphore>,
    /// Whether it is to end.
    pub stopping: tokio::sync::watch::Receiver<bool>,
}

impl Rest {
    /// Room for as many watchers as there may be.
    pub fn room_for_watchers() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(WATCHERS))
    }
}

/// Makes the server; it serves while it is polled.
pub fn serve(listener: TcpListener, rest: Rest) -> std::io::Result<(Server, ServerHandle)> {
    let rest = Data::new(rest);
    let application = move || App::new().app_data(rest.clone()).default_service(web::to(handle));
    let server = HttpServer::new(application)
        .workers(1)
        .max_connections(CONNECTIONS)
        .client_request_timeout(PATIENCE)
        .shutdown_timeout(STOPPING)
        .disable_signals()
        .listen(listener)?
        .run();
    let handle = server.handle();
    Ok((server, handle))
}

async fn handle(request: HttpRequest, payload: web::Payload, rest: Data<Rest>) -> HttpResponse {
    if rest.only_here && !comes_from_here(&request) {
        return Fault::new(StatusCode::FORBIDDEN, "requests from pages and for other names are refused").response();
    }
    let with_origin = request.headers().contains_key(header::ORIGIN);
    let mut response = match answer(&request, payload, &rest).await {
        Ok(response) => response,
        Err(fault) => fault.response(),
    };
    if with_origin {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    response
}

async fn answer(request: &HttpRequest, payload: web::Payload, rest: &Rest) -> Result<HttpResponse, Fault> {
    if is_preflight(request) {
        return Ok(preflight());
    }
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    if !reads && !may_change(request, rest) {
        return Err(Fault::new(StatusCode::UNAUTHORIZED, ""));
    }
    let Some(route) = Route::of(request.path()) else { return Err(Fault::new(StatusCode::NOT_FOUND, "")) };
    let method = if request.method() == Method::HEAD { "GET" } else { request.method().as_str() };
    let allowed = route.methods();
    if !allowed.contains(&method) {
        let refused = HttpResponse::MethodNotAllowed().insert_header((header::ALLOW, allowed.join(", "))).finish();
        return Ok(refused);
    }
    let body = if matches!(method, "POST" | "PUT" | "PATCH") {
        let json = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let json = json.and_then(|value| value.split(';').next()).map(str::trim);
        if !json.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
            let text = "Content-Type: application/json is needed";
            return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
        timeout(PATIENCE, body(payload))
            .await
            .map_err(|_| Fault::new(StatusCode::REQUEST_TIMEOUT, "the body did not come"))??
    } else {
        Vec::new()
    };
    answers::answer(rest, route, &Asking { method, query: request.query_string(), body: &body }).await
}

async fn body(mut payload: web::Payload) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(|error| Fault::new(StatusCode::BAD_REQUEST, format!("the body: {error}")))?;
        if body.len() + piece.len() > LARGEST {
            return Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "a body has 1 MiB at most"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn is_preflight(request: &HttpRequest) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type, x-api-key"))
        .finish()
}

fn may_change(request: &HttpRequest, rest: &Rest) -> bool {
    let Some(key) = &rest.api_key else { return true };
    let given = request.headers().get("x-api-key").map(HeaderValue::as_bytes).unwrap_or_default();
    // Digests are compared, so that the time it takes tells nothing of the key.
    digest(&SHA256, given).as_ref() == digest(&SHA256, key.as_bytes()).as_ref()
}

/// Whether a program of this machine asks: no page, and under an address or the name of the machine itself.
fn comes_from_here(request: &HttpRequest) -> bool {
    if request.headers().contains_key(header::ORIGIN) {
        return false;
    }
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |p| p.0);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok()
}
