//! Bringing a whole image here at once: manifest, the children this site runs, and all their blobs.

use serde::Deserialize;

use super::place::{Place, read_image};
use super::{Upstreams, upstream};
use crate::digest::{Algorithm, Digest};
use crate::fault::Fault;
use crate::manifest::{DOCKER_LIST, Manifest, OCI_INDEX};
use crate::names::{Reference, RepositoryName};

/// Architecture of the devices mkube runs on.
const DEVICES: &str = "arm64";

/// What came of bringing an image here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrored {
    /// Repository here.
    pub repository: RepositoryName,
    /// Digest of the manifest, or of the index.
    pub digest: Digest,
    /// Blobs that are here.
    pub blobs: usize,
    /// Blobs that were wanted.
    pub total: usize,
    /// The first fault, when some are not here.
    pub fault: Option<String>,
}

/// A child of an index, as far as choosing goes.
#[derive(Deserialize)]
struct Child {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: Option<String>,
    architecture: Option<String>,
}

#[derive(Deserialize)]
struct Children {
    manifests: Vec<Child>,
}

/// This machine's architecture as images name it.
fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The children fetched ahead: those for the devices and for this machine, else the first. The others come when they are asked for.
fn chosen(index: &[u8]) -> Vec<Digest> {
    let Ok(children) = serde_json::from_slice::<Children>(index) else { return Vec::new() };
    let fits = |child: &&Child| {
        child.platform.as_ref().is_some_and(|platform| {
            let architecture = platform.architecture.as_deref().unwrap_or_default();
            platform.os.as_deref() == Some("linux") && [DEVICES, own_architecture()].contains(&architecture)
        })
    };
    let digests = |list: Vec<&Child>| list.iter().filter_map(|child| Digest::parse(&child.digest)).collect::<Vec<_>>();
    let fitting = digests(children.manifests.iter().filter(fits).collect());
    if fitting.is_empty() { digests(children.manifests.iter().take(1).collect()) } else { fitting }
}

impl Upstreams {
    /// `POST /v2/_pull`: brings an image of a configured upstream here, into the repository of the same path.
    ///
    /// # Errors
    /// The image is not one of a configured upstream, or its manifest cannot be had.
    pub async fn pull(&self, image: &str) -> Result<Mirrored, Fault> {
        let read = read_image(image).and_then(|(place, reference)| Some((place, Reference::parse(&reference)?)));
        let Some((place, reference)) = read else {
            return Err(Fault::Unreadable(format!("{image:?} is not an image such as \"ghcr.io/owner/app:edge\"")));
        };
        // Whoever may push must not make this registry knock at any door of its network.
        if !self.0.places.knows(&place) {
            let text = format!("{} is not among upstreamRegistries and watchImages", place.host);
            return Err(Fault::Unreadable(text));
        }
        let path = place.repository.strip_prefix("library/").filter(|_| place.host.ends_with("docker.io"));
        let path = path.unwrap_or(&place.repository).to_owned();
        let repository = RepositoryName::parse(&path).ok_or(Fault::NameInvalid(path))?;
        let this = self.clone();
        self.go_on_alone(async move { this.mirror(&place, &reference, &repository, false).await }).await
    }

    /// Brings an image here. With `whole`, the tag moves only when all blobs are here.
    pub(crate) async fn mirror(
        &self,
        place: &Place,
        reference: &Reference,
        repository: &RepositoryName,
        whole: bool,
    ) -> Result<Mirrored, Fault> {
        let inner = &self.0;
        let unknown = || Fault::Upstream(format!("{place}:{reference} is not there"));
        let fetched =
            inner.client.manifest(place, &reference.to_string()).await.map_err(upstream)?.ok_or_else(unknown)?;
        let digest = Digest::of(Algorithm::Sha256, &fetched.bytes);
        let mut images = Vec::new();
        if [OCI_INDEX, DOCKER_LIST].contains(&fetched.media_type.as_str()) {
            for child in chosen(&fetched.bytes) {
                let reference = Reference::Digest(child);
                inner.fetch_child(repository, &reference, place).await?;
                let read = inner.store.manifest(repository, &reference).await?;
                images.extend(read.map(|(_, bytes)| bytes));
            }
        } else {
            images.push(fetched.bytes.clone());
        }
        let mut wanted: Vec<Digest> = Vec::new();
        for image in &images {
            let read = Manifest::check(image, None).or_else(|_| Manifest::check(image, Some(&fetched.media_type)));
            let blobs = read.map_err(|fault| super::not_an_image(place, fault))?.blobs;
            wanted.extend(blobs.into_iter().filter(|blob| !wanted.contains(blob)).collect::<Vec<_>>());
        }
        let mut mirrored =
            Mirrored { repository: repository.clone(), digest, blobs: 0, total: wanted.len(), fault: None };
        for blob in &wanted {
            match inner.fetch_blob(repository, blob, std::slice::from_ref(place)).await {
                Ok(true) => mirrored.blobs += 1,
                Ok(false) => drop(mirrored.fault.get_or_insert(format!("{place} does not have blob {blob}"))),
                Err(fault) => drop(mirrored.fault.get_or_insert(fault.to_string())),
            }
        }
        match mirrored.fault.clone().filter(|_| whole) {
            Some(fault) => Err(Fault::Upstream(fault)),
            None => {
                inner.keep_manifest(repository, reference, place, fetched).await?;
                Ok(mirrored)
            }
        }
    }
}

impl super::Inner {
    async fn fetch_child(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        place: &Place,
    ) -> Result<(), Fault> {
        if self.store.find_manifest(repository, reference).is_some() {
            return Ok(());
        }
        match self.take_manifest(repository, reference, place).await? {
            true => Ok(()),
            false => Err(Fault::Upstream(format!("{place}@{reference} is not there"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_index_the_devices_and_this_machines_children_are_fetched_ahead_else_the_first() {
        let digest = |number: u32| format!("sha256:{number:064x}");
        let child = |number: u32, architecture: &str| serde_json::json!({"digest": digest(number), "platform": {"os": "linux", "architecture": architecture}});
        let index = |children: Vec<serde_json::Value>| serde_json::json!({"manifests": children}).to_string();
        let both = index(vec![child(1, "s390x"), child(2, "arm64"), child(3, own_architecture())]);
        assert_eq!(chosen(both.as_bytes()).iter().map(Digest::as_str).collect::<Vec<_>>(), [digest(2), digest(3)]);
        let neither = index(vec![child(1, "s390x"), child(2, "riscv64")]);
        assert_eq!(chosen(neither.as_bytes()).iter().map(Digest::as_str).collect::<Vec<_>>(), [digest(1)]);
        assert_eq!(chosen(b"<html>"), []);
    }
}
