//! Registries that are broken, overloaded, or lie.

use std::time::Duration;

use mkube_model::neighbours::tarballs::{PullPolicy, TarballFault, TarballSource};
use mkube_model::settings::Architecture;
use serde_json::json;

use crate::image::{Image, OCI_INDEX, OCI_MANIFEST, index, noise, oci};
use crate::registry::{Lie, Registry};
use crate::world::{Source, World, eventually, files_below, request};

/// A registry with one image under `app:1`, and somebody who wants it.
struct Scene {
    registry: Registry,
    image: Image,
    world: World,
    source: Source,
    reference: String,
}

async fn scene(image: Image) -> Scene {
    let registry = Registry::start();
    registry.put("app", "1", &image);
    let world = World::new(&[registry.host()]);
    let source = world.open().await;
    let reference = registry.reference("app:1");
    Scene { registry, image, world, source, reference }
}

fn small() -> Image {
    oci("amd64", &[&[("a", b"one")], &[("b", b"two")]])
}

/// Layers that take more than one packet.
fn large() -> Image {
    oci("amd64", &[&[("a", &noise(600_000, 3))]])
}

impl Scene {
    /// The next `times` requests whose path has `part` are answered by `lie`.
    fn lie(&self, part: &str, mut times: usize, lie: Lie) {
        let part = part.to_owned();
        self.registry.lie(move |seen| {
            let hit = times > 0 && seen.path.contains(&part);
            times -= usize::from(hit);
            hit.then(|| lie.clone())
        });
    }

    async fn fault(&self) -> TarballFault {
        self.source.always(&self.reference).await.expect_err("a fault")
    }

    /// Nothing of the pull is left.
    fn assert_nothing_is_left(&self) {
        assert_eq!(self.world.files(), [""; 0]);
    }

    async fn assert_it_works_afterwards(&self) {
        self.registry.be_honest();
        let archive = self.source.always(&self.reference).await.expect("pulled");
        assert_eq!(archive.digest, Some(self.image.digest()));
    }
}

fn unusable(fault: &TarballFault, part: &str) {
    assert!(matches!(fault, TarballFault::Unusable { why, .. } if why.contains(part)), "{part}: {fault}");
}

fn unreachable(fault: &TarballFault, part: &str) {
    assert!(matches!(fault, TarballFault::Unreachable { why, .. } if why.contains(part)), "{part}: {fault}");
}

#[tokio::test]
async fn a_layer_that_is_not_what_its_digest_says_is_refused_and_leaves_nothing() {
    let scene = scene(small()).await;
    let mut wrong = scene.image.layers[1].clone();
    let middle = wrong.len() / 2;
    wrong[middle] ^= 1;
    scene.lie(&scene.image.layer(1), 99, Lie::Body(wrong));
    let fault = scene.fault().await;
    unusable(&fault, "not what its digest says");
    unusable(&fault, &scene.image.layer(1));
    scene.assert_nothing_is_left();
    scene.assert_it_works_afterwards().await;
}

#[tokio::test]
async fn a_truncated_layer_is_refused_and_leaves_nothing() {
    let scene = scene(large()).await;
    let short = scene.image.layers[0][..500_000].to_vec();
    scene.lie(&scene.image.layer(0), 99, Lie::Body(short.clone()));
    unusable(&scene.fault().await, "shorter than its manifest says");
    scene.assert_nothing_is_left();
    // The same from a registry that cannot go on in the middle.
    scene.registry.be_honest();
    scene.lie(&scene.image.layer(0), 99, Lie::End(1000));
    scene.lie(&scene.image.layer(0), 99, Lie::End(0));
    unusable(&scene.fault().await, "ends after 0 of");
    scene.assert_nothing_is_left();
    scene.assert_it_works_afterwards().await;
}

