//! A connection whose first request may ask for SPDY.
//!
//! actix reads on after the head of a request only when that asks for a WebSocket; with any other upgrade it takes what follows for
//! the next request. So the head of a connection's first request is looked at before actix sees it, and one that asks for SPDY gets
//! a second `Upgrade` header. Clients open a connection for each such request.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_http::Protocol;
use actix_http::error::DispatchError;
use actix_web::rt::net::TcpStream;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::spdy_upgrade::NAME;

/// Bytes of a head that is looked at. A longer one is left to actix, which has a bound of its own.
const HEAD: usize = 16 << 10;
/// Bytes read at a time, while it is looked at.
const PIECE: usize = 4 << 10;
/// What is put before the empty line.
const UPGRADE: &[u8] = b"Upgrade: websocket\r\n";
/// How a request begins that may ask for SPDY. Others are not looked at.
const METHOD: &[u8] = b"POST ";

/// See the page.
pub struct Wire {
    stream: TcpStream,
    first: First,
}

/// How far the first request has come.
enum First {
    /// It is looked at.
    Reading(BytesMut),
    /// It was looked at; this is yet to be read.
    Looked(Bytes),
    /// Nothing is left of it.
    Past,
}

impl Wire {
    /// From a connection to what actix serves.
    pub async fn from(stream: TcpStream) -> Result<(Self, Protocol, Option<SocketAddr>), DispatchError> {
        let peer = stream.peer_addr().ok();
        // Long lists and watches are written in pieces: none is to wait until the one before was acknowledged.
        stream.set_nodelay(true)?;
        Ok((Self { stream, first: First::Reading(BytesMut::new()) }, Protocol::Http1, peer))
    }
}

/// What actix is to read once this much of a connection has come; nothing while more must come first.
fn looked_at(head: &mut BytesMut, ended: bool) -> Option<Bytes> {
    let known = head.len().min(METHOD.len());
    if ended || head.len() > HEAD || head[..known] != METHOD[..known] {
        return Some(head.split().freeze());
    }
    let end = head.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 2;
    let asks = |line: &[u8]| {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':').unwrap_or(line.len()));
        let value = value.get(1..).unwrap_or_default();
        name.eq_ignore_ascii_case(b"upgrade") && value.trim_ascii().eq_ignore_ascii_case(NAME.as_bytes())
    };
    let mut all = head.split_to(end);
    if all[..].split(|byte| *byte == b'\n').skip(1).any(asks) {
        all.extend_from_slice(UPGRADE);
    }
    all.unsplit(head.split());
    Some(all.freeze())
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, first } = self.get_mut();
        loop {
            match first {
                First::Reading(head) => {
                    let mut piece = [0; PIECE];
                    let mut read = ReadBuf::new(&mut piece);
                    ready!(Pin::new(&mut *stream).poll_read(context, &mut read))?;
                    head.extend_from_slice(read.filled());
                    if let Some(looked) = looked_at(head, read.filled().is_empty()) {
                        *first = First::Looked(looked);
                    }
                }
                First::Looked(left) if !left.is_empty() => {
                    let taken = left.len().min(buffer.remaining());
                    buffer.put_slice(&left[..taken]);
                    left.advance(taken);
                    return Poll::Ready(Ok(()));
                }
                First::Looked(_) => *first = First::Past,
                First::Past => return Pin::new(stream).poll_read(context, buffer),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(text: &str, ended: bool) -> Option<String> {
        let mut head = BytesMut::from(text);
        let looked = looked_at(&mut head, ended)?;
        assert!(head.is_empty(), "nothing is kept back");
        Some(String::from_utf8_lossy(&looked).into_owned())
    }

    #[test]
    fn only_a_request_for_spdy_gets_another_header_and_what_follows_stays() {
        let ask = "POST /x HTTP/1.1\r\nHost: a\r\nupgrade:  spdy/3.1 \r\n\r\n";
        let asked = "POST /x HTTP/1.1\r\nHost: a\r\nupgrade:  spdy/3.1 \r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(looked(ask, false).as_deref(), Some(asked));
        assert_eq!(looked(&format!("{ask}\u{1}frames\r\n\r\n"), false), Some(format!("{asked}\u{1}frames\r\n\r\n")));
        for other in [
            "POST /x HTTP/1.1\r\nHost: a\r\n\r\nUpgrade: SPDY/3.1\r\n\r\n",
            "POST /Upgrade:SPDY/3.1 HTTP/1.1\r\nX-Upgrade: SPDY/3.1\r\nUpgrade: h2c\r\n\r\n",
        ] {
            assert_eq!(looked(other, false).as_deref(), Some(other));
        }
    }

    #[test]
    fn nothing_waits_that_need_not() {
        for none in ["", "PO", "POST /x HTTP/1.1\r\nUpgrade: SPDY/3.1\r\n"] {
            assert_eq!(looked(none, false), None, "{none}");
            assert_eq!(looked(none, true).as_deref(), Some(none), "its end is not held back");
        }
        for other in ["G", "POSTS", "GET /x"] {
            assert_eq!(looked(other, false).as_deref(), Some(other));
        }
        let long = format!("POST /{}", "x".repeat(HEAD));
        assert_eq!(looked(&long, false).as_deref(), Some(long.as_str()));
    }
}
