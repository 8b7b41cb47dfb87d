//! Containers, as far as they can be asked over the network how they are.

use std::time::Duration;

use async_trait::async_trait;

/// What a container is asked. Ports are numbers here: names were looked up by whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// A GET whose answer is a status from 200 to 399.
    Http {
        /// Over TLS, whoever's certificate it is.
        https: bool,
        /// Address or name.
        host: String,
        /// Port.
        port: u16,
        /// Path, with its query.
        path: String,
        /// Headers, as the spec lists them. `Host` names whom is asked for.
        headers: Vec<(String, String)>,
    },
    /// A connection.
    Tcp {
        /// Address or name.
        host: String,
        /// Port.
        port: u16,
    },
    /// The health checking protocol of gRPC, over plain HTTP/2.
    Grpc {
        /// Address.
        host: String,
        /// Port.
        port: u16,
        /// Name of the service; empty: the server as a whole.
        service: String,
    },
    /// The SOA record of a zone, over UDP and, as a second opinion, over TCP. Whatever a name server answers is good, also that there
    /// is no such name, or that it does not want to say.
    Dns {
        /// Address.
        host: String,
        /// Port.
        port: u16,
        /// Name of the zone; empty: the root.
        zone: String,
    },
    /// Whether packets go to this address and come back, whoever answers them: a connection that is refused will do.
    Reach {
        /// Address.
        host: String,
    },
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The answer is a good one.
    Good,
    /// It counts as a good one, and somebody should know why it may be none.
    Doubtful(String),
    /// It is a bad one, or none came in time: why.
    Bad(String),
}

/// Asks containers how they are.
#[async_trait]
pub trait Prober: Send + Sync {
    /// Asks one question, over a connection of its own. Answers within `patience`, whatever the other side does.
    async fn ask(&self, question: &Question, patience: Duration) -> Verdict;
}
