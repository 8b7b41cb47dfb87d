//! Colours: whether there are any, and which one a word has.

use std::io::IsTerminal;

use crate::cli::ColorChoice;

/// Whether what is printed may have colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Standard output.
    pub out: bool,
    /// Standard error.
    pub err: bool,
}

/// What is said by a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Headings.
    Heading,
    /// As it should be.
    Good,
    /// On its way, or worth a look.
    Busy,
    /// Not as it should be.
    Bad,
    /// Of no weight.
    Quiet,
}

impl Look {
    /// As it was asked for; otherwise colours are for terminals, and for who does not say NO_COLOR.
    pub fn new(choice: ColorChoice) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let of = |terminal: bool| match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !unwanted,
        };
        Self { out: of(std::io::stdout().is_terminal()), err: of(std::io::stderr().is_terminal()) }
    }

    /// A text for standard error.
    pub fn paint_err(self, tone: Tone, text: &str) -> String {
        paint(self.err, Some(tone), text)
    }

    /// A text for standard output.
    pub fn paint(self, tone: Option<Tone>, text: &str) -> String {
        paint(self.out, tone, text)
    }
}

/// A text in a colour.
pub fn paint(colours: bool, tone: Option<Tone>, text: &str) -> String {
    let Some(tone) = tone.filter(|_| colours && !text.trim().is_empty()) else { return text.to_owned() };
    let code = match tone {
        Tone::Heading => "1",
        Tone::Good => "32",
        Tone::Busy => "33",
        Tone::Bad => "31",
        Tone::Quiet => "2",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// The tone of a word in a column of this name; most have none.
pub fn tone_of(column: &str, text: &str) -> Option<Tone> {
    match column {
        "STATUS" | "PHASE" | "STATE" | "READY" | "ACTION" | "AVAILABLE" | "CHECK" | "RESULT" | "TYPE" => {}
        "RESTARTS" => {
            return text.split(' ').next()?.parse::<u64>().ok().filter(|count| *count > 0).map(|_| Tone::Busy);
        }
        "REASON" | "LAST EXIT" => return text.contains("panick").then_some(Tone::Bad),
        _ => return None,
    }
    if let Some((ready, wanted)) = text.split_once('/') {
        let (ready, wanted) = (ready.parse::<u64>().ok()?, wanted.parse::<u64>().ok()?);
        return Some(if ready >= wanted { Tone::Good } else { Tone::Busy });
    }
    let word = text.trim_start_matches("Init:");
    Some(match word {
        "Running" | "running" | "Ready" | "Succeeded" | "Completed" | "Complete" | "Active" | "Bound" | "True"
        | "created" | "ok" | "pass" | "Cached" | "Current" => Tone::Good,
        "Pending" | "Terminating" | "ContainerCreating" | "PodInitializing" | "Paused" | "configured" | "Warning"
        | "warn" | "starting" | "stopping" | "backing_off" | "Rolling" | "False" | "kept" => Tone::Busy,
        "Failed" | "failed" | "Unknown" | "NotReady" | "Error" | "held" | "fail" | "pruned" | "deleted" | "stopped" => {
            Tone::Bad
        }
        "unchanged" | "Normal" => Tone::Quiet,
        other if other.contains("BackOff") || other.contains("Err") || other.contains("Fail") => Tone::Bad,
        other if other.starts_with("Ready,") || other.starts_with("Downloading") => Tone::Busy,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_matter_have_a_tone_and_others_none() {
        for (column, text, tone) in [
            ("STATUS", "Running", Some(Tone::Good)),
            ("STATUS", "CrashLoopBackOff", Some(Tone::Bad)),
            ("STATUS", "Init:ErrImagePull", Some(Tone::Bad)),
            ("READY", "1/2", Some(Tone::Busy)),
            ("READY", "2/2", Some(Tone::Good)),
            ("RESTARTS", "3 (5m ago)", Some(Tone::Busy)),
            ("RESTARTS", "0", None),
            ("NAME", "Running", None),
        ] {
            assert_eq!(tone_of(column, text), tone, "{column} {text}");
        }
        assert_eq!(paint(true, Some(Tone::Bad), "no"), "\x1b[31mno\x1b[0m");
        assert_eq!(paint(false, Some(Tone::Bad), "no"), "no");
    }

    #[test]
    fn colours_are_had_when_they_are_asked_for() {
        assert_eq!(Look::new(ColorChoice::Always), Look { out: true, err: true });
        assert_eq!(Look::new(ColorChoice::Never), Look { out: false, err: false });
    }
}
