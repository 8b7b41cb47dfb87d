//! The APIs of other nodes, whose objects lie in the same store.

use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

/// A request for one of them. It has no body, and no headers but these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRequest {
    /// Where that API listens.
    pub to: SocketAddr,
    /// Such as `GET`.
    pub method: String,
    /// Path and query, as they are written in a request.
    pub path: String,
    /// Name and value; a name may be there several times.
    pub headers: Vec<(String, String)>,
}

/// The head of its answer, and how one reads on.
pub struct NodeAnswer {
    /// HTTP status code.
    pub code: u16,
    /// Those that are text, with their names in small letters.
    pub headers: Vec<(String, String)>,
    /// What follows.
    pub body: NodeBody,
}

impl NodeAnswer {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }
}

/// What follows the head of an answer. Dropping it ends the connection.
pub enum NodeBody {
    /// Bytes until their end.
    Pieces(Box<dyn Pieces>),
    /// Bytes both ways, after code 101.
    Upgraded(Box<dyn BothWays>),
}

/// A body that is read piece by piece.
#[async_trait]
pub trait Pieces: Send {
    /// The next piece; none at the end, and an error where the rest was lost.
    async fn next(&mut self) -> Option<Result<Bytes, String>>;
}

/// A connection that is HTTP no more.
pub trait BothWays: AsyncRead + AsyncWrite + Send + Unpin {}

impl<Stream: AsyncRead + AsyncWrite + Send + Unpin> BothWays for Stream {}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Nobody is there, or whoever is does not speak HTTP.
    #[error("{0}")]
    Away(String),
    /// It was asked and says nothing, so nobody knows what it does.
    #[error("no answer in time")]
    Late,
}

/// Asks APIs of other nodes. Each request has a connection of its own.
#[async_trait]
pub trait NodeApis: Send + Sync {
    /// Asks, and waits for the head of the answer; not for long.
    async fn ask(&self, request: NodeRequest) -> Result<NodeAnswer, Unanswered>;
}
