//! What becomes of each task: looked at against the published view, one after the other.

use std::collections::BTreeSet;
use std::sync::Arc;

use mkube_messages::objects::{
    ChangeType, FieldValidation, ObjectChange, ObjectKey, ObjectsView, PatchType, StoredObject, Verb, WriteObject,
    Writer, Written,
};
use mkube_model::fields::reported;
use mkube_model::kinds::{Kind, KindId};
use mkube_model::metadata;
use mkube_model::neighbours::desired_store::Expected;
use mkube_model::status::Status;
use serde_json::{Value, json};

use crate::admission::{self, Admitted, Circumstances};
use crate::applying;
use crate::collecting::{self, Fate, Policy};
use crate::dependents::{Dependent, Place};
use crate::namespaces;
use crate::objects_actor::ObjectsActor;
use crate::outcome::{Outcome, existing, replace, unchanged};
use crate::queue::Task;
use crate::refusals::{gone, has_dependents, owner_gone};
use crate::relations;

/// Further names tried when a generated one is taken.
const GENERATED_TRIES: usize = 8;

impl ObjectsActor {
    pub(crate) fn admit(&mut self, view: &ObjectsView, task: Task) -> Outcome {
        match task {
            Task::Write(write) => {
                let hearsay = view.stale.as_deref().filter(|_| !write.behind && !write.dry_run);
                let outcome = self.admit_write(view, *write).unwrap_or_else(Outcome::Refused);
                match hearsay {
                    Some(why) => outcome.doubted(why),
                    None => outcome,
                }
            }
            Task::Put { kind, key, value } => {
                // Somebody else made it meanwhile, as he wanted it.
                if let Some(current) = view.get(&kind, &key).filter(|_| kind.plural == "namespaces") {
                    return unchanged(current, vec![]);
                }
                // What is missing here and there after all was misread, and is not written over.
                let expected = if view.get(&kind, &key).is_some() { Expected::Any } else { Expected::Absent };
                Outcome::Write { kind, key, value: Some(value), expected, warnings: vec![] }
            }
            Task::Remove { kind, key } => match view.get(&kind, &key) {
                Some(current) => {
                    let expected = Expected::At(current.revision);
                    Outcome::Write { kind, key, value: None, expected, warnings: vec![] }
                }
                None => Outcome::Refused(gone()),
            },
            Task::Status { kind, key, uid, status } => {
                let Some(current) = view.get(&kind, &key).filter(|object| object.uid() == uid) else {
                    return Outcome::Refused(gone());
                };
                let mut value = current.value();
                if value["status"] == status {
                    return unchanged(current, vec![]);
                }
                value = admission::without_version(&value);
                value["status"] = status;
                if let Some(row) = self.parts.kinds.get(&kind) {
                    reported(&mut value, &row.api_version(), &admission::stamp(self.parts.clock.now()));
                }
                let expected = Expected::At(current.revision);
                Outcome::Write { kind, key, value: Some(value), expected, warnings: vec![] }
            }
            Task::Finish { kind, key, uid } => {
                let Some(current) = view.get(&kind, &key).filter(|object| object.uid() == uid) else {
                    return Outcome::Refused(gone());
                };
                if metadata::has_finalizers(&current.value()) || self.dependents.has_unmarked(&current) {
                    let why = "the object has finalizers or dependents";
                    return Outcome::Refused(Status::new(409, "Conflict", why));
                }
                let expected = Expected::At(current.revision);
                Outcome::Write { kind, key, value: None, expected, warnings: vec![] }
            }
            Task::Collect { kind, key, owner } => {
                self.admit_collect(view, kind, key, &owner).unwrap_or_else(Outcome::Refused)
            }
            Task::Settle { kind, key, uid } => self.admit_settle(view, kind, key, &uid),
            Task::Claim { kind, key } => {
                let (Some(current), Some(row)) = (view.get(&kind, &key), self.parts.kinds.get(&kind)) else {
                    return Outcome::Refused(gone());
                };
                let mut value = admission::without_version(&current.value());
                if row.home.of(&value).is_some() {
                    return unchanged(current, vec![]);
                }
                row.home.settle(&mut value, &self.parts.node_name);
                let expected = Expected::At(current.revision);
                Outcome::Write { kind, key, value: Some(value), expected, warnings: vec![] }
            }
        }
    }

