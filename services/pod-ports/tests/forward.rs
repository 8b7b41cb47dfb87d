//! Clients of both framings against servers on loopback.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use mkube_model::neighbours::pod_ports::{PodAddress, PodPorts, PortFraming, Tunnel};
use mkube_model::neighbours::spdy_streams::{SpdyStreams, StandardStreams};
use mkube_pod_ports::{CommandStreams, NetworkPorts};
use mkube_spdy::{CANCEL, Decoder, Encoder, Frame, Headers, PROTOCOL_ERROR, REFUSED_STREAM};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A client, and the forwarding that serves it.
struct Client {
    to_server: mpsc::Sender<Bytes>,
    from_server: mpsc::Receiver<Bytes>,
    served: JoinHandle<()>,
}

impl Client {
    fn new(framing: PortFraming) -> Self {
        let (to_server, incoming) = mpsc::channel(8);
        let (outgoing, from_server) = mpsc::channel(8);
        let to = PodAddress { pod: "default/web".into(), address: LOOPBACK };
        let tunnel = Tunnel { incoming, outgoing };
        let served = tokio::spawn(async move { NetworkPorts.forward(to, framing, tunnel).await });
        Self { to_server, from_server, served }
    }

    /// A client of a command, and the command's side: what comes of it, and what it gets.
    fn of_a_command(opened: StandardStreams) -> (Self, mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>) {
        let (to_server, incoming) = mpsc::channel(8);
        let (outgoing, from_server) = mpsc::channel(8);
        let (comes, messages) = mpsc::channel(8);
        let (to_command, gets) = mpsc::channel(8);
        let (client, command) = (Tunnel { incoming, outgoing }, Tunnel { incoming: messages, outgoing: to_command });
        let served = tokio::spawn(async move { CommandStreams.carry(opened, client, command).await });
        (Self { to_server, from_server, served }, comes, gets)
    }

    async fn send(&self, bytes: impl Into<Bytes>) {
        self.to_server.send(bytes.into()).await.expect("the forwarding is there");
    }

    async fn next(&mut self) -> Option<Bytes> {
        tokio::time::timeout(PATIENCE, self.from_server.recv()).await.expect("something comes")
    }

    /// The client goes; the forwarding ends.
    async fn leave(self) {
        let Self { to_server, from_server, served } = self;
        drop((to_server, from_server));
        tokio::time::timeout(PATIENCE, served).await.expect("it ends").expect("without a panic");
    }
}

/// A client that speaks SPDY as kubectl does.
struct Spdy {
    client: Client,
    encoder: Encoder,
    decoder: Decoder,
    /// What came on each stream, and whether its end did.
    got: BTreeMap<u32, (Vec<u8>, bool)>,
    last: u32,
}

impl Spdy {
    fn new() -> Self {
        Self::over(Client::new(PortFraming::Spdy))
    }

    fn over(client: Client) -> Self {
        Self { client, encoder: Encoder::default(), decoder: Decoder::default(), got: BTreeMap::new(), last: 0 }
    }

    async fn send(&mut self, frame: Frame) {
        let bytes = self.encoder.encode(&frame);
        // Cut small, as kubectl does.
        for piece in bytes.chunks(1000) {
            self.client.send(Bytes::copy_from_slice(piece)).await;
        }
    }

    async fn begin(&mut self, kind: &str, request: usize, port: u16) -> u32 {
        let id = if self.last == 0 { 1 } else { self.last + 2 };
        self.last = id;
        let pairs = [("streamtype", kind.to_owned()), ("port", port.to_string()), ("requestid", request.to_string())];
        let headers: Headers = pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.send(Frame::Begin { id, fin: false, headers }).await;
        id
    }

    /// Error and data stream of a new connection.
    async fn connect(&mut self, request: usize, port: u16) -> (u32, u32) {
        let error = self.begin("error", request, port).await;
        self.send(Frame::Data { id: error, fin: true, bytes: Bytes::new() }).await;
        (error, self.begin("data", request, port).await)
    }

    async fn write(&mut self, id: u32, bytes: &[u8], fin: bool) {
        self.send(Frame::Data { id, fin, bytes: Bytes::copy_from_slice(bytes) }).await;
    }

    /// The next frame that is no data.
    async fn frame(&mut self) -> Frame {
        loop {
            while let Some(frame) = self.decoder.next_frame().expect("what a server sends is understood") {
                match frame {
                    Frame::Data { id, fin, bytes } => {
                        let (all, end) = self.got.entry(id).or_default();
                        all.extend_from_slice(&bytes);
                        *end |= fin;
                        if fin {
                            return Frame::Data { id, fin, bytes: Bytes::new() };
                        }
                    }
                    other => return other,
                }
            }
            let bytes = self.client.next().await.expect("the server is there");
            self.decoder.push(&bytes);
        }
    }

