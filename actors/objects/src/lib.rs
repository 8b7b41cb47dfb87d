//! ObjectsActor: the one way in. Whatever should exist passes here, is admitted, made durable, published, and only then
//! acknowledged.
//!
//! Owns     every object, its history, the queue of writes.      Asks   StoreActor.
//! Answers  WriteObject, ReportStatus, FinishDeletion, RecordEvent (told).   Tells  nobody: readers watch the view.
//! Ticks    while status reports or events wait to be merged.    Rebuilds  from StoreActor, before it admits anything.
//!
//! Others may write the store too: what they did is taken in between two commits.
//!
//! Each write that is admitted notes who manages the fields it changed (`managedFields`); who applies meets the managers there are.
//!
//! One commit is in flight at a time; writes that arrive meanwhile form the next one, so a burst costs few syncs.
//!
//! An owner that is deleted is marked, its dependents are deleted or released, then it goes; each step is a write of its own. What
//! an index of uids says is looked at again when the write is admitted, and nothing is deleted for an owner that is not there, unless it
//! was heard to be deleted: then whoever comes late, made by a controller that had not heard it yet, goes like the others.

mod admission;
mod admit;
mod applying;
mod batch;
mod collecting;
mod committing;
mod contents;
mod departed;
mod dependents;
mod doubt;
mod event_book;
mod following;
mod homes;
mod namespaces;
mod objects_actor;
mod outcome;
mod publish;
mod queue;
mod recording;
mod refusals;
mod relations;
mod reporting;
mod stored_form;
mod sweeping;

pub use doubt::Deletions;
pub use objects_actor::{ObjectsActor, ObjectsParts, answers};
pub use publish::HISTORY;
pub use stored_form::read as read_stored;
