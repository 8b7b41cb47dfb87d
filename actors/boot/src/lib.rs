//! BootActor: brings the documents given at start into the object layer.
//!
//! Owns     the documents of the boot manifest.         Asks   ObjectsActor.
//! Answers  nothing.                                    Tells  nobody.
//! Ticks    every second until every document is in.    Rebuilds  from the record of what was brought in, an object too.
//!
//! A document of the boot manifest is brought in once in the life of a store: whoever deletes or edits the object later is
//! right, also after a restart. While the store is away they are brought in behind its back, for it may be among them; when it is back
//! and has lived before, what it says holds (`settle`). Documents named on the command line are brought in at every start.

mod boot_actor;
mod document;
mod settle;

pub use boot_actor::{BootActor, BootParts};
pub use document::{Document, DocumentFault, read};
