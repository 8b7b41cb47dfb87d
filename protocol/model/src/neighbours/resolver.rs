//! Name servers, as far as they can be asked for a name.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;

/// Asks name servers for addresses.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// The IPv4 addresses of a name, asked for at this server once; or why there are none. Answers within `patience`.
    async fn addresses(&self, server: IpAddr, name: &str, patience: Duration) -> Result<BTreeSet<IpAddr>, String>;
}
