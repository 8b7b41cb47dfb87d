//! Ports of pods, as a client far away reaches them.

use std::net::IpAddr;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

/// A connection that a client had upgraded. Either end that is dropped ends it.
#[derive(Debug)]
pub struct Tunnel {
    /// What the client sent, in its messages.
    pub incoming: mpsc::Receiver<Bytes>,
    /// What it gets.
    pub outgoing: mpsc::Sender<Bytes>,
}

/// Where a pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodAddress {
    /// Its name with its namespace, for people.
    pub pod: String,
    /// Its address.
    pub address: IpAddr,
}

/// How connections share a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortFraming {
    /// Streams of SPDY/3.1, as `kubectl port-forward` opens them; messages of the tunnel are cut anywhere.
    Spdy,
    /// Two channels for each of these ports, data and error; the first byte of a message names its channel.
    Channels(Vec<u16>),
}

/// Carries connections to ports of pods.
#[async_trait]
pub trait PodPorts: Send + Sync {
    /// Serves a tunnel until its client goes, or until there is nothing more to carry.
    async fn forward(&self, to: PodAddress, framing: PortFraming, tunnel: Tunnel);
}
