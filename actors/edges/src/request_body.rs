//! Bodies: bounded in size and time; JSON, YAML, or the protobuf of Kubernetes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::web::{Bytes, BytesMut, Payload};
use futures_util::StreamExt;
use mkube_model::protobuf::{self, Field};
use mkube_model::status::Status;
use serde_json::Value;

use crate::json_body;
use crate::parts::{Figures, HttpParts};

/// Bytes of a body.
pub const LIMIT: usize = 3 << 20;
/// Bytes of a body that is too large that are read and forgotten: a client that is still sending does not read the answer.
const FORGOTTEN: usize = 32 << 20;
/// Bytes of all bodies that are read or worked on at the same time.
const TOGETHER: usize = 48 << 20;

/// How much a body may be, and how long it may take to come.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes.
    pub limit: usize,
    /// Time a client may take to send it.
    pub patience: Duration,
}

/// Those of most bodies.
const USUAL: Bounds = Bounds { limit: LIMIT, patience: Duration::from_secs(30) };

/// A body that was read.
#[derive(Debug, Default)]
pub struct Body {
    /// What it says; null when it is empty.
    pub value: Value,
    /// Paths of fields written more than once.
    pub repeated: Vec<String>,
    /// Counts its bytes for as long as it is worked on.
    pub counted: Option<Counted>,
}

/// Bytes that are counted until they are dropped.
#[derive(Debug)]
pub struct Counted {
    figures: Arc<Figures>,
    bytes: usize,
}

impl Counted {
    /// Nothing yet.
    pub fn new(figures: Arc<Figures>) -> Self {
        Self { figures, bytes: 0 }
    }

    /// More of them; refused when there are too many in all bodies together.
    fn add(&mut self, bytes: usize) -> Result<(), Status> {
        self.bytes += bytes;
        let before = self.figures.body_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > TOGETHER { Err(Status::busy(1)) } else { Ok(()) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.figures.body_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A request whose body is still coming is not being worked on: however many clients take their time, those who do not are served.
struct Coming(Arc<Figures>);

impl Coming {
    fn of(figures: &Arc<Figures>) -> Self {
        figures.in_flight.fetch_sub(1, Ordering::Relaxed);
        Self(figures.clone())
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a request calls its body.
pub fn content_type(request: &HttpRequest) -> &str {
    request.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Reads and parses the body of a request. Its bytes are counted for as long as it is worked on.
pub async fn of(
    request: &HttpRequest,
    payload: Payload,
    parts: &HttpParts,
    protobuf: &[Field],
) -> Result<Body, Status> {
    let mut counted = Counted::new(parts.figures.clone());
    let bytes = read(payload, &mut counted).await?;
    let body = parse(content_type(request), &bytes, protobuf)?;
    Ok(Body { counted: Some(counted), ..body })
}

/// Reads a body, refusing one that is too large.
pub async fn read(payload: Payload, counted: &mut Counted) -> Result<Bytes, Status> {
    read_within(payload, counted, USUAL).await
}

/// The same with other bounds.
pub async fn read_within(payload: Payload, counted: &mut Counted, bounds: Bounds) -> Result<Bytes, Status> {
    let seconds = bounds.patience.as_secs();
    let _coming = Coming::of(&counted.figures);
    let late = |_| Status::new(408, "Timeout", format!("the body did not arrive within {seconds} s"));
    tokio::time::timeout(bounds.patience, read_all(payload, counted, bounds.limit)).await.map_err(late)?
}

async fn read_all(mut payload: Payload, counted: &mut Counted, limit: usize) -> Result<Bytes, Status> {
    let mut body = BytesMut::new();
    let mut length = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| Status::bad_request(format!("the body could not be read: {error}")))?;
        length += chunk.len();
        if length <= limit {
            counted.add(chunk.len())?;
            body.extend_from_slice(&chunk);
        } else {
            body = BytesMut::new();
            if length > limit + FORGOTTEN {
                break;
            }
        }
    }
    if length > limit { Err(Status::too_large(limit)) } else { Ok(body.freeze()) }
}

/// A body by its content type; none means JSON. `fields` are those of the object in a protobuf body, none when such are not
/// understood.
pub fn parse(content_type: &str, body: &[u8], fields: &[Field]) -> Result<Body, Status> {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let once = |value| Body { value, ..Body::default() };
    match media.as_str() {
        "application/yaml" | "application/x-yaml" | "text/yaml" | "application/apply-patch+yaml" => {
            // Clients that apply often say YAML and send JSON.
            if body.trim_ascii_start().starts_with(b"{")
                && let Ok((value, repeated)) = json_body::parse(body)
            {
                return Ok(Body { value, repeated, counted: None });
            }
            let text = std::str::from_utf8(body).map_err(|_| Status::bad_request("the body is not UTF-8"))?;
            let parsed = mkube_manifests::parse_one(text);
            parsed.map(once).map_err(|fault| Status::bad_request(format!("the body is not YAML: {fault}")))
        }
        "application/vnd.kubernetes.protobuf" if !fields.is_empty() => {
            protobuf::decode(body, fields).map(once).map_err(|fault| Status::bad_request(fault.to_string()))
        }
        "application/vnd.kubernetes.protobuf" => Err(Status::unsupported_media(
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml",
        )),
        media
            if media.is_empty() || media == "*/*" || media.ends_with("json") || media == "application/octet-stream" =>
        {
            if body.iter().all(u8::is_ascii_whitespace) {
                return Ok(Body::default());
            }
            let parsed = json_body::parse(body);
            let (value, repeated) =
                parsed.map_err(|error| Status::bad_request(format!("the body is not JSON: {error}")))?;
            Ok(Body { value, repeated, counted: None })
        }
        other => Err(Status::unsupported_media(format!(
            "the body of the request was in an unknown format ({other:?}) - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::dev;
    use actix_web::error::PayloadError;
    use actix_web::{FromRequest, test};
    use futures_util::stream;
    use tokio::time::Instant;

    #[actix_rt::test]
    async fn a_body_that_does_not_come_is_given_up_after_its_time() {
        tokio::time::pause();
        let begun = stream::once(async { Ok::<_, PayloadError>(Bytes::from_static(b"{")) });
        let mut body: dev::Payload = dev::Payload::Stream { payload: Box::pin(begun.chain(stream::pending())) };
        let request = test::TestRequest::default().to_http_request();
        let payload = Payload::from_request(&request, &mut body).await.expect("any body");
        let figures = Arc::new(Figures::default());
        // As for every request that was begun.
        figures.in_flight.fetch_add(1, Ordering::Relaxed);
        let mut counted = Counted::new(figures.clone());
        let began = Instant::now();
        let late = read(payload, &mut counted).await.expect_err("half a body");
        assert_eq!(late.code, 408);
        assert!(began.elapsed() < Duration::from_secs(31), "{:?}", began.elapsed());
        drop(counted);
        assert_eq!(figures.body_bytes.load(Ordering::Relaxed), 0, "what came of it is not counted any more");
    }
}
