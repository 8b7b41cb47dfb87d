//! Does one step of one container, by asking the neighbours. Every step may be repeated.

use std::net::IpAddr;
use std::sync::Arc;

use mkube_messages::dns::WithdrawNames;
use mkube_messages::door::{CallError, NotAnswered};
use mkube_messages::images::EnsureTarball;
use mkube_messages::ipam::{AddressLease, IpamFault, LeaseAddress, ReleaseAddress};
use mkube_messages::objects::ObjectKey;
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_messages::router::{
    DescribeContainerLog, EnsureContainer, EnsureEnvs, EnsureMounts, EnsureVeth, MarkContainer, RemoveContainer,
    RemoveVeth, SetStartOnBoot, StartContainer, StopContainer,
};
use mkube_model::names;
use mkube_model::neighbours::router::{LogRow, NewContainer, NewMount, NewVeth, RouterFault};
use mkube_model::neighbours::shared_disk::SharedDisk;
use mkube_model::neighbours::tarballs::{PullPolicy, RegistryCredential, Tarball, TarballFault};

use crate::memory::{Exit, Memory};
use crate::next_step::Step;
use crate::parts::PodDoors;
use crate::plan::{ContainerPlan, PodPlan, mark, veth_comment};
use crate::pull;
use crate::status::Trouble;
use crate::volumes::MountSource;

/// What a step taught us.
#[derive(Debug)]
pub enum Learnt {
    /// Done; the device shows the rest.
    Nothing,
    /// The address.
    Lease(AddressLease),
    /// The archive.
    Tarball(Tarball),
    /// Directories of the volumes with files.
    Volumes(Vec<String>),
    /// The row was made, with this generation of its root directory.
    RowMade(u32),
    /// How the last run ended; `None` when the log knows of no run.
    Exit(Option<Exit>),
}

/// Why a step was not done.
#[derive(Debug)]
pub struct Failed {
    /// For the status.
    pub trouble: Trouble,
    /// The root directory may exist: use another one next time.
    pub root_dir_taken: bool,
    /// The device does not have the archive: ask for it again.
    pub archive_gone: bool,
    /// The device does not have a list of the container: write them again.
    pub lists_gone: bool,
    /// Nobody began with it: nothing is wrong, it is only a matter of time.
    pub not_started: bool,
}

impl Failed {
    fn new(reason: &str, message: impl std::fmt::Display) -> Self {
        let trouble = Trouble { reason: reason.to_owned(), message: message.to_string() };
        Self { trouble, root_dir_taken: false, archive_gone: false, lists_gone: false, not_started: false }
    }
}

/// Everything a step needs; owned, so that it outlives the look that led to it.
pub struct Job {
    /// The pod.
    pub pod: Arc<PodPlan>,
    /// Which container.
    pub container: ContainerPlan,
    /// What is remembered of it.
    pub memory: Memory,
    /// The address it had, by its status.
    pub previous_address: Option<std::net::Ipv4Addr>,
    /// Directory of root directories.
    pub images_base: String,
    /// Whether the device is to start a new container by itself when it boots.
    pub start_on_boot: bool,
    /// Of the pod's pull secrets, for its archive.
    pub credentials: Vec<RegistryCredential>,
    /// Neighbours.
    pub doors: PodDoors,
    /// Files for volumes.
    pub disk: Arc<dyn SharedDisk>,
}

