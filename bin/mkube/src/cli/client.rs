//! The words of the subcommands that ask a running controller.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{OutputFormat, duration};

/// Which server a client command talks to.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// Address of the API; default: the server of `./.mkube/kubeconfig`, else http://127.0.0.1:8082.
    #[arg(long, value_name = "URL", env = "MKUBE_SERVER")]
    pub server: Option<String>,
    /// Bearer token.
    #[arg(long, env = "MKUBE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// `mkube apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Manifests; `-` is standard input.
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    pub filename: Vec<PathBuf>,
    /// Namespace of objects that name none.
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `mkube get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// Resource, such as pods, cm or node; or images, or volumes.
    pub resource: String,
    /// Name.
    pub name: Option<String>,
    /// Namespace.
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// All namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: OutputFormat,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `mkube delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Resource, such as pod.
    pub resource: String,
    /// Names.
    #[arg(required = true)]
    pub names: Vec<String>,
    /// Namespace.
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `mkube logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Pod.
    pub pod: String,
    /// Container, where the pod has several.
    #[arg(short, long)]
    pub container: Option<String>,
    /// Namespace.
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Go on with what is written from now on.
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last so many lines.
    #[arg(long)]
    pub tail: Option<usize>,
    /// Only what is younger than this, such as 10m.
    #[arg(long, value_name = "DUR", value_parser = duration)]
    pub since: Option<Duration>,
    /// The run before the present one.
    #[arg(short, long)]
    pub previous: bool,
    /// Time in front of each line.
    #[arg(long)]
    pub timestamps: bool,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
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
