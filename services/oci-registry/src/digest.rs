//! Which content is meant: digests of the two algorithms, and computing them while bytes go by.

use std::fmt;
use std::sync::Arc;

use ring::digest::{Context, SHA256, SHA512};

/// How a digest is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// The canonical one.
    Sha256,
    /// The other registered one.
    Sha512,
}

impl Algorithm {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// As it stands in digests and in paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Digits of a digest.
    fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// A digest such as `sha256:6c3c…`: an algorithm and exactly as many small hexadecimal digits as it has. Safe as part of a path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Arc<str>);

impl Digest {
    /// Reads `algorithm:hex`; none when it is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, hex) = text.split_once(':')?;
        Self::of_parts(name, hex)
    }

    /// Reads the two halves.
    pub(crate) fn of_parts(name: &str, hex: &str) -> Option<Self> {
        let algorithm = Algorithm::named(name)?;
        let digits = hex.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        (hex.len() == algorithm.digits() && digits).then(|| Self(format!("{name}:{hex}").into()))
    }

    /// Of these bytes.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// How it was computed.
    pub fn algorithm(&self) -> Algorithm {
        if self.0.starts_with(Algorithm::Sha256.name()) { Algorithm::Sha256 } else { Algorithm::Sha512 }
    }

    /// The digits.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Computes a digest piece by piece.
#[derive(Clone)]
pub struct Hasher {
    algorithm: Algorithm,
    context: Context,
}

impl Hasher {
    /// Of no bytes yet.
    pub fn new(algorithm: Algorithm) -> Self {
        let context = match algorithm {
            Algorithm::Sha256 => Context::new(&SHA256),
            Algorithm::Sha512 => Context::new(&SHA512),
        };
        Self { algorithm, context }
    }

    /// What it computes.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// Of all that went by.
    pub fn finish(self) -> Digest {
        let value = self.context.finish();
        let mut text = format!("{}:", self.algorithm.name());
        for byte in value.as_ref() {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
            }
        }
        Digest(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digests_of_the_two_algorithms_in_their_exact_form_are_read() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        assert_eq!(digest.as_str(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(Digest::parse(digest.as_str()), Some(digest.clone()));
        let long = Digest::of(Algorithm::Sha512, b"x");
        assert_eq!((long.algorithm(), long.hex().len()), (Algorithm::Sha512, 128));
        for wrong in [
            "",
            "sha256",
            "sha256:",
            "sha256:baddigeststring",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            &digest.as_str().to_uppercase(),
            &format!("sha256:{}", "../".repeat(21) + "a"),
            &format!("{digest}0"),
        ] {
            assert_eq!(Digest::parse(wrong), None, "{wrong}");
        }
    }
}
