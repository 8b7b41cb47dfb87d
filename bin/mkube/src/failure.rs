//! How a command ends badly: exit code, cause chain, hint.

use std::process::ExitCode;

/// The thing asked for failed.
pub const FAILED: u8 = 1;
/// Wrong usage, found later than the command line was read.
pub const USAGE: u8 = 2;
/// Bad configuration.
pub const CONFIGURATION: u8 = 64;
/// A needed service or program is missing.
pub const UNAVAILABLE: u8 = 69;
/// Internal fault.
pub const INTERNAL: u8 = 70;
/// Not permitted.
pub const NOT_PERMITTED: u8 = 77;

/// Why a command failed, and what to try.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    /// None: whoever failed has said so himself.
    error: Option<anyhow::Error>,
    hint: Option<String>,
}

impl Failure {
    /// With an exit code.
    pub fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: Some(error.into()), hint: None }
    }

    /// With an exit code and a text.
    pub fn text(code: u8, text: impl Into<String>) -> Self {
        Self { code, error: Some(anyhow::Error::msg(text.into())), hint: None }
    }

    /// An exit code and no words.
    pub fn silent(code: u8) -> Self {
        Self { code, error: None, hint: None }
    }

    /// Says where it went wrong.
    #[must_use]
    pub fn at(self, place: &str) -> Self {
        Self { error: self.error.map(|error| error.context(place.to_owned())), ..self }
    }

    /// Adds what to try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says it on standard error: `error:` with the cause chain, `hint:` where there is one.
    pub fn say(&self) {
        if let Some(error) = &self.error {
            eprintln!("error: {error:#}");
        }
        if let Some(hint) = &self.hint {
            eprintln!("hint: {hint}");
        }
    }

    /// Says it, and ends with its code.
    pub fn print(&self) -> ExitCode {
        self.say();
        ExitCode::from(self.code)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.as_ref().map_or(Ok(()), |error| write!(out, "{error:#}"))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(FAILED, error)
    }
}
