//! How layers are packed, and what of an entry is kept.

use std::path::PathBuf;

use mkube_image_pull::convert::{BlobSource, BlobTrust, LayerBlob};
use tar::EntryType;

use crate::made::{
    Place, Raw, blob, config_of, directory, file, gzip, hard_link, image, image_of, layer, layer_of, raw, sha256,
    symlink, zstd,
};
use crate::model::entries;

fn some_layers() -> [Vec<u8>; 2] {
    let big: Vec<u8> = (0..700_000u32).flat_map(|number| (number / 3).to_le_bytes()).collect();
    [layer(&[directory("d"), file("d/big", &big)]), layer(&[file("d/small", b"2")])]
}

#[test]
fn gzip_zstd_and_plain_layers_give_the_same_archive() {
    let place = Place::new();
    let layers = some_layers();
    let (converted, plain) = place.converted(&image(&layers));
    assert_eq!(place.converted(&image_of(&layers, gzip)), (converted.clone(), plain.clone()));
    assert_eq!(place.converted(&image_of(&layers, zstd)), (converted.clone(), plain.clone()));
    let mut mixed = image(&layers);
    mixed.layers[0] = blob(zstd(&layers[0]));
    assert_eq!(place.converted(&mixed), (converted, plain));
}

#[test]
fn layers_of_several_gzip_members_or_zstd_frames_are_read_to_their_end() {
    let place = Place::new();
    let layers = some_layers();
    let (_, plain) = place.converted(&image(&layers));
    let halves = |pack: fn(&[u8]) -> Vec<u8>| {
        move |bytes: &[u8]| {
            let (first, second) = bytes.split_at(bytes.len() / 2);
            [pack(first), pack(second)].concat()
        }
    };
    assert_eq!(place.converted(&image_of(&layers, halves(gzip))).1, plain);
    assert_eq!(place.converted(&image_of(&layers, halves(zstd))).1, plain);
    // Frames to be skipped, before, between and behind, as writers with an index have them.
    let skipped =
        |text: &[u8]| [&[0x50, 0x2a, 0x4d, 0x18], (text.len() as u32).to_le_bytes().as_slice(), text].concat();
    let framed = |bytes: &[u8]| [skipped(b"index"), halves(zstd)(bytes), skipped(b"")].concat();
    assert_eq!(place.converted(&image_of(&layers, framed)).1, plain);
}

#[test]
fn blobs_come_from_files_as_well() {
    let place = Place::new();
    let layers = some_layers();
    let (_, expected) = place.converted(&image(&layers));
    let blobs = tempfile::tempdir().expect("a directory");
    let mut from_files = image_of(&layers, gzip);
    for (number, bytes) in layers.iter().enumerate() {
        let (bytes, path): (_, PathBuf) = (gzip(bytes), blobs.path().join(number.to_string()));
        std::fs::write(&path, &bytes).expect("written");
        let source = BlobSource::File(path);
        from_files.layers[number] = LayerBlob { digest: sha256(&bytes), source, trust: BlobTrust::Verified };
    }
    assert_eq!(place.converted(&from_files).1, expected);
}

#[test]
fn owner_mode_time_and_attributes_are_kept() {
    let place = Place::new();
    let capability = (b"SCHILY.xattr.security.capability".to_vec(), b"\x01\0\0\x02\0=\0\x02".to_vec());
    let other = (b"SCHILY.xattr.user.note".to_vec(), "für später".as_bytes().to_vec());
    let program = Raw {
        mode: 0o4755,
        owner: (1000, 3_000_000_000),
        mtime: 0o77_777_777_777,
        pax: vec![capability.clone(), other.clone(), (b"comment".to_vec(), b"dropped".to_vec())],
        ..file("bin/app", b"app")
    };
    let past = Raw { pax: vec![(b"mtime".to_vec(), b"1234567890.987".to_vec())], ..file("past", b"") };
    let before = Raw { pax: vec![(b"mtime".to_vec(), b"-5.5".to_vec())], ..file("before", b"") };
    let huge =
        Raw { pax: vec![(b"uid".to_vec(), b"70000".to_vec()), (b"gid".to_vec(), b"7".to_vec())], ..file("own", b"") };
    let (_, archive) = place.converted(&image(&[layer(&[program.clone(), past, before, huge])]));
    let found = entries(&layer_of(&archive));
    let shown = |entry: &Raw| (entry.mode, entry.owner, entry.mtime, entry.pax.clone());
    assert_eq!(shown(&found[0]), (0o4755, (1000, 3_000_000_000), program.mtime, vec![capability, other]));
    assert_eq!((found[1].mtime, found[2].mtime), (1_234_567_890, 0));
    assert_eq!(found[3].owner, (70000, 7));
}

/// Capabilities are numbers, and one of their bytes may be what ends a line.
#[test]
fn attributes_with_line_breaks_are_kept() {
    let value = b"\x01\0\0\x02\n\0=\n23 path=elsewhere\n\0";
    let attribute = (b"SCHILY.xattr.security.capability".to_vec(), value.to_vec());
    let made = [Raw { pax: vec![attribute], ..file("bin/app", b"app") }, file("after", b"1")];
    let (_, archive) = Place::new().converted(&image(&[layer(&made)]));
    let record = [b"SCHILY.xattr.security.capability=", value.as_slice(), b"\n"].concat();
    let flattened = layer_of(&archive);
    assert!(flattened.windows(record.len()).any(|part| part == record));
    let names: Vec<_> = entries(&flattened).into_iter().map(|entry| entry.name).collect();
    assert_eq!(names[..2], [b"bin/app".to_vec(), b"after".to_vec()]);
}

