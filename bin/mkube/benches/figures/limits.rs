//! What the machine can do at best: the disk with fsync, loopback, hashing. No registry is quicker than these.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::machine::{mebibytes_per_second, scratch_on_disk, settle_disk};

/// Prints the limits, `bytes` each.
pub fn print(pieces: &[Bytes]) -> anyhow::Result<()> {
    let total: usize = pieces.iter().map(Bytes::len).sum();
    let show = |what: &str, took: Duration| println!("| {what} | {:.0} MiB/s |", mebibytes_per_second(total, took));
    println!("| limit of the machine | |\n|---|---|");
    show("write and fsync, 4 files", disk(pieces)?);
    show("loopback, one connection", loopback(pieces)?);
    show("SHA-256, one core", hash(pieces));
    println!();
    Ok(())
}

fn disk(pieces: &[Bytes]) -> anyhow::Result<Duration> {
    let directory = scratch_on_disk()?;
    settle_disk();
    let begin = Instant::now();
    for (index, piece) in pieces.iter().enumerate() {
        let mut file = File::create(directory.path().join(index.to_string()))?;
        for part in piece.chunks(256 << 10) {
            file.write_all(part)?;
        }
        file.sync_all()?;
    }
    Ok(begin.elapsed())
}

fn loopback(pieces: &[Bytes]) -> anyhow::Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let pieces = pieces.to_vec();
    let begin = Instant::now();
    let sender = std::thread::spawn(move || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        pieces.iter().flat_map(|piece| piece.chunks(256 << 10)).try_for_each(|part| stream.write_all(part))
    });
    let (mut stream, _) = listener.accept()?;
    let mut buffer = vec![0; 256 << 10];
    while stream.read(&mut buffer)? > 0 {}
    sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    Ok(begin.elapsed())
}

fn hash(pieces: &[Bytes]) -> Duration {
    let begin = Instant::now();
    for piece in pieces {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        piece.chunks(256 << 10).for_each(|part| context.update(part));
        std::hint::black_box(context.finish());
    }
    begin.elapsed()
}
