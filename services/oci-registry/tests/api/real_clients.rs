//! Real clients: skopeo in both directions and in each of its forms, podman, and what they leave.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use crate::content::{Data, image};
use crate::world::{Registry, manifest, unique};
use mkube_oci_registry::digest::Algorithm;

/// Says past the capture of the harness that a test could not run.
pub fn skipped(what: &str, why: &str) {
    // Where standard error is gone there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "!!! SKIPPED: {what}: {why}");
}

/// Whether a program is there; `make test` installs them where it may.
fn there(program: &str, story: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        assert!(std::env::var_os("CI").is_none(), "{program} is needed here");
        skipped(story, &format!("{program} is not installed"));
    }
    found
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn skopeo(folder: &Path) -> Command {
    let mut command = Command::new("skopeo");
    command.env("HOME", folder).env("XDG_RUNTIME_DIR", folder).arg("--insecure-policy").current_dir(folder);
    command
}

async fn copy(folder: &Path, arguments: Vec<String>) {
    let folder = folder.to_owned();
    let copied = tokio::task::spawn_blocking(move || {
        let plain = ["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"];
        run(skopeo(&folder).args(plain).args(arguments))
    });
    copied.await.expect("copied");
}

/// A file as the `dir:` form wants it.
fn dir_image(folder: &Path) {
    let mut data = Data::new(Algorithm::Sha256);
    let mut shape = image();
    // Real layers: clients look into them when they convert.
    shape.layers = (0..3).map(|number| layer(folder, number)).collect();
    shape.config = Some(config(&shape.layers));
    shape.layer_type = "application/vnd.oci.image.layer.v1.tar";
    data.image(&shape);
    std::fs::create_dir(folder.join("image")).expect("a folder");
    std::fs::write(folder.join("image/version"), "Directory Transport Version: 1.1\n").expect("written");
    std::fs::write(folder.join("image/manifest.json"), &data.manifests[0].2).expect("written");
    for (digest, bytes) in &data.blobs {
        std::fs::write(folder.join("image").join(digest.hex()), bytes).expect("written");
    }
}

fn layer(folder: &Path, number: usize) -> Vec<u8> {
    let name = format!("file-{number}");
    std::fs::write(folder.join(&name), unique(200_000)).expect("written");
    let tar = Command::new("tar").args(["-C"]).arg(folder).args(["-cf", "-", &name]).output().expect("tar");
    assert!(tar.status.success());
    tar.stdout
}

fn config(layers: &[Vec<u8>]) -> Vec<u8> {
    use mkube_oci_registry::digest::Digest;
    let ids: Vec<String> = layers.iter().map(|layer| Digest::of(Algorithm::Sha256, layer).to_string()).collect();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    serde_json::json!({
        "architecture": architecture, "os": "linux", "config": {"Cmd": ["/x"]},
        "rootfs": {"type": "layers", "diff_ids": ids},
    })
    .to_string()
    .into_bytes()
}

async fn digest_of(registry: &Registry, repository: &str) -> String {
    let head = registry.head(&manifest(repository, "latest")).await.is(200);
    head.header("docker-content-digest").expect("a digest").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skopeo_copies_in_both_directions_and_in_each_form() {
    if !there("skopeo", "copying with skopeo") {
        return;
    }
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().expect("a directory");
    let at = folder.path();
    dir_image(at);
    let here = |repository: &str| format!("docker://{}/{repository}:latest", registry.address());
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    copy(at, words(&["dir:image", &here("from/dir")])).await;
    copy(at, words(&[&here("from/dir"), "oci:as-oci:latest"])).await;
    copy(at, words(&["oci:as-oci:latest", &here("from/oci")])).await;
    assert_eq!(digest_of(&registry, "from/dir").await, digest_of(&registry, "from/oci").await);
    copy(at, words(&[&here("from/oci"), "docker-archive:as-docker.tar:app:latest"])).await;
    copy(at, words(&["docker-archive:as-docker.tar", &here("from/archive")])).await;
    copy(at, words(&[&here("from/archive"), "dir:again"])).await;
    copy(at, words(&["--format", "v2s2", &here("from/dir"), &here("from/registry")])).await;
    let kind = registry.get(&manifest("from/registry", "latest")).await.is(200);
    kind.has("content-type", "application/vnd.docker.distribution.manifest.v2+json");
    // Converted and back: the same files.
    copy(at, words(&[&here("from/registry"), "oci:back:latest"])).await;
    copy(at, words(&["--all", &here("from/dir"), &format!("docker://{}/from/dir:second", registry.address())])).await;
    let listed = registry.get("/v2/from/dir/tags/list").await.is(200).json();
    assert_eq!(listed["tags"], serde_json::json!(["latest", "second"]));
    let address = registry.address().to_owned();
    let (folder, tags) = tokio::task::spawn_blocking(move || {
        let name = format!("docker://{address}/from/dir");
        let tags = run(skopeo(folder.path()).args(["list-tags", "--tls-verify=false", &name]));
        let latest = format!("{name}:latest");
        let inspected = run(skopeo(folder.path()).args(["inspect", "--tls-verify=false", &latest]));
        assert!(inspected.contains("\"Layers\""));
        let second = format!("{name}:second");
        run(skopeo(folder.path()).args(["delete", "--tls-verify=false", &second]));
        (folder, tags)
    })
    .await
    .expect("listed");
    assert!(tags.contains("latest") && tags.contains("second"));
    // skopeo deletes by digest, and every tag of it goes along.
    registry.get(&manifest("from/dir", "second")).await.is(404);
    assert!(registry.leftovers().is_empty(), "{:?}", registry.leftovers());
    drop(folder);
}

/// Podman with storage of its own.
fn podman(at: &Path) -> Command {
    let mut command = Command::new("podman");
    command.env("HOME", at).env("XDG_RUNTIME_DIR", at).env("TMPDIR", at).current_dir(at);
    command.arg("--root").arg(at.join("root")).arg("--runroot").arg(at.join("run"));
    command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman_pushes_and_pulls() {
    if !there("podman", "pushing with podman") {
        return;
    }
    let registry = Registry::start().await;
    let folder = tempfile::tempdir().expect("a directory");
    let works = podman(folder.path()).arg("info").output().expect("it runs");
    if !works.status.success() {
        return skipped("pushing with podman", String::from_utf8_lossy(&works.stderr).trim());
    }
    dir_image(folder.path());
    let name = format!("{}/by/podman:latest", registry.address());
    let folder = tokio::task::spawn_blocking(move || {
        let at = folder.path().to_owned();
        let podman = || podman(&at);
        let id = run(podman().args(["pull", "--quiet", "dir:image"])).trim().to_owned();
        run(podman().args(["push", "--quiet", "--tls-verify=false", &id, &name]));
        run(podman().args(["rmi", "--force", &id]));
        let again = run(podman().args(["pull", "--quiet", "--tls-verify=false", &name])).trim().to_owned();
        assert_eq!(again, id, "the same image came back");
        run(podman().args(["rmi", "--force", &again]));
        folder
    })
    .await
    .expect("pushed and pulled");
    registry.head(&manifest("by/podman", "latest")).await.is(200);
    assert!(registry.leftovers().is_empty());
    drop(folder);
}
