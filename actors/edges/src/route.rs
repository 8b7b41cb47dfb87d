//! From method and path to the one function that answers. Resources are found in the table of kinds, none is named here.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix_web::http::{ConnectionType, Method};
use actix_web::{HttpRequest, HttpResponse, web};
use mkube_messages::offers::OFFERS_PATH;
use mkube_model::discovery;
use mkube_model::kinds::{Kind, View, review_at, view_at, why_absent};
use mkube_model::protobuf::{DELETE_OPTIONS, EVICTION};
use mkube_model::status::Status;
use tracing::Instrument;

use crate::methods::Verb;
use crate::negotiate::{Form, form};
use crate::parameters::{percent_decoded, query_of, says_yes};
use crate::parts::{Figures, HttpParts, Query, Target};
use crate::{
    containers, eviction, methods, networks, offered, own, passing_on, pretty, read, request_body, respond, reviews,
    scale, usage, watching, write, writing,
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
    let mut response = answering.instrument(span.clone()).await.unwrap_or_else(|status| {
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
    passing_on::sign(&request, &mut response, &parts);
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
    if let Some(table) = own::at(&segments) {
        let own = methods::of(table, request.method())?;
        return own::answer(own, &segments, (request, payload), parts, &query, wants).await;
    }
    let version = match segments.as_slice() {
        ["api", version] => Some(("", *version)),
        ["apis", group, version] => Some((*group, *version)),
        _ => None,
    };
    if let Some((group, version)) = version {
        let found = resources(parts, group, version);
        if get || found.is_err() {
            return found;
        }
        return Err(Status::method_not_allowed(methods::READ));
    }
    match segments.as_slice() {
        ["apis", group] if get && parts.objects.kinds().group_versions().iter().any(|(one, _)| one == group) => {
            return Ok(respond::json(200, &discovery::group(parts.objects.kinds(), group)));
        }
        ["apis", "metrics.k8s.io", "v1beta1", rest @ ..] if get => return usage::answer(parts, rest, &query),
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
        let body = request_body::of(request, payload, parts, review.protobuf).await?;
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
    let verb = methods::of(methods::of_resource(&target), request.method())?;
    match verb {
        Verb::ReadLog | Verb::Exec | Verb::Attach | Verb::PortForward => {
            containers::answer(request, payload, parts, &target, &query, verb).await
        }
        Verb::Evict => {
            let body = request_body::of(request, payload, parts, EVICTION).await?;
            eviction::create(parts, &target, &query, body).await
        }
        Verb::GetScale => scale::get(parts, &target, &query, wants),
        Verb::UpdateScale => {
            let body = request_body::of(request, payload, parts, &[]).await?;
            scale::update(parts, &target, &query, body, wants).await
        }
        Verb::PatchScale => {
            let mut counted = request_body::Counted::new(parts.figures.clone());
            let bytes = request_body::read(payload, &mut counted).await?;
            scale::patch(parts, &target, &query, request_body::content_type(request), &bytes, wants).await
        }
        // One object is not watched: clients watch its collection with a field selector.
        Verb::Get => read::get(parts, &target, &query, wants),
        // What a watch tells has no end that a header could speak of.
        Verb::List if says_yes(&query, "watch") && request.method() == Method::GET => {
            watching::answer(parts, &target, &query, wants)
        }
        Verb::List => read::list(parts, &target, &query, wants),
        Verb::Create => {
            let body = request_body::of(request, payload, parts, target.called().protobuf).await?;
            write::create(parts, &target, &query, body, wants).await
        }
        Verb::Update => {
            let body = request_body::of(request, payload, parts, target.called().protobuf).await?;
            write::update(parts, &target, &query, body, wants).await
        }
        Verb::Patch => {
            let mut counted = request_body::Counted::new(parts.figures.clone());
            let bytes = request_body::read(payload, &mut counted).await?;
            write::patch(parts, &target, &query, request_body::content_type(request), &bytes, wants).await
        }
        Verb::Delete => {
            let body = request_body::of(request, payload, parts, DELETE_OPTIONS).await?;
            write::delete(parts, &target, &query, body.value).await
        }
        Verb::DeleteCollection => {
            let body = request_body::of(request, payload, parts, DELETE_OPTIONS).await?;
            write::delete_collection(parts, &target, &query, body.value).await
        }
    }
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

fn resources(parts: &HttpParts, group: &str, version: &str) -> Result<HttpResponse, Status> {
    let found = discovery::resources(parts.objects.kinds(), group, version);
    found.map(|body| respond::json(200, &body)).ok_or_else(Status::no_such_path)
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
