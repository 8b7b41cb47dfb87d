//! Orders and questions about bridges, addresses and neighbours.

use actix::{Handler, WrapFuture};
use mkube_messages::router::{DescribeNeighbours, DescribeNetworks, EnsureBridge, ReleaseBridge};
use mkube_model::neighbours::router::{AddressRow, NeighbourRow};

use crate::hands;
use crate::router_actor::{Reply, RouterActor};

impl Handler<EnsureBridge> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: EnsureBridge, _ctx: &mut Self::Context) -> Self::Result {
        let work = hands::ensure_bridge(self.parts.router.clone(), order.bridge, order.address);
        Box::pin(order.context.answered_by("router", work).into_actor(self))
    }
}

impl Handler<ReleaseBridge> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: ReleaseBridge, _ctx: &mut Self::Context) -> Self::Result {
        let work = hands::release_bridge(self.parts.router.clone(), order.bridge, order.address, order.shared);
        Box::pin(order.context.answered_by("router", work).into_actor(self))
    }
}

impl Handler<DescribeNetworks> for RouterActor {
    type Result = Reply<(Vec<String>, Vec<AddressRow>)>;
    fn handle(&mut self, _question: DescribeNetworks, _ctx: &mut Self::Context) -> Self::Result {
        let router = self.parts.router.clone();
        let names = async move {
            let bridges = router.bridges().await?.into_iter().map(|row| row.name).collect();
            Ok((bridges, router.addresses().await?))
        };
        Box::pin(names.into_actor(self))
    }
}

impl Handler<DescribeNeighbours> for RouterActor {
    type Result = Reply<Vec<NeighbourRow>>;
    fn handle(&mut self, _question: DescribeNeighbours, _ctx: &mut Self::Context) -> Self::Result {
        let router = self.parts.router.clone();
        Box::pin(async move { router.neighbours().await }.into_actor(self))
    }
}
