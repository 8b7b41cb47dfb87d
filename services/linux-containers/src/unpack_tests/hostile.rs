//! Archives made to do harm.

use super::*;

#[test]
fn device_nodes_are_not_made() {
    let place = Place::new();
    let node = |name, kind| Raw { name, kind, mode: 0o666, ..Raw::default() };
    let entries = [
        node("dev/sda", EntryType::Block),
        node("dev/mem", EntryType::Char),
        node("dev/fifo", EntryType::Fifo),
        file("a", b"1"),
    ];
    place.unpack(&[layer(&entries)]).expect("unpacked");
    assert!(listing(&place.root().join("dev")).is_empty());
    assert!(place.has("a"));
}

/// Every name and link that could lead out, in every role. All lead to a directory of this test: were one to succeed, it would
/// do no harm beyond it.
#[test]
fn of_many_ways_out_none_writes_outside() {
    let place = Place::new();
    let outside = place.directory.path().join("outside");
    std::fs::create_dir(&outside).expect("made");
    std::fs::write(outside.join("victim"), "untouched").expect("written");
    let absolute = outside.display().to_string();
    let up = "../".repeat(12);
    let towards = [
        absolute.clone(),
        format!("/{absolute}"),
        format!("{}{absolute}", up.trim_end_matches('/')),
        format!("{up}{}", absolute.trim_start_matches('/')),
        "../outside".to_owned(),
        "../../outside".to_owned(),
        "./../../outside".to_owned(),
        "a/../../../outside".to_owned(),
        "/proc/self/root".to_owned() + &absolute,
        "/proc/1/root".to_owned() + &absolute,
        "..".to_owned(),
        ".".to_owned(),
    ];
    let mut tried = 0;
    for target in &towards {
        let inside = format!("{target}/victim");
        let [whiteout, opaque] = [".wh.victim", ".wh..wh..opq"].map(|mark| format!("{target}/{mark}"));
        let hostile: Vec<Vec<Raw<'_>>> = vec![
            vec![file(&inside, b"evil")],
            vec![directory(target), file(&inside, b"evil")],
            vec![symlink("l", target), file("l/victim", b"evil")],
            vec![symlink("l", target), file("l/outside/victim", b"evil")],
            vec![symlink("l", &inside), file("l", b"evil")],
            vec![symlink("l", target), symlink("m", "l"), file("m/victim", b"evil")],
            vec![symlink("l", target), directory("l"), file("l/victim", b"evil")],
            vec![symlink("l", target), directory("l/sub"), file("l/new", b"evil")],
            vec![hard_link("h", &inside), file("h", b"evil")],
            vec![symlink("l", target), hard_link("h", "l/victim"), file("h", b"evil")],
            vec![symlink("l", target), hard_link("l/new", "l/victim")],
            vec![symlink("l", target), symlink("l/new", "/etc/passwd")],
            vec![symlink("l", target), file("l/.wh.victim", b"")],
            vec![symlink("l", target), file("l/.wh..wh..opq", b"")],
            vec![symlink("l", target), file(".wh.l", b"")],
            vec![file(&whiteout, b"")],
            vec![file(&opaque, b"")],
            vec![file(".wh...", b"")],
            vec![file(".wh..", b"")],
            vec![hard_link("h", target)],
            vec![symlink("d/l", target), symlink("e", "d/l"), file("e/victim", b"evil")],
            vec![Raw { name: &inside, kind: EntryType::Char, ..Raw::default() }],
        ];
        for entries in hostile {
            tried += 1;
            let second = layer(&[file("l/victim", b"evil"), file("l/sub/victim", b"evil"), file("h", b"evil")]);
            // Refused or taken in, as one layer or two: nothing outside changes either way.
            let _ = place.unpack(&[layer(&entries), second]);
            let names: Vec<&str> = entries.iter().map(|raw| raw.name).collect();
            assert_eq!(listing(&outside), ["victim"], "{names:?} towards {target}");
            let meta = outside.join("victim").metadata().expect("there");
            assert_eq!(meta.nlink(), 1, "{names:?} towards {target}: linked");
            assert_eq!(std::fs::read_to_string(outside.join("victim")).expect("there"), "untouched", "{names:?}");
            let mut around = listing(place.directory.path());
            around.sort();
            assert_eq!(around, ["disk", "image.tar", "outside"], "{names:?} towards {target}");
            let root = place.root();
            assert!(listing(&place.disk()).iter().all(|name| name == "root"), "{names:?} towards {target}");
            remove_root(&root).expect("removed");
            assert!(outside.join("victim").exists(), "removal follows no link: {names:?}");
        }
    }
    assert_eq!(tried, towards.len() * 22);
}

