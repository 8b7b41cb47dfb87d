use std::collections::BTreeMap;
use std::time::Duration;

use mkube_messages::gates::{Gate, Standing};
use mkube_messages::objects::ObjectKey;
use mkube_model::boot_order::Member;
use proptest::prelude::*;
use tokio::time::Instant;

use crate::plan::{Plan, plan};
use crate::rules::Rules;
use crate::start::{Decision, Memory, Seen, decide};

const RULES: Rules = Rules { parallel: 2, deadline: Duration::from_secs(60) };

fn member(name: &str, priority: Option<i64>, depends_on: &[&str]) -> Member {
    let words = depends_on.iter().map(|word| (*word).to_owned()).collect();
    Member {
        namespace: "default".into(),
        name: name.into(),
        priority,
        depends_on: words,
        containers: vec![format!("default_{name}_c"), format!("default_{name}_d")],
        deployment: name.split_once('-').map(|(deployment, _)| deployment.to_owned()),
    }
}

/// A room in which pods start as they may.
struct Room {
    plan: Plan,
    seen: BTreeMap<String, Seen>,
    replicas: BTreeMap<String, usize>,
    memory: Memory,
    now: Instant,
}

impl Room {
    fn of(members: &[Member]) -> Self {
        let seen = |member: &Member| (member.name.clone(), Seen { uid: member.name.clone(), ..Seen::default() });
        let seen = members.iter().map(seen).collect();
        Self { plan: plan(members), seen, replicas: BTreeMap::new(), memory: Memory::default(), now: Instant::now() }
    }

    fn decide(&mut self) -> Decision {
        let seen: Vec<Seen> = self.plan.pods.iter().map(|pod| self.seen[&pod.key.name].clone()).collect();
        let replicas = |key: &ObjectKey| self.replicas.get(&key.name).copied();
        decide(&self.plan, &seen, &replicas, &mut self.memory, self.now, RULES)
    }

    /// Names of the pods whose gate is open.
    fn open(&mut self) -> Vec<String> {
        let decision = self.decide();
        decision.gates.iter().filter(|(_, gate)| **gate == Gate::Open).map(|(key, _)| key.name.clone()).collect()
    }

    fn ready(&mut self, name: &str) {
        let seen = self.seen.get_mut(name).expect("a member");
        (seen.runs, seen.ready) = (true, true);
    }