#[tokio::test]
async fn a_layer_longer_than_its_manifest_says_is_refused_and_leaves_nothing() {
    let scene = scene(small()).await;
    let mut long = scene.image.layers[0].clone();
    long.push(0);
    scene.lie(&scene.image.layer(0), 99, Lie::Body(long));
    unusable(&scene.fault().await, "longer than");
    scene.assert_nothing_is_left();
    scene.assert_it_works_afterwards().await;
}

#[tokio::test]
async fn a_manifest_and_a_config_are_checked_against_their_digests() {
    let scene = scene(small()).await;
    scene.lie("/manifests/", 99, Lie::DigestHeader(crate::image::digest_of(b"another")));
    unusable(&scene.fault().await, "not what its digest says");
    // What is no digest says nothing: some registries give the tag there.
    scene.registry.be_honest();
    scene.lie("/manifests/", 99, Lie::DigestHeader("1".to_owned()));
    scene.source.always(&scene.reference).await.expect("pulled");

    let scene = self::scene(small()).await;
    let other = oci("amd64", &[&[("a", b"something else")]]);
    let config = crate::image::digest_of(&scene.image.config);
    scene.lie(&config, 99, Lie::Body(other.config.clone()));
    unusable(&scene.fault().await, "not what its digest says");
    scene.registry.be_honest();
    scene.lie("/manifests/", 99, Lie::Body(other.manifest.clone()));
    let pinned = scene.source.pinned(&scene.reference, &scene.image.digest()).await.expect_err("another manifest");
    unusable(&pinned, "not what its digest says");
    scene.assert_nothing_is_left();
    scene.assert_it_works_afterwards().await;
}

#[tokio::test]
async fn a_download_that_is_cut_goes_on_where_it_broke_off() {
    let scene = scene(large()).await;
    let layer = scene.image.layer(0);
    scene.lie(&layer, 1, Lie::Cut(100_000));
    scene.lie(&layer, 1, Lie::Cut(300_000));
    scene.source.always(&scene.reference).await.expect("pulled");
    let ranges: Vec<Option<String>> =
        scene.registry.seen().iter().filter(|seen| seen.path.contains(&layer)).map(|seen| seen.range.clone()).collect();
    assert_eq!(ranges, [None, Some("bytes=300000-".to_owned()), Some("bytes=400000-".to_owned())]);
}

#[tokio::test]
async fn a_registry_that_cannot_go_on_in_the_middle_is_heard_from_the_beginning() {
    let scene = scene(large()).await;
    let layer = scene.image.layer(0);
    scene.lie(&layer, 99, Lie::NoRange);
    scene.lie(&layer, 1, Lie::Cut(100_000));
    scene.source.always(&scene.reference).await.expect("pulled");
    assert_eq!(scene.registry.count(&layer), 2);
}

#[tokio::test]
async fn what_was_received_before_a_restart_is_not_asked_for_again() {
    let scene = scene(large()).await;
    let layer = scene.image.layer(0);
    scene.lie(&layer, 99, Lie::Silence);
    scene.lie(&layer, 1, Lie::Cut(200_000));
    unreachable(&scene.fault().await, "");
    let parts = files_below(&scene.world.cache().join("blobs"));
    assert!(matches!(parts.as_slice(), [part] if part.ends_with(".part")), "{parts:?}");
    scene.registry.be_honest();
    scene.registry.forget();
    let later = scene.world.open().await;
    later.always(&scene.reference).await.expect("pulled");
    let range =
        scene.registry.seen().iter().find(|seen| seen.path.contains(&layer)).and_then(|seen| seen.range.clone());
    assert_eq!(range.as_deref(), Some("bytes=200000-"));
}

#[tokio::test]
async fn a_part_that_was_damaged_meanwhile_is_found_and_fetched_anew() {
    let scene = scene(large()).await;
    let layer = scene.image.layer(0);
    scene.lie(&layer, 99, Lie::Silence);
    scene.lie(&layer, 1, Lie::Cut(200_000));
    unreachable(&scene.fault().await, "");
    let part = scene.world.cache().join("blobs").join(format!("{}.part", layer.replace(':', "-")));
    let mut bytes = std::fs::read(&part).expect("there");
    bytes[1000] ^= 1;
    std::fs::write(&part, bytes).expect("written");
    scene.registry.be_honest();
    let later = scene.world.open().await;
    unusable(&later.always(&scene.reference).await.expect_err("damaged"), "not what its digest says");
    later.always(&scene.reference).await.expect("pulled anew");
}

