//! What a pod object means on the device: pure translation, no device, no clock.
//!
//! Everything that would need a new container when it changes goes into the container's hash, which travels in the row's
//! comment: drift is seen by comparing one word, whatever the release prints of the rest.

use std::net::Ipv4Addr;
use std::time::Duration;

pub use mkube_model::marks::{hash_in_mark, mark, owner_in_mark, veth_comment};
use mkube_model::neighbours::router::{ContainerRow, VethRow};
use mkube_model::neighbours::shared_disk::SourceDirectory;
use mkube_model::neighbours::tarballs::PullPolicy;
use mkube_model::probes::Probes;
use mkube_model::{boot_order, command_line, image_pins, metadata, names, static_addresses, workloads};
use serde_json::{Value, json};

use crate::env_vars;
use crate::pull;
use crate::sources::Sources;
use crate::volumes::{self, MountPlan, VolumePlan};

/// Settings that shape every pod.
#[derive(Debug, Clone)]
pub struct PlanSettings {
    /// Directory of root directories on the device (`storage.basePath`).
    pub images_base: String,
    /// Directory of plain volumes on the device.
    pub volumes_base: String,
    /// The device's own address, for `status.hostIP`.
    pub host_ip: String,
    /// Name of the node, for `spec.nodeName`.
    pub node_name: String,
}

/// `spec.restartPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Restart whatever the exit code.
    Always,
    /// Restart after a non-zero exit code.
    OnFailure,
    /// Never restart.
    Never,
}

/// A pod, translated.
#[derive(Debug, Clone)]
pub struct PodPlan {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: u64,
    /// When containers are restarted.
    pub restart: RestartPolicy,
    /// A deletion timestamp is set.
    pub deleting: bool,
    /// It says something of its place in the boot order.
    pub ordered: bool,
    /// `vkube.io/paused`: hands off.
    pub paused: bool,
    /// A word for spec and annotations together: another one means that somebody wants something else.
    pub wish: String,
    /// `imagePullSecrets`, by name.
    pub pull_secrets: Vec<String>,
    /// `vkube.io/image-digest`, as it stands.
    pub deployed: Option<String>,
    /// Directories that go with it.
    pub scratch: Vec<String>,
    /// In spec order.
    pub containers: Vec<ContainerPlan>,
}

/// A container, translated.
#[derive(Debug, Clone)]
pub struct ContainerPlan {
    /// Name in the pod.
    pub name: String,
    /// Position in the pod.
    pub index: usize,
    /// `<namespace>/<pod>`, as in marks and comments.
    pub owner: String,
    /// `vkube.io/network`.
    pub network: Option<String>,
    /// Its address by `vkube.io/static-ip`.
    pub wanted: Option<Ipv4Addr>,
    /// Name of the row, of its mount list and of its environment list.
    pub row: String,
    /// Name of its interface.
    pub veth: String,
    /// Image reference.
    pub image: String,
    /// `vkube.io/file`: an archive on the device that replaces the image.
    pub file: Option<String>,
    /// The digest `vkube.io/image-pin` holds it at.
    pub pin: Option<String>,
    /// When its registry is asked.
    pub policy: PullPolicy,
    /// Command override as RouterOS reads it.
    pub cmd: String,
    /// Entrypoint override as RouterOS reads it.
    pub entrypoint: String,
    /// Working directory override.
    pub workdir: String,
    /// `uid` or `uid:gid`.
    pub user: String,
    /// Bytes.
    pub memory: Option<u64>,
    /// How long a stop may take.
    pub grace: Duration,
    /// Variables.
    pub envs: Vec<(String, String)>,
    /// Mounts, in order.
    pub mounts: Vec<MountPlan>,
    /// Volumes whose files mkube writes.
    pub volumes: Vec<VolumePlan>,
    /// Directories that must be there before it starts.
    pub sources: Vec<SourceDirectory>,
    /// The spec mounts something, also when it is not known what.
    pub mounts_declared: bool,
    /// The spec sets variables, also when it is not known which.
    pub envs_declared: bool,
    /// Changes when a new container is needed.
    pub hash: String,
    /// Changes when files that mkube writes itself do: they are renewed under the container. Empty: it has none.
    pub renewed: String,
    /// What keeps the container from being made, such as a missing ConfigMap.
    pub blocked: Option<String>,
    /// It has a startup probe that can be asked.
    pub startup: bool,
    /// It has a readiness probe that can be asked.
    pub readiness: bool,
}

