//! What each route does.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::route::{Absent, Route};
use super::{Rest, watch};
use crate::changes::{Refusal, forwarder_zone};
use crate::import;
use crate::records::{HealthCheck, NewForwarder, NewRecord, NewZone, Record, RecordPatch, TransferConfig};
use crate::store::{StoreFault, key_of};

/// Longest page.
const PAGE: usize = 1000;
/// Told instead of what failed inside.
const INTERNAL: &str = "internal server error";

/// An error: a status and a sentence.
#[derive(Debug)]
pub struct Fault(pub StatusCode, pub String);

impl Fault {
    /// Of a status.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self(status, text.into())
    }

    /// The response.
    pub fn response(self) -> HttpResponse {
        HttpResponse::build(self.0).content_type("text/plain; charset=utf-8").body(self.1)
    }
}

impl From<StoreFault> for Fault {
    fn from(fault: StoreFault) -> Self {
        tracing::error!(%fault, "the name server's file");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound(text) => Self(StatusCode::NOT_FOUND, text),
            Refusal::Conflict(text) => Self(StatusCode::CONFLICT, text),
            Refusal::Bad(text) => Self(StatusCode::BAD_REQUEST, text),
            Refusal::Broken(fault) => fault.into(),
        }
    }
}

type Answer = Result<HttpResponse, Fault>;

/// What is asked.
pub struct Asking<'a> {
    /// `GET` for `HEAD` too.
    pub method: &'a str,
    /// The query string.
    pub query: &'a str,
    /// The body.
    pub body: &'a [u8],
}

impl Asking<'_> {
    /// The body as a shape: no JSON is 400, another shape 422 with the field named.
    fn read<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        let value: Value = serde_json::from_slice(self.body)
            .map_err(|error| Fault(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}")))?;
        serde_path_to_error::deserialize(value)
            .map_err(|error| Fault(StatusCode::UNPROCESSABLE_ENTITY, format!("{}: {}", error.path(), error.inner())))
    }

    fn parameters<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        let read = actix_web::web::Query::<T>::from_query(self.query);
        let read = read.map_err(|error| Fault(StatusCode::BAD_REQUEST, format!("query: {error}")))?;
        Ok(read.into_inner())
    }

    fn page(&self) -> Result<(usize, usize), Fault> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            offset: usize,
            limit: Option<usize>,
        }
        let page: Page = self.parameters()?;
        Ok((page.offset, page.limit.unwrap_or(100).min(PAGE)))
    }
}

fn ok(value: impl serde::Serialize) -> HttpResponse {
    HttpResponse::Ok().json(value)
}

fn created(value: impl serde::Serialize) -> HttpResponse {
    HttpResponse::Created().json(value)
}

fn deleted() -> HttpResponse {
    HttpResponse::NoContent().finish()
}

fn key(id: &str) -> Result<u128, Fault> {
    key_of(id).ok_or_else(|| Fault(StatusCode::BAD_REQUEST, format!("{id:?} is not a UUID")))
}

fn not_found(what: &str) -> Fault {
    Fault(StatusCode::NOT_FOUND, format!("{what} not found"))
}

