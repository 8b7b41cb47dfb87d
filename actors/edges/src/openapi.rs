//! OpenAPI: the index and the documents of version 3, and version 2 for those who read its protobuf.

use std::io;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use mkube_model::status::Status;
use mkube_openapi::{Document, OpenApi};

use crate::negotiate::{Form, form};
use crate::parts::{HttpParts, Query};
use crate::respond;

/// The only form of version 2 that clients read.
const V2: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// What it is called in an answer.
const V2_ANSWERED: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// A document whose hash was asked for never changes.
const FOR_A_YEAR: &str = "public, immutable, max-age=31536000";

/// A document on its way to a client.
struct Found {
    hash: String,
    gzip: Bytes,
}

impl Found {
    fn of(document: &Document) -> Self {
        Self { hash: document.hash.clone(), gzip: document.gzip.clone() }
    }
}

/// Where the documents are.
pub async fn index(request: &HttpRequest, parts: &HttpParts) -> Result<HttpResponse, Status> {
    takes_json(request)?;
    let found = made(&parts.openapi, |openapi| Ok(Found::of(&openapi.v3()?.index))).await?;
    answer(request, &found, "application/json", "no-cache")
}

/// The document of a group and version. Whoever asks for another one than there is, is told where it is.
pub async fn document(
    request: &HttpRequest,
    parts: &HttpParts,
    group: &str,
    version: &str,
    query: &Query,
) -> Result<HttpResponse, Status> {
    takes_json(request)?;
    let (of_group, of_version) = (group.to_owned(), version.to_owned());
    let find = move |openapi: &OpenApi| Ok(openapi.v3()?.document(&of_group, &of_version).map(Found::of));
    let found = made(&parts.openapi, find).await?.ok_or_else(Status::no_such_path)?;
    match query.get("hash").map(String::as_str).filter(|hash| !hash.is_empty()) {
        None => answer(request, &found, "application/json", "no-cache"),
        Some(hash) if hash == found.hash => answer(request, &found, "application/json", FOR_A_YEAR),
        Some(_) => {
            let path = mkube_openapi::path_of(group, version);
            let mut response = HttpResponse::MovedPermanently().finish();
            // The old document is gone for good, but nobody is to remember which one took its place.
            respond::set(&mut response, "cache-control", "no-cache");
            respond::set(&mut response, "location", &format!("/openapi/v3/{path}?hash={}", found.hash));
            Ok(response)
        }
    }
}

/// Version 2.
pub async fn v2(request: &HttpRequest, parts: &HttpParts) -> Result<HttpResponse, Status> {
    let accept = request.headers().get("accept").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let takes = |alternative: &str| alternative.split(';').next().map(str::trim) == Some(V2);
    if !accept.split(',').any(takes) {
        let why = format!("version 2 is there as {V2} only; /openapi/v3 is JSON");
        return Err(Status::new(406, "NotAcceptable", why));
    }
    let found = made(&parts.openapi, |openapi| Ok(Found::of(openapi.v2()?))).await?;
    answer(request, &found, V2_ANSWERED, "no-cache")
}

fn takes_json(request: &HttpRequest) -> Result<(), Status> {
    let accept = request.headers().get("accept").and_then(|value| value.to_str().ok());
    match form(accept) {
        Form::Plain => Ok(()),
        _ => Err(Status::new(406, "NotAcceptable", "only the following media types are accepted: application/json")),
    }
}

/// Finds something in the documents. If they must be made first, another thread does: watches go on meanwhile.
async fn made<T: Send + 'static>(
    openapi: &Arc<OpenApi>,
    find: impl FnOnce(&OpenApi) -> io::Result<T> + Send + 'static,
) -> Result<T, Status> {
    let openapi = openapi.clone();
    let found = tokio::task::spawn_blocking(move || find(&openapi)).await;
    found.map_err(Status::internal)?.map_err(Status::internal)
}

fn answer(request: &HttpRequest, found: &Found, kind: &str, keep: &str) -> Result<HttpResponse, Status> {
    let tag = format!("\"{}\"", found.hash);
    let known = request.headers().get("if-none-match").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut response = if known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag) {
        HttpResponse::NotModified().finish()
    } else if takes_gzip(request) {
        let mut response = HttpResponse::Ok().content_type(kind).body(found.gzip.clone());
        respond::set(&mut response, "content-encoding", "gzip");
        response
    } else {
        let plain = mkube_openapi::unpacked(&found.gzip).map_err(Status::internal)?;
        HttpResponse::Ok().content_type(kind).body(plain)
    };
    respond::set(&mut response, "cache-control", keep);
    respond::set(&mut response, "etag", &tag);
    respond::set(&mut response, "vary", "Accept, Accept-Encoding");
    Ok(response)
}

fn takes_gzip(request: &HttpRequest) -> bool {
    let accepted = request.headers().get("accept-encoding").and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|one| {
        let (coding, weight) = one.split_once(';').unwrap_or((one, ""));
        let refused = weight.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()) == Some(0.0);
        coding.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn compressed_is_answered_who_takes_it() {
        for (accepted, takes) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0, identity", false),
            ("br", false),
            ("", false),
        ] {
            let request = TestRequest::default().insert_header(("accept-encoding", accepted)).to_http_request();
            assert_eq!(takes_gzip(&request), takes, "{accepted:?}");
        }
    }
}
