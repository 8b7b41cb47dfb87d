//! Passwords as they stand in the configuration: plain, or PBKDF2 in the PHC form.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::rand::SecureRandom;
use ring::{hmac, pbkdf2};

use super::AccessFault;

/// How a hash begins.
const SCHEME: &str = "$pbkdf2-sha256$";
/// Rounds of a new hash, as OWASP asks for.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).expect("not zero");
/// More would let one login stop the registry.
const MOST_ROUNDS: u32 = 10_000_000;
const LENGTH: usize = 32;

/// A password to compare with.
pub(super) enum Password {
    /// A keyed digest of a plain one.
    Plain(hmac::Tag),
    /// Rounds, salt, hash.
    Hashed(NonZeroU32, Vec<u8>, Vec<u8>),
}

impl Password {
    /// As written in the configuration; `None` for a hash of another kind, which must not pass for a plain password.
    pub(super) fn parse(text: &str, key: &hmac::Key) -> Option<Self> {
        let Some(hash) = text.strip_prefix(SCHEME) else {
            let other_hash = ["$2a$", "$2b$", "$2y$", "$argon2", "$scrypt$", "$5$", "$6$", "$pbkdf2", "$apr1$"];
            let foreign = other_hash.iter().any(|scheme| text.starts_with(scheme));
            return (!foreign).then(|| Password::Plain(hmac::sign(key, text.as_bytes())));
        };
        let mut parts = hash.split('$');
        let (parameters, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
        let rounds: u32 = parameters.split(',').find_map(|one| one.strip_prefix("i="))?.parse().ok()?;
        let rounds = NonZeroU32::new(rounds).filter(|rounds| rounds.get() <= MOST_ROUNDS)?;
        let salt = STANDARD_NO_PAD.decode(salt).ok()?;
        let hash = STANDARD_NO_PAD.decode(hash).ok().filter(|hash| hash.len() >= 16)?;
        parts.next().is_none().then_some(Password::Hashed(rounds, salt, hash))
    }

    /// Whether comparing takes long.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self, Password::Hashed(..))
    }

    /// Whether this is the password. Takes long for a hash; the same time whatever differs.
    pub(super) fn is(&self, password: &str, key: &hmac::Key) -> bool {
        match self {
            Password::Plain(tag) => hmac::verify(key, password.as_bytes(), tag.as_ref()).is_ok(),
            Password::Hashed(rounds, salt, hash) => {
                pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, *rounds, salt, password.as_bytes(), hash).is_ok()
            }
        }
    }
}

/// The hash of a password, for `access.users[].password`.
///
/// # Errors
/// The machine gives no random numbers.
pub fn hash_password(password: &str) -> Result<String, AccessFault> {
    let mut salt = [0u8; 16];
    ring::rand::SystemRandom::new().fill(&mut salt).map_err(|_| AccessFault::Random)?;
    let mut hash = [0u8; LENGTH];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, &salt, password.as_bytes(), &mut hash);
    let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
    Ok(format!("{SCHEME}i={ROUNDS},l={LENGTH}${salt}${hash}"))
}
