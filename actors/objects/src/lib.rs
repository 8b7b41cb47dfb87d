//! ObjectsActor: the one way in. Whatever should exist passes here, is admitted, made durable, published, and only then
//! acknowledged.
//!
//! Owns     every object, its history, the queue of writes.      Asks   StoreActor.
//! Answers  WriteObject, ReportStatus, FinishDeletion, RecordEvent (told).   Tells  nobody: readers watch the view.
//! Ticks    while status reports or events wait to be merged.    Rebuilds  from StoreActor, before it admits anything.
//!
//! One commit is in flight at a time; writes that arrive meanwhile form the next one, so a burst costs few syncs.

mod admission;
mod contents;
mod event_book;
mod objects_actor;
mod outcome;
mod publish;
mod queue;
mod refusals;
mod relations;

pub use objects_actor::{ObjectsActor, ObjectsParts, answers};
pub use publish::HISTORY;
