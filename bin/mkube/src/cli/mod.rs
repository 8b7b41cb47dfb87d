//! The command line. Names here are used from outside and do not change.

mod client;
mod looks;
mod moving;
mod pods;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use ipnet::Ipv4Net;
use mkube_model::settings::parse_duration;

pub use client::{
    ApplyArgs, BootPlanArgs, ConsistencyArgs, DeleteArgs, DescribeArgs, DrainArgs, EditArgs, GetArgs, NodeArgs,
    RolloutArgs, RolloutCommand, RolloutOf, ScaleArgs, ServerArgs, StatusArgs,
};
pub use looks::{ColorChoice, LogFormat, OutputFormat};
pub use moving::{ExportArgs, ImportArgs, MigrateArgs, StoreAcceptArgs, StoreArgs, StoreCommand, StoreStatusArgs};
pub use pods::{AttachArgs, CopyArgs, ExecArgs, LogsArgs, PortForwardArgs, TopArgs, TopKind};

/// Kubernetes-shaped pods for MikroTik RouterOS.
#[derive(Debug, Parser)]
#[command(
    name = "mkube",
    version = crate::compose::VERSION,
    after_help = "Example:\n  mkube dev                 try it on this machine\n  mkube serve --config /etc/mkube/config.yaml\n\nWithout a subcommand mkube is `mkube serve`."
)]
pub struct Cli {
    /// How log lines look.
    #[arg(long, global = true, help_heading = "Everywhere", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Least severe level that is logged: error, warn, info, debug, trace, or a filter such as mkube=debug.
    #[arg(long, global = true, help_heading = "Everywhere", env = "MKUBE_LOG")]
    pub log_level: Option<String>,
    /// Colours: on a terminal unless NO_COLOR is set, always, or never.
    #[arg(
        long,
        global = true,
        help_heading = "Everywhere",
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub color: ColorChoice,
    /// Flags of `mkube serve`.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Everything in one process on this Linux machine: host, registry, name server, store and controller
    #[command(
        after_help = "Example:\n  mkube dev\n  skopeo copy --dest-tls-verify=false docker-archive:.mkube/host/disk1/cache/hello-latest.tar docker://127.0.0.1:5000/hello:latest\n  mkube apply -f deploy/examples/hello.yaml\n  kubectl --kubeconfig .mkube/kubeconfig get pods"
    )]
    Dev(DevArgs),
    /// The controller for a device
    #[command(after_help = "Example:\n  mkube serve --config /etc/mkube/config.yaml")]
    Serve(ServeArgs),
    /// The RouterOS-compatible container host alone
    #[command(
        after_help = "Example:\n  mkube host --engine simulated --data-dir /tmp/router\n  curl -u admin: http://127.0.0.1:9180/rest/system/resource"
    )]
    Host(HostArgs),
    /// The OCI registry alone
    #[command(
        after_help = "Example:\n  mkube registry --data-dir /srv/registry --tls-dir /srv/registry/tls --listen 0.0.0.0:5000\n  mkube registry --config /etc/registry/config.yaml\n  mkdir trusted; cp /srv/registry/tls/ca.crt trusted/; skopeo copy --dest-cert-dir trusted docker-archive:app.tar docker://localhost:5000/app:1\n\nWithout a configuration file it listens on 127.0.0.1:5000. Called as `mkube-registry`, mkube is `mkube registry`."
    )]
    Registry(RegistryArgs),
    /// The name server alone: zones over REST as microdns has them, answers and forwarding over UDP and TCP
    #[command(
        after_help = "Example:\n  mkube dns --listen-dns 127.0.0.1:5354 --listen-http 127.0.0.1:8080 --data-dir /srv/names\n  mkube dns --config /etc/microdns/microdns.toml\n  curl -H 'Content-Type: application/json' -d '{\"name\":\"lab.test\"}' http://127.0.0.1:8080/api/v1/zones\n  dig @127.0.0.1 -p 5354 lab.test SOA\n\nThe configuration file is that of microdns. What it says of DHCP, clusters, probing and mDNS is without effect."
    )]
    Dns(DnsArgs),
    /// Print the effective configuration, or every problem in it
    #[command(after_help = "Example:\n  mkube check-config deploy/config.yaml")]
    CheckConfig(CheckConfigArgs),
    /// Create or change objects from manifests, all that can be
    #[command(
        after_help = "Example:\n  mkube apply -f deploy/examples/hello.yaml\n  mkube apply -f site/ --wait --timeout 2m\n  mkube apply -f site/ --dry-run\n  mkube apply -f site/ --prune -l site=home\n  mkube export --server http://other:8082 | mkube apply -f -\n\nWith --prune, what was applied before with these labels and is in the manifests no more is deleted, in the namespaces the manifests are about. When\nthat is more than half of it, a person is asked; scripts say --confirm NUMBER or --yes. What others own or made is left alone."
    )]
    Apply(ApplyArgs),
    /// List or show objects
    #[command(
        after_help = "Example:\n  mkube get pods -A\n  mkube get pods -w\n  mkube get deploy,pods -l app=web -o wide\n  mkube get pod/hello cm/page -o yaml\n  mkube get pods -o custom-columns=NAME:.metadata.name,IP:.status.podIP\n  mkube get pods -o jsonpath='{range .items[*]}{.metadata.name}{\"\\t\"}{.status.podIP}{\"\\n\"}{end}'\n  mkube get all\n  mkube get images -o wide\n  mkube get volumes\n\nImages and volumes are no objects, and are listed all the same."
    )]
    Get(GetArgs),
    /// Show all of an object, and what happened to it
    #[command(after_help = "Example:\n  mkube describe pod hello\n  mkube describe deploy/page")]
    Describe(DescribeArgs),
    /// Delete objects, and wait until they are gone
    #[command(
        after_help = "Example:\n  mkube delete pod hello\n  mkube delete -f site/\n  mkube delete pods -l app=web --wait=false\n  mkube delete pod/stuck --force"
    )]
    Delete(DeleteArgs),
    /// Print what containers wrote
    #[command(
        after_help = "Example:\n  mkube logs hello --follow\n  mkube logs deploy/page --tail 20 --timestamps\n  mkube logs -l app=web -f\n  mkube logs hello --previous"
    )]
    Logs(LogsArgs),
    /// Run a command in a container
    #[command(
        after_help = "Example:\n  mkube exec -it hello -- sh\n  mkube exec hello -- cat /etc/hosts\n  tar c site | mkube exec -i hello -- tar x -C /www\n  mkube exec deploy/page -c web -- nginx -t\n\nEnds with the exit code of the command."
    )]
    Exec(ExecArgs),
    /// Follow what a container writes from now on
    #[command(
        after_help = "Example:\n  mkube attach hello\n\nNo device of today takes what is typed; `mkube exec -it` runs a shell beside it."
    )]
    Attach(AttachArgs),
    /// Copy files into a container, or out of it
    #[command(
        after_help = "Example:\n  mkube cp page.html hello:/www/\n  mkube cp shop/web:/var/log ./log\n\nThere must be a `tar` in the image. Out of a container come files and directories, and no links."
    )]
    Cp(CopyArgs),
    /// Lead ports of this machine to ports of a pod
    #[command(
        after_help = "Example:\n  mkube port-forward hello 18080:80\n  mkube port-forward deploy/page :80 :443\n\nRuns until it is stopped with Ctrl-C."
    )]
    PortForward(PortForwardArgs),
    /// Follow or begin the replacement of a deployment's pods
    #[command(
        after_help = "Example:\n  mkube rollout status deploy/page\n  mkube rollout restart deploy/page --wait\n  mkube rollout undo deploy/page"
    )]
    Rollout(RolloutArgs),
    /// Change how many replicas there are to be
    #[command(
        after_help = "Example:\n  mkube scale deploy/page --replicas 3 --wait\n  mkube scale deploy page --replicas 3 --current-replicas 1"
    )]
    Scale(ScaleArgs),
    /// Change an object in an editor
    #[command(
        after_help = "Example:\n  EDITOR=nano mkube edit deploy/page\n  mkube edit cm page -n shop\n\nWhat is refused is shown again, with the reason above it."
    )]
    Edit(EditArgs),
    /// Show what pods and the node use
    #[command(after_help = "Example:\n  mkube top\n  mkube top pods -A\n  mkube top nodes")]
    Top(TopArgs),
    /// Write what owners wrote as text, which `mkube import` and `kubectl apply` take
    #[command(
        after_help = "Example:\n  mkube export -o site.yaml\n  mkube export --secrets -o site.yaml\n  mkube export --kinds pods,cm --namespace shop\n\nSecrets leave only with --secrets; a file is made readable for its owner alone."
    )]
    Export(ExportArgs),
    /// Make objects what a text says, all that can be, and tell what became of each
    #[command(
        after_help = "Example:\n  mkube import --dry-run site.yaml\n  mkube import site.yaml\n  mkube export --secrets | mkube import --server http://192.168.200.2:8082 -\n\nEnds with 1 when a document was refused. Nothing is ever deleted."
    )]
    Import(ImportArgs),
    /// Copy everything of one store into another while no controller uses them, and compare
    #[command(
        after_help = "Example:\n  mkube migrate --from embedded:/srv/mkube/state.redb --to nats://192.168.200.10:4222 --dry-run\n  mkube migrate --from embedded:/srv/mkube/state.redb --to config:/etc/mkube/config.yaml\n  mkube migrate --from snapshot:/srv/mkube/state.redb --to embedded:/srv/mkube/rescued.redb\n\nThe source is never changed. A run that was interrupted is finished by the same command. With config:FILE, passwords stay out of process lists."
    )]
    Migrate(MigrateArgs),
    /// How the store is, and what an older one lacks; or take it as it is
    #[command(
        after_help = "Example:\n  mkube store status\n  mkube store accept 5b1f0c2e9d3a4867\n\nA NATS that came back older than what it acknowledged is not obeyed. Once accepted, what it holds is what is wanted; all\nthat was known before is copied to a file beside that of the store first, and its name is printed."
    )]
    Store(StoreArgs),
    /// What differs between what is wanted and what is there
    #[command(
        after_help = "Example:\n  mkube consistency\n  mkube consistency --repair --dry-run\n  mkube consistency --repair\n\nEnds with 1 when a check fails."
    )]
    Consistency(ConsistencyArgs),
    /// Supervisor tree and pods on one screen
    #[command(after_help = "Example:\n  mkube status --watch")]
    Status(StatusArgs),
    /// Close the node to new pods
    #[command(after_help = "Example:\n  mkube cordon\n  kubectl cordon mkube-node does the same.")]
    Cordon(NodeArgs),
    /// Open the node to new pods, and start again what a drain stopped, in boot order
    #[command(after_help = "Example:\n  mkube uncordon")]
    Uncordon(NodeArgs),
    /// Stop every container in reverse boot order; objects stay, and nothing starts before `mkube uncordon`
    #[command(
        after_help = "Example:\n  mkube drain --yes --timeout 5m && ssh admin@router /system/reboot\n  mkube uncordon"
    )]
    Drain(DrainArgs),
    /// Show the order pods start in, who waits for whom, and who is up
    #[command(after_help = "Example:\n  mkube boot-plan\n  mkube boot-plan -o yaml")]
    BootPlan(BootPlanArgs),
    /// Print the version
    #[command(after_help = "Example:\n  mkube version")]
    Version,
    /// Print shell completions
    #[command(after_help = "Example:\n  mkube completions bash > /etc/bash_completion.d/mkube")]
    Completions(CompletionsArgs),
    /// Write man pages into a directory
    #[command(after_help = "Example:\n  mkube man /usr/local/share/man/man1")]
    Man(ManArgs),
}

