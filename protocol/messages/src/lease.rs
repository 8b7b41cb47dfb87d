//! What LeaseActor publishes: who drives the device.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::watch;

/// How things stand between the controllers of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// I drive.
    Drives,
    /// I hold the lease, and only read until every command of my predecessor has ended.
    ReadsOnly,
    /// I held it, somebody may have taken over, and the book does not answer.
    Expired,
    /// The book was not read yet.
    Asking {
        /// What it said, when it does not answer.
        why: Option<String>,
    },
    /// Nobody holds it; I wait before I take it.
    WaitsToTake,
    /// Another drives.
    StandsBy {
        /// Who.
        holder: String,
        /// It knows me, and I take over when it is silent.
        acknowledged: bool,
    },
    /// Another holds it, and does not acknowledge me: it may drive while the book is out of its reach, or be no more.
    Unheard {
        /// Who.
        holder: String,
    },
    /// Another process has my name.
    Twin,
}

/// See the file's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseView {
    /// The device's node.
    pub node: String,
    /// Who I am.
    pub identity: String,
    /// How often the lease changed hands, as far as is known.
    pub token: u64,
    /// For so many seconds a command that the holder announced may be at work.
    pub announced: u64,
    /// How things stand.
    pub standing: Standing,
}

impl LeaseView {
    /// Whether the device is mine to change.
    pub fn drives(&self) -> bool {
        self.standing == Standing::Drives
    }

    /// How things stand, for people.
    pub fn sentence(&self) -> String {
        let Self { node, identity, standing, .. } = self;
        match standing {
            Standing::Drives => format!("drives {node}"),
            Standing::ReadsOnly => {
                format!("has taken over {node} and waits until the commands of its predecessor have ended")
            }
            Standing::Expired => format!(
                "does not drive {node}: the store is away, and whoever stands by may have taken over in the meantime"
            ),
            Standing::Asking { why: None } => format!("standing by for {node}: the lease is being read"),
            Standing::Asking { why: Some(why) } => {
                format!("standing by for {node}: who drives it is not known ({why})")
            }
            Standing::WaitsToTake => {
                format!("standing by for {node}: nobody drives it, and it is taken over in a moment")
            }
            Standing::StandsBy { holder, acknowledged: true } => format!("standing by for {node}: {holder} drives"),
            Standing::StandsBy { holder, acknowledged: false } => {
                format!("standing by for {node}: {holder} drives and was asked to share its lease")
            }
            Standing::Unheard { holder } => format!(
                "standing by for {node}: {holder} has its lease and does not answer; it may drive where the store is out of its \
                 reach. When you know that it does not run: `nats kv del LEASES kube-node-lease.{node}` lets this one in"
            ),
            Standing::Twin => {
                format!("does not drive {node}: another process is {identity} too; its files were copied")
            }
        }
    }

    /// What is wrong, if something is: standing by is well.
    pub fn trouble(&self) -> Option<String> {
        let wrong = match &self.standing {
            Standing::Drives | Standing::ReadsOnly | Standing::WaitsToTake | Standing::StandsBy { .. } => false,
            Standing::Expired | Standing::Asking { .. } | Standing::Unheard { .. } | Standing::Twin => true,
        };
        wrong.then(|| self.sentence())
    }

    /// The same for programs.
    pub fn to_json(&self) -> Value {
        let holder = match &self.standing {
            Standing::Drives | Standing::ReadsOnly => Some(&self.identity),
            Standing::StandsBy { holder, .. } | Standing::Unheard { holder } => Some(holder),
            Standing::Expired | Standing::Asking { .. } | Standing::WaitsToTake | Standing::Twin => None,
        };
        json!({
            "node": self.node,
            "identity": self.identity,
            "holder": holder,
            "token": self.token,
            "announcedSeconds": self.announced,
            "drives": self.drives(),
            "message": self.sentence(),
        })
    }
}

/// Publishes it; outlives the actor.
pub type LeasePublisher = Arc<watch::Sender<Arc<LeaseView>>>;
/// Reads it.
pub type LeaseReader = watch::Receiver<Arc<LeaseView>>;

/// A publisher and a reader, with nothing known.
pub fn lease_view(node: String, identity: String) -> (LeasePublisher, LeaseReader) {
    let view = LeaseView { node, identity, token: 0, announced: 0, standing: Standing::Asking { why: None } };
    let (sender, reader) = watch::channel(Arc::new(view));
    (Arc::new(sender), reader)
}
