//! Archives, honest and hostile, and what they leave on disk.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mkube_router_machine::engine::{EngineFault, ImageConfig};
use serde_json::json;
use tar::EntryType;

use crate::unpack::{Busy, Limits, remove_root, unpack};

/// One entry, written as it stands: no library corrects it.
struct Raw<'a> {
    name: &'a str,
    kind: EntryType,
    link: &'a str,
    mode: u32,
    owner: (u64, u64),
    data: &'a [u8],
    /// What the header says, where that is not the length of the data.
    says: Option<u64>,
}

impl Default for Raw<'_> {
    fn default() -> Self {
        Self { name: "", kind: EntryType::Regular, link: "", mode: 0o644, owner: (0, 0), data: b"", says: None }
    }
}

fn file<'a>(name: &'a str, data: &'a [u8]) -> Raw<'a> {
    Raw { name, data, ..Raw::default() }
}

fn directory(name: &str) -> Raw<'_> {
    Raw { name, kind: EntryType::Directory, mode: 0o755, ..Raw::default() }
}

fn symlink<'a>(name: &'a str, link: &'a str) -> Raw<'a> {
    Raw { name, link, kind: EntryType::Symlink, mode: 0o777, ..Raw::default() }
}

fn hard_link<'a>(name: &'a str, link: &'a str) -> Raw<'a> {
    Raw { name, link, kind: EntryType::Link, ..Raw::default() }
}

fn put(out: &mut Vec<u8>, raw: &Raw<'_>) {
    let mut header = tar::Header::new_gnu();
    let long = |kind: u8, text: &str, out: &mut Vec<u8>| {
        let data = [text.as_bytes(), b"\0"].concat();
        put(out, &Raw { name: "././@LongLink", kind: EntryType::new(kind), data: &data, ..Raw::default() });
    };
    if raw.name.len() >= 100 {
        long(b'L', raw.name, out);
    }
    if raw.link.len() >= 100 {
        long(b'K', raw.link, out);
    }
    let old = header.as_old_mut();
    let most = raw.name.len().min(99);
    old.name[..most].copy_from_slice(&raw.name.as_bytes()[..most]);
    let most = raw.link.len().min(99);
    old.linkname[..most].copy_from_slice(&raw.link.as_bytes()[..most]);
    header.set_entry_type(raw.kind);
    header.set_mode(raw.mode);
    header.set_uid(raw.owner.0);
    header.set_gid(raw.owner.1);
    header.set_mtime(1_000_000_000);
    header.set_size(raw.says.unwrap_or(raw.data.len() as u64));
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(raw.data);
    out.resize(out.len().next_multiple_of(512), 0);
}

