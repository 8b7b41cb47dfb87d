//! What is heard, and what it comes to. Pure.

use std::net::IpAddr;
use std::time::Duration;

use mkube_messages::push_notice::{self, Notice, SIGNATURE};
use mkube_messages::rollouts::ImagePushed;
use mkube_model::neighbours::bus::{BusMessage, PUSHED};
use mkube_model::secret::Secret;
use serde_json::Value;

/// Bytes of a message that is read.
const LONGEST: usize = 64 * 1024;

/// Something we listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ear {
    /// Registries that tell of pushed images.
    Pushes,
    /// Name servers that tell of addresses they gave to machines.
    Leases,
    /// Name servers that tell of changed names.
    Names,
}

/// All of them.
pub const EARS: [Ear; 3] = [Ear::Pushes, Ear::Leases, Ear::Names];

impl Ear {
    /// Where it is told. The word in the middle is the name server's.
    pub fn subject(self) -> &'static str {
        match self {
            Self::Pushes => PUSHED,
            Self::Leases => "microdns.*.leases",
            Self::Names => "microdns.*.dns",
        }
    }

    /// What it is called in figures.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pushes => "pushes",
            Self::Leases => "leases",
            Self::Names => "names",
        }
    }

    /// How many at once, and the time for each in the long run.
    pub fn pace(self) -> (u32, Duration) {
        match self {
            Self::Pushes => (64, Duration::from_millis(250)),
            // All machines of a network may come back together.
            Self::Leases | Self::Names => (256, Duration::from_millis(50)),
        }
    }
}

/// What a message comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Pods may follow.
    Pushed(ImagePushed),
    /// Understood, and nobody's business.
    Noted,
}

/// Reads a message; or why it is none.
pub fn read(ear: Ear, message: &BusMessage, secret: Option<&Secret>) -> Result<Heard, String> {
    if message.payload.len() > LONGEST {
        return Err(format!("{} bytes are more than {LONGEST}", message.payload.len()));
    }
    if ear == Ear::Pushes {
        let header = message.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(SIGNATURE));
        push_notice::check_signature(secret, header.map(|(_, value)| value.as_str()), &message.payload)
            .map_err(|status| status.message)?;
    }
    let value: Value = serde_json::from_slice(&message.payload).map_err(|error| error.to_string())?;
    match ear {
        Ear::Pushes => match push_notice::read(&value).map_err(|status| status.message)? {
            Notice::Tag(pushed) => Ok(Heard::Pushed(pushed)),
            Notice::Digest => Ok(Heard::Noted),
        },
        Ear::Leases => lease(&value),
        Ear::Names => name(&value),
    }
}

fn lease(value: &Value) -> Result<Heard, String> {
    let kind = text(value, "type")?;
    if !["LeaseCreated", "LeaseReleased"].contains(&kind) {
        return Err(format!("{kind:?} is no news of a lease"));
    }
    text(value, "ip_addr")?.parse::<IpAddr>().map_err(|_| "`ip_addr` is no address".to_owned())?;
    text(value, "mac_addr")?;
    Ok(Heard::Noted)
}

fn name(value: &Value) -> Result<Heard, String> {
    match text(value, "type")? {
        "ZoneChanged" | "RecordChanged" => text(value, "action").map(|_| Heard::Noted),
        kind => Err(format!("{kind:?} is no news of names")),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str, String> {
    value[field].as_str().filter(|text| !text.is_empty()).ok_or_else(|| format!("`{field}` is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(payload: impl Into<Vec<u8>>) -> BusMessage {
        BusMessage { payload: payload.into().into(), ..BusMessage::default() }
    }

    #[test]
    fn a_push_is_read_as_it_is_over_http() {
        let notice = json!({"repository": "app", "tag": "edge", "registry": "10.0.0.3:5000", "image": "app:edge"});
        let pushed = ImagePushed {
            repository: "app".into(),
            tag: "edge".into(),
            digest: None,
            registry: Some("10.0.0.3:5000".into()),
        };
        let told = message(notice.to_string());
        assert_eq!(read(Ear::Pushes, &told, None), Ok(Heard::Pushed(pushed)));
        let by_digest = json!({"repository": "app", "digest": format!("sha256:{}", "a".repeat(64))});
        assert_eq!(read(Ear::Pushes, &message(by_digest.to_string()), None), Ok(Heard::Noted));
    }

    #[test]
    fn where_there_is_a_secret_a_push_is_believed_only_with_its_signature() {
        let (secret, body) = (Secret::new("key"), json!({"repository": "app", "tag": "edge"}).to_string());
        assert!(read(Ear::Pushes, &message(body.clone()), Some(&secret)).is_err());
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"key");
        let sign = ring::hmac::sign(&key, body.as_bytes());
        let hex: String = sign.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut signed = message(body);
        signed.headers.insert("X-Mkube-Signature".into(), format!("sha256={hex}"));
        assert!(matches!(read(Ear::Pushes, &signed, Some(&secret)), Ok(Heard::Pushed(_))));
        signed.payload = json!({"repository": "other", "tag": "edge"}).to_string().into();
        assert!(read(Ear::Pushes, &signed, Some(&secret)).is_err());
    }

    #[test]
    fn what_makes_no_sense_or_is_too_long_is_refused() {
        let long = json!({"repository": "app", "tag": "edge", "more": "x".repeat(LONGEST)}).to_string();
        let deep = "[".repeat(60_000);
        for bad in ["", "{", "\"app:edge\"", "{\"repository\":\"App\",\"tag\":\"x\"}", "\u{0}", &long, &deep] {
            for ear in EARS {
                assert!(read(ear, &message(bad), None).is_err(), "{ear:?}: {}", bad.get(..20).unwrap_or(bad));
            }
        }
        assert!(read(Ear::Pushes, &message([0xff, 0xfe]), None).is_err());
    }

    #[test]
    fn news_of_microdns_is_understood() {
        let lease = json!({
            "type": "LeaseCreated", "instance_id": "edge-1", "ip_addr": "10.0.0.20", "mac_addr": "02:00:00:00:00:01",
            "hostname": "client1", "pool_id": "lab.test", "timestamp": "2026-11-22T10:08:13.456943357Z",
        });
        let released = json!({"type": "LeaseReleased", "ip_addr": "10.0.0.20", "mac_addr": "02:00:00:00:00:01"});
        let record = json!({"type": "RecordChanged", "zone_id": "z", "record_name": "a", "action": "created"});
        for (ear, news) in [(Ear::Leases, &lease), (Ear::Leases, &released), (Ear::Names, &record)] {
            assert_eq!(read(ear, &message(news.to_string()), None), Ok(Heard::Noted), "{news}");
        }
        let no_address = json!({"type": "LeaseCreated", "ip_addr": "x", "mac_addr": "02:00:00:00:00:01"});
        let heartbeat = json!({"type": "Heartbeat", "mode": "leaf"});
        for (ear, news) in [(Ear::Leases, &no_address), (Ear::Leases, &record), (Ear::Names, &heartbeat)] {
            assert!(read(ear, &message(news.to_string()), None).is_err(), "{news}");
        }
    }
}
