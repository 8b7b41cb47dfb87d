//! What an entry of a layer says, read once and checked.

use std::io;

use tar::EntryType;

use super::tar_reader::RawEntry;

/// Bytes of a path or of a link's target.
pub const PATH_BYTES: usize = 4096;
/// Bytes of one name, as file systems allow.
const NAME_BYTES: usize = 255;
/// Directories inside one another; the host of this tree takes no more.
pub const DEPTH: usize = 200;
/// Seconds a tar header can hold without extensions.
const MAX_TIME: u64 = 0o77_777_777_777;
const XATTR: &[u8] = b"SCHILY.xattr.";

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file, sparse ones as if they were not.
    File,
    /// A symbolic link.
    Symlink,
    /// Another name of a file.
    HardLink,
    /// A device node or a named pipe.
    Device,
}

/// An entry without its contents.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Names from the root on, joined by `/`; empty is the root.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with those for set-user-id and the like.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970; fractions are dropped, as devices keep none.
    pub mtime: u64,
    /// Bytes of contents.
    pub size: u64,
    /// Target: of a symbolic link as it stands, of a hard link a path like `path`.
    pub link: Vec<u8>,
    /// Extended attributes by their key in the tar, in its order.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why an entry cannot be used.
pub enum EntryFault {
    /// It could not be read.
    Io(io::Error),
    /// It says what no entry of an image may say.
    Bad(String),
}

impl From<io::Error> for EntryFault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn bad<T>(why: impl Into<String>) -> Result<T, EntryFault> {
    Err(EntryFault::Bad(why.into()))
}

impl Entry {
    /// Reads what an entry says.
    pub fn of(raw: &RawEntry) -> Result<Self, EntryFault> {
        let mut kind = match raw.header.entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink,
            EntryType::Link => Kind::HardLink,
            EntryType::Char | EntryType::Block | EntryType::Fifo => Kind::Device,
            other => {
                return bad(format!("entries of type {:?} have no place in an image", char::from(other.as_byte())));
            }
        };
        // What tars did before they knew directories.
        if kind == Kind::File && raw.path.ends_with(b"/") {
            kind = Kind::Directory;
        }
        let link = match kind {
            Kind::Symlink | Kind::HardLink => {
                if raw.link.is_empty() || raw.link.len() > PATH_BYTES || raw.link.contains(&0) {
                    return bad("a link without a target that could be followed");
                }
                if kind == Kind::HardLink { clean(&raw.link)? } else { raw.link.clone() }
            }
            _ => Vec::new(),
        };
        let (header, old) = (&raw.header, raw.header.as_old());
        // Some writers leave a field empty and mean 0.
        let number = |field: &[u8], read: io::Result<u64>| if is_blank(field) { Ok(0) } else { read };
        let mode = number(&old.mode, header.mode().map(u64::from))? as u32 & 0o7777;
        let mut owner = [number(&old.uid, header.uid())?, number(&old.gid, header.gid())?];
        let mut mtime = header.mtime().unwrap_or(0);
        let mut xattrs = Vec::new();
        for (key, value) in &raw.records {
            let text = || String::from_utf8_lossy(value);
            match key.as_slice() {
                b"uid" | b"gid" => match text().parse() {
                    Ok(id) => owner[usize::from(key == b"gid")] = id,
                    Err(_) => return bad(format!("{:?} is no user or group", text())),
                },
                b"mtime" => {
                    let seconds = text().split('.').next().and_then(|whole| whole.parse::<i64>().ok());
                    mtime = u64::try_from(seconds.unwrap_or(0)).unwrap_or(0);
                }
                key if key.starts_with(b"GNU.sparse.") => {
                    return bad("sparse in the form of PAX: make the layer without --sparse, or with --format=gnu");
                }
                key if key.starts_with(XATTR) => xattrs.push((key.to_vec(), value.clone())),
                _ => {}
            }
        }
        Ok(Self {
            path: clean(&raw.path)?,
            kind,
            mode,
            uid: id(owner[0])?,
            gid: id(owner[1])?,
            mtime: mtime.min(MAX_TIME),
            size: if kind == Kind::File { raw.size } else { 0 },
            link,
            xattrs,
        })
    }

    /// What the name of an entry says beyond where it lies.
    pub fn mark(&self) -> Result<Mark<'_>, EntryFault> {
        let (parent, name) = split(&self.path);
        if parts(parent).any(|part| part.starts_with(b".wh.")) {
            return Ok(Mark::Note);
        }
        if name == b".wh..wh..opq" {
            return Ok(Mark::Opaque);
        }
        if name.starts_with(b".wh..wh.") {
            return Ok(Mark::Note);
        }
        match name.strip_prefix(b".wh.") {
            None => Ok(Mark::None),
            Some(b"" | b"." | b"..") => bad("a whiteout without a name"),
            Some(hidden) => Ok(Mark::Whiteout(hidden)),
        }
    }
}

/// What the name of an entry says about lower layers.
#[derive(Debug, PartialEq, Eq)]
pub enum Mark<'a> {
    /// Nothing: it is an entry like any other.
    None,
    /// Lower layers' contents of its directory are hidden.
    Opaque,
    /// What lower layers have under this name in its directory is hidden.
    Whiteout(&'a [u8]),
    /// It is no part of the image: a note of an old file system to itself.
    Note,
}

/// Directory and last name of a path.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// The names of a path.
pub fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
}

fn is_blank(field: &[u8]) -> bool {
    field.iter().all(|byte| matches!(byte, 0 | b' '))
}

fn id(number: u64) -> Result<u32, EntryFault> {
    match u32::try_from(number) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => bad(format!("{number} is no user or group")),
    }
}

/// A path from the root on: absolute ones are taken from there too, steps upward are refused.
fn clean(name: &[u8]) -> Result<Vec<u8>, EntryFault> {
    if name.len() > PATH_BYTES {
        return bad(format!("its path is longer than {PATH_BYTES} bytes"));
    }
    let mut path = Vec::with_capacity(name.len());
    let mut depth = 0;
    for part in parts(name).filter(|part| *part != b".") {
        match part {
            b".." => return bad("its path leads outside of the image"),
            part if part.len() > NAME_BYTES => return bad(format!("a name in it is longer than {NAME_BYTES} bytes")),
            part if part.contains(&0) => return bad("a name in it has a zero byte"),
            part => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
                depth += 1;
            }
        }
    }
    if depth > DEPTH { bad(format!("it lies more than {DEPTH} directories deep")) } else { Ok(path) }
}
