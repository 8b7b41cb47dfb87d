//! Images made to do harm, damaged ones, and disks that are full: each is refused with its reason and leaves nothing.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mkube_image_pull::convert::{
    BlobSource, BlobTrust, ConvertFault, Devices, LayerBlob, Limits, Progress, SourceImage, convert,
};
use tar::EntryType;

use crate::made::{
    Place, Raw, blob, directory, file, gzip, hard_link, image, image_of, layer, put, raw, sha256, symlink, zstd,
};

/// Writes past the capture, so that whoever reads the log sees it.
pub fn skipped(what: &str, why: &str) {
    let _ = std::io::stderr().write_all(format!("\n!!! SKIPPED: {what}: {why}\n").as_bytes());
}

fn usual() -> Limits {
    Limits::default()
}

fn refused(layers: &[Vec<u8>], limits: &Limits) -> ConvertFault {
    Place::new().refused(&image_of(layers, gzip), limits)
}

/// The reason of an entry that is refused by its name.
fn bad_entry(entries: &[Raw]) -> (String, String) {
    match refused(&[layer(entries)], &usual()) {
        ConvertFault::BadEntry { entry, why, .. } => (entry, why),
        other => panic!("{other:?} is not about an entry"),
    }
}

fn damaged(image: &SourceImage) -> (Option<String>, String) {
    match Place::new().refused(image, &usual()) {
        ConvertFault::Damaged { layer, entry, why } => {
            assert!(image.layers.iter().any(|blob| blob.digest == layer));
            (entry, why)
        }
        other => panic!("{other:?} is not about damage"),
    }
}

fn too_large(fault: &ConvertFault) -> (&'static str, u64, Option<String>) {
    match fault {
        ConvertFault::TooLarge { what, limit, entry, layer } => {
            assert!(layer.starts_with("sha256:"));
            (what, *limit, entry.clone())
        }
        other => panic!("{other:?} is not about a limit"),
    }
}

/// An image that should have one layer, and whose blob is something else.
fn with_blob(layer: &[u8], bytes: Vec<u8>) -> SourceImage {
    let mut image = image(&[layer.to_vec()]);
    image.layers[0] = blob(bytes);
    image
}

#[test]
fn a_truncated_layer_is_refused_and_leaves_nothing() {
    let tar = layer(&[file("a", b"1"), file("b", &[7; 5000])]);
    for pack in [gzip as fn(&[u8]) -> Vec<u8>, zstd] {
        let packed = pack(&tar);
        for length in [packed.len() - 1, packed.len() / 2, 20] {
            damaged(&with_blob(&tar, packed[..length].to_vec()));
        }
    }
    let (entry, why) = damaged(&with_blob(&tar, tar[..2048].to_vec()));
    assert!(entry.as_deref() == Some("b") && why.contains("too early"), "{entry:?}: {why}");
    damaged(&with_blob(&tar, tar[..700].to_vec()));
}

