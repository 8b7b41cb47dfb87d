//! mkube, the binary: one file per subcommand, `compose` wires the controller.

pub mod compose;

mod boot_plan;
mod check_config;
mod cli;
mod client;
mod consistency;
mod dev;
mod dns;
mod drain;
mod failure;
mod hello_image;
mod host;
mod images;
mod kept_copy;
mod kubeconfig;
mod logging;
mod manifests;
mod migrate;
mod moving;
mod names_beside;
mod paper;
mod readiness;
mod registry;
mod run;
mod say;
mod serve;
mod server_thread;
mod settings_file;
mod status;
mod store;
mod stores;
mod turns;
mod volumes;

use std::process::ExitCode;

use crate::cli::Command;

/// Parses the command line and runs what it asks for.
pub fn main() -> ExitCode {
    // Before anything speaks TLS; a second call is harmless and means somebody installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = cli::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let look = client::Look::new(cli.color);
    let short = cli.command.as_ref().is_some_and(Command::is_short);
    logging::start(cli.log_format, cli.log_level.as_deref(), short, look.err);
    let ended = match cli.command {
        None => serve::main(cli.serve),
        Some(Command::Serve(args)) => serve::main(args),
        Some(Command::Dev(args)) => dev::main(args),
        Some(Command::Host(args)) => host::main(args),
        Some(Command::Registry(args)) => registry::main(&args),
        Some(Command::Dns(args)) => dns::main(&args),
        Some(Command::CheckConfig(args)) => check_config::main(&args),
        Some(Command::Apply(args)) => client::apply(&args, look),
        Some(Command::Get(args)) => client::get(&args, look),
        Some(Command::Delete(args)) => client::delete(&args, look),
        Some(Command::Logs(args)) => client::logs(&args, look),
        Some(Command::Describe(args)) => client::describe(&args, look),
        Some(Command::Exec(args)) => client::exec(&args, look),
        Some(Command::Attach(args)) => client::attach(&args, look),
        Some(Command::Cp(args)) => client::copy(&args, look),
        Some(Command::Scale(args)) => client::scale(&args, look),
        Some(Command::Edit(args)) => client::edit(&args),
        Some(Command::PortForward(args)) => client::port_forward(&args, look),
        Some(Command::Rollout(args)) => client::rollout(&args, look),
        Some(Command::Top(args)) => client::top(&args, look),
        Some(Command::Export(args)) => moving::export(&args),
        Some(Command::Import(args)) => moving::import(&args),
        Some(Command::Migrate(args)) => migrate::main(&args),
        Some(Command::Store(args)) => store::main(&args),
        Some(Command::Consistency(args)) => consistency::main(&args),
        Some(Command::Status(args)) => status::main(&args, look),
        Some(Command::Cordon(args)) => drain::cordon(&args),
        Some(Command::Uncordon(args)) => drain::uncordon(&args),
        Some(Command::Drain(args)) => drain::drain(&args),
        Some(Command::BootPlan(args)) => boot_plan::main(&args),
        Some(Command::Version) => paper::version(),
        Some(Command::Completions(args)) => paper::completions(&args),
        Some(Command::Man(args)) => paper::man(&args),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.print(),
    }
}
