//! What a container mounts, and which files mkube writes for it. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mkube_model::neighbours::shared_disk::{SourceDirectory, VolumeFile};
use serde_json::Value;

use crate::plan::{ContainerNames, PlanSettings};
use crate::sources::Sources;

/// Where a mount comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A directory of the device.
    Directory(String),
    /// A volume whose files mkube writes; index into the container's volumes, and a path inside it.
    Files(usize, String),
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPlan {
    /// Source.
    pub source: MountSource,
    /// Path in the container.
    pub destination: String,
    /// Read-only.
    pub read_only: bool,
}

/// A volume whose files mkube writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumePlan {
    /// Name in the pod.
    pub name: String,
    /// Nobody else on the machine may read them.
    pub secret: bool,
    /// The files.
    pub files: Vec<VolumeFile>,
}

/// The mounts of a container, and the volumes whose files mkube writes for them; or what they refer to and is not there.
pub fn mounts_of(
    pod: &Value,
    container: &Value,
    names: &ContainerNames,
    all_names: &[ContainerNames],
    sources: &Sources,
    settings: &PlanSettings,
) -> Result<(Vec<MountPlan>, Vec<VolumePlan>), String> {
    let mut mounts = Vec::new();
    let mut volumes: Vec<VolumePlan> = Vec::new();
    for mount in container.get("volumeMounts").and_then(Value::as_array).into_iter().flatten() {
        let field = |name: &str| mount.get(name).and_then(Value::as_str).unwrap_or_default();
        let (volume, sub_path) = (field("name"), field("subPath").trim_matches('/'));
        let declared = declared(pod, volume);
        let under = |base: String| if sub_path.is_empty() { base } else { format!("{base}/{sub_path}") };
        let source = if let Some(path) = declared.and_then(|v| v.pointer("/hostPath/path")).and_then(Value::as_str) {
            MountSource::Directory(under(path.trim_end_matches('/').to_owned()))
        } else if let Some(made) = declared.and_then(|declared| files_of(declared, sources)) {
            let index = match volumes.iter().position(|known| known.name == volume) {
                Some(index) => index,
                None => {
                    let (secret, files) = made?;
                    volumes.push(VolumePlan { name: volume.to_owned(), secret, files });
                    volumes.len() - 1
                }
            };
            MountSource::Files(index, sub_path.to_owned())
        } else {
            let owner = if declared.is_some_and(|v| v.get("emptyDir").is_some()) {
                first_mounting(pod, volume, all_names).unwrap_or(names).row.clone()
            } else {
                names.row.clone()
            };
            MountSource::Directory(under(directory_of(&owner, volume, settings)))
        };
        mounts.push(MountPlan {
            source,
            destination: field("mountPath").to_owned(),
            read_only: mount.get("readOnly").and_then(Value::as_bool).unwrap_or(false),
        });
    }
    Ok((mounts, volumes))
}

/// Where a plain volume of a container lies.
pub fn directory_of(row: &str, volume: &str, settings: &PlanSettings) -> String {
    format!("{}/{row}/{volume}", settings.volumes_base.trim_end_matches('/'))
}

/// The declaration of a volume of the pod.
pub fn declared<'a>(pod: &'a Value, volume: &str) -> Option<&'a Value> {
    let all = pod.pointer("/spec/volumes").and_then(Value::as_array)?;
    all.iter().find(|one| one.get("name").and_then(Value::as_str) == Some(volume))
}

/// The directories a container mounts, as they must be before it starts. Not those whose files mkube writes.
pub fn sources_of(
    pod: &Value,
    container: &Value,
    names: &ContainerNames,
    all_names: &[ContainerNames],
    settings: &PlanSettings,
) -> Vec<SourceDirectory> {
    let mounts = container.get("volumeMounts").and_then(Value::as_array).into_iter().flatten();
    let source = |mount: &Value| {
        let field = |name: &str| mount.get(name).and_then(Value::as_str).unwrap_or_default();
        let (volume, inside) = (field("name"), field("subPath").trim_matches('/').to_owned());
        let declared = declared(pod, volume);
        let has = |kind: &str| declared.is_some_and(|one| one.get(kind).is_some());
        if has("configMap") || has("secret") {
            return None;
        }
        if let Some(path) = declared.and_then(|one| one.pointer("/hostPath/path")).and_then(Value::as_str) {
            let kind = declared.and_then(|one| one.pointer("/hostPath/type")).and_then(Value::as_str);
            let make = matches!(kind, None | Some("" | "DirectoryOrCreate"));
            return Some(SourceDirectory { path: path.to_owned(), inside, make, scratch: false });
        }
        let scratch = has("emptyDir");
        let owner = if scratch { first_mounting(pod, volume, all_names).unwrap_or(names) } else { names };
        let path = directory_of(&owner.row, volume, settings);
        Some(SourceDirectory { path, inside, make: true, scratch })
    };
    mounts.filter_map(source).collect()
}

/// The directories that go with the pod.
pub fn scratch_of(pod: &Value, all_names: &[ContainerNames], settings: &PlanSettings) -> Vec<String> {
    let all = pod.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten();
    let names = all.filter(|one| one.get("emptyDir").is_some()).filter_map(|one| one.get("name")?.as_str());
    names.filter_map(|name| Some(directory_of(&first_mounting(pod, name, all_names)?.row, name, settings))).collect()
}

/// An emptyDir is one directory for all containers of the pod: it lies where the first of them would have its own.
pub fn first_mounting<'a>(pod: &Value, volume: &str, names: &'a [ContainerNames]) -> Option<&'a ContainerNames> {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array)?;
    let mounts_it = |container: &Value| {
        container
            .get("volumeMounts")
            .and_then(Value::as_array)
            .is_some_and(|mounts| mounts.iter().any(|m| m.get("name").and_then(Value::as_str) == Some(volume)))
    };
    names.get(containers.iter().position(mounts_it)?)
}

