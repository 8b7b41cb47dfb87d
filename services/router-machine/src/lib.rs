//! The pure state machine of a RouterOS device, as far as containers need it, and the engine trait behind it.
//!
//! [`Device`] takes requests and events and answers with what to send back and what to have the engine do. It reads no clock
//! and touches no disk, so the host, the simulated engine and tests of other rooms all use the same machine.

mod answer;
mod containers;
mod device;
pub mod engine;
mod launch;
mod menus;
mod query;
mod release;
mod tables;
mod values;

pub use answer::{Answer, Refusal};
pub use containers::{Phase, Runtime};
pub use device::{Circumstances, Device, DeviceState, Effect, Happened, Request, Verb};
pub use menus::Menu;
pub use release::Release;
pub use tables::{Row, RowNumber};
pub use values::{bytes, duration, format_duration};
