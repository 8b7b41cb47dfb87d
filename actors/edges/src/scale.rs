//! The `scale` subresource: an object's number of replicas, read and written.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use mkube_messages::objects::StoredObject;
use mkube_model::kinds::{SCALE, scale_of};
use mkube_model::status::Status;

use crate::negotiate::Form;
use crate::parts::{HttpParts, Query, Target};
use crate::read::{key_of, loaded_view, shown};
use crate::{methods, request_body, respond, route, write};

pub async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    parts: &HttpParts,
    target: &Target,
    query: &Query,
    wants: Form,
) -> Result<HttpResponse, Status> {
    let written = match *request.method() {
        Method::GET | Method::HEAD => {
            let key = key_of(target);
            let object = loaded_view(parts)?.get(&target.kind.id(), &key);
            let object = object.ok_or_else(|| Status::not_found_below(&target.kind, &key.name, "scale"))?;
            return Ok(as_scale(parts, &object, query, wants));
        }
        Method::PUT => {
            let body = route::body(request, payload, parts, &[]).await?;
            write::replaced(parts, target, query, body).await?
        }
        Method::PATCH => {
            let kind = route::content_type(request).to_owned();
            let mut counted = request_body::Counted::new(parts.figures.clone());
            let bytes = request_body::read(payload, &mut counted).await?;
            write::patched(parts, target, query, &kind, &bytes).await?
        }
        _ => return Err(Status::method_not_allowed(methods::of(target))),
    };
    let mut response = as_scale(parts, &written.object, query, wants);
    respond::warn(&mut response, &written.warnings);
    Ok(response)
}

fn as_scale(parts: &HttpParts, object: &StoredObject, query: &Query, wants: Form) -> HttpResponse {
    let scale = StoredObject::new(SCALE.id(), object.key.clone(), &scale_of(&object.value()), object.revision);
    shown(parts, &SCALE, &scale, 200, query, wants)
}
