//! Where a chapter of the tour is gone through, and what is said of the differences.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::tour_text::{Part, Step, difference, lines_of, parse, written};

/// The release whose words are written down.
pub const RECORDED: (u64, u64) = (1, 32);
/// Seconds a command may take.
const PATIENCE: &str = "60";

/// A kubectl and its release.
pub type Guide = (PathBuf, (u64, u64));

/// Where the chapters are.
pub fn place() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/tour")
}

/// The commands of a chapter.
pub fn steps(parts: &[Part]) -> impl Iterator<Item = &Step> {
    parts.iter().filter_map(|part| match part {
        Part::Step(step) => Some(step),
        Part::Remark(_) => None,
    })
}

/// A chapter by its name.
pub fn chapter(name: &str) -> anyhow::Result<Vec<Part>> {
    let file = place().join(name).with_extension("txt");
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(parse(&text))
}

/// Another code of a command with some releases.
struct Known {
    minors: std::ops::RangeInclusive<u64>,
    code: i32,
    command: String,
}

/// Reads `20-28 | 1 | kubectl … | why`.
fn known() -> anyhow::Result<Vec<Known>> {
    let text = std::fs::read_to_string(place().join("known-differences.txt"))?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let read = |line: &str| {
        let (minors, rest) = line.split_once(" | ")?;
        let (code, rest) = rest.split_once(" | ")?;
        let (command, _why) = rest.rsplit_once(" | ")?;
        let (first, last) = minors.split_once('-').unwrap_or((minors, minors));
        let minors = first.parse().ok()?..=last.parse().ok()?;
        Some(Known { minors, code: code.parse().ok()?, command: command.to_owned() })
    };
    lines.map(|line| read(line).with_context(|| format!("known-differences.txt: {line}"))).collect()
}

/// A server, and a place for files.
pub struct Place {
    pub directory: PathBuf,
    pub kubeconfig: PathBuf,
    pub url: String,
}

/// Where a chapter is at work: a directory, a configuration and a cache of its own.
struct Desk {
    directory: PathBuf,
    own: Vec<(String, &'static str)>,
    kubectl: PathBuf,
}

impl Desk {
    fn new(server: &Place, kubectl: &Path, chapter: &str) -> anyhow::Result<Self> {
        let directory = server.directory.join(chapter);
        let home = directory.join("home");
        std::fs::create_dir_all(&home)?;
        let copied = Command::new("cp").arg("-r").arg(place().join("files/.")).arg(&directory).status()?;
        anyhow::ensure!(copied.success(), "the files of the tour cannot be copied");
        std::fs::copy(&server.kubeconfig, home.join("config"))?;
        let bin = directory.join("bin");
        std::fs::create_dir_all(&bin)?;
        std::os::unix::fs::symlink(kubectl, bin.join("kubectl"))?;
        let own = vec![
            (directory.display().to_string(), "<dir>"),
            (server.url.clone(), "<server>"),
            (server.url.replace("http://", ""), "<address>"),
        ];
        Ok(Self { directory, own, kubectl: bin })
    }

    fn run(&self, step: &Step) -> anyhow::Result<Step> {
        let path = format!("{}:{}", self.kubectl.display(), std::env::var("PATH").unwrap_or_default());
        let output = Command::new("timeout")
            .args([PATIENCE, "sh", "-c", &step.command])
            .current_dir(&self.directory)
            .env_remove("EDITOR")
            .env_remove("KUBE_EDITOR")
            .envs([("PATH", path.as_str()), ("TZ", "UTC"), ("LC_ALL", "C.UTF-8")])
            .env("HOME", self.directory.join("home"))
            .env("KUBECONFIG", self.directory.join("home/config"))
            .stdin(Stdio::null())
            .output()
            .with_context(|| step.command.clone())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        let lines = lines_of(&text(&output.stdout), &text(&output.stderr), code, &self.own);
        Ok(Step { command: step.command.clone(), output: lines })
    }
}

/// Goes through a chapter; what was seen. It is written down where that is wanted.
pub fn go(server: &Place, kubectl: &Path, name: &str, parts: &[Part]) -> anyhow::Result<Vec<Part>> {
    let desk = Desk::new(server, kubectl, name)?;
    let seen = parts.iter().map(|part| match part {
        Part::Remark(_) => Ok(part.clone()),
        Part::Step(step) => desk.run(step).map(Part::Step),
    });
    let seen: Vec<Part> = seen.collect::<anyhow::Result<_>>()?;
    if std::env::var_os("MKUBE_RECORD").is_some() {
        std::fs::write(place().join(name).with_extension("txt"), written(&seen))?;
    }
    Ok(seen)
}

/// What of a chapter is not as it was written down, for people. Of another release only the codes count, and what is known to
/// differ.
pub fn complaints(name: &str, release: (u64, u64), expected: &[Part], seen: &[Part]) -> anyhow::Result<String> {
    let known = known()?;
    let mut complaints = String::new();
    for (expected, seen) in steps(expected).zip(steps(seen)) {
        let other = known.iter().find(|known| known.command == expected.command && known.minors.contains(&release.1));
        let differs = match other {
            Some(known) if known.code == seen.code() => continue,
            None if release == RECORDED => difference(&expected.output, &seen.output),
            None if seen.code() == expected.code() => continue,
            _ => format!("  {}\n", seen.output.join("\n  ")),
        };
        if !differs.is_empty() {
            complaints += &format!("{name}: $ {}\n{differs}", expected.command);
        }
    }
    Ok(complaints)
}
