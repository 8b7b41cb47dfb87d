//! What the actor does about files: orders about one path follow one another, and so do downloads.

use actix::{ActorFutureExt, Context, Handler, ResponseActFuture, WrapFuture};
use mkube_messages::request::RequestContext;
use mkube_messages::router::{DescribeFile, DescribeRoom, FetchFile, PlaceFile, RemoveFile, RenameFile};
use mkube_model::neighbours::router::RouterFault;

use crate::hands;
use crate::router_actor::RouterActor;

type Reply<T> = ResponseActFuture<RouterActor, Result<T, RouterFault>>;

/// Whose turn the downloads take: no path is empty.
const DOWNLOADS: &str = "";

impl RouterActor {
    /// Does a piece of work when it is the turn of `name`.
    fn in_turn(
        &mut self,
        context: RequestContext,
        name: &str,
        work: impl Future<Output = Result<(), RouterFault>> + 'static,
    ) -> Reply<()> {
        let turn = self.files.take(name);
        let work = context.answered_by("router", work);
        let done = async move {
            let _turn = turn.await;
            work.await
        };
        Box::pin(done.into_actor(self).map(|done, _actor, _ctx| done))
    }
}

impl Handler<DescribeFile> for RouterActor {
    type Result = Reply<Option<u64>>;
    fn handle(&mut self, question: DescribeFile, _ctx: &mut Context<Self>) -> Self::Result {
        let router = self.parts.router.clone();
        Box::pin(async move { router.file_size(&question.path).await }.into_actor(self))
    }
}

impl Handler<DescribeRoom> for RouterActor {
    type Result = Reply<Option<u64>>;
    fn handle(&mut self, question: DescribeRoom, _ctx: &mut Context<Self>) -> Self::Result {
        let router = self.parts.router.clone();
        Box::pin(async move { router.disk_free(&question.path).await }.into_actor(self))
    }
}

impl Handler<FetchFile> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: FetchFile, _ctx: &mut Context<Self>) -> Self::Result {
        let router = self.parts.router.clone();
        let work = hands::fetch_file(router, order.url, order.path, order.in_background);
        self.in_turn(order.context, DOWNLOADS, work)
    }
}

impl Handler<RenameFile> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: RenameFile, _ctx: &mut Context<Self>) -> Self::Result {
        let name = order.to.clone();
        let work = hands::rename_file(self.parts.router.clone(), order.from, order.to);
        self.in_turn(order.context, &name, work)
    }
}

impl Handler<RemoveFile> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: RemoveFile, _ctx: &mut Context<Self>) -> Self::Result {
        let name = order.path.clone();
        let work = hands::remove_file(self.parts.router.clone(), order.path);
        self.in_turn(order.context, &name, work)
    }
}

impl Handler<PlaceFile> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: PlaceFile, _ctx: &mut Context<Self>) -> Self::Result {
        let name = order.path.clone();
        let work = hands::place_file(self.parts.router.clone(), order.path, order.contents);
        self.in_turn(order.context, &name, work)
    }
}
