//! The mutations beside the promises still fit the sources, so that `make mutants` shows what it says it shows.

use std::collections::HashSet;

use mkube_structure::{Source, sources, top};

const PRODUCT: &[&str] = &["protocol", "services", "actors", "bin"];
const EVERYWHERE: &[&str] = &["protocol", "services", "actors", "bin", "tests"];
/// The promises of the architecture page.
const PROMISES: usize = 11;

/// One file of `tests/mutants`.
struct Mutant {
    name: String,
    promise: String,
    file: String,
    find: String,
    replace: String,
    test: String,
}

impl Mutant {
    fn read(name: &str, text: &str) -> Result<Self, String> {
        let field = |field: &str| {
            let mut found = text.lines().filter_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
            match (found.next(), found.next()) {
                (Some(value), None) if !value.trim().is_empty() => Ok(value.to_owned()),
                _ => Err(format!("{name}: `{field}` is to stand there once")),
            }
        };
        let mutant = Self {
            name: name.to_owned(),
            promise: field("promise")?,
            file: field("file")?,
            find: field("find")?,
            replace: field("replace")?,
            test: field("test")?,
        };
        if text.lines().count() != 5 {
            return Err(format!("{name}: five lines, one mutation"));
        }
        Ok(mutant)
    }

    /// What keeps it from being made.
    fn offence(&self, product: &[Source]) -> Option<String> {
        let name = &self.name;
        if !name.starts_with(&format!("{}-", self.promise)) {
            return Some(format!("{name}: does not begin with its promise {}", self.promise));
        }
        let Some(source) = product.iter().find(|source| source.path == self.file && !source.is_test()) else {
            return Some(format!("{name}: {} is no source of the product", self.file));
        };
        let found = source.text.matches(&self.find).count();
        if found != 1 {
            return Some(format!("{name}: {:?} stands {found} times in {}", self.find, self.file));
        }
        let in_product = source.code_lines().iter().any(|(_, line)| line.contains(&self.find));
        (!in_product || self.find == self.replace).then(|| format!("{name}: changes nothing of the product"))
    }

    /// Whether the function it names stands in the target it names.
    fn has_test(&self, all: &[Source]) -> bool {
        let words: Vec<&str> = self.test.split(' ').collect();
        let after = |word: &str| words.iter().position(|one| *one == word).and_then(|at| words.get(at + 1)).copied();
        let Some(function) = words.last() else { return false };
        let here = |source: &&Source| {
            let parts: Vec<&str> = source.path.split('/').collect();
            let room = parts.get(1).copied().unwrap_or_default();
            let package = after("-p").is_none_or(|package| package == "mkube" || package == format!("mkube-{room}"));
            let target = match after("--test") {
                Some(target) => {
                    source.path.contains(&format!("/tests/{target}.rs"))
                        || source.path.contains(&format!("/tests/{target}/"))
                }
                None => words.contains(&"--lib") && parts.get(2) == Some(&"src"),
            };
            package && target
        };
        let declares = |line: &str| {
            let line = line.trim_start();
            line.strip_prefix("async ").unwrap_or(line).starts_with(&format!("fn {function}("))
        };
        // With the attribute of a test somewhere right above.
        let marks = |line: &str| line.trim().ends_with("test]") || line.contains("::test(");
        let is_test = |source: &Source| {
            let lines: Vec<&str> = source.text.lines().collect();
            let at = lines.iter().position(|line| declares(line));
            at.is_some_and(|at| lines[..at].iter().rev().take(3).any(|line| marks(line)))
        };
        all.iter().filter(here).any(is_test)
    }
}

fn mutants() -> Vec<Mutant> {
    let directory = top().join("tests/mutants");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory of the workspace") {
        let path = entry.expect("a readable entry").path();
        assert!(path.extension().is_some_and(|extension| extension == "mutant"), "{}", path.display());
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("mutations are UTF-8");
        found.push(Mutant::read(&name, &text).unwrap_or_else(|why| panic!("{why}")));
    }
    found
}

#[test]
fn every_mutation_still_applies_in_exactly_one_place() {
    let product = sources(PRODUCT);
    let offences: Vec<String> = mutants().iter().filter_map(|mutant| mutant.offence(&product)).collect();
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn every_mutation_names_a_test_that_is_there() {
    let all = sources(EVERYWHERE);
    let missing: Vec<String> = mutants()
        .into_iter()
        .filter(|mutant| !mutant.has_test(&all))
        .map(|mutant| format!("{}: there is no test {}", mutant.name, mutant.test))
        .collect();
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

#[test]
fn every_promise_has_a_mutation_and_every_mutation_a_promise() {
    let kept: HashSet<String> = mutants().into_iter().map(|mutant| mutant.promise).collect();
    let made: HashSet<String> = (1..=PROMISES).map(|number| format!("P{number}")).collect();
    assert_eq!(kept, made);
}

#[test]
fn rot_is_found() {
    let text = "promise: P1\nfile: actors/x/src/x.rs\nfind: a < b\nreplace: a > b\ntest: -p mkube-x --lib it_holds\n";
    let source = |body: &str| [Source { path: "actors/x/src/x.rs".into(), text: body.into() }];
    let mutant = Mutant::read("P1-a", text).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(mutant.offence(&source("a < b\n")), None);
    assert!(mutant.offence(&source("b > a\n")).is_some(), "gone");
    assert!(mutant.offence(&source("a < b\na < b\n")).is_some(), "twice");
    assert!(mutant.offence(&source("#[cfg(test)]\nmod tests {\n    a < b\n}\n")).is_some(), "only in a test");
    assert!(mutant.offence(&[]).is_some(), "no such file");
    assert!(mutant.has_test(&source("#[test]\nfn it_holds() {}\n")));
    assert!(!mutant.has_test(&source("#[test]\nfn it_holds_no_more() {}\n")), "another test");
    assert!(!mutant.has_test(&source("fn it_holds() {}\n")), "no test at all");
    assert!(Mutant::read("P1-a", &text.replace("replace: a > b\n", "")).is_err());
    assert!(Mutant::read("P1-a", &format!("{text}find: c\n")).is_err());
}
