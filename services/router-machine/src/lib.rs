//! The pure state machine of a RouterOS device, as far as containers need it, and the engine trait behind it.
//!
//! [`Device`] takes requests and events and answers with what to send back and what to have the engine do. It reads no clock
//! and touches no disk, so the host, the simulated engine and tests of other rooms all use the same machine.

mod answer;
mod changes;
mod check;
mod containers;
mod device;
mod effects;
pub mod engine;
mod fetch;
mod launch;
mod lifecycle;
mod logbook;
mod menus;
mod printing;
mod query;
mod release;
mod request;
mod rows;
mod system;
mod tables;
mod values;
mod views;

pub use answer::{Answer, Refusal};
pub use changes::Change;
pub use containers::{Phase, Runtime};
pub use device::{Device, DeviceState};
pub use effects::{Effect, Happened};
pub use fetch::{FetchOrder, FetchOutput, Fetched, USER_OUTPUT};
pub use menus::Menu;
pub use printing::Neighbour;
pub use query::{print_or_count, select, to_array};
pub use release::Release;
pub use request::{Circumstances, Request, Verb};
pub use system::ModeChange;
pub use tables::{Row, RowNumber};
pub use values::{bytes, duration, format_duration};
