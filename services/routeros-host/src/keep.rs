//! Keeps the device's state on disk: a request that changed something is answered after the change is there.
//!
//! Two files: the device as it was at some moment, and beside it a journal of changes since, one line for each writing.
//! Changes that come while one line is being written share the next. When the journal has grown, the device is written anew.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mkube_router_machine::{Change, DeviceState};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// The journal is replaced when it is larger than this and than twice the device.
const JOURNAL: u64 = 1 << 20;

/// The file's contents.
#[derive(Serialize, Deserialize)]
pub struct Kept {
    /// Boot id of the machine the containers ran on.
    pub boot: String,
    /// The device.
    pub device: DeviceState,
}

fn named(path: &Path, error: impl std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

fn journal_of(path: &Path) -> PathBuf {
    path.with_extension("journal")
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(path, error)),
    }
}

/// Reads what was kept; `None` when there is nothing.
pub fn read(path: &Path) -> Result<Option<Kept>, String> {
    let Some(bytes) = read_file(path)? else { return Ok(None) };
    let mut kept: Kept = serde_json::from_slice(&bytes).map_err(|error| named(path, error))?;
    let journal = journal_of(path);
    let lines = read_file(&journal)?.unwrap_or_default();
    // What follows the last line end was never acknowledged.
    let whole = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    for line in lines[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let changes: Vec<Change> = serde_json::from_slice(line).map_err(|error| named(&journal, error))?;
        changes.into_iter().for_each(|change| kept.device.apply(change));
    }
    Ok(Some(kept))
}

/// What the writer asks the device for.
pub trait Source: Send + Sync + 'static {
    /// Changes since the last call, and the version they lead to; `None` when the device is gone.
    fn changes(&self) -> Option<(Vec<Change>, u64)>;
    /// Everything, and its version; changes up to it need not be told again.
    fn everything(&self) -> Option<(Kept, u64)>;
}

/// Both files, open for writing.
struct Files {
    path: PathBuf,
    journal: Option<File>,
    written: u64,
    snapshot: u64,
    /// Whether a line must outlive the machine's power, not only this process.
    synced: bool,
}

impl Files {
    fn write(&mut self, source: &dyn Source) -> Result<u64, String> {
        let Some(journal) = &mut self.journal else { return self.write_everything(source) };
        let (changes, version) = source.changes().ok_or("the device is gone")?;
        if changes.is_empty() {
            return Ok(version);
        }
        let mut line = serde_json::to_vec(&changes).map_err(|error| named(&self.path, error))?;
        line.push(b'\n');
        let written = journal.write_all(&line);
        if let Err(error) = if self.synced { written.and_then(|()| journal.sync_data()) } else { written } {
            // Half a line may be there: only the whole device makes it good.
            self.journal = None;
            return Err(named(&journal_of(&self.path), error));
        }
        self.written += line.len() as u64;
        if self.written > JOURNAL.max(2 * self.snapshot) { self.write_everything(source) } else { Ok(version) }
    }

    fn write_everything(&mut self, source: &dyn Source) -> Result<u64, String> {
        self.journal = None;
        let (kept, version) = source.everything().ok_or("the device is gone")?;
        let bytes = serde_json::to_vec(&kept).map_err(|error| named(&self.path, error))?;
        let fault = |error| named(&self.path, error);
        let temporary = self.path.with_extension("new");
        let mut file = File::create(&temporary).map_err(fault)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(fault)?;
        std::fs::rename(&temporary, &self.path).map_err(fault)?;
        // A journal older than the device says nothing that is not in it already.
        let journal = File::create(journal_of(&self.path)).map_err(fault)?;
        journal.sync_all().map_err(fault)?;
        if let Some(parent) = self.path.parent() {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(fault)?;
        }
        (self.journal, self.written, self.snapshot) = (Some(journal), 0, bytes.len() as u64);
        Ok(version)
    }
}

/// Asks for writings and waits for them.
#[derive(Clone)]
pub struct Keeper {
    wanted: Arc<Notify>,
    done: watch::Receiver<(u64, Option<String>)>,
}

impl Keeper {
    /// Writes everything, then starts the writer; the task ends it.
    pub fn start(path: PathBuf, synced: bool, source: impl Source) -> Result<(Self, JoinHandle<()>), String> {
        let mut files = Files { path, journal: None, written: 0, snapshot: 0, synced };
        let version = files.write(&source)?;
        let (finished, done) = watch::channel((version, None));
        let wanted = Arc::new(Notify::new());
        let wishes = wanted.clone();
        let source = Arc::new(source);
        let writer = tokio::spawn(async move {
            loop {
                wishes.notified().await;
                let source = source.clone();
                let written = tokio::task::spawn_blocking(move || {
                    let written = files.write(&*source);
                    (files, written)
                })
                .await;
                let Ok((back, written)) = written else { return };
                files = back;
                finished.send_modify(|done| match written {
                    Ok(version) => *done = (version, None),
                    Err(error) => done.1 = Some(error),
                });
            }
        });
        Ok((Self { wanted, done }, writer))
    }

    /// Has what changed written, soon.
    pub fn wake(&self) {
        self.wanted.notify_one();
    }

