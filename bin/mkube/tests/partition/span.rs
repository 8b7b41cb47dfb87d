//! A span of trouble: which links, what happens to each, for how long. Rolled from dice.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::dice::Dice;
use crate::line::Quality;
use crate::net::{Fault, Link};

/// See the file's text.
#[derive(Debug)]
pub struct Span {
    pub links: Vec<(Link, Fault)>,
    pub length: Duration,
    /// What lines hold at the end still arrives, within this.
    pub late: Option<Duration>,
}

/// Draws each of several once before any of them again.
pub struct Deck<T> {
    all: Vec<T>,
    left: Vec<T>,
}

impl<T: Copy> Deck<T> {
    pub fn new(all: &[T]) -> Self {
        Self { all: all.to_vec(), left: Vec::new() }
    }

    pub fn draw(&mut self, dice: &mut Dice) -> T {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
        }
        let place = usize::try_from(dice.roll(self.left.len() as u64)).expect("a place");
        self.left.swap_remove(place)
    }
}

impl Span {
    /// On these links, for so long at least and at most; short ones are as frequent as long ones.
    pub fn roll(dice: &mut Dice, on: &[Link], faults: &mut Deck<Fault>, length: &RangeInclusive<Duration>) -> Self {
        let mut links: Vec<(Link, Fault)> = Vec::new();
        for link in on {
            let fault = match faults.draw(dice) {
                Fault::Line(Quality::Slow(longest)) => {
                    let longest = u64::try_from(longest.as_millis()).unwrap_or(0);
                    Fault::Line(Quality::Slow(Duration::from_millis(1 + dice.roll(longest))))
                }
                fault => fault,
            };
            links.push((*link, fault));
        }
        let millis = |length: &Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        let (shortest, longest) = (millis(length.start()), millis(length.end()));
        let scale = shortest << dice.roll(u64::from((longest / shortest).max(2).ilog2()));
        let length = Duration::from_millis((scale + dice.roll(scale)).min(longest));
        let late = (dice.roll(2) == 0).then(|| Duration::from_millis(dice.roll(1000)));
        Self { links, length, late }
    }
}
