//! What a pod's actor remembers of one container, and how it learns. Pure.

use std::net::Ipv4Addr;
use std::time::Duration;

use mkube_messages::ipam::AddressLease;
use mkube_model::names;
use mkube_model::neighbours::router::{ContainerRow, ContainerState};
use mkube_model::neighbours::tarballs::Tarball;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::carry_out::Learnt;
use crate::ladder::{Ladder, RestartRules};
use crate::next_step::{Step, Why};
use crate::plan::{ContainerPlan, hash_in_mark};
use crate::status::Recorded;

/// A container that ran this long has its restarts forgiven.
const STABLE: Duration = Duration::from_secs(600);

/// How a container's last run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, when the device said.
    pub code: Option<i32>,
    /// The device's own words, if any.
    pub message: String,
}

impl Exit {
    /// Whether it ended well. An unknown code counts as failure: better one restart too many than a silent death.
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }
}

/// Whether the present row's process was ever started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Started {
    /// We came later than the row and have not looked yet.
    #[default]
    Unknown,
    /// Never.
    No,
    /// It was.
    Yes,
}

/// What the actor remembers of a container between steps; all of it can be found again.
#[derive(Debug, Clone)]
pub struct Memory {
    /// The address.
    pub lease: Option<AddressLease>,
    /// The network and address that were asked for when it was leased.
    pub wish: (Option<String>, Option<Ipv4Addr>),
    /// The archive.
    pub tarball: Option<Tarball>,
    /// The hash it was asked for.
    pub archive_for: String,
    /// The digest of the archive that the present row was made from, if we made it.
    pub made_from: Option<String>,
    /// The present row had no mark when it was first seen: another controller made it.
    pub adopted: bool,
    /// Directories of the volumes with files, as the device spells them, and for which files they were written.
    pub volumes: Option<(String, Vec<String>)>,
    /// The hash the mount and environment lists were written for.
    pub lists: Option<String>,
    /// The generation of the root directory to use next.
    pub generation: u32,
    /// Whether the row's process was started.
    pub started: Started,
    /// How the last run ended, once read.
    pub exit: Option<Exit>,
    /// We stopped it, since the node is emptied or its spec changed, and it was not started since.
    pub at_rest: bool,
    /// Pace of restarts.
    pub restarts: Backoff,
    /// The pause before the coming restart was started.
    pub restart_scheduled: bool,
    /// Restarts so far.
    pub restart_count: u64,
    /// How far it came by restarts without rest.
    pub ladder: Ladder,
    /// The wish the ladder belongs to: whoever changes the pod wants to see it tried.
    pub ladder_for: String,
    /// Restarts without rest that are allowed; zero: any number.
    pub most_restarts: u32,
    /// The last run was ended by a reboot of the device.
    pub by_reboot: bool,
    /// When the device started, as last heard.
    pub booted: Option<Instant>,
    /// Which probe says that the present run is dead.
    pub unhealthy: Option<&'static str>,
    /// Since when the process is seen running.
    pub running_since: Option<Instant>,
    /// A row was seen.
    pub had_row: bool,
    /// We removed the row: it does not go behind our back.
    pub removing: bool,
    /// The present row was made by us and has not been seen ready yet: should it vanish, its archive was bad.
    pub unpacking: bool,
    /// Pace of new rows after one whose image could not be unpacked.
    pub remakes: Backoff,
    /// The pause before the coming row was started.
    pub remake_scheduled: bool,
    /// Some row used our mount list, and it was not emptied since.
    pub has_mounts: bool,
    /// Some row used our environment list, and it was not emptied since.
    pub has_envs: bool,
    /// Pace of tries after a step failed.
    pub retry: Backoff,
    /// What the pace belongs to: a new wish is tried at once, whatever became of the last one.
    pub tried: (String, bool),
    /// Since when that is so; none: it was not looked at yet.
    pub tried_since: Option<Instant>,
    /// Lists were emptied and files deleted (deletion).
    pub lists_cleared: bool,
    /// The address was given back (deletion).
    pub released: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            lease: None,
            wish: (None, None),
            tarball: None,
            archive_for: String::new(),
            made_from: None,
            adopted: false,
            volumes: None,
            lists: None,
            generation: 1,
            started: Started::Unknown,
            exit: None,
            at_rest: false,
            restarts: Backoff::of_restarts(RestartRules::default().first_pause),
            restart_scheduled: false,
            restart_count: 0,
            ladder: Ladder::default(),
            ladder_for: String::new(),
            most_restarts: 0,
            by_reboot: false,
            booted: None,
            unhealthy: None,
            running_since: None,
            had_row: false,
            removing: false,
            unpacking: false,
            remakes: Backoff::of_remakes(),
            remake_scheduled: false,
            has_mounts: false,
            has_envs: false,
            retry: Backoff::of_retries(),
            tried: (String::new(), false),
            tried_since: None,
            lists_cleared: false,
            released: false,
        }
    }
}