impl Command {
    /// Commands that end by themselves log only what is wrong.
    pub fn is_short(&self) -> bool {
        !matches!(self, Self::Dev(_) | Self::Serve(_) | Self::Host(_) | Self::Registry(_) | Self::Dns(_))
    }
}

/// What runs the containers of `mkube dev`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HostKind {
    /// Real ones; needs root.
    Auto,
    /// Real ones; needs root.
    Linux,
    /// Containers that only look alive.
    Simulated,
}

/// `mkube dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", default_value = "./.mkube")]
    pub data_dir: PathBuf,
    /// Where the API listens.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8082")]
    pub listen: SocketAddr,
    /// What runs the containers.
    #[arg(long, value_enum, default_value = "auto")]
    pub host: HostKind,
    /// Where the registry listens: plain HTTP without authentication, so keep it on this machine.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5000")]
    pub registry: SocketAddr,
    /// Where the name server listens, beside the gateways of the networks.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5354")]
    pub dns: SocketAddr,
    /// Addresses of the pods, network `gt`.
    #[arg(long, value_name = "CIDR", default_value = "10.90.0.0/24")]
    pub cidr: Ipv4Net,
    /// NATS, on which is told what happens, and on which the registry tells of pushes. Objects are kept in a file all the same.
    #[arg(long, value_name = "URL")]
    pub nats: Option<String>,
    /// Manifest to apply at start; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub manifest: Vec<PathBuf>,
    /// Remove what an earlier run left, then exit.
    #[arg(long)]
    pub clean: bool,
    /// Let actors be crashed through the API, for tests.
    #[arg(long)]
    pub allow_chaos: bool,
}

