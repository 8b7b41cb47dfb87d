//! NATS is away for long, and everybody writes on: what is written waits in the local file, and neither memory nor file grows with how
//! often the same objects are written.
//!
//! `MKUBE_CRASH_ROUNDS` says for how long: 2,000 rounds are the 360,000 writes of an hour in which a hundred objects change every second.

mod dev;

use std::sync::atomic::{AtomicUsize, Ordering};

use dev::http::Http;
use dev::process::Running;
use dev::site::LATER;
use dev::{Machine, eventually};
use mkube_nats_server_fixture::NatsServer;
use serde_json::{Value, json};

/// Objects that change.
const OBJECTS: usize = 100;
/// Those who write.
const WRITERS: usize = 4;
/// Writes of a round.
const ROUND: usize = 180;
/// What may come on top in memory, in KiB: an allocator that settles, and no more than that.
const MORE: u64 = 12 * 1024;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn writes() -> usize {
    let rounds: Option<usize> = std::env::var("MKUBE_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok());
    rounds.map_or(6000, |rounds| (rounds * ROUND).max(6000))
}

/// Resident memory of a process, KiB.
fn resident(process: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

/// Writes `from` to `to`, each number to one of the objects.
fn write(api: &Http, process: &Running, from: usize, to: usize) {
    let next = AtomicUsize::new(from);
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= to {
                        return;
                    }
                    // About as long as the status of a pod.
                    let body = json!({"data": {"number": number.to_string(), "rest": "x".repeat(1000)}});
                    let at = format!("{MAPS}/m{}", number % OBJECTS);
                    let told = api.send("PATCH", &at, Some(("application/merge-patch+json", &body.to_string())));
                    assert!(matches!(told, Ok((200, _))), "{at}: {told:?}\n{}", process.output());
                }
            });
        }
    });
}

fn wait_store(api: &Http, words: &str) {
    eventually(&format!("a store that is {words}"), LATER, || match api.page("/readyz?verbose") {
        Ok(text) if text.contains(words) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// The number of each object.
fn numbers(api: &Http) -> Vec<u64> {
    let list = api.get(MAPS);
    let number = |map: &Value| map["data"]["number"].as_str().and_then(|text| text.parse().ok());
    let mut found: Vec<u64> = list["items"].as_array().expect("a list").iter().filter_map(number).collect();
    found.sort_unstable();
    found
}

#[test]
fn an_hour_of_writes_without_nats_takes_no_more_memory_than_minutes_of_them_and_all_of_it_arrives() {
    let mut nats = NatsServer::start();
    let machine = Machine::new("away");
    let _host = machine.host("simulated", &[]);
    let url = nats.url();
    let serve = || {
        machine.serve_unready(|config| {
            config["nats"] = json!({"url": url});
            config["store"]["kind"] = json!("nats");
            config["store"]["writeBehind"] = json!(true);
        })
    };
    let process = serve();
    let api = machine.api();
    wait_store(&api, "[+]store ok: connected, loaded, complete");
    // From then on nothing changes within it.
    eventually("it drives the device", LATER, || match api.page("/api/v1/supervisor") {
        Ok(text) if text.contains("\"drives\":true") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    for object in 0..OBJECTS {
        api.post(MAPS, &json!({"metadata": {"name": format!("m{object}")}}));
    }
    let file = machine.config()["store"]["path"].as_str().expect("a path").to_owned();
    let size = || std::fs::metadata(&file).expect("the local file").len() / 1024;

    nats.kill();
    wait_store(&api, "[!]store degraded: not connected");
    let (all, begin) = (writes(), writes().min(20_000) / 4);
    write(&api, &process, 0, begin);
    let before = (resident(&process), size());
    write(&api, &process, begin, all);
    let after = (resident(&process), size());
    eprintln!("{all} writes without NATS: from {before:?} after {begin} to {after:?} KiB of memory and file");
    assert!(after.0 < before.0 + MORE, "{after:?} KiB of memory and file, {before:?} after {begin} writes");
    assert!(after.1 < before.1 * 3 + 4096, "{after:?} KiB of memory and file, {before:?} after {begin} writes");
    let last: Vec<u64> = ((all - OBJECTS) as u64..all as u64).collect();
    assert_eq!(numbers(&api), last);

    // It is back, and whoever knows nothing but NATS finds everything.
    nats.start_again();
    wait_store(&api, "[+]store ok: connected, loaded, complete");
    process.kill();
    for file in [file.clone(), format!("{file}.journal")] {
        std::fs::remove_file(file).expect("the local file, and its journal");
    }
    let _process = serve();
    wait_store(&api, "[+]store ok: connected, loaded, complete");
    assert_eq!(numbers(&api), last);
}

#[test]
fn writes_that_are_refused_while_nats_is_away_are_told_once_and_counted_when_it_is_back() {
    const REFUSED: usize = 20;
    let mut nats = NatsServer::start();
    let machine = Machine::new("refused");
    let _host = machine.host("simulated", &[]);
    let url = nats.url();
    let process = machine.serve_unready(|config| {
        config["nats"] = json!({"url": url});
        config["store"]["kind"] = json!("nats");
    });
    let api = machine.api();
    wait_store(&api, "[+]store ok: connected, loaded, complete");
    nats.kill();
    wait_store(&api, "[!]store degraded: not connected");
    for number in 0..REFUSED {
        let told = api.call("POST", MAPS, Some(&json!({"metadata": {"name": format!("m{number}")}})));
        assert!(matches!(told, Ok((503, _))), "{told:?}");
    }
    nats.start_again();
    wait_store(&api, "[+]store ok: connected, loaded, complete");
    let lines = |words: &str| -> Vec<String> {
        process.output().lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    };
    let over = eventually("a line at its end", LATER, || match lines("writes were refused meanwhile").as_slice() {
        [over] => Ok(over.clone()),
        other => Err(format!("{other:?}")),
    });
    let counted =
        over.split("writes=").nth(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    let counted: usize = counted.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{over}"));
    assert!(counted >= REFUSED, "{over}");
    assert_eq!(lines("refused").len(), 2, "{:?}", lines("refused"));
}
