//! No crate declares what it does not use: each needless one is built, audited and updated by everybody.

use std::path::Path;
use std::process::Command;

use mkube_structure::{sources, top};
use serde_json::Value;

/// Whether a text names the crate in Rust's spelling, as a whole word.
fn names(text: &str, package: &str) -> bool {
    let word = package.replace('-', "_");
    let part_of_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(&word)
        .any(|(at, _)| !text[..at].ends_with(part_of_word) && !text[at + word.len()..].starts_with(part_of_word))
}

#[test]
fn every_declared_dependency_is_named_in_the_sources_of_its_crate() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline", "--locked"])
        .current_dir(top())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo answers in JSON");
    let mut needless = Vec::new();
    let mut seen = 0;
    for package in metadata["packages"].as_array().expect("packages") {
        let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
        let room = manifest.parent().and_then(|room| room.strip_prefix(top()).ok()).expect("inside the workspace");
        let room = room.display().to_string();
        let all = sources(&[&room]);
        let product = format!("{room}/src/");
        let text = |only_product: bool| -> String {
            let wanted = all.iter().filter(|source| !only_product || source.path.starts_with(&product));
            wanted.map(|source| source.text.as_str()).collect::<Vec<_>>().join("\n")
        };
        let (in_product, anywhere) = (text(true), text(false));
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            seen += 1;
            let name = dependency["rename"].as_str().or(dependency["name"].as_str()).expect("a name");
            let body = if dependency["kind"] == "dev" { &anywhere } else { &in_product };
            if !names(body, name) {
                needless.push(format!("{room} declares {name} and does not use it"));
            }
        }
    }
    assert!(seen > 100, "the manifests were read");
    assert!(needless.is_empty(), "{}", needless.join("\n"));
}

#[test]
fn a_name_inside_another_name_is_not_a_use() {
    assert!(names("use actix_rt::System;", "actix-rt"));
    assert!(!names("use actix_rt::System;", "actix"));
    assert!(!names("let tarball = 1;", "tar"));
}
