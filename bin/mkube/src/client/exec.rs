//! `mkube exec`: a command in a container, with the streams of this one. It ends as the command does. `mkube attach`: what the
//! container itself writes from now on.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, StreamExt};
use mkube_model::channels::{self, PROTOCOLS};
use mkube_model::neighbours::container_exec::{ExecInput, ExecOutput};
use reqwest::{Method, Response, Upgraded};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::api::{Api, PATIENCE, block_on, encoded};
use super::look::{Look, Tone};
use super::{pods, terminal};
use crate::cli::{AttachArgs, ExecArgs};
use crate::failure::{FAILED, Failure, UNAVAILABLE};

/// Any 16 bytes will do: the key guards against caches between the two, and nothing else.
const KEY: &str = "bWt1YmUgdGhlIGNsaWVudA==";
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// Bytes of input in one message.
const PIECE: usize = 32 << 10;

/// `mkube exec`.
pub fn exec(args: &ExecArgs, look: Look) -> Result<(), Failure> {
    let api = Api::new(&args.reach.server)?;
    block_on(async {
        let namespace = api.namespace(args.reach.namespace.as_deref()).to_owned();
        let found = pods::of(&api, &args.pod, &namespace).await?;
        let pod = pods::best(&found).ok_or_else(|| Failure::text(FAILED, "there is no pod"))?;
        if found.len() > 1 {
            eprintln!("{}", look.paint_err(Tone::Quiet, &format!("pod {} of {}", pods::name(pod), found.len())));
        }
        let tty = args.tty && terminal::is_typed();
        if args.tty && !tty {
            eprintln!("warning: standard input is no terminal, so the command gets none");
        }
        let container = pods::container(pod, args.container.as_deref(), look);
        let place = Place { namespace: &namespace, pod: pods::name(pod), container: container.as_deref() };
        let socket = begin(&api, &place, &args.command, args.stdin, tty).await?;
        // From here on the terminal is the command's, and ours again when this ends.
        let raw = if tty { Some(terminal::Raw::take()?) } else { None };
        let ended = serve(socket, args.stdin.then(terminal::typed), tty, &mut to_stdout).await;
        drop(raw);
        match ended? {
            0 => Ok(()),
            code => {
                let code = u8::try_from(code & 0xff).unwrap_or(FAILED).max(1);
                // A shell that a person left needs no comment.
                let quiet = tty && args.stdin;
                Err(if quiet {
                    Failure::silent(code)
                } else {
                    Failure::text(code, format!("command terminated with exit code {code}"))
                })
            }
        }
    })
}

/// `mkube attach`.
pub fn attach(args: &AttachArgs, look: Look) -> Result<(), Failure> {
    let api = Api::new(&args.reach.server)?;
    block_on(async {
        let namespace = api.namespace(args.reach.namespace.as_deref()).to_owned();
        let found = pods::of(&api, &args.pod, &namespace).await?;
        let pod = pods::best(&found).ok_or_else(|| Failure::text(FAILED, "there is no pod"))?;
        let container = pods::container(pod, args.container.as_deref(), look);
        let place = Place { namespace: &namespace, pod: pods::name(pod), container: container.as_deref() };
        let mut query = vec!["stdout=true".to_owned(), "stderr=true".to_owned()];
        query.extend(args.stdin.then(|| "stdin=true".to_owned()));
        let socket = socket(&api, &place.path("attach", query), PROTOCOLS[0]).await?;
        eprintln!("{}", look.paint_err(Tone::Quiet, &format!("what {} writes from now on; Ctrl-C leaves", place.pod)));
        serve(socket, args.stdin.then(terminal::typed), false, &mut to_stdout).await.map(drop)
    })
}

/// Which container.
pub struct Place<'p> {
    pub namespace: &'p str,
    pub pod: &'p str,
    /// None: the usual one.
    pub container: Option<&'p str>,
}

impl Place<'_> {
    fn path(&self, subresource: &str, mut query: Vec<String>) -> String {
        query.extend(self.container.map(|name| format!("container={}", encoded(name))));
        let (namespace, pod) = (encoded(self.namespace), encoded(self.pod));
        format!("/api/v1/namespaces/{namespace}/pods/{pod}/{subresource}?{}", query.join("&"))
    }
}

/// Begins a command in a container.
pub async fn begin(
    api: &Api,
    place: &Place<'_>,
    command: &[String],
    stdin: bool,
    tty: bool,
) -> Result<WebSocketStream<Upgraded>, Failure> {
    let mut query = vec!["stdout=true".to_owned(), format!("stderr={}", !tty)];
    query.extend(stdin.then(|| "stdin=true".to_owned()));
    query.extend(tty.then(|| "tty=true".to_owned()));
    query.extend(command.iter().map(|word| format!("command={}", encoded(word))));
    socket(api, &place.path("exec", query), PROTOCOLS[0]).await
}

