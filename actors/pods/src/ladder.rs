//! What is tried with a container that ends again and again: restarts, then once a new one with a fresh root directory, then
//! nothing more. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

/// Type of the condition that says so. Its message is read again by whoever comes after a crash.
pub const HELD: &str = "vkube.io/Held";

/// How restarts are paced and bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartRules {
    /// Restarts without rest before a container is made anew, and again before it is held; zero: restarts without end.
    pub most: u32,
    /// Pause before the second restart; later ones double it. The first is at once.
    pub first_pause: Duration,
}

impl Default for RestartRules {
    fn default() -> Self {
        Self { most: 5, first_pause: Duration::from_secs(10) }
    }
}

/// What comes after the next end of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// It is started again.
    Restart,
    /// It is made anew: what it left in its root directory may be what ends it.
    Remake,
    /// It stays stopped.
    Hold,
}

/// How far a container has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ladder {
    /// Restarts since it last ran for long.
    pub restarts: u32,
    /// One of them was with a fresh root directory.
    pub remade: bool,
    /// It came to the end, and is stopped.
    pub held: bool,
}

impl Ladder {
    /// The next rung, where `most` restarts are allowed.
    pub fn rung(self, most: u32) -> Rung {
        match most {
            0 => Rung::Restart,
            _ if self.restarts >= most.saturating_mul(2) => Rung::Hold,
            _ if self.restarts >= most && !self.remade => Rung::Remake,
            _ => Rung::Restart,
        }
    }

    /// It was restarted once more.
    pub fn climb(&mut self) {
        self.restarts = self.restarts.saturating_add(1);
        self.held = false;
    }
}

/// The condition's message: the ladders of a pod's containers that are above the ground, and for which wish. `None` when there
/// is nothing to say.
pub fn told(ladders: &BTreeMap<&str, Ladder>, wish: &str) -> Option<(bool, String)> {
    let above: Vec<(&str, Ladder)> =
        ladders.iter().map(|(name, ladder)| (*name, *ladder)).filter(|(_, ladder)| ladder.restarts > 0).collect();
    if above.is_empty() {
        return None;
    }
    let words: Vec<String> = above
        .iter()
        .map(|(name, ladder)| format!("{name}={}{}", ladder.restarts, if ladder.remade { "+" } else { "" }))
        .collect();
    let held: Vec<&str> = above.iter().filter(|(_, ladder)| ladder.held).map(|(name, _)| *name).collect();
    let list = format!("[{}] of {wish}", words.join(" "));
    Some(match held.as_slice() {
        [] => (false, format!("restarts without {REST}: {list}")),
        held => (true, format!("{}: {list}", held_because(&held.join(", ")))),
    })
}

/// How long a container must run to be forgiven, in words.
pub const REST: &str = "10 minutes of running";

/// Why a container is not started any more, and what changes that.
pub fn held_because(container: &str) -> String {
    format!(
        "container {container} was restarted too often without {REST}, also with a fresh root directory, and is held: it is \
         started again when the pod or an annotation of it is changed, or when the device is rebooted"
    )
}

/// What such a message says of a container, if it was told for this wish.
pub fn read(message: &str, wish: &str, container: &str) -> Option<Ladder> {
    let (list, of) = message.rsplit_once('[')?.1.split_once("] of ")?;
    if of != wish {
        return None;
    }
    let told = list.split(' ').find_map(|word| word.strip_prefix(container)?.strip_prefix('='))?;
    let restarts = told.trim_end_matches('+').parse().ok()?;
    Some(Ladder { restarts, remade: told.ends_with('+'), held: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_restarted_then_made_anew_once_then_held() {
        let mut ladder = Ladder::default();
        let mut climbed = Vec::new();
        for _ in 0..8 {
            let rung = ladder.rung(3);
            climbed.push(rung);
            ladder.remade |= rung == Rung::Remake;
            if rung != Rung::Hold {
                ladder.climb();
            }
        }
        use Rung::{Hold, Remake, Restart};
        assert_eq!(climbed, [Restart, Restart, Restart, Remake, Restart, Restart, Hold, Hold]);
        assert_eq!(Ladder { restarts: 1000, ..Ladder::default() }.rung(0), Restart, "zero means no limit");
    }

    #[test]
    fn what_was_told_is_read_again_by_whoever_comes_after() {
        let web = Ladder { restarts: 6, remade: true, held: false };
        for held in [false, true] {
            let ladders: BTreeMap<&str, Ladder> = [
                ("web", Ladder { held, ..web }),
                ("web-2", Ladder { restarts: 1, ..Ladder::default() }),
                ("quiet", Ladder::default()),
            ]
            .into();
            let (is_held, message) = told(&ladders, "0a").expect("something to tell");
            assert_eq!(is_held, held, "{message}");
            for (name, ladder) in &ladders {
                let known = Ladder { held: false, ..*ladder };
                assert_eq!(read(&message, "0a", name).unwrap_or_default(), known, "{message}");
            }
            assert_eq!(read(&message, "0b", "web"), None, "another wish starts from the ground");
        }
        assert_eq!(told(&[("quiet", Ladder::default())].into(), "0a"), None);
        assert_eq!(read("whatever a person wrote", "0a", "web"), None);
    }
}
