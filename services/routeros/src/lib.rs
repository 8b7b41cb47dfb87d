//! The device's REST client: [`RestRouter`] speaks RouterOS 7.19 to 7.24 and says precisely how a call failed.
//!
//! It never repeats a request: whoever owns the thing knows whether repeating is safe.

mod answer;
mod client;
mod exec;
mod fault;
mod files;
mod rest_router;
mod rows;
mod shape;
mod wire;

pub use client::{Password, RestOptions};
pub use exec::{DeviceExec, FindContainer, RunningRow};
pub use rest_router::RestRouter;
pub use shape::{Release, Shape};
pub use wire::{Wire, WireAnswer, WireRequest};
