//! The words of the subcommands that ask a running controller.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Subcommand, ValueEnum, ValueHint};

use super::{OutputFormat, duration};
use crate::client::{Output, OutputParser};

/// Which server a client command talks to.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Address of the API; default: what the kubeconfig says, else http://127.0.0.1:8082.
    #[arg(long, value_name = "URL", env = "MKUBE_SERVER")]
    pub server: Option<String>,
    /// Bearer token.
    #[arg(long, env = "MKUBE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Authority that signed the server's certificate, PEM.
    #[arg(long, value_name = "FILE", env = "MKUBE_CA")]
    pub ca: Option<PathBuf>,
    /// Where server and credentials stand when no server is named; default: ./.mkube/kubeconfig if it is there.
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
}

/// Where objects are, and who has them.
#[derive(Debug, Clone, Args)]
pub struct ReachArgs {
    /// Namespace; default: that of the kubeconfig, else `default`.
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// What a command is about.
#[derive(Debug, Args)]
pub struct WhatArgs {
    /// KIND [NAME…], KIND/NAME…, several KINDs with commas, or all.
    #[arg(value_name = "WHAT")]
    pub words: Vec<String>,
    /// The objects of these manifests; `-` is standard input.
    #[arg(short, long = "filename", value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub filename: Vec<PathBuf>,
}

/// Which objects of a kind.
#[derive(Debug, Args)]
pub struct ChosenArgs {
    /// All namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Only what has these labels: app=web, 'app in (a,b)', '!app'.
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<String>,
    /// Only what has these fields, such as status.phase=Running.
    #[arg(long, value_name = "FIELDS")]
    pub field_selector: Option<String>,
}

/// Whether something is done, or only tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// Do it.
    None,
    /// The server says what it would do, and changes nothing.
    Server,
}

impl DryRun {
    /// Whether nothing is to change.
    pub fn is_on(self) -> bool {
        self == Self::Server
    }
}

/// Whether a command waits for what comes of it.
#[derive(Debug, Clone, Copy, Args)]
pub struct WaitArgs {
    /// Wait until pods are ready, deployments rolled out and jobs complete.
    #[arg(long)]
    pub wait: bool,
    /// How long to wait, such as 90s.
    #[arg(long, value_name = "DUR", value_parser = duration, default_value = "5m")]
    pub timeout: Duration,
}

/// `mkube apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Manifests, or directories of them; `-` is standard input.
    #[arg(short, long = "filename", value_name = "FILE", required = true, value_hint = ValueHint::AnyPath)]
    pub filename: Vec<PathBuf>,
    /// Namespace of objects that name none.
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Say what would be done, change nothing.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_value = "none", default_missing_value = "server", hide_default_value = true)]
    pub dry_run: DryRun,
    /// Own the fields that the manifests name, and take away what they named before; others' fields are refused.
    #[arg(long)]
    pub server_side: bool,
    /// Who owns the fields.
    #[arg(long, value_name = "NAME", default_value = "mkube", requires = "server_side")]
    pub field_manager: String,
    /// Take fields that others own.
    #[arg(long, requires = "server_side")]
    pub force_conflicts: bool,
    /// Whether it waits.
    #[command(flatten)]
    pub waiting: WaitArgs,
    /// Delete what was applied with these labels and is in the manifests no more.
    #[arg(long, requires = "selector")]
    pub prune: bool,
    /// Labels of what is pruned, such as app=shop.
    #[arg(short = 'l', long, value_name = "LABELS", requires = "prune")]
    pub selector: Option<String>,
    /// So many objects may be deleted, also if that is most of them.
    #[arg(long, value_name = "NUMBER", requires = "prune")]
    pub confirm: Option<u64>,
    /// Delete without asking, also if that is most of them.
    #[arg(short, long, requires = "prune", conflicts_with = "confirm")]
    pub yes: bool,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `mkube get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// What is meant.
    #[command(flatten)]
    pub what: WhatArgs,
    /// Which of them.
    #[command(flatten)]
    pub chosen: ChosenArgs,
    /// How it is printed: table, wide, json, yaml, name, jsonpath=TEMPLATE, or custom-columns=HEADING:PATH,….
    #[arg(short, long, value_name = "FORMAT", value_parser = OutputParser, default_value = "table", hide_possible_values = true)]
    pub output: Output,
    /// Go on with what changes.
    #[arg(short, long)]
    pub watch: bool,
    /// No line of headings.
    #[arg(long)]
    pub no_headers: bool,
    /// Labels as a last column.
    #[arg(long)]
    pub show_labels: bool,
    /// Say who manages which field, in JSON and YAML.
    #[arg(long)]
    pub show_managed_fields: bool,
    /// What is not there is no error.
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Namespace and server.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// `mkube describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// What is meant.
    #[command(flatten)]
    pub what: WhatArgs,
    /// Namespace and server.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// What becomes of what belongs to a deleted object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Cascade {
    /// It goes afterwards.
    Background,
    /// It goes before.
    Foreground,
    /// It stays.
    Orphan,
}

