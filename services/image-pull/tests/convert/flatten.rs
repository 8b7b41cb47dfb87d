//! Layers over one another: a table of cases, and random stacks against the model.

use std::collections::BTreeMap;

use mkube_image_pull::convert::{ConvertFault, Limits};
use proptest::prelude::*;
use tar::EntryType;

use crate::made::{Place, Raw, directory, file, hard_link, image, layer, layer_of, raw, symlink};
use crate::model::{Model, entries, flat};

/// The flattened layer as what is in it, in how many passes it was made, and its entries.
fn flattened(layers: &[Vec<Raw>]) -> (BTreeMap<String, String>, u8, Vec<Raw>) {
    let place = Place::in_memory();
    let tars: Vec<Vec<u8>> = layers.iter().map(|entries| layer(entries)).collect();
    let (converted, archive) = place.converted(&image(&tars));
    let entries = entries(&layer_of(&archive));
    assert_eq!(converted.entries, entries.len() as u64);
    (flat(&entries), converted.passes, entries)
}

/// Paths and contents of files, `->` targets of links, and `/` for directories.
fn brief(layers: &[Vec<Raw>]) -> (Vec<String>, u8) {
    let (shown, passes, entries) = flattened(layers);
    assert_eq!(shown, Model::of(layers).expect("a model").shown());
    let mut lines: Vec<String> = shown
        .keys()
        .map(|path| {
            let entry =
                entries.iter().rev().find(|entry| String::from_utf8_lossy(&entry.name).trim_end_matches('/') == path);
            let entry = entry.expect("its entry");
            let link = String::from_utf8_lossy(&entry.link);
            match entry.kind {
                EntryType::Directory => format!("{path}/"),
                EntryType::Symlink => format!("{path} -> {link}"),
                EntryType::Link => format!("{path} = {link}"),
                _ => format!("{path} {}", String::from_utf8_lossy(&entry.data)),
            }
        })
        .collect();
    lines.sort();
    (lines, passes)
}

/// One case: layers from the lowest up, what is left, and whether one pass is enough.
fn case(layers: &[Vec<Raw>], expected: &[&str], passes: u8) {
    let (lines, took) = brief(layers);
    assert_eq!(lines, expected, "{layers:?}");
    assert_eq!(took, passes, "passes for {expected:?}");
}

fn whiteout(name: &str) -> Raw {
    file(name, b"")
}

#[test]
fn upper_layers_win_over_lower_ones() {
    case(&[vec![file("a", b"1")], vec![file("a", b"2")]], &["a 2"], 1);
    case(&[vec![file("a", b"1"), file("b", b"1")], vec![file("./a", b"2")]], &["a 2", "b 1"], 1);
    case(&[vec![file("/a", b"1")], vec![symlink("a", "/etc")]], &["a -> /etc"], 1);
    case(&[vec![symlink("a", "b")], vec![file("a", b"2")]], &["a 2"], 1);
}

#[test]
fn whiteouts_hide_what_lies_below_and_nothing_of_their_own_layer() {
    let lower = vec![directory("d"), file("d/a", b"1"), file("d/b", b"1")];
    case(&[lower.clone(), vec![whiteout("d/.wh.a")]], &["d/", "d/b 1"], 1);
    case(&[lower.clone(), vec![whiteout(".wh.d")]], &[], 1);
    case(&[lower.clone(), vec![whiteout("d/.wh.a"), file("d/a", b"2")]], &["d/", "d/a 2", "d/b 1"], 1);
    case(&[lower.clone(), vec![file("d/a", b"2"), whiteout("d/.wh.a")]], &["d/", "d/a 2", "d/b 1"], 1);
    case(&[lower.clone(), vec![whiteout(".wh.d"), directory("d"), file("d/c", b"2")]], &["d/", "d/c 2"], 1);
    case(&[lower.clone(), vec![whiteout(".wh.d")], vec![file("d/c", b"3")]], &["d/", "d/c 3"], 1);
    case(&[lower.clone(), vec![whiteout(".wh.e")]], &["d/", "d/a 1", "d/b 1"], 1);
    case(&[vec![whiteout(".wh.d")], lower], &["d/", "d/a 1", "d/b 1"], 1);
}

#[test]
fn an_opaque_directory_hides_what_lies_below_it_and_keeps_its_own() {
    let lower = vec![directory("d"), file("d/a", b"1"), directory("d/e"), file("d/e/f", b"1")];
    let opaque = || whiteout("d/.wh..wh..opq");
    case(&[lower.clone(), vec![directory("d"), opaque()]], &["d/"], 1);
    case(&[lower.clone(), vec![directory("d"), opaque(), file("d/g", b"2")]], &["d/", "d/g 2"], 1);
    case(&[lower.clone(), vec![directory("d"), file("d/a", b"2"), opaque()]], &["d/", "d/a 2"], 1);
    case(&[lower.clone(), vec![file("d/e/g", b"2"), opaque()]], &["d/", "d/e/", "d/e/g 2"], 1);
    case(&[lower.clone(), vec![opaque()], vec![file("d/h", b"3")]], &["d/", "d/h 3"], 1);
    case(&[lower, vec![whiteout(".wh..wh..opq"), file("x", b"2")]], &["x 2"], 1);
}