impl Memory {
    /// Of a container that is met for the first time, perhaps after a crash of ours: what its pod's status tells of it.
    pub fn of(rules: RestartRules, restart_count: u64, ladder: Ladder, wish: &str) -> Self {
        let mut restarts = Backoff::of_restarts(rules.first_pause);
        // The pauses go on where they were: a crash of ours is no rest for anybody.
        restarts.resume(ladder.restarts);
        let ladder_for = wish.to_owned();
        Self { restarts, restart_count, ladder, ladder_for, most_restarts: rules.most, ..Self::default() }
    }

    /// Whether the container is wanted like this since before `moment`.
    pub fn is_older_than(&self, moment: Instant) -> bool {
        self.tried_since.is_some_and(|since| since <= moment)
    }

    /// The pod is wanted like this: a changed one is tried from the ground.
    pub fn see_wish(&mut self, wish: &str) {
        if self.ladder_for != wish {
            self.ladder_for = wish.to_owned();
            self.forgive();
        }
    }

    /// What it did before is not held against it any more.
    fn forgive(&mut self) {
        self.ladder = Ladder::default();
        self.restarts.reset();
        self.restart_scheduled = false;
    }

    /// When the device was started. `ran_before`: by the stored status the present row ran before that.
    pub fn see_boot(&mut self, row: &ContainerRow, booted: Option<Instant>, ran_before: bool) {
        let Some(boot) = booted else { return };
        let first_sight = self.booted.is_none();
        if self.booted.replace(boot).is_some_and(|before| before != boot) {
            self.forgive();
        }
        let seen_before = self.running_since.is_some_and(|since| since < boot);
        if seen_before {
            // Whatever runs now began after it.
            self.running_since = None;
        }
        let ended = seen_before || (first_sight && ran_before);
        if ended && row.state == ContainerState::Stopped && self.exit.is_none() {
            self.started = Started::Yes;
            self.exit = Some(Exit { code: None, message: "the device was rebooted".into() });
            self.by_reboot = true;
        }
    }

    /// The address, if it is the one the plan asks for.
    pub fn lease_for(&self, plan: &ContainerPlan) -> Option<&AddressLease> {
        let same = self.wish.0 == plan.network && self.wish.1 == plan.wanted;
        self.lease.as_ref().filter(|_| same)
    }

    /// The archive, if it was asked for the container as it is planned now.
    pub fn tarball_for(&self, plan: &ContainerPlan) -> Option<&Tarball> {
        self.tarball.as_ref().filter(|_| self.archive_for == plan.hash)
    }

