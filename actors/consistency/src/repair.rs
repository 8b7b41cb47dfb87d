//! One removal, step by step. Right before each step it is asked once more whether anybody owns the thing now.

use std::time::Duration;

use mkube_messages::consistency::RepairAction;
use mkube_messages::ipam::ReleaseAddress;
use mkube_messages::objects::{ObjectKey, Verb, WriteObject};
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_messages::router::{DeviceSnapshot, EnsureEnvs, EnsureMounts, RemoveContainer, RemoveVeth, StopContainer};
use mkube_model::marks::veth_comment;
use mkube_model::neighbours::router::{ContainerRow, ContainerState};
use serde_json::json;
use tokio::time::timeout;

use crate::actor::ConsistencyParts;
use crate::facts::{commented, marked};
use crate::orphans::{Orphan, uses_list};
use crate::sights;

/// The longest one removal may take; a container may need most of it to stop.
pub const LONGEST: Duration = Duration::from_secs(90);
/// How long a container may take to stop.
const STOPPING: Duration = Duration::from_secs(45);
/// How long a container may take to be gone.
const REMOVING: Duration = Duration::from_secs(30);

/// Takes an orphan away; or says why not.
pub async fn carry_out(parts: &ConsistencyParts, orphan: &Orphan, limit: Duration) -> Result<(), String> {
    let work = async {
        match orphan.action {
            RepairAction::RemoveContainer => remove_container(parts, orphan).await,
            RepairAction::RemoveInterface => remove_interface(parts, orphan).await,
            RepairAction::ReleaseAddress => release_address(parts, orphan).await,
            RepairAction::RemoveMounts | RepairAction::RemoveEnvs => remove_list(parts, orphan).await,
            RepairAction::DeletePod => delete_pod(parts, orphan).await,
        }
    };
    timeout(limit, work).await.unwrap_or_else(|_| Err("it took too long".to_owned()))
}

/// The owner, if it is still gone.
fn absent_owner<'a>(parts: &ConsistencyParts, orphan: &'a Orphan) -> Result<&'a ObjectKey, String> {
    let (view, device) = (parts.objects.view(), parts.device.borrow().clone());
    if !view.is_complete() || !device.complete || !device.reachable {
        return Err("the store or the device cannot be read now".to_owned());
    }
    let owner = orphan.owner.as_ref().ok_or("nobody knows whose it was")?;
    let pods = sights::id(parts.objects.kinds(), "Pod").ok_or("there are no pods here")?;
    match view.get(&pods, owner) {
        Some(_) => Err(format!("pod {owner} is there now")),
        None if view.is_unreadable(&pods, owner) => Err(format!("pod {owner} cannot be read from the store")),
        None => Ok(owner),
    }
}

/// The container as it was seen, if it is still there and still marked as its owner's.
fn row_of<'a>(device: &'a DeviceSnapshot, orphan: &Orphan) -> Option<&'a ContainerRow> {
    let row = device.containers.get(&orphan.object)?;
    (row.id.0 == orphan.identity && marked(row) == orphan.owner).then_some(&**row)
}

async fn remove_container(parts: &ConsistencyParts, orphan: &Orphan) -> Result<(), String> {
    let context = || RequestContext::new("repair", patience::DEVICE);
    let name = orphan.object.clone();
    let mut device = parts.device.clone();
    let state = |parts: &ConsistencyParts| row_of(&parts.device.borrow(), orphan).map(|row| row.state);
    absent_owner(parts, orphan)?;
    let Some(now) = state(parts) else { return Ok(()) };
    if matches!(now, ContainerState::Running | ContainerState::Starting) {
        let order = StopContainer { context: context(), name: name.clone() };
        parts.doors.stop.ask(order).await.map_err(|error| format!("it could not be stopped: {error}"))?;
    }
    let rests = |device: &std::sync::Arc<DeviceSnapshot>| {
        use ContainerState::{Failed, Stopped};
        row_of(device, orphan).is_none_or(|row| matches!(row.state, Stopped | Failed))
    };
    wait(&mut device, STOPPING, rests).await.map_err(|()| "it did not stop".to_owned())?;
    absent_owner(parts, orphan)?;
    let Some(refers) =
        row_of(&parts.device.borrow(), orphan).map(|row| (row.mount_lists.clone(), row.env_lists.clone()))
    else {
        return Ok(());
    };
    let order = RemoveContainer { context: context(), name: name.clone() };
    parts.doors.remove.ask(order).await.map_err(|error| format!("it could not be removed: {error}"))?;
    let is_gone = |device: &std::sync::Arc<DeviceSnapshot>| row_of(device, orphan).is_none();
    wait(&mut device, REMOVING, is_gone).await.map_err(|()| "it is not gone yet".to_owned())?;
    // Its lists go with it: later nothing would prove whose they were.
    if refers.0.contains(&name) {
        empty_list(parts, orphan, RepairAction::RemoveMounts).await?;
    }
    if refers.1.contains(&name) {
        empty_list(parts, orphan, RepairAction::RemoveEnvs).await?;
    }
    Ok(())
}

