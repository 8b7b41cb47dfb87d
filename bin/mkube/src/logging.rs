//! Log lines, on standard error.

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Starts logging. Commands that end by themselves (`short`) tell only what is wrong.
pub fn start(format: LogFormat, level: Option<&str>, short: bool, colour: bool) {
    // What a client sends that is no HTTP is not an error of ours.
    let quiet =
        "actix_server=warn,actix_http=error,actix_http::h1::dispatcher=off,mio=warn,rustls_platform_verifier=off";
    let usual = &if short { format!("warn,{quiet}") } else { format!("info,{quiet}") };
    let wanted = level.filter(|level| !level.is_empty());
    let filter = match wanted.map(EnvFilter::try_new) {
        Some(Ok(filter)) => filter,
        Some(Err(error)) => {
            eprintln!("warning: --log-level is not a filter ({error}), {usual} is used");
            EnvFilter::new(usual)
        }
        None => EnvFilter::new(usual),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    // A second start (in tests) leaves the first one in place.
    let _ = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    std::panic::set_hook(Box::new(note_panic));
}

/// A panic is one log line: the supervisor that catches it says what follows. The stack is shown when it is asked for.
fn note_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let text = panic.payload_as_str().unwrap_or("without a text");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(%place, "panicked: {text}");
    let stack = std::backtrace::Backtrace::capture();
    if stack.status() == std::backtrace::BacktraceStatus::Captured {
        tracing::debug!("{stack}");
    }
}
