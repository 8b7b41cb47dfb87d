//! Who drives a device, as it stands in the book of leases: a `Lease` of `coordination.k8s.io/v1`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How long a holder may drive after a renewal, while somebody stands by.
pub const LEASE_SECONDS: u64 = 6;
/// Namespace of leases of nodes, as in Kubernetes.
pub const LEASE_NAMESPACE: &str = "kube-node-lease";

/// One device's record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Who drives; empty: nobody, it was given back.
    pub holder: String,
    /// Which run of the holder's process.
    pub incarnation: String,
    /// Fencing token: grows with every change of the holder.
    pub token: u64,
    /// Grows with every word of the holder, and only with these: by it others see that it lives.
    pub renewals: u64,
    /// Who asks to stand by.
    pub standby: Option<String>,
    /// Grows with every word of whoever stands by.
    pub standby_word: u64,
    /// Who may take over when the holder falls silent.
    pub acknowledged: Option<String>,
    /// For so many seconds from the holder's word on, a command of the holder may be at work on the device.
    pub long_seconds: u64,
    /// For so many seconds from the holder's word on, the holder itself only reads: a command of its predecessor may be at work.
    pub quiet_seconds: u64,
    /// When the holder became it, for people.
    pub acquired: Option<Timestamp>,
}

/// What a controller keeps for itself, for starts at which the book is away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseNote {
    /// The token it holds or last held; 0: none.
    pub token: u64,
    /// Nobody may take the lease from it: it may drive without asking the book.
    pub sole: bool,
    /// The highest token it has seen, of whomever: what a book says that went back is known to be old by it.
    #[serde(default)]
    pub highest: u64,
}

const STANDBY: &str = "mkube.io/standby";
const STANDBY_WORD: &str = "mkube.io/standby-word";
const ACKNOWLEDGED: &str = "mkube.io/standby-seen";
const LONG: &str = "mkube.io/long-until-seconds";
const QUIET: &str = "mkube.io/reads-only-seconds";
const RENEWALS: &str = "mkube.io/renewals";
const INCARNATION: &str = "mkube.io/incarnation";

impl LeaseRecord {
    /// The key of a node's lease.
    pub fn key(node: &str) -> String {
        format!("{LEASE_NAMESPACE}.{node}")
    }

    /// The object of a node's lease, written now.
    pub fn to_object(&self, node: &str, now: Timestamp) -> Value {
        let mut annotations = json!({
            RENEWALS: self.renewals.to_string(),
            INCARNATION: self.incarnation,
            STANDBY_WORD: self.standby_word.to_string(),
        });
        for (name, value) in [(STANDBY, &self.standby), (ACKNOWLEDGED, &self.acknowledged)] {
            if let Some(value) = value {
                annotations[name] = json!(value);
            }
        }
        for (name, seconds) in [(LONG, self.long_seconds), (QUIET, self.quiet_seconds)] {
            if seconds > 0 {
                annotations[name] = json!(seconds.to_string());
            }
        }
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": node, "namespace": LEASE_NAMESPACE, "annotations": annotations},
            "spec": {
                "holderIdentity": self.holder,
                "leaseTransitions": self.token,
                "leaseDurationSeconds": LEASE_SECONDS,
                "acquireTime": micro(self.acquired.unwrap_or(now)),
                "renewTime": micro(now),
            },
        })
    }

    /// Reads such an object; why not, if it is another one.
    pub fn from_object(object: &Value) -> Result<Self, String> {
        if object["kind"] != "Lease" {
            return Err("it is no Lease".into());
        }
        let spec = &object["spec"];
        let word = |name: &str| object["metadata"]["annotations"][name].as_str();
        let text = |name: &str| word(name).filter(|text| !text.is_empty()).map(str::to_owned);
        let count = |name: &str| match word(name) {
            None => Ok(0),
            Some(text) => text.parse().map_err(|_| format!("annotation {name}: {text:?} is no number")),
        };
        let holder = spec["holderIdentity"].as_str().ok_or("spec.holderIdentity is missing")?.to_owned();
        Ok(Self {
            holder,
            incarnation: text(INCARNATION).unwrap_or_default(),
            token: spec["leaseTransitions"].as_u64().ok_or("spec.leaseTransitions is no number")?,
            renewals: count(RENEWALS)?,
            standby: text(STANDBY),
            standby_word: count(STANDBY_WORD)?,
            acknowledged: text(ACKNOWLEDGED),
            long_seconds: count(LONG)?,
            quiet_seconds: count(QUIET)?,
            acquired: spec["acquireTime"].as_str().and_then(|text| text.parse().ok()),
        })
    }
}

/// A time as the `MicroTime` of Kubernetes.
fn micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> LeaseRecord {
        LeaseRecord {
            holder: "a-1".into(),
            incarnation: "x".into(),
            token: 7,
            renewals: 12,
            standby: Some("b-2".into()),
            standby_word: 3,
            acknowledged: Some("b-2".into()),
            long_seconds: 75,
            quiet_seconds: 6,
            acquired: Some("2026-01-02T03:04:05.000006Z".parse().expect("a time")),
        }
    }

    #[test]
    fn what_is_written_is_a_lease_of_kubernetes_and_is_read_back() {
        let now = "2026-01-02T03:05:00Z".parse().expect("a time");
        let object = record().to_object("rose1", now);
        assert_eq!(object["apiVersion"], "coordination.k8s.io/v1");
        assert_eq!(object["metadata"]["namespace"], "kube-node-lease");
        assert_eq!(object["spec"]["holderIdentity"], "a-1");
        assert_eq!(object["spec"]["leaseTransitions"], 7);
        assert_eq!(object["spec"]["renewTime"], "2026-01-02T03:05:00.000000Z");
        assert_eq!(object["metadata"]["annotations"]["mkube.io/long-until-seconds"], "75");
        assert_eq!(LeaseRecord::from_object(&object), Ok(record()));
        let bare = LeaseRecord { acquired: Some(now), ..LeaseRecord::default() };
        assert_eq!(LeaseRecord::from_object(&bare.to_object("rose1", now)), Ok(bare));
    }

    #[test]
    fn what_is_no_lease_of_ours_is_not_taken_for_one() {
        let now = "2026-01-02T03:05:00Z".parse().expect("a time");
        let good = record().to_object("rose1", now);
        for (pointer, value) in [
            ("/kind", json!("Pod")),
            ("/spec/holderIdentity", json!(null)),
            ("/spec/leaseTransitions", json!("many")),
            ("/metadata/annotations/mkube.io~1long-until-seconds", json!("soon")),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).expect("it is there") = value;
            assert!(LeaseRecord::from_object(&bad).is_err(), "{pointer}");
        }
    }
}
