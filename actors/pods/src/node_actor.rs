//! NodeActor
//! Owns     the Node object that stands for the device.   Asks   ObjectsActor.
//! Answers  nothing.                                      Tells  RecordEvent.
//! Ticks    every 10 s: says whether the device answers, when that changed.   Rebuilds  from the published objects.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use jiff::{SignedDuration, Timestamp};
use mkube_messages::door::Door;
use mkube_messages::gates::{Drain, GatesReader};
use mkube_messages::objects::{ObjectKey, ObjectsReader, RecordEvent, ReportStatus, Verb, WriteObject};
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_messages::router::{DeviceReader, DeviceSnapshot};
use mkube_model::kinds::KindId;
use mkube_model::neighbours::wall_clock::WallClock;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::plan::PlanSettings;
use crate::status::stamp;

/// Pause between two looks.
const TICK: Duration = Duration::from_secs(10);
/// Pause before the first Node is tried again.
const SOON: Duration = Duration::from_millis(200);
/// Type of the condition that says how far the node is emptied.
const DRAINED: &str = "Drained";
/// Starts of the device that lie so near to one another are one.
const BOOT_SLACK: SignedDuration = SignedDuration::from_secs(60);
/// Pods a device is good for, as the Node says.
const PODS: u32 = 110;

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct NodeParts {
    /// The kind of nodes.
    pub kind: KindId,
    /// Objects.
    pub objects: ObjectsReader,
    /// The device.
    pub device: DeviceReader,
    /// The one way in.
    pub write: Door<WriteObject>,
    /// For the status.
    pub report: Door<ReportStatus>,
    /// Whether the node is being emptied.
    pub gates: GatesReader,
    /// To tell of reboots.
    pub event: Door<RecordEvent>,
    /// Time of day.
    pub clock: Arc<dyn WallClock>,
    /// Name and address.
    pub settings: Arc<PlanSettings>,
    /// Where this node's API listens, if it does.
    pub api: Option<SocketAddr>,
    /// Version of mkube.
    pub version: &'static str,
}

/// See the module's card.
pub struct NodeActor {
    parts: NodeParts,
    /// The device's start as last seen, and what the Node calls it.
    boot: Option<(Instant, String)>,
}

impl NodeActor {
    /// A new incarnation.
    pub fn new(parts: NodeParts) -> Self {
        Self { parts, boot: None }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let view = self.parts.objects.view();
        let device = self.parts.device.borrow().clone();
        let key = ObjectKey::new("", self.parts.settings.node_name.clone());
        let current = view.get(&self.parts.kind, &key);
        let pause = match (&current, view.loaded) {
            (None, false) => SOON,
            (None, true) => {
                self.make(key, ctx);
                SOON
            }
            (Some(node), _) => {
                let before = &node.value()["status"];
                let boot = self.boot_id(&device, before, node.uid());
                let status = self.status(&device, before, &boot);
                if status != *before {
                    self.report(key, node.uid().to_owned(), status, ctx);
                }
                // Somebody may wait to hear that it is empty.
                if self.parts.gates.borrow().drain.is_some_and(|drain| drain.left > 0) { SOON } else { TICK }
            }
        };
        ctx.run_later(if device.complete { pause } else { SOON.max(pause / 10) }, |actor, ctx| actor.look(ctx));
    }

    /// What this start of the device is called: when it was, as first worked out. A new one is told of, once.
    fn boot_id(&mut self, device: &DeviceSnapshot, before: &Value, uid: &str) -> String {
        let stored = before.pointer("/nodeInfo/bootID").and_then(Value::as_str).unwrap_or_default();
        let Some(at) = device.booted_at else { return stored.to_owned() };
        if let Some((_, name)) = self.boot.as_ref().filter(|(known, _)| *known == at) {
            return name.clone();
        }
        let Some(wall) = device.booted_on else { return stored.to_owned() };
        let known = stored.parse::<Timestamp>().ok();
        // An earlier incarnation saw it, or it was between two of them: then clocks have to tell, which are set now and then.
        let same = self.boot.is_none() && known.is_some_and(|known| wall.duration_since(known) < BOOT_SLACK);
        let name = if same { stored.to_owned() } else { stamp(wall) };
        if !same && known.is_some() {
            let node = &self.parts.settings.node_name;
            let told = self.parts.event.tell(RecordEvent {
                involved_kind: "Node",
                involved_api_version: "v1",
                key: ObjectKey::new("", node.clone()),
                uid: uid.to_owned(),
                warning: true,
                reason: "Rebooted",
                message: format!("Node {node} has been rebooted, boot id: {name}"),
            });
            if let Err(why) = told {
                tracing::debug!(%why, "the event of a reboot was not recorded");
            }
            tracing::warn!(boot = %name, "the device was rebooted");
        }
        self.boot = Some((at, name.clone()));
        name
    }

