//! Which pods are meant by `web`, `pod/web`, `deploy/page`, `svc/page` or a selector.

use serde_json::Value;

use super::api::{Api, encoded};
use super::discovery::Discovery;
use super::get::JSON;
use super::look::{Look, Tone};
use crate::failure::{FAILED, Failure, USAGE};

/// How a pod's owner says which of its containers is meant.
const USUAL: &str = "kubectl.kubernetes.io/default-container";

/// The pods of a name; of a Deployment, Job or Service those its selector finds.
pub async fn of(api: &Api, word: &str, namespace: &str) -> Result<Vec<Value>, Failure> {
    let (kind, name) = word.split_once('/').unwrap_or(("pod", word));
    if name.is_empty() || name.contains('/') {
        let failure = Failure::text(USAGE, format!("{word:?} names no pod"));
        return Err(failure.hint("`web`, `pod/web` or `deploy/web`"));
    }
    if ["pod", "pods", "po"].contains(&kind.to_ascii_lowercase().as_str()) {
        let path = format!("/api/v1/namespaces/{}/pods/{}", encoded(namespace), encoded(name));
        return Ok(vec![api.get_json(&path, JSON).await?]);
    }
    let known = Discovery::of(api).await?;
    let resource = known.named(kind)?;
    let owner = api.get_json(&resource.path(Some(namespace), Some(name)), JSON).await?;
    let labels = owner.pointer("/spec/selector/matchLabels").or_else(|| owner.pointer("/spec/selector"));
    let pair = |(name, value): (&String, &Value)| value.as_str().map(|value| format!("{name}={value}"));
    let selector: Option<Vec<String>> =
        labels.and_then(Value::as_object).map(|all| all.iter().filter_map(pair).collect());
    let Some(selector) = selector.filter(|all| !all.is_empty()) else {
        return Err(Failure::text(USAGE, format!("{} {name} selects no pods", resource.singular)));
    };
    let pods = selected(api, &selector.join(","), namespace).await?;
    if pods.is_empty() {
        return Err(Failure::text(FAILED, format!("{} {name} has no pods", resource.singular)));
    }
    Ok(pods)
}

/// The pods that a selector finds.
pub async fn selected(api: &Api, selector: &str, namespace: &str) -> Result<Vec<Value>, Failure> {
    let path = format!("/api/v1/namespaces/{}/pods?labelSelector={}", encoded(namespace), encoded(selector));
    let mut list = api.get_json(&path, JSON).await?;
    Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

/// One of them: the first that is ready, or that runs, or that there is.
pub fn best(pods: &[Value]) -> Option<&Value> {
    let ready = |pod: &&Value| {
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
        conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    let runs = |pod: &&Value| pod["status"]["phase"] == "Running";
    pods.iter().find(ready).or_else(|| pods.iter().find(runs)).or_else(|| pods.first())
}

/// Name of a pod.
pub fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap_or_default()
}

/// The container that is meant: the one asked for, or the one its owner calls the usual one, or the first; said when there are
/// several.
pub fn container(pod: &Value, asked: Option<&str>, look: Look) -> Option<String> {
    if let Some(asked) = asked {
        return Some(asked.to_owned());
    }
    let all: Vec<&str> =
        pod.pointer("/spec/containers")?.as_array()?.iter().filter_map(|one| one["name"].as_str()).collect();
    let usual = pod["metadata"]["annotations"][USUAL].as_str().filter(|usual| all.contains(usual));
    let chosen = usual.or(all.first().copied())?;
    if usual.is_none() && all.len() > 1 {
        eprintln!(
            "{}",
            look.paint_err(Tone::Quiet, &format!("container {chosen} of {}; -c names another", all.join(", ")))
        );
    }
    Some(chosen.to_owned())
}

/// Names of its containers, those that run before the others first.
pub fn containers(pod: &Value) -> Vec<String> {
    let all =
        ["/spec/initContainers", "/spec/containers"].iter().filter_map(|at| pod.pointer(at)?.as_array()).flatten();
    all.filter_map(|one| one["name"].as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_container_that_is_meant_is_the_one_asked_for_or_the_usual_or_the_first() {
        let look = Look { out: false, err: false };
        let mut pod = json!({"metadata": {}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        assert_eq!(container(&pod, Some("x"), look).as_deref(), Some("x"));
        assert_eq!(container(&pod, None, look).as_deref(), Some("a"));
        pod["metadata"]["annotations"] = json!({USUAL: "b"});
        assert_eq!(container(&pod, None, look).as_deref(), Some("b"));
    }

    #[test]
    fn the_pod_that_is_most_likely_to_answer_is_chosen() {
        let pod = |name: &str, phase: &str, ready: &str| json!({"metadata": {"name": name}, "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}});
        let mut all = vec![pod("a", "Pending", "False"), pod("b", "Running", "False"), pod("c", "Running", "True")];
        assert_eq!(best(&all).map(name), Some("c"));
        all.pop();
        assert_eq!(best(&all).map(name), Some("b"));
        all.pop();
        assert_eq!(best(&all).map(name), Some("a"));
        assert_eq!(best(&[]), None);
    }
}
