//! The libraries' protocol: one connection for each port, on two channels of the client's connection.

use std::sync::Arc;

use bytes::Bytes;
use mkube_model::neighbours::pod_ports::PodAddress;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::carry::{WAITING, carry};

/// Serves until every connection has ended, or the client has gone.
pub async fn serve(to: PodAddress, ports: &[u16], mut incoming: mpsc::Receiver<Bytes>, outgoing: mpsc::Sender<Bytes>) {
    let to = Arc::new(to);
    let mut connections = JoinSet::new();
    let mut inputs = Vec::new();
    for (number, port) in ports.iter().copied().enumerate() {
        // A byte names a channel: whoever asks sees to it that there are not more.
        let data = u8::try_from(number * 2).unwrap_or(u8::MAX);
        let error = data.saturating_add(1);
        for channel in [data, error] {
            let [low, high] = port.to_le_bytes();
            if outgoing.send(vec![channel, low, high].into()).await.is_err() {
                return;
            }
        }
        let (input, from_client) = mpsc::channel(WAITING);
        inputs.push(input);
        let (to, outgoing) = (to.clone(), outgoing.clone());
        connections.spawn(async move {
            let done = carry(&to, port, from_client, &outgoing, |bytes| on(data, &bytes)).await;
            if let Err(why) = done {
                // Whether anybody is there to read it makes no difference.
                let _ = outgoing.send(on(error, why.as_bytes())).await;
            }
        });
    }
    loop {
        tokio::select! {
            biased;
            ended = connections.join_next() => if ended.is_none() {
                return;
            },
            message = incoming.recv() => {
                let Some(message) = message else { return };
                let Some(channel) = message.first().copied() else { continue };
                if channel % 2 == 0
                    && let Some(input) = inputs.get(usize::from(channel / 2))
                {
                    // One that has ended takes nothing more, and the others go on.
                    let _ = input.send(message.slice(1..)).await;
                }
            }
        }
    }
}

fn on(channel: u8, bytes: &[u8]) -> Bytes {
    [&[channel], bytes].concat().into()
}
