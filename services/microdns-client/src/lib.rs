//! The REST interface of microdns, early and current releases: what name servers are told.
//!
//! `wire` makes one request and says what its end means, `rows` reads and writes the JSON, `client` puts them together. Nothing
//! is repeated here: whoever asks decides.

mod client;
mod rows;
mod wire;

pub use client::MicrodnsClient;
