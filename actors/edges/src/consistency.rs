//! `/api/v1/consistency` and its `repair`: the paths and shapes of the Go controller, with more in them. Served from the last
//! report; no device is asked.

use actix_web::{HttpResponse, web};
use mkube_messages::consistency::{
    ActionReport, Check, CheckStatus, ConsistencyReader, ConsistencyReport, RepairFault, RepairNow, Repaired, Section,
};
use mkube_messages::door::{CallError, Door};
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_model::problem::Problem;
use mkube_model::status::Status;
use serde_json::{Map, Value, json};

use crate::parameters::says_yes;
use crate::parts::{HttpParts, Query};
use crate::{request_body, respond};

/// What the edge needs to know and tell about consistency.
#[derive(Clone)]
pub struct HttpConsistency {
    /// The last report.
    pub report: ConsistencyReader,
    /// To look anew, and to repair.
    pub repair: Door<RepairNow>,
}

/// `GET /api/v1/consistency`.
pub async fn look(parts: &HttpParts, query: &Query) -> Result<HttpResponse, Status> {
    if says_yes(query, "refresh") {
        ask(parts, true).await?;
    }
    show(parts)
}

/// `POST /api/v1/consistency/repair`.
pub async fn repair(payload: web::Payload, parts: &HttpParts, query: &Query) -> Result<HttpResponse, Status> {
    let mut counted = request_body::Counted::new(parts.figures.clone());
    let bytes = request_body::read(payload, &mut counted).await?;
    let body = if bytes.is_empty() { Value::Null } else { request_body::parse("application/json", &bytes, &[])?.value };
    let repaired = ask(parts, is_dry(query, &body)?).await?;
    Ok(respond::json(200, &repair_body(&repaired)))
}

/// A dry run that is not understood must not become a wet one.
fn is_dry(query: &Query, body: &Value) -> Result<bool, Status> {
    let refused =
        |found: &str| Err(Status::invalid_option("RepairOptions", &Problem::not_supported("dryRun", found, &["All"])));
    let by_query = match query.get("dryRun").map(String::as_str) {
        None | Some("") => false,
        Some("All") => true,
        Some(other) => return refused(other),
    };
    let fields = match body {
        Value::Null => return Ok(by_query),
        Value::Object(fields) => fields,
        _ => return Err(Status::bad_request("the body must be an object, or absent")),
    };
    if let Some(field) = fields.keys().find(|field| !["apiVersion", "kind", "dryRun"].contains(&field.as_str())) {
        return Err(Status::bad_request(format!("unknown field {field:?}; known: dryRun")));
    }
    match fields.get("dryRun") {
        None | Some(Value::Null) => Ok(by_query),
        Some(Value::Array(values)) => match values.iter().find(|value| *value != "All") {
            Some(other) => refused(&other.to_string()),
            None => Ok(by_query || !values.is_empty()),
        },
        Some(other) => refused(&other.to_string()),
    }
}

async fn ask(parts: &HttpParts, dry_run: bool) -> Result<Repaired, Status> {
    let context = RequestContext::new("repair", patience::REPAIR);
    parts.consistency.repair.ask(RepairNow { context, dry_run }).await.map_err(|error| match error {
        CallError::NotAnswered(why) => respond::status_of(CallError::NotAnswered(why)),
        CallError::Fault(fault @ RepairFault::NotYet) => Status::unavailable(fault.to_string(), 1),
        CallError::Fault(fault @ RepairFault::UnderWay) => Status::new(409, "Conflict", fault.to_string()),
    })
}

fn show(parts: &HttpParts) -> Result<HttpResponse, Status> {
    let report = parts.consistency.report.borrow().clone();
    let report = report.ok_or_else(|| Status::unavailable(RepairFault::NotYet.to_string(), 1))?;
    Ok(respond::json(200, &report_body(&report)))
}

fn report_body(report: &ConsistencyReport) -> Value {
    let mut checks = Map::new();
    for section in Section::ALL {
        let of_section = report.checks.iter().filter(|(of, _)| *of == section);
        let of_section: Vec<Value> = of_section.map(|(_, check)| check_body(check)).collect();
        if !of_section.is_empty() || section.is_always_there() {
            checks.insert(section.as_str().to_owned(), Value::Array(of_section));
        }
    }
    let count = |status| report.count(status);
    json!({
        "timestamp": report.timestamp.to_string(),
        "summary": {
            "pass": count(CheckStatus::Pass), "fail": count(CheckStatus::Fail), "warn": count(CheckStatus::Warn),
        },
        "checks": checks,
        "repair": {
            "mode": if report.automatic { "auto" } else { "report" },
            "stopped": report.stopped,
            "actions": report.planned.iter().map(action_body).collect::<Vec<_>>(),
        },
    })
}

fn check_body(check: &Check) -> Value {
    let mut body = json!({
        "name": check.name, "status": check.status.as_str(), "message": check.message,
        "severity": check.severity.as_str(), "repairable": check.repairable, "since": check.since.to_string(),
    });
    if !check.details.is_empty() {
        body["details"] = json!(check.details);
    }
    if let Some(object) = &check.object {
        body["object"] = json!(object.to_string());
    }
    body
}

fn repair_body(repaired: &Repaired) -> Value {
    json!({
        "count": repaired.released.len(), "released": repaired.released,
        "actions": repaired.actions.iter().map(action_body).collect::<Vec<_>>(),
    })
}

fn action_body(action: &ActionReport) -> Value {
    json!({
        "check": action.check, "action": action.action.as_str(), "object": action.object,
        "outcome": action.outcome.as_str(), "why": action.why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        crate::parameters::query_of(text).expect("a query")
    }

    #[test]
    fn a_dry_run_is_one_however_it_is_asked_for_and_one_that_is_not_understood_is_refused() {
        let dry = |text: &str, body: Value| is_dry(&query(text), &body).map_err(|status| status.code);
        assert_eq!(dry("", Value::Null), Ok(false));
        assert_eq!(dry("dryRun=All", Value::Null), Ok(true));
        assert_eq!(dry("", json!({"dryRun": ["All"]})), Ok(true));
        assert_eq!(dry("dryRun=All", json!({"dryRun": []})), Ok(true));
        assert_eq!(dry("dryRun=all", Value::Null), Err(422));
        assert_eq!(dry("", json!({"dryRun": true})), Err(422));
        assert_eq!(dry("", json!({"dryrun": ["All"]})), Err(400));
        assert_eq!(dry("", json!([])), Err(400));
    }
}
