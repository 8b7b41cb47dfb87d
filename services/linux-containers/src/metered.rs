//! Reads an archive with a measure on what lies between its entries, and copies with a limit and a way to stop.
//!
//! Long names and extended headers are held in memory while they are read, and a few bytes of a zipped archive can say that
//! there are gigabytes of them.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use mkube_router_machine::engine::EngineFault;

use crate::archive::io_fault;

/// Bytes of headers, long names and padding before one entry.
const HEADERS: u64 = 2 << 20;
/// Bytes copied between two looks at whether to stop.
const CHUNK: usize = 128 << 10;

/// What may still be read. Shared by a reader and by whoever walks its entries.
#[derive(Debug, Clone)]
pub struct Meter(Rc<Cell<u64>>);

impl Meter {
    /// Nothing is limited yet.
    pub fn new() -> Self {
        Self(Rc::new(Cell::new(u64::MAX)))
    }

    /// Headers come next; the entry before was read to its end.
    pub fn expect_headers(&self) {
        self.0.set(HEADERS);
    }

    /// Contents come next.
    pub fn expect_contents(&self) {
        self.0.set(u64::MAX);
    }
}

/// A reader that refuses to go over its meter.
pub struct Metered<R> {
    inner: R,
    meter: Meter,
}

impl<R> Metered<R> {
    /// Measures `inner`.
    pub fn new(inner: R, meter: Meter) -> Self {
        Self { inner, meter }
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.meter.0.get();
        if left == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the headers of an entry are too long"));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.inner.read(&mut buffer[..most])?;
        if left != u64::MAX {
            self.meter.0.set(left - read as u64);
        }
        Ok(read)
    }
}

impl<R: Seek> Seek for Metered<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// Copies to the end, at most `room` bytes, until `cancelled`. `what` names the thing that has the limit.
pub fn copy(
    from: &mut impl Read,
    to: &mut impl Write,
    room: u64,
    what: &str,
    cancelled: &AtomicBool,
) -> Result<u64, EngineFault> {
    let mut buffer = vec![0u8; CHUNK];
    let mut copied = 0u64;
    loop {
        if cancelled.load(Ordering::Relaxed) {
            return Err(EngineFault::Failed("cancelled".into()));
        }
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(io_fault(error)),
        };
        copied += read as u64;
        if copied > room {
            return Err(EngineFault::BadArchive(format!("{what} is larger than allowed")));
        }
        to.write_all(&buffer[..read]).map_err(io_fault)?;
    }
}
