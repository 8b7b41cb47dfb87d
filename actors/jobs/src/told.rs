//! What is told about an object: the words of an event.

/// An event to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// True for `Warning`.
    pub warning: bool,
    /// CamelCase reason.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Told {
    /// All is as it should be.
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { warning: false, reason, message: message.into() }
    }

    /// Something is not.
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { warning: true, reason, message: message.into() }
    }
}