/// A WebSocket to a path.
pub async fn socket(api: &Api, path: &str, protocol: &str) -> Result<WebSocketStream<Upgraded>, Failure> {
    let request = api
        .request(Method::GET, path)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", KEY)
        .header("sec-websocket-protocol", protocol);
    let lost = || Failure::text(UNAVAILABLE, "the server does not answer in time");
    let answer: Response = tokio::time::timeout(PATIENCE, api.stream(request)).await.map_err(|_| lost())??;
    let upgraded = tokio::time::timeout(PATIENCE, answer.upgrade()).await.map_err(|_| lost())?;
    let upgraded = upgraded.map_err(|error| {
        let failure = Failure::new(FAILED, anyhow::Error::new(error).context("the connection cannot be upgraded"));
        failure.hint("a proxy on the way may not pass WebSockets on")
    })?;
    Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await)
}

/// The signals that end a command's client.
struct Ending {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Ending {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The exit code of whoever was ended by it, as a shell tells it.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
            _ = self.hangup.recv() => 129,
        }
    }
}

/// Passes on what comes from either side, standard error to this one; the command's exit code.
pub async fn serve(
    socket: WebSocketStream<Upgraded>,
    input: Option<mpsc::Receiver<Bytes>>,
    tty: bool,
    out: &mut dyn FnMut(Bytes) -> Result<(), Failure>,
) -> Result<i32, Failure> {
    let internal = |error: std::io::Error| Failure::new(FAILED, error);
    let mut ending = Ending::new().map_err(internal)?;
    let mut resized = signal(SignalKind::window_change()).map_err(internal)?;
    let (mut sink, mut stream) = socket.split();
    let mut open = input.is_some();
    let mut typed = input.unwrap_or_else(|| mpsc::channel(1).1);
    let writing = async {
        if tty {
            send_size(&mut sink).await?;
        }
        loop {
            tokio::select! {
                biased;
                _ = resized.recv(), if tty => send_size(&mut sink).await?,
                bytes = typed.recv(), if open => match bytes {
                    Some(bytes) => send(&mut sink, bytes).await?,
                    None => {
                        open = false;
                        sink.send(message(&ExecInput::EndOfStdin)).await?;
                    }
                },
                else => std::future::pending::<()>().await,
            }
        }
    };
    let reading = async {
        while let Some(message) = stream.next().await {
            let bytes = match message {
                Ok(Message::Binary(bytes)) => bytes,
                Ok(Message::Close(_)) | Err(_) => break,
                Ok(_) => continue,
            };
            match channels::output_of(&bytes) {
                Some(ExecOutput::Stdout(bytes)) => out(bytes)?,
                Some(ExecOutput::Stderr(bytes)) => write(std::io::stderr().lock(), &bytes)?,
                Some(ExecOutput::Exited(code)) => return Ok(code),
                Some(ExecOutput::Failed(why)) => return Err(Failure::text(FAILED, why)),
                None => {}
            }
        }
        Err(Failure::text(UNAVAILABLE, "the connection was lost, and the command with it"))
    };
    let ended = {
        let writing: std::pin::Pin<&mut dyn Future<Output = Result<(), Error>>> = std::pin::pin!(writing);
        tokio::pin!(reading);
        let mut writing = Some(writing);
        loop {
            let writes = async {
                match writing.as_mut() {
                    Some(writing) => writing.as_mut().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                code = ending.next() => break Err(Failure::silent(code)),
                ended = &mut reading => break ended,
                // A command that takes no more input may still have something to say.
                _ = writes => writing = None,
            }
        }
    };
    let _ = tokio::time::timeout(FAREWELL, sink.send(Message::Close(None))).await;
    ended
}

async fn send_size<S: Sink<Message, Error = Error> + Unpin>(sink: &mut S) -> Result<(), Error> {
    let Some((width, height)) = terminal::size() else { return Ok(()) };
    sink.send(message(&ExecInput::Resize { width, height })).await
}

async fn send<S: Sink<Message, Error = Error> + Unpin>(sink: &mut S, mut bytes: Bytes) -> Result<(), Error> {
    while !bytes.is_empty() {
        let piece = bytes.split_to(bytes.len().min(PIECE));
        sink.send(message(&ExecInput::Stdin(piece))).await?;
    }
    Ok(())
}

fn message(input: &ExecInput) -> Message {
    Message::Binary(channels::message_to(input))
}

fn to_stdout(bytes: Bytes) -> Result<(), Failure> {
    write(std::io::stdout().lock(), &bytes)
}

fn write(mut out: impl Write, bytes: &[u8]) -> Result<(), Failure> {
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::silent(FAILED),
        _ => Failure::new(FAILED, error),
    })
}
