//! Zones, records and forwarders as they stand in JSON, in the file and on the wire of the REST surface alike.

use std::net::{Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::names::same_target;

/// TTL of records, of zones and of negative answers where none is said.
const TTL: u32 = 300;

fn ttl() -> u32 {
    TTL
}

fn yes() -> bool {
    true
}

/// A time as zones and records carry it: RFC 3339 with a numeric offset.
pub fn stamp(now: Timestamp) -> String {
    let text = now.to_string();
    text.strip_suffix('Z').map_or(text.clone(), |bare| format!("{bare}+00:00"))
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
#[allow(missing_docs, reason = "the names of the types are those of DNS")]
pub enum Data {
    A(Ipv4Addr),
    AAAA(Ipv6Addr),
    CNAME(String),
    MX { preference: u16, exchange: String },
    NS(String),
    PTR(String),
    SOA(Soa),
    SRV { priority: u16, weight: u16, port: u16, target: String },
    TXT(String),
    CAA { flags: u8, tag: String, value: String },
}

impl Data {
    /// Name of the type.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::A(_) => "A",
            Self::AAAA(_) => "AAAA",
            Self::CNAME(_) => "CNAME",
            Self::MX { .. } => "MX",
            Self::NS(_) => "NS",
            Self::PTR(_) => "PTR",
            Self::SOA(_) => "SOA",
            Self::SRV { .. } => "SRV",
            Self::TXT(_) => "TXT",
            Self::CAA { .. } => "CAA",
        }
    }

    /// Whether both say the same; case and final dot of names do not matter.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::CNAME(one), Self::CNAME(two))
            | (Self::NS(one), Self::NS(two))
            | (Self::PTR(one), Self::PTR(two)) => same_target(one, two),
            (Self::MX { preference: p, exchange: e }, Self::MX { preference, exchange }) => {
                p == preference && same_target(e, exchange)
            }
            (
                Self::SRV { priority: p, weight: w, port: o, target: t },
                Self::SRV { priority, weight, port, target },
            ) => (p, w, o) == (priority, weight, port) && same_target(t, target),
            (one, two) => one == two,
        }
    }

    /// The address, where it is one.
    pub fn address(&self) -> Option<std::net::IpAddr> {
        match self {
            Self::A(address) => Some((*address).into()),
            Self::AAAA(address) => Some((*address).into()),
            _ => None,
        }
    }
}

/// Start of authority of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of RFC 1035")]
pub struct Soa {
    pub mname: String,
    pub rname: String,
    pub serial: u32,
    pub refresh: u32,
    pub retry: u32,
    pub expire: u32,
    pub minimum: u32,
}

/// The start of authority as a client may ask for it. The serial is ours.
#[derive(Debug, Clone, Default, Deserialize)]
#[allow(missing_docs, reason = "the names are those of RFC 1035")]
pub struct NewSoa {
    pub mname: Option<String>,
    pub rname: Option<String>,
    pub refresh: Option<u32>,
    pub retry: Option<u32>,
    pub expire: Option<u32>,
    pub minimum: Option<u32>,
}

impl NewSoa {
    /// With everything that was not said.
    pub fn complete(self, zone: &str, serial: u32) -> Soa {
        Soa {
            mname: self.mname.unwrap_or_else(|| format!("ns1.{zone}")),
            rname: self.rname.unwrap_or_else(|| format!("admin.{zone}")),
            serial,
            refresh: self.refresh.unwrap_or(3600),
            retry: self.retry.unwrap_or(900),
            expire: self.expire.unwrap_or(604_800),
            minimum: self.minimum.unwrap_or(TTL),
        }
    }
}

/// Body of `POST /zones`.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "section 5.1 of the reference")]
pub struct NewZone {
    pub name: String,
    #[serde(default = "ttl")]
    pub default_ttl: u32,
    #[serde(default)]
    pub soa: Option<NewSoa>,
}

/// A zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "section 5.1 of the reference")]
pub struct Zone {
    pub id: String,
    pub name: String,
    pub soa: Soa,
    pub default_ttl: u32,
    pub record_count: u64,
    pub created_at: String,
    pub updated_at: String,
}

/// Where a record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "section 5.2 of the reference")]
pub enum RecordSource {
    #[default]
    Manual,
    Dhcp,
    Mdns,
    K8s,
}

/// How a record is to be probed. Kept and given back; nothing is probed here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "section 5.6 of the reference")]
pub struct HealthCheck {
    pub probe_type: ProbeType,
    pub interval_secs: u32,
    pub timeout_secs: u32,
    pub unhealthy_threshold: u32,
    pub healthy_threshold: u32,
    #[serde(default)]
    pub endpoint: Option<String>,
}

/// How.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "section 5.6 of the reference")]
pub enum ProbeType {
    Ping,
    Http,
    Https,
    Tcp,
    TcpHalfOpen,
}

/// Body of `POST /zones/{id}/records`.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "section 5.2 of the reference")]
pub struct NewRecord {
    pub name: String,
    #[serde(default = "ttl")]
    pub ttl: u32,
    pub data: Data,
    #[serde(default = "yes")]
    pub enabled: bool,
    #[serde(default)]
    pub health_check: Option<HealthCheck>,
    #[serde(default)]
    pub source: RecordSource,
    #[serde(default)]
    pub origin: Option<String>,
}

