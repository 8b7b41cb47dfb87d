//! The layer on its way to disk: hashed and written on a thread of its own, and synced behind that on another.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

use ring::digest::{Context, Digest, SHA256};

use super::blob::PIECE;

/// Bytes written between two looks at the disk: what is on it by the end need not be waited for then.
const SYNC_EVERY: u64 = 32 << 20;

/// The other side has stopped writing; it knows why.
pub struct Stopped;

/// Where the bytes of the layer go.
pub struct Sink {
    buffer: Vec<u8>,
    length: usize,
    full: SyncSender<Vec<u8>>,
    used: Receiver<Vec<u8>>,
    bytes: u64,
}

impl Sink {
    /// Sends full buffers, and gets them back when they are used.
    pub fn new(full: SyncSender<Vec<u8>>, used: Receiver<Vec<u8>>) -> Self {
        Self { buffer: vec![0; PIECE], length: 0, full, used, bytes: 0 }
    }

    /// Room for the next bytes, never none.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.length..]
    }

    /// Says how much of the room is bytes now.
    pub fn took(&mut self, bytes: usize) -> Result<(), Stopped> {
        self.length += bytes;
        self.bytes += bytes as u64;
        if self.length == self.buffer.len() { self.send() } else { Ok(()) }
    }

    /// Takes bytes from elsewhere.
    pub fn put(&mut self, mut bytes: &[u8]) -> Result<(), Stopped> {
        while !bytes.is_empty() {
            let room = self.room();
            let length = room.len().min(bytes.len());
            room[..length].copy_from_slice(&bytes[..length]);
            self.took(length)?;
            bytes = &bytes[length..];
        }
        Ok(())
    }

    /// Fills up to a whole block, as tar wants it.
    pub fn pad(&mut self) -> Result<(), Stopped> {
        let missing = self.bytes.next_multiple_of(512) - self.bytes;
        self.put(&[0; 512][..usize::try_from(missing).unwrap_or(0)])
    }

    fn send(&mut self) -> Result<(), Stopped> {
        let mut next = self.used.try_recv().unwrap_or_default();
        next.resize(PIECE, 0);
        let mut full = std::mem::replace(&mut self.buffer, next);
        full.truncate(self.length);
        self.length = 0;
        self.full.send(full).map_err(|_| Stopped)
    }

    /// Ends the tar; how many bytes it has.
    pub fn finish(mut self) -> Result<u64, Stopped> {
        self.put(&[0; 1024])?;
        self.send()?;
        Ok(self.bytes)
    }
}

/// Writes what comes until nothing more does; what all of it hashes to. Tells `sync` now and then that there is something.
pub fn write(
    full: &Receiver<Vec<u8>>,
    used: &SyncSender<Vec<u8>>,
    mut file: &File,
    sync: &SyncSender<()>,
) -> io::Result<Digest> {
    let mut hash = Context::new(&SHA256);
    let mut unsynced = 0;
    for buffer in full {
        hash.update(&buffer);
        file.write_all(&buffer)?;
        unsynced += buffer.len() as u64;
        // Nobody waits for it at the end.
        let _ = used.try_send(buffer);
        if unsynced >= SYNC_EVERY {
            unsynced = 0;
            if let Err(TrySendError::Disconnected(())) = sync.try_send(()) {
                return Err(io::Error::other("syncing failed"));
            }
        }
    }
    Ok(hash.finish())
}

/// Brings what was written to disk whenever told to. An error is told once by the system, so it must not be lost here.
pub fn sync(told: &Receiver<()>, file: &File) -> io::Result<()> {
    told.iter().try_for_each(|()| file.sync_data())
}
