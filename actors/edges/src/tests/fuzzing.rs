//! The corpus in `corpus/`, and what a seed makes of it, thrown at each target. A panic, a broken promise and an input that takes
//! without end are failures, told with the input. `MKUBE_FUZZ_RUNS` and `MKUBE_FUZZ_SEED` make it longer and different
//! (`make fuzz`).

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::mutation::{Dice, mutated};
use super::targets::{TARGETS, Target};

/// Inputs of each target beside the corpus.
const RUNS: usize = 3000;
/// How long one input may take, on the slowest of machines.
const PATIENCE: Duration = Duration::from_secs(60);
/// Inputs that are kept because something new came of them.
const KEPT: usize = 1000;

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// The inputs in the repository, in the order of their names.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let mut paths: Vec<_> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("a directory can be read").path())
        .collect();
    paths.sort();
    let inputs: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).expect("a file can be read")).collect();
    assert!(!inputs.is_empty(), "{} has a corpus", target.name);
    inputs
}

/// What came of an input, without its particulars: what is new by this is worth going on from.
fn shape(told: &str) -> String {
    let plain = told.chars().filter(|letter| letter.is_ascii_alphabetic() || *letter == ' ');
    plain.take(80).collect()
}

/// Throws one input; the shape of what came of it.
fn thrown(target: &Target, input: &[u8]) -> String {
    let shown = || String::from_utf8_lossy(input).escape_debug().take(2000).collect::<String>();
    let done = catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
    match done {
        Ok(Ok(told)) => shape(&told),
        Ok(Err(broken)) => panic!("{}: {broken}, with: {}", target.name, shown()),
        Err(_) => panic!("{} panicked with: {}", target.name, shown()),
    }
}

fn fuzz(target: &'static Target, runs: usize, seed: u64, under_way: &Mutex<(usize, Vec<u8>)>) {
    let mut dice = Dice::new(seed);
    let mut seen = BTreeSet::new();
    let mut count = 0;
    let mut is_new = |input: &[u8]| {
        count += 1;
        *under_way.lock().unwrap_or_else(PoisonError::into_inner) = (count, input.to_vec());
        seen.insert(thrown(target, input))
    };
    let mut pool = corpus(target);
    for input in &pool {
        is_new(input);
    }
    for _ in 0..runs {
        let (seed, other) = (dice.one(&pool).clone(), dice.one(&pool).clone());
        let input = mutated(&mut dice, &seed, &other);
        if is_new(&input) && pool.len() < KEPT {
            pool.push(input);
        }
    }
}

/// Runs a target on a thread of its own, and looks after it.
fn throw(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("it is in the table");
    let (runs, seed) = (number("MKUBE_FUZZ_RUNS", RUNS), number("MKUBE_FUZZ_SEED", 1));
    let under_way: Arc<Mutex<(usize, Vec<u8>)>> = Arc::default();
    let (ended, end) = channel::<()>();
    let shared = under_way.clone();
    let work = std::thread::spawn(move || {
        let _ended = ended;
        fuzz(target, runs, seed as u64, &shared);
    });
    let mut before = 0;
    while let Err(RecvTimeoutError::Timeout) = end.recv_timeout(PATIENCE) {
        let (now, input) = under_way.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert_ne!(now, before, "{name} hangs with: {}", String::from_utf8_lossy(&input).escape_debug());
        before = now;
    }
    if let Err(panic) = work.join() {
        let said = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        panic!("seed {seed}: {said}");
    }
}

macro_rules! thrown_at {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            throw($name);
        })*

        #[test]
        fn every_target_is_thrown_at() {
            let thrown: BTreeSet<&str> = [$($name),*].into();
            let all: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(thrown, all);
        }
    };
}

thrown_at! {
    no_merge_patch_panics_and_twice_is_once: "merge-patch",
    no_strategic_patch_panics_and_twice_is_once: "strategic-patch",
    no_json_patch_panics_and_what_fails_is_said: "json-patch",
    no_apply_panics_and_twice_is_once: "apply",
    no_label_selector_panics_and_printed_it_reads_the_same: "label-selector",
    no_field_selector_panics: "field-selector",
    no_protobuf_body_panics_and_what_is_written_reads_the_same: "protobuf",
    no_json_body_panics_and_it_reads_as_others_read_it: "json-body",
    no_manifest_panics_and_printed_it_reads_the_same: "manifest",
    no_path_or_query_panics_and_encoded_it_reads_the_same: "query",
    no_options_of_a_deletion_panic_and_read_again_they_are_the_same: "delete-options",
}