impl ContainerPlan {
    /// Changes when the files of its volumes have to be written.
    pub fn files(&self) -> String {
        format!("{}{}", self.hash, self.renewed)
    }
}

/// Device names of one container.
#[derive(Debug, Clone)]
pub struct ContainerNames {
    /// Name of the row.
    pub row: String,
    /// Name of the interface.
    pub veth: String,
}

/// Whether a row is this container's: by its mark, or, without one, by the interface that the naming rules give it. A row
/// that only happens to have the name is somebody else's.
pub fn is_ours(row: &ContainerRow, plan: &ContainerPlan) -> bool {
    match owner_in_mark(&row.comment) {
        Some(owner) => owner == plan.owner,
        None => row.interfaces.contains(&plan.veth),
    }
}

/// Whether an interface is this container's: by its comment, or, without one, by its name.
pub fn is_our_veth(row: &VethRow, plan: &ContainerPlan) -> bool {
    row.comment.is_empty() || row.comment == veth_comment(&plan.owner)
}

/// Whether a row was made for this hash, or says nothing of one; as is no row at all.
pub fn is_of(row: Option<&ContainerRow>, hash: &str) -> bool {
    row.and_then(|row| hash_in_mark(&row.comment)).is_none_or(|of| of == hash)
}

/// Translates a pod. `names` has one entry per container; `pod_ip` is empty while unknown.
pub fn plan(
    pod: &Value,
    names: &[ContainerNames],
    sources: &Sources,
    settings: &PlanSettings,
    pod_ip: &str,
) -> PodPlan {
    let veiled = sources.needs_veil().then(|| sources.veiled());
    let veiled = veiled.as_ref().unwrap_or(sources);
    let annotation = |key: &str| {
        pod.pointer("/metadata/annotations")
            .and_then(|all| all.get(key))
            .and_then(Value::as_str)
            .filter(|s| !s.is_empty())
    };
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let restart = match pod.pointer("/spec/restartPolicy").and_then(Value::as_str) {
        Some("Never") => RestartPolicy::Never,
        Some("OnFailure") => RestartPolicy::OnFailure,
        _ => RestartPolicy::Always,
    };
    let all_names = names;
    let secrets = pod.pointer("/spec/imagePullSecrets").and_then(Value::as_array).into_iter().flatten();
    PodPlan {
        namespace: metadata::namespace(pod).to_owned(),
        name: metadata::name(pod).to_owned(),
        uid: metadata::uid(pod).to_owned(),
        generation: metadata::generation(pod),
        restart,
        deleting: pod.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null()),
        ordered: boot_order::is_ordered(pod),
        paused: workloads::says_true(pod, workloads::PAUSED),
        wish: wish_of(pod),
        pull_secrets: secrets.filter_map(|secret| secret.get("name")?.as_str().map(str::to_owned)).collect(),
        deployed: annotation(image_pins::DEPLOYED).map(str::to_owned),
        scratch: volumes::scratch_of(pod, names, settings),
        containers: containers
            .iter()
            .zip(names)
            .enumerate()
            .map(|(index, (container, names))| {
                container_plan(
                    Given { pod, container, index, names, all_names, sources, veiled, settings, pod_ip },
                    annotation("vkube.io/file"),
                )
            })
            .collect(),
    }
}

struct Given<'a> {
    pod: &'a Value,
    container: &'a Value,
    index: usize,
    names: &'a ContainerNames,
    all_names: &'a [ContainerNames],
    sources: &'a Sources,
    /// The same without the values of secrets, for the hash.
    veiled: &'a Sources,
    settings: &'a PlanSettings,
    pod_ip: &'a str,
}

