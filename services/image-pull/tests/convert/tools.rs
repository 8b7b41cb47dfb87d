//! Images as skopeo stores them become archives, and skopeo reads those.

use std::path::Path;
use std::process::Command;

use mkube_image_pull::convert::{BlobSource, BlobTrust, LayerBlob, SourceImage};
use serde_json::{Value, json};

use crate::hostile::skipped;
use crate::made::{Place, directory, file, hard_link, layer, layer_of, put, sha256, symlink};
use crate::model::{Model, entries, flat};

/// Runs skopeo; none where there is none.
fn skopeo(words: &[&str]) -> Option<String> {
    let output = match Command::new("skopeo").args(words).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        output => output.expect("skopeo runs"),
    };
    assert!(output.status.success(), "skopeo {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("json")
}

/// The one image of an OCI layout.
fn image_in(layout: &Path) -> (SourceImage, Vec<String>) {
    let blob = |digest: &Value| layout.join("blobs").join(digest.as_str().expect("a digest").replace(':', "/"));
    let index = json_of(&layout.join("index.json"));
    let manifest = json_of(&blob(&index["manifests"][0]["digest"]));
    let layers = manifest["layers"].as_array().expect("layers");
    let kinds = layers.iter().map(|layer| layer["mediaType"].as_str().expect("a type").to_owned()).collect();
    let layers = layers.iter().map(|layer| LayerBlob {
        digest: layer["digest"].as_str().expect("a digest").to_owned(),
        source: BlobSource::File(blob(&layer["digest"])),
        trust: BlobTrust::Unverified,
    });
    let config = std::fs::read(blob(&manifest["config"]["digest"])).expect("readable");
    (SourceImage { name: "registry.local:5000/team/app:edge".into(), config, layers: layers.collect() }, kinds)
}

#[test]
fn images_that_skopeo_stored_are_converted_and_read_by_skopeo() {
    let test = "images_that_skopeo_stored_are_converted_and_read_by_skopeo";
    if skopeo(&["--version"]).is_none() {
        return skipped(test, "skopeo is not installed");
    }
    let big: Vec<u8> = (0..3_000_000u32).flat_map(|number| (number ^ (number >> 3)).to_le_bytes()).collect();
    let layers = vec![
        vec![directory("bin"), file("bin/app", &big), hard_link("bin/also", "bin/app"), symlink("lib", "usr/lib")],
        vec![directory("etc"), file("etc/conf", b"1"), file("etc/gone", b"1")],
        vec![directory("etc"), file("etc/.wh.gone", b""), file("etc/conf", b"2")],
    ];
    let tars: Vec<Vec<u8>> = layers.iter().map(|entries| layer(entries)).collect();
    let diff_ids: Vec<String> = tars.iter().map(|tar| sha256(tar)).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "config": {"Entrypoint": ["/bin/app"], "Env": ["A=1"], "User": "7", "Labels": {"of": "us"}},
    });
    let config = config.to_string();
    let names: Vec<String> = (0..tars.len()).map(|number| format!("layer{number}.tar")).collect();
    let manifest = json!([{"Config": "config.json", "RepoTags": ["app:edge"], "Layers": names}]).to_string();
    let mut archive = Vec::new();
    put(&mut archive, &file("manifest.json", manifest.as_bytes()));
    put(&mut archive, &file("config.json", config.as_bytes()));
    names.iter().zip(&tars).for_each(|(name, tar)| put(&mut archive, &file(name, tar)));
    archive.resize(archive.len() + 1024, 0);
    let place = tempfile::tempdir().expect("a directory");
    let at = |name: &str| place.path().join(name).display().to_string();
    std::fs::write(at("source.tar"), &archive).expect("written");
    let source = format!("docker-archive:{}", at("source.tar"));
    let expected = Model::of(&layers).expect("a model").shown();
    let mut archives = Vec::new();
    for format in ["gzip", "zstd"] {
        let layout = format!("oci:{}:image", at(format));
        skopeo(&["copy", "--quiet", "--dest-compress-format", format, &source, &layout]);
        let (image, kinds) = image_in(Path::new(&at(format)));
        assert!(kinds.iter().all(|kind| kind.ends_with(&format!("tar+{format}"))), "{kinds:?}");
        let made = Place::new();
        let (converted, archive) = made.converted(&image);
        assert_eq!(flat(&entries(&layer_of(&archive))), expected);
        let own = format!("docker-archive:{}", made.target().display());
        let told = skopeo(&["inspect", "--config", &own]).expect("skopeo is there");
        let told: Value = serde_json::from_str(&told).expect("json");
        assert_eq!(told["config"]["Entrypoint"], json!(["/bin/app"]));
        assert_eq!(told["config"]["User"], "7");
        let back = format!("oci:{}:back", at(&format!("{format}-back")));
        skopeo(&["copy", "--quiet", &own, &back]);
        let (again, _) = image_in(Path::new(&at(&format!("{format}-back"))));
        assert_eq!(again.layers.len(), 1);
        let config: Value = serde_json::from_slice(&again.config).expect("json");
        assert_eq!(config["rootfs"]["diff_ids"], json!([converted.layer_digest]), "skopeo counts the same layer");
        // What was converted once is not changed by another round.
        assert_eq!(flat(&entries(&layer_of(&Place::new().converted(&again).1))), expected);
        archives.push(archive);
    }
    assert!(archives[0] == archives[1], "how layers are packed does not matter");
}
