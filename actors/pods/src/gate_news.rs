//! How PodsActor learns of gates and of the cordon, and whom it tells.

use std::sync::Arc;

use mkube_messages::gates::GatesView;
use mkube_messages::objects::ObjectsView;
use mkube_messages::pods::DesiredChanged;

use crate::gating::is_cordoned;
use crate::pods_actor::{PodsActor, tell};

impl PodsActor {
    /// Tells everybody when the node was closed or opened.
    pub(crate) fn cordon_changed(&mut self, view: &ObjectsView) {
        let cordoned = is_cordoned(view, &self.parts.pod.nodes, &self.parts.pod.settings.node_name);
        if std::mem::replace(&mut self.cordoned, cordoned) != cordoned {
            self.tell_all();
        }
    }

    /// Tells the pods whose gate changed.
    pub(crate) fn gates_changed(&mut self) {
        let now = self.parts.pod.gates.borrow().clone();
        let before = std::mem::replace(&mut self.gates, now.clone());
        let of_all = |view: &GatesView| (view.decided, view.boots, view.drain.is_some());
        if of_all(&now) != of_all(&before) {
            return self.tell_all();
        }
        if Arc::ptr_eq(&now, &before) {
            return;
        }
        for (key, entry) in &self.pods {
            if now.gates.get(key) != before.gates.get(key) {
                tell(&entry.look, DesiredChanged);
            }
        }
    }

    fn tell_all(&self) {
        for entry in self.pods.values() {
            tell(&entry.look, DesiredChanged);
        }
    }
}
