//! Who writes: the field manager that a request names, or the program that sent it.

use actix_web::HttpRequest;
use mkube_messages::objects::{PatchType, Verb, Writer};
use mkube_model::fields::{NAME_LENGTH, name_problem};
use mkube_model::problem::Problem;
use mkube_model::status::Status;

use crate::parameters::yes_or_no;
use crate::parts::Query;

/// The name of the program that asks: its `User-Agent` up to the first slash, as far as it can be a manager's name.
pub fn agent(request: &HttpRequest) -> String {
    let agent = request.headers().get("user-agent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = agent.split('/').next().unwrap_or_default();
    let mut length = 0;
    let fits = |letter: &char| {
        length += letter.len_utf8();
        length <= NAME_LENGTH
    };
    name.chars().filter(|letter| !letter.is_control()).take_while(fits).collect()
}

/// The writer of a request. `options`: what Kubernetes calls its parameters.
pub fn writer(query: &Query, agent: &str, verb: &Verb, options: &str) -> Result<Writer, Status> {
    let refused = |problem: &Problem| Err(Status::invalid_option(options, problem));
    let applies = matches!(verb, Verb::Patch { patch: PatchType::Apply, .. });
    let force = query.get("force").filter(|word| !word.is_empty()).map(String::as_str);
    if force.is_some() && matches!(verb, Verb::Patch { .. }) && !applies {
        return refused(&Problem::forbidden("force", "may not be specified for non-apply patch"));
    }
    let force = match force.filter(|_| applies) {
        None => false,
        Some(word) => {
            yes_or_no(word).ok_or_else(|| Status::bad_request(format!("force {word:?} is neither true nor false")))?
        }
    };
    let manager = match named(query, options)? {
        Some(name) if !matches!(verb, Verb::Delete { .. }) => name.clone(),
        None if applies => {
            return refused(&Problem::required_because("fieldManager", "is required for apply patch"));
        }
        _ => agent.to_owned(),
    };
    Ok(Writer { manager: manager.into(), force })
}

/// The writer of a request that takes documents in.
pub fn taking_in(query: &Query, request: &HttpRequest, options: &str) -> Result<Writer, Status> {
    let manager = named(query, options)?.cloned().unwrap_or_else(|| agent(request));
    Ok(Writer { manager: manager.into(), force: false })
}

/// The field manager that a request names.
fn named<'q>(query: &'q Query, options: &str) -> Result<Option<&'q String>, Status> {
    let Some(name) = query.get("fieldManager").filter(|name| !name.is_empty()) else { return Ok(None) };
    let refused = |problem: &Problem| Err(Status::invalid_option(options, problem));
    if name.len() > NAME_LENGTH {
        return refused(&Problem::too_long("fieldManager", NAME_LENGTH));
    }
    match name_problem(name) {
        Some(why) => refused(&Problem::invalid("fieldManager", name.as_str(), why)),
        None => Ok(Some(name)),
    }
}
