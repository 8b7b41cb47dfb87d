//! kubectl's protocol: two streams of SPDY for each connection, any number of connections one after the other or at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mkube_model::neighbours::pod_ports::PodAddress;
use mkube_spdy::{Decoder, Encoder, Fault, Frame, Headers, PROTOCOL_ERROR, REFUSED_STREAM};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::carry::{WAITING, carry};

/// Streams at the same time: two for each connection.
const STREAMS: usize = 256;
/// Frames that wait to be sent.
const FRAMES: usize = 64;

/// Serves until the client has gone, or says what nobody understands.
pub async fn serve(to: PodAddress, mut incoming: mpsc::Receiver<Bytes>, outgoing: mpsc::Sender<Bytes>) {
    let (frames, mut to_send) = mpsc::channel(FRAMES);
    // Beside the reading: a pod that answers must not wait for one that takes no more.
    let writing = async move {
        let mut encoder = Encoder::default();
        while let Some(frame) = to_send.recv().await {
            if outgoing.send(encoder.encode(&frame)).await.is_err() {
                return;
            }
        }
    };
    let reading = async move {
        let mut session = Session {
            to: Arc::new(to),
            frames,
            streams: BTreeMap::new(),
            waiting: BTreeMap::new(),
            connections: JoinSet::new(),
            last: 0,
        };
        if let Err(fault) = session.read(&mut incoming).await {
            tracing::debug!(%fault, "a port-forward ends");
            let _ = session.frames.send(Frame::Goaway).await;
        }
        // The writing ends when nobody can send any more.
    };
    tokio::join!(writing, reading);
}

/// What a stream is.
enum Stream {
    /// Errors of a connection go out on it; nothing comes in.
    Error,
    /// What comes in on it goes to the pod, until the client has sent everything.
    Data(Option<mpsc::Sender<Bytes>>),
}

/// A connection whose streams do not both exist yet.
#[derive(Default)]
struct Half {
    error: Option<u32>,
    data: Option<(u32, u16, mpsc::Receiver<Bytes>)>,
}

struct Session {
    to: Arc<PodAddress>,
    frames: mpsc::Sender<Frame>,
    /// Each stream, the other one of its connection when there is a connection, and how to end that.
    streams: BTreeMap<u32, (Stream, Option<(u32, AbortHandle)>)>,
    waiting: BTreeMap<String, Half>,
    /// Connections; each ends with its streams.
    connections: JoinSet<[u32; 2]>,
    last: u32,
}

impl Session {
    async fn read(&mut self, incoming: &mut mpsc::Receiver<Bytes>) -> Result<(), Fault> {
        let mut decoder = Decoder::default();
        loop {
            tokio::select! {
                biased;
                Some(ended) = self.connections.join_next() => {
                    for id in ended.into_iter().flatten() {
                        self.streams.remove(&id);
                    }
                }
                bytes = incoming.recv() => {
                    let Some(bytes) = bytes else { return Ok(()) };
                    decoder.push(&bytes);
                    while let Some(frame) = decoder.next_frame()? {
                        self.take(frame).await;
                    }
                }
            }
        }
    }

    async fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Begin { id, fin, headers } => self.begin(id, fin, &headers).await,
            Frame::Data { id, fin, bytes } => {
                let Some((Stream::Data(input), _)) = self.streams.get_mut(&id) else { return };
                if let Some(open) = input
                    && !bytes.is_empty()
                {
                    // A connection that has ended takes nothing more.
                    let _ = open.send(bytes).await;
                }
                if fin {
                    *input = None;
                }
            }
            Frame::Reset { id, .. } => self.forget(id),
            Frame::Ping { id } => self.send(Frame::Ping { id }).await,
            Frame::Accept { .. } | Frame::Headers { .. } | Frame::Goaway => {}
        }
    }

    async fn begin(&mut self, id: u32, fin: bool, headers: &Headers) {
        let of = |name: &str| headers.get(name).map(String::as_str).unwrap_or_default();
        let port = of("port").parse::<u16>().ok().filter(|port| *port > 0);
        // A client's streams have odd numbers that only grow.
        let (Some(port), true) = (port, id % 2 == 1 && id > self.last) else {
            return self.send(Frame::Reset { id, status: PROTOCOL_ERROR }).await;
        };
        if self.streams.len() >= STREAMS {
            return self.send(Frame::Reset { id, status: REFUSED_STREAM }).await;
        }
        self.last = id;
        let name = of("requestid").to_owned();
        let half = self.waiting.entry(name.clone()).or_default();
        match of("streamtype") {
            "error" if half.error.is_none() => {
                half.error = Some(id);
                self.streams.insert(id, (Stream::Error, None));
            }
            "data" if half.data.is_none() => {
                let (input, from_client) = mpsc::channel(WAITING);
                half.data = Some((id, port, from_client));
                self.streams.insert(id, (Stream::Data(Some(input).filter(|_| !fin)), None));
            }
            _ => return self.send(Frame::Reset { id, status: PROTOCOL_ERROR }).await,
        }
        // Before anything is sent on it.
        self.send(Frame::Accept { id, fin: false, headers: Headers::new() }).await;
        match self.waiting.remove(&name) {
            Some(Half { error: Some(error), data: Some((data, port, from_client)) }) => {
                self.connect(error, data, port, from_client);
            }
            Some(half) => drop(self.waiting.insert(name, half)),
            None => {}
        }
    }

    fn connect(&mut self, error: u32, data: u32, port: u16, from_client: mpsc::Receiver<Bytes>) {
        let (to, frames) = (self.to.clone(), self.frames.clone());
        let handle = self.connections.spawn(async move {
            let piece = |bytes| Frame::Data { id: data, fin: false, bytes };
            let done = carry(&to, port, from_client, &frames, piece).await;
            let words = done.err().map(Bytes::from).unwrap_or_default();
            // Whether anybody is there to read it makes no difference.
            let _ = frames.send(Frame::Data { id: error, fin: true, bytes: words }).await;
            let _ = frames.send(Frame::Data { id: data, fin: true, bytes: Bytes::new() }).await;
            [error, data]
        });
        for (own, other) in [(error, data), (data, error)] {
            if let Some((_, connection)) = self.streams.get_mut(&own) {
                *connection = Some((other, handle.clone()));
            }
        }
    }

    /// The client wants no more of a stream: its connection ends.
    fn forget(&mut self, id: u32) {
        match self.streams.remove(&id) {
            // The half-closed error stream of a connection that goes on is not worth ending it.
            Some((Stream::Data(_), Some((other, connection)))) => {
                connection.abort();
                self.streams.remove(&other);
            }
            _ => self
                .waiting
                .retain(|_, half| half.error != Some(id) && half.data.as_ref().is_none_or(|(data, ..)| *data != id)),
        }
    }

    async fn send(&self, frame: Frame) {
        // One that has gone is noticed by what reads.
        let _ = self.frames.send(frame).await;
    }
}
