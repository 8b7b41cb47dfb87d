//! The table of kinds. Everything the API does, it does to a row of this table; a new kind is one file and one line here.

mod absent;
mod bare_metal_host;
mod config_map;
mod container_wire;
mod cron_job;
mod deployment;
mod dns_entry;
mod event;
mod event_view;
mod home;
mod job;
mod lease;
mod namespace;
mod network;
mod node;
mod persistent_volume_claim;
mod placing_wire;
mod pod;
mod pod_columns;
mod pod_images;
mod pod_probes;
mod pod_template;
mod replica_set;
mod reviews;
mod scale;
mod secret;
mod service;
mod template_wire;
mod typed;

use std::sync::Arc;

use jiff::Timestamp;
use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use crate::problem::Problem;
use crate::protobuf::Field;

pub use absent::why_absent;
pub use bare_metal_host::BARE_METAL_HOSTS;
pub use cron_job::{SCHEDULED_AT, schedule_of};
pub use deployment::share_of;
pub use event::{EventFacts, coalesce, new_event};
pub use event_view::{EVENT_VIEW, View, view_at};
pub use home::{Home, NODE_ANNOTATION};
pub use network::{
    CONFIGURED_IN, NETWORKS, configured_in, network_clashes, network_holders, network_object, network_of,
};
pub use reviews::{REVIEWS, review_at, reviewed};
pub use scale::{SCALE, rescaled, scale_of};
pub use typed::{prune, schema_of, typed, unknown_fields};

/// A column of the table that clients print.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// OpenAPI type: `string`, `integer`, `date`.
    pub kind: &'static str,
    /// `name` for the column that names the object, else empty.
    pub format: &'static str,
    /// For `kubectl explain`-minded readers.
    pub description: &'static str,
    /// 0 always shown, 1 shown by `-o wide`.
    pub priority: u8,
    /// The cell, from the object and the time of day.
    pub cell: fn(&Value, Timestamp) -> Value,
}

/// A kind of object.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// API group, empty for core.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// CamelCase kind.
    pub kind: &'static str,
    /// Lower case plural: the resource.
    pub plural: &'static str,
    /// Lower case singular.
    pub singular: &'static str,
    /// Short names.
    pub short_names: &'static [&'static str],
    /// Categories such as `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Store bucket.
    pub bucket: &'static str,
    /// A deletion marks the object, its controller finishes when the device is clean.
    pub graceful: bool,
    /// Written by controllers alone: clients may read and watch it.
    pub read_only: bool,
    /// Whether `status` is written apart.
    pub has_status: bool,
    /// Other subresources, such as `log`.
    pub subresources: &'static [&'static str],
    /// Columns of its table.
    pub columns: &'static [Column],
    /// Field selectors beside `metadata.name` and `metadata.namespace`.
    pub selectable: &'static [&'static str],
    /// Whether the name may be a subdomain (else a label).
    pub dotted_names: bool,
    /// Fills in what the user left out.
    pub default: fn(&mut Value),
    /// Where an object says on which node it is at home.
    pub home: Home,
    /// What is wrong with a new or (given the old) changed object.
    pub validate: fn(&Value, Option<&Value>) -> Vec<Problem>,
    /// What is wrong with a new or changed object among the others of its kind, whose texts these are.
    pub among: fn(&Value, Option<&Value>, &mut dyn Iterator<Item = &str>) -> Vec<Problem>,
    /// The object as its Kubernetes type sees it, to find fields it does not know; an error names path and cause.
    pub typed: fn(&Value) -> Result<Value, String>,
    /// Its OpenAPI schema, as a reference into what the generator holds.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Fields that are accepted and have no effect here.
    pub warnings: fn(&Value) -> Vec<String>,
    /// Its fields in protobuf, for the kinds that clients send so; empty refuses such bodies.
    pub protobuf: &'static [Field],
}

/// Kinds that the Go controller had in the core group: they are served there too, and discovery does not tell.
const ALSO_IN_CORE: [KindId; 3] = [KindId { group: "apps", plural: "deployments" }, NETWORKS, BARE_METAL_HOSTS];

/// Kinds whose annotations are wanted as their spec is: changing them raises the generation, as in Kubernetes.
const WITH_WANTED_ANNOTATIONS: [KindId; 1] = [KindId { group: "apps", plural: "deployments" }];

/// Group and plural: the key of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KindId {
    /// API group, empty for core.
    pub group: &'static str,
    /// Lower case plural.
    pub plural: &'static str,
}

impl Kind {
    /// Whether another annotation makes another generation of an object.
    pub fn annotations_are_wanted(&self) -> bool {
        WITH_WANTED_ANNOTATIONS.contains(&self.id())
    }

    /// Its key.
    pub fn id(&self) -> KindId {
        KindId { group: self.group, plural: self.plural }
    }

    /// `pods`, `deployments.apps`.
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `Pod`, `Deployment.apps`.
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.to_owned() } else { format!("{}.{}", self.kind, self.group) }
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether strategic merge patches are understood: only for kinds whose types Kubernetes has, as clients expect.
    pub fn has_strategic_merge(&self) -> bool {
        !self.group.contains('.') || self.group.ends_with(".k8s.io")
    }

    /// Verbs clients may use on it.
    pub fn verbs(&self) -> &'static [&'static str] {
        if self.read_only {
            return &["get", "list", "watch"];
        }
        // Answered, not stored.
        if self.bucket.is_empty() {
            return &["create"];
        }
        &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    }
}

/// All kinds of a server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct KindTable(Arc<Vec<Kind>>);

