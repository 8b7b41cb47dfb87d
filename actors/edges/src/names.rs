//! `/api/v1/dns/validate`, `/api/v1/zones` and `/api/v1/instances`: the paths and shapes of the Go controller, from what is published.
//!
//! A zone that is asked for here is that of a namespace: the annotations `vkube.io/domain` and `vkube.io/network` of the namespace
//! called by its first label. There is no other place where it could be lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::HttpResponse;
use mkube_messages::dns::{NamesReader, NamesView, ZoneSight};
use mkube_messages::forwards::ForwardsReader;
use mkube_messages::objects::{ObjectKey, PatchType, Verb, WriteObject};
use mkube_model::kinds::Kind;
use mkube_model::metadata;
use mkube_model::problem::Problem;
use mkube_model::status::Status;
use serde_json::{Value, json};

use crate::dns_report::{is_base, is_reverse, report};
use crate::parts::{HttpParts, Query};
use crate::read::loaded_view;
use crate::{respond, write};

/// Zone of a namespace.
const DOMAIN: &str = "vkube.io/domain";
/// Network whose name server has it.
const NETWORK: &str = "vkube.io/network";
/// `open`: the zone of the network.
const MODE: &str = "vkube.io/mode";

/// What the edge needs to know about names.
#[derive(Clone)]
pub struct HttpNames {
    /// Zones and records.
    pub names: NamesReader,
    /// What servers say of one another's zones.
    pub forwards: ForwardsReader,
}

/// `GET /api/v1/dns/validate`.
pub fn validate(parts: &HttpParts) -> Result<HttpResponse, Status> {
    let (names, forwards) = (parts.names.names.borrow().clone(), parts.names.forwards.borrow().clone());
    let report = report(&names, &forwards, parts.clock.now().to_string());
    let text = serde_json::to_string(&report).map_err(Status::internal)?;
    Ok(respond::json_text(200, text))
}

/// `GET /api/v1/zones`.
pub fn zones(parts: &HttpParts) -> Result<HttpResponse, Status> {
    let view = loaded(parts)?;
    let zones: Vec<Value> = all(&view, &asked_for(parts)?)
        .into_iter()
        .filter(|(name, _)| !is_reverse(name))
        .map(|(name, zone)| zone_body(&name, &zone))
        .collect();
    Ok(respond::json(200, &json!(zones)))
}

/// `GET /api/v1/zones/<name>`.
pub fn zone(parts: &HttpParts, name: &str) -> Result<HttpResponse, Status> {
    let name = folded(name);
    let view = loaded(parts)?;
    let zone = all(&view, &asked_for(parts)?).remove(&name).ok_or_else(|| no_zone(&name))?;
    Ok(respond::json(200, &zone_body(&name, &zone)))
}

/// `GET /api/v1/instances`: the name servers, one for each network that has one.
pub fn instances(parts: &HttpParts) -> Result<HttpResponse, Status> {
    let found = instances_of(&*loaded(parts)?);
    Ok(respond::json(200, &json!(found.into_values().collect::<Vec<_>>())))
}

/// `GET /api/v1/instances/<name>`.
pub fn instance(parts: &HttpParts, name: &str) -> Result<HttpResponse, Status> {
    match instances_of(&*loaded(parts)?).remove(name) {
        Some(instance) => Ok(respond::json(200, &instance)),
        None => Err(Status::new(404, "NotFound", format!("instance {name:?} not found"))),
    }
}

fn instances_of(view: &NamesView) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for zone in view.zones.values().filter(|zone| !zone.endpoint.is_empty()) {
        let name = format!("mdns-{}", zone.network);
        let zones = view.zones.iter().filter(|(name, one)| one.network == zone.network && !is_reverse(name));
        let zones: Vec<&String> = zones.map(|(name, _)| name).collect();
        let ip = zone.server.map(|server| server.to_string()).unwrap_or_default();
        let body = json!({
            "name": name, "network": zone.network, "ip": ip, "endpoint": zone.endpoint, "zones": zones,
            "vethName": "", "containerId": "", "managed": false, "image": "",
        });
        found.insert(name, body);
    }
    found
}

