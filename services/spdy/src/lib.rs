//! SPDY/3.1 as Kubernetes' clients speak it: frames and compressed headers, pure. Bytes in, frames out; no socket, no clock.
//!
//! `decoder` reads one direction of a connection, `encoder` writes the other; each keeps the compression of its direction.
//! Windows are not kept: neither kubectl nor the API server of Kubernetes does.

mod decoder;
mod dictionary;
mod encoder;
mod frame;
mod headers;

pub use decoder::Decoder;
pub use encoder::Encoder;
pub use frame::{CANCEL, Fault, Frame, PROTOCOL_ERROR, REFUSED_STREAM};
pub use headers::Headers;
