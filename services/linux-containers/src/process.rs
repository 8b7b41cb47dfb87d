//! A process that is not our child: whether it is alive, and when it ends.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Pause between two looks where the kernel cannot tell.
const PAUSE: Duration = Duration::from_millis(500);

/// A process, held so that its number cannot come to mean another one.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    /// Nothing when no more files can be opened: then it is looked at now and then.
    held: Option<AsyncFd<OwnedFd>>,
}

/// A descriptor whose readiness can be waited for. Needs a runtime.
#[allow(deprecated, reason = "sound for a descriptor that is owned; its successor is unsafe, which this crate denies")]
pub fn readable(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

impl Process {
    /// Takes hold of a process; nothing if there is none of this number. Needs a runtime.
    pub fn open(pid: u32) -> Option<Self> {
        let number = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let held = match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
            Ok(held) => readable(held).ok(),
            Err(rustix::io::Errno::SRCH) => return None,
            Err(_) => None,
        };
        Some(Self { pid, held })
    }

    /// Whether it runs: one that nobody has collected yet has ended all the same.
    pub fn is_alive(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
        state.is_some_and(|state| !matches!(state, "Z" | "X"))
    }

    /// Returns when it has ended.
    pub async fn ended(&self) {
        if let Some(held) = &self.held
            && held.readable().await.is_ok()
        {
            return;
        }
        while self.is_alive() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Kills it.
    pub fn kill(&self) {
        if let Some(held) = &self.held {
            // Nothing to do when it has ended meanwhile.
            let _ = rustix::process::pidfd_send_signal(held.get_ref(), Signal::KILL);
        }
    }
}

/// Whether the first process of a namespace, whose `/proc/<pid>/status` this is, would not even notice a signal.
pub fn ignores(status: &str, signal: i32) -> bool {
    let mask = |name: &str| {
        let text = status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        text.and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0)
    };
    // Nobody can catch these two, and they work.
    let forced = signal == Signal::KILL.as_raw() || signal == Signal::STOP.as_raw();
    // It is not killed by a signal it has no handler for. One that blocks a signal fetches it by other means: small init
    // programs do.
    let noticed = mask("SigCgt:") | mask("SigBlk:");
    (1..=64).contains(&signal) && !forced && noticed & (1 << (signal - 1)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_noticed_when_it_is_caught_or_blocked() {
        let status =
            |blocked: &str, caught: &str| format!("Name:\tx\nSigBlk:\t{blocked}\nSigIgn:\t0\nSigCgt:\t{caught}\n");
        let (none, term) = ("0000000000000000", "0000000000004000");
        assert!(ignores(&status(none, none), 15));
        assert!(!ignores(&status(none, term), 15));
        assert!(!ignores(&status(term, none), 15), "as tini does");
        assert!(ignores(&status(term, none), 1), "another signal");
        assert!(!ignores(&status(none, none), 9) && !ignores(&status(none, none), 19));
        assert!(!ignores(&status(none, none), 0) && !ignores(&status(none, none), 65));
    }
}
