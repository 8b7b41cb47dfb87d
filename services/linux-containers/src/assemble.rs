//! Builds a small image archive out of files at hand: one uncompressed layer, in the form RouterOS accepts.

use std::io::{self, Write};
use std::path::Path;

use ring::digest;
use serde_json::json;

/// A file of the image.
#[derive(Debug, Clone)]
pub struct ImageFile {
    /// Path in the image, without a leading slash.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Contents.
    pub bytes: Vec<u8>,
}

/// What to build.
#[derive(Debug, Clone, Default)]
pub struct ImageSpec {
    /// `repo:tag`.
    pub name: String,
    /// `ENTRYPOINT`.
    pub entrypoint: Vec<String>,
    /// `CMD`.
    pub cmd: Vec<String>,
    /// `KEY=value` pairs.
    pub env: Vec<String>,
    /// Directories, without a leading slash.
    pub directories: Vec<String>,
    /// Files.
    pub files: Vec<ImageFile>,
    /// Symbolic links: path and target.
    pub links: Vec<(String, String)>,
}

/// An image of a static busybox: `bin/busybox`, the usual directories, and links for `applets`.
pub fn busybox(name: &str, busybox: &Path, applets: &[&str]) -> io::Result<ImageSpec> {
    let bytes = std::fs::read(busybox)?;
    Ok(ImageSpec {
        name: name.to_owned(),
        directories: ["bin", "etc", "tmp", "proc", "sys", "dev", "var", "www"].map(str::to_owned).into(),
        files: vec![ImageFile { path: "bin/busybox".into(), mode: 0o755, bytes }],
        links: applets.iter().map(|applet| (format!("bin/{applet}"), "busybox".to_owned())).collect(),
        env: vec!["PATH=/bin".into()],
        ..ImageSpec::default()
    })
}

/// Writes the archive; the same spec gives the same bytes. The file appears as a whole or not at all.
pub fn write(spec: &ImageSpec, to: &Path) -> io::Result<()> {
    let layer = layer(spec)?;
    let layer_id = hex(digest::digest(&digest::SHA256, &layer).as_ref());
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": {"Entrypoint": spec.entrypoint, "Cmd": spec.cmd, "Env": spec.env, "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_id}")]},
    })
    .to_string();
    let config_name = format!("{}.json", hex(digest::digest(&digest::SHA256, config.as_bytes()).as_ref()));
    let (repository, tag) = spec.name.rsplit_once(':').unwrap_or((&spec.name, "latest"));
    let manifest = json!([{
        "Config": config_name, "RepoTags": [format!("{repository}:{tag}")], "Layers": [format!("{layer_id}/layer.tar")],
    }])
    .to_string();
    let repositories = json!({repository: {tag: layer_id}}).to_string();
    let old = json!({"id": layer_id, "created": "1970-01-01T00:00:00Z", "config": {}}).to_string();
    let temporary = to.with_extension("new");
    let mut archive = tar::Builder::new(std::fs::File::create(&temporary)?);
    for (name, bytes) in [
        ("manifest.json".to_owned(), manifest.as_bytes()),
        ("repositories".to_owned(), repositories.as_bytes()),
        (config_name, config.as_bytes()),
        (format!("{layer_id}/VERSION"), b"1.0"),
        (format!("{layer_id}/json"), old.as_bytes()),
        (format!("{layer_id}/layer.tar"), layer.as_slice()),
    ] {
        append(&mut archive, &name, 0o644, tar::EntryType::Regular, bytes)?;
    }
    let mut file = archive.into_inner()?;
    file.flush()?;
    file.sync_all()?;
    std::fs::rename(&temporary, to)
}

fn layer(spec: &ImageSpec) -> io::Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    for directory in &spec.directories {
        append(&mut layer, &format!("{directory}/"), 0o755, tar::EntryType::Directory, &[])?;
    }
    for file in &spec.files {
        append(&mut layer, &file.path, file.mode, tar::EntryType::Regular, &file.bytes)?;
    }
    for (path, target) in &spec.links {
        let mut header = header(0o777, tar::EntryType::Symlink, 0);
        layer.append_link(&mut header, path, target)?;
    }
    layer.into_inner()
}

fn header(mode: u32, kind: tar::EntryType, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    name: &str,
    mode: u32,
    kind: tar::EntryType,
    bytes: &[u8],
) -> io::Result<()> {
    tar.append_data(&mut header(mode, kind, bytes.len()), name, bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
