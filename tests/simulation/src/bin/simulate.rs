//! Plays many seeds on all cores and stops at the first that fails: `MKUBE_SIM_FROM` is the first seed, `MKUBE_SIM_SEEDS`
//! how many, `MKUBE_SIM_TRACE=1` writes everything that happens in them. `MKUBE_SIM_SHARED=1`: over a store that others write too.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mkube_simulation::shrink::{Failure, try_seed};
use mkube_simulation::steps::Step;
use mkube_simulation::{history, run, shared};

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn main() -> ExitCode {
    mkube_simulation::run::die_quietly();
    let history: fn(u64) -> Vec<Step> =
        if number("MKUBE_SIM_SHARED", 0) > 0 { shared::of_seed } else { history::of_seed };
    let (from, count) = (number("MKUBE_SIM_FROM", 0), number("MKUBE_SIM_SEEDS", 100_000));
    if number("MKUBE_SIM_TRACE", 0) > 0 {
        for seed in from..from + count {
            println!("{}", run::run(seed, &history(seed), true).trace);
        }
        return ExitCode::SUCCESS;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, done, stop) = (AtomicU64::new(from), AtomicU64::new(0), AtomicBool::new(false));
    let failures: Mutex<Vec<Box<Failure>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    if let Err(failure) = try_seed(seed, history) {
                        stop.store(true, Ordering::Relaxed);
                        failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(failure);
                    }
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done % 500 == 0 {
                        println!("{done} of {count} seeds");
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    for failure in &failures {
        println!("{failure}");
    }
    if failures.is_empty() {
        println!("{count} seeds from {from}: all invariants hold");
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}
