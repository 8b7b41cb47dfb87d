//! Containers' output: from their own log files where mkube can reach them, else what the device still has.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use mkube_model::neighbours::pod_logs::{ContainerRef, LogOptions, PodLogs};
use mkube_model::neighbours::router::{LogRow, Router, RowId};
use mkube_model::status::Status;
use tokio::sync::mpsc;

/// Pause between two looks at a log that is followed.
const PAUSE: Duration = Duration::from_millis(100);
/// The same where the device has to be asked.
const DEVICE_PAUSE: Duration = Duration::from_secs(1);
/// Chunks waiting for a slow reader.
const WAITING: usize = 64;

/// What is known of a row.
#[derive(Debug, Clone)]
pub struct RowState {
    /// Its name.
    pub name: String,
    /// Its `.id`.
    pub id: String,
    /// Its process is there.
    pub running: bool,
}

/// Finds the row of a container.
pub type FindRow = Arc<dyn Fn(&ContainerRef) -> Option<RowState> + Send + Sync>;

/// Reads containers' output.
#[derive(Clone)]
pub struct ContainerLogs {
    /// Directory of log files, if mkube can reach it.
    directory: Option<PathBuf>,
    router: Arc<dyn Router>,
    find: FindRow,
}

impl ContainerLogs {
    /// Logs in `directory` (or from the device) of the rows that `find` finds.
    pub fn new(directory: Option<PathBuf>, router: Arc<dyn Router>, find: FindRow) -> Self {
        Self { directory, router, find }
    }

    async fn ask_device(
        &self,
        container: &ContainerRef,
        state: RowState,
        options: LogOptions,
    ) -> Result<(mpsc::Receiver<Bytes>, Option<String>), Status> {
        if options.previous {
            return Err(Status::bad_request("the device keeps no output of earlier runs"));
        }
        let rows = self.router.container_log(&state.name).await;
        let rows = rows.map_err(|fault| Status::unavailable(fault.to_string(), 2))?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let mut told: HashSet<RowId> = rows.iter().map(|row| row.id.clone()).collect();
        let first = output_of(rows, &options);
        let (find, router, container) = (self.find.clone(), self.router.clone(), container.clone());
        tokio::spawn(async move {
            if sender.send(Bytes::from(first)).await.is_err() {
                return;
            }
            let later = LogOptions { tail_lines: None, ..options.clone() };
            while options.follow && find(&container).is_some_and(|now| now.id == state.id && now.running) {
                tokio::select! {
                    () = tokio::time::sleep(DEVICE_PAUSE) => {}
                    () = sender.closed() => return,
                }
                // A device that does not answer now is asked again.
                let Ok(rows) = router.container_log(&state.name).await else { continue };
                let new: Vec<LogRow> = rows.iter().filter(|row| !told.contains(&row.id)).cloned().collect();
                told = rows.into_iter().map(|row| row.id).collect();
                if !new.is_empty() && sender.send(Bytes::from(output_of(new, &later))).await.is_err() {
                    return;
                }
            }
        });
        Ok((receiver, Some("only what the device still keeps: its last 100 messages of this container".into())))
    }
}

/// Rows of the device's log as bytes of output.
fn output_of(rows: Vec<LogRow>, options: &LogOptions) -> Vec<u8> {
    let skip = options.tail_lines.map_or(0, |lines| rows.len().saturating_sub(lines));
    let mut text = String::new();
    for row in rows.into_iter().skip(skip) {
        if options.timestamps {
            text += &format!("{} ", row.time);
        }
        text += &row.message;
        text.push('\n');
    }
    let mut output = text.into_bytes();
    // Bytes, not letters: the limit may fall inside of one.
    output.truncate(options.limit_bytes.unwrap_or(usize::MAX));
    output
}

/// Name of a container's log file as the Linux engine writes it, from the id of its row.
fn file_name(id: &str, previous: bool) -> String {
    let key = format!("c{}", id.trim_start_matches('*').to_ascii_lowercase());
    if previous { format!("{key}.previous") } else { format!("{key}.log") }
}

#[async_trait]
impl PodLogs for ContainerLogs {
    async fn open(
        &self,
        container: &ContainerRef,
        options: LogOptions,
    ) -> Result<(mpsc::Receiver<Bytes>, Option<String>), Status> {
        let Some(state) = (self.find)(container) else {
            let name = &container.container;
            return Err(Status::bad_request(format!("container {name:?} is waiting to start: ContainerCreating")));
        };
        let Some(directory) = &self.directory else { return self.ask_device(container, state, options).await };
        let path = directory.join(file_name(&state.id, options.previous));
        if options.previous && !path.exists() {
            return Err(Status::bad_request(format!(
                "previous terminated container {:?} not found",
                container.container
            )));
        }
        let (sender, receiver) = mpsc::channel(WAITING);
        let (find, container) = (self.find.clone(), container.clone());
        tokio::spawn(async move {
            let mut reader = Reader::new(path, options.clone());
            loop {
                let alive = options.follow && find(&container).is_some_and(|now| now.id == state.id && now.running);
                let (next, chunk) = match tokio::task::spawn_blocking(move || reader.read()).await {
                    Ok(read) => read,
                    Err(_) => return,
                };
                reader = next;
                let empty = chunk.is_empty();
                if !empty && sender.send(Bytes::from(chunk)).await.is_err() {
                    return;
                }
                if reader.is_done() || (empty && !alive) {
                    return;
                }
                if empty {
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => {}
                        () = sender.closed() => return,
                    }
                }
            }
        });
        Ok((receiver, None))
    }
}

