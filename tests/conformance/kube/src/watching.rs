//! Watchers and mirrors, as controllers use them.

use std::collections::BTreeMap;
use std::pin::pin;

use anyhow::{Context, ensure};
use futures_util::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt, predicates, reflector};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::{PATIENCE, until};

fn map(name: &str, value: &str) -> anyhow::Result<ConfigMap> {
    let object = json!({"metadata": {"name": name, "labels": {"of": "watching"}}, "data": {"a": value}});
    Ok(serde_json::from_value(object)?)
}

fn value(map: &ConfigMap) -> String {
    map.data.as_ref().and_then(|data| data.get("a").cloned()).unwrap_or_default()
}

/// The objects a watcher begins with.
async fn initial(
    events: &mut (impl Stream<Item = watcher::Result<Event<ConfigMap>>> + Unpin),
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let reading = async {
        while let Some(event) = events.try_next().await? {
            match event {
                Event::InitApply(map) => drop(found.insert(map.name_any(), value(&map))),
                Event::InitDone => return anyhow::Ok(()),
                Event::Init => {}
                other => anyhow::bail!("before the end of the beginning: {other:?}"),
            }
        }
        anyhow::bail!("the watcher ended")
    };
    tokio::time::timeout(PATIENCE, reading).await.context("the initial objects do not come")??;
    Ok(found)
}

/// Statement 59.
pub async fn the_same_in_both_ways_and_without_end(client: &Client) -> anyhow::Result<()> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    for name in ["w1", "w2", "w3"] {
        maps.create(&PostParams::default(), &map(name, "1")?).await?;
    }
    // The server ends each watch after two seconds.
    let listing = watcher::Config::default().labels("of=watching").timeout(2).page_size(2);
    let streaming = watcher::Config::default().labels("of=watching").timeout(2).streaming_lists();
    let (mut one, mut other) = (pin!(watcher(maps.clone(), listing)), pin!(watcher(maps.clone(), streaming)));
    let begun = initial(&mut one).await?;
    ensure!(begun.len() == 3 && begun == initial(&mut other).await?, "{begun:?}");
    // Over the end of several watches, nothing is missed, told twice, or begun anew.
    for round in 2..8 {
        let wanted = round.to_string();
        let patch = Patch::Merge(json!({"data": {"a": wanted}}));
        maps.patch("w2", &PatchParams::default(), &patch).await?;
        for events in [&mut one as &mut (dyn Stream<Item = _> + Unpin), &mut other] {
            let told = tokio::time::timeout(PATIENCE, events.try_next()).await??.context("the watcher ended")?;
            ensure!(matches!(&told, Event::Apply(map) if map.name_any() == "w2" && value(map) == wanted), "{told:?}");
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    maps.delete("w1", &DeleteParams::default()).await?;
    for events in [&mut one as &mut (dyn Stream<Item = _> + Unpin), &mut other] {
        let told = tokio::time::timeout(PATIENCE, events.try_next()).await??.context("the watcher ended")?;
        ensure!(matches!(&told, Event::Delete(map) if map.name_any() == "w1"), "{told:?}");
    }
    Ok(())
}

/// A reflector has what the server has, also after changes.
pub async fn mirrored(client: &Client) -> anyhow::Result<()> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let (reader, writer) = reflector::store();
    let watched = watcher(maps.clone(), watcher::Config::default().labels("of=watching"));
    let mirror = reflector(writer, watched).default_backoff().applied_objects();
    let mut changes = pin!(mirror.predicate_filter(predicates::resource_version, Default::default()));
    let driven = async { while changes.next().await.is_some() {} };
    let known = || reader.state().iter().map(|map| (map.name_any(), value(map))).collect::<BTreeMap<_, _>>();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let story = async {
        until("the mirror", || async {
            Ok((known() == BTreeMap::from([pair("w2", "7"), pair("w3", "1")])).then_some(()))
        })
        .await?;
        maps.patch("w3", &PatchParams::default(), &Patch::Merge(json!({"data": {"a": "2"}}))).await?;
        maps.delete("w2", &DeleteParams::default()).await?;
        until("the changes", || async { Ok((known() == BTreeMap::from([pair("w3", "2")])).then_some(())) }).await?;
        maps.delete("w3", &DeleteParams::default()).await?;
        until("the last end", || async { Ok(known().is_empty().then_some(())) }).await
    };
    tokio::select! {
        biased;
        told = story => told,
        () = driven => anyhow::bail!("the mirror ended"),
    }
}