#[test]
fn files_replace_directories_and_the_reverse() {
    let lower = vec![directory("d"), file("d/a", b"1")];
    case(&[lower.clone(), vec![file("d", b"2")]], &["d 2"], 1);
    case(&[lower.clone(), vec![symlink("d", "e")]], &["d -> e"], 1);
    case(&[lower.clone(), vec![file("d", b"2")], vec![directory("d")]], &["d/"], 1);
    case(&[lower.clone(), vec![file("d", b"2")], vec![directory("d"), file("d/b", b"3")]], &["d/", "d/b 3"], 1);
    case(&[vec![file("d", b"1")], lower.clone()], &["d/", "d/a 1"], 1);
    case(&[vec![symlink("d", "/elsewhere")], lower], &["d/", "d/a 1"], 1);
}

#[test]
fn directories_nobody_describes_are_there() {
    case(&[vec![file("a/b/c", b"1")]], &["a/", "a/b/", "a/b/c 1"], 1);
    case(&[vec![file("a/b/c", b"1")], vec![whiteout("a/b/.wh.c")]], &["a/", "a/b/"], 1);
    let (shown, ..) = flattened(&[vec![Raw { mode: 0o700, ..directory("a") }], vec![file("a/b", b"1")]]);
    assert!(shown["a"].contains(&format!("{}", 0o700)), "what a lower layer says of a directory counts: {shown:?}");
}

#[test]
fn hard_links_stay_links_while_their_target_is_theirs() {
    let lower = || vec![file("a", b"1"), hard_link("b", "a"), hard_link("c", "/b")];
    case(&[lower()], &["a 1", "b = a", "c = b"], 1);
    case(&[lower(), vec![file("b", b"2")]], &["a 1", "b 2", "c = a"], 3);
    case(&[lower(), vec![whiteout(".wh.c")]], &["a 1", "b = a"], 1);
}

#[test]
fn a_hard_link_whose_target_is_covered_becomes_the_file() {
    let lower = || vec![file("a", b"1"), hard_link("b", "a")];
    case(&[lower(), vec![file("a", b"2")]], &["a 2", "b 1"], 3);
    case(&[lower(), vec![whiteout(".wh.a")]], &["b 1"], 3);
    case(&[vec![file("d/a", b"1"), hard_link("b", "d/a")], vec![whiteout("d/.wh..wh..opq")]], &["b 1", "d/"], 3);
    let both = vec![file("a", b"1"), hard_link("b", "a"), hard_link("c", "a")];
    case(&[both, vec![whiteout(".wh.a")]], &["b 1", "c = b"], 3);
}

#[test]
fn a_hard_link_to_a_file_of_a_lower_layer_is_one_with_it() {
    case(&[vec![file("a", b"1")], vec![hard_link("b", "a")]], &["a 1", "b = a"], 3);
    case(&[vec![file("a", b"1")], vec![hard_link("b", "a")], vec![file("a", b"3")]], &["a 3", "b 1"], 3);
}

#[test]
fn a_layer_that_writes_through_a_link_of_a_lower_one_lands_where_it_leads() {
    let usr = || vec![directory("usr"), directory("usr/lib"), symlink("lib", "usr/lib")];
    let expected = ["lib -> usr/lib", "usr/", "usr/lib/", "usr/lib/x 2"];
    case(&[usr(), vec![file("lib/x", b"2")]], &expected, 3);
    case(&[usr(), vec![file("lib/x", b"2")], vec![whiteout("lib/.wh.x")]], &expected[..3], 3);
    let own = vec![directory("lib"), file("lib/x", b"2")];
    case(&[usr(), own], &["lib/", "lib/x 2", "usr/", "usr/lib/"], 1);
    let absolute = vec![symlink("l", "/../../a"), file("l/x", b"1")];
    case(&[absolute], &["a/", "a/x 1", "l -> /../../a"], 3);
}

#[test]
fn of_what_a_layer_names_twice_the_last_counts() {
    case(&[vec![file("a", b"1"), file("a", b"2")]], &["a 2"], 3);
    case(&[vec![file("a", b"1"), directory("a"), file("a/b", b"2")]], &["a/", "a/b 2"], 3);
    case(&[vec![directory("a"), file("a/b", b"1"), file("a", b"2")]], &["a 2"], 3);
    case(&[vec![file("a", b"1"), hard_link("b", "a"), file("a", b"2")]], &["a 2", "b 1"], 3);
    let (shown, passes, _) = flattened(&[vec![directory("a"), Raw { mode: 0o700, ..directory("a/") }]]);
    assert!(shown["a"].contains(&format!("{}", 0o700)), "{shown:?}");
    assert_eq!(passes, 1, "builders describe directories again and again");
}

