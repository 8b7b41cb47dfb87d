//! One bit for each address of a range: what a search found in use and need not look at again.
//!
//! Only a shortcut: whoever frees an address clears its bit, and before anybody is told that a network is exhausted, all bits
//! are cleared and every address is looked at.

use std::net::Ipv4Addr;

/// The bits of one range.
#[derive(Debug, Default)]
pub struct Taken {
    first: u32,
    last: u32,
    words: Vec<u64>,
}

impl Taken {
    /// Nothing of the range is known to be in use.
    pub fn new(first: Ipv4Addr, last: Ipv4Addr) -> Self {
        let (first, last) = (u32::from(first), u32::from(last));
        let words = (last.saturating_sub(first) as usize) / 64 + 1;
        Self { first, last, words: vec![0; words] }
    }

    /// It is in use.
    pub fn mark(&mut self, address: Ipv4Addr) {
        if let Some((word, bit)) = self.place(address) {
            self.words[word] |= 1 << bit;
        }
    }

    /// It may be free.
    pub fn clear(&mut self, address: Ipv4Addr) {
        if let Some((word, bit)) = self.place(address) {
            self.words[word] &= !(1 << bit);
        }
    }

    /// Each may be free.
    pub fn reset(&mut self) {
        self.words.fill(0);
    }

    /// The first address from here on, and then from the beginning, that may be free.
    pub fn next_clear(&self, from: Ipv4Addr) -> Option<Ipv4Addr> {
        let from = u32::from(from).clamp(self.first, self.last);
        let (start, bit) = self.place(Ipv4Addr::from(from))?;
        // The first word is looked at twice: from the bit on, and at the end what lies before it.
        let count = self.words.len();
        for step in 0..=count {
            let index = (start + step) % count;
            let mut word = self.words[index];
            if step == 0 {
                word |= (1 << bit) - 1;
            }
            let zeros = !word;
            if zeros != 0 {
                let address = self.first + u32::try_from(index).ok()? * 64 + zeros.trailing_zeros();
                if address <= self.last {
                    return Some(Ipv4Addr::from(address));
                }
            }
        }
        None
    }

    fn place(&self, address: Ipv4Addr) -> Option<(usize, u32)> {
        let address = u32::from(address);
        let offset = (self.first..=self.last).contains(&address).then(|| address - self.first)?;
        Some(((offset / 64) as usize, offset % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(0x0a5a_0000 + offset)
    }

    proptest! {
        #[test]
        fn it_answers_what_a_plain_search_would(
            first in 0u32..70,
            size in 1u32..200,
            marks in prop::collection::vec((any::<bool>(), 0u32..300), 0..300),
            from in 0u32..300,
        ) {
            let last = first + size - 1;
            let mut taken = Taken::new(at(first), at(last));
            let mut model = std::collections::BTreeSet::new();
            for (mark, offset) in marks {
                if mark {
                    taken.mark(at(offset));
                    model.insert(offset);
                } else {
                    taken.clear(at(offset));
                    model.remove(&offset);
                }
            }
            let start = from.clamp(first, last);
            let expected = (start..=last).chain(first..start).find(|offset| !model.contains(offset)).map(at);
            prop_assert_eq!(taken.next_clear(at(from)), expected);
        }
    }
}
