//! A server, a store over it, and the words the tests speak.

use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use mkube_desired_store::{JetStreamOptions, JetStreamStore};
use mkube_model::neighbours::desired_store::{
    DesiredStore, Expected, Outcome, Revision, StoreChange, StoreContents, StoreFault, StoreKey, StoredValue,
};
use mkube_model::secret::SecretUrl;
use mkube_model::settings::NatsSettings;
use tempfile::TempDir;

/// How long a test waits for what has to come.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn options(url: &str, path: &Path) -> JetStreamOptions {
    JetStreamOptions {
        nats: NatsSettings { url: SecretUrl::new(url), replicas: 1, ..NatsSettings::default() },
        buckets: vec!["PODS".into(), "CONFIGMAPS".into()],
        path: path.to_owned(),
        write_behind: false,
        name: "mkube".into(),
        copy: copied,
    }
}

/// A copy as the tests read it.
fn copied(why: &str, values: &[StoredValue], out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "# {why}")?;
    values.iter().try_for_each(|one| writeln!(out, "{}={}", one.at.key, text(&one.value)))
}

pub fn at(key: &str) -> StoreKey {
    StoreKey { bucket: "PODS".into(), key: key.into() }
}

pub fn put(key: &str, value: &str, expected: Expected) -> StoreChange {
    StoreChange { at: at(key), value: Some(Bytes::copy_from_slice(value.as_bytes())), expected, behind: false }
}

pub fn delete(key: &str, expected: Expected) -> StoreChange {
    StoreChange { value: None, ..put(key, "", expected) }
}

pub fn behind(change: StoreChange) -> StoreChange {
    StoreChange { behind: true, ..change }
}

/// A store that can be closed and opened again.
pub struct Bench {
    pub store: JetStreamStore,
    pub options: JetStreamOptions,
    pub directory: TempDir,
}

impl Bench {
    /// A new one, whether the server is there or not.
    pub async fn new(url: &str) -> Self {
        Self::with(|path| options(url, path)).await
    }

    pub async fn with(options: impl FnOnce(&Path) -> JetStreamOptions) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path: PathBuf = directory.path().join("state.redb");
        let options = options(&path);
        let store = JetStreamStore::open(options.clone()).await.expect("new");
        Self { store, options, directory }
    }

    /// As after a restart of the controller.
    pub async fn reopened(self) -> Self {
        self.closed().await.opened().await
    }

    pub async fn closed(self) -> Closed {
        self.store.close().await;
        Closed { options: self.options, directory: self.directory }
    }

    pub async fn load(&self) -> StoreContents {
        self.store.load().await.expect("readable")
    }

    /// Key and value of all pods.
    pub async fn values(&self) -> Vec<(String, String)> {
        texts(&self.load().await)
    }

    pub async fn commit(&self, change: StoreChange) -> Result<Outcome, StoreFault> {
        Ok(self.store.commit(vec![change]).await?.remove(0))
    }

    pub async fn made(&self, change: StoreChange) -> Revision {
        self.commit(change).await.expect("it is there").expect("it fits")
    }

    /// Waits until the store is there and all of it is known.
    pub async fn complete(&self) -> StoreContents {
        self.loaded("the store is there", |contents| contents.stale.is_none()).await
    }

    /// Waits until a reading is like this.
    pub async fn loaded(&self, what: &str, is_so: impl Fn(&StoreContents) -> bool) -> StoreContents {
        until(what, || async { Some(self.load().await).filter(|contents| is_so(contents)) }).await
    }
}

/// What is left of a store that was closed.
pub struct Closed {
    pub options: JetStreamOptions,
    directory: TempDir,
}

impl Closed {
    pub async fn opened(self) -> Bench {
        let store = JetStreamStore::open(self.options.clone()).await.expect("there");
        Bench { store, options: self.options, directory: self.directory }
    }
}

pub fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

pub fn texts(contents: &StoreContents) -> Vec<(String, String)> {
    contents.values.iter().map(|one| (one.at.key.clone(), text(&one.value))).collect()
}

pub fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Waits until something is there.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, look: impl FnMut() -> F) -> T {
    within(PATIENCE, what, look).await
}

/// Waits so long at most until something is there.
pub async fn within<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(patience, looking).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// The bucket as another client sees it.
pub async fn foreign(url: &str, bucket: &str) -> async_nats::jetstream::kv::Store {
    let client = async_nats::connect(url).await.expect("there");
    async_nats::jetstream::new(client).get_key_value(bucket).await.expect("a bucket")
}