impl Cascade {
    /// As the API calls it.
    pub fn policy(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

/// `mkube delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// What is meant.
    #[command(flatten)]
    pub what: WhatArgs,
    /// Which of them.
    #[command(flatten)]
    pub chosen: ChosenArgs,
    /// All of the kind.
    #[arg(long)]
    pub all: bool,
    /// Wait until it is gone.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = ArgAction::Set, value_name = "true|false")]
    pub wait: bool,
    /// How long to wait, such as 90s.
    #[arg(long, value_name = "DUR", value_parser = duration, default_value = "10m")]
    pub timeout: Duration,
    /// Seconds that containers have to end.
    #[arg(long, value_name = "SECONDS")]
    pub grace_period: Option<u32>,
    /// At once, without waiting for containers.
    #[arg(long)]
    pub force: bool,
    /// What becomes of what belongs to it.
    #[arg(long, value_enum, default_value = "background")]
    pub cascade: Cascade,
    /// What is not there is no error.
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Say what would be deleted, change nothing.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_value = "none", default_missing_value = "server", hide_default_value = true)]
    pub dry_run: DryRun,
    /// Namespace and server.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// `mkube rollout`.
#[derive(Debug, Args)]
pub struct RolloutArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: RolloutCommand,
}

/// What to do with a rollout.
#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// Wait until every replica is new and available
    #[command(after_help = "Example:\n  mkube rollout status deploy/page --timeout 2m")]
    Status(RolloutOf),
    /// Replace every pod, one at a time
    #[command(after_help = "Example:\n  mkube rollout restart page --wait")]
    Restart(RolloutOf),
    /// Show the revisions there are to go back to
    #[command(after_help = "Example:\n  mkube rollout history deploy/page")]
    History(RolloutOf),
    /// Go back to the revision before, or to the one named
    #[command(
        after_help = "Example:\n  mkube rollout undo deploy/page\n  mkube rollout undo page --to-revision 3 --wait"
    )]
    Undo {
        /// Which rollout.
        #[command(flatten)]
        of: RolloutOf,
        /// The revision, as `mkube rollout history` numbers it; default: the one before the newest.
        #[arg(long, value_name = "NUMBER")]
        to_revision: Option<u64>,
    },
}

/// Which rollout.
#[derive(Debug, Args)]
pub struct RolloutOf {
    /// Name, or deploy/NAME.
    pub name: String,
    /// Whether it waits.
    #[command(flatten)]
    pub waiting: WaitArgs,
    /// Namespace and server.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// `mkube scale`.
#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// What is meant.
    #[command(flatten)]
    pub what: WhatArgs,
    /// How many there are to be.
    #[arg(long, value_name = "NUMBER")]
    pub replicas: u32,
    /// Only if there are to be so many now.
    #[arg(long, value_name = "NUMBER")]
    pub current_replicas: Option<u32>,
    /// Whether it waits.
    #[command(flatten)]
    pub waiting: WaitArgs,
    /// Namespace and server.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// `mkube edit`.
#[derive(Debug, Args)]
pub struct EditArgs {
    /// What is meant.
    #[command(flatten)]
    pub what: WhatArgs,
    /// Namespace and server.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// `mkube consistency`.
#[derive(Debug, Args)]
pub struct ConsistencyArgs {
    /// Take away what nobody owns any more.
    #[arg(long)]
    pub repair: bool,
    /// Say what a repair would do, change nothing.
    #[arg(long, requires = "repair")]
    pub dry_run: bool,
    /// Show what is as it should be, too.
    #[arg(long, conflicts_with = "repair")]
    pub all: bool,
    /// How the result looks.
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: OutputFormat,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `mkube status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print again every two seconds.
    #[arg(short, long)]
    pub watch: bool,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: OutputFormat,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `mkube cordon` and `mkube uncordon`.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// Name of the node; default: the one there is.
    pub name: Option<String>,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `mkube drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// How long to wait until every container is stopped, such as 90s.
    #[arg(long, value_name = "DUR", value_parser = duration, default_value = "10m")]
    pub timeout: Duration,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
    /// Take it back, as `mkube uncordon` does.
    #[arg(long)]
    pub undo: bool,
    /// Node and server.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// `mkube boot-plan`.
#[derive(Debug, Args)]
pub struct BootPlanArgs {
    /// How it is printed.
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: OutputFormat,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
}