/// Does what is asked of a route; its methods were checked.
pub async fn answer(rest: &Rest, route: Route, asking: &Asking<'_>) -> Answer {
    let desk = &rest.desk;
    match (asking.method, route) {
        (_, Route::Health) => health(rest).await,
        (_, Route::Watch) => {
            #[derive(Deserialize)]
            struct Wanted {
                types: Option<String>,
            }
            let wanted: Wanted = asking.parameters()?;
            let room = rest.watchers.clone().try_acquire_owned();
            let room = room.map_err(|_| Fault::new(StatusCode::SERVICE_UNAVAILABLE, "too many watchers"))?;
            Ok(watch::stream(desk.watch(), wanted.types.as_deref(), rest.stopping.clone(), room))
        }
        ("GET", Route::Zones) => {
            let (offset, limit) = asking.page()?;
            Ok(ok(desk.read(move |file| file.zones(offset, limit)).await?))
        }
        (_, Route::Zones) => {
            let new: NewZone = asking.read()?;
            Ok(created(changed(rest, move |change| change.create_zone(new)).await?))
        }
        ("GET", Route::Zone(id)) => {
            let key = key(&id)?;
            Ok(ok(desk.read(move |file| file.zone(key)).await?.ok_or_else(|| not_found("zone"))?))
        }
        (_, Route::Zone(id)) => {
            let key = key(&id)?;
            changed(rest, move |change| change.delete_zone(key)).await?;
            Ok(deleted())
        }
        (_, Route::Transfer) => transfer(rest, asking).await,
        (method, Route::Records(zone)) => records(rest, method, &zone, asking).await,
        (method, Route::Record(zone, id)) => record(rest, method, &zone, &id, asking).await,
        (method, Route::HealthChecks(zone, name, kind)) => {
            let key = key(&zone)?;
            let check: Option<HealthCheck> = if method == "PUT" { Some(asking.read()?) } else { None };
            let done = changed(rest, move |change| change.set_health(key, &name, &kind, check.as_ref())).await?;
            Ok(ok(json!({"matched": done.0, "updated": done.1})))
        }
        ("GET", Route::Forwarders) => Ok(ok(desk.read(|file| file.forwarders()).await?)),
        (_, Route::Forwarders) => {
            let new: NewForwarder = asking.read()?;
            Ok(created(changed(rest, move |change| change.put_forwarder(&new)).await?))
        }
        ("GET", Route::Forwarder(zone)) => {
            let folded = forwarder_zone(&zone).unwrap_or_default();
            let all = desk.read(|file| file.forwarders()).await?;
            let found = all.into_iter().find(|forwarder| forwarder.zone == folded);
            Ok(ok(found.ok_or_else(|| Fault(StatusCode::NOT_FOUND, format!("forwarder not found: {zone}")))?))
        }
        (_, Route::Forwarder(zone)) => {
            changed(rest, move |change| change.delete_forwarder(&zone)).await?;
            Ok(deleted())
        }
        ("GET", Route::TransferConfig) => {
            let config = desk.read(|file| file.transfer()).await?;
            Ok(ok(config.ok_or_else(|| not_found("zone transfer config"))?))
        }
        ("PUT", Route::TransferConfig) => {
            let config: TransferConfig = asking.read()?;
            Ok(ok(changed(rest, move |change| change.put_transfer(config)).await?))
        }
        (_, Route::TransferConfig) => {
            // Nothing is allowed, and that is remembered: a start must not bring the defaults back.
            let none = TransferConfig { allow_transfer: Vec::new(), notify: Vec::new(), secondary: Vec::new() };
            changed(rest, move |change| change.put_transfer(none)).await?;
            Ok(deleted())
        }
        (method, Route::Absent(what)) => absent(rest, method, what, asking),
    }
}

/// Does a write; what others told may not hold any more.
async fn changed<T: Send + 'static>(
    rest: &Rest,
    work: impl FnOnce(&mut crate::changes::Change<'_, '_>) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Fault> {
    let done = rest.desk.change(work).await?;
    rest.forwarding.forget();
    Ok(done)
}

async fn records(rest: &Rest, method: &str, zone: &str, asking: &Asking<'_>) -> Answer {
    let key = key(zone)?;
    if method == "GET" {
        let (offset, limit) = asking.page()?;
        let page = rest.desk.read(move |file| {
            let zone = file.zone(key)?;
            zone.map(|_| file.records(key, offset, limit)).transpose()
        });
        let page: Option<Vec<Record>> = page.await.map_err(|fault: StoreFault| Fault::from(fault))?;
        let page = page.ok_or_else(|| not_found("zone"))?;
        return Ok(ok(page.iter().map(Record::shown).collect::<Vec<_>>()));
    }
    let new: NewRecord = asking.read()?;
    let (record, is_new) = changed(rest, move |change| change.create_record(key, new)).await?;
    Ok(if is_new { created(record.shown()) } else { ok(record.shown()) })
}

async fn record(rest: &Rest, method: &str, zone: &str, id: &str, asking: &Asking<'_>) -> Answer {
    let (zone_key, record_key) = (key(zone)?, key(id)?);
    match method {
        "GET" => {
            let found = rest.desk.read(move |file| file.record(record_key)).await?;
            // The path names both: a record of another zone is not there.
            let found = found.filter(|record| key_of(&record.zone_id) == Some(zone_key));
            Ok(ok(found.ok_or_else(|| not_found("record"))?.shown()))
        }
        "PUT" => {
            let patch: RecordPatch = asking.read()?;
            let record = changed(rest, move |change| change.update_record(zone_key, record_key, patch)).await?;
            Ok(ok(record.shown()))
        }
        _ => {
            changed(rest, move |change| change.delete_record(zone_key, record_key)).await?;
            Ok(deleted())
        }
    }
}