    /// A dependent of an owner that is being deleted: what was true when this was queued may not be any more.
    fn admit_collect(
        &mut self,
        view: &ObjectsView,
        kind: KindId,
        key: ObjectKey,
        owner: &str,
    ) -> Result<Outcome, Status> {
        let row = self.parts.kinds.get(&kind).copied().ok_or_else(gone)?;
        let current = view.get(&kind, &key).filter(|object| object.owners().iter().any(|one| *one.uid == *owner));
        let current = current.ok_or_else(gone)?;
        let policy = self.dependents.going(owner).and_then(|(kind, key)| view.get(kind, key));
        let policy = match policy {
            Some(owner) => Policy::of(&owner.value()),
            None => self.dependents.departed(owner, &key.namespace),
        };
        let policy = policy.ok_or_else(gone)?;
        let tree = current.value();
        let others = metadata::owners(&tree).filter(|one| metadata::owner_uid(one) != owner);
        let lives = others.into_iter().any(|one| self.lives(view, &key.namespace, one));
        let blocked = self.dependents.of(&current).any(|(_, dependent)| dependent.blocks && !dependent.marked);
        let dependent = collecting::Circumstances { lives, blocked, read_only: row.read_only };
        let fate = match collecting::fate(policy, dependent) {
            Fate::Delete(_) if namespaces::is_permanent(&row, &key.name) => Fate::Release,
            other => other,
        };
        match fate {
            Fate::Release => {
                let value = collecting::released(admission::without_version(&tree), owner);
                let expected = Expected::At(current.revision);
                Ok(Outcome::Write { kind, key, value: Some(value), expected, warnings: vec![] })
            }
            Fate::Delete(policy) => {
                let options = match policy {
                    Policy::Foreground => json!({"propagationPolicy": "Foreground"}),
                    Policy::Orphan => json!({"propagationPolicy": "Orphan"}),
                    // Its own finalizers may say otherwise.
                    Policy::Background => Value::Null,
                };
                let given = self.circumstances(FieldValidation::Ignore, Writer::own());
                self.admit_delete(view, &row, key, &options, &given)
            }
        }
    }

    /// Whether an owner is there and stays, for an object in this namespace.
    fn lives(&self, view: &ObjectsView, namespace: &str, owner: &Value) -> bool {
        let Some(found) = self.owner(view, namespace, owner) else { return false };
        !found.is_deleting() || !matches!(Policy::of(&found.value()), Some(Policy::Background | Policy::Foreground))
    }

    fn owner(&self, view: &ObjectsView, namespace: &str, owner: &Value) -> Option<Arc<StoredObject>> {
        let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default();
        let kind = self.parts.kinds.by_kind(text("apiVersion"), text("kind"))?;
        let namespace = if kind.namespaced { namespace } else { "" };
        let found = view.get(&kind.id(), &ObjectKey::new(namespace, text("name")))?;
        (found.uid() == text("uid")).then_some(found)
    }

    /// An owner that is being deleted: when its dependents are dealt with, so is what it waited for.
    fn admit_settle(&mut self, view: &ObjectsView, kind: KindId, key: ObjectKey, uid: &str) -> Outcome {
        let current = view.get(&kind, &key).filter(|object| object.uid() == uid && object.is_deleting());
        let (Some(current), Some(row)) = (current, self.parts.kinds.get(&kind)) else {
            return Outcome::Refused(gone());
        };
        let tree = admission::without_version(&current.value());
        let done = match Policy::of(&tree) {
            None => false,
            Some(Policy::Orphan) => self.dependents.of(&current).next().is_none(),
            Some(Policy::Background) => !self.dependents.has_unmarked(&current),
            Some(Policy::Foreground) => {
                let waits =
                    |(place, dependent): (&Place, Dependent)| dependent.blocks && !self.needs(view, &current, place);
                !self.dependents.has_unmarked(&current) && !self.dependents.of(&current).any(waits)
            }
        };
        if !done {
            return unchanged(current, vec![]);
        }
        let value = collecting::settled(tree.clone());
        let stays = row.graceful || row.kind == "Namespace" || metadata::has_finalizers(&value);
        if stays && value == tree {
            return unchanged(current, vec![]);
        }
        let expected = Expected::At(current.revision);
        Outcome::Write { kind, key, value: stays.then_some(value), expected, warnings: vec![] }
    }

