//! `/api/v1/images`, its `redeploy`, and the notices of registries: the paths of the Go controller, answered truthfully.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use mkube_messages::door::{CallError, Door};
use mkube_messages::images::ImagesReader;
use mkube_messages::objects::ObjectsView;
use mkube_messages::patience;
use mkube_messages::push_notice::{self, Notice};
use mkube_messages::request::RequestContext;
use mkube_messages::rollouts::{
    ImagePushed, ImageRollout, RedeployFault, RedeployImage, Redeploying, RolloutState, RolloutsReader,
};
use mkube_model::image_pins;
use mkube_model::neighbours::tarballs::{PullPhase, PullProgress, TarballFault};
use mkube_model::secret::Secret;
use mkube_model::status::Status;
use serde_json::{Value, json};

use crate::parts::HttpParts;
use crate::respond;

/// Seconds after which asking a registry again makes sense.
const REGISTRY_AWAY: u64 = 30;
/// Letters of an image in a request.
const LONGEST: usize = 512;

/// What the edge needs to know and tell about images.
#[derive(Clone)]
pub struct HttpImages {
    /// Archives and pulls.
    pub cache: ImagesReader,
    /// What is being rolled out.
    pub rollouts: RolloutsReader,
    /// To tell that an image was pushed.
    pub pushed: Door<ImagePushed>,
    /// To have an image rolled out now.
    pub redeploy: Door<RedeployImage>,
    /// What notices must be signed with, if anything.
    pub notify_secret: Option<Secret>,
}

/// Containers that use an image, by reference and by digest.
#[derive(Default)]
struct Usage {
    users: Vec<(String, Option<String>)>,
}

impl Usage {
    fn of(parts: &HttpParts, view: &ObjectsView) -> Self {
        let Some(kind) = parts.objects.kinds().named("Pod") else { return Self::default() };
        let pods = view.kind(&kind.id());
        let mut users = Vec::new();
        for pod in pods.objects.values() {
            let pod = pod.value();
            let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
            for container in pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten() {
                let status = statuses.into_iter().flatten().find(|one| one["name"] == container["name"]);
                let digest = status.and_then(|one| image_pins::digest_of(one["imageID"].as_str()?));
                let image = container["image"].as_str().unwrap_or_default().to_owned();
                users.push((image, digest.map(str::to_owned)));
            }
        }
        Self { users }
    }

    fn count(&self, reference: &str, digest: Option<&str>) -> usize {
        let uses = |(image, runs): &&(String, Option<String>)| {
            image == reference || digest.is_some_and(|digest| runs.as_deref() == Some(digest))
        };
        self.users.iter().filter(uses).count()
    }
}

/// Every image that is cached, being pulled, or followed: an entry for each reference, sorted by it.
pub fn list(parts: &HttpParts) -> HttpResponse {
    let (cache, rollouts) = (parts.images.cache.borrow().clone(), parts.images.rollouts.borrow().clone());
    let usage = Usage::of(parts, &parts.objects.view());
    let mut rows: BTreeMap<(String, String), Value> = BTreeMap::new();
    let empty = |reference: &str, digest: Option<&str>| {
        json!({
            "ref": reference, "tarballPath": "", "digest": digest.unwrap_or_default(), "pulledAt": null, "size": 0,
            "inUse": usage.count(reference, digest),
        })
    };
    for image in &cache.cached {
        let nameless = [String::new()];
        let references = if image.references.is_empty() { &nameless[..] } else { &image.references[..] };
        for reference in references {
            let mut row = empty(reference, image.digest.as_deref());
            row["tarballPath"] = json!(image.path);
            row["pulledAt"] = json!(image.pulled_at.map(|at| at.to_string()));
            row["size"] = json!(image.bytes);
            let path = image.path.to_string_lossy().into_owned();
            rows.insert((reference.clone(), if reference.is_empty() { path } else { String::new() }), row);
        }
    }
    for pull in &cache.pulling {
        let key = (pull.image.clone(), String::new());
        let row = rows.entry(key).or_insert_with(|| empty(&pull.image, pull.digest.as_deref()));
        row["progress"] = progress(pull);
    }
    for rollout in &rollouts.images {
        let key = (rollout.image.clone(), String::new());
        let row = rows.entry(key).or_insert_with(|| empty(&rollout.image, None));
        row["rollout"] = told(rollout);
    }
    respond::json(200, &rows.into_values().collect())
}

fn progress(pull: &PullProgress) -> Value {
    let phase = match pull.phase {
        PullPhase::Resolving => "Resolving",
        PullPhase::Downloading => "Downloading",
        PullPhase::Converting => "Converting",
    };
    json!({"phase": phase, "digest": pull.digest, "doneBytes": pull.done_bytes, "totalBytes": pull.total_bytes})
}

