//! What a consumer sends, and whether anything is missing in it.

use std::collections::BTreeMap;

use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use mkube_model::neighbours::desired_store::{Revision, StoreKey};
use tokio::time::Instant;

use super::snapshot::Known;

/// Headers of a change that is a deletion. Servers that delete by themselves say why.
const OPERATION: &str = "KV-Operation";
const MARKER: &str = "Nats-Marker-Reason";
/// In a sign of life: how many messages were sent before it.
const LAST_CONSUMER: &str = "Nats-Last-Consumer";
/// In a sign of life: the place in its stream up to which everything was sent.
const LAST_STREAM: &str = "Nats-Last-Stream";
/// In a sign of life: it waits for an answer to this subject before it goes on.
const STALLED: &str = "Nats-Consumer-Stalled";
/// Status of signs of life.
const LIFE: u16 = 100;

/// One key of a bucket, as its stream has it.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) at: StoreKey,
    pub(crate) known: Known,
    pub(crate) value: Bytes,
}

/// Places in a stream that a consumer passed over: of whatever stands there it said nothing. Mostly nothing does, as a newer change of
/// the same key came after it. But a server that takes messages away passes over others too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) bucket: String,
    /// The first place.
    pub(crate) from: Revision,
    /// The one behind the last place.
    pub(crate) to: Revision,
}

/// What a message means.
pub(crate) enum Meaning {
    /// A key changed.
    Change(Delivered),
    /// Nothing; where an answer is waited for, that it is to be sent there.
    Life(Option<Subject>),
}

/// What was heard from one consumer.
#[derive(Debug, Clone)]
struct Heard {
    /// Messages so far.
    messages: u64,
    /// The last place in its stream.
    revision: Revision,
    when: Instant,
    /// What is left of the first reading.
    first: Option<First>,
    /// It brought less than the server counted on.
    is_short: bool,
    /// Where it may have left something out.
    passed_over: Vec<Gap>,
}

/// The first reading of a bucket: everything that was there when it began.
#[derive(Debug, Clone, Copy)]
struct First {
    /// Messages that were to come, as the server counts them.
    expected: u64,
    /// The last place of the stream. What comes behind it was not there yet, so that the reading ends however busy others are.
    last: Revision,
}

/// The consumers of all buckets, told apart by the last token of the subject they send to.
pub(crate) struct Deliveries {
    inbox: String,
    heard: BTreeMap<String, Heard>,
}

impl Deliveries {
    pub(crate) fn new(inbox: String) -> Self {
        Self { inbox, heard: BTreeMap::new() }
    }

    /// Where the consumer of a bucket sends to.
    pub(crate) fn subject_of(&self, bucket: &str) -> String {
        format!("{}.{bucket}", self.inbox)
    }

    /// A consumer begins, with so many messages to come up to a place of its stream.
    pub(crate) fn begin(&mut self, bucket: &str, expected: u64, last: Revision) {
        let first = (expected > 0).then_some(First { expected, last });
        let (when, passed_over) = (Instant::now(), Vec::new());
        let heard = Heard { messages: 0, revision: 0, when, first, is_short: false, passed_over };
        self.heard.insert(bucket.to_owned(), heard);
    }

    /// Nothing is outstanding of the first reading.
    pub(crate) fn is_complete(&self) -> bool {
        self.heard.values().all(|heard| heard.first.is_none())
    }

    /// Where the first reading of a bucket may have left something out: fewer messages came than were to come, or fewer keys than there are.
    pub(crate) fn take_doubts(&mut self, bucket: &str, has_fewer: bool) -> Vec<Gap> {
        let Some(heard) = self.heard.get_mut(bucket) else { return Vec::new() };
        let gaps = std::mem::take(&mut heard.passed_over);
        if heard.is_short || has_fewer { gaps } else { Vec::new() }
    }

    /// The time before now counts as if everybody had been heard.
    pub(crate) fn forgive(&mut self) {
        for heard in self.heard.values_mut() {
            heard.when = Instant::now();
        }
    }

    /// A bucket whose consumer was not heard of since.
    pub(crate) fn silent_since(&self, since: Instant) -> Option<&str> {
        self.heard.iter().find(|(_, heard)| heard.when < since).map(|(bucket, _)| bucket.as_str())
    }

