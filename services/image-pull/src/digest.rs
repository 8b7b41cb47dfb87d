//! What a digest says, and whether bytes are what it says.

use std::fmt;

use ring::digest::{Algorithm, Context, SHA256, SHA384, SHA512};

/// A digest that can be checked: algorithm and lower case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest(String);

impl Digest {
    /// Reads `sha256:…`, `sha384:…` or `sha512:…`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, hex) = text.split_once(':')?;
        let wanted = algorithm(name)?.output_len() * 2;
        let is_hex = hex.len() == wanted && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hex.then(|| Self(text.to_owned()))
    }

    /// The digest of these bytes.
    pub(crate) fn sha256(bytes: &[u8]) -> Self {
        let mut hasher = Hasher(Context::new(&SHA256));
        hasher.update(bytes);
        hasher.finish()
    }

    /// A hasher whose result can be compared with this digest.
    pub(crate) fn hasher(&self) -> Hasher {
        let name = self.0.split(':').next().unwrap_or_default();
        Hasher(Context::new(algorithm(name).unwrap_or(&SHA256)))
    }

    /// Whether it is the digest of these bytes.
    pub(crate) fn fits(&self, bytes: &[u8]) -> bool {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish() == *self
    }

    /// As the name of a file: `sha256-…`.
    pub(crate) fn file_stem(&self) -> String {
        self.0.replace(':', "-")
    }

    /// The digest a file is named by.
    pub(crate) fn of_file_stem(stem: &str) -> Option<Self> {
        Self::parse(&stem.replacen('-', ":", 1))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

fn algorithm(name: &str) -> Option<&'static Algorithm> {
    match name {
        "sha256" => Some(&SHA256),
        "sha384" => Some(&SHA384),
        "sha512" => Some(&SHA512),
        _ => None,
    }
}

/// Hashes bytes as they come.
#[derive(Clone)]
pub(crate) struct Hasher(Context);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        let name = match self.0.algorithm().output_len() {
            64 => "sha512",
            48 => "sha384",
            _ => "sha256",
        };
        let hex: String = self.0.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Digest(format!("{name}:{hex}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_checked_and_names_a_file() {
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let digest = Digest::parse(text).expect("a digest");
        assert!(digest.fits(b"") && !digest.fits(b"x"));
        assert_eq!(digest, Digest::sha256(b""));
        assert_eq!(Digest::of_file_stem(&digest.file_stem()), Some(digest));
        let mut hasher = Digest::parse(&format!("sha512:{}", "0".repeat(128))).expect("a digest").hasher();
        hasher.update(b"x");
        assert!(hasher.finish().as_str().starts_with("sha512:"));
        for bad in ["", "sha256", "sha256:", "latest", "md5:00", &text[..70], &text.to_uppercase(), "sha256:../../x"] {
            assert_eq!(Digest::parse(bad), None, "{bad}");
        }
    }
}
