//! Sending a file: read on a blocking thread, one piece ahead of the connection.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use actix_web::web::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

/// Bytes of a piece. Two of them are in memory for each download.
const PIECE: u64 = 256 << 10;

/// What is left to send.
struct Download {
    /// The next piece, on its way.
    reading: JoinHandle<io::Result<(Bytes, File)>>,
    /// Bytes after that piece.
    left: u64,
    /// Counts the request until the last byte.
    permit: OwnedSemaphorePermit,
}

/// Bytes `first` to `first + length` of a file. A file that is shorter than it should be ends the connection, so that the client
/// sees that it has not got everything.
pub fn send(
    mut file: File,
    first: u64,
    length: u64,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = io::Result<Bytes>> {
    let begin = move || {
        let reading = tokio::task::spawn_blocking(move || {
            if first > 0 {
                file.seek(SeekFrom::Start(first))?;
            }
            piece(file, length.min(PIECE))
        });
        Download { reading, left: length - length.min(PIECE), permit }
    };
    let begun = (length > 0).then(begin);
    stream::try_unfold(begun, |download| async move {
        let Some(Download { reading, left, permit }) = download else { return Ok(None) };
        let (bytes, file) = reading.await.map_err(io::Error::other)??;
        let next = (left > 0).then(|| {
            let reading = tokio::task::spawn_blocking(move || piece(file, left.min(PIECE)));
            Download { reading, left: left - left.min(PIECE), permit }
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
