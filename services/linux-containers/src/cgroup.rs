//! Control groups: what a container used, whether the kernel killed it, and where conmon lives.
//!
//! Containers have `/mkube/<id>` in every hierarchy, made and removed by the runtime. Conmon has `/mkube/<id>-conmon` where a
//! service manager looks for the processes of a service: stopping the host's service does not stop what holds the containers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mkube_router_machine::engine::Usage;
use tokio::time::Instant;

use crate::process::Process;

/// Where hierarchies are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// How long conmon may take to leave by itself.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest wait for killed processes to be gone.
const GONE: Duration = Duration::from_secs(5);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// Path of a container's group, in every hierarchy.
pub fn path(id: &str) -> String {
    format!("/mkube/{id}")
}

/// Whether this machine has version 2 only.
pub fn is_unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Whether the text of `/proc/<pid>/cgroup` is that of a process of container `id`.
pub fn holds(text: &str, id: &str) -> bool {
    let group = path(id);
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|place| {
        let rest = place.find(&group).map(|at| &place[at + group.len()..]);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// The hierarchies by which a service manager knows whose a process is.
fn tracking() -> Vec<PathBuf> {
    let places: &[&str] = if is_unified() { &[""] } else { &["systemd", "unified"] };
    places.iter().map(|place| Path::new(ROOT).join(place)).filter(|place| place.join("cgroup.procs").exists()).collect()
}

fn conmon_groups(id: &str) -> Vec<PathBuf> {
    tracking().into_iter().map(|place| place.join("mkube").join(format!("{id}-conmon"))).collect()
}

/// Makes the groups of a container's conmon: the files to write its process id into.
pub fn make_for_conmon(id: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for group in conmon_groups(id) {
        match std::fs::create_dir_all(&group) {
            Ok(()) => files.push(group.join("cgroup.procs")),
            Err(error) => {
                tracing::warn!(%error, group = %group.display(), "conmon stays in the host's own control group");
            }
        }
    }
    files
}

/// Removes the groups of a conmon that has ended, or is about to.
pub async fn remove_of_conmon(id: &str) -> std::io::Result<()> {
    remove_groups(&conmon_groups(id), PATIENCE).await
}

/// Kills all processes of a container and removes its groups, in every hierarchy.
pub async fn remove(id: &str) -> std::io::Result<()> {
    let hierarchies = std::fs::read_dir(ROOT)?.flatten().map(|entry| entry.path());
    let all = hierarchies.chain([PathBuf::from(ROOT)]).map(|place| place.join("mkube").join(id));
    let groups: Vec<PathBuf> = all.filter(|group| group.is_dir()).collect();
    remove_groups(&groups, Duration::ZERO).await
}

/// Removes groups as soon as they are empty; what is in them after `patience` is killed.
async fn remove_groups(groups: &[PathBuf], patience: Duration) -> std::io::Result<()> {
    let begun = Instant::now();
    loop {
        let mut last = Ok(());
        for group in groups {
            if begun.elapsed() >= patience {
                let pids = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
                for process in pids.lines().filter_map(|pid| Process::open(pid.parse().ok()?)) {
                    process.kill();
                }
            }
            match std::fs::remove_dir(group) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => last = Err(error),
                _ => {}
            }
        }
        if last.is_ok() || begun.elapsed() > patience + GONE {
            return last;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Either of the two files that say the same in the versions of control groups.
fn read(id: &str, controller: &str, old: &str, new: &str) -> Option<String> {
    let at = |place: PathBuf, file: &str| std::fs::read_to_string(place.join("mkube").join(id).join(file)).ok();
    at(Path::new(ROOT).join(controller), old).or_else(|| at(PathBuf::from(ROOT), new))
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Memory and CPU time of a container that has its group.
pub fn usage(id: &str) -> Option<Usage> {
    let memory = read(id, "memory", "memory.usage_in_bytes", "memory.current")?.trim().parse().ok()?;
    let cpu = read(id, "cpuacct", "cpuacct.usage", "cpu.stat").unwrap_or_default();
    let nanos = cpu.trim().parse().ok().or_else(|| field(&cpu, "usage_usec")?.checked_mul(1000)).unwrap_or(0);
    Some(Usage { memory, cpu_time: Duration::from_nanos(nanos) })
}

/// Whether the kernel killed a process of the container for lack of memory. Its group stays until the runtime forgets it.
pub fn was_out_of_memory(id: &str) -> bool {
    let text = read(id, "memory", "memory.oom_control", "memory.events").unwrap_or_default();
    field(&text, "oom_kill").is_some_and(|kills| kills > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_belongs_to_the_container_whose_whole_name_its_group_has() {
        let text = "9:name=systemd:/mkube/mkab-c10\n0::/outer/mkube/mkab-c10/inner\n";
        assert!(holds(text, "mkab-c10"));
        assert!(!holds(text, "mkab-c1"), "c1 is not c10");
        assert!(!holds("9:name=systemd:/mkube/mkab-c10-conmon\n", "mkab-c10"), "nor is its conmon");
        assert!(!holds("0::/\n", "mkab-c10"));
    }

    #[test]
    fn counters_are_read_by_their_whole_name() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        assert_eq!((field(text, "oom_kill"), field(text, "oom")), (Some(2), None));
    }
}
