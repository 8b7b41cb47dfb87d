//! Everybody who is busy while things go wrong: the writers, and whoever else works beside them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::dev::http::Http;
use crate::dice::Dice;
use crate::kinds::KINDS;
use crate::truth::items;
use crate::writer::{Knowledge, Shared, Writer};

const WRITERS: usize = 4;

/// They stop when it is dropped, before whatever they work with goes.
pub struct Crowd {
    pub shared: Arc<Shared>,
    /// What each writer knows.
    pub known: Vec<Arc<Mutex<Knowledge>>>,
    busy: Vec<JoinHandle<()>>,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if std::thread::panicking() {
            self.shared.log.tell();
        }
        for busy in self.busy.drain(..) {
            let _ = busy.join();
        }
    }
}

impl Crowd {
    /// Nobody yet.
    pub fn new() -> Self {
        let known = (0..WRITERS).map(|_| Arc::default()).collect();
        Self { shared: Arc::new(Shared::new()), known, busy: Vec::new() }
    }

    /// Writers begin, at these APIs in turn: each with where it listens.
    pub fn write(&mut self, apis: &[(String, Http)], dice: &mut Dice) {
        for (number, known) in self.known.clone().into_iter().enumerate() {
            let (listen, api) = apis[number % apis.len()].clone();
            let (dice, shared, others) = (dice.split(), self.shared.clone(), apis.len() > 1);
            let writer = Writer { number, listen, api, dice, known, shared, others };
            self.join(move || writer.write());
        }
    }

    /// Somebody else begins.
    pub fn join(&mut self, work: impl FnOnce() + Send + 'static) {
        self.busy.push(std::thread::spawn(work));
    }

    /// Somebody who stopped found something wrong.
    #[track_caller]
    pub fn fail_with_one(&mut self) {
        if let Some(place) = self.busy.iter().position(JoinHandle::is_finished) {
            self.busy.swap_remove(place).join().expect("who is busy finds nothing wrong");
        }
    }

    /// Everybody goes home.
    #[track_caller]
    pub fn go_home(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for busy in self.busy.drain(..) {
            busy.join().expect("who is busy finds nothing wrong");
        }
    }
}

/// Takes down everything that has containers.
#[track_caller]
pub fn take_down(api: &Http) {
    for place in [3, 2] {
        for object in items(&api.get(KINDS[place].path)) {
            let name = object["metadata"]["name"].as_str().expect("a name");
            let told = api.call("DELETE", &format!("{}/{name}", KINDS[place].path), None);
            assert!(matches!(told, Ok((200..300 | 404, _))), "{name}: {told:?}");
        }
    }
}
