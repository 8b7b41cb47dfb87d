//! What holds of every history of writes and applies.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::comparing::compare;
use super::merging::merge;
use super::owned::retain_standing;
use super::tests::{applies, named};
use super::*;
use crate::list_types::Types;

fn types() -> Types {
    Types::new(true)
}

#[derive(Debug, Clone)]
enum Step {
    Apply(&'static str, Value, bool),
    Update(&'static str, Value),
}

/// Objects with every sort of field: maps, keyed lists in keyed lists, sets, lists and maps that are one value, and empty ones.
fn object() -> impl Strategy<Value = Value> {
    let number = || 0i64..3;
    let some = |names: &'static [&'static str], value: BoxedStrategy<Value>| {
        prop::collection::btree_map(prop::sample::select(names), value, 0..3)
            .prop_map(|map| Value::Object(map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
    };
    let keyed = |inner: BoxedStrategy<Value>| {
        prop::collection::btree_map(prop::sample::select(&["a", "b", "c"][..]), inner, 0..3).prop_map(|items| {
            let item = |(name, rest): (&str, Value)| {
                let mut item = rest.as_object().cloned().unwrap_or_default();
                item.insert("name".to_owned(), json!(name));
                Value::Object(item)
            };
            Value::Array(items.into_iter().map(item).collect())
        })
    };
    let plain = number().prop_map(Value::from).boxed();
    let env = keyed(some(&["value"], plain.clone()).boxed()).boxed();
    let container = (some(&["image", "tty"], plain.clone()), prop::option::of(env), prop::option::of(number()));
    let container = container.prop_map(|(rest, env, args)| {
        let mut fields = rest.as_object().cloned().unwrap_or_default();
        fields.extend(env.map(|env| ("env".to_owned(), env)));
        fields.extend(args.map(|arg| ("args".to_owned(), json!([arg]))));
        Value::Object(fields)
    });
    let labels = some(&["l", "m", "n"], plain.clone());
    let finalizers = prop::collection::btree_set(prop::sample::select(&["x/a", "x/b", "x/c"][..]), 0..3);
    let selector = some(&["s", "t"], plain.clone());
    let all = (
        prop::option::of(labels),
        prop::option::of(finalizers),
        prop::option::of(keyed(container.boxed())),
        prop::option::of(selector),
        prop::option::of(some(&["p", "q"], some(&["r", "s"], plain).boxed())),
    );
    all.prop_map(|(labels, finalizers, containers, selector, nested)| {
        let part = |parts: Vec<(&str, Option<Value>)>| {
            let parts = parts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            Value::Object(parts.collect::<Map<_, _>>())
        };
        json!({
            "metadata": part(vec![("name", Some(json!("n"))), ("labels", labels), ("finalizers", finalizers.map(|all| json!(all)))]),
            "spec": part(vec![("containers", containers), ("selector", selector), ("nested", nested)]),
        })
    })
}

fn step() -> impl Strategy<Value = Step> {
    let name = || prop::sample::select(&["a", "b", "c"][..]);
    prop_oneof![
        3 => (name(), object(), any::<bool>()).prop_map(|(name, config, force)| Step::Apply(name, config, force)),
        1 => (name(), object()).prop_map(|(name, next)| Step::Update(name, next)),
    ]
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..8)
}

fn play(steps: &[Step]) -> (Value, Managers) {
    let (mut object, mut managers) = (json!({}), Managers::default());
    for step in steps {
        match step {
            Step::Apply(name, config, force) => {
                if let Ok(next) = applies(&object, &managers, name, config, *force) {
                    (object, managers) = next;
                }
            }
            Step::Update(name, next) => {
                managers = updated(&object, next, managers, &named(name, Operation::Update), types(), "t");
                object = next.clone();
            }
        }
    }
    (object, managers)
}

/// Fields of all but the one who applies under this name.
fn of_others(managers: &Managers, name: &str) -> FieldSet {
    let mut all = FieldSet::default();
    managers.but(&named(name, Operation::Apply)).for_each(|entry| all.unite(&entry.fields));
    all
}

/// Fields of `set` that are different in `new`, or gone.
fn touched(set: &FieldSet, old: &Value, new: &Value) -> FieldSet {
    let differences = compare(old, new, types());
    let mut rest = set.clone();
    rest.subtract_trees(&differences.removed);
    rest.subtract(&differences.changed);
    let mut touched = set.clone();
    touched.subtract(&rest);
    touched
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once(steps in history(), config in object()) {
        let (object, managers) = play(&steps);
        let (once, owners) = applies(&object, &managers, "a", &config, true).expect("forced");
        let (twice, again) = applies(&once, &owners, "a", &config, false).expect("nobody else has it");
        prop_assert_eq!(&twice, &once);
        prop_assert_eq!(again, owners);
        prop_assert_eq!(merge(&once, &config, types()), once, "everything that is applied stands there");
    }

    #[test]
    fn whatever_somebody_manages_stands_there(steps in history()) {
        let (object, managers) = play(&steps);
        for entry in &managers.0 {
            let mut standing = entry.fields.clone();
            retain_standing(&mut standing, "", Some(&object), types());
            prop_assert_eq!(&standing, &entry.fields, "{:?} in {}", entry.manager, object);
        }
    }

    #[test]
    fn nothing_of_others_changes_without_force(steps in history(), config in object()) {
        let (object, managers) = play(&steps);
        let others = of_others(&managers, "a");
        if let Ok((next, after)) = applies(&object, &managers, "a", &config, false) {
            prop_assert_eq!(touched(&others, &object, &next), FieldSet::default());
            prop_assert_eq!(of_others(&after, "a"), others, "and nobody loses what he manages");
        }
    }

    #[test]
    fn who_applies_nothing_any_more_takes_away_only_what_was_his_alone(steps in history()) {
        let (object, managers) = play(&steps);
        let others = of_others(&managers, "a");
        let (next, after) = applies(&object, &managers, "a", &json!({}), false).expect("nothing is wanted");
        prop_assert_eq!(touched(&others, &object, &next), FieldSet::default());
        if let Some(entry) = managers.get(&named("a", Operation::Apply)) {
            let mut alone = entry.fields.clone();
            alone.subtract(&others);
            let mut left = alone.clone();
            retain_standing(&mut left, "", Some(&next), types());
            // A map stays while somebody has something in it, and an item keeps its name.
            for path in left.paths() {
                let place = path.strip_suffix(".name").unwrap_or(&path);
                prop_assert!(others.paths().iter().any(|other| other.starts_with(place)), "{} is left", path);
            }
        }
        prop_assert!(after.get(&named("a", Operation::Apply)).is_none());
    }

    #[test]
    fn a_write_has_one_manager_for_what_it_changed(steps in history(), next in object()) {
        let (object, managers) = play(&steps);
        let by = named("u", Operation::Update);
        let after = updated(&object, &next, managers.clone(), &by, types(), "t");
        let changed = compare(&object, &next, types()).changed;
        for entry in after.but(&by) {
            prop_assert!(entry.fields.common(&changed).is_empty());
        }
        if !managers.is_empty() {
            let own = after.get(&by).map(|entry| entry.fields.clone()).unwrap_or_default();
            prop_assert_eq!(own, changed);
        }
    }

    #[test]
    fn managers_read_as_they_are_written(steps in history()) {
        let (_, managers) = play(&steps);
        prop_assert_eq!(Managers::read(&managers.write()).expect("ours"), managers);
    }
}
