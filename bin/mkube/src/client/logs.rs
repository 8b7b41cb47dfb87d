//! `mkube logs`: what containers wrote; of several at once with the name in front of each line.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reqwest::Method;
use serde_json::Value;

use super::api::{Api, block_on, encoded};
use super::look::{Look, Tone};
use super::pods;
use crate::cli::LogsArgs;
use crate::failure::{FAILED, Failure, USAGE};
use crate::say::print;

/// Containers that are followed at the same time.
const TOGETHER: usize = 32;
/// Bytes of a line before it is printed without its end.
const LINE: usize = 1 << 20;

/// `mkube logs`.
pub fn logs(args: &LogsArgs, look: Look) -> Result<(), Failure> {
    let api = Api::new(&args.reach.server)?;
    block_on(async {
        let namespace = api.namespace(args.reach.namespace.as_deref()).to_owned();
        let found = match (&args.pod, &args.selector) {
            (Some(_), Some(_)) => return Err(Failure::text(USAGE, "a name and -l do not go together")),
            (None, None) => return Err(Failure::text(USAGE, "which pod? a name, or -l SELECTOR")),
            (Some(word), None) => pods::of(&api, word, &namespace).await?,
            (None, Some(selector)) => pods::selected(&api, selector, &namespace).await?,
        };
        let sources: Vec<(String, Option<String>)> = found.iter().flat_map(|pod| sources(pod, args, look)).collect();
        if sources.is_empty() {
            eprintln!("No pods found");
            return Ok(());
        }
        if args.follow && sources.len() > TOGETHER {
            let why = format!("{} containers cannot be followed at once, {TOGETHER} can", sources.len());
            return Err(Failure::text(USAGE, why));
        }
        let many = sources.len() > 1;
        let one = |(pod, container): &(String, Option<String>)| {
            let prefix = (many || args.prefix).then(|| prefix(pod, container.as_deref(), look));
            copy(&api, path(&namespace, pod, container.as_deref(), args), prefix)
        };
        if !args.follow {
            for source in &sources {
                one(source).await?;
            }
            return Ok(());
        }
        let mut following: FuturesUnordered<_> = sources.iter().map(one).collect();
        let mut failed = Ok(());
        while let Some(ended) = following.next().await {
            if let Err(failure) = ended {
                // The others go on.
                if let Err(before) = std::mem::replace(&mut failed, Err(failure)) {
                    before.say();
                }
            }
        }
        failed
    })
}

/// Pod and container; none where the server knows which.
fn sources(pod: &Value, args: &LogsArgs, look: Look) -> Vec<(String, Option<String>)> {
    let name = pods::name(pod).to_owned();
    if args.all_containers {
        return pods::containers(pod).into_iter().map(|container| (name.clone(), Some(container))).collect();
    }
    vec![(name, pods::container(pod, args.container.as_deref(), look))]
}

fn path(namespace: &str, pod: &str, container: Option<&str>, args: &LogsArgs) -> String {
    let mut query: Vec<String> = Vec::new();
    query.extend(container.map(|name| format!("container={}", encoded(name))));
    query.extend(args.tail.map(|lines| format!("tailLines={lines}")));
    query.extend(args.since.map(|since| format!("sinceSeconds={}", since.as_secs().max(1))));
    query.extend(args.since_time.as_ref().map(|time| format!("sinceTime={}", encoded(time))));
    query.extend(args.limit_bytes.map(|bytes| format!("limitBytes={bytes}")));
    for (name, on) in [("follow", args.follow), ("previous", args.previous), ("timestamps", args.timestamps)] {
        query.extend(on.then(|| format!("{name}=true")));
    }
    format!("/api/v1/namespaces/{}/pods/{}/log?{}", encoded(namespace), encoded(pod), query.join("&"))
}

fn prefix(pod: &str, container: Option<&str>, look: Look) -> String {
    let text = match container {
        Some(container) => format!("[{pod}/{container}]"),
        None => format!("[{pod}]"),
    };
    look.paint(Some(Tone::Heading), &text) + " "
}

/// Copies a log; with a prefix line by line, so that lines of two do not mix.
async fn copy(api: &Api, path: String, prefix: Option<String>) -> Result<(), Failure> {
    use std::io::Write;
    let mut answer = api.stream(api.request(Method::GET, &path)).await?;
    let mut line: Vec<u8> = Vec::new();
    let out = |bytes: &[u8]| {
        let mut out = std::io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            // Whoever read it has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::silent(0)),
            Err(error) => Err(Failure::new(FAILED, error)),
            Ok(()) => Ok(()),
        }
    };
    while let Some(chunk) = answer.chunk().await.map_err(|error| Failure::new(FAILED, error))? {
        let Some(prefix) = &prefix else {
            out(&chunk)?;
            continue;
        };
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || line.len() > LINE {
                let whole = [prefix.as_bytes(), &std::mem::take(&mut line)].concat();
                out(&whole)?;
            }
        }
    }
    match (prefix, line.is_empty()) {
        (Some(prefix), false) => print(format!("{prefix}{}\n", String::from_utf8_lossy(&line))),
        _ => Ok(()),
    }
}
