//! What containers wrote.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::status::Status;

/// Which part of a container's output, as `GET …/pods/{name}/log` asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on with what is written from now on.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail_lines: Option<usize>,
    /// Only what was written at or after this time.
    pub since: Option<Timestamp>,
    /// Put the time in front of each line.
    pub timestamps: bool,
    /// The run before the present one.
    pub previous: bool,
    /// At most so many bytes.
    pub limit_bytes: Option<usize>,
}

/// Reads containers' output.
#[async_trait]
pub trait PodLogs: Send + Sync {
    /// Opens the output of one container, by the name of its row on the device. Chunks end when there is nothing more;
    /// with `follow`, when the container is gone or the receiver is dropped. Also answers a warning, when the output is not
    /// complete.
    async fn open(&self, row: &str, options: LogOptions) -> Result<(mpsc::Receiver<Bytes>, Option<String>), Status>;
}
