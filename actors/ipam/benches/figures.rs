//! `make bench`, section `ipam`: addresses of a /16 given out one after the other, each told as the actor tells it.
#![allow(clippy::disallowed_methods, reason = "what is measured is time")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mkube_ipam::{LeaseTable, Wish};
use mkube_messages::ipam::IpamFault;
use mkube_messages::objects::ObjectKey;
use mkube_model::network::Network;

/// Pods of the full network.
const PODS: usize = 65_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if !words.is_empty() && !words.iter().any(|word| word == "ipam") {
        return Ok(());
    }
    let network = Network::plain("wide", "10.90.0.0/16".parse()?, "bridge-wide");
    let mut table = LeaseTable::new(vec![Arc::new(network)]);
    let pods: Vec<(String, ObjectKey)> = (0..PODS)
        .map(|number| (format!("veth_default_pod-{number}_0"), ObjectKey::new("default", format!("pod-{number}"))))
        .collect();
    println!("ipam: one address of a /16, each lease published\n");
    println!("{:<44} {:>10} {:>10} {:>10}", "", "median", "p99", "longest");
    let mut times = Vec::with_capacity(PODS);
    for (veth, pod) in &pods {
        times.push(timed(&mut table, veth, pod, None)?);
    }
    let tail = times.split_off(PODS - 5_000);
    report("the first 60,000 of an empty network", times);
    report("the last 5,000, 0.8 % free at the end", tail);
    let mut again = Vec::new();
    for (veth, pod) in pods.iter().step_by(13) {
        table.release(veth);
        again.push(timed(&mut table, &format!("{veth}-again"), pod, None)?);
    }
    report("after one was given back, of a full network", again);
    let mut same = Vec::new();
    for (veth, pod) in pods.iter().skip(1).step_by(13) {
        same.push(timed(&mut table, veth, pod, None)?);
    }
    report("asked again for an interface that has one", same);
    Ok(())
}

fn timed(
    table: &mut LeaseTable,
    veth: &str,
    pod: &ObjectKey,
    previous: Option<Ipv4Addr>,
) -> Result<Duration, IpamFault> {
    let began = Instant::now();
    table.lease(Wish { veth, pod, network: None, wanted: None, previous })?;
    std::hint::black_box(table.told());
    Ok(began.elapsed())
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[(times.len() * share / 1000).min(times.len() - 1)];
    let micros = |time: Duration| format!("{:.2} µs", time.as_secs_f64() * 1e6);
    println!("{what:<44} {:>10} {:>10} {:>10}", micros(at(500)), micros(at(990)), micros(at(1000)));
}
