//! Three servers with a copy of everything each.

use std::time::Duration;

use mkube_model::neighbours::desired_store::{Expected, Revision};
use mkube_nats_server_fixture::NatsCluster;

use crate::bench::{Bench, options, pairs, put, until};

/// Writes until it is acknowledged; what is open is looked up.
async fn written(bench: &Bench, value: &str) -> Revision {
    until("it is written", || async {
        let contents = bench.load().await;
        if contents.stale.is_some() {
            return None;
        }
        let found = contents.values.iter().find(|one| one.at.key == "a");
        if let Some(done) = found.filter(|found| found.value.as_ref() == value.as_bytes()) {
            return Some(done.revision);
        }
        let expected = found.map_or(Expected::Absent, |found| Expected::At(found.revision));
        bench.commit(put("a", value, expected)).await.ok()?.ok()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_may_die_at_any_time() {
    let mut cluster = tokio::task::spawn_blocking(|| NatsCluster::start(3)).await.expect("started");
    let bench = Bench::with(|path| {
        let mut options = options(&cluster.url(), path);
        options.nats.replicas = 3;
        options
    })
    .await;
    bench.complete().await;
    let mut last = 0;
    for victim in 0..3 {
        for number in 0..5 {
            let revision = written(&bench, &format!("{victim}.{number}")).await;
            assert!(revision > last);
            last = revision;
        }
        cluster.members[victim].kill();
        let revision = written(&bench, &format!("{victim} is dead")).await;
        assert!(revision > last);
        last = revision;
        let dead = &mut cluster.members[victim];
        tokio::task::block_in_place(|| dead.start_again());
        // Before the next one dies this one has everything again.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let contents = bench.complete().await;
    assert_eq!(crate::bench::texts(&contents), pairs(&[("a", "2 is dead")]));
}