#[test]
fn a_layer_that_ends_between_entries_is_found_out_by_its_hash() {
    let tar = layer(&[file("a", b"1"), file("b", &[7; 5000])]);
    let image = with_blob(&tar, tar[..1024].to_vec());
    match Place::new().refused(&image, &usual()) {
        ConvertFault::WrongDiffId { expected, found, .. } => {
            assert_eq!((expected, found), (sha256(&tar), sha256(&tar[..1024])));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_layer_that_is_not_what_the_config_says_is_refused() {
    let (right, wrong) = (layer(&[file("a", b"1")]), layer(&[file("a", b"2")]));
    let image = with_blob(&right, gzip(&wrong));
    let fault = Place::new().refused(&image, &usual());
    assert!(matches!(&fault, ConvertFault::WrongDiffId { layer, .. } if *layer == sha256(&gzip(&wrong))), "{fault:?}");
    // Also where entries stand behind the end of the tar.
    let tail = [right.clone(), wrong].concat();
    let fault = Place::new().refused(&with_blob(&right, tail), &usual());
    assert!(matches!(fault, ConvertFault::WrongDiffId { .. }), "{fault:?}");
}

#[test]
fn a_blob_that_is_not_what_its_digest_says_is_refused_where_nobody_checked_before() {
    let tar = layer(&[file("a", b"1")]);
    let mut image = image_of(&[tar], gzip);
    let right = std::mem::replace(&mut image.layers[0].digest, sha256(b"another"));
    match Place::new().refused(&image, &usual()) {
        ConvertFault::WrongDigest { layer, found } => assert_eq!((layer, found), (sha256(b"another"), right)),
        other => panic!("{other:?}"),
    }
    image.layers[0].trust = BlobTrust::Verified;
    Place::new().convert(&image, &usual()).expect("what was checked is not checked again");
}

#[test]
fn noise_and_foreign_compressions_are_no_layers() {
    let noise: Vec<u8> = (0..4000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let tar = layer(&[file("a", b"1")]);
    damaged(&with_blob(&tar, noise.clone()));
    for (magic, name) in [(b"\xfd7zXZ\0".as_slice(), "xz"), (b"BZh91A", "bzip2")] {
        let (_, why) = damaged(&with_blob(&tar, [magic, &noise].concat()));
        assert!(why.contains(name), "{why}");
    }
    damaged(&with_blob(&tar, [&[0x1f, 0x8b], noise.as_slice()].concat()));
    // A frame without a checksum and of a small window.
    damaged(&with_blob(&tar, [&[0x28, 0xb5, 0x2f, 0xfd, 0, 0x50], noise.as_slice()].concat()));
    damaged(&with_blob(&tar, [gzip(&tar), noise].concat()));
}

#[test]
fn steps_upward_are_refused_by_name() {
    for name in ["../x", "a/../../x", "/../x", "./../x", "..", "a/.."] {
        assert!(bad_entry(&[file(name, b"x")]).1.contains("leads outside"), "{name}");
        assert!(bad_entry(&[file("f", b""), hard_link("h", name)]).1.contains("leads outside"), "{name}");
        let marked = format!("{name}/.wh.x");
        assert!(bad_entry(&[file(&marked, b"")]).1.contains("leads outside"), "{marked}");
    }
    // A symbolic link says whatever it likes: it is kept, and nothing is written through it.
    let place = Place::new();
    place.converted(&image(&[layer(&[symlink("l", "../../../etc"), symlink("m", "/proc/1/root")])]));
    let (entry, why) = bad_entry(&[file("ok", b""), file(".wh.", b"")]);
    assert!(entry == ".wh." && why.contains("whiteout without a name"));
    for name in [".wh..", ".wh..."] {
        assert!(bad_entry(&[file(name, b"")]).1.contains("whiteout without a name"));
    }
}

#[test]
fn names_that_no_disk_can_hold_are_refused() {
    assert!(bad_entry(&[file(&"n".repeat(256), b"")]).1.contains("longer than 255"));
    assert!(bad_entry(&[file(&"n/".repeat(2100), b"")]).1.contains("longer than 4096"));
    assert!(bad_entry(&[file(&"n/".repeat(300), b"")]).1.contains("deep"));
    let zero = Raw { pax: vec![(b"path".to_vec(), b"a\0b".to_vec())], ..file("a", b"") };
    assert!(bad_entry(&[zero]).1.contains("zero byte"));
    assert!(bad_entry(&[symlink("l", "")]).1.contains("target"));
    assert!(bad_entry(&[symlink("l", &"t".repeat(5000))]).1.contains("target"));
    assert!(bad_entry(&[Raw { owner: (u64::from(u32::MAX), 0), ..file("a", b"") }]).1.contains("no user"));
    // Deeper and deeper by way of links, where no single name is too deep.
    let deep = "n/".repeat(150);
    let (_, why) = bad_entry(&[directory(&deep), symlink("l", &deep), directory(&format!("l/{deep}"))]);
    assert!(why.contains("deep"), "{why}");
}

#[test]
fn entries_of_unknown_kinds_are_refused() {
    for kind in [b'M', b'D', b'X', b'Z'] {
        assert!(bad_entry(&[raw(EntryType::new(kind), "a")]).1.contains("no place in an image"));
    }
    let sparse = Raw { pax: vec![(b"GNU.sparse.major".to_vec(), b"1".to_vec())], ..file("a", b"") };
    assert!(bad_entry(&[sparse]).1.contains("sparse"));
}

#[test]
fn devices_are_refused_where_the_limits_say_so() {
    let limits = Limits { devices: Devices::Refuse, ..usual() };
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        let fault = refused(&[layer(&[raw(kind, "dev/x")])], &limits);
        assert!(matches!(&fault, ConvertFault::BadEntry { entry, .. } if entry == "dev/x"), "{fault:?}");
    }
}

#[test]
fn a_gzip_bomb_is_refused_by_its_ratio_and_by_its_size() {
    let zeros = vec![0; 96 << 20];
    let bomb = layer(&[file("zeros", &zeros)]);
    let fault = refused(std::slice::from_ref(&bomb), &usual());
    assert_eq!(too_large(&fault), ("bytes for each byte of its blob", 250, Some("zeros".into())));
    let patient = Limits { ratio: 5000, ..usual() };
    let place = Place::new();
    place.convert(&image_of(std::slice::from_ref(&bomb), gzip), &patient).expect("converted where that is allowed");
    let small = Limits { bytes: 1 << 20, ..usual() };
    assert_eq!(too_large(&refused(std::slice::from_ref(&bomb), &small)).0, "bytes in all layers");
    let one = Limits { file_bytes: 1 << 20, ..usual() };
    assert_eq!(too_large(&refused(&[bomb], &one)), ("bytes in one file", 1 << 20, Some("zeros".into())));
}

#[test]
fn the_bytes_of_all_layers_count_together_those_of_covered_files_too() {
    let big = vec![1; 600 << 10];
    let both = [layer(&[file("a", &big)]), layer(&[file("a", &big)])];
    let limits = Limits { bytes: 1 << 20, ..usual() };
    assert_eq!(too_large(&refused(&both, &limits)).0, "bytes in all layers");
    Place::new().convert(&image(&both[..1]), &limits).expect("one alone is not too much");
}

#[test]
fn zeros_behind_the_end_of_a_tar_count_as_well() {
    let tar = [layer(&[file("a", b"1")]), vec![0; 4 << 20]].concat();
    let limits = Limits { bytes: 1 << 20, ..usual() };
    assert_eq!(too_large(&refused(&[tar], &limits)).0, "bytes in all layers");
}

#[test]
fn sizes_that_lie_are_refused() {
    let says = |says| layer(&[Raw { says: Some(says), ..file("big", b"x") }]);
    for size in [17 << 30, 1 << 40, u64::MAX / 2, u64::MAX] {
        let fault = refused(&[says(size)], &usual());
        assert!(matches!(fault, ConvertFault::TooLarge { .. } | ConvertFault::Damaged { .. }), "{fault:?}");
    }
    damaged(&image(&[says(900_000)]));
}

#[test]
fn headers_without_end_are_refused() {
    let endless = vec![b'a'; 8 << 20];
    for kind in [b'L', b'K', b'x'] {
        let header = Raw { data: endless.clone(), ..raw(EntryType::new(kind), "long") };
        let (_, why) = damaged(&image(&[layer(&[header, file("a", b"")])]));
        assert!(why.contains("too long"), "{why}");
    }
}

#[test]
fn a_hundred_thousand_entries_are_converted_and_one_more_than_allowed_is_not() {
    let mut tar = Vec::new();
    for number in 0..100_000 {
        put(&mut tar, &file(&format!("d{}/f{number}", number % 100), b""));
    }
    tar.resize(tar.len() + 1024, 0);
    let place = Place::new();
    let (converted, _) = place.converted(&image_of(std::slice::from_ref(&tar), gzip));
    assert_eq!(converted.entries, 100_100, "and the directories nobody described");
    let few = Limits { entries: 99_999, ..usual() };
    assert_eq!(
        too_large(&refused(std::slice::from_ref(&tar), &few)),
        ("entries in all layers", 99_999, Some("d99/f99999".into()))
    );
    let few = Limits { paths: 100_000, ..usual() };
    assert_eq!(too_large(&refused(std::slice::from_ref(&tar), &few)).0, "paths in all layers");
    let few = Limits { name_bytes: 10_000, ..usual() };
    assert_eq!(too_large(&refused(&[tar], &few)).0, "bytes of names in all layers");
}

#[test]
fn a_zstd_layer_that_asks_for_much_memory_is_refused() {
    // A frame of one raw block whose window is 2 GiB.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (31 - 10) << 3, 0x09, 0x00, 0x00, b'x'];
    let fault = Place::new().refused(&with_blob(&layer(&[]), frame.to_vec()), &usual());
    assert_eq!(too_large(&fault).0, "bytes of memory to unpack it");
}

#[test]
fn an_image_without_layers_or_with_other_ones_is_refused() {
    let place = Place::new();
    assert!(matches!(place.refused(&image(&[]), &usual()), ConvertFault::NoLayers));
    let mut few = image(&[layer(&[file("a", b"1")]), layer(&[])]);
    few.layers.pop();
    assert!(matches!(place.refused(&few, &usual()), ConvertFault::LayerCount { layers: 1, diff_ids: 2 }));
    let with = |config: &str| {
        let config = config.as_bytes().to_vec();
        SourceImage { config, ..image(&[layer(&[file("a", b"1")])]) }
    };
    for config in [
        "",
        "[]",
        "{}",
        "<html>",
        r#"{"rootfs":{"diff_ids":["md5:1"]}}"#,
        r#"{"rootfs":{"diff_ids":[5]}}"#,
        r#"{"os":"windows","rootfs":{"diff_ids":["sha256:1"]}}"#,
        r#"{"config":{"Cmd":"sh"},"rootfs":{"diff_ids":["sha256:1"]}}"#,
        r#"{"config":{"Labels":[]},"rootfs":{"diff_ids":["sha256:1"]}}"#,
    ] {
        let fault = place.refused(&with(config), &usual());
        assert!(matches!(fault, ConvertFault::BadConfig { .. }), "{config}: {fault:?}");
    }
    let fault = place.refused(&with(&" ".repeat(5 << 20)), &usual());
    assert!(matches!(fault, ConvertFault::BadConfig { .. }));
}

/// A blob whose stream breaks after some bytes.
struct Breaks(std::io::Cursor<Vec<u8>>);

impl Read for Breaks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(std::io::ErrorKind::ConnectionReset.into()),
            read => Ok(read),
        }
    }
}

