//! Server-side apply: what an object becomes, and whose its fields are then.

use serde_json::{Value, json};

use super::comparing::compare;
use super::last_applied;
use super::managers::{Entry, Manager, Managers};
use super::merging::{list_problem, merge, prune, without_nulls};
use super::owned::{fields_of, retain_standing};
use super::recording::{SERVERS_OWN, STATUS, strip};
use super::set::FieldSet;
use crate::list_types::Types;
use crate::metadata;
use crate::status::Status;

/// Somebody's fields that would get another value.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// Whose they are.
    pub manager: Manager,
    /// Which.
    pub fields: FieldSet,
}

/// Who applies, and how.
#[derive(Debug, Clone, Copy)]
pub struct Intent<'i> {
    /// Who.
    pub by: &'i Manager,
    /// He takes what is another's.
    pub force: bool,
    /// What is known of the object's fields.
    pub types: Types,
    /// When.
    pub now: &'i str,
}

/// What of a body somebody may want by applying it to this subresource.
pub fn wanted(body: &Value, subresource: &str) -> Value {
    let mut config = body.clone();
    without_nulls(&mut config);
    if let Some(fields) = config.as_object_mut() {
        fields.retain(|name, _| (name == STATUS) == (subresource == STATUS));
    }
    if subresource != STATUS {
        let meta = metadata::of_mut(&mut config);
        SERVERS_OWN.iter().for_each(|field| drop(meta.remove(*field)));
    }
    config
}

/// Applies `config` to an object: what becomes of it, and who manages what then; or with whom it conflicts.
pub fn apply(
    live: &Value,
    config: &Value,
    managers: Managers,
    intent: Intent<'_>,
) -> Result<(Value, Managers), Vec<Conflict>> {
    match attempt(live, config, managers.clone(), intent) {
        Err(mut conflicts) if last_applied::is_kubectl(intent.by) => {
            let allowed = last_applied::still_applied(live, intent.types);
            conflicts.iter_mut().for_each(|conflict| conflict.fields.subtract(&allowed));
            conflicts.retain(|conflict| !conflict.fields.is_empty());
            if conflicts.is_empty() {
                attempt(live, config, managers, Intent { force: true, ..intent })
            } else {
                Err(conflicts)
            }
        }
        applied => applied,
    }
}

fn attempt(
    live: &Value,
    config: &Value,
    mut managers: Managers,
    intent: Intent<'_>,
) -> Result<(Value, Managers), Vec<Conflict>> {
    let Intent { by, force, types, now } = intent;
    let mut fields = fields_of(config, types);
    strip(&mut fields, &by.subresource);
    let mut object = merge(live, config, types);
    if let Some(last) = managers.get(by) {
        let mut kept = fields.clone();
        managers.but(by).for_each(|other| kept.unite(&other.fields));
        prune(&mut object, &last.fields.clone(), &kept, types);
    }
    let mut differences = compare(live, &object, types);
    strip(&mut differences.changed, &by.subresource);
    strip(&mut differences.removed, &by.subresource);
    let conflicts: Vec<Conflict> = managers
        .but(by)
        .map(|other| Conflict { manager: other.manager.clone(), fields: other.fields.common(&differences.changed) })
        .filter(|conflict| !conflict.fields.is_empty())
        .collect();
    if !force && !conflicts.is_empty() {
        return Err(conflicts);
    }
    managers.each_but(by, |fields| {
        fields.subtract(&differences.changed);
        fields.subtract_trees(&differences.removed);
    });
    managers.set(Entry { manager: by.clone(), time: now.to_owned(), fields });
    Ok((object, managers))
}

impl Managers {
    /// Takes from what somebody manages whatever is not in the object as it was admitted.
    pub fn settle(&mut self, by: &Manager, object: &Value, types: Types) {
        if let Some(entry) = self.get(by).cloned() {
            let Entry { manager, time, mut fields } = entry;
            retain_standing(&mut fields, "", Some(object), types);
            self.set(Entry { manager, time, fields });
        }
    }
}

/// Why the lists of what is applied cannot be merged.
pub fn check_lists(config: &Value, types: Types) -> Result<(), Status> {
    list_problem(config, types).map_or(Ok(()), |why| Err(Status::bad_request(format!("failed to apply: {why}"))))
}

/// 409 with every conflict, in the words of Kubernetes.
pub fn conflict_status(conflicts: &[Conflict]) -> Status {
    let mut told: Vec<(String, Vec<String>)> =
        conflicts.iter().map(|conflict| (conflict.manager.told(), conflict.fields.paths())).collect();
    told.sort();
    let all: Vec<(&String, &String)> =
        told.iter().flat_map(|(manager, paths)| paths.iter().map(move |path| (manager, path))).collect();
    let message = match all.as_slice() {
        [(manager, path)] => format!("Apply failed with 1 conflict: conflict with {manager}: {path}"),
        _ => {
            let lines = told.iter().flat_map(|(manager, paths)| {
                let first = format!("conflicts with {manager}:");
                std::iter::once(first).chain(paths.iter().map(|path| format!("- {path}")))
            });
            let lines: Vec<String> = lines.collect();
            format!("Apply failed with {} conflicts: {}", all.len(), lines.join("\n"))
        }
    };
    let causes: Vec<Value> = all
        .iter()
        .map(|(manager, path)| {
            json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": path})
        })
        .collect();
    Status { details: json!({"causes": causes}), ..Status::new(409, "Conflict", message) }
}