#[test]
fn what_has_no_place_is_refused_by_name() {
    let place = Place::in_memory();
    let why = |layers: &[Vec<Raw>]| {
        let tars: Vec<Vec<u8>> = layers.iter().map(|entries| layer(entries)).collect();
        assert!(Model::of(layers).is_none());
        match place.refused(&image(&tars), &Limits::default()) {
            ConvertFault::BadEntry { layer, entry, why } => {
                assert!(image(&tars).layers.iter().any(|blob| blob.digest == layer));
                (entry, why)
            }
            other => panic!("{other:?}"),
        }
    };
    let says = |layers: &[Vec<Raw>], entry: &str, text: &str| {
        let (named, why) = why(layers);
        assert!(named == entry && why.contains(text), "{named:?}: {why}");
    };
    says(&[vec![file("f", b"1")], vec![file("f/x", b"2")]], "f/x", "no directory");
    says(&[vec![file("f", b"1"), file("f/x", b"2")]], "f/x", "no directory");
    says(&[vec![hard_link("h", "none")]], "h", "not there");
    says(&[vec![directory("d"), hard_link("h", "d")]], "h", "a directory");
    says(&[vec![symlink("l", "l"), file("l/x", b"")]], "l/x", "without an end");
}

#[test]
fn devices_and_pipes_are_left_out_and_hide_what_lies_below() {
    let place = Place::in_memory();
    let node = |kind, name| raw(kind, name);
    let upper = vec![
        node(EntryType::Char, "dev/null"),
        node(EntryType::Block, "dev/sda"),
        node(EntryType::Fifo, "pipe"),
        file("b", b"2"),
    ];
    let layers = [layer(&[file("pipe", b"1"), file("a", b"1")]), layer(&upper)];
    let (converted, archive) = place.converted(&image(&layers));
    let names: Vec<String> =
        entries(&layer_of(&archive)).iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect();
    assert_eq!(names, ["b", "a", "dev/"]);
    assert_eq!((converted.dropped, converted.entries, converted.passes), (3, 3, 1));
}

/// Names of a small world, where everything meets everything.
fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(|names| names.join("/"))
}

fn entry() -> impl Strategy<Value = Raw> {
    let mode = prop::sample::select(vec![0o755, 0o700, 0o644]);
    let target = prop::sample::select(vec!["a", "b/c", "/c", "../b", "..", "missing", "./a/b", "/"]);
    let name = path();
    (0..20, name, path(), target, mode, any::<u8>(), 0u64..3).prop_map(
        |(kind, name, other, target, mode, data, owner)| {
            let hidden = |mark: &str| match name.rsplit_once('/') {
                Some((parent, last)) => format!("{parent}/{}", mark.replace('?', last)),
                None => mark.replace('?', &name),
            };
            let entry = match kind {
                0..6 => file(&name, &[b'0' + data % 10]),
                6..11 => directory(&name),
                11..14 => symlink(&name, target),
                14..16 => hard_link(&name, &other),
                16..18 => file(&hidden(".wh.?"), b""),
                18 => file(&hidden(".wh..wh..opq"), b""),
                _ => raw(EntryType::Char, &name),
            };
            Raw { mode, owner: (owner, 0), mtime: u64::from(data), ..entry }
        },
    )
}

fn stack() -> impl Strategy<Value = Vec<Vec<Raw>>> {
    prop::collection::vec(prop::collection::vec(entry(), 0..7), 1..5)
}

/// The stack without the entries that cannot be placed: most random ones have some.
fn placeable(layers: &[Vec<Raw>]) -> Vec<Vec<Raw>> {
    let mut kept: Vec<Vec<Raw>> = Vec::new();
    for layer in layers {
        kept.push(Vec::new());
        for entry in layer {
            let mut tried = kept.clone();
            tried.last_mut().expect("a layer").push(entry.clone());
            if Model::of(&tried).is_some() {
                kept = tried;
            }
        }
    }
    kept
}

proptest! {
    #[test]
    fn any_stack_of_layers_comes_to_what_the_model_says(layers in stack()) {
        let place = Place::in_memory();
        let layers = placeable(&layers);
        let tars: Vec<Vec<u8>> = layers.iter().map(|entries| layer(entries)).collect();
        let (_, archive) = place.converted(&image(&tars));
        prop_assert_eq!(flat(&entries(&layer_of(&archive))), Model::of(&layers).expect("placeable").shown());
        let (_, again) = place.converted(&image(&tars));
        prop_assert!(archive == again, "the same image gives the same bytes");
    }

    #[test]
    fn any_stack_with_an_entry_that_has_no_place_is_refused(layers in stack()) {
        let place = Place::in_memory();
        let tars: Vec<Vec<u8>> = layers.iter().map(|entries| layer(entries)).collect();
        let done = place.convert(&image(&tars), &Limits::default());
        match (Model::of(&layers), done) {
            (Some(_), Ok(_)) | (None, Err(ConvertFault::BadEntry { .. })) => {}
            (_, done) => prop_assert!(false, "{done:?}"),
        }
    }
}
