//! What answers have in common, and how a fault is told.

use actix_web::body::SizedStream;
use actix_web::http::{StatusCode, header};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, HttpResponseBuilder};
use futures_util::stream;
use serde_json::json;

use crate::digest::Digest;
use crate::fault::Fault;

/// Says that this is a registry of the second version.
pub const API_VERSION: (&str, &str) = ("Docker-Distribution-Api-Version", "registry/2.0");
/// The digest of what is answered or was stored.
pub const CONTENT_DIGEST: &str = "Docker-Content-Digest";

/// Adds what every answer has.
pub fn headers(mut response: HttpResponseBuilder) -> HttpResponseBuilder {
    response.insert_header(API_VERSION);
    response
}

/// An answer about some content.
pub fn about(response: HttpResponseBuilder, digest: &Digest) -> HttpResponseBuilder {
    let mut response = headers(response);
    response.insert_header((CONTENT_DIGEST, digest.as_str()));
    response
}

/// Without a body, but with the length that the body of a GET would have.
pub fn only_head(mut response: HttpResponseBuilder, length: u64) -> HttpResponse {
    response.no_chunking(length).body(SizedStream::new(length, stream::empty::<Result<Bytes, std::io::Error>>()))
}

/// The specification's form of an error.
pub fn refuse(fault: &Fault, head: bool) -> HttpResponse {
    let status = StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = headers(HttpResponse::build(status));
    match fault {
        Fault::Unauthorized(challenge) => {
            response.insert_header((header::WWW_AUTHENTICATE, challenge.as_str()));
        }
        Fault::TooMany(_) | Fault::NotNoted(_) => {
            response.insert_header((header::RETRY_AFTER, "1"));
        }
        Fault::UploadOutOfOrder { offset } => {
            response.insert_header((header::RANGE, received(*offset)));
        }
        _ => {}
    }
    if head {
        return response.finish();
    }
    // Where things lie here is not the client's business.
    let message = match fault {
        Fault::Disk { .. } => "the registry could not use its directory; its log says why".to_owned(),
        other => other.to_string(),
    };
    let mut error = json!({"code": fault.code(), "message": message});
    if let Fault::ManifestBlobUnknown(missing) = fault {
        let digests: Vec<&str> = missing.iter().map(Digest::as_str).collect();
        error["detail"] = json!({"digests": digests});
    }
    response.json(json!({"errors": [error]}))
}

/// The `Range` of a session. `0-0` says both one byte and none: the field's way.
pub fn received(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}
