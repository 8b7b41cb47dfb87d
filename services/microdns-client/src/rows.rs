//! The JSON of zones, records and forwarders. Unknown fields are passed over: releases add some.

use mkube_model::neighbours::name_servers::{ForwarderRow, NewRecord, Origin, RecordRow, ServerHealth, ZoneRow};
use serde_json::{Value, json};

fn text(value: &Value, field: &str) -> Option<String> {
    value.get(field)?.as_str().map(str::to_owned)
}

pub fn health(value: &Value) -> ServerHealth {
    ServerHealth {
        version: text(value, "version").unwrap_or_default(),
        zones: value.get("zones").and_then(Value::as_u64),
        uptime: value.get("uptime_seconds").and_then(Value::as_u64),
    }
}

pub fn zone(value: &Value) -> Option<ZoneRow> {
    let serial = value.pointer("/soa/serial").and_then(Value::as_u64).unwrap_or_default();
    Some(ZoneRow { id: text(value, "id")?, name: text(value, "name")?, serial })
}

pub fn record(value: &Value) -> Option<RecordRow> {
    let data = value.get("data")?;
    let inner = data.get("data").unwrap_or(&Value::Null);
    Some(RecordRow {
        id: text(value, "id")?,
        zone_id: text(value, "zone_id").unwrap_or_default(),
        name: text(value, "name")?,
        kind: text(data, "type").or_else(|| text(value, "type"))?,
        data: inner.as_str().map_or_else(|| inner.to_string(), str::to_owned),
        ttl: value.get("ttl").and_then(Value::as_u64).and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or_default(),
        enabled: value.get("enabled").and_then(Value::as_bool).unwrap_or(true),
        watched: value.get("health_check").is_some_and(|check| !check.is_null()),
        origin: match value.get("origin") {
            None => Origin::NotKept,
            Some(Value::String(origin)) => Origin::Named(origin.clone()),
            Some(_) => Origin::Unsaid,
        },
        source: text(value, "source"),
        created_at: text(value, "created_at").unwrap_or_default(),
    })
}

pub fn forwarder(value: &Value) -> Option<ForwarderRow> {
    let servers = value.get("servers")?.as_array()?;
    let servers = servers.iter().filter_map(|server| server.as_str().map(str::to_owned)).collect();
    Some(ForwarderRow { zone: text(value, "zone")?, servers })
}

/// A new record. Early releases pass over `origin`. `source` stays what it is by itself: it says how a record came, not whose it is.
pub fn new_record(new: &NewRecord) -> Value {
    json!({
        "name": new.name, "ttl": new.ttl, "data": {"type": new.kind, "data": new.data}, "origin": new.origin,
    })
}

/// What may be changed of a record: never its name or type, whose old index entry some releases leave behind.
pub fn changes(row: &RecordRow) -> Value {
    json!({"ttl": row.ttl, "enabled": row.enabled, "data": {"type": row.kind, "data": row.data}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_an_early_release_keeps_no_origin_and_a_current_one_may_say_none() {
        let early = json!({"id": "r", "zone_id": "z", "name": "web", "ttl": 60, "type": "A",
            "data": {"type": "A", "data": "10.0.0.5"}, "enabled": true, "health_check": null,
            "created_at": "2026-02-23T10:02:25.219835811+00:00", "colour": "red"});
        let mut current = early.clone();
        current["source"] = json!("manual");
        current["origin"] = Value::Null;
        let row = record(&early).expect("a record");
        assert_eq!((row.origin, row.source, row.data.as_str()), (Origin::NotKept, None, "10.0.0.5"));
        let row = record(&current).expect("a record");
        assert_eq!((row.origin, row.source.as_deref()), (Origin::Unsaid, Some("manual")));
        current["origin"] = json!("mkube/a");
        assert_eq!(record(&current).expect("a record").origin, Origin::Named("mkube/a".into()));
    }

    #[test]
    fn data_that_is_no_text_is_kept_as_it_is() {
        let mx = json!({"id": "r", "name": "@", "data": {"type": "MX", "data": {"preference": 10, "exchange": "m."}}});
        let row = record(&mx).expect("a record");
        assert_eq!((row.kind.as_str(), row.enabled), ("MX", true));
        assert!(row.data.contains("exchange"));
    }
}
