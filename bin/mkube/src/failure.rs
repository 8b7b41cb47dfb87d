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
    error: anyhow::Error,
    hint: Option<String>,
}

impl Failure {
    /// With an exit code.
    pub fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: error.into(), hint: None }
    }

    /// With an exit code and a text.
    pub fn text(code: u8, text: impl Into<String>) -> Self {
        Self { code, error: anyhow::Error::msg(text.into()), hint: None }
    }

    /// Adds what to try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints it on standard error: `error:` with the cause chain, `hint:` where there is one.
    pub fn print(&self) -> ExitCode {
        eprintln!("error: {:#}", self.error);
        if let Some(hint) = &self.hint {
            eprintln!("hint: {hint}");
        }
        ExitCode::from(self.code)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(FAILED, error)
    }
}