#[test]
fn a_blob_that_cannot_be_read_is_told_from_a_damaged_one() {
    let tar = layer(&[file("a", &[1; 5000])]);
    let mut image = image_of(std::slice::from_ref(&tar), gzip);
    let half = gzip(&tar)[..30].to_vec();
    let open =
        move || -> std::io::Result<Box<dyn Read + Send>> { Ok(Box::new(Breaks(std::io::Cursor::new(half.clone())))) };
    image.layers[0].source = BlobSource::Stream(Box::new(open));
    let fault = Place::new().refused(&image, &usual());
    assert!(
        matches!(&fault, ConvertFault::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::ConnectionReset),
        "{fault:?}"
    );
    image.layers[0].source = BlobSource::File("/nowhere/at/all".into());
    assert!(matches!(Place::new().refused(&image, &usual()), ConvertFault::Unreadable { .. }));
}

#[test]
fn a_conversion_that_is_cancelled_ends_and_leaves_nothing() {
    let place = Place::new();
    let progress = Arc::new(Progress::default());
    // A layer without an end, of which each piece is waited for.
    let mut header = Vec::new();
    put(&mut header, &Raw { says: Some(4 << 30), ..file("endless", b"") });
    let seen = progress.clone();
    let open = move || -> std::io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(std::io::Cursor::new(header.clone()).chain(std::io::repeat(1))))
    };
    let blob =
        LayerBlob { digest: sha256(b""), source: BlobSource::Stream(Box::new(open)), trust: BlobTrust::Verified };
    let image = SourceImage { layers: vec![blob], ..image(&[layer(&[])]) };
    let target = place.target();
    std::thread::scope(|scope| {
        let working = scope.spawn(|| convert(&image, &target, &usual(), &progress));
        while seen.unpacked() < 1 << 20 {
            std::thread::yield_now();
        }
        assert_eq!(place.listing(), [".image.tar.part"]);
        seen.cancel();
        assert!(matches!(working.join().expect("no panic"), Err(ConvertFault::Cancelled)));
    });
    assert_eq!(place.listing(), Vec::<String>::new());
}