fn loaded(parts: &HttpParts) -> Result<Arc<NamesView>, Status> {
    let view = parts.names.names.borrow().clone();
    if view.loaded { Ok(view) } else { Err(Status::unavailable("names are not known yet", 1)) }
}

fn folded(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn no_zone(name: &str) -> Status {
    Status::new(404, "NotFound", format!("zone {name:?} not found"))
}

fn zone_body(name: &str, zone: &ZoneSight) -> Value {
    json!({
        "name": name, "parent": zone.parent, "microdnsId": zone.id.clone().unwrap_or_default(),
        "endpoint": zone.endpoint, "network": zone.network, "dedicated": false,
    })
}

/// Zones that namespaces say they have, and the namespace of each.
fn asked_for(parts: &HttpParts) -> Result<BTreeMap<String, Asked>, Status> {
    let view = loaded_view(parts)?;
    let kind = view.kind(&namespaces(parts)?.id());
    let asked = kind.objects.values().filter(|object| object.text().contains(DOMAIN)).filter_map(|object| {
        let namespace = object.value();
        let domain = metadata::annotation(&namespace, DOMAIN).map(folded).filter(|domain| !domain.is_empty())?;
        let network = metadata::annotation(&namespace, NETWORK).unwrap_or_default().to_owned();
        Some((domain, Asked { namespace: object.key.name.clone(), network }))
    });
    Ok(asked.collect())
}

/// Who asked for a zone.
struct Asked {
    namespace: String,
    network: String,
}

/// The zones there are, and those that were asked for and are not there yet: who made one sees it at once.
fn all(view: &NamesView, asked: &BTreeMap<String, Asked>) -> BTreeMap<String, Arc<ZoneSight>> {
    let mut zones: BTreeMap<String, Arc<ZoneSight>> =
        view.zones.iter().map(|(name, zone)| (name.clone(), zone.clone())).collect();
    for (name, asked) in asked {
        zones.entry(name.clone()).or_insert_with(|| {
            let on = view.zones.iter().find(|(name, zone)| is_base(name, zone) && zone.network == asked.network);
            Arc::new(ZoneSight {
                network: asked.network.clone(),
                endpoint: on.map(|(_, zone)| zone.endpoint.clone()).unwrap_or_default(),
                parent: name.split_once('.').map(|(_, parent)| parent.to_owned()).unwrap_or_default(),
                namespace: Some(asked.namespace.clone()),
                ..ZoneSight::default()
            })
        });
    }
    zones
}

fn namespaces(parts: &HttpParts) -> Result<Kind, Status> {
    let kind = parts.objects.kinds().named("Namespace").copied();
    kind.ok_or_else(|| Status::internal("there is no kind Namespace"))
}

/// What a body asks for: the zone, its first label, and the network.
fn wanted(body: &Value, view: &NamesView) -> Result<(String, String, String), Status> {
    let refused = |problem: Problem| {
        let mut status = Status::new(422, "Invalid", format!("zone is invalid: {problem}"));
        status.details = json!({"kind": "zones", "causes": [problem.to_cause()]});
        status
    };
    let fields = body.as_object().ok_or_else(|| Status::bad_request("the body must be an object: name, network"))?;
    if let Some(field) = fields.keys().find(|field| !["name", "network", "dedicated"].contains(&field.as_str())) {
        return Err(Status::bad_request(format!("unknown field {field:?}; known: name, network, dedicated")));
    }
    let text = |field: &str| match &body[field] {
        Value::Null => Ok(""),
        Value::String(text) => Ok(text.as_str()),
        other => Err(refused(Problem::invalid(field, other.clone(), "must be a text"))),
    };
    let name = folded(text("name")?);
    if name.is_empty() {
        return Err(refused(Problem::required("name")));
    }
    if let Some(why) = metadata::subdomain_problem(&name) {
        return Err(refused(Problem::invalid("name", name, why)));
    }
    let Some((label, parent)) = name.split_once('.') else {
        let why = "must have a part before the first dot, after which its namespace is called";
        return Err(refused(Problem::invalid("name", name, why)));
    };
    if let Some(why) = metadata::label_problem(label) {
        return Err(refused(Problem::invalid("name", name.clone(), format!("the part before the first dot {why}"))));
    }
    match &body["dedicated"] {
        Value::Null | Value::Bool(false) => {}
        other => {
            let why = "a name server of its own is not made for a zone; leave it out";
            return Err(refused(Problem::invalid("dedicated", other.clone(), why)));
        }
    }
    let bases = || view.zones.iter().filter(|(name, zone)| is_base(name, zone));
    let network = match text("network")? {
        // The one it lies in; whoever keeps names takes the default one else.
        "" => {
            let inside = |zone: &str| parent == zone || parent.ends_with(&format!(".{zone}"));
            bases().find(|(zone, _)| inside(zone)).map(|(_, zone)| zone.network.clone()).unwrap_or_default()
        }
        network if bases().any(|(_, zone)| zone.network == network) => network.to_owned(),
        network => {
            let known: Vec<&str> = bases().map(|(_, zone)| zone.network.as_str()).collect();
            return Err(refused(Problem::not_supported("network", network, &known)));
        }
    };
    let label = label.to_owned();
    Ok((name, label, network))
}

/// `POST /api/v1/zones`.
pub async fn create(parts: &HttpParts, query: &Query, body: &Value) -> Result<HttpResponse, Status> {
    let dry_run = write::dry_run(query, "CreateOptions", false)?;
    let view = loaded(parts)?;
    let (name, label, network) = wanted(body, &view)?;
    let kind = namespaces(parts)?;
    let exists = |why: String| Status::new(409, "AlreadyExists", why);
    let asked = asked_for(parts)?;
    if view.zones.contains_key(&name) || asked.contains_key(&name) {
        return Err(exists(format!("zone {name:?} already exists")));
    }
    if let Some((other, _)) = asked.iter().find(|(_, asked)| asked.namespace == label) {
        return Err(exists(format!("namespace {label:?} has zone {other:?} already")));
    }
    let mut annotations = json!({DOMAIN: name});
    if !network.is_empty() {
        annotations[NETWORK] = json!(network);
    }
    let key = ObjectKey::new("", label.as_str());
    let there = loaded_view(parts)?.get(&kind.id(), &key);
    let verb = match &there {
        Some(namespace) => {
            // What was read is what is changed: somebody may give it a zone meanwhile.
            let version = namespace.revision.to_string();
            let body = json!({"metadata": {"resourceVersion": version, "annotations": annotations}});
            Verb::Patch { patch: PatchType::Merge, body }
        }
        None => Verb::Create { body: json!({"metadata": {"name": label, "annotations": annotations}}) },
    };
    ask(parts, kind, key, verb, dry_run).await?;
    let asked = BTreeMap::from([(name.clone(), Asked { namespace: label, network })]);
    let zone = all(&view, &asked).remove(&name).unwrap_or_default();
    Ok(respond::json(201, &zone_body(&name, &zone)))
}

/// `DELETE /api/v1/zones/<name>`.
pub async fn remove(parts: &HttpParts, query: &Query, name: &str) -> Result<HttpResponse, Status> {
    let name = &*folded(name);
    let dry_run = write::dry_run(query, "DeleteOptions", false)?;
    let view = loaded(parts)?;
    let asked = asked_for(parts)?;
    let namespace = match (asked.get(name), view.zones.get(name)) {
        (Some(asked), _) => asked.namespace.clone(),
        (None, Some(zone)) => match &zone.namespace {
            Some(namespace) => namespace.clone(),
            None => {
                let why = format!("zone {name:?} belongs to network {:?} and goes with it", zone.network);
                return Err(Status::new(409, "Conflict", why));
            }
        },
        (None, None) => return Err(no_zone(name)),
    };
    // The namespace and its pods stay; their names are in the network's own zone from now on.
    let body = json!({"metadata": {"annotations": {DOMAIN: null, MODE: "open"}}});
    let verb = Verb::Patch { patch: PatchType::Merge, body };
    ask(parts, namespaces(parts)?, ObjectKey::new("", namespace), verb, dry_run).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn ask(parts: &HttpParts, kind: Kind, key: ObjectKey, verb: Verb, dry_run: bool) -> Result<(), Status> {
    let order = WriteObject { dry_run, ..WriteObject::own("http zone", kind.id(), key, verb) };
    parts.write.ask(order).await.map(drop).map_err(respond::status_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> NamesView {
        let zone = |network: &str, parent: &str, namespace: Option<&str>| {
            Arc::new(ZoneSight {
                network: network.into(),
                endpoint: format!("http://{network}:8080"),
                server: "10.0.0.2".parse().ok(),
                parent: parent.into(),
                namespace: namespace.map(str::to_owned),
                id: Some(format!("id of {network}")),
                ..ZoneSight::default()
            })
        };
        let zones = [
            ("g10.lo", zone("g10", "", None)),
            ("gt.lo", zone("gt", "", None)),
            ("team.gt.lo", zone("gt", "gt.lo", Some("team"))),
            ("0.0.10.in-addr.arpa", zone("gt", "", None)),
        ];
        NamesView { loaded: true, zones: zones.map(|(name, zone)| (name.to_owned(), zone)).into_iter().collect() }
    }

    #[test]
    fn zones_and_instances_have_the_shapes_they_always_had() {
        let zones = all(&view(), &BTreeMap::new());
        assert_eq!(
            zone_body("team.gt.lo", &zones["team.gt.lo"]),
            json!({"name": "team.gt.lo", "parent": "gt.lo", "microdnsId": "id of gt", "endpoint": "http://gt:8080",
                "network": "gt", "dedicated": false})
        );
        let found = instances_of(&view());
        assert_eq!(found.keys().collect::<Vec<_>>(), ["mdns-g10", "mdns-gt"]);
        assert_eq!(
            found["mdns-gt"],
            json!({"name": "mdns-gt", "network": "gt", "ip": "10.0.0.2", "endpoint": "http://gt:8080",
                "zones": ["gt.lo", "team.gt.lo"], "vethName": "", "containerId": "", "managed": false, "image": ""})
        );
    }

    #[test]
    fn a_zone_that_was_asked_for_is_seen_before_it_is_made() {
        let asked = Asked { namespace: "new".into(), network: "g10".into() };
        let zones = all(&view(), &[("new.g10.lo".to_owned(), asked)].into());
        assert_eq!(
            zone_body("new.g10.lo", &zones["new.g10.lo"]),
            json!({"name": "new.g10.lo", "parent": "g10.lo", "microdnsId": "", "endpoint": "http://g10:8080",
                "network": "g10", "dedicated": false})
        );
    }

    #[test]
    fn a_zone_lies_in_the_network_whose_zone_it_is_below() {
        let wanted = |body: Value| wanted(&body, &view());
        let ok = |body: Value| wanted(body).map(|(name, label, network)| format!("{name} {label} {network}"));
        assert_eq!(ok(json!({"name": "New.g10.lo."})), Ok("new.g10.lo new g10".into()));
        assert_eq!(
            ok(json!({"name": "new.g10.lo", "network": "gt", "dedicated": false})),
            Ok("new.g10.lo new gt".into())
        );
        assert_eq!(ok(json!({"name": "new.example"})), Ok("new.example new ".into()));
        for (body, code, field) in [
            (json!({}), 422, "name"),
            (json!({"name": "a b.gt.lo"}), 422, "name"),
            (json!({"name": "lo"}), 422, "name"),
            (json!({"name": 5}), 422, "name"),
            (json!({"name": "a.gt.lo", "network": "none"}), 422, "network"),
            (json!({"name": "a.gt.lo", "dedicated": true}), 422, "dedicated"),
            (json!({"name": "a.gt.lo", "nmae": "x"}), 400, "nmae"),
            (json!([]), 400, "name"),
        ] {
            let status = wanted(body.clone()).expect_err("refused");
            assert_eq!(status.code, code, "{body}");
            assert!(status.to_string().contains(field), "{body}: {status}");
            if code == 422 {
                assert_eq!(status.details["causes"][0]["field"], field, "{body}");
            }
        }
    }
}
