//! What one pod tells: events, its status, and the pauses it makes.

use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use mkube_messages::objects::{ObjectKey, PatchType, RecordEvent, ReportStatus, Verb, WriteObject};
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_messages::router::DeviceSnapshot;
use mkube_model::neighbours::tarballs::RegistryCredential;
use serde_json::Value;
use tokio::time::Instant;

use crate::carry_out::Learnt;
use crate::deployed::{running_image, stamp};
use crate::memory::{Memory, Started};
use crate::next_step::{Seen, Step, Why};
use crate::plan::{ContainerPlan, PodPlan, RestartPolicy, is_of, is_ours};
use crate::pod_actor::{PodActor, TICK};
use crate::pull::{self, Telling};
use crate::sight::{address_of, sources_of};
use crate::status::{ContainerFacts, Facts, Trouble, only_begun, recorded_health, status};

/// That a new pod is being made is reported after this long; most run by then, and that is their first report.
pub const FIRST_WORD: Duration = Duration::from_secs(1);

impl PodActor {
    /// Starts the pause before a restart, and says so; how long it is.
    pub(crate) fn schedule_restart(&mut self, plan: &PodPlan, container: &ContainerPlan, now: Instant) -> Duration {
        let memory = self.memories.entry(container.row.clone()).or_default();
        let pause = memory.restarts.pause_after_the_first(now);
        memory.restart_scheduled = true;
        let message = format!(
            "back-off {} restarting failed container={} pod={}_{}({})",
            mkube_model::kinds::human_duration(pause.as_secs() as i64),
            container.name,
            plan.name,
            plan.namespace,
            plan.uid
        );
        if !pause.is_zero() {
            self.event(plan, true, "BackOff", message.clone());
        }
        self.troubles.insert(container.row.clone(), Trouble { reason: "CrashLoopBackOff".into(), message });
        pause
    }

    /// Starts the pause before a row is made anew, and says why; how long it is.
    pub(crate) fn schedule_remake(
        &mut self,
        plan: &PodPlan,
        container: &ContainerPlan,
        seen: Seen<'_>,
        now: Instant,
    ) -> Duration {
        let memory = self.memories.entry(container.row.clone()).or_default();
        let pause = memory.remakes.pause(now);
        memory.remake_scheduled = true;
        let why = seen.row.map(|row| row.about.as_str()).filter(|about| !about.is_empty());
        let why = why.unwrap_or("the device dropped the container while it was unpacking the image");
        let message = format!("image {:?} cannot be unpacked: {why}", container.image);
        self.event(plan, true, "Failed", message.clone());
        let message = format!("{message}; next try in {} s", pause.as_secs());
        self.troubles.insert(container.row.clone(), Trouble { reason: "ErrImageUnpack".into(), message });
        pause
    }

    /// Tells what is about to happen, once for each thing worth telling.
    pub(crate) fn announce(&self, step: &Step, container: &ContainerPlan, plan: &PodPlan) {
        match step {
            Step::EnsureTarball => self.tell_all(plan, pull::begun(container)),
            Step::EnsureContainer => {
                self.event(plan, false, "Created", format!("Creating container {}", container.name))
            }
            Step::Start => self.event(plan, false, "Started", format!("Starting container {}", container.name)),
            Step::Stop(Why::Unhealthy(which)) => {
                let next = if plan.restart == RestartPolicy::Never { "" } else { ", will be restarted" };
                self.event(plan, false, "Killing", format!("Container {} {which}{next}", container.name));
            }
            Step::Stop(why) => {
                self.event(plan, false, "Killing", format!("Stopping container {} ({})", container.name, why.words()));
            }
            _ => {}
        }
    }

    /// Tells what a step taught, where that is worth telling.
    pub(crate) fn tell_learnt(&self, learnt: &Learnt, container: &ContainerPlan, plan: &PodPlan) {
        if let Learnt::Tarball(tarball) = learnt {
            self.tell_all(plan, pull::done(container, tarball));
        }
    }

    /// The credentials of the pod's pull secrets as they are now; what is wrong with them is told.
    pub(crate) fn credentials(&self, plan: &PodPlan) -> Vec<RegistryCredential> {
        let pod = self.desired.borrow().pod.clone();
        let sources = sources_of(&self.parts, &pod.key.namespace, &pod.value());
        let (credentials, tellings) = pull::credentials(&plan.pull_secrets, &sources.secrets);
        self.tell_all(plan, tellings);
        credentials
    }

    pub(crate) fn tell_all(&self, plan: &PodPlan, tellings: impl IntoIterator<Item = Telling>) {
        for Telling { warning, reason, message } in tellings {
            self.event(plan, warning, reason, message);
        }
    }

    pub(crate) fn event(&self, plan: &PodPlan, warning: bool, reason: &'static str, message: String) {
        let told = self.parts.doors.event.tell(RecordEvent {
            involved_kind: "Pod",
            involved_api_version: "v1",
            key: ObjectKey::new(plan.namespace.clone(), plan.name.clone()),
            uid: plan.uid.clone(),
            warning,
            reason,
            message,
        });
        if let Err(why) = told {
            tracing::debug!(%why, reason, "an event was not recorded");
        }
    }

