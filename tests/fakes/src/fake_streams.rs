//! Commands that are played, and ports of pods that send back whatever comes.

use async_trait::async_trait;
use bytes::Bytes;
use mkube_model::neighbours::container_exec::{ContainerExec, ExecInput, ExecOrder, ExecOutput, ExecSession};
use mkube_model::neighbours::pod_logs::ContainerRef;
use mkube_model::neighbours::pod_ports::{PodAddress, PodPorts, PortFraming, Tunnel};
use mkube_model::neighbours::spdy_streams::{SpdyStreams, StandardStreams};
use mkube_model::status::Status;
use tokio::sync::mpsc;

/// `cat` gives back its input until that ends; `exit 3` exits with 3; `size` tells each size of its terminal; `both` writes a word
/// to each output; `hang` says nothing and goes on; `lost` ends without a word. A container called `bare` runs no commands. What
/// is SPDY to others are the messages themselves here, after one that tells which streams there are.
#[derive(Debug, Clone, Copy, Default)]
pub struct FakeStreams;

#[async_trait]
impl ContainerExec for FakeStreams {
    async fn check(&self, container: &ContainerRef) -> Result<(), Status> {
        match container.container.as_str() {
            "bare" => Err(Status::new(501, "NotImplemented", "commands cannot be run in containers of this device")),
            _ => Ok(()),
        }
    }

    async fn exec(&self, container: &ContainerRef, order: ExecOrder) -> Result<ExecSession, Status> {
        self.check(container).await?;
        let (input, inputs) = mpsc::channel(4);
        let (outputs, output) = mpsc::channel(4);
        tokio::spawn(async move {
            let gone = outputs.clone();
            tokio::select! {
                biased;
                () = gone.closed() => {}
                () = play(order, inputs, outputs) => {}
            }
        });
        Ok(ExecSession { input, output })
    }
}

async fn play(order: ExecOrder, mut inputs: mpsc::Receiver<ExecInput>, outputs: mpsc::Sender<ExecOutput>) {
    let tell = async |one: ExecOutput| drop(outputs.send(one).await);
    let words: Vec<&str> = order.command.iter().map(String::as_str).collect();
    let code = match words.as_slice() {
        ["cat"] => {
            while let Some(input) = inputs.recv().await {
                match input {
                    ExecInput::Stdin(bytes) => tell(ExecOutput::Stdout(bytes)).await,
                    ExecInput::EndOfStdin => break,
                    ExecInput::Resize { .. } => {}
                }
            }
            0
        }
        ["size"] => {
            while let Some(input) = inputs.recv().await {
                match input {
                    ExecInput::Resize { width, height } => {
                        tell(ExecOutput::Stdout(format!("{width}x{height}\n").into())).await;
                    }
                    ExecInput::EndOfStdin => break,
                    ExecInput::Stdin(_) => {}
                }
            }
            0
        }
        ["both"] => {
            tell(ExecOutput::Stdout(Bytes::from_static(b"out"))).await;
            tell(ExecOutput::Stderr(Bytes::from_static(b"err"))).await;
            0
        }
        ["exit", code] => code.parse().unwrap_or(255),
        ["hang"] => std::future::pending().await,
        ["lost"] => return,
        _ => 127,
    };
    tell(ExecOutput::Exited(code)).await;
}

#[async_trait]
impl PodPorts for FakeStreams {
    async fn forward(&self, to: PodAddress, framing: PortFraming, tunnel: Tunnel) {
        let Tunnel { mut incoming, outgoing } = tunnel;
        let first = format!("{} {} {framing:?}", to.pod, to.address);
        if outgoing.send(first.into()).await.is_err() {
            return;
        }
        while let Some(bytes) = incoming.recv().await {
            if bytes.as_ref() == b"end" || outgoing.send(bytes).await.is_err() {
                return;
            }
        }
    }
}

#[async_trait]
impl SpdyStreams for FakeStreams {
    async fn carry(&self, opened: StandardStreams, client: Tunnel, messages: Tunnel) {
        let (mut from_client, mut from_command) = (client.incoming, messages.incoming);
        let first = format!("{opened:?}\n");
        if client.outgoing.send(first.into()).await.is_err() {
            return;
        }
        loop {
            let passed = tokio::select! {
                biased;
                Some(bytes) = from_command.recv() => client.outgoing.send(bytes).await,
                Some(bytes) = from_client.recv() => messages.outgoing.send(bytes).await,
                else => return,
            };
            if passed.is_err() {
                return;
            }
        }
    }
}