    /// Waits for the end of a stream; all that came on it.
    async fn end_of(&mut self, id: u32) -> Vec<u8> {
        while !self.got.get(&id).is_some_and(|(_, end)| *end) {
            self.frame().await;
        }
        self.got.remove(&id).map(|(all, _)| all).unwrap_or_default()
    }

    async fn until(&mut self, wanted: Frame) {
        while self.frame().await != wanted {}
    }
}

/// A server that sends back what it gets.
async fn echo() -> u16 {
    serve(|mut stream| async move {
        let (mut reading, mut writing) = stream.split();
        let _ = tokio::io::copy(&mut reading, &mut writing).await;
    })
    .await
}

async fn serve<F: Future<Output = ()> + Send + 'static>(answer: impl Fn(TcpStream) -> F + Send + 'static) -> u16 {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    port
}

/// A port nobody listens on.
async fn closed_port() -> u16 {
    let listener = TcpListener::bind(SocketAddr::new(LOOPBACK, 0)).await.expect("a port");
    listener.local_addr().expect("its address").port()
}

#[tokio::test]
async fn connections_of_kubectl_carry_bytes_one_after_the_other_and_at_once() {
    let port = echo().await;
    let mut kubectl = Spdy::new();
    let (first_error, first) = kubectl.connect(0, port).await;
    kubectl.write(first, b"one", true).await;
    assert_eq!(kubectl.end_of(first).await, b"one");
    assert_eq!(kubectl.end_of(first_error).await, b"", "no word is success");
    let (_, second) = kubectl.connect(1, port).await;
    let (_, third) = kubectl.connect(2, port).await;
    kubectl.write(second, b"tw", false).await;
    kubectl.write(third, b"three", true).await;
    assert_eq!(kubectl.end_of(third).await, b"three");
    kubectl.write(second, b"o", true).await;
    assert_eq!(kubectl.end_of(second).await, b"two");
    kubectl.client.leave().await;
}

