//! `mkube host`: the RouterOS-compatible container host alone, or as a thread of `mkube dev`.

use std::path::Path;

use mkube_routeros_host::{EngineKind, FaultRule, HostFault, HostOptions, RunningHost, Timings};

use crate::cli::{EngineChoice, HostArgs};
use crate::failure::{CONFIGURATION, FAILED, Failure, INTERNAL, NOT_PERMITTED, UNAVAILABLE};
use crate::run::Signals;
use crate::say::tell;
use crate::server_thread::ServerThread;

/// Runs the host until a signal.
pub fn main(args: HostArgs) -> Result<(), Failure> {
    let engine = match args.engine {
        EngineChoice::Linux => EngineKind::Linux,
        EngineChoice::Simulated => EngineKind::Simulated,
    };
    if args.clean {
        return clean(&args.data_dir, engine);
    }
    check_permission(engine, "--engine simulated")?;
    let faults = args.faults.as_deref().map(read_faults).transpose()?.unwrap_or_default();
    let options = HostOptions {
        listen: args.listen,
        tls_listen: args.tls_listen,
        data_dir: args.data_dir,
        engine,
        ros_version: args.ros_version,
        user: args.user,
        password: args.password,
        latency: args.latency,
        faults,
        timings: Timings::default(),
    };
    runtime()?.block_on(async {
        let mut signals = Signals::new().map_err(|error| Failure::new(INTERNAL, error))?;
        let host = mkube_routeros_host::start(options).await.map_err(failure)?;
        tell(format_args!("RouterOS-compatible host on http://{}/rest", host.address()));
        if let Some(tls) = host.tls_address() {
            tell(format_args!("the same, self-signed, on https://{tls}/rest"));
        }
        tell("ready");
        signals.next().await;
        tracing::info!("stopping; containers go on");
        host.stop().await;
        Ok(())
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| Failure::new(INTERNAL, error))
}

fn read_faults(path: &Path) -> Result<Vec<FaultRule>, Failure> {
    let bad = |cause: String| Failure::text(CONFIGURATION, format!("{}: {cause}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let value = mkube_manifests::parse_one(&text).map_err(|fault| bad(fault.to_string()))?;
    serde_json::from_value(value).map_err(|error| bad(error.to_string()))
}

/// Real containers need root.
pub fn check_permission(engine: EngineKind, instead: &str) -> Result<(), Failure> {
    if engine == EngineKind::Linux && !is_root() {
        let text = "real containers need root: network namespaces, bridges and cgroups are the kernel's";
        return Err(Failure::text(NOT_PERMITTED, text).hint(format!("run it with sudo, or try {instead}")));
    }
    Ok(())
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

/// Removes what an earlier host left.
pub fn clean(data_dir: &Path, engine: EngineKind) -> Result<(), Failure> {
    runtime()?.block_on(mkube_routeros_host::clean(data_dir, engine)).map_err(failure)
}

fn failure(fault: HostFault) -> Failure {
    match fault {
        HostFault::Release(_) | HostFault::Faults(_) => Failure::new(CONFIGURATION, fault),
        HostFault::Engine(_) => {
            Failure::new(UNAVAILABLE, fault).hint("apt-get install runc conmon iproute2, or use the simulated engine")
        }
        HostFault::Listen { .. } => {
            Failure::new(FAILED, fault).hint("is another mkube running? choose another address or stop it")
        }
        HostFault::DataDir(_) => {
            Failure::new(FAILED, fault).hint("is another mkube running there? stop it, or choose another --data-dir")
        }
        HostFault::Certificate(_) => Failure::new(FAILED, fault),
    }
}

/// Starts a host on its own thread.
pub fn beside(options: HostOptions) -> Result<ServerThread, Failure> {
    let start = async || {
        let host = mkube_routeros_host::start(options).await.map_err(failure)?;
        Ok((host.address(), host))
    };
    ServerThread::start("host", runtime, start, async |host: RunningHost| host.stop().await)
}
