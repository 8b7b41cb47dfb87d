//! The Python client, from PyPI, in an environment of its own below the target directory.

use std::path::Path;
use std::process::Command;

use crate::environment::environment;
use crate::server::Server;
use crate::skip;

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
    let output = Command::new(python).arg(script).arg(&server.url).arg("web:1").output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).ends_with("all well\n"), "{}", text(&output.stdout));
    Ok(())
}
