//! The log, in memory as on the device: a bounded number of lines, and a few for each container.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};

use crate::tables::RowNumber;

/// Rows `/log` keeps.
const ROWS: usize = 1000;
/// Messages kept for each container.
const MESSAGES: usize = 100;

#[derive(Debug, Clone)]
struct Line {
    number: u64,
    time: String,
    topics: &'static str,
    message: String,
}

impl Line {
    fn print(&self, beside: (&str, &str)) -> Map<String, Value> {
        let mut row = Map::new();
        row.insert(".id".into(), json!(format!("*{:X}", self.number)));
        row.insert(beside.0.into(), json!(beside.1));
        row.insert("message".into(), json!(self.message));
        row.insert("time".into(), json!(self.time));
        row
    }
}

/// All lines.
#[derive(Debug, Clone, Default)]
pub struct LogBook {
    lines: VecDeque<Line>,
    of_containers: BTreeMap<RowNumber, VecDeque<Line>>,
    last: u64,
}

impl LogBook {
    /// A line of the device.
    pub fn note(&mut self, time: &str, topics: &'static str, message: String) {
        self.last += 1;
        self.lines.push_back(Line { number: self.last, time: time.to_owned(), topics, message });
        if self.lines.len() > ROWS {
            self.lines.pop_front();
        }
    }

    /// A line about a container: kept for it, and in the log with its name before it if `logged`.
    pub fn note_container(&mut self, number: RowNumber, name: &str, time: &str, message: &str, logged: bool) {
        if logged {
            self.note(time, "container,info", format!("{name}: {message}"));
        } else {
            self.last += 1;
        }
        let line = Line { number: self.last, time: time.to_owned(), topics: "", message: message.to_owned() };
        let kept = self.of_containers.entry(number).or_default();
        kept.push_back(line);
        if kept.len() > MESSAGES {
            kept.pop_front();
        }
    }

    /// The container is gone, and its messages with it.
    pub fn forget(&mut self, number: RowNumber) {
        self.of_containers.remove(&number);
    }

    /// Memory does not survive a reboot; numbers go on, so that no line looks like an earlier one.
    pub fn reboot(&mut self) {
        self.lines.clear();
        self.of_containers.clear();
    }

    /// `/log`.
    pub fn print(&self) -> Vec<Map<String, Value>> {
        self.lines.iter().map(|line| line.print(("topics", line.topics))).collect()
    }

    /// `/container/log`, given the names of containers.
    pub fn print_containers<'a>(&self, name: impl Fn(RowNumber) -> &'a str) -> Vec<Map<String, Value>> {
        let mut lines: Vec<(&Line, &str)> = Vec::new();
        for (number, kept) in &self.of_containers {
            lines.extend(kept.iter().map(|line| (line, name(*number))));
        }
        lines.sort_by_key(|(line, _)| line.number);
        lines.into_iter().map(|(line, name)| line.print(("container", name))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_a_thousand_rows_and_a_hundred_messages_of_each_container() {
        let mut book = LogBook::default();
        for count in 0..1100 {
            book.note("now", "script,info", format!("m{count}"));
        }
        for count in 0..150 {
            book.note_container(1, "c", "now", &format!("n{count}"), false);
        }
        let rows = book.print();
        assert_eq!((rows.len(), &rows[0]["message"]), (1000, &json!("m100")));
        let rows = book.print_containers(|_| "c");
        assert_eq!((rows.len(), &rows[0]["message"], &rows[99]["message"]), (100, &json!("n50"), &json!("n149")));
        book.reboot();
        book.note("now", "system,info", "up".into());
        assert_eq!(book.print()[0][".id"], "*4E3", "numbers go on");
    }
}
