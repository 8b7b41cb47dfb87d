//! Sending a file: read on a blocking thread, one piece ahead of the connection.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::web::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

/// Bytes of a piece at most. Three of them are in memory for each download: one that is read, one that waits and one that is sent.
const LARGEST: u64 = 256 << 10;
/// Bytes of a piece at least.
const LEAST: u64 = 32 << 10;
/// Bytes that the pieces being read may have together, as long as they are not the least there are.
const TOGETHER: u64 = 8 << 20;

/// Counts the downloads that run: the more they are, the smaller are their pieces.
#[derive(Clone, Default)]
pub struct Downloads(Arc<AtomicU64>);

impl Downloads {
    fn begin(self) -> Running {
        self.0.fetch_add(1, Ordering::Relaxed);
        Running(self)
    }
}

/// One of them.
struct Running(Downloads);

impl Running {
    fn piece(&self) -> u64 {
        (TOGETHER / self.0.0.load(Ordering::Relaxed).max(1)).clamp(LEAST, LARGEST)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is left to send.
struct Download {
    /// The next piece, on its way.
    reading: JoinHandle<io::Result<(Bytes, File)>>,
    /// Bytes after that piece.
    left: u64,
    running: Running,
    /// Counts the request until the last byte.
    permit: OwnedSemaphorePermit,
}

/// Bytes `first` to `first + length` of a file. A file that is shorter than it should be ends the connection, so that the client
/// sees that it has not got everything.
pub fn send(
    mut file: File,
    first: u64,
    length: u64,
    downloads: Downloads,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = io::Result<Bytes>> {
    let begin = move || {
        let running = downloads.begin();
        let size = length.min(running.piece());
        let reading = tokio::task::spawn_blocking(move || {
            if first > 0 {
                file.seek(SeekFrom::Start(first))?;
            }
            piece(file, size)
        });
        Download { reading, left: length - size, running, permit }
    };
    let begun = (length > 0).then(begin);
    stream::try_unfold(begun, |download| async move {
        let Some(Download { reading, left, running, permit }) = download else { return Ok(None) };
        let (bytes, file) = reading.await.map_err(io::Error::other)??;
        let next = (left > 0).then(|| {
            let size = left.min(running.piece());
            let reading = tokio::task::spawn_blocking(move || piece(file, size));
            Download { reading, left: left - size, running, permit }
        });
        Ok(Some((bytes, next)))
    })
}

fn piece(mut file: File, length: u64) -> io::Result<(Bytes, File)> {
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    (&mut file).take(length).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((bytes.into(), file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_downloads_have_small_pieces_and_few_have_large_ones() {
        let downloads = Downloads::default();
        let mut all: Vec<Running> = vec![downloads.clone().begin()];
        assert_eq!(all[0].piece(), LARGEST);
        all.extend((1..128).map(|_| downloads.clone().begin()));
        assert_eq!(all[0].piece(), TOGETHER / 128);
        all.extend((128..1024).map(|_| downloads.clone().begin()));
        assert_eq!(all[0].piece(), LEAST);
        all.truncate(1);
        assert_eq!(all[0].piece(), LARGEST);
    }
}