    /// Whether an owner that is being deleted depends, over others that are too, on its own dependent: neither would go first.
    fn needs(&self, view: &ObjectsView, owner: &StoredObject, dependent: &Place) -> bool {
        let Some(dependent) = view.get(&dependent.0, &dependent.1) else { return true };
        let (mut seen, mut look) = (BTreeSet::new(), vec![owner.uid().to_owned()]);
        while let Some(uid) = look.pop() {
            if uid == dependent.uid() {
                return true;
            }
            let Some(object) = self.dependents.going(&uid).and_then(|(kind, key)| view.get(kind, key)) else {
                continue;
            };
            if seen.insert(uid) {
                look.extend(object.owners().iter().map(|one| one.uid.to_string()));
            }
        }
        false
    }

    /// Refuses a write that names an owner which is known to have gone: nobody would collect what it makes.
    fn check_owners(&self, view: &ObjectsView, kind: &Kind, key: &ObjectKey, after: &Value) -> Result<(), Status> {
        let before = view.get(&kind.id(), key);
        let new: Vec<&str> = admission::new_owners(before.as_deref(), after).collect();
        for owner in metadata::owners(after).filter(|owner| new.contains(&metadata::owner_uid(owner))) {
            let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default();
            let Some(of) = self.parts.kinds.by_kind(text("apiVersion"), text("kind")) else { continue };
            if self.owner(view, &key.namespace, owner).is_some() {
                continue;
            }
            let history = view.kind(&of.id());
            let went =
                |change: &ObjectChange| change.change == ChangeType::Deleted && change.object.uid() == text("uid");
            if history.history.iter().any(|change| went(change)) {
                return Err(owner_gone(kind, &key.name, text("uid")));
            }
        }
        Ok(())
    }

    fn admit_write(&mut self, view: &ObjectsView, write: WriteObject) -> Result<Outcome, Status> {
        let Some(kind) = self.parts.kinds.get(&write.kind).copied() else { return Err(Status::no_such_path()) };
        let given = self.circumstances(write.field_validation, write.writer);
        let dry_run = write.dry_run;
        let (name, subresource) = (write.key.name.clone(), write.subresource);
        let below = |status: Status| match subresource {
            "scale" => Status::not_found_below(&kind, &name, subresource),
            _ => status,
        };
        let outcome = match write.verb {
            Verb::Create { body } => self.admit_create(view, &kind, &write.key, body, &given)?,
            Verb::Update { body } => {
                let current = existing(view, &kind, &write.key).map_err(below)?;
                let admitted = admission::update(&kind, &current.value(), body, write.subresource, &given)?;
                replace(&kind, write.key, &current, admitted, self.dependents.has_unmarked(&current))
            }
            Verb::Patch { patch: PatchType::Apply, body }
                if subresource.is_empty() && view.get(&kind.id(), &write.key).is_none() =>
            {
                let ObjectKey { namespace, name } = &write.key;
                let admitted = applying::applied_anew(&kind, namespace, name, body, &given)?;
                self.admit_new(view, &kind, namespace, admitted, false)?
            }
            Verb::Patch { patch, body } => {
                let current = existing(view, &kind, &write.key).map_err(below)?;
                let admitted = admission::patched(&kind, &current.value(), patch, &body, write.subresource, &given)?;
                replace(&kind, write.key, &current, admitted, self.dependents.has_unmarked(&current))
            }
            Verb::Replace { body } => {
                let current = existing(view, &kind, &write.key)?;
                if self.dependents.has_unmarked(&current) {
                    return Err(has_dependents(&kind, &write.key.name));
                }
                admit_replacement(&kind, write.key, &current, body, &given)?
            }
            Verb::Delete { options } => self.admit_delete(view, &kind, write.key, &options, &given)?,
        };
        if let Outcome::Write { key, value: Some(value), .. } = &outcome {
            self.check_owners(view, &kind, key, value)?;
        }
        relations::check(view, &self.parts.kinds, &kind, subresource, &outcome)?;
        if !dry_run {
            return Ok(outcome);
        }
        Ok(match outcome {
            Outcome::Write { kind, key, value, warnings, .. } => {
                let before = view.get(&kind, &key);
                let gone = value.is_none();
                let mut value = value.or_else(|| before.as_ref().map(|object| object.value())).unwrap_or_default();
                let created = before.is_none();
                // What is not stored has no version; what is keeps the one it has.
                let object = match before {
                    Some(before) => crate::publish::stored(kind, key, value, before.revision),
                    None => {
                        metadata::of_mut(&mut value).remove("resourceVersion");
                        StoredObject::new(kind, key, &value, 0)
                    }
                };
                Outcome::Done(Box::new(Written { object: Arc::new(object), changed: true, created, gone, warnings }))
            }
            other => other,
        })
    }

