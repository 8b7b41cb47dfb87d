//! Standard streams of a command as kubectl opens them over SPDY: one stream for each, and one on which it is told the end.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use mkube_model::neighbours::pod_ports::Tunnel;
use mkube_model::neighbours::spdy_streams::StandardStreams;
use mkube_spdy::{Decoder, Encoder, Fault, Frame, Headers, PROTOCOL_ERROR};
use tokio::sync::{mpsc, oneshot};

/// Frames that wait to be sent.
const FRAMES: usize = 64;
/// How long a client may take to open its streams.
const OPENING: Duration = Duration::from_secs(30);
/// Bytes of what a client says on the stream of sizes before it is a line.
const LINE: usize = 1024;

/// What the streams are called, and the channel of each in messages.
const NAMES: [(&str, u8); 5] = [("stdin", 0), ("stdout", 1), ("stderr", 2), ("error", 3), ("resize", 4)];
const STDIN: u8 = 0;
const ERROR: u8 = 3;
const SIZES: u8 = 4;
/// The message that ends standard input.
const END_OF_STDIN: &[u8] = &[255, STDIN];

/// Carries everything until the end has been told, or either side goes.
pub async fn carry(opened: StandardStreams, client: Tunnel, messages: Tunnel) {
    let (frames, mut to_send) = mpsc::channel(FRAMES);
    let (all_open, streams) = oneshot::channel();
    let outgoing = client.outgoing;
    let writing = async move {
        let mut encoder = Encoder::default();
        while let Some(frame) = to_send.recv().await {
            if outgoing.send(encoder.encode(&frame)).await.is_err() {
                return;
            }
        }
    };
    let talking = async move {
        let wanted = [opened.stdin, opened.stdout, opened.stderr, true, opened.sizes];
        let missing = NAMES.into_iter().zip(wanted).filter(|(_, wanted)| *wanted).map(|(name, _)| name).collect();
        let mut reading = Reading {
            frames: frames.clone(),
            messages: messages.outgoing,
            missing,
            streams: BTreeMap::new(),
            all_open: Some(all_open),
            sizes: BytesMut::new(),
            last: 0,
        };
        tokio::select! {
            biased;
            () = tell(streams, messages.incoming, &frames) => {}
            read = reading.read(client.incoming) => if let Err(fault) = read {
                tracing::debug!(%fault, "the streams of a command end");
                let _ = frames.send(Frame::Goaway).await;
            }
        }
        // The writing ends when nobody can send any more.
    };
    tokio::join!(writing, talking);
}

/// Which stream has which number, by channel.
type Numbers = BTreeMap<u8, u32>;

/// Sends what comes of the command, as soon as there are streams to send it on.
async fn tell(streams: oneshot::Receiver<Numbers>, mut messages: mpsc::Receiver<Bytes>, frames: &mpsc::Sender<Frame>) {
    let Ok(Ok(streams)) = tokio::time::timeout(OPENING, streams).await else {
        let _ = frames.send(Frame::Goaway).await;
        return;
    };
    while let Some(mut message) = messages.recv().await {
        let Some(channel) = message.first().copied() else { continue };
        message.advance(1);
        let Some(id) = streams.get(&channel).copied() else { continue };
        if channel != ERROR {
            if frames.send(Frame::Data { id, fin: false, bytes: message }).await.is_err() {
                return;
            }
            continue;
        }
        // The end: what is still on its way on the others comes before it.
        for id in streams.iter().filter(|(channel, _)| **channel != ERROR).map(|(_, id)| *id) {
            let _ = frames.send(Frame::Data { id, fin: true, bytes: Bytes::new() }).await;
        }
        let _ = frames.send(Frame::Data { id, fin: true, bytes: message }).await;
        break;
    }
    let _ = frames.send(Frame::Goaway).await;
}

/// What a client says.
struct Reading {
    frames: mpsc::Sender<Frame>,
    messages: mpsc::Sender<Bytes>,
    /// Streams that are to be opened yet.
    missing: BTreeMap<&'static str, u8>,
    /// Channels of those that are open.
    streams: BTreeMap<u32, u8>,
    all_open: Option<oneshot::Sender<Numbers>>,
    /// The beginning of a line that tells a size.
    sizes: BytesMut,
    last: u32,
}

impl Reading {
    async fn read(&mut self, mut incoming: mpsc::Receiver<Bytes>) -> Result<(), Fault> {
        let mut decoder = Decoder::default();
        while let Some(bytes) = incoming.recv().await {
            decoder.push(&bytes);
            while let Some(frame) = decoder.next_frame()? {
                self.take(frame).await?;
            }
        }
        Ok(())
    }

    async fn take(&mut self, frame: Frame) -> Result<(), Fault> {
        match frame {
            Frame::Begin { id, fin, headers } => self.begin(id, fin, &headers).await,
            Frame::Data { id, fin, bytes } => match self.streams.get(&id).copied() {
                Some(STDIN) => {
                    if !bytes.is_empty() {
                        self.say(&[&[STDIN], &*bytes].concat()).await;
                    }
                    if fin {
                        self.end(id).await;
                    }
                }
                Some(SIZES) => self.size(&bytes).await?,
                _ => {}
            },
            Frame::Reset { id, .. } => self.end(id).await,
            Frame::Ping { id } => self.send(Frame::Ping { id }).await,
            Frame::Accept { .. } | Frame::Headers { .. } | Frame::Goaway => {}
        }
        Ok(())
    }

    async fn begin(&mut self, id: u32, fin: bool, headers: &Headers) {
        let name = headers.get("streamtype").map(String::as_str).unwrap_or_default();
        // A client's streams have odd numbers that only grow.
        let fits = id % 2 == 1 && id > self.last;
        let Some(channel) = self.missing.get(name).copied().filter(|_| fits) else {
            return self.send(Frame::Reset { id, status: PROTOCOL_ERROR }).await;
        };
        self.last = id;
        self.missing.remove(name);
        self.streams.insert(id, channel);
        // Before anything is sent on it.
        self.send(Frame::Accept { id, fin: false, headers: Headers::new() }).await;
        if fin {
            self.end(id).await;
        }
        if self.missing.is_empty()
            && let Some(all_open) = self.all_open.take()
        {
            let _ = all_open.send(self.streams.iter().map(|(id, channel)| (*channel, *id)).collect());
        }
    }

    /// The client says no more on a stream. Only of standard input does anybody need to know.
    async fn end(&mut self, id: u32) {
        if self.streams.remove(&id) == Some(STDIN) {
            self.say(END_OF_STDIN).await;
        }
    }

    /// Sizes are told one to a line, cut anywhere.
    async fn size(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.sizes.extend_from_slice(bytes);
        while let Some(end) = self.sizes.iter().position(|byte| *byte == b'\n') {
            let line = self.sizes.split_to(end + 1);
            self.say(&[&[SIZES], &*line].concat()).await;
        }
        if self.sizes.len() > LINE {
            return Err(Fault::TooLong { what: "the size of a terminal", size: self.sizes.len(), most: LINE });
        }
        Ok(())
    }

    async fn say(&self, message: &[u8]) {
        // A command that has ended takes nothing more.
        let _ = self.messages.send(Bytes::copy_from_slice(message)).await;
    }

    async fn send(&self, frame: Frame) {
        // One that has gone is noticed by what reads.
        let _ = self.frames.send(frame).await;
    }
}