    /// Returns when everything up to this version of the device is on disk.
    pub async fn kept(&self, version: u64) -> Result<(), String> {
        let mut done = self.done.clone();
        if done.borrow_and_update().0 >= version {
            return Ok(());
        }
        self.wake();
        loop {
            done.changed().await.map_err(|_| "the writer is gone".to_owned())?;
            let state = done.borrow_and_update();
            match &state.1 {
                _ if state.0 >= version => return Ok(()),
                Some(error) => return Err(error.clone()),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use mkube_router_machine::{Circumstances, Device, Release, Request, Verb};
    use serde_json::json;

    use super::*;

    struct Bench(Arc<Mutex<Device>>);

    impl Source for Bench {
        fn changes(&self) -> Option<(Vec<Change>, u64)> {
            let mut device = self.0.lock().expect("nobody panics");
            Some((device.take_changes(), device.version()))
        }

        fn everything(&self) -> Option<(Kept, u64)> {
            let mut device = self.0.lock().expect("nobody panics");
            device.take_changes();
            Some((Kept { boot: "b".into(), device: device.state().clone() }, device.version()))
        }
    }

    fn bench() -> (Arc<Mutex<Device>>, Bench) {
        let release = Release::parse("7.23.2").expect("a release");
        let device = Arc::new(Mutex::new(Device::new(release, "admin", "")));
        (device.clone(), Bench(device))
    }

    fn ask(device: &Mutex<Device>, verb: Verb, path: &str, body: serde_json::Value) {
        let here = Circumstances {
            stamp: String::new(),
            uptime: std::time::Duration::ZERO,
            exists: &|_| true,
            local: &|path| PathBuf::from(path),
            sizes: [0; 4],
            cpus: 1,
            cpu_load: 0,
        };
        let segments = path.split('/').map(str::to_owned).collect();
        let (answer, _) =
            device.lock().expect("nobody panics").request(&Request { verb, segments, query: vec![], body }, &here);
        assert!(answer.status < 300, "{answer:?}");
    }

    fn state(device: &DeviceState) -> serde_json::Value {
        serde_json::to_value(device).expect("a state")
    }

    #[tokio::test]
    async fn what_was_kept_is_read_back_whatever_the_mix_of_device_and_journal() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("device.json");
        let (device, source) = bench();
        let (keeper, _writer) = Keeper::start(path.clone(), true, source).expect("a writer");
        for count in 0..2000 {
            ask(
                &device,
                Verb::Put,
                "interface/bridge",
                json!({"name": format!("b{count}"), "comment": "x".repeat(2000)}),
            );
            if count % 3 == 0 {
                ask(&device, Verb::Delete, &format!("interface/bridge/b{count}"), json!({}));
            }
            if count % 100 == 0 {
                let version = device.lock().expect("nobody panics").version();
                keeper.kept(version).await.expect("written");
                let kept = read(&path).expect("readable").expect("there");
                assert_eq!(state(&kept.device), state(device.lock().expect("nobody panics").state()), "{count}");
            }
        }
        let size = std::fs::metadata(journal_of(&path)).expect("a journal").len();
        assert!(size < 8 << 20, "the journal is replaced when it has grown: {size}");
    }

    #[tokio::test]
    async fn half_a_line_at_the_end_is_nothing_and_damage_before_it_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("device.json");
        let (device, source) = bench();
        let (keeper, _writer) = Keeper::start(path.clone(), true, source).expect("a writer");
        ask(&device, Verb::Put, "interface/bridge", json!({"name": "b"}));
        let version = device.lock().expect("nobody panics").version();
        keeper.kept(version).await.expect("written");
        let mut lines = std::fs::read(journal_of(&path)).expect("a journal");
        let whole = lines.len();
        lines.extend_from_slice(br#"[{"row":{"menu":"Br"#);
        std::fs::write(journal_of(&path), &lines).expect("written");
        let kept = read(&path).expect("readable").expect("there");
        assert_eq!(state(&kept.device), state(device.lock().expect("nobody panics").state()));
        lines[whole / 2] = b'\xff';
        std::fs::write(journal_of(&path), &lines).expect("written");
        assert!(read(&path).is_err_and(|error| error.contains("journal")));
    }

    #[tokio::test]
    async fn a_failed_writing_is_told_and_made_good() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("inner/device.json");
        std::fs::create_dir(directory.path().join("inner")).expect("made");
        let (device, source) = bench();
        let (keeper, _writer) = Keeper::start(path.clone(), true, source).expect("a writer");
        std::fs::rename(directory.path().join("inner"), directory.path().join("away")).expect("moved");
        // The journal is still open where it was; what replaces it is not.
        for count in 0..3 {
            ask(
                &device,
                Verb::Put,
                "interface/bridge",
                json!({"name": format!("b{count}"), "comment": "x".repeat(2 << 20)}),
            );
        }
        let version = device.lock().expect("nobody panics").version();
        assert!(keeper.kept(version).await.is_err());
        std::fs::rename(directory.path().join("away"), directory.path().join("inner")).expect("moved");
        keeper.kept(version).await.expect("written");
        let kept = read(&path).expect("readable").expect("there");
        assert_eq!(state(&kept.device), state(device.lock().expect("nobody panics").state()));
    }
}
