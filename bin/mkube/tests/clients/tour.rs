//! The tour: every verb of kubectl, with what it prints, in chapters of text below `tour/`.
//!
//! `MKUBE_RECORD=1` writes down what is printed now. `MKUBE_KUBECTL` names another kubectl to go with: of one that is not the
//! release that was written down, only the codes are compared, and what is known to differ stands in `known-differences.txt`.
//! Chapters whose name begins with `alone` are for when nobody else is at work; those with `real` need real containers, and are gone
//! through where those are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crate::kubectl_tool::{newest, version};
use crate::server::Server;
use crate::skip;
use crate::tour_desk::{Guide, Place, chapter, complaints, go, place, steps};
use crate::tour_text::{Part, Step};

/// What the pods of the tour are made of.
const IMAGES: &[&str] = &["web:1", "web:2", "batch:1"];
/// Chapters at the same time.
const AT_ONCE: usize = 5;

/// Chapters by name: what was written down, and what was seen.
type Gone = BTreeMap<String, (Vec<Part>, Vec<Part>)>;

/// The chapters by name.
fn chapters() -> anyhow::Result<BTreeMap<String, Vec<Part>>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(place())? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "txt") && name != "known-differences" {
            all.insert(name.clone(), chapter(&name)?);
        }
    }
    Ok(all)
}

/// Goes through all chapters, several at a time, and then through those that want to be alone.
fn go_all(kubectl: &Path) -> anyhow::Result<Gone> {
    let running = Server::start(IMAGES)?;
    let server = Place { directory: running.path("tour"), kubeconfig: running.kubeconfig(), url: running.url.clone() };
    let mut chapters = chapters()?;
    chapters.retain(|name, _| !name.starts_with("real"));
    let (alone, together): (Vec<_>, Vec<_>) = chapters.iter().partition(|(name, _)| name.starts_with("alone"));
    // The longest first: the last one to begin is what everybody waits for.
    let mut together = together;
    together.sort_by_key(|(_, parts)| parts.len());
    let (together, seen) = (Mutex::new(together), Mutex::new(BTreeMap::new()));
    let work = || loop {
        let next = together.lock().ok().and_then(|mut left| left.pop());
        let Some((name, parts)) = next else { return };
        let went = go(&server, kubectl, name, parts);
        if let Ok(mut seen) = seen.lock() {
            seen.insert(name, went);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let mut seen = seen.into_inner().unwrap_or_default();
    for (name, parts) in alone {
        seen.insert(name, go(&server, kubectl, name, parts));
    }
    let both =
        |(name, seen): (&String, anyhow::Result<_>)| seen.map(|seen| (name.clone(), (chapters[name].clone(), seen)));
    seen.into_iter().map(both).collect()
}

/// The kubectl to go with, and its release.
fn guide() -> Option<Guide> {
    let program = std::env::var_os("MKUBE_KUBECTL").map(PathBuf::from).or_else(newest)?;
    let version = version(&program)?;
    Some((program, version))
}

#[test]
fn the_tour_of_kubectl_sees_what_it_saw_before() -> anyhow::Result<()> {
    let Some((kubectl, release)) = guide() else {
        skip("the tour of kubectl", "there is no kubectl of 1.27 or newer on PATH");
        return Ok(());
    };
    let began = tokio::time::Instant::now();
    let all = go_all(&kubectl)?;
    let mut said = String::new();
    for (name, (expected, seen)) in &all {
        said += &complaints(name, release, expected, seen)?;
    }
    tell(all.values().map(|(_, seen)| steps(seen).count()).sum(), release, began.elapsed());
    assert!(said.is_empty(), "kubectl {}.{}:\n{said}", release.0, release.1);
    Ok(())
}

/// Says, for people who run it by hand, what was done.
fn tell(commands: usize, release: (u64, u64), took: Duration) {
    println!("{commands} commands of kubectl {}.{} in {} s", release.0, release.1, took.as_secs());
}

/// The rows of docs/kubectl.md: a verb, and whether it works.
fn documented() -> anyhow::Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kubectl.md"))?;
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let verb = cells.next()?.trim_end_matches('`').to_owned();
        Some((verb, cells.next()?.to_owned()))
    });
    Ok(rows.collect())
}

/// The verbs in what `kubectl --help` says: indented lines below a heading with `Commands`.
fn verbs_in(output: &[String]) -> Vec<String> {
    let mut verbs = Vec::new();
    let mut among = false;
    for line in output {
        if !line.starts_with(' ') && !line.is_empty() {
            among = line.contains("Commands");
        } else if let Some(verb) = line.strip_prefix("  ").and_then(|line| line.split(' ').next()).filter(|_| among) {
            verbs.push(verb.to_owned());
        }
    }
    verbs
}

#[test]
fn every_verb_of_kubectl_is_on_the_tour_and_does_what_the_handbook_says() -> anyhow::Result<()> {
    let chapters = chapters()?;
    let all: Vec<&Step> = chapters.values().flat_map(|parts| steps(parts)).collect();
    assert!(all.len() >= 120, "{} commands are no tour", all.len());
    // What kubectl says of itself, as the tour wrote it down: `kubectl --help`, and `kubectl create --help` of what has verbs below.
    let mut verbs = Vec::new();
    let mut nested = Vec::new();
    for step in &all {
        match step.command.split_once(" --help").and_then(|(before, _)| before.strip_prefix("kubectl")) {
            Some("") => verbs.extend(verbs_in(&step.output)),
            Some(above) => nested.extend(verbs_in(&step.output).iter().map(|verb| format!("{} {verb}", above.trim()))),
            None => {}
        }
    }
    assert!(verbs.len() > 40 && nested.len() > 40, "{verbs:?} {nested:?}");
    let with_some: Vec<&str> = nested.iter().filter_map(|verb| verb.split(' ').next()).collect();
    verbs.retain(|verb| {
        ["create", "apply", "cluster-info"].contains(&verb.as_str()) || !with_some.contains(&verb.as_str())
    });
    verbs.extend(nested.iter().cloned());
    let documented = documented()?;
    let mut complaints = Vec::new();
    for verb in documented.keys().filter(|verb| !verbs.contains(verb)) {
        complaints.push(format!("docs/kubectl.md has {verb}, which kubectl does not"));
    }
    for verb in &verbs {
        let of = all.iter().filter(|step| !step.command.contains(" --help") && step.verbs(&nested).contains(verb));
        let codes: Vec<i32> = of.map(|step| step.code()).collect();
        let (good, bad) = (codes.contains(&0), codes.iter().any(|code| *code != 0));
        let agrees = match documented.get(verb).map(String::as_str) {
            None => Err("docs/kubectl.md does not have it"),
            Some(_) if codes.is_empty() => Err("the tour does not have it"),
            Some("yes" | "partly") if !good => Err("docs/kubectl.md says that it works; on the tour it does not"),
            Some("partly") if !bad => {
                Err("docs/kubectl.md says that it works in part; the tour shows no part that does not")
            }
            Some("no") if good => Err("docs/kubectl.md says that it does not work; on the tour it does"),
            Some("yes" | "partly" | "no") => Ok(()),
            Some(_) => Err("docs/kubectl.md says neither yes, partly nor no"),
        };
        if let Err(why) = agrees {
            complaints.push(format!("{verb}: {why}"));
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    Ok(())
}
