//! Pulling images from registries that are honest, broken, slow, or lie; and what the cache makes of it.

mod access;
mod cache;
mod faults;
mod image;
mod pulls;
mod real;
mod registry;
mod room;
mod world;
