//! Questions that are posted like objects and answered on the spot: who am I, may I do that. Nothing is stored.

use actix_web::HttpResponse;
use mkube_model::kinds::{Kind, prune, reviewed, unknown_fields};
use mkube_model::status::Status;

use crate::parts::Query;
use crate::request_body::Body;
use crate::respond;

/// Answers a review.
pub fn answer(kind: &Kind, query: &Query, body: Body) -> Result<HttpResponse, Status> {
    let Body { value: mut review, repeated, counted: _counted } = body;
    let cannot = |why: String| {
        Status::bad_request(format!("{} in version {:?} cannot be handled as a {0}: {why}", kind.kind, kind.version))
    };
    if !review.is_object() {
        return Err(Status::bad_request(format!("the body must be a {} of {}", kind.kind, kind.api_version())));
    }
    for (field, expected) in [("apiVersion", kind.api_version()), ("kind", kind.kind.to_owned())] {
        let found = review.get(field).and_then(|found| found.as_str()).unwrap_or_default();
        if !found.is_empty() && found != expected {
            let why = format!("the {field} in the data ({found:?}) does not match the expected {field} ({expected:?})");
            return Err(Status::bad_request(why));
        }
        review[field] = expected.into();
    }
    let known = (kind.typed)(&review).map_err(cannot)?;
    let unknown = unknown_fields(&review, &known).into_iter().map(|path| format!("unknown field {path:?}"));
    let wrong: Vec<String> = repeated.iter().map(|path| format!("duplicate field {path:?}")).chain(unknown).collect();
    let validation = query.get("fieldValidation").map(String::as_str).unwrap_or_default();
    if validation == "Strict" && !wrong.is_empty() {
        return Err(cannot(format!("strict decoding error: {}", wrong.join(", "))));
    }
    prune(&mut review, &known);
    let problems = (kind.validate)(&review, None);
    if !problems.is_empty() {
        return Err(Status::invalid(kind, "", &problems));
    }
    let mut response = respond::json(201, &reviewed(kind, review));
    if validation != "Ignore" {
        respond::warn(&mut response, &wrong);
    }
    Ok(response)
}
