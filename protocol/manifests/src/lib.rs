//! YAML and JSON, in and out: the only crate that knows a YAML library.
//!
//! Text comes from outside (kubectl, files, the API), so reading is bounded in bytes, depth and number of values, refuses
//! what means two things (a key written twice), and every refusal says in which document and line.

mod fault;
mod parse;
mod pieces;
mod print;
mod value;

pub use fault::{ManifestFault, Reason};
pub use parse::{Limits, parse_documents, parse_documents_within, parse_one};
pub use pieces::{Allowance, Piece, pieces};
pub use print::{to_yaml, to_yaml_documents};
