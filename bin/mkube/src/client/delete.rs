//! `mkube delete`: objects go, and the command ends when they are gone.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::api::{Api, block_on, encoded};
use super::discovery::Resource;
use super::look::{Look, tone_of};
use super::progress::Progress;
use super::targets::{self, Target};
use crate::cli::DeleteArgs;
use crate::failure::{FAILED, Failure, USAGE};
use crate::say::print;

/// Pause between two looks at what is going.
const PAUSE: Duration = Duration::from_millis(200);

/// One object that was told to go.
struct Going {
    name: String,
    path: String,
    uid: String,
}

/// `mkube delete`.
pub fn delete(args: &DeleteArgs, look: Look) -> Result<(), Failure> {
    let api = Api::new(&args.reach.server)?;
    block_on(async {
        let namespace = api.namespace(args.reach.namespace.as_deref()).to_owned();
        let mut going = Vec::new();
        let mut missing = Vec::new();
        for target in targets::of(&api, &args.what.words, &args.what.filename).await? {
            let places = places(&api, args, &target, &namespace).await?;
            for (resource, namespace, name) in places {
                let path = resource.path(namespace.as_deref(), Some(&name));
                let request = api.request(Method::DELETE, &path).json(&options(args));
                let (code, body) = api.json(request).await?;
                if code == 404 && args.ignore_not_found {
                    continue;
                }
                let body = match api.accepted((code, body)) {
                    Ok(body) => body,
                    Err(failure) if code == 404 => {
                        missing.push(failure);
                        continue;
                    }
                    Err(failure) => return Err(failure),
                };
                let dry = if args.dry_run.is_on() { " (server dry run)" } else { "" };
                let word = look.paint(tone_of("ACTION", "deleted"), "deleted");
                print(format!("{}/{name} {word}{dry}\n", resource.singular))?;
                let uid = [&body["metadata"]["uid"], &body["details"]["uid"]].into_iter().find_map(Value::as_str);
                going.push(Going {
                    name: format!("{}/{name}", resource.singular),
                    path,
                    uid: uid.unwrap_or_default().to_owned(),
                });
            }
        }
        if args.wait && !args.dry_run.is_on() {
            until_gone(&api, going, args.timeout, look).await?;
        }
        let mut missing = missing.into_iter();
        let Some(last) = missing.next_back() else { return Ok(()) };
        missing.for_each(|one| one.say());
        Err(last)
    })
}

/// The objects a target means, by name.
async fn places(
    api: &Api,
    args: &DeleteArgs,
    target: &Target,
    namespace: &str,
) -> Result<Vec<(Resource, Option<String>, String)>, Failure> {
    let resource = &target.resource;
    let chosen = args.chosen.selector.is_some() || args.chosen.field_selector.is_some();
    let home = target.namespace.clone().unwrap_or_else(|| namespace.to_owned());
    if !target.names.is_empty() {
        if chosen || args.all || args.chosen.all_namespaces {
            return Err(Failure::text(USAGE, "names do not go together with -l, --field-selector, --all and -A"));
        }
        let home = resource.namespaced.then_some(home);
        return Ok(target.names.iter().map(|name| (resource.clone(), home.clone(), name.clone())).collect());
    }
    if !chosen && !args.all {
        let failure = Failure::text(USAGE, format!("which {}?", resource.plural));
        return Err(failure.hint("name some, select some with -l, or say --all"));
    }
    let pair = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name}={}", encoded(value)));
    let query: Vec<String> =
        [pair("labelSelector", &args.chosen.selector), pair("fieldSelector", &args.chosen.field_selector)]
            .into_iter()
            .flatten()
            .collect();
    let home = (!args.chosen.all_namespaces).then_some(home);
    let path = format!("{}?{}", resource.path(home.as_deref(), None), query.join("&"));
    let list = api.get_json(&path, "application/json").await?;
    let text = |one: &Value, field: &str| one["metadata"][field].as_str().map(str::to_owned);
    let items = list["items"].as_array().into_iter().flatten();
    let found: Vec<_> =
        items.filter_map(|one| Some((resource.clone(), text(one, "namespace"), text(one, "name")?))).collect();
    if found.is_empty() {
        eprintln!("No resources found");
    }
    Ok(found)
}

fn options(args: &DeleteArgs) -> Value {
    let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": args.cascade.policy()});
    let grace = args.grace_period.or(args.force.then_some(0));
    if let Some(seconds) = grace {
        options["gracePeriodSeconds"] = json!(seconds);
    }
    if args.dry_run.is_on() {
        options["dryRun"] = json!(["All"]);
    }
    options
}

async fn until_gone(api: &Api, mut going: Vec<Going>, timeout: Duration, look: Look) -> Result<(), Failure> {
    let deadline = Instant::now() + timeout;
    let mut progress = Progress::new(look);
    loop {
        let mut left = Vec::new();
        for one in going {
            let (code, body) = api.json(api.request(Method::GET, &one.path)).await?;
            // Another one may have its name by now.
            let same = code.is_success() && (one.uid.is_empty() || body["metadata"]["uid"] == one.uid.as_str());
            if same {
                left.push(one);
            } else if code != 404 {
                api.accepted((code, body))?;
            }
        }
        let Some(first) = left.first() else { return Ok(()) };
        if Instant::now() >= deadline {
            let names: Vec<&str> = left.iter().map(|one| one.name.as_str()).collect();
            let text = format!("still there after {}s: {}", timeout.as_secs(), names.join(", "));
            return Err(Failure::text(FAILED, text).hint("they go on going; `mkube describe` shows what holds them"));
        }
        progress.show(&match left.len() {
            1 => format!("{} is going", first.name),
            more => format!("{more} are going; {}", first.name),
        });
        going = left;
        tokio::time::sleep(PAUSE).await;
    }
}
