//! Manifests: storing, fetching and removing them.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Bytes, BytesMut, Payload};
use futures_util::StreamExt;

use crate::fault::Fault;
use crate::http::{Call, answer, uploads};
use crate::manifest::LARGEST;
use crate::names::{Reference, RepositoryName, Tag};
use crate::parts::ManifestNotice;
use crate::store::{Checks, PushedManifest, StoredManifest};

/// Tags that one push may set.
const TAGS: usize = 100;

pub async fn get(call: &Call, repository: &RepositoryName, reference: &Reference) -> Result<HttpResponse, Fault> {
    let parts = call.parts();
    let unknown = || Fault::ManifestUnknown(reference.to_string());
    let here = parts.store.find_manifest(repository, reference);
    match (here, &parts.source, reference) {
        (None, None, _) => return Err(unknown()),
        (None, Some(source), _) => {
            if !source.fetch_manifest(&parts.store, repository, reference).await? {
                return Err(unknown());
            }
        }
        (Some(here), Some(source), Reference::Tag(tag)) => {
            source.refresh_tag(&parts.store, repository, tag, &here.digest).await;
        }
        (Some(_), ..) => {}
    }
    // Also for HEAD: what is answered here must be there.
    let (stored, bytes) = parts.store.manifest(repository, reference).await?.ok_or_else(unknown)?;
    let mut response = answer::about(HttpResponse::Ok(), &stored.digest);
    response.insert_header((header::CONTENT_TYPE, &*stored.media_type));
    response.insert_header((header::ETAG, format!("\"{}\"", stored.digest)));
    Ok(if call.is_head() { answer::only_head(response, stored.size) } else { response.body(bytes) })
}

pub async fn put(
    call: &Call,
    repository: &RepositoryName,
    reference: &Reference,
    payload: &mut Payload,
) -> Result<HttpResponse, Fault> {
    let parameters = call.parameters()?;
    let mut tags = Vec::new();
    for (_, text) in parameters.iter().filter(|(name, _)| name == "tag").take(TAGS + 1) {
        tags.push(Tag::parse(text).ok_or_else(|| Fault::ReferenceInvalid(text.clone()))?);
    }
    if tags.len() > TAGS {
        return Err(Fault::Unreadable(format!("one push may set {TAGS} tags")));
    }
    if !tags.is_empty() && matches!(reference, Reference::Tag(_)) {
        return Err(Fault::Unreadable("tag parameters go with a push by digest".to_owned()));
    }
    let bytes = receive(call, payload).await?;
    let content_type = call.header(&header::CONTENT_TYPE).map(str::to_owned);
    let pushed = PushedManifest { reference: reference.clone(), tags: tags.clone(), content_type, bytes };
    let stored = store_and_tell(call, repository.clone(), pushed).await?;
    let mut response = answer::about(HttpResponse::Created(), &stored.digest);
    response.insert_header((header::LOCATION, format!("/v2/{repository}/manifests/{}", stored.digest)));
    if let Some(subject) = &stored.subject {
        response.insert_header(("OCI-Subject", subject.as_str()));
    }
    for tag in &tags {
        response.append_header(("OCI-Tag", tag.as_str()));
    }
    Ok(response.finish())
}

/// Stores a manifest and tells of it. Both happen also when the client leaves in the middle: nobody else would tell.
async fn store_and_tell(
    call: &Call,
    repository: RepositoryName,
    pushed: PushedManifest,
) -> Result<StoredManifest, Fault> {
    let (store, sink) = (call.parts().store.clone(), call.parts().sink.clone());
    let turns = call.shared.turns.clone();
    let mut tags: Vec<Option<Tag>> = pushed.tags.iter().cloned().map(Some).collect();
    if tags.is_empty() {
        tags.push(match &pushed.reference {
            Reference::Tag(tag) => Some(tag.clone()),
            Reference::Digest(_) => None,
        });
    }
    let work = tokio::spawn(async move {
        let _turn = turns.hold(&repository).await;
        let stored = store.put_manifest(&repository, pushed, Checks::Full).await?;
        for tag in tags {
            let (digest, media_type) = (stored.digest.clone(), stored.media_type.clone());
            let notice = ManifestNotice { repository: repository.clone(), tag, digest, media_type };
            sink.stored(&notice).await.map_err(Fault::NotNoted)?;
        }
        Ok(stored)
    });
    work.await.map_err(|error| Fault::NotNoted(error.to_string()))?
}

/// A body, as long as it has the size of a manifest.
async fn receive(call: &Call, payload: &mut Payload) -> Result<Bytes, Fault> {
    let too_large = || Fault::ManifestTooLarge { limit: LARGEST };
    let said = call.header(&header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if said.is_some_and(|said| said > LARGEST) {
        return Err(too_large());
    }
    let mut body = uploads::patient(call, payload);
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece.map_err(Fault::UploadBroken)?);
        if bytes.len() as u64 > LARGEST {
            return Err(too_large());
        }
    }
    Ok(bytes.freeze())
}

pub async fn delete(call: &Call, repository: &RepositoryName, reference: &Reference) -> Result<HttpResponse, Fault> {
    call.parts().store.delete_manifest(repository, reference).await?;
    Ok(answer::headers(HttpResponse::Accepted()).finish())
}
