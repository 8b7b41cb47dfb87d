//! What containers wrote.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::names;
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

/// One container of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRef {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name in the pod.
    pub container: String,
}

impl ContainerRef {
    /// Names its row on the device may have: the one of the naming rules, or that with a suffix where another had it first.
    pub fn row_names(&self) -> [String; 2] {
        let plain = names::container_name(&self.namespace, &self.pod, &self.container);
        let suffixed = names::suffixed(&plain, &self.to_string(), Some(names::container_name_limit()));
        [plain, suffixed]
    }

    /// How a row's mark names its pod.
    pub fn owner(&self) -> String {
        format!("{}/{}", self.namespace, self.pod)
    }
}

impl std::fmt::Display for ContainerRef {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}/{}", self.namespace, self.pod, self.container)
    }
}

/// Reads containers' output.
#[async_trait]
pub trait PodLogs: Send + Sync {
    /// Opens the output of one container. Chunks end when there is nothing more; with `follow`, when the container is gone or
    /// the receiver is dropped. Also answers a warning, when the output is not complete.
    async fn open(
        &self,
        container: &ContainerRef,
        options: LogOptions,
    ) -> Result<(mpsc::Receiver<Bytes>, Option<String>), Status>;
}