/// Does the step.
pub async fn carry_out(step: Step, job: Job) -> Result<Learnt, Failed> {
    let context = |patience| RequestContext::new("pod", patience);
    let device = || context(patience::DEVICE);
    let (doors, container) = (&job.doors, &job.container);
    let row = container.row.clone();
    match step {
        Step::LeaseAddress => lease(&job).await.map(Learnt::Lease),
        Step::EnsureTarball => match &container.file {
            Some(file) => {
                let device_path = file.clone();
                Ok(Learnt::Tarball(Tarball { device_path, digest: None, stale: None, bytes: 0, pulled: false }))
            }
            None => {
                let request = pull::request(container, job.credentials.clone());
                let order = EnsureTarball { context: context(patience::IMAGE), request };
                let asked = doors.tarball.ask(order).await.map(Learnt::Tarball);
                asked.map_err(|error| no_image(error, container.policy))
            }
        },
        Step::WriteVolumes => {
            let mut directories = Vec::new();
            for volume in &container.volumes {
                let files = volume.files.clone();
                let written = if volume.secret {
                    job.disk.write_secret_volume(&row, &volume.name, files).await
                } else {
                    job.disk.write_volume(&row, &volume.name, files).await
                };
                directories.push(written.map_err(|fault| Failed::new("FailedMount", fault))?);
            }
            Ok(Learnt::Volumes(directories))
        }
        Step::EnsureVeth => {
            // Asked for again: an IpamActor that was replaced since knows nothing of a lease without an interface.
            let lease = lease(&job).await?;
            let veth = NewVeth {
                name: container.veth.clone(),
                address: lease.address,
                gateway: Some(lease.gateway.into()),
                comment: veth_comment(&container.owner),
            };
            let order = EnsureVeth { context: device(), veth, bridge: lease.bridge.clone() };
            doors.ensure_veth.ask(order).await.map_err(no_sandbox)?;
            Ok(Learnt::Lease(lease))
        }
        Step::EnsureLists => ensure_lists(&job).await,
        Step::EnsureContainer => ensure_container(&job).await,
        Step::Mark => {
            let comment = mark(&job.pod.namespace, &job.pod.name, &container.hash);
            let order = MarkContainer { context: device(), name: row, comment };
            doors.mark.ask(order).await.map(|()| Learnt::Nothing).map_err(device_fault)
        }
        Step::SetStartOnBoot(on) => {
            let order = SetStartOnBoot { context: device(), name: row, on };
            doors.on_boot.ask(order).await.map(|()| Learnt::Nothing).map_err(device_fault)
        }
        Step::ReadExit => {
            let rows = doors.log.ask(DescribeContainerLog { context: device(), name: row }).await;
            rows.map(|rows| Learnt::Exit(exit_in_log(&rows))).map_err(device_fault)
        }
        Step::Start => {
            ensure_sources(&job).await?;
            let order = StartContainer { context: device(), name: row };
            doors.start.ask(order).await.map(|()| Learnt::Nothing).map_err(|error| named("RunContainerError", error))
        }
        Step::Stop(_) => {
            withdraw_names(&job).await;
            let order = StopContainer { context: device(), name: row };
            doors.stop.ask(order).await.map(|()| Learnt::Nothing).map_err(device_fault)
        }
        Step::Remove(_) => {
            let order = RemoveContainer { context: device(), name: row };
            doors.remove.ask(order).await.map(|()| Learnt::Nothing).map_err(device_fault)
        }
        Step::RemoveVeth => {
            let owner = veth_comment(&container.owner);
            let order = RemoveVeth { context: device(), name: container.veth.clone(), owner };
            doors.remove_veth.ask(order).await.map(|()| Learnt::Nothing).map_err(device_fault)
        }
        Step::ClearLists => clear_lists(&job).await,
        Step::ReleaseAddress => {
            let order = ReleaseAddress { context: context(patience::LEASE), veth: container.veth.clone() };
            doors.release.ask(order).await.map(|()| Learnt::Nothing).map_err(no_address)
        }
        Step::ScheduleRestart
        | Step::ScheduleRemake
        | Step::Gated
        | Step::Wait
        | Step::WaitUntil(_)
        | Step::Blocked(_)
        | Step::Held
        | Step::Settled
        | Step::Gone => Ok(Learnt::Nothing),
    }
}

/// Nobody is sent to a container that is about to go. A name server that does not answer is no reason to keep it.
async fn withdraw_names(job: &Job) {
    let order = WithdrawNames {
        context: RequestContext::new("pod names", patience::WITHDRAW),
        pod: ObjectKey::new(job.pod.namespace.clone(), job.pod.name.clone()),
        uid: job.pod.uid.clone(),
    };
    if let Err(error) = job.doors.withdraw.ask(order).await {
        tracing::debug!(%error, "names were not taken out before a container stops");
    }
}

