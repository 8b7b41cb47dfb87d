//! The whole controller in simulated time: one seed, one run.
//!
//! A seed gives a list of [`steps::Step`]s: what users ask for, what containers do, what goes wrong with device and store, who crashes.
//! [`run::run`] plays it against the real controller (`compose::start`, all but the HTTP edge) on one thread whose clock jumps
//! from one timer to the next, over the device's own state machine and a store in memory. After every step, and once more when
//! everything that went wrong is over, the [`invariants`] must hold. A run that fails is played again with fewer and fewer
//! steps ([`shrink`]), and the shortest history that still fails is told.
//!
//! Same seed, same run, to the last byte of the trace: see `docs/decisions/014-one-seed-one-run.md`.

pub mod deployed;
pub mod dice;
pub mod history;
pub mod identity;
pub mod invariants;
pub mod ledger;
pub mod names;
pub mod paused;
pub mod perform;
pub mod quiet;
pub mod replicas;
pub mod rest;
pub mod run;
pub mod shared;
pub mod shrink;
pub mod steps;
pub mod workloads;
pub mod world;
