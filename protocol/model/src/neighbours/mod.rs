//! One trait for each thing outside mkube. Actors hold them as `Arc<dyn …>`, services implement them, tests fake them.

pub mod bus;
pub mod container_exec;
pub mod desired_store;
pub mod lease_book;
pub mod name_servers;
pub mod node_apis;
pub mod older_store;
pub mod pod_logs;
pub mod pod_ports;
pub mod prober;
pub mod randomness;
pub mod resolver;
pub mod router;
pub mod shared_disk;
pub mod spdy_streams;
pub mod tarballs;
pub mod wall_clock;
