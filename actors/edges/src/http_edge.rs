//! The actor: keeps a server on a socket, and everything a request needs.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use mkube_messages::door::Door;
use mkube_messages::objects::{ObjectsReader, WriteObject};
use mkube_model::neighbours::pod_logs::PodLogs;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_supervision::{Incarnation, Tree};
use tokio::sync::watch;

use crate::health::HealthChecks;
use crate::route::dispatch;

/// Seconds a stopping server waits for requests in flight; watches are cut.
const DRAIN_SECONDS: u64 = 2;
/// Open connections.
const CONNECTIONS: usize = 1024;

/// What the edge needs from outside. Cloned for each incarnation and each request.
#[derive(Clone)]
pub struct HttpParts {
    /// The socket; outlives the actor.
    pub listener: Arc<TcpListener>,
    /// Objects.
    pub objects: ObjectsReader,
    /// The one way in.
    pub write: Door<WriteObject>,
    /// The supervisor tree.
    pub tree: watch::Receiver<Option<Tree>>,
    /// Containers' output.
    pub logs: Arc<dyn PodLogs>,
    /// What `/readyz` asks.
    pub health: HealthChecks,
    /// Time of day.
    pub clock: Arc<dyn WallClock>,
    /// Whether actors may be crashed on request.
    pub allow_chaos: bool,
    /// Host names requests may be addressed to, with and without port; `None` allows all. With a list, requests of web pages
    /// (with an `Origin`) are refused too.
    pub allowed_hosts: Option<Vec<String>>,
    /// Version of mkube.
    pub version: &'static str,
    /// Figures of this edge.
    pub figures: Arc<Figures>,
}

/// Figures of the edge.
#[derive(Debug, Default)]
pub struct Figures {
    pub(crate) requests: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) watches: AtomicUsize,
    pub(crate) in_flight: AtomicUsize,
    /// Bytes of bodies that are being read or worked on.
    pub(crate) body_bytes: AtomicUsize,
}

/// See the room's card.
pub struct HttpEdge {
    parts: HttpParts,
    incarnation: Incarnation,
    server: Option<ServerHandle>,
}

impl HttpEdge {
    /// A new incarnation.
    pub fn new(parts: HttpParts, incarnation: &Incarnation) -> Self {
        Self { parts, incarnation: incarnation.clone(), server: None }
    }

    fn serve(&mut self, ctx: &mut Context<Self>) -> std::io::Result<()> {
        let listener = self.parts.listener.try_clone()?;
        let parts = self.parts.clone();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::new(parts.clone()))
                .app_data(web::PayloadConfig::new(usize::MAX))
                .default_service(web::to(dispatch))
        })
        .workers(1)
        .max_connections(CONNECTIONS)
        .shutdown_timeout(DRAIN_SECONDS)
        // A client that has gone is noticed at once, not with the next line of its watch.
        .h1_allow_half_closed(false)
        .disable_signals()
        .listen(listener)?
        .run();
        self.server = Some(server.handle());
        ctx.spawn(server.into_actor(self).map(|ended, actor, ctx| {
            let cause = ended.map_or_else(|error| error.to_string(), |()| "the HTTP server ended".to_owned());
            actor.incarnation.fail(ctx, cause);
        }));
        Ok(())
    }
}

impl Actor for HttpEdge {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Err(error) = self.serve(ctx) {
            self.incarnation.clone().fail(ctx, format!("HTTP cannot be served: {error}"));
        }
    }

    fn stopped(&mut self, _ctx: &mut Self::Context) {
        if let Some(server) = self.server.take() {
            // Runs on its own: an actor that has stopped waits for nobody.
            actix_rt::spawn(server.stop(true));
        }
    }
}
