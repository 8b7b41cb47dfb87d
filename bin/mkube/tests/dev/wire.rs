//! A wire between two programs that can be cut, and that notes what is asked over it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::pause;

/// A request of HTTP, and when it passed.
#[derive(Debug, Clone)]
pub struct Asked {
    /// When.
    pub at: Instant,
    /// Such as `POST /rest/container/add`.
    pub what: String,
}

impl Asked {
    /// Whether it changes a router.
    pub fn changes(&self) -> bool {
        !self.what.starts_with("GET ") && !self.what.ends_with("/print") && !self.what.ends_with("/get")
    }
}

#[derive(Default)]
struct Shared {
    cut: AtomicBool,
    asked: Mutex<Vec<Asked>>,
}

/// See the file's text. It ends with the process.
pub struct Wire {
    /// Where it listens.
    pub address: String,
    shared: Arc<Shared>,
}

impl Wire {
    /// To whoever listens there.
    pub fn to(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let shared = Arc::<Shared>::default();
        let (all, upstream) = (shared.clone(), upstream.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (shared, upstream) = (all.clone(), upstream.clone());
                std::thread::spawn(move || {
                    // Nobody answers at the other end of a wire that is cut.
                    shared.wait_until_mended();
                    let Ok(server) = TcpStream::connect(upstream) else { return };
                    let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { return };
                    let noting = shared.clone();
                    std::thread::spawn(move || noting.pass(from, to, true));
                    shared.pass(server, client, false);
                });
            }
        });
        Self { address, shared }
    }

    /// Nothing gets through from now on; connections that are there end when the wire is mended.
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
    }

    /// Everything gets through again.
    pub fn mend(&self) {
        self.shared.cut.store(false, Ordering::SeqCst);
    }

    /// What changes a router and passed.
    pub fn changes(&self) -> Vec<Asked> {
        let asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|one| one.changes()).cloned().collect()
    }
}

impl Shared {
    fn wait_until_mended(&self) {
        while self.cut.load(Ordering::SeqCst) {
            pause(Duration::from_millis(20));
        }
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, notes: bool) {
        let mut piece = [0; 65536];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            if self.cut.load(Ordering::SeqCst) {
                self.wait_until_mended();
                break;
            }
            if notes && let Some(what) = request_line(&piece[..length]) {
                let asked = Asked { at: Instant::now(), what };
                self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
            }
            if to.write_all(&piece[..length]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}

/// Method and path, if a request begins here.
fn request_line(piece: &[u8]) -> Option<String> {
    let line = piece.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_suffix(" HTTP/1.1")?;
    Some(line.to_owned())
}