    /// What a message means, and what was passed over before it; why nothing can be made of it, or what is missing before it.
    pub(crate) fn read(&mut self, message: Message) -> Result<(Meaning, Option<Gap>), String> {
        if message.status.is_some_and(|status| status.as_u16() == LIFE) {
            return self.life(&message);
        }
        let place = message.reply.as_deref().and_then(place).ok_or("JetStream sent what is no message of a stream")?;
        let at = key_of(&message.subject).ok_or("JetStream sent a change of no bucket")?;
        let heard = self.heard.get_mut(&at.bucket).ok_or("JetStream sent a change of a bucket nobody asked for")?;
        if place.message != heard.messages + 1 {
            return Err(format!("changes of bucket {} were lost on the way", at.bucket));
        }
        let gap = heard.up_to(&at.bucket, place.revision);
        (heard.messages, heard.revision, heard.when) = (place.message, place.revision, Instant::now());
        if let Some(first) = heard.first.filter(|first| place.pending == 0 || place.revision >= first.last) {
            heard.end_first(first);
        }
        let live = !message.headers.as_ref().is_some_and(is_deletion);
        let value = if live { message.payload } else { Bytes::new() };
        Ok((Meaning::Change(Delivered { at, known: Known { revision: place.revision, live }, value }), gap))
    }

    fn life(&mut self, message: &Message) -> Result<(Meaning, Option<Gap>), String> {
        let bucket = message.subject.strip_prefix(&format!("{}.", self.inbox)).unwrap_or_default();
        let Some(heard) = self.heard.get_mut(bucket) else { return Ok((Meaning::Life(None), None)) };
        heard.when = Instant::now();
        let number = |name| message.headers.as_ref()?.get(name)?.as_str().parse::<u64>().ok();
        if number(LAST_CONSUMER).is_some_and(|sent| sent > heard.messages) {
            return Err(format!("changes of bucket {bucket} were lost on the way"));
        }
        let stalled = message.headers.as_ref().and_then(|headers| headers.get(STALLED));
        let answer = message.reply.clone().or(stalled.map(|subject| Subject::from(subject.as_str())));
        let gap = number(LAST_STREAM).and_then(|last| {
            let gap = heard.up_to(bucket, last + 1);
            heard.revision = heard.revision.max(last);
            gap
        });
        // One that waits for an answer has more to send. Any other has sent all it has: what was still to come is not there any more.
        if answer.is_none()
            && let Some(first) = heard.first
        {
            if heard.revision < first.last {
                return Err(format!("what bucket {bucket} holds changed while it was read"));
            }
            heard.end_first(first);
        }
        Ok((Meaning::Life(answer), gap))
    }
}

impl Heard {
    fn end_first(&mut self, first: First) {
        (self.first, self.is_short) = (None, self.messages < first.expected);
    }

    /// What lies between the last place and this one. While everything is read for the first time it mostly says nothing, and is kept.
    fn up_to(&mut self, bucket: &str, to: Revision) -> Option<Gap> {
        let from = self.revision + 1;
        let gap = (from < to).then(|| Gap { bucket: bucket.to_owned(), from, to })?;
        if self.first.is_none() {
            return Some(gap);
        }
        self.passed_over.push(gap);
        None
    }
}

fn is_deletion(headers: &HeaderMap) -> bool {
    let operation = headers.get(OPERATION).map(|value| value.as_str());
    operation.is_some_and(|operation| operation == "DEL" || operation == "PURGE") || headers.get(MARKER).is_some()
}

/// `$KV.<bucket>.<key>`.
fn key_of(subject: &str) -> Option<StoreKey> {
    let (bucket, key) = subject.strip_prefix("$KV.")?.split_once('.')?;
    Some(StoreKey { bucket: bucket.to_owned(), key: key.to_owned() })
}

/// Where a message stands.
struct Place {
    /// In its stream.
    revision: Revision,
    /// Among those of its consumer.
    message: u64,
    /// How many follow that were there already.
    pending: u64,
}

