//! The OCI bundle of a launch: `config.json` and the few files a container gets from outside.

use std::path::{Path, PathBuf};

use mkube_router_machine::engine::{EngineFault, Launch};
use serde_json::{Value, json};

use crate::archive::io_fault;
use crate::cgroup;
use crate::populate::populate;

/// Capabilities of a container, as common runtimes give them.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Characters of a host name, as the kernel allows.
const HOST_NAME: usize = 64;
/// Open files of a container's process.
const OPEN_FILES: u64 = 65536;

/// User and groups of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

/// Writes the bundle of `launch` into `bundle`; `namespace` is the path of its network namespace.
pub fn write(launch: &Launch, bundle: &Path, namespace: &Path, group: &str) -> Result<(), EngineFault> {
    std::fs::create_dir_all(bundle).map_err(io_fault)?;
    let identity = identity(&launch.root_dir, &launch.user)?;
    let resolv: String = launch.dns.iter().map(|server| format!("nameserver {server}\n")).collect();
    let mut hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost\n".to_owned();
    if let Some(address) = launch.veths.first().and_then(|veth| veth.addresses.first()) {
        hosts += &format!("{}\t{}\n", address.addr(), launch.hostname);
    }
    let mut files = Vec::new();
    for (name, contents) in [("hosts", hosts), ("hostname", format!("{}\n", launch.hostname)), ("resolv.conf", resolv)]
    {
        if name == "resolv.conf" && contents.is_empty() {
            continue;
        }
        let path = bundle.join(name);
        std::fs::write(&path, contents).map_err(io_fault)?;
        files.push((path, format!("/etc/{name}")));
    }
    for mount in &launch.mounts {
        if !mount.source.exists() {
            populate(&launch.root_dir, &mount.destination, &mount.source)?;
        }
    }
    let config = config(launch, &identity, &files, namespace, group);
    std::fs::write(bundle.join("config.json"), config.to_string()).map_err(io_fault)
}

fn config(launch: &Launch, identity: &Identity, files: &[(PathBuf, String)], namespace: &Path, group: &str) -> Value {
    let mut env: Vec<String> = launch.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !launch.env.contains_key("PATH") {
        env.push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    }
    if !launch.env.contains_key("HOSTNAME") {
        env.push(format!("HOSTNAME={}", launch.hostname));
    }
    let system = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
    let mut mounts = vec![
        system("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        system("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        system("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        system("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        system("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        system("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ];
    for (source, destination) in files {
        mounts.push(json!({"destination": destination, "type": "bind", "source": source, "options": ["bind", "rw"]}));
    }
    for mount in &launch.mounts {
        let mut options = vec!["rbind", if mount.read_only { "ro" } else { "rw" }];
        if mount.no_exec {
            options.push("noexec");
        }
        mounts.push(
            json!({"destination": mount.destination, "type": "bind", "source": mount.source, "options": options}),
        );
    }
    let mut resources = json!({"devices": [{"allow": false, "access": "rwm"}], "memory": {}});
    if let Some(limit) = launch.memory_max {
        resources["memory"]["limit"] = json!(limit);
    }
    match launch.memory_high {
        Some(high) if cgroup::is_unified() => resources["unified"] = json!({"memory.high": high.to_string()}),
        // Version 1 has no high mark; this is what it gives back first when memory is short.
        Some(high) => resources["memory"]["reservation"] = json!(high),
        None => {}
    }
    if !launch.cpus.is_empty() {
        let cpus: Vec<String> = launch.cpus.iter().map(u32::to_string).collect();
        resources["cpu"] = json!({"cpus": cpus.join(",")});
    }
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups},
            "args": launch.argv,
            "env": env,
            "cwd": launch.workdir,
            "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
            "noNewPrivileges": false,
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": open_files(), "soft": open_files()}],
        },
        "root": {"path": launch.root_dir, "readonly": false},
        "hostname": launch.hostname.chars().take(HOST_NAME).collect::<String>(),
        "mounts": mounts,
        "linux": {
            "cgroupsPath": group,
            "resources": resources,
            "namespaces": [
                {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "network", "path": namespace},
            ],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// Open files a process may have: the usual number, or what this process may have itself, since nobody can give more.
fn open_files() -> u64 {
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    own.maximum.unwrap_or(OPEN_FILES).min(OPEN_FILES)
}

/// `uid`, `uid:gid`, or names of the image's own user list.
fn identity(root: &Path, user: &str) -> Result<Identity, EngineFault> {
    let (user, group) = user.split_once(':').unwrap_or((user, ""));
    let passwd = read_inside(root, "etc/passwd");
    let groups = read_inside(root, "etc/group");
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let by_name =
        |text: &str, name: &str| text.lines().map(fields).find(|fields| fields.first().is_some_and(|one| one == name));
    let number = |fields: &[String], index: usize| fields.get(index).and_then(|text| text.parse::<u32>().ok());
    let unknown = |what: &str, name: &str| EngineFault::Failed(format!("{what} {name:?} is not in the image"));
    let (uid, mut gid, name) = if user.is_empty() {
        (0, 0, String::new())
    } else if let Ok(uid) = user.parse::<u32>() {
        let line = passwd.lines().map(fields).find(|fields| number(fields, 2) == Some(uid));
        let gid = line.as_ref().and_then(|fields| number(fields, 3)).unwrap_or(0);
        (uid, gid, line.and_then(|fields| fields.first().cloned()).unwrap_or_default())
    } else {
        let line = by_name(&passwd, user).ok_or_else(|| unknown("user", user))?;
        let uid = number(&line, 2).ok_or_else(|| unknown("user", user))?;
        (uid, number(&line, 3).unwrap_or(0), user.to_owned())
    };
    if !group.is_empty() {
        gid = match group.parse::<u32>() {
            Ok(gid) => gid,
            Err(_) => {
                by_name(&groups, group).and_then(|line| number(&line, 2)).ok_or_else(|| unknown("group", group))?
            }
        };
    }
    let additional = groups
        .lines()
        .map(fields)
        .filter(|line| !name.is_empty() && line.get(3).is_some_and(|members| members.split(',').any(|one| one == name)))
        .filter_map(|line| number(&line, 2))
        .collect();
    Ok(Identity { uid, gid, groups: additional })
}

/// A small file of the image; empty when there is none, or when it is a link (which could lead anywhere).
fn read_inside(root: &Path, path: &str) -> String {
    let path = root.join(path);
    let plain = std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() < 1 << 20);
    if plain { std::fs::read_to_string(path).unwrap_or_default() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_or_names_of_the_image() {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(root.path().join("etc")).expect("made");
        std::fs::write(root.path().join("etc/passwd"), "root:x:0:0::/:/bin/sh\nweb:x:33:44::/:/bin/sh\n")
            .expect("written");
        std::fs::write(root.path().join("etc/group"), "web:x:44:\nmedia:x:55:web,other\n").expect("written");
        let of = |user: &str| identity(root.path(), user).map(|id| (id.uid, id.gid, id.groups));
        assert_eq!(of(""), Ok((0, 0, vec![])));
        assert_eq!(of("web"), Ok((33, 44, vec![55])));
        assert_eq!(of("33:7"), Ok((33, 7, vec![55])));
        assert_eq!(of("web:media"), Ok((33, 55, vec![55])));
        assert!(of("nobody").is_err());
    }
}
