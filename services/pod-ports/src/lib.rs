//! Connections to ports of pods, carried over one connection of a client: `kubectl port-forward`, and that of the libraries.
//!
//! What the client's connection is made of is not known here: messages come and go. The framing is one of two, `spdy` or
//! `channels`; `carry` is one connection to a pod, the same for both. `commands` is what else clients use SPDY for: the standard
//! streams of a command.

mod carry;
mod channels;
mod commands;
mod spdy;

use async_trait::async_trait;
use mkube_model::neighbours::pod_ports::{PodAddress, PodPorts, PortFraming, Tunnel};
use mkube_model::neighbours::spdy_streams::{SpdyStreams, StandardStreams};

/// Ports of pods over TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct NetworkPorts;

#[async_trait]
impl PodPorts for NetworkPorts {
    async fn forward(&self, to: PodAddress, framing: PortFraming, tunnel: Tunnel) {
        let Tunnel { incoming, outgoing } = tunnel;
        let gone = outgoing.clone();
        let served = async {
            match framing {
                PortFraming::Spdy => spdy::serve(to, incoming, outgoing).await,
                PortFraming::Channels(ports) => channels::serve(to, &ports, incoming, outgoing).await,
            }
        };
        tokio::select! {
            biased;
            // Also while something waits for a pod that reads nothing.
            () = gone.closed() => {}
            () = served => {}
        }
    }
}

/// Standard streams of commands over SPDY.
#[derive(Debug, Clone, Copy, Default)]
pub struct CommandStreams;

#[async_trait]
impl SpdyStreams for CommandStreams {
    async fn carry(&self, opened: StandardStreams, client: Tunnel, messages: Tunnel) {
        let gone = client.outgoing.clone();
        tokio::select! {
            biased;
            // Also while a command takes no more input.
            () = gone.closed() => {}
            () = commands::carry(opened, client, messages) => {}
        }
    }
}
