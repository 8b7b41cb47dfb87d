//! `/api/v1/store`: how the store is, and, where it is older than what it acknowledged, what it lacks; and its `accept`. Served from
//! what is published.

use actix_web::HttpResponse;
use mkube_messages::door::{CallError, Door};
use mkube_messages::objects::{ObjectKey, ObjectsView};
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_messages::store::{AcceptStore, OlderReader};
use mkube_model::kinds::KindTable;
use mkube_model::neighbours::older_store::{AcceptFault, Accepted, Loss, LossKind, OlderStore};
use mkube_model::status::Status;
use serde_json::{Value, json};

use crate::parts::{HttpParts, Query};
use crate::respond;

/// Values that are named in one answer.
const NAMED: usize = 500;

/// What the edge needs to know and tell about the store.
#[derive(Clone)]
pub struct HttpStore {
    /// What it lacks of what it acknowledged.
    pub older: OlderReader,
    /// To take it as it is.
    pub accept: Door<AcceptStore>,
}

/// How it is.
pub fn show(parts: &HttpParts) -> HttpResponse {
    let older = parts.store.older.borrow().clone();
    respond::json(200, &state(&parts.objects.view(), older.as_deref(), parts.objects.kinds()))
}

/// Takes an older one as it is, if that is what is named.
pub async fn accept(parts: &HttpParts, query: &Query) -> Result<HttpResponse, Status> {
    let digest = query.get("digest").filter(|digest| !digest.is_empty()).ok_or_else(|| {
        Status::bad_request("digest: name what you accept; GET /api/v1/store says what there is, and its digest")
    })?;
    let context = RequestContext::new("accept", patience::ACCEPT);
    let order = AcceptStore { context, digest: digest.clone() };
    let accepted = parts.store.accept.ask(order).await.map_err(refused)?;
    Ok(respond::json(200, &accepted_body(&accepted)))
}

fn refused(error: CallError<AcceptFault>) -> Status {
    let fault = match error {
        CallError::Fault(fault) => fault,
        CallError::NotAnswered(why) => return respond::status_from("the store", CallError::NotAnswered(why)),
    };
    let text = format!("{fault}; nothing was changed");
    match fault {
        AcceptFault::Nothing(_) | AcceptFault::MovedOn => Status::new(409, "Conflict", text),
        AcceptFault::Away(_) | AcceptFault::NotCopied(_) => Status::unavailable(text, 5),
    }
}

/// In one word and in a sentence; what is lost where that is known.
fn state(view: &ObjectsView, older: Option<&OlderStore>, kinds: &KindTable) -> Value {
    let (state, message) = match (&view.not_loaded_because, &view.stale) {
        (Some(why), _) => ("unreadable", why.clone()),
        (None, _) if !view.loaded => ("unreadable", "the store is being read".to_owned()),
        (None, Some(why)) => (if older.is_some() { "older" } else { "away" }, why.clone()),
        (None, None) if !view.unreadable.is_empty() => {
            ("incomplete", format!("{} values are no objects", view.unreadable.len()))
        }
        (None, None) => ("ok", "connected, loaded, complete".to_owned()),
    };
    let mut body = json!({"state": state, "message": message});
    if let Some(older) = older {
        body["older"] = older_body(older, kinds);
    }
    body
}

fn counts(older: &OlderStore) -> Value {
    json!({
        "missing": older.count(LossKind::Missing), "older": older.count(LossKind::Older),
        "returned": older.count(LossKind::Returned),
    })
}

fn older_body(older: &OlderStore, kinds: &KindTable) -> Value {
    let named: Vec<Value> = older.losses.iter().take(NAMED).map(|loss| loss_body(loss, kinds)).collect();
    json!({
        "why": older.why, "digest": older.digest, "buckets": older.buckets, "counts": counts(older),
        "unnamed": older.losses.len() - named.len(), "objects": named,
    })
}

