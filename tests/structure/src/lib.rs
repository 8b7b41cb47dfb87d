//! Tests of the tree itself: who depends on whom, how actix behaves, which messages there are, and the habits of the house.
//! Here: reading the sources of the workspace.

use std::path::{Path, PathBuf};

/// One source file.
#[derive(Debug, Clone)]
pub struct Source {
    /// Path from the top of the workspace, with slashes.
    pub path: String,
    /// The whole text.
    pub text: String,
}

/// The top of the workspace.
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace is where it was built")
}

/// Every Rust file below the given directories, in order of path.
pub fn sources(rooms: &[&str]) -> Vec<Source> {
    let top = top();
    let mut found = Vec::new();
    for room in rooms {
        collect(&top, &top.join(room), &mut found);
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(!found.is_empty(), "no sources below {rooms:?}");
    found
}

fn collect(top: &Path, directory: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(directory).expect("a directory of the workspace") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(top, &path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
            let path = path.strip_prefix(top).expect("found below the top").to_string_lossy().replace('\\', "/");
            found.push(Source { path, text });
        }
    }
}

impl Source {
    /// Whether the whole file is tests: a `tests` directory, `tests.rs`, `…_tests.rs`.
    pub fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        self.path.starts_with("tests/") || self.path.contains("/tests/") || name.ends_with("tests.rs")
    }

    /// Line numbers and lines of what is not a test: `#[cfg(test)]` items left out.
    pub fn product_lines(&self) -> Vec<(usize, &str)> {
        if self.is_test() {
            return Vec::new();
        }
        let mut kept = Vec::new();
        let mut lines = self.text.lines().enumerate().map(|(at, line)| (at + 1, line));
        while let Some((at, line)) = lines.next() {
            if line.trim() != "#[cfg(test)]" {
                kept.push((at, line));
                continue;
            }
            // The item ends with a `;` on a line of its own depth, or with the brace that closes it.
            let depth = line.len() - line.trim_start().len();
            for (_, line) in lines.by_ref() {
                let same_depth = line.len() - line.trim_start().len() == depth;
                if same_depth
                    && (line.trim_end().ends_with(';') || line.trim_end() == format!("{}}}", " ".repeat(depth)))
                {
                    break;
                }
            }
        }
        kept
    }

    /// Lines of code that is not a test, without comments and documentation.
    pub fn code_lines(&self) -> Vec<(usize, &str)> {
        self.product_lines()
            .into_iter()
            .map(|(at, line)| (at, line.split_once(" // ").map_or(line, |(code, _)| code)))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_comments_are_left_out_and_what_follows_them_is_not() {
        let text = "//! Card.\nfn a() {} // why\n#[cfg(test)]\nmod b;\nfn c() {}\n#[cfg(test)]\nmod tests {\n    fn d() {\n    }\n}\nfn e() {}\n";
        let source = Source { path: "actors/x/src/x.rs".into(), text: text.into() };
        let lines: Vec<(usize, &str)> = source.code_lines();
        assert_eq!(lines, [(2, "fn a() {}"), (5, "fn c() {}"), (11, "fn e() {}")]);
        assert!(Source { path: "actors/x/src/x_tests.rs".into(), text: text.into() }.code_lines().is_empty());
    }
}
