//! Walks the entries of a tar as it streams by: `ustar`, PAX, and what GNU adds.
//!
//! The reader of the `tar` crate is not used: it takes a line break inside a PAX value for the end of the record, so it refuses
//! layers with file capabilities that happen to have such a byte, and it holds long names of any length in memory. Headers are
//! still its own.

use std::collections::VecDeque;
use std::io::{self, BufRead, ErrorKind, Read};

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

const BLOCK: u64 = 512;
/// Bytes of long names and PAX records in front of one entry. They are held in memory, and a few bytes of a blob can say that
/// there are gigabytes of them.
const EXTENSION_BYTES: u64 = 1 << 20;
/// Pieces of a sparse file.
const SPARSE_PIECES: usize = 100_000;

/// An entry as it stands.
pub struct RawEntry {
    /// Its own header.
    pub header: Header,
    /// Its name, wherever it stood.
    pub path: Vec<u8>,
    /// Target of a link, wherever it stood.
    pub link: Vec<u8>,
    /// PAX records that are neither of these nor the size.
    pub records: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of contents, holes included.
    pub size: u64,
    /// Bytes of contents in the tar.
    pub stored: u64,
}

/// A part of an entry's contents.
enum Part {
    Stored(u64),
    Hole(u64),
}

/// Reads entry by entry; what it reads itself are the contents of the entry it gave last.
pub struct TarReader<R> {
    source: R,
    parts: VecDeque<Part>,
    /// Bytes of the entry in the tar that are not read yet, and those that fill its last block.
    left: u64,
    padding: u64,
}

fn bad<T>(why: &str) -> io::Result<T> {
    Err(io::Error::new(ErrorKind::InvalidData, why))
}

/// What has to come before an entry and belongs to it.
#[derive(Default)]
struct Extensions {
    bytes: u64,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<R: BufRead> TarReader<R> {
    /// Reads a tar from its start.
    pub fn new(source: R) -> Self {
        Self { source, parts: VecDeque::new(), left: 0, padding: 0 }
    }

    /// The source, wherever it stands.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// The next entry; what was not read of the last one is passed over.
    pub fn next_entry(&mut self) -> io::Result<Option<RawEntry>> {
        let mut before = Extensions::default();
        let mut expected = false;
        loop {
            self.pass_over()?;
            let Some(header) = self.header()? else {
                return if expected { bad("it ends where an entry should follow") } else { Ok(None) };
            };
            let kind = header.entry_type();
            match kind {
                EntryType::GNULongName => before.path = Some(self.long_name(&header, &mut before.bytes)?),
                EntryType::GNULongLink => before.link = Some(self.long_name(&header, &mut before.bytes)?),
                EntryType::XHeader => {
                    let records = self.extension(&header, &mut before.bytes)?;
                    before.take(&records)?;
                }
                // Says nothing about files that an image could need.
                EntryType::XGlobalHeader => {
                    self.expect(header.entry_size()?, header.entry_size()?)?;
                    continue;
                }
                _ => return self.entry(header, before).map(Some),
            }
            expected = true;
        }
    }

    /// A header that is one; none at the end.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? || header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The field of the sum itself counts as blanks.
        let bytes = header.as_bytes();
        let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        if header.cksum()? != sum { bad("the checksum of a header is wrong: this is no tar") } else { Ok(Some(header)) }
    }

    /// Whether there is another block.
    fn block(&mut self, block: &mut [u8]) -> io::Result<bool> {
        if self.source.fill_buf()?.is_empty() {
            return Ok(false);
        }
        self.source.read_exact(block).map(|()| true)
    }

    /// Contents come next: so many bytes of the tar.
    fn expect(&mut self, stored: u64, size: u64) -> io::Result<()> {
        self.left = stored;
        self.padding = stored.checked_next_multiple_of(BLOCK).map_or(0, |whole| whole - stored);
        self.parts.clear();
        self.parts.push_back(Part::Stored(size));
        Ok(())
    }

    /// Leaves what is left of the current entry.
    fn pass_over(&mut self) -> io::Result<()> {
        let mut left = self.left.checked_add(self.padding).map_or_else(|| bad("an entry is too large"), Ok)?;
        (self.left, self.padding) = (0, 0);
        while left > 0 {
            let length = self.source.fill_buf()?.len();
            if length == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let length = length.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.source.consume(length);
            left -= length as u64;
        }
        Ok(())
    }

