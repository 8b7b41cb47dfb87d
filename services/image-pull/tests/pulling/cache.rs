//! The cache: archives of the Go controller, damage, names that look alike, and what is let go of.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mkube_model::neighbours::tarballs::{InUse, TarballFault, TarballSource};

use crate::image::{Image, digest_of, layer_tar, oci, unpack};
use crate::registry::{Lie, Registry};
use crate::world::{Source, World, eventually};

const MINUTE: Duration = Duration::from_secs(60);

/// An archive as the Go controller wrote it.
fn go_archive(path: &Path, name: &str, contents: &[u8]) {
    let layer = layer_tar(&[("bin/hello", contents)]);
    let id = digest_of(&layer)[7..].to_owned();
    let config = serde_json::json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{id}")]}});
    let config = config.to_string().into_bytes();
    let config_name = format!("{}.json", &digest_of(&config)[7..]);
    let manifest =
        serde_json::json!([{"Config": config_name, "RepoTags": [name], "Layers": [format!("{id}/layer.tar")]}]);
    let (repository, tag) = name.rsplit_once(':').expect("a tag");
    let members: Vec<(String, Vec<u8>)> = vec![
        ("manifest.json".into(), manifest.to_string().into_bytes()),
        ("repositories".into(), serde_json::json!({repository: {tag: id}}).to_string().into_bytes()),
        (config_name, config),
        (format!("{id}/VERSION"), b"1.0".to_vec()),
        (format!("{id}/json"), b"{}".to_vec()),
        (format!("{id}/layer.tar"), layer),
    ];
    let members: Vec<(&str, &[u8])> = members.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    std::fs::write(path, layer_tar(&members)).expect("written");
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("there");
    bytes[at] ^= 1;
    let modified = std::fs::metadata(path).and_then(|found| found.modified()).expect("a time");
    std::fs::write(path, bytes).expect("written");
    // The time does not give it away.
    std::fs::File::options().write(true).open(path).and_then(|file| file.set_modified(modified)).expect("set");
}

#[tokio::test]
async fn archives_of_the_go_controller_are_used_as_they_lie() {
    let world = World::new(&["127.0.0.1:1".to_owned()]);
    let (with, without) =
        (world.cache().join("127-0-0-1-1-app-1.tar"), world.cache().join("127-0-0-1-1-team-x-edge.tar"));
    go_archive(&with, "app:1", b"with");
    go_archive(&without, "team/x:edge", b"without");
    let digest = digest_of(b"its manifest");
    std::fs::write(world.cache().join("127-0-0-1-1-app-1.tar.digest"), &digest).expect("written");
    let source = world.open().await;
    let found = source.if_not_present("127.0.0.1:1/app:1").await.expect("adopted");
    assert_eq!((found.path.as_path(), found.digest.as_ref(), found.stale), (with.as_path(), Some(&digest), None));
    let found = source.never("127.0.0.1:1/team/x:edge").await.expect("adopted");
    assert_eq!((found.path.as_path(), found.digest), (without.as_path(), None));
    assert_eq!(source.pinned("127.0.0.1:1/other:9", &digest).await.expect("by its digest").path, with);
    // Nobody listens there: what is cached will do, and is not said to be fresh.
    let found = source.always("127.0.0.1:1/team/x:edge").await.expect("adopted");
    assert!(found.stale.is_some());
    let cached = source.0.cached().await.expect("listed");
    assert_eq!(cached.len(), 2);
    assert!(cached.iter().any(|image| image.digest.as_ref() == Some(&digest)), "{cached:?}");
}

#[tokio::test]
async fn no_registry_is_asked_for_an_image_that_is_made_here() {
    let registry = Registry::start();
    let mut world = World::new(&[registry.host()]);
    world.options.made_here = vec![registry.reference("hello")];
    let path = world.cache().join(format!("{}-hello-latest.tar", registry.host().replace(['.', ':'], "-")));
    go_archive(&path, "hello:latest", b"x");
    let found = world.open().await.always(&registry.reference("hello:latest")).await.expect("there");
    assert_eq!((found.path, found.stale, registry.seen().len()), (path, None, 0));
}

