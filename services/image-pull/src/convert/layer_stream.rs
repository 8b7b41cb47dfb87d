//! A layer as the reader of its tar sees it: hashed as it comes by.

use std::cell::RefCell;
use std::io::{self, BufRead, ErrorKind, Read};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender};

use ring::digest::{Context, SHA256};

use super::blob::Piece;
use super::fault::ConvertFault;
use super::image::Progress;
use super::sha256_text;

/// Holds the fault behind an error of reading, which is no more than a text.
pub type FaultSlot = Rc<RefCell<Option<ConvertFault>>>;

/// The bytes of one layer.
pub struct LayerStream<'a> {
    pieces: &'a Receiver<Piece>,
    used: &'a SyncSender<Vec<u8>>,
    progress: &'a Progress,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
    hash: Context,
    fault: FaultSlot,
}

impl<'a> LayerStream<'a> {
    /// The next layer of `pieces`.
    pub fn new(
        pieces: &'a Receiver<Piece>,
        used: &'a SyncSender<Vec<u8>>,
        progress: &'a Progress,
        fault: FaultSlot,
    ) -> Self {
        let hash = Context::new(&SHA256);
        Self { pieces, used, progress, piece: Vec::new(), at: 0, ended: false, hash, fault }
    }

    fn fail(&self, fault: ConvertFault) -> io::Error {
        self.fault.replace(Some(fault));
        io::Error::other("see the fault")
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

impl BufRead for LayerStream<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.piece.len() && !self.next_piece()? {
            return Ok(&[]);
        }
        Ok(&self.piece[self.at..])
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

impl Read for LayerStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}
