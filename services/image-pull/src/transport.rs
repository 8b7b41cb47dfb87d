//! Connections to registries: who is spoken to without TLS, and whose word is taken for whose certificate.
//!
//! TLS is left out only where the configuration says so, and a certificate that cannot be verified is never accepted. The Go
//! controller fell back to plain HTTP for private addresses and switched verification off when its authority's file was
//! missing; here both are faults whose text says which key to set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mkube_model::settings::ImageRegistry;
use reqwest::{Certificate, Client};

use crate::image_name::unaliased;
use crate::options::{Pace, PullOptions};
use crate::trouble::Trouble;

/// Whom a connection trusts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
    /// No TLS at all.
    Plain,
    /// The public authorities: those of this machine, and those built in, since a container of one file has none.
    Public,
    /// One authority and no other. The stamp changes with the file.
    Authority { file: PathBuf, stamp: (i64, u64) },
}

/// Makes connections, one pool for all registries that are trusted alike.
pub(crate) struct Transport {
    registries: Vec<ImageRegistry>,
    local: Vec<String>,
    local_authority: PathBuf,
    pace: Pace,
    clients: Mutex<BTreeMap<Trust, Client>>,
}

impl Transport {
    pub(crate) fn new(options: &PullOptions) -> Self {
        // Which library does TLS is said once for the process; whoever was first said the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            registries: options.registries.clone(),
            local: options.local_addresses.clone(),
            local_authority: options.local_authority.clone(),
            pace: options.pace,
            clients: Mutex::default(),
        }
    }

    /// What the configuration says of a registry, whichever of its names it uses.
    fn entry(&self, host: &str) -> Option<&ImageRegistry> {
        self.registries.iter().find(|entry| entry.host == host).or_else(|| {
            let first = unaliased(host, &self.local);
            self.registries.iter().find(|entry| unaliased(&entry.host, &self.local) == first)
        })
    }

    /// Whether the configuration says anything of it.
    pub(crate) fn is_known(&self, host: &str) -> bool {
        self.entry(host).is_some()
    }

    /// Whether it is spoken to without TLS.
    pub(crate) fn is_plain(&self, host: &str) -> bool {
        self.entry(host).is_some_and(|entry| entry.plain_http)
    }

    /// `https://host[:port]` of a registry.
    pub(crate) fn base(&self, host: &str) -> String {
        // The hub's name in references is not where its API is.
        let address = if host == "docker.io" { "registry-1.docker.io" } else { host };
        format!("{}://{address}", if self.is_plain(host) { "http" } else { "https" })
    }

    /// The connections to a host.
    pub(crate) fn client(&self, host: &str) -> Result<Client, Trouble> {
        let away = |why: String| Trouble::Away { registry: host.to_owned(), why };
        let trust = self.trust(host).map_err(away)?;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&trust) {
            return Ok(client.clone());
        }
        let client = build(&trust, &self.pace).map_err(away)?;
        if let Trust::Authority { file, .. } = &trust {
            // A certificate that was replaced needs no second pool for the old one.
            clients.retain(|other, _| !matches!(other, Trust::Authority { file: old, .. } if old == file));
        }
        clients.insert(trust, client.clone());
        Ok(client)
    }

    fn trust(&self, host: &str) -> Result<Trust, String> {
        let entry = self.entry(host);
        if entry.is_some_and(|entry| entry.plain_http) {
            return Ok(Trust::Plain);
        }
        if let Some(file) = entry.and_then(|entry| entry.ca_file.clone()) {
            let stamp = stamp(&file).map_err(|error| format!("its authority {}: {error}", file.display()))?;
            return Ok(Trust::Authority { file, stamp });
        }
        if self.local.iter().any(|local| local == host) {
            match stamp(&self.local_authority) {
                Ok(stamp) => return Ok(Trust::Authority { file: self.local_authority.clone(), stamp }),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("its authority {}: {error}", self.local_authority.display())),
            }
        }
        Ok(Trust::Public)
    }

    /// What to add to a fault of a connection: which key would help.
    pub(crate) fn advice(&self, host: &str) -> &'static str {
        if self.is_plain(host) {
            ""
        } else if self.local.iter().any(|local| local == host) {
            "; registry.tlsCACertFile names its authority, and plainHTTP in images.registries is for one without TLS"
        } else {
            "; caFile and plainHTTP in images.registries are for registries with an authority of their own or without TLS"
        }
    }
}

fn stamp(file: &Path) -> std::io::Result<(i64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(file)?;
    Ok((found.mtime(), found.len()))
}

fn build(trust: &Trust, pace: &Pace) -> Result<Client, String> {
    let builder = Client::builder()
        .user_agent(concat!("mkube/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(pace.connect)
        .read_timeout(pace.idle)
        // Followed by hand: credentials stay with whom they are for.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    let builder = match trust {
        Trust::Plain => builder.tls_certs_only([]),
        Trust::Public => {
            let built_in = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
            builder.tls_certs_merge(built_in.filter_map(|root| Certificate::from_der(root).ok())).https_only(true)
        }
        Trust::Authority { file, .. } => {
            let said = |error: String| format!("its authority {}: {error}", file.display());
            let pem = std::fs::read(file).map_err(|error| said(error.to_string()))?;
            let authorities = Certificate::from_pem_bundle(&pem).map_err(|error| said(error.to_string()))?;
            if authorities.is_empty() {
                return Err(said("no certificate is in it".to_owned()));
            }
            builder.tls_certs_only(authorities).https_only(true)
        }
    };
    builder.build().map_err(|error| format!("no connection can be made: {error}"))
}