async fn wait(
    device: &mut mkube_messages::router::DeviceReader,
    longest: Duration,
    holds: impl Fn(&std::sync::Arc<DeviceSnapshot>) -> bool,
) -> Result<(), ()> {
    match timeout(longest, device.wait_for(holds)).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(()),
    }
}

async fn remove_list(parts: &ConsistencyParts, orphan: &Orphan) -> Result<(), String> {
    empty_list(parts, orphan, orphan.action).await
}

async fn empty_list(parts: &ConsistencyParts, orphan: &Orphan, action: RepairAction) -> Result<(), String> {
    absent_owner(parts, orphan)?;
    let list = orphan.object.clone();
    let user = parts.device.borrow().containers.values().find(|row| uses_list(row, &list)).map(|row| row.name.clone());
    if let Some(user) = user {
        return Err(format!("container {user} uses the list now"));
    }
    let context = RequestContext::new("repair", patience::DEVICE);
    let done = if action == RepairAction::RemoveMounts {
        parts.doors.mounts.ask(EnsureMounts { context, list, mounts: vec![] }).await
    } else {
        parts.doors.envs.ask(EnsureEnvs { context, list, envs: vec![] }).await
    };
    done.map_err(|error| format!("the list could not be emptied: {error}"))
}

async fn remove_interface(parts: &ConsistencyParts, orphan: &Orphan) -> Result<(), String> {
    let owner = absent_owner(parts, orphan)?;
    let device = parts.device.borrow().clone();
    // A comment of somebody else, or none, takes the proof away.
    let ours = |comment: &str| commented(comment).as_ref() == Some(owner);
    let veth = device.veths.get(&orphan.object);
    let port = device.ports.get(&orphan.object).filter(|_| veth.is_none());
    let proof = veth.map(|row| (&row.id, &row.comment)).or(port.map(|row| (&row.id, &row.comment)));
    match proof {
        None => return Ok(()),
        Some((id, comment)) if id.0 == orphan.identity && ours(comment) => {}
        Some(_) => return Err("it is another one now".to_owned()),
    }
    if let Some(user) = device.containers.values().find(|row| row.interfaces.contains(&orphan.object)) {
        return Err(format!("container {} uses it now", user.name));
    }
    let order = RemoveVeth {
        context: RequestContext::new("repair", patience::DEVICE),
        name: orphan.object.clone(),
        owner: veth_comment(&owner.to_string()),
    };
    parts.doors.remove_veth.ask(order).await.map_err(|error| format!("it could not be removed: {error}"))
}

async fn release_address(parts: &ConsistencyParts, orphan: &Orphan) -> Result<(), String> {
    if orphan.owner.is_some() {
        absent_owner(parts, orphan)?;
    }
    let order = ReleaseAddress { context: RequestContext::new("repair", patience::LEASE), veth: orphan.object.clone() };
    parts.doors.release.ask(order).await.map_err(|error| format!("it could not be given back: {error}"))
}

async fn delete_pod(parts: &ConsistencyParts, orphan: &Orphan) -> Result<(), String> {
    let view = parts.objects.view();
    let kinds = parts.objects.kinds();
    let (Some(pods), Some(deployments)) = (sights::id(kinds, "Pod"), sights::id(kinds, "Deployment")) else {
        return Err("there are no deployments here".to_owned());
    };
    let (namespace, name) = orphan.object.split_once('/').unwrap_or_default();
    let key = ObjectKey::new(namespace, name);
    // The Deployment may be back under its old uid, from a backup.
    let controller = view.get(&pods, &key).and_then(|pod| crate::pod_sight::PodSight::of(&pod).controller);
    let Some(controller) = controller else { return Ok(()) };
    let owner = orphan.owner.as_ref().and_then(|owner| view.get(&deployments, owner));
    let unread = orphan.owner.as_ref().is_some_and(|owner| view.is_unreadable(&deployments, owner));
    if !view.is_complete() || unread || owner.is_some_and(|owner| owner.uid() == controller.uid) {
        return Err("its deployment is there now".to_owned());
    }
    let order = WriteObject::own(
        "repair",
        pods,
        key,
        Verb::Delete { options: json!({"preconditions": {"uid": orphan.identity}}) },
    );
    parts.doors.write.ask(order).await.map(|_| ()).map_err(|error| format!("it could not be deleted: {error}"))
}
