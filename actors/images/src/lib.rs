//! ImageActor: turns image references into archives the device can read, and lets go of those nobody needs.
//!
//! Owns     who pulls and who waits in line; what is told of pulls and of the cache.   Asks  RouterActor, where the device fetches archives.
//! Answers  EnsureTarball, ResolveImage.   Tells  nobody: everybody holds an `ImagesReader` on what it publishes.
//! Ticks    every `gcIntervalMinutes`: archives that nothing on the device and no object needs are collected.
//! Rebuilds the view from the cache. The cache on disk is the state: a pull that died with the actor is asked for again.

mod delivery;
mod image_actor;
mod in_use;
mod lanes;
mod progress;

pub use delivery::{Delivery, FetchParts};
pub use image_actor::{ImageActor, ImageParts, answers};
