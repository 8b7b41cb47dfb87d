//! `?prune=SELECTOR` of `POST /api/v1/apply`: what was applied before, has these labels and stands in no document any more is
//! deleted. What somebody else made or owns is left alone, and much at once only goes when its sender says how much.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt;
use mkube_messages::objects::{FieldValidation, ObjectKey, ObjectsView, StoredObject, Verb, WriteObject};
use mkube_model::applied::LAST_APPLIED;
use mkube_model::kinds::{CONFIGURED_IN, Kind, KindId, KindTable};
use mkube_model::metadata;
use mkube_model::portable;
use mkube_model::problem::Problem;
use mkube_model::selectors::LabelSelector;
use mkube_model::status::Status;
use serde_json::{Value, json};

use crate::parts::Query;
use crate::read::loaded_view;
use crate::respond;
use crate::taking_in::{How, Taking};

/// Deletions under way at the same time.
const TOGETHER: usize = 64;
/// Times one deletion is tried: controllers write the same objects.
const TRIES: usize = 8;
/// Label of another tool's way of knowing what it applied.
const OTHERS_SET: &str = "applyset.kubernetes.io/part-of";

/// What a request says of pruning.
#[derive(Debug, Clone)]
pub struct Prune {
    selector: LabelSelector,
    /// How many deletions its sender knows of.
    confirmed: Option<usize>,
}

/// What would go.
#[derive(Debug, Default)]
pub struct Plan {
    /// To be deleted: those that others need come last.
    pub going: Vec<(Kind, Arc<StoredObject>)>,
    /// Namespaces that stay, because something is in them that stays.
    pub kept: Vec<(ObjectKey, usize)>,
    /// All that were applied with these labels, whether they stand in a document or not.
    pub applied: usize,
}

impl Prune {
    /// Reads `prune` and `confirm`.
    pub fn asked(query: &Query, how: How, options: &str) -> Result<Option<Self>, Status> {
        let Some(text) = query.get("prune") else { return Ok(None) };
        let refused = |problem: Problem| Err(Status::invalid_option(options, &problem));
        if how == How::Import {
            return refused(Problem::forbidden("prune", "an import deletes nothing; use /api/v1/apply"));
        }
        let selector = match LabelSelector::parse(text) {
            Ok(selector) => selector,
            Err(why) => return refused(Problem::invalid("prune", text.as_str(), why)),
        };
        if !selector.asks_for_a_label() {
            let why = "must ask for at least one label that objects have, such as app=shop";
            return refused(Problem::invalid("prune", text.as_str(), why));
        }
        let confirmed = match query.get("confirm").filter(|text| !text.is_empty()).map(|text| text.parse()) {
            None => None,
            Some(Ok(number)) => Some(number),
            Some(Err(_)) => {
                let found = query.get("confirm").cloned().unwrap_or_default();
                return refused(Problem::invalid("confirm", found, "must be the number of objects that may go"));
            }
        };
        Ok(Some(Self { selector, confirmed }))
    }

    /// What goes when these stand in the documents. `namespaces`: those the documents are about; empty for all. Refused while what is
    /// not there may be there all the same.
    pub fn plan(
        &self,
        kinds: &KindTable,
        view: &ObjectsView,
        named: &BTreeSet<(KindId, ObjectKey)>,
        namespaces: &BTreeSet<String>,
    ) -> Result<Plan, Status> {
        if !view.is_complete() {
            let why = "prune: the store is away, so nobody knows what there is; nothing was changed";
            return Err(Status::unavailable(why, 5));
        }
        let mut plan = Plan::default();
        let mut found = Vec::new();
        for (id, objects) in &view.kinds {
            let Some(kind) = kinds.get(id).filter(|kind| portable::stays(kind).is_none()) else { continue };
            for object in objects.objects.values().filter(|object| self.picks(object)) {
                plan.applied += 1;
                if !named.contains(&(*id, object.key.clone())) {
                    found.push((*kind, object.clone()));
                }
            }
        }
        // A namespace that goes takes along what is in it.
        let is_namespace = |kind: &Kind| kind.kind == "Namespace";
        let leaving: BTreeSet<String> =
            found.iter().filter(|(kind, _)| is_namespace(kind)).map(|(_, object)| object.key.name.clone()).collect();
        let meant = |(kind, object): &(Kind, Arc<StoredObject>)| {
            let namespace = &object.key.namespace;
            !kind.namespaced || namespaces.is_empty() || namespaces.contains(namespace) || leaving.contains(namespace)
        };
        found.retain(meant);
        let going: BTreeSet<&str> = found.iter().map(|(_, object)| object.uid()).collect();
        let mut staying: BTreeMap<&str, usize> = BTreeMap::new();
        for (id, objects) in &view.kinds {
            // Events and the like go with what they are about; so does what is owned by something that goes.
            let counts = kinds.get(id).is_some_and(|kind| kind.namespaced && portable::stays(kind).is_none());
            for object in objects.objects.values().filter(|_| counts) {
                let owned = object.owners().iter().any(|owner| going.contains(&*owner.uid));
                if !going.contains(object.uid()) && !owned && leaving.contains(&object.key.namespace) {
                    *staying.entry(&object.key.namespace).or_default() += 1;
                }
            }
        }
        for (_, key) in view.unreadable.keys().filter(|(_, key)| leaving.contains(&key.namespace)) {
            *staying.entry(&key.namespace).or_default() += 1;
        }
        plan.kept = found
            .iter()
            .filter(|(kind, _)| is_namespace(kind))
            .filter_map(|(_, object)| Some((object.key.clone(), *staying.get(&*object.key.name)?)))
            .collect();
        let kept: BTreeSet<ObjectKey> = plan.kept.iter().map(|(key, _)| key.clone()).collect();
        // What is in a namespace that stays and that no document is about is nobody's business here.
        let in_kept = |namespace: &str| {
            !namespaces.is_empty() && !namespaces.contains(namespace) && kept.iter().any(|key| key.name == namespace)
        };
        found.retain(
            |(kind, object)| {
                if is_namespace(kind) { !kept.contains(&object.key) } else { !in_kept(&object.key.namespace) }
            },
        );
        found.sort_by(|(one, _), (other, _)| portable::rank(other).cmp(&portable::rank(one)));
        plan.going = found;
        Ok(plan)
    }

