//! Which image a container really runs: not what its tag means today, and not what was pulled last. Pure.

use mkube_model::image_pins::{DEPLOYED, DEPLOYED_BEFORE, digest_of, digest_of_archive, image_id, is_digest};
use mkube_model::neighbours::router::ContainerRow;
use serde_json::{Value, json};

use crate::plan::{ContainerPlan, PodPlan};
use crate::status::{RecordedImage, recorded_image};

/// `imageID` of a container: `<repository>@sha256:…`, or empty when nobody knows. `made_from`: the digest of the archive its row
/// was made from, if this actor made it; `previous`: the pod's status as it was.
///
/// The name of a content-addressed archive says it of any row, whoever made it. What was told of this very row before holds
/// after restarts. A row of the Go controller is what its annotation says, as long as nothing was told of any row.
pub fn running_image(
    row: Option<&ContainerRow>,
    container: &ContainerPlan,
    made_from: Option<&str>,
    previous: &Value,
    pod: &PodPlan,
) -> String {
    let Some(row) = row else { return String::new() };
    let named = container.file.as_deref().map(|file| file.trim_matches('/'));
    if named.is_some_and(|file| file == row.file.trim_matches('/')) {
        // An archive that its owner brought: the image reference says nothing of it.
        return String::new();
    }
    let recorded = recorded_image(previous, &container.name, &row.id);
    let told = match &recorded {
        RecordedImage::OfThisRow(text) => digest_of(text),
        RecordedImage::OfAnother | RecordedImage::Nothing => None,
    };
    let of_go = match &recorded {
        RecordedImage::Nothing if container.index == 0 => pod.deployed.as_deref().filter(|digest| is_digest(digest)),
        _ => None,
    };
    let digest = digest_of_archive(&row.file).or_else(|| made_from.or(told).or(of_go).map(str::to_owned));
    match (&recorded, digest) {
        (_, None) => String::new(),
        // With the image's name as it was: the spec may speak of another one by now.
        (RecordedImage::OfThisRow(text), Some(digest)) if text.ends_with(&format!("@{digest}")) => text.clone(),
        (_, Some(digest)) => image_id(&container.image, &digest),
    }
}

/// The patch that writes down what the first container runs, if that is not what stands there.
pub fn stamp(pod: &PodPlan, image_id: &str) -> Option<(String, Value)> {
    let digest = digest_of(image_id)?;
    if pod.deleting || pod.deployed.as_deref() == Some(digest) {
        return None;
    }
    let mut annotations = json!({DEPLOYED: digest});
    if let Some(before) = pod.deployed.as_deref().filter(|before| is_digest(before)) {
        annotations[DEPLOYED_BEFORE] = json!(before);
    }
    // The uid: a pod that took this one's name meanwhile is left alone.
    Some((digest.to_owned(), json!({"metadata": {"uid": pod.uid, "annotations": annotations}})))
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
            uid: "u".into(),
            restart: RestartPolicy::Always,
            deleting: false,
            pull_secrets: vec![],
            deployed,
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

    #[test]
    fn the_name_of_the_archive_is_believed_before_anything_else() {
        let file = format!("/cache/sha256-{}.tar", "a".repeat(64));
        let told = status("1", &format!("web@{}", digest('b')));
        let found = running_image(Some(&row(&file)), &a_plan(), Some(&digest('c')), &told, &a_pod(Some(digest('d'))));
        assert_eq!(found, format!("web@{}", digest('a')));
    }

    #[test]
    fn what_was_told_of_this_row_holds_after_a_restart_and_what_was_told_of_another_does_not() {
        let of = |status: &Value, made_from: Option<&str>| {
            running_image(Some(&row("/cache/web.tar")), &a_plan(), made_from, status, &a_pod(Some(digest('d'))))
        };
        let told = format!("old/name@{}", digest('b'));
        assert_eq!(of(&status("1", &told), None), told);
        assert_eq!(of(&status("1", &told), Some(&digest('c'))), format!("web@{}", digest('c')));
        assert_eq!(of(&status("2", &told), None), "");
        assert_eq!(of(&status("2", &told), Some(&digest('c'))), format!("web@{}", digest('c')));
    }

    #[test]
    fn a_row_of_the_go_controller_is_what_its_annotation_says() {
        let of = |deployed: Option<String>| {
            running_image(Some(&row("")), &a_plan(), None, &json!({"phase": "Pending"}), &a_pod(deployed))
        };
        assert_eq!(of(Some(digest('d'))), format!("web@{}", digest('d')));
        assert_eq!(of(Some("nonsense".into())), "");
        assert_eq!(of(None), "");
        let second = ContainerPlan { index: 1, ..a_plan() };
        let pod = a_pod(Some(digest('d')));
        assert_eq!(running_image(Some(&row("")), &second, None, &Value::Null, &pod), "", "it speaks of the first");
        assert_eq!(running_image(None, &a_plan(), Some(&digest('d')), &Value::Null, &pod), "", "nothing runs");
        let own = ContainerPlan { file: Some("/my.tar".into()), ..a_plan() };
        assert_eq!(running_image(Some(&row("/my.tar")), &own, None, &Value::Null, &pod), "");
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
    }
}
