//! Archives that are there or not.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mkube_model::names;
use mkube_model::neighbours::tarballs::{Tarball, TarballFault, TarballSource};

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
    async fn ensure(&self, image: &str) -> Result<Tarball, TarballFault> {
        let delay = {
            let mut inner = self.inner();
            inner.asked.push(image.to_owned());
            inner.delay
        };
        tokio::time::sleep(delay).await;
        match self.inner().images.get(image) {
            Some(digest) => Ok(Tarball { device_path: Self::path(image), digest: Some(digest.clone()) }),
            None => Err(TarballFault::Missing { image: image.to_owned(), path: Self::path(image) }),
        }
    }
}