    fn extension(&mut self, header: &Header, sum: &mut u64) -> io::Result<Vec<u8>> {
        let size = header.entry_size()?;
        *sum = sum.saturating_add(size);
        if *sum > EXTENSION_BYTES {
            return bad("the headers of an entry are too long");
        }
        self.expect(size, size)?;
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn long_name(&mut self, header: &Header, sum: &mut u64) -> io::Result<Vec<u8>> {
        let mut name = self.extension(header, sum)?;
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        Ok(name)
    }

    fn entry(&mut self, header: Header, before: Extensions) -> io::Result<RawEntry> {
        let kind = header.entry_type();
        let link = before.link.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
        let path = before.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let stored = match kind {
            // Nothing follows these, whatever they say; builders of images read them so, too.
            EntryType::Directory | EntryType::Link | EntryType::Symlink => 0,
            EntryType::Char | EntryType::Block | EntryType::Fifo => 0,
            _ => match before.size {
                Some(size) => size,
                None => header.entry_size()?,
            },
        };
        self.expect(stored, stored)?;
        let size = if kind.is_gnu_sparse() { self.sparse(&header, stored)? } else { stored };
        Ok(RawEntry { header, path, link, records: before.records, size, stored })
    }

    /// Reads where the pieces of a sparse file lie; its size.
    fn sparse(&mut self, header: &Header, stored: u64) -> io::Result<u64> {
        let Some(gnu) = header.as_gnu() else { return bad("a sparse file in a tar that is not of GNU's form") };
        let (mut end, mut sum) = (0u64, 0u64);
        let mut parts = VecDeque::new();
        let mut add = |piece: &GnuSparseHeader| -> io::Result<()> {
            if piece.is_empty() {
                return Ok(());
            }
            let (offset, length) = (piece.offset()?, piece.length()?);
            if offset < end || parts.len() > SPARSE_PIECES {
                return bad("the pieces of a sparse file are out of order, or too many");
            }
            parts.push_back(Part::Hole(offset - end));
            parts.push_back(Part::Stored(length));
            sum = sum.checked_add(length).map_or_else(|| bad("a sparse file is too large"), Ok)?;
            end = offset.checked_add(length).map_or_else(|| bad("a sparse file is too large"), Ok)?;
            Ok(())
        };
        gnu.sparse.iter().try_for_each(&mut add)?;
        let mut more = gnu.is_extended();
        while more {
            let mut pieces = GnuExtSparseHeader::new();
            self.source.read_exact(pieces.as_mut_bytes())?;
            pieces.sparse.iter().try_for_each(&mut add)?;
            more = pieces.is_extended();
        }
        let size = gnu.real_size()?;
        if sum != stored || end > size {
            return bad("the pieces of a sparse file are not as long as it says");
        }
        parts.push_back(Part::Hole(size - end));
        self.parts = parts;
        Ok(size)
    }
}

impl<R: BufRead> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let most = |left: &u64| usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
            match self.parts.front_mut() {
                None => return Ok(0),
                Some(Part::Stored(0) | Part::Hole(0)) => {
                    self.parts.pop_front();
                }
                Some(_) if buffer.is_empty() => return Ok(0),
                Some(Part::Hole(left)) => {
                    let length = most(left);
                    buffer[..length].fill(0);
                    *left -= length as u64;
                    return Ok(length);
                }
                Some(Part::Stored(left)) => {
                    let length = most(left);
                    let read = self.source.read(&mut buffer[..length])?;
                    if read == 0 {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                    *left -= read as u64;
                    self.left -= read as u64;
                    return Ok(read);
                }
            }
        }
    }
}

impl Extensions {
    /// Takes PAX records: each its own length in decimal, a blank, `key=value` and a line break.
    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let blank = bytes.iter().take(20).position(|byte| *byte == b' ');
            let length = blank.and_then(|blank| std::str::from_utf8(&bytes[..blank]).ok()?.parse::<usize>().ok());
            let (Some(blank), Some(length)) = (blank, length) else { return bad("a PAX record without its length") };
            let record = bytes.get(blank + 1..length).and_then(|record| record.strip_suffix(b"\n"));
            let equals = record.and_then(|record| record.iter().position(|byte| *byte == b'='));
            let (Some(record), Some(equals)) = (record, equals) else { return bad("a PAX record that is none") };
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => match std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) {
                    Some(size) => self.size = Some(size),
                    None => return bad("a PAX record whose size is no number"),
                },
                _ => self.records.push((key.to_vec(), value.to_vec())),
            }
            bytes = &bytes[length..];
        }
        Ok(())
    }
}
