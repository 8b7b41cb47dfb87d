//! From method and path to the one function that answers. Resources are found in the table of kinds, none is named here.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix_web::http::{ConnectionType, Method};
use actix_web::{HttpRequest, HttpResponse, web};
use mkube_messages::offers::OFFERS_PATH;
use mkube_messages::push_notice;
use mkube_model::discovery;
use mkube_model::kinds::{Kind, View, review_at, view_at, why_absent};
use mkube_model::protobuf::{DELETE_OPTIONS, EVICTION, Field};
use mkube_model::status::Status;
use serde_json::json;
use tracing::Instrument;

use crate::negotiate::{Form, form};
use crate::parameters::says_yes;
use crate::parts::{Figures, HttpParts, Query, Target};
use crate::taking_in::How;
use crate::{
    boot_plan, consistency, eviction, exec, export, images, import, logs, methods, metrics, names, networks, offered,
    openapi, port_forward, pretty, read, request_body, respond, reviews, scale, store, usage, volumes, watching, write,
    writing,
};

/// Requests worked on at the same time. Watches, followed logs, and requests whose bodies are still on their way are none of them.
const IN_FLIGHT: usize = 256;

/// Answers every request.
pub async fn dispatch(request: HttpRequest, payload: web::Payload, parts: web::Data<HttpParts>) -> HttpResponse {
    parts.figures.requests.fetch_add(1, Ordering::Relaxed);
    let (_counted, before) = InFlight::count(parts.figures.clone());
    // Before anything that notes the path, and before the host is checked: the device knows us by whatever name it was told.
    if let Some(token) = request.path().strip_prefix(OFFERS_PATH) {
        return offered::answer(&request, &parts.offers, token).await;
    }
    let span = tracing::info_span!("http", method = %request.method(), path = request.path());
    let answering =
        async { if before >= IN_FLIGHT { Err(Status::busy(1)) } else { answer(&request, payload, &parts).await } };
    let response = answering.instrument(span.clone()).await.unwrap_or_else(|status| {
        parts.figures.errors.fetch_add(1, Ordering::Relaxed);
        let _entered = span.entered();
        // While the store is away that is said once, and not with each write.
        let is_known = status.code == 503 && parts.objects.view().stale.is_some();
        if status.code >= 500 && !is_known {
            tracing::warn!(code = status.code, why = %status, "refused");
        } else {
            tracing::debug!(code = status.code, why = %status, "refused");
        }
        let mut response = respond::refusal(&status);
        if request.headers().contains_key("upgrade") {
            // What was to be no HTTP any more is not gone on with as HTTP.
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        response
    });
    if pretty::is_asked_for(request.query_string()) { pretty::answer(response).await } else { response }
}

/// Counts a request until it is answered, or until its client has left.
struct InFlight(Arc<Figures>);

impl InFlight {
    /// Also answers how many there were before.
    fn count(figures: Arc<Figures>) -> (Self, usize) {
        let before = figures.in_flight.fetch_add(1, Ordering::Relaxed);
        (Self(figures), before)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn answer(request: &HttpRequest, payload: web::Payload, parts: &HttpParts) -> Result<HttpResponse, Status> {
    check_origin(request, parts)?;
    let query = query_of(request.query_string())?;
    // Split before decoding: an encoded slash is part of a name.
    let segments = request.path().split('/').filter(|segment| !segment.is_empty());
    let segments: Vec<String> = segments.map(percent_decoded).collect::<Result<_, _>>()?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let get = request.method() == Method::GET || request.method() == Method::HEAD;
    let wants = form(request.headers().get("accept").and_then(|value| value.to_str().ok()));
    let verbose = query.contains_key("verbose");
    let versions = match segments.as_slice() {
        ["api", version] => Some(("", *version)),
        ["apis", group, version] => Some((*group, *version)),
        _ => None,
    };
    let known = |(group, version): (&str, &str)| resources(parts, group, version).is_ok();
    if !get && (methods::only_reads(&segments) || versions.is_some_and(known)) {
        return Err(Status::method_not_allowed(methods::READ));
    }
    match segments.as_slice() {
        [] => {
            return Ok(respond::json(
                200,
                &json!({"paths": [
                    "/api", "/api/v1", "/api/v1/allocations", "/api/v1/boot-plan", "/api/v1/consistency", "/api/v1/dns/validate", "/api/v1/export",
                    "/api/v1/images", "/api/v1/instances", "/api/v1/networks", "/api/v1/store", "/api/v1/supervisor", "/api/v1/volumes", "/api/v1/zones", "/apis", "/healthz", "/livez",
                    "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version",
                ]}),
            ));
        }
        ["livez"] => return Ok(HttpResponse::Ok().content_type("text/plain").body("ok")),
        ["readyz"] => return Ok(parts.health.answer(verbose, "readyz")),
        ["healthz"] => return Ok(parts.health.answer(verbose, "healthz")),
        ["metrics"] => return Ok(metrics::answer(parts)),
        ["version"] => return Ok(respond::json(200, &discovery::version(parts.version))),
        ["openapi", "v2"] => return openapi::v2(request, parts).await,
        ["openapi", "v3"] => return openapi::index(request, parts).await,
        ["openapi", "v3", "api", version] => {
            return openapi::document(request, parts, "", version, &query).await;
        }
        ["openapi", "v3", "apis", group, version] => {
            return openapi::document(request, parts, group, version, &query).await;
        }
        ["api"] => return Ok(groups(parts, wants, true)),
        ["apis"] => return Ok(groups(parts, wants, false)),
        ["apis", group] if get && parts.objects.kinds().group_versions().iter().any(|(one, _)| one == group) => {
            return Ok(respond::json(200, &discovery::group(parts.objects.kinds(), group)));
        }
        ["api", "v1", "boot-plan"] => return boot_plan::show(parts),
        ["api", "v1", "volumes"] => return volumes::list(parts),
        ["api", "v1", "allocations"] => return networks::allocations(parts),
        ["api", "v1", "consistency", rest @ ..] => return consistency::of(request, payload, parts, rest, &query).await,
        ["api", "v1", "store", rest @ ..] => return store::of(request, parts, rest, &query).await,
        ["api", "v1", "dns", "validate"] => return names::validate(parts),
        ["api", "v1", "zones", rest @ ..] => return names::zones(request, payload, parts, rest, &query).await,
        ["api", "v1", "instances", rest @ ..] => return names::instances(request, parts, rest),
        ["api", "v1", "supervisor", rest @ ..] => return supervisor(request, payload, parts, rest).await,
        ["api", "v1", "images", rest @ ..] => return images_of(request, payload, parts, rest).await,
        ["api", "v1", "export"] => return export::answer(parts, &query),
        ["api", "v1", "import"] => return import::answer(request, payload, parts, &query, How::Import).await,
        ["api", "v1", "apply"] => return import::answer(request, payload, parts, &query, How::Apply).await,
        ["api", "v1", "registry", "push-notify"] => return push_notice_of(request, payload, parts).await,
        ["apis", "metrics.k8s.io", "v1beta1", rest @ ..] if get && !rest.is_empty() => {
            return usage::answer(parts, rest, &query);
        }
        ["api", version] if get => return resources(parts, "", version),
        ["apis", group, version] if get => return resources(parts, group, version),
        _ => {}
    }
    if let ["api", "v1", "networks", rest @ ..] = segments.as_slice()
        && get
        && let Some(answer) = networks::plain(parts, rest, &query, wants)
    {
        return answer;
    }
    if let ["apis", group, version, plural] = segments.as_slice()
        && let Some(review) = review_at(group, version, plural)
    {
        if request.method() != Method::POST {
            return Err(Status::method_not_allowed(methods::POST));
        }
        let body = body(request, payload, parts, review.protobuf).await?;
        return reviews::answer(review, &query, body);
    }
    let target = match segments.as_slice() {
        ["api", version, rest @ ..] => target(parts, "", version, rest),
        // The only thing that this group's list has.
        ["apis", "policy", "v1", rest @ ..] if rest.ends_with(&["eviction"]) => target(parts, "", "v1", rest),
        ["apis", group, version, rest @ ..] => target(parts, group, version, rest),
        _ => None,
    };
    let mut target = target.ok_or_else(|| nothing_at(&segments))?;
    target.agent = writing::agent(request);
    if wants == Form::None {
        return Err(Status::new(406, "NotAcceptable", "only the following media types are accepted: application/json"));
    }
    resource(request, payload, parts, target, query, wants).await
}

/// Answers what is asked of a resource; reads of what may be out of date say so, also where nothing is found.
async fn resource(
    request: &HttpRequest,
    payload: web::Payload,
    parts: &HttpParts,
    target: Target,
    query: Query,
    wants: Form,
) -> Result<HttpResponse, Status> {
    let remarks = match *request.method() {
        Method::GET | Method::HEAD => read::remarks(&parts.objects.view(), &target),
        _ => Vec::new(),
    };
    let answered = work_on(request, payload, parts, target, query, wants).await;
    if remarks.is_empty() {
        return answered;
    }
    let mut response = answered.unwrap_or_else(|status| {
        parts.figures.errors.fetch_add(1, Ordering::Relaxed);
        respond::refusal(&status)
    });
    respond::warn_as("mkube", &mut response, &remarks);
    Ok(response)
}

async fn work_on(
    request: &HttpRequest,
    payload: web::Payload,
    parts: &HttpParts,
    target: Target,
    query: Query,
    wants: Form,
) -> Result<HttpResponse, Status> {
    if !methods::allows(&target, request.method().as_str()) {
        return Err(Status::method_not_allowed(methods::of(&target)));
    }
    if let Some(sub) = target.sub.as_deref()
        && sub != "status"
    {
        return match (sub, request.method()) {
            ("log", &Method::GET) => logs::answer(parts, &target, &query).await,
            ("exec", &Method::GET | &Method::POST) => exec::answer(request, payload, parts, &target, &query).await,
            ("attach", &Method::GET | &Method::POST) => exec::attach(request, payload, parts, &target, &query).await,
            ("portforward", &Method::GET | &Method::POST) => port_forward::answer(request, payload, parts, &target),
            ("scale", _) => scale::answer(request, payload, parts, &target, &query, wants).await,
            ("eviction", &Method::POST) => {
                let body = body(request, payload, parts, EVICTION).await?;
                eviction::create(parts, &target, &query, body).await
            }
            _ => Err(Status::method_not_allowed(methods::of(&target))),
        };
    }
    // What a watch tells has no end that a header could speak of.
    let watch = says_yes(&query, "watch") && request.method() == Method::GET;
    match (request.method(), target.name.is_some()) {
        // One object is not watched: clients watch its collection with a field selector.
        (&Method::GET | &Method::HEAD, true) => read::get(parts, &target, &query, wants),
        (&Method::GET | &Method::HEAD, false) if !watch => read::list(parts, &target, &query, wants),
        (&Method::GET | &Method::HEAD, false) => watching::answer(parts, &target, &query, wants),
        (&Method::POST, false) => {
            let body = body(request, payload, parts, target.called().protobuf).await?;
            write::create(parts, &target, &query, body, wants).await
        }
        (&Method::PUT, true) => {
            let body = body(request, payload, parts, target.called().protobuf).await?;
            write::update(parts, &target, &query, body, wants).await
        }
        (&Method::PATCH, true) => {
            let kind = content_type(request).to_owned();
            let mut counted = request_body::Counted::new(parts.figures.clone());
            let bytes = request_body::read(payload, &mut counted).await?;
            write::patch(parts, &target, &query, &kind, &bytes, wants).await
        }
        (&Method::DELETE, true) => {
            let body = body(request, payload, parts, DELETE_OPTIONS).await?;
            write::delete(parts, &target, &query, body.value).await
        }
        (&Method::DELETE, false) => {
            let body = body(request, payload, parts, DELETE_OPTIONS).await?;
            write::delete_collection(parts, &target, &query, body.value).await
        }
        _ => Err(Status::method_not_allowed(methods::of(&target))),
    }
}

pub fn content_type(request: &HttpRequest) -> &str {
    request.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default()
}

pub async fn body(
    request: &HttpRequest,
    payload: web::Payload,
    parts: &HttpParts,
    protobuf: &[Field],
) -> Result<request_body::Body, Status> {
    let mut counted = request_body::Counted::new(parts.figures.clone());
    let bytes = request_body::read(payload, &mut counted).await?;
    let body = request_body::parse(content_type(request), &bytes, protobuf)?;
    Ok(request_body::Body { counted: Some(counted), ..body })
}

/// What whoever asks for something that is not there is told.
fn nothing_at(segments: &[&str]) -> Status {
    let (group, rest) = match segments {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return Status::no_such_path(),
    };
    let (["namespaces", _, plural, below @ ..] | [plural, below @ ..]) = rest else { return Status::no_such_path() };
    why_absent(group, plural, below.get(1).copied()).map_or_else(Status::no_such_path, Status::absent)
}

/// Finds kind, namespace, name and subresource in the rest of a path.
fn target(parts: &HttpParts, group: &str, version: &str, rest: &[&str]) -> Option<Target> {
    let kinds = parts.objects.kinds();
    let find = |plural: &str| {
        let in_core = || kinds.find_in_core(version, plural).filter(|_| group.is_empty());
        let seen = view_at(group, version, plural);
        let kind = kinds.find(group, version, plural).or_else(in_core).or_else(|| kinds.get(&seen?.of));
        kind.copied().map(|kind| (kind, seen))
    };
    let make = |(kind, view): (Kind, Option<&'static View>), namespace: Option<&str>, rest: &[&str]| {
        let (name, sub) = match rest {
            [] => (None, None),
            [name] => (Some(*name), None),
            [name, sub] => (Some(*name), Some(*sub)),
            _ => return None,
        };
        let known = |sub: &str| (sub == "status" && kind.has_status) || kind.subresources.contains(&sub);
        if sub.is_some_and(|sub| !known(sub)) {
            return None;
        }
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Some(Target {
            kind,
            namespace: owned(namespace),
            name: owned(name),
            sub: owned(sub),
            in_core: kind.group != group && view.is_none(),
            agent: String::new(),
            view,
        })
    };
    if let ["namespaces", namespace, plural, rest @ ..] = rest
        && let Some(found) = find(plural).filter(|(kind, _)| kind.namespaced)
    {
        return make(found, Some(namespace), rest);
    }
    let (plural, rest) = rest.split_first()?;
    let found = find(plural)?;
    // An object of a namespaced kind has no name without its namespace.
    if found.0.namespaced && !rest.is_empty() {
        return None;
    }
    make(found, None, rest)
}

fn groups(parts: &HttpParts, wants: Form, core: bool) -> HttpResponse {
    let kinds = parts.objects.kinds();
    if wants == Form::Discovery {
        let mut response = respond::json(200, &discovery::aggregated(kinds, core));
        respond::set(
            &mut response,
            "content-type",
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        );
        return response;
    }
    respond::json(200, &if core { discovery::core_versions() } else { discovery::groups(kinds) })
}

fn resources(parts: &HttpParts, group: &str, version: &str) -> Result<HttpResponse, Status> {
    let found = discovery::resources(parts.objects.kinds(), group, version);
    found.map(|body| respond::json(200, &body)).ok_or_else(Status::no_such_path)
}

async fn supervisor(
    request: &HttpRequest,
    payload: web::Payload,
    parts: &HttpParts,
    rest: &[&str],
) -> Result<HttpResponse, Status> {
    let tree = parts.tree.borrow().clone().ok_or_else(|| Status::unavailable("the tree is being started", 1))?;
    let fault = |fault: mkube_supervision::TreeFault| match fault {
        mkube_supervision::TreeFault::Unknown(_) => Status::new(404, "NotFound", fault.to_string()),
        mkube_supervision::TreeFault::NotNow(_) => Status::new(409, "Conflict", fault.to_string()),
        mkube_supervision::TreeFault::Ended => Status::unavailable(fault.to_string(), 5),
    };
    match (request.method(), rest) {
        (&Method::GET | &Method::HEAD, []) => {
            let mut shown = json!(tree.status());
            if let Some(lease) = &parts.lease {
                shown["lease"] = lease.borrow().to_json();
            }
            Ok(respond::json(200, &shown))
        }
        (&Method::POST, [path @ .., "release"]) => {
            tree.release(&path.join("/")).await.map_err(fault)?;
            Ok(respond::json(200, &json!({"released": path.join("/")})))
        }
        (&Method::POST, [path @ .., "crash"]) if parts.allow_chaos => {
            let mut counted = request_body::Counted::new(parts.figures.clone());
            let body = request_body::parse("", &request_body::read(payload, &mut counted).await?, &[])?;
            let how = serde_json::from_value(body.value["how"].clone())
                .map_err(|_| Status::bad_request("`how` must be panic, error or stop"))?;
            tree.crash(&path.join("/"), how).await.map_err(fault)?;
            Ok(respond::json(200, &json!({"crashed": path.join("/")})))
        }
        (&Method::POST, [.., "crash"]) => {
            Err(Status::new(403, "Forbidden", "crashing actors is only possible when started with --allow-chaos"))
        }
        _ => Err(Status::no_such_path()),
    }
}

async fn images_of(
    request: &HttpRequest,
    payload: web::Payload,
    parts: &HttpParts,
    rest: &[&str],
) -> Result<HttpResponse, Status> {
    match (request.method(), rest) {
        (&Method::GET | &Method::HEAD, []) => Ok(images::list(parts)),
        (&Method::POST, ["redeploy"]) => {
            let body = body(request, payload, parts, &[]).await?;
            images::redeploy(parts, &body.value).await
        }
        (_, []) => Err(Status::method_not_allowed(methods::READ)),
        (_, ["redeploy"]) => Err(Status::method_not_allowed(methods::POST)),
        _ => Err(Status::no_such_path()),
    }
}

async fn push_notice_of(
    request: &HttpRequest,
    payload: web::Payload,
    parts: &HttpParts,
) -> Result<HttpResponse, Status> {
    if request.method() != Method::POST {
        return Err(Status::method_not_allowed(methods::POST));
    }
    let mut counted = request_body::Counted::new(parts.figures.clone());
    let bytes = request_body::read(payload, &mut counted).await?;
    let signature = request.headers().get(push_notice::SIGNATURE).and_then(|value| value.to_str().ok());
    push_notice::check_signature(parts.images.notify_secret.as_ref(), signature, &bytes)?;
    // Registries send JSON, whatever they call it.
    images::notify(parts, &request_body::parse("application/json", &bytes, &[])?.value)
}

/// A web page must not be able to drive the API of the machine it is read on.
fn check_origin(request: &HttpRequest, parts: &HttpParts) -> Result<(), Status> {
    let Some(allowed) = &parts.allowed_hosts else { return Ok(()) };
    let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    // Libraries that speak WebSocket name the server itself, and a page of another site cannot.
    let socket = request.headers().get("upgrade").is_some_and(|upgrade| upgrade == "websocket");
    let own =
        |origin: &str| socket && origin.split_once("://").is_some_and(|(_, from)| from.eq_ignore_ascii_case(host));
    if request.headers().get("origin").is_some_and(|origin| !origin.to_str().is_ok_and(own)) {
        return Err(Status::new(403, "Forbidden", "requests of web pages (with an Origin header) are refused"));
    }
    if host.is_empty() || allowed.iter().any(|one| one.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    Err(Status::new(403, "Forbidden", format!("requests for host {host:?} are refused")))
}

/// Query parameters; empty names are skipped. One that cannot be decoded is refused: without a selector, a deletion would
/// mean everything.
pub fn query_of(text: &str) -> Result<Query, Status> {
    let mut query = Query::new();
    let parts = text.split('&').map(|part| part.trim_start_matches('?')).filter(|part| !part.is_empty());
    for (name, value) in parts.map(|part| part.split_once('=').unwrap_or((part, ""))) {
        let decode = |text: &str| percent_decoded(&text.replace('+', " "));
        query.entry(decode(name)?).or_insert(decode(value)?);
    }
    Ok(query)
}

/// Every value of a parameter that may be there several times, in order.
pub fn values_of(text: &str, name: &str) -> Result<Vec<String>, Status> {
    let parts = text.split('&').map(|part| part.trim_start_matches('?'));
    let pairs = parts.map(|part| part.split_once('=').unwrap_or((part, "")));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| percent_decoded(&value.replace('+', " "))).collect()
}

/// Text as it was before it was put into an address.
pub fn percent_decoded(text: &str) -> Result<String, Status> {
    let bad = || Status::bad_request("the path or query is not percent-encoded UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(bad);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_and_odd_ones_survive() {
        let query = query_of("?&labelSelector=app%3Dweb&limit=500&watch&x=a+b&limit=1").expect("good");
        assert_eq!(query.get("labelSelector").map(String::as_str), Some("app=web"));
        assert_eq!(query.get("limit").map(String::as_str), Some("500"));
        assert_eq!(query.get("watch").map(String::as_str), Some(""));
        assert_eq!(query.get("x").map(String::as_str), Some("a b"));
        assert_eq!(
            values_of("command=a+b&x=1&?&command=%26&command", "command"),
            Ok(vec!["a b".into(), "&".into(), "".into()])
        );
        assert!(query_of("labelSelector=%zz").is_err());
        assert!(percent_decoded("%zz").is_err());
        assert!(percent_decoded("%ff").is_err());
    }
}
