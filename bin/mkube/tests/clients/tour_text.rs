//! The tour as text: commands with what they printed, and how what differs from run to run is written down.
//!
//! A line that begins with `$ ` is a command, one with `# ` a remark. What follows a command is its output: standard output as it
//! is, standard error behind `! `, and `? 1` is the code it ended with where that is not 0. An output line that looks like one of
//! these has a backslash before it.

use std::fmt::Write;

/// A command, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub command: String,
    pub output: Vec<String>,
}

impl Step {
    /// The code it ended with.
    pub fn code(&self) -> i32 {
        let told = self.output.iter().rev().find_map(|line| line.strip_prefix("? "));
        told.and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The verbs of kubectl in it: `get`, or two words where the first has verbs of its own.
    pub fn verbs<'a>(&'a self, nested: &[String]) -> Vec<String> {
        let after = |rest: &'a str| rest.split_whitespace().filter(|word| !word.starts_with('-'));
        let of = |rest| {
            let mut words = after(rest);
            let first = words.next()?.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
            let both = format!("{first} {}", words.next().unwrap_or_default());
            Some(if nested.contains(&both) { both } else { first })
        };
        let mut places = self.command.match_indices("kubectl ");
        let begins = |at: usize| at == 0 || self.command[..at].ends_with([' ', '(', '"']);
        let found =
            places.by_ref().filter(|(at, _)| begins(*at)).filter_map(|(at, word)| of(&self.command[at + word.len()..]));
        found.collect()
    }
}

/// A remark, or a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Remark(String),
    Step(Step),
}

/// Reads a chapter.
pub fn parse(text: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            parts.push(Part::Step(Step { command: command.to_owned(), output: Vec::new() }));
        } else if line.starts_with("# ") {
            parts.push(Part::Remark(line.to_owned()));
        } else if let Some(Part::Step(step)) = parts.last_mut() {
            step.output.push(line.to_owned());
        }
    }
    for part in &mut parts {
        if let Part::Step(step) = part {
            let kept = step.output.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
            step.output.truncate(kept);
        }
    }
    parts
}

/// Writes a chapter, as [`parse`] reads it.
pub fn written(parts: &[Part]) -> String {
    let mut text = String::new();
    for (number, part) in parts.iter().enumerate() {
        match part {
            Part::Remark(remark) => {
                let _ = writeln!(text, "{remark}");
            }
            Part::Step(step) => {
                let _ = writeln!(text, "$ {}", step.command);
                for line in &step.output {
                    let _ = writeln!(text, "{line}");
                }
                if number + 1 < parts.len() {
                    text.push('\n');
                }
            }
        }
    }
    text
}

/// What a command printed and how it ended, as the lines of a step.
pub fn lines_of(out: &str, err: &str, code: i32, own: &[(String, &str)]) -> Vec<String> {
    let normal = |line: &str| normal(line, own);
    let plain = out.lines().map(normal).map(|line| {
        let marked = ["$ ", "# ", "! ", "? ", "\\"].iter().any(|mark| line.starts_with(mark));
        if marked { format!("\\{line}") } else { line }
    });
    let mut lines: Vec<String> = plain.collect();
    let kept = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    lines.truncate(kept);
    lines.extend(err.lines().filter(|line| !line.trim().is_empty()).map(|line| format!("! {}", normal(line))));
    if code != 0 {
        lines.push(format!("? {code}"));
    }
    lines
}

/// The differences between two outputs, for people; empty when there are none.
pub fn difference(expected: &[String], seen: &[String]) -> String {
    if expected == seen {
        return String::new();
    }
    let same = expected.iter().zip(seen).take_while(|(one, other)| one == other).count();
    let (rest, seen_rest) = (&expected[same..], &seen[same..]);
    let tail = rest.iter().rev().zip(seen_rest.iter().rev()).take_while(|(one, other)| one == other).count();
    let mut text = String::new();
    for line in &expected[..same] {
        let _ = writeln!(text, "    {line}");
    }
    for line in &rest[..rest.len() - tail] {
        let _ = writeln!(text, "  - {line}");
    }
    for line in &seen_rest[..seen_rest.len() - tail] {
        let _ = writeln!(text, "  + {line}");
    }
    for line in &rest[rest.len() - tail..] {
        let _ = writeln!(text, "    {line}");
    }
    text
}

/// One line without what differs from run to run: times, ages, addresses, uids, versions, widths of columns, and `own`, the
/// places of this run with their names.
fn normal(line: &str, own: &[(String, &str)]) -> String {
    let mut line = line.trim_end().to_owned();
    for (place, name) in own {
        line = line.replace(place, name);
    }
    let indent = line.len() - line.trim_start().len();
    let (indent, rest) = line.split_at(indent);
    let mut text = indent.to_owned();
    let mut words = rest.split(' ').peekable();
    let mut gap = 0;
    while let Some(word) = words.next() {
        if word.is_empty() {
            gap += 1;
            continue;
        }
        if text.len() > indent.len() {
            text.push_str(if gap > 0 || text.ends_with('\t') { "  " } else { " " });
        }
        gap = 0;
        if DAYS.contains(&word) && words.peek().is_some_and(|next| next.parse::<u32>().is_ok()) {
            // `Thu, 26 Nov 2026 11:20:27 +0000`
            words.nth(4);
            text.push_str("<time>");
            continue;
        }
        text.push_str(&normal_word(&word.replace('\t', "  ")));
    }
    for (before, name) in [("resourceVersion", "<rv>"), ("routeros://", "<id>")] {
        text = without_number(text, before, name);
    }
    text
}

