//! The disk that mkube and the device both see: image archives, files for volumes, containers' output.

mod archives;
mod container_logs;
mod directories;
mod volumes;

pub use archives::ArchiveCache;
pub use container_logs::{ContainerLogs, FindRow, RowState};
pub use volumes::VolumeFiles;
