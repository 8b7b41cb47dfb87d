//! Which image a container really runs: not what its tag means today, and not what was pulled last. Pure.

use mkube_model::image_pins::{DEPLOYED, DEPLOYED_BEFORE, digest_of, digest_of_archive, image_id, is_digest};
use mkube_model::neighbours::router::ContainerRow;
use serde_json::{Value, json};

use crate::memory::Memory;
use crate::plan::{ContainerPlan, PodPlan};
use crate::status::recorded_image;

/// `imageID` of a container: `<repository>@sha256:…`, or empty when nobody knows. `previous`: the pod's status as it was.
///
/// The name of a content-addressed archive says it of any row, whoever made it. Otherwise the archive a row was made from says
/// it, and after a restart what was told of this very row. A row of the Go controller is what its annotation says.
pub fn running_image(
    row: Option<&ContainerRow>,
    container: &ContainerPlan,
    memory: &Memory,
    previous: &Value,
    pod: &PodPlan,
) -> String {
    let Some(row) = row else { return String::new() };
    let named = container.file.as_deref().map(|file| file.trim_matches('/'));
    if named.is_some_and(|file| file == row.file.trim_matches('/')) {
        // An archive that its owner brought: the image reference says nothing of it.
        return String::new();
    }
    let told = recorded_image(previous, &container.name, &row.id).unwrap_or_default();
    let of_go = pod.deployed.as_deref().filter(|digest| memory.adopted && container.index == 0 && is_digest(digest));
    let known = memory.made_from.as_deref().or(digest_of(told)).or(of_go);
    match digest_of_archive(&row.file).or_else(|| known.map(str::to_owned)) {
        None => String::new(),
        // With the image's name as it was: the spec may speak of another one by now.
        Some(digest) if told.ends_with(&format!("@{digest}")) => told.to_owned(),
        Some(digest) => image_id(&container.image, &digest),
    }
}

/// The patch that writes down what the first container runs, if that is not what stands there.
pub fn stamp(pod: &PodPlan, image_id: &str) -> Option<(String, Value)> {
    let written = pod.deployed.as_deref();
    let mut annotations = match digest_of(image_id) {
        Some(digest) if written == Some(digest) => return None,
        Some(digest) => json!({DEPLOYED: digest}),
        // What is written speaks of an image; an archive of its owner runs.
        None if written.is_some() && pod.containers.first()?.file.is_some() => json!({DEPLOYED: null}),
        None => return None,
    };
    if pod.deleting {
        return None;
    }
    if let Some(before) = written.filter(|before| is_digest(before)) {
        annotations[DEPLOYED_BEFORE] = json!(before);
    }
    let digest = digest_of(image_id).unwrap_or_default().to_owned();
    // The uid: a pod that took this one's name meanwhile is left alone.
    Some((digest, json!({"metadata": {"uid": pod.uid, "annotations": annotations}})))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::next_step::tests::{a_plan, a_row};
    use crate::plan::RestartPolicy;
    use mkube_model::neighbours::router::ContainerState;

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    fn a_pod(deployed: Option<String>) -> PodPlan {
        PodPlan {
            namespace: "default".into(),
            name: "web".into(),
            generation: 1,
            uid: "u".into(),
            restart: RestartPolicy::Always,
            deleting: false,
            ordered: false,
            paused: false,
            wish: String::new(),
            pull_secrets: vec![],
            deployed,
            scratch: vec![],
            containers: vec![],
        }
    }

    fn row(file: &str) -> ContainerRow {
        ContainerRow { file: file.into(), ..a_row(ContainerState::Running) }
    }

    fn status(row: &str, image_id: &str) -> Value {
        let id = format!("routeros://{row}");
        json!({"containerStatuses": [{"name": "web", "containerID": id, "imageID": image_id}]})
    }

    fn made_from(digest: String) -> Memory {
        Memory { made_from: Some(digest), ..Memory::default() }
    }

    #[test]
    fn the_name_of_the_archive_is_believed_before_anything_else() {
        let file = format!("/cache/sha256-{}.tar", "a".repeat(64));
        let told = status("1", &format!("web@{}", digest('b')));
        let memory = Memory { adopted: true, ..made_from(digest('c')) };
        let found = running_image(Some(&row(&file)), &a_plan(), &memory, &told, &a_pod(Some(digest('d'))));
        assert_eq!(found, format!("web@{}", digest('a')));
    }

    #[test]
    fn what_was_told_of_this_row_holds_after_a_restart_and_what_was_told_of_another_does_not() {
        let of = |status: &Value, memory: &Memory| {
            running_image(Some(&row("/cache/web.tar")), &a_plan(), memory, status, &a_pod(Some(digest('d'))))
        };
        let told = format!("old/name@{}", digest('b'));
        let nothing = Memory::default();
        assert_eq!(of(&status("1", &told), &nothing), told);
        assert_eq!(of(&status("1", &told), &made_from(digest('c'))), format!("web@{}", digest('c')));
        assert_eq!(of(&status("2", &told), &nothing), "");
        assert_eq!(of(&status("2", &told), &made_from(digest('c'))), format!("web@{}", digest('c')));
        // What is written down of the pod was of a row before this one.
        assert_eq!(of(&json!({"phase": "Pending"}), &nothing), "");
    }

    #[test]
    fn a_row_of_the_go_controller_is_what_its_annotation_says() {
        let adopted = Memory { adopted: true, ..Memory::default() };
        let of = |deployed: Option<String>| {
            running_image(Some(&row("")), &a_plan(), &adopted, &json!({"phase": "Pending"}), &a_pod(deployed))
        };
        assert_eq!(of(Some(digest('d'))), format!("web@{}", digest('d')));
        assert_eq!(of(Some("nonsense".into())), "");
        assert_eq!(of(None), "");
        let second = ContainerPlan { index: 1, ..a_plan() };
        let pod = a_pod(Some(digest('d')));
        assert_eq!(running_image(Some(&row("")), &second, &adopted, &Value::Null, &pod), "", "it speaks of the first");
        let made = made_from(digest('d'));
        assert_eq!(running_image(None, &a_plan(), &made, &Value::Null, &pod), "", "nothing runs");
        let own = ContainerPlan { file: Some("/my.tar".into()), ..a_plan() };
        assert_eq!(running_image(Some(&row("/my.tar")), &own, &made, &Value::Null, &pod), "");
    }

    #[test]
    fn the_digest_is_written_down_once_and_the_one_before_it_kept() {
        let image = format!("web@{}", digest('a'));
        let (_, first) = stamp(&a_pod(None), &image).expect("new");
        assert_eq!(first, json!({"metadata": {"uid": "u", "annotations": {DEPLOYED: digest('a')}}}));
        let (_, next) = stamp(&a_pod(Some(digest('b'))), &image).expect("changed");
        assert_eq!(next["metadata"]["annotations"][DEPLOYED_BEFORE], digest('b'));
        assert_eq!(stamp(&a_pod(Some(digest('a'))), &image), None);
        assert_eq!(stamp(&a_pod(None), ""), None);
        assert_eq!(stamp(&PodPlan { deleting: true, ..a_pod(None) }, &image), None);
        let own = ContainerPlan { file: Some("/my.tar".into()), ..a_plan() };
        let own = PodPlan { containers: vec![own], ..a_pod(Some(digest('b'))) };
        let (_, gone) = stamp(&own, "").expect("it does not run any more");
        assert_eq!(gone["metadata"]["annotations"], json!({DEPLOYED: null, DEPLOYED_BEFORE: digest('b')}));
    }
}
