//! Numbers that differ from run to run and can be rolled again from the printed seed.

use std::hash::{BuildHasher, RandomState};

/// Rolls numbers.
pub struct Dice(u64);

impl Dice {
    /// `MKUBE_CRASH_SEED`, or another one each time. What the machine does in between cannot be repeated.
    pub fn from_environment() -> Self {
        let given = std::env::var("MKUBE_CRASH_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one("seed") | 1);
        eprintln!("MKUBE_CRASH_SEED={seed}");
        Self(seed)
    }

    /// Others, for somebody else.
    pub fn split(&mut self) -> Self {
        Self(self.roll(u64::MAX) | 1)
    }

    /// Below that.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let place = usize::try_from(self.roll(from.len() as u64)).expect("a place");
        &from[place]
    }
}
