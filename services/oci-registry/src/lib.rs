//! The OCI registry: the distribution API over a directory of content-addressed blobs.
//!
//! [`store`] keeps the directory, [`http`] speaks the protocol over it, [`parts`] are the seams (who may, who is told, who is asked for
//! what is missing), [`serve`] puts it all on listeners.

mod access;
mod certificates;
pub mod digest;
mod durable;
pub mod fault;
pub mod http;
pub mod manifest;
pub mod names;
mod notices;
mod outward;
pub mod parts;
mod routes;
mod running;
pub mod serve;
pub mod store;
mod tls;
mod upstream;
mod watcher;
mod wire;

pub use access::{AccessControl, AccessFault, Decision, Reached, Wanted, hash_password};
pub use certificates::{CertificateFault, CertificateSource};
pub use notices::{DeliveryFault, Notice, NoticeFault, NoticePatience, NoticeTarget, Notices, OnBus, Webhook};
pub use running::{RunningRegistry, StartFault, start};
pub use tls::{LOOK_AGAIN, TlsIdentity};
pub use upstream::{Mirrored, UpstreamFault, Upstreams};
pub use watcher::{Watcher, WatcherPoke};
pub use wire::{Arrival, Encryption};
