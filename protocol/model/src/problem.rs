//! What is wrong with a field of an object.

use serde_json::{Value, json};

/// Kind of a problem, in Kubernetes' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// Must be there.
    Required,
    /// Has a value that is not allowed.
    Invalid,
    /// Occurs twice.
    Duplicate,
    /// Is not one of a fixed set.
    NotSupported,
    /// Must not be there, or not be changed.
    Forbidden,
    /// Is larger than allowed.
    TooLong,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path such as `spec.containers[0].image`.
    pub field: String,
    /// Kind.
    pub kind: ProblemKind,
    /// For people.
    pub message: String,
}

impl Problem {
    /// A required field is missing.
    pub fn required(field: impl Into<String>) -> Self {
        Self { field: field.into(), kind: ProblemKind::Required, message: "Required value".into() }
    }

    /// A required field is missing, and there is more to say.
    pub fn required_because(field: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self { field: field.into(), kind: ProblemKind::Required, message: format!("Required value: {why}") }
    }

    /// A field holds more bytes than it may.
    pub fn too_long(field: impl Into<String>, limit: usize) -> Self {
        let message = format!("Too long: may not be more than {limit} bytes");
        Self { field: field.into(), kind: ProblemKind::TooLong, message }
    }

    /// A field's value is not allowed.
    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, why: impl std::fmt::Display) -> Self {
        let value = value.into();
        Self { field: field.into(), kind: ProblemKind::Invalid, message: format!("Invalid value: {value}: {why}") }
    }

    /// A field's value occurs twice.
    pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        let value = value.into();
        Self { field: field.into(), kind: ProblemKind::Duplicate, message: format!("Duplicate value: {value}") }
    }

    /// A field's value is not one of those supported.
    pub fn not_supported(field: impl Into<String>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let value = value.into();
        let supported: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", supported.join(", "));
        Self { field: field.into(), kind: ProblemKind::NotSupported, message }
    }

    /// A field must not be there, or not be changed.
    pub fn forbidden(field: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self { field: field.into(), kind: ProblemKind::Forbidden, message: format!("Forbidden: {why}") }
    }

    /// As a cause in a `Status`.
    pub fn to_cause(&self) -> Value {
        let reason = match self.kind {
            ProblemKind::Required => "FieldValueRequired",
            ProblemKind::Invalid => "FieldValueInvalid",
            ProblemKind::Duplicate => "FieldValueDuplicate",
            ProblemKind::NotSupported => "FieldValueNotSupported",
            ProblemKind::Forbidden => "FieldValueForbidden",
            ProblemKind::TooLong => "FieldValueTooLong",
        };
        json!({"reason": reason, "message": self.message, "field": self.field})
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}: {}", self.field, self.message)
    }
}
