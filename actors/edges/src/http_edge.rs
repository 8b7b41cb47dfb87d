//! The actor: keeps a server on a socket.

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use mkube_supervision::Incarnation;

use crate::parts::HttpParts;
use crate::route::dispatch;

/// Seconds a stopping server waits for requests in flight; watches are cut.
const DRAIN_SECONDS: u64 = 2;

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
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::new(parts.clone()))
                .app_data(web::PayloadConfig::new(usize::MAX))
                .default_service(web::to(dispatch))
        })
        .workers(1)
        .max_connections(limits.connections)
        .shutdown_timeout(DRAIN_SECONDS)
        // Long lists and watches are written in pieces: none is to wait until the one before was acknowledged.
        .tcp_nodelay(true)
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
