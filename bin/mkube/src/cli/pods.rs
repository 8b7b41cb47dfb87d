//! The words of the subcommands that are about pods: what they write, run, serve and use.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

use super::client::ReachArgs;
use super::duration;
use crate::client::{CopyPlace, PortPair};

/// `mkube logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Pod, or deploy/NAME, job/NAME for all of its pods.
    pub pod: Option<String>,
    /// Container, where the pod has several.
    #[arg(short, long, conflicts_with = "all_containers")]
    pub container: Option<String>,
    /// All containers, with their names in front of the lines.
    #[arg(long)]
    pub all_containers: bool,
    /// Every pod with these labels, with their names in front of the lines.
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<String>,
    /// Go on with what is written from now on.
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last so many lines.
    #[arg(long, value_name = "LINES")]
    pub tail: Option<usize>,
    /// Only what is younger than this, such as 10m.
    #[arg(long, value_name = "DUR", value_parser = duration, conflicts_with = "since_time")]
    pub since: Option<Duration>,
    /// Only what was written since, such as 2026-01-01T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub since_time: Option<String>,
    /// At most so many bytes.
    #[arg(long, value_name = "BYTES")]
    pub limit_bytes: Option<u64>,
    /// The run before the present one.
    #[arg(short, long)]
    pub previous: bool,
    /// Time in front of each line.
    #[arg(long)]
    pub timestamps: bool,
    /// Name of pod and container in front of each line, also of one.
    #[arg(long)]
    pub prefix: bool,
    /// Namespace and server.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// `mkube exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// Pod, or deploy/NAME for one of its pods.
    pub pod: String,
    /// Container, where the pod has several.
    #[arg(short, long)]
    pub container: Option<String>,
    /// Pass on standard input.
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Give the command a terminal, this one.
    #[arg(short = 't', long)]
    pub tty: bool,
    /// The command and its arguments, best behind `--`.
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<String>,
    /// Namespace and server.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// `mkube attach`.
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// Pod, or deploy/NAME for one of its pods.
    pub pod: String,
    /// Container, where the pod has several.
    #[arg(short, long)]
    pub container: Option<String>,
    /// Pass on standard input, where the device can.
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Namespace and server.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// `mkube cp`.
#[derive(Debug, Args)]
pub struct CopyArgs {
    /// PATH, POD:PATH or NAMESPACE/POD:PATH.
    #[arg(value_name = "FROM", value_hint = ValueHint::AnyPath)]
    pub from: CopyPlace,
    /// The same; one of the two is in a pod.
    #[arg(value_name = "TO", value_hint = ValueHint::AnyPath)]
    pub to: CopyPlace,
    /// Container, where the pod has several.
    #[arg(short, long)]
    pub container: Option<String>,
    /// Namespace and server.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// `mkube port-forward`.
#[derive(Debug, Args)]
pub struct PortForwardArgs {
    /// Pod, or deploy/NAME or svc/NAME for one of its pods.
    pub pod: String,
    /// PORT, LOCAL:REMOTE, or :REMOTE for any port that is free here.
    #[arg(required = true, value_name = "PORT")]
    pub ports: Vec<PortPair>,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub address: IpAddr,
    /// Namespace and server.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// What uses processors and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TopKind {
    /// Pods.
    #[value(alias = "pod", alias = "po")]
    Pods,
    /// The node.
    #[value(alias = "node", alias = "no")]
    Nodes,
}

/// `mkube top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Pods, or nodes.
    #[arg(value_enum, default_value = "pods")]
    pub kind: TopKind,
    /// All namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Only what has these labels.
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<String>,
    /// Namespace and server.
    #[command(flatten)]
    pub reach: ReachArgs,
}
