//! `mkube port-forward`: ports of this machine that lead to ports of a pod, until it is stopped.

use std::net::SocketAddr;
use std::str::FromStr;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use super::api::{Api, block_on, encoded};
use super::exec::socket;
use super::look::Look;
use super::pods;
use crate::cli::PortForwardArgs;
use crate::failure::{FAILED, Failure};
use crate::say::print;

/// The libraries' protocol: a channel for data and one for errors.
const PROTOCOL: &str = "v4.channel.k8s.io";
const DATA: u8 = 0;
/// Bytes of a message.
const PIECE: usize = 32 << 10;
/// Connections at the same time.
const TOGETHER: usize = 64;

/// A port here and a port there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Here; 0 is any that is free.
    pub local: u16,
    /// In the pod.
    pub remote: u16,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (local, remote) = text.split_once(':').unwrap_or((text, text));
        let port = |text: &str| text.parse::<u16>().map_err(|_| format!("{text:?} is no port"));
        let local = if local.is_empty() { 0 } else { port(local)? };
        match port(remote)? {
            0 => Err("there is no port 0".to_owned()),
            remote => Ok(Self { local, remote }),
        }
    }
}

/// `mkube port-forward`.
pub fn port_forward(args: &PortForwardArgs, _: Look) -> Result<(), Failure> {
    let api = Api::new(&args.reach.server)?;
    block_on(async {
        let namespace = api.namespace(args.reach.namespace.as_deref()).to_owned();
        let found = pods::of(&api, &args.pod, &namespace).await?;
        let pod = pods::best(&found).ok_or_else(|| Failure::text(FAILED, "there is no pod"))?;
        let phase = pod["status"]["phase"].as_str().unwrap_or("Unknown");
        if phase != "Running" {
            return Err(Failure::text(FAILED, format!("pod {} does not run: {phase}", pods::name(pod))));
        }
        let path = format!("/api/v1/namespaces/{}/pods/{}/portforward", encoded(&namespace), encoded(pods::name(pod)));
        let mut listening = Vec::new();
        for pair in &args.ports {
            let at = SocketAddr::new(args.address, pair.local);
            let listener = TcpListener::bind(at).await.map_err(|error| {
                let failure = Failure::text(FAILED, format!("{at} cannot be listened on: {error}"));
                failure.hint("LOCAL:REMOTE names another port here, :REMOTE takes any that is free")
            })?;
            let here = listener.local_addr().map_err(|error| Failure::new(FAILED, error))?;
            print(format!("Forwarding from {here} -> {}\n", pair.remote))?;
            listening.push((listener, format!("{path}?ports={}", pair.remote), pair.remote));
        }
        let api = &api;
        let all = listening.iter().map(|(listener, path, port)| serve(api, listener, path, *port));
        futures_util::future::try_join_all(all).await.map(drop)
    })
}

async fn serve(api: &Api, listener: &TcpListener, path: &str, port: u16) -> Result<(), Failure> {
    let mut carried = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(ended) = carried.next(), if !carried.is_empty() => {
                let ended: Result<(), Failure> = ended;
                if let Err(failure) = ended {
                    failure.at(&format!("port {port}")).say();
                }
            }
            accepted = listener.accept(), if carried.len() < TOGETHER => {
                let (connection, _) = accepted.map_err(|error| Failure::new(FAILED, error))?;
                carried.push(carry(api, connection, path));
            }
        }
    }
}

/// One connection, both ways, until both are at their end.
async fn carry(api: &Api, mut connection: TcpStream, path: &str) -> Result<(), Failure> {
    let (mut sink, mut stream) = socket(api, path, PROTOCOL).await?.split();
    let (mut from_here, mut to_here) = connection.split();
    let sending = async {
        let mut buffer = vec![0; PIECE];
        loop {
            let read = from_here.read(&mut buffer).await.unwrap_or(0);
            if read == 0 {
                return false;
            }
            let message = [&[DATA], &buffer[..read]].concat();
            if sink.send(Message::Binary(Bytes::from(message))).await.is_err() {
                return true;
            }
        }
    };
    let mut why = String::new();
    let receiving = async {
        // The first message of each channel repeats the port.
        let mut greeted = [false; 2];
        while let Some(Ok(message)) = stream.next().await {
            let Message::Binary(bytes) = message else { continue };
            let Some((channel, rest)) = bytes.split_first() else { continue };
            let Some(greeted) = greeted.get_mut(usize::from(*channel)) else { continue };
            if !std::mem::replace(greeted, true) {
                continue;
            }
            if *channel == DATA {
                if to_here.write_all(rest).await.is_err() {
                    return;
                }
            } else {
                why += &String::from_utf8_lossy(rest);
            }
        }
    };
    {
        tokio::pin!(receiving);
        tokio::select! {
            biased;
            () = &mut receiving => {}
            lost = sending => if !lost {
                // Whoever asks and closes his side may still want the answer.
                receiving.await;
            },
        }
    }
    if why.is_empty() { Ok(()) } else { Err(Failure::text(FAILED, why)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_kubectl_does() {
        let pair = |local, remote| Ok(Pair { local, remote });
        assert_eq!("80".parse::<Pair>(), pair(80, 80));
        assert_eq!("8080:80".parse::<Pair>(), pair(8080, 80));
        assert_eq!(":80".parse::<Pair>(), pair(0, 80));
        for text in ["", ":", "80:", "80:0", "http", "1:2:3", "70000"] {
            assert!(text.parse::<Pair>().is_err(), "{text}");
        }
    }
}
