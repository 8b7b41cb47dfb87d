//! What mkube tells about itself: version, completions, man pages.

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs, ManArgs};
use crate::compose::VERSION;
use crate::failure::Failure;
use crate::say;

/// `mkube version`.
pub fn version() -> Result<(), Failure> {
    let (system, machine) = (std::env::consts::OS, std::env::consts::ARCH);
    say::print(format_args!("mkube {VERSION} (Kubernetes API v1.32, {system}-{machine})\n"))
}

/// `mkube completions`.
pub fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mkube", &mut script);
    say::print(String::from_utf8_lossy(&script))
}

/// `mkube man`.
pub fn man(args: &ManArgs) -> Result<(), Failure> {
    let directory = &args.directory;
    std::fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    clap_mangen::generate_to(Cli::command(), directory)
        .with_context(|| format!("man pages cannot be written into {}", directory.display()))?;
    Ok(())
}
