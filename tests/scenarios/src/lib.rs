//! A whole mkube in one test: the real tree over the real embedded store, a simulated host behind real HTTP, and a client.
//!
//! `World::start` gives a running one, `World::stop` takes it down in order. Use it from `#[actix_rt::test]`.

mod api;
mod world;

pub use api::{Answer, Api, Watch};
pub use world::{Setup, World};
