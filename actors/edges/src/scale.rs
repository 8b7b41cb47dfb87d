//! The `scale` subresource: an object's number of replicas, read and written.

use actix_web::HttpResponse;
use mkube_messages::objects::{StoredObject, Written};
use mkube_model::kinds::{SCALE, scale_of};
use mkube_model::status::Status;

use crate::negotiate::Form;
use crate::parts::{HttpParts, Query, Target};
use crate::read::{key_of, loaded_view, shown};
use crate::request_body::Body;
use crate::{respond, write};

pub fn get(parts: &HttpParts, target: &Target, query: &Query, wants: Form) -> Result<HttpResponse, Status> {
    let key = key_of(target);
    let object = loaded_view(parts)?.get(&target.kind.id(), &key);
    let object = object.ok_or_else(|| Status::not_found_below(&target.kind, &key.name, "scale"))?;
    Ok(as_scale(parts, &object, query, wants))
}

pub async fn update(
    parts: &HttpParts,
    target: &Target,
    query: &Query,
    body: Body,
    wants: Form,
) -> Result<HttpResponse, Status> {
    Ok(answer(parts, &write::replaced(parts, target, query, body).await?, query, wants))
}

pub async fn patch(
    parts: &HttpParts,
    target: &Target,
    query: &Query,
    media: &str,
    bytes: &[u8],
    wants: Form,
) -> Result<HttpResponse, Status> {
    Ok(answer(parts, &write::patched(parts, target, query, media, bytes).await?, query, wants))
}

fn answer(parts: &HttpParts, written: &Written, query: &Query, wants: Form) -> HttpResponse {
    let mut response = as_scale(parts, &written.object, query, wants);
    respond::warn(&mut response, &written.warnings);
    response
}

fn as_scale(parts: &HttpParts, object: &StoredObject, query: &Query, wants: Form) -> HttpResponse {
    let scale = StoredObject::new(SCALE.id(), object.key.clone(), &scale_of(&object.value()), object.revision);
    shown(parts, &SCALE, &scale, 200, query, wants)
}
