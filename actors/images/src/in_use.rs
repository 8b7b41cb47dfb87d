//! What of the cache is needed: by the device, by objects, and by those who may have to go back. Pure.

use std::path::PathBuf;

use mkube_messages::objects::{KindView, ObjectsView};
use mkube_messages::router::DeviceSnapshot;
use mkube_model::disk_map::DiskMap;
use mkube_model::image_pins::{digest_of, digest_of_archive, digests_in};
use mkube_model::kinds::KindId;
use mkube_model::neighbours::tarballs::{ImageRequest, InUse};
use serde_json::Value;

/// What annotations that speak of images begin with: pins, what is deployed and was before, what a rollout tries or refused.
const OF_IMAGES: &str = "vkube.io/image-";

/// Where objects of other kinds keep the pods they make.
const TEMPLATES: [&str; 2] = ["/spec/template", "/spec/jobTemplate/spec/template"];

/// What is needed; nothing is said while the store or the device were not read completely, since absence means nothing then.
/// `asked`: requests that are being worked on.
pub fn in_use(
    view: &ObjectsView,
    device: &DeviceSnapshot,
    pods: &KindId,
    map: &DiskMap,
    asked: impl IntoIterator<Item = ImageRequest>,
) -> Option<InUse> {
    // Who names images: pods, and what makes them.
    if !view.is_whole(|kind| kind == pods || !kind.group.is_empty()) {
        return None;
    }
    if !device.complete || !device.reachable {
        return None;
    }
    let mut needed = InUse::default();
    for row in device.containers.values().filter(|row| !row.file.is_empty()) {
        need_file(&mut needed, &row.file, map);
    }
    need_pods(&mut needed, &view.kind(pods), map);
    for (_, kind) in view.kinds.iter().filter(|(id, _)| *id != pods) {
        need_templates(&mut needed, kind, map);
    }
    for request in asked {
        needed.digests.extend(request.digest);
        need_image(&mut needed, &request.image);
    }
    Some(needed)
}

/// Spelt as the device does and as mkube does: a map that knows nothing of the path must not cost the archive.
fn need_file(needed: &mut InUse, file: &str, map: &DiskMap) {
    needed.digests.extend(digest_of_archive(file));
    needed.paths.extend(map.to_local(file));
    needed.paths.insert(PathBuf::from(format!("/{}", file.trim_start_matches('/'))));
}

fn need_image(needed: &mut InUse, image: &str) {
    if !image.is_empty() {
        needed.references.insert(image.to_owned());
        needed.digests.extend(digest_of(image).map(str::to_owned));
    }
}

/// A pod, or the template of one.
fn need_pod(needed: &mut InUse, pod: &Value, map: &DiskMap) {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
    for container in containers.into_iter().flatten() {
        need_image(needed, container.get("image").and_then(Value::as_str).unwrap_or_default());
    }
    if let Some(file) = mkube_model::metadata::annotation(pod, "vkube.io/file") {
        need_file(needed, file, map);
    }
    need_digests(needed, pod);
}

fn need_pods(needed: &mut InUse, pods: &KindView, map: &DiskMap) {
    for pod in pods.objects.values() {
        need_pod(needed, &pod.value(), map);
    }
    // What ran a moment ago is what one goes back to, whatever was written down of it.
    for change in &pods.history {
        need_digests(needed, &change.object.value());
        if let Some(previous) = &change.previous {
            need_digests(needed, &previous.value());
        }
    }
}

/// What pods will be made from: templates are found by their form, in whatever kind they are. What a template was before is in
/// objects too, or forgotten.
fn need_templates(needed: &mut InUse, kind: &KindView, map: &DiskMap) {
    // Most kinds have none, and need not be read.
    for object in kind.objects.values().filter(|object| object.text().contains("\"template\"")) {
        let object = object.value();
        for template in TEMPLATES.iter().filter_map(|pointer| object.pointer(pointer)) {
            need_pod(needed, template, map);
        }
    }
}

