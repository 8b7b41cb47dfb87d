//! The Python client, from PyPI, in an environment of its own below the target directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::server::Server;
use crate::skip;

/// The release that the script was written for.
const PACKAGE: &str = "kubernetes==37.0.2";

#[test]
fn the_python_client_does_what_it_does_with_kubernetes() -> anyhow::Result<()> {
    let python = match environment() {
        Ok(python) => python,
        Err(error) => {
            skip("the Python client", &format!("{error:#}"));
            return Ok(());
        }
    };
    let server = Server::start(&["web:1"])?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/client.py");
    let output = Command::new(python).arg(script).arg(&server.url).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).ends_with("all well\n"), "{}", text(&output.stdout));
    Ok(())
}

/// A Python with the package; made once, kept for later runs.
fn environment() -> anyhow::Result<PathBuf> {
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