#[tokio::test]
async fn more_bytes_than_any_buffer_holds_come_back_whole() {
    let port = echo().await;
    let mut kubectl = Spdy::new();
    let (_, data) = kubectl.connect(0, port).await;
    let sent: Vec<u8> = (0..4_000_000u32).map(|number| (number % 251) as u8).collect();
    let mut encoder = std::mem::take(&mut kubectl.encoder);
    let (to_server, all) = (kubectl.client.to_server.clone(), sent.clone());
    // Sent while the answer is read, as every client does.
    let sending = tokio::spawn(async move {
        for piece in all.chunks(50_000) {
            let frame = Frame::Data { id: data, fin: false, bytes: Bytes::copy_from_slice(piece) };
            to_server.send(encoder.encode(&frame)).await.expect("taken");
        }
        to_server.send(encoder.encode(&Frame::Data { id: data, fin: true, bytes: Bytes::new() })).await.expect("taken");
    });
    assert!(kubectl.end_of(data).await == sent, "it is what was sent");
    sending.await.expect("all was sent");
    kubectl.client.leave().await;
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_told_on_the_error_stream_in_the_words_of_kubernetes() {
    let port = closed_port().await;
    let mut kubectl = Spdy::new();
    let (error, data) = kubectl.connect(0, port).await;
    let told = String::from_utf8(kubectl.end_of(error).await).expect("text");
    let words = format!(
        "error forwarding port {port} to pod default/web: dial tcp 127.0.0.1:{port}: connect: connection refused"
    );
    assert_eq!(told, words);
    assert_eq!(kubectl.end_of(data).await, b"");
    // The connection can go on.
    let open = echo().await;
    let (_, data) = kubectl.connect(1, open).await;
    kubectl.write(data, b"there", true).await;
    assert_eq!(kubectl.end_of(data).await, b"there");
    kubectl.client.leave().await;
}

#[tokio::test]
async fn a_stream_that_the_client_cancels_ends_the_connection_to_the_pod() {
    let (ended, mut hears) = mpsc::channel(1);
    let port = serve(move |mut stream| {
        let ended = ended.clone();
        async move {
            let mut buffer = [0; 16];
            let _ = stream.write_all(b"hello").await;
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
            let _ = ended.send(()).await;
        }
    })
    .await;
    let mut kubectl = Spdy::new();
    let (_, data) = kubectl.connect(0, port).await;
    while kubectl.got.get(&data).is_none_or(|(all, _)| all != b"hello") {
        if let Some(frame) = kubectl.decoder.next_frame().expect("understood") {
            if let Frame::Data { id, bytes, .. } = frame {
                kubectl.got.entry(id).or_default().0.extend_from_slice(&bytes);
            }
        } else {
            let bytes = kubectl.client.next().await.expect("there");
            kubectl.decoder.push(&bytes);
        }
    }
    kubectl.send(Frame::Reset { id: data, status: CANCEL }).await;
    tokio::time::timeout(PATIENCE, hears.recv()).await.expect("it ends");
    kubectl.send(Frame::Ping { id: 7 }).await;
    kubectl.until(Frame::Ping { id: 7 }).await;
    kubectl.client.leave().await;
}

#[tokio::test]
async fn a_client_that_goes_ends_its_connections_even_where_the_pod_takes_nothing() {
    let (ended, mut hears) = mpsc::channel(1);
    let (wake, sleeping) = tokio::sync::watch::channel(false);
    let port = serve(move |mut stream| {
        let (ended, mut sleeping) = (ended.clone(), sleeping.clone());
        async move {
            let _ = sleeping.wait_for(|awake| *awake).await;
            // Then it reads everything, and comes to an end if there is one.
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            let _ = ended.send(()).await;
        }
    })
    .await;
    let mut kubectl = Spdy::new();
    let (_, data) = kubectl.connect(0, port).await;
    let frame = kubectl.encoder.encode(&Frame::Data { id: data, fin: false, bytes: vec![0; 100_000].into() });
    // Until nothing more is taken.
    while tokio::time::timeout(Duration::from_millis(300), kubectl.client.to_server.send(frame.clone())).await.is_ok() {
    }
    kubectl.client.leave().await;
    wake.send_replace(true);
    tokio::time::timeout(PATIENCE, hears.recv()).await.expect("the pod's side ends too");
}

#[tokio::test]
async fn streams_that_make_no_sense_are_refused_and_do_not_add_up() {
    let mut kubectl = Spdy::new();
    let nothing = kubectl.begin("data", 0, 0).await;
    kubectl.until(Frame::Reset { id: nothing, status: PROTOCOL_ERROR }).await;
    let odd = kubectl.begin("video", 0, 80).await;
    kubectl.until(Frame::Reset { id: odd, status: PROTOCOL_ERROR }).await;
    let error = kubectl.begin("error", 1, 80).await;
    kubectl.until(Frame::Accept { id: error, fin: false, headers: Headers::new() }).await;
    let twice = kubectl.begin("error", 1, 80).await;
    kubectl.until(Frame::Reset { id: twice, status: PROTOCOL_ERROR }).await;
    // Halves of connections add up to a bound.
    for number in 2..257 {
        let id = kubectl.begin("error", number, 80).await;
        kubectl.until(Frame::Accept { id, fin: false, headers: Headers::new() }).await;
    }
    let many = kubectl.begin("error", 1000, 80).await;
    kubectl.until(Frame::Reset { id: many, status: REFUSED_STREAM }).await;
    // One that is given up makes room.
    kubectl.send(Frame::Reset { id: error, status: CANCEL }).await;
    let next = kubectl.begin("error", 1001, 80).await;
    kubectl.until(Frame::Accept { id: next, fin: false, headers: Headers::new() }).await;
    kubectl.client.leave().await;
}

#[tokio::test]
async fn what_is_no_spdy_ends_the_connection() {
    let client = Client::new(PortFraming::Spdy);
    client.send(&b"GET / HTTP/1.1\r\n\r\n\xff\xff\xff\xff"[..]).await;
    client.send(vec![0x80, 99, 0, 0, 0, 0, 0, 0]).await;
    // A farewell, or nothing more: it ends by itself once the client stops sending.
    let Client { to_server, mut from_server, served } = client;
    drop(to_server);
    while tokio::time::timeout(PATIENCE, from_server.recv()).await.expect("it ends").is_some() {}
    served.await.expect("without a panic");
}

#[tokio::test]
async fn the_libraries_protocol_names_the_ports_first_and_then_carries() {
    let (open, closed) = (echo().await, closed_port().await);
    let mut client = Client::new(PortFraming::Channels(vec![open, closed]));
    let mut ports = Vec::new();
    let mut told = BTreeMap::<u8, Vec<u8>>::new();
    client.send(&b"\x00over there"[..]).await;
    // Nothing that the client says on an odd channel, or on one there is none of, means anything.
    client.send(&b"\x01x"[..]).await;
    client.send(&b"\x09x"[..]).await;
    client.send(Bytes::new()).await;
    while told.get(&0).is_none_or(|text| text != b"over there") || !told.contains_key(&3) {
        let message = client.next().await.expect("it goes on");
        if ports.len() < 4 {
            ports.push((message[0], u16::from_le_bytes([message[1], message[2]])));
        } else {
            told.entry(message[0]).or_default().extend_from_slice(&message[1..]);
        }
    }
    ports.sort_unstable();
    assert_eq!(ports, [(0, open), (1, open), (2, closed), (3, closed)]);
    let why = String::from_utf8(told[&3].clone()).expect("text");
    assert!(why.starts_with(&format!("error forwarding port {closed} to pod default/web: ")), "{why}");
    client.leave().await;
}

#[tokio::test]
async fn the_libraries_tunnel_ends_when_the_pod_has_said_everything() {
    let port = serve(|mut stream| async move {
        let _ = stream.write_all(b"that is all").await;
    })
    .await;
    let mut client = Client::new(PortFraming::Channels(vec![port]));
    let mut text = Vec::new();
    let mut number = 0;
    while let Some(message) = client.next().await {
        number += 1;
        if number > 2 {
            text.extend_from_slice(&message[1..]);
        }
    }
    assert_eq!(text, b"that is all");
}

/// What a command gets next.
async fn got(gets: &mut mpsc::Receiver<Bytes>) -> Bytes {
    tokio::time::timeout(PATIENCE, gets.recv()).await.expect("something comes").expect("the client is there")
}

#[tokio::test]
async fn a_command_over_spdy_has_a_stream_for_each_of_its_own_and_one_for_the_end() {
    let opened = StandardStreams { stdin: true, stdout: true, stderr: true, sizes: true };
    let (client, comes, mut gets) = Client::of_a_command(opened);
    let mut spdy = Spdy::over(client);
    // What comes before there is a stream for it waits.
    comes.send(Bytes::from_static(b"\x01early ")).await.expect("sent");
    let mut ids = BTreeMap::new();
    for name in ["error", "stdin", "stdout", "stderr", "resize"] {
        let id = spdy.begin(name, 0, 1).await;
        spdy.until(Frame::Accept { id, fin: false, headers: Headers::new() }).await;
        ids.insert(name, id);
    }
    spdy.write(ids["resize"], b"{\"Width\":80,", false).await;
    spdy.write(ids["resize"], b"\"Height\":24}\n{\"Width\":81,\"Height\":24}\n", false).await;
    assert_eq!(got(&mut gets).await.as_ref(), b"\x04{\"Width\":80,\"Height\":24}\n", "a size that was cut");
    assert_eq!(got(&mut gets).await.as_ref(), b"\x04{\"Width\":81,\"Height\":24}\n");
    spdy.write(ids["stdin"], b"typed", false).await;
    spdy.write(ids["stdin"], b"", true).await;
    assert_eq!(got(&mut gets).await.as_ref(), b"\x00typed");
    assert_eq!(got(&mut gets).await.as_ref(), [255, 0], "the end of standard input");
    spdy.send(Frame::Ping { id: 7 }).await;
    spdy.until(Frame::Ping { id: 7 }).await;
    for message in [&b"\x01out"[..], b"\x02err", b"\x03{\"status\":\"Success\"}"] {
        comes.send(Bytes::copy_from_slice(message)).await.expect("sent");
    }
    assert_eq!(spdy.end_of(ids["error"]).await, b"{\"status\":\"Success\"}");
    assert_eq!(spdy.end_of(ids["stdout"]).await, b"early out", "all of it is there when the end is told");
    assert_eq!(spdy.end_of(ids["stderr"]).await, b"err");
    spdy.until(Frame::Goaway).await;
    spdy.client.leave().await;
    assert_eq!(gets.recv().await, None, "nobody says anything to the command any more");
}

#[tokio::test]
async fn streams_that_a_command_does_not_have_are_refused_and_a_client_that_leaves_ends_it() {
    let (client, comes, mut gets) =
        Client::of_a_command(StandardStreams { stdout: true, ..StandardStreams::default() });
    let mut spdy = Spdy::over(client);
    for odd in ["stdin", "resize", "data", ""] {
        let id = spdy.begin(odd, 0, 1).await;
        spdy.until(Frame::Reset { id, status: PROTOCOL_ERROR }).await;
    }
    let id = spdy.begin("stdout", 0, 1).await;
    spdy.until(Frame::Accept { id, fin: false, headers: Headers::new() }).await;
    let twice = spdy.begin("stdout", 0, 1).await;
    spdy.until(Frame::Reset { id: twice, status: PROTOCOL_ERROR }).await;
    spdy.client.leave().await;
    assert_eq!(gets.recv().await, None);
    assert!(comes.is_closed(), "what comes of the command has nowhere to go");
}

#[tokio::test]
async fn a_client_that_does_not_open_all_streams_is_not_waited_for() {
    tokio::time::pause();
    let (client, comes, _gets) = Client::of_a_command(StandardStreams { stdout: true, ..StandardStreams::default() });
    let mut spdy = Spdy::over(client);
    spdy.begin("error", 0, 1).await;
    let mut next = async || {
        // The clock is paused: this goes by at once.
        let next = tokio::time::timeout(Duration::from_secs(60), spdy.client.from_server.recv());
        next.await.expect("within a minute")
    };
    next().await.expect("the stream is taken");
    assert!(next().await.is_some(), "it is told to go");
    assert_eq!(next().await, None);
    assert!(comes.is_closed());
}