/// The first number after these words is left out.
fn without_number(text: String, words: &str, name: &str) -> String {
    let Some(after) = text.find(words).map(|at| at + words.len()) else { return text };
    let Some(begin) = text[after..].find(|c: char| c.is_ascii_digit()).map(|at| after + at) else { return text };
    let end = text[begin..].find(|c: char| !c.is_ascii_hexdigit()).map_or(text.len(), |at| begin + at);
    format!("{}{name}{}", &text[..begin], &text[end..])
}

const DAYS: [&str; 7] = ["Mon,", "Tue,", "Wed,", "Thu,", "Fri,", "Sat,", "Sun,"];

fn normal_word(word: &str) -> String {
    let bare = word.trim_matches(['(', ')', ',']);
    if is_age(bare) {
        return word.replacen(bare, "<age>", 1);
    }
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '+' | '-');
    let mut text = String::new();
    let mut rest = word;
    while !rest.is_empty() {
        let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
        let (run, more) = rest.split_at(end);
        text.push_str(&normal_run(run));
        let skip = more.chars().next().map_or(0, char::len_utf8);
        text.push_str(&more[..skip]);
        rest = &more[skip..];
    }
    text
}

fn normal_run(run: &str) -> String {
    let digits = |text: &str, pattern: &str| {
        text.len() >= pattern.len()
            && text.bytes().zip(pattern.bytes()).all(|(byte, wanted)| match wanted {
                b'0' => byte.is_ascii_digit(),
                b'x' => byte.is_ascii_hexdigit(),
                other => byte == other,
            })
    };
    if run.len() == 36 && digits(run, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx") {
        return "<uid>".to_owned();
    }
    if digits(run, "0000-00-00T00:00:00") {
        return "<time>".to_owned();
    }
    if let Some((before, _)) = run.split_once("+mkube-") {
        return format!("{before}+mkube-<version>");
    }
    let (address, port) = run.split_once(':').map_or((run, None), |(address, port)| (address, Some(port)));
    let numbers = address.split('.').map(str::parse::<u8>).collect::<Result<Vec<_>, _>>();
    if !numbers.is_ok_and(|numbers| numbers.len() == 4) {
        return run.to_owned();
    }
    let port = port.filter(|port| !port.is_empty()).map(|port| match port.parse::<u16>() {
        Ok(port) if port >= 10_000 => ":<port>".to_owned(),
        _ => format!(":{port}"),
    });
    let address = if address.starts_with("10.") { "<ip>" } else { address };
    format!("{address}{}", port.unwrap_or_default())
}

/// `5s`, `2m3s`, `<invalid>` and the like.
fn is_age(word: &str) -> bool {
    let mut rest = word;
    let mut any = false;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let unit = rest[digits..].chars().next();
        if digits == 0 || !unit.is_some_and(|unit| "smhdy".contains(unit)) {
            return false;
        }
        any = true;
        rest = &rest[digits + 1..];
    }
    any
}

#[test]
fn what_is_written_is_read_and_what_differs_is_left_out() {
    let own = [("http://127.0.0.1:1".to_owned(), "<server>")];
    let out =
        "NAME   READY     AGE\nweb    1/1       2m3s (5s ago)\n\n$ x\n  at: \"2026-11-26T11:20:27Z\" 10.90.0.7:80\n\n";
    let err = "warning: 0b6f7a10-0000-4000-8000-00000000000a at http://127.0.0.1:1\n";
    let lines = lines_of(out, err, 3, &own);
    let wanted = [
        "NAME  READY  AGE",
        "web  1/1  <age> (<age> ago)",
        "",
        "\\$ x",
        "  at: \"<time>\" <ip>:80",
        "! warning: <uid> at <server>",
        "? 3",
    ];
    assert_eq!(lines, wanted);
    let version =
        lines_of("resourceVersion: \"17\"\nStart: Thu, 26 Nov 2026 11:20:27 +0000 v1.32.0+mkube-0.1.0", "", 0, &[]);
    assert_eq!(version, ["resourceVersion: \"<rv>\"", "Start: <time> v1.32.0+mkube-<version>"]);
    let step = Step { command: "kubectl get pods | kubectl create cm -f -".to_owned(), output: lines };
    assert_eq!(step.code(), 3);
    assert_eq!(step.verbs(&["create cm".to_owned()]), ["get", "create cm"]);
    let chapter = [Part::Remark("# First".to_owned()), Part::Step(step.clone()), Part::Step(step)];
    assert_eq!(parse(&written(&chapter)), chapter);
}
