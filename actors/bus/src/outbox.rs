//! What waits to be told. Pure.

use std::collections::{BTreeMap, VecDeque};

use mkube_messages::objects::{ChangeType, ObjectKey};
use mkube_model::kinds::KindId;

use crate::news::News;

/// Bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Changes.
    pub changes: usize,
    /// Bytes of their objects.
    pub bytes: usize,
}

impl Room {
    fn is_enough(self, changes: usize, bytes: usize) -> bool {
        changes <= self.changes && bytes <= self.bytes
    }

    fn three_quarters(self) -> Self {
        Self { changes: self.changes / 4 * 3, bytes: self.bytes / 4 * 3 }
    }
}

/// Changes, oldest first. While there is room each one is kept. Then only the newest state of each object is, and then those that
/// changed last.
#[derive(Debug)]
pub struct Outbox {
    room: Room,
    waiting: VecDeque<News>,
    bytes: usize,
    dropped: u64,
}

impl Outbox {
    /// An empty one.
    pub fn new(room: Room) -> Self {
        Self { room, waiting: VecDeque::new(), bytes: 0, dropped: 0 }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many were dropped since the last time this was asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Something happened.
    pub fn put(&mut self, news: News) {
        self.bytes += news.object.text().len();
        self.waiting.push_back(news);
        self.make_room();
    }

    /// The oldest, as many as fit.
    pub fn take(&mut self, most: Room) -> Vec<News> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(news) = self.waiting.front() {
            let size = news.object.text().len();
            if !taken.is_empty() && !most.is_enough(taken.len() + 1, bytes + size) {
                break;
            }
            bytes += size;
            taken.extend(self.waiting.pop_front());
        }
        self.bytes -= bytes;
        taken
    }

    /// Takes back what could not be told.
    pub fn give_back(&mut self, taken: Vec<News>) {
        for news in taken.into_iter().rev() {
            self.bytes += news.object.text().len();
            self.waiting.push_front(news);
        }
        self.make_room();
    }

    fn make_room(&mut self) {
        if self.room.is_enough(self.waiting.len(), self.bytes) {
            return;
        }
        let before = self.waiting.len();
        self.thin_out();
        // Some air, so that not each change that follows costs a look at all.
        let air = self.room.three_quarters();
        while !air.is_enough(self.waiting.len(), self.bytes) {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.bytes -= oldest.object.text().len();
        }
        self.dropped += (before - self.waiting.len()) as u64;
    }

    /// Keeps the newest state of each object. Who was never told that an object came to be is told so.
    fn thin_out(&mut self) {
        let mut newest: BTreeMap<(KindId, ObjectKey), (usize, bool)> = BTreeMap::new();
        for (place, news) in self.waiting.iter().enumerate() {
            let first_was_added = news.change == ChangeType::Added;
            let entry = newest.entry((news.object.kind, news.object.key.clone())).or_insert((place, first_was_added));
            entry.0 = place;
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        for (place, mut news) in waiting.into_iter().enumerate() {
            let Some((last, first_was_added)) = newest.get(&(news.object.kind, news.object.key.clone())) else {
                continue;
            };
            if *last == place {
                if *first_was_added && news.change == ChangeType::Modified {
                    news.change = ChangeType::Added;
                }
                self.bytes += news.object.text().len();
                self.waiting.push_back(news);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use ChangeType::{Added, Deleted, Modified};
    use mkube_messages::objects::StoredObject;
    use serde_json::json;

    const PODS: KindId = KindId { group: "", plural: "pods" };
    const ROOM: Room = Room { changes: 8, bytes: 10_000 };

    fn news(change: ChangeType, name: &str, revision: u64) -> News {
        let object = StoredObject::new(PODS, ObjectKey::new("d", name), &json!({"n": "x".repeat(90)}), revision);
        News { change, object: Arc::new(object) }
    }

    fn told(outbox: &mut Outbox) -> Vec<(ChangeType, String, u64)> {
        let all = outbox.take(Room { changes: 1000, bytes: usize::MAX });
        all.into_iter().map(|one| (one.change, one.object.key.name.clone(), one.object.revision)).collect()
    }

    #[test]
    fn each_change_is_kept_in_order_while_there_is_room() {
        let mut outbox = Outbox::new(ROOM);
        for (change, revision) in [(Added, 1), (Modified, 2), (Deleted, 3), (Added, 4)] {
            outbox.put(news(change, "a", revision));
        }
        let first = outbox.take(Room { changes: 2, bytes: 10_000 });
        outbox.give_back(first);
        let a = "a".to_owned();
        assert_eq!(
            told(&mut outbox),
            [(Added, a.clone(), 1), (Modified, a.clone(), 2), (Deleted, a.clone(), 3), (Added, a, 4)]
        );
        assert_eq!((outbox.take_dropped(), outbox.len(), outbox.bytes), (0, 0, 0));
    }

    #[test]
    fn without_room_the_newest_state_of_each_object_is_kept() {
        let mut outbox = Outbox::new(ROOM);
        for (nth, (change, name)) in [
            (Added, "a"),
            (Modified, "b"),
            (Modified, "a"),
            (Modified, "b"),
            (Modified, "a"),
            (Added, "c"),
            (Deleted, "c"),
            (Modified, "b"),
            (Modified, "a"),
        ]
        .into_iter()
        .enumerate()
        {
            outbox.put(news(change, name, nth as u64));
        }
        assert_eq!(outbox.take_dropped(), 6);
        assert_eq!(
            told(&mut outbox),
            [(Deleted, "c".to_owned(), 6), (Modified, "b".to_owned(), 7), (Added, "a".to_owned(), 8)]
        );
    }

    #[test]
    fn memory_is_bounded_however_many_objects_change_for_however_long() {
        let mut outbox = Outbox::new(ROOM);
        for number in 0..10_000u64 {
            outbox.put(news(Modified, &format!("p{number}"), number));
            assert!(outbox.len() <= ROOM.changes);
            if number % 10 == 0 {
                let taken = outbox.take(Room { changes: 3, bytes: 10_000 });
                outbox.give_back(taken);
            }
        }
        assert_eq!(outbox.len() as u64 + outbox.take_dropped(), 10_000);
        assert_eq!(told(&mut outbox).last().map(|last| last.2), Some(9_999), "the newest is there");
        let mut few = Outbox::new(Room { changes: 1000, bytes: 1000 });
        for number in 0..100 {
            few.put(news(Modified, &format!("p{number}"), number));
            assert!(few.bytes <= 1000 && few.len() <= 10, "{} bytes", few.bytes);
        }
    }

    #[test]
    fn what_is_taken_together_is_bounded_and_an_object_beyond_all_bounds_is_taken_alone() {
        let mut outbox = Outbox::new(ROOM);
        (0..4).for_each(|number| outbox.put(news(Modified, "a", number)));
        assert_eq!(outbox.take(Room { changes: 2, bytes: 10_000 }).len(), 2);
        assert_eq!(outbox.take(Room { changes: 8, bytes: 10 }).len(), 1);
        assert_eq!(outbox.take(Room { changes: 8, bytes: 150 }).len(), 1);
    }
}
