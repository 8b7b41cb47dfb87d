//! `mkube dns`: the name server alone.

use std::path::Path;

use mkube_name_server::{Config, ConfigFault, NameServer, Options, Running, StartFault};

use crate::cli::DnsArgs;
use crate::failure::{CONFIGURATION, FAILED, Failure, INTERNAL};
use crate::run::Signals;
use crate::say::tell;

/// Where microdns has its configuration.
const BY_DEFAULT: &str = "/etc/microdns/microdns.toml";
/// Threads that answer; REST has its own.
const THREADS: usize = 4;

/// Runs the name server until a signal.
pub fn main(args: &DnsArgs) -> Result<(), Failure> {
    let options = options(args)?;
    let data = options.data.clone();
    runtime()?.block_on(async {
        let mut signals = Signals::new().map_err(|error| Failure::new(INTERNAL, error))?;
        let server = NameServer::start(options).await.map_err(failure)?;
        announce(&server, &data);
        signals.next().await;
        tracing::info!("stopping");
        tokio::select! {
            () = server.stop() => {}
            () = signals.next() => {}
        }
        Ok(())
    })
}

/// Threads for a name server.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(threads.min(THREADS)).enable_all().build();
    runtime.map_err(|error| Failure::new(INTERNAL, error))
}

fn announce(server: &Running, data: &Path) {
    tell(format_args!("name server, REST on {}", server.rest_url()));
    for address in server.dns_addrs() {
        tell(format_args!("  dns         {address}"));
    }
    tell(format_args!("  data        {}", data.display()));
    tell("ready");
}

fn options(args: &DnsArgs) -> Result<Options, Failure> {
    let by_default = Some(Path::new(BY_DEFAULT)).filter(|path| args.listen_dns.is_empty() && path.exists());
    let mut config = match args.config.as_deref().or(by_default) {
        None => Config::default(),
        Some(path) => {
            let named =
                |cause: &dyn std::fmt::Display| Failure::text(CONFIGURATION, format!("{}: {cause}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
            Config::read(&text).map_err(|fault| named(&fault))?
        }
    };
    config.listen_dns(args.listen_dns.iter().copied());
    if let Some(address) = args.listen_http {
        config.listen_rest(address);
    }
    if let Some(directory) = &args.data_dir {
        config.data_dir(directory);
    }
    config.options().map_err(|fault| {
        let nothing = matches!(fault, ConfigFault::Nothing);
        let failure = Failure::new(CONFIGURATION, fault);
        if nothing { failure.hint("mkube dns --listen-dns 127.0.0.1:5354 --data-dir ./names") } else { failure }
    })
}

/// What is said when it does not start.
pub fn failure(fault: StartFault) -> Failure {
    match fault {
        StartFault::Listen { .. } => Failure::new(FAILED, fault)
            .hint("is another name server running? stop it, or choose other addresses: --listen-dns, --listen-http"),
        StartFault::Store(_) => Failure::new(FAILED, fault)
            .hint("one process at a time may use a database; check its permissions, or --data-dir"),
        StartFault::Seed(_) => Failure::new(CONFIGURATION, fault),
    }
}