#[test]
fn a_step_upward_is_refused_by_name() {
    let place = Place::new();
    for name in ["../x", "a/../../x", "/../x", "./../x"] {
        assert!(place.refused_layer(&[file(name, b"x")]).contains("leads outside"), "{name}");
        assert!(place.refused_layer(&[hard_link("h", name)]).contains("leads outside"), "{name}");
    }
    assert!(place.refused_layer(&[hard_link("h", "/etc/passwd")]).contains("hard link to etc/passwd"));
    assert!(place.refused_layer(&[file("h", b""), hard_link("g", "h"), hard_link("g", "none")]).contains("hard link"));
    assert!(place.refused_layer(&[symlink("l", "l"), file("l/x", b"")]).contains("does not lead to a directory"));
    assert!(place.refused_layer(&[symlink("l", "none"), file("l/x", b"")]).contains("does not lead to a directory"));
    assert!(place.refused_layer(&[file("f", b""), file("f/x", b"")]).contains("does not lead to a directory"));
    assert!(place.refused_layer(&[file(".wh.", b"")]).contains("whiteout without a name"));
}

#[test]
fn sizes_that_lie_are_refused() {
    let place = Place::new();
    let few = Limits { bytes: 1 << 20, entries: 100 };
    let says = |says| Raw { name: "big", data: b"x", says: Some(says), ..Raw::default() };
    for size in [1 << 21, 1 << 40, u64::MAX / 2, u64::MAX] {
        place.refused(&image(&[layer(&[says(size)])]), few);
    }
    // Says less than room, has less than it says.
    place.refused(&image(&[layer(&[says(900_000)])]), few);
    let big = vec![0u8; 600 << 10];
    let two = image(&[layer(&[file("a", &big)]), layer(&[file("a", &big)])]);
    assert!(place.refused(&two, few).contains("larger than"), "the sum of all layers counts");
    let names: Vec<String> = (0..101).map(|number| format!("f{number}")).collect();
    let many: Vec<Raw<'_>> = names.iter().map(|name| file(name, b"")).collect();
    assert!(place.refused(&image(&[layer(&many)]), few).contains("more than 100 entries"));
    assert!(place.unpack_bytes(&image(&[layer(&many[..100])]), few).is_ok(), "a hundred are not too many");
}

#[test]
fn names_and_headers_without_end_are_refused() {
    let place = Place::new();
    let endless = vec![b'a'; 8 << 20];
    for kind in [b'L', b'K', b'x'] {
        let header = Raw { name: "long", kind: EntryType::new(kind), data: &endless, ..Raw::default() };
        let why = place.refused_layer(&[header, file("a", b"")]);
        assert!(why.contains("too long"), "{why}");
        let header = Raw { name: "long", kind: EntryType::new(kind), data: &endless, ..Raw::default() };
        assert!(place.refused(&layer(&[header, file("a", b"")]), Limits::default()).contains("too long"));
    }
    place.refused_layer(&[file(&"n".repeat(300), b"")]);
    place.refused_layer(&[file(&"n/".repeat(3000), b"")]);
    let deep = "n/".repeat(150);
    let deeper = format!("l/{deep}");
    let entries = [directory(&deep), symlink("l", &deep), directory(&deeper)];
    assert!(place.refused_layer(&entries).contains("deep"));
    place.refused_layer(&[Raw { name: "a", owner: (u64::from(u32::MAX), 0), ..Raw::default() }]);
}

#[test]
fn sparse_files_of_any_claimed_size_stay_within_the_limit() {
    let place = Place::new();
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..6].copy_from_slice(b"sparse");
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(0);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    let gnu = header.as_gnu_mut().expect("gnu");
    gnu.sparse[0].offset[..11].copy_from_slice(b"77777777777");
    gnu.sparse[0].numbytes[..11].copy_from_slice(b"00000000000");
    gnu.realsize[..11].copy_from_slice(b"77777777777");
    header.set_cksum();
    let bytes = [header.as_bytes().as_slice(), &[0; 1024]].concat();
    let why = place.refused(&image(&[bytes]), Limits { bytes: 1 << 20, entries: 10 });
    assert!(why.contains("larger than"), "{why}");
}

#[test]
fn a_gzipped_archive_is_read_and_a_bomb_is_not() {
    let place = Place::new();
    let gzip = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).expect("zipped");
        out.finish().expect("zipped")
    };
    let whole = gzip(&image(&[layer(&[file("a", b"zipped")])]));
    place.unpack_bytes(&whole, Limits::default()).expect("unpacked");
    assert_eq!(place.text("a"), "zipped");
    remove_root(&place.root()).expect("removed");
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 1 << 20);
    let why = place.refused(&bomb, Limits { bytes: 8 << 20, entries: 10 });
    assert!(why.contains("larger than allowed"), "{why}");
    place.refused(&whole[..whole.len() / 2], Limits::default());
}