fn container_plan(given: Given<'_>, file: Option<&str>) -> ContainerPlan {
    let Given { pod, container, index, names, all_names, sources, veiled, settings, pod_ip } = given;
    let mut blocked = None;
    let mut or_block = |result: Result<Vec<(String, String)>, String>| {
        result.unwrap_or_else(|why| {
            blocked.get_or_insert(why);
            Vec::new()
        })
    };
    let envs = or_block(env_vars::resolve(pod, container, sources, pod_ip, &settings.host_ip));
    let veiled_envs = or_block(env_vars::resolve(pod, container, veiled, pod_ip, &settings.host_ip));
    // The address is not part of what a container *is*: a new lease alone must not rebuild it.
    let envs_without_address = or_block(env_vars::resolve(pod, container, veiled, "", &settings.host_ip));
    let (entrypoint, cmd) = command_of(container, &envs).unwrap_or_else(|why| {
        blocked.get_or_insert(why);
        Default::default()
    });
    // What keeps a word from being said was found above.
    let (veiled_entrypoint, veiled_cmd) = command_of(container, &veiled_envs).unwrap_or_default();
    let (mounts, volumes) =
        volumes::mounts_of(pod, container, names, all_names, sources, settings).unwrap_or_else(|why| {
            blocked.get_or_insert(why);
            Default::default()
        });
    let (_, veiled_volumes) =
        volumes::mounts_of(pod, container, names, all_names, veiled, settings).unwrap_or_default();
    let text = |pointer: &str| container.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let image = text("/image");
    let workdir = text("/workingDir");
    let user = user_of(pod, container);
    let memory = container.pointer("/resources/limits/memory").and_then(Value::as_str).and_then(bytes_of_quantity);
    let grace = pod.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(30);
    let restart = pod.pointer("/spec/restartPolicy");
    let network = pod.pointer("/metadata/annotations/vkube.io~1network").and_then(Value::as_str);
    let address = pod.pointer("/metadata/annotations/vkube.io~1static-ip").and_then(Value::as_str);
    // A pod that cannot be understood was refused, or is older than the rule: then it has what it has.
    let wanted = static_addresses::wanted(pod).ok().and_then(|all| all.get(index).copied().flatten());
    let declared = |field: &str| container.get(field).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    let probes = Probes::of(container);
    let pin = image_pins::pinned(pod, &text("/name"), &image).filter(|_| file.is_none());
    let mut identity = json!([
        image,
        file,
        veiled_entrypoint,
        veiled_cmd,
        workdir,
        user,
        memory,
        envs_without_address,
        restart,
        network,
        address,
        grace,
        mounts.iter().map(|mount| format!("{mount:?}")).collect::<Vec<_>>(),
        veiled_volumes.iter().map(|volume| format!("{}{:?}", volume.name, volume.files)).collect::<Vec<_>>(),
    ]);
    if let (Some(pin), Some(parts)) = (&pin, identity.as_array_mut()) {
        // Only where there is one: a container that was made before pins were known is what it was.
        parts.push(json!(pin));
    }
    if let (Some(template), Some(parts)) = (workloads::template_of(pod), identity.as_array_mut()) {
        // Every change of a template is carried out on its pods, also one that only asks for a restart. A pod that was made
        // before templates were known has no such label and is what it was.
        parts.push(json!({"template": template}));
    }
    let identity = identity.to_string();
    let renewed: Vec<&VolumePlan> = volumes
        .iter()
        .zip(&veiled_volumes)
        .filter(|(volume, veiled)| !volume.secret && volume != veiled)
        .map(|(volume, _)| volume)
        .collect();
    let renewed =
        if renewed.is_empty() { String::new() } else { format!("{:08x}", names::fnv1a(&format!("{renewed:?}"))) };
    ContainerPlan {
        name: text("/name"),
        index,
        owner: format!("{}/{}", metadata::namespace(pod), metadata::name(pod)),
        network: network.filter(|name| !name.is_empty()).map(str::to_owned),
        wanted,
        row: names.row.clone(),
        veth: names.veth.clone(),
        image,
        file: file.map(str::to_owned),
        pin,
        policy: pull::policy(container),
        cmd,
        entrypoint,
        workdir,
        user,
        memory,
        grace: Duration::from_secs(grace),
        envs,
        mounts,
        volumes,
        sources: volumes::sources_of(pod, container, names, all_names, settings),
        mounts_declared: declared("volumeMounts"),
        envs_declared: declared("env") || declared("envFrom"),
        hash: format!("{:08x}{:08x}", names::fnv1a(&identity), names::fnv1a(&format!("{identity}~"))),
        renewed,
        blocked,
        startup: probes.startup.is_some(),
        readiness: probes.readiness.is_some(),
    }
}

