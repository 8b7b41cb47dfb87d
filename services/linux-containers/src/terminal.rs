//! A terminal for a process that has none: what is typed goes in at one end, what is shown comes out there.

use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Winsize};
use tokio::io::unix::AsyncFd;

use crate::process::readable;

/// Our end of a terminal.
pub struct Terminal {
    /// For reading; writing waits in small steps, since it hardly ever has to.
    end: AsyncFd<OwnedFd>,
}

/// Pause between two tries to write into a terminal that takes nothing.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

impl Terminal {
    /// A new terminal, and its other end, which shows nothing by itself: who runs in the container has one of its own.
    pub fn open() -> std::io::Result<(Self, OwnedFd)> {
        let ours = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        rustix::pty::grantpt(&ours)?;
        rustix::pty::unlockpt(&ours)?;
        let name = rustix::pty::ptsname(&ours, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = rustix::fs::open(name, flags, rustix::fs::Mode::empty())?;
        let mut raw = rustix::termios::tcgetattr(&theirs)?;
        raw.make_raw();
        rustix::termios::tcsetattr(&theirs, OptionalActions::Now, &raw)?;
        rustix::fs::fcntl_setfl(&ours, rustix::fs::fcntl_getfl(&ours)? | OFlags::NONBLOCK)?;
        Ok((Self { end: readable(ours)? }, theirs))
    }

    /// The other end three times, as a process wants it.
    pub fn streams(theirs: &OwnedFd) -> std::io::Result<[Stdio; 3]> {
        let copy = || theirs.try_clone().map(Stdio::from);
        Ok([copy()?, copy()?, copy()?])
    }

    /// Reads what is shown; nothing any more when the last process has gone.
    pub async fn read(&self, buffer: &mut [u8]) -> usize {
        loop {
            let Ok(mut ready) = self.end.readable().await else { return 0 };
            let read = ready.try_io(|end| rustix::io::read(end.get_ref(), &mut *buffer).map_err(Into::into));
            match read {
                Ok(Ok(read)) => return read,
                // As terminals tell that nobody is left.
                Ok(Err(_)) => return 0,
                Err(_) => {}
            }
        }
    }

    /// Types.
    pub async fn write(&self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            match rustix::io::write(self.end.get_ref(), bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Changes the size, and tells the process that passes it on.
    pub fn resize(&self, width: u16, height: u16, process: Option<u32>) {
        let size = Winsize { ws_col: width, ws_row: height, ws_xpixel: 0, ws_ypixel: 0 };
        if let Err(error) = rustix::termios::tcsetwinsize(self.end.get_ref().as_fd(), size) {
            tracing::debug!(%error, "a terminal keeps its size");
        }
        if let Some(pid) = process.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            // One that has just ended needs no size.
            let _ = rustix::process::kill_process(pid, Signal::WINCH);
        }
    }
}
