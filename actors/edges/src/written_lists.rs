//! Whole lists as they were last written: those who ask for the same one again, and nothing has changed, get the same bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use actix_web::web::Bytes;
use arc_swap::ArcSwap;
use mkube_messages::objects::KindView;
use mkube_model::kinds::KindId;

/// Bytes of all of them together.
const ROOM: usize = 8 << 20;

/// Which list: of which kind, in which version's words, and of which namespace, if not of all.
type Which = (KindId, String, Option<String>);

/// The lists. Clones share them.
#[derive(Clone, Default)]
pub struct WrittenLists(Arc<ArcSwap<BTreeMap<Which, Written>>>);

#[derive(Clone)]
struct Written {
    /// What it was written from: nothing is kept alive by it, and no later view is taken for it.
    of: Weak<KindView>,
    text: Bytes,
}

impl WrittenLists {
    /// The list as it was written from this very view, or as `write` writes it now.
    pub fn of(&self, which: Which, view: &Arc<KindView>, write: impl FnOnce() -> String) -> Bytes {
        let lists = self.0.load();
        if let Some(found) = lists.get(&which).filter(|written| std::ptr::eq(written.of.as_ptr(), Arc::as_ptr(view))) {
            return found.text.clone();
        }
        let text = Bytes::from(write());
        let mut next = BTreeMap::clone(&lists);
        next.retain(|other, written| *other != which && written.of.strong_count() > 0);
        let taken: usize = next.values().map(|written| written.text.len()).sum();
        if taken + text.len() <= ROOM {
            next.insert(which, Written { of: Arc::downgrade(view), text: text.clone() });
        }
        self.0.store(Arc::new(next));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: KindId = KindId { group: "", plural: "pods" };

    #[test]
    fn a_list_is_written_once_for_each_view_and_kept_only_while_there_is_room() {
        let (lists, view) = (WrittenLists::default(), Arc::new(KindView::default()));
        let which = |namespace: &str| (PODS, "v1".to_owned(), Some(namespace.to_owned()));
        let ask =
            |namespace: &str, view: &Arc<KindView>, text: &str| lists.of(which(namespace), view, || text.to_owned());
        assert_eq!(ask("a", &view, "first"), "first");
        assert_eq!(ask("a", &view, "again"), "first");
        assert_eq!(ask("b", &view, "other"), "other");
        let later = Arc::new(KindView::default());
        assert_eq!(ask("a", &later, "later"), "later");
        let large = "x".repeat(ROOM);
        assert_eq!(ask("c", &later, &large).len(), ROOM);
        assert_eq!(ask("c", &later, "written anew"), "written anew");
        drop(view);
        assert_eq!(ask("d", &later, "d"), "d");
        assert!(!lists.0.load().contains_key(&which("b")), "what nobody can ask for is gone");
    }
}