fn layer(entries: &[Raw<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    entries.iter().for_each(|raw| put(&mut out, raw));
    out.resize(out.len() + 1024, 0);
    out
}

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("disk")).expect("made");
        Self { directory }
    }

    fn disk(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    fn root(&self) -> PathBuf {
        self.disk().join("root")
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.directory.path().join("image.tar");
        std::fs::write(&path, bytes).expect("written");
        path
    }

    fn unpack_bytes(&self, bytes: &[u8], limits: Limits) -> Result<ImageConfig, EngineFault> {
        unpack(&self.file(bytes), &self.root(), limits, &AtomicBool::new(false))
    }

    fn unpack(&self, layers: &[Vec<u8>]) -> Result<ImageConfig, EngineFault> {
        self.unpack_bytes(&image(layers), Limits::default())
    }

    /// Refused, and nothing of it is on the disk; why.
    fn refused(&self, bytes: &[u8], limits: Limits) -> String {
        let fault = self.unpack_bytes(bytes, limits).expect_err("refused");
        assert_eq!(listing(&self.disk()), Vec::<String>::new(), "{fault}");
        match fault {
            EngineFault::BadArchive(why) => why,
            other => panic!("{other:?} is not about the archive"),
        }
    }

    fn refused_layer(&self, entries: &[Raw<'_>]) -> String {
        self.refused(&image(&[layer(entries)]), Limits::default())
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn has(&self, path: &str) -> bool {
        self.root().join(path).symlink_metadata().is_ok()
    }
}

fn listing(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("readable");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// A docker-save archive of layers.
fn image(layers: &[Vec<u8>]) -> Vec<u8> {
    let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}/layer.tar")).collect();
    let config = json!({"architecture": "amd64", "config": {
        "Entrypoint": ["/bin/app"], "Cmd": ["serve"], "Env": ["A=1"], "WorkingDir": "/srv", "User": "web", "StopSignal": "SIGQUIT"}})
    .to_string();
    let manifest = json!([{"Config": "abc123.json", "RepoTags": ["example/app:edge"], "Layers": names}]).to_string();
    let mut all = vec![file("manifest.json", manifest.as_bytes()), file("abc123.json", config.as_bytes())];
    all.extend(names.iter().zip(layers).map(|(name, bytes)| file(name, bytes)));
    layer(&all)
}

#[test]
fn layers_lie_over_one_another_and_the_config_is_read() {
    let place = Place::new();
    let low = layer(&[directory("etc/"), file("etc/a", b"low"), file("etc/b", b"low")]);
    let high = layer(&[file("./etc/b", b"high"), file("new/deep/c", b"high")]);
    let config = place.unpack(&[low, high]).expect("unpacked");
    assert_eq!(
        (place.text("etc/a"), place.text("etc/b"), place.text("new/deep/c")),
        ("low".into(), "high".into(), "high".into())
    );
    assert_eq!((config.entrypoint, config.cmd), (vec!["/bin/app".to_owned()], vec!["serve".to_owned()]));
    assert_eq!((config.env, config.workdir, config.user), (vec!["A=1".to_owned()], "/srv".into(), "web".into()));
    assert_eq!((config.stop_signal, config.architecture), ("SIGQUIT".into(), "amd64".into()));
    assert_eq!((config.image_id, config.tag), ("sha256:abc123".into(), "example/app:edge".into()));
    assert_eq!(config.size, "lowlowhighhigh".len() as u64);
    assert_eq!(listing(&place.disk()), ["root"], "nothing else is left");
}

#[test]
fn a_whiteout_removes_what_a_lower_layer_brought_and_only_that() {
    let place = Place::new();
    let low =
        layer(&[file("a", b"1"), file("d/x", b"1"), file("d/sub/y", b"1"), file("keep", b"1"), symlink("l", "keep")]);
    let high = layer(&[
        file("own", b"2"),
        file(".wh.a", b""),
        file(".wh.d", b""),
        file(".wh.l", b""),
        file(".wh.own", b""),
        file(".wh.never", b""),
    ]);
    place.unpack(&[low, high]).expect("unpacked");
    assert!(!place.has("a") && !place.has("d") && !place.has("l"), "hidden");
    assert!(place.has("keep") && place.has("own"), "the target of a removed link and the layer's own file stay");
    assert!(!listing(&place.root()).iter().any(|name| name.starts_with(".wh.")), "whiteouts are no files");
}

#[test]
fn an_opaque_directory_hides_lower_layers_wherever_its_mark_stands() {
    for mark_first in [true, false] {
        let place = Place::new();
        let low = layer(&[
            directory("d"),
            file("d/old", b"1"),
            file("d/both", b"1"),
            file("d/sub/old", b"1"),
            file("e", b"1"),
        ]);
        let mut high = vec![directory("d"), file("d/both", b"2"), directory("d/sub"), file("d/sub/new", b"2")];
        high.insert(if mark_first { 1 } else { high.len() }, file("d/.wh..wh..opq", b""));
        place.unpack(&[low, layer(&high)]).expect("unpacked");
        assert!(!place.has("d/old") && !place.has("d/sub/old"), "mark first: {mark_first}");
        assert_eq!(
            (place.text("d/both"), place.text("d/sub/new"), place.text("e")),
            ("2".into(), "2".into(), "1".into())
        );
    }
}

#[test]
fn links_owners_modes_and_times_are_those_of_the_archive() {
    let place = Place::new();
    let entries = [
        Raw { name: "bin/su", mode: 0o4755, owner: (0, 7), data: b"su", ..Raw::default() },
        Raw { name: "tmp", kind: EntryType::Directory, mode: 0o1777, ..Raw::default() },
        Raw { name: "home", kind: EntryType::Directory, mode: 0o2750, owner: (33, 44), ..Raw::default() },
        hard_link("bin/sudo", "/bin/su"),
        symlink("bin/link", "/etc/passwd"),
    ];
    place.unpack(&[layer(&entries)]).expect("unpacked");
    let of = |path: &str| place.root().join(path).symlink_metadata().expect("there");
    assert_eq!(of("bin/su").mode() & 0o7777, 0o4755);
    assert_eq!(of("tmp").mode() & 0o7777, 0o1777);
    assert_eq!(of("home").mode() & 0o7777, 0o2750);
    assert_eq!(of("bin/su").mtime(), 1_000_000_000);
    assert_eq!((of("bin/su").ino(), of("bin/su").nlink()), (of("bin/sudo").ino(), 2));
    assert_eq!(std::fs::read_link(place.root().join("bin/link")).expect("a link"), Path::new("/etc/passwd"));
    if rustix::process::geteuid().is_root() {
        assert_eq!((of("home").uid(), of("home").gid(), of("bin/su").gid()), (33, 44, 7));
    }
}

#[test]
fn the_later_of_two_entries_wins_and_kinds_replace_one_another() {
    let place = Place::new();
    let entries = [
        file("a", b"first"),
        file("a", b"second"),
        file("dir", b"was a file"),
        directory("dir"),
        file("dir/x", b"in it"),
        directory("gone"),
        file("gone/x", b"1"),
        file("gone", b"now a file"),
        symlink("link", "a"),
        directory("link"),
        file("link/x", b"not through"),
    ];
    place.unpack(&[layer(&entries)]).expect("unpacked");
    assert_eq!((place.text("a"), place.text("dir/x")), ("second".into(), "in it".into()));
    assert_eq!((place.text("gone"), place.text("link/x")), ("now a file".into(), "not through".into()));
}

#[test]
fn links_inside_the_image_may_be_absolute_and_lead_inside() {
    let place = Place::new();
    let entries = [
        directory("usr/lib"),
        symlink("lib", "/usr/lib"),
        symlink("up", "../../../usr"),
        file("lib/x.so", b"x"),
        file("up/y", b"y"),
    ];
    place.unpack(&[layer(&entries)]).expect("unpacked");
    assert_eq!((place.text("usr/lib/x.so"), place.text("usr/y")), ("x".into(), "y".into()));
}

#[test]
fn long_names_of_either_kind_are_whole() {
    let place = Place::new();
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(200));
    let pax_path = format!("{}/{}", "p".repeat(180), "q".repeat(180));
    let record = |key: &str, value: &str| {
        let body = format!(" {key}={value}\n");
        let length = (body.len()..).find(|length| length.to_string().len() + body.len() == *length).expect("a length");
        format!("{length}{body}")
    };
    let target = "t/".repeat(90);
    let pax = record("path", &pax_path) + &record("uid", "70000") + &record("mtime", "5.5");
    let entries = [
        file(&long, b"gnu"),
        Raw { name: "x", kind: EntryType::XHeader, data: pax.as_bytes(), ..Raw::default() },
        file("short", b"pax"),
        Raw { name: "g", kind: EntryType::XGlobalHeader, data: b"18 comment=hello!\n", ..Raw::default() },
        symlink("l", &target),
    ];
    place.unpack(&[layer(&entries)]).expect("unpacked");
    assert_eq!((place.text(&long), place.text(&pax_path)), ("gnu".into(), "pax".into()));
    assert!(!place.has("short") && !place.has("g"));
    assert_eq!(std::fs::read_link(place.root().join("l")).expect("a link").as_os_str().len(), 180);
}

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
fn a_layer_stored_once_may_be_named_twice_by_a_link() {
    let place = Place::new();
    let bytes = layer(&[file("a", b"1")]);
    let archive = layer(&[
        file("manifest.json", br#"[{"Config":"c.json","Layers":["one/layer.tar","two/layer.tar"]}]"#),
        file("c.json", b"{}"),
        file("one/layer.tar", &bytes),
        symlink("two/layer.tar", "../one/layer.tar"),
    ]);
    assert_eq!(place.unpack_bytes(&archive, Limits::default()).expect("unpacked").size, 2);
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
        eprintln!("SKIPPED a_full_disk_is_said_and_nothing_stays_on_it: mounting a small disk needs root");
        return;
    }
    let place = Place::new();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "mkube-test"])
        .arg(place.disk())
        .status()
        .expect("mount is there");
    if !mounted.success() {
        eprintln!("SKIPPED a_full_disk_is_said_and_nothing_stays_on_it: no tmpfs can be mounted here");
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
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 128, ..proptest::prelude::ProptestConfig::default() })]

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
