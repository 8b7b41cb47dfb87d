//! The journal beside a file: what was committed and is not in the file yet.
//!
//! It has one length, so that a sync has nothing to write but what is new. A frame is what was committed together; the next one is written
//! when it was synced. Each has a number, one more than the one before; when all of them are in the file, the next stands at the beginning again,
//! over what nobody needs.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;

/// Its length beside a file.
const LENGTH: usize = 512 << 10;
/// Frames begin where sectors do: what is written never tears what was written before.
const SECTOR: usize = 512;
/// What a frame begins with: these bytes, the length of its text, whose journal it is, its number, and a sum of all that.
const MAGIC: [u8; 4] = *b"mkj1";
const HEADER: usize = MAGIC.len() + 4 + 8 + 8 + 4;
/// What its last sector ends with: whose journal it is, its number, and their sum. It tells that there was a frame whose beginning is
/// damaged together with the one before.
const FOOTER: usize = 8 + 8 + 4;

/// How long a frame is on the disk.
fn extent(text: &[u8]) -> usize {
    (HEADER + text.len() + FOOTER).next_multiple_of(SECTOR)
}

/// One frame, as long as it is on the disk.
pub(crate) fn frame(id: u64, number: u64, text: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(text.len()).ok()?;
    let mut frame = Vec::with_capacity(extent(text));
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&id.to_be_bytes());
    frame.extend_from_slice(&number.to_be_bytes());
    let sum = sum(&frame, text);
    frame.extend_from_slice(&sum.to_be_bytes());
    frame.extend_from_slice(text);
    frame.resize(extent(text) - FOOTER, 0);
    frame.extend_from_slice(&footer(id, number));
    Some(frame)
}

fn footer(id: u64, number: u64) -> Vec<u8> {
    let mut footer = [id.to_be_bytes(), number.to_be_bytes()].concat();
    let sum = sum(&footer, &[]);
    footer.extend_from_slice(&sum.to_be_bytes());
    footer
}

/// The number of the frame of this journal that ends with a sector.
fn ended(sector: &[u8], id: u64) -> Option<u64> {
    let end = sector.get(sector.len().checked_sub(FOOTER)?..)?;
    let number = u64::from_be_bytes(end.get(8..16)?.try_into().ok()?);
    (end == footer(id, number)).then_some(number)
}

fn sum(head: &[u8], text: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(head);
    sum.update(text);
    sum.finalize()
}

/// A frame that is whole.
struct Frame<'j> {
    id: u64,
    number: u64,
    text: &'j [u8],
}

fn whole(bytes: &[u8]) -> Option<Frame<'_>> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let (head, said) = header.split_at(HEADER - 4);
    let head = head.strip_prefix(&MAGIC)?;
    let (length, head) = head.split_first_chunk()?;
    let (id, number) = head.split_first_chunk()?;
    let text = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let is_whole = sum(&header[..HEADER - 4], text).to_be_bytes() == *said;
    is_whole.then_some(Frame { id: u64::from_be_bytes(*id), number: u64::from_be_bytes(number.try_into().ok()?), text })
}

/// The texts of all frames beyond a number, if the journal can be what was left. `least`: how long it was when something was written
/// to it last; none: the file says that it has all of it. Pure.
///
/// The last frame may be torn: then it was not acknowledged. One that is followed by another was synced.
pub(crate) fn read(bytes: &[u8], least: Option<usize>, id: u64, after: u64) -> Result<Vec<&[u8]>, String> {
    let in_use = least.is_some();
    if in_use && bytes.is_empty() {
        return Err("it is missing, and holds what was written last".to_owned());
    }
    if least.is_some_and(|least| bytes.len() < least) {
        return Err("it was cut short".to_owned());
    }
    if whole(bytes).is_some_and(|frame| frame.id != id) {
        return Err("it belongs to another store".to_owned());
    }
    let (mut texts, mut at, mut number) = (Vec::new(), 0, after);
    if in_use {
        while let Some(frame) =
            bytes.get(at..).and_then(whole).filter(|frame| (frame.id, frame.number) == (id, number + 1))
        {
            texts.push(frame.text);
            number += 1;
            at += extent(frame.text);
        }
    }
    // The next one may be torn. One after that was not begun before the next one was synced.
    let last = if in_use { number + 1 } else { number };
    match bytes.chunks_exact(SECTOR).filter_map(|sector| ended(sector, id)).filter(|ended| *ended > last).min() {
        None => Ok(texts),
        Some(next) => Err(format!("it goes on at {next}, and what can be read before that ends at {number}")),
    }
}

/// A journal that is written to.
pub(crate) struct Journal {
    storage: Box<dyn StorageBackend>,
    length: usize,
    /// Where the next frame begins.
    at: usize,
}

impl Journal {
    /// Makes it as long as it is to be. What is in it is in the file as well.
    pub(crate) fn begin(beside: &dyn Beside) -> io::Result<Self> {
        let (storage, length) = (beside.open()?, beside.length());
        if storage.len()? != length as u64 {
            storage.set_len(length as u64)?;
            // Else a sync would have to note which part of it was written to for the first time.
            storage.write(0, &vec![0; length])?;
            storage.sync_data()?;
        }
        Ok(Self { storage, length, at: 0 })
    }

