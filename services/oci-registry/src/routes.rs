//! Routes beside those of the specification: tokens, the Go registry's `_pull`, and its management port.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::web::{Bytes, Data, PayloadConfig, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use crate::access::{AccessControl, DENIED, Decision, Reached, Wanted};
use crate::fault::Fault;
use crate::http::refuse;
use crate::upstream::Upstreams;
use crate::watcher::WatcherPoke;
use crate::wire::Arrival;

/// Bytes of a body here: a name and some quotes.
const LARGEST: usize = 16 << 10;

/// What these routes need.
#[derive(Clone)]
struct Desk {
    access: Arc<AccessControl>,
    upstreams: Option<Upstreams>,
}

/// Who asks and under which name.
struct Asking {
    authorization: Option<String>,
    host: String,
    encrypted: bool,
}

impl Asking {
    fn read(request: &HttpRequest) -> Self {
        let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Self {
            authorization: text(header::AUTHORIZATION),
            host: request.connection_info().host().to_owned(),
            encrypted: request.conn_data::<Arrival>().is_some_and(|arrival| arrival.encrypted),
        }
    }

    fn reached(&self) -> Reached<'_> {
        Reached { encrypted: self.encrypted, host: &self.host }
    }
}

fn decided(decision: Decision) -> Result<(), Fault> {
    match decision {
        Decision::Granted(_) => Ok(()),
        Decision::Unauthenticated(challenge) => Err(Fault::Unauthorized(challenge)),
        Decision::Denied => Err(Fault::Denied(DENIED.to_owned())),
        Decision::Busy => Err(Fault::TooMany("logins")),
    }
}

/// `GET /v2/_token` and `POST /v2/_pull`; to be asked before the specification's routes.
pub(crate) fn beside(
    access: Arc<AccessControl>,
    upstreams: Option<Upstreams>,
) -> impl Fn(&mut ServiceConfig) + Clone + Send + 'static {
    let desk = Data::new(Desk { access, upstreams });
    move |config| {
        config.service(web::resource("/v2/_token").app_data(desk.clone()).route(web::get().to(token))).service(
            web::resource("/v2/_pull")
                .app_data(desk.clone())
                .app_data(PayloadConfig::new(LARGEST))
                .route(web::post().to(pull)),
        );
    }
}

async fn token(request: HttpRequest, desk: Data<Desk>) -> HttpResponse {
    let asking = Asking::read(&request);
    match desk.access.issue(asking.authorization.as_deref(), asking.reached()).await {
        Ok(issued) => HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(issued),
        Err(decision) => match decided(decision) {
            Err(fault) => refuse(&fault, false),
            Ok(()) => HttpResponse::InternalServerError().finish(),
        },
    }
}

#[derive(Deserialize)]
struct Pull {
    image: String,
}

async fn pull(request: HttpRequest, body: Bytes, desk: Data<Desk>) -> HttpResponse {
    match pulled(&request, &body, &desk).await {
        Ok(answer) => HttpResponse::Ok().json(answer),
        Err(fault) => refuse(&fault, false),
    }
}

async fn pulled(request: &HttpRequest, body: &[u8], desk: &Desk) -> Result<serde_json::Value, Fault> {
    let asking = Asking::read(request);
    let asked: Result<Pull, _> = serde_json::from_slice(body);
    let repository = asked.as_ref().map_or("", |asked| asked.image.as_str());
    let wanted = Wanted::Push(repository);
    decided(desk.access.judge(asking.authorization.as_deref(), wanted, asking.reached()).await)?;
    let Pull { image } =
        asked.map_err(|error| Fault::Unreadable(format!("the body is not {{\"image\": \"…\"}}: {error}")))?;
    let upstreams = desk.upstreams.as_ref();
    let none = || Fault::Unreadable("there are no upstreams; set upstreamRegistries".to_owned());
    let mirrored = upstreams.ok_or_else(none)?.pull(&image).await?;
    let status = if mirrored.blobs == mirrored.total { "ok" } else { "partial" };
    let mut answer = json!({
        "status": status, "manifest": true, "blobs": mirrored.blobs, "total": mirrored.total,
        "repository": mirrored.repository.as_str(), "digest": mirrored.digest.as_str(),
    });
    if let Some(fault) = mirrored.fault {
        answer["error"] = fault.into();
    }
    Ok(answer)
}

/// The management port: `GET /healthz`, `POST /poll`.
pub(crate) fn management(poke: Option<WatcherPoke>) -> impl Fn(&mut ServiceConfig) + Clone + Send + 'static {
    move |config| {
        let poke = poke.clone();
        let poll = move || {
            let poke = poke.clone();
            async move {
                match poke {
                    Some(poke) => {
                        poke.poke();
                        HttpResponse::Ok().json(json!({"status": "poll triggered"}))
                    }
                    None => HttpResponse::NotFound().json(json!({"error": "there are no watchImages"})),
                }
            }
        };
        config
            .route("/healthz", web::get().to(|| async { HttpResponse::Ok().content_type("text/plain").body("ok") }))
            .route("/poll", web::post().to(poll));
    }
}
