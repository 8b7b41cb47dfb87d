//! One reading of the device: what is asked for, and what came of it.

use std::sync::Arc;

use imbl::OrdMap;
use mkube_model::neighbours::router::{ContainerRow, ContainerState, EnvRow, MountRow, Router, RouterFault};
use tokio::time::Instant;

use crate::picture::{Learned, shows_an_end};

/// What is to be read.
pub struct Reading {
    /// The device's figures.
    pub figures: bool,
    /// These containers, as last seen; none: all there are.
    pub rows: Option<Vec<ContainerRow>>,
    /// Interfaces.
    pub veths: bool,
    /// Bridge ports.
    pub ports: bool,
    /// Mount and environment lists.
    pub lists: bool,
    /// All containers, as last seen.
    pub before: OrdMap<String, Arc<ContainerRow>>,
}

/// What was learnt, whether everything could be read, and mount and environment lists.
pub type Taken = (Vec<Learned>, Result<(), RouterFault>, Option<(Vec<MountRow>, Vec<EnvRow>)>);

impl Reading {
    /// Whether it is of all containers.
    pub fn is_of_all(&self) -> bool {
        self.rows.is_none()
    }

    /// Reads, one after the other. It begins at that time.
    pub async fn take(self, router: Arc<dyn Router>, begun: Instant) -> Taken {
        let mut learned = Vec::new();
        let result = self.take_tables(&*router, begun, &mut learned).await;
        let lists = if self.lists && result.is_ok() { read_lists(&*router).await } else { None };
        (learned, result, lists)
    }

    async fn take_tables(
        &self,
        router: &dyn Router,
        begun: Instant,
        learned: &mut Vec<Learned>,
    ) -> Result<(), RouterFault> {
        if self.figures {
            learned.push(Learned::Resource(router.resource().await?, begun));
        }
        let some = match &self.rows {
            Some(rows) => ask_each(router, rows).await?,
            None => None,
        };
        let containers = match some {
            Some(rows) => Learned::Rows(rows),
            None => Learned::Containers(router.containers().await?),
        };
        let shows_an_end = match &containers {
            Learned::Rows(rows) => shows_an_end(&self.before, rows.iter().filter_map(|(_, row)| row.as_ref())),
            Learned::Containers(rows) => shows_an_end(&self.before, rows),
            _ => false,
        };
        if !self.figures && shows_an_end {
            let asked = Instant::now();
            learned.push(Learned::Resource(router.resource().await?, asked));
        }
        learned.push(containers);
        if self.veths {
            learned.push(Learned::Veths(router.veths().await?));
        }
        if self.ports {
            learned.push(Learned::Ports(router.bridge_ports().await?));
        }
        Ok(())
    }
}

/// Each of these containers as it is now, by name; none: one is gone that was not going, or has another name. That is strange, and
/// only a list of all tells more.
async fn ask_each(
    router: &dyn Router,
    rows: &[ContainerRow],
) -> Result<Option<Vec<(String, Option<ContainerRow>)>>, RouterFault> {
    let mut found = Vec::with_capacity(rows.len());
    for before in rows {
        let now = router.container(&before.id).await?;
        let is_expected = match &now {
            Some(now) => now.name == before.name,
            None => before.state == ContainerState::Deleting,
        };
        if !is_expected {
            return Ok(None);
        }
        found.push((before.name.clone(), now));
    }
    Ok(Some(found))
}

/// Both lists, or none. Containers are more urgent: that the lists cannot be read is no fault of the reading.
async fn read_lists(router: &dyn Router) -> Option<(Vec<MountRow>, Vec<EnvRow>)> {
    let read = async { Ok::<_, RouterFault>((router.all_mounts().await?, router.all_envs().await?)) };
    read.await.inspect_err(|fault| tracing::debug!(%fault, "mount and environment lists could not be read")).ok()
}