/// See [`PodPlan::wish`]. What mkube itself writes down of what runs does not count.
fn wish_of(pod: &Value) -> String {
    let written = [image_pins::DEPLOYED, image_pins::DEPLOYED_BEFORE];
    let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object).into_iter().flatten();
    let annotations: Vec<String> = annotations
        .filter(|(key, _)| !written.contains(&key.as_str()))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    format!("{:08x}", names::fnv1a(&format!("{}{annotations:?}", pod["spec"])))
}

/// Entrypoint and cmd as RouterOS reads them. An error does not repeat the word: there may be a secret in it.
fn command_of(container: &Value, envs: &[(String, String)]) -> Result<(String, String), String> {
    let words = |field: &str| -> Vec<String> {
        let list = container.get(field).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(|word| env_vars::expand(word, envs)).collect()
    };
    let (entrypoint, cmd) = split_command(words("command"), words("args"));
    let join = |words: &[String]| {
        let why = |fault: command_line::CannotExpress| {
            format!("a word of the command cannot be expressed in a RouterOS command line ({})", fault.why)
        };
        command_line::join(words).map_err(why)
    };
    Ok((join(&entrypoint)?, join(&cmd)?))
}

/// Kubernetes' `command` replaces entrypoint *and* cmd of the image; RouterOS keeps the image's cmd unless `cmd` is set. So
/// the program goes to `entrypoint` and everything after it to `cmd`.
fn split_command(mut command: Vec<String>, args: Vec<String>) -> (Vec<String>, Vec<String>) {
    if command.is_empty() {
        return (Vec::new(), args);
    }
    let mut rest = command.split_off(1);
    rest.extend(args);
    (command, rest)
}

fn user_of(pod: &Value, container: &Value) -> String {
    let id = |field: &str| {
        [container.pointer("/securityContext"), pod.pointer("/spec/securityContext")]
            .into_iter()
            .flatten()
            .find_map(|context| context.get(field)?.as_u64())
    };
    match (id("runAsUser"), id("runAsGroup")) {
        (Some(user), Some(group)) => format!("{user}:{group}"),
        (Some(user), None) => user.to_string(),
        (None, Some(group)) => format!("0:{group}"),
        (None, None) => String::new(),
    }
}

