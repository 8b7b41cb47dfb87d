//! Archives that are not what they should be, and disks that are.

use super::*;

#[test]
fn compressed_layers_are_refused_by_name_as_devices_do() {
    let place = Place::new();
    for (magic, how) in
        [(&b"\x1f\x8b\x08\0"[..], "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\0", "xz"), (b"BZh9", "bzip2")]
    {
        let why = place.refused(&image(&[[magic, &[0; 600]].concat()]), Limits::default());
        assert!(why.contains("layer 0/layer.tar is compressed with") && why.contains(how), "{why}");
    }
}

#[test]
fn damaged_archives_say_what_is_wrong_with_them() {
    let place = Place::new();
    let limits = Limits::default();
    let good = image(&[layer(&[file("a", &[7; 5000]), file("b", &[8; 5000])])]);
    for length in [0, 100, 512, 700, 2000, 4000, 6000, good.len() - 3000] {
        place.refused(&good[..length], limits);
    }
    assert!(place.refused(&good[..good.len() - 3000], limits).contains("truncated"));
    assert!(place.refused(&[b'?'; 4096], limits).contains("damaged"));
    let rootfs = layer(&[file("bin/sh", b"#!")]);
    assert!(place.refused(&rootfs, limits).contains("no manifest.json in archive"));
    let manifest = |text: &str| layer(&[file("manifest.json", text.as_bytes()), file("c.json", b"{}")]);
    assert!(place.refused(&manifest("[{"), limits).contains("manifest.json: "));
    assert!(place.refused(&manifest("[]"), limits).contains("could not find image manifest"));
    assert!(place.refused(&manifest("[7]"), limits).contains("could not find image manifest"));
    assert!(place.refused(&manifest(r#"[{"Config":"d.json"}]"#), limits).contains("config \"d.json\" is missing"));
    let lost = r#"[{"Config":"c.json","Layers":["x/layer.tar"]}]"#;
    assert!(place.refused(&manifest(lost), limits).contains("layer x/layer.tar is missing"));
    let broken =
        layer(&[file("manifest.json", br#"[{"Config":"c.json","Layers":[]}]"#), file("c.json", b"{\"config\":")]);
    assert!(place.refused(&broken, limits).contains("c.json: "));
    let mut noise = layer(&[file("a", b"1")]);
    noise[3] ^= 0xff;
    assert!(place.refused(&image(&[noise]), limits).contains("a layer is damaged"));
    let short = layer(&[file("a", &[7; 5000])]);
    assert!(place.refused(&image(&[short[..1500].to_vec()]), limits).contains("damaged"));
    let loops = layer(&[file("manifest.json", br#"[{"Config":"l"}]"#), symlink("l", "l")]);
    assert!(place.refused(&loops, limits).contains("link without an end"));
}

#[test]
fn what_is_there_already_is_left_alone() {
    let place = Place::new();
    std::fs::create_dir(place.root()).expect("made");
    std::fs::write(place.root().join("mine"), "1").expect("written");
    let fault = place.unpack(&[layer(&[file("a", b"1")])]).expect_err("refused");
    assert!(fault.to_string().contains("root-dir already exists"));
    assert_eq!((place.text("mine"), listing(&place.disk())), ("1".into(), vec!["root".to_owned()]));
}

#[test]
fn half_of_an_earlier_try_is_no_obstacle_and_goes_with_the_root() {
    let place = Place::new();
    let half = place.disk().join(".root.unpacking");
    std::fs::create_dir(&half).expect("made");
    std::fs::write(half.join("old"), "1").expect("written");
    place.unpack(&[layer(&[file("a", b"1")])]).expect("unpacked");
    assert!(!half.exists() && !place.has("old"));
    std::fs::create_dir(&half).expect("made");
    remove_root(&place.root()).expect("removed");
    assert!(listing(&place.disk()).is_empty());
}

#[test]
fn unpacking_that_is_cancelled_leaves_nothing_and_a_removal_waits_for_it() {
    let place = Place::new();
    let big = vec![1u8; 4 << 20];
    let names: Vec<String> = (0..64).map(|number| format!("f{number}")).collect();
    let entries: Vec<Raw<'_>> = names.iter().map(|name| file(name, &big)).collect();
    let archive = place.file(&image(&[layer(&entries)]));
    let (busy, cancelled) = (Busy::default(), AtomicBool::new(false));
    let root = place.root();
    std::thread::scope(|scope| {
        let unpacking = scope.spawn(|| busy.alone(&root, || unpack(&archive, &root, Limits::default(), &cancelled)));
        let deadline = Instant::now() + Duration::from_secs(20);
        while !place.disk().join(".root.unpacking").exists() {
            assert!(Instant::now() < deadline, "unpacking begins");
            std::thread::yield_now();
        }
        cancelled.store(true, Ordering::Relaxed);
        busy.alone(&root, || remove_root(&root)).expect("removed");
        assert_eq!(listing(&place.disk()), Vec::<String>::new(), "nothing is there when the removal is over");
        let fault = unpacking.join().expect("no panic").expect_err("cancelled");
        assert_eq!(fault.to_string(), "cancelled");
    });
    assert_eq!(listing(&place.disk()), Vec::<String>::new());
}

/// Says loudly what was not tested: what the usual macro prints is hidden when a test passes.
fn skipped(what: &str) {
    let _ = std::io::stderr().write_all(format!("\n==== SKIPPED {what} ====\n\n").as_bytes());
}

/// Unmounts also when an assertion fails.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_said_and_nothing_stays_on_it() {
    if !rustix::process::geteuid().is_root() {
        skipped("a_full_disk_is_said_and_nothing_stays_on_it: mounting a small disk needs root");
        return;
    }
    let place = Place::new();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "mkube-test"])
        .arg(place.disk())
        .status()
        .expect("mount is there");
    if !mounted.success() {
        skipped("a_full_disk_is_said_and_nothing_stays_on_it: no tmpfs can be mounted here");
        return;
    }
    let _mounted = Mounted(place.disk());
    let big = vec![1u8; 700 << 10];
    let archive = image(&[layer(&[file("a", &big), file("b", &big)])]);
    assert_eq!(place.unpack_bytes(&archive, Limits::default()), Err(EngineFault::DiskFull));
    assert_eq!(listing(&place.disk()), Vec::<String>::new());
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zipped.write_all(&archive).expect("zipped");
    let zipped = zipped.finish().expect("zipped");
    assert_eq!(place.unpack_bytes(&zipped, Limits::default()), Err(EngineFault::DiskFull));
    assert_eq!(listing(&place.disk()), Vec::<String>::new());
    let small = image(&[layer(&[file("a", &big[..1000])])]);
    place.unpack_bytes(&small, Limits::default()).expect("there is room for this one");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::default())]

    #[test]
    fn bytes_changed_anywhere_never_panic_and_never_leave_half_an_image(at in 0usize..8000, with: u8) {
        let place = Place::new();
        let mut bytes = image(&[layer(&[directory("d"), file("d/a", &[7; 600]), symlink("l", "d"), file("l/b", b"1"), hard_link("h", "d/a")])]);
        let at = at % bytes.len();
        bytes[at] ^= with;
        let done = place.unpack_bytes(&bytes, Limits { bytes: 1 << 20, entries: 50 });
        let expected: Vec<String> = done.iter().map(|_| "root".to_owned()).collect();
        proptest::prop_assert_eq!(listing(&place.disk()), expected);
        proptest::prop_assert_eq!(listing(place.directory.path()).len(), 2);
    }
}
