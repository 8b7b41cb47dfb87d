//! Somebody who writes all the time, and remembers what was answered.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use serde_json::{Value, json};

use crate::dev::http::Http;
use crate::dev::pause;
use crate::dice::Dice;
use crate::kinds::{KINDS, Kind};
use crate::log::Log;
use crate::truth::lasting;

/// What an object has that is being deleted.
const MARKED: &str = "\"deletionTimestamp\"";
/// What is said of a write that somebody else's came before.
const BY_OTHERS: &str = "was changed in the store by somebody else";
const MERGE: &str = "application/merge-patch+json";

/// What the parties of the story share.
pub struct Shared {
    pub log: Log,
    pub stop: AtomicBool,
    /// Requests that were sent, or are about to be.
    pub sent: AtomicU64,
    /// Requests that were answered with success.
    pub acknowledged: AtomicU64,
    /// The highest resourceVersion of each kind that was seen.
    pub newest: [AtomicU64; KINDS.len()],
    /// Writers read it while they write; who wants silence writes.
    pub quiet: RwLock<()>,
}

impl Shared {
    pub fn new() -> Self {
        Self {
            log: Log::new(),
            stop: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            newest: Default::default(),
            quiet: RwLock::new(()),
        }
    }
}

/// Numbers an object may have now; `None` is absence. More than one: nobody heard what became of a write.
pub type Possible = Vec<Option<u64>>;

/// Everything a writer knows: by place of the kind, and name.
pub type Knowledge = BTreeMap<(usize, String), Possible>;

/// One writer, whose objects nobody else writes.
pub struct Writer {
    pub number: usize,
    /// Where the API listens.
    pub listen: String,
    pub api: Http,
    pub dice: Dice,
    pub known: Arc<Mutex<Knowledge>>,
    pub shared: Arc<Shared>,
    /// Another controller writes to the same objects: of two writes at once one is refused.
    pub others: bool,
}

/// How a request went.
#[derive(PartialEq, Eq)]
enum Heard {
    Answer,
    NotNow,
    Nothing,
}

