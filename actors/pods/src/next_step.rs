//! The policy of one container: what should be, what is, one step out. Pure.
//!
//! The same function creates, repairs, changes and deletes. A step is only named here; `carry_out` does it, and whatever
//! comes of it is seen in the next observation.

use mkube_messages::ipam::AddressLease;
use mkube_model::neighbours::router::{ContainerRow, ContainerState, VethRow};
use tokio::time::Instant;

use crate::after_exit::step_of_stopped;
use crate::memory::Memory;
use crate::plan::{ContainerPlan, RestartPolicy, hash_in_mark, is_our_veth, is_ours};

/// What is seen of a container.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Its row.
    pub row: Option<&'a ContainerRow>,
    /// Its interface.
    pub veth: Option<&'a VethRow>,
    /// Its interface is a port of its bridge and as it was made.
    pub port: bool,
}

/// The next thing to do for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask for an address.
    LeaseAddress,
    /// Ask for the archive.
    EnsureTarball,
    /// Write the files of its volumes.
    WriteVolumes,
    /// Make the interface.
    EnsureVeth,
    /// Make mount and environment lists.
    EnsureLists,
    /// Make the row.
    EnsureContainer,
    /// Put our mark on a row we adopt.
    Mark,
    /// Say whether the device starts it by itself when it boots.
    SetStartOnBoot(bool),
    /// Find out how the last run ended, or whether there was one.
    ReadExit,
    /// Start the pause before a restart.
    ScheduleRestart,
    /// Start the pause before a row whose image could not be unpacked is made anew.
    ScheduleRemake,
    /// Start the process.
    Start,
    /// Stop the process, for this reason.
    Stop(Why),
    /// Remove the row.
    Remove(Why),
    /// Remove interface and bridge port.
    RemoveVeth,
    /// Empty mount and environment lists, delete files we wrote.
    ClearLists,
    /// Give the address back.
    ReleaseAddress,
    /// Nothing to do until the pod's gate lets it.
    Gated,
    /// Nothing to do until the device shows something else.
    Wait,
    /// Nothing to do until this moment.
    WaitUntil(Instant),
    /// Cannot go on before something else changes.
    Blocked(String),
    /// Restarted too often: stays stopped until something changes.
    Held,
    /// As it should be.
    Settled,
    /// Nothing of it is left.
    Gone,
}

/// Why a container is stopped or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The pod is deleted, or the container left the spec.
    Deleted,
    /// The spec changed.
    SpecChanged,
    /// The interface vanished behind our back.
    InterfaceLost,
    /// The image could not be unpacked.
    ExtractFailed,
    /// The node is being emptied.
    Drained,
    /// A probe says that it is dead, whatever the device says.
    Unhealthy(&'static str),
    /// It ends again and again: it gets a fresh root directory.
    Unstable,
}

impl Why {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Deleted => "it is deleted",
            Self::SpecChanged => "its spec changed",
            Self::InterfaceLost => "its interface is gone",
            Self::ExtractFailed => "its image could not be unpacked",
            Self::Drained => "the node is drained",
            Self::Unhealthy(which) => which,
            Self::Unstable => "it ends again and again",
        }
    }
}

/// What to do next for a container that should exist.
pub fn next_step(plan: &ContainerPlan, restart: RestartPolicy, seen: Seen<'_>, memory: &Memory, now: Instant) -> Step {
    if let Some(row) = seen.row {
        if !is_ours(row, plan) {
            return Step::Blocked(format!("the device has a container {} that mkube did not make", row.name));
        }
        return step_of_row(plan, restart, row, seen, memory, now);
    }
    if let Some(why) = &plan.blocked {
        return Step::Blocked(why.clone());
    }
    if let Some(step) = pause_before_remake(memory, now) {
        return step;
    }
    let Some(lease) = memory.lease_for(plan) else {
        return Step::LeaseAddress;
    };
    if memory.tarball_for(plan).is_none() {
        return Step::EnsureTarball;
    }
    if !plan.volumes.is_empty() && !has_files(plan, memory) {
        return Step::WriteVolumes;
    }
    if !veth_fits(seen, lease) {
        return Step::EnsureVeth;
    }
    let lists = !plan.mounts.is_empty() || !plan.envs.is_empty() || memory.has_mounts || memory.has_envs;
    if lists && memory.lists.as_ref() != Some(&plan.hash) {
        return Step::EnsureLists;
    }
    Step::EnsureContainer
}

