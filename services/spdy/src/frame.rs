//! What goes over a connection.

use bytes::Bytes;

use crate::headers::Headers;

/// Status of [`Frame::Reset`]: the other side broke the rules.
pub const PROTOCOL_ERROR: u32 = 1;
/// Status of [`Frame::Reset`]: the stream was not begun, nothing was done.
pub const REFUSED_STREAM: u32 = 3;
/// Status of [`Frame::Reset`]: whoever made the stream does not want it any more.
pub const CANCEL: u32 = 5;

/// First byte of a control frame, and the version.
pub(crate) const CONTROL: [u8; 2] = [0x80, 3];
/// Bytes before the contents of a frame.
pub(crate) const HEAD: usize = 8;
/// The flag that ends one direction of a stream.
pub(crate) const FIN: u8 = 1;

pub(crate) const SYN_STREAM: u16 = 1;
pub(crate) const SYN_REPLY: u16 = 2;
pub(crate) const RST_STREAM: u16 = 3;
pub(crate) const PING: u16 = 6;
pub(crate) const GOAWAY: u16 = 7;
pub(crate) const HEADERS: u16 = 8;

/// One frame. Settings and windows are not told of: nobody here needs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A stream begins.
    Begin {
        /// Its number; odd ones are the client's.
        id: u32,
        /// Nothing will be sent on it.
        fin: bool,
        /// What it is for.
        headers: Headers,
    },
    /// The other side takes a stream.
    Accept {
        /// Its number.
        id: u32,
        /// Nothing will be sent on it.
        fin: bool,
        /// What is to be said of it.
        headers: Headers,
    },
    /// More headers of a stream.
    Headers {
        /// Its number.
        id: u32,
        /// Nothing more will be sent on it.
        fin: bool,
        /// They.
        headers: Headers,
    },
    /// Bytes of a stream. A long frame is told in pieces, and the end comes with the last one.
    Data {
        /// Its number.
        id: u32,
        /// Nothing more will be sent on it.
        fin: bool,
        /// The bytes.
        bytes: Bytes,
    },
    /// A stream ends in both directions.
    Reset {
        /// Its number.
        id: u32,
        /// Why.
        status: u32,
    },
    /// A sign of life, to be sent back as it is.
    Ping {
        /// Its number.
        id: u32,
    },
    /// No more streams begin.
    Goaway,
}

/// Why what came is not SPDY; the connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not this version of the protocol.
    #[error("the connection does not speak SPDY/3.1")]
    Version,
    /// More than is taken.
    #[error("{what} of {size} bytes is longer than the {most} that are taken")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The bound.
        most: usize,
    },
    /// A frame shorter than what must be in it, or the like.
    #[error("a frame is damaged: {0}")]
    Damaged(&'static str),
}
