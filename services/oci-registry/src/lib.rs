//! The OCI registry: the distribution API over a directory of content-addressed blobs.
//!
//! [`store`] keeps the directory, [`http`] speaks the protocol over it, [`parts`] are the seams (who may, who is told, who is asked for
//! what is missing), [`serve`] puts it all on listeners.

pub mod digest;
pub mod fault;
pub mod http;
pub mod manifest;
pub mod names;
pub mod parts;
pub mod serve;
pub mod store;
