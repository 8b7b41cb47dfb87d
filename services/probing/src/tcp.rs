//! Whether somebody accepts a connection. Nothing is sent, and it is closed at once.

use std::io::ErrorKind;

use mkube_model::neighbours::prober::Verdict;
use tokio::net::TcpStream;

use crate::network_prober::address;

/// Where nobody listens (tcpmux): a machine that is there refuses at once.
const UNUSED: u16 = 1;

pub(crate) async fn ask(host: &str, port: u16) -> Verdict {
    let address = address(host, port);
    match TcpStream::connect(&address).await {
        Ok(_) => Verdict::Good,
        Err(error) => Verdict::Bad(format!("no connection to {address}: {error}")),
    }
}

/// Whether anybody is there at all: who refuses a connection has heard of it.
pub(crate) async fn reach(host: &str) -> Verdict {
    match TcpStream::connect(address(host, UNUSED)).await {
        Ok(_) => Verdict::Good,
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset) => {
            Verdict::Good
        }
        Err(error) => Verdict::Bad(format!("{host} is not reached: {error}")),
    }
}
