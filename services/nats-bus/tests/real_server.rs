//! The bus on a real server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mkube_model::neighbours::bus::{Bus, BusFault, BusMessage, BusSession};
use mkube_model::secret::SecretUrl;
use mkube_model::settings::NatsSettings;
use mkube_nats_bus::NatsBus;
use mkube_nats_server_fixture::NatsServer;

/// Longest time anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

fn bus(url: &str) -> NatsBus {
    NatsBus::new(NatsSettings { url: SecretUrl::new(url), ..NatsSettings::default() }, "test").expect("a thread")
}

fn message(subject: &str, payload: impl Into<Vec<u8>>) -> BusMessage {
    BusMessage { subject: subject.into(), headers: BTreeMap::new(), payload: payload.into().into() }
}

async fn attach(bus: &NatsBus) -> Arc<dyn BusSession> {
    tokio::time::timeout(PATIENCE, bus.attach()).await.expect("in time").expect("attached")
}

#[tokio::test]
async fn what_is_told_is_heard_in_order_by_who_listens_and_by_nobody_else() {
    let server = NatsServer::start();
    let (one, other) = (bus(&server.url()), bus(&server.url()));
    let (teller, listener) = (attach(&one).await, attach(&other).await);
    let mut heard = listener.subscribe("a.*.c").await.expect("subscribed");
    // The server has the subscription when it has what was told after it.
    listener.publish(vec![]).await.expect("taken");
    let mut first = message("a.b.c", "1");
    first.headers.insert("X-Mark".into(), "m".into());
    let told = vec![first.clone(), message("a.b.d", "2"), message("a.x.c", "3"), message("a.b.c", "4")];
    teller.publish(told.clone()).await.expect("taken");
    for expected in [&told[0], &told[2], &told[3]] {
        let message = tokio::time::timeout(PATIENCE, heard.next()).await.expect("in time");
        assert_eq!(message.as_ref(), Some(expected));
    }
    assert!(teller.longest() >= 1 << 20);
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_one_that_is_back_is_attached_to() {
    let mut server = NatsServer::start();
    let bus = bus(&server.url());
    let session = attach(&bus).await;
    server.freeze();
    let stuck = tokio::time::timeout(PATIENCE, session.publish(vec![message("a", "1")])).await;
    assert!(matches!(stuck.expect("within its patience"), Err(BusFault::Away(_))));
    server.thaw();
    server.kill();
    tokio::time::timeout(PATIENCE, session.ended()).await.expect("the end is noticed");
    assert!(matches!(session.publish(vec![message("a", "1")]).await, Err(BusFault::Away(_))));
    assert!(matches!(bus.attach().await, Err(BusFault::Away(_))));
    server.start_again();
    attach(&bus).await.publish(vec![message("a", "1")]).await.expect("taken");
}

#[tokio::test]
async fn who_is_slow_to_hear_loses_messages_and_keeps_few() {
    let server = NatsServer::start();
    let bus = bus(&server.url());
    let (teller, listener) = (attach(&bus).await, attach(&bus).await);
    let mut heard = listener.subscribe("flood").await.expect("subscribed");
    listener.publish(vec![]).await.expect("taken");
    for _ in 0..20 {
        teller.publish(vec![message("flood", vec![b'x'; 1000]); 500]).await.expect("taken");
    }
    // What comes over the listener's connection comes in order: after its own word the flood is over.
    let mut last = listener.subscribe("last").await.expect("subscribed");
    listener.publish(vec![message("last", "")]).await.expect("taken");
    assert!(tokio::time::timeout(PATIENCE, last.next()).await.expect("in time").is_some());
    drop(teller);
    drop(listener);
    let mut kept = 0;
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(200), heard.next()).await {
        kept += 1;
    }
    assert!((1..=64).contains(&kept), "{kept} of 10000 were kept");
}

#[tokio::test]
async fn a_server_that_does_not_let_us_in_says_so_without_a_secret() {
    let server = NatsServer::start_with("authorization { token: \"right\" }");
    let place = server.url().replace("nats://", "");
    let refused = bus(&format!("nats://hunter2@{place}")).attach().await;
    let Err(BusFault::Refused(why)) = refused.map(|_| ()) else { panic!("it let us in") };
    assert!(!why.contains("hunter2"), "{why}");
    attach(&bus(&format!("nats://right@{place}"))).await;
}