/// `mkube serve`: the Go controller's flags, and our own.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// Configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/mkube/config.yaml")]
    pub config: PathBuf,
    /// Name of the node in the API.
    #[arg(long)]
    pub node_name: Option<String>,
    /// Be a cluster of its own.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub standalone: Option<bool>,
    /// Cluster to join when not standalone.
    #[arg(long)]
    pub kubeconfig: Option<String>,
    /// What runs the containers: routeros or stormbase.
    #[arg(long)]
    pub backend: Option<String>,
    /// Without effect: the device is reached by its REST address.
    #[arg(long)]
    pub routeros_address: Option<String>,
    /// REST address of the device.
    #[arg(long, value_name = "URL")]
    pub routeros_rest_url: Option<String>,
    /// User on the device.
    #[arg(long)]
    pub routeros_user: Option<String>,
    /// Password on the device; MKUBE_PASSWORD keeps it out of process lists.
    #[arg(long)]
    pub routeros_password: Option<String>,
    /// Subnet of the first network.
    #[arg(long, value_name = "CIDR")]
    pub pod_cidr: Option<String>,
    /// Bridge of the first network.
    #[arg(long)]
    pub bridge_name: Option<String>,
    /// Directory of root directories on the device.
    #[arg(long)]
    pub storage_path: Option<String>,
    /// Directory of image archives.
    #[arg(long)]
    pub tarball_cache: Option<String>,
    /// Pause between collections of unused images, in minutes.
    #[arg(long)]
    pub gc_interval_minutes: Option<u32>,
    /// Let actors be crashed through the API, for tests.
    #[arg(long)]
    pub allow_chaos: bool,
}

