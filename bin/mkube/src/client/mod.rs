//! `mkube get`, `apply`, `exec` and the other commands that ask a running controller: a client of its API like any other.
//!
//! `access` says which server, `api` speaks with it, `discovery` knows its kinds, `targets` reads what a command is about.
//! `columns`, `custom_columns`, `jsonpath`, `look`, `output` and `readiness` are pure. Everything else is one file for each command.

mod access;
mod api;
mod apply;
mod columns;
mod copy;
mod custom_columns;
mod delete;
mod describe;
mod discovery;
mod edit;
mod exec;
mod files;
mod get;
mod jsonpath;
mod logs;
mod look;
mod output;
mod pods;
mod port_forward;
mod progress;
mod prune;
mod readiness;
mod rollout;
mod scale;
mod targets;
mod terminal;
mod top;
mod watch;

#[cfg(test)]
pub use access::Access;
pub use api::{Api, block_on, encoded};
pub use apply::apply;
pub use columns::Columns;
pub use copy::{Place as CopyPlace, copy};
pub use delete::delete;
pub use describe::describe;
pub use edit::edit;
pub use exec::{attach, exec};
pub use get::get;
pub use logs::logs;
pub use look::{Look, Tone};
pub use output::{Output, OutputParser};
pub use port_forward::{Pair as PortPair, port_forward};
pub use rollout::rollout;
pub use scale::scale;
pub use top::top;

use comfy_table::{Table, presets};

/// Columns without lines, as kubectl prints them.
pub fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}
