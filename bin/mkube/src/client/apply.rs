//! `mkube apply`: objects are made what manifests say, all that can be, and each is told of.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::api::{Api, PATIENCE, block_on, encoded};
use super::discovery::{Discovery, Resource};
use super::files::{self, Document};
use super::look::{Look, tone_of};
use super::progress::Progress;
use super::{prune, readiness};
use crate::cli::ApplyArgs;
use crate::failure::{FAILED, Failure, USAGE};
use crate::say::print;

/// Longest wait for what became of many documents.
pub const LONG: Duration = Duration::from_secs(600);
/// Pause between two looks at what is waited for.
const PAUSE: Duration = Duration::from_millis(500);

/// One object to be applied, with where it goes.
struct Planned {
    place: String,
    resource: Resource,
    namespace: Option<String>,
    name: String,
    object: Value,
}

/// `mkube apply`.
pub fn apply(args: &ApplyArgs, look: Look) -> Result<(), Failure> {
    if args.prune && args.server_side {
        return Err(Failure::text(
            USAGE,
            "--prune knows what was applied by the annotation that --server-side does not write",
        ));
    }
    let documents = files::read(&args.filename)?;
    if documents.is_empty() && !args.prune {
        return Err(Failure::text(FAILED, "there is no object in these files"));
    }
    let api = Api::new(&args.server)?;
    block_on(async {
        let known = Discovery::of(&api).await?;
        let namespace = api.namespace(args.namespace.as_deref());
        let planned: Vec<Planned> =
            documents.into_iter().map(|document| plan(&known, document, namespace)).collect::<Result<_, _>>()?;
        if args.server_side {
            each(&api, args, look, &planned).await?;
        } else {
            together(&api, args, look, &planned).await?;
        }
        if args.waiting.wait && !args.dry_run.is_on() {
            wait(&api, &planned, args.waiting.timeout, look).await
        } else {
            Ok(())
        }
    })
}

fn plan(known: &Discovery, document: Document, namespace: &str) -> Result<Planned, Failure> {
    let Document { place, mut object } = document;
    // Manifests of the Go controller say neither.
    if object.is_object() {
        for (field, usual) in [("kind", "Pod"), ("apiVersion", "v1")] {
            if object.get(field).is_none_or(Value::is_null) {
                object[field] = json!(usual);
            }
        }
    }
    let resource = known.of_object(&object).map_err(|failure| failure.at(&place))?.clone();
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (name, own) = (text("/metadata/name"), text("/metadata/namespace"));
    let namespace = resource.namespaced.then(|| if own.is_empty() { namespace.to_owned() } else { own.clone() });
    if let (Some(namespace), true, true) = (&namespace, own.is_empty(), object["metadata"].is_object()) {
        object["metadata"]["namespace"] = json!(namespace);
    }
    Ok(Planned { place, resource, namespace, name, object })
}

/// All documents in one request, compared with what was applied before.
async fn together(api: &Api, args: &ApplyArgs, look: Look, planned: &[Planned]) -> Result<(), Failure> {
    let text: String = planned.iter().map(|one| format!("---\n{}\n", one.object)).collect();
    let mut query = vec!["fieldManager=mkube-apply".to_owned()];
    query.extend(args.dry_run.is_on().then(|| "dryRun=All".to_owned()));
    let answer = if args.prune {
        let selector = args.selector.as_deref().ok_or_else(|| {
            let failure = Failure::text(USAGE, "--prune deletes by label, and none is named");
            failure.hint("-l app=shop, a label that these objects have and no others")
        })?;
        query.push(format!("prune={}", encoded(selector)));
        prune::send(api, &query, text, args, look).await?
    } else {
        api.post_text(&format!("/api/v1/apply?{}", query.join("&")), text.into_bytes(), LONG).await?
    };
    told(api, answer, args, look, planned)
}

