//! `mkube registry`: the OCI registry alone, or as a thread of `mkube dev`.

use std::path::Path;
use std::sync::Arc;

use mkube_model::neighbours::wall_clock::SystemClock;
use mkube_model::settings::{Overrides, RegistryServerSettings};
use mkube_oci_registry::{RunningRegistry, StartFault, hash_password};

use crate::cli::RegistryArgs;
use crate::failure::{CONFIGURATION, FAILED, Failure, INTERNAL};
use crate::run::Signals;
use crate::say::{self, tell};
use crate::serve::bus;
use crate::server_thread::ServerThread;
use crate::settings_file;

/// Where the Go installer put the registry's configuration.
const GO_CONFIG: &str = "/etc/registry/config.yaml";
/// Threads beside those that serve: they fetch, tell and look after.
const THREADS: usize = 2;

/// Runs the registry until a signal.
pub fn main(args: &RegistryArgs) -> Result<(), Failure> {
    if args.hash_password {
        return print_hash();
    }
    let by_default = Some(Path::new(GO_CONFIG)).filter(|path| path.exists());
    let file = args.config.as_deref().filter(|path| !path.as_os_str().is_empty()).or(by_default);
    let settings = settings_file::load_registry(file, flags(args))?;
    runtime()?.block_on(async {
        let mut signals = Signals::new().map_err(|error| Failure::new(INTERNAL, error))?;
        let registry = start(&settings).await?;
        tell(format_args!("OCI registry on {} ({})", registry.address(), registry.encryption()));
        tell(format_args!("  data        {}", settings.store_path.display()));
        if let Some(authority) = registry.authority() {
            tell(format_args!("  authority   {} (clients trust this file)", authority.display()));
        }
        if let Some(address) = registry.management() {
            tell(format_args!("  management  http://{address}"));
        }
        tell("ready");
        signals.next().await;
        let untold = registry.untold();
        tracing::info!(untold, "stopping");
        tokio::select! {
            () = registry.stop() => {}
            () = signals.next() => {}
        }
        Ok(())
    })
}

fn flags(args: &RegistryArgs) -> Overrides {
    let text = |path: &std::path::PathBuf| path.display().to_string();
    Overrides::none()
        .set("listenAddr", "--listen", args.listen.clone())
        .set("storePath", "--data-dir", args.data_dir.as_ref().map(text))
        .set("tls.directory", "--tls-dir", args.tls_dir.as_ref().map(text))
        .set("notifyURL", "--notify", args.notify.clone())
        .set("nats.url", "--nats", args.nats.clone())
}

fn print_hash() -> Result<(), Failure> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|error| Failure::new(FAILED, error))?;
    let password = line.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        let failure = Failure::text(FAILED, "there is no password on standard input");
        return Err(failure.hint("printf %s \"$PASSWORD\" | mkube registry --hash-password"));
    }
    let hash = hash_password(password).map_err(|fault| Failure::new(INTERNAL, fault))?;
    say::print(hash + "\n")
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(THREADS).enable_all().build().map_err(|error| Failure::new(INTERNAL, error))
}

async fn start(settings: &RegistryServerSettings) -> Result<RunningRegistry, Failure> {
    let bus = bus(&settings.nats, "mkube registry")?;
    mkube_oci_registry::start(settings, Arc::new(SystemClock), bus).await.map_err(failure)
}

fn failure(fault: StartFault) -> Failure {
    match fault {
        StartFault::Listen { .. } => Failure::new(FAILED, fault).hint(
            "is another registry running? stop it, or choose another address: --listen, for `mkube dev` --registry",
        ),
        StartFault::Store { .. } | StartFault::Notices(_) => Failure::new(FAILED, fault)
            .hint("check the directory's permissions and free space, and that no other registry uses it"),
        StartFault::Certificate(_) | StartFault::Access(_) | StartFault::Settings(_) => {
            Failure::new(CONFIGURATION, fault)
        }
    }
}

/// Starts a registry on threads of its own.
pub fn beside(settings: RegistryServerSettings) -> Result<ServerThread, Failure> {
    let start = async move || {
        let registry = start(&settings).await?;
        Ok((registry.address(), registry))
    };
    ServerThread::start("registry", runtime, start, async |registry: RunningRegistry| registry.stop().await)
}
