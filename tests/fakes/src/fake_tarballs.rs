//! Archives that are there or not.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mkube_model::names;
use mkube_model::neighbours::tarballs::{
    Archive, CachedImage, ImageRequest, InUse, ProgressSink, TarballFault, TarballSource,
};

use crate::fake_router::FakeRouter;

#[derive(Default)]
struct Inner {
    /// Digest by image.
    images: HashMap<String, String>,
    delay: Duration,
    asked: Vec<String>,
}

/// A cache beside a fake device: an image that is added lies on the device too.
pub struct FakeTarballs {
    inner: Mutex<Inner>,
    device: FakeRouter,
}

impl FakeTarballs {
    /// An empty cache.
    pub fn beside(device: &FakeRouter) -> Self {
        Self { inner: Mutex::default(), device: device.clone() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the archive of an image lies on the device.
    pub fn path(image: &str) -> String {
        format!("/cache/{}.tar", names::archive_name(image))
    }

    /// An image is there from now on.
    pub fn add(&self, image: &str) {
        self.device.add_file(&Self::path(image));
        let digest = format!("sha256:{:064x}", names::fnv1a(image));
        self.inner().images.insert(image.to_owned(), digest);
    }

    /// Answers take so long from now on.
    pub fn set_delay(&self, delay: Duration) {
        self.inner().delay = delay;
    }

    /// Images asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.inner().asked.clone()
    }
}

#[async_trait]
impl TarballSource for FakeTarballs {
    async fn ensure(&self, request: &ImageRequest, _progress: ProgressSink) -> Result<Archive, TarballFault> {
        let image = &request.image;
        let delay = {
            let mut inner = self.inner();
            inner.asked.push(image.clone());
            inner.delay
        };
        tokio::time::sleep(delay).await;
        match self.inner().images.get(image) {
            Some(digest) => {
                Ok(Archive { path: Self::path(image).into(), digest: Some(digest.clone()), bytes: 1, stale: None })
            }
            None => Err(TarballFault::Missing { image: image.clone(), path: Self::path(image) }),
        }
    }

    async fn resolve(&self, request: &ImageRequest) -> Result<String, TarballFault> {
        let image = &request.image;
        let digest = self.inner().images.get(image).cloned();
        digest.ok_or_else(|| TarballFault::NotFound { image: image.clone(), registry: "the fake".into() })
    }

    async fn cached(&self) -> Result<Vec<CachedImage>, TarballFault> {
        Ok(Vec::new())
    }

    async fn collect(&self, _in_use: &InUse) -> Result<Vec<CachedImage>, TarballFault> {
        Ok(Vec::new())
    }
}