/// An archive that cannot be unpacked is not offered to the device without end: a row that vanished while it was unpacking
/// (older releases), or that says so itself, is made anew after growing pauses.
fn pause_before_remake(memory: &Memory, now: Instant) -> Option<Step> {
    if memory.unpacking && !memory.remake_scheduled {
        return Some(Step::ScheduleRemake);
    }
    memory.remakes.due().filter(|due| *due > now).map(Step::WaitUntil)
}

fn has_files(plan: &ContainerPlan, memory: &Memory) -> bool {
    memory.volumes.as_ref().is_some_and(|(files, _)| *files == plan.files())
}

fn veth_fits(seen: Seen<'_>, lease: &AddressLease) -> bool {
    seen.port && seen.veth.is_some_and(|veth| veth.addresses.contains(&lease.address))
}

fn step_of_row(
    plan: &ContainerPlan,
    restart: RestartPolicy,
    row: &ContainerRow,
    seen: Seen<'_>,
    memory: &Memory,
    now: Instant,
) -> Step {
    let replace = match hash_in_mark(&row.comment) {
        Some(hash) if hash != plan.hash => Some(Why::SpecChanged),
        _ if seen.veth.is_none() => Some(Why::InterfaceLost),
        _ if row.state == ContainerState::Failed => Some(Why::ExtractFailed),
        _ => None,
    };
    if let Some(why) = replace {
        // A change that cannot be carried through, for want of what it refers to or of its image, leaves the running container
        // alone.
        if let Some(blocked) = &plan.blocked {
            return Step::Blocked(blocked.clone());
        }
        if why == Why::ExtractFailed {
            let failed = Memory { unpacking: true, ..memory.clone() };
            return pause_before_remake(&failed, now).unwrap_or(Step::Remove(why));
        }
        let stops = matches!(row.state, ContainerState::Running | ContainerState::Starting);
        if why == Why::SpecChanged && stops && memory.lease_for(plan).is_none() {
            // Another network or address may not be to be had.
            return Step::LeaseAddress;
        }
        if why == Why::SpecChanged && stops && memory.tarball_for(plan).is_none() {
            return Step::EnsureTarball;
        }
        return match row.state {
            _ if stops => Step::Stop(why),
            ContainerState::Stopped | ContainerState::Failed => Step::Remove(why),
            _ => Step::Wait,
        };
    }
    if hash_in_mark(&row.comment).is_none() && matches!(row.state, ContainerState::Running | ContainerState::Stopped) {
        return Step::Mark;
    }
    // An interface that is no port of its bridge, or that somebody changed, reaches nobody; mending it disturbs no process.
    if !seen.port && matches!(row.state, ContainerState::Running | ContainerState::Stopped) {
        return if memory.lease.is_some() { Step::EnsureVeth } else { Step::LeaseAddress };
    }
    let is_dead = row.state == ContainerState::Running && memory.unhealthy.is_some();
    // Renewed where they lie: whoever reads them again, or starts again, has what is right now.
    if !plan.renewed.is_empty()
        && plan.blocked.is_none()
        && !is_dead
        && matches!(row.state, ContainerState::Running | ContainerState::Stopped)
        && !has_files(plan, memory)
    {
        return Step::WriteVolumes;
    }
    match row.state {
        ContainerState::Running => memory.unhealthy.map_or(Step::Settled, |which| Step::Stop(Why::Unhealthy(which))),
        ContainerState::Stopped => step_of_stopped(plan, restart, memory, now),
        _ => Step::Wait,
    }
}

