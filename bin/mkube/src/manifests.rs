//! Manifest files as documents for the object layer.

use std::path::Path;

use mkube_boot::Document;
use mkube_model::kinds::KindTable;

use crate::failure::{CONFIGURATION, Failure};

/// Reads a manifest; every document must be one of a known kind.
pub fn read(kinds: &KindTable, path: &Path) -> Result<Vec<Document>, Failure> {
    let bad = |cause: String| Failure::text(CONFIGURATION, format!("{}: {cause}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let documents = mkube_manifests::parse_documents(&text).map_err(|fault| bad(fault.to_string()))?;
    mkube_boot::read(kinds, documents).map_err(|fault| bad(fault.to_string()))
}
