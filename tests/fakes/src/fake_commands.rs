//! Commands in containers that do as told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mkube_model::neighbours::container_exec::{ContainerExec, ExecOrder, ExecOutput, ExecSession};
use mkube_model::neighbours::pod_logs::ContainerRef;
use mkube_model::status::Status;
use tokio::sync::mpsc;

/// What a command does.
#[derive(Debug, Clone)]
pub enum Command {
    /// Writes this and exits with this code.
    Exit(i32, String),
    /// Goes on and says nothing.
    Hang,
    /// Ends, and nobody knows how.
    Lost,
    /// The device does not begin it.
    Refused(Status),
}

#[derive(Debug, Default)]
struct Inner {
    commands: BTreeMap<String, Command>,
    runs: Vec<(ContainerRef, Vec<String>)>,
    running: usize,
    most_at_once: usize,
}

/// What a command does is told by its first word; others exit with 127.
#[derive(Debug, Clone, Default)]
pub struct FakeCommands(Arc<Mutex<Inner>>);

impl FakeCommands {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever runs this does that from now on.
    pub fn set(&self, word: &str, command: Command) {
        self.inner().commands.insert(word.to_owned(), command);
    }

    /// Everything that was asked for so far.
    pub fn runs(&self) -> Vec<(ContainerRef, Vec<String>)> {
        self.inner().runs.clone()
    }

    /// Commands that run now.
    pub fn running(&self) -> usize {
        self.inner().running
    }

    /// The most that ran at the same moment.
    pub fn most_at_once(&self) -> usize {
        self.inner().most_at_once
    }
}

#[async_trait]
impl ContainerExec for FakeCommands {
    async fn check(&self, _container: &ContainerRef) -> Result<(), Status> {
        Ok(())
    }

    async fn exec(&self, container: &ContainerRef, order: ExecOrder) -> Result<ExecSession, Status> {
        // It takes a moment to begin one, and to end the one before.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let command = {
            let mut inner = self.inner();
            inner.runs.push((container.clone(), order.command.clone()));
            let word = order.command.first().map_or("", String::as_str);
            let unknown = || Command::Exit(127, format!("{word}: not found"));
            let command = inner.commands.get(word).cloned().unwrap_or_else(unknown);
            if let Command::Refused(status) = command {
                return Err(status);
            }
            inner.running += 1;
            inner.most_at_once = inner.most_at_once.max(inner.running);
            command
        };
        let (input, mut inputs) = mpsc::channel(4);
        let (outputs, output) = mpsc::channel(4);
        let inner = self.0.clone();
        tokio::spawn(async move {
            let gone = outputs.clone();
            tokio::select! {
                biased;
                () = gone.closed() => {}
                () = play(command, outputs) => {}
                // Whoever gives it nothing more has left.
                _ = inputs.recv() => {}
            }
            inner.lock().unwrap_or_else(PoisonError::into_inner).running -= 1;
        });
        Ok(ExecSession { input, output })
    }
}

async fn play(command: Command, outputs: mpsc::Sender<ExecOutput>) {
    match command {
        Command::Exit(code, text) => {
            // In pieces, as they come.
            for piece in text.into_bytes().chunks(1 << 10) {
                let _ = outputs.send(ExecOutput::Stdout(piece.to_vec().into())).await;
            }
            let _ = outputs.send(ExecOutput::Exited(code)).await;
        }
        Command::Hang => std::future::pending().await,
        Command::Lost | Command::Refused(_) => {}
    }
}
