//! `GET /api/v1/volumes`: what pods mount, and what lies on the disk that nobody mounts. From what is published.

use actix_web::HttpResponse;
use mkube_messages::volumes::VolumeRow;
use mkube_model::status::Status;
use serde_json::{Value, json};

use crate::parts::HttpParts;
use crate::respond;

pub fn list(parts: &HttpParts) -> Result<HttpResponse, Status> {
    let view = parts.volumes.borrow().clone();
    if !view.loaded {
        // Before the store was read everything would look unused.
        return Err(Status::unavailable("volumes are not known before the store was read", 1));
    }
    let items: Vec<Value> = view.rows.iter().map(item).collect();
    Ok(respond::json(200, &json!({"kind": "VolumeList", "apiVersion": "v1", "items": items})))
}

fn item(row: &VolumeRow) -> Value {
    json!({
        "namespace": row.namespace, "pod": row.pod, "container": row.container, "name": row.volume,
        "kind": row.kind.as_str(), "path": row.path, "used": row.used, "size": row.bytes,
    })
}
