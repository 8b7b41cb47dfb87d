//! Where everything of one container lies.

use std::path::{Path, PathBuf};

/// Directories of an engine's state.
pub const DIRECTORIES: [&str; 6] = ["bundles", "exits", "persist", "logs", "read", "runtime"];

/// Files and directories of one container.
#[derive(Debug, Clone)]
pub struct Places {
    /// Name in the runtime and in control groups: unique on this machine.
    pub id: String,
    /// Bundle directory.
    pub bundle: PathBuf,
    /// Output, as conmon writes it.
    pub log: PathBuf,
    /// Output of the run before.
    pub previous_log: PathBuf,
    /// How much of the output was passed on.
    pub mark: PathBuf,
    /// Exit code, as conmon writes it.
    pub exit: PathBuf,
    /// Directory of all exit codes.
    pub exits: PathBuf,
    /// Conmon's own directory.
    pub persist: PathBuf,
    /// Process id of the container.
    pub pid: PathBuf,
    /// Process id of conmon.
    pub conmon: PathBuf,
}

impl Places {
    /// The places of container `key`, called `id` by the runtime.
    pub fn new(state: &Path, key: &str, id: &str) -> Self {
        let (logs, exits, persist) = (state.join("logs"), state.join("exits"), state.join("persist").join(key));
        Self {
            id: id.to_owned(),
            bundle: state.join("bundles").join(key),
            log: logs.join(format!("{key}.log")),
            previous_log: logs.join(format!("{key}.previous")),
            mark: state.join("read").join(key),
            exit: exits.join(id),
            exits,
            pid: persist.join("pid"),
            conmon: persist.join("conmon.pid"),
            persist,
        }
    }
}

/// Keys that left something in an engine's state. `prefix` is what ids have before the key.
pub fn keys(state: &Path, prefix: &str) -> std::io::Result<Vec<String>> {
    let mut keys = Vec::new();
    for directory in DIRECTORIES {
        for entry in std::fs::read_dir(state.join(directory))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let key = match directory {
                "logs" => name.split('.').next().map(str::to_owned),
                "exits" | "runtime" => name.strip_prefix(prefix).map(str::to_owned),
                _ => Some(name),
            };
            keys.extend(key);
        }
    }
    Ok(keys)
}
