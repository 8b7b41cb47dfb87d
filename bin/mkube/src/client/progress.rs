//! One line that says what is waited for, on standard error and only on a terminal.

use std::io::{IsTerminal, Write};

use tokio::time::Instant;

use super::look::{Look, Tone};

/// Letters of a line that fit beside the rest on any terminal.
const ROOM: usize = 100;

/// What is waited for. The line goes away with the value.
pub struct Progress {
    shown: bool,
    terminal: bool,
    look: Look,
    since: Instant,
}

impl Progress {
    /// Nothing yet.
    pub fn new(look: Look) -> Self {
        Self { shown: false, terminal: std::io::stderr().is_terminal(), look, since: Instant::now() }
    }

    /// Says what is waited for.
    pub fn show(&mut self, text: &str) {
        if !self.terminal {
            return;
        }
        let seconds = self.since.elapsed().as_secs();
        let width = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| usize::from(size.ws_col));
        let room = width.saturating_sub(10).clamp(20, ROOM);
        let text: String = text.chars().filter(|one| !one.is_control()).take(room).collect();
        let mut err = std::io::stderr().lock();
        // A terminal that cannot be written to shows nothing, and that is all.
        let _ = write!(err, "\r\x1b[K{} {}", self.look.paint_err(Tone::Busy, &format!("{seconds:>3}s")), text);
        let _ = err.flush();
        self.shown = true;
    }

    /// Takes the line away, before something else is printed.
    pub fn clear(&mut self) {
        if self.shown {
            let mut err = std::io::stderr().lock();
            let _ = write!(err, "\r\x1b[K");
            let _ = err.flush();
            self.shown = false;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