fn told(rollout: &ImageRollout) -> Value {
    let mut told = json!({
        "policy": "auto", "state": "", "digest": rollout.digest, "pods": rollout.pods, "current": rollout.current,
        "lastChecked": rollout.last_checked.map(|at| at.to_string()), "error": rollout.error,
    });
    told["state"] = json!(match &rollout.state {
        RolloutState::Unchecked => "Unchecked",
        RolloutState::Checking => "Checking",
        RolloutState::Current => "Current",
        RolloutState::Fetching => "Fetching",
        RolloutState::Waiting => "Waiting",
        RolloutState::Refused => "Refused",
        RolloutState::Rolling { digest, pod } => {
            told["to"] = json!(digest);
            told["pod"] = json!(pod.to_string());
            "Rolling"
        }
    });
    told
}

/// `POST /api/v1/images/redeploy`: 202 when pods will be replaced, 200 when all of them run it already.
pub async fn redeploy(parts: &HttpParts, body: &Value) -> Result<HttpResponse, Status> {
    let image = match &body["image"] {
        Value::String(text) if !text.trim().is_empty() && text.len() <= LONGEST => text.trim().to_owned(),
        _ => return Err(Status::bad_request(format!("`image` must be a reference of at most {LONGEST} letters"))),
    };
    let order = RedeployImage { context: RequestContext::new("redeploy", patience::REDEPLOY), image: image.clone() };
    match parts.images.redeploy.ask(order).await {
        Ok(redeploying) => Ok(redeployed(&image, &redeploying)),
        Err(CallError::NotAnswered(why)) => Err(respond::status_of(CallError::NotAnswered(why))),
        Err(CallError::Fault(fault)) => Err(refused(&fault)),
    }
}

fn redeployed(image: &str, redeploying: &Redeploying) -> HttpResponse {
    let names = |keys: &[mkube_messages::objects::ObjectKey]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    let images = &redeploying.images;
    let queued: Vec<String> = images.iter().flat_map(|one| names(&one.queued)).collect();
    let current: Vec<String> = images.iter().flat_map(|one| names(&one.current)).collect();
    let each: Vec<Value> = images
        .iter()
        .map(|one| {
            json!({
                "image": one.image, "digest": one.digest, "queued": names(&one.queued), "current": names(&one.current),
            })
        })
        .collect();
    // With several images there is no one digest to name.
    let digest = if let [one] = images.as_slice() { Some(&one.digest) } else { None };
    let code = if queued.is_empty() { 200 } else { 202 };
    let body = json!({
        "status": "ok", "image": image, "queued": queued, "current": current, "digest": digest, "images": each,
    });
    respond::json(code, &body)
}

fn refused(fault: &RedeployFault) -> Status {
    let text = fault.to_string();
    match fault {
        RedeployFault::NoPods { .. } | RedeployFault::Image(TarballFault::NotFound { .. }) => {
            Status::new(404, "NotFound", text)
        }
        RedeployFault::UnderWay { .. } => Status::new(409, "Conflict", text),
        RedeployFault::NotYet => Status::unavailable(text, 1),
        RedeployFault::Image(_) => Status::unavailable(text, REGISTRY_AWAY),
        RedeployFault::NotStored(_) => Status::timeout(text),
    }
}

/// `POST /api/v1/registry/push-notify`. Whoever is refused with 429 or 503 tells again later.
pub fn notify(parts: &HttpParts, body: &Value) -> Result<HttpResponse, Status> {
    let (image, noted) = match push_notice::read(body)? {
        Notice::Tag(pushed) => {
            let image = format!("{}:{}", pushed.repository, pushed.tag);
            parts.images.pushed.tell(pushed).map_err(|why| respond::status_of(CallError::NotAnswered(why)))?;
            (image, true)
        }
        Notice::Digest => {
            (body["image"].as_str().or(body["repository"].as_str()).unwrap_or_default().to_owned(), false)
        }
    };
    Ok(respond::json(200, &json!({"status": "ok", "image": image, "noted": noted})))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_messages::objects::ObjectKey;

    #[test]
    fn each_reason_not_to_redeploy_has_its_code() {
        let away = TarballFault::Unreachable { image: "a".into(), registry: "r".into(), why: "away".into() };
        let absent = TarballFault::NotFound { image: "a".into(), registry: "r".into() };
        let pod = ObjectKey::new("default", "a");
        for (fault, code) in [
            (RedeployFault::NoPods { image: "a".into() }, 404),
            (RedeployFault::UnderWay { image: "a".into(), digest: "sha256:1".into(), pod }, 409),
            (RedeployFault::NotYet, 503),
            (RedeployFault::Image(away), 503),
            (RedeployFault::Image(absent), 404),
            (RedeployFault::NotStored("late".into()), 504),
        ] {
            assert_eq!(refused(&fault).code, code, "{fault}");
        }
    }
}