/// Digests in a pod's annotations and in its status.
fn need_digests(needed: &mut InUse, pod: &Value) {
    let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object).into_iter().flatten();
    for (_, text) in annotations.filter(|(key, _)| key.starts_with(OF_IMAGES)) {
        needed.digests.extend(digests_in(text.as_str().unwrap_or_default()).map(str::to_owned));
    }
    let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten();
    for status in statuses {
        let image_id = status.get("imageID").and_then(Value::as_str).unwrap_or_default();
        needed.digests.extend(digest_of(image_id).map(str::to_owned));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use mkube_messages::objects::{ChangeType, ObjectChange, ObjectKey, StoredObject};
    use mkube_model::neighbours::router::{ContainerRow, ContainerState, RowId};
    use mkube_model::neighbours::tarballs::PullPolicy;
    use serde_json::json;

    use super::*;

    const PODS: KindId = KindId { group: "", plural: "pods" };

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    fn row(name: &str, file: &str) -> Arc<ContainerRow> {
        Arc::new(ContainerRow {
            id: RowId("*1".into()),
            name: name.into(),
            state: ContainerState::Running,
            file: file.into(),
            ..ContainerRow::default()
        })
    }

    fn device() -> DeviceSnapshot {
        let mut device = DeviceSnapshot { complete: true, reachable: true, ..DeviceSnapshot::default() };
        device.containers.insert("ours".into(), row("ours", "raid1/cache/web-1.tar"));
        device.containers.insert("theirs".into(), row("theirs", "/usb1/registry.tar"));
        device
    }

    fn object(pod: &Value) -> Arc<StoredObject> {
        Arc::new(StoredObject::new(PODS, ObjectKey::new("default", "web"), pod, 1))
    }

    fn view() -> ObjectsView {
        let pod = json!({
            "metadata": {"name": "web", "annotations": {
                "vkube.io/image-pin": format!("web=r/web:1@{}", digest('a')),
                "vkube.io/image-refused": format!("r/web:1@{},r/web:1@{}", digest('b'), digest('c')),
                "vkube.io/image-rollout": json!({"image": "r/web:1", "to": digest('1'), "from": {"web": digest('2')}}).to_string(),
                "vkube.io/file": "/raid1/cache/own.tar",
                "other/thing": digest('9'),
            }},
            "spec": {"containers": [{"image": "r/web:1"}, {"image": format!("side@{}", digest('d'))}]},
            "status": {"containerStatuses": [{"imageID": format!("r/web@{}", digest('e'))}]},
        });
        let before = json!({"status": {"containerStatuses": [{"imageID": format!("r/web@{}", digest('f'))}]}});
        let mut kind = KindView::default();
        kind.objects.insert(ObjectKey::new("default", "web"), object(&pod));
        kind.history.push_back(Arc::new(ObjectChange {
            change: ChangeType::Modified,
            revision: 1,
            object: object(&pod),
            previous: Some(object(&before)),
        }));
        ObjectsView { loaded: true, kinds: [(PODS, Arc::new(kind))].into(), ..ObjectsView::default() }
    }

    fn map() -> DiskMap {
        DiskMap::new(vec![("/mnt/cache".into(), "raid1/cache".into())], None)
    }

    #[test]
    fn everything_that_runs_should_run_or_may_come_back_is_needed() {
        let asked = ImageRequest {
            image: "new:1".into(),
            digest: Some(digest('0')),
            policy: PullPolicy::Always,
            credentials: vec![],
        };
        let found = in_use(&view(), &device(), &PODS, &map(), [asked]).expect("complete");
        let paths: Vec<&str> = found.paths.iter().filter_map(|path| path.to_str()).collect();
        assert_eq!(
            paths,
            [
                "/mnt/cache/own.tar",
                "/mnt/cache/web-1.tar",
                "/raid1/cache/own.tar",
                "/raid1/cache/web-1.tar",
                "/usb1/registry.tar"
            ]
        );
        let side = format!("side@{}", digest('d'));
        assert_eq!(found.references, BTreeSet::from(["new:1", "r/web:1", side.as_str()].map(str::to_owned)));
        assert_eq!(found.digests, "012abcdef".chars().map(digest).collect());
    }

    #[test]
    fn what_workloads_will_make_pods_from_is_needed() {
        let template = |image: &str, file: &str| {
            json!({"metadata": {"annotations": {"vkube.io/file": file, "vkube.io/image-pin": format!("c={image}@{}", digest('7'))}},
                "spec": {"containers": [{"image": image}]}})
        };
        let mut view = view();
        for (group, plural, object) in [
            ("apps", "deployments", json!({"spec": {"template": template("web:2", "/raid1/cache/d.tar")}})),
            ("batch", "jobs", json!({"spec": {"template": template("job:1", "/raid1/cache/j.tar")}})),
            (
                "batch",
                "cronjobs",
                json!({"spec": {"jobTemplate": {"spec": {"template": template("cron:1", "/raid1/cache/c.tar")}}}}),
            ),
            ("", "configmaps", json!({"data": {"template": "x"}})),
        ] {
            let id = KindId { group, plural };
            let key = ObjectKey::new("default", "x");
            let mut kind = KindView::default();
            kind.objects.insert(key.clone(), Arc::new(StoredObject::new(id, key, &object, 2)));
            view.kinds.insert(id, Arc::new(kind));
        }
        let found = in_use(&view, &device(), &PODS, &map(), []).expect("complete");
        for image in ["web:2", "job:1", "cron:1"] {
            assert!(found.references.contains(image), "{image}");
        }
        for file in ["/mnt/cache/d.tar", "/mnt/cache/j.tar", "/mnt/cache/c.tar"] {
            assert!(found.paths.contains(std::path::Path::new(file)), "{file}");
        }
        assert!(found.digests.contains(&digest('7')));
    }

    #[test]
    fn nothing_is_said_before_store_and_device_were_read_completely() {
        let said = |view: &ObjectsView, device: &DeviceSnapshot| in_use(view, device, &PODS, &map(), []).is_some();
        assert!(said(&view(), &device()));
        assert!(!said(&ObjectsView { loaded: false, ..view() }, &device()), "the store is being read");
        let away = ObjectsView { not_loaded_because: Some("disk".into()), ..view() };
        assert!(!said(&away, &device()), "the store is away");
        let known = ObjectsView { stale: Some("away".into()), ..view() };
        assert!(!said(&known, &device()), "the store is away and known to be");
        let mut odd = view();
        odd.unreadable.insert((PODS, ObjectKey::new("default", "x")), "no JSON".into());
        assert!(!said(&odd, &device()), "a pod cannot be read");
        assert!(!said(&view(), &DeviceSnapshot { complete: false, ..device() }), "the device is being read");
        assert!(!said(&view(), &DeviceSnapshot { reachable: false, ..device() }), "the device is away");
    }
}