#[tokio::test]
async fn a_registry_that_is_overloaded_is_asked_again_after_the_pause_it_wants() {
    let scene = scene(small()).await;
    let slow_down = |after: &str| {
        let body = br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#.to_vec();
        Lie::Status(429, vec![("Retry-After".to_owned(), after.to_owned())], body)
    };
    scene.lie(&scene.image.layer(0), 1, slow_down("1"));
    scene.lie("/manifests/", 2, slow_down("0"));
    scene.source.always(&scene.reference).await.expect("pulled");
    assert_eq!(scene.registry.count(&scene.image.layer(0)), 2);
    // It is not waited for as long as it likes.
    let scene = self::scene(small()).await;
    scene.lie("/manifests/", 99, slow_down("3600"));
    let fault = scene.fault().await;
    unreachable(&fault, "3600 s");
    unreachable(&fault, "slow down");
    assert_eq!(scene.registry.seen().len(), 1);
    scene.assert_it_works_afterwards().await;
}

#[tokio::test]
async fn errors_of_the_server_are_borne_for_a_while() {
    let scene = scene(small()).await;
    scene.lie(&scene.image.layer(1), 2, Lie::Status(503, vec![], b"not now".to_vec()));
    scene.lie("/manifests/", 1, Lie::Silence);
    scene.source.always(&scene.reference).await.expect("pulled");
    let scene = self::scene(small()).await;
    scene.lie("/manifests/", 99, Lie::Status(500, vec![], vec![]));
    unreachable(&scene.fault().await, "500");
    assert_eq!(scene.registry.seen().len(), 4, "as often as the pace says");
    scene.assert_it_works_afterwards().await;
}

#[tokio::test]
async fn a_registry_that_falls_silent_is_given_up() {
    let mut world = World::new(&[]);
    let registry = Registry::start();
    registry.put("app", "1", &small());
    world.options.registries = vec![crate::world::plain(&registry.host())];
    world.options.pace.idle = Duration::from_millis(100);
    let source = world.open().await;
    registry.lie(|_| Some(Lie::Hang));
    unreachable(&source.always(&registry.reference("app:1")).await.expect_err("silent"), "in time");
    // The digest of a tag is worth only so much patience, however often it may be asked for.
    world.options.pace.idle = Duration::from_secs(60);
    world.options.pace.resolve = Duration::from_millis(200);
    let source = world.open().await;
    unreachable(&source.always(&registry.reference("app:1")).await.expect_err("silent"), "no answer within 0.2 s");
}

#[tokio::test]
async fn a_slow_download_has_no_limit_as_long_as_bytes_come() {
    let registry = Registry::start();
    let image = oci("amd64", &[&[("a", &noise(40_000, 5))]]);
    registry.put("app", "1", &image);
    let mut world = World::new(&[registry.host()]);
    world.options.pace.idle = Duration::from_secs(2);
    // Each pause is far below the limit for one, all of them together are above it.
    registry.lie(|seen| seen.path.contains("/blobs/").then_some(Lie::Slow(Duration::from_millis(70))));
    world.open().await.always(&registry.reference("app:1")).await.expect("pulled");
}