#[tokio::test]
async fn an_adopted_archive_stays_as_long_as_the_registry_has_nothing_else() {
    let registry = Registry::start();
    let (old, new) = (oci("amd64", &[&[("a", b"old")]]), oci("amd64", &[&[("a", b"new")]]));
    registry.put("app", "1", &old);
    let world = World::new(&[registry.host()]);
    let stem = registry.host().replace(['.', ':'], "-");
    let path = world.cache().join(format!("{stem}-app-1.tar"));
    go_archive(&path, "app:1", b"old");
    std::fs::write(path.with_extension("digest"), format!("{}\n", old.digest())).expect("written");
    let source = world.open().await;
    let reference = registry.reference("app:1");
    assert_eq!(source.always(&reference).await.expect("adopted").path, path);
    assert_eq!(registry.count("/blobs/"), 0);
    registry.put("app", "1", &new);
    let pulled = source.always(&reference).await.expect("pulled");
    assert_eq!(pulled.digest, Some(new.digest()));
    assert!(path.exists(), "the containers made from it still name it");
}

#[tokio::test]
async fn every_name_of_the_local_registry_finds_the_same_archive() {
    let registry = Registry::start();
    registry.put("app", "1", &oci("amd64", &[&[("a", b"x")]]));
    let mut world = World::new(&[registry.host()]);
    world.options.local_addresses = vec![registry.host(), "registry.gt.lo:5000".to_owned()];
    go_archive(&world.cache().join("registry-gt-lo-5000-old-1.tar"), "old:1", b"x");
    let source = world.open().await;
    let path = source.always(&registry.reference("app:1")).await.expect("pulled").path;
    registry.forget();
    for alias in ["registry.gt.lo:5000/app:1", "localhost/app:1"] {
        assert_eq!(source.if_not_present(alias).await.expect("cached").path, path, "{alias}");
    }
    assert_eq!(registry.seen().len(), 0);
    source.never(&registry.reference("old:1")).await.expect("kept under another of its names");
}

#[tokio::test]
async fn two_references_whose_files_would_have_one_name_are_not_confused() {
    let registry = Registry::start();
    let (dot, dash) = (oci("amd64", &[&[("a", b"dot")]]), oci("amd64", &[&[("a", b"dash")]]));
    registry.put("a.b", "1", &dot);
    registry.put("a-b", "1", &dash);
    let world = World::new(&[registry.host()]);
    let source = world.open().await;
    for _ in 0..2 {
        for (repository, image) in [("a.b", &dot), ("a-b", &dash)] {
            let archive = source.if_not_present(&registry.reference(&format!("{repository}:1"))).await.expect("pulled");
            assert_eq!(archive.digest, Some(image.digest()), "{repository}");
        }
    }
    let again = world.open().await;
    let archive = again.never(&registry.reference("a.b:1")).await.expect("recorded");
    assert_eq!(archive.digest, Some(dot.digest()));
    // A file of the Go controller says inside whose it is.
    let stem = registry.host().replace(['.', ':'], "-");
    go_archive(&world.cache().join(format!("{stem}-c-d-1.tar")), "c-d:1", b"x");
    again.never(&registry.reference("c-d:1")).await.expect("its own");
    let other = again.never(&registry.reference("c.d:1")).await.expect_err("another's");
    assert!(matches!(other, TarballFault::Missing { .. }), "{other}");
}

/// A registry, an image that was pulled from it, and its archive.
async fn pulled() -> (Registry, Image, World, PathBuf) {
    let registry = Registry::start();
    let image = oci("amd64", &[&[("a", &[7; 5000])]]);
    registry.put("app", "1", &image);
    let world = World::new(&[registry.host()]);
    let archive = world.open().await.always(&registry.reference("app:1")).await.expect("pulled");
    (registry, image, world, archive.path)
}

#[tokio::test]
async fn a_damaged_archive_is_found_by_reading_it_and_pulled_again() {
    let (registry, image, world, path) = pulled().await;
    let good = std::fs::read(&path).expect("there");
    flip(&path, good.len() - 4000);
    let source = world.open().await;
    let reference = registry.reference("app:1");
    registry.forget();
    for _ in 0..1000 {
        source.if_not_present(&reference).await.expect("one or the other");
        if registry.count(&image.layer(0)) > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(registry.count(&image.layer(0)), 1, "it was read in the background, and pulled again");
    assert!(std::fs::read(&path).expect("there") == good, "the same archive again");
    source.never(&reference).await.expect("sound");
}

#[tokio::test]
async fn an_archive_that_was_touched_is_read_before_it_is_used() {
    let (registry, _, world, path) = pulled().await;
    let reference = registry.reference("app:1");
    let mut bytes = std::fs::read(&path).expect("there");
    let middle = bytes.len() - 4000;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    let touch = |seconds: u64| {
        let at = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
        std::fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(at)).expect("set");
    };
    touch(1000);
    let fault = world.open().await.never(&reference).await.expect_err("damaged");
    assert!(matches!(fault, TarballFault::Missing { .. }), "{fault}");
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    touch(2000);
    world.open().await.never(&reference).await.expect("it is sound, only its time is another");
}

