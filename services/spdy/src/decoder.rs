//! From bytes to frames.

use bytes::{Buf, Bytes, BytesMut};

use crate::frame::{CONTROL, FIN, Fault, Frame, GOAWAY, HEAD, HEADERS, PING, RST_STREAM, SYN_REPLY, SYN_STREAM};
use crate::headers::{Headers, Unpacking};

/// Bytes of a control frame. Headers of Kubernetes' streams have a hundred.
const CONTROL_FRAME: usize = 16 << 10;

/// A data frame that has begun.
struct Open {
    id: u32,
    fin: bool,
    left: usize,
}

/// Reads one direction of a connection, cut anywhere.
pub struct Decoder {
    buffer: BytesMut,
    open: Option<Open>,
    unpacking: Unpacking,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), open: None, unpacking: Unpacking::new() }
    }
}

impl Decoder {
    /// Takes what came. Read all frames before the next piece: no more than a control frame is left over then.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame; nothing when more must come first.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Fault> {
        loop {
            if let Some(open) = &mut self.open {
                if self.buffer.is_empty() && open.left > 0 {
                    return Ok(None);
                }
                let bytes = self.buffer.split_to(open.left.min(self.buffer.len())).freeze();
                open.left -= bytes.len();
                let (id, whole, fin) = (open.id, open.left == 0, open.fin);
                if whole {
                    self.open = None;
                }
                return Ok(Some(Frame::Data { id, fin: fin && whole, bytes }));
            }
            let Some(head) = self.buffer.first_chunk::<HEAD>() else { return Ok(None) };
            let [first, second, third, fourth, flags, length @ ..] = *head;
            let length = usize::from(length[0]) << 16 | usize::from(length[1]) << 8 | usize::from(length[2]);
            if first & 0x80 == 0 {
                let id = u32::from_be_bytes([first, second, third, fourth]);
                self.buffer.advance(HEAD);
                self.open = Some(Open { id, fin: flags & FIN != 0, left: length });
                continue;
            }
            if [first, second] != CONTROL {
                return Err(Fault::Version);
            }
            if length > CONTROL_FRAME {
                return Err(Fault::TooLong { what: "a control frame", size: length, most: CONTROL_FRAME });
            }
            if self.buffer.len() < HEAD + length {
                return Ok(None);
            }
            self.buffer.advance(HEAD);
            let contents = self.buffer.split_to(length).freeze();
            if let Some(frame) = self.control(u16::from_be_bytes([third, fourth]), flags, contents)? {
                return Ok(Some(frame));
            }
        }
    }

    fn control(&mut self, kind: u16, flags: u8, mut contents: Bytes) -> Result<Option<Frame>, Fault> {
        let fin = flags & FIN != 0;
        Ok(Some(match kind {
            SYN_STREAM => {
                let id = stream(&mut contents)?;
                // The associated stream, the priority and the slot: of no use here.
                skip(&mut contents, 6)?;
                Frame::Begin { id, fin, headers: self.headers(&contents)? }
            }
            SYN_REPLY => Frame::Accept { id: stream(&mut contents)?, fin, headers: self.headers(&contents)? },
            HEADERS => Frame::Headers { id: stream(&mut contents)?, fin, headers: self.headers(&contents)? },
            RST_STREAM => Frame::Reset { id: stream(&mut contents)?, status: number(&mut contents)? },
            PING => Frame::Ping { id: number(&mut contents)? },
            GOAWAY => Frame::Goaway,
            // Settings, windows, and what nobody knows.
            _ => return Ok(None),
        }))
    }

    fn headers(&mut self, block: &[u8]) -> Result<Headers, Fault> {
        self.unpacking.headers(block)
    }
}

fn number(contents: &mut Bytes) -> Result<u32, Fault> {
    contents.try_get_u32().map_err(|_| Fault::Damaged("it is shorter than it must be"))
}

fn stream(contents: &mut Bytes) -> Result<u32, Fault> {
    number(contents).map(|id| id & 0x7fff_ffff)
}

fn skip(contents: &mut Bytes, bytes: usize) -> Result<(), Fault> {
    if contents.len() < bytes {
        return Err(Fault::Damaged("it is shorter than it must be"));
    }
    contents.advance(bytes);
    Ok(())
}