/// What to do next for a container that should not exist. What is somebody else's stays.
pub fn next_teardown(plan: &ContainerPlan, seen: Seen<'_>, memory: &Memory) -> Step {
    let foreign_row = seen.row.is_some_and(|row| !is_ours(row, plan));
    if let Some(row) = seen.row.filter(|_| !foreign_row) {
        return match row.state {
            ContainerState::Running | ContainerState::Starting => Step::Stop(Why::Deleted),
            ContainerState::Stopped | ContainerState::Failed | ContainerState::Extracting => Step::Remove(Why::Deleted),
            ContainerState::Stopping | ContainerState::Deleting | ContainerState::Unknown => Step::Wait,
        };
    }
    // Without a name the interface goes on with another container of the pod.
    let own_veth = !plan.veth.is_empty() && seen.veth.is_none_or(|veth| is_our_veth(veth, plan));
    if own_veth && (seen.veth.is_some() || seen.port) {
        return Step::RemoveVeth;
    }
    if !foreign_row && !memory.lists_cleared {
        return Step::ClearLists;
    }
    if own_veth && !memory.released {
        return Step::ReleaseAddress;
    }
    Step::Gone
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::memory::{Exit, Started};
    use crate::plan::mark;
    use mkube_model::neighbours::router::RowId;
    use mkube_model::neighbours::tarballs::{PullPolicy, Tarball};
    use std::net::Ipv4Addr;
    use std::time::Duration;

    const HASH: &str = "0123456789abcdef";

    pub(crate) fn a_plan() -> ContainerPlan {
        ContainerPlan {
            name: "web".into(),
            index: 0,
            owner: "default/web".into(),
            network: None,
            wanted: None,
            row: "default_web_web".into(),
            veth: "veth_default_web_0".into(),
            image: "web".into(),
            file: None,
            pin: None,
            policy: PullPolicy::IfNotPresent,
            cmd: String::new(),
            entrypoint: String::new(),
            workdir: String::new(),
            user: String::new(),
            memory: None,
            grace: Duration::from_secs(30),
            envs: vec![("A".into(), "1".into())],
            mounts: vec![],
            volumes: vec![],
            sources: vec![],
            mounts_declared: false,
            envs_declared: true,
            hash: HASH.into(),
            renewed: String::new(),
            blocked: None,
            startup: false,
            readiness: false,
        }
    }

    pub(crate) fn a_row(state: ContainerState) -> ContainerRow {
        ContainerRow {
            id: RowId("*1".into()),
            name: "default_web_web".into(),
            state,
            interfaces: vec!["veth_default_web_0".into()],
            logging: true,
            start_on_boot: true,
            comment: mark("default", "web", HASH),
            ..ContainerRow::default()
        }
    }

    fn a_veth() -> VethRow {
        VethRow {
            id: RowId("*2".into()),
            name: "veth_default_web_0".into(),
            addresses: vec!["10.90.0.2/24".parse().expect("a literal")],
            gateway: None,
            comment: String::new(),
            running: false,
        }
    }

    fn a_lease() -> AddressLease {
        AddressLease {
            network: "gt".into(),
            address: "10.90.0.2/24".parse().expect("a literal"),
            gateway: "10.90.0.1".parse().expect("a literal"),
            bridge: "bridge-gt".into(),
            dns: vec![],
        }
    }

    fn step(row: Option<&ContainerRow>, veth: Option<&VethRow>, memory: &Memory) -> Step {
        let seen = Seen { row, veth, port: veth.is_some() };
        next_step(&a_plan(), RestartPolicy::Always, seen, memory, Instant::now())
    }

    #[test]
    fn files_that_mkube_writes_itself_are_renewed_under_the_container() {
        let (veth, row) = (a_veth(), a_row(ContainerState::Running));
        let seen = Seen { row: Some(&row), veth: Some(&veth), port: true };
        let plan = |renewed: &str| ContainerPlan { renewed: renewed.into(), ..a_plan() };
        let step = |renewed: &str, memory: &Memory| {
            next_step(&plan(renewed), RestartPolicy::Always, seen, memory, Instant::now())
        };
        let mut memory = Memory { lease: Some(a_lease()), ..Memory::default() };
        assert_eq!(step("1", &memory), Step::WriteVolumes);
        memory.volumes = Some((plan("1").files(), vec![]));
        assert_eq!(step("1", &memory), Step::Settled);
        assert_eq!(step("2", &memory), Step::WriteVolumes);
        assert_eq!(step("", &memory), Step::Settled, "others are left as they were mounted");
    }

    #[test]
    fn a_new_container_walks_from_address_to_row_in_order() {
        let mut memory = Memory::default();
        assert_eq!(step(None, None, &memory), Step::LeaseAddress);
        memory.lease = Some(a_lease());
        assert_eq!(step(None, None, &memory), Step::EnsureTarball);
        memory.tarball =
            Some(Tarball { device_path: "x.tar".into(), digest: None, stale: None, bytes: 1, pulled: true });
        memory.archive_for = HASH.into();
        assert_eq!(step(None, None, &memory), Step::EnsureVeth);
        let veth = a_veth();
        assert_eq!(step(None, Some(&veth), &memory), Step::EnsureLists);
        memory.lists = Some(HASH.into());
        assert_eq!(step(None, Some(&veth), &memory), Step::EnsureContainer);
        memory.started = Started::No;
        assert_eq!(step(Some(&a_row(ContainerState::Extracting)), Some(&veth), &memory), Step::Wait);
        assert_eq!(step(Some(&a_row(ContainerState::Stopped)), Some(&veth), &memory), Step::Start);
        assert_eq!(step(Some(&a_row(ContainerState::Running)), Some(&veth), &memory), Step::Settled);
    }

    #[test]
    fn a_running_container_of_the_go_controller_is_marked_and_left_alone() {
        let adopted = ContainerRow { comment: String::new(), ..a_row(ContainerState::Running) };
        assert_eq!(step(Some(&adopted), Some(&a_veth()), &Memory::default()), Step::Mark);
    }

    #[test]
    fn a_bridge_port_removed_behind_our_back_is_made_again_and_the_container_left_alone() {
        let (row, veth) = (a_row(ContainerState::Running), a_veth());
        let seen = Seen { row: Some(&row), veth: Some(&veth), port: false };
        let step = |memory: &Memory| next_step(&a_plan(), RestartPolicy::Always, seen, memory, Instant::now());
        assert_eq!(step(&Memory::default()), Step::LeaseAddress);
        assert_eq!(step(&Memory { lease: Some(a_lease()), ..Memory::default() }), Step::EnsureVeth);
    }

    #[test]
    fn a_changed_spec_stops_then_removes_then_makes_anew() {
        let other = mark("default", "web", "ffffffffffffffff");
        let row = |state| ContainerRow { comment: other.clone(), ..a_row(state) };
        let veth = a_veth();
        let mut memory = Memory::default();
        // Nothing is stopped before there is something to run instead, and an address for it.
        assert_eq!(step(Some(&row(ContainerState::Running)), Some(&veth), &memory), Step::LeaseAddress);
        memory.lease = Some(a_lease());
        assert_eq!(step(Some(&row(ContainerState::Running)), Some(&veth), &memory), Step::EnsureTarball);
        memory.tarball =
            Some(Tarball { device_path: "old.tar".into(), digest: None, stale: None, bytes: 1, pulled: true });
        memory.archive_for = "of another wish".into();
        assert_eq!(step(Some(&row(ContainerState::Running)), Some(&veth), &memory), Step::EnsureTarball);
        memory.archive_for = HASH.into();
        assert_eq!(step(Some(&row(ContainerState::Running)), Some(&veth), &memory), Step::Stop(Why::SpecChanged));
        assert_eq!(step(Some(&row(ContainerState::Stopping)), Some(&veth), &memory), Step::Wait);
        assert_eq!(step(Some(&row(ContainerState::Stopped)), Some(&veth), &memory), Step::Remove(Why::SpecChanged));
    }

    #[test]
    fn a_change_that_cannot_be_carried_through_leaves_the_running_container_alone() {
        let row =
            ContainerRow { comment: mark("default", "web", "ffffffffffffffff"), ..a_row(ContainerState::Running) };
        let plan = ContainerPlan { blocked: Some("configmap \"m\" not found".into()), ..a_plan() };
        let veth = a_veth();
        let seen = Seen { row: Some(&row), veth: Some(&veth), port: true };
        let step = next_step(&plan, RestartPolicy::Always, seen, &Memory::default(), Instant::now());
        assert_eq!(step, Step::Blocked("configmap \"m\" not found".into()));
    }

    #[test]
    fn an_unknown_state_is_waited_for_and_never_taken_for_stopped() {
        let veth = a_veth();
        assert_eq!(step(Some(&a_row(ContainerState::Unknown)), Some(&veth), &Memory::default()), Step::Wait);
        let seen = Seen { row: Some(&a_row(ContainerState::Unknown)), veth: Some(&veth), port: true };
        assert_eq!(next_teardown(&a_plan(), seen, &Memory::default()), Step::Wait);
    }

    #[test]
    fn what_happens_after_an_exit_depends_on_policy_and_code() {
        let row = a_row(ContainerState::Stopped);
        let veth = a_veth();
        let seen = Seen { row: Some(&row), veth: Some(&veth), port: true };
        let after = |policy, code| {
            let memory = Memory {
                started: Started::Yes,
                exit: Some(Exit { code, message: String::new() }),
                ..Memory::default()
            };
            next_step(&a_plan(), policy, seen, &memory, Instant::now())
        };
        assert_eq!(after(RestartPolicy::Always, Some(0)), Step::ScheduleRestart);
        assert_eq!(after(RestartPolicy::Always, Some(1)), Step::ScheduleRestart);
        assert_eq!(after(RestartPolicy::OnFailure, Some(0)), Step::Settled);
        assert_eq!(after(RestartPolicy::OnFailure, Some(1)), Step::ScheduleRestart);
        assert_eq!(after(RestartPolicy::OnFailure, None), Step::ScheduleRestart);
        assert_eq!(after(RestartPolicy::Never, Some(1)), Step::Settled);
    }

    #[test]
    fn a_stopped_row_we_did_not_see_start_is_looked_into_before_it_is_started() {
        let row = a_row(ContainerState::Stopped);
        assert_eq!(step(Some(&row), Some(&a_veth()), &Memory::default()), Step::ReadExit);
    }

    #[test]
    fn a_lost_interface_rebuilds_the_container() {
        assert_eq!(
            step(Some(&a_row(ContainerState::Running)), None, &Memory::default()),
            Step::Stop(Why::InterfaceLost)
        );
    }

    #[test]
    fn an_image_that_cannot_be_unpacked_is_tried_again_after_growing_pauses() {
        let veth = a_veth();
        let now = Instant::now();
        let failed = a_row(ContainerState::Failed);
        let mut memory = Memory { lease: Some(a_lease()), unpacking: true, ..Memory::default() };
        // Either way a release tells: the row says it failed, or the row is gone.
        assert_eq!(step(Some(&failed), Some(&veth), &memory), Step::ScheduleRemake);
        assert_eq!(step(None, Some(&veth), &memory), Step::ScheduleRemake);
        let pause = memory.remakes.pause(now);
        memory.remake_scheduled = true;
        assert_eq!(step(Some(&failed), Some(&veth), &memory), Step::WaitUntil(now + pause));
        assert_eq!(step(None, Some(&veth), &memory), Step::WaitUntil(now + pause));
        let seen = |row| Seen { row, veth: Some(&veth), port: true };
        let later = |row| next_step(&a_plan(), RestartPolicy::Always, seen(row), &memory, now + pause);
        assert_eq!(later(Some(&failed)), Step::Remove(Why::ExtractFailed));
        assert_eq!(later(None), Step::EnsureTarball);
    }

    #[test]
    fn teardown_goes_from_process_to_address_in_order() {
        let veth = a_veth();
        let mut memory = Memory::default();
        let at = |row: Option<&ContainerRow>, veth: Option<&VethRow>, memory: &Memory| {
            next_teardown(&a_plan(), Seen { row, veth, port: veth.is_some() }, memory)
        };
        assert_eq!(at(Some(&a_row(ContainerState::Running)), Some(&veth), &memory), Step::Stop(Why::Deleted));
        assert_eq!(at(Some(&a_row(ContainerState::Stopping)), Some(&veth), &memory), Step::Wait);
        assert_eq!(at(Some(&a_row(ContainerState::Stopped)), Some(&veth), &memory), Step::Remove(Why::Deleted));
        assert_eq!(at(Some(&a_row(ContainerState::Deleting)), Some(&veth), &memory), Step::Wait);
        assert_eq!(at(None, Some(&veth), &memory), Step::RemoveVeth);
        assert_eq!(at(None, None, &memory), Step::ClearLists);
        memory.lists_cleared = true;
        assert_eq!(at(None, None, &memory), Step::ReleaseAddress);
        memory.released = true;
        assert_eq!(at(None, None, &memory), Step::Gone);
    }

    #[test]
    fn what_only_has_the_name_is_neither_changed_nor_removed() {
        let veth = a_veth();
        for theirs in [
            ContainerRow { comment: mark("default", "other", HASH), ..a_row(ContainerState::Running) },
            ContainerRow {
                comment: "nas".into(),
                interfaces: vec!["veth-nas".into()],
                ..a_row(ContainerState::Stopped)
            },
        ] {
            assert!(matches!(step(Some(&theirs), Some(&veth), &Memory::default()), Step::Blocked(_)), "{theirs:?}");
            let seen = Seen { row: Some(&theirs), veth: None, port: false };
            let memory = Memory { released: true, ..Memory::default() };
            assert_eq!(next_teardown(&a_plan(), seen, &memory), Step::Gone);
        }
        let theirs = VethRow { comment: "camera".into(), ..a_veth() };
        let seen = Seen { row: None, veth: Some(&theirs), port: true };
        let memory = Memory { lists_cleared: true, ..Memory::default() };
        assert_eq!(next_teardown(&a_plan(), seen, &memory), Step::Gone);
    }

    #[test]
    fn another_network_or_address_needs_another_lease() {
        let memory = Memory { lease: Some(a_lease()), ..Memory::default() };
        let seen = Seen { row: None, veth: None, port: false };
        let moved = ContainerPlan { network: Some("g10".into()), ..a_plan() };
        let next = |plan: ContainerPlan| next_step(&plan, RestartPolicy::Always, seen, &memory, Instant::now());
        assert_eq!(next(moved), Step::LeaseAddress);
        assert_eq!(next(ContainerPlan { wanted: Some(Ipv4Addr::new(10, 90, 0, 9)), ..a_plan() }), Step::LeaseAddress);
        assert_eq!(next(a_plan()), Step::EnsureTarball);
    }
}
