//! A wire between the device and the API that can be cut, and that can lie.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// What the wire does with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Passes it on.
    Honest,
    /// Cuts it after so many bytes of the body.
    Cut(usize),
    /// Says the body is so long, and passes on no more.
    Lie(usize),
}

#[derive(Default)]
struct Seen {
    /// What is done to the answers to come; the last one stays.
    plan: Vec<Wire>,
    paths: Vec<String>,
}

/// A proxy; it ends with the process.
pub struct Proxy {
    /// Where it listens.
    pub address: String,
    seen: Arc<Mutex<Seen>>,
}

impl Proxy {
    /// In front of `upstream`, doing these to the answers to come; the last one to all that follow.
    pub fn start(upstream: &str, plan: &[Wire]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let seen = Arc::new(Mutex::new(Seen { plan: plan.to_vec(), paths: vec![] }));
        let (noted, upstream) = (seen.clone(), upstream.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (noted, upstream) = (noted.clone(), upstream.clone());
                // A side that leaves ends it: that is what the wire is for.
                std::thread::spawn(move || drop(pass(client, &upstream, &noted)));
            }
        });
        Self { address, seen }
    }

    /// Paths that were asked for.
    pub fn paths(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).paths.clone()
    }
}

fn head_of(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn pass(mut client: TcpStream, upstream: &str, seen: &Mutex<Seen>) -> std::io::Result<()> {
    let request = head_of(&mut client)?;
    let wire = {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.paths.push(request.split(' ').nth(1).unwrap_or_default().to_owned());
        if seen.plan.len() > 1 { seen.plan.remove(0) } else { seen.plan[0] }
    };
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(request.replacen("\r\n", "\r\nconnection: close\r\n", 1).as_bytes())?;
    let mut head = head_of(&mut server)?;
    let limit = match wire {
        Wire::Honest => u64::MAX,
        Wire::Cut(bytes) => bytes as u64,
        Wire::Lie(bytes) => {
            let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-length:"));
            let line = line.unwrap_or("\r\n").to_owned();
            head = head.replace(&line, &format!("content-length: {bytes}"));
            bytes as u64
        }
    };
    client.write_all(head.as_bytes())?;
    std::io::copy(&mut server.take(limit), &mut client)?;
    client.shutdown(Shutdown::Both)
}
