//! Which volumes there are: those that pods mount, and the directories that nobody mounts. Pure.

use std::collections::{BTreeMap, BTreeSet};

use mkube_messages::router::DeviceSnapshot;
use mkube_messages::volumes::{VolumeKind, VolumeRow};
use mkube_model::neighbours::shared_disk::FoundVolume;
use mkube_model::{metadata, names};
use serde_json::Value;

use crate::plan::{ContainerNames, PlanSettings, owner_in_mark};
use crate::volumes::{declared, directory_of, first_mounting};

/// Where the files of a volume lie that mkube makes: container, volume, secret.
pub type MadePath<'a> = &'a dyn Fn(&str, &str, bool) -> String;

/// The rows of these pods, and of what was found beside.
pub fn rows<'a>(
    pods: impl Iterator<Item = &'a Value>,
    device: &DeviceSnapshot,
    found: &[FoundVolume],
    settings: &PlanSettings,
    made_path: MadePath<'_>,
) -> Vec<VolumeRow> {
    let sizes: BTreeMap<&str, Option<u64>> = found.iter().map(|one| (one.path.as_str(), one.bytes)).collect();
    let mut rows = Vec::new();
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    for pod in pods {
        rows_of_pod(pod, device, settings, made_path, &mut rows, &mut wanted);
    }
    for row in &mut rows {
        row.bytes = sizes.get(row.path.as_str()).copied().flatten();
    }
    let unused = found.iter().filter(|one| !wanted.contains(&one.path));
    rows.extend(unused.map(|one| VolumeRow {
        namespace: String::new(),
        pod: String::new(),
        container: one.container.clone(),
        volume: one.volume.clone(),
        kind: VolumeKind::Volume,
        path: one.path.clone(),
        used: false,
        bytes: one.bytes,
    }));
    rows.sort();
    rows.dedup();
    rows
}

fn rows_of_pod(
    pod: &Value,
    device: &DeviceSnapshot,
    settings: &PlanSettings,
    made_path: MadePath<'_>,
    rows: &mut Vec<VolumeRow>,
    wanted: &mut BTreeSet<String>,
) {
    let (namespace, name) = (metadata::namespace(pod), metadata::name(pod));
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let candidates: Vec<[String; 2]> =
        containers.iter().map(|container| row_names(namespace, name, &text(container, "name"))).collect();
    let all_names: Vec<ContainerNames> = candidates
        .iter()
        .map(|[plain, suffixed]| {
            let owner = format!("{namespace}/{name}");
            let on_device = device.containers.get(suffixed);
            let ours = on_device.is_some_and(|row| owner_in_mark(&row.comment) == Some(&owner));
            ContainerNames { row: if ours { suffixed.clone() } else { plain.clone() }, veth: String::new() }
        })
        .collect();
    for (index, container) in containers.iter().enumerate() {
        let mounts = container.get("volumeMounts").and_then(Value::as_array).into_iter().flatten();
        for volume in mounts.map(|mount| text(mount, "name")) {
            let row = &all_names[index].row;
            let declared = declared(pod, &volume);
            let has = |kind: &str| declared.is_some_and(|one| one.get(kind).is_some());
            let host_path = declared.and_then(|one| one.pointer("/hostPath/path")).and_then(Value::as_str);
            let (kind, path) = if let Some(path) = host_path {
                (VolumeKind::HostPath, path.to_owned())
            } else if has("configMap") {
                (VolumeKind::ConfigMap, made_path(row, &volume, false))
            } else if has("secret") {
                (VolumeKind::Secret, made_path(row, &volume, true))
            } else if has("emptyDir") {
                let owner = first_mounting(pod, &volume, &all_names).map_or(row, |names| &names.row);
                (VolumeKind::EmptyDir, directory_of(owner, &volume, settings))
            } else {
                (VolumeKind::Volume, directory_of(row, &volume, settings))
            };
            // Whichever of its names a container has had, what lies there is not nobody's.
            wanted.extend(candidates.iter().flatten().map(|row| directory_of(row, &volume, settings)));
            wanted.insert(path.trim_end_matches('/').to_owned());
            rows.push(VolumeRow {
                namespace: namespace.to_owned(),
                pod: name.to_owned(),
                container: text(container, "name"),
                volume,
                kind,
                path,
                used: true,
                bytes: None,
            });
        }
    }
}

/// The name a container's row has, and the one it has when another was first.
fn row_names(namespace: &str, pod: &str, container: &str) -> [String; 2] {
    let plain = names::container_name(namespace, pod, container);
    let identity = format!("{namespace}/{pod}/{container}");
    let suffixed = names::suffixed(&plain, &identity, Some(names::container_name_limit()));
    [plain, suffixed]
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

    fn found(container: &str, volume: &str) -> FoundVolume {
        let path = format!("/raid1/volumes/{container}/{volume}");
        FoundVolume { container: container.into(), volume: volume.into(), path, bytes: Some(7) }
    }

    fn a_pod() -> Value {
        json!({"metadata": {"namespace": "d", "name": "web"}, "spec": {
            "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "cfg", "configMap": {"name": "m"}},
                {"name": "key", "secret": {"secretName": "s"}}, {"name": "out", "hostPath": {"path": "/raid1/out"}}],
            "containers": [
                {"name": "a", "volumeMounts": [{"name": "tmp", "mountPath": "/t"}, {"name": "data", "mountPath": "/d"},
                    {"name": "data", "mountPath": "/again", "subPath": "x"}]},
                {"name": "b", "volumeMounts": [{"name": "tmp", "mountPath": "/t"}, {"name": "cfg", "mountPath": "/c"},
                    {"name": "key", "mountPath": "/k"}, {"name": "out", "mountPath": "/o"}]},
            ],
        }})
    }

    fn told(pods: &[Value], found: &[FoundVolume]) -> Vec<String> {
        let made = |container: &str, volume: &str, secret: bool| format!("/made/{secret}/{container}/{volume}");
        let rows = rows(pods.iter(), &DeviceSnapshot::default(), found, &settings(), &made);
        let line = |row: VolumeRow| {
            let size = row.bytes.map_or("-".to_owned(), |bytes| bytes.to_string());
            let used = if row.used { "used" } else { "unused" };
            [&row.pod, &row.container, row.kind.as_str(), row.path.as_str(), used, &size].join(" ")
        };
        rows.into_iter().map(line).collect()
    }

    #[test]
    fn every_volume_of_a_pod_is_told_with_its_place() {
        assert_eq!(
            told(&[a_pod()], &[found("d_web_a", "data"), found("d_web_a", "tmp")]),
            [
                "web a volume /raid1/volumes/d_web_a/data used 7",
                "web a emptyDir /raid1/volumes/d_web_a/tmp used 7",
                "web b configMap /made/false/d_web_b/cfg used -",
                "web b secret /made/true/d_web_b/key used -",
                "web b hostPath /raid1/out used -",
                "web b emptyDir /raid1/volumes/d_web_a/tmp used 7",
            ]
        );
    }

    #[test]
    fn what_nobody_mounts_is_unused_and_what_somebody_might_is_not() {
        let suffixed = row_names("d", "web", "a")[1].clone();
        let all =
            [found("d_old_a", "data"), found("d_web_a", "data"), found(&suffixed, "data"), found("d_web_a", "else")];
        let unused: Vec<String> = told(&[a_pod()], &all).into_iter().filter(|line| line.contains("unused")).collect();
        assert_eq!(
            unused,
            [
                " d_old_a volume /raid1/volumes/d_old_a/data unused 7",
                " d_web_a volume /raid1/volumes/d_web_a/else unused 7"
            ]
        );
    }
}
