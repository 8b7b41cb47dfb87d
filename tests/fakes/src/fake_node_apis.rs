//! The APIs of other nodes, where there are none.

use async_trait::async_trait;
use mkube_model::neighbours::node_apis::{NodeAnswer, NodeApis, NodeRequest, Unanswered};

/// Reaches nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoNodeApis;

#[async_trait]
impl NodeApis for NoNodeApis {
    async fn ask(&self, _request: NodeRequest) -> Result<NodeAnswer, Unanswered> {
        Err(Unanswered::Away("there are no other nodes".to_owned()))
    }
}
