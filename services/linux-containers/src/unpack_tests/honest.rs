//! Archives as people make them.

use super::*;

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
