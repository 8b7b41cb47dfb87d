//! Files of ConfigMaps and Secrets on a device that shares no disk: each is sent over REST, as text and small.

use async_trait::async_trait;
use mkube_messages::door::Door;
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_messages::router::{PlaceFile, RemoveFile};
use mkube_model::neighbours::router::SMALL_FILE;
use mkube_model::neighbours::shared_disk::{FoundVolume, SharedDisk, SharedDiskFault, SourceDirectory, VolumeFile};

/// See the module's text.
pub struct PlacedFiles {
    /// Directory on the device that holds `configmaps` and `secrets`.
    pub base: String,
    /// Places a file.
    pub place: Door<PlaceFile>,
    /// Removes files and directories.
    pub remove: Door<RemoveFile>,
}

fn fault(path: &str, cause: impl std::fmt::Display) -> SharedDiskFault {
    SharedDiskFault { path: path.to_owned(), cause: cause.to_string() }
}

fn context() -> RequestContext {
    RequestContext::new("pod files", patience::DEVICE)
}

impl PlacedFiles {
    async fn remove(&self, path: String) -> Result<(), SharedDiskFault> {
        let order = RemoveFile { context: context(), path: path.clone() };
        self.remove.ask(order).await.map_err(|error| fault(&path, error))
    }

    async fn write(&self, directory: String, files: Vec<VolumeFile>) -> Result<String, SharedDiskFault> {
        let mut texts = Vec::new();
        // Looked through first: half a volume is worse than none.
        for file in files {
            let path = format!("{directory}/{}", file.path);
            let Ok(contents) = String::from_utf8(file.bytes) else {
                return Err(fault(&path, "is not text, and the device shares no disk: only text can be sent to it"));
            };
            if contents.len() > SMALL_FILE {
                let cause = format!("has {} bytes, and the device takes {SMALL_FILE} of a file", contents.len());
                return Err(fault(&path, cause));
            }
            texts.push((path, contents));
        }
        // What an earlier version left goes; there is no list of it that is worth its price.
        self.remove(directory.clone()).await?;
        for (path, contents) in texts {
            let order = PlaceFile { context: context(), path: path.clone(), contents };
            self.place.ask(order).await.map_err(|error| fault(&path, error))?;
        }
        Ok(directory)
    }
}

#[async_trait]
impl SharedDisk for PlacedFiles {
    async fn write_volume(
        &self,
        container: &str,
        volume: &str,
        files: Vec<VolumeFile>,
    ) -> Result<String, SharedDiskFault> {
        self.write(self.made_path(container, volume, false), files).await
    }

    async fn write_secret_volume(
        &self,
        container: &str,
        volume: &str,
        files: Vec<VolumeFile>,
    ) -> Result<String, SharedDiskFault> {
        self.write(self.made_path(container, volume, true), files).await
    }

    fn made_path(&self, container: &str, volume: &str, secret: bool) -> String {
        let top = if secret { "secrets" } else { "configmaps" };
        format!("{}/{top}/{container}/{volume}", self.base.trim_end_matches('/'))
    }

    async fn remove_volumes(&self, container: &str) -> Result<(), SharedDiskFault> {
        for top in ["configmaps", "secrets"] {
            self.remove(format!("{}/{top}/{container}", self.base.trim_end_matches('/'))).await?;
        }
        Ok(())
    }

    async fn exists(&self, _device_path: &str) -> Option<bool> {
        None
    }

    async fn ensure_source(&self, _source: &SourceDirectory) -> Result<bool, SharedDiskFault> {
        Ok(false)
    }

    async fn remove_scratch(&self, _path: &str) -> Result<bool, SharedDiskFault> {
        Ok(false)
    }

    async fn found_volumes(&self, _base: &str) -> Result<Option<Vec<FoundVolume>>, SharedDiskFault> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use mkube_fakes::Recorder;

    use super::*;

    fn file(path: &str, bytes: &[u8]) -> VolumeFile {
        VolumeFile { path: path.into(), mode: 0o644, bytes: bytes.into() }
    }

    #[actix::test]
    async fn small_texts_are_placed_and_nothing_is_when_one_cannot_be() {
        let place = Recorder::answering(|_: &PlaceFile| Ok(()));
        let remove = Recorder::answering(|_: &RemoveFile| Ok(()));
        let files = PlacedFiles { base: "/disk1/".into(), place: place.door(), remove: remove.door() };
        let written = files.write_volume("c", "v", vec![file("a", b"1"), file("d/b", b"2")]).await;
        assert_eq!(written, Ok("/disk1/configmaps/c/v".into()));
        let placed: Vec<(String, String)> =
            place.seen().into_iter().map(|order| (order.path, order.contents)).collect();
        assert_eq!(
            placed,
            [("/disk1/configmaps/c/v/a".into(), "1".into()), ("/disk1/configmaps/c/v/d/b".into(), "2".into())]
        );
        assert_eq!(remove.seen().len(), 1, "what was there before goes first");
        for odd in [file("x", b"\xff"), file("x", &vec![b'x'; SMALL_FILE + 1])] {
            let fault = files.write_secret_volume("c", "v", vec![file("a", b"1"), odd]).await.expect_err("refused");
            assert!(fault.path.ends_with("secrets/c/v/x"), "{fault}");
        }
        assert_eq!((place.seen().len(), remove.seen().len()), (2, 1));
        files.remove_volumes("c").await.expect("gone");
        assert_eq!(
            remove.seen()[1..].iter().map(|order| order.path.as_str()).collect::<Vec<_>>(),
            ["/disk1/configmaps/c", "/disk1/secrets/c"]
        );
    }
}
