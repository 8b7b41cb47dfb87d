//! The `kube` crate, typed, as other programs use it.

use std::time::Duration;

use anyhow::Context;
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use kube::api::{
    AttachParams, DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use kube::core::GroupVersionKind;
use kube::{Api, Client, Config};
use mkube_scenarios::World;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pod;

fn client(world: &World) -> anyhow::Result<Client> {
    let mut config = Config::new(format!("http://{}", world.api().address()).parse()?);
    config.read_timeout = Some(Duration::from_secs(60));
    Ok(Client::try_from(config)?)
}

#[actix_rt::test]
async fn pods_are_created_listed_watched_patched_read_and_deleted_by_types() -> anyhow::Result<()> {
    let world = World::start().await?;
    let client = client(&world)?;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let wanted: Pod = serde_json::from_value(pod("web"))?;
    let made = pods.create(&PostParams::default(), &wanted).await?;
    assert_eq!(made.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()), Some("Always"));
    let version = made.metadata.resource_version.clone().context("a version")?;
    let again = pods.create(&PostParams::default(), &wanted).await;
    assert!(
        matches!(&again, Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists"),
        "{again:?}"
    );

    let mut events =
        pods.watch(&WatchParams::default().fields("metadata.name=web").timeout(60), &version).await?.boxed();
    let running = async {
        while let Some(event) = events.try_next().await? {
            if let WatchEvent::Modified(pod) = event
                && pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
            {
                return Ok(pod);
            }
        }
        anyhow::bail!("the watch ended")
    };
    let running = tokio::time::timeout(Duration::from_secs(60), running).await??;
    assert!(running.status.and_then(|status| status.pod_ip).is_some());

    let listed = pods.list(&ListParams::default().labels("app=web").limit(1)).await?;
    assert_eq!(listed.items.len(), 1);
    assert_eq!(pods.list(&ListParams::default().labels("app notin (web)")).await?.items.len(), 0);
    let merge = Patch::Merge(json!({"metadata": {"annotations": {"a": "b"}}}));
    let patched = pods.patch("web", &PatchParams::default(), &merge).await?;
    assert_eq!(patched.metadata.annotations.and_then(|all| all.get("a").cloned()).as_deref(), Some("b"));
    let strategic = Patch::Strategic(json!({"metadata": {"labels": {"tier": "front"}}}));
    assert!(
        pods.patch("web", &PatchParams::default(), &strategic).await?.metadata.labels.is_some_and(|all| all.len() == 2)
    );
    let metadata = pods.get_metadata("web").await?;
    assert_eq!(metadata.metadata.name.as_deref(), Some("web"));
    // The simulated host has nothing to say; that it answers in plain text is what counts here.
    let log = pods.logs("web", &LogParams { tail_lines: Some(5), ..LogParams::default() }).await?;
    assert!(!log.contains("\"kind\":\"Status\""), "{log}");
    let unknown = pods.logs("web", &LogParams { container: Some("zz".into()), ..LogParams::default() }).await;
    assert!(matches!(&unknown, Err(kube::Error::Api(status)) if status.code == 400), "{unknown:?}");

    let deleted = pods.delete("web", &DeleteParams::default()).await?;
    assert!(deleted.left().is_some_and(|pod| pod.metadata.deletion_timestamp.is_some()));
    world
        .until("the end of the pod", |view| {
            !view.kinds.values().any(|kind| kind.objects.keys().any(|key| key.name == "web"))
        })
        .await?;
    assert!(pods.get_opt("web").await?.is_none());
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn other_kinds_and_discovery_work_by_types() -> anyhow::Result<()> {
    let world = World::start().await?;
    let client = client(&world)?;
    assert_eq!(client.apiserver_version().await?.minor, "32");
    assert_eq!(client.list_core_api_versions().await?.versions, ["v1"]);
    let resources = client.list_core_api_resources("v1").await?;
    assert!(resources.resources.iter().any(|one| one.name == "pods/log"));
    let nodes: Api<Node> = Api::all(client.clone());
    assert_eq!(nodes.list(&ListParams::default()).await?.items.len(), 1);
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let team: Namespace = serde_json::from_value(json!({"metadata": {"name": "team"}}))?;
    namespaces.create(&PostParams::default(), &team).await?;
    let maps: Api<ConfigMap> = Api::namespaced(client, "team");
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "m"}, "data": {"a": "1"}}))?;
    let mut made = maps.create(&PostParams::default(), &map).await?;
    made.data.get_or_insert_default().insert("b".into(), "2".into());
    let first = maps.replace("m", &PostParams::default(), &made).await?;
    let stale = maps.replace("m", &PostParams::default(), &made).await;
    assert!(matches!(&stale, Err(kube::Error::Api(status)) if status.reason == "Conflict"), "{stale:?}");
    assert_eq!(first.data.map(|data| data.len()), Some(2));
    let params = DeleteParams::default();
    let gone = maps.delete_collection(&params, &ListParams::default()).await?;
    assert_eq!(gone.left().map(|list| list.items.len()), Some(1));
    world.stop().await;
    Ok(())
}

