//! `registry-config.yaml`: what `mkube registry` is told at start.
//!
//! A file of the Go registry loads unchanged. What is new stands in blocks of its own: `storage`, `access`, `tls`, `notices`,
//! `nats`, `upstream`, `management`. Precedence: default, file, environment, flag.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::duration::as_text;
use super::nats::NatsSettings;
use super::section::{Notes, Section};
use super::{Overrides, SettingsProblem, Warning, overrides, read_registry};
use crate::secret::Secret;

/// Environment variables of the registry and the keys they set. An empty variable counts as not set.
pub const REGISTRY_ENVIRONMENT: [(&str, &str); 6] = [
    ("MKUBE_REGISTRY_LISTEN", "listenAddr"),
    ("MKUBE_REGISTRY_DATA_DIR", "storePath"),
    ("MKUBE_REGISTRY_NOTICE_SECRET", "notices.secret"),
    ("MKUBE_REGISTRY_NATS_URL", "nats.url"),
    ("MKUBE_REGISTRY_NATS_PASSWORD", "nats.password"),
    ("MKUBE_REGISTRY_NATS_TOKEN", "nats.token"),
];

/// Everything the registry is told at start. Serialises in the shape of the file, secrets masked.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryServerSettings {
    /// Where the distribution API listens.
    pub listen_addr: SocketAddr,
    /// Directory of blobs and manifests.
    pub store_path: PathBuf,
    /// Names clients use, `host:port`; the first is the one told in notices.
    pub local_addresses: Vec<String>,
    /// Certificate chain given by the owner, PEM file. A file that names neither it nor `tls.directory` means the Go registry's.
    pub tls_cert_file: Option<PathBuf>,
    /// Its key, PEM file.
    pub tls_key_file: Option<PathBuf>,
    /// Whether what is missing here is fetched from an upstream.
    pub pull_through: bool,
    /// Registries asked for what is missing, in this order; `host[:port]`, or an address with its scheme.
    pub upstream_registries: Vec<String>,
    /// Where pushes are told; empty: nowhere.
    #[serde(rename = "notifyURL")]
    pub notify_url: String,
    /// Images of upstreams that are kept fresh here.
    pub watch_images: Vec<WatchedImage>,
    /// Pause between two looks at the watched images.
    #[serde(rename = "watchPollSeconds", serialize_with = "as_text")]
    pub watch_poll: Duration,
    /// Limits and cleaning of the store.
    pub storage: RegistryStorageSettings,
    /// Who may do what.
    pub access: RegistryAccessSettings,
    /// Certificates made here.
    pub tls: RegistryTlsSettings,
    /// How pushes are told.
    pub notices: RegistryNoticeSettings,
    /// The bus on which they are told too; an empty address: none.
    pub nats: NatsSettings,
    /// How upstreams are asked.
    pub upstream: RegistryUpstreamSettings,
    /// The management port.
    pub management: RegistryManagementSettings,
}

/// An image of an upstream that is kept fresh here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchedImage {
    /// Such as `ghcr.io/owner/app:edge`.
    pub upstream: String,
    /// Repository here, such as `app`.
    pub local_repo: String,
}

/// Limits and cleaning of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryStorageSettings {
    /// Most bytes of blobs; 0: no limit.
    pub quota: u64,
    /// Bytes of the disk that stay free.
    pub free_reserve: u64,
    /// How long an upload nobody goes on with is kept.
    #[serde(serialize_with = "as_text")]
    pub upload_expiry: Duration,
    /// Pause between collections of blobs nobody refers to.
    #[serde(serialize_with = "as_text")]
    pub gc_interval: Duration,
    /// Younger blobs are never collected.
    #[serde(serialize_with = "as_text")]
    pub gc_grace: Duration,
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistryRole {
    /// Pull and list.
    Read,
    /// Also push and delete.
    Write,
}

/// Who may do what. With neither users nor tokens everybody may do everything, as in the Go registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryAccessSettings {
    /// Whether those without a name may pull.
    pub anonymous_pull: bool,
    /// Users.
    pub users: Vec<RegistryUser>,
    /// Bearer tokens.
    pub tokens: Vec<RegistryToken>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryUser {
    /// Name.
    pub name: String,
    /// Password, or its hash as `mkube registry --hash-password` prints it.
    pub password: Secret,
    /// What they may do; the highest counts.
    pub roles: Vec<RegistryRole>,
}

/// A bearer token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryToken {
    /// Whose it is, for the log.
    pub name: String,
    /// The token.
    pub token: Secret,
    /// What its bearer may do; the highest counts.
    pub roles: Vec<RegistryRole>,
}

/// Certificates made here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryTlsSettings {
    /// Where authority and certificate are made and kept; none: only files given by the owner are served.
    pub directory: Option<PathBuf>,
    /// Further names and addresses in the certificate.
    pub names: Vec<String>,
    /// Whether plain HTTP on the same port is refused.
    pub required: bool,
}

/// How pushes are told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryNoticeSettings {
    /// Key of the signature; empty: notices are not signed.
    pub secret: Secret,
    /// Whether manifests pushed by digest are told too.
    pub child_manifests: bool,
}

/// How upstreams are asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryUpstreamSettings {
    /// Upstreams spoken to without TLS, `host:port`. Loopback needs no mention.
    pub plain_http: Vec<String>,
    /// Authorities trusted beside those of the machine, PEM file.
    pub ca_cert: Option<PathBuf>,
    /// Who mkube is there; an upstream without an entry is asked without a name.
    pub credentials: Vec<UpstreamCredential>,
}

/// Who mkube is at one upstream. Sent to that upstream and to nobody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamCredential {
    /// `host[:port]`, as in `upstreamRegistries`.
    pub registry: String,
    /// User.
    pub user: String,
    /// Password or token.
    pub password: Secret,
}

/// The management port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryManagementSettings {
    /// Where `/healthz` and `/poll` are served; none: nowhere.
    pub listen: Option<SocketAddr>,
}

/// Turns the registry's file (`null` for none) into checked settings.
///
/// `env` looks up one environment variable; `flags` are those given on the command line.
///
/// # Errors
/// Every problem in the file, the environment and the flags, in the order of the file.
pub fn check_registry(
    value: Value,
    env: &dyn Fn(&str) -> Option<String>,
    flags: Overrides,
) -> Result<(RegistryServerSettings, Vec<Warning>), Vec<SettingsProblem>> {
    let notes = Notes::default();
    let from_file = !value.is_null();
    let mut root = match value {
        Value::Object(map) => map,
        Value::Null => Map::new(),
        _ => {
            let text = "the file must hold a map of keys".to_owned();
            return Err(vec![SettingsProblem { key: "config".to_owned(), text }]);
        }
    };
    overrides::apply(&mut root, &REGISTRY_ENVIRONMENT, env, flags, &notes);
    let settings = read_registry::settings(Section::root(root, &notes), from_file);
    notes.into_result(settings)
}

/// Whether a file's content is the registry's and not the controller's.
pub fn is_registry_file(value: &Value) -> bool {
    const OWN: [&str; 6] = ["storePath", "listenAddr", "watchImages", "pullThrough", "upstreamRegistries", "notifyURL"];
    value.as_object().is_some_and(|map| OWN.iter().any(|key| map.contains_key(*key)))
}
