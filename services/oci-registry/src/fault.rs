//! What can go wrong, and which code and status of the distribution specification that is.

use std::io;

use crate::digest::Digest;
use crate::names::RepositoryName;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No name of a repository.
    #[error("{0:?} is not the name of a repository")]
    NameInvalid(String),
    /// Nothing was ever pushed there.
    #[error("repository {0} is not known")]
    NameUnknown(RepositoryName),
    /// Not a digest of sha256 or sha512.
    #[error("{0:?} is not a digest of sha256 or sha512")]
    DigestInvalid(String),
    /// The content is another.
    #[error("the content has the digest {found}, not {wanted}")]
    DigestMismatch {
        /// What the client said.
        wanted: Digest,
        /// What the bytes have.
        found: Digest,
    },
    /// Not in this repository.
    #[error("blob {0} is not known here")]
    BlobUnknown(Digest),
    /// A manifest of this repository still needs it.
    #[error("blob {0} is part of a manifest of this repository; delete that first")]
    BlobInUse(Digest),
    /// No such session in this repository: never begun, finished, cancelled or expired.
    #[error("upload {0:?} is not known here; begin a new one")]
    UploadUnknown(String),
    /// Another request writes to the same session.
    #[error("upload {0} is being written to by another request; try again")]
    UploadBusy(String),
    /// Not the next bytes.
    #[error("the next byte of this upload is number {offset}")]
    UploadOutOfOrder {
        /// Bytes that are there.
        offset: u64,
    },
    /// The body ended early, or was cut off.
    #[error("the body did not arrive whole: {0}")]
    UploadBroken(String),
    /// The body does not have the length its headers say.
    #[error("{said} bytes were announced and {came} came")]
    SizeInvalid {
        /// By `Content-Range` or `Content-Length`.
        said: u64,
        /// In the body.
        came: u64,
    },
    /// A header or parameter that cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// Neither tag nor digest.
    #[error("{0:?} is neither a tag nor a digest of sha256 or sha512")]
    ReferenceInvalid(String),
    /// No such tag or digest in this repository.
    #[error("manifest {0} is not known here")]
    ManifestUnknown(String),
    /// Not a manifest, or not of the kind its header says.
    #[error("{0}")]
    ManifestInvalid(String),
    /// It names content that is not in this repository.
    #[error("the manifest names content that is not here: {}", list(.0))]
    ManifestBlobUnknown(Vec<Digest>),
    /// More than a manifest may have.
    #[error("a manifest may have {limit} bytes")]
    ManifestTooLarge {
        /// Bytes.
        limit: u64,
    },
    /// Quota used up, or the disk nearly full.
    #[error("no room left: {0}")]
    NoRoom(String),
    /// More at once than the registry takes on.
    #[error("too many {0} at once; try again in a moment")]
    TooMany(&'static str),
    /// A login is needed; the text is the `WWW-Authenticate` header.
    #[error("authentication is needed")]
    Unauthorized(String),
    /// Known, and not allowed to.
    #[error("{0}")]
    Denied(String),
    /// No such method on this path.
    #[error("{0}")]
    Unsupported(String),
    /// The directory is not usable.
    #[error("{what}: {cause}")]
    Disk {
        /// What was tried.
        what: String,
        /// The system's answer.
        cause: io::Error,
    },
    /// Whoever is told of manifests could not note it down.
    #[error("the push could not be noted down: {0}")]
    NotNoted(String),
    /// The place that was asked for what is missing here did not answer as it should.
    #[error("the upstream registry: {0}")]
    Upstream(String),
}

fn list(digests: &[Digest]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = digests.iter().take(SHOWN).map(Digest::as_str).collect();
    let more = digests.len().saturating_sub(SHOWN);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}

impl Fault {
    /// A failed call of the system. A full disk is told from other trouble.
    pub(crate) fn disk(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |cause| match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoRoom("the disk is full".to_owned()),
            _ => Self::Disk { what, cause },
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::NameInvalid(_)
            | Self::DigestInvalid(_)
            | Self::DigestMismatch { .. }
            | Self::UploadBroken(_)
            | Self::SizeInvalid { .. }
            | Self::Unreadable(_)
            | Self::ReferenceInvalid(_)
            | Self::ManifestInvalid(_) => 400,
            Self::Unauthorized(_) => 401,
            Self::Denied(_) => 403,
            Self::NameUnknown(_)
            | Self::BlobUnknown(_)
            | Self::UploadUnknown(_)
            | Self::ManifestUnknown(_)
            | Self::ManifestBlobUnknown(_) => 404,
            Self::BlobInUse(_) | Self::Unsupported(_) => 405,
            Self::UploadBusy(_) => 409,
            Self::ManifestTooLarge { .. } => 413,
            Self::UploadOutOfOrder { .. } => 416,
            Self::TooMany(_) => 429,
            Self::Disk { .. } => 500,
            Self::Upstream(_) => 502,
            Self::NotNoted(_) => 503,
            Self::NoRoom(_) => 507,
        }
    }

    /// The code of the distribution specification. It has none for trouble of the server: `UNKNOWN`, as clients know it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NameInvalid(_) => "NAME_INVALID",
            Self::NameUnknown(_) => "NAME_UNKNOWN",
            Self::DigestInvalid(_) | Self::DigestMismatch { .. } => "DIGEST_INVALID",
            Self::BlobUnknown(_) => "BLOB_UNKNOWN",
            Self::BlobInUse(_) | Self::Denied(_) | Self::NoRoom(_) => "DENIED",
            Self::UploadUnknown(_) => "BLOB_UPLOAD_UNKNOWN",
            Self::UploadBusy(_) | Self::UploadOutOfOrder { .. } | Self::UploadBroken(_) => "BLOB_UPLOAD_INVALID",
            Self::SizeInvalid { .. } | Self::ManifestTooLarge { .. } => "SIZE_INVALID",
            Self::ReferenceInvalid(_) | Self::ManifestInvalid(_) => "MANIFEST_INVALID",
            Self::ManifestUnknown(_) => "MANIFEST_UNKNOWN",
            Self::ManifestBlobUnknown(_) => "MANIFEST_BLOB_UNKNOWN",
            Self::TooMany(_) => "TOOMANYREQUESTS",
            Self::Unauthorized(_) => "UNAUTHORIZED",
            Self::Unreadable(_) | Self::Unsupported(_) => "UNSUPPORTED",
            Self::Disk { .. } | Self::Upstream(_) | Self::NotNoted(_) => "UNKNOWN",
        }
    }
}
