//! The distribution API: which request is which of the specification's, who may make it, and what it is answered.

mod answer;
mod blobs;
mod download;
mod listings;
mod manifests;
mod route;
mod uploads;

use std::sync::Arc;

use actix_web::http::{Method, header};
use actix_web::web::{Data, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, web};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::Fault;
use crate::names::RepositoryName;
use crate::parts::{Access, AccessRequest, Action, RegistryParts};
use crate::store::locks::KeyedLocks;
use crate::wire::Arrival;
pub(crate) use answer::refuse;
use download::Downloads;
use route::{Method as Verb, Route};

/// What requests share.
struct Shared {
    parts: RegistryParts,
    requests: Arc<Semaphore>,
    /// Held while a repository's manifest is stored and told of: whoever is told hears it in the order of storing.
    turns: Arc<KeyedLocks<RepositoryName>>,
    downloads: Downloads,
}

/// One request on its way.
struct Call {
    request: HttpRequest,
    shared: Data<Shared>,
    /// Counts it as long as it lasts.
    permit: OwnedSemaphorePermit,
}

/// Puts a registry under `/v2`. Call what this returns for every worker; routes of one's own below `/v2` go before it.
pub fn configure(parts: RegistryParts) -> impl Fn(&mut ServiceConfig) + Clone + Send + 'static {
    let requests = Arc::new(Semaphore::new(parts.limits.requests));
    let shared = Data::new(Shared { parts, requests, turns: Arc::default(), downloads: Downloads::default() });
    move |config| {
        let shared = shared.clone();
        let handle = move |request: HttpRequest, payload: Payload| handle(request, payload, shared.clone());
        config.service(web::resource(["/v2", "/v2/{rest:.*}"]).to(handle));
    }
}

async fn handle(request: HttpRequest, mut payload: Payload, shared: Data<Shared>) -> HttpResponse {
    let head = request.method() == Method::HEAD;
    let Ok(permit) = shared.requests.clone().try_acquire_owned() else {
        return answer::refuse(&Fault::TooMany("requests"), head);
    };
    let call = Call { request, shared, permit };
    match dispatch(call, &mut payload).await {
        Ok(response) => response,
        Err(fault) => {
            if fault.status() >= 500 {
                tracing::error!(%fault, "request not served");
            }
            // A client that still sends would not read the answer; one that stopped sending sends no more.
            if !matches!(fault, Fault::UploadBroken(_)) {
                uploads::drain(payload).await;
            }
            answer::refuse(&fault, head)
        }
    }
}

async fn dispatch(call: Call, payload: &mut Payload) -> Result<HttpResponse, Fault> {
    let route = Route::read(call.request.uri().path())?;
    let verb = Verb::of(call.request.method());
    let action = route.action(verb)?;
    call.allowed(route.repository(), action).await?;
    match route {
        Route::Base => Ok(answer::headers(HttpResponse::Ok()).content_type("application/json").body("{}")),
        Route::Catalog => listings::catalog(&call),
        Route::Tags(repository) => listings::tags(&call, &repository),
        Route::Referrers(repository, digest) => listings::referrers(&call, &repository, &digest).await,
        Route::Manifest(repository, reference) => match verb {
            Verb::Get | Verb::Head => manifests::get(&call, &repository, &reference).await,
            Verb::Put => manifests::put(&call, &repository, &reference, payload).await,
            _ => manifests::delete(&call, &repository, &reference).await,
        },
        Route::Blob(repository, digest) => match verb {
            Verb::Get | Verb::Head => blobs::get(call, &repository, &digest).await,
            _ => blobs::delete(&call, &repository, &digest).await,
        },
        Route::Uploads(repository) => uploads::post(&call, &repository, payload).await,
        Route::Upload(repository, id) => match verb {
            Verb::Get | Verb::Head => uploads::status(&call, &repository, id).await,
            Verb::Patch => uploads::patch(&call, &repository, id, payload).await,
            Verb::Put => uploads::put(&call, &repository, id, payload).await,
            _ => uploads::cancel(&call, &repository, id).await,
        },
    }
}

impl Call {
    fn parts(&self) -> &RegistryParts {
        &self.shared.parts
    }

    async fn decide(&self, repository: Option<&RepositoryName>, action: Action) -> Access {
        let connection = self.request.connection_info().clone();
        let authorization = self.header(&header::AUTHORIZATION);
        let secure = self.request.conn_data::<Arrival>().is_some_and(|arrival| arrival.encrypted);
        let peer = self.request.peer_addr();
        let asked = AccessRequest { authorization, repository, action, peer, host: connection.host(), secure };
        self.parts().access.decide(&asked).await
    }

    async fn allowed(&self, repository: Option<&RepositoryName>, action: Action) -> Result<(), Fault> {
        match self.decide(repository, action).await {
            Access::Allow => Ok(()),
            Access::Challenge(challenge) => Err(Fault::Unauthorized(challenge)),
            Access::Deny(why) => Err(Fault::Denied(why)),
            Access::Busy => Err(Fault::TooMany("logins")),
        }
    }

    fn is_head(&self) -> bool {
        self.request.method() == Method::HEAD
    }

    fn header(&self, name: &header::HeaderName) -> Option<&str> {
        self.request.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// Parameters after the `?`, decoded, in order.
    fn parameters(&self) -> Result<Vec<(String, String)>, Fault> {
        web::Query::<Vec<(String, String)>>::from_query(self.request.query_string())
            .map(web::Query::into_inner)
            .map_err(|error| Fault::Unreadable(format!("the parameters cannot be read: {error}")))
    }
}

/// The first parameter of a name.
fn parameter<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}
