//! Why a text was refused, and where.

use thiserror::Error;

/// A refused text: which document, which line, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("document {document}{}: {reason}", at(.line))]
pub struct ManifestFault {
    /// Document in the stream, counted from 1; empty documents count.
    pub document: usize,
    /// Line in the whole text, counted from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Reason {
    /// More bytes than allowed.
    #[error("{bytes} bytes are more than the {limit} allowed")]
    TooLarge {
        /// Bytes of the text.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Nested deeper than allowed.
    #[error("nested deeper than {limit} levels")]
    TooDeep {
        /// Levels allowed.
        limit: usize,
    },
    /// More values than allowed once aliases are expanded.
    #[error("more than {limit} values, aliases expanded")]
    TooMany {
        /// Values allowed.
        limit: usize,
    },
    /// More text than allowed once aliases are expanded.
    #[error("more than {limit} bytes of text, aliases expanded")]
    TooLong {
        /// Bytes allowed.
        limit: usize,
    },
    /// The text holds more than one document where one is wanted.
    #[error("{found} documents where one is wanted")]
    NotOne {
        /// Documents found.
        found: usize,
    },
    /// The YAML or JSON itself is wrong; the text says how.
    #[error("{0}")]
    Syntax(String),
}

fn at(line: &Option<usize>) -> String {
    line.map(|line| format!(", line {line}")).unwrap_or_default()
}
