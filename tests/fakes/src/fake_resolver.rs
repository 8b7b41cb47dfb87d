//! Name servers that answer as told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mkube_model::neighbours::resolver::Resolver;

#[derive(Debug, Default)]
struct Inner {
    answers: BTreeMap<(IpAddr, String), Result<BTreeSet<IpAddr>, String>>,
    asked: Vec<(IpAddr, String)>,
    lost: usize,
    asking: usize,
    most_at_once: usize,
}

/// A server that was told nothing of a name does not answer.
#[derive(Debug, Default)]
pub struct FakeResolver(Mutex<Inner>);

impl FakeResolver {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this server answers of a name from now on.
    pub fn set(&self, server: IpAddr, name: &str, answer: Result<IpAddr, &str>) {
        let answer = answer.map(|address| BTreeSet::from([address])).map_err(str::to_owned);
        self.inner().answers.insert((server, name.to_owned()), answer);
    }

    /// So many of the next questions get lost on the way.
    pub fn lose(&self, questions: usize) {
        self.inner().lost = questions;
    }

    /// Questions so far.
    pub fn asked(&self) -> Vec<(IpAddr, String)> {
        self.inner().asked.clone()
    }

    /// The most questions that were asked at the same moment.
    pub fn most_at_once(&self) -> usize {
        self.inner().most_at_once
    }
}

#[async_trait]
impl Resolver for FakeResolver {
    async fn addresses(&self, server: IpAddr, name: &str, patience: Duration) -> Result<BTreeSet<IpAddr>, String> {
        let answer = {
            let mut inner = self.inner();
            inner.asked.push((server, name.to_owned()));
            inner.asking += 1;
            inner.most_at_once = inner.most_at_once.max(inner.asking);
            let lost = inner.lost > 0;
            inner.lost = inner.lost.saturating_sub(1);
            inner.answers.get(&(server, name.to_owned())).filter(|_| !lost).cloned()
        };
        let time = if answer.is_some() { Duration::from_millis(1) } else { patience };
        tokio::time::sleep(time).await;
        self.inner().asking -= 1;
        answer.unwrap_or_else(|| Err(format!("{server} did not answer within {patience:?}")))
    }
}
