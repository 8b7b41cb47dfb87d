//! What a pod asks of its images, and how it tells what became of that: policy, credentials, events and reasons in kubelet's
//! words. Pure.

use mkube_model::neighbours::tarballs::{ImageRequest, PullPolicy, RegistryCredential, Tarball, TarballFault};
use mkube_model::pull_secrets;
use serde_json::Value;

use crate::plan::ContainerPlan;
use crate::sources::ByName;

/// Something to tell of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// `Warning`, else `Normal`.
    pub warning: bool,
    /// CamelCase reason.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Telling {
    fn warning(reason: &'static str, message: String) -> Self {
        Self { warning: true, reason, message }
    }

    fn normal(reason: &'static str, message: String) -> Self {
        Self { warning: false, reason, message }
    }
}

/// `imagePullPolicy` of a container; stored pods have their default in it.
pub fn policy(container: &Value) -> PullPolicy {
    match container.get("imagePullPolicy").and_then(Value::as_str) {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        _ => PullPolicy::IfNotPresent,
    }
}

/// What is asked for a container.
pub fn request(container: &ContainerPlan, credentials: Vec<RegistryCredential>) -> ImageRequest {
    // What a digest means does not change: no registry need be asked, and one that is away must not keep it from running.
    let policy = match container.policy {
        PullPolicy::Always if container.pin.is_some() => PullPolicy::IfNotPresent,
        policy => policy,
    };
    ImageRequest { image: container.image.clone(), digest: container.pin.clone(), policy, credentials }
}

/// The credentials of pull secrets, and what to tell of those that give none: the pull is tried all the same, as kubelet does.
pub fn credentials(names: &[String], secrets: &ByName) -> (Vec<RegistryCredential>, Vec<Telling>) {
    let (mut found, mut tellings, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for name in names {
        match secrets.get(name).map(pull_secrets::credentials) {
            None => missing.push(name.as_str()),
            Some(Ok(credentials)) => found.extend(credentials),
            Some(Err(why)) => {
                let message = format!("Image pull secret {name:?} cannot be used: {why}");
                tellings.push(Telling::warning("FailedToRetrieveImagePullSecret", message));
            }
        }
    }
    if !missing.is_empty() {
        let message = format!(
            "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
            missing.join(", ")
        );
        tellings.push(Telling::warning("FailedToRetrieveImagePullSecret", message));
    }
    (found, tellings)
}

/// What is told before an image is asked for.
pub fn begun(container: &ContainerPlan) -> Option<Telling> {
    let pulls = container.file.is_none() && container.policy != PullPolicy::Never;
    pulls.then(|| Telling::normal("Pulling", format!("Pulling image {:?}", container.image)))
}

/// What is told of an archive that is there.
pub fn done(container: &ContainerPlan, tarball: &Tarball) -> Vec<Telling> {
    if container.file.is_some() {
        return Vec::new();
    }
    let image = &container.image;
    let digest = tarball.digest.as_deref().map(|digest| format!(" ({digest})")).unwrap_or_default();
    let message = if tarball.pulled {
        format!("Successfully pulled image {image:?}{digest}. Image size: {} bytes.", tarball.bytes)
    } else {
        format!("Container image {image:?} already present on machine{digest}")
    };
    let mut tellings = vec![Telling::normal("Pulled", message)];
    if let Some(why) = &tarball.stale {
        let message = format!("Image {image:?} may be older than what its registry has: {why}");
        tellings.push(Telling::warning("ImageStale", message));
    }
    tellings
}

/// What a fault is called in the container's state.
pub fn reason(fault: &TarballFault, policy: PullPolicy) -> &'static str {
    match fault {
        TarballFault::BadReference { .. } => "InvalidImageName",
        TarballFault::Missing { .. } if policy == PullPolicy::Never => "ErrImageNeverPull",
        _ => "ErrImagePull",
    }
}

