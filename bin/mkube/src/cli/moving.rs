//! The words of the subcommands that move objects as text and from store to store, and of those about a whole store.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{OutputFormat, ServerArgs};

/// `mkube export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// File to write; without it, or as `-`, standard output.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// YAML or JSON.
    #[arg(long, value_name = "FORMAT", value_parser = ["yaml", "json"], default_value = "yaml")]
    pub format: String,
    /// Secrets too, in the clear.
    #[arg(long)]
    pub secrets: bool,
    /// Only these kinds, such as pods,cm.
    #[arg(long, value_name = "KINDS")]
    pub kinds: Option<String>,
    /// Only what is in this namespace.
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `mkube import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// What `mkube export` wrote, or any manifest; `-` is standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Say what would be done, change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// How the results are printed.
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: OutputFormat,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `mkube migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Store to read: embedded:FILE, snapshot:FILE, nats://HOST:PORT, or config:FILE for the one a configuration names.
    #[arg(long, value_name = "STORE")]
    pub from: String,
    /// Store to write: embedded:FILE, nats://HOST:PORT, or config:FILE.
    #[arg(long, value_name = "STORE")]
    pub to: String,
    /// Say what would be written, change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Replace what the target holds otherwise, and remove what the source does not have.
    #[arg(long)]
    pub overwrite: bool,
    /// How the counts are printed.
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: OutputFormat,
}

/// `mkube store`.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: StoreCommand,
}

/// What there is to do with a store.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// How it is, and what it lacks of what it acknowledged; ends with 1 unless it is well
    #[command(after_help = "Example:\n  mkube store status\n  mkube store status -o json")]
    Status(StoreStatusArgs),
    /// Take what it holds as it is, after a copy of what was known
    #[command(after_help = "Example:\n  mkube store accept 5b1f0c2e9d3a4867")]
    Accept(StoreAcceptArgs),
}

/// `mkube store status`.
#[derive(Debug, Args)]
pub struct StoreStatusArgs {
    /// How it is printed.
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: OutputFormat,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `mkube store accept`.
#[derive(Debug, Args)]
pub struct StoreAcceptArgs {
    /// Stands for exactly what is lost by it; `mkube store status` says it.
    #[arg(value_name = "DIGEST")]
    pub digest: String,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: OutputFormat,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
}