    /// The device shows the container's row.
    pub fn see_row(&mut self, row: &ContainerRow, container: &ContainerPlan, images_base: &str, now: Instant) {
        self.had_row = true;
        self.adopted |= hash_in_mark(&row.comment).is_none();
        self.has_mounts |= row.mount_lists.contains(&container.row);
        self.has_envs |= row.env_lists.contains(&container.row);
        if let Some(generation) = names::root_dir_generation(images_base, &container.row, &row.root_dir) {
            self.generation = self.generation.max(generation);
        }
        if matches!(row.state, ContainerState::Running | ContainerState::Stopped) {
            self.unpacking = false;
        }
        if row.state != ContainerState::Running {
            self.running_since = None;
            return;
        }
        self.remakes.reset();
        self.started = Started::Yes;
        self.exit = None;
        self.at_rest = false;
        self.by_reboot = false;
        self.ladder.held = false;
        self.restart_scheduled = false;
        let since = *self.running_since.get_or_insert(now);
        if now.duration_since(since) >= STABLE {
            self.forgive();
        }
    }

    /// We stopped it, to empty the node or for a change that was taken back: that is the end of no run, and the next start is no
    /// restart.
    pub fn rest(&mut self) {
        self.at_rest = true;
        self.started = Started::No;
        self.exit = None;
        self.forgive();
    }

    /// The device shows no row of the container.
    pub fn see_no_row(&mut self) {
        if std::mem::take(&mut self.had_row) && !std::mem::take(&mut self.removing) {
            // Gone behind our back. Its directory may be there still.
            self.generation += 1;
            self.tarball = None;
        }
        self.made_from = None;
        self.adopted = false;
        self.at_rest = false;
        self.started = Started::No;
        self.exit = None;
        self.by_reboot = false;
        self.restart_scheduled = false;
        self.running_since = None;
    }

