//! Three servers with a copy of everything each.

use std::time::Duration;

use mkube_model::neighbours::desired_store::{Expected, Revision};
use mkube_nats_server_fixture::NatsCluster;

use crate::bench::{Bench, options, pairs, put, within};

/// Servers that lost one of them elect their leaders anew, a bucket each; on a busy machine that takes its time, and asking those without
/// one takes 5 to 10 s each time.
const ELECTED: Duration = Duration::from_secs(240);

/// Writes until it is acknowledged; what is open is looked up.
async fn written(bench: &Bench, value: &str) -> Revision {
    within(ELECTED, "it is written", || async {
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

/// Waits until each bucket has a leader and copies that are not behind.
async fn all_have_everything(cluster: &NatsCluster, bench: &Bench) {
    let client = async_nats::connect(cluster.members[0].url()).await.expect("one is there");
    let context = async_nats::jetstream::new(client);
    for bucket in &bench.options.buckets {
        within(ELECTED, "every copy has everything", || async {
            let stream = context.get_stream(format!("KV_{bucket}")).await.ok()?;
            let copies = stream.cached_info().cluster.clone().filter(|copies| copies.leader.is_some())?;
            let others = copies.replicas.iter().filter(|copy| copy.current && !copy.offline).count();
            (others + 1 == cluster.members.len()).then_some(())
        })
        .await;
    }
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
        // Before the next one dies this one has everything again: of three only one may be missing.
        all_have_everything(&cluster, &bench).await;
    }
    let contents = bench.complete().await;
    assert_eq!(crate::bench::texts(&contents), pairs(&[("a", "2 is dead")]));
}
