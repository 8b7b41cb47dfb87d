//! Lists: repositories, tags, and what is about a manifest.

use actix_web::HttpResponse;
use actix_web::http::header;
use serde_json::{Value, json};

use crate::digest::Digest;
use crate::fault::Fault;
use crate::http::{Call, answer, parameter};
use crate::manifest::OCI_INDEX;
use crate::names::{RepositoryName, Tag};
use crate::store::Referrer;

/// Names in one answer.
const NAMES: usize = 10_000;
/// Referrers in one answer: each brings its annotations.
const REFERRERS: usize = 200;

/// How many are wanted.
fn most(parameters: &[(String, String)], limit: usize) -> Result<usize, Fault> {
    let Some(text) = parameter(parameters, "n") else { return Ok(limit) };
    let count = text.parse::<usize>();
    count.map(|count| count.min(limit)).map_err(|_| Fault::Unreadable(format!("n={text:?} is not a number")))
}

/// Where the list goes on.
fn link(path: &str, parameters: &[(&str, &str)]) -> (header::HeaderName, String) {
    let query: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    (header::LINK, format!("<{path}?{}>; rel=\"next\"", query.join("&")))
}

fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

pub fn catalog(call: &Call) -> Result<HttpResponse, Fault> {
    let parameters = call.parameters()?;
    let most = most(&parameters, NAMES)?;
    let page = call.parts().store.repositories(parameter(&parameters, "last"), most);
    let mut response = answer::headers(HttpResponse::Ok());
    if let Some(last) = page.items.last().filter(|_| page.more) {
        response.insert_header(link("/v2/_catalog", &[("n", &most.to_string()), ("last", last.as_str())]));
    }
    let names: Vec<&str> = page.items.iter().map(RepositoryName::as_str).collect();
    Ok(response.json(json!({"repositories": names})))
}

pub fn tags(call: &Call, repository: &RepositoryName) -> Result<HttpResponse, Fault> {
    let parameters = call.parameters()?;
    let most = most(&parameters, NAMES)?;
    let last = match parameter(&parameters, "last").filter(|text| !text.is_empty()) {
        Some(text) => Some(Tag::parse(text).ok_or_else(|| Fault::ReferenceInvalid(text.to_owned()))?),
        None => None,
    };
    let page = call.parts().store.tags(repository, last.as_ref(), most);
    let page = page.ok_or_else(|| Fault::NameUnknown(repository.clone()))?;
    let mut response = answer::headers(HttpResponse::Ok());
    if let Some(last) = page.items.last().filter(|_| page.more) {
        let path = format!("/v2/{repository}/tags/list");
        response.insert_header(link(&path, &[("n", &most.to_string()), ("last", last.as_str())]));
    }
    let tags: Vec<&str> = page.items.iter().map(Tag::as_str).collect();
    Ok(response.json(json!({"name": repository.as_str(), "tags": tags})))
}

pub async fn referrers(call: &Call, repository: &RepositoryName, subject: &Digest) -> Result<HttpResponse, Fault> {
    let parameters = call.parameters()?;
    let kind = parameter(&parameters, "artifactType").filter(|text| !text.is_empty());
    let last = parameter(&parameters, "last").and_then(Digest::parse);
    let page = call.parts().store.referrers(repository, subject, kind, last.as_ref(), REFERRERS).await?;
    let mut response = answer::headers(HttpResponse::Ok());
    response.insert_header((header::CONTENT_TYPE, OCI_INDEX));
    if kind.is_some() {
        response.insert_header(("OCI-Filters-Applied", "artifactType"));
    }
    if let Some(last) = page.items.last().filter(|_| page.more) {
        let mut next = vec![("last", last.digest.as_str())];
        next.extend(kind.map(|kind| ("artifactType", kind)));
        response.insert_header(link(&format!("/v2/{repository}/referrers/{subject}"), &next));
    }
    let manifests: Vec<Value> = page.items.iter().map(descriptor).collect();
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
    Ok(response.body(index.to_string()))
}

fn descriptor(referrer: &Referrer) -> Value {
    let mut descriptor = json!({
        "mediaType": &*referrer.media_type,
        "digest": referrer.digest.as_str(),
        "size": referrer.size,
    });
    if let Some(kind) = &referrer.artifact_type {
        descriptor["artifactType"] = json!(&**kind);
    }
    if !referrer.annotations.is_empty() {
        descriptor["annotations"] = json!(referrer.annotations);
    }
    descriptor
}