/// Bytes of a Kubernetes quantity such as `64Mi`, `1G`, `1500m`; fractions are rounded up.
pub fn bytes_of_quantity(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let factor = match unit {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0_f64.powi(4),
        _ => return None,
    };
    Some((number * factor).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::MountSource;

    fn settings() -> PlanSettings {
        PlanSettings {
            images_base: "/raid1/images".into(),
            volumes_base: "/raid1/volumes".into(),
            host_ip: "10.0.0.1".into(),
            node_name: "n".into(),
        }
    }

    fn names() -> Vec<ContainerNames> {
        vec![ContainerNames { row: "g10_dns_microdns".into(), veth: "veth_g10_dns_0".into() }]
    }

    fn pod(spec: Value) -> Value {
        json!({"metadata": {"namespace": "g10", "name": "dns", "uid": "u"}, "spec": spec})
    }

    fn first(pod: &Value, sources: &Sources) -> ContainerPlan {
        plan(pod, &names(), sources, &settings(), "").containers.remove(0)
    }

    #[test]
    fn a_mount_without_a_volume_is_the_persistent_directory_of_the_running_fleet() {
        let pod = pod(json!({"containers": [{"name": "microdns", "image": "x",
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}));
        let plan = first(&pod, &Sources::default());
        assert_eq!(plan.mounts[0].source, MountSource::Directory("/raid1/volumes/g10_dns_microdns/data".into()));
    }

    #[test]
    fn the_program_goes_to_entrypoint_and_the_rest_to_cmd() {
        let pod = pod(json!({"containers": [{"name": "c", "image": "x",
            "command": ["/bin/sh", "-c"], "args": ["echo $(A)"], "env": [{"name": "A", "value": "two words"}]}]}));
        let plan = first(&pod, &Sources::default());
        assert_eq!(plan.entrypoint, "/bin/sh");
        assert_eq!(plan.cmd, "-c \"echo two words\"");
    }

    #[test]
    fn a_missing_config_map_blocks_and_is_named() {
        let pod = pod(json!({"volumes": [{"name": "v", "configMap": {"name": "m"}}],
            "containers": [{"name": "c", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/etc/x"}]}]}));
        assert_eq!(first(&pod, &Sources::default()).blocked.as_deref(), Some("configmap \"m\" not found"));
    }

    #[test]
    fn the_hash_changes_with_what_needs_a_new_container_and_with_nothing_else() {
        let maps = |text: &str| Sources {
            maps: [("m".to_owned(), json!({"data": {"k": text}}))].into(),
            ..Sources::default()
        };
        let with = |image: &str| {
            pod(
                json!({"volumes": [{"name": "v", "configMap": {"name": "m"}}], "containers": [{"name": "c", "image": image,
                "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                "volumeMounts": [{"name": "v", "mountPath": "/etc/x"}]}]}),
            )
        };
        let hash = |pod: &Value, sources: &Sources, ip: &str| {
            plan(pod, &names(), sources, &settings(), ip).containers[0].hash.clone()
        };
        let base = hash(&with("a"), &maps("1"), "");
        assert_eq!(hash(&with("a"), &maps("1"), "10.0.0.9"), base);
        assert_ne!(hash(&with("b"), &maps("1"), ""), base);
        assert_ne!(hash(&with("a"), &maps("2"), ""), base);
        assert_eq!(hash_in_mark(&mark("g10", "dns", &base)), Some(base.as_str()));
        assert_eq!(hash_in_mark("mkube something else entirely"), None);
        assert_eq!(hash_in_mark("could not acquire interface"), None);
    }

    /// Rows that run carry these hashes: another one would make every container of a fleet anew.
    #[test]
    fn the_hash_of_a_container_is_the_same_in_every_release() {
        let mut pod = pod(json!({"restartPolicy": "Always",
            "volumes": [{"name": "v", "configMap": {"name": "m"}}],
            "containers": [{"name": "microdns", "image": "r:5000/x:1", "imagePullPolicy": "Always",
                "command": ["/bin/sh"], "args": ["-c", "run"], "resources": {"limits": {"memory": "64Mi"}},
                "env": [{"name": "A", "value": "1"}],
                "volumeMounts": [{"name": "data", "mountPath": "/data"},
                    {"name": "v", "mountPath": "/etc/x", "readOnly": true}]}]}));
        pod["metadata"]["annotations"] = json!({"vkube.io/network": "g10"});
        let sources = Sources {
            maps: [("m".to_owned(), json!({"data": {"k": "1"}}))].into(),
            secrets: [("s".to_owned(), json!({"data": {"k": "MQ=="}}))].into(),
        };
        assert_eq!(first(&pod, &sources).hash, "8f03ac6040c7f33a");
        // What mkube notes of it, and pins of another image or container, are no reason to make it anew.
        let digest = format!("sha256:{}", "a".repeat(64));
        for (key, value, same) in [
            ("vkube.io/image-digest", digest.clone(), true),
            ("vkube.io/image-pin", format!("microdns=r:5000/x:2@{digest}"), true),
            ("vkube.io/image-pin", format!("other=r:5000/x:1@{digest}"), true),
            ("vkube.io/image-pin", format!("microdns=r:5000/x:1@{digest}"), false),
        ] {
            pod["metadata"]["annotations"][key] = json!(value);
            assert_eq!(first(&pod, &sources).hash == "8f03ac6040c7f33a", same, "{key}={value}");
        }
        assert_eq!(first(&pod, &sources).pin, Some(digest));
    }

    #[test]
    fn what_mkube_writes_itself_is_renewed_without_a_new_container() {
        let pod = pod(json!({"volumes": [{"name": "v", "configMap": {"name": "dns-config"}}],
            "containers": [{"name": "c", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/etc/microdns"}]}]}));
        let with = |annotations: Value, data: Value| {
            let map = json!({"metadata": {"namespace": "g10", "annotations": annotations}, "data": data});
            let plan = first(&pod, &Sources { maps: [("dns-config".to_owned(), map)].into(), ..Sources::default() });
            (plan.hash.clone(), plan.files(), plan.volumes[0].files[0].bytes.clone())
        };
        let written = |text: &str| with(json!({}), json!({"microdns.toml": text}));
        let (one, other) = (written("one"), written("other"));
        assert_eq!(one.0, other.0, "the container stays");
        assert_ne!(one.1, other.1, "its file is written");
        assert_eq!((one.2.as_slice(), other.2.as_slice()), (&b"one"[..], &b"other"[..]));
        // The same before and after mkube took it over.
        let ours = with(json!({"vkube.io/generated": "from network g10"}), json!({"microdns.toml": "one"}));
        assert_eq!(ours, one);
        // What its owner writes, and what else he puts into it, counts as in any other.
        let own = |text: &str| with(json!({"vkube.io/generated": "false"}), json!({"microdns.toml": text})).0;
        assert_ne!(own("one"), own("other"));
        let more = |text: &str| with(json!({}), json!({"microdns.toml": "one", "z": text})).0;
        assert_ne!(more("one"), more("other"));
    }

    #[test]
    fn values_of_secrets_are_in_the_container_and_not_in_its_hash() {
        let pod = pod(
            json!({"volumes": [{"name": "v", "secret": {"secretName": "s", "items": [{"key": "k", "path": "key", "mode": 256}]}}],
            "containers": [{"name": "c", "image": "x", "args": ["--password=$(PW)"],
                "env": [{"name": "PW", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                "volumeMounts": [{"name": "v", "mountPath": "/etc/x"}]}]}),
        );
        let with = |generation: u64, value: &str| {
            let secret = json!({"metadata": {"uid": "u", "generation": generation}, "data": {"k": value}});
            first(&pod, &Sources { secrets: [("s".to_owned(), secret)].into(), ..Sources::default() })
        };
        let plan = with(1, "aHVudGVyMg==");
        assert_eq!((plan.cmd.as_str(), plan.envs[0].1.as_str()), ("--password=hunter2", "hunter2"));
        let file = &plan.volumes[0].files[0];
        assert!(plan.volumes[0].secret);
        assert_eq!((file.path.as_str(), file.mode, file.bytes.as_slice()), ("key", 0o400, b"hunter2".as_slice()));
        assert_eq!(with(1, "b3RoZXI=").hash, plan.hash);
        assert_ne!(with(2, "b3RoZXI=").hash, plan.hash);
        // What cannot be said is told without it.
        let why = with(1, "aHVudCJlcjI=").blocked.expect("a quote");
        assert!(!why.contains("hunt"), "{why}");
    }

    #[test]
    fn an_empty_dir_lies_under_the_name_the_row_really_has() {
        let pod = pod(json!({"volumes": [{"name": "v", "emptyDir": {}}], "containers": [
            {"name": "a", "image": "x"},
            {"name": "b", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
            {"name": "c", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/w"}]}]}));
        let names = ["a", "b-0123abcd", "c"].map(|row| ContainerNames { row: row.into(), veth: format!("veth_{row}") });
        let plan = plan(&pod, &names, &Sources::default(), &settings(), "");
        for container in &plan.containers[1..] {
            assert_eq!(container.mounts[0].source, MountSource::Directory("/raid1/volumes/b-0123abcd/v".into()));
        }
    }

    #[test]
    fn quantities_are_bytes() {
        assert_eq!(bytes_of_quantity("64Mi"), Some(64 << 20));
        assert_eq!(bytes_of_quantity("1.5Ki"), Some(1536));
        assert_eq!(bytes_of_quantity("128M"), Some(128_000_000));
        assert_eq!(bytes_of_quantity("5x"), None);
    }
}
