//! Programs of others against `mkube dev`: kubectl and the Python client.

mod environment;
mod explain;
mod kinds;
mod kubectl;
mod kubectl_tool;
mod python;
mod secrets;
mod server;
mod server_side;
mod services;
mod statements;
mod tour;
mod tour_desk;
mod tour_text;
mod workloads;

use std::io::Write;

/// Says, past the capture of the test runner, that something could not be tried.
fn skip(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "!!! SKIPPED: {what}: {why}");
}
