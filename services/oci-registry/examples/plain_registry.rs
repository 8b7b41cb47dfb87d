//! A registry of this crate alone: plain HTTP, everybody may do everything. `plain_registry DIR ADDRESS` prints where it listens.

use mkube_oci_registry::parts::RegistryParts;
use mkube_oci_registry::serve::{Listening, Rounds, look_after, serve};
use mkube_oci_registry::store::{Store, StoreOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err("usage: plain_registry DIR ADDRESS".into());
    };
    let store = Store::open(StoreOptions::new(directory)).await?;
    let listener = std::net::TcpListener::bind(address)?;
    println!("{}", listener.local_addr()?);
    let (server, _) = serve(vec![Listening::plain(listener)], RegistryParts::new(store.clone()), |_| {})?;
    tokio::select! {
        ended = server => ended?,
        () = look_after(store, Rounds::default()) => {}
    }
    Ok(())
}
