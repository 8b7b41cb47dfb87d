//! A line between two programs, possibly in two namespaces: it passes on what it is given, notes who asked what, and can be slow, stand
//! still in one direction, and break in the middle of a message.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;

use crate::dev::pause;
use crate::dice::Dice;
use crate::namespace::Namespace;
use crate::writer::lock;

/// Connections at once.
const CONNECTIONS: usize = 256;
/// How often whoever waits looks up.
const GLANCE: Duration = Duration::from_millis(5);
/// One piece in so many is the last one of its connection.
const TORN: u64 = 12;

/// What a line does to what it passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// Nothing.
    Good,
    /// Each piece waits for up to so long. Connections have paces of their own, so later ones overtake earlier ones.
    Slow(Duration),
    /// What is asked stands still.
    AsksFrozen,
    /// What is answered stands still.
    AnswersFrozen,
    /// Connections break, most of them in the middle of a message.
    Torn,
}

/// A request that passed.
#[derive(Debug, Clone)]
pub struct Passed {
    pub at: Instant,
    pub from: SocketAddr,
    /// Such as `POST /rest/container/add`.
    pub what: String,
}

struct Shared {
    quality: Mutex<Quality>,
    over: AtomicBool,
    dice: Mutex<Dice>,
    /// Both ends of each connection, by its number.
    open: Mutex<BTreeMap<u64, [TcpStream; 2]>>,
    next: AtomicU64,
    passed: Mutex<Vec<Passed>>,
}

/// See the file's text. When it is dropped, its connections end.
pub struct Line {
    /// Where it listens.
    pub port: u16,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

impl Line {
    /// From a port (0: any) of an address in `here`, or where we are, to `upstream` in `there`.
    pub fn new(here: Option<&Namespace>, listen: &str, there: &Namespace, upstream: &str, dice: Dice) -> Self {
        let bind = || TcpListener::bind(listen).unwrap_or_else(|error| panic!("{listen}: {error}"));
        let listener = here.map_or_else(bind, |here| here.run(bind));
        listener.set_nonblocking(true).expect("it can be asked without waiting");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            quality: Mutex::new(Quality::Good),
            over: AtomicBool::new(false),
            dice: Mutex::new(dice),
            open: Mutex::default(),
            next: AtomicU64::new(0),
            passed: Mutex::default(),
        });
        let (all, there, upstream) = (shared.clone(), there.clone(), upstream.to_owned());
        let listening = std::thread::spawn(move || {
            there.enter();
            while !all.over.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((client, from)) => all.clone().connect(client, from, &upstream),
                    Err(_) => pause(GLANCE),
                }
            }
        });
        Self { port, shared, listening: Some(listening) }
    }

    /// What it does from now on.
    pub fn set(&self, quality: Quality) {
        *lock(&self.shared.quality) = quality;
    }

    /// Requests that passed so far.
    pub fn passed(&self) -> Vec<Passed> {
        lock(&self.shared.passed).clone()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
        for ends in lock(&self.shared.open).values() {
            close(ends);
        }
    }
}

fn close(ends: &[TcpStream; 2]) {
    for end in ends {
        let _ = end.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn connect(self: Arc<Self>, client: TcpStream, from: SocketAddr, upstream: &str) {
        let _ = client.set_nonblocking(false);
        let (Ok(server), room) = (TcpStream::connect(upstream), lock(&self.open).len() < CONNECTIONS) else { return };
        if !room {
            return;
        }
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ends = || Some([client.try_clone().ok()?, server.try_clone().ok()?]);
        let (Some(kept), Some(other)) = (ends(), ends()) else { return };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.open).insert(number, kept);
        let [back, forth] = other;
        let (asks, answers) = (self.clone(), self);
        std::thread::spawn(move || asks.pass(number, client, forth, Some(from)));
        std::thread::spawn(move || answers.pass(number, server, back, None));
    }

    /// One direction of one connection, until either ends.
    fn pass(&self, number: u64, mut from: TcpStream, mut to: TcpStream, asks: Option<SocketAddr>) {
        let mut dice = lock(&self.dice).split();
        // Of the pause: so much of a thousand, for as long as the connection lasts.
        let pace = u32::try_from(dice.roll(1000)).unwrap_or(0);
        let mut piece = vec![0; 65536];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            let mut torn = false;
            let arrived = Instant::now();
            loop {
                let wait = match *lock(&self.quality) {
                    Quality::Good => false,
                    Quality::Slow(longest) => arrived.elapsed() < longest * pace / 1000,
                    Quality::AsksFrozen => asks.is_some(),
                    Quality::AnswersFrozen => asks.is_none(),
                    Quality::Torn => {
                        torn = dice.roll(TORN) == 0;
                        false
                    }
                };
                if !wait || self.over.load(Ordering::SeqCst) {
                    break;
                }
                pause(GLANCE);
            }
            // What was on the way when the line ended is lost.
            if self.over.load(Ordering::SeqCst) {
                break;
            }
            if torn {
                let _ = to.write_all(&piece[..length / 2]);
                break;
            }
            if let (Some(from), Some(what)) = (asks, request_line(&piece[..length])) {
                lock(&self.passed).push(Passed { at: Instant::now(), from, what });
            }
            if to.write_all(&piece[..length]).is_err() {
                break;
            }
        }
        if let Some(ends) = lock(&self.open).remove(&number) {
            close(&ends);
        }
    }
}

/// Method and path, if a request begins here that changes a router.
fn request_line(piece: &[u8]) -> Option<String> {
    let line = piece.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_suffix(" HTTP/1.1")?;
    let reads = line.starts_with("GET ") || line.ends_with("/print") || line.ends_with("/get");
    (!reads).then(|| line.to_owned())
}
