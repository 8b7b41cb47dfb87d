//! What Deployments, Jobs and owners must have come to when everything is quiet.

use mkube_model::metadata;
use mkube_model::workloads::{is_observed, ready_since, template_hash, template_of};
use serde_json::Value;

use crate::identity::lasts;
use crate::invariants::Sight;
use crate::replicas::pods_of;

/// Whether Deployments, Jobs and everything that has an owner are as they should be.
pub fn workloads(sight: &Sight) -> Result<(), String> {
    for ((kind, name), object) in &sight.stored {
        if ["Deployment", "Job", "ReplicaSet"].contains(kind) && metadata::is_deleting(object) {
            return Err(format!("{kind} {name} is still being deleted"));
        }
        let lost =
            metadata::owners(object).find(|owner| !sight.stored.values().any(|one| owner["uid"] == metadata::uid(one)));
        if let Some(owner) = lost {
            return Err(format!("{kind} {name} is there, and its owner {owner} is not"));
        }
    }
    for (name, deployment) in sight.of_kind("Deployment") {
        of_deployment(sight, name, deployment)?;
    }
    for (name, job) in sight.of_kind("Job") {
        let ended = job["status"]["conditions"].as_array().is_some_and(|all| {
            all.iter()
                .any(|one| ["Complete", "Failed"].iter().any(|end| one["type"] == *end) && one["status"] == "True")
        });
        if !ended {
            return Err(format!("Job {name} does not end: {}", job["status"]));
        }
        let succeeds = job.pointer("/spec/template/metadata/annotations/simulation~1ends") == Some(&"0".into());
        let succeeded = job["status"]["succeeded"].as_u64().unwrap_or(0);
        if !succeeds && succeeded > 0 {
            return Err(format!("Job {name} cannot succeed and says {}", job["status"]));
        }
    }
    Ok(())
}

fn of_deployment(sight: &Sight, name: &str, deployment: &Value) -> Result<(), String> {
    let uid = metadata::uid(deployment);
    let pods: Vec<(&str, &Value)> = pods_of(sight, uid).collect();
    let spec = &deployment["spec"];
    let replicas = spec["replicas"].as_u64().unwrap_or(1) as usize;
    let status = &deployment["status"];
    let hash = template_hash(&spec["template"]);
    let is_current = |pod: &Value| template_of(pod) == Some(hash.as_str());
    let ready = |pod: &Value| ready_since(pod).is_some();
    let count = |test: &dyn Fn(&Value) -> bool| pods.iter().filter(|(_, pod)| test(pod)).count() as u64;
    let said = |field: &str| status[field].as_u64().unwrap_or(0);
    let truth = [
        ("replicas", count(&|_| true)),
        ("updatedReplicas", count(&|pod| is_current(pod) && is_observed(pod))),
        ("readyReplicas", count(&ready)),
        ("availableReplicas", count(&|pod| ready(pod) && is_observed(pod))),
    ];
    for (field, is) in truth {
        if said(field) != is {
            return Err(format!("Deployment {name} says {field} {}, and they are {is}", said(field)));
        }
    }
    if status["observedGeneration"].as_u64().unwrap_or(0) != metadata::generation(deployment) {
        return Err(format!("Deployment {name} speaks of generation {}", status["observedGeneration"]));
    }
    let good = lasts(&serde_json::json!({"spec": spec["template"]["spec"]}));
    let paused = spec["paused"] == true;
    // One that was paused before it began has nothing yet, and one that was paused on its way keeps the pod it has more.
    let least = if paused { 0 } else { replicas };
    let extra = usize::from(!good || paused);
    if pods.len() < least || pods.len() > replicas + extra {
        return Err(format!("Deployment {name} has {} pods, not {replicas}", pods.len()));
    }
    if good && !paused {
        if let Some((pod, _)) = pods.iter().find(|(_, pod)| !is_current(pod)) {
            return Err(format!("pod {pod} is not of the template of Deployment {name}: {status}"));
        }
        let progress = status["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "Progressing");
        if replicas > 0 && progress.is_none_or(|one| one["reason"] != "NewReplicaSetAvailable") {
            return Err(format!("Deployment {name} is through and says {status}"));
        }
    }
    Ok(())
}
