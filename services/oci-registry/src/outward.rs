//! HTTP clients for those outside: receivers of notices and upstream registries.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

/// How long it may take to reach somebody.
const CONNECT: Duration = Duration::from_secs(10);

/// A client that trusts the machine's authorities and those of a PEM file. A machine without any authorities, as a bare container
/// image is, can still be used: only TLS to the world fails there, and says so.
pub(crate) fn client(authorities: Option<&Path>) -> Result<reqwest::ClientBuilder, String> {
    let mut builder = base();
    let extra = match authorities {
        None => Vec::new(),
        Some(path) => {
            let refused = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let pem = std::fs::read(path).map_err(|error| refused(&error))?;
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| refused(&error))?
        }
    };
    if !extra.is_empty() {
        builder = builder.tls_certs_merge(extra.clone());
    }
    match builder.build() {
        Ok(_) if extra.is_empty() => Ok(base()),
        Ok(_) => Ok(base().tls_certs_merge(extra)),
        Err(error) => {
            tracing::warn!(
                cause = cause(&error),
                "this machine has no certificate authorities; only those of the configuration are trusted"
            );
            Ok(base().tls_certs_only(extra))
        }
    }
}

fn base() -> reqwest::ClientBuilder {
    reqwest::Client::builder().connect_timeout(CONNECT).user_agent(concat!("mkube/", env!("CARGO_PKG_VERSION")))
}

/// The whole chain in one line.
pub(crate) fn cause(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        below = error.source();
    }
    text
}
