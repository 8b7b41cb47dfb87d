//! Events are counted, not repeated, and only the last of them are kept.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;
use mkube_messages::objects::ObjectKey;
use mkube_model::kinds::{EventFacts, coalesce, new_event};
use mkube_model::metadata;
use serde_json::Value;

/// What to do with the store.
#[derive(Debug, PartialEq)]
pub enum EventWrite {
    /// Write this event.
    Put(ObjectKey, Value),
    /// Forget this event.
    Delete(ObjectKey),
}

/// What happened and is not stored yet, and which events there are.
#[derive(Debug)]
pub struct EventBook {
    /// Name of this node.
    node: String,
    /// Events kept.
    most: usize,
    /// Stored events, oldest first; those of others without what they say.
    ring: VecDeque<(ObjectKey, Option<EventFacts>)>,
    /// Happened since the last writing: how often.
    pending: Vec<(EventFacts, u64)>,
    /// Makes names unique.
    counter: u64,
}

impl EventBook {
    /// Nothing is known yet of what this node wrote; so many events are kept.
    pub fn new(node: &str, most: usize) -> Self {
        Self { node: node.to_owned(), most, ring: VecDeque::new(), pending: Vec::new(), counter: 0 }
    }

    /// Learns what is stored.
    pub fn load<'a>(&mut self, events: impl Iterator<Item = (&'a ObjectKey, &'a Value)>) {
        let mut found: Vec<(&str, &ObjectKey, &Value)> =
            events.map(|(key, event)| (last_seen(event), key, event)).collect();
        found.sort_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1)));
        self.ring = found.into_iter().map(|(_, key, event)| (key.clone(), self.own_facts(event))).collect();
    }

    /// Somebody stored an event: ourselves, another controller or a client.
    pub fn stored(&mut self, key: &ObjectKey, event: &Value) {
        if !self.ring.iter().any(|(one, _)| one == key) {
            self.ring.push_back((key.clone(), self.own_facts(event)));
        }
    }

    /// An event is gone.
    pub fn gone(&mut self, key: &ObjectKey) {
        self.ring.retain(|(one, _)| one != key);
    }

    /// The oldest of those that are too many.
    pub fn excess(&mut self) -> Vec<ObjectKey> {
        let many = self.ring.len().saturating_sub(self.most);
        self.ring.drain(..many).map(|(key, _)| key).collect()
    }

    /// What an event says that this node wrote. Another one's is counted by that.
    fn own_facts(&self, event: &Value) -> Option<EventFacts> {
        let ours = event["source"]["component"] == "mkube" && event["source"]["host"] == self.node.as_str();
        ours.then(|| facts_of(event))
    }

    /// Something happened.
    pub fn record(&mut self, facts: EventFacts) {
        match self.pending.iter_mut().find(|(known, _)| *known == facts) {
            Some((_, times)) => *times += 1,
            // A storm of different events keeps the newest of them.
            None => {
                if self.pending.len() >= self.most {
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
    pub fn flush(&mut self, now: Timestamp, current: impl Fn(&ObjectKey) -> Option<Value>) -> Vec<EventWrite> {
        let mut writes = Vec::new();
        let mut known: HashMap<EventFacts, ObjectKey> =
            self.ring.iter().filter_map(|(key, facts)| Some((facts.clone()?, key.clone()))).collect();
        for (facts, times) in std::mem::take(&mut self.pending) {
            let stored = known.get(&facts).and_then(|key| current(key).map(|event| (key.clone(), event)));
            if let Some((key, mut event)) = stored {
                coalesce(&mut event, times, now);
                self.ring.retain(|(one, _)| *one != key);
                self.ring.push_back((key.clone(), Some(facts)));
                writes.push(EventWrite::Put(key, event));
                continue;
            }
            self.counter += 1;
            let unique = (now.as_microsecond() as u64).wrapping_add(self.counter);
            let mut event = new_event(&facts, &self.node, unique, now);
            if times > 1 {
                coalesce(&mut event, times - 1, now);
            }
            let key = ObjectKey::new(metadata::namespace(&event), metadata::name(&event));
            known.insert(facts.clone(), key.clone());
            self.ring.push_back((key.clone(), Some(facts)));
            writes.push(EventWrite::Put(key, event));
        }
        for key in self.excess() {
            writes.retain(|write| !matches!(write, EventWrite::Put(one, _) if *one == key));
            writes.push(EventWrite::Delete(key));
        }
        writes
    }
}

/// When it last happened, as Kubernetes' own clients say it in one field or the other.
fn last_seen(event: &Value) -> &str {
    let places = ["/lastTimestamp", "/series/lastObservedTime", "/eventTime", "/metadata/creationTimestamp"];
    places.iter().find_map(|place| event.pointer(place)?.as_str()).unwrap_or_default()
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

    const MOST: usize = 20;

    fn book() -> EventBook {
        EventBook::new("n", MOST)
    }

    #[test]
    fn equal_events_are_counted() {
        let mut book = book();
        book.record(facts("a"));
        book.record(facts("a"));
        let writes = book.flush(now(), |_| None);
        let [EventWrite::Put(key, event)] = writes.as_slice() else { panic!("{writes:?}") };
        assert_eq!(event["count"], 2);
        book.record(facts("a"));
        let later = now() + jiff::SignedDuration::from_secs(60);
        let again = book.flush(later, |one| (one == key).then(|| event.clone()));
        let [EventWrite::Put(one, again)] = again.as_slice() else { panic!("{again:?}") };
        assert_eq!((one, &again["count"]), (key, &3.into()));
        assert_eq!(again["firstTimestamp"], "2026-01-01T00:00:00Z");
        assert_eq!(again["lastTimestamp"], "2026-01-01T00:01:00Z");
    }

    #[test]
    fn only_the_last_are_kept() {
        let mut book = book();
        for number in 0..MOST {
            book.record(facts(&number.to_string()));
        }
        assert_eq!(book.flush(now(), |_| None).len(), MOST);
        book.record(facts("one more"));
        let writes = book.flush(now(), |_| None);
        assert!(matches!(writes.as_slice(), [EventWrite::Put(..), EventWrite::Delete(_)]), "{writes:?}");
    }

    #[test]
    fn events_of_others_take_room_and_are_counted_by_others() {
        let mut book = book();
        let by = |node: &str, name: &str| {
            let mut event = new_event(&facts("a"), node, 1, now());
            event["metadata"]["name"] = name.into();
            event
        };
        let key = |name: &str| ObjectKey::new("d", name);
        for number in 0..MOST {
            let name = format!("other{number}");
            book.stored(&key(&name), &by("another", &name));
        }
        assert_eq!(book.excess(), []);
        // Said once more, it takes no more room.
        book.stored(&key("other3"), &by("another", "other3"));
        assert_eq!(book.excess(), []);
        book.record(facts("a"));
        let writes = book.flush(now(), |key| Some(by("another", &key.name)));
        let [EventWrite::Put(own, event), EventWrite::Delete(oldest)] = writes.as_slice() else { panic!("{writes:?}") };
        assert_eq!((oldest, &event["count"]), (&key("other0"), &1.into()));
        book.stored(own, event);
        book.gone(&key("other1"));
        book.stored(&key("new"), &by("another", "new"));
        assert_eq!(book.excess(), [], "who is gone makes room");
        book.stored(&key("newer"), &by("another", "newer"));
        assert_eq!(book.excess(), [key("other2")]);
    }
}