/// Reads a log file piece by piece.
struct Reader {
    path: PathBuf,
    options: LogOptions,
    offset: u64,
    first: bool,
    sent: usize,
    full: bool,
}

impl Reader {
    fn new(path: PathBuf, options: LogOptions) -> Self {
        Self { path, options, offset: 0, first: true, sent: 0, full: false }
    }

    /// Whatever is new; an unreadable file is an empty one.
    fn read(mut self) -> (Self, Vec<u8>) {
        let mut lines = self.lines().unwrap_or_default();
        if self.first
            && let Some(tail) = self.options.tail_lines
        {
            lines.drain(..lines.len().saturating_sub(tail));
        }
        self.first = false;
        let mut chunk: Vec<u8> = lines.concat();
        if let Some(limit) = self.options.limit_bytes {
            chunk.truncate(limit - self.sent.min(limit));
            self.full = self.sent + chunk.len() >= limit;
        }
        self.sent += chunk.len();
        (self, chunk)
    }

    /// Whether nothing more is asked for: what a container writes while its log is read belongs to those who follow.
    fn is_done(&self) -> bool {
        self.full || (!self.first && !self.options.follow)
    }

    /// What stands there now, and no more: a container may write faster than anybody reads.
    fn lines(&mut self) -> std::io::Result<Vec<Vec<u8>>> {
        let file = std::fs::File::open(&self.path)?;
        let end = file.metadata()?.len();
        if end < self.offset {
            self.offset = 0;
        }
        let mut reader = BufReader::new(file);
        reader.seek(SeekFrom::Start(self.offset))?;
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let mut line = Vec::new();
        let keep = if self.first { self.options.tail_lines } else { None };
        while self.offset < end {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)?;
            if read == 0 || line.last() != Some(&b'\n') {
                break;
            }
            self.offset += read as u64;
            lines.extend(shown(&line, &self.options));
            // The last lines are kept, not the whole file.
            if let Some(keep) = keep
                && lines.len() > keep * 2 + 16
            {
                lines.drain(..lines.len() - keep);
            }
        }
        Ok(lines)
    }
}

/// `RFC3339Nano stdout|stderr F|P text` as the container wrote it.
fn shown(line: &[u8], options: &LogOptions) -> Option<Vec<u8>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let (_stream, tag) = (parts.next()?, parts.next()?);
    let text = parts.next().unwrap_or(b"\n");
    if let Some(since) = options.since
        && time.parse::<Timestamp>().is_ok_and(|time| time < since)
    {
        return None;
    }
    let mut shown = Vec::with_capacity(line.len());
    if options.timestamps {
        match time.strip_suffix("+00:00") {
            // As Kubernetes writes it.
            Some(utc) => shown.extend_from_slice(format!("{utc}Z ").as_bytes()),
            None => shown.extend_from_slice(format!("{time} ").as_bytes()),
        }
    }
    shown.extend_from_slice(text);
    // A part of a line has no end of its own.
    if tag == b"P" && shown.last() == Some(&b'\n') {
        shown.pop();
    }
    Some(shown)
}

/// Writes a log file as the host does.
#[cfg(test)]
fn write_log(directory: &std::path::Path, lines: &[&str]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(directory.join("c1a.log"), text).expect("written");
}

#[cfg(test)]
mod tests {
    use mkube_model::neighbours::router::RowId;

    use super::*;

    fn read(options: LogOptions) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        write_log(
            directory.path(),
            &[
                "2026-01-01T00:00:00.5Z stdout F one",
                "2026-01-01T00:00:01.5Z stderr P tw",
                "2026-01-01T00:00:01.6Z stderr F o",
                "2026-01-01T00:00:02.5+00:00 stdout F three",
            ],
        );
        let (_, chunk) = Reader::new(directory.path().join(file_name("*1A", false)), options).read();
        String::from_utf8(chunk).expect("text")
    }

    #[test]
    fn output_is_what_the_container_wrote_and_options_choose_from_it() {
        assert_eq!(read(LogOptions::default()), "one\ntwo\nthree\n");
        assert_eq!(read(LogOptions { tail_lines: Some(1), ..LogOptions::default() }), "three\n");
        assert_eq!(read(LogOptions { tail_lines: Some(0), ..LogOptions::default() }), "");
        let since = "2026-01-01T00:00:02Z".parse().ok();
        assert_eq!(
            read(LogOptions { since, timestamps: true, ..LogOptions::default() }),
            "2026-01-01T00:00:02.5Z three\n"
        );
        assert_eq!(read(LogOptions { limit_bytes: Some(5), ..LogOptions::default() }), "one\nt");
    }

    #[test]
    fn what_is_written_while_a_log_is_read_belongs_to_those_who_follow() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(file_name("*1A", false));
        for follow in [false, true] {
            write_log(directory.path(), &["2026-01-01T00:00:00Z stdout F one", "2026-01-01T00:00:01Z stdout F two"]);
            let options = LogOptions { tail_lines: Some(1), follow, ..LogOptions::default() };
            let (reader, chunk) = Reader::new(path.clone(), options).read();
            assert_eq!((chunk.as_slice(), reader.is_done()), (b"two\n".as_slice(), !follow));
        }
    }

    #[test]
    fn a_limit_that_falls_inside_of_a_letter_cuts_the_devices_output_there() {
        let row = LogRow {
            id: RowId("*1".to_owned()),
            time: "10:00:00".to_owned(),
            topics: Vec::new(),
            message: "größer".to_owned(),
        };
        let options = LogOptions { limit_bytes: Some(3), ..LogOptions::default() };
        assert_eq!(output_of(vec![row], &options), [b'g', b'r', 0xc3]);
    }
}
