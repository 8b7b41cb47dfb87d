//! What the machine wants done, and what it is told of what came of it.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::engine::{ImageConfig, Launch};
use crate::tables::RowNumber;

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are those of the engine's calls")]
pub enum Effect {
    Extract {
        number: RowNumber,
        key: String,
        archive: PathBuf,
        root_dir: PathBuf,
        /// A directory that is there already is renamed first, as releases before 7.23 do.
        aside: bool,
    },
    Start {
        number: RowNumber,
        start: u64,
        launch: Box<Launch>,
    },
    /// Send the signal; kill at once if it is not caught, or after `patience`.
    Stop {
        number: RowNumber,
        start: u64,
        key: String,
        signal: i32,
        patience: Duration,
    },
    Kill {
        key: String,
        signal: i32,
    },
    CleanUp {
        key: String,
    },
    Forget {
        key: String,
    },
    RemoveFiles {
        number: RowNumber,
        root_dir: PathBuf,
    },
    RestartLater {
        number: RowNumber,
        start: u64,
        after: Duration,
    },
    EnsureBridge {
        bridge: String,
    },
    RemoveBridge {
        bridge: String,
    },
    EnsureAddress {
        bridge: String,
        address: IpNet,
    },
    RemoveAddress {
        bridge: String,
        address: IpNet,
    },
    Attach {
        veth: String,
        bridge: Option<String>,
    },
    RemoveVeth {
        veth: String,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are those of the effects they follow")]
pub enum Happened {
    Extracted { number: RowNumber, result: Result<ImageConfig, String> },
    Started { number: RowNumber, start: u64, result: Result<(), String> },
    NotCaught { number: RowNumber, signal: i32 },
    Exited { number: RowNumber, code: i32, out_of_memory: bool },
    Output { number: RowNumber, line: String },
    FilesRemoved { number: RowNumber },
    RestartDue { number: RowNumber, start: u64 },
}
