//! What happened to the objects of one kind between two looks. Pure.

use std::sync::Arc;

use imbl::ordmap::DiffItem;
use mkube_messages::objects::{ChangeType, KindView, StoredObject};

/// What happened to one object.
#[derive(Debug, Clone, PartialEq)]
pub struct News {
    /// What.
    pub change: ChangeType,
    /// The state after it; the last one, of what is gone.
    pub object: Arc<StoredObject>,
}

/// In the order in which it happened, each step as long as the history goes back that far; else what it came to.
pub fn between(before: &Arc<KindView>, now: &Arc<KindView>) -> Vec<News> {
    if Arc::ptr_eq(before, now) {
        return Vec::new();
    }
    let known = now.history_after..=now.revision;
    if known.contains(&before.revision) {
        let newer = now.history.iter().rev().take_while(|change| change.revision > before.revision).count();
        let newer = now.history.iter().skip(now.history.len() - newer);
        return newer.map(|one| News { change: one.change, object: one.object.clone() }).collect();
    }
    let mut gone = Vec::new();
    let mut news = Vec::new();
    for item in before.objects.diff(&now.objects) {
        match item {
            DiffItem::Add(_, object) => news.push(News { change: ChangeType::Added, object: object.clone() }),
            DiffItem::Remove(_, object) => gone.push(News { change: ChangeType::Deleted, object: object.clone() }),
            DiffItem::Update { old: (_, old), new: (_, new) } if old.uid() != new.uid() => {
                gone.push(News { change: ChangeType::Deleted, object: old.clone() });
                news.push(News { change: ChangeType::Added, object: new.clone() });
            }
            DiffItem::Update { new: (_, object), .. } => {
                news.push(News { change: ChangeType::Modified, object: object.clone() });
            }
        }
    }
    news.sort_by_key(|one| one.object.revision);
    gone.extend(news);
    gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_messages::objects::{ObjectChange, ObjectKey};
    use mkube_model::kinds::KindId;
    use serde_json::json;

    const PODS: KindId = KindId { group: "", plural: "pods" };

    fn object(name: &str, uid: &str, revision: u64) -> Arc<StoredObject> {
        let value = json!({"metadata": {"name": name, "uid": uid}});
        Arc::new(StoredObject::new(PODS, ObjectKey::new("d", name), &value, revision))
    }

    fn view(objects: &[(&str, &str, u64)], revision: u64) -> KindView {
        let objects = objects.iter().map(|(name, uid, revision)| object(name, uid, *revision));
        KindView {
            objects: objects.map(|object| (object.key.clone(), object)).collect(),
            history_after: revision,
            revision,
            ..KindView::default()
        }
    }

    fn told(before: &KindView, now: &KindView) -> Vec<String> {
        let news = between(&Arc::new(before.clone()), &Arc::new(now.clone()));
        news.iter().map(|one| format!("{:?} {} {}", one.change, one.object.key.name, one.object.uid())).collect()
    }

    #[test]
    fn each_step_is_told_as_long_as_it_is_known() {
        let before = view(&[("a", "1", 4)], 4);
        let mut now = view(&[("a", "1", 7)], 7);
        now.history_after = 3;
        for (change, revision) in
            [(ChangeType::Modified, 4), (ChangeType::Modified, 5), (ChangeType::Deleted, 6), (ChangeType::Added, 7)]
        {
            let change = ObjectChange { change, revision, object: object("a", "1", revision), previous: None };
            now.history.push_back(Arc::new(change));
        }
        assert_eq!(told(&before, &now), ["Modified a 1", "Deleted a 1", "Added a 1"]);
        assert_eq!(told(&now, &now.clone()), Vec::<String>::new());
    }

    #[test]
    fn what_is_not_known_step_by_step_is_told_by_what_it_came_to() {
        let before = view(&[("a", "1", 1), ("b", "2", 2), ("c", "3", 3), ("e", "9", 4)], 4);
        let now = view(&[("a", "1", 1), ("c", "4", 22), ("d", "5", 21), ("e", "9", 23)], 30);
        let expected = ["Deleted b 2", "Deleted c 3", "Added d 5", "Added c 4", "Modified e 9"];
        assert_eq!(told(&before, &now), expected);
        // Revisions of a store that counts anew say nothing.
        let older = KindView { revision: 2, history_after: 0, ..now };
        assert_eq!(told(&before, &older), expected);
    }
}
