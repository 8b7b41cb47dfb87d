//! How a step is done.

use std::sync::PoisonError;
use std::time::Duration;

use mkube_fakes::Timings;
use mkube_messages::objects::{FieldValidation, ObjectKey, PatchType, Verb, WriteObject, Writer};
use mkube_messages::request::RequestContext;
use mkube_model::names;
use mkube_model::workloads::{BOOT_PRIORITY, DEPENDS_ON};
use serde_json::{Value, json};

use crate::ledger::{Answered, EDIT, Found, Ledger, Name};
use crate::names::ALIASES;
use crate::steps::{ALIVE, Place, Shape, Step};
use crate::world::World;

/// How long a user waits for an answer.
const USERS_PATIENCE: Duration = Duration::from_secs(15);

/// The name of the row of a pod's first container.
pub fn row_of(pod: &str) -> String {
    names::container_name("default", pod, "c")
}

/// What a pod that ends by itself says of it, for whoever looks at it later.
pub const ENDS: &str = "simulation/ends";

/// A question to whoever listens on this port.
pub fn probe(port: u16) -> Value {
    json!({"tcpSocket": {"port": port}, "periodSeconds": 3, "failureThreshold": 2})
}

fn body_of(pod: &str, shape: &Shape, edit: u64) -> Value {
    let mut first =
        json!({"name": "c", "image": shape.image.name(), "env": [{"name": "EDIT", "value": edit.to_string()}]});
    let mut spec = json!({});
    let mut annotations = json!({EDIT: edit.to_string()});
    for port in &shape.probes {
        first[if *port == ALIVE { "livenessProbe" } else { "readinessProbe" }] = probe(*port);
    }
    match shape.place {
        Some(Place::Priority(number)) => annotations[BOOT_PRIORITY] = json!(number.to_string()),
        Some(Place::After(other)) => annotations[DEPENDS_ON] = json!(other),
        None => {}
    }
    if let Some(aliases) = shape.aliases {
        annotations[ALIASES] = json!(aliases);
    }
    if let Some((policy, after, code)) = shape.ends {
        first["command"] = json!(["sleep"]);
        first["args"] = json!([after.to_string(), "exit", code.to_string()]);
        spec["restartPolicy"] = json!(policy);
        annotations[ENDS] = json!(code.to_string());
    }
    if let Some(map) = shape.map {
        first["volumeMounts"] = json!([{"name": "config", "mountPath": "/etc/web"}]);
        spec["volumes"] = json!([{"name": "config", "configMap": {"name": map}}]);
    }
    spec["containers"] = json!([first]);
    if let (Some(side), Some(containers)) = (shape.side, spec["containers"].as_array_mut()) {
        containers.push(json!({"name": "side", "image": side.name()}));
    }
    json!({"metadata": {"name": pod, "annotations": annotations}, "spec": spec})
}

/// A patch that carries the number of the write.
pub fn edited(edit: u64, mut operations: Vec<Value>) -> Verb {
    let path = format!("/metadata/annotations/{}", EDIT.replace('/', "~1"));
    operations.push(json!({"op": "add", "path": path, "value": edit.to_string()}));
    Verb::Patch { patch: PatchType::Json, body: json!(operations) }
}

