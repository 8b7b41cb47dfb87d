//! `mkube scale`: another number of replicas.

use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Api, block_on};
use super::apply::until_ready;
use super::get::JSON;
use super::look::Look;
use super::targets;
use crate::cli::ScaleArgs;
use crate::failure::{FAILED, Failure, USAGE};
use crate::say::print;

/// `mkube scale`.
pub fn scale(args: &ScaleArgs, look: Look) -> Result<(), Failure> {
    let api = Api::new(&args.reach.server)?;
    block_on(async {
        let namespace = api.namespace(args.reach.namespace.as_deref()).to_owned();
        let mut scaled = Vec::new();
        for target in targets::of(&api, &args.what.words, &args.what.filename).await? {
            if target.names.is_empty() {
                let why = format!("which of the {}? name one", target.resource.plural);
                return Err(Failure::text(USAGE, why));
            }
            let namespace = target.namespace.as_ref().unwrap_or(&namespace);
            for name in &target.names {
                let path = target.resource.path(Some(namespace), Some(name));
                one(&api, &format!("{path}/scale"), args).await?;
                let name = format!("{}/{name}", target.resource.singular);
                print(format_args!("{name} scaled\n"))?;
                scaled.push((name, path));
            }
        }
        if args.waiting.wait { until_ready(&api, scaled, args.waiting.timeout, look).await } else { Ok(()) }
    })
}

async fn one(api: &Api, path: &str, args: &ScaleArgs) -> Result<(), Failure> {
    let Some(expected) = args.current_replicas else {
        return api.merge_patch(path, &json!({"spec": {"replicas": args.replicas}})).await.map(drop);
    };
    // The version that was looked at: whoever is faster is not undone.
    let mut scale = api.get_json(path, JSON).await?;
    let found = scale["spec"]["replicas"].as_u64().unwrap_or(0);
    if found != u64::from(expected) {
        return Err(Failure::text(FAILED, format!("expected replicas to be {expected}, there are {found}")));
    }
    scale["spec"]["replicas"] = Value::from(args.replicas);
    api.good(api.request(Method::PUT, path).json(&scale)).await.map(drop)
}
