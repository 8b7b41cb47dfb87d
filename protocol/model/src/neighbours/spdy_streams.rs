//! Standard streams over SPDY, as clients open them that do not speak WebSocket.

use async_trait::async_trait;

use super::pod_ports::Tunnel;

/// The streams a client opens, beside the one on which it is told the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StandardStreams {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Sizes of its terminal.
    pub sizes: bool,
}

/// Makes messages of [`channels`](crate::channels) out of streams of SPDY, and back.
#[async_trait]
pub trait SpdyStreams: Send + Sync {
    /// Carries everything between a client, whose bytes are cut anywhere, and whoever knows messages only; until the end has been
    /// told, or either side goes.
    async fn carry(&self, opened: StandardStreams, client: Tunnel, messages: Tunnel);
}
