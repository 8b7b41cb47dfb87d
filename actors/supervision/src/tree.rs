//! The handle on a running tree: thread-safe, cheap to clone, never waits for an actor.

use std::sync::Arc;
use std::time::Duration;

use mkube_messages::watch;
use mkube_model::neighbours::wall_clock::WallClock;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::child::ChildSpec;
use crate::spec::{Child, SupervisorSpec};
use crate::status::{Cell, StatusNode};
use crate::tree_task::TreeTask;

/// How to crash an actor, for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CrashHow {
    /// A panic inside the actor's own task.
    Panic,
    /// An end with a cause.
    Error,
    /// A stop that its supervisor did not order.
    Stop,
}

/// Why an order to the tree was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeFault {
    /// No node at that path.
    #[error("no actor or supervisor at {0:?}")]
    Unknown(String),
    /// The node is not in a state for it.
    #[error("{0}")]
    NotNow(String),
    /// The tree has ended.
    #[error("the supervisor tree has ended")]
    Ended,
}

pub(crate) enum Command {
    StartChild(String, ChildSpec),
    StopChild(String),
    StartBranch { parent: String, child: Child, before: Option<String> },
    StopBranch(String, Duration, oneshot::Sender<()>),
    Release(String, oneshot::Sender<Result<(), TreeFault>>),
    Crash(String, CrashHow, oneshot::Sender<Result<(), TreeFault>>),
    StopAll(Duration, oneshot::Sender<()>),
}

/// A running tree.
#[derive(Clone)]
pub struct Tree {
    root: Arc<Cell>,
    commands: mpsc::UnboundedSender<Command>,
    gave_up: watch::Receiver<Option<String>>,
}

/// Starts the tree on this thread's actix system.
pub fn start(root: SupervisorSpec, clock: Arc<dyn WallClock>) -> Tree {
    // Unbounded, but fed only by the few who start and stop pods, one command per change.
    let (commands, orders) = mpsc::unbounded_channel();
    let (give_up, gave_up) = watch::channel(None);
    let cell = Cell::new(&root.name, Some(root.strategy), None);
    let task = TreeTask::new(root, cell.clone(), clock, give_up);
    actix_rt::spawn(task.run(orders));
    Tree { root: cell, commands, gave_up }
}

impl Tree {
    /// The whole tree as it is now.
    pub fn status(&self) -> StatusNode {
        self.root.read()
    }

    /// Starts a child under the supervisor at `path`, or replaces the one of the same name. Told, not waited for.
    pub fn start_child(&self, path: &str, spec: ChildSpec) -> Result<(), TreeFault> {
        self.tell(Command::StartChild(path.to_owned(), spec))
    }

    /// Stops the child at `path` and forgets it. Told, not waited for; nothing there is success.
    pub fn stop_child(&self, path: &str) -> Result<(), TreeFault> {
        self.tell(Command::StopChild(path.to_owned()))
    }

    /// Adds a child under the supervisor at `parent`, with all that is below it, and starts it: in the order of starting and stopping
    /// before the sibling of that name, or last. Told, not waited for; what is there already stays as it is.
    pub fn start_branch(&self, parent: &str, child: Child, before: Option<&str>) -> Result<(), TreeFault> {
        let before = before.map(str::to_owned);
        self.tell(Command::StartBranch { parent: parent.to_owned(), child, before })
    }

    /// Stops the child at `path` with all that is below it, last started first, within `budget`, and forgets it; what is left then
    /// is cut off. Everybody else goes on. Nothing there is success.
    pub async fn stop_branch(&self, path: &str, budget: Duration) {
        let (done, stopped) = oneshot::channel();
        if self.tell(Command::StopBranch(path.to_owned(), budget, done)).is_ok() {
            // An error means that the whole tree stops, or has ended.
            drop(stopped.await);
        }
    }

    /// Stops branches one after the other, within `budget` for all of them. Once that is over, those whose turn comes are cut off.
    pub async fn stop_branches(&self, paths: &[&str], budget: Duration) {
        let end = Instant::now() + budget;
        for path in paths {
            self.stop_branch(path, end.saturating_duration_since(Instant::now())).await;
        }
    }

    /// Starts a held child again.
    pub async fn release(&self, path: &str) -> Result<(), TreeFault> {
        let (answer, answered) = oneshot::channel();
        self.tell(Command::Release(path.to_owned(), answer))?;
        answered.await.unwrap_or(Err(TreeFault::Ended))
    }

    /// Crashes the actor at `path`, for tests.
    pub async fn crash(&self, path: &str, how: CrashHow) -> Result<(), TreeFault> {
        let (answer, answered) = oneshot::channel();
        self.tell(Command::Crash(path.to_owned(), how, answer))?;
        answered.await.unwrap_or(Err(TreeFault::Ended))
    }

    /// Stops everything, last started first, within `budget`; what is left then is cut off.
    pub async fn stop(&self, budget: Duration) {
        let (done, stopped) = oneshot::channel();
        if self.tell(Command::StopAll(budget, done)).is_ok() {
            // An error means that the task is gone, and the tree with it.
            drop(stopped.await);
        }
    }

    /// Resolves with the cause when the root gives up.
    pub async fn gave_up(&self) -> String {
        let mut gave_up = self.gave_up.clone();
        match gave_up.wait_for(Option::is_some).await {
            Ok(cause) => cause.clone().unwrap_or_default(),
            Err(_) => "the supervisor tree has ended".to_owned(),
        }
    }

    fn tell(&self, command: Command) -> Result<(), TreeFault> {
        self.commands.send(command).map_err(|_| TreeFault::Ended)
    }
}