impl World {
    /// Does a step; what it sets off goes on while time passes.
    pub async fn perform(&mut self, step: &Step) {
        match step {
            Step::Wait(_) => {}
            Step::Create(pod, shape) => self.write(("Pod", (*pod).into()), |edit| {
                (Verb::Create { body: body_of(pod, shape, edit) }, Found::Edited(edit))
            }),
            Step::SetImage(pod, image) => self.patch(pod, Some(image.name())),
            Step::SetEnv(pod) => self.patch(pod, None),
            Step::Annotate(pod) => {
                self.write(("Pod", (*pod).into()), |edit| (edited(edit, vec![]), Found::Edited(edit)));
            }
            Step::Alias(pod, aliases) => self.write(("Pod", (*pod).into()), |edit| {
                let body = json!({"metadata": {"annotations": {EDIT: edit.to_string(), ALIASES: aliases}}});
                (Verb::Patch { patch: PatchType::Merge, body }, Found::Edited(edit))
            }),
            Step::Delete(pod, grace) => self.write(("Pod", (*pod).into()), |_| {
                let options = grace.map_or(Value::Null, |grace| json!({"gracePeriodSeconds": grace}));
                (Verb::Delete { options }, Found::Going)
            }),
            Step::WriteMap(map) => self.write_map(map),
            Step::DeleteMap(map) => {
                self.write(("ConfigMap", (*map).into()), |_| (Verb::Delete { options: Value::Null }, Found::Absent))
            }
            Step::AnnotateNamespace => self.write(("Namespace", "default".into()), |edit| {
                let body = json!({"metadata": {"annotations": {EDIT: edit.to_string()}}});
                (Verb::Patch { patch: PatchType::Merge, body }, Found::Edited(edit))
            }),
            Step::PausePod(pod, paused) => self.pause_pod(pod, *paused),
            Step::Deploy(name, template) => self.deploy(name, template),
            Step::Deployment(name, change) => self.change(name, *change),
            Step::DeletePodOf(name, index) => {
                let key = ObjectKey::new("default", format!("{name}-{index}"));
                self.send("Pod", key, Verb::Delete { options: Value::Null }, "");
            }
            Step::RunJob(name, work) => self.run_job(name, work),
            Step::DeleteJob(name, how) => self.delete_owner("Job", name, how),
            Step::Node(turn) => self.turn(*turn),
            Step::Answers(port, answer) => self.prober.set(*port, answer.clone()),
            Step::EndProcess(pod, code) if self.runs_once(pod) => self.device.end_process(&row_of(pod), (*code).into()),
            Step::RemoveBehind(pod) if self.runs_once(pod) => self.device.remove_container_behind(&row_of(pod)),
            Step::LoseVeth(pod) => {
                let veth = names::veth_name("default", pod, 0);
                if self.device.rows("interface/veth").iter().any(|row| row["name"] == veth) {
                    self.device.lose_veth(&veth);
                }
            }
            // Nobody to do it to.
            Step::EndProcess(..) | Step::RemoveBehind(_) => {}
            Step::StealForeign => {
                for row in self.device.rows("container/envs").iter().filter(|row| row["list"] == "theirs") {
                    let path = format!("container/envs/{}", row[".id"].as_str().unwrap_or_default());
                    self.device.operate(mkube_fakes::Verb::Delete, &path, Value::Null);
                }
            }
            Step::Reboot(time) => self.device.reboot(*time),
            Step::DeviceAway(time) => self.device.go_away_for(*time),
            Step::Device(operation, nth, cue) => self.device.cue(operation, (*nth).into(), cue.clone()),
            Step::Latency(latency) => self.device.set_timings(Timings { latency: *latency, ..Timings::default() }),
            Step::Commit(cue) => self.store.cue(cue.clone()),
            Step::Load(cue) => self.store.cue_load(cue.clone()),
            Step::StoreAway(time) => self.store.go_away_for(*time),
            // So it is from the beginning.
            Step::Shared { .. } => {}
            Step::StoreLost(time) if self.is_shared() => self.lose_store(*time, false),
            Step::StoreOlder(time) if self.is_shared() => self.lose_store(*time, true),
            Step::Other(other) if self.is_shared() => self.write_elsewhere(*other),
            Step::StoreLost(_) | Step::StoreOlder(_) | Step::Other(_) => {}
            Step::Crash(path, how) => self.crash((*path).to_owned(), *how).await,
            Step::CrashPod(pod, how) => self.crash(format!("mkube/pods/pod/default/{pod}"), *how).await,
            Step::Names(trouble) => self.names.suffer(trouble),
            Step::Kill => {
                self.kill();
                self.start();
            }
            Step::Restart => {
                self.stop().await;
                self.start();
            }
            Step::SetClock(seconds) => self.clock.step(*seconds),
        }
    }

