//! Real containers on Linux, behind the engine trait of the RouterOS host: archives become directories, launches become
//! processes in their own namespaces, held by `conmon` and run by `runc` or `crun`.

#[cfg(target_os = "linux")]
mod archive;
pub mod assemble;
#[cfg(target_os = "linux")]
mod bundle;
#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod engine;
#[cfg(target_os = "linux")]
mod exec;
#[cfg(target_os = "linux")]
mod held;
#[cfg(target_os = "linux")]
mod layer;
#[cfg(target_os = "linux")]
mod metered;
#[cfg(target_os = "linux")]
mod network;
#[cfg(target_os = "linux")]
mod places;
#[cfg(target_os = "linux")]
mod populate;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod runtime;
#[cfg(target_os = "linux")]
mod tail;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(target_os = "linux")]
mod unpack;
#[cfg(all(test, target_os = "linux"))]
mod unpack_tests;
#[cfg(target_os = "linux")]
mod watch;

#[cfg(target_os = "linux")]
pub use engine::{LinuxEngine, LinuxOptions};
#[cfg(target_os = "linux")]
pub use unpack::Limits;
