//! What changed and has to be kept: piece by piece, so that keeping a row costs the same however many there are.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::containers::Runtime;
use crate::device::{Device, DeviceState};
use crate::menus::Menu;
use crate::system::System;
use crate::tables::{Row, RowNumber};

/// A piece of the device as it is now. Applying it twice, or an older one before it, makes no difference.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Change(Piece);

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Piece {
    Row { menu: Menu, number: RowNumber, row: Option<Row> },
    Runtime { number: RowNumber, runtime: Option<Box<Runtime>> },
    Rest { identity: String, next: BTreeMap<String, RowNumber>, config: BTreeMap<String, String>, system: System },
}

/// Pieces that are not kept yet.
#[derive(Debug, Clone, Default)]
pub struct Pending {
    rows: BTreeSet<(Menu, RowNumber)>,
    runtimes: BTreeSet<RowNumber>,
    rest: bool,
    version: u64,
}

impl Pending {
    pub fn row(&mut self, menu: Menu, number: RowNumber) {
        self.rows.insert((menu, number));
        self.version += 1;
    }

    pub fn runtime(&mut self, number: RowNumber) {
        self.runtimes.insert(number);
        self.version += 1;
    }

    pub fn rest(&mut self) {
        self.rest = true;
        self.version += 1;
    }
}

impl Device {
    /// Grows with every change that has to be kept.
    pub fn version(&self) -> u64 {
        self.pending.version
    }

    /// What changed since the last call.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let pending = std::mem::take(&mut self.pending);
        self.pending.version = pending.version;
        let mut changes = Vec::new();
        for (menu, number) in pending.rows {
            changes.push(Change(Piece::Row { menu, number, row: self.row(menu, number).cloned() }));
        }
        for number in pending.runtimes {
            let runtime = self.runtime(number).cloned().map(Box::new);
            changes.push(Change(Piece::Runtime { number, runtime }));
        }
        if pending.rest {
            let DeviceState { identity, next, config, system, .. } = self.state.clone_rest();
            changes.push(Change(Piece::Rest { identity, next, config, system }));
        }
        changes
    }
}

impl DeviceState {
    fn clone_rest(&self) -> Self {
        Self {
            identity: self.identity.clone(),
            next: self.next.clone(),
            config: self.config.clone(),
            system: self.system.clone(),
            rows: BTreeMap::new(),
            runtimes: BTreeMap::new(),
        }
    }

    /// Makes a change that was kept.
    pub fn apply(&mut self, change: Change) {
        match change.0 {
            Piece::Row { menu, number, row } => {
                let rows = self.rows.entry(menu).or_default();
                // Rows lie in the order of their numbers, which is the order they were made in.
                match (rows.binary_search_by_key(&number, |row| row.number), row) {
                    (Ok(place), Some(row)) => rows[place] = row,
                    (Err(place), Some(row)) => rows.insert(place, row),
                    (Ok(place), None) => drop(rows.remove(place)),
                    (Err(_), None) => {}
                }
            }
            Piece::Runtime { number, runtime: Some(runtime) } => drop(self.runtimes.insert(number, *runtime)),
            Piece::Runtime { number, runtime: None } => drop(self.runtimes.remove(&number)),
            Piece::Rest { identity, next, config, system } => {
                (self.identity, self.next, self.config, self.system) = (identity, next, config, system);
            }
        }
    }
}
