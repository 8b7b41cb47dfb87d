//! What the deletion of an owner means for it and for what depends on it. Pure.
//!
//! An owner that is being deleted says in its finalizers what is to become of its dependents, in the words of Kubernetes; without
//! any they go before it does. So whoever comes after a crash knows how to go on.

use mkube_model::metadata;
use serde_json::{Value, json};

/// Finalizer of an owner that waits until its dependents are gone.
const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner whose dependents are to stay.
const ORPHAN: &str = "orphan";

/// What becomes of the dependents of an object that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// They are deleted; the owner goes when all of them are marked.
    Background,
    /// They are deleted; the owner goes when all that block it are gone.
    Foreground,
    /// They stay, and lose the reference.
    Orphan,
}

impl Policy {
    /// What `DeleteOptions` ask for, if anything.
    pub fn asked(options: &Value) -> Option<Self> {
        match options.get("propagationPolicy").and_then(Value::as_str) {
            Some("Background") => Some(Self::Background),
            Some("Foreground") => Some(Self::Foreground),
            Some("Orphan") => Some(Self::Orphan),
            _ => None,
        }
    }

    /// What an object that is being deleted is about; nothing while a finalizer of somebody else holds it and no other was asked for.
    pub fn of(going: &Value) -> Option<Self> {
        let has = |name: &str| metadata::finalizers(going).any(|one| one == name);
        match () {
            () if has(ORPHAN) => Some(Self::Orphan),
            () if has(FOREGROUND) => Some(Self::Foreground),
            () if metadata::has_finalizers(going) => None,
            () => Some(Self::Background),
        }
    }

    /// Writes it into the finalizers of an object that is deleted.
    pub fn write(self, object: &mut Value) {
        let mut list = others_finalizers(object);
        match self {
            Self::Background => {}
            Self::Foreground => list.push(json!(FOREGROUND)),
            Self::Orphan => list.push(json!(ORPHAN)),
        }
        set_finalizers(object, list);
    }
}

fn others_finalizers(object: &Value) -> Vec<Value> {
    metadata::finalizers(object).filter(|one| ![FOREGROUND, ORPHAN].contains(one)).map(Value::from).collect()
}

fn set_finalizers(object: &mut Value, list: Vec<Value>) {
    let meta = metadata::of_mut(object);
    if list.is_empty() {
        meta.remove("finalizers");
    } else {
        meta.insert("finalizers".into(), list.into());
    }
}

/// The object when its dependents are dealt with.
pub fn settled(mut object: Value) -> Value {
    let list = others_finalizers(&object);
    set_finalizers(&mut object, list);
    object
}

/// The object without the reference to this owner.
pub fn released(mut object: Value, owner: &str) -> Value {
    let meta = metadata::of_mut(&mut object);
    let all = meta.get("ownerReferences").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let left: Vec<Value> = all.iter().filter(|one| metadata::owner_uid(one) != owner).cloned().collect();
    if left.is_empty() {
        meta.remove("ownerReferences");
    } else {
        meta.insert("ownerReferences".into(), left.into());
    }
    object
}

/// What becomes of a dependent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays, without the reference.
    Release,
    /// It is deleted, with what depends on it in turn.
    Delete(Policy),
}

/// What has to be known of a dependent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Circumstances {
    /// It has another owner that is there and not on its way out.
    pub lives: bool,
    /// Something depends on it in turn that is to be waited for.
    pub blocked: bool,
    /// Clients cannot write its kind: left alone, nobody could ever delete it.
    pub read_only: bool,
}

/// The fate of a dependent.
pub fn fate(policy: Policy, dependent: Circumstances) -> Fate {
    match policy {
        _ if dependent.lives => Fate::Release,
        Policy::Orphan if dependent.read_only => Fate::Delete(Policy::Orphan),
        Policy::Orphan => Fate::Release,
        Policy::Foreground if dependent.blocked => Fate::Delete(Policy::Foreground),
        Policy::Foreground | Policy::Background => Fate::Delete(Policy::Background),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_written_into_the_finalizers_and_read_from_them() {
        for (policy, finalizers) in [
            (Policy::Background, json!(["a/b"])),
            (Policy::Foreground, json!(["a/b", "foregroundDeletion"])),
            (Policy::Orphan, json!(["a/b", "orphan"])),
        ] {
            let mut object = json!({"metadata": {"finalizers": ["orphan", "a/b"]}});
            policy.write(&mut object);
            assert_eq!(object["metadata"]["finalizers"], finalizers);
            let read = (policy != Policy::Background).then_some(policy);
            assert_eq!(Policy::of(&object), read, "somebody else holds it");
            assert_eq!(settled(object)["metadata"]["finalizers"], json!(["a/b"]));
        }
        let mut object = json!({"metadata": {"finalizers": ["orphan"]}});
        Policy::Background.write(&mut object);
        assert_eq!((Policy::of(&object), object), (Some(Policy::Background), json!({"metadata": {}})));
    }

    #[test]
    fn a_dependent_goes_unless_it_is_orphaned_or_belongs_to_somebody_else_too() {
        use Policy::{Background, Foreground, Orphan};
        let none = Circumstances::default();
        let lives = Circumstances { lives: true, ..none };
        let blocked = Circumstances { blocked: true, ..none };
        let read_only = Circumstances { read_only: true, ..none };
        for (policy, dependent, expected) in [
            (Background, none, Fate::Delete(Background)),
            (Background, blocked, Fate::Delete(Background)),
            (Foreground, none, Fate::Delete(Background)),
            (Foreground, blocked, Fate::Delete(Foreground)),
            (Background, lives, Fate::Release),
            (Foreground, Circumstances { blocked: true, ..lives }, Fate::Release),
            (Orphan, none, Fate::Release),
            (Orphan, blocked, Fate::Release),
            (Background, read_only, Fate::Delete(Background)),
            (Orphan, read_only, Fate::Delete(Orphan)),
            (Orphan, Circumstances { lives: true, ..read_only }, Fate::Release),
        ] {
            assert_eq!(fate(policy, dependent), expected, "{policy:?} {dependent:?}");
        }
    }

    #[test]
    fn what_is_released_keeps_its_other_owners() {
        let object = json!({"metadata": {"ownerReferences": [{"uid": "1"}, {"uid": "2"}]}});
        let once = released(object, "1");
        assert_eq!(once["metadata"]["ownerReferences"], json!([{"uid": "2"}]));
        assert_eq!(released(once, "2"), json!({"metadata": {}}));
    }
}
