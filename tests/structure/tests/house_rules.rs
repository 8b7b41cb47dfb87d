//! Habits of the house that can be checked by reading.

use mkube_structure::{Source, sources};

const EVERYWHERE: &[&str] = &["protocol", "services", "actors", "bin", "tests"];
const PRODUCT: &[&str] = &["protocol", "services", "actors", "bin"];

/// Lines a file may have before it is to be split by question; tests not counted.
const LONGEST: usize = 500;

/// Files that are longer, how long they may be, and why that is not a reason to split them now.
const LONGER: &[(&str, usize, &str)] = &[];

/// Says where a rule is broken, one line per place.
fn offences(sources: &[Source], broken: impl Fn(&Source) -> Vec<(usize, String)>) -> Vec<String> {
    sources
        .iter()
        .flat_map(|source| {
            broken(source).into_iter().map(|(line, what)| format!("{}:{line}: {what}", source.path)).collect::<Vec<_>>()
        })
        .collect()
}

fn assert_none(offences: &[String]) {
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

/// Places in code that is not a test where a word stands.
fn found(source: &Source, word: &str) -> Vec<(usize, String)> {
    let lines = source.code_lines().into_iter();
    lines.filter(|(_, line)| line.contains(word)).map(|(at, line)| (at, line.trim().to_owned())).collect()
}

fn all_text(source: &Source, word: &str) -> Vec<(usize, String)> {
    let lines = source.text.lines().enumerate();
    lines.filter(|(_, line)| line.contains(word)).map(|(at, line)| (at + 1, line.trim().to_owned())).collect()
}

/// This file names what it forbids.
fn but_this_file(rooms: &[&str]) -> Vec<Source> {
    sources(rooms).into_iter().filter(|source| !source.path.ends_with("tests/house_rules.rs")).collect()
}

fn is_too_long(source: &Source) -> Option<String> {
    let (lines, listed) = (
        source.product_lines().len(),
        LONGER.iter().find(|(path, ..)| *path == source.path).map(|(_, lines, _)| *lines),
    );
    match listed {
        None if lines > LONGEST => Some(format!("{lines} lines: split it by question")),
        Some(most) if lines > most => Some(format!("{lines} lines, {most} were granted")),
        Some(_) if lines <= LONGEST => Some(format!("{lines} lines: take it off the list of longer files")),
        _ => None,
    }
}

#[test]
fn a_file_answers_one_question_in_at_most_500_lines() {
    let sources = sources(PRODUCT);
    assert_none(&offences(&sources, |source| is_too_long(source).map(|what| (1, what)).into_iter().collect()));
    for (path, ..) in LONGER {
        assert!(sources.iter().any(|source| source.path == *path), "{path} is listed as longer and does not exist");
    }
    let long = Source { path: "actors/x/src/x.rs".into(), text: "//\n".repeat(LONGEST + 1) };
    assert!(is_too_long(&long).is_some());
}

#[test]
fn every_room_of_actors_has_its_card() {
    const CARD: [&str; 6] = ["Owns", "Asks", "Answers", "Tells", "Ticks", "Rebuilds"];
    for source in sources(&["actors"]).iter().filter(|source| source.path.ends_with("/src/lib.rs")) {
        // The kernel is no actor.
        if source.path.starts_with("actors/supervision/") {
            continue;
        }
        let card: Vec<&str> = source.text.lines().take_while(|line| line.starts_with("//!")).collect();
        for entry in CARD {
            let told = card.iter().any(|line| line.split_whitespace().any(|word| word == entry));
            assert!(told, "{}: the card does not say what it {}", source.path, entry.to_lowercase());
        }
    }
}

#[test]
fn nothing_is_left_for_later_in_silence() {
    for word in ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!(", "dbg!(", "#[ignore", "#![allow(warnings"] {
        assert_none(&offences(&but_this_file(EVERYWHERE), |source| all_text(source, word)));
    }
}

#[test]
fn nothing_from_outside_is_unwrapped() {
    assert_none(&offences(&sources(PRODUCT), |source| found(source, ".unwrap()")));
}

/// `println!` panics when whoever reads has seen enough, as `head` has; `say` does not.
#[test]
fn the_binary_prints_so_that_its_reader_may_leave() {
    let own: Vec<Source> =
        sources(&["bin"]).into_iter().filter(|source| source.path.starts_with("bin/mkube/src/")).collect();
    assert!(own.len() > 50, "there they are");
    for word in ["println!(", "print!("] {
        let to_stdout = |(_, line): &(usize, String)| line.replace("eprint", "").contains(word);
        assert_none(&offences(&own, |source| found(source, word).into_iter().filter(to_stdout).collect()));
    }
}

#[test]
fn every_exception_from_a_lint_has_a_reason() {
    let without_reason = |source: &Source| {
        let lines: Vec<&str> = source.text.lines().collect();
        let mut places = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let attribute = line.trim_start();
            if (attribute.starts_with("#[allow(")
                || attribute.starts_with("#![allow(")
                || attribute.starts_with("#[expect("))
                && !lines[at..].iter().take(4).any(|line| line.contains("reason = \""))
            {
                places.push((at + 1, attribute.to_owned()));
            }
        }
        places
    };
    assert_none(&offences(&but_this_file(EVERYWHERE), without_reason));
    let bare = Source { path: "x.rs".into(), text: "#[allow(dead_code)]\nfn a() {}\n".into() };
    assert_eq!(without_reason(&bare).len(), 1);
}

/// Work that an actor starts and does not own goes on when the actor is gone.
#[test]
fn actors_start_no_work_that_nobody_owns() {
    // The kernel spawns the actors themselves; an export and an upgraded connection belong to their HTTP client; a server
    // drains while its actor is gone.
    const OWNED: &[&str] = &[
        "actors/supervision/src/",
        "actors/edges/src/export.rs",
        "actors/edges/src/passing_on.rs",
        "actors/edges/src/streams.rs",
        "actors/edges/src/spdy_upgrade.rs",
        "actors/edges/src/http_edge.rs",
    ];
    for word in ["tokio::spawn(", "actix_rt::spawn(", "actix::spawn(", "rt::spawn(", "task::spawn(", "spawn_local("] {
        assert_none(&offences(&sources(&["actors"]), |source| {
            if OWNED.iter().any(|path| source.path.starts_with(path)) { Vec::new() } else { found(source, word) }
        }));
    }
}

/// What happens follows from what is seen, the same in every run: see `docs/decisions/014-one-seed-one-run.md`.
#[test]
fn nothing_in_an_actor_depends_on_chance_or_on_another_thread() {
    // Looked up and never walked through; a query string and a table of offers belong to HTTP, a secret word must be secret.
    const NEVER_WALKED: &[&str] = &[
        "actors/edges/",
        "actors/objects/src/event_book.rs",
        "protocol/messages/src/door.rs",
        "protocol/messages/src/offers.rs",
        "protocol/model/src/kinds/pod.rs",
        "protocol/model/src/neighbours/randomness.rs",
    ];
    // That of tokio wakes its readers in the order of a lottery; `mkube_messages::watch` does not.
    const WATCH: &[&str] = &["tokio::sync::watch", ", watch}"];
    const CHANCE: &[&str] = &["HashMap", "HashSet", "RandomState", "new_v4", "spawn_blocking", "thread::spawn"];
    let rooms = sources(&["actors", "protocol/messages", "protocol/model"]);
    for word in CHANCE.iter().chain(WATCH) {
        assert_none(&offences(&rooms, |source| {
            let excused = NEVER_WALKED.iter().any(|path| source.path.starts_with(path));
            if excused { Vec::new() } else { found(source, word) }
        }));
    }
    let unbiased = |source: &Source| {
        let lines: Vec<(usize, &str)> =
            source.code_lines().into_iter().filter(|(_, line)| !line.trim().is_empty()).collect();
        let starts = lines.windows(2).filter(|pair| pair[0].1.contains("select! {") && !pair[1].1.contains("biased;"));
        starts.map(|pair| (pair[0].0, "a select that is not biased".to_owned())).collect()
    };
    assert_none(&offences(&rooms, unbiased));
    let chance = Source { path: "x.rs".into(), text: "    tokio::select! {\n        one = a => {}\n    }\n".into() };
    assert_eq!(unbiased(&chance).len(), 1);
}

/// If two need it, one owns it and the other asks.
#[test]
fn actors_share_no_locked_state() {
    for word in ["Mutex<", "RwLock<", "LazyLock<", "OnceLock<", "static mut "] {
        assert_none(&offences(&sources(&["actors"]), |source| {
            // The kernel publishes what it counts to readers on other threads. Whether a command may be sent is asked on its way to
            // the device: an answer that lay in a mailbox meanwhile may have become false.
            let excused = ["actors/supervision/", "actors/lease/src/desk.rs"];
            if excused.iter().any(|path| source.path.starts_with(path)) { Vec::new() } else { found(source, word) }
        }));
    }
}

#[test]
fn no_file_could_hold_anything() {
    for source in sources(EVERYWHERE) {
        for word in ["util", "utils", "common", "helpers", "helper", "misc", "manager"] {
            let named = source.path.split(['/', '.']).any(|part| part == word || part.ends_with(&format!("_{word}")));
            assert!(!named, "{}: a name that says which question it answers, please", source.path);
        }
    }
}

/// Messages leave through a door; `clippy.toml` bans the rest, and this is the one place that may use it.
#[test]
fn only_the_door_and_the_tests_of_the_framework_are_excused_from_the_bans_on_sending() {
    let excused: Vec<String> = but_this_file(EVERYWHERE)
        .iter()
        .filter(|source| source.text.contains("allow(clippy::disallowed_methods"))
        .filter(|source| [".do_send(", ".try_send(", "recipient.send("].iter().any(|call| source.text.contains(call)))
        .map(|source| source.path.clone())
        .collect();
    assert_eq!(excused, ["protocol/messages/src/door.rs", "tests/structure/tests/framework_facts.rs"]);
}
