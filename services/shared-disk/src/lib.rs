//! The disk that mkube and the device both see: files for volumes, containers' output.

mod container_logs;
mod directories;
mod volumes;

pub use container_logs::{ContainerLogs, FindRow, RowState};
pub use volumes::VolumeFiles;
