//! Whether somebody accepts a connection. Nothing is sent, and it is closed at once.

use mkube_model::neighbours::prober::Verdict;
use tokio::net::TcpStream;

use crate::network_prober::address;

pub(crate) async fn ask(host: &str, port: u16) -> Verdict {
    let address = address(host, port);
    match TcpStream::connect(&address).await {
        Ok(_) => Verdict::Good,
        Err(error) => Verdict::Bad(format!("no connection to {address}: {error}")),
    }
}
