//! What is pulled, when, and for whom.

use std::sync::Arc;

use mkube_model::neighbours::tarballs::{PullPhase, PullPolicy, TarballFault, TarballSource};
use mkube_model::settings::Architecture;

use crate::image::{DOCKER_LIST, OCI_INDEX, docker, index, noise, oci, unpack};
use crate::registry::{Lie, Registry};
use crate::world::{World, eventually, files_below, listening, request};

#[tokio::test]
async fn an_image_becomes_one_archive_with_its_layers_flattened_and_its_name_inside() {
    let registry = Registry::start();
    let image = oci("amd64", &[&[("bin/hello", b"one"), ("etc/a", b"old")], &[("etc/a", b"new")]]);
    registry.put("team/app", "1", &image);
    let world = World::new(&[registry.host()]);
    let source = world.open().await;
    let archive = source.always(&registry.reference("team/app:1")).await.expect("pulled");
    assert_eq!(archive.digest, Some(image.digest()));
    assert_eq!((archive.stale, archive.path.parent()), (None, Some(world.cache().as_path())));
    assert_eq!(archive.bytes, std::fs::metadata(&archive.path).expect("there").len());
    let (files, name) = unpack(&archive.path);
    assert_eq!(files, [("bin/hello".into(), b"one".to_vec()), ("etc/a".into(), b"new".to_vec())]);
    assert_eq!(name, "team/app:1");
    assert_eq!(files_below(&world.cache().join("blobs")), [""; 0], "no blob is left");
}

#[tokio::test]
async fn manifests_of_docker_and_of_oci_are_taken_alike() {
    let registry = Registry::start();
    registry.put("d", "1", &docker("amd64", &[&[("bin/hello", b"docker")]]));
    registry.put("o", "1", &oci("amd64", &[&[("bin/hello", b"oci")]]));
    // The specification lets a manifest leave its own type out.
    let bare = oci("amd64", &[&[("bin/hello", b"bare")]]).with(|manifest| {
        manifest.as_object_mut().expect("an object").remove("mediaType");
    });
    registry.put("b", "1", &bare);
    let world = World::new(&[registry.host()]);
    let source = world.open().await;
    for (repository, contents) in [("d", "docker"), ("o", "oci"), ("b", "bare")] {
        let archive = source.always(&registry.reference(&format!("{repository}:1"))).await.expect("pulled");
        assert_eq!(unpack(&archive.path).0, [("bin/hello".to_owned(), contents.as_bytes().to_vec())]);
    }
}

#[tokio::test]
async fn from_an_index_the_devices_platform_is_chosen() {
    let registry = Registry::start();
    let of = |architecture: &str, text: &[u8]| oci(architecture, &[&[("bin/hello", text)]]);
    let (amd, arm64, v6, v7) = (of("amd64", b"amd"), of("arm64", b"arm64"), of("arm", b"v6"), of("arm", b"v7"));
    let entries = [("amd64", "", &amd), ("arm", "v6", &v6), ("arm", "v7", &v7), ("arm64", "v8", &arm64)];
    for image in [&amd, &arm64, &v6, &v7] {
        registry.put("app", "unused", image);
    }
    for (tag, kind) in [("oci", OCI_INDEX), ("docker", DOCKER_LIST)] {
        registry.put_manifest("app", tag, kind, &index(kind, &entries));
        for (architecture, image) in
            [(Architecture::Amd64, &amd), (Architecture::Arm64, &arm64), (Architecture::Arm, &v7)]
        {
            let mut world = World::new(&[registry.host()]);
            world.architecture = architecture;
            let source = world.open().await;
            let reference = registry.reference(&format!("app:{tag}"));
            let archive = source.always(&reference).await.expect("pulled");
            assert_eq!(archive.digest, Some(image.digest()), "{tag} {architecture:?}");
            assert_eq!(source.0.resolve(&request(&reference, PullPolicy::Always)).await, Ok(image.digest()));
        }
    }
}

#[tokio::test]
async fn a_policy_decides_whether_the_registry_is_asked() {
    let registry = Registry::start();
    let (old, new) = (oci("amd64", &[&[("a", b"old")]]), oci("amd64", &[&[("a", b"new")]]));
    registry.put("app", "1", &old);
    let reference = registry.reference("app:1");
    let world = World::new(&[registry.host()]);
    let source = world.open().await;
    let missing = source.never(&reference).await.expect_err("not there");
    assert!(matches!(missing, TarballFault::Missing { .. }), "{missing}");
    assert_eq!(registry.seen().len(), 0);
    source.if_not_present(&reference).await.expect("pulled");
    registry.put("app", "1", &new);
    registry.forget();
    for archive in [source.if_not_present(&reference).await, source.never(&reference).await] {
        assert_eq!(archive.expect("cached").digest, Some(old.digest()));
    }
    assert_eq!(registry.seen().len(), 0, "nobody was asked");
    assert_eq!(source.always(&reference).await.expect("pulled").digest, Some(new.digest()));
    // A new process knows what the tag meant.
    let source = world.open().await;
    registry.forget();
    assert_eq!(source.if_not_present(&reference).await.expect("cached").digest, Some(new.digest()));
    assert_eq!(registry.seen().len(), 0);
}

