//! What was made: kept compressed, made when somebody first asks. See docs/decisions/032.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use mkube_model::kinds::KindTable;
use ring::digest::{Context, SHA256};
use serde_json::{Map, Value, json};

use crate::document::{document, path_of};
use crate::gnostic;
use crate::swagger::swagger;

/// A document as it is kept.
#[derive(Debug)]
pub struct Document {
    /// Half of its SHA-256 in hexadecimal digits: changes when the document does.
    pub hash: String,
    /// The document, compressed.
    pub gzip: Bytes,
}

impl Document {
    fn of(write: impl FnOnce(&mut Noted) -> io::Result<()>) -> io::Result<Self> {
        let mut noted =
            Noted { digest: Context::new(&SHA256), encoder: GzEncoder::new(Vec::new(), Compression::best()) };
        write(&mut noted)?;
        let digest = noted.digest.finish();
        let hash = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02X}")).collect();
        Ok(Self { hash, gzip: noted.encoder.finish()?.into() })
    }

    fn json(value: &Value) -> io::Result<Self> {
        Self::of(|noted| Ok(serde_json::to_writer(noted, value)?))
    }
}

/// What was compressed.
pub fn unpacked(gzip: &[u8]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    GzDecoder::new(gzip).read_to_end(&mut text)?;
    Ok(text)
}

/// Compresses what is written, and takes its digest; the whole text is never there.
struct Noted {
    digest: Context,
    encoder: GzEncoder<Vec<u8>>,
}

impl Write for Noted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.encoder.write_all(bytes)?;
        self.digest.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()
    }
}

/// The documents of version 3, and where they are.
#[derive(Debug)]
pub struct Published {
    /// Where each is, with its hash.
    pub index: Document,
    documents: BTreeMap<String, Document>,
}

impl Published {
    fn of(kinds: &KindTable) -> io::Result<Self> {
        let (mut paths, mut documents) = (Map::new(), BTreeMap::new());
        for (group, version) in kinds.group_versions() {
            let (path, kept) = (path_of(group, version), Document::json(&document(kinds, group, version))?);
            let url = format!("/openapi/v3/{path}?hash={}", kept.hash);
            paths.insert(path.clone(), json!({"serverRelativeURL": url}));
            documents.insert(path, kept);
        }
        Ok(Self { index: Document::json(&json!({"paths": paths}))?, documents })
    }

    /// The document of a group and version, by the path it is served on.
    pub fn document(&self, group: &str, version: &str) -> Option<&Document> {
        self.documents.get(&path_of(group, version))
    }
}

/// The documents of all kinds.
#[derive(Debug)]
pub struct OpenApi {
    kinds: KindTable,
    v3: OnceLock<Published>,
    v2: OnceLock<Document>,
    /// Held by who makes some: it is done once, however many ask.
    making: Mutex<()>,
}

impl OpenApi {
    /// Makes nothing yet.
    pub fn new(kinds: KindTable) -> Self {
        Self { kinds, v3: OnceLock::new(), v2: OnceLock::new(), making: Mutex::new(()) }
    }

    /// Version 3. The first time it is made, which takes some milliseconds.
    pub fn v3(&self) -> io::Result<&Published> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = self.v3.get() {
            return Ok(made);
        }
        let made = Published::of(&self.kinds)?;
        Ok(self.v3.get_or_init(|| made))
    }

    /// Version 2 in protobuf. The first time it is made, which takes some milliseconds.
    pub fn v2(&self) -> io::Result<&Document> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = self.v2.get() {
            return Ok(made);
        }
        let bytes = gnostic::encoded(&swagger(&self.kinds));
        let made = Document::of(|noted| noted.write_all(&bytes))?;
        Ok(self.v2.get_or_init(|| made))
    }
}
