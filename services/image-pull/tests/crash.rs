//! A pull in a process of its own, killed at any moment and begun again on the same cache.
//!
//! This program is both: without arguments it is the test, with a cache and a reference it is the process that pulls.
//! `MKUBE_CRASH_ROUNDS` says how often, `MKUBE_CRASH_SEED` repeats it.

#[path = "pulling/image.rs"]
#[allow(dead_code, reason = "shared with the tests of pulling, which use more of it")]
mod image;
#[path = "pulling/registry.rs"]
#[allow(dead_code, reason = "shared with the tests of pulling, which use more of it")]
mod registry;
#[path = "pulling/world.rs"]
#[allow(dead_code, reason = "shared with the tests of pulling, which use more of it")]
mod world;

use std::hash::{BuildHasher, RandomState};
use std::process::{Command, Stdio};
use std::time::Duration;

use image::{Image, noise, oci, unpack};
use registry::{Lie, Registry};
use world::{World, files_below};

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// An image whose layers partly are those of the one before.
fn image_of(round: u64) -> Image {
    let (base, own) = (noise(400_000, 1 + round / 4), noise(150_000, 1000 + round));
    let text = vec![b'x'; 300_000];
    oci("amd64", &[&[("base", &base), ("gone", b"1")], &[("own", &own)], &[("text", &text), (".wh.gone", b"")]])
}

/// What an archive may hold of the image of a round, and nothing else.
fn assert_whole(path: &std::path::Path, round: u64) {
    let (files, _) = unpack(path);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["base", "own", "text"], "round {round}");
    assert!(files[1].1 == noise(150_000, 1000 + round), "round {round}: its own layer");
}

/// Every archive that would be served is whole, and the one that was announced is among them.
async fn assert_cache_is_sound(world: &World, registry: &Registry, round: u64, announced: bool) {
    let source = world.open().await;
    let reference = registry.reference(&format!("app:{round}"));
    match source.never(&reference).await {
        Ok(archive) => assert_whole(&archive.path, round),
        Err(fault) => assert!(!announced, "round {round}: it was announced and is not there: {fault}"),
    }
    for name in files_below(&world.cache()).iter().filter(|name| name.ends_with(".tar") && !name.contains('/')) {
        unpack(&world.cache().join(name));
    }
}

async fn a_pull_killed_at_any_moment_serves_nothing_half_done_and_is_taken_up_again() {
    let kills = from_environment("MKUBE_CRASH_ROUNDS").unwrap_or(20);
    let mut dice = from_environment("MKUBE_CRASH_SEED").unwrap_or_else(|| RandomState::new().hash_one("seed") | 1);
    eprintln!("MKUBE_CRASH_SEED={dice}");
    let registry = Registry::start();
    // So that there are moments to kill it in.
    registry.lie(|seen| seen.path.contains("/blobs/").then_some(Lie::Slow(Duration::from_micros(200))));
    let world = World::new(&[registry.host()]);
    let program = std::env::current_exe().expect("this program");
    let (mut killed, mut resumed, mut round) = (0, 0, 0);
    while killed < kills {
        let image = image_of(round);
        registry.put("app", &round.to_string(), &image);
        registry.forget();
        loop {
            let mut child = Command::new(&program)
                .args([
                    world.cache().display().to_string(),
                    registry.host(),
                    registry.reference(&format!("app:{round}")),
                ])
                .stdout(Stdio::piped())
                .spawn()
                .expect("a process");
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            let patience = Duration::from_millis(dice % 400);
            let deadline = tokio::time::Instant::now() + patience;
            let mut ended = None;
            while ended.is_none() && tokio::time::Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(2)).await;
                ended = child.try_wait().expect("its state");
            }
            let _ = child.kill();
            let output = child.wait_with_output().expect("its words");
            let announced = String::from_utf8_lossy(&output.stdout).contains("pulled ");
            killed += u64::from(!output.status.success());
            assert!(output.status.success() || output.status.code().is_none(), "round {round}: {output:?}");
            assert_cache_is_sound(&world, &registry, round, announced).await;
            if announced {
                break;
            }
        }
        resumed += registry.seen().iter().filter(|seen| seen.range.is_some()).count();
        let last = world.open().await.if_not_present(&registry.reference(&format!("app:{round}"))).await;
        assert_whole(&last.expect("pulled").path, round);
        round += 1;
    }
    assert!(resumed > 0, "{killed} kills, and no part was taken up again");
    let blobs = files_below(&world.cache().join("blobs"));
    assert!(blobs.iter().all(|name| !name.ends_with(".tar")), "half an archive is left: {blobs:?}");
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    if let (Some(cache), Some(host), Some(reference)) = (arguments.next(), arguments.next(), arguments.next()) {
        let mut world = World::new(&[host]);
        world.options.cache = cache.into();
        let archive = world.open().await.always(&reference).await.expect("pulled");
        println!("pulled {}", archive.path.display());
        return;
    }
    a_pull_killed_at_any_moment_serves_nothing_half_done_and_is_taken_up_again().await;
    println!("test a_pull_killed_at_any_moment_serves_nothing_half_done_and_is_taken_up_again ... ok");
}