#[tokio::test]
async fn a_look_at_what_has_not_changed_is_one_request_without_a_body() {
    let registry = Registry::start();
    let image = oci("amd64", &[&[("a", b"x")]]);
    registry.put("app", "unused", &image);
    registry.put_manifest("app", "1", OCI_INDEX, &index(OCI_INDEX, &[("amd64", "", &image)]));
    let reference = registry.reference("app:1");
    let world = World::new(&[registry.host()]);
    world.open().await.always(&reference).await.expect("pulled");
    let source = world.open().await;
    registry.forget();
    assert_eq!(source.0.resolve(&request(&reference, PullPolicy::Always)).await, Ok(image.digest()));
    assert_eq!(source.always(&reference).await.expect("cached").digest, Some(image.digest()));
    let seen: Vec<String> = registry.seen().iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect();
    assert_eq!(seen, ["HEAD /v2/app/manifests/1", "HEAD /v2/app/manifests/1"]);
}

#[tokio::test]
async fn a_pinned_digest_is_served_whatever_the_tag_means_today() {
    let registry = Registry::start();
    let (old, new) = (oci("amd64", &[&[("a", b"old")]]), oci("amd64", &[&[("a", b"new")]]));
    registry.put("app", "1", &old);
    let reference = registry.reference("app:1");
    let world = World::new(&[registry.host()]);
    let source = world.open().await;
    source.always(&reference).await.expect("pulled");
    registry.put("app", "1", &new);
    registry.forget();
    assert_eq!(source.pinned(&reference, &old.digest()).await.expect("cached").digest, Some(old.digest()));
    assert_eq!(registry.seen().len(), 0, "what it is held at is here");
    assert_eq!(source.pinned(&reference, &new.digest()).await.expect("pulled").digest, Some(new.digest()));
    let by_digest = registry.reference(&format!("app@{}", old.digest()));
    assert_eq!(source.always(&by_digest).await.expect("cached").digest, Some(old.digest()));
    let odd = source.pinned(&reference, "latest").await.expect_err("no digest");
    assert!(matches!(odd, TarballFault::BadReference { .. }), "{odd}");
}

#[tokio::test]
async fn two_references_to_one_manifest_share_a_file_and_shared_layers_come_once() {
    let registry = Registry::start();
    let base: &[(&str, &[u8])] = &[("base", b"the same layer")];
    let (one, two) = (oci("amd64", &[base, &[("a", b"1")]]), oci("amd64", &[base, &[("a", b"2")]]));
    registry.put("one", "1", &one);
    registry.put("one", "again", &one);
    registry.put("two", "1", &two);
    let world = World::new(&[registry.host()]);
    let source = world.open().await;
    let images = ["one:1", "one:again", "two:1"].map(|rest| registry.reference(rest));
    let pulls = images.iter().map(|image| source.always(image));
    let archives: Vec<_> =
        futures_util::future::join_all(pulls).await.into_iter().map(|it| it.expect("pulled")).collect();
    assert_eq!(archives[0].path, archives[1].path);
    assert_ne!(archives[0].path, archives[2].path);
    assert_eq!(registry.count(&one.layer(1)), 1);
    let tars = world.files().iter().filter(|name| name.ends_with(".tar")).count();
    assert_eq!(tars, 2, "{:?}", world.files());
    let cached = source.0.cached().await.expect("listed");
    assert_eq!(cached.iter().map(|image| image.references.len()).sum::<usize>(), 3);
}

#[tokio::test]
async fn however_many_ask_there_is_one_pull() {
    let registry = Registry::start();
    let base: &[(&str, &[u8])] = &[("base", b"the same layer")];
    let image = oci("amd64", &[base, &[("a", b"1")], &[("b", b"2")]]);
    let other = oci("amd64", &[base, &[("c", b"3")]]);
    registry.put("app", "1", &image);
    registry.put("other", "1", &other);
    registry.lie(|seen| seen.path.contains("/blobs/").then_some(Lie::Slow(std::time::Duration::from_millis(20))));
    let world = World::new(&[registry.host()]);
    let source = world.open().await;
    let requests: Vec<String> =
        (0..200).map(|nth| registry.reference(if nth % 10 == 0 { "other:1" } else { "app:1" })).collect();
    let all = requests.iter().map(|image| source.always(image));
    for archive in futures_util::future::join_all(all).await {
        assert!(archive.is_ok(), "{archive:?}");
    }
    for (what, digest) in [("a shared layer", image.layer(0)), ("a layer", image.layer(1)), ("another", other.layer(1))]
    {
        assert_eq!(registry.count(&digest), 1, "{what}");
    }
    assert!(registry.count("/app/manifests/1") <= 2, "{}", registry.count("/app/manifests/1"));
}