    /// Tells the status when it is not what is stored, or what was told a moment ago.
    pub(crate) fn report(
        &mut self,
        key: &ObjectKey,
        stored: &Value,
        plan: &PodPlan,
        device: &DeviceSnapshot,
        ctx: &mut Context<Self>,
    ) {
        let told = self.reported.as_ref().and_then(|(told, _)| serde_json::from_str::<Value>(told).ok());
        if told.as_ref() == Some(stored) {
            self.reported = None;
        }
        let told = told.filter(|_| self.reported.is_some());
        // Between a report and the view that shows it, what was reported is the truth to continue from.
        let previous = told.as_ref().unwrap_or(stored);
        let containers: Vec<ContainerFacts> =
            plan.containers.iter().map(|container| self.facts(container, plan, device, previous)).collect();
        if let Some(first) = containers.first().filter(|first| first.started == Started::Yes) {
            self.stamp(plan, &first.image_id, ctx);
        }
        let new = status(&Facts {
            containers: &containers,
            restart: plan.restart,
            deleting: plan.deleting,
            generation: plan.generation,
            unschedulable: self.unschedulable(previous, plan, device),
            host_ip: &self.parts.settings.host_ip,
            previous,
            now: self.parts.clock.now(),
            booted: device.booted_on,
            more: self.more_conditions(plan),
        });
        let known = match (&told, &self.reported) {
            // Whoever took the report may have died with it.
            (Some(told), Some((_, at))) => *told == new && at.elapsed() < TICK,
            _ => *stored == new,
        };
        if known {
            return;
        }
        if only_begun(stored, &new) && self.born.elapsed() < FIRST_WORD {
            return;
        }
        self.reported = Some((new.to_string(), Instant::now()));
        let door = self.parts.doors.report.clone();
        let report = ReportStatus {
            context: RequestContext::new("report", patience::WRITE),
            kind: self.parts.kind,
            key: key.clone(),
            uid: plan.uid.clone(),
            status: new,
        };
        let reporting = async move { door.ask(report).await };
        ctx.spawn(reporting.into_actor(self).map(|result, actor, _ctx| {
            if let Err(error) = result {
                tracing::debug!(%error, "a status was not taken, it is reported again");
                actor.reported = None;
            }
        }));
    }

    /// Reports what is known of a pod that takes long to be made, also in the middle of a step.
    pub(crate) fn first_word(&mut self, ctx: &mut Context<Self>) {
        let desired = self.desired.borrow().clone();
        let device = self.parts.device.borrow().clone();
        let pod = desired.pod.value();
        let plan = self.plan(&desired, &pod, &device);
        if device.complete && !plan.deleting {
            self.report(&desired.pod.key, &pod["status"], &plan, &device, ctx);
        }
    }

    /// Writes down which image the first container runs, when that is not what stands there.
    fn stamp(&mut self, plan: &PodPlan, image_id: &str, ctx: &mut Context<Self>) {
        let Some((digest, body)) = stamp(plan, image_id) else {
            self.stamped = None;
            return;
        };
        let tried = |(written, at): &(String, Instant)| *written == digest && at.elapsed() < TICK;
        if self.stamped.as_ref().is_some_and(tried) {
            return;
        }
        self.stamped = Some((digest, Instant::now()));
        let door = self.parts.doors.write.clone();
        let order = WriteObject {
            behind: true,
            ..WriteObject::own(
                "image digest",
                self.parts.kind,
                ObjectKey::new(plan.namespace.clone(), plan.name.clone()),
                Verb::Patch { patch: PatchType::Merge, body },
            )
        };
        let writing = async move { door.ask(order).await };
        ctx.spawn(writing.into_actor(self).map(|result, _, _| {
            if let Err(error) = result {
                tracing::debug!(%error, "a digest was not written down, it is tried again");
            }
        }));
    }

    fn facts(
        &self,
        container: &ContainerPlan,
        plan: &PodPlan,
        device: &DeviceSnapshot,
        previous: &Value,
    ) -> ContainerFacts {
        let fresh = Memory::default();
        let memory = self.memories.get(&container.row).map_or(&fresh, |memory| memory);
        let row = device.containers.get(&container.row).map(Arc::as_ref);
        let again = match (&memory.exit, plan.restart) {
            (None, _) | (_, RestartPolicy::Never) => false,
            (Some(_), RestartPolicy::Always) => true,
            (Some(exit), RestartPolicy::OnFailure) => !exit.succeeded(),
        };
        let ours = row.filter(|row| is_ours(row, container));
        let leased = memory.lease.as_ref().map(|lease| lease.address.addr().to_string());
        let there = address_of(device, &container.veth);
        // The container of the spec before has the address it had, whatever is leased for the next one.
        let of_before = ours.is_some() && !is_of(row, &container.hash);
        let address = if of_before { there.or(leased) } else { leased.or(there) };
        let health = ours.and_then(|row| {
            recorded_health(previous, &container.name, &row.id, memory.restart_count, device.booted_on)
        });
        let (up, ready) = self.health_of(container, health.as_ref());
        ContainerFacts {
            name: container.name.clone(),
            image: container.image.clone(),
            image_id: running_image(ours, container, memory, previous, plan),
            row_id: row.map(|row| row.id.to_string()),
            state: row.map(|row| row.state),
            started: memory.started,
            exit: memory.exit.clone(),
            trouble: self.troubles.get(&container.row).cloned(),
            will_restart: again && !plan.paused,
            restarts: memory.restart_count,
            address,
            current: match row {
                Some(_) => device.complete && is_of(row, &container.hash),
                // A row of the spec before may have been made and not been seen yet: only a later reading can tell.
                None => device.complete && device.read_at.is_some_and(|read| memory.is_older_than(read)),
            },
            up,
            ready: ready && self.stopping.as_ref() != Some(&container.row),
            by_reboot: memory.by_reboot,
        }
    }
}
