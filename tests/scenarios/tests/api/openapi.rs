//! What clients read to check manifests and to explain fields.

use mkube_scenarios::Api;
use serde_json::{Value, json};

use crate::quiet;

const V2: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

async fn url_of(api: &Api, group_version: &str) -> anyhow::Result<String> {
    let index = api.get("/openapi/v3?timeout=32s").await?.expect(200).body;
    Ok(index["paths"][group_version]["serverRelativeURL"].as_str().unwrap_or_default().to_owned())
}

/// Statements 23 and 24: kubectl leaves validation to a server that says of each kind that it does it.
#[actix_rt::test]
async fn each_kind_says_that_the_server_validates_fields() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let url = url_of(api, "api/v1").await?;
    assert!(url.starts_with("/openapi/v3/api/v1?hash="), "{url}");
    let document = api.get(&url).await?.expect(200).body;
    for kind in ["Pod", "ConfigMap", "Namespace", "Node", "Event"] {
        let paths = document["paths"].as_object().into_iter().flatten();
        let validates = paths.filter_map(|(_, path)| path.get("patch")).any(|patch: &Value| {
            patch["x-kubernetes-group-version-kind"] == json!({"group": "", "version": "v1", "kind": kind})
                && patch["parameters"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|one| one["name"] == "fieldValidation" && one["in"] == "query"))
        });
        assert!(validates, "{kind}");
    }
    world.stop().await;
    Ok(())
}

/// Every group and version there is can be read where the index says, and has what its kinds look like.
#[actix_rt::test]
async fn the_index_leads_to_every_document() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let index = api.get("/openapi/v3").await?.expect(200).body;
    let paths = index["paths"].as_object().cloned().unwrap_or_default();
    let groups = api.get("/apis").await?.expect(200).body;
    let versions = groups["groups"].as_array().into_iter().flatten();
    let versions = versions.flat_map(|group| group["versions"].as_array().into_iter().flatten());
    let served: Vec<String> =
        versions.map(|one| format!("apis/{}", one["groupVersion"].as_str().unwrap_or_default())).collect();
    assert!(served.iter().all(|one| paths.contains_key(one)), "{served:?} {paths:?}");
    for (path, entry) in &paths {
        let url = entry["serverRelativeURL"].as_str().unwrap_or_default();
        let document = api.get(url).await?.expect(200);
        assert_eq!(document.body["openapi"], "3.0.0", "{path}");
        assert!(document.body["components"]["schemas"].as_object().is_some_and(|all| !all.is_empty()), "{path}");
    }
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_document_is_kept_for_as_long_as_its_hash_is_right_and_a_wrong_hash_leads_to_the_right_one()
-> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let url = url_of(api, "apis/apps/v1").await?;
    let right = api.get(&url).await?.expect(200);
    assert_eq!(right.header("cache-control"), "public, immutable, max-age=31536000");
    assert_eq!((right.header("vary"), right.header("content-type")), ("Accept, Accept-Encoding", "application/json"));
    let hash = url.rsplit('=').next().unwrap_or_default();
    assert_eq!(right.header("etag"), format!("\"{hash}\""));
    let path = "/openapi/v3/apis/apps/v1";
    let plain = api.get(path).await?.expect(200);
    assert_eq!((plain.header("cache-control"), &plain.body), ("no-cache", &right.body));
    let known = api.send("GET", &url, &[("if-none-match", right.header("etag"))], "").await?.expect(304);
    assert_eq!(known.text, "");
    let moved = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
    let moved = moved.get(format!("http://{}{path}?hash=0123&timeout=32s", api.address())).send().await?;
    assert_eq!(moved.status().as_u16(), 301);
    assert_eq!(moved.headers().get("location").and_then(|value| value.to_str().ok()), Some(url.as_str()));
    assert_eq!(api.send("HEAD", path, &[], "").await?.expect(200).text, "");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn documents_are_compressed_for_those_who_can_read_that() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let path = "/openapi/v3/api/v1";
    let plain = api.get(path).await?.expect(200);
    assert_eq!(plain.header("content-encoding"), "");
    let client = reqwest::Client::builder().no_proxy().build()?;
    // What is packed cannot be indented, too.
    for query in ["", "?pretty=true"] {
        let address = format!("http://{}{path}{query}", api.address());
        let packed = client.get(address).header("accept-encoding", "gzip").send().await?;
        assert_eq!(packed.headers().get("content-encoding").map(|value| value.as_bytes()), Some(&b"gzip"[..]));
        let bytes = packed.bytes().await?;
        assert_eq!(mkube_openapi::unpacked(&bytes)?, plain.text.as_bytes());
        assert!(bytes.len() * 5 < plain.text.len(), "{} of {}", bytes.len(), plain.text.len());
    }
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn version_two_is_protobuf_for_those_who_ask_for_it_and_nothing_for_others() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let found = api.get_as("/openapi/v2?timeout=32s", V2).await?.expect(200);
    assert_eq!(found.header("content-type"), "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    assert!(found.text.contains("io.k8s.api.core.v1.PodSpec") && found.text.contains("io.vkube.v1alpha1.Network"));
    for accept in ["application/json", "*/*", "text/html"] {
        api.get_as("/openapi/v2", accept).await?.refused(406, "NotAcceptable").saying("/openapi/v3");
    }
    api.get("/openapi/v2").await?.refused(406, "NotAcceptable");
    api.get_as("/openapi/v3", "text/html").await?.refused(406, "NotAcceptable");
    for path in ["/openapi/v3/apis/nosuch/v1", "/openapi/v3/api/v2", "/openapi/v3/apis//v1", "/openapi/v4"] {
        assert_eq!(api.get(path).await?.code, 404, "{path}");
    }
    assert_eq!(api.post("/openapi/v3", &json!({})).await?.code, 405);
    world.stop().await;
    Ok(())
}