#[tokio::test]
async fn a_web_page_is_no_manifest_and_no_layer() {
    let page = b"<!DOCTYPE html><html><body>Sign in</body></html>".to_vec();
    let html = |length: usize| {
        let mut body = page.clone();
        body.resize(length.max(page.len()), b' ');
        Lie::Status(200, vec![("Content-Type".to_owned(), "text/html; charset=utf-8".to_owned())], body)
    };
    let scene = scene(small()).await;
    scene.lie("/manifests/", 99, html(0));
    unusable(&scene.fault().await, "web page");
    scene.registry.be_honest();
    scene.lie("/manifests/", 99, Lie::Status(200, vec![], page.clone()));
    unusable(&scene.fault().await, "web page");
    scene.registry.be_honest();
    scene.lie(&scene.image.layer(0), 99, html(scene.image.layers[0].len()));
    unusable(&scene.fault().await, "web page");
    scene.assert_nothing_is_left();
    scene.assert_it_works_afterwards().await;
}

#[tokio::test]
async fn a_manifest_of_ten_mebibytes_is_not_read() {
    let scene = scene(small()).await;
    for lie in [Lie::Body(vec![b'{'; 10 << 20]), Lie::Status(200, vec![], vec![b' '; 10 << 20])] {
        scene.registry.be_honest();
        scene.lie("/manifests/", 99, lie);
        unusable(&scene.fault().await, "more than 4194304 bytes");
    }
    // Without a length it is read as far as it may go.
    scene.registry.be_honest();
    scene.lie("/manifests/", 99, Lie::End(usize::MAX));
    let endless = [&scene.image.manifest[..], &[b' '; 10 << 20]].concat();
    scene.registry.put_manifest("app", "1", OCI_MANIFEST, &endless);
    unusable(&scene.fault().await, "more than 4194304 bytes");
    scene.registry.put("app", "1", &scene.image);
    scene.assert_nothing_is_left();
    scene.assert_it_works_afterwards().await;
}

#[tokio::test]
async fn what_is_no_image_is_named_for_what_it_is() {
    let scene = scene(small()).await;
    let put = |tag: &str, body: serde_json::Value| {
        let kind = body["mediaType"].as_str().unwrap_or(OCI_MANIFEST).to_owned();
        scene.registry.put_manifest("app", tag, &kind, body.to_string().as_bytes());
    };
    let honest: serde_json::Value = serde_json::from_slice(&scene.image.manifest).expect("JSON");
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut body = honest.clone();
        change(&mut body);
        body
    };
    let cases = [
        ("schema1", json!({"schemaVersion": 1, "fsLayers": []}), "too old"),
        ("no-schema", json!({"hello": 1}), "no schema version"),
        ("type", with(&|it| it["mediaType"] = json!("application/vnd.new.thing")), "application/vnd.new.thing"),
        ("artifact", with(&|it| it["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json")), "helm"),
        ("layer", with(&|it| it["layers"][0]["mediaType"] = json!("application/vnd.x.lz77")), "application/vnd.x.lz77"),
        (
            "foreign",
            with(&|it| {
                it["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
            }),
            "not given out",
        ),
        ("both", with(&|it| it["manifests"] = json!([])), "index as well"),
        ("digest", with(&|it| it["layers"][0]["digest"] = json!("sha256:../../etc/passwd")), "no digest"),
        ("negative", with(&|it| it["layers"][0]["size"] = json!(-1)), "below zero"),
        ("empty", with(&|it| it["layers"] = json!([])), "no layers"),
        ("many", with(&|it| it["layers"] = json!(vec![it["layers"][0].clone(); 600])), "more than 512 layers"),
        ("config", with(&|it| it["config"]["size"] = json!(1u64 << 40)), "config has more than"),
    ];
    for (tag, body, part) in cases {
        put(tag, body);
        let fault = scene.source.always(&scene.registry.reference(&format!("app:{tag}"))).await.expect_err(tag);
        unusable(&fault, part);
    }
    scene.registry.put_manifest("app", "noise", OCI_MANIFEST, b"{\"schemaVersion\": 2,");
    let fault = scene.source.always(&scene.registry.reference("app:noise")).await.expect_err("noise");
    unusable(&fault, "cannot be read");
    // An index that leads to itself cannot be made, one that leads on and on can.
    let mut body = index(OCI_INDEX, &[("amd64", "", &scene.image)]);
    for _ in 0..4 {
        scene.registry.put_manifest("app", "deep", OCI_INDEX, &body);
        let inner = Image { media_type: OCI_INDEX, manifest: body, ..scene.image.clone() };
        body = index(OCI_INDEX, &[("amd64", "", &inner)]);
    }
    scene.registry.put_manifest("app", "deep", OCI_INDEX, &body);
    unusable(&scene.source.always(&scene.registry.reference("app:deep")).await.expect_err("deep"), "further ones");
    scene.assert_nothing_is_left();
}

