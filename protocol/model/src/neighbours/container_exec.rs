//! Commands in containers that run.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::pod_logs::ContainerRef;
use crate::status::Status;

/// What to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOrder {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Whether it gets input; else its input has ended from the start.
    pub stdin: bool,
    /// Whether it has a terminal. Then there is no standard error of its own.
    pub tty: bool,
}

/// What a command is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecInput {
    /// Standard input.
    Stdin(Bytes),
    /// Its end.
    EndOfStdin,
    /// The size of the terminal.
    Resize {
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
}

/// What comes of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecOutput {
    /// Standard output, or what the terminal shows.
    Stdout(Bytes),
    /// Standard error.
    Stderr(Bytes),
    /// It has ended by itself. Nothing follows.
    Exited(i32),
    /// It could not be run, or nobody knows what became of it. Nothing follows.
    Failed(String),
}

/// A command that runs. Dropping either half ends it.
#[derive(Debug)]
pub struct ExecSession {
    /// To it.
    pub input: mpsc::Sender<ExecInput>,
    /// From it.
    pub output: mpsc::Receiver<ExecOutput>,
}

/// Runs commands in containers.
#[async_trait]
pub trait ContainerExec: Send + Sync {
    /// Whether a command could be run: why not. A device that cannot at all says so with 501.
    async fn check(&self, container: &ContainerRef) -> Result<(), Status>;

    /// Runs one.
    async fn exec(&self, container: &ContainerRef, order: ExecOrder) -> Result<ExecSession, Status>;
}
