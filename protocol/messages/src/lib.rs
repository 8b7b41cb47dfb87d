//! What actors say to one another. One file per answering actor; message, reply and fault stand side by side.

pub mod bus;
pub mod consistency;
pub mod deployments;
pub mod dns;
pub mod door;
pub mod forwards;
pub mod gates;
pub mod health;
pub mod images;
pub mod ipam;
pub mod lease;

pub mod objects;
mod objects_view;
pub mod offers;
pub mod patience;
pub mod pods;
pub mod push_notice;
pub mod request;
pub mod rollouts;
pub mod router;
pub mod store;
pub mod volumes;
pub mod watch;
