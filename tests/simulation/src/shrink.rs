//! The shortest history that still fails.

use crate::invariants::Violation;
use crate::run::run;
use crate::steps::Step;

/// Runs that are spent on one history.
const RUNS: usize = 600;

/// A seed that fails, and why.
#[derive(Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// As few steps as were found to fail.
    pub steps: Vec<Step>,
    /// What they violate.
    pub violation: Violation,
    /// Steps of the whole history.
    pub of: usize,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(out, "seed {}: it does not hold that {}", self.seed, self.violation.invariant)?;
        writeln!(out, "  {}", self.violation.what)?;
        writeln!(out, "the shortest history found, {} of {} steps:", self.steps.len(), self.of)?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(out, "  {:>2}. {step}", number + 1)?;
        }
        let shared = self.steps.iter().any(|step| matches!(step, Step::Shared { .. }));
        let store = if shared { "MKUBE_SIM_SHARED=1 " } else { "" };
        write!(out, "again: {store}MKUBE_SIM_FROM={} MKUBE_SIM_SEEDS=1 make simulate", self.seed)
    }
}

/// Plays a history of a seed; a failure is told with as few steps as it takes.
pub fn try_seed(seed: u64, history: impl Fn(u64) -> Vec<Step>) -> Result<(), Box<Failure>> {
    let steps = history(seed);
    match run(seed, &steps, false).violation {
        None => Ok(()),
        Some(violation) => {
            let of = steps.len();
            let (steps, violation) = shrink(steps, violation, |steps| run(seed, steps, false).violation);
            Err(Box::new(Failure { seed, steps, violation, of }))
        }
    }
}

/// Delta debugging: leaves out ever smaller parts for as long as the same invariant is violated without them.
pub fn shrink<S: Clone>(
    steps: Vec<S>,
    violation: Violation,
    play: impl Fn(&[S]) -> Option<Violation>,
) -> (Vec<S>, Violation) {
    let (mut steps, mut violation) = (steps, violation);
    let mut runs = 0;
    let mut part = steps.len().div_ceil(2);
    while part > 0 && runs < RUNS {
        let mut shorter = false;
        let mut at = 0;
        while at < steps.len() && runs < RUNS {
            let mut without = steps.clone();
            without.drain(at..(at + part).min(steps.len()));
            runs += 1;
            match play(&without).filter(|found| found.invariant == violation.invariant) {
                Some(found) => {
                    (steps, violation, shorter) = (without, found, true);
                }
                None => at += part,
            }
        }
        // Whole rounds until no single step can be spared.
        part = if shorter && part == 1 { 1 } else { part / 2 };
    }
    (steps, violation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violated(what: &str) -> Violation {
        Violation { invariant: "small", what: what.into() }
    }

    #[test]
    fn only_the_steps_that_matter_are_left() {
        let play = |steps: &[u32]| (steps.contains(&3) && steps.contains(&17)).then(|| violated("again"));
        let (left, why) = shrink((0..40).collect(), violated("first"), play);
        assert_eq!(left, [3, 17]);
        assert_eq!(why.what, "again");
    }

    #[test]
    fn another_violation_is_another_story() {
        let play = |steps: &[u32]| {
            let other = Violation { invariant: "other", what: String::new() };
            if steps.len() == 3 { Some(violated("again")) } else { Some(other) }
        };
        let (left, _) = shrink(vec![1, 2, 3], violated("first"), play);
        assert_eq!(left, [1, 2, 3]);
    }
}