    /// Whether an object was applied with these labels, and belongs to nobody else.
    fn picks(&self, object: &StoredObject) -> bool {
        if object.is_deleting() || !object.owners().is_empty() {
            return false;
        }
        let tree = object.value();
        // A label that somebody put on it later does not make it one of these.
        let said = metadata::annotation(&tree, LAST_APPLIED).and_then(|text| serde_json::from_str::<Value>(text).ok());
        let of_others = metadata::labels(&tree).is_some_and(|labels| labels.contains_key(OTHERS_SET))
            || metadata::annotation(&tree, CONFIGURED_IN).is_some();
        !of_others && self.selector.matches(&tree) && said.is_some_and(|said| self.selector.matches(&said))
    }

    /// Refuses what is likely to be a mistake: everything, or more than half of what there is, unless the sender says how many
    /// objects go; and another number than he said.
    pub fn check(&self, plan: &Plan, documents: usize) -> Result<(), Status> {
        let going = plan.going.len();
        let refused = |why: String| Err(Status::new(409, "Conflict", format!("prune: {why}")));
        match self.confirmed {
            Some(confirmed) if confirmed == going => Ok(()),
            Some(confirmed) => refused(format!(
                "{going} objects would be deleted, not the {confirmed} that were confirmed; nothing was changed"
            )),
            None if going == 0 => Ok(()),
            None if documents == 0 => refused(format!(
                "there is no document, so all {going} objects with {} would be deleted; nothing was changed. If that is \
                 meant, say confirm={going}",
                self.selector
            )),
            None if going * 2 > plan.applied => refused(format!(
                "{going} of {} objects with {} would be deleted, more than half; nothing was changed. A dry run lists \
                 them, confirm={going} lets them go",
                plan.applied, self.selector
            )),
            None => Ok(()),
        }
    }

    /// The labels, for whoever reads the answer.
    pub fn selector(&self) -> String {
        self.selector.to_string()
    }

    /// Whether a document would be found again.
    pub fn would_find(&self, document: &Value) -> bool {
        self.selector.matches(document)
    }

    /// Deletes what was planned, as far as it is still so; a row for each.
    pub async fn carry_out(&self, taking: &Taking<'_>, plan: &Plan) -> Vec<(Value, Option<Status>)> {
        let mut rows = Vec::new();
        // One kind after the other: those that others need come last.
        for of_kind in plan.going.chunk_by(|(one, _), (other, _)| one.id() == other.id()) {
            let mut under_way = futures_util::stream::iter(of_kind)
                .map(|(kind, object)| async move { (kind, object, self.delete(taking, kind, object).await) })
                .buffered(TOGETHER);
            while let Some((kind, object, done)) = under_way.next().await {
                match done {
                    Ok(false) => {}
                    Ok(true) => rows.push((row(kind, &object.key, "pruned"), None)),
                    Err(status) => {
                        let mut row = row(kind, &object.key, "failed");
                        row["error"] = json!(status.message);
                        row["code"] = json!(status.code);
                        row["reason"] = json!(status.reason);
                        rows.push((row, Some(status)));
                    }
                }
            }
        }
        for (key, others) in &plan.kept {
            let why = format!("it stays: {others} objects that were not applied with these labels are in it");
            rows.push((json!({"kind": "Namespace", "name": key.name, "action": "kept", "warnings": [why]}), None));
        }
        rows
    }

    /// Whether it was deleted; somebody may have been quicker, or have made something else of it.
    async fn delete(&self, taking: &Taking<'_>, kind: &Kind, object: &StoredObject) -> Result<bool, Status> {
        let mut tried = 0;
        loop {
            tried += 1;
            let view = loaded_view(taking.parts)?;
            let current = view.get(&kind.id(), &object.key);
            let Some(current) = current.filter(|now| now.uid() == object.uid() && self.picks(now)) else {
                return Ok(false);
            };
            let tree = current.value();
            let options = json!({"preconditions": {
                "uid": current.uid(), "resourceVersion": metadata::resource_version(&tree),
            }});
            let order = WriteObject {
                dry_run: taking.dry_run,
                field_validation: FieldValidation::Warn,
                writer: taking.writer.clone(),
                ..WriteObject::own("prune", kind.id(), object.key.clone(), Verb::Delete { options })
            };
            match taking.parts.write.ask(order).await.map_err(respond::status_of) {
                Ok(_) => return Ok(true),
                Err(status) if status.code == 404 => return Ok(true),
                Err(status) if [409, 429].contains(&status.code) && tried < TRIES => {
                    tokio::time::sleep(crate::taking_in::PAUSE).await;
                }
                Err(status) => return Err(status),
            }
        }
    }
}

fn row(kind: &Kind, key: &ObjectKey, action: &str) -> Value {
    let mut row = json!({"kind": kind.kind, "name": key.name, "action": action});
    if kind.namespaced {
        row["namespace"] = json!(key.namespace);
    }
    row
}

#[cfg(test)]
#[path = "prune_tests.rs"]
mod tests;
