//! What can go wrong while an image is converted, and whose doing it was.

use std::path::PathBuf;

/// Why there is no archive. Nothing is left at the destination, whichever it is.
///
/// Layers are named by the digest of their blob, as the manifest lists them, and entries by their name in the layer.
#[derive(Debug, thiserror::Error)]
pub enum ConvertFault {
    /// An image of nothing but settings.
    #[error("the image has no layers: there is nothing to run")]
    NoLayers,
    /// The image config cannot be used.
    #[error("the image config is not usable: {why}")]
    BadConfig {
        /// What is wrong with it.
        why: String,
    },
    /// The name to write into the archive is no `repository:tag`.
    #[error("{name:?} is no name for an archive: use repository:tag")]
    BadName {
        /// The name.
        name: String,
    },
    /// Manifest and config are not about the same image.
    #[error("the manifest lists {layers} layers and the config {diff_ids}: they do not belong together")]
    LayerCount {
        /// Layers of the manifest.
        layers: usize,
        /// `rootfs.diff_ids` of the config.
        diff_ids: usize,
    },
    /// A blob could not be opened or read: the disk's or the network's doing, worth another try.
    #[error("layer {layer} cannot be read")]
    Unreadable {
        /// Digest of the blob.
        layer: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A blob is not what its digest says: fetch it again.
    #[error("layer {layer} has the digest {found}: the blob is damaged")]
    WrongDigest {
        /// Digest it should have.
        layer: String,
        /// Digest it has.
        found: String,
    },
    /// What a blob unpacks to is not what the image config says.
    #[error("layer {layer} unpacks to {found}, and the image config says {expected}")]
    WrongDiffId {
        /// Digest of the blob.
        layer: String,
        /// `rootfs.diff_ids` of the config.
        expected: String,
        /// Digest of what was unpacked.
        found: String,
    },
    /// A blob cannot be decompressed, or is no tar.
    #[error("layer {layer} is damaged{}: {why}", after(.entry))]
    Damaged {
        /// Digest of the blob.
        layer: String,
        /// The last entry that was understood.
        entry: Option<String>,
        /// What is wrong.
        why: String,
    },
    /// An entry that has no place in an image.
    #[error("layer {layer}, entry {entry:?}: {why}")]
    BadEntry {
        /// Digest of the blob.
        layer: String,
        /// Name of the entry.
        entry: String,
        /// What is wrong.
        why: String,
    },
    /// A limit would be passed.
    #[error("layer {layer}{}: more than {limit} {what}", at(.entry))]
    TooLarge {
        /// Digest of the blob.
        layer: String,
        /// Name of the entry that was too much, where it was one.
        entry: Option<String>,
        /// What there is too much of, with its unit.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// No room for the archive.
    #[error("{} cannot be written: the disk is full", path.display())]
    DiskFull {
        /// The archive.
        path: PathBuf,
    },
    /// The archive cannot be written.
    #[error("{} cannot be written", path.display())]
    Unwritable {
        /// The archive.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else is writing the same archive.
    #[error("{} is being written by somebody else", path.display())]
    Busy {
        /// The archive.
        path: PathBuf,
    },
    /// The caller gave up.
    #[error("cancelled")]
    Cancelled,
}

fn after(entry: &Option<String>) -> String {
    entry.as_ref().map(|entry| format!(" after entry {entry:?}")).unwrap_or_default()
}

fn at(entry: &Option<String>) -> String {
    entry.as_ref().map(|entry| format!(", entry {entry:?}")).unwrap_or_default()
}
