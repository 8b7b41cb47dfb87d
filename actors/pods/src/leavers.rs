//! Containers that left a pod's spec: found on the device, and forgotten when they are gone.

use mkube_messages::router::DeviceSnapshot;

use crate::next_step::{Step, next_teardown};
use crate::plan::{PodPlan, owner_in_mark};
use crate::pod_actor::PodActor;
use crate::sight::{leaver, rows_of_pod, seen, without_shared};

impl PodActor {
    /// Containers that left the spec and are gone now.
    pub(crate) fn forget_leavers(&mut self, plan: &PodPlan, device: &DeviceSnapshot) {
        let Self { leaving, memories, troubles, .. } = self;
        leaving.retain(|row, container| {
            let memory = memories.get(row);
            let container = without_shared(container, plan);
            let seen = seen(device, &container);
            let left = memory.is_none_or(|memory| next_teardown(&container, seen, memory) != Step::Gone);
            if !left {
                troubles.remove(row);
                memories.remove(row);
            }
            left
        });
    }

    /// Rows of this pod whose container is not in the spec any more.
    pub(crate) fn find_leavers(&mut self, plan: &PodPlan, device: &DeviceSnapshot) {
        let wanted = |row: &str| plan.containers.iter().any(|container| container.row == row);
        let owner = format!("{}/{}", plan.namespace, plan.name);
        for row in rows_of_pod(device, &plan.namespace, &plan.name) {
            // The mark decides: names of different pods can begin alike.
            let ours = owner_in_mark(&row.comment) == Some(&owner);
            if ours && !wanted(&row.name) && !self.leaving.contains_key(&row.name) {
                self.leaving.insert(row.name.clone(), leaver(row, &owner));
            }
        }
        self.leaving.retain(|row, _| !wanted(row));
    }
}