/// What is told of a pull that failed, and what the container waits for now: reason and message. `again`: it is not the first
/// time.
pub fn failed(image: &str, reason: &str, why: &str, again: bool) -> (&'static str, String, Vec<Telling>) {
    let error = |reason: &str| Telling::warning("Failed", format!("Error: {reason}"));
    match reason {
        "InvalidImageName" => {
            let told = Telling::warning("InspectFailed", format!("Failed to inspect image {image:?}: {why}"));
            ("InvalidImageName", why.to_owned(), vec![told, error("InvalidImageName")])
        }
        "ErrImageNeverPull" => {
            let message = format!("Container image {image:?} is not present with pull policy of Never");
            let told = Telling::warning("ErrImageNeverPull", message.clone());
            ("ErrImageNeverPull", message, vec![told, error("ErrImageNeverPull")])
        }
        _ => {
            let told = Telling::warning("Failed", format!("Failed to pull image {image:?}: {why}"));
            if !again {
                return ("ErrImagePull", why.to_owned(), vec![told, error("ErrImagePull")]);
            }
            let pause = Telling::normal("BackOff", format!("Back-off pulling image {image:?}"));
            let message = format!("Back-off pulling image {image:?}: {why}");
            ("ImagePullBackOff", message, vec![told, pause, error("ImagePullBackOff")])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    fn messages(tellings: &[Telling]) -> Vec<(&str, &str)> {
        tellings.iter().map(|one| (one.reason, one.message.as_str())).collect()
    }

    #[test]
    fn a_pull_secret_that_is_not_there_or_not_usable_is_told_and_the_others_count() {
        let config = json!({"auths": {"r:5000": {"username": "u", "password": "hunter2"}}}).to_string();
        let good = json!({"data": {".dockerconfigjson": STANDARD.encode(config)}});
        let bad = json!({"data": {".dockerconfigjson": STANDARD.encode("hunter2")}});
        let secrets = ByName::from([("good".to_owned(), good), ("bad".to_owned(), bad)]);
        let names = ["gone", "good", "bad", "lost"].map(str::to_owned);
        let (found, tellings) = credentials(&names, &secrets);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].registry.as_str(), found[0].password.expose()), ("r:5000", "hunter2"));
        let told = messages(&tellings);
        assert!(told.iter().all(|(reason, _)| *reason == "FailedToRetrieveImagePullSecret"), "{told:?}");
        assert!(told[0].1.contains("\"bad\"") && told[1].1.contains("(gone, lost)"), "{told:?}");
        assert!(!format!("{told:?} {found:?}").contains("hunter2"), "{told:?}");
    }

    #[test]
    fn a_pull_that_fails_again_is_a_back_off() {
        let (reason, message, told) = failed("r/x", "ErrImagePull", "no route", false);
        assert_eq!((reason, message.as_str()), ("ErrImagePull", "no route"));
        assert_eq!(
            messages(&told),
            [("Failed", "Failed to pull image \"r/x\": no route"), ("Failed", "Error: ErrImagePull")]
        );
        let (reason, message, told) = failed("r/x", "ErrImagePull", "no route", true);
        assert_eq!((reason, message.as_str()), ("ImagePullBackOff", "Back-off pulling image \"r/x\": no route"));
        assert_eq!(messages(&told)[1], ("BackOff", "Back-off pulling image \"r/x\""));
    }

    #[test]
    fn each_fault_has_the_reason_kubelet_gives_it() {
        let missing = TarballFault::Missing { image: "x".into(), path: "p".into() };
        assert_eq!(reason(&missing, PullPolicy::Never), "ErrImageNeverPull");
        assert_eq!(reason(&missing, PullPolicy::IfNotPresent), "ErrImagePull");
        let bad = TarballFault::BadReference { image: "a b".into(), why: "a blank".into() };
        assert_eq!(reason(&bad, PullPolicy::Always), "InvalidImageName");
        let (reason, _, told) = failed("x", "ErrImageNeverPull", "no archive", true);
        assert_eq!((reason, told[0].reason), ("ErrImageNeverPull", "ErrImageNeverPull"));
    }
}
