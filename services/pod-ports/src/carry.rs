//! One connection to a port of a pod, and the bytes both ways.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mkube_model::neighbours::pod_ports::PodAddress;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Longest wait for a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes read at a time.
const PIECE: usize = 16 << 10;
/// Pieces from the client that wait for the pod.
pub const WAITING: usize = 32;

/// Carries one connection until the pod has said everything; `framed` makes of its bytes what the client gets. What went wrong is
/// told in the words that clients print.
pub async fn carry<Message: Send>(
    to: &PodAddress,
    port: u16,
    mut from_client: mpsc::Receiver<Bytes>,
    to_client: &mpsc::Sender<Message>,
    framed: impl Fn(Bytes) -> Message + Send,
) -> Result<(), String> {
    let address = SocketAddr::new(to.address, port);
    let refused = |why: &str| format!("error forwarding port {port} to pod {}: dial tcp {address}: {why}", to.pod);
    let stream = match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            return Err(refused("connect: connection refused"));
        }
        Ok(Err(error)) => return Err(refused(&format!("connect: {error}"))),
        Err(_) => return Err(refused("i/o timeout")),
    };
    // What a client types is not held back.
    let _ = stream.set_nodelay(true);
    let (mut reading, mut writing) = stream.into_split();
    let up = async {
        while let Some(bytes) = from_client.recv().await {
            writing.write_all(&bytes).await?;
        }
        writing.shutdown().await
    };
    let down = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE);
            let read = reading.read_buf(&mut buffer).await;
            match read {
                Ok(0) => return Ok(()),
                Ok(_) if to_client.send(framed(buffer.split().freeze())).await.is_ok() => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(format!("error forwarding port {port} to pod {}: {error}", to.pod)),
            }
        }
    };
    tokio::pin!(down);
    tokio::select! {
        biased;
        done = &mut down => return done,
        // A pod that takes no more may still have something to say.
        _ = up => {}
    }
    down.await
}
