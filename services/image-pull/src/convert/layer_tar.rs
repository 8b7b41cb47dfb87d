//! Entries of the flattened layer as tar writes them: `ustar`, with PAX records where that is too small, as image builders do.

use std::io::{ErrorKind, Read};

use tar::{EntryType, Header};

use super::entry::{Entry, Kind};
use super::sink::{Sink, Stopped};

/// Why an entry was not written.
pub enum WriteFault {
    /// The contents could not be read.
    Read(std::io::Error),
    /// Nobody takes what is written.
    Stopped,
}

impl From<Stopped> for WriteFault {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// Writes an entry under `path`; the contents of a file follow from `contents`.
pub fn write(sink: &mut Sink, entry: &Entry, path: &[u8], contents: &mut dyn Read) -> Result<(), WriteFault> {
    head(sink, entry, path, entry.kind, &entry.link)?;
    let mut left = entry.size;
    while left > 0 {
        let room = sink.room();
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(room.len());
        let read = match contents.read(&mut room[..most]) {
            Ok(0) => return Err(WriteFault::Read(ErrorKind::UnexpectedEof.into())),
            Ok(read) => read,
            Err(error) => return Err(WriteFault::Read(error)),
        };
        sink.took(read)?;
        left -= read as u64;
    }
    Ok(sink.pad()?)
}

/// Writes another name for what lies at `target`.
pub fn link(sink: &mut Sink, entry: &Entry, path: &[u8], target: &[u8]) -> Result<(), Stopped> {
    head(sink, entry, path, Kind::HardLink, target)
}

/// Writes a directory that nobody described.
pub fn bare_directory(sink: &mut Sink, path: &[u8]) -> Result<(), Stopped> {
    let (path, link, xattrs) = (path.to_vec(), Vec::new(), Vec::new());
    let kind = Kind::Directory;
    let entry = Entry { path, kind, mode: 0o755, uid: 0, gid: 0, mtime: 0, size: 0, link, xattrs };
    head(sink, &entry, &entry.path, kind, b"")
}

fn head(sink: &mut Sink, entry: &Entry, path: &[u8], kind: Kind, link: &[u8]) -> Result<(), Stopped> {
    let mut path = path.to_vec();
    let kind = match kind {
        Kind::Directory => {
            path.push(b'/');
            EntryType::Directory
        }
        Kind::Symlink => EntryType::Symlink,
        Kind::HardLink => EntryType::Link,
        // Devices are never written.
        Kind::File | Kind::Device => EntryType::Regular,
    };
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(entry.mode);
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_mtime(entry.mtime);
    header.set_size(if kind == EntryType::Regular { entry.size } else { 0 });
    let mut records = Vec::new();
    if !put_path(&mut header, &path) {
        record(&mut records, b"path", &path);
    }
    if matches!(kind, EntryType::Symlink | EntryType::Link) {
        let field = &mut header.as_old_mut().linkname;
        let fits = link.len().min(field.len());
        field[..fits].copy_from_slice(&link[..fits]);
        if fits < link.len() {
            record(&mut records, b"linkpath", link);
        }
    }
    // Another name has the attributes of the first.
    if kind != EntryType::Link {
        entry.xattrs.iter().for_each(|(key, value)| record(&mut records, key, value));
    }
    if !records.is_empty() {
        let mut extended = Header::new_ustar();
        extended.set_entry_type(EntryType::XHeader);
        extended.set_mode(0o644);
        extended.set_uid(0);
        extended.set_gid(0);
        extended.set_mtime(0);
        extended.set_size(records.len() as u64);
        put_path(&mut extended, b"PaxHeaders.0/entry");
        extended.set_cksum();
        sink.put(extended.as_bytes())?;
        sink.put(&records)?;
        sink.pad()?;
    }
    header.set_cksum();
    sink.put(header.as_bytes())
}

/// Puts a path into a header; whether all of it found room. What did not is cut off.
fn put_path(header: &mut Header, path: &[u8]) -> bool {
    let Some(ustar) = header.as_ustar_mut() else { return false };
    let mut from = 0;
    if path.len() > ustar.name.len() {
        // The first place where what follows fits the name; the slash itself goes.
        let earliest = path.len() - ustar.name.len() - 1;
        let slash = path[earliest..path.len() - 1].iter().position(|byte| *byte == b'/').map(|at| at + earliest);
        if let Some(slash) = slash.filter(|slash| *slash > 0 && *slash <= ustar.prefix.len()) {
            ustar.prefix[..slash].copy_from_slice(&path[..slash]);
            from = slash + 1;
        }
    }
    let rest = &path[from..];
    let fits = rest.len().min(ustar.name.len());
    ustar.name[..fits].copy_from_slice(&rest[..fits]);
    fits == rest.len()
}

/// Adds a PAX record: its own length in decimal, then the key and the value.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // A space, an equals sign and a line break.
    let rest = key.len() + value.len() + 3;
    let mut digits = 1;
    while (rest + digits).to_string().len() > digits {
        digits += 1;
    }
    records.extend_from_slice((rest + digits).to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}
