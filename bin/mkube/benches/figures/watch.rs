//! One change and 200 who watch: how long until the last of them has it.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;
use tokio::sync::mpsc;

use crate::machine::{millis, quantile};
use crate::scale::Site;

const WATCHERS: usize = 200;
const CHANGES: usize = 100;

pub async fn run() -> anyhow::Result<()> {
    println!("## One change and {WATCHERS} watchers\n");
    let site = Site::start().await?;
    let maps = format!("{}/api/v1/namespaces/default/configmaps", site.api);
    let list = site.http.get(&maps).await?;
    let revision = list["metadata"]["resourceVersion"].as_str().context("a list has one")?;
    let before = site.serve.resident();
    let (heard, mut all) = mpsc::unbounded_channel();
    let mut watchers = tokio::task::JoinSet::new();
    let client = reqwest::Client::builder().no_proxy().build()?;
    for _ in 0..WATCHERS {
        let asked = client.get(format!("{maps}?watch=true&resourceVersion={revision}")).send().await?;
        let (mut body, heard) = (asked.error_for_status()?, heard.clone());
        watchers.spawn(async move {
            let mut text = Vec::new();
            while let Ok(Some(more)) = body.chunk().await {
                text.extend_from_slice(&more);
                // A line is an event.
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    text.drain(..=end);
                    if heard.send(Instant::now()).is_err() {
                        return;
                    }
                }
            }
        });
    }
    let idle = site.serve.resident() - before;
    let (mut acknowledged, mut first, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for change in 0..CHANGES {
        let body = json!({"metadata": {"name": format!("m{change}")}, "data": {"text": "x".repeat(200)}});
        let begin = Instant::now();
        site.http.post(&maps, &body).await?;
        acknowledged.push(begin.elapsed());
        let mut times = Vec::new();
        while times.len() < WATCHERS {
            let at = tokio::time::timeout(Duration::from_secs(10), all.recv()).await?.context("they watch")?;
            times.push(at - begin);
        }
        first.extend(times.iter().min());
        last.extend(times.iter().max());
    }
    println!("| {CHANGES} changes, from the request on | median | p99 | longest |");
    println!("|---|---|---|---|");
    for (what, times) in
        [("acknowledged", &mut acknowledged), ("first watcher", &mut first), ("last watcher", &mut last)]
    {
        let [median, most, longest] = [0.5, 0.99, 1.0].map(|share| millis(quantile(times, share)));
        println!("| {what} | {median} | {most} | {longest} |");
    }
    println!("\n{WATCHERS} idle watchers take {idle:.1} MiB; the watchers run in one thread beside the controller\n");
    drop(watchers);
    site.stop();
    Ok(())
}
