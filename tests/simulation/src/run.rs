//! One run: the steps of a history, and what became of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::invariants::{Violation, Watch};
use crate::quiet::quiet;
use crate::steps::Step;
use crate::world::World;

/// Between two looks while time passes.
const LOOK: Duration = Duration::from_millis(700);
/// How long the controller may take until it is there at first.
const FIRST: Duration = Duration::from_secs(5);

/// What became of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The invariant that did not hold, if one did not.
    pub violation: Option<Violation>,
    /// Everything that happened; empty unless it was asked for.
    pub trace: String,
}

/// Plays a history under a seed.
pub fn run(seed: u64, steps: &[Step], traced: bool) -> Outcome {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime of one thread").block_on(play(seed, steps, traced))
    }));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let violation = Violation { invariant: "the run itself does not fail", what: text.unwrap_or_default() };
        Outcome { violation: Some(violation), trace: String::new() }
    })
}

async fn play(seed: u64, steps: &[Step], traced: bool) -> Outcome {
    let mut world = World::new(seed).await;
    if let Some(Step::Shared { keeps }) = steps.iter().find(|step| matches!(step, Step::Shared { .. })) {
        world.share_store(*keeps);
    }
    world.start();
    let mut watch = Watch::new(&world);
    let result = go_through(&mut world, &mut watch, steps).await;
    let violation = result.err();
    if let Some(violation) = &violation {
        world.tell(format!("violated: {}: {}", violation.invariant, violation.what));
    }
    let told = world.ledger().take_told();
    told.into_iter().for_each(|line| world.tell(line));
    let trace = if traced { world.trace() } else { String::new() };
    world.kill();
    Outcome { violation, trace }
}

async fn go_through(world: &mut World, watch: &mut Watch, steps: &[Step]) -> Result<(), Violation> {
    world.pass(FIRST).await;
    for step in steps {
        world.tell(step);
        watch.step(step);
        world.perform(step).await;
        let mut left = if let Step::Wait(time) = step { *time } else { Duration::ZERO };
        loop {
            let now = left.min(LOOK);
            world.pass(now).await;
            let told = world.ledger().take_told();
            told.into_iter().for_each(|line| world.tell(line));
            watch.look(world)?;
            left = left.saturating_sub(now);
            if left.is_zero() {
                break;
            }
        }
    }
    quiet(world, watch).await
}

/// Deaths on request are part of a run, and not worth a report each.
pub fn die_quietly() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&"crashed on request") {
            loud(panic);
        }
    }));
}
