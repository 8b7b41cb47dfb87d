//! Supervision as data: who is started, in which order, what happens when one dies, and what is published about all of it.
//!
//! The supervisors of the tree are rows in one table kept by one task ([`Tree`]), not actors of their own: a supervisor has no
//! work but to count and to decide, it waits on nobody, and one table makes order (of starting, of stopping) a plain loop.
//! The children are actix actors; each is spawned as a task whose join handle says how it ended, panics included. What wakes
//! many of them, the news of what others publish, they hear through [`follow()`], and an [`Alarm`] wakes them without any.
//! A part of the tree may come and go while the rest stays ([`Tree::start_branch`], [`Tree::stop_branch`]).

mod alarm;
mod branch;
mod child;
mod follow;
mod judge;
mod node;
mod pace;
mod spec;
mod status;
mod tree;
mod tree_task;
mod walk;

#[cfg(test)]
mod tree_tests;

pub use alarm::Alarm;
pub use child::{ChildSpec, ChildSpecBuilder, ExitReason, Incarnation};
pub use follow::follow;
pub use pace::{Intensity, RestartPace};
pub use spec::{Child, OnLimit, RestartRule, Strategy, SupervisorSpec};
pub use status::{LastExit, State, StatusNode};
pub use tree::{CrashHow, Tree, TreeFault, start};
