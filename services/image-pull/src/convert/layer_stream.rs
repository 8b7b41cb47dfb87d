//! A layer as the reader of its tar sees it: hashed as it comes by, and measured.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender};

use ring::digest::{Context, SHA256};

use super::blob::Piece;
use super::fault::ConvertFault;
use super::image::Progress;
use super::sha256_text;

/// Bytes of headers, long names and padding before one entry. They are held in memory, and a few bytes of a blob can say that
/// there are gigabytes of them.
const HEADERS: u64 = 2 << 20;

/// The other end of a layer's stream: what its reader may take, and what went wrong.
#[derive(Clone, Default)]
pub struct Gauge {
    room: Rc<Cell<Option<u64>>>,
    fault: Rc<RefCell<Option<ConvertFault>>>,
}

impl Gauge {
    /// Headers come next; the entry before was read to its end.
    pub fn expect_headers(&self) {
        self.room.set(Some(HEADERS));
    }

    /// Contents come next.
    pub fn expect_contents(&self) {
        self.room.set(None);
    }

    /// The fault behind an error of reading; the tar library passes on only its text.
    pub fn fault(&self) -> Option<ConvertFault> {
        self.fault.take()
    }
}

/// The bytes of one layer.
pub struct LayerStream<'a> {
    pieces: &'a Receiver<Piece>,
    used: &'a SyncSender<Vec<u8>>,
    progress: &'a Progress,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
    hash: Context,
    gauge: Gauge,
}

impl<'a> LayerStream<'a> {
    /// The next layer of `pieces`.
    pub fn new(
        pieces: &'a Receiver<Piece>,
        used: &'a SyncSender<Vec<u8>>,
        progress: &'a Progress,
        gauge: Gauge,
    ) -> Self {
        let hash = Context::new(&SHA256);
        Self { pieces, used, progress, piece: Vec::new(), at: 0, ended: false, hash, gauge }
    }

    fn fail(&self, fault: ConvertFault) -> io::Error {
        self.gauge.fault.replace(Some(fault));
        io::Error::other("see the gauge")
    }

    /// Whether there is a piece to read from.
    fn next_piece(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        if self.progress.is_cancelled() {
            return Err(self.fail(ConvertFault::Cancelled));
        }
        let used = std::mem::take(&mut self.piece);
        if used.capacity() > 0 {
            // Nobody waits for it when the thread that fills it has ended.
            let _ = self.used.try_send(used);
        }
        self.at = 0;
        match self.pieces.recv() {
            Ok(Piece::Bytes(bytes)) => {
                self.hash.update(&bytes);
                self.piece = bytes;
                Ok(true)
            }
            Ok(Piece::End) => {
                self.ended = true;
                Ok(false)
            }
            Ok(Piece::Fault(fault)) => Err(self.fail(fault)),
            Err(_) => Err(io::Error::new(ErrorKind::BrokenPipe, "nobody unpacks the layer")),
        }
    }

    /// Reads what is left, and says what the whole layer hashes to, as `sha256:…`.
    pub fn finish(mut self) -> io::Result<String> {
        while self.next_piece()? {}
        Ok(sha256_text(self.hash.finish().as_ref()))
    }
}

impl Read for LayerStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() && !self.next_piece()? {
            return Ok(0);
        }
        let mut length = buffer.len().min(self.piece.len() - self.at);
        if let Some(room) = self.gauge.room.get() {
            if room == 0 {
                return Err(io::Error::new(ErrorKind::InvalidData, "the headers of an entry are too long"));
            }
            length = length.min(usize::try_from(room).unwrap_or(usize::MAX));
            self.gauge.room.set(Some(room - length as u64));
        }
        buffer[..length].copy_from_slice(&self.piece[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}
