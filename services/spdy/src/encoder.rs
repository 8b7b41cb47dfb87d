//! From frames to bytes.

use bytes::{BufMut, Bytes, BytesMut};

use crate::frame::{CONTROL, FIN, Frame, GOAWAY, HEAD, HEADERS, PING, RST_STREAM, SYN_REPLY, SYN_STREAM};
use crate::headers::Packing;

/// Bytes of one data frame: longer ones are written as several.
const DATA_FRAME: usize = 1 << 20;

/// Writes one direction of a connection, in the order in which it is asked to.
pub struct Encoder {
    packing: Packing,
    /// The last stream that the other side began: a farewell names it.
    last: u32,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { packing: Packing::new(), last: 0 }
    }
}

impl Encoder {
    /// The bytes of one frame.
    pub fn encode(&mut self, frame: &Frame) -> Bytes {
        match frame {
            Frame::Data { id, fin, bytes } => data(*id, *fin, bytes),
            Frame::Begin { id, fin, headers } => {
                let mut contents = id.to_be_bytes().to_vec();
                contents.extend_from_slice(&[0; 6]);
                contents.extend(self.packing.block(headers));
                control(SYN_STREAM, *fin, &contents)
            }
            Frame::Accept { id, fin, headers } => {
                self.last = self.last.max(*id);
                let mut contents = id.to_be_bytes().to_vec();
                contents.extend(self.packing.block(headers));
                control(SYN_REPLY, *fin, &contents)
            }
            Frame::Headers { id, fin, headers } => {
                let mut contents = id.to_be_bytes().to_vec();
                contents.extend(self.packing.block(headers));
                control(HEADERS, *fin, &contents)
            }
            Frame::Reset { id, status } => {
                control(RST_STREAM, false, &[id.to_be_bytes(), status.to_be_bytes()].concat())
            }
            Frame::Ping { id } => control(PING, false, &id.to_be_bytes()),
            Frame::Goaway => control(GOAWAY, false, &[self.last.to_be_bytes(), [0; 4]].concat()),
        }
    }
}

fn length(bytes: usize) -> [u8; 3] {
    let [_, long @ ..] = u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    long
}

fn control(kind: u16, fin: bool, contents: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD + contents.len());
    frame.put_slice(&CONTROL);
    frame.put_u16(kind);
    frame.put_u8(if fin { FIN } else { 0 });
    frame.put_slice(&length(contents.len()));
    frame.put_slice(contents);
    frame.freeze()
}

fn data(id: u32, fin: bool, bytes: &[u8]) -> Bytes {
    let mut frames = BytesMut::with_capacity(HEAD + bytes.len());
    let mut rest = bytes;
    loop {
        let (piece, more) = rest.split_at(rest.len().min(DATA_FRAME));
        frames.put_u32(id & 0x7fff_ffff);
        frames.put_u8(if fin && more.is_empty() { FIN } else { 0 });
        frames.put_slice(&length(piece.len()));
        frames.put_slice(piece);
        if more.is_empty() {
            return frames.freeze();
        }
        rest = more;
    }
}
