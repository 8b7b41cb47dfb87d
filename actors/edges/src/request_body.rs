//! Bodies: bounded, JSON or YAML.

use actix_web::web::{Bytes, BytesMut, Payload};
use futures_util::StreamExt;
use mkube_model::status::Status;
use serde_json::Value;

/// Bytes of a body.
pub const LIMIT: usize = 3 << 20;

/// Reads a body, refusing one that is too large without reading the rest of it.
pub async fn read(mut payload: Payload) -> Result<Bytes, Status> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| Status::bad_request(format!("the body could not be read: {error}")))?;
        if body.len() + chunk.len() > LIMIT {
            return Err(Status::too_large(LIMIT));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// A body as JSON, by its content type; none means JSON. An empty body is null.
pub fn parse(content_type: &str, body: &[u8]) -> Result<Value, Status> {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media.as_str() {
        "application/yaml" | "application/x-yaml" | "text/yaml" | "application/apply-patch+yaml" => {
            let text = std::str::from_utf8(body).map_err(|_| Status::bad_request("the body is not UTF-8"))?;
            mkube_manifests::parse_one(text)
                .map_err(|fault| Status::bad_request(format!("the body is not YAML: {fault}")))
        }
        "application/vnd.kubernetes.protobuf" => Err(Status::unsupported_media(
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml",
        )),
        media
            if media.is_empty() || media == "*/*" || media.ends_with("json") || media == "application/octet-stream" =>
        {
            if body.iter().all(u8::is_ascii_whitespace) {
                return Ok(Value::Null);
            }
            serde_json::from_slice(body).map_err(|error| Status::bad_request(format!("the body is not JSON: {error}")))
        }
        other => Err(Status::unsupported_media(format!(
            "media type {other:?} is not supported, use application/json or application/yaml"
        ))),
    }
}
