//! Uploads: in one go, in sessions, in pieces; and mounting what another repository holds.

use std::pin::Pin;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Bytes, Payload};
use futures_util::{Stream, StreamExt, stream};
use tokio::time::timeout;
use uuid::Uuid;

use crate::digest::Digest;
use crate::fault::Fault;
use crate::http::{Call, answer, parameter};
use crate::names::RepositoryName;
use crate::parts::{Access, Action};
use crate::store::ContentRange;

/// Bytes of a refused body that are still read, so that the client reads the answer.
const DRAINED: usize = 16 << 20;
/// Repositories that are tried when a client wants a blob from anywhere.
const SOURCES: usize = 100;
/// How long reading a refused body may take.
const DRAINING: Duration = Duration::from_secs(5);

/// Reads a refused body to its end, within bounds.
pub async fn drain(mut payload: Payload) {
    let reading = async {
        let mut left = DRAINED;
        while let Some(Ok(piece)) = payload.next().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                break;
            }
        }
    };
    // Whoever needs longer finds the connection closed.
    let _ = timeout(DRAINING, reading).await;
}

/// A body whose next piece is not waited for without end.
pub fn patient<'a>(call: &Call, payload: &'a mut Payload) -> Pin<Box<dyn Stream<Item = Result<Bytes, String>> + 'a>> {
    let idle = call.parts().limits.idle;
    Box::pin(stream::unfold(Some(payload), move |payload| async move {
        let payload = payload?;
        match timeout(idle, payload.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(payload))),
            Ok(Some(Err(error))) => Some((Err(error.to_string()), None)),
            Err(_) => Some((Err(format!("nothing came for {} s", idle.as_secs())), None)),
        }
    }))
}

fn content_length(call: &Call) -> Option<u64> {
    call.header(&header::CONTENT_LENGTH)?.parse().ok()
}

/// Reads `Content-Range: first-last`, and checks it against the length.
fn content_range(call: &Call) -> Result<Option<ContentRange>, Fault> {
    let Some(text) = call.header(&header::CONTENT_RANGE) else { return Ok(None) };
    let unreadable = || Fault::Unreadable(format!("Content-Range {text:?} is not of the form first-last"));
    let plain = text.trim().strip_prefix("bytes ").unwrap_or(text.trim());
    let plain = plain.split('/').next().unwrap_or(plain);
    let (first, last) = plain.split_once('-').ok_or_else(unreadable)?;
    let (Ok(first), Ok(last)) = (first.parse::<u64>(), last.parse::<u64>()) else { return Err(unreadable()) };
    let said = last.checked_sub(first).and_then(|more| more.checked_add(1)).ok_or_else(unreadable)?;
    match content_length(call) {
        Some(came) if came != said => Err(Fault::SizeInvalid { said, came }),
        _ => Ok(Some(ContentRange { first, last })),
    }
}

fn digest_parameter(parameters: &[(String, String)], name: &str) -> Result<Option<Digest>, Fault> {
    let Some(text) = parameter(parameters, name) else { return Ok(None) };
    Digest::parse(text).map(Some).ok_or_else(|| Fault::DigestInvalid(text.to_owned()))
}

/// Where a session goes on.
fn session(repository: &RepositoryName, id: Uuid) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

fn accepted(repository: &RepositoryName, id: Uuid, offset: u64) -> HttpResponse {
    let mut response = answer::headers(HttpResponse::Accepted());
    response.insert_header((header::LOCATION, session(repository, id)));
    response.insert_header((header::RANGE, answer::received(offset)));
    response.insert_header(("Docker-Upload-UUID", id.to_string()));
    response.finish()
}

fn created(repository: &RepositoryName, digest: &Digest) -> HttpResponse {
    let mut response = answer::about(HttpResponse::Created(), digest);
    response.insert_header((header::LOCATION, format!("/v2/{repository}/blobs/{digest}")));
    response.finish()
}

/// Refuses what will not fit before it is sent.
fn check_room(call: &Call) -> Result<(), Fault> {
    call.parts().store.check_room(content_length(call).unwrap_or_default())
}

pub async fn post(call: &Call, repository: &RepositoryName, payload: &mut Payload) -> Result<HttpResponse, Fault> {
    let parameters = call.parameters()?;
    let store = &call.parts().store;
    if let Some(digest) = digest_parameter(&parameters, "mount")? {
        if mount(call, repository, &digest, parameter(&parameters, "from")).await? {
            return Ok(created(repository, &digest));
        }
    } else if let Some(digest) = digest_parameter(&parameters, "digest")? {
        let empty = content_length(call) == Some(0);
        // Without a body the client means a session, unless nothing is just what the digest is of.
        if !empty || digest == Digest::of(digest.algorithm(), b"") {
            check_room(call)?;
            store.receive_blob(repository, &digest, patient(call, payload)).await?;
            return Ok(created(repository, &digest));
        }
    }
    let id = store.start_upload(repository).await?;
    Ok(accepted(repository, id, 0))
}

/// Mounts a blob from the repository that is named, or from any that the client may read.
async fn mount(call: &Call, to: &RepositoryName, digest: &Digest, from: Option<&str>) -> Result<bool, Fault> {
    let store = &call.parts().store;
    let sources = match from.filter(|name| !name.is_empty()) {
        // What cannot be a name names nothing.
        Some(name) => RepositoryName::parse(name).into_iter().collect(),
        None if store.blob(to, digest).await?.is_some() => vec![to.clone()],
        None => store.holders(digest),
    };
    for from in sources.into_iter().take(SOURCES) {
        let may = from == *to || call.decide(Some(&from), Action::Pull).await == Access::Allow;
        if may && store.mount(to, &from, digest).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

pub async fn status(call: &Call, repository: &RepositoryName, id: Uuid) -> Result<HttpResponse, Fault> {
    let offset = call.parts().store.upload_offset(repository, id).await?;
    let mut response = answer::headers(HttpResponse::NoContent());
    response.insert_header((header::LOCATION, session(repository, id)));
    response.insert_header((header::RANGE, answer::received(offset)));
    response.insert_header(("Docker-Upload-UUID", id.to_string()));
    Ok(response.finish())
}

pub async fn patch(
    call: &Call,
    repository: &RepositoryName,
    id: Uuid,
    payload: &mut Payload,
) -> Result<HttpResponse, Fault> {
    let range = content_range(call)?;
    check_room(call)?;
    let offset = call.parts().store.append(repository, id, range, patient(call, payload)).await?;
    Ok(accepted(repository, id, offset))
}

pub async fn put(
    call: &Call,
    repository: &RepositoryName,
    id: Uuid,
    payload: &mut Payload,
) -> Result<HttpResponse, Fault> {
    let parameters = call.parameters()?;
    let missing = || Fault::DigestInvalid(String::new());
    let digest = digest_parameter(&parameters, "digest")?.ok_or_else(missing)?;
    let range = content_range(call)?;
    check_room(call)?;
    call.parts().store.finish_upload(repository, id, &digest, range, patient(call, payload)).await?;
    Ok(created(repository, &digest))
}

pub async fn cancel(call: &Call, repository: &RepositoryName, id: Uuid) -> Result<HttpResponse, Fault> {
    call.parts().store.cancel_upload(repository, id).await?;
    Ok(answer::headers(HttpResponse::NoContent()).finish())
}
