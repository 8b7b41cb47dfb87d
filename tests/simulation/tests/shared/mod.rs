//! Over a store that others write too, and that is out of sight at times.

use std::time::Duration;

use mkube_fakes::LoadCue;
use mkube_simulation::run::{Outcome, die_quietly, run};
use mkube_simulation::shared::{Other, of_seed};
use mkube_simulation::shrink::try_seed;
use mkube_simulation::steps::Step;
use mkube_supervision::CrashHow;

use crate::{a_pod, on_all_cores, seconds};

#[test]
fn twenty_seeds_hold_every_invariant_over_a_store_that_others_write_and_that_goes_away() {
    let seeds: Vec<u64> = (0..20).collect();
    let failures = on_all_cores(&seeds, |seed| try_seed(seed, of_seed).err().map(|failure| failure.to_string()));
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
}

#[test]
fn what_a_seed_was_without_others_it_is_with_them_too() {
    for seed in 0..50 {
        let shared = of_seed(seed).into_iter().map(|step| format!("{step:?}")).collect::<Vec<_>>();
        let mut left = shared.iter();
        for step in mkube_simulation::history::of_seed(seed) {
            let text = format!("{step:?}");
            let torn = matches!(step, Step::Load(LoadCue::Torn));
            assert!(torn || left.any(|one| *one == text), "seed {seed}: {text} is not there in its place");
        }
    }
}

/// Plays a history that holds; what happened in it.
fn held(keeps: bool, steps: &[Step]) -> String {
    die_quietly();
    let steps: Vec<Step> = [Step::Shared { keeps }].into_iter().chain(steps.iter().cloned()).collect();
    let Outcome { violation, trace } = run(1, &steps, true);
    assert_eq!(violation, None, "{trace}");
    trace
}

fn lost(seconds: u64) -> Step {
    Step::StoreLost(Duration::from_secs(seconds))
}

#[test]
fn a_controller_without_memory_of_a_store_that_is_away_touches_nothing() {
    for death in [Step::Kill, Step::Restart, Step::Crash("mkube/object-layer/objects", CrashHow::Panic)] {
        let steps = [
            Step::Create("alpha", a_pod()),
            seconds(20),
            lost(90),
            Step::Load(LoadCue::Empty),
            death.clone(),
            seconds(80),
        ];
        let trace = held(false, &steps);
        assert!(trace.contains("the store is back in sight"), "{trace}");
        let touched = ["POST /container/stop", "POST /container/remove", "POST /interface/veth/remove"];
        assert!(touched.iter().all(|call| !trace.contains(call)), "{death}: {trace}");
    }
}

#[test]
fn a_write_while_the_store_is_away_is_refused_or_kept_as_it_was_set_up() {
    let steps = [Step::Create("alpha", a_pod()), seconds(20), lost(20), Step::Annotate("alpha"), seconds(40)];
    let refused = held(false, &steps);
    assert!(refused.contains("answer 2: 503"), "{refused}");
    assert!(!refused.contains("\"simulation/edit\":\"2\""), "{refused}");
    let kept = held(true, &steps);
    assert!(kept.contains("answer 2: done"), "{kept}");
    assert!(kept.contains("\"simulation/edit\":\"2\""), "it is told when the store is back: {kept}");
}

#[test]
fn a_store_that_is_older_than_it_was_takes_no_write_and_costs_nobody_anything() {
    let older = Step::StoreOlder(Duration::from_secs(60));
    let (create, annotate) = (Step::Create("alpha", a_pod()), Step::Annotate("alpha"));
    let steps = [create, seconds(20), older, annotate, seconds(2), Step::Restart, seconds(90)];
    for keeps in [false, true] {
        let trace = held(keeps, &steps);
        assert!(trace.contains("answer 2: 503"), "{trace}");
        assert!(!trace.contains("POST /container/stop"), "{trace}");
    }
}

#[test]
fn what_others_did_while_the_store_was_away_comes_about_when_it_is_back() {
    let steps = [
        Step::Create("alpha", a_pod()),
        Step::Create("beta", a_pod()),
        seconds(20),
        lost(20),
        Step::Other(Other::SetEnv("alpha")),
        Step::Other(Other::Delete("beta")),
        seconds(40),
    ];
    let trace = held(false, &steps);
    assert!(trace.contains("POST /container/stop"), "alpha runs with something else, and beta is gone: {trace}");
}
