//! Where objects are kept: one trait ([`DesiredStore`]), and the stores behind it. Today: one file ([`EmbeddedStore`]).
//!
//! [`DesiredStore`]: mkube_model::neighbours::desired_store::DesiredStore

mod embedded;

pub use embedded::EmbeddedStore;
