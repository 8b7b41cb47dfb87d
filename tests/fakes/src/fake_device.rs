//! A device in memory: the host's state machine, and the little that stands in for its engine.
//!
//! Nothing here runs by itself. What will happen waits with the moment it happens at, and is told to the machine before the
//! next request is answered; so a test that sleeps sees the device move, and one that does not sees it stand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mkube_router_machine::engine::ImageConfig;
use mkube_router_machine::{Answer, Circumstances, Device, Effect, Happened, Release, Request, RowNumber, Verb};
use serde_json::Value;
use tokio::time::Instant;

use crate::fake_files::FakeFiles;

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Timings {
    /// Until the device begins with a request.
    pub latency: Duration,
    /// Unpacking an archive.
    pub extract: Duration,
    /// Starting a process.
    pub start: Duration,
    /// A process ending after a signal.
    pub stop: Duration,
    /// Removing files.
    pub remove: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(2),
            extract: Duration::from_millis(300),
            start: Duration::from_millis(60),
            stop: Duration::from_millis(120),
            remove: Duration::from_millis(90),
        }
    }
}

pub(crate) struct FakeDevice {
    device: Device,
    pub(crate) timings: Timings,
    /// When it was started last.
    pub(crate) born: Instant,
    due: Vec<(Instant, Happened)>,
    /// Paths of the device that exist.
    pub(crate) files: FakeFiles,
    /// Archives that cannot be unpacked, and why.
    pub(crate) bad_archives: BTreeMap<PathBuf, String>,
    /// Archives whose processes end by themselves, after how long and with which code.
    pub(crate) endings: BTreeMap<PathBuf, (Duration, i32)>,
    /// Archives whose processes never come up.
    pub(crate) hanging: BTreeSet<PathBuf>,
    /// Archives whose processes do not hear signals.
    pub(crate) deaf: BTreeSet<PathBuf>,
    /// How often the process of each row was started.
    pub(crate) starts: BTreeMap<RowNumber, u64>,
    /// The power is off until then.
    pub(crate) boots_at: Option<Instant>,
    /// What rows were made from.
    archives: BTreeMap<RowNumber, PathBuf>,
}

/// A path of the device, spelled with one leading slash.
pub(crate) fn path(text: &str) -> PathBuf {
    Path::new("/").join(text.trim_matches('/'))
}

impl FakeDevice {
    pub(crate) fn new(version: &str) -> Self {
        let release = Release::parse(version).expect("a release the machine knows");
        Self {
            device: Device::new(release, "admin", ""),
            timings: Timings::default(),
            born: Instant::now(),
            due: Vec::new(),
            files: FakeFiles::default(),
            bad_archives: BTreeMap::new(),
            endings: BTreeMap::new(),
            hanging: BTreeSet::new(),
            deaf: BTreeSet::new(),
            starts: BTreeMap::new(),
            boots_at: None,
            archives: BTreeMap::new(),
        }
    }

    /// Answers a request, after everything that is due happened.
    pub(crate) fn request(&mut self, request: &Request) -> Answer {
        let now = Instant::now();
        self.advance(now);
        if let Some(answer) = self.files.answer(&self.device, request) {
            return answer;
        }
        let (answer, effects) = self.ask(now, |device, circumstances| device.request(request, circumstances));
        self.enact(effects, now);
        answer
    }

    /// The process of a container ends by itself.
    pub(crate) fn end_process(&mut self, number: RowNumber, code: i32) {
        let now = Instant::now();
        self.advance(now);
        self.due.push((now, Happened::Exited { number, code, out_of_memory: false }));
        self.advance(now);
    }

    /// Every process ends now; at `back` the device is up again and starts what starts on boot.
    pub(crate) fn reboot(&mut self, back: Instant) {
        let now = Instant::now();
        self.advance(now);
        let effects = self.ask(now, |device, _| device.shut_down(true));
        let keys: Vec<String> = effects
            .iter()
            .filter_map(|effect| if let Effect::Kill { key, .. } = effect { Some(key.clone()) } else { None })
            .collect();
        // What was going on goes down with the power; what unpacks or removes files does so again after it.
        self.due.retain(|(_, one)| matches!(one, Happened::Extracted { .. } | Happened::FilesRemoved { .. }));
        for number in keys.iter().filter_map(|key| self.device.container_of(key)) {
            self.due.push((now, Happened::Exited { number, code: 137, out_of_memory: false }));
        }
        self.advance(now);
        self.boots_at = Some(back);
        for (at, _) in &mut self.due {
            *at = (*at).max(back);
        }
    }

    /// What is due at once, whatever the timings say.
    pub(crate) fn finish_removals(&mut self) {
        let now = Instant::now();
        for (at, what) in &mut self.due {
            if matches!(what, Happened::FilesRemoved { .. }) {
                *at = now;
            }
        }
        self.advance(now);
    }

    /// Takes an interface away although a container uses it, which the REST surface does not do.
    pub(crate) fn lose_veth(&mut self, name: &str) {
        self.advance(Instant::now());
        let mut state = serde_json::to_value(self.device.state()).expect("state is plain data");
        let rows = state["rows"]["Veth"].as_array_mut().expect("there are interfaces");
        let at = rows.iter().position(|row| row["fields"]["name"] == name).expect("an interface of that name");
        let number = rows.remove(at)["number"].as_u64().unwrap_or_default();
        // As after a removal: what referred to it shows its number.
        for menu in ["BridgePort", "Container"] {
            let rows = state["rows"].get_mut(menu).and_then(Value::as_array_mut);
            for row in rows.into_iter().flatten() {
                if row["fields"]["interface"] == name {
                    row["fields"]["interface"] = format!("*{number:X}").into();
                }
            }
        }
        let state = serde_json::from_value(state).expect("state is plain data");
        let release = self.version();
        self.device = Device::restore(Release::parse(&release).expect("its own version"), state);
    }