/// Engine of `mkube host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineChoice {
    /// Real containers; needs root.
    Linux,
    /// Containers that only look alive.
    Simulated,
}

/// `mkube host`.
#[derive(Debug, Args)]
pub struct HostArgs {
    /// Where to listen.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9180")]
    pub listen: SocketAddr,
    /// Disks and state.
    #[arg(long, value_name = "DIR", default_value = "./.mkube-host")]
    pub data_dir: PathBuf,
    /// What runs the containers.
    #[arg(long, value_enum, default_value = "linux")]
    pub engine: EngineChoice,
    /// Release to imitate.
    #[arg(long, value_name = "VERSION", default_value = "7.23.2")]
    pub ros_version: String,
    /// User.
    #[arg(long, value_name = "NAME", default_value = "admin")]
    pub user: String,
    /// Password.
    #[arg(long, value_name = "PW", default_value = "", hide_default_value = true)]
    pub password: String,
    /// Added to each request, such as 20ms.
    #[arg(long, value_name = "DUR", value_parser = duration, default_value = "0s")]
    pub latency: Duration,
    /// Fault rules, YAML.
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
    /// Self-signed HTTPS beside it.
    #[arg(long, value_name = "ADDR")]
    pub tls_listen: Option<SocketAddr>,
    /// Remove what an earlier run left, then exit.
    #[arg(long)]
    pub clean: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("{text:?} is not a duration such as 20ms, 2s or 1m"))
}

/// `mkube registry`.
#[derive(Debug, Args)]
pub struct RegistryArgs {
    /// Configuration file; where none is named, /etc/registry/config.yaml if it is there.
    #[arg(long, value_name = "FILE", env = "REGISTRY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where to listen.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Directory of blobs and manifests.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Directory of certificates: an authority and a certificate are made there, and plain HTTP and HTTPS served on one port.
    #[arg(long, value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,
    /// Where pushes are told, by POST.
    #[arg(long, value_name = "URL")]
    pub notify: Option<String>,
    /// NATS, where pushes are told too.
    #[arg(long, value_name = "URL")]
    pub nats: Option<String>,
    /// Print the hash of the password on standard input, for access.users, and exit.
    #[arg(long)]
    pub hash_password: bool,
}

