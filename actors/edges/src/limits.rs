//! How many clients there is room for, and how long one that reads nothing is waited for.

use std::net::TcpListener;
use std::time::Duration;

use rustix::net::sockopt;
use rustix::process::{Resource, getrlimit};

/// Connections, where the process may have so many files.
const CONNECTIONS: usize = 8192;
/// Fewer are of no use.
const LEAST: usize = 64;
/// How long what a client was sent may stay unread. Whoever stops a terminal or leaves a pager open comes back within it.
const UNREAD: Duration = Duration::from_secs(300);
/// Signs of life on a connection on which nothing is said: the first after this time, in seconds as the kernel counts.
const FIRST_SIGN: Duration = Duration::from_secs(60);
/// Pause between those that are not answered.
const NEXT_SIGN: Duration = Duration::from_secs(15);

/// Bounds of the edge.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// Open connections.
    pub connections: usize,
    /// Watches among them.
    pub watches: usize,
    /// How long what a client was sent may stay unread; then it is cut off.
    pub unread: Duration,
}

impl HttpLimits {
    /// As many as this process may open, with half of its files left for everything else and a quarter of the connections left
    /// for those who do not watch.
    pub fn of_this_process() -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self::with_files(usize::try_from(files).unwrap_or(usize::MAX))
    }

    fn with_files(files: usize) -> Self {
        let connections = (files / 2).clamp(LEAST, CONNECTIONS);
        Self { connections, watches: connections / 4 * 3, unread: UNREAD }
    }

    /// Lets the kernel end connections whose clients read nothing or have silently gone. What is accepted on a socket is
    /// bounded as the socket is.
    pub fn bound(&self, listener: &TcpListener) -> std::io::Result<()> {
        sockopt::set_tcp_user_timeout(listener, u32::try_from(self.unread.as_millis()).unwrap_or(u32::MAX))?;
        sockopt::set_tcp_keepidle(listener, FIRST_SIGN)?;
        sockopt::set_tcp_keepintvl(listener, NEXT_SIGN)?;
        Ok(sockopt::set_socket_keepalive(listener, true)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_files_are_for_connections_and_some_of_these_for_others_than_watchers() {
        let of = |files| {
            let limits = HttpLimits::with_files(files);
            (limits.connections, limits.watches)
        };
        assert_eq!(of(1024), (512, 384));
        assert_eq!(of(1 << 20), (8192, 6144));
        assert_eq!(of(0), (64, 48));
    }
}
