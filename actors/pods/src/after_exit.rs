//! What becomes of a container whose process ended, and of one that nobody may touch. Pure.

use tokio::time::Instant;

use crate::ladder::Rung;
use crate::memory::{Memory, Started};
use crate::next_step::{Step, Why};
use crate::plan::{ContainerPlan, RestartPolicy};

/// What to do next for a container that is stopped.
pub fn step_of_stopped(plan: &ContainerPlan, restart: RestartPolicy, memory: &Memory, now: Instant) -> Step {
    let exit = match (memory.started, &memory.exit) {
        (Started::No, _) => return Step::Start,
        (Started::Unknown, _) | (Started::Yes, None) => return Step::ReadExit,
        (Started::Yes, Some(exit)) => exit,
    };
    let again = match restart {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => !exit.succeeded(),
        RestartPolicy::Never => false,
    };
    if !again {
        return Step::Settled;
    }
    // It did not end by itself: nothing is paced, and nothing is held against it.
    if memory.by_reboot {
        return Step::Start;
    }
    let rung = memory.ladder.rung(memory.most_restarts);
    if rung == Rung::Hold {
        return Step::Held;
    }
    if !memory.restart_scheduled {
        return Step::ScheduleRestart;
    }
    if let Some(due) = memory.restarts.due().filter(|due| *due > now) {
        return Step::WaitUntil(due);
    }
    match rung {
        Rung::Remake if plan.blocked.is_none() && memory.tarball_for(plan).is_some() => Step::Remove(Why::Unstable),
        // What it was made from is there before it is taken away; what cannot be had does not keep it from another try.
        Rung::Remake if plan.blocked.is_none() && !memory.retry.is_in_use() => Step::EnsureTarball,
        _ => Step::Start,
    }
}

/// What is left of a step for a pod that is paused: whoever paused it wants to do things by hand. Looking is allowed.
pub fn hands_off(step: Step) -> Step {
    match step {
        Step::Wait | Step::Blocked(_) | Step::ReadExit | Step::Settled | Step::Gone => step,
        _ => Step::Settled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ladder::Ladder;
    use crate::memory::Exit;
    use crate::next_step::tests::a_plan;
    use mkube_model::neighbours::tarballs::Tarball;
    use std::time::Duration;

    fn ended(restarts: u32, remade: bool) -> Memory {
        Memory {
            started: Started::Yes,
            exit: Some(Exit { code: Some(1), message: String::new() }),
            ladder: Ladder { restarts, remade, held: false },
            most_restarts: 3,
            ..Memory::default()
        }
    }

    fn next(memory: &Memory, now: Instant) -> Step {
        step_of_stopped(&a_plan(), RestartPolicy::Always, memory, now)
    }

    #[test]
    fn each_end_has_its_pause_and_the_last_rung_is_held() {
        let now = Instant::now();
        let mut memory = ended(1, false);
        assert_eq!(next(&memory, now), Step::ScheduleRestart);
        memory.restart_scheduled = true;
        memory.restarts.pause(now);
        assert!(matches!(next(&memory, now), Step::WaitUntil(_)));
        let later = now + Duration::from_secs(11);
        assert_eq!(next(&memory, later), Step::Start);
        memory.ladder = Ladder { restarts: 6, remade: true, held: false };
        assert_eq!(next(&memory, later), Step::Held);
        // A job that is done is done, however often it was restarted.
        memory.exit = Some(Exit { code: Some(0), message: String::new() });
        assert_eq!(step_of_stopped(&a_plan(), RestartPolicy::OnFailure, &memory, later), Step::Settled);
    }

    #[test]
    fn a_container_is_made_anew_only_from_an_archive_that_is_there() {
        let now = Instant::now();
        let mut memory = ended(3, false);
        memory.restart_scheduled = true;
        assert_eq!(next(&memory, now), Step::EnsureTarball);
        memory.tarball =
            Some(Tarball { device_path: "x.tar".into(), digest: None, stale: None, bytes: 1, pulled: true });
        memory.archive_for = a_plan().hash;
        assert_eq!(next(&memory, now), Step::Remove(Why::Unstable));
        memory.tarball = None;
        memory.retry.pause(now);
        assert_eq!(next(&memory, now), Step::Start, "a registry that is away does not keep it from being started");
        memory.retry.reset();
        let blocked = ContainerPlan { blocked: Some("configmap \"m\" not found".into()), ..a_plan() };
        assert_eq!(step_of_stopped(&blocked, RestartPolicy::Always, &memory, now), Step::Start);
    }

    #[test]
    fn what_a_reboot_ended_is_started_at_once_unless_it_is_never_started_again() {
        let memory = Memory { by_reboot: true, ..ended(6, true) };
        let now = Instant::now();
        assert_eq!(next(&memory, now), Step::Start);
        assert_eq!(step_of_stopped(&a_plan(), RestartPolicy::Never, &memory, now), Step::Settled);
    }

    #[test]
    fn of_a_paused_pod_nothing_is_started_stopped_made_or_removed() {
        for step in [
            Step::LeaseAddress,
            Step::EnsureTarball,
            Step::EnsureContainer,
            Step::EnsureVeth,
            Step::Start,
            Step::ScheduleRestart,
            Step::ScheduleRemake,
            Step::Held,
            Step::Mark,
            Step::Stop(Why::SpecChanged),
            Step::Stop(Why::Unhealthy("failed liveness probe")),
            Step::Stop(Why::InterfaceLost),
            Step::Remove(Why::Unstable),
            Step::WaitUntil(Instant::now()),
        ] {
            assert_eq!(hands_off(step.clone()), Step::Settled, "{step:?}");
        }
        for step in [Step::Wait, Step::ReadExit, Step::Gone, Step::Blocked("x".into())] {
            assert_eq!(hands_off(step.clone()), step);
        }
    }
}
