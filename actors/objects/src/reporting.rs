//! Status reports and events: merged, and written at their own pace.

use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context};
use mkube_messages::objects::{ObjectKey, ObjectsView, ReportStatus, StoredObject};
use mkube_model::kinds::{Kind, KindId};
use mkube_model::metadata;
use serde_json::json;
use tokio::time::Instant;

use crate::admission;
use crate::event_book::EventWrite;
use crate::objects_actor::ObjectsActor;
use crate::queue::Task;

/// At most one status write per object within this time, beside the first.
const STATUS_PACE: Duration = Duration::from_secs(1);
/// Events are written together this often.
const EVENT_PACE: Duration = Duration::from_secs(1);

impl ObjectsActor {
    pub(crate) fn report(&mut self, report: ReportStatus, ctx: &mut Context<Self>) {
        self.reports.insert((report.kind, report.key), (report.uid, report.status));
        self.pump(ctx);
        self.arm_report_timer(ctx);
    }

    /// Queues the reports whose second has passed. Called when a batch is about to be formed and not before: meanwhile newer
    /// reports replace older ones, and the second is counted from write to write.
    pub(crate) fn take_due_reports(&mut self) {
        let now = Instant::now();
        self.reported.retain(|_, (_, last)| now.duration_since(*last) < STATUS_PACE);
        let waits =
            |target: &(KindId, ObjectKey), uid: &str| self.reported.get(target).is_some_and(|(of, _)| of == uid);
        let due = self.reports.iter().filter(|(target, (uid, _))| !waits(target, uid));
        let due: Vec<_> = due.map(|(target, _)| target.clone()).collect();
        for target in due {
            if let Some((uid, status)) = self.reports.remove(&target) {
                let (kind, key) = target;
                self.queue.push_back((Task::Status { kind, key, uid, status }, None));
            }
        }
    }

    fn arm_report_timer(&mut self, ctx: &mut Context<Self>) {
        if self.report_timer || self.reports.is_empty() {
            return;
        }
        self.report_timer = true;
        ctx.run_later(STATUS_PACE / 4, |actor, ctx| {
            actor.report_timer = false;
            actor.pump(ctx);
            actor.arm_report_timer(ctx);
        });
    }

    /// An event was stored, or is gone.
    pub(crate) fn note_events(&mut self, changed: &[Arc<StoredObject>]) {
        let Some(kind) = self.parts.kinds.named("Event").map(Kind::id) else { return };
        let view = self.view();
        for object in changed.iter().filter(|object| object.kind == kind) {
            if view.get(&kind, &object.key).is_some() {
                self.events.stored(&object.key, &object.value());
            } else {
                self.events.gone(&object.key);
            }
        }
        self.forget_old_events();
    }

    /// Events beyond the bound go. Not while the store is away: then they cannot.
    pub(crate) fn forget_old_events(&mut self) {
        let Some(kind) = self.parts.kinds.named("Event").map(Kind::id) else { return };
        if !self.view().is_complete() {
            return;
        }
        for key in self.events.excess() {
            self.queue.push_back((Task::Remove { kind, key }, None));
        }
    }

    pub(crate) fn arm_event_timer(&mut self, ctx: &mut Context<Self>) {
        if self.event_timer {
            return;
        }
        self.event_timer = true;
        ctx.run_later(EVENT_PACE, |actor, ctx| {
            actor.event_timer = false;
            actor.write_events(ctx);
            if !actor.events.is_idle() {
                actor.arm_event_timer(ctx);
            }
        });
    }

    fn takes_events(&self, view: &ObjectsView, namespace: &str) -> bool {
        let Some(kind) = self.parts.kinds.named("Namespace") else { return true };
        let found = view.get(&kind.id(), &ObjectKey::new("", namespace));
        found.is_some_and(|namespace| !namespace.is_deleting())
    }

    fn write_events(&mut self, ctx: &mut Context<Self>) {
        let Some(kind) = self.parts.kinds.named("Event").map(Kind::id) else { return };
        if !self.in_step {
            return;
        }
        let view = self.view();
        let now = self.parts.clock.now();
        let current = |key: &ObjectKey| view.get(&kind, key).map(|event| admission::without_version(&event.value()));
        for write in self.events.flush(now, current) {
            let task = match write {
                // A namespace that is going takes no new objects, and one that is gone must not get any.
                EventWrite::Put(key, _) if !self.takes_events(&view, &key.namespace) => continue,
                EventWrite::Put(key, mut value) => {
                    let meta = metadata::of_mut(&mut value);
                    meta.entry("uid").or_insert_with(|| json!(self.parts.randomness.uid()));
                    meta.entry("creationTimestamp").or_insert_with(|| json!(admission::stamp(now)));
                    Task::Put { kind, key, value }
                }
                EventWrite::Delete(key) => Task::Remove { kind, key },
            };
            self.queue.push_back((task, None));
        }
        self.pump(ctx);
    }
}