/// What is asked for.
enum Ask {
    Create(u64),
    Patch(u64),
    /// With a resourceVersion of long ago: must be refused.
    PatchFromLongAgo(u64),
    Delete,
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    /// Writes until told to stop.
    pub fn write(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let shared = self.shared.clone();
            let heard = {
                let _writing = shared.quiet.read().unwrap_or_else(PoisonError::into_inner);
                self.one()
            };
            if heard == Heard::Nothing {
                // The first one to be there when it is back.
                while TcpStream::connect(&self.listen).is_err() && !shared.stop.load(Ordering::Relaxed) {
                    pause(Duration::from_millis(2));
                }
            } else if heard == Heard::NotNow {
                // NATS is away.
                pause(Duration::from_millis(20));
            } else if self.dice.roll(8) == 0 {
                pause(Duration::from_millis(self.dice.roll(20)));
            }
        }
    }

    /// One write.
    fn one(&mut self) -> Heard {
        // ConfigMaps and Secrets most of the time: pods make work for the device.
        let place = *self.dice.pick(&[0, 0, 0, 0, 1, 1, 2, 2, 3]);
        let kind = &KINDS[place];
        let name = format!("{}-{}-{}", kind.name, self.number, self.dice.roll(kind.names));
        let at = (place, name.clone());
        let now = lock(&self.known).get(&at).cloned().unwrap_or_else(|| vec![None]);
        let number = self.dice.roll(1 << 40);
        let ask = match (now.as_slice(), self.dice.roll(8)) {
            ([None], _) => Ask::Create(number),
            ([Some(_)], 0 | 1) => Ask::Delete,
            ([Some(_)], 2) => Ask::PatchFromLongAgo(number),
            _ => Ask::Patch(number),
        };
        let then = match ask {
            Ask::Create(number) | Ask::Patch(number) => Some(number),
            Ask::PatchFromLongAgo(_) => now[0],
            Ask::Delete => None,
        };
        // Until somebody says what became of it.
        let mut maybe = now.clone();
        maybe.push(then);
        lock(&self.known).insert(at.clone(), maybe);
        let told = self.ask(kind, &name, &ask);
        let what = match ask {
            Ask::Create(number) => format!("create {name} {number:x}"),
            Ask::Patch(number) => format!("patch {name} {number:x}"),
            Ask::PatchFromLongAgo(_) => format!("patch {name} from long ago"),
            Ask::Delete => format!("delete {name}"),
        };
        let settled = match &told {
            Ok((409, text)) if self.others && text.contains(BY_OTHERS) => Some(now),
            Ok((status, text)) => match settled(kind, &ask, &now, then, (*status, text.contains(MARKED))) {
                Ok(settled) => settled,
                Err(()) => panic!("{what}: answered {status} {text}, and it could be {now:x?}"),
            },
            Err(_) => None,
        };
        if matches!(told, Ok((503, _))) {
            // Nothing can be written now, and nothing is to be told of it.
            pause(Duration::from_millis(20));
        } else {
            let heard = told.as_ref().map_or_else(|_| "no answer".to_owned(), |(status, _)| status.to_string());
            self.shared.log.note(&format!("{what}: {heard}"));
        }
        if let Ok((200..300, text)) = &told {
            let object: Value = serde_json::from_str(text).unwrap_or(Value::Null);
            self.shared.newest[place].fetch_max(lasting(&object).unwrap_or(0), Ordering::Relaxed);
            self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(settled) = settled {
            lock(&self.known).insert(at, settled);
        }
        match told {
            Err(_) => Heard::Nothing,
            Ok((503, _)) => Heard::NotNow,
            Ok(_) => Heard::Answer,
        }
    }

    fn ask(&self, kind: &Kind, name: &str, ask: &Ask) -> Result<(u16, String), String> {
        let one = format!("{}/{name}", kind.path);
        let send = |method: &str, path: &str, body: Option<(&str, String)>| {
            self.shared.sent.fetch_add(1, Ordering::Relaxed);
            self.api.send(method, path, body.as_ref().map(|(kind, text)| (*kind, text.as_str())))
        };
        match ask {
            Ask::Create(number) => {
                send("POST", kind.path, Some(("application/json", kind.make(name, *number).to_string())))
            }
            Ask::Patch(number) => send("PATCH", &one, Some((MERGE, kind.patch(*number).to_string()))),
            Ask::PatchFromLongAgo(number) => {
                let mut patch = kind.patch(*number);
                patch["metadata"]["resourceVersion"] = json!("1");
                send("PATCH", &one, Some((MERGE, patch.to_string())))
            }
            Ask::Delete => send("DELETE", &one, None),
        }
    }
}

/// What the object may be after an answer; none: as much in doubt as before it. An answer that cannot be right is an error.
fn settled(
    kind: &Kind,
    ask: &Ask,
    now: &Possible,
    then: Option<u64>,
    (status, marked): (u16, bool),
) -> Result<Option<Possible>, ()> {
    let maybe_absent = now.contains(&None);
    match (status, ask) {
        (200..300, Ask::PatchFromLongAgo(_)) => Err(()),
        // It was deleted when nobody was there to hear the answer, and may still be written to while it is taken down.
        (200..300, Ask::Patch(_)) if marked && maybe_absent => Ok(Some(vec![None])),
        (200..300, Ask::Patch(_) | Ask::Create(_)) if marked => Err(()),
        (200..300, _) => Ok(Some(vec![then])),
        (409, Ask::PatchFromLongAgo(_)) => Ok(Some(now.clone())),
        // One of that name is still being taken down.
        (409, Ask::Create(_)) if kind.lingers => Ok(Some(now.clone())),
        (404, Ask::Patch(_) | Ask::Delete) if maybe_absent => Ok(Some(vec![None])),
        // What is being taken down may be patched no more.
        (409 | 422, Ask::Patch(_)) if kind.lingers && maybe_absent => Ok(Some(now.clone())),
        // Refused: nothing was changed.
        (429 | 503, _) => Ok(Some(now.clone())),
        // It did not hear in time what became of it.
        (504, _) => Ok(None),
        _ => Err(()),
    }
}
