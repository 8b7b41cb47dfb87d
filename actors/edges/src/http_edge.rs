//! The actor: keeps a server on a socket.

use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use actix_http::HttpService;
use actix_server::{Server, ServerHandle};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::{App, web};
use mkube_supervision::Incarnation;

use crate::parts::HttpParts;
use crate::route::dispatch;
use crate::wire::Wire;

/// Seconds a stopping server waits for requests in flight; watches are cut.
const DRAIN_SECONDS: u64 = 2;
/// How long the head of a request may take, and a client that is told to go.
const REQUEST: Duration = Duration::from_secs(5);
const DISCONNECT: Duration = Duration::from_secs(1);

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
        let (parts, limits) = (self.parts.clone(), self.parts.limits);
        limits.bound(&listener)?;
        let builder = Server::build()
            .workers(1)
            .max_concurrent_connections(limits.connections)
            .shutdown_timeout(DRAIN_SECONDS)
            .disable_signals();
        let stopping = builder.graceful_shutdown_signal();
        let serving = builder.listen("api", listener, move || {
            let stopping = stopping.clone();
            let app = App::new()
                .app_data(web::Data::new(parts.clone()))
                .app_data(web::PayloadConfig::new(usize::MAX))
                .default_service(web::to(dispatch));
            let http = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .client_request_timeout(REQUEST)
                .client_disconnect_timeout(DISCONNECT)
                // A client that has gone is noticed at once, not with the next line of its watch.
                .h1_allow_half_closed(false)
                .finish(map_config(app.into_factory().map_err(|error| error.error_response()), |()| {
                    AppConfig::default()
                }));
            fn_service(Wire::from).and_then(http)
        })?;
        let server = serving.run();
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