/// Statement 58, the part of Rust.
#[actix_rt::test]
async fn a_kind_without_types_is_discovered_and_written() -> anyhow::Result<()> {
    let world = World::start().await?;
    let client = client(&world)?;
    let kind = GroupVersionKind::gvk("vkube.io", "v1alpha1", "BareMetalHost");
    let (resource, able) = kube::discovery::pinned_kind(&client, &kind).await?;
    assert_eq!((resource.plural.as_str(), able.subresources.len()), ("baremetalhosts", 1));
    let hosts: Api<DynamicObject> = Api::default_namespaced_with(client, &resource);
    let wanted = DynamicObject::new("m", &resource).data(json!({"spec": {"bootMACAddress": "02:00:00:00:00:01"}}));
    hosts.create(&PostParams::default(), &wanted).await?;
    assert_eq!(hosts.list(&ListParams::default()).await?.items.len(), 1);
    let merge = Patch::Merge(json!({"metadata": {"labels": {"rack": "a"}}}));
    let patched = hosts.patch("m", &PatchParams::default(), &merge).await?;
    assert_eq!(patched.metadata.labels.and_then(|all| all.get("rack").cloned()).as_deref(), Some("a"));
    let status = Patch::Merge(json!({"status": {"phase": "Ready"}, "spec": {"bootMACAddress": "02:00:00:00:00:02"}}));
    let reported = hosts.patch_status("m", &PatchParams::default(), &status).await?.data;
    assert_eq!(reported["status"]["phase"], "Ready");
    assert_eq!(reported["spec"]["bootMACAddress"], "02:00:00:00:00:01", "the status is all that is written there");
    hosts.delete("m", &DeleteParams::default()).await?;
    assert!(hosts.get_opt("m").await?.is_none());
    world.stop().await;
    Ok(())
}

/// Statement 60, its first part.
#[actix_rt::test]
async fn commands_move_data_both_ways_and_tell_their_end() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.api().post(crate::PODS, &pod("box")).await?.expect(201);
    world.until_pod("box", "Running").await?;
    let pods: Api<Pod> = Api::default_namespaced(client(&world)?);
    let wanted = AttachParams::default().stdin(true).stderr(false);
    let mut running = pods.exec("box", ["cat"], &wanted).await?;
    let mut typing = running.stdin().expect("asked for");
    typing.write_all(b"there and back").await?;
    typing.shutdown().await?;
    drop(typing);
    let mut text = String::new();
    running.stdout().expect("asked for").read_to_string(&mut text).await?;
    assert_eq!(text, "there and back");
    let ended = running.take_status().expect("once").await.expect("a status");
    assert_eq!(ended.status.as_deref(), Some("Success"));
    world.stop().await;
    Ok(())
}
