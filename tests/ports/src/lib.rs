//! Ports for programs that tests start, and start again.
//!
//! A port the kernel hands out (`bind` to port 0) and that is closed again for a program to take may go to anybody's next connection
//! before the program has it, and again each time the program is killed. The ports here lie below the range the kernel hands out from,
//! and each is kept by a name that vanishes with the process that asked, so no two test processes get the same one.

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;

/// Where ports are taken from. Linux hands out none below 32,768 unless told to.
const FIRST: u16 = 10_000;
const COUNT: u16 = 10_000;
/// Far apart for processes with neighbouring numbers, and prime to [`COUNT`], so that every port has its turn.
const STRIDE: u32 = 37;

/// What keeps the ports of this process.
static KEPT: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A TCP and UDP port of loopback that nobody has, for as long as this process lives.
///
/// # Panics
///
/// When all of them are taken.
pub fn free_port() -> u16 {
    let mut kept = KEPT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let begin = std::process::id().wrapping_mul(STRIDE);
    for step in 0..u32::from(COUNT) {
        let offset = begin.wrapping_add(step) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).expect("below the count");
        let Ok(name) = keep(port) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            kept.push(name);
            return port;
        }
    }
    panic!("every port from {FIRST} on is taken");
}

/// Such a port with its address.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// An abstract name for a port. Nothing is ever sent to it.
fn keep(port: u16) -> std::io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(format!("mkube-test-port-{port}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_and_stays_free_for_whom_it_is_given() {
        let ports: Vec<u16> = (0..200).map(|_| free_port()).collect();
        let mut once = ports.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), ports.len(), "one was given twice");
        // Another process would be refused each name.
        assert!(ports.iter().all(|port| keep(*port).is_err()));
        // Nor does the kernel hand one out, to connections or to whoever wants any port.
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("Linux tells its range");
        let low: u16 = range.split_whitespace().next().and_then(|low| low.parse().ok()).expect("a number");
        assert!(ports.iter().all(|port| *port < low), "{low} and more are handed out by the kernel");
        for port in ports {
            TcpListener::bind(("127.0.0.1", port)).expect("still free");
        }
    }
}
