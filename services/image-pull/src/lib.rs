//! From an image reference to the archive RouterOS unpacks: pull, verify, flatten, cache.

pub mod convert;
