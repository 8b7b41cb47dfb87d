//! What actors say to one another. One file per answering actor; message, reply and fault stand side by side.

pub mod images;
pub mod ipam;
pub mod objects;
pub mod pods;
pub mod router;
