//! Which methods a route takes, and what each does there. Whoever uses another is told them (RFC 9110, section 15.5.6).

use actix_web::http::Method;
use mkube_model::status::Status;

use crate::parts::Target;

/// Methods and what they do, in alphabetical order.
pub type Table<Does> = &'static [(&'static str, Does)];

/// What only tells something.
pub const READ: &str = "GET, HEAD";
/// What is only told something.
pub const POST: &str = "POST";

/// What a request does to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    ReadLog,
    Exec,
    Attach,
    PortForward,
    Evict,
    GetScale,
    UpdateScale,
    PatchScale,
}

/// What a method does, where these are the ones there are.
pub fn of<Does: Copy>(table: Table<Does>, method: &Method) -> Result<Does, Status> {
    let found = table.iter().find(|(methods, _)| methods.split(", ").any(|one| one == method.as_str()));
    found.map(|(_, does)| *does).ok_or_else(|| {
        let all: Vec<&str> = table.iter().map(|(methods, _)| *methods).collect();
        Status::method_not_allowed(all.join(", "))
    })
}

/// The methods of a resource, an object of it, or a subresource.
pub fn of_resource(target: &Target) -> Table<Verb> {
    use Verb::*;
    let kind = &target.kind;
    match (target.sub.as_deref(), target.name.is_some()) {
        (Some("log"), _) => &[("GET", ReadLog)],
        (Some("exec"), _) => &[("GET, POST", Exec)],
        (Some("attach"), _) => &[("GET, POST", Attach)],
        (Some("portforward"), _) => &[("GET, POST", PortForward)],
        (Some("eviction"), _) => &[(POST, Evict)],
        (Some("scale"), _) if kind.read_only => &[(READ, GetScale)],
        (Some("scale"), _) => &[(READ, GetScale), ("PATCH", PatchScale), ("PUT", UpdateScale)],
        (_, true) if kind.read_only => &[(READ, Get)],
        (Some(_), _) => &[(READ, Get), ("PATCH", Patch), ("PUT", Update)],
        (None, true) => &[("DELETE", Delete), (READ, Get), ("PATCH", Patch), ("PUT", Update)],
        (None, false) if kind.read_only => &[(READ, List)],
        // Without a namespace it is all there are, and they are in several.
        (None, false) if kind.namespaced && target.namespace.is_none() => &[(READ, List)],
        (None, false) => &[("DELETE", DeleteCollection), (READ, List), (POST, Create)],
    }
}
