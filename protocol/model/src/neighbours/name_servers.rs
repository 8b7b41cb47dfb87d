//! Name servers with the REST interface of microdns, early and current releases.

use std::time::Duration;

use async_trait::async_trait;

/// Longest time one request takes. What takes longer counts as not answered.
pub const CALL: Duration = Duration::from_secs(3);
/// Longest time of the question whether a server is well.
pub const HEALTH: Duration = Duration::from_millis(1500);

/// Why a name server did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// It was not reached: nothing was done.
    #[error("the name server cannot be reached: {0}")]
    Away(String),
    /// It may have been done: the answer was lost, came too late, or tells of a failure inside.
    #[error("it is not known whether the name server did it: {0}")]
    Unknown(String),
    /// There is no such zone, record or forwarder.
    #[error("not found: {0}")]
    NotFound(String),
    /// Somebody was first.
    #[error("it exists already: {0}")]
    Exists(String),
    /// This release has no such thing.
    #[error("this release of the name server cannot do that: {0}")]
    Unsupported(String),
    /// It does not want to, and will not when asked again.
    #[error("refused: {0}")]
    Refused(String),
}

impl NameFault {
    /// Whether the thing asked for may have happened.
    pub fn leaves_doubt(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerHealth {
    /// Its version.
    pub version: String,
    /// Zones it has.
    pub zones: Option<u64>,
    /// Seconds since it was started, where the release tells.
    pub uptime: Option<u64>,
}

/// A zone of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ZoneRow {
    /// Its id.
    pub id: String,
    /// As the server spells it.
    pub name: String,
    /// The serial of its SOA: it moves with every change.
    pub serial: u64,
}

/// Whose a record is, as far as the server keeps that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    /// The release keeps nothing of the kind.
    #[default]
    NotKept,
    /// Nobody said.
    Unsaid,
    /// Whoever made it called itself this.
    Named(String),
}

/// A record of a zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordRow {
    /// Its id.
    pub id: String,
    /// The zone it is in: what is done to it is done under this one.
    pub zone_id: String,
    /// Name inside the zone, as the server spells it.
    pub name: String,
    /// `A`, `PTR` …
    pub kind: String,
    /// Its data where that is one text (addresses, names); other data as JSON.
    pub data: String,
    /// Seconds.
    pub ttl: u32,
    /// Whether it is answered with.
    pub enabled: bool,
    /// Somebody has it watched, who then decides whether it is enabled.
    pub watched: bool,
    /// Whose it is.
    pub origin: Origin,
    /// `manual`, `dhcp` …; none where the release keeps no source. Those that do also keep the names of addresses by themselves.
    pub source: Option<String>,
    /// When it was made, as the server writes it.
    pub created_at: String,
}

/// A record to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// Name inside the zone; `@` is the zone itself.
    pub name: String,
    /// `A`, `AAAA`, `PTR`.
    pub kind: &'static str,
    /// Address or absolute name.
    pub data: String,
    /// Seconds.
    pub ttl: u32,
    /// Whose it is; releases that do not keep it pass over it.
    pub origin: String,
}

/// What came of making a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedRecord {
    /// The record.
    pub row: RecordRow,
    /// False: an equal one was there, and nothing was done.
    pub new: bool,
}

/// Questions about names under a zone go to other servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForwarderRow {
    /// Zone, lower case.
    pub zone: String,
    /// `ip` or `ip:port`, asked in this order.
    pub servers: Vec<String>,
}

/// Speaks to name servers. `endpoint` is the REST address of one, such as `http://10.0.0.252:8080`. Each request takes [`CALL`] at
/// most; those that read many pages take that for each.
#[async_trait]
pub trait NameServers: Send + Sync {
    /// How it is.
    async fn health(&self, endpoint: &str) -> Result<ServerHealth, NameFault>;
    /// All zones.
    async fn zones(&self, endpoint: &str) -> Result<Vec<ZoneRow>, NameFault>;
    /// Makes a zone.
    async fn create_zone(&self, endpoint: &str, name: &str) -> Result<ZoneRow, NameFault>;
    /// All records of a zone, each once.
    async fn records(&self, endpoint: &str, zone_id: &str) -> Result<Vec<RecordRow>, NameFault>;
    /// Makes a record, unless an equal one is there.
    async fn create_record(&self, endpoint: &str, zone_id: &str, new: &NewRecord) -> Result<CreatedRecord, NameFault>;
    /// Gives a record other data of the same type, another time to live, and enables it.
    async fn update_record(&self, endpoint: &str, row: &RecordRow) -> Result<RecordRow, NameFault>;
    /// Takes a record away. One that is not there is not found.
    async fn delete_record(&self, endpoint: &str, zone_id: &str, id: &str) -> Result<(), NameFault>;
    /// All forwarders.
    async fn forwarders(&self, endpoint: &str) -> Result<Vec<ForwarderRow>, NameFault>;
    /// Makes a forwarder, or has an existing one ask these servers.
    async fn put_forwarder(&self, endpoint: &str, row: &ForwarderRow) -> Result<ForwarderRow, NameFault>;
    /// Takes a forwarder away. One that is not there is not found.
    async fn delete_forwarder(&self, endpoint: &str, zone: &str) -> Result<(), NameFault>;
}
