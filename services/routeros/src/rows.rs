//! Rows as the device prints them, made uniform.

use std::net::IpAddr;
use std::time::Duration;

use mkube_model::IpNet;
use mkube_model::neighbours::router::{
    AddressRow, BridgePortRow, BridgeRow, ContainerRow, ContainerState, EnvRow, LogRow, MountRow, NeighbourRow, RowId,
    SystemResource, VethRow,
};
use serde_json::Value;

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn first<'a>(row: &'a Value, keys: &[&str]) -> &'a str {
    keys.iter().map(|key| text(row, key)).find(|value| !value.is_empty()).unwrap_or_default()
}

fn flag(row: &Value, key: &str) -> bool {
    matches!(row.get(key), Some(Value::Bool(true))) || matches!(text(row, key), "true" | "yes")
}

fn id(row: &Value) -> RowId {
    RowId(text(row, ".id").to_owned())
}

fn words(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// A path with a leading slash; empty stays empty.
fn path(text: &str) -> String {
    if text.is_empty() || text.starts_with('/') { text.to_owned() } else { format!("/{text}") }
}

fn state(row: &Value) -> ContainerState {
    if let Some(word) = row.get("status").and_then(Value::as_str) {
        return match word {
            "extracting" | "pulling" | "downloading" => ContainerState::Extracting,
            "stopped" => ContainerState::Stopped,
            "starting" => ContainerState::Starting,
            "running" | "healthy" | "unhealthy" => ContainerState::Running,
            "stopping" => ContainerState::Stopping,
            "deleting" | "removing" => ContainerState::Deleting,
            "error" => ContainerState::Failed,
            _ => ContainerState::Unknown,
        };
    }
    [
        ("deleting", ContainerState::Deleting),
        ("download/extract failed", ContainerState::Failed),
        ("downloading/extracting", ContainerState::Extracting),
        ("extracting", ContainerState::Extracting),
        ("stopping", ContainerState::Stopping),
        ("starting-with-healthcheck", ContainerState::Running),
        ("starting", ContainerState::Starting),
        ("unhealthy", ContainerState::Running),
        ("healthy", ContainerState::Running),
        ("running", ContainerState::Running),
        ("stopped", ContainerState::Stopped),
    ]
    .into_iter()
    .find(|(key, _)| flag(row, key))
    .map_or(ContainerState::Unknown, |(_, state)| state)
}

pub fn container(row: &Value) -> ContainerRow {
    ContainerRow {
        id: id(row),
        name: text(row, "name").to_owned(),
        state: state(row),
        file: text(row, "file").to_owned(),
        interfaces: words(text(row, "interface")),
        root_dir: path(text(row, "root-dir")),
        mount_lists: words(first(row, &["mountlists", "mounts"])),
        env_lists: words(first(row, &["envlists", "envlist"])),
        cmd: text(row, "cmd").to_owned(),
        entrypoint: text(row, "entrypoint").to_owned(),
        workdir: text(row, "workdir").to_owned(),
        user: text(row, "user").to_owned(),
        hostname: text(row, "hostname").to_owned(),
        dns: words(text(row, "dns")).iter().filter_map(|address| address.parse().ok()).collect(),
        logging: flag(row, "logging"),
        start_on_boot: flag(row, "start-on-boot"),
        comment: text(row, "comment").to_owned(),
        about: text(row, ".about").to_owned(),
        memory_current: text(row, "memory-current").parse().ok(),
        cpu_percent: text(row, "cpu-usage").trim_end_matches('%').parse().ok(),
    }
}

pub fn veth(row: &Value) -> VethRow {
    let address = |text: &String| text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    VethRow {
        id: id(row),
        name: text(row, "name").to_owned(),
        addresses: words(text(row, "address")).iter().filter_map(address).collect(),
        gateway: text(row, "gateway").parse().ok(),
        comment: text(row, "comment").to_owned(),
        running: flag(row, "running"),
    }
}

pub fn bridge_port(row: &Value) -> BridgePortRow {
    BridgePortRow {
        id: id(row),
        bridge: text(row, "bridge").to_owned(),
        interface: text(row, "interface").to_owned(),
        dynamic: flag(row, "dynamic"),
        comment: text(row, "comment").to_owned(),
    }
}

pub fn address(row: &Value) -> Option<AddressRow> {
    let address = text(row, "address").parse().ok()?;
    let (interface, comment) = (text(row, "interface").to_owned(), text(row, "comment").to_owned());
    Some(AddressRow { id: id(row), address, interface, comment })
}

pub fn bridge(row: &Value) -> BridgeRow {
    BridgeRow { id: id(row), name: text(row, "name").to_owned(), comment: text(row, "comment").to_owned() }
}

/// Nothing for a row of somebody who did not answer, and for one that is switched off.
pub fn neighbour(row: &Value) -> Option<NeighbourRow> {
    let silent = text(row, "mac-address").is_empty() || matches!(text(row, "status"), "failed" | "incomplete");
    (!silent && !flag(row, "disabled")).then_some(())?;
    let address = text(row, "address").parse().ok()?;
    Some(NeighbourRow { address, interface: text(row, "interface").to_owned() })
}

pub fn mount(row: &Value) -> MountRow {
    MountRow {
        id: id(row),
        list: first(row, &["list", "name"]).to_owned(),
        src: path(text(row, "src")),
        dst: path(text(row, "dst")),
        read_only: flag(row, "read-only") || text(row, "mode").starts_with("ro"),
    }
}

pub fn env(row: &Value) -> EnvRow {
    EnvRow {
        id: id(row),
        list: first(row, &["list", "name"]).to_owned(),
        key: text(row, "key").to_owned(),
        value: text(row, "value").to_owned(),
    }
}

pub fn log(row: &Value) -> LogRow {
    LogRow {
        id: id(row),
        time: text(row, "time").to_owned(),
        topics: words(text(row, "topics")),
        message: text(row, "message").to_owned(),
    }
}

pub fn resource(row: &Value) -> SystemResource {
    let number = |key: &str| text(row, key).parse::<u64>().unwrap_or(0);
    SystemResource {
        version: text(row, "version").to_owned(),
        architecture: text(row, "architecture-name").to_owned(),
        board: text(row, "board-name").to_owned(),
        uptime: duration(text(row, "uptime")),
        cpu_count: u32::try_from(number("cpu-count")).unwrap_or(0),
        cpu_load: u32::try_from(number("cpu-load")).unwrap_or(0),
        memory_free: number("free-memory"),
        memory_total: number("total-memory"),
        disk_free: number("free-hdd-space"),
        disk_total: number("total-hdd-space"),
    }
}

/// `1w2d3h4m5s600ms`.
pub fn duration(text: &str) -> Duration {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let Ok(number) = number.parse::<u64>() else { return total };
        let seconds = match unit {
            "w" => 604_800,
            "d" => 86_400,
            "h" => 3_600,
            "m" => 60,
            "s" | "" => 1,
            "ms" => {
                total += Duration::from_millis(number);
                0
            }
            _ => return total,
        };
        total += Duration::from_secs(number.saturating_mul(seconds));
        rest = tail;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_encodings_of_the_state_are_read_and_nothing_known_is_never_stopped() {
        use ContainerState as S;
        for (row, expected) in [
            (json!({"status": "running"}), S::Running),
            (json!({"status": "pulling"}), S::Extracting),
            (json!({"status": "error"}), S::Failed),
            (json!({"status": "new word"}), S::Unknown),
            (json!({"running": "true", "stopped": "false"}), S::Running),
            (json!({"stopped": "true", "downloading/extracting": "true"}), S::Extracting),
            (json!({"stopped": "true", "download/extract failed": "true"}), S::Failed),
            (json!({"healthy": "true"}), S::Running),
            (json!({"stopping": "true", "running": "true"}), S::Stopping),
            (json!({"deleting": "true", "stopped": "true"}), S::Deleting),
            (json!({"stopped": "true"}), S::Stopped),
            (json!({}), S::Unknown),
        ] {
            assert_eq!(state(&row), expected, "{row}");
        }
    }

    #[test]
    fn rows_are_uniform_whatever_the_release() {
        let old = container(&json!({".id": "*1", "name": "a", "mounts": "m", "envlist": "e", "root-dir": "raid1/x"}));
        let new =
            container(&json!({".id": "*1", "name": "a", "mountlists": "m", "envlists": "e", "root-dir": "/raid1/x"}));
        assert_eq!(old, new);
        let heard = |fields: Value| neighbour(&fields).map(|row| row.address.to_string());
        let somebody = json!({"address": "10.0.0.9", "interface": "b", "mac-address": "02:00:00:00:00:09"});
        assert_eq!(heard(somebody).as_deref(), Some("10.0.0.9"));
        assert_eq!(heard(json!({"address": "10.0.0.9", "interface": "b"})), None, "nobody answered");
        let failed = json!({"address": "10.0.0.9", "mac-address": "02:00:00:00:00:09", "status": "failed"});
        assert_eq!(heard(failed), None);
        let veth = veth(
            &json!({".id": "*2", "name": "v", "address": "10.0.0.2/24,fd00::2/64,nonsense", "gateway": "10.0.0.1"}),
        );
        assert_eq!(veth.addresses.len(), 2);
        assert!(mount(&json!({"mode": "ro,noexec"})).read_only && mount(&json!({"read-only": "true"})).read_only);
        assert_eq!(duration("1d2h3m4s500ms"), Duration::from_millis(93_784_500));
    }
}