/// `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<message>.<time>.<pending>`; newer servers put a domain and a hash of the
/// account behind `ACK`, and something random at the end.
fn place(reply: &str) -> Option<Place> {
    let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let from = match tokens.len() {
        7 => 2,
        9.. => 4,
        _ => return None,
    };
    let number = |nth: usize| tokens.get(from + nth)?.parse().ok();
    Some(Place { revision: number(1)?, message: number(2)?, pending: number(4)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_message_is_read_of_old_and_new_servers() {
        let read = |text| place(text).map(|place| (place.revision, place.message, place.pending));
        assert_eq!(read("$JS.ACK.KV_PODS.c1.1.57.4.1700000000000000000.9"), Some((57, 4, 9)));
        assert_eq!(read("$JS.ACK._.hash.KV_PODS.c1.1.57.4.1700000000000000000.9"), Some((57, 4, 9)));
        assert_eq!(read("$JS.ACK.hub.hash.KV_PODS.c1.1.57.4.1700000000000000000.9.x7"), Some((57, 4, 9)));
        assert_eq!(read("$JS.ACK.KV_PODS.c1.1"), None);
        assert_eq!(read("_INBOX.1"), None);
    }

    fn message(subject: &str, reply: &str, status: Option<u16>, headers: HeaderMap) -> Message {
        Message {
            subject: subject.into(),
            reply: (!reply.is_empty()).then(|| reply.into()),
            payload: Bytes::new(),
            headers: Some(headers),
            status: status.and_then(|status| status.try_into().ok()),
            description: None,
            length: 0,
        }
    }

    #[tokio::test]
    async fn a_message_that_is_missing_is_noticed_by_the_next_one_or_by_a_sign_of_life() {
        let begun = || {
            let mut deliveries = Deliveries::new("_INBOX.a".to_owned());
            deliveries.begin("PODS", 3, 43);
            deliveries
        };
        let change = |nth: u64| {
            let reply = format!("$JS.ACK.KV_PODS.c.1.{}.{nth}.1.{}", 40 + nth, 3 - nth);
            message("$KV.PODS.d.a", &reply, None, HeaderMap::new())
        };
        let mut deliveries = begun();
        for nth in 1..=3 {
            assert!(!deliveries.is_complete());
            let Ok((Meaning::Change(delivered), None)) = deliveries.read(change(nth)) else { panic!("a change") };
            assert_eq!((delivered.at.key.as_str(), delivered.known.revision), ("d.a", 40 + nth));
        }
        assert!(deliveries.is_complete());

        let mut deliveries = begun();
        assert!(deliveries.read(change(1)).is_ok() && deliveries.read(change(3)).is_err());

        let life = |sent: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LAST_CONSUMER, sent);
            message("_INBOX.a.PODS", "", Some(LIFE), headers)
        };
        let mut deliveries = begun();
        assert!((1..=3).all(|nth| deliveries.read(change(nth)).is_ok()) && deliveries.read(life("3")).is_ok());
        assert!(deliveries.read(life("4")).is_err());
    }

    #[tokio::test]
    async fn who_has_nothing_more_to_send_of_a_first_reading_that_is_not_over_is_not_waited_for() {
        let begun = || {
            let mut deliveries = Deliveries::new("_INBOX.a".to_owned());
            deliveries.begin("PODS", 2, 42);
            let first = message("$KV.PODS.d.a", "$JS.ACK.KV_PODS.c.1.41.1.1.1", None, HeaderMap::new());
            deliveries.read(first).expect("the first one");
            deliveries
        };
        let life = |more: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(LAST_CONSUMER, "1");
            more.into_iter().for_each(|subject| headers.insert(STALLED, subject));
            message("_INBOX.a.PODS", "", Some(LIFE), headers)
        };
        assert!(begun().read(life(None)).is_err(), "the second one is not there any more");
        let answered = begun().read(life(Some("$JS.FC.x")));
        assert!(matches!(answered, Ok((Meaning::Life(Some(_)), None))), "it waits for a word, and goes on then");
    }

    #[tokio::test]
    async fn places_that_are_passed_over_are_told_once_the_first_reading_is_over() {
        let mut deliveries = Deliveries::new("_INBOX.a".to_owned());
        deliveries.begin("PODS", 2, 9);
        let mut change = |nth: u64, revision: u64, pending: u64| {
            let reply = format!("$JS.ACK.KV_PODS.c.1.{revision}.{nth}.1.{pending}");
            deliveries.read(message("$KV.PODS.d.a", &reply, None, HeaderMap::new())).expect("fine").1
        };
        let gap = |from, to| Some(Gap { bucket: "PODS".to_owned(), from, to });
        assert_eq!([change(1, 5, 1), change(2, 9, 0), change(3, 10, 0)], [None, None, None]);
        assert_eq!([change(4, 14, 0), change(5, 15, 0)], [gap(11, 14), None]);
        let mut life = |last: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LAST_CONSUMER, "5");
            headers.insert(LAST_STREAM, last);
            deliveries.read(message("_INBOX.a.PODS", "", Some(LIFE), headers)).expect("fine").1
        };
        assert_eq!([life("15"), life("20"), life("20"), life("21")], [None, gap(16, 21), None, gap(21, 22)]);
    }
}