#[tokio::test]
async fn one_who_leaves_does_not_end_the_pull_of_the_others() {
    let registry = Registry::start();
    registry.put("app", "1", &oci("amd64", &[&[("a", b"1")]]));
    registry.lie(|seen| seen.path.contains("/blobs/").then_some(Lie::Hang));
    let world = World::new(&[registry.host()]);
    let source = world.open().await;
    let reference = registry.reference("app:1");
    let begin =
        |source: crate::world::Source, reference: String| tokio::spawn(async move { source.always(&reference).await });
    let first = begin(source.clone(), reference.clone());
    eventually("the config is asked for", || registry.count("/blobs/") == 1).await;
    let second = begin(source.clone(), reference.clone());
    eventually("the second has looked", || registry.count("/manifests/") >= 2).await;
    first.abort();
    assert!(first.await.expect_err("gone").is_cancelled());
    registry.let_go();
    assert!(second.await.expect("no panic").is_ok());
    registry.be_honest();
    registry.forget();
    assert!(source.always(&reference).await.is_ok());
    assert_eq!(registry.count("/blobs/"), 0, "it is cached");
}

#[tokio::test]
async fn everyone_who_waits_hears_how_far_it_is_by_the_name_they_use() {
    let registry = Registry::start();
    let image = oci("amd64", &[&[("a", &noise(3 << 20, 7))], &[("b", b"small")]]);
    registry.put("app", "1", &image);
    registry.put("app", "one", &image);
    let world = World::new(&[registry.host()]);
    let source = world.open().await;
    let (sink, heard) = listening();
    let reference = registry.reference("app:1");
    source.0.ensure(&request(&reference, PullPolicy::Always), sink).await.expect("pulled");
    let heard = heard.lock().expect("not poisoned").clone();
    let total: u64 = image.layers.iter().map(|layer| layer.len() as u64).sum();
    assert_eq!((heard[0].phase, heard[0].digest.as_deref()), (PullPhase::Resolving, None));
    let last = heard.last().expect("heard");
    assert_eq!((last.phase, last.done_bytes, last.total_bytes), (PullPhase::Converting, total, Some(total)));
    let between =
        heard.iter().any(|told| told.phase == PullPhase::Downloading && (1..total).contains(&told.done_bytes));
    assert!(between && heard.iter().all(|told| told.image == reference), "{heard:?}");
    assert!(heard[1..].iter().all(|told| told.digest == Some(image.digest())));
}

#[tokio::test]
async fn sha512_digests_are_checked_like_the_others() {
    let registry = Registry::start();
    let image = oci("amd64", &[&[("a", b"x")]]);
    let long = |bytes: &[u8]| {
        let digest = ring::digest::digest(&ring::digest::SHA512, bytes);
        format!("sha512:{}", digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    let digest = long(&image.layers[0]);
    let other = image.with(|manifest| manifest["layers"][0]["digest"] = serde_json::json!(digest));
    registry.put("app", "1", &other);
    registry.put_blob(&digest, &image.layers[0]);
    let world = World::new(&[registry.host()]);
    let source = world.open().await;
    let archive = source.always(&registry.reference("app:1")).await.expect("pulled");
    assert_eq!(unpack(&archive.path).0, [("a".to_owned(), b"x".to_vec())]);
    let wrong = long(b"something else");
    registry.put("app", "2", &image.with(|manifest| manifest["layers"][0]["digest"] = serde_json::json!(wrong)));
    registry.put_blob(&wrong, &image.layers[0]);
    let fault = source.always(&registry.reference("app:2")).await.expect_err("damaged").to_string();
    assert!(fault.contains("not what its digest says"), "{fault}");
}

#[tokio::test]
async fn a_device_that_has_not_said_what_it_is_gets_no_image_yet() {
    let registry = Registry::start();
    let world = World::new(&[registry.host()]);
    let parts = mkube_image_pull::PullParts {
        options: world.options.clone(),
        architecture: Arc::new(|| Box::pin(async { None })),
        clock: world.clock.clone(),
    };
    let source = mkube_image_pull::ImageSource::start(parts);
    let request = request(&registry.reference("app:1"), PullPolicy::Always);
    let fault = source.ensure(&request, crate::world::nobody()).await.expect_err("unknown");
    assert!(matches!(&fault, TarballFault::Unreachable { why, .. } if why.contains("architecture")), "{fault}");
}