fn loss_body(loss: &Loss, kinds: &KindTable) -> Value {
    let kind = kinds.iter().find(|kind| kind.bucket == loss.at.bucket);
    let key = ObjectKey::stored(kind.is_some_and(|kind| kind.namespaced), &loss.at.key);
    json!({
        "kind": kind.map_or(loss.at.bucket.as_str(), |kind| kind.kind), "namespace": key.namespace, "name": key.name,
        "state": loss.kind.as_str(), "known": loss.known, "found": loss.found,
    })
}

fn accepted_body(accepted: &Accepted) -> Value {
    json!({
        "copy": accepted.copy.display().to_string(), "digest": accepted.older.digest, "buckets": accepted.older.buckets,
        "counts": counts(&accepted.older),
    })
}

#[cfg(test)]
mod tests {
    use mkube_model::neighbours::desired_store::StoreKey;

    use super::*;

    fn loss(bucket: &str, key: &str, kind: LossKind, found: Option<u64>) -> Loss {
        Loss { at: StoreKey { bucket: bucket.into(), key: key.into() }, kind, known: 7, found }
    }

    #[test]
    fn what_is_lost_is_named_by_kind_namespace_and_name_and_there_is_an_end_to_it() {
        let mut losses = vec![
            loss("NAMESPACES", "shop.old", LossKind::Returned, Some(3)),
            loss("NOBODYS", "x", LossKind::Older, Some(2)),
        ];
        losses.extend((0..NAMED).map(|number| loss("PODS", &format!("shop.web-{number}"), LossKind::Missing, None)));
        let buckets = vec!["PODS".to_owned()];
        let older = OlderStore { why: "gone".into(), digest: "t".into(), buckets, losses };
        let stale = ObjectsView { loaded: true, stale: Some("it is older".into()), ..ObjectsView::default() };
        let body = state(&stale, Some(&older), &KindTable::builtin());
        assert_eq!((&body["state"], &body["message"]), (&json!("older"), &json!("it is older")));
        assert_eq!(body["older"]["counts"], json!({"missing": NAMED, "older": 1, "returned": 1}));
        assert_eq!((&body["older"]["unnamed"], &body["older"]["digest"]), (&json!(2), &json!("t")));
        let objects = body["older"]["objects"].as_array().expect("a list");
        assert_eq!(objects.len(), NAMED);
        let namespace = json!({"kind": "Namespace", "namespace": "", "name": "shop.old", "state": "returned", "known": 7, "found": 3});
        assert_eq!(objects[0], namespace);
        assert_eq!((&objects[1]["kind"], &objects[1]["name"]), (&json!("NOBODYS"), &json!("x")));
        let pod =
            json!({"kind": "Pod", "namespace": "shop", "name": "web-0", "state": "missing", "known": 7, "found": null});
        assert_eq!(objects[2], pod);
    }

    #[test]
    fn each_state_has_its_word() {
        let word = |view: &ObjectsView| state(view, None, &KindTable::builtin())["state"].clone();
        let mut view = ObjectsView::default();
        assert_eq!(word(&view), "unreadable");
        view.loaded = true;
        assert_eq!(word(&view), "ok");
        view.stale = Some("nobody answers".into());
        assert_eq!(word(&view), "away");
        view.not_loaded_because = Some("checksum".into());
        assert_eq!(word(&view), "unreadable");
    }

    #[test]
    fn a_refusal_says_what_to_do_and_that_nothing_was_done() {
        let status = |fault| refused(CallError::Fault(fault));
        for (fault, code) in [
            (AcceptFault::Nothing("it is well".into()), 409),
            (AcceptFault::MovedOn, 409),
            (AcceptFault::Away("nobody answers".into()), 503),
            (AcceptFault::NotCopied("no room".into()), 503),
        ] {
            let status = status(fault);
            assert_eq!(status.code, code, "{status}");
            assert!(status.to_string().ends_with("nothing was changed"), "{status}");
        }
    }
}
