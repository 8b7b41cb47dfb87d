//! The OCI registry: the distribution API over a directory of content-addressed blobs.

mod certificates;
mod durable;

pub use certificates::{CertificateFault, CertificateSource};
