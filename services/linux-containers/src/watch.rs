//! Follows what conmon writes: output lines, and the exit code.
//!
//! One look at a few small files every 50 ms while a container runs, nothing when none does. A log is read from where the last
//! look ended; that place is kept beside it, so that a host that comes back goes on where it was.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mkube_router_machine::engine::EngineEvent;
use tokio::sync::mpsc;

use crate::runtime::Places;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes read in one look.
const CHUNK: u64 = 256 << 10;
/// A log is started again when it has grown to this and everything was passed on.
const LOG_LIMIT: u64 = 64 << 20;

/// Follows one container until its exit was passed on.
pub async fn follow(key: String, places: Places, events: mpsc::Sender<EngineEvent>) {
    let mut tail = Tail::new(&places.log);
    loop {
        // In this order: what was written before the end is passed on before the end.
        let ended = exit_of(&places);
        loop {
            let lines = tail.read();
            let empty = lines.is_empty();
            for (at, stderr, line) in lines {
                if events.send(EngineEvent::Output { key: key.clone(), at, stderr, line }).await.is_err() {
                    return;
                }
            }
            if empty {
                break;
            }
        }
        if let Some((code, at)) = ended {
            let out_of_memory = places.persist.join("oom").exists();
            // A host that is gone will read the exit file when it is back.
            let _ = events.send(EngineEvent::Exited { key, code, out_of_memory, at }).await;
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The exit code and its time, once conmon wrote it.
pub fn exit_of(places: &Places) -> Option<(i32, SystemTime)> {
    let code = std::fs::read_to_string(&places.exit).ok()?.trim().parse().ok()?;
    let at = std::fs::metadata(&places.exit).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    Some((code, at))
}

struct Tail {
    log: PathBuf,
    mark: PathBuf,
    offset: u64,
    /// A line that is not complete yet.
    partial: String,
}

impl Tail {
    fn new(log: &Path) -> Self {
        let mark = log.with_extension("read");
        let offset = std::fs::read_to_string(&mark).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Self { log: log.to_owned(), mark, offset, partial: String::new() }
    }

    fn read(&mut self) -> Vec<(SystemTime, bool, String)> {
        let Ok(mut file) = std::fs::File::open(&self.log) else { return Vec::new() };
        let length = file.metadata().map(|meta| meta.len()).unwrap_or(0);
        if length < self.offset {
            self.offset = 0;
        }
        if length == self.offset || file.seek(SeekFrom::Start(self.offset)).is_err() {
            return Vec::new();
        }
        let mut bytes = Vec::new();
        if file.take(CHUNK).read_to_end(&mut bytes).is_err() {
            return Vec::new();
        }
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        self.offset += end as u64 + 1;
        let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let lines = text.lines().filter_map(|line| self.line(line)).collect();
        let marked = std::fs::write(&self.mark, self.offset.to_string());
        if let Err(error) = marked {
            tracing::warn!(%error, "the place in a log could not be kept");
        }
        if self.offset >= LOG_LIMIT && self.offset == length {
            // Conmon appends, so a truncated file goes on at its beginning.
            if std::fs::File::options().write(true).open(&self.log).and_then(|file| file.set_len(0)).is_ok() {
                self.offset = 0;
            }
        }
        lines
    }

    /// `RFC3339Nano stdout|stderr F|P text`.
    fn line(&mut self, line: &str) -> Option<(SystemTime, bool, String)> {
        let mut parts = line.splitn(4, ' ');
        let at = parts.next()?.parse::<jiff::Timestamp>().ok()?;
        let stderr = parts.next()? == "stderr";
        let full = parts.next()? == "F";
        self.partial += parts.next().unwrap_or_default();
        if !full && self.partial.len() < CHUNK as usize {
            return None;
        }
        Some((at.into(), stderr, std::mem::take(&mut self.partial)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_and_reading_goes_on_where_it_was() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("c.log");
        let text = "2026-01-01T00:00:00.5Z stdout P hel\n2026-01-01T00:00:00.6Z stdout F lo\n2026-01-01T00:00:01Z stderr F oops\n2026-01-01T00:0";
        std::fs::write(&log, text).expect("written");
        let lines: Vec<_> = Tail::new(&log).read().into_iter().map(|(_, stderr, line)| (stderr, line)).collect();
        assert_eq!(lines, [(false, "hello".to_owned()), (true, "oops".to_owned())]);
        assert!(Tail::new(&log).read().is_empty(), "another reader goes on after it");
    }
}
