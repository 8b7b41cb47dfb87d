//! Objects with types and without.

use anyhow::ensure;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Discovery};
use serde_json::json;

/// Server-side apply, and statement 58: a kind without types here, found by discovery.
pub async fn applied_and_patched(client: &Client) -> anyhow::Result<()> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let text = |value: &str| {
        Patch::Apply(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"a": value}}),
        )
    };
    let made = maps.patch("applied", &PatchParams::apply("first"), &text("1")).await?;
    ensure!(
        made.metadata.managed_fields.is_some_and(|all| all.iter().any(|one| one.manager.as_deref() == Some("first")))
    );
    let refused = maps.patch("applied", &PatchParams::apply("second"), &text("2")).await;
    ensure!(matches!(&refused, Err(kube::Error::Api(status)) if status.code == 409), "{refused:?}");
    let forced = maps.patch("applied", &PatchParams::apply("second").force(), &text("2")).await?;
    ensure!(forced.data.is_some_and(|data| data["a"] == "2"));
    maps.delete("applied", &DeleteParams::default()).await?;

    let kind = GroupVersionKind::gvk("vkube.io", "v1alpha1", "BareMetalHost");
    let discovery = Discovery::new(client.clone()).run().await?;
    let (found, able) = discovery.resolve_gvk(&kind).expect("the kind is discovered");
    ensure!(found == ApiResource::from_gvk_with_plural(&kind, "baremetalhosts"), "{found:?}");
    ensure!(able.subresources.iter().any(|(sub, _)| sub.plural == "status"));
    let hosts: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &found);
    let wanted = DynamicObject::new("rust", &found).data(json!({"spec": {"bootMACAddress": "02:00:00:00:00:02"}}));
    hosts.create(&PostParams::default(), &wanted).await?;
    ensure!(hosts.list(&ListParams::default()).await?.items.len() == 1);
    let merge = Patch::Merge(json!({"metadata": {"labels": {"rack": "a"}}}));
    ensure!(
        hosts
            .patch("rust", &PatchParams::default(), &merge)
            .await?
            .metadata
            .labels
            .is_some_and(|all| all["rack"] == "a")
    );
    let status = Patch::Merge(json!({"status": {"phase": "Ready"}}));
    ensure!(hosts.patch_status("rust", &PatchParams::default(), &status).await?.data["status"]["phase"] == "Ready");
    hosts.delete("rust", &DeleteParams::default()).await?;
    ensure!(hosts.get_opt("rust").await?.is_none());
    Ok(())
}
