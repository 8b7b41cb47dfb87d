//! Asks over the network, from where this process runs.

use std::time::Duration;

use async_trait::async_trait;
use mkube_model::neighbours::prober::{Prober, Question, Verdict};

use crate::http_get::HttpAsker;
use crate::{dns, grpc, tcp};

/// How mkube introduces itself: servers treat the probes of Kubernetes by this name.
pub(crate) const USER_AGENT: &str = concat!("kube-probe/1.32 mkube/", env!("CARGO_PKG_VERSION"));

/// See the room's card.
pub struct NetworkProber {
    http: HttpAsker,
}

impl NetworkProber {
    /// One for all containers.
    ///
    /// # Errors
    /// In words, when no HTTP client can be made.
    pub fn new() -> Result<Self, String> {
        Ok(Self { http: HttpAsker::new()? })
    }
}

#[async_trait]
impl Prober for NetworkProber {
    async fn ask(&self, question: &Question, patience: Duration) -> Verdict {
        let asking = async {
            match question {
                Question::Http { https, host, port, path, headers } => {
                    self.http.ask(*https, host, *port, path, headers).await
                }
                Question::Tcp { host, port } => tcp::ask(host, *port).await,
                Question::Grpc { host, port, service } => grpc::ask(host, *port, service).await,
                Question::Dns { host, port, zone } => dns::ask(host, *port, zone, patience).await,
                Question::Reach { host } => tcp::reach(host).await,
            }
        };
        match tokio::time::timeout(patience, asking).await {
            Ok(verdict) => verdict,
            Err(_) => Verdict::Bad(format!("no answer from {} within {patience:?}", whom(question))),
        }
    }
}

fn whom(question: &Question) -> String {
    match question {
        Question::Http { https, host, port, path, .. } => http_url(*https, host, *port, path),
        Question::Tcp { host, port } | Question::Grpc { host, port, .. } | Question::Dns { host, port, .. } => {
            address(host, *port)
        }
        Question::Reach { host } => host.clone(),
    }
}

/// `host:port`, where an IPv6 address has its brackets.
pub(crate) fn address(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The URL of a question. A path without its slash has one.
pub(crate) fn http_url(https: bool, host: &str, port: u16, path: &str) -> String {
    let scheme = if https { "https" } else { "http" };
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{scheme}://{}{slash}{path}", address(host, port))
}
