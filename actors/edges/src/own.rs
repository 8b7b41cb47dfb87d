//! What lies at paths that no kind has: the server itself, and what mkube tells and takes beside Kubernetes.

use actix_web::{HttpRequest, HttpResponse, web};
use mkube_messages::push_notice;
use mkube_model::discovery;
use mkube_model::status::Status;
use mkube_supervision::{Tree, TreeFault};
use serde_json::json;

use crate::methods::{POST, READ, Table};
use crate::negotiate::Form;
use crate::parts::{HttpParts, Query};
use crate::taking_in::How;
use crate::{
    boot_plan, consistency, export, images, import, metrics, names, networks, openapi, request_body, respond, store,
    volumes,
};

/// The paths that a client may begin with.
const PATHS: [&str; 22] = [
    "/api",
    "/api/v1",
    "/api/v1/allocations",
    "/api/v1/boot-plan",
    "/api/v1/consistency",
    "/api/v1/dns/validate",
    "/api/v1/export",
    "/api/v1/images",
    "/api/v1/instances",
    "/api/v1/networks",
    "/api/v1/store",
    "/api/v1/supervisor",
    "/api/v1/volumes",
    "/api/v1/zones",
    "/apis",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/readyz",
    "/version",
];

/// What a request asks for, or has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    Index,
    Livez,
    Readyz,
    Healthz,
    Metrics,
    Version,
    OpenApi2,
    OpenApiIndex,
    OpenApiDocument,
    CoreVersions,
    Groups,
    BootPlan,
    Volumes,
    Allocations,
    Consistency,
    Repair,
    ValidateNames,
    Zones,
    MakeZone,
    Zone,
    RemoveZone,
    Instances,
    Instance,
    Store,
    AcceptStore,
    Supervisor,
    Release,
    Crash,
    Images,
    Redeploy,
    Pushed,
    Export,
    Import,
    Apply,
}

/// The methods of a path.
pub fn at(segments: &[&str]) -> Option<Table<Own>> {
    use Own::*;
    Some(match segments {
        [] => &[(READ, Index)],
        ["livez"] => &[(READ, Livez)],
        ["readyz"] => &[(READ, Readyz)],
        ["healthz"] => &[(READ, Healthz)],
        ["metrics"] => &[(READ, Metrics)],
        ["version"] => &[(READ, Version)],
        ["openapi", "v2"] => &[(READ, OpenApi2)],
        ["openapi", "v3"] => &[(READ, OpenApiIndex)],
        ["openapi", "v3", "api", _] | ["openapi", "v3", "apis", _, _] => &[(READ, OpenApiDocument)],
        ["api"] => &[(READ, CoreVersions)],
        ["apis"] => &[(READ, Groups)],
        ["api", "v1", rest @ ..] => match rest {
            ["boot-plan"] => &[(READ, BootPlan)],
            ["volumes"] => &[(READ, Volumes)],
            ["allocations"] => &[(READ, Allocations)],
            ["consistency"] => &[(READ, Consistency)],
            ["consistency", "repair"] => &[(POST, Repair)],
            ["dns", "validate"] => &[(READ, ValidateNames)],
            ["zones"] => &[(READ, Zones), (POST, MakeZone)],
            ["zones", _] => &[("DELETE", RemoveZone), (READ, Zone)],
            ["instances"] => &[(READ, Instances)],
            ["instances", _] => &[(READ, Instance)],
            ["store"] => &[(READ, Store)],
            ["store", "accept"] => &[(POST, AcceptStore)],
            ["supervisor"] => &[(READ, Supervisor)],
            ["supervisor", .., "release"] => &[(POST, Release)],
            ["supervisor", .., "crash"] => &[(POST, Crash)],
            ["images"] => &[(READ, Images)],
            ["images", "redeploy"] => &[(POST, Redeploy)],
            ["registry", "push-notify"] => &[(POST, Pushed)],
            ["export"] => &[(READ, Export)],
            ["import"] => &[(POST, Import)],
            ["apply"] => &[(POST, Apply)],
            _ => return None,
        },
        _ => return None,
    })
}