/// The files of a volume that is made from a ConfigMap or a Secret, and whether they are secret; `None` for other volumes.
fn files_of(declared: &Value, sources: &Sources) -> Option<Result<(bool, Vec<VolumeFile>), String>> {
    let text =
        |reference: &Value, field: &str| reference.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(reference) = declared.get("configMap") {
        let name = text(reference, "name");
        let contents = sources.maps.get(&name).map(|map| contents_of_map(&name, map));
        return Some(files(reference, &format!("configmap {name:?}"), contents).map(|files| (false, files)));
    }
    let reference = declared.get("secret")?;
    let name = text(reference, "secretName");
    let contents = sources.secrets.get(&name).map(|secret| binary_contents("secret", &name, secret, "data"));
    Some(files(reference, &format!("secret {name:?}"), contents).map(|files| (true, files)))
}

type Contents = Vec<(String, Vec<u8>)>;

fn contents_of_map(name: &str, map: &Value) -> Result<Contents, String> {
    let texts = map.get("data").and_then(Value::as_object).into_iter().flatten();
    let mut contents: Contents =
        texts.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().as_bytes().to_vec())).collect();
    contents.extend(binary_contents("configmap", name, map, "binaryData")?);
    Ok(contents)
}

fn binary_contents(kind: &str, name: &str, object: &Value, field: &str) -> Result<Contents, String> {
    let entries = object.get(field).and_then(Value::as_object).into_iter().flatten();
    let decoded = entries.map(|(key, value)| {
        let bytes = STANDARD.decode(value.as_str().unwrap_or_default().trim());
        let bytes = bytes.map_err(|_| format!("{kind} {name:?}: {field} {key:?} is not base64"))?;
        Ok((key.clone(), bytes))
    });
    decoded.collect()
}

/// The files that a volume's source makes of what `what` holds.
fn files(reference: &Value, what: &str, contents: Option<Result<Contents, String>>) -> Result<Vec<VolumeFile>, String> {
    let optional = reference.get("optional").and_then(Value::as_bool).unwrap_or(false);
    let contents = match contents {
        Some(contents) => contents?,
        None if optional => return Ok(Vec::new()),
        None => return Err(format!("{what} not found")),
    };
    let default_mode = reference.get("defaultMode").and_then(Value::as_u64).unwrap_or(0o644) as u32;
    let Some(items) = reference.get("items").and_then(Value::as_array).filter(|items| !items.is_empty()) else {
        let files = contents.into_iter().map(|(path, bytes)| VolumeFile { path, mode: default_mode, bytes });
        return Ok(files.collect());
    };
    let mut files = Vec::new();
    for item in items {
        let field = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
        let (key, path) = (field("key"), field("path"));
        let mode = item.get("mode").and_then(Value::as_u64).map_or(default_mode, |mode| mode as u32);
        match contents.iter().find(|(known, _)| known == key) {
            Some((_, bytes)) => files.push(VolumeFile { path: path.to_owned(), mode, bytes: bytes.clone() }),
            None if optional => {}
            None => return Err(format!("{what} has no key {key:?}")),
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings() -> PlanSettings {
        PlanSettings {
            images_base: "/raid1/images".into(),
            volumes_base: "/raid1/volumes".into(),
            host_ip: "10.0.0.1".into(),
            node_name: "n".into(),
        }
    }

    fn names() -> [ContainerNames; 2] {
        ["d_web_a", "d_web_b"].map(|row| ContainerNames { row: row.into(), veth: format!("veth_{row}") })
    }

    fn a_pod() -> Value {
        json!({"spec": {
            "volumes": [
                {"name": "tmp", "emptyDir": {}}, {"name": "idle", "emptyDir": {}}, {"name": "cfg", "configMap": {"name": "m"}},
                {"name": "key", "secret": {"secretName": "s"}}, {"name": "nfs", "nfs": {"server": "x"}},
                {"name": "made", "hostPath": {"path": "/raid1/made"}},
                {"name": "old", "hostPath": {"path": "/raid1/old", "type": "Directory"}},
            ],
            "containers": [{"name": "a"}, {"name": "b", "volumeMounts": [
                {"name": "tmp", "mountPath": "/tmp", "subPath": "x/"}, {"name": "cfg", "mountPath": "/c"},
                {"name": "key", "mountPath": "/k"}, {"name": "nfs", "mountPath": "/n"}, {"name": "made", "mountPath": "/m"},
                {"name": "old", "mountPath": "/o"}, {"name": "data", "mountPath": "/d"},
            ]}],
        }})
    }

    #[test]
    fn each_directory_is_known_with_what_may_be_done_to_it() {
        let (pod, names) = (a_pod(), names());
        let sources = sources_of(&pod, &pod["spec"]["containers"][1], &names[1], &names, &settings());
        let one = |path: &str, inside: &str, make, scratch| SourceDirectory {
            path: path.into(),
            inside: inside.into(),
            make,
            scratch,
        };
        assert_eq!(
            sources,
            [
                one("/raid1/volumes/d_web_b/tmp", "x", true, true),
                one("/raid1/volumes/d_web_b/nfs", "", true, false),
                one("/raid1/made", "", true, false),
                one("/raid1/old", "", false, false),
                one("/raid1/volumes/d_web_b/data", "", true, false),
            ]
        );
    }

    #[test]
    fn only_empty_dirs_go_with_a_pod_and_only_those_it_mounts() {
        assert_eq!(scratch_of(&a_pod(), &names(), &settings()), ["/raid1/volumes/d_web_b/tmp"]);
        assert_eq!(scratch_of(&json!({}), &names(), &settings()), Vec::<String>::new());
    }
}
