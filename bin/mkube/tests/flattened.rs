//! What a host makes of a flattened archive is what it makes of the layers one by one.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use mkube_image_pull::convert::{BlobSource, BlobTrust, LayerBlob, Limits, Progress, SourceImage, convert};
use mkube_linux_containers::{LinuxEngine, LinuxOptions};
use mkube_router_machine::engine::{Engine, ImageConfig};
use ring::digest::{SHA256, digest};
use serde_json::json;
use tar::{Builder, EntryType, Header};

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An entry: kind, path, target or contents, mode, owner.
type Made<'a> = (EntryType, &'a str, &'a str, u32, u64);

fn layer(entries: &[Made<'_>]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (kind, path, body, mode, owner) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_uid(*owner);
        header.set_gid(*owner);
        header.set_mtime(1_600_000_000);
        header.set_size(0);
        match kind {
            EntryType::Symlink | EntryType::Link => tar.append_link(&mut header, path, body).expect("written"),
            _ => {
                header.set_size(body.len() as u64);
                tar.append_data(&mut header, path, body.as_bytes()).expect("written");
            }
        }
    }
    tar.into_inner().expect("written")
}

/// A stack with everything builders do to one another's layers.
fn stack() -> Vec<Vec<u8>> {
    use EntryType::{Char, Directory, Link, Regular, Symlink};
    let long = format!("usr/share/{}", "long/".repeat(30));
    vec![
        layer(&[
            (Directory, "usr", "", 0o755, 0),
            (Directory, "usr/lib", "", 0o755, 0),
            (Symlink, "lib", "usr/lib", 0o777, 0),
            (Directory, "bin", "", 0o755, 0),
            (Regular, "bin/app", "the first app", 0o4755, 0),
            (Link, "bin/also", "bin/app", 0o755, 0),
            (Directory, "etc", "", 0o750, 3),
            (Regular, "etc/conf", "1", 0o640, 3),
            (Regular, "etc/gone", "1", 0o644, 0),
            (Directory, "var", "", 0o755, 0),
            (Regular, "var/old", "1", 0o644, 0),
            (Regular, "was-file", "1", 0o644, 0),
            (Directory, "was-directory", "", 0o755, 0),
            (Regular, "was-directory/x", "1", 0o644, 0),
        ]),
        layer(&[
            (Regular, "etc/.wh.gone", "", 0o644, 0),
            (Regular, "etc/conf", "2", 0o600, 4),
            (Directory, "var", "", 0o700, 5),
            (Regular, "var/.wh..wh..opq", "", 0o644, 0),
            (Regular, "var/new", "2", 0o644, 0),
            (Directory, "was-file", "", 0o711, 0),
            (Regular, "was-file/inside", "2", 0o644, 0),
            (Regular, "was-directory", "2", 0o644, 0),
            (Char, "dev/null", "", 0o666, 0),
        ]),
        layer(&[
            (Regular, "opt/app/main", "3", 0o755, 7),
            (Regular, &format!("{long}file"), "3", 0o644, 0),
            (Symlink, "opt/link", "/etc/conf", 0o777, 0),
        ]),
    ]
}

/// Layers over which one pass is not enough: one writes through a link, one takes a name from a file with two.
fn harder() -> Vec<Vec<u8>> {
    use EntryType::Regular;
    let mut layers = stack();
    layers.push(layer(&[(Regular, "lib/through", "4", 0o644, 0), (Regular, "bin/app", "the second app", 0o755, 0)]));
    layers
}

/// An archive with all layers as they are.
fn layered(layers: &[Vec<u8>], config: &str) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    let names: Vec<String> = (0..layers.len()).map(|number| format!("layer{number}.tar")).collect();
    let manifest = json!([{"Config": "config.json", "RepoTags": ["app:edge"], "Layers": names}]).to_string();
    let mut put = |name: &str, bytes: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes).expect("written");
    };
    put("manifest.json", manifest.as_bytes());
    put("config.json", config.as_bytes());
    names.iter().zip(layers).for_each(|(name, layer)| put(name, layer));
    tar.into_inner().expect("written")
}

