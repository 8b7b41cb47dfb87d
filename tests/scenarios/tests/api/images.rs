//! `/api/v1/images`, redeployment and push notices over real HTTP, with pods on a simulated host.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mkube_model::image_pins;
use mkube_model::neighbours::tarballs::{
    Archive, CachedImage, ImageRequest, InUse, ProgressSink, TarballFault, TarballSource,
};
use mkube_model::secret::Secret;
use mkube_rollouts::Rules;
use mkube_scenarios::{Setup, World};
use ring::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::PODS;

const IMAGE: &str = "10.0.0.1:5000/app:edge";
const NOTIFY: &str = "/api/v1/registry/push-notify";
const REDEPLOY: &str = "/api/v1/images/redeploy";

fn digest(letter: char) -> String {
    format!("sha256:{}", letter.to_string().repeat(64))
}

/// A registry that has what a test says, and a directory of archives.
struct Registry {
    directory: TempDir,
    /// Digest by image; none while it is away.
    has: Mutex<Option<BTreeMap<String, String>>>,
}

impl Registry {
    fn new() -> anyhow::Result<Arc<Self>> {
        let has = BTreeMap::from([(IMAGE.to_owned(), digest('a'))]);
        Ok(Arc::new(Self { directory: tempfile::tempdir()?, has: Mutex::new(Some(has)) }))
    }

    fn push(&self, digest: &str) {
        self.set(Some(BTreeMap::from([(IMAGE.to_owned(), digest.to_owned())])));
    }

    fn set(&self, has: Option<BTreeMap<String, String>>) {
        *self.has.lock().unwrap_or_else(PoisonError::into_inner) = has;
    }

    fn digest_of(&self, image: &str) -> Result<String, TarballFault> {
        let (image, registry) = (image.to_owned(), "10.0.0.1:5000".to_owned());
        match self.has.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            None => Err(TarballFault::Unreachable { image, registry, why: "connection refused".into() }),
            Some(has) => has.get(&image).cloned().ok_or(TarballFault::NotFound { image, registry }),
        }
    }

    fn archives(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.directory.path()).expect("the directory is there");
        entries.map(|entry| entry.expect("readable").path()).collect()
    }
}

#[async_trait]
impl TarballSource for Registry {
    async fn ensure(&self, request: &ImageRequest, _progress: ProgressSink) -> Result<Archive, TarballFault> {
        let digest = match &request.digest {
            Some(digest) => digest.clone(),
            None => self.digest_of(&request.image)?,
        };
        let path = self.directory.path().join(format!("{}.tar", digest.replace(':', "-")));
        std::fs::write(&path, b"an archive").map_err(|error| TarballFault::Unreadable(error.to_string()))?;
        Ok(Archive { path, digest: Some(digest), bytes: 10, stale: None })
    }

    async fn resolve(&self, request: &ImageRequest) -> Result<String, TarballFault> {
        self.digest_of(&request.image)
    }

    async fn cached(&self) -> Result<Vec<CachedImage>, TarballFault> {
        let image = |path: PathBuf| CachedImage {
            references: vec![IMAGE.to_owned()],
            digest: image_pins::digest_of_archive(&path.to_string_lossy()),
            path,
            bytes: 10,
            pulled_at: Some("2026-01-01T00:00:00Z".parse().expect("a time")),
            last_used: None,
        };
        Ok(self.archives().into_iter().map(image).collect())
    }

    async fn collect(&self, _in_use: &InUse) -> Result<Vec<CachedImage>, TarballFault> {
        Ok(Vec::new())
    }
}

async fn world(registry: &Arc<Registry>, notify_secret: Option<Secret>) -> anyhow::Result<World> {
    let rules = Rules { settle: Duration::from_millis(200), interval: Duration::from_secs(3600), ..Rules::default() };
    let tarballs: Arc<dyn TarballSource> = registry.clone();
    World::with(Setup { tarballs: Some(tarballs), rollouts: rules, notify_secret, ..Setup::default() }).await
}

fn follower(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "annotations": {"vkube.io/image-policy": "auto"}},
        "spec": {"containers": [{"name": "c", "image": IMAGE}]},
    })
}

async fn until_runs(world: &World, pod: &str, digest: &str) -> anyhow::Result<()> {
    let id = format!("@{digest}");
    world
        .until(&format!("{pod} runs {digest} and is not tried any more"), |view| {
            let pods = view.kinds.iter().find(|(kind, _)| kind.plural == "pods").map(|(_, pods)| pods);
            let found = pods.and_then(|pods| pods.objects.values().find(|object| object.key.name == pod));
            found.is_some_and(|object| {
                let value = object.value();
                let status = value.pointer("/status/containerStatuses/0").cloned().unwrap_or_default();
                status["ready"] == true
                    && status["imageID"].as_str().is_some_and(|text| text.ends_with(&id))
                    && value["metadata"]["annotations"]["vkube.io/image-rollout"].is_null()
            })
        })
        .await
}

