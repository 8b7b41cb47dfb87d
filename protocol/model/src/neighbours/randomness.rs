//! Where uids and made-up names come from. Nothing else draws: what a controller decides follows from what it sees, so that
//! a run under a seeded source can be repeated.

use std::hash::{BuildHasher, Hasher, RandomState};

use uuid::{Builder, Uuid};

/// Numbers nobody foresees.
pub trait Randomness: Send + Sync {
    /// The next number, each as likely as any other.
    fn number(&self) -> u64;

    /// A uid nobody else has: a UUID of version 4.
    fn uid(&self) -> String {
        let (high, low) = (u128::from(self.number()), u128::from(self.number()));
        Builder::from_random_bytes((high << 64 | low).to_be_bytes()).into_uuid().to_string()
    }
}

/// The machine's own source.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn number(&self) -> u64 {
        RandomState::new().build_hasher().finish()
    }

    fn uid(&self) -> String {
        Uuid::new_v4().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Always(u64);

    impl Randomness for Always {
        fn number(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn a_uid_follows_from_the_numbers_and_is_one_of_version_4() {
        let uid = Uuid::parse_str(&Always(0).uid()).expect("a UUID");
        assert_eq!(uid.get_version_num(), 4);
        assert_eq!(Always(7).uid(), Always(7).uid());
        assert_ne!(Always(7).uid(), Always(8).uid());
    }

    #[test]
    fn the_machines_own_source_never_says_the_same_twice() {
        let source = SystemRandomness;
        assert_ne!(source.number(), source.number());
        assert_ne!(source.uid(), source.uid());
    }
}
