//! Blobs, decompressed on a thread of their own: it reads ahead by a few buffers while the caller sorts and writes.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender};

use ring::digest::{Context, SHA256};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::fault::ConvertFault;
use super::image::{BlobSource, BlobTrust, LayerBlob, Progress};
use super::limits::Limits;
use super::sha256_text;

/// Bytes of one buffer.
pub const PIECE: usize = 256 << 10;
/// Buffers on their way at most.
pub const PIECES: usize = 4;
/// Bytes read from a blob at once.
const READ: usize = 128 << 10;
/// Bytes a layer may unpack to before its ratio is looked at: a small layer of zeros is no bomb.
const FREE: u64 = 64 << 20;

/// What there is too much of in an image that fills a disk.
pub const BYTES: &str = "bytes in all layers";

/// What comes out of a layer.
pub enum Piece {
    /// The next bytes.
    Bytes(Vec<u8>),
    /// The layer was read to its end, and its blob is what it should be.
    End,
    /// There is no more.
    Fault(ConvertFault),
}

/// Decompresses `layers` one after the other into `pieces`, until there are no more or nobody listens. Used buffers come back.
pub fn unpack_all<'a>(
    layers: impl Iterator<Item = &'a LayerBlob>,
    limits: &Limits,
    progress: &Progress,
    pieces: &SyncSender<Piece>,
    used: &Receiver<Vec<u8>>,
) {
    let mut sum = 0;
    for layer in layers {
        let last = match unpack(layer, limits, progress, &mut sum, pieces, used) {
            Ok(true) => Piece::End,
            Ok(false) => return,
            Err(fault) => Piece::Fault(fault),
        };
        let failed = matches!(last, Piece::Fault(_));
        if pieces.send(last).is_err() || failed {
            return;
        }
    }
}

/// Adds to the `sum` of all layers; says whether somebody still listens at the end.
fn unpack(
    layer: &LayerBlob,
    limits: &Limits,
    progress: &Progress,
    sum: &mut u64,
    pieces: &SyncSender<Piece>,
    used: &Receiver<Vec<u8>>,
) -> Result<bool, ConvertFault> {
    let unreadable = |source| ConvertFault::Unreadable { layer: layer.digest.clone(), source };
    let source: Box<dyn Read + Send> = match &layer.source {
        BlobSource::File(path) => Box::new(File::open(path).map_err(unreadable)?),
        BlobSource::Stream(open) => open().map_err(unreadable)?,
    };
    let taken = Rc::new(Taken::default());
    if layer.trust == BlobTrust::Unverified {
        taken.hash.replace(Some(Context::new(&SHA256)));
    }
    let mut source = Taking { source, taken: taken.clone() };
    let mut first = Vec::new();
    (&mut source).take(6).read_to_end(&mut first).map_err(unreadable)?;
    let form = Form::of(&first);
    let mut source = BufReader::with_capacity(READ, Cursor::new(first).chain(source));
    let mut plain: Box<dyn Read + '_> = match form {
        Form::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(&mut source)),
        Form::Zstd => Box::new(Zstd::new(&mut source, limits.zstd_window)),
        Form::Plain => Box::new(&mut source),
        Form::Foreign(how) => {
            let why = format!("it is compressed with {how}, and only gzip and zstd are known");
            return Err(ConvertFault::Damaged { layer: layer.digest.clone(), entry: None, why });
        }
    };
    let mut unpacked = 0u64;
    loop {
        let mut buffer = used.try_recv().unwrap_or_default();
        buffer.resize(PIECE, 0);
        let length = fill(&mut plain, &mut buffer).map_err(|error| read_fault(layer, limits, &taken, error))?;
        if length == 0 {
            break;
        }
        buffer.truncate(length);
        unpacked += length as u64;
        *sum += length as u64;
        progress.add(length as u64);
        if *sum > limits.bytes {
            let (layer, limit) = (layer.digest.clone(), limits.bytes);
            return Err(ConvertFault::TooLarge { layer, entry: None, what: BYTES, limit });
        }
        if unpacked > FREE && unpacked / taken.bytes.get().max(1) > limits.ratio {
            let what = "bytes for each byte of its blob";
            return Err(ConvertFault::TooLarge { layer: layer.digest.clone(), entry: None, what, limit: limits.ratio });
        }
        if pieces.send(Piece::Bytes(buffer)).is_err() {
            return Ok(false);
        }
    }
    drop(plain);
    if let Some(hash) = taken.hash.take() {
        let found = sha256_text(hash.finish().as_ref());
        if found != layer.digest {
            return Err(ConvertFault::WrongDigest { layer: layer.digest.clone(), found });
        }
    }
    Ok(true)
}

/// What an error while decompressing means.
fn read_fault(layer: &LayerBlob, limits: &Limits, taken: &Taken, error: io::Error) -> ConvertFault {
    let (layer, entry) = (layer.digest.clone(), None);
    if taken.failed.get() {
        return ConvertFault::Unreadable { layer, source: error };
    }
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<FrameDecoderError>());
    if matches!(inner, Some(FrameDecoderError::WindowSizeTooBig { .. })) {
        let what = "bytes of memory to unpack it";
        return ConvertFault::TooLarge { layer, entry, what, limit: limits.zstd_window };
    }
    let why = match error.kind() {
        ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
        _ => error.to_string(),
    };
    ConvertFault::Damaged { layer, entry, why }
}

/// Reads until the buffer is full or there is no more; how much that is.
fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// How a blob is stored.
enum Form {
    Plain,
    Gzip,
    Zstd,
    Foreign(&'static str),
}

impl Form {
    /// Told by the first bytes: media types were seen to lie.
    fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or a frame to be skipped, as some writers put before the first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Self::Foreign("xz"),
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A'] => Self::Foreign("bzip2"),
            _ => Self::Plain,
        }
    }
}

/// What was taken of a blob so far.
#[derive(Default)]
struct Taken {
    bytes: Cell<u64>,
    hash: RefCell<Option<Context>>,
    /// Whether reading the blob itself failed, rather than decompressing it.
    failed: Cell<bool>,
}

/// A blob that says what was taken of it while something else owns it.
struct Taking<R> {
    source: R,
    taken: Rc<Taken>,
}

impl<R: Read> Read for Taking<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.source.read(buffer) {
            Ok(read) => {
                self.taken.bytes.set(self.taken.bytes.get() + read as u64);
                if let Some(hash) = self.taken.hash.borrow_mut().as_mut() {
                    hash.update(&buffer[..read]);
                }
                Ok(read)
            }
            Err(error) => {
                self.taken.failed.set(error.kind() != ErrorKind::Interrupted);
                Err(error)
            }
        }
    }
}

/// All frames of a zstd stream.
struct Zstd<R> {
    frames: FrameDecoder,
    inside: bool,
    source: R,
}

impl<R: BufRead> Zstd<R> {
    fn new(source: R, window: u64) -> Self {
        let mut frames = FrameDecoder::new();
        frames.set_max_window_size(window);
        Self { frames, inside: false, source }
    }

    /// Goes to the contents of the next frame; whether there is one.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.frames.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let length = u64::from(length);
                    if io::copy(&mut (&mut self.source).take(length), &mut io::sink())? < length {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.inside && !self.next_frame()? {
                return Ok(0);
            }
            self.inside = true;
            while self.frames.can_collect() == 0 && !self.frames.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.frames.decode_blocks(&mut self.source, one).map_err(io::Error::other)?;
            }
            let read = self.frames.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.inside = !self.frames.is_finished();
        }
    }
}
