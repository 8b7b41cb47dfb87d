//! The OCI registry: the distribution API over a directory of content-addressed blobs.
