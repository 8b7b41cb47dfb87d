//! The device as the real client sees it, with calls recorded and failures on cue.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mkube_model::neighbours::router::{Router, RouterFault};
use mkube_router_machine::{Answer, Request, Verb};
use mkube_routeros::{RestRouter, Wire, WireAnswer, WireRequest};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cue::{Cue, Cues};
use crate::fake_device::{FakeDevice, Timings, get, path};
use crate::relay::Crossings;

/// A recorded request.
#[derive(Debug, Clone)]
pub struct Call {
    /// When it arrived.
    pub at: Instant,
    /// Such as `POST /container/add`.
    pub operation: String,
    /// Its body, or null.
    pub body: Value,
}

struct Inner {
    device: FakeDevice,
    cues: Cues,
    calls: Vec<Call>,
    /// What each question was answered last.
    answered: BTreeMap<String, Answer>,
    away: bool,
    away_until: Option<Instant>,
    in_flight: usize,
    most_in_flight: usize,
    crossings: Option<Crossings>,
}

/// A device in process. Clone handles freely; they are one device.
#[derive(Clone)]
pub struct FakeRouter(Arc<Mutex<Inner>>);

impl FakeRouter {
    /// A factory-new device of a release such as `7.23.2`, with the archives `/cache/*.tar` a test names.
    pub fn new(version: &str) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            device: FakeDevice::new(version),
            cues: Cues::default(),
            calls: Vec::new(),
            answered: BTreeMap::new(),
            away: false,
            away_until: None,
            in_flight: 0,
            most_in_flight: 0,
            crossings: None,
        })))
    }

    /// The real client, over this device.
    pub fn router(&self) -> Arc<dyn Router> {
        Arc::new(RestRouter::over(Arc::new(self.clone())))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long things take from now on.
    pub fn set_timings(&self, timings: Timings) {
        self.inner().device.timings = timings;
    }

    /// Every call passes these crossings too.
    pub fn set_crossings(&self, crossings: Crossings) {
        self.inner().crossings = Some(crossings);
    }

    /// Unreachable from now on, or back.
    pub fn set_away(&self, away: bool) {
        self.inner().away = away;
    }

    /// The `nth` call (from 1) of an operation such as `POST /container/add` goes wrong.
    pub fn cue(&self, operation: &str, nth: usize, cue: Cue) {
        self.inner().cues.nth(operation, nth, cue);
    }

    /// Every call of an operation goes wrong, until [`FakeRouter::clear_cues`].
    pub fn cue_every(&self, operation: &str, cue: Cue) {
        self.inner().cues.every(operation, cue);
    }

    /// Nothing goes wrong from now on.
    pub fn clear_cues(&self) {
        self.inner().cues.clear();
    }

    /// A file that exists on the device, such as an image archive.
    pub fn add_file(&self, file: &str) {
        self.inner().device.files.sizes.insert(path(file), 1024);
    }

    /// Bytes of a file of the device.
    pub fn size_of(&self, file: &str) -> Option<u64> {
        self.inner().device.files.sizes.get(&path(file)).copied()
    }

    /// What the device can download from now on: the size of what lies at an address.
    pub fn set_web(&self, web: impl Fn(&str) -> Option<u64> + Send + 'static) {
        self.inner().device.files.web = Some(Box::new(web));
    }

    /// A file that was on the device is gone, whoever took it.
    pub fn remove_file(&self, file: &str) {
        self.inner().device.files.sizes.remove(&path(file));
    }

    /// Whether a path exists on the device.
    pub fn has_file(&self, file: &str) -> bool {
        self.inner().device.files.contains(&path(file))
    }

    /// An archive that cannot be unpacked.
    pub fn spoil_archive(&self, file: &str, why: &str) {
        self.inner().device.bad_archives.insert(path(file), why.to_owned());
    }

    /// Processes of this archive end by themselves, so long after their start and with this code.
    pub fn end_processes_of(&self, file: &str, after: Duration, code: i32) {
        self.inner().device.endings.insert(path(file), (after, code));
    }

    /// Processes of this archive never come up, however long they are waited for.
    pub fn hang_starts_of(&self, file: &str) {
        self.inner().device.hanging.insert(path(file));
    }

    /// Processes of this archive do not end when they are asked to; they are killed when the device's patience is over.
    pub fn deafen_processes_of(&self, file: &str) {
        self.inner().device.deaf.insert(path(file));
    }

    /// The power is cut now and comes back after a while; the device answers again when it has booted.
    pub fn reboot(&self, away: Duration) {
        let mut inner = self.inner();
        let back = Instant::now() + away;
        inner.away_until = inner.away_until.max(Some(back));
        inner.device.reboot(back);
    }

    /// Nobody answers for so long.
    pub fn go_away_for(&self, time: Duration) {
        let mut inner = self.inner();
        inner.away_until = inner.away_until.max(Some(Instant::now() + time));
    }

    /// It answers again, unless it is without power.
    pub fn come_back(&self) {
        let mut inner = self.inner();
        inner.away = false;
        inner.away_until = inner.device.boots_at;
    }

    /// Whether nobody answers now.
    pub fn is_away(&self) -> bool {
        let inner = self.inner();
        inner.away || inner.away_until.is_some_and(|until| Instant::now() < until)
    }

    /// When it was started last.
    pub fn booted_at(&self) -> Instant {
        self.inner().device.born
    }

    /// How often the process of each container was started, by the row's id.
    pub fn starts(&self) -> BTreeMap<String, u64> {
        let inner = self.inner();
        inner.device.starts.iter().map(|(number, starts)| (format!("*{number:X}"), *starts)).collect()
    }

    /// The archive is good again.
    pub fn mend_archive(&self, file: &str) {
        self.inner().device.bad_archives.remove(&path(file));
    }

    /// Requests so far.
    pub fn calls(&self) -> Vec<Call> {
        self.inner().calls.clone()
    }

    /// Requests after the first so many.
    pub fn calls_since(&self, count: usize) -> Vec<Call> {
        self.inner().calls.get(count..).map(<[Call]>::to_vec).unwrap_or_default()
    }

    /// Number of requests of one operation so far.
    pub fn count(&self, operation: &str) -> usize {
        self.inner().calls.iter().filter(|call| call.operation == operation).count()
    }

    /// Forgets the requests so far.
    pub fn forget_calls(&self) {
        self.inner().calls.clear();
    }

    /// The most requests that were in flight at one moment.
    pub fn most_in_flight(&self) -> usize {
        self.inner().most_in_flight
    }

    /// Somebody else does something to the device. Not recorded, never fails on cue; panics when the device refuses.
    pub fn operate(&self, verb: Verb, path: &str, body: Value) -> Value {
        let segments = path.split('/').map(str::to_owned).collect();
        let answer = self.inner().device.request(&Request { verb, segments, query: vec![], body });
        assert!((200..300).contains(&answer.status), "{verb:?} {path}: {answer:?}");
        answer.body.unwrap_or_default()
    }

    /// The rows of a menu such as `interface/veth`, as the device prints them now.
    pub fn rows(&self, menu: &str) -> Vec<Value> {
        let answer = self.inner().device.request(&get(menu));
        answer.body.and_then(|body| body.as_array().cloned()).unwrap_or_default()
    }

    /// The row of that name, if there is exactly one; panics when there are more.
    pub fn row(&self, menu: &str, name: &str) -> Option<Value> {
        let mut found: Vec<Value> = self.rows(menu).into_iter().filter(|row| row["name"] == name).collect();
        assert!(found.len() < 2, "{name} exists {} times", found.len());
        found.pop()
    }

    /// Whether the container of that name runs.
    pub fn is_running(&self, name: &str) -> bool {
        self.row("container", name).is_some_and(|row| row["running"] == "true" || row["status"] == "running")
    }

    /// The process of a container ends by itself.
    pub fn end_process(&self, name: &str, code: i32) {
        let row = self.row("container", name).expect("a container of that name");
        let id = row[".id"].as_str().unwrap_or_default().trim_start_matches('*').to_owned();
        let number = u32::from_str_radix(&id, 16).expect("a row's id");
        self.inner().device.end_process(number, code);
    }

    /// Somebody else stops and removes a container, at once.
    pub fn remove_container_behind(&self, name: &str) {
        self.end_process(name, 137);
        self.operate(Verb::Delete, &format!("container/{name}"), Value::Null);
        self.inner().device.finish_removals();
    }

    /// An interface vanishes although it is in use.
    pub fn lose_veth(&self, name: &str) {
        self.inner().device.lose_veth(name);
    }

    /// Everything on the device that a person would call its state: without ids, figures and generations of directories.
    pub fn state(&self) -> Value {
        let of = |menu: &str, fields: &[&str]| -> Vec<Value> {
            let rows = self.rows(menu).into_iter();
            let mut rows: Vec<Value> = rows
                .map(|row| fields.iter().map(|field| row.get(*field).cloned().unwrap_or_default()).collect())
                .collect();
            rows.sort_by_key(Value::to_string);
            rows
        };
        json!({
            "containers": of("container", &["name", "interface", "running", "stopped", "comment", "mountlists", "envlists"]),
            "veths": of("interface/veth", &["name", "address", "gateway", "comment"]),
            "ports": of("interface/bridge/port", &["interface", "bridge", "comment"]),
            "mounts": of("container/mounts", &["list", "src", "dst"]),
            "envs": of("container/envs", &["list", "key", "value"]),
        })
    }

    /// What the crossings are, if any.
    fn crossings(&self) -> Option<Crossings> {
        self.inner().crossings.clone()
    }
}

