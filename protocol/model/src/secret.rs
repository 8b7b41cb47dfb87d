//! Text that must never be read in a log, an event, an error or an export.

use std::fmt;

use serde::{Serialize, Serializer};

/// What every secret prints as.
pub const MASK: &str = "***";

/// A password or token. Prints and serialises as `***`; only [`Secret::expose`] gives it out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { MASK })
    }
}

/// An address that may hold a user and password, such as `nats://user:password@host:4222`, or a list of such addresses
/// with commas. Prints and serialises with `***` in their place; only [`SecretUrl::expose`] gives them out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Wraps the text.
    pub fn new(text: impl Into<String>) -> Self {
        SecretUrl(text.into())
    }

    /// The address with everything it holds, for the one place that connects to it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no address at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, address) in self.0.split(',').enumerate() {
            if nth > 0 {
                formatter.write_str(",")?;
            }
            let (scheme, rest) = address.split_once("://").map_or(("", address), |(scheme, rest)| (scheme, rest));
            if !scheme.is_empty() {
                write!(formatter, "{scheme}://")?;
            }
            // The last `@`: a password may hold one.
            match rest.rsplit_once('@') {
                Some((_, host)) => write!(formatter, "{MASK}@{host}")?,
                None => formatter.write_str(rest)?,
            }
        }
        Ok(())
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_printed_without_its_user_and_password() {
        for (whole, printed) in [
            ("nats://10.0.0.10:4222", "nats://10.0.0.10:4222"),
            ("nats://bob:hunter2@10.0.0.10:4222", "nats://***@10.0.0.10:4222"),
            ("nats://token@a:4222,nats://bob:p@ss@b:4222", "nats://***@a:4222,nats://***@b:4222"),
            ("bob:hunter2@10.0.0.10:4222", "***@10.0.0.10:4222"),
            ("", ""),
        ] {
            let url = SecretUrl::new(whole);
            assert_eq!((url.to_string(), format!("{url:?}")), (printed.to_owned(), printed.to_owned()));
            assert_eq!(serde_json::json!(url), serde_json::json!(printed));
            assert_eq!(url.expose(), whole);
        }
    }

    #[test]
    fn a_secret_is_never_printed_or_serialised() {
        let secret = Secret::new("hunter2");
        let seen = format!("{secret} {secret:?} {}", serde_json::json!(secret));
        assert!(!seen.contains("hunter2"), "{seen}");
        assert_eq!(secret.expose(), "hunter2");
    }
}
