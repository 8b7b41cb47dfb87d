//! What a container holds of the network. Containers that name the same interfaces are in one namespace, as on a device; it is
//! taken down with the last of them.

use std::path::Path;

use mkube_router_machine::engine::EngineFault;

use crate::archive::io_fault;

/// File of a bundle that says it.
const FILE: &str = "network";

/// A namespace and the outer ends of the interfaces in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Name of the namespace.
    pub namespace: String,
    /// Kernel names of the interfaces.
    pub links: Vec<String>,
}

impl Held {
    /// Whether both name one interface.
    pub fn meets(&self, links: &[String]) -> bool {
        self.links.iter().any(|link| links.contains(link))
    }

    /// What the container of a bundle holds.
    pub fn read(bundle: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(bundle.join(FILE)).ok()?;
        let mut lines = text.lines().map(str::to_owned);
        Some(Self { namespace: lines.next()?, links: lines.collect() })
    }

    /// Notes it, before anything of it is made.
    pub fn write(&self, bundle: &Path) -> Result<(), EngineFault> {
        let lines = std::iter::once(&self.namespace).chain(&self.links).cloned().collect::<Vec<_>>();
        std::fs::write(bundle.join(FILE), lines.join("\n")).map_err(io_fault)
    }
}