    fn runs_once(&self, pod: &str) -> bool {
        let rows = self.device.rows("container");
        let mut named = rows.iter().filter(|row| row["name"] == row_of(pod));
        named.next().is_some_and(|row| row["running"] == "true") && named.next().is_none()
    }

    async fn crash(&mut self, path: String, how: mkube_supervision::CrashHow) {
        let Some(tree) = self.controller().map(|controller| controller.tree.clone()) else { return };
        if let Err(why) = self.beside(tree.crash(&path, how)).await {
            self.tell(format!("nobody crashed: {why}"));
        }
    }

    /// Every change of a spec is one that was never there before: what runs says which one it was made for.
    fn patch(&mut self, pod: &str, image: Option<String>) {
        self.write(("Pod", pod.into()), |edit| {
            let replace = |field: &str, value: String| {
                json!({"op": "replace", "path": format!("/spec/containers/0/{field}"), "value": value})
            };
            let mut operations = vec![replace("env/0/value", edit.to_string())];
            operations.extend(image.map(|image| replace("image", image)));
            (edited(edit, operations), Found::Edited(edit))
        });
    }

    fn write_map(&mut self, map: &str) {
        let Some(objects) = self.controller().map(|controller| controller.objects.clone()) else { return };
        let there = objects
            .kinds()
            .named("ConfigMap")
            .is_some_and(|kind| objects.view().get(&kind.id(), &ObjectKey::new("default", map)).is_some());
        self.write(("ConfigMap", map.into()), |edit| {
            let body = json!({"metadata": {"name": map, "annotations": {EDIT: edit.to_string()}},
                "data": {"text": edit.to_string()}});
            let verb = if there { Verb::Patch { patch: PatchType::Merge, body } } else { Verb::Create { body } };
            (verb, Found::Edited(edit))
        });
    }

    /// A user sends a write and hears of it, or does not, while the run goes on.
    pub fn write(&mut self, name: Name, order: impl FnOnce(u64) -> (Verb, Found)) {
        let Some(controller) = self.controller() else { return };
        let Some(namespaced) = controller.objects.kinds().named(name.0).map(|kind| kind.namespaced) else { return };
        let edit = self.ledger().next_number();
        let (verb, then) = order(edit);
        let is_new = matches!(verb, Verb::Create { .. });
        self.ledger().asked(&name, edit, then);
        self.tell(format!("write {edit} to {} {}", name.0, name.1));
        let namespace = if namespaced { "default" } else { "" };
        let key = ObjectKey::new(namespace, if is_new { "" } else { &name.1 });
        self.post(name.0, key, verb, "", move |ledger, result| ledger.answered(&name, edit, result));
    }

    /// The same for what is in no ledger: nobody but the controller can say how such an object ends.
    pub fn send(&mut self, kind: &'static str, key: ObjectKey, verb: Verb, subresource: &'static str) {
        self.post(kind, key, verb, subresource, |ledger, result| ledger.heard(&result));
    }

    fn post(
        &mut self,
        kind: &'static str,
        key: ObjectKey,
        verb: Verb,
        subresource: &'static str,
        answered: impl FnOnce(&mut Ledger, Answered) + Send + 'static,
    ) {
        let Some(controller) = self.controller() else { return };
        let Some(kind) = controller.objects.kinds().named(kind) else { return };
        let door = controller.write.clone();
        let write = WriteObject {
            context: RequestContext::new("simulated user", USERS_PATIENCE),
            kind: kind.id(),
            key,
            verb,
            subresource,
            dry_run: false,
            field_validation: FieldValidation::Strict,
            writer: Writer::own(),
            behind: false,
        };
        let ledger = self.ledger.clone();
        tokio::spawn(async move {
            let result = door.ask(write).await;
            answered(&mut ledger.lock().unwrap_or_else(PoisonError::into_inner), result);
        });
    }
}