impl KindTable {
    /// The kinds mkube has.
    pub fn builtin() -> Self {
        Self(Arc::new(vec![
            pod::POD,
            namespace::NAMESPACE,
            node::NODE,
            config_map::CONFIG_MAP,
            secret::SECRET,
            service::SERVICE,
            event::EVENT,
            deployment::DEPLOYMENT,
            replica_set::REPLICA_SET,
            job::JOB,
            cron_job::CRON_JOB,
            network::NETWORK,
            dns_entry::DNS_ENTRY,
            bare_metal_host::BARE_METAL_HOST,
            lease::LEASE,
            persistent_volume_claim::PERSISTENT_VOLUME_CLAIM,
        ]))
    }

    /// The same and one more.
    pub fn with(&self, kind: Kind) -> Self {
        let mut kinds = (*self.0).clone();
        kinds.push(kind);
        Self(Arc::new(kinds))
    }

    /// By path segments.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Kind> {
        self.0.iter().find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
    }

    /// By a path of the Go controller, which had it in the core group.
    pub fn find_in_core(&self, version: &str, plural: &str) -> Option<&Kind> {
        let id = ALSO_IN_CORE.iter().find(|id| id.plural == plural && version == "v1")?;
        self.get(id)
    }

    /// By key.
    pub fn get(&self, id: &KindId) -> Option<&Kind> {
        self.0.iter().find(|kind| kind.id() == *id)
    }

    /// By the words in an object.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        self.0.iter().find(|one| one.kind == kind && one.api_version() == api_version)
    }

    /// By the words in a document somebody wrote, perhaps for the Go controller.
    pub fn by_written_kind(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        let in_core = || self.0.iter().find(|one| one.kind == kind && ALSO_IN_CORE.contains(&one.id()));
        self.by_kind(api_version, kind).or_else(|| in_core().filter(|_| api_version == "v1"))
    }

    /// By CamelCase kind alone, for controllers that know theirs.
    pub fn named(&self, kind: &str) -> Option<&Kind> {
        self.0.iter().find(|one| one.kind == kind)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Kind> {
        self.0.iter()
    }

    /// What clients are told of: the kinds, second looks at them, and questions that are answered and not stored.
    pub fn served(&self) -> impl Iterator<Item = &Kind> {
        self.0.iter().chain([&EVENT_VIEW.kind]).chain(&REVIEWS)
    }

    /// Groups and versions there are, core first, each once; last those that only subresources belong to, and the one of
    /// figures.
    pub fn group_versions(&self) -> Vec<(&'static str, &'static str)> {
        let mut found = Vec::new();
        for kind in self.served() {
            if !found.contains(&(kind.group, kind.version)) {
                found.push((kind.group, kind.version));
            }
        }
        // Clients that drain a node look for it.
        let evicts = self.0.iter().any(|kind| kind.subresources.contains(&"eviction"));
        if evicts && !found.contains(&("policy", "v1")) {
            found.push(("policy", "v1"));
        }
        found.push(("metrics.k8s.io", "v1beta1"));
        found
    }
}

/// `3m`, `2h5m`, `4d`: the age of an object, as kubectl writes it.
pub fn age(since: &str, now: Timestamp) -> String {
    let Ok(since) = since.parse::<Timestamp>() else { return "<unknown>".to_owned() };
    human_duration(now.as_second() - since.as_second())
}

/// Seconds as kubectl writes durations.
pub fn human_duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let pair = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{big_unit}") } else { format!("{big}{big_unit}{small}{small_unit}") }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..1 => "0s".to_owned(),
        _ if seconds < 120 => format!("{seconds}s"),
        _ if minutes < 10 => pair(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => pair(days, "d", hours % 24, "h"),
        _ if days < 365 * 2 => format!("{days}d"),
        _ if days < 365 * 8 => pair(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

pub(crate) fn at<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn name_cell(object: &Value, _now: Timestamp) -> Value {
    at(object, "/metadata/name").into()
}

fn age_cell(object: &Value, now: Timestamp) -> Value {
    age(at(object, "/metadata/creationTimestamp"), now).into()
}

/// The first column of nearly every kind.
pub const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    description: "Name of the object",
    priority: 0,
    cell: name_cell,
};

/// The last column of nearly every kind.
pub const AGE: Column =
    Column { name: "Age", kind: "string", format: "", description: "Time since creation", priority: 0, cell: age_cell };

/// A column without a format.
pub const fn column(
    name: &'static str,
    kind: &'static str,
    priority: u8,
    cell: fn(&Value, Timestamp) -> Value,
) -> Column {
    Column { name, kind, format: "", description: name, priority, cell }
}

/// What is wrong with a key of `field` in a ConfigMap or Secret: keys become names of files and variables.
fn config_key_problem(field: &str, key: &str) -> Option<Problem> {
    let ok = !key.is_empty()
        && key.len() <= 253
        && key != "."
        && !key.starts_with("..")
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
    (!ok).then(|| Problem::invalid(format!("{field}[{key}]"), key, why))
}

/// No defaults.
pub fn no_default(_object: &mut Value) {}

/// Nothing to validate.
pub fn no_problems(_new: &Value, _old: Option<&Value>) -> Vec<Problem> {
    Vec::new()
}

/// Nothing to do with the others of its kind.
pub fn by_itself(_new: &Value, _old: Option<&Value>, _others: &mut dyn Iterator<Item = &str>) -> Vec<Problem> {
    Vec::new()
}

/// Nothing to warn of.
pub fn no_warnings(_object: &Value) -> Vec<String> {
    Vec::new()
}

#[cfg(test)]
mod wire_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectl_writes_them() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (3600, "60m"),
            (10800, "3h"),
            (86400 * 3, "3d"),
            (86400 * 400, "400d"),
        ] {
            assert_eq!(human_duration(seconds), text);
        }
    }
}
