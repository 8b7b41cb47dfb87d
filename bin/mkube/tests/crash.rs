//! Acknowledged means kept: writers write, `kill -9` strikes at any moment, and every acknowledged write is there afterwards.
//!
//! `MKUBE_CRASH_ROUNDS` makes it longer.

mod dev;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dev::http::Http;
use dev::{Machine, SOON, eventually, pod};
use serde_json::{Value, json};

const WRITERS: usize = 4;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// What a writer knows of one object: values it may have now; `None` is absence.
type Knowledge = BTreeMap<String, Vec<Option<u64>>>;

fn rounds() -> usize {
    std::env::var("MKUBE_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

/// `MKUBE_CRASH_SEED` repeats a run; the number is in the output of a test that failed.
fn seed() -> u64 {
    let given = std::env::var("MKUBE_CRASH_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one("seed") | 1);
    eprintln!("MKUBE_CRASH_SEED={seed}");
    seed
}

/// Numbers that differ from run to run and can be repeated from the printed seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

fn map(name: &str, value: u64) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value.to_string()}})
}

/// Writes until told to stop or until nobody answers.
fn write(
    api: &Http,
    writer: usize,
    mut known: Knowledge,
    mut dice: Dice,
    stop: &AtomicBool,
    acknowledged: &AtomicU64,
) -> Knowledge {
    while !stop.load(Ordering::Relaxed) {
        let name = format!("map-{writer}-{}", dice.roll(6));
        let value = dice.roll(1 << 40);
        let path = format!("{MAPS}/{name}");
        // Only certainty is built upon: what is in doubt is written anew.
        let now = known.get(&name).cloned().unwrap_or_else(|| vec![None]);
        let (method, at, body, then) = match now.as_slice() {
            [None] => ("POST", MAPS.to_owned(), Some(map(&name, value)), Some(value)),
            [Some(_)] if dice.roll(4) == 0 => ("DELETE", path, None, None),
            _ => ("PUT", path, Some(map(&name, value)), Some(value)),
        };
        let mut maybe = now;
        maybe.push(then);
        known.insert(name.clone(), maybe);
        match api.call(method, &at, body.as_ref()) {
            Ok((200..300, text)) => {
                known.insert(name, vec![then]);
                let object: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
                let revision = object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
                acknowledged.fetch_max(revision.unwrap_or(0), Ordering::Relaxed);
            }
            Ok((status, text)) => panic!("{method} {name}: {status} {text}"),
            Err(_) => break,
        }
    }
    known
}

#[test]
fn every_acknowledged_write_survives_kill_9() {
    let machine = Machine::new("durability");
    let mut dice = Dice(seed());
    let mut known: Vec<Knowledge> = vec![Knowledge::new(); WRITERS];
    let acknowledged = Arc::new(AtomicU64::new(0));
    let (mut writes_seen, mut silent) = (0, 0);
    for round in 0..rounds() {
        let running = machine.dev(&["--host", "simulated"]);
        let api = machine.api();
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = known
            .drain(..)
            .enumerate()
            .map(|(writer, known)| {
                let (api, stop, acknowledged) = (api.clone(), stop.clone(), acknowledged.clone());
                let dice = Dice(dice.roll(u64::MAX) | 1);
                std::thread::spawn(move || write(&api, writer, known, dice, &stop, &acknowledged))
            })
            .collect();
        dev::pause(Duration::from_millis(60 + dice.roll(400)));
        running.kill();
        stop.store(true, Ordering::Relaxed);
        known = writers.into_iter().map(|writer| writer.join().expect("the writer did not fail")).collect();

        let running = machine.dev(&["--host", "simulated"]);
        let list = machine.api().get(MAPS);
        let mut found: BTreeMap<String, u64> = BTreeMap::new();
        for item in list["items"].as_array().expect("items") {
            let name = item["metadata"]["name"].as_str().expect("a name").to_owned();
            let value = item["data"]["value"].as_str().and_then(|text| text.parse().ok());
            found.insert(name, value.expect("a value"));
        }
        for known in &mut known {
            for (name, possible) in known.iter_mut() {
                let now = found.remove(name);
                assert!(possible.contains(&now), "round {round}: {name} is {now:?}, may be one of {possible:?}");
                *possible = vec![now];
            }
        }
        assert!(found.is_empty(), "round {round}: nobody wrote {found:?}");
        let revision: u64 =
            list["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a number");
        let before = acknowledged.load(Ordering::Relaxed);
        assert!(revision >= before, "round {round}: revisions went back from {before} to {revision}");
        silent += usize::from(before == writes_seen);
        writes_seen = before;
        running.kill();
    }
    // On a busy machine a kill may come before the first answer.
    assert!(silent * 2 < rounds(), "nobody wrote in {silent} rounds of {}", rounds());
}

const MENUS: [&str; 5] =
    ["/container", "/interface/veth", "/interface/bridge/port", "/container/mounts", "/container/envs"];

/// Pods are created, kill -9 strikes while they are made; afterwards each is there once, and deleted each leaves nothing.
fn pods_and_crashes(story: &str, flags: &[&str], each_round: usize) {
    let machine = Machine::new(story);
    let mut dice = Dice(seed());
    let mut names = Vec::new();
    // All pods stay, and the network has room for 253.
    for round in 0..rounds().div_ceil(2).min(240 / each_round) {
        let running = machine.dev(flags);
        let api = machine.api();
        for number in 0..each_round {
            let name = format!("pod-{round}-{number}");
            let mut wanted = pod(&name, json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]}), json!({}));
            wanted["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "1"}]);
            api.create(&wanted);
            names.push(name);
        }
        // Somewhere between the first interface and the last start.
        dev::pause(Duration::from_millis(dice.roll(600)));
        running.kill();
    }
    let running = machine.dev(flags);
    let (api, host) = (machine.api(), machine.dev_host(&running));
    let mut addresses = Vec::new();
    for name in &names {
        addresses.push(api.wait_running(name)["status"]["podIP"].to_string());
    }
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), names.len(), "no address twice");
    for menu in MENUS {
        assert_eq!(host.get(menu).as_array().map_or(0, Vec::len), names.len(), "{menu}");
    }
    // And again while they are taken down.
    for name in &names {
        api.delete(name);
    }
    dev::pause(Duration::from_millis(dice.roll(300)));
    running.kill();
    let running = machine.dev(flags);
    let host = machine.dev_host(&running);
    eventually("everything is gone", SOON, || {
        let left: usize = MENUS.iter().map(|menu| host.get(menu).as_array().map_or(0, Vec::len)).sum();
        let pods = machine.api().get("/api/v1/pods")["items"].as_array().map_or(0, Vec::len);
        let leftovers = if left + pods == 0 { machine.leftovers() } else { vec![] };
        if left + pods + leftovers.len() == 0 {
            Ok(())
        } else {
            Err(format!("{left} rows, {pods} pods, {leftovers:?}"))
        }
    });
}

#[test]
fn pods_acknowledged_before_a_crash_run_afterwards_each_once() {
    pods_and_crashes("crash-simulated", &["--host", "simulated"], 6);
}

#[test]
fn real_containers_half_made_at_a_crash_are_finished_each_once() {
    if !dev::real_containers("crashes while real containers are made") {
        return;
    }
    pods_and_crashes("crash-real", &[], 4);
}
