//! docs/features.md and docs/compatibility.md claim nothing that no test of this tree shows.

use mkube_structure::{sources, top};

/// Whether a quoted word is the name of a test (rather than a flag or a path of the API).
fn is_test_name(word: &str) -> bool {
    word.matches('_').count() >= 3
        && word.chars().all(|letter| letter.is_ascii_lowercase() || "0123456789_".contains(letter))
}

#[test]
fn every_test_and_file_that_the_pages_name_exists() {
    let pages = ["docs/features.md", "docs/compatibility.md"];
    let pages = pages.map(|page| std::fs::read_to_string(top().join(page)).expect("the page is there"));
    let page = pages.join("\n");
    let code: String = sources(&["actors", "bin", "protocol", "services", "tests"])
        .into_iter()
        .map(|source| source.text)
        .collect::<Vec<_>>()
        .join("\n");
    let quoted: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
    let names: Vec<&&str> = quoted.iter().filter(|word| is_test_name(word)).collect();
    let files: Vec<&&str> = {
        let endings = [".rs", ".py", ".mjs"];
        quoted.iter().filter(|word| endings.iter().any(|ending| word.ends_with(ending))).collect()
    };
    assert!(names.len() > 30 && files.len() > 20, "the page names its tests in backquotes");
    let missing: Vec<&&&str> = names
        .iter()
        .filter(|name| !code.contains(&format!("fn {name}(")))
        .chain(files.iter().filter(|file| !top().join(file).is_file()))
        .collect();
    assert!(missing.is_empty(), "named on the page and not there: {missing:?}");
}