    fn admit_create(
        &mut self,
        view: &ObjectsView,
        kind: &Kind,
        key: &ObjectKey,
        body: Value,
        given: &Circumstances,
    ) -> Result<Outcome, Status> {
        let generated = metadata::name(&body).is_empty();
        let admitted = admission::create(kind, &key.namespace, body, given)?;
        self.admit_new(view, kind, &key.namespace, admitted, generated)
    }

    /// A new object, which needs a namespace and a name that is free.
    fn admit_new(
        &mut self,
        view: &ObjectsView,
        kind: &Kind,
        namespace: &str,
        mut admitted: Admitted,
        generated: bool,
    ) -> Result<Outcome, Status> {
        let name = metadata::name(&admitted.value).to_owned();
        if kind.namespaced {
            namespaces::check(view, &self.parts.kinds, kind, namespace, &name)?;
        }
        let mut key = ObjectKey::new(namespace, name);
        for _ in 0..GENERATED_TRIES {
            if !generated || view.get(&kind.id(), &key).is_none() {
                break;
            }
            let prefix = admitted.value["metadata"]["generateName"].as_str().unwrap_or_default();
            key.name = metadata::generated_name(prefix, self.parts.randomness.number());
            metadata::of_mut(&mut admitted.value).insert("name".into(), json!(key.name));
        }
        if view.get(&kind.id(), &key).is_some() {
            return Err(Status::already_exists(kind, &key.name));
        }
        Ok(Outcome::Write {
            kind: kind.id(),
            key,
            value: Some(admitted.value),
            expected: Expected::Absent,
            warnings: admitted.warnings,
        })
    }

    fn admit_delete(
        &mut self,
        view: &ObjectsView,
        kind: &Kind,
        key: ObjectKey,
        options: &Value,
        given: &Circumstances,
    ) -> Result<Outcome, Status> {
        let current = existing(view, kind, &key)?;
        let tree = current.value();
        admission::check_preconditions(kind, &tree, options)?;
        let is_namespace = kind.kind == "Namespace";
        if namespaces::is_permanent(kind, &key.name) {
            return Err(Status::forbidden(kind, &key.name, "this namespace may not be deleted"));
        }
        let asked = options.get("gracePeriodSeconds").and_then(Value::as_u64);
        let mut value = if current.is_deleting() {
            // Whoever deletes again may make it sooner, not later.
            let before = tree.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(0);
            match asked.filter(|asked| *asked < before) {
                Some(asked) => admission::mark_deleted(&tree, asked, given.now),
                None => admission::without_version(&tree),
            }
        } else {
            let own = tree.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_u64);
            admission::mark_deleted(&tree, asked.or(own).unwrap_or(0), given.now)
        };
        if let Some(policy) = Policy::asked(options) {
            policy.write(&mut value);
        }
        if is_namespace {
            value["status"]["phase"] = json!("Terminating");
        }
        let waits =
            kind.graceful || is_namespace || metadata::has_finalizers(&value) || self.dependents.has_unmarked(&current);
        if waits && current.is_deleting() && value == admission::without_version(&tree) {
            return Ok(unchanged(current, vec![]));
        }
        let expected = Expected::At(current.revision);
        Ok(Outcome::Write { kind: kind.id(), key, value: waits.then_some(value), expected, warnings: vec![] })
    }
}

/// Another object under the name of one that is there.
fn admit_replacement(
    kind: &Kind,
    key: ObjectKey,
    current: &StoredObject,
    body: Value,
    given: &Circumstances,
) -> Result<Outcome, Status> {
    let version = metadata::resource_version(&body);
    if !version.is_empty() && version != metadata::resource_version(&current.value()) {
        return Err(Status::stale(kind, &key.name));
    }
    if current.is_deleting() {
        let why = "object is being deleted: it cannot be replaced before it is gone";
        return Err(Status::conflict(kind, &key.name, why.to_owned()));
    }
    let admitted = admission::create(kind, &key.namespace, body, given)?;
    Ok(Outcome::Write {
        kind: kind.id(),
        key,
        value: Some(admitted.value),
        expected: Expected::At(current.revision),
        warnings: admitted.warnings,
    })
}