#[tokio::test]
async fn an_archive_of_another_size_is_never_served() {
    let (registry, _, world, path) = pulled().await;
    let source = world.open().await;
    let whole = std::fs::read(&path).expect("there");
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("written");
    let reference = registry.reference("app:1");
    source.never(&reference).await.expect_err("half an archive");
    source.if_not_present(&reference).await.expect("pulled again");
    assert!(std::fs::read(&path).expect("there") == whole);
    std::fs::remove_file(&path).expect("gone");
    source.if_not_present(&reference).await.expect("and again");
    assert_eq!(unpack(&path).0, [("a".to_owned(), vec![7; 5000])]);
}

#[tokio::test]
async fn half_an_archive_of_the_go_controller_is_not_adopted() {
    let registry = Registry::start();
    let image = oci("amd64", &[&[("a", b"x")]]);
    registry.put("app", "1", &image);
    let world = World::new(&[registry.host()]);
    let stem = registry.host().replace(['.', ':'], "-");
    let path = world.cache().join(format!("{stem}-app-1.tar"));
    go_archive(&path, "app:1", b"x");
    let whole = std::fs::read(&path).expect("there");
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("written");
    let source = world.open().await;
    let reference = registry.reference("app:1");
    let fault = source.never(&reference).await.expect_err("half");
    assert!(matches!(&fault, TarballFault::Unusable { why, .. } if why.contains("too early")), "{fault}");
    assert_eq!(source.if_not_present(&reference).await.expect("pulled").digest, Some(image.digest()));
}

#[tokio::test]
async fn what_an_earlier_process_left_half_done_is_swept_at_start() {
    let (_registry, _, world, path) = pulled().await;
    let blobs = world.cache().join("blobs");
    let digest = "0".repeat(64);
    std::fs::write(blobs.join(format!("sha256-{digest}.tar")), b"half").expect("written");
    std::fs::write(blobs.join(format!("sha256-{digest}.part")), b"of use").expect("written");
    std::fs::write(world.cache().join("x.digest.new"), b"half").expect("written");
    std::fs::write(world.cache().join(format!("sha256-{digest}.tar.sum")), b"{}").expect("written");
    let expected = |parts: &[String]| {
        let left = world.files().into_iter().filter(|name| name.starts_with("blobs/")).collect::<Vec<_>>();
        assert_eq!(left, parts);
    };
    let source = world.open().await;
    expected(&[format!("blobs/sha256-{digest}.part")]);
    let left = world.files();
    assert!(!left.iter().any(|name| name.ends_with(".new") || name.contains(&format!("{digest}.tar"))), "{left:?}");
    assert!(path.exists());
    // A part that nobody went on with for a day is of no use any more.
    world.clock.advance(Duration::from_secs(2 * 86_400));
    source.0.collect(&InUse::default()).await.expect("collected");
    expected(&[]);
}

async fn pull_all(source: &Source, world: &World, registry: &Registry, names: &[&str]) {
    for name in names {
        registry.put(name, "1", &oci("amd64", &[&[("a", name.as_bytes())]]));
        source.always(&registry.reference(&format!("{name}:1"))).await.expect("pulled");
        world.clock.advance(MINUTE);
    }
    // Nothing that was just asked for is collected.
    world.clock.advance(20 * MINUTE);
}

