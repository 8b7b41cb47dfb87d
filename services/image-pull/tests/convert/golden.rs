//! The archive of one small image, byte for byte: what devices in the field read must not change unseen.

use std::path::Path;

use crate::made::{Place, Raw, directory, file, hard_link, image, layer, sha256, symlink};

/// What a header says, one line each, with the contents of small texts and of tars inside.
fn told(tar: &[u8], indent: &str) -> String {
    let mut text = String::new();
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let mut contents = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut contents).expect("contents");
        let header = entry.header();
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        text += &format!(
            "{indent}{name} type={:?} mode={:o} owner={}:{} time={} size={}",
            char::from(header.entry_type().as_byte()),
            header.mode().expect("a mode"),
            header.uid().expect("an owner"),
            header.gid().expect("a group"),
            header.mtime().expect("a time"),
            entry.size(),
        );
        if let Some(target) = entry.link_name_bytes() {
            text += &format!(" to={}", String::from_utf8_lossy(&target));
        }
        text += "\n";
        if name.ends_with("layer.tar") {
            text += &told(&contents, &format!("{indent}    "));
        } else if !contents.is_empty() {
            text += &format!("{indent}    {}\n", String::from_utf8_lossy(&contents));
        }
    }
    text
}

#[test]
fn the_archive_of_a_small_image_is_the_golden_one() {
    let long = format!("usr/share/{}/{}", "long".repeat(20), "name".repeat(20));
    let base = [
        directory("bin/"),
        Raw { mode: 0o4755, ..file("bin/app", b"old app") },
        hard_link("bin/also", "bin/app"),
        directory("etc"),
        Raw { owner: (1000, 100), mtime: 1_700_000_000, ..file("etc/conf", b"key=value\n") },
        file("etc/gone", b"gone"),
        symlink("lib", "usr/lib"),
        file(&long, b"deep"),
    ];
    let upper = [file("etc/.wh.gone", b""), file("etc/extra", b"more\n")];
    let mut source = image(&[layer(&base), layer(&upper)]);
    let config = String::from_utf8(source.config).expect("text").replace(
        r#"{"Cmd":["/bin/app"]}"#,
        r#"{"Cmd":["serve"],"Entrypoint":["/bin/app"],"Env":["PATH=/bin"],"User":"1000","WorkingDir":"/etc"}"#,
    );
    source.config = config.into_bytes();
    let (_, archive) = Place::new().converted(&source);
    let told = format!("{}{} {} bytes\n", told(&archive, ""), sha256(&archive), archive.len());
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/convert/golden/archive.txt");
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    assert!(told == expected, "the archive differs from {}:\n{told}", golden.display());
}
