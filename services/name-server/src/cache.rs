//! What others told, for as long as they said it holds.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What was told: a whole message, and where its TTLs stand.
#[derive(Debug)]
pub struct Told {
    /// The message, its question first, without EDNS.
    pub message: Vec<u8>,
    /// Where TTLs stand in it.
    pub ttls: Vec<usize>,
    /// How long it holds.
    pub life: Duration,
    /// When it was told.
    pub at: Instant,
}

/// Answers by name and type, so many at most; the oldest makes room.
pub struct Cache {
    held: Mutex<Held>,
    limit: usize,
}

#[derive(Default)]
struct Held {
    entries: HashMap<Box<[u8]>, (u64, Arc<Told>)>,
    order: VecDeque<(u64, Box<[u8]>)>,
    next: u64,
    /// Counts how often everything was forgotten.
    generation: u64,
}

fn key<'b>(name: &[u8], kind: u16, buffer: &'b mut [u8; 260]) -> &'b [u8] {
    let length = name.len().min(256);
    buffer[..length].copy_from_slice(&name[..length]);
    buffer[length..length + 2].copy_from_slice(&kind.to_be_bytes());
    &buffer[..length + 2]
}

impl Cache {
    /// With room for so many.
    pub fn new(limit: usize) -> Self {
        Self { held: Mutex::default(), limit }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was told and still holds.
    pub fn get(&self, name: &[u8], kind: u16, now: Instant) -> Option<Arc<Told>> {
        let mut buffer = [0; 260];
        let key = key(name, kind, &mut buffer);
        let told = self.held().entries.get(key).map(|(_, told)| told.clone());
        told.filter(|told| now.saturating_duration_since(told.at) < told.life)
    }

    /// Who asks now may put its answer only while this is the same.
    pub fn generation(&self) -> u64 {
        self.held().generation
    }

    /// Keeps what was told to a question that was asked in `generation`.
    pub fn put(&self, name: &[u8], kind: u16, told: &Arc<Told>, generation: u64) {
        if told.life.is_zero() || self.limit == 0 {
            return;
        }
        let mut buffer = [0; 260];
        let key: Box<[u8]> = key(name, kind, &mut buffer).into();
        let mut held = self.held();
        // What was told before a forwarder or a zone changed says nothing about what holds now.
        if held.generation != generation {
            return;
        }
        held.next += 1;
        let number = held.next;
        held.order.push_back((number, key.clone()));
        held.entries.insert(key, (number, told.clone()));
        while held.entries.len() > self.limit || held.order.len() > self.limit.saturating_mul(2) {
            let Some((number, key)) = held.order.pop_front() else { break };
            if held.entries.get(&key).is_some_and(|(newest, _)| *newest == number) {
                held.entries.remove(&key);
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut held = self.held();
        held.generation += 1;
        held.entries.clear();
        held.order.clear();
    }

    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.held().entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(seconds: u64) -> Arc<Told> {
        Arc::new(Told { message: vec![], ttls: vec![], life: Duration::from_secs(seconds), at: Instant::now() })
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_known_for_as_long_as_it_holds() {
        let cache = Cache::new(10);
        cache.put(b"\x01a\0", 1, &told(5), 0);
        cache.put(b"\x01b\0", 1, &told(0), 0);
        tokio::time::advance(Duration::from_millis(4999)).await;
        assert!(cache.get(b"\x01a\0", 1, Instant::now()).is_some());
        assert!(cache.get(b"\x01a\0", 28, Instant::now()).is_none(), "another type");
        assert!(cache.get(b"\x01b\0", 1, Instant::now()).is_none(), "for this once only");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(cache.get(b"\x01a\0", 1, Instant::now()).is_none());
    }

    #[tokio::test]
    async fn the_oldest_makes_room_and_there_is_never_more_than_that() {
        let cache = Cache::new(3);
        for round in 0..10u8 {
            for name in 0..5u8 {
                cache.put(&[1, name, 0], 1, &told(60), 0);
                // The same one again and again must not fill the list of what is oldest.
                cache.put(&[1, 100, 0], 1, &told(60), 0);
                assert!(cache.len() <= 3 && cache.held().order.len() <= 6, "round {round}");
            }
        }
        assert!(cache.get(&[1, 4, 0], 1, Instant::now()).is_some());
        assert!(cache.get(&[1, 0, 0], 1, Instant::now()).is_none());
    }

    #[tokio::test]
    async fn what_was_asked_before_everything_was_forgotten_is_not_kept() {
        let cache = Cache::new(3);
        let generation = cache.generation();
        cache.clear();
        cache.put(b"\x01a\0", 1, &told(60), generation);
        assert_eq!(cache.len(), 0);
    }
}