#[tokio::test]
async fn archives_nobody_uses_are_collected_and_those_in_use_never() {
    let registry = Registry::start();
    let mut world = World::new(&[registry.host()]);
    world.options.keep_last = 1;
    let source = world.open().await;
    pull_all(&source, &world, &registry, &["a", "b", "c", "d", "e"]).await;
    // Asked for again: it is not the one that was not used for longest any more.
    source.if_not_present(&registry.reference("d:1")).await.expect("cached");
    world.clock.advance(20 * MINUTE);
    let cached = source.0.cached().await.expect("listed");
    let of = |name: &str| {
        let reference = registry.reference(&format!("{name}:1"));
        cached.iter().find(|image| image.references.contains(&reference)).expect("cached").clone()
    };
    let in_use = InUse {
        paths: [of("a").path].into(),
        digests: [of("b").digest.expect("known")].into(),
        references: [registry.reference("c:1")].into(),
    };
    let gone = source.0.collect(&in_use).await.expect("collected");
    assert_eq!(gone, [of("e")]);
    assert!(!of("e").path.exists());
    for name in ["a", "b", "c", "d"] {
        source.never(&registry.reference(&format!("{name}:1"))).await.expect(name);
    }
    source.never(&registry.reference("e:1")).await.expect_err("collected");
    let of_e = of("e").path.file_stem().expect("a name").to_string_lossy().into_owned();
    assert!(!world.files().iter().any(|name| name.contains(&of_e) || name.contains("-e-1")), "{:?}", world.files());
    // The times of use outlive the process.
    world.clock.advance(20 * MINUTE);
    let again = world.open().await;
    let by_use = |images: Vec<mkube_model::neighbours::tarballs::CachedImage>| {
        let mut images: Vec<_> = images.into_iter().map(|image| (image.last_used, image.path)).collect();
        images.sort();
        images
    };
    assert_eq!(by_use(again.0.cached().await.expect("listed")), by_use(source.0.cached().await.expect("listed")));
}

#[tokio::test]
async fn a_dry_run_only_says_what_would_be_collected() {
    let registry = Registry::start();
    let mut world = World::new(&[registry.host()]);
    (world.options.keep_last, world.options.dry_run) = (0, true);
    let source = world.open().await;
    pull_all(&source, &world, &registry, &["a", "b"]).await;
    let said = source.0.collect(&InUse::default()).await.expect("listed");
    assert_eq!(said.len(), 2);
    assert!(said.iter().all(|image| image.path.exists()));
}

#[tokio::test]
async fn where_room_is_short_even_those_that_would_be_kept_go() {
    let registry = Registry::start();
    let mut world = World::new(&[registry.host()]);
    let source = world.open().await;
    pull_all(&source, &world, &registry, &["a", "b"]).await;
    assert_eq!(source.0.collect(&InUse::default()).await.expect("collected"), []);
    drop(source);
    world.options.keep_free_bytes = u64::MAX / 2;
    let gone = world.open().await.0.collect(&InUse::default()).await.expect("collected");
    assert_eq!(gone.len(), 2);
}

#[tokio::test]
async fn a_cache_that_cannot_be_read_is_said_and_tried_again() {
    let registry = Registry::start();
    registry.put("app", "1", &oci("amd64", &[&[("a", b"x")]]));
    let world = World::new(&[registry.host()]);
    // The disk is not there yet.
    std::fs::write(world.cache(), b"in the way").expect("written");
    let parts = mkube_image_pull::PullParts {
        options: world.options.clone(),
        architecture: std::sync::Arc::new(|| Box::pin(async { Some(mkube_model::settings::Architecture::Amd64) })),
        clock: world.clock.clone(),
    };
    let source = Source(std::sync::Arc::new(mkube_image_pull::ImageSource::start(parts)));
    let reference = registry.reference("app:1");
    let fault = source.always(&reference).await.expect_err("no directory");
    assert!(matches!(fault, TarballFault::Unreadable(_)), "{fault}");
    std::fs::remove_file(world.cache()).expect("gone");
    source.always(&reference).await.expect("pulled");
}

#[tokio::test]
async fn a_pull_is_not_disturbed_by_a_collection() {
    let registry = Registry::start();
    let image = oci("amd64", &[&[("a", b"x")], &[("b", b"y")]]);
    registry.put("app", "1", &image);
    let layer = image.layer(1);
    registry.lie(move |seen| seen.path.contains(&layer).then_some(Lie::Hang));
    let mut world = World::new(&[registry.host()]);
    (world.options.keep_last, world.options.max_age) = (0, Duration::from_secs(1));
    let source = world.open().await;
    let pulling = tokio::spawn({
        let (source, reference) = (source.clone(), registry.reference("app:1"));
        async move { source.always(&reference).await }
    });
    eventually("the second layer is asked for", || registry.count(&image.layer(1)) == 1).await;
    world.clock.advance(Duration::from_secs(10 * 86_400));
    source.0.collect(&InUse::default()).await.expect("collected");
    registry.let_go();
    pulling.await.expect("no panic").expect("pulled");
}