async fn transfer(rest: &Rest, asking: &Asking<'_>) -> Answer {
    #[derive(Deserialize)]
    struct Wanted {
        zone: String,
        primary: String,
    }
    let wanted: Wanted = asking.read()?;
    let primary = wanted
        .primary
        .parse()
        .map_err(|_| Fault(StatusCode::BAD_REQUEST, format!("primary: {:?} is not ip:port", wanted.primary)))?;
    let zone = crate::names::zone_name(&wanted.zone)
        .map_err(|fault| Fault(StatusCode::BAD_REQUEST, format!("zone: {fault}")))?;
    let pulled = import::pull(primary, &zone).await.map_err(|error| {
        tracing::warn!(zone, %primary, %error, "a zone was not copied");
        Fault::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL)
    })?;
    let name = zone.clone();
    let count = changed(rest, move |change| change.import_zone(&name, pulled.soa, pulled.rows)).await?;
    Ok(ok(json!({"zone_name": zone, "records_imported": count})))
}

async fn health(rest: &Rest) -> Answer {
    match rest.desk.read(|file| file.zone_count()).await {
        Ok(zones) => {
            let seconds = rest.started.elapsed().as_secs();
            Ok(ok(json!({"status": "ok", "version": super::VERSION, "zones": zones,
                "uptime_seconds": seconds, "uptime": uptime(seconds)})))
        }
        Err::<_, StoreFault>(fault) => {
            let told = json!({"status": "unhealthy", "check": "database", "error": fault.to_string()});
            Ok(HttpResponse::ServiceUnavailable().json(told))
        }
    }
}

fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let parts = [(days, "d"), (hours, "h"), (minutes, "m")];
    let mut text: String =
        parts.iter().skip_while(|(count, _)| *count == 0).map(|(count, unit)| format!("{count}{unit} ")).collect();
    text.push_str(&format!("{}s", seconds % 60));
    text
}

/// What this server has nothing of: it answers as one where nobody set it up, and says so to who would set it up.
fn absent(rest: &Rest, method: &str, what: Absent, asking: &Asking<'_>) -> Answer {
    let none = |what: &str| Err(Fault(StatusCode::NOT_IMPLEMENTED, format!("this server has no {what}")));
    match (method, what) {
        ("GET", Absent::List | Absent::DhcpList) => {
            asking.page()?;
            Ok(ok(json!([])))
        }
        (_, Absent::DhcpStatus) => Ok(ok(
            json!({"enabled": false, "interface": "", "pools": [], "reservation_count": 0, "active_lease_count": 0}),
        )),
        ("GET", Absent::DhcpConfig) => Ok(ok(json!({"listen_dns": null, "listen_api": null, "dhcp_interface": null,
            "dhcp_mode": null, "server_ip": null, "updated_at": null}))),
        (_, Absent::DhcpOne(what)) => Err(not_found(what)),
        (_, Absent::DhcpRoutes) => Err(not_found("pool")),
        (_, Absent::DhcpRoute) => Err(not_found("route")),
        (_, Absent::List | Absent::DhcpList | Absent::DhcpConfig) => none("DHCP"),
        (_, Absent::Allocate) => {
            #[derive(Deserialize)]
            struct Wanted {
                pool: String,
            }
            let wanted: Wanted = asking.read()?;
            Err(Fault(StatusCode::NOT_FOUND, format!("pool '{}' not found", wanted.pool)))
        }
        (_, Absent::Allocation(id)) => key(&id).map(|_| deleted()),
        (_, Absent::Cluster) => Ok(ok(json!({"instance_id": rest.instance, "instances": []}))),
        (_, Absent::Connectivity) => Ok(ok(json!({"instance_id": rest.instance, "peers": []}))),
        (_, Absent::Logs) => Ok(ok(json!({"entries": []}))),
        (_, Absent::BalancerStatus) => {
            Ok(ok(json!({"enabled": false, "check_interval_secs": 0, "default_probe": "ping",
            "icmp_available": false, "last_cycle": null,
            "aggregate": {"total": 0, "healthy": 0, "unhealthy": 0, "unknown": 0, "groups": 0}})))
        }
        (_, Absent::BalancerDebug) => Ok(ok(json!({}))),
        (_, Absent::Probe(id)) => key(&id).and_then(|_| none("monitor of records")),
        (_, Absent::MdnsStatus) => {
            Ok(ok(json!({"enabled": false, "zone": "", "cached": 0, "holder": "", "published": 0,
            "service_types": 0, "packets": 0, "records_learned": 0, "goodbyes": 0, "expired": 0, "queries_sent": 0,
            "last_packet_at": null})))
        }
        (_, Absent::MdnsDiscovered) => {
            Ok(ok(json!({"instance_id": rest.instance, "zone": "", "count": 0, "entries": []})))
        }
        ("GET", Absent::MdnsConfig) => Err(not_found("mdns config")),
        (_, Absent::MdnsConfig) => none("mDNS"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uptime_is_told_in_words() {
        assert_eq!((uptime(7), uptime(93), uptime(90_061)), ("7s".into(), "1m 33s".into(), "1d 1h 1m 1s".into()));
    }
}