/// Answers what is asked at a path that has it.
pub async fn answer(
    own: Own,
    segments: &[&str],
    (request, payload): (&HttpRequest, web::Payload),
    parts: &HttpParts,
    query: &Query,
    wants: Form,
) -> Result<HttpResponse, Status> {
    let last = segments.last().copied().unwrap_or_default();
    let verbose = query.contains_key("verbose");
    match own {
        Own::Index => Ok(respond::json(200, &json!({"paths": PATHS}))),
        Own::Livez => Ok(HttpResponse::Ok().content_type("text/plain").body("ok")),
        Own::Readyz => Ok(parts.health.answer(verbose, "readyz")),
        Own::Healthz => Ok(parts.health.answer(verbose, "healthz")),
        Own::Metrics => Ok(metrics::answer(parts)),
        Own::Version => Ok(respond::json(200, &discovery::version(parts.version))),
        Own::OpenApi2 => openapi::v2(request, parts).await,
        Own::OpenApiIndex => openapi::index(request, parts).await,
        Own::OpenApiDocument => {
            let group = if let [.., "apis", group, _] = segments { group } else { "" };
            openapi::document(request, parts, group, last, query).await
        }
        Own::CoreVersions => Ok(groups(parts, wants, true)),
        Own::Groups => Ok(groups(parts, wants, false)),
        Own::BootPlan => boot_plan::show(parts),
        Own::Volumes => volumes::list(parts),
        Own::Allocations => networks::allocations(parts),
        Own::Store => Ok(store::show(parts)),
        Own::AcceptStore => store::accept(parts, query).await,
        Own::Consistency => consistency::look(parts, query).await,
        Own::Repair => consistency::repair(payload, parts, query).await,
        Own::ValidateNames => names::validate(parts),
        Own::Zones => names::zones(parts),
        Own::MakeZone => {
            names::create(parts, query, &request_body::of(request, payload, parts, &[]).await?.value).await
        }
        Own::Zone => names::zone(parts, last),
        Own::RemoveZone => names::remove(parts, query, last).await,
        Own::Instances => names::instances(parts),
        Own::Instance => names::instance(parts, last),
        Own::Supervisor => supervisor(parts),
        Own::Release => {
            let path = path_of(segments);
            tree(parts)?.release(&path).await.map_err(refused)?;
            Ok(respond::json(200, &json!({"released": path})))
        }
        Own::Crash => crash(payload, parts, &path_of(segments)).await,
        Own::Images => Ok(images::list(parts)),
        Own::Redeploy => images::redeploy(parts, &request_body::of(request, payload, parts, &[]).await?.value).await,
        Own::Pushed => pushed(request, payload, parts).await,
        Own::Export => export::answer(parts, query),
        Own::Import => import::answer(request, payload, parts, query, How::Import).await,
        Own::Apply => import::answer(request, payload, parts, query, How::Apply).await,
    }
}

fn groups(parts: &HttpParts, wants: Form, core: bool) -> HttpResponse {
    let kinds = parts.objects.kinds();
    if wants == Form::Discovery {
        let mut response = respond::json(200, &discovery::aggregated(kinds, core));
        respond::set(
            &mut response,
            "content-type",
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        );
        return response;
    }
    respond::json(200, &if core { discovery::core_versions() } else { discovery::groups(kinds) })
}

fn tree(parts: &HttpParts) -> Result<Tree, Status> {
    parts.tree.borrow().clone().ok_or_else(|| Status::unavailable("the tree is being started", 1))
}

/// What stands between `/api/v1/supervisor/` and what is to be done.
fn path_of(segments: &[&str]) -> String {
    let ["api", "v1", "supervisor", path @ .., _] = segments else { return String::new() };
    path.join("/")
}

fn refused(fault: TreeFault) -> Status {
    match fault {
        TreeFault::Unknown(_) => Status::new(404, "NotFound", fault.to_string()),
        TreeFault::NotNow(_) => Status::new(409, "Conflict", fault.to_string()),
        TreeFault::Ended => Status::unavailable(fault.to_string(), 5),
    }
}

fn supervisor(parts: &HttpParts) -> Result<HttpResponse, Status> {
    let mut shown = json!(tree(parts)?.status());
    if let Some(lease) = &parts.lease {
        shown["lease"] = lease.borrow().to_json();
    }
    Ok(respond::json(200, &shown))
}

async fn crash(payload: web::Payload, parts: &HttpParts, path: &str) -> Result<HttpResponse, Status> {
    let tree = tree(parts)?;
    if !parts.allow_chaos {
        let why = "crashing actors is only possible when started with --allow-chaos";
        return Err(Status::new(403, "Forbidden", why));
    }
    let mut counted = request_body::Counted::new(parts.figures.clone());
    let body = request_body::parse("", &request_body::read(payload, &mut counted).await?, &[])?;
    let how = serde_json::from_value(body.value["how"].clone())
        .map_err(|_| Status::bad_request("`how` must be panic, error or stop"))?;
    tree.crash(path, how).await.map_err(refused)?;
    Ok(respond::json(200, &json!({"crashed": path})))
}

async fn pushed(request: &HttpRequest, payload: web::Payload, parts: &HttpParts) -> Result<HttpResponse, Status> {
    let mut counted = request_body::Counted::new(parts.figures.clone());
    let bytes = request_body::read(payload, &mut counted).await?;
    let signature = request.headers().get(push_notice::SIGNATURE).and_then(|value| value.to_str().ok());
    push_notice::check_signature(parts.images.notify_secret.as_ref(), signature, &bytes)?;
    // Registries send JSON, whatever they call it.
    images::notify(parts, &request_body::parse("application/json", &bytes, &[])?.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_to_begin_with_can_be_read() {
        let mut sorted = PATHS;
        sorted.sort_unstable();
        assert_eq!(PATHS, sorted);
        // These lie where kinds and their versions do.
        for path in PATHS.into_iter().filter(|path| !["/api/v1", "/api/v1/networks"].contains(path)) {
            let segments: Vec<&str> = path.split('/').skip(1).collect();
            let table = at(&segments).unwrap_or_else(|| panic!("nothing lies at {path}"));
            assert!(table.iter().any(|(methods, _)| *methods == READ), "{path} only takes {table:?}");
        }
    }
}
