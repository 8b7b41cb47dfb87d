//! Nobody touches the containers of a pod that is paused.

use std::collections::BTreeMap;
use std::time::Duration;

use mkube_model::workloads::{PAUSED, says_true};
use mkube_model::{metadata, names};
use serde_json::Value;

use crate::identity::{containers, lasts};
use crate::invariants::Sight;
use crate::steps::Step;
use crate::world::World;

/// What was under way when a pod was paused, or began when its device was started, may come to its end within this time.
const UNDER_WAY: Duration = Duration::from_secs(90);

/// A container: its row, whether it runs, how often it was started.
type Row = (String, bool, u64);

/// A paused pod at the last look.
#[derive(Debug, Clone)]
struct Known {
    uid: String,
    since: Duration,
    rows: Vec<Row>,
}

/// What is remembered of paused pods.
#[derive(Debug, Default)]
pub struct Paused {
    known: BTreeMap<String, Known>,
    struck: bool,
}

/// The pods that are paused.
pub fn paused(sight: &Sight) -> impl Iterator<Item = (&str, &Value)> {
    sight.of_kind("Pod").filter(|(_, pod)| says_true(pod, PAUSED) && !metadata::is_deleting(pod))
}

fn rows(sight: &Sight, name: &str, pod: &Value) -> Vec<Row> {
    let row = |container: &Value| {
        let name = names::container_name("default", name, container["name"].as_str()?);
        let row = sight.containers.iter().find(|row| row["name"] == name.as_str())?;
        let id = row[".id"].as_str()?.to_owned();
        let starts = sight.starts.get(&id).copied().unwrap_or(0);
        Some((id, row["running"] == "true", starts))
    };
    containers(pod).iter().filter_map(row).collect()
}

impl Paused {
    /// What a step does to containers is no fault of the controller.
    pub fn step(&mut self, step: &Step) {
        let strikes =
            matches!(step, Step::EndProcess(..) | Step::RemoveBehind(_) | Step::LoseVeth(_) | Step::Reboot(_));
        self.struck |= strikes;
    }

    /// Compares with the last look.
    pub fn look(&mut self, world: &World, sight: &Sight) -> Result<(), String> {
        let before = std::mem::take(&mut self.known);
        let struck = std::mem::take(&mut self.struck);
        // Whoever starts what starts on boot is the device, however long it was without power.
        let booted = world.time_of(world.device.booted_at());
        for (name, pod) in paused(sight) {
            let uid = metadata::uid(pod).to_owned();
            let before = before.get(name).filter(|before| before.uid == uid && !struck);
            let since = before.map_or(world.now(), |before| before.since).max(booted);
            let now = Known { uid, since, rows: rows(sight, name, pod) };
            // Nobody stops what lasts.
            let lasting = lasts(pod);
            let moved = before.filter(|before| {
                let started = |rows: &[Row]| -> Vec<(String, u64)> {
                    rows.iter().map(|(row, _, starts)| (row.clone(), *starts)).collect()
                };
                let stops = |(was, is): (&Row, &Row)| lasting && was.1 && !is.1;
                started(&before.rows) != started(&now.rows) || before.rows.iter().zip(&now.rows).any(stops)
            });
            if let Some(before) = moved.filter(|_| world.now() > since + UNDER_WAY) {
                return Err(format!("the containers of pod {name} were {:?} and are {:?}", before.rows, now.rows));
            }
            self.known.insert(name.to_owned(), now);
        }
        Ok(())
    }
}
