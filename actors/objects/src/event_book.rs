//! Events are counted, not repeated, and only the last of them are kept.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;
use mkube_messages::objects::ObjectKey;
use mkube_model::kinds::{EventFacts, coalesce, new_event};
use mkube_model::metadata;
use serde_json::Value;

/// Events kept.
pub const RING: usize = 256;

/// What to do with the store.
#[derive(Debug, PartialEq)]
pub enum EventWrite {
    /// Write this event.
    Put(ObjectKey, Value),
    /// Forget this event.
    Delete(ObjectKey),
}

/// What happened and is not stored yet, and which events there are.
#[derive(Debug, Default)]
pub struct EventBook {
    /// Stored events, oldest first.
    ring: VecDeque<(ObjectKey, EventFacts)>,
    /// Happened since the last writing: how often.
    pending: Vec<(EventFacts, u64)>,
    /// Makes names unique.
    counter: u64,
}

impl EventBook {
    /// Learns what is stored.
    pub fn load<'a>(&mut self, events: impl Iterator<Item = (&'a ObjectKey, &'a Value)>) {
        let mut found: Vec<(&str, &ObjectKey, EventFacts)> = events
            .map(|(key, event)| (event["lastTimestamp"].as_str().unwrap_or_default(), key, facts_of(event)))
            .collect();
        found.sort_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1)));
        self.ring = found.into_iter().map(|(_, key, facts)| (key.clone(), facts)).collect();
    }

    /// Something happened.
    pub fn record(&mut self, facts: EventFacts) {
        match self.pending.iter_mut().find(|(known, _)| *known == facts) {
            Some((_, times)) => *times += 1,
            // A storm of different events keeps the newest of them.
            None => {
                if self.pending.len() >= RING {
                    self.pending.remove(0);
                }
                self.pending.push((facts, 1));
            }
        }
    }

    /// Whether anything waits to be written.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// What to write now. `current` finds a stored event.
    pub fn flush(
        &mut self,
        node: &str,
        now: Timestamp,
        current: impl Fn(&ObjectKey) -> Option<Value>,
    ) -> Vec<EventWrite> {
        let mut writes = Vec::new();
        let mut known: HashMap<EventFacts, ObjectKey> =
            self.ring.iter().map(|(key, facts)| (facts.clone(), key.clone())).collect();
        for (facts, times) in std::mem::take(&mut self.pending) {
            let stored = known.get(&facts).and_then(|key| current(key).map(|event| (key.clone(), event)));
            if let Some((key, mut event)) = stored {
                coalesce(&mut event, times, now);
                self.ring.retain(|(one, _)| *one != key);
                self.ring.push_back((key.clone(), facts));
                writes.push(EventWrite::Put(key, event));
                continue;
            }
            self.counter += 1;
            let unique = (now.as_microsecond() as u64).wrapping_add(self.counter);
            let mut event = new_event(&facts, node, unique, now);
            if times > 1 {
                coalesce(&mut event, times - 1, now);
            }
            let key = ObjectKey::new(metadata::namespace(&event), metadata::name(&event));
            known.insert(facts.clone(), key.clone());
            self.ring.push_back((key.clone(), facts));
            writes.push(EventWrite::Put(key, event));
        }
        while self.ring.len() > RING {
            if let Some((key, _)) = self.ring.pop_front() {
                writes.retain(|write| !matches!(write, EventWrite::Put(one, _) if *one == key));
                writes.push(EventWrite::Delete(key));
            }
        }
        writes
    }
}

fn facts_of(event: &Value) -> EventFacts {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    EventFacts {
        kind: text("/involvedObject/kind"),
        api_version: text("/involvedObject/apiVersion"),
        namespace: text("/involvedObject/namespace"),
        name: text("/involvedObject/name"),
        uid: text("/involvedObject/uid"),
        warning: text("/type") == "Warning",
        reason: text("/reason"),
        message: text("/message"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(message: &str) -> EventFacts {
        EventFacts {
            kind: "Pod".into(),
            api_version: "v1".into(),
            namespace: "d".into(),
            name: "p".into(),
            uid: "u".into(),
            warning: false,
            reason: "Started".into(),
            message: message.into(),
        }
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().expect("a literal")
    }

    #[test]
    fn equal_events_are_counted() {
        let mut book = EventBook::default();
        book.record(facts("a"));
        book.record(facts("a"));
        let writes = book.flush("n", now(), |_| None);
        let [EventWrite::Put(key, event)] = writes.as_slice() else { panic!("{writes:?}") };
        assert_eq!(event["count"], 2);
        book.record(facts("a"));
        let again = book.flush("n", now(), |one| (one == key).then(|| event.clone()));
        assert!(
            matches!(again.as_slice(), [EventWrite::Put(one, event)] if one == key && event["count"] == 3),
            "{again:?}"
        );
    }

    #[test]
    fn only_the_last_are_kept() {
        let mut book = EventBook::default();
        for number in 0..RING {
            book.record(facts(&number.to_string()));
        }
        assert_eq!(book.flush("n", now(), |_| None).len(), RING);
        book.record(facts("one more"));
        let writes = book.flush("n", now(), |_| None);
        assert!(matches!(writes.as_slice(), [EventWrite::Put(..), EventWrite::Delete(_)]), "{writes:?}");
    }
}