/// Body of `PUT …/records/{id}`: what is not said stays. Only a health check can be taken away, by `null`.
#[derive(Debug, Clone, Default, Deserialize)]
#[allow(missing_docs, reason = "section 5.2 of the reference")]
pub struct RecordPatch {
    pub name: Option<String>,
    pub ttl: Option<u32>,
    pub data: Option<Data>,
    pub enabled: Option<bool>,
    #[serde(default, deserialize_with = "said")]
    pub health_check: Option<Option<HealthCheck>>,
}

/// Tells `null` from nothing.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "section 5.2 of the reference")]
pub struct Record {
    pub id: String,
    pub zone_id: String,
    pub name: String,
    pub ttl: u32,
    pub data: Data,
    pub enabled: bool,
    pub health_check: Option<HealthCheck>,
    pub source: RecordSource,
    pub origin: Option<String>,
    pub created_at: String,
    pub updated_at: String,
    /// Made for an address record, and goes with it. Told to nobody.
    #[serde(default)]
    pub reverse: bool,
}

impl Record {
    /// As clients see it: the type beside the data, the keys in the order of the reference.
    pub fn shown(&self) -> Value {
        serde_json::json!({
            "id": self.id, "zone_id": self.zone_id, "name": self.name, "ttl": self.ttl, "type": self.data.kind(),
            "data": self.data, "enabled": self.enabled, "health_check": self.health_check, "source": self.source,
            "origin": self.origin, "created_at": self.created_at, "updated_at": self.updated_at,
        })
    }
}

/// Body of `POST /dns/forwarders`.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "section 7.1 of the reference")]
pub struct NewForwarder {
    pub zone: String,
    pub servers: Vec<String>,
}

/// Who is asked about the names of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "section 7.1 of the reference")]
pub struct Forwarder {
    pub zone: String,
    pub servers: Vec<String>,
    pub created_at: String,
    pub updated_at: String,
}

/// Body and answer of `/zone-transfer/config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "section 7.4 of the reference")]
pub struct TransferConfig {
    #[serde(default = "private_ranges")]
    pub allow_transfer: Vec<String>,
    #[serde(default)]
    pub notify: Vec<String>,
    #[serde(default)]
    pub secondary: Vec<Secondary>,
}

/// A zone that is copied from elsewhere. Kept and given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "section 7.4 of the reference")]
pub struct Secondary {
    pub zone: String,
    pub primary: String,
    #[serde(default = "refresh")]
    pub refresh_secs: u64,
}

fn refresh() -> u64 {
    900
}

/// Who may copy zones where nobody said.
pub fn private_ranges() -> Vec<String> {
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8"].map(str::to_owned).to_vec()
}

/// The serial after a change: `YYYYMMDD00` of today, or one more where that is not ahead.
pub fn next_serial(serial: u32, today: u32) -> u32 {
    if serial >= today { serial.wrapping_add(1) } else { today }
}

/// `YYYYMMDD00` of a moment, in UTC.
pub fn first_serial(now: Timestamp) -> u32 {
    let day = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let number = i32::from(day.year()) * 10_000 + i32::from(day.month()) * 100 + i32::from(day.day());
    u32::try_from(number).unwrap_or_default().saturating_mul(100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn data_stands_in_json_as_in_the_reference() {
        for text in [
            r#"{"type":"A","data":"10.0.0.5"}"#,
            r#"{"type":"AAAA","data":"2001:db8::5"}"#,
            r#"{"type":"CNAME","data":"web.lab.test"}"#,
            r#"{"type":"MX","data":{"preference":10,"exchange":"mail.lab.test"}}"#,
            r#"{"type":"SRV","data":{"priority":0,"weight":5,"port":8080,"target":"web.lab.test"}}"#,
            r#"{"type":"TXT","data":"hello world"}"#,
            r#"{"type":"CAA","data":{"flags":0,"tag":"issue","value":"ca.example"}}"#,
        ] {
            let data: Data = serde_json::from_str(text).expect("read");
            assert_eq!(serde_json::to_string(&data).expect("written"), text);
        }
        let unknown = serde_json::from_value::<Data>(json!({"type": "a", "data": "10.0.0.5"})).expect_err("refused");
        assert!(unknown.to_string().contains("`CAA`"), "{unknown}");
    }

    #[test]
    fn null_takes_a_health_check_away_and_silence_leaves_it() {
        let patch = |text| serde_json::from_str::<RecordPatch>(text).expect("read").health_check;
        assert_eq!((patch("{}"), patch(r#"{"health_check":null}"#)), (None, Some(None)));
    }

    #[test]
    fn serials_are_dates_and_only_grow() {
        let now: Timestamp = "2026-11-22T23:59:59Z".parse().expect("a time");
        let today = first_serial(now);
        assert_eq!(today, 2_026_112_200);
        assert_eq!(next_serial(2_026_112_100, today), today);
        assert_eq!(next_serial(today, today), today + 1);
        assert_eq!(next_serial(2_026_112_299, today), 2_026_112_300, "more than 99 a day run on");
        assert_eq!(stamp(now), "2026-11-22T23:59:59+00:00");
    }
}