    /// A step was done. `before`: what the stored status said of the row when it began.
    pub fn learn(&mut self, step: &Step, container: &ContainerPlan, learnt: Learnt, before: Recorded) {
        self.retry.reset();
        match (step, learnt) {
            (_, Learnt::Lease(lease)) => {
                if self.lease.as_ref() != Some(&lease) {
                    // Variables may hold the address.
                    self.lists = None;
                }
                self.lease = Some(lease);
                self.wish = (container.network.clone(), container.wanted);
            }
            (_, Learnt::Tarball(tarball)) => {
                self.tarball = Some(tarball);
                self.archive_for.clone_from(&container.hash);
            }
            (_, Learnt::Volumes(paths)) => self.volumes = Some((container.files(), paths)),
            (_, Learnt::RowMade(generation)) => {
                self.generation = generation;
                self.adopted = false;
                self.made_from = self.tarball_for(container).and_then(|tarball| tarball.digest.clone());
                self.started = Started::No;
                self.exit = None;
                self.unpacking = true;
                self.remake_scheduled = false;
            }
            (_, Learnt::Exit(exit)) => {
                // The device's log is short and does not survive a reboot; what was seen once stands in the status.
                let exit = exit.or(before.exit.filter(|_| self.started != Started::Yes));
                let ran = exit.is_some() || before.started || self.started == Started::Yes;
                self.started = if ran { Started::Yes } else { Started::No };
                self.exit =
                    exit.or_else(|| ran.then(|| Exit { code: None, message: "the exit code is not known".into() }));
            }
            (Step::EnsureLists, _) => {
                self.lists = Some(container.hash.clone());
                self.has_mounts = !container.mounts.is_empty();
                self.has_envs = !container.envs.is_empty();
            }
            (Step::Start, _) => {
                if self.exit.take().is_some() && !std::mem::take(&mut self.by_reboot) {
                    self.restart_count += 1;
                    self.ladder.climb();
                }
                self.started = Started::Yes;
                self.at_rest = false;
                self.restart_scheduled = false;
            }
            (Step::Stop(Why::Drained | Why::SpecChanged), _) => self.at_rest = true,
            (Step::Remove(why), _) => {
                // The next row is another generation: nothing of this one may be taken for it.
                self.generation += 1;
                self.removing = true;
                self.unpacking = false;
                self.made_from = None;
                self.adopted = false;
                // What was asked for the change, before anything was stopped, is for the next row.
                let goes_on = matches!(why, Why::SpecChanged | Why::Unstable);
                if !goes_on || self.tarball_for(container).is_none() {
                    self.tarball = None;
                }
                if *why == Why::Unstable {
                    self.restart_count += 1;
                    self.ladder.climb();
                    self.ladder.remade = true;
                }
                self.lists = None;
                self.exit = None;
                self.started = Started::No;
            }
            (Step::ClearLists, _) => self.lists_cleared = true,
            (Step::ReleaseAddress, _) => self.released = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::next_step::tests::{a_plan, a_row};

    fn climbed() -> Memory {
        let ladder = Ladder { restarts: 6, remade: true, held: true };
        let rules = RestartRules { most: 3, ..RestartRules::default() };
        Memory { booted: Some(Instant::now()), ..Memory::of(rules, 6, ladder, "wish") }
    }

    #[test]
    fn a_changed_pod_and_a_rebooted_device_begin_anew_and_nothing_else_does() {
        let mut memory = climbed();
        let boot = memory.booted;
        memory.see_wish("wish");
        memory.see_boot(&a_row(ContainerState::Stopped), boot, false);
        assert_eq!((memory.ladder.restarts, memory.restarts.is_in_use()), (6, true));
        memory.see_wish("another");
        assert_eq!((memory.ladder, memory.restarts.is_in_use()), (Ladder::default(), false));
        let mut memory = climbed();
        memory.see_boot(&a_row(ContainerState::Stopped), boot.map(|boot| boot + Duration::from_secs(60)), false);
        assert_eq!((memory.ladder, memory.restart_count), (Ladder::default(), 6), "the count is true all the same");
    }

    #[test]
    fn a_run_that_ended_with_the_device_ended_by_a_reboot_and_one_that_ended_since_by_itself() {
        let now = Instant::now();
        let stopped = a_row(ContainerState::Stopped);
        let seen = |running_since: Option<Instant>, ran_before| {
            let mut memory = Memory { running_since, ..Memory::default() };
            memory.see_boot(&stopped, Some(now), ran_before);
            memory
        };
        let second = Duration::from_secs(1);
        assert!(seen(Some(now - second), false).by_reboot);
        assert!(seen(None, true).by_reboot, "found so after a crash of ours");
        assert!(!seen(Some(now + second), false).by_reboot);
        assert!(!seen(None, false).by_reboot);
    }

    #[test]
    fn a_start_after_a_reboot_counts_as_no_restart_and_one_after_an_end_does() {
        let exit = || Some(Exit { code: Some(1), message: String::new() });
        let mut memory = Memory { exit: exit(), by_reboot: true, ..Memory::default() };
        memory.learn(&Step::Start, &a_plan(), Learnt::Nothing, Recorded::default());
        assert_eq!((memory.restart_count, memory.ladder.restarts), (0, 0));
        memory.exit = exit();
        memory.learn(&Step::Start, &a_plan(), Learnt::Nothing, Recorded::default());
        assert_eq!((memory.restart_count, memory.ladder.restarts), (1, 1));
        memory.learn(&Step::Remove(Why::Unstable), &a_plan(), Learnt::Nothing, Recorded::default());
        assert_eq!((memory.restart_count, memory.ladder), (2, Ladder { restarts: 2, remade: true, held: false }));
    }

    #[test]
    fn long_running_forgives() {
        let mut memory = climbed();
        let now = Instant::now();
        memory.see_row(&a_row(ContainerState::Running), &a_plan(), "/images", now);
        assert_eq!(memory.ladder, Ladder { restarts: 6, remade: true, held: false });
        memory.see_row(&a_row(ContainerState::Running), &a_plan(), "/images", now + STABLE);
        assert_eq!((memory.ladder, memory.restarts.is_in_use()), (Ladder::default(), false));
    }
}