#[test]
fn names_of_any_length_and_any_bytes_are_kept() {
    let place = Place::new();
    let part = "n".repeat(90);
    let long = format!("{part}/{part}/{part}/{part}");
    let made = [
        file(&format!("{}/{}", "d".repeat(140), "e".repeat(99)), b"1"),
        file(&long, b"2"),
        symlink("short", &format!("/{long}")),
        hard_link(&format!("{part}/link"), &long),
        file(&"x".repeat(100), b"3"),
        directory(&format!("{}/", "y".repeat(100))),
        file("bl\u{e4}tter/\u{1f642}", b"4"),
        Raw { name: b"not/\xff\xfeutf8".to_vec(), ..file("", b"5") },
        Raw { pax: vec![(b"path".to_vec(), b"by/pax".to_vec())], ..file("by-header", b"6") },
        Raw { pax: vec![(b"linkpath".to_vec(), b"by/pax".to_vec())], ..symlink("l", "by-header") },
    ];
    let (converted, archive) = place.converted(&image(&[layer(&made)]));
    assert_eq!(converted.passes, 1);
    let found = entries(&layer_of(&archive));
    let expected = made.iter().map(|entry| match entry.pax.first() {
        Some((key, value)) if key == b"path" => (value.clone(), Vec::new()),
        Some((_, value)) => (entry.name.clone(), value.clone()),
        None => (entry.name.clone(), entry.link.clone()),
    });
    let kept: Vec<_> = found.iter().map(|entry| (entry.name.clone(), entry.link.clone())).collect();
    for (kept, expected) in kept.iter().zip(expected) {
        assert_eq!(kept, &expected);
    }
    // Behind them the directories nobody described.
    assert!(kept[made.len()..].iter().all(|(name, _)| name.ends_with(b"/")));
}

#[test]
fn absolute_names_and_dots_are_taken_from_the_root() {
    let place = Place::new();
    let made = [directory("./"), file("/etc/passwd", b"1"), file("././a//b/./c", b"2"), file("old/", b"")];
    let (_, archive) = place.converted(&image(&[layer(&made)]));
    let names: Vec<String> =
        entries(&layer_of(&archive)).iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect();
    assert_eq!(names, ["etc/passwd", "a/b/c", "old/", "etc/", "a/", "a/b/"]);
}

#[test]
fn sparse_files_are_written_out() {
    let place = Place::new();
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..6].copy_from_slice(b"sparse");
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(512);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let gnu = header.as_gnu_mut().expect("gnu");
    // 512 bytes at 1024, and the file ends at 2048.
    gnu.sparse[0].offset[..11].copy_from_slice(b"00000002000");
    gnu.sparse[0].numbytes[..11].copy_from_slice(b"00000001000");
    gnu.sparse[1].offset[..11].copy_from_slice(b"00000004000");
    gnu.sparse[1].numbytes[..11].copy_from_slice(b"00000000000");
    gnu.realsize[..11].copy_from_slice(b"00000004000");
    header.set_cksum();
    let tar = [header.as_bytes().as_slice(), &[7; 512], &layer(&[file("after", b"1")])].concat();
    let (_, archive) = place.converted(&image(&[tar]));
    let found = entries(&layer_of(&archive));
    let expected = [[0; 1024].as_slice(), &[7; 512], &[0; 512]].concat();
    assert_eq!(found[0].data.len(), 2048);
    assert!(found[0].kind.is_file() && found[0].data == expected && found[1].data == b"1");
}

#[test]
fn what_a_device_may_ask_of_an_image_config_is_passed_on() {
    let place = Place::new();
    let layers = [layer(&[file("a", b"1")])];
    let mut full = image(&layers);
    let settings = serde_json::json!({
        "User": "web:www", "Env": ["A=1", "B=2"], "Entrypoint": ["/e", "x y"], "Cmd": ["c"], "WorkingDir": "/w",
        "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "Labels": {"z": "1", "a": "2"}, "StopSignal": "SIGINT",
        "Healthcheck": {"Test": ["CMD", "/h"], "Interval": 5},
    });
    let mut source = serde_json::json!({
        "architecture": "arm", "variant": "v7", "os": "linux", "created": "2020-01-01T00:00:00Z", "history": [{}],
        "config": settings, "rootfs": {"type": "layers", "diff_ids": [sha256(&layers[0])]},
    });
    source["config"]["OnBuild"] = serde_json::json!(["RUN x"]);
    full.config = source.to_string().into_bytes();
    let (converted, archive) = place.converted(&full);
    let expected = serde_json::json!({
        "architecture": "arm", "variant": "v7", "os": "linux", "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [converted.layer_digest]},
    });
    assert_eq!(config_of(&archive), expected);
    source["config"] = serde_json::Value::Null;
    full.config = source.to_string().into_bytes();
    assert_eq!(config_of(&place.converted(&full).1)["config"], serde_json::json!({}));
}

#[test]
fn global_records_say_nothing_about_files() {
    let place = Place::new();
    let global = Raw { data: b"19 path=elsewhere\n\n".to_vec(), ..raw(EntryType::XGlobalHeader, "pax_global_header") };
    let (converted, _) = place.converted(&image(&[layer(&[global, file("a", b"1")])]));
    assert_eq!(converted.entries, 1);
}
