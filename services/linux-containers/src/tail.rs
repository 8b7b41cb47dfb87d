//! Reads a log as conmon writes it, line by line, and knows where to go on after a restart.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::SystemTime;

use crate::places::Places;

/// Bytes read in one look; a longer line is passed on in pieces.
const CHUNK: u64 = 256 << 10;
/// A log is started again when it has grown to this and everything was passed on.
const LOG_LIMIT: u64 = 64 << 20;

/// A line of output.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// When it was written.
    pub at: SystemTime,
    /// True for standard error.
    pub stderr: bool,
    /// Without the line end.
    pub text: String,
}

/// The beginning of a line whose end is not written yet.
#[derive(Default)]
struct Partial {
    text: String,
    at: Option<SystemTime>,
    /// Where its first piece lies in the log.
    from: u64,
}

/// One reader of one log.
pub struct Tail {
    log: PathBuf,
    mark: PathBuf,
    offset: u64,
    marked: u64,
    /// Of standard output and of standard error.
    partial: [Partial; 2],
}

impl Tail {
    /// Goes on where an earlier reader was.
    pub fn new(places: &Places) -> Self {
        let offset = std::fs::read_to_string(&places.mark).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let (log, mark) = (places.log.clone(), places.mark.clone());
        Self { log, mark, offset, marked: offset, partial: Default::default() }
    }

    /// The lines that became complete; `false` when there is more to read.
    pub fn read(&mut self) -> (Vec<Line>, bool) {
        let nothing = (Vec::new(), true);
        let Ok(mut file) = std::fs::File::open(&self.log) else { return nothing };
        let length = file.metadata().map_or(0, |meta| meta.len());
        if length < self.offset {
            self.offset = 0;
        }
        if length == self.offset || file.seek(SeekFrom::Start(self.offset)).is_err() {
            return nothing;
        }
        let mut bytes = Vec::new();
        if file.take(CHUNK).read_to_end(&mut bytes).is_err() {
            return nothing;
        }
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else { return nothing };
        let mut lines = Vec::new();
        for piece in bytes[..=end].split_inclusive(|byte| *byte == b'\n') {
            let from = self.offset;
            self.offset += piece.len() as u64;
            lines.extend(self.piece(&String::from_utf8_lossy(&piece[..piece.len() - 1]), from));
        }
        (lines, self.offset >= length)
    }

    /// What was begun and will not be ended: the process is gone.
    pub fn rest(&mut self) -> Vec<Line> {
        let mut lines: Vec<Line> = [0, 1].into_iter().filter_map(|stream| self.complete(stream)).collect();
        lines.sort_by_key(|line| line.at);
        lines
    }

    /// Notes that everything read so far was passed on. A line in pieces is read again from its beginning.
    pub fn passed_on(&mut self) {
        let begun = self.partial.iter().filter(|partial| partial.at.is_some()).map(|partial| partial.from).min();
        let place = begun.unwrap_or(self.offset);
        if place == self.marked {
            return;
        }
        if self.offset >= LOG_LIMIT && begun.is_none() && self.start_again() {
            self.offset = 0;
        }
        let place = begun.unwrap_or(self.offset);
        match std::fs::write(&self.mark, place.to_string()) {
            Ok(()) => self.marked = place,
            Err(error) => tracing::warn!(%error, "the place in a log could not be kept"),
        }
    }

    /// Conmon appends, so a truncated file goes on at its beginning.
    fn start_again(&self) -> bool {
        let Ok(file) = std::fs::File::options().write(true).open(&self.log) else { return false };
        file.metadata().is_ok_and(|meta| meta.len() == self.offset) && file.set_len(0).is_ok()
    }

    /// `RFC3339Nano stdout|stderr F|P text`.
    fn piece(&mut self, line: &str, from: u64) -> Option<Line> {
        let mut parts = line.splitn(4, ' ');
        let at: SystemTime = parts.next()?.parse::<jiff::Timestamp>().ok()?.into();
        let stream = usize::from(parts.next()? == "stderr");
        let full = parts.next()? == "F";
        let partial = &mut self.partial[stream];
        if partial.at.is_none() {
            partial.from = from;
        }
        partial.at = Some(at);
        partial.text += parts.next().unwrap_or_default();
        if full || partial.text.len() >= CHUNK as usize { self.complete(stream) } else { None }
    }

    fn complete(&mut self, stream: usize) -> Option<Line> {
        let partial = std::mem::take(&mut self.partial[stream]);
        Some(Line { at: partial.at?, stderr: stream == 1, text: partial.text })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    struct Log {
        _directory: tempfile::TempDir,
        places: Places,
    }

    impl Log {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            for name in ["logs", "read"] {
                std::fs::create_dir(directory.path().join(name)).expect("made");
            }
            let places = Places::new(directory.path(), "c1", "id");
            Self { _directory: directory, places }
        }

        fn write(&self, text: &str) {
            let file = std::fs::File::options().append(true).create(true).open(&self.places.log);
            file.and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
        }
    }

    fn texts(lines: Vec<Line>) -> Vec<(bool, String)> {
        lines.into_iter().map(|line| (line.stderr, line.text)).collect()
    }

    #[test]
    fn lines_are_put_together_and_reading_goes_on_where_it_was() {
        let log = Log::new();
        log.write("2026-01-01T00:00:00.5Z stdout P hel\n2026-01-01T00:00:00.6Z stdout F lo\n2026-01-01T00:00:01Z stderr F oops\n2026-01-01T00:0");
        let mut tail = Tail::new(&log.places);
        assert_eq!(texts(tail.read().0), [(false, "hello".to_owned()), (true, "oops".to_owned())]);
        tail.passed_on();
        let mut other = Tail::new(&log.places);
        assert!(other.read().0.is_empty(), "another reader goes on after it");
        log.write("0:02Z stdout F  two  blanks \n");
        assert_eq!(texts(other.read().0), [(false, " two  blanks ".to_owned())]);
    }

    #[test]
    fn the_two_streams_do_not_mix_and_a_begun_line_survives_a_restart() {
        let log = Log::new();
        log.write("2026-01-01T00:00:00Z stdout P out-\n2026-01-01T00:00:00Z stderr F err\n");
        let mut tail = Tail::new(&log.places);
        assert_eq!(texts(tail.read().0), [(true, "err".to_owned())]);
        tail.passed_on();
        log.write("2026-01-01T00:00:00Z stdout F put\n");
        let mut other = Tail::new(&log.places);
        assert!(texts(other.read().0).contains(&(false, "out-put".to_owned())), "read again from its beginning");
        assert_eq!(texts(tail.read().0), [(false, "out-put".to_owned())]);
    }

    #[test]
    fn what_has_no_line_end_is_told_when_the_process_is_gone() {
        let log = Log::new();
        log.write("2026-01-01T00:00:00Z stdout P no end\n");
        let mut tail = Tail::new(&log.places);
        assert!(tail.read().0.is_empty());
        assert_eq!(texts(tail.rest()), [(false, "no end".to_owned())]);
        assert!(tail.rest().is_empty(), "once");
    }

    #[test]
    fn a_log_of_any_size_is_read_in_pieces_to_its_end() {
        let log = Log::new();
        let line = format!("2026-01-01T00:00:00Z stdout F {}\n", "x".repeat(1000));
        log.write(&line.repeat(1000));
        let mut tail = Tail::new(&log.places);
        let (mut count, mut looks) = (0, 0);
        loop {
            let (lines, all) = tail.read();
            count += lines.len();
            looks += 1;
            if all {
                break;
            }
        }
        assert_eq!(count, 1000);
        assert!(looks > 2, "in pieces");
    }
}