#[tokio::test]
async fn an_image_for_other_machines_only_names_those_there_are() {
    let registry = Registry::start();
    let (amd, s390) = (oci("amd64", &[&[("a", b"x")]]), oci("s390x", &[&[("a", b"x")]]));
    registry.put("app", "single", &amd);
    registry.put_manifest("app", "index", OCI_INDEX, &index(OCI_INDEX, &[("amd64", "", &amd), ("s390x", "", &s390)]));
    let mut world = World::new(&[registry.host()]);
    world.architecture = Architecture::Arm64;
    let source = world.open().await;
    for (tag, available) in [("single", "linux/amd64"), ("index", "linux/amd64, linux/s390x")] {
        let fault = source.always(&registry.reference(&format!("app:{tag}"))).await.expect_err("foreign");
        let text = fault.to_string();
        assert!(matches!(fault, TarballFault::WrongPlatform { .. }), "{text}");
        assert!(
            text.contains("not made for linux/arm64") && text.ends_with(&format!("only for {available}")),
            "{text}"
        );
    }
    assert_eq!(registry.count(&amd.layer(0)), 0, "no layer was asked for");
}

#[tokio::test]
async fn what_the_registry_does_not_have_is_not_found() {
    let scene = scene(small()).await;
    let fault = scene.source.always(&scene.registry.reference("app:other")).await.expect_err("not there");
    assert!(matches!(fault, TarballFault::NotFound { .. }), "{fault}");
    let fault = scene.source.0.resolve(&request(&scene.registry.reference("no:1"), PullPolicy::Always)).await;
    assert!(matches!(fault, Err(TarballFault::NotFound { .. })), "{fault:?}");
}

#[tokio::test]
async fn an_image_whose_registry_is_away_is_served_from_the_cache_and_says_so() {
    let scene = scene(small()).await;
    scene.source.always(&scene.reference).await.expect("pulled");
    let (reference, image) = (scene.reference.clone(), scene.image.digest());
    scene.lie("", 99, Lie::Status(503, vec![], vec![]));
    let archive = scene.source.always(&reference).await.expect("cached");
    assert_eq!(archive.digest.as_deref(), Some(image.as_str()));
    assert!(archive.stale.as_deref().is_some_and(|why| why.contains("503")), "{:?}", archive.stale);
    let resolved = scene.source.0.resolve(&request(&reference, PullPolicy::Always)).await;
    assert!(matches!(resolved, Err(TarballFault::Unreachable { .. })), "{resolved:?}");
    // Away altogether, and a process that never saw it there.
    let world = scene.world;
    drop(scene.registry);
    let archive = world.open().await.always(&reference).await.expect("cached");
    assert!(archive.stale.is_some());
}

#[tokio::test]
async fn one_bad_layer_ends_the_downloads_of_the_others() {
    let scene = scene(oci("amd64", &[&[("a", b"one")], &[("b", &noise(500_000, 9))]])).await;
    scene.lie(&scene.image.layer(1), 99, Lie::Slow(Duration::from_secs(5)));
    let (bad, registry) = (scene.image.layer(0), &scene.registry);
    let length = scene.image.layers[0].len();
    scene.lie(&bad, 99, Lie::Body(vec![7; length]));
    unusable(&scene.fault().await, "not what its digest says");
    eventually("nothing is left", || scene.world.files().is_empty()).await;
    registry.let_go();
}