#[test]
fn what_a_killed_conversion_left_is_taken_over_and_a_running_one_is_not() {
    let place = Place::new();
    let image = image(&[layer(&[file("a", b"1")])]);
    let (_, expected) = place.converted(&image);
    let half = place.path().join(".image.tar.part");
    std::fs::write(&half, vec![1; 1 << 20]).expect("written");
    assert_eq!(place.converted(&image).1, expected);
    let other = std::fs::File::create(&half).expect("made");
    rustix::fs::flock(&other, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("locked");
    let fault = place.convert(&image, &usual()).expect_err("refused");
    assert!(matches!(fault, ConvertFault::Busy { .. }), "{fault:?}");
    assert!(half.exists(), "what somebody else writes stays");
    drop(other);
    std::fs::remove_file(&half).expect("removed");
    let elsewhere = place.path().join("victim");
    std::fs::write(&elsewhere, "untouched").expect("written");
    std::os::unix::fs::symlink(&elsewhere, &half).expect("linked");
    assert!(matches!(place.convert(&image, &usual()), Err(ConvertFault::Unwritable { .. })));
    assert_eq!(std::fs::read_to_string(&elsewhere).expect("there"), "untouched");
}

#[test]
fn a_fault_leaves_the_archive_of_before() {
    let place = Place::new();
    let (_, before) = place.converted(&image(&[layer(&[file("a", b"1")])]));
    let bad = with_blob(&layer(&[file("a", b"2")]), b"noise".repeat(300));
    place.convert(&bad, &usual()).expect_err("refused");
    assert_eq!(place.listing(), ["image.tar"]);
    assert_eq!(std::fs::read(place.target()).expect("there"), before);
}

#[test]
fn a_directory_that_is_not_there_is_said() {
    let image = image(&[layer(&[file("a", b"1")])]);
    let target = Place::new().path().join("none/image.tar");
    let fault = convert(&image, &target, &usual(), &Progress::default()).expect_err("refused");
    assert!(matches!(&fault, ConvertFault::Unwritable { path, .. } if *path == target), "{fault:?}");
}

/// Unmounts also when an assertion fails.
struct Mounted<'a>(&'a Place);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_said_and_nothing_stays_on_it() {
    let name = "a_full_disk_is_said_and_nothing_stays_on_it";
    if !rustix::process::geteuid().is_root() {
        return skipped(name, "mounting a small disk needs root");
    }
    let place = Place::new();
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=4m", "mkube-test"]).arg(place.path());
    if !mount.status().expect("mount is there").success() {
        return skipped(name, "no tmpfs can be mounted here");
    }
    let _mounted = Mounted(&place);
    for bytes in [5 << 20, 40 << 20] {
        let big = layer(&[file("a", &vec![1; bytes])]);
        let fault = place.refused(&image(&[big]), &usual());
        assert!(matches!(&fault, ConvertFault::DiskFull { path } if *path == place.target()), "{fault:?}");
    }
    place.converted(&image(&[layer(&[file("a", b"1")])]));
}

#[test]
fn bytes_changed_anywhere_never_leave_half_an_archive() {
    let tar =
        layer(&[directory("d"), file("d/a", &[7; 600]), symlink("l", "d"), hard_link("h", "d/a"), file(".wh.x", b"")]);
    let packed = gzip(&tar);
    let outcomes = AtomicU64::new(0);
    for (bytes, packs) in [(&tar, false), (&packed, true)] {
        for at in (0..bytes.len()).step_by(if packs { 1 } else { 7 }) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x41;
            let mut image = with_blob(&tar, bytes);
            image.layers[0].trust = BlobTrust::Verified;
            let place = Place::in_memory();
            match place.convert(&image, &usual()) {
                Ok(_) => assert_eq!(place.listing(), ["image.tar"]),
                Err(_) => {
                    outcomes.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(place.listing(), Vec::<String>::new());
                }
            }
        }
    }
    assert!(outcomes.into_inner() > 100);
}