    fn version(&mut self) -> String {
        let request = get("system/resource");
        let body = self.request(&request).body.unwrap_or_default();
        body["version"].as_str().unwrap_or_default().to_owned()
    }

    fn advance(&mut self, now: Instant) {
        if let Some(back) = self.boots_at.filter(|back| *back <= now) {
            self.boots_at = None;
            self.born = back;
            let effects = self.ask(back, |device, circumstances| device.booted(circumstances));
            self.enact(effects, back);
        }
        loop {
            let next = self.due.iter().enumerate().filter(|(_, (at, _))| *at <= now).min_by_key(|(_, (at, _))| *at);
            let Some((index, _)) = next else { return };
            let (at, what) = self.due.remove(index);
            match &what {
                // One process ends once.
                Happened::Exited { number, .. } => {
                    let ended = *number;
                    self.due.retain(|(_, one)| !matches!(one, Happened::Exited { number, .. } if *number == ended));
                    let alive = self.device.runtime(ended).is_some_and(|runtime| {
                        use mkube_router_machine::Phase::{Running, Starting, Stopping};
                        matches!(runtime.phase, Running | Starting | Stopping)
                    });
                    if !alive {
                        continue;
                    }
                }
                Happened::Extracted { .. } | Happened::Started { .. } => {}
                _ => {}
            }
            let effects = self.ask(at, |device, circumstances| device.happened(what, circumstances));
            self.enact(effects, at);
        }
    }

    fn ask<T>(&mut self, now: Instant, what: impl FnOnce(&mut Device, &Circumstances<'_>) -> T) -> T {
        let files = &self.files;
        let uptime = now.duration_since(self.born);
        let circumstances = Circumstances {
            stamp: format!("2026-01-01 00:00:{:02}", uptime.as_secs() % 60),
            uptime,
            exists: &|text| files.contains(&path(text)),
            local: &|text| path(text),
            sizes: [1 << 30, 1 << 31, 1 << 35, 1 << 36],
            cpus: 4,
            cpu_load: 0,
        };
        what(&mut self.device, &circumstances)
    }

    fn enact(&mut self, effects: Vec<Effect>, now: Instant) {
        let timings = self.timings;
        for effect in effects {
            match effect {
                Effect::Extract { number, archive, root_dir, .. } => {
                    let result = match self.bad_archives.get(&archive) {
                        Some(why) => Err(why.clone()),
                        None => Ok(image()),
                    };
                    self.files.sizes.insert(root_dir, 0);
                    self.archives.insert(number, archive);
                    self.due.push((now + timings.extract, Happened::Extracted { number, result }));
                }
                Effect::Start { number, start, launch } => {
                    *self.starts.entry(number).or_default() += 1;
                    if self.archives.get(&number).is_some_and(|archive| self.hanging.contains(archive)) {
                        continue;
                    }
                    self.due.push((now + timings.start, Happened::Started { number, start, result: Ok(()) }));
                    let of_archive = self.archives.get(&number).and_then(|archive| self.endings.get(archive)).copied();
                    if let Some((after, code)) = own_end(&launch.argv).or(of_archive) {
                        let at = now + timings.start + after;
                        self.due.push((at, Happened::Exited { number, code, out_of_memory: false }));
                    }
                }
                Effect::Stop { number, signal, patience, .. } => {
                    let deaf = self.archives.get(&number).is_some_and(|archive| self.deaf.contains(archive));
                    let (pause, code) = if deaf { (patience, 128 + 9) } else { (timings.stop, 128 + signal) };
                    self.due.push((now + pause, Happened::Exited { number, code, out_of_memory: false }));
                }
                Effect::RemoveFiles { number, root_dir } => {
                    self.files.sizes.remove(&root_dir);
                    self.due.push((now + timings.remove, Happened::FilesRemoved { number }));
                }
                Effect::RestartLater { number, start, after } => {
                    self.due.push((now + after, Happened::RestartDue { number, start }));
                }
                // Networks and runtime state exist only in rows here.
                _ => {}
            }
        }
    }
}

/// A read request.
pub(crate) fn get(path: &str) -> Request {
    let segments = path.split('/').map(str::to_owned).collect();
    Request { verb: Verb::Get, segments, query: vec![], body: Value::Null }
}

fn image() -> ImageConfig {
    ImageConfig {
        cmd: vec!["/serve".into()],
        architecture: "amd64".into(),
        image_id: "sha256:0".into(),
        tag: "fake:latest".into(),
        size: 1 << 20,
        ..ImageConfig::default()
    }
}

/// A command line `exit 3` ends at once, `sleep 2 exit 1` after two seconds; all others run until stopped.
fn own_end(argv: &[String]) -> Option<(Duration, i32)> {
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["exit", code] => Some((Duration::ZERO, code.parse().ok()?)),
        ["sleep", seconds, "exit", code] => Some((Duration::from_secs_f64(seconds.parse().ok()?), code.parse().ok()?)),
        _ => None,
    }
}