#[actix_rt::test]
async fn a_push_notice_ends_in_new_containers_and_the_list_of_images_says_so() -> anyhow::Result<()> {
    let registry = Registry::new()?;
    let world = world(&registry, None).await?;
    for name in ["a", "b"] {
        world.api().post(PODS, &follower(name)).await?.expect(201);
        until_runs(&world, name, &digest('a')).await?;
    }
    registry.push(&digest('b'));
    let told = world.api().post(NOTIFY, &json!({"image": "app:edge"})).await?.expect(200);
    assert_eq!((&told.body["status"], &told.body["image"]), (&json!("ok"), &json!("app:edge")));
    for name in ["a", "b"] {
        until_runs(&world, name, &digest('b')).await?;
    }
    let list = world.api().get("/api/v1/images").await?.expect(200);
    let rows = list.body.as_array().expect("an array, as of the Go controller");
    let row = rows.iter().find(|row| row["ref"] == IMAGE).expect("the image");
    for field in ["ref", "tarballPath", "digest", "pulledAt", "size", "inUse"] {
        assert!(row.get(field).is_some(), "{field}: {row:#}");
    }
    assert_eq!(row["rollout"]["pods"], 2, "{row:#}");
    assert_eq!(row["inUse"], 2, "{row:#}");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn the_notice_of_a_digest_is_taken_and_changes_nothing() -> anyhow::Result<()> {
    let registry = Registry::new()?;
    let world = world(&registry, None).await?;
    world.api().post(PODS, &follower("a")).await?.expect(201);
    until_runs(&world, "a", &digest('a')).await?;
    let body = json!({"image": format!("app:{}", digest('b'))});
    let told = world.api().post(NOTIFY, &body).await?.expect(200);
    assert_eq!(told.body["noted"], false, "{}", told.text);
    // What the notice says is not taken on trust: the registry still has the old one.
    let body = json!({"repository": "app", "tag": "edge", "digest": digest('b'), "registry": "elsewhere:5000"});
    assert_eq!(world.api().post(NOTIFY, &body).await?.expect(200).body["noted"], true);
    let current = world.api().post(REDEPLOY, &json!({"image": IMAGE})).await?.expect(200);
    assert_eq!(current.body["digest"], digest('a').as_str());
    until_runs(&world, "a", &digest('a')).await?;
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_redeployment_is_answered_with_what_will_be_done() -> anyhow::Result<()> {
    let registry = Registry::new()?;
    let world = world(&registry, None).await?;
    let api = world.api();
    api.post(REDEPLOY, &json!({"image": "app"})).await?.refused(404, "NotFound").saying("image-policy: auto");
    api.post(PODS, &follower("a")).await?.expect(201);
    until_runs(&world, "a", &digest('a')).await?;
    let current = api.post(REDEPLOY, &json!({"image": "app"})).await?.expect(200).body;
    assert_eq!((&current["queued"], &current["current"]), (&json!([]), &json!(["default/a"])));
    registry.push(&digest('b'));
    let queued = api.post(REDEPLOY, &json!({"image": "app"})).await?.expect(202).body;
    assert_eq!((&queued["status"], &queued["image"]), (&json!("ok"), &json!("app")));
    assert_eq!((&queued["queued"], &queued["digest"]), (&json!(["default/a"]), &json!(digest('b'))));
    until_runs(&world, "a", &digest('b')).await?;
    registry.set(None);
    api.post(REDEPLOY, &json!({"image": "app"})).await?.refused(503, "ServiceUnavailable").saying("connection refused");
    registry.set(Some(BTreeMap::new()));
    api.post(REDEPLOY, &json!({"image": "app"})).await?.refused(404, "NotFound").saying("has no image");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn bad_requests_about_images_are_refused_and_change_nothing() -> anyhow::Result<()> {
    let registry = Registry::new()?;
    let world = world(&registry, None).await?;
    let (api, before) = (world.api(), world.stored());
    for body in [
        json!(null),
        json!({}),
        json!({"image": ""}),
        json!({"image": 7}),
        json!([]),
        json!({"image": "a".repeat(600)}),
    ] {
        api.post(REDEPLOY, &body).await?.refused(400, "BadRequest");
        api.post(NOTIFY, &body).await?.refused(400, "BadRequest");
    }
    for path in [NOTIFY, REDEPLOY] {
        api.send("POST", path, &[("content-type", "application/json")], "{").await?.refused(400, "BadRequest");
        api.get(path).await?.refused(405, "MethodNotAllowed");
    }
    api.post("/api/v1/images", &json!({})).await?.refused(405, "MethodNotAllowed");
    api.get("/api/v1/images/other").await?.refused(404, "NotFound");
    let large = "x".repeat(4 << 20);
    api.send("POST", NOTIFY, &[], large).await?.refused(413, "RequestEntityTooLarge");
    assert_eq!(world.stored(), before);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn with_a_secret_only_signed_notices_are_heard() -> anyhow::Result<()> {
    let registry = Registry::new()?;
    let world = world(&registry, Some(Secret::new("between us"))).await?;
    let body = json!({"image": "app:edge"}).to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"between us");
    let hex: String = hmac::sign(&key, body.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let signature = format!("sha256={hex}");
    let send = async |signature: Option<&str>, body: &str| {
        let header: Vec<(&str, &str)> = signature.map(|text| ("x-mkube-signature", text)).into_iter().collect();
        world.api().send("POST", NOTIFY, &header, body.to_owned()).await
    };
    send(Some(&signature), &body).await?.expect(200);
    send(None, &body).await?.refused(401, "Unauthorized").saying("missing");
    send(Some("sha256=00"), &body).await?.refused(401, "Unauthorized");
    send(Some(&signature), "{\"image\":\"other:edge\"}").await?.refused(401, "Unauthorized");
    world.stop().await;
    Ok(())
}
