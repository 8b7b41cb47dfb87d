//! The OCI registry: the distribution API over a directory of content-addressed blobs.

mod access;
mod certificates;
mod durable;
mod notices;
mod outward;
mod tls;
mod wire;

pub use access::{Access, AccessFault, Decision, Reached, Wanted, hash_password};
pub use certificates::{CertificateFault, CertificateSource};
pub use notices::{DeliveryFault, Notice, NoticeFault, NoticePatience, NoticeTarget, Notices, Webhook};
pub use tls::{LOOK_AGAIN, TlsIdentity};
pub use wire::{Arrival, Encryption, serve};