/// `mkube dns`.
#[derive(Debug, Args)]
pub struct DnsArgs {
    /// Configuration file, TOML; where none is named, /etc/microdns/microdns.toml if it is there and no flag says where to listen.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where names are answered, UDP and TCP, instead of where the file says; may be given several times.
    #[arg(long, value_name = "ADDR")]
    pub listen_dns: Vec<SocketAddr>,
    /// Where REST is served instead.
    #[arg(long, value_name = "ADDR", alias = "listen-api")]
    pub listen_http: Option<SocketAddr>,
    /// Directory of the database, DIR/microdns.db, instead.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// `mkube check-config`.
#[derive(Debug, Args)]
pub struct CheckConfigArgs {
    /// The file.
    pub file: PathBuf,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value = "yaml")]
    pub output: OutputFormat,
}

/// `mkube completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell.
    pub shell: clap_complete::Shell,
}

/// `mkube man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Directory; made when missing.
    pub directory: PathBuf,
}

/// Reads the command line. The flags of `serve` stand at the top too, for containers made for the Go controller; beside another
/// subcommand they would be silently without effect, so they are refused there.
pub fn parse(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches_from(by_name(words))?;
    let given = |id: &clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    let global = ["log_format", "log_level", "color"];
    let stray = matches.ids().find(|id| given(id) && !global.contains(&id.as_str()));
    if let (Some(flag), Some(subcommand)) = (stray, matches.subcommand_name()) {
        let flag = flag.as_str().replace('_', "-");
        let text = format!("--{flag} belongs to `mkube serve` and stands before `mkube {subcommand}`");
        return Err(Cli::command().error(clap::error::ErrorKind::ArgumentConflict, text));
    }
    Cli::from_arg_matches(&matches)
}

/// Called by the name of one of the Go programs, mkube is the subcommand that took its place.
fn by_name(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    let called = words.first().and_then(|word| Path::new(word).file_name()).and_then(|name| name.to_str());
    if called == Some("mkube-registry") && words.get(1).is_none_or(|word| word != "registry") {
        words.insert(1, "registry".into());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_subcommand_has_an_example() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example:"), "{}", command.get_name());
        }
    }

    #[test]
    fn called_as_the_go_registry_it_is_the_registry() {
        for line in [
            "/mkube-registry --listen :5000",
            "mkube-registry registry --listen :5000",
            "mkube registry --listen :5000",
        ] {
            let cli = parse(line.split_whitespace()).expect("parsed");
            let Some(Command::Registry(args)) = cli.command else { panic!("{line}") };
            assert_eq!(args.listen.as_deref(), Some(":5000"), "{line}");
        }
        assert!(parse(["/mkube"]).expect("parsed").command.is_none());
    }

    #[test]
    fn without_a_subcommand_it_takes_the_go_controllers_flags() {
        let cli = Cli::try_parse_from(["mkube", "--config", "/x.yaml", "--standalone", "--node-name=rose1"]);
        let cli = cli.expect("parsed");
        assert!(cli.command.is_none());
        assert_eq!(cli.serve.config, PathBuf::from("/x.yaml"));
        assert_eq!((cli.serve.standalone, cli.serve.node_name.as_deref()), (Some(true), Some("rose1")));
        let off = Cli::try_parse_from(["mkube", "--standalone=false"]).expect("parsed");
        assert_eq!(off.serve.standalone, Some(false));
    }

    #[test]
    fn flags_of_logging_may_stand_anywhere_and_those_of_serve_not_before_another_subcommand() {
        let words = |line: &str| parse(line.split_whitespace().map(str::to_owned));
        assert_eq!(words("mkube --log-level debug status").expect("parsed").log_level.as_deref(), Some("debug"));
        assert_eq!(words("mkube status --log-level debug").expect("parsed").log_level.as_deref(), Some("debug"));
        assert_eq!(words("mkube --node-name rose1").expect("parsed").serve.node_name.as_deref(), Some("rose1"));
        let refused = words("mkube --node-name rose1 dev").expect_err("refused");
        assert!(refused.to_string().contains("--node-name belongs to"), "{refused}");
        assert_eq!(refused.exit_code(), 2);
    }

    #[test]
    fn all_flags_of_dev_parse() {
        let flags = "mkube dev --data-dir d --listen 127.0.0.1:1 --host simulated --registry 127.0.0.1:2 --dns 127.0.0.1:3 \
                     --cidr 10.90.0.0/16 --manifest a --manifest b --clean --allow-chaos --log-format json";
        let cli = Cli::try_parse_from(flags.split_whitespace()).expect("parsed");
        let Some(Command::Dev(dev)) = cli.command else { panic!("dev was asked for") };
        assert_eq!(dev.manifest.len(), 2);
        assert_eq!(dev.cidr.prefix_len(), 16);
    }
}