    /// Everything in it is in the file.
    pub(crate) fn start_over(&mut self) {
        self.at = 0;
    }

    pub(crate) fn has_room(&self, frame: &[u8]) -> bool {
        self.at + frame.len() <= self.length
    }

    /// The frame survives power loss when it returns.
    pub(crate) fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        self.storage.write(self.at as u64, frame)?;
        self.storage.sync_data()?;
        self.at += frame.len();
        Ok(())
    }
}

/// Where a journal lies.
pub(crate) trait Beside: Send + Sync {
    /// How long it is made.
    fn length(&self) -> usize;
    /// What is in it; nothing where there is none.
    fn contents(&self) -> io::Result<Vec<u8>>;
    /// Opens it, making an empty one where there is none.
    fn open(&self) -> io::Result<Box<dyn StorageBackend>>;
    fn remove(&self) -> io::Result<()>;
}

/// The journal of a file.
pub fn journal_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".journal");
    name.into()
}

/// In a file.
pub(crate) struct InFile(pub(crate) PathBuf);

impl InFile {
    /// A name survives power loss only when its directory was synced.
    fn sync_name(&self) -> io::Result<()> {
        let parent = self.0.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()
    }
}

impl Beside for InFile {
    fn length(&self) -> usize {
        LENGTH
    }

    fn contents(&self) -> io::Result<Vec<u8>> {
        match std::fs::read(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read,
        }
    }

    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        // There are Secrets in it.
        let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.0)?;
        self.sync_name()?;
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    }

    fn remove(&self) -> io::Result<()> {
        std::fs::remove_file(&self.0)?;
        self.sync_name()
    }
}

/// Elsewhere, such as on a disk that loses power in a test, and so long; what is empty is none.
pub(crate) struct Lent<F>(pub(crate) F, pub(crate) usize);

impl<B: StorageBackend, F: Fn() -> B + Send + Sync> Beside for Lent<F> {
    fn length(&self) -> usize {
        self.1
    }

    fn contents(&self) -> io::Result<Vec<u8>> {
        let storage = (self.0)();
        let mut contents = vec![0; usize::try_from(storage.len()?).map_err(io::Error::other)?];
        storage.read(0, &mut contents)?;
        Ok(contents)
    }

    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new((self.0)()))
    }

    fn remove(&self) -> io::Result<()> {
        (self.0)().set_len(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u64 = 77;

    /// Frames of these numbers, one behind the other.
    fn journal(frames: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (id, number) in frames {
            bytes.extend(frame(*id, *number, format!("text {number}").as_bytes()).expect("short"));
        }
        bytes.resize(LENGTH, 0);
        bytes
    }

    fn numbers(bytes: &[u8], after: u64) -> Result<Vec<String>, String> {
        let texts = read(bytes, Some(LENGTH), ID, after)?;
        Ok(texts.into_iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect())
    }

    #[test]
    fn frames_are_read_to_the_last_whole_one_and_what_stands_behind_it_from_before_is_nothing() {
        assert_eq!(numbers(&journal(&[]), 4), Ok(vec![]));
        assert_eq!(numbers(&journal(&[(ID, 5), (ID, 6)]), 4), Ok(vec!["text 5".to_owned(), "text 6".to_owned()]));
        assert_eq!(numbers(&journal(&[(ID, 9), (ID, 6), (ID, 7)]), 8), Ok(vec!["text 9".to_owned()]));
        assert_eq!(numbers(&journal(&[(ID, 5), (ID, 6)]), 6), Ok(vec![]), "all of it is in the file");
        for torn in 0..HEADER {
            let mut bytes = journal(&[(ID, 5), (ID, 6)]);
            bytes[SECTOR + torn] ^= 1;
            assert_eq!(numbers(&bytes, 4), Ok(vec!["text 5".to_owned()]), "{torn}");
        }
    }

    #[test]
    fn what_is_damaged_before_the_last_frame_or_is_of_another_store_is_refused() {
        for damaged in 0..HEADER {
            let mut bytes = journal(&[(ID, 5), (ID, 6)]);
            bytes[damaged] ^= 1;
            assert!(numbers(&bytes, 4).is_err(), "{damaged}");
            // Also together with the beginning of the next one.
            bytes[damaged + 1..damaged + SECTOR].fill(0);
            assert!(numbers(&bytes, 4).is_err(), "{damaged}");
        }
        // The file went back to a state before frames that were written over since.
        assert!(numbers(&journal(&[(ID, 9)]), 4).is_err());
        assert!(numbers(&journal(&[(ID + 1, 5)]), 4).is_err());
        assert!(numbers(&journal(&[(ID, 5)])[..LENGTH - 1], 4).is_err());
        assert!(numbers(&[], 4).is_err());
        // A file that has all of it, and a journal that has more.
        assert_eq!(read(&journal(&[(ID, 4)]), None, ID, 4), Ok(vec![]));
        assert!(read(&journal(&[(ID, 5)]), None, ID, 4).is_err());
        assert_eq!(read(&[], None, ID, 4), Ok(vec![]));
    }
}