/// Everything below a directory: what it is, whose, and which names are one file.
fn listing(root: &Path) -> BTreeMap<String, String> {
    let (mut found, mut files) = (BTreeMap::new(), BTreeMap::new());
    let mut ahead = vec![root.to_owned()];
    while let Some(directory) = ahead.pop() {
        for entry in std::fs::read_dir(&directory).expect("readable") {
            let path = entry.expect("an entry").path();
            let meta = path.symlink_metadata().expect("there");
            let name = path.strip_prefix(root).expect("below").display().to_string();
            let owner = format!("{:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
            let text = if meta.is_dir() {
                ahead.push(path);
                owner
            } else if meta.is_symlink() {
                format!("{owner} -> {}", path.read_link().expect("a link").display())
            } else {
                files.entry(meta.ino()).or_insert_with(Vec::new).push(name.clone());
                format!("{owner} {} {:?}", meta.mtime(), std::fs::read_to_string(&path).expect("readable"))
            };
            found.insert(name, text);
        }
    }
    for mut names in files.into_values().filter(|names| names.len() > 1) {
        names.sort();
        found.insert(names.join(" = "), "one file".to_owned());
    }
    found
}

async fn extracted(engine: &LinuxEngine, archive: &Path, root: &Path) -> (ImageConfig, BTreeMap<String, String>) {
    let key = "flattened".to_owned();
    let config = engine.extract(&key, archive.to_owned(), root.to_owned()).await.expect("the host takes the archive");
    (config, listing(root))
}

#[tokio::test]
async fn a_host_unpacks_the_flattened_archive_to_what_the_layers_come_to() {
    if std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() != 0) {
        let _ = std::io::stderr().write_all(b"\n!!! SKIPPED: flattened archives on a host: owners need root\n");
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    let (events, _heard) = tokio::sync::mpsc::channel(8);
    let engine = match LinuxEngine::new(LinuxOptions::new(place.path().join("state")), events) {
        Ok(engine) => engine,
        Err(fault) => {
            let text = format!("\n!!! SKIPPED: flattened archives on a host: {fault}\n");
            let _ = std::io::stderr().write_all(text.as_bytes());
            return;
        }
    };
    for (name, layers, passes) in [("plain", stack(), 1), ("harder", harder(), 3)] {
        let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "config": {
                "Entrypoint": ["/bin/app"], "Cmd": ["serve"], "Env": ["A=1"], "WorkingDir": "/etc", "User": "3",
                "StopSignal": "SIGINT",
            },
        });
        let config = config.to_string();
        let (one_by_one, flat) =
            (place.path().join(format!("{name}.tar")), place.path().join(format!("{name}-flat.tar")));
        std::fs::write(&one_by_one, layered(&layers, &config)).expect("written");
        let blobs = layers.iter().zip(&diff_ids).enumerate().map(|(number, (layer, digest))| {
            let path = place.path().join(format!("{name}-{number}"));
            std::fs::write(&path, layer).expect("written");
            LayerBlob { digest: digest.clone(), source: BlobSource::File(path), trust: BlobTrust::Unverified }
        });
        let image = SourceImage { name: "app:edge".into(), config: config.into_bytes(), layers: blobs.collect() };
        let converted = convert(&image, &flat, &Limits::default(), &Progress::default()).expect("converted");
        assert_eq!(converted.passes, passes, "{name}");
        let (expected_config, expected) =
            extracted(&engine, &one_by_one, &place.path().join(format!("{name}-layers"))).await;
        let (config, found) = extracted(&engine, &flat, &place.path().join(format!("{name}-flattened"))).await;
        assert_eq!(found, expected, "{name}");
        assert!(found.len() > 40, "{name}: {found:?}");
        assert_eq!(config.image_id, converted.config_digest);
        // The image id and the bytes written are the only two that may differ.
        let same = ImageConfig { image_id: expected_config.image_id.clone(), size: expected_config.size, ..config };
        assert_eq!(same, expected_config, "{name}");
    }
}
