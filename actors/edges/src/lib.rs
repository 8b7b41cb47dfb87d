//! Edges: thin actors that turn outside events into messages. Today: HTTP.
//!
//! HttpEdge
//! Owns     the listening socket and its server.            Asks   ObjectsActor (writes only), RolloutActor (to redeploy),
//!                                                                  DeploymentsActor (to evict), ConsistencyActor (to repair),
//!                                                                  StoreActor (to accept an older store).
//! Answers  nothing; HTTP clients are served from published views.      Tells  ImagePushed.
//!          Upgraded connections (exec, port-forward) are served by neighbours; what asks a pod of another node is passed on to
//!          the API of that node.
//! Ticks    none.                                            Rebuilds  the server, on the same socket.

mod boot_plan;
mod consistency;
mod containers;
mod dns_report;
mod documents;
mod eviction;
mod exec;
mod export;
mod health;
mod http_edge;
mod images;
mod import;
mod json_body;
mod limits;
mod logs;
mod methods;
mod metrics;
mod names;
mod negotiate;
mod networks;
mod offered;
mod openapi;
mod own;
mod parameters;
mod parts;
mod passing_on;
mod port_forward;
mod pretty;
mod prune;
mod read;
mod request_body;
mod respond;
mod reviews;
mod route;
mod scale;
mod spdy_upgrade;
mod store;
mod streams;
mod taking_in;
mod usage;
mod volumes;
mod watching;
mod wire;
mod write;
mod writing;
mod written_lists;

#[cfg(test)]
mod tests;

pub use consistency::HttpConsistency;
pub use health::{Check, Health, HealthChecks};
pub use http_edge::HttpEdge;
pub use images::HttpImages;
pub use limits::HttpLimits;
pub use names::HttpNames;
pub use networks::HttpNetworks;
pub use parts::{Figures, HttpParts};
pub use passing_on::HttpPassingOn;
pub use store::HttpStore;
pub use streams::HttpStreams;
pub use usage::{ContainerUsage, FindUsage, HttpUsage};
pub use written_lists::WrittenLists;
