//! What goes to standard output. Whoever reads it may have seen enough and leave: that is nobody's fault, and no reason to panic.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use serde_json::Value;

use crate::cli::OutputFormat;
use crate::failure::{FAILED, Failure};

/// A text. A command that only shows something is done when nobody looks any more.
pub fn print(text: impl Display) -> Result<(), Failure> {
    match write(text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::silent(0)),
        Err(error) => Err(Failure::new(FAILED, error)),
        Ok(()) => Ok(()),
    }
}

/// A line of a program that goes on, whether anybody reads it or not.
pub fn tell(line: impl Display) {
    let _ = write(format_args!("{line}\n"));
}

fn write(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{text}")?;
    out.flush()
}

/// An answer in the form asked for.
pub fn formatted(answer: &Value, how: OutputFormat, table: impl FnOnce() -> String) -> String {
    match how {
        OutputFormat::Json => format!("{answer:#}\n"),
        OutputFormat::Yaml => mkube_manifests::to_yaml(answer),
        OutputFormat::Table | OutputFormat::Wide => table() + "\n",
    }
}