async fn lease(job: &Job) -> Result<AddressLease, Failed> {
    let container = &job.container;
    let held = job.memory.lease.as_ref().and_then(|lease| match lease.address.addr() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let order = LeaseAddress {
        context: RequestContext::new("pod address", patience::LEASE),
        veth: container.veth.clone(),
        pod: ObjectKey::new(job.pod.namespace.clone(), job.pod.name.clone()),
        network: container.network.clone(),
        wanted: container.wanted,
        previous: held.or(job.previous_address),
    };
    job.doors.lease.ask(order).await.map_err(no_address)
}

/// A container never starts over a directory that is not there: some releases would make it, and its data would be lost sight
/// of, others would leave the mount out. Where mkube does not see the disk, the device has the last word.
async fn ensure_sources(job: &Job) -> Result<(), Failed> {
    for source in &job.container.sources {
        job.disk.ensure_source(source).await.map_err(|fault| Failed::new("FailedMount", fault))?;
    }
    Ok(())
}

async fn ensure_lists(job: &Job) -> Result<Learnt, Failed> {
    let (doors, container) = (&job.doors, &job.container);
    let context = || RequestContext::new("pod lists", patience::DEVICE);
    ensure_sources(job).await?;
    if !container.mounts.is_empty() || job.memory.has_mounts {
        let directories = job.memory.volumes.as_ref().map(|(_, paths)| paths.as_slice()).unwrap_or_default();
        let mut mounts = Vec::new();
        for mount in &container.mounts {
            let src = match &mount.source {
                MountSource::Directory(path) => path.clone(),
                MountSource::Files(index, inside) => {
                    let base = directories
                        .get(*index)
                        .ok_or_else(|| Failed::new("FailedMount", "files are not written yet"))?;
                    if inside.is_empty() { base.clone() } else { format!("{base}/{inside}") }
                }
            };
            mounts.push(NewMount {
                list: container.row.clone(),
                src,
                dst: mount.destination.clone(),
                read_only: mount.read_only,
            });
        }
        let order = EnsureMounts { context: context(), list: container.row.clone(), mounts };
        doors.mounts.ask(order).await.map_err(|error| named("FailedMount", error))?;
    }
    if !container.envs.is_empty() || job.memory.has_envs {
        let order = EnsureEnvs { context: context(), list: container.row.clone(), envs: container.envs.clone() };
        doors.envs.ask(order).await.map_err(|error| named("CreateContainerConfigError", error))?;
    }
    Ok(Learnt::Nothing)
}

async fn clear_lists(job: &Job) -> Result<Learnt, Failed> {
    let (doors, container) = (&job.doors, &job.container);
    let context = || RequestContext::new("pod lists", patience::DEVICE);
    // By what the spec declares: what was mounted may not be known any more, such as when its ConfigMap went first.
    if container.mounts_declared || job.memory.has_mounts {
        let order = EnsureMounts { context: context(), list: container.row.clone(), mounts: vec![] };
        doors.mounts.ask(order).await.map_err(device_fault)?;
    }
    if container.envs_declared || job.memory.has_envs {
        let order = EnsureEnvs { context: context(), list: container.row.clone(), envs: vec![] };
        doors.envs.ask(order).await.map_err(device_fault)?;
    }
    if container.mounts_declared || job.memory.has_mounts {
        job.disk.remove_volumes(&container.row).await.map_err(|fault| Failed::new("FailedUnmount", fault))?;
    }
    Ok(Learnt::Nothing)
}

async fn ensure_container(job: &Job) -> Result<Learnt, Failed> {
    let container = &job.container;
    let (Some(lease), Some(tarball)) = (job.memory.lease_for(container), job.memory.tarball_for(container)) else {
        return Err(Failed::new("ContainerCreating", "address or archive is missing"));
    };
    let mut generation = job.memory.generation;
    let mut root_dir = names::root_dir(&job.images_base, &container.row, generation);
    // Bounded: a disk full of leftovers is a problem for a person.
    for _ in 0..100 {
        if job.disk.exists(&root_dir).await != Some(true) {
            break;
        }
        generation += 1;
        root_dir = names::root_dir(&job.images_base, &container.row, generation);
    }
    let new = NewContainer {
        name: container.row.clone(),
        file: tarball.device_path.clone(),
        interface: container.veth.clone(),
        root_dir,
        mount_list: (!container.mounts.is_empty()).then(|| container.row.clone()),
        env_list: (!container.envs.is_empty()).then(|| container.row.clone()),
        cmd: container.cmd.clone(),
        entrypoint: container.entrypoint.clone(),
        workdir: container.workdir.clone(),
        user: container.user.clone(),
        hostname: job.pod.name.clone(),
        dns: lease.dns.clone(),
        logging: true,
        start_on_boot: job.start_on_boot,
        memory_limit: container.memory,
        stop_time: Some(container.grace),
        comment: mark(&job.pod.namespace, &job.pod.name, &container.hash),
    };
    let order =
        EnsureContainer { context: RequestContext::new("pod create", patience::CREATE_CONTAINER), container: new };
    match job.doors.container.ask(order).await {
        Ok(()) => Ok(Learnt::RowMade(generation)),
        Err(error) => {
            let text = error.to_string();
            let archive_gone = text.contains("value of file");
            let reason = if archive_gone { "ErrImageNeverPull" } else { "CreateContainerError" };
            let root_dir_taken = text.contains("root-dir");
            let lists_gone = text.contains("value of env") || text.contains("value of mount");
            Err(Failed { root_dir_taken, archive_gone, lists_gone, ..named(reason, error) })
        }
    }
}

/// How the last run ended: the last `exited with status N` in a container's log, and what the device says right before it.
fn exit_in_log(rows: &[LogRow]) -> Option<Exit> {
    let end = rows.iter().rposition(|row| row.message.contains("exited with status "))?;
    let (_, after) = rows[end].message.split_once("exited with status ")?;
    let digits: String = after.chars().take_while(|c| c.is_ascii_digit() || *c == '-').collect();
    let before = end.checked_sub(1).map_or("", |before| rows[before].message.as_str());
    let message = match before.find("execvp ") {
        Some(at) => before[at..].to_owned(),
        None if before.contains("out of memory") => "out of memory".to_owned(),
        None => String::new(),
    };
    Some(Exit { code: digits.parse().ok(), message })
}

fn named<F: std::fmt::Display>(reason: &str, error: CallError<F>) -> Failed {
    let not_started = matches!(error, CallError::NotAnswered(NotAnswered::Busy | NotAnswered::Away));
    Failed { not_started, ..Failed::new(reason, error) }
}

fn device_fault(error: CallError<RouterFault>) -> Failed {
    named("DeviceError", error)
}

fn no_sandbox(error: CallError<RouterFault>) -> Failed {
    named("FailedCreatePodSandBox", error)
}

fn no_address(error: CallError<IpamFault>) -> Failed {
    named("FailedCreatePodSandBox", error)
}

fn no_image(error: CallError<TarballFault>, policy: PullPolicy) -> Failed {
    let reason = match &error {
        CallError::Fault(fault) => pull::reason(fault, policy),
        CallError::NotAnswered(_) => "ErrImagePull",
    };
    named(reason, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_model::neighbours::router::RowId;

    fn log(messages: &[&str]) -> Vec<LogRow> {
        let row = |message: &&str| LogRow {
            id: RowId("*1".into()),
            time: String::new(),
            topics: vec![],
            message: (*message).to_owned(),
        };
        messages.iter().map(row).collect()
    }

    #[test]
    fn the_last_exit_in_the_log_counts() {
        let rows = log(&["web: started", "web: exited with status 1", "web: hello", "web: exited with status 137"]);
        assert_eq!(exit_in_log(&rows), Some(Exit { code: Some(137), message: String::new() }));
        assert_eq!(exit_in_log(&log(&["web: started"])), None);
    }

    #[test]
    fn what_the_device_says_of_an_end_is_kept_with_it() {
        let said = |rows: &[&str]| exit_in_log(&log(rows)).map(|exit| exit.message);
        let not_found = ["execvp /bin/nonsense: No such file or directory", "exited with status 255"];
        assert_eq!(said(&not_found).as_deref(), Some("execvp /bin/nonsense: No such file or directory"));
        let killed = ["web: killed, out of memory", "web: exited with status 137"];
        assert_eq!(said(&killed).as_deref(), Some("out of memory"));
        // That an earlier run was killed says nothing about this one.
        assert_eq!(said(&[killed[0], killed[1], "web: started", "web: exited with status 1"]).as_deref(), Some(""));
    }
}
