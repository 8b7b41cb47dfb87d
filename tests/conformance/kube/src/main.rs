//! Drives a server, whose URL is the first argument, with the `kube` crate; ends with 1 at the first surprise. The second argument
//! says whether containers there are `real`: then commands run in them and their ports answer.

mod streams;
mod watching;
mod writing;

use std::time::Duration;

use anyhow::Context;
use kube::{Client, Config};

/// Longest wait for something that takes a moment.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().context("the URL of a server")?;
    let real = arguments.next().is_some_and(|containers| containers == "real");
    let mut config = Config::new(server.parse()?);
    config.read_timeout = Some(PATIENCE);
    let client = Client::try_from(config)?;
    writing::applied_and_patched(&client).await.context("writing")?;
    watching::the_same_in_both_ways_and_without_end(&client).await.context("watching")?;
    watching::mirrored(&client).await.context("a mirror")?;
    streams::pod(&client, real).await.context("a pod")?;
    println!("all well");
    Ok(())
}

/// Looks again and again, until something is found.
async fn until<T, F: Future<Output = anyhow::Result<Option<T>>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> anyhow::Result<T> {
    let looking = async {
        loop {
            if let Some(found) = look().await? {
                return anyhow::Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.with_context(|| format!("not in time: {what}"))?
}
