//! What a registry is put together from: its store, and who decides, who is told and who is asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::digest::Digest;
use crate::fault::Fault;
use crate::names::{Reference, RepositoryName, Tag};
use crate::store::Store;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// See whether there is a registry.
    Ping,
    /// List repositories.
    Catalog,
    /// Read manifests, blobs, tags and referrers of a repository.
    Pull,
    /// Write them.
    Push,
    /// Remove them.
    Delete,
}

/// Who wants to do what.
#[derive(Debug, Clone, Copy)]
pub struct AccessRequest<'a> {
    /// The `Authorization` header. Not for logs.
    pub authorization: Option<&'a str>,
    /// Where; none for the registry as a whole.
    pub repository: Option<&'a RepositoryName>,
    /// What.
    pub action: Action,
    /// The other end of the connection.
    pub peer: Option<SocketAddr>,
    /// As the client calls the registry: host and port.
    pub host: &'a str,
    /// Whether the connection is encrypted.
    pub secure: bool,
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Go on.
    Allow,
    /// 401, with this `WWW-Authenticate` header.
    Challenge(String),
    /// 403, and why.
    Deny(String),
    /// 429: too many logins are being checked.
    Busy,
}

/// Decides who may do what. Asked once for each request, and once more for each repository a blob is to be mounted from.
#[async_trait]
pub trait AccessPolicy: Send + Sync {
    /// Decides.
    async fn decide(&self, request: &AccessRequest<'_>) -> Access;
}

/// Everybody may do everything.
#[derive(Debug, Default, Clone, Copy)]
pub struct AllowAll;

#[async_trait]
impl AccessPolicy for AllowAll {
    async fn decide(&self, _request: &AccessRequest<'_>) -> Access {
        Access::Allow
    }
}

/// A manifest that a client pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestNotice {
    /// Where.
    pub repository: RepositoryName,
    /// The tag; none when it was pushed by digest alone.
    pub tag: Option<Tag>,
    /// Computed from its bytes.
    pub digest: Digest,
    /// Its kind.
    pub media_type: Arc<str>,
}

/// Is told of each manifest that a client pushed: after it is stored and before the client has its answer. A push by several tags is
/// told once for each. The same push may be told again: a client that got no answer, or an error, repeats it.
#[async_trait]
pub trait ManifestSink: Send + Sync {
    /// Notes it down so that it lasts. An error becomes the client's answer, 503; the manifest stays stored.
    async fn stored(&self, notice: &ManifestNotice) -> Result<(), String>;
}

/// Nobody is told.
#[derive(Debug, Default, Clone, Copy)]
pub struct NobodyTold;

#[async_trait]
impl ManifestSink for NobodyTold {
    async fn stored(&self, _notice: &ManifestNotice) -> Result<(), String> {
        Ok(())
    }
}

/// Is asked for what is missing here. It stores what it finds itself: [`Store::receive_blob`], and [`Store::put_manifest`] with
/// [`crate::store::Checks::Sparse`]. A manifest's blobs need not come with it: they are asked for when somebody wants them.
#[async_trait]
pub trait ContentSource: Send + Sync {
    /// Fetches a manifest; says whether it is in the store now. [`Fault::Upstream`] when the other side fails.
    async fn fetch_manifest(
        &self,
        store: &Store,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<bool, Fault>;

    /// Called when a tag that is here is asked for: brings it up to date where that is due. What is here is served in any case.
    /// Without more, tags stay as they are.
    async fn refresh_tag(&self, _store: &Store, _repository: &RepositoryName, _tag: &Tag, _here: &Digest) {}

    /// Fetches a blob; says whether the repository holds it now. [`Fault::Upstream`] when the other side fails.
    async fn fetch_blob(&self, store: &Store, repository: &RepositoryName, digest: &Digest) -> Result<bool, Fault>;
}

/// How much is taken on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests at once, downloads until their last byte included; more are answered 429.
    pub requests: usize,
    /// Connections at once on each worker; more wait to be accepted.
    pub connections: usize,
    /// How long a client may take for the head of a request.
    pub head: Duration,
    /// How long a client may take for the next piece of a body. There is no limit for the whole.
    pub idle: Duration,
    /// Threads that serve.
    pub workers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 1024,
            connections: 2048,
            head: Duration::from_secs(15),
            idle: Duration::from_secs(120),
            workers: std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4)),
        }
    }
}

/// A registry.
#[derive(Clone)]
pub struct RegistryParts {
    /// Where everything lies.
    pub store: Store,
    /// Who may do what.
    pub access: Arc<dyn AccessPolicy>,
    /// Who is told of pushes.
    pub sink: Arc<dyn ManifestSink>,
    /// Who is asked for what is missing.
    pub source: Option<Arc<dyn ContentSource>>,
    /// How much is taken on.
    pub limits: Limits,
}

impl RegistryParts {
    /// Everybody may do everything, nobody is told, nobody is asked.
    pub fn new(store: Store) -> Self {
        Self { store, access: Arc::new(AllowAll), sink: Arc::new(NobodyTold), source: None, limits: Limits::default() }
    }
}
