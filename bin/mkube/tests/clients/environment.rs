//! Where the Python client of Kubernetes lives.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

/// The release that the scripts were written for.
const PACKAGE: &str = "kubernetes==37.0.2";

/// A Python with the package; made once, kept for later runs.
pub fn environment() -> anyhow::Result<PathBuf> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../tools/python");
    let (python, done) = (place.join("bin/python"), place.join(PACKAGE));
    if done.exists() {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place))?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--timeout", "60", PACKAGE];
    run(Command::new(&python).args(install))?;
    std::fs::write(done, "")?;
    Ok(python)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    let last = error.lines().last().unwrap_or_default();
    anyhow::ensure!(output.status.success(), "{}: {last}", command.get_program().display());
    Ok(())
}