fn told(
    api: &Api,
    (code, body): (StatusCode, Value),
    args: &ApplyArgs,
    look: Look,
    planned: &[Planned],
) -> Result<(), Failure> {
    let Some(results) = body["results"].as_array() else { return api.accepted((code, body)).map(drop) };
    let mut failed = 0;
    for (index, result) in results.iter().enumerate() {
        let text = |field: &str| result[field].as_str().unwrap_or_default();
        let of = planned.get(index);
        let kind = of.map_or_else(|| text("kind").to_ascii_lowercase(), |one| one.resource.singular.clone());
        let warnings = result["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
        warnings.for_each(|warning| eprintln!("warning: {kind}/{}: {warning}", text("name")));
        if text("action") == "failed" {
            failed += 1;
            let place = of.map(|one| format!("{}: ", one.place)).unwrap_or_default();
            Failure::text(FAILED, format!("{place}{}", text("error"))).say();
            continue;
        }
        say(&kind, text("name"), text("action"), args, look)?;
    }
    if let Some(skipped) = body["prune"]["skipped"].as_str() {
        eprintln!("warning: {skipped}");
    }
    match failed {
        0 => Ok(()),
        // Each was said already.
        1 if results.len() == 1 => Err(Failure::silent(FAILED)),
        _ => Err(Failure::text(FAILED, format!("{failed} of {} were refused", results.len()))),
    }
}

fn say(kind: &str, name: &str, action: &str, args: &ApplyArgs, look: Look) -> Result<(), Failure> {
    let dry = if args.dry_run.is_on() { " (server dry run)" } else { "" };
    print(format!("{kind}/{name} {}{dry}\n", look.paint(tone_of("ACTION", action), action)))
}

/// Each document as a server-side apply of its own, namespaces and networks first.
async fn each(api: &Api, args: &ApplyArgs, look: Look, planned: &[Planned]) -> Result<(), Failure> {
    let mut order: Vec<&Planned> = planned.iter().collect();
    order.sort_by_key(|one| match one.resource.kind.as_str() {
        "Namespace" => 0,
        "Network" => 1,
        _ => 2,
    });
    let mut failed = 0;
    for one in order {
        let mut query = format!("?fieldManager={}&fieldValidation=Strict", encoded(&args.field_manager));
        if args.force_conflicts {
            query += "&force=true";
        }
        if args.dry_run.is_on() {
            query += "&dryRun=All";
        }
        let path = one.resource.path(one.namespace.as_deref(), Some(&one.name)) + &query;
        let request = api.request(Method::PATCH, &path).header("content-type", "application/apply-patch+yaml");
        let (code, body) = api.json_within(PATIENCE, request.body(one.object.to_string())).await?;
        let done = api.accepted((code, body));
        match done {
            Ok(_) => {
                let action = if code == StatusCode::CREATED { "created" } else { "serverside-applied" };
                say(&one.resource.singular, &one.name, action, args, look)?;
            }
            Err(failure) => {
                failed += 1;
                let failure = if code == StatusCode::CONFLICT {
                    failure.hint("--force-conflicts takes the fields; or leave them out of the manifest")
                } else {
                    failure
                };
                failure.at(&one.place).say();
            }
        }
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::text(FAILED, format!("{failed} of {} were refused", planned.len()))),
    }
}

/// Waits until everything is what it is to be.
async fn wait(api: &Api, planned: &[Planned], timeout: Duration, look: Look) -> Result<(), Failure> {
    let all = planned.iter().map(|one| {
        (
            format!("{}/{}", one.resource.singular, one.name),
            one.resource.path(one.namespace.as_deref(), Some(&one.name)),
        )
    });
    until_ready(api, all.collect(), timeout, look).await
}

/// Waits until every object is what it is to be; names and paths.
pub async fn until_ready(
    api: &Api,
    mut waiting: Vec<(String, String)>,
    timeout: Duration,
    look: Look,
) -> Result<(), Failure> {
    let deadline = Instant::now() + timeout;
    let mut progress = Progress::new(look);
    loop {
        let mut left = Vec::new();
        let mut missing = Vec::new();
        for (name, path) in waiting {
            match readiness::of(&api.get_json(&path, "application/json").await?) {
                readiness::Progress::Done => {}
                readiness::Progress::Failed(why) => return Err(Failure::text(FAILED, format!("{name}: {why}"))),
                readiness::Progress::Waits(why) => {
                    missing.push(format!("{name}: {why}"));
                    left.push((name, path));
                }
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let text = format!("not ready within {}s: {}", timeout.as_secs(), missing.join("; "));
            return Err(Failure::text(FAILED, text).hint("it goes on by itself; `mkube describe` shows what happens"));
        }
        progress.show(&match missing.len() {
            1 => missing.concat(),
            more => format!("{more} are not ready; {}", missing[0]),
        });
        waiting = left;
        tokio::time::sleep(PAUSE).await;
    }
}