/// Counts a request as being in flight for as long as it lives.
struct InFlight(FakeRouter);

impl InFlight {
    fn enter(router: &FakeRouter) -> Self {
        let mut inner = router.inner();
        inner.in_flight += 1;
        inner.most_in_flight = inner.most_in_flight.max(inner.in_flight);
        drop(inner);
        Self(router.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.inner().in_flight -= 1;
    }
}

fn lost(operation: String, mutating: bool) -> RouterFault {
    let cause = "connection closed before the message completed".to_owned();
    if mutating { RouterFault::ReplyLost { operation, cause } } else { RouterFault::Unreachable { operation, cause } }
}

#[async_trait]
impl Wire for FakeRouter {
    async fn exchange(&self, request: WireRequest<'_>) -> Result<WireAnswer, RouterFault> {
        let operation = request.operation();
        let (verb, mutating) = match request.method.as_str() {
            "GET" => (Verb::Get, false),
            "PUT" => (Verb::Put, true),
            "PATCH" => (Verb::Patch, true),
            "DELETE" => (Verb::Delete, true),
            _ => (Verb::Post, true),
        };
        let asked = Request {
            verb,
            segments: request.path.trim_start_matches('/').split('/').map(str::to_owned).collect(),
            query: request.query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: request.body.cloned().unwrap_or_default(),
        };
        if let Some(crossings) = self.crossings() {
            crossings.pass(format!("before {operation}")).await;
        }
        let _counted = InFlight::enter(self);
        let question = format!("{operation} {:?}", request.query);
        let (latency, cue, away) = {
            let mut inner = self.inner();
            inner.calls.push(Call { at: Instant::now(), operation: operation.clone(), body: asked.body.clone() });
            let away = inner.away || inner.away_until.is_some_and(|until| Instant::now() < until);
            (inner.device.timings.latency, inner.cues.take(&operation), away)
        };
        tokio::time::sleep(latency).await;
        if away || cue == Some(Cue::Unreachable) {
            let cause = "connection refused".to_owned();
            return Err(RouterFault::Unreachable { operation, cause });
        }
        let answer = match &cue {
            Some(Cue::LoseRequest) => return Err(lost(operation, mutating)),
            Some(Cue::Refuse(detail)) => {
                let body = json!({"error": 400, "message": "Bad Request", "detail": detail});
                return Ok(WireAnswer { status: 400, body: body.to_string().into_bytes() });
            }
            Some(Cue::EmptyList) => return Ok(WireAnswer { status: 200, body: b"[]".to_vec() }),
            Some(Cue::StaleList) if !mutating => {
                let known = self.inner().answered.get(&question).cloned();
                known.unwrap_or_else(|| self.inner().device.request(&asked))
            }
            Some(Cue::TwiceListed) => {
                let mut answer = self.inner().device.request(&asked);
                if let Some(Value::Array(rows)) = &mut answer.body {
                    rows.extend(rows.clone());
                }
                answer
            }
            _ => self.inner().device.request(&asked),
        };
        if !mutating {
            self.inner().answered.insert(question, answer.clone());
        }
        match cue {
            Some(Cue::LoseReplyAndGoAway(time)) => {
                self.inner().away_until = Some(Instant::now() + time);
                return Err(lost(operation, mutating));
            }
            Some(Cue::LoseReply) => return Err(lost(operation, mutating)),
            Some(Cue::DoneYet500) => {
                let body = json!({"error": 500, "message": "Internal Server Error"});
                return Ok(WireAnswer { status: 500, body: body.to_string().into_bytes() });
            }
            Some(Cue::Late(delay)) if delay >= request.timeout => {
                tokio::time::sleep(request.timeout).await;
                return Err(lost(operation, mutating));
            }
            Some(Cue::Late(delay)) => tokio::time::sleep(delay).await,
            _ => {}
        }
        if let Some(crossings) = self.crossings() {
            crossings.pass(format!("after {operation}")).await;
        }
        let body = answer.body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        Ok(WireAnswer { status: answer.status, body })
    }
}
