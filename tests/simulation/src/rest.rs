//! A node that is emptied, and pods that are paused, stay so for as long as users want it; then everything goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mkube_model::workloads::{DRAIN, says_true};
use mkube_model::{metadata, names};

use crate::identity::containers;
use crate::invariants::{Sight, Violation, Watch, fields};
use crate::paused::paused;
use crate::workloads::Turn;
use crate::world::{NODE, World};

/// An emptied node has no process after this time.
const EMPTYING: Duration = Duration::from_secs(900);
/// How long it is left so: longer than what nobody owns is kept.
const REST: Duration = Duration::from_secs(700);
/// How long paused pods are looked at.
const PAUSE: Duration = Duration::from_secs(150);
/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);

/// What a drained node must be.
pub const DRAINED: &str = "a drained node runs nothing and keeps everything";

/// Whether the node is to be empty.
pub fn is_drained(sight: &Sight) -> bool {
    sight.stored.get(&("Node", NODE.to_owned())).is_some_and(|node| says_true(node, DRAIN))
}

fn is_closed(sight: &Sight) -> bool {
    let node = sight.stored.get(&("Node", NODE.to_owned()));
    is_drained(sight) || node.is_some_and(|node| node["spec"]["unschedulable"] == true)
}

/// Lets time pass, and looks.
pub async fn wait(world: &mut World, watch: &mut Watch, time: Duration) -> Result<(), Violation> {
    let end = world.now() + time;
    while world.now() < end {
        world.pass(LOOK).await;
        watch.look(world)?;
    }
    Ok(())
}

/// Looks at what users closed and paused, and opens it again.
pub async fn rest(world: &mut World, watch: &mut Watch) -> Result<(), Violation> {
    let sight = Sight::of(world);
    if is_drained(&sight) {
        world.tell("the node is drained and stays so for a while");
        // Rows of a device without power say nothing: what it was told before it does when it boots.
        while world.device.is_away() {
            wait(world, watch, LOOK).await?;
        }
        let end = world.now() + EMPTYING;
        while let Some(row) = running(&Sight::of(world)) {
            if world.now() > end {
                return Err(Violation { invariant: DRAINED, what: format!("container {row} runs") });
            }
            wait(world, watch, LOOK).await?;
        }
        wait(world, watch, Duration::from_secs(60)).await?;
        let before = kept(&Sight::of(world));
        wait(world, watch, REST).await?;
        let sight = Sight::of(world);
        let after = kept(&sight);
        let lost = before.iter().find(|(row, uid)| {
            let stays = sight.of_kind("Pod").any(|(_, pod)| metadata::uid(pod) == uid.as_str());
            stays && !after.contains_key(row.as_str())
        });
        if let Some((row, _)) = lost {
            return Err(Violation { invariant: DRAINED, what: format!("container {row} is gone") });
        }
        if let Some(row) = running(&sight) {
            return Err(Violation { invariant: DRAINED, what: format!("container {row} runs again") });
        }
    }
    if paused(&Sight::of(world)).next().is_some() {
        wait(world, watch, PAUSE).await?;
    }
    open(world).await;
    Ok(())
}

/// A container that runs though it should not.
fn running(sight: &Sight) -> Option<String> {
    let spared: BTreeSet<String> = paused(sight)
        .flat_map(|(name, pod)| {
            let names = containers(pod).iter().map(|one| one["name"].as_str().unwrap_or_default());
            names.map(move |container| names::container_name("default", name, container))
        })
        .collect();
    let rows: Vec<_> = sight.containers.iter().filter(|row| row["running"] == "true").cloned().collect();
    fields(&rows, "name").find(|name| *name != "theirs" && !spared.contains(*name)).map(str::to_owned)
}

/// Containers of pods that stay, with the uid of the pod.
fn kept(sight: &Sight) -> BTreeMap<String, String> {
    let rows: BTreeSet<&str> = fields(&sight.containers, "name").collect();
    let mut found = BTreeMap::new();
    for (name, pod) in sight.of_kind("Pod").filter(|(_, pod)| !metadata::is_deleting(pod)) {
        for container in containers(pod) {
            let row = names::container_name("default", name, container["name"].as_str().unwrap_or_default());
            if rows.contains(row.as_str()) {
                found.insert(row, metadata::uid(pod).to_owned());
            }
        }
    }
    found
}

/// The node is opened and pods go on; whoever is held gets another try.
async fn open(world: &mut World) {
    let sight = Sight::of(world);
    let mut asked = false;
    if is_closed(&sight) {
        world.turn(Turn::Undrain);
        asked = true;
    }
    for (pod, _) in paused(&sight) {
        world.pause_pod(pod, false);
        asked = true;
    }
    if asked {
        world.tell("everything goes on");
        world.pass(Duration::from_secs(20)).await;
    }
}
