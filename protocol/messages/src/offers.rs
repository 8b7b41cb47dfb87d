//! Files offered to the device over HTTP: published by whoever offers, served by the HTTP edge.
//!
//! An offer is one file behind one unguessable word, for a while. It is used up when the file was sent once from its first byte to
//! its last, in one piece or in several; and it ends with the [`Offered`] of whoever made it, also in the middle of a download.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Path of the route that serves offers; the word follows.
pub const OFFERS_PATH: &str = "/offers/";
/// Downloads of one offer at the same time: one, and one that is cut and not noticed yet.
const READINGS: usize = 2;

/// The offers there are. Clones are one table.
#[derive(Clone, Default)]
pub struct Offers(Arc<Mutex<HashMap<String, Arc<Offer>>>>);

/// One file on offer.
pub struct Offer {
    path: PathBuf,
    bytes: u64,
    expires: Instant,
    state: Mutex<State>,
}

struct State {
    /// Bytes sent from the beginning, without a gap.
    sent: u64,
    readings: usize,
    /// When something was last sent or asked for.
    touched: Instant,
    over: bool,
}

/// An offer as whoever made it holds it: the offer ends with it.
pub struct Offered {
    offers: Offers,
    token: String,
    offer: Arc<Offer>,
}

/// One download while it goes on.
pub struct Reading(Arc<Offer>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Offers {
    /// Offers a file of `bytes` bytes behind `token` for as long as `lasting`.
    pub fn offer(&self, token: String, path: PathBuf, bytes: u64, lasting: Duration) -> Offered {
        let now = Instant::now();
        let state = Mutex::new(State { sent: 0, readings: 0, touched: now, over: false });
        let offer = Arc::new(Offer { path, bytes, expires: now + lasting, state });
        lock(&self.0).insert(token.clone(), offer.clone());
        Offered { offers: self.clone(), token, offer }
    }

    /// The offer behind a word, while it stands.
    pub fn find(&self, token: &str) -> Option<Arc<Offer>> {
        lock(&self.0).get(token).filter(|offer| offer.stands()).cloned()
    }
}

impl Offer {
    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn stands(&self) -> bool {
        let state = lock(&self.state);
        !state.over && state.sent < self.bytes && Instant::now() < self.expires
    }

    /// Begins a download; nothing when there are too many of this offer.
    pub fn read(self: &Arc<Self>) -> Option<Reading> {
        let mut state = lock(&self.state);
        if state.readings >= READINGS {
            return None;
        }
        state.readings += 1;
        state.touched = Instant::now();
        Some(Reading(self.clone()))
    }
}

impl Reading {
    /// Whether it may go on.
    pub fn goes_on(&self) -> bool {
        !lock(&self.0.state).over && Instant::now() < self.0.expires
    }

    /// Notes that `count` bytes from `at` on were sent.
    pub fn sent(&self, at: u64, count: u64) {
        let mut state = lock(&self.0.state);
        state.touched = Instant::now();
        if at <= state.sent {
            state.sent = state.sent.max(at + count);
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.readings -= 1;
        state.touched = Instant::now();
    }
}

impl Offered {
    /// The address below `base`.
    pub fn url(&self, base: &str) -> String {
        format!("{}{OFFERS_PATH}{}", base.trim_end_matches('/'), self.token)
    }

    /// For how long nobody has read from it; nothing while somebody does.
    pub fn idle(&self) -> Option<Duration> {
        let state = lock(&self.offer.state);
        (state.readings == 0).then(|| state.touched.elapsed())
    }

    /// Whether it was sent completely.
    pub fn is_used_up(&self) -> bool {
        lock(&self.offer.state).sent >= self.offer.bytes
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        lock(&self.offers.0).remove(&self.token);
        lock(&self.offer.state).over = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(offers: &Offers) -> Offered {
        offers.offer("word".into(), "/cache/x.tar".into(), 100, Duration::from_secs(60))
    }

    #[tokio::test(start_paused = true)]
    async fn an_offer_stands_until_it_was_sent_once_in_one_piece_or_several() {
        let offers = Offers::default();
        let offered = offered(&offers);
        assert!(offers.find("other").is_none());
        let reading = offers.find("word").and_then(|offer| offer.read()).expect("on offer");
        reading.sent(0, 60);
        drop(reading);
        let again = offers.find("word").expect("cut downloads are continued");
        let reading = again.read().expect("on offer");
        // The end alone is not the whole file.
        reading.sent(90, 10);
        assert!(offers.find("word").is_some() && !offered.is_used_up());
        reading.sent(50, 50);
        assert!(offers.find("word").is_none() && offered.is_used_up());
        assert!(reading.goes_on(), "what is under way may end");
    }

    #[tokio::test(start_paused = true)]
    async fn an_offer_ends_with_its_time_and_with_whoever_made_it() {
        let offers = Offers::default();
        let first = offered(&offers);
        let reading = offers.find("word").and_then(|offer| offer.read()).expect("on offer");
        assert_eq!(first.idle(), None);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(offers.find("word").is_none() && !reading.goes_on());
        drop(first);
        let second = offered(&offers);
        let reading = offers.find("word").and_then(|offer| offer.read()).expect("on offer");
        drop(second);
        assert!(offers.find("word").is_none() && !reading.goes_on());
    }

    #[tokio::test(start_paused = true)]
    async fn few_read_at_the_same_time_and_the_pause_is_told() {
        let offers = Offers::default();
        let offered = offered(&offers);
        let offer = offers.find("word").expect("on offer");
        let both = (offer.read(), offer.read());
        assert!(both.0.is_some() && both.1.is_some() && offer.read().is_none());
        drop(both);
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(offered.idle(), Some(Duration::from_secs(7)));
        assert_eq!(offered.url("http://10.0.0.2:8082/"), "http://10.0.0.2:8082/offers/word");
    }
}
