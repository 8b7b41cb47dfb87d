//! OpenAPI: what clients read to check manifests, to explain fields and to compute patches. Pure: kinds in, documents out.
//!
//! `schemas` turns the types' schemas into those of Kubernetes, `lists` knows how lists merge, `paths` describes what can be asked of
//! a kind, `measurements` of figures, `document` puts them together for one group and version, `swagger` writes the same as version 2, `gnostic` encodes that
//! for kubectl, `published` keeps what was made.

mod document;
mod gnostic;
mod lists;
mod measurements;
mod parameters;
mod paths;
mod published;
mod schemas;
mod swagger;

pub use document::{document, path_of};
pub use published::{Document, OpenApi, Published, unpacked};