    fn make(&self, key: ObjectKey, ctx: &mut Context<Self>) {
        let name = &self.parts.settings.node_name;
        let body = json!({
            "metadata": {"name": name, "labels": {
                "type": "virtual-kubelet", "kubernetes.io/os": "linux", "kubernetes.io/hostname": name,
                "node.kubernetes.io/role": "mkube", "mkube.io/device-type": "routeros",
            }},
            "spec": {"taints": [{"key": "virtual-kubelet.io/provider", "value": "mkube", "effect": "NoSchedule"}]},
        });
        let order =
            WriteObject { behind: true, ..WriteObject::own("node", self.parts.kind, key, Verb::Create { body }) };
        let door = self.parts.write.clone();
        ctx.spawn(async move { door.ask(order).await }.into_actor(self).map(|result, _, _| {
            if let Err(error) = result {
                tracing::debug!(%error, "the node could not be made yet");
            }
        }));
    }

    fn report(&self, key: ObjectKey, uid: String, status: Value, ctx: &mut Context<Self>) {
        let context = RequestContext::new("node status", patience::WRITE);
        let report = ReportStatus { context, kind: self.parts.kind, key, uid, status };
        let door = self.parts.report.clone();
        ctx.spawn(async move { door.ask(report).await }.into_actor(self).map(|result, _, _| {
            if let Err(error) = result {
                tracing::debug!(%error, "the node's status was not taken");
            }
        }));
    }

    /// Only what a change of is worth a write: figures that move all the time are not in it.
    fn status(&self, device: &DeviceSnapshot, before: &Value, boot: &str) -> Value {
        let resource = device.resource.clone().unwrap_or_default();
        let ready = device.reachable && device.complete;
        let word = if ready { "True" } else { "False" };
        let old = before.get("conditions").and_then(Value::as_array).and_then(|all| all.first());
        let unchanged = old.filter(|one| one["status"] == word);
        let now = stamp(self.parts.clock.now());
        let since = unchanged.and_then(|one| one["lastTransitionTime"].as_str()).unwrap_or(&now).to_owned();
        let (reason, message) = match &device.fault {
            Some(fault) => ("DeviceUnreachable", fault.clone()),
            None if ready => ("DeviceReady", "the device answers".to_owned()),
            None => ("DeviceUnknown", "the device was not read yet".to_owned()),
        };
        let architecture = match resource.architecture.as_str() {
            "x86" | "x86_64" => "amd64",
            "" => before.pointer("/nodeInfo/architecture").and_then(Value::as_str).unwrap_or("arm64"),
            other => other,
        };
        let amounts = json!({
            "cpu": resource.cpu_count.max(1).to_string(),
            "memory": format!("{}Ki", resource.memory_total >> 10),
            "pods": PODS.to_string(),
        });
        let known = device.resource.is_some();
        let amounts = if known { amounts } else { before.get("capacity").cloned().unwrap_or(amounts) };
        let ready = json!({
            "type": "Ready", "status": word, "reason": reason, "message": message,
            "lastTransitionTime": since, "lastHeartbeatTime": since,
        });
        let drained = self.parts.gates.borrow().drain.map(|drain| drained(drain, before, &now));
        let conditions: Vec<Value> = [ready].into_iter().chain(drained).collect();
        let mut addresses = vec![
            json!({"type": "InternalIP", "address": self.parts.settings.host_ip}),
            json!({"type": "Hostname", "address": self.parts.settings.node_name}),
        ];
        // One that listens on all of them is reached under that of the device.
        if let Some(api) = self.parts.api.filter(|api| !api.ip().is_unspecified()) {
            addresses.push(json!({"type": "ExternalIP", "address": api.ip().to_string()}));
        }
        json!({
            "conditions": conditions,
            "addresses": addresses,
            "capacity": amounts,
            "allocatable": amounts,
            "nodeInfo": {
                "architecture": architecture, "bootID": boot, "machineID": "", "systemUUID": "",
                "containerRuntimeVersion": format!("routeros://{}", resource.version.split(' ').next().unwrap_or_default()),
                "kernelVersion": resource.version, "kubeProxyVersion": "", "operatingSystem": "linux",
                "kubeletVersion": format!("v1.32.0+mkube-{}", self.parts.version),
                "osImage": format!("RouterOS {}", resource.version),
            },
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.parts.api.map_or(0, |api| api.port())}},
        })
    }
}

/// The condition of a node that is being emptied, or is empty.
fn drained(drain: Drain, before: &Value, now: &str) -> Value {
    let (word, reason) = if drain.left == 0 { ("True", "Drained") } else { ("False", "Draining") };
    let conditions = before.get("conditions").and_then(Value::as_array);
    let old = conditions.and_then(|all| all.iter().find(|one| one["type"] == DRAINED && one["status"] == word));
    let since = old.and_then(|one| one["lastTransitionTime"].as_str()).unwrap_or(now);
    json!({
        "type": DRAINED, "status": word, "reason": reason,
        "message": format!("{} of {} pods run", drain.left, drain.pods),
        "lastTransitionTime": since, "lastHeartbeatTime": since,
    })
}

impl Actor for NodeActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}
