//! A real registry, fed by a real client: Debian's docker-registry and skopeo.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mkube_model::neighbours::tarballs::{ImageRequest, PullPolicy, RegistryCredential, TarballFault, TarballSource};
use mkube_model::secret::Secret;
use serde_json::json;

use crate::image::{Image, OCI_INDEX, digest_of, index, noise, oci, unpack};
use crate::world::{World, eventually, request};

/// bcrypt of `hunter2`: Debian's registry takes no other hash.
const HUNTER2: &str = "bob:$2y$05$Z55HoL8qXUMmtmw3JeL3MOiw16iZj0VCOsFYMx7a7yJHx6Hut7wzu\n";

fn is_there(programs: &[&str]) -> bool {
    let missing: Vec<&&str> = programs
        .iter()
        .filter(|program| {
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
        })
        .collect();
    if !missing.is_empty() {
        // Past the capture, so that it is seen.
        let _ = writeln!(std::io::stderr(), "!!! SKIPPED: a real registry: not installed: {missing:?}");
    }
    missing.is_empty()
}

/// Debian's registry on a port of its own; ended when dropped.
struct DockerRegistry {
    child: Child,
    host: String,
}

impl DockerRegistry {
    async fn start(directory: &Path, password: Option<&str>) -> Self {
        let host = mkube_free_ports::free_address();
        let mut config = json!({
            "version": 0.1, "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": directory.join("store")}, "delete": {"enabled": true}},
            "http": {"addr": host},
        });
        if let Some(users) = password {
            let path = directory.join("htpasswd");
            std::fs::write(&path, users).expect("written");
            config["auth"] = json!({"htpasswd": {"realm": "here", "path": path}});
        }
        let path = directory.join("config.yml");
        std::fs::write(&path, config.to_string()).expect("written");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry starts");
        eventually("the registry listens", || std::net::TcpStream::connect(&host).is_ok()).await;
        Self { child, host }
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lays an image out as a directory of OCI, with an index of two platforms.
fn oci_layout(directory: &Path, images: &[(&str, &str, &Image)]) {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("made");
    let keep = |bytes: &[u8]| std::fs::write(blobs.join(&digest_of(bytes)[7..]), bytes).expect("written");
    for (_, _, image) in images {
        image.layers.iter().chain([&image.config, &image.manifest]).for_each(|bytes| keep(bytes));
    }
    let list = index(OCI_INDEX, images);
    keep(&list);
    let top = json!({"schemaVersion": 2, "manifests": [{"mediaType": OCI_INDEX, "digest": digest_of(&list),
        "size": list.len(), "annotations": {"org.opencontainers.image.ref.name": "1"}}]});
    std::fs::write(directory.join("index.json"), top.to_string()).expect("written");
    std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
}

fn skopeo(words: &[&str]) {
    let output = Command::new("skopeo").args(words).output().expect("skopeo runs");
    assert!(output.status.success(), "skopeo {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn what_skopeo_pushed_to_a_docker_registry_is_pulled_from_it() {
    if !is_there(&["docker-registry", "skopeo"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let registry = DockerRegistry::start(directory.path(), None).await;
    let base = noise(700_000, 11);
    let amd = oci("amd64", &[&[("base", &base)], &[("bin/hello", b"amd64")]]);
    let arm = oci("arm64", &[&[("base", &base)], &[("bin/hello", b"arm64")]]);
    let layout = directory.path().join("layout");
    oci_layout(&layout, &[("amd64", "", &amd), ("arm64", "v8", &arm)]);
    let from = format!("oci:{}:1", layout.display());
    let to = |tag: &str| format!("docker://{}/team/app:{tag}", registry.host);
    skopeo(&["copy", "--all", "--dest-tls-verify=false", &from, &to("all")]);
    let docker = ["copy", "--dest-tls-verify=false", "--format=v2s2", "--override-arch=amd64"];
    skopeo(&[&docker[..], &[&from, &to("docker")]].concat());

    let world = World::new(std::slice::from_ref(&registry.host));
    let source = world.open().await;
    let reference = |tag: &str| format!("{}/team/app:{tag}", registry.host);
    let archive = source.always(&reference("all")).await.expect("pulled");
    assert_eq!(archive.digest, Some(amd.digest()));
    let expected = [("base".to_owned(), base.clone()), ("bin/hello".to_owned(), b"amd64".to_vec())];
    assert!(unpack(&archive.path) == (expected.to_vec(), "team/app:all".to_owned()));
    let docker = source.always(&reference("docker")).await.expect("pulled");
    assert!(docker.digest != archive.digest && unpack(&docker.path).0 == expected);
    let fault = source.always(&reference("other")).await.expect_err("not pushed");
    assert!(matches!(fault, TarballFault::NotFound { .. }), "{fault}");

    // Somebody pushes again.
    let resolve = || async { source.0.resolve(&request(&reference("all"), PullPolicy::Always)).await.expect("asked") };
    assert_eq!(resolve().await, amd.digest());
    skopeo(&["copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", &to("docker"), &to("all")]);
    assert_eq!(Some(resolve().await), docker.digest);
    assert_eq!(source.always(&reference("all")).await.expect("cached").path, docker.path);

    // The archive is one that skopeo reads, too.
    let inspected =
        Command::new("skopeo").arg("inspect").arg(format!("docker-archive:{}", archive.path.display())).output();
    let inspected = inspected.expect("skopeo runs");
    assert!(inspected.status.success(), "{}", String::from_utf8_lossy(&inspected.stderr));
}

#[tokio::test]
async fn a_docker_registry_with_passwords_opens_to_a_pull_secret() {
    if !is_there(&["docker-registry", "skopeo"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let registry = DockerRegistry::start(directory.path(), Some(HUNTER2)).await;
    let image = oci("amd64", &[&[("a", b"x")]]);
    let layout = directory.path().join("layout");
    oci_layout(&layout, &[("amd64", "", &image)]);
    let (from, to) = (format!("oci:{}:1", layout.display()), format!("docker://{}/app:1", registry.host));
    skopeo(&["copy", "--all", "--dest-tls-verify=false", "--dest-creds=bob:hunter2", &from, &to]);
    let world = World::new(std::slice::from_ref(&registry.host));
    let source = world.open().await;
    let reference = format!("{}/app:1", registry.host);
    let fault = source.always(&reference).await.expect_err("closed");
    assert!(matches!(fault, TarballFault::Denied { .. }), "{fault}");
    let credentials = vec![RegistryCredential {
        registry: format!("http://{}", registry.host),
        user: "bob".to_owned(),
        password: Secret::new("hunter2"),
    }];
    let request = ImageRequest { credentials, ..request(&reference, PullPolicy::Always) };
    assert_eq!(source.ensure(&request).await.expect("pulled").digest, Some(image.digest()));
}
