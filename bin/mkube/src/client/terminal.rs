//! The terminal of a person: put out of the way while a command in a container has it, and put back whatever happens.

use std::io::{IsTerminal, Read};

use bytes::Bytes;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use crate::failure::{FAILED, Failure};

/// Bytes that are read at once, and pieces that wait.
const PIECE: usize = 16 << 10;
const WAITING: usize = 16;

/// A terminal that passes on what is typed as it is. It is as it was before when the value goes, also in a panic.
pub struct Raw(Termios);

impl Raw {
    /// Takes standard input, if that is a terminal.
    pub fn take() -> Result<Self, Failure> {
        let before = tcgetattr(std::io::stdin()).map_err(|error| Failure::new(FAILED, error))?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Drain, &raw).map_err(|error| Failure::new(FAILED, error))?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// Whether somebody types on standard input.
pub fn is_typed() -> bool {
    std::io::stdin().is_terminal()
}

/// Columns and rows.
pub fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(std::io::stdout()).or_else(|_| tcgetwinsize(std::io::stdin())).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// What comes on standard input; its end is the end. Read by a thread of its own, which nobody waits for.
pub fn typed() -> mpsc::Receiver<Bytes> {
    let (pieces, typed) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        let mut buffer = vec![0; PIECE];
        let mut stdin = std::io::stdin().lock();
        loop {
            match stdin.read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
                Ok(read) => {
                    if pieces.blocking_send(Bytes::copy_from_slice(&buffer[..read])).is_err() {
                        return;
                    }
                }
            }
        }
    });
    typed
}
