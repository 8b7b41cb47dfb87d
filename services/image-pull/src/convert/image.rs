//! What a conversion is given, and what it answers.

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// An image whose blobs are at hand.
#[derive(Debug)]
pub struct SourceImage {
    /// `repository:tag` to write into the archive, without a registry.
    pub name: String,
    /// The image config as the registry holds it, JSON.
    pub config: Vec<u8>,
    /// Its layers, the lowest first, as the manifest lists them.
    pub layers: Vec<LayerBlob>,
}

/// The blob of a layer: a tar, as it is or compressed with gzip or zstd, which its first bytes tell.
#[derive(Debug)]
pub struct LayerBlob {
    /// `sha256:…` of the blob, as the manifest lists it.
    pub digest: String,
    /// Where its bytes are.
    pub source: BlobSource,
    /// Whether the blob was checked against its digest.
    pub trust: BlobTrust,
}

/// Whether a blob is known to be what its digest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobTrust {
    /// Checked before.
    Verified,
    /// To be checked while it is read; costs no second reading.
    Unverified,
}

/// Opens a stream of a blob's bytes, from the first on.
pub type OpenBlob = Box<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync>;

/// Where the bytes of a blob are.
pub enum BlobSource {
    /// In a file.
    File(PathBuf),
    /// Behind a function; called up to three times where layers cannot be merged in one pass.
    Stream(OpenBlob),
}

impl fmt::Debug for BlobSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => out.debug_tuple("File").field(path).finish(),
            Self::Stream(_) => out.write_str("Stream"),
        }
    }
}

/// The archive that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// Bytes of the archive.
    pub bytes: u64,
    /// `sha256:…` of the config in the archive: the image id on the device.
    pub config_digest: String,
    /// `sha256:…` of the one layer.
    pub layer_digest: String,
    /// Files, directories and links in the layer.
    pub entries: u64,
    /// Device nodes and named pipes that were left out.
    pub dropped: u64,
    /// Passes over the layers: one, or three where layers had to be looked through before they could be merged.
    pub passes: u8,
}

/// How far a conversion is, and the way to end it early. Shared with whoever waits for it.
#[derive(Debug, Default)]
pub struct Progress {
    unpacked: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// Bytes of layers unpacked so far; those read again count again.
    pub fn unpacked(&self) -> u64 {
        self.unpacked.load(Ordering::Relaxed)
    }

    /// Ends the conversion within a fraction of a second, with [`super::ConvertFault::Cancelled`].
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: u64) {
        self.unpacked.fetch_add(bytes, Ordering::Relaxed);
    }
}
