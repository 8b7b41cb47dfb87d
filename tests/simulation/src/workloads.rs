//! Deployments, Jobs and the node: what users ask of them.

use std::fmt;

use mkube_messages::objects::{ObjectKey, PatchType, Verb};
use mkube_model::workloads::{AUTO_ROLLBACK, DRAIN, PAUSED};
use serde_json::{Value, json};

use crate::ledger::{EDIT, Found};
use crate::perform::{ENDS, edited, probe};
use crate::steps::{Image, READY};
use crate::world::{NODE, World};

/// Deployments of a run.
pub const DEPLOYMENTS: [&str; 2] = ["site", "shop"];
/// Jobs of a run.
pub const JOBS: [&str; 2] = ["import", "export"];
/// What becomes of dependents.
pub const PROPAGATIONS: [&str; 3] = ["Background", "Foreground", "Orphan"];

/// How pods of a new template come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// As where nothing is said.
    Usual,
    /// All at once.
    Recreate,
    /// So many may be missing, so many more may be there.
    Rolling(u8, u8),
}

/// A new Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Image of its pods.
    pub image: Image,
    /// How many.
    pub replicas: u8,
    /// How they are replaced.
    pub strategy: Strategy,
    /// A template that fails is taken back.
    pub rolls_back: bool,
    /// Its pods are asked whether they are ready.
    pub probed: bool,
}

impl fmt::Display for Template {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} of {}, {:?}", self.replicas, self.image.name(), self.strategy)?;
        write!(out, "{}", if self.rolls_back { ", rolls back" } else { "" })?;
        write!(out, "{}", if self.probed { ", probed" } else { "" })
    }
}

/// A change of a Deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Another image.
    Image(Image),
    /// The same again.
    Restart,
    /// Another number of pods.
    Replicas(u8),
    /// The same through the `scale` subresource.
    Scale(u8),
    /// Changes wait, or no longer.
    Pause(bool),
    /// It goes; what becomes of its pods.
    Delete(&'static str),
}

/// A new Job. Its pods sleep and end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// Pods that must succeed.
    pub completions: u8,
    /// Pods at a time.
    pub parallelism: u8,
    /// Failures that are forgiven.
    pub backoff: u8,
    /// Whether a failed container is started again in its pod.
    pub restarts: bool,
    /// Seconds, and the code they end with.
    pub ends: (u8, u8),
}

/// What is done to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// No new pods.
    Cordon,
    /// New pods again.
    Uncordon,
    /// Nothing runs.
    Drain,
    /// Everything runs again.
    Undrain,
}

fn deployment(name: &str, template: &Template, edit: u64) -> Value {
    let mut container =
        json!({"name": "c", "image": template.image.name(), "env": [{"name": "EDIT", "value": edit.to_string()}]});
    if template.probed {
        container["readinessProbe"] = probe(READY);
    }
    let strategy = match template.strategy {
        Strategy::Usual => json!({}),
        Strategy::Recreate => json!({"type": "Recreate"}),
        Strategy::Rolling(unavailable, surge) => {
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}})
        }
    };
    let mut annotations = json!({EDIT: edit.to_string()});
    if template.rolls_back {
        annotations[AUTO_ROLLBACK] = json!("true");
    }
    json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "replicas": template.replicas, "strategy": strategy, "progressDeadlineSeconds": 120,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}, "annotations": {"simulation/of": name}}, "spec": {"containers": [container]}},
        },
    })
}

fn job(name: &str, work: &Work, edit: u64) -> Value {
    let (after, code) = work.ends;
    let container = json!({"name": "c", "image": Image::Good(1).name(), "env": [{"name": "EDIT", "value": edit.to_string()}],
        "command": ["sleep"], "args": [after.to_string(), "exit", code.to_string()]});
    json!({
        "metadata": {"name": name, "annotations": {EDIT: edit.to_string()}},
        "spec": {
            "completions": work.completions, "parallelism": work.parallelism, "backoffLimit": work.backoff,
            "template": {
                "metadata": {"annotations": {ENDS: code.to_string()}},
                "spec": {"restartPolicy": if work.restarts { "OnFailure" } else { "Never" }, "containers": [container]},
            },
        },
    })
}

impl World {
    /// A user creates a Deployment.
    pub fn deploy(&mut self, name: &str, template: &Template) {
        self.write(("Deployment", name.into()), |edit| {
            (Verb::Create { body: deployment(name, template, edit) }, Found::Edited(edit))
        });
    }

    /// A user creates a Job.
    pub fn run_job(&mut self, name: &str, work: &Work) {
        self.write(("Job", name.into()), |edit| (Verb::Create { body: job(name, work, edit) }, Found::Edited(edit)));
    }

    /// A user deletes something; what becomes of its dependents.
    pub fn delete_owner(&mut self, kind: &'static str, name: &str, propagation: &str) {
        self.write((kind, name.into()), |_| {
            (Verb::Delete { options: json!({"propagationPolicy": propagation}) }, Found::Going)
        });
    }

    /// A user changes a Deployment.
    pub fn change(&mut self, name: &str, change: Change) {
        let template = |rest: &str| format!("/spec/template/{rest}");
        let set = |path: String, value: Value| json!({"op": "add", "path": path, "value": value});
        let operation = |edit: u64| match change {
            Change::Image(image) => set(template("spec/containers/0/image"), json!(image.name())),
            Change::Restart => set(template("metadata/annotations/restartedAt"), json!(edit.to_string())),
            Change::Replicas(replicas) | Change::Scale(replicas) => set("/spec/replicas".into(), json!(replicas)),
            Change::Pause(paused) => set("/spec/paused".into(), json!(paused)),
            Change::Delete(_) => Value::Null,
        };
        match change {
            Change::Delete(propagation) => self.delete_owner("Deployment", name, propagation),
            Change::Scale(_) => {
                let patch = Verb::Patch { patch: PatchType::Json, body: json!([operation(0)]) };
                self.send("Deployment", ObjectKey::new("default", name), patch, "scale");
            }
            _ => self
                .write(("Deployment", name.into()), |edit| (edited(edit, vec![operation(edit)]), Found::Edited(edit))),
        }
    }

    /// A user closes, empties or opens the node.
    pub fn turn(&mut self, turn: Turn) {
        self.write(("Node", NODE.into()), |edit| {
            let mut body = json!({"metadata": {"annotations": {EDIT: edit.to_string()}}});
            body["spec"] = match turn {
                Turn::Cordon | Turn::Drain => json!({"unschedulable": true}),
                Turn::Uncordon | Turn::Undrain => json!({"unschedulable": null}),
            };
            match turn {
                Turn::Drain => body["metadata"]["annotations"][DRAIN] = json!("true"),
                Turn::Undrain => body["metadata"]["annotations"][DRAIN] = Value::Null,
                Turn::Cordon | Turn::Uncordon => {}
            }
            (Verb::Patch { patch: PatchType::Merge, body }, Found::Edited(edit))
        });
    }

    /// A user pauses a pod, or lets it go on.
    pub fn pause_pod(&mut self, pod: &str, paused: bool) {
        self.write(("Pod", pod.into()), |edit| {
            let annotations = json!({EDIT: edit.to_string(), PAUSED: paused.then_some("true")});
            let body = json!({"metadata": {"annotations": annotations}});
            (Verb::Patch { patch: PatchType::Merge, body }, Found::Edited(edit))
        });
    }
}
