//! Which methods a route takes. Whoever uses another is told them (RFC 9110, section 15.5.6).

use crate::parts::Target;

/// What only tells something.
pub const READ: &str = "GET, HEAD";
/// What is only told something.
pub const POST: &str = "POST";

/// The methods of a resource, an object of it, or a subresource.
pub fn of(target: &Target) -> &'static str {
    let kind = &target.kind;
    match (target.sub.as_deref(), target.name.is_some()) {
        (Some("log"), _) => "GET",
        (Some("exec" | "attach" | "portforward"), _) => "GET, POST",
        (Some("eviction"), _) => POST,
        _ if kind.read_only => READ,
        (Some(_), _) => "GET, HEAD, PATCH, PUT",
        (None, true) => "DELETE, GET, HEAD, PATCH, PUT",
        // Without a namespace it is all there are, and they are in several.
        (None, false) if kind.namespaced && target.namespace.is_none() => READ,
        (None, false) => "DELETE, GET, HEAD, POST",
    }
}

/// Whether a request may use its method there.
pub fn allows(target: &Target, method: &str) -> bool {
    of(target).split(", ").any(|one| one == method)
}

/// Whether something of the server itself lies there, which is read and never written. Versions of groups are for
/// [`crate::route`] to know.
pub fn only_reads(segments: &[&str]) -> bool {
    matches!(
        segments,
        [] | ["livez" | "readyz" | "healthz" | "metrics" | "version" | "api" | "apis"]
            | ["openapi", "v2" | "v3"]
            | ["openapi", "v3", "api", _]
            | ["openapi", "v3", "apis", _, _]
            | ["api", "v1", "boot-plan" | "volumes" | "allocations" | "export" | "supervisor"]
            | ["api", "v1", "dns", "validate"]
    )
}