    fn crashes(&mut self, name: &str) {
        let seen = self.seen.get_mut(name).expect("a member");
        (seen.runs, seen.ready) = (false, false);
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

fn closed(gate: &Gate) -> (&'static str, String) {
    match gate {
        Gate::Closed { reason, message } => (reason, message.clone()),
        other => panic!("{other:?} is not closed"),
    }
}

#[test]
fn who_waits_starts_when_the_other_is_ready_and_not_when_it_only_runs() {
    let mut room = Room::of(&[member("db", None, &[]), member("app", None, &["db"])]);
    assert_eq!(room.open(), ["db"]);
    room.seen.get_mut("db").expect("a member").runs = true;
    assert_eq!(room.open(), ["db"]);
    let decision = room.decide();
    let (reason, message) = closed(&decision.gates[&ObjectKey::new("default", "app")]);
    assert_eq!((reason, message.as_str()), ("WaitingForDependencies", "waits until these are ready: default/db"));
    room.ready("db");
    assert_eq!(room.open(), ["app", "db"]);
}

#[test]
fn levels_of_smaller_priority_are_waited_for_and_so_many_start_at_a_time() {
    let members = [1, 2, 3].map(|number| member(&format!("a{number}"), Some(5), &[]));
    let mut room = Room::of(&[members.to_vec(), vec![member("b", Some(6), &[])]].concat());
    assert_eq!(room.open(), ["a1", "a2"]);
    room.ready("a1");
    assert_eq!(room.open(), ["a1", "a2", "a3"]);
    room.ready("a2");
    assert_eq!(room.open(), ["a1", "a2", "a3"]);
    room.ready("a3");
    assert_eq!(room.open(), ["a1", "a2", "a3", "b"]);
}

#[test]
fn nobody_is_waited_for_longer_than_the_deadline_and_that_is_told_once() {
    let mut room = Room::of(&[member("db", Some(1), &[]), member("app", Some(2), &["db"])]);
    assert_eq!(room.open(), ["db"]);
    let due = room.decide().wake.expect("it has to look again");
    assert_eq!(due, room.now + Duration::from_secs(60));
    room.pass(59);
    assert_eq!(room.open(), ["db"]);
    room.pass(1);
    let decision = room.decide();
    assert_eq!(decision.gates[&ObjectKey::new("default", "app")], Gate::Open);
    let told: Vec<&str> = decision.tellings.iter().map(|telling| telling.message.as_str()).collect();
    assert_eq!(told, ["starts without waiting any longer for default/db"]);
    assert!(room.decide().tellings.is_empty());
    assert_eq!(room.decide().rows[0].standing, Standing::GivenUp);
}

#[test]
fn a_level_has_one_deadline_also_for_those_whose_turn_did_not_come() {
    let members = [1, 2, 3, 4, 5].map(|number| member(&format!("a{number}"), Some(5), &[]));
    let mut room = Room::of(&[members.to_vec(), vec![member("b", Some(6), &[])]].concat());
    assert_eq!(room.open(), ["a1", "a2"]);
    room.pass(60);
    assert_eq!(room.open().len(), 6);
}

#[test]
fn a_pod_that_had_its_turn_comes_back_without_asking() {
    let mut room = Room::of(&[member("db", Some(1), &[]), member("app", Some(2), &["db"])]);
    for name in ["db", "app"] {
        room.ready(name);
    }
    assert_eq!(room.open(), ["app", "db"]);
    room.crashes("db");
    room.crashes("app");
    assert_eq!(room.open(), ["app", "db"]);
    // After a boot of the device the order counts again.
    room.memory = Memory::default();
    assert_eq!(room.open(), ["db"]);
}

#[test]
fn another_pod_of_the_same_name_has_its_own_turn() {
    let mut room = Room::of(&[member("db", None, &[]), member("app", None, &["db"])]);
    room.ready("db");
    assert_eq!(room.open(), ["app", "db"]);
    room.crashes("db");
    room.seen.get_mut("app").expect("a member").uid = "another".into();
    assert_eq!(room.open(), ["db"]);
}

#[test]
fn what_runs_is_never_closed_though_what_it_depends_on_is_not_there() {
    let mut room = Room::of(&[member("app", Some(9), &["nothing"]), member("db", Some(1), &[])]);
    room.seen.get_mut("app").expect("a member").runs = true;
    assert_eq!(room.open(), ["app", "db"]);
}

#[test]
fn a_name_that_nobody_has_is_waited_for_as_long_as_a_pod() {
    let mut room = Room::of(&[member("app", None, &["ghost"])]);
    assert!(room.open().is_empty());
    let (_, message) = closed(&room.decide().gates[&ObjectKey::new("default", "app")]);
    assert!(message.contains("ghost (there is no such pod)"), "{message}");
    room.pass(60);
    assert_eq!(room.open(), ["app"]);
}

#[test]
fn a_deployment_is_there_when_all_its_replicas_are_ready() {
    let mut room = Room::of(&[member("web-0", None, &[]), member("app", None, &["web"])]);
    room.replicas.insert("web".into(), 2);
    room.ready("web-0");
    assert_eq!(room.open(), ["web-0"]);
    room.replicas.insert("web".into(), 1);
    assert_eq!(room.open(), ["app", "web-0"]);
    let mut room = Room::of(&[member("app", None, &["none"])]);
    room.replicas.insert("none".into(), 0);
    assert_eq!(room.open(), ["app"]);
}

#[test]
fn a_container_is_waited_for_and_not_the_whole_pod() {
    let mut room = Room::of(&[member("db", None, &[]), member("app", None, &["default_db_c"])]);
    let seen = room.seen.get_mut("db").expect("a member");
    seen.runs = true;
    seen.ready_containers.insert("default_db_d".into());
    assert_eq!(room.open(), ["db"]);
    room.seen.get_mut("db").expect("a member").ready_containers.insert("default_db_c".into());
    assert_eq!(room.open(), ["app", "db"]);
}

#[test]
fn a_pod_that_ran_to_its_end_is_there_and_one_that_failed_is_not_waited_for_by_priority() {
    let members = [member("setup", Some(1), &[]), member("app", None, &["setup"]), member("late", Some(2), &[])];
    let mut room = Room::of(&members);
    room.seen.get_mut("setup").expect("a member").leaves = true;
    assert_eq!(room.open(), ["late", "setup"]);
    room.seen.get_mut("setup").expect("a member").succeeded = true;
    assert_eq!(room.open(), ["app", "late", "setup"]);
}

#[test]
fn a_circle_is_held_for_good_told_once_and_holds_up_the_others_until_the_deadline_only() {
    let mut room = Room::of(&[member("a", None, &["b"]), member("b", None, &["a"]), member("c", None, &["a"])]);
    let decision = room.decide();
    let (reason, message) = closed(&decision.gates[&ObjectKey::new("default", "a")]);
    assert_eq!((reason, message.as_str()), ("DependencyCycle", "dependency cycle: a → b → a"));
    assert_eq!(decision.tellings.len(), 2);
    assert!(room.decide().tellings.is_empty());
    room.pass(60);
    assert_eq!(room.open(), ["c"]);
    room.pass(6000);
    assert_eq!(room.open(), ["c"]);
}

#[test]
fn of_a_thousand_that_are_waited_for_a_few_are_named_and_the_others_counted() {
    let members: Vec<Member> = (0..1000).map(|number| member(&format!("p{number:04}"), Some(number), &[])).collect();
    let mut room = Room::of(&members);
    let decision = room.decide();
    let (_, message) = closed(&decision.gates[&ObjectKey::new("default", "p0999")]);
    assert_eq!(message, "waits until these are ready: default/p0000, default/p0001, default/p0002 and 996 more");
    assert!(decision.rows.iter().map(|row| row.waits_for.len()).sum::<usize>() < 8 * 1000);
    room.ready("p0000");
    assert_eq!(room.open(), ["p0000", "p0001"]);
}

proptest! {
    /// Whatever is ready or never becomes ready: whoever is in no circle starts, and never before those that can be waited for.
    #[test]
    fn no_pod_waits_for_ever(members in crate::plan::tests::any_members(), lame in proptest::collection::btree_set(0..9_usize, 0..4)) {
        let mut room = Room::of(&members);
        let mut started: BTreeMap<String, u64> = BTreeMap::new();
        for second in 0..20 * 60 {
            if second % 30 == 0 {
                for name in room.open() {
                    if started.contains_key(&name) {
                        continue;
                    }
                    started.insert(name.clone(), second);
                    if !lame.iter().any(|number| name == format!("p{number}")) {
                        room.ready(&name);
                    }
                }
            }
            room.pass(1);
        }
        for pod in &room.plan.pods {
            prop_assert_eq!(started.contains_key(&pod.key.name), pod.circle.is_none(), "{:?}", pod);
            for need in pod.needs.iter().filter(|_| pod.circle.is_none()) {
                for other in &need.pods {
                    let other = &room.plan.pods[*other];
                    if let Some(at) = started.get(&other.key.name) {
                        prop_assert!(*at <= started[&pod.key.name]);
                    }
                }
            }
        }
    }
}
