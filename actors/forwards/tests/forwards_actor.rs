//! The actor over name servers that answer as told, under paused time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::Actor;
use mkube_fakes::{FakeClock, FakeResolver};
use mkube_forwards::{ForwardsActor, ForwardsParts};
use mkube_messages::dns::{NamesPublisher, NamesView, ZoneSight, names_view};
use mkube_messages::forwards::{ForwardsReader, forwards_view};
use tokio::time::sleep;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("a literal")
}

struct Stage {
    names: NamesPublisher,
    resolver: Arc<FakeResolver>,
    forwards: ForwardsReader,
}

impl Stage {
    fn new() -> Self {
        tokio::time::pause();
        let ((names, names_reader), (publish, forwards)) = (names_view(), forwards_view());
        let resolver = Arc::new(FakeResolver::default());
        let clock = Arc::new(FakeClock::default());
        ForwardsActor::new(ForwardsParts { names: names_reader, resolver: resolver.clone(), publish, clock }).start();
        Self { names, resolver, forwards }
    }

    /// So many networks, each with a server that knows all the others.
    fn networks(&self, many: u8) {
        let zone = |number: u8| {
            let server = Some(ip(&format!("10.{number}.0.2")));
            (format!("n{number}.lo"), Arc::new(ZoneSight { server, compared: true, ..ZoneSight::default() }))
        };
        for number in 0..many {
            for other in 0..many {
                let (server, name) = (ip(&format!("10.{number}.0.2")), format!("rose1.n{other}.lo"));
                self.resolver.set(server, &name, Ok(ip(&format!("10.{other}.0.1"))));
            }
        }
        self.names.send_replace(Arc::new(NamesView { loaded: true, zones: (0..many).map(zone).collect() }));
    }

    async fn until(&mut self, what: &str, holds: impl Fn(usize, usize) -> bool) {
        let seen = tokio::time::timeout(Duration::from_secs(600), async {
            loop {
                let view = self.forwards.borrow_and_update().clone();
                let good = view.by_pair.values().filter(|sight| sight.answer.is_ok()).count();
                if holds(good, view.by_pair.len() - good) {
                    return;
                }
                self.forwards.changed().await.expect("published");
            }
        });
        seen.await.unwrap_or_else(|_| panic!("{what}"));
    }
}

#[actix::test]
async fn answers_are_published_for_each_pair_and_follow_the_zones() {
    let mut stage = Stage::new();
    stage.networks(2);
    stage.until("two ways", |good, bad| (good, bad) == (2, 0)).await;
    stage.networks(5);
    stage.until("twenty ways", |good, bad| (good, bad) == (20, 0)).await;
    assert!(stage.resolver.most_at_once() <= 8, "bounded");
    stage.networks(1);
    stage.until("nobody to ask", |good, bad| (good, bad) == (0, 0)).await;
}

#[actix::test]
async fn one_lost_datagram_is_no_failure_and_a_failure_is_asked_again_soon() {
    let mut stage = Stage::new();
    stage.resolver.lose(1);
    stage.networks(2);
    stage.until("both", |good, bad| (good, bad) == (2, 0)).await;
    assert_eq!(stage.resolver.asked().len(), 3);
    stage.resolver.set(ip("10.0.0.2"), "rose1.n1.lo", Err("refused"));
    stage.until("one fails", |good, bad| (good, bad) == (1, 1)).await;
    stage.resolver.set(ip("10.0.0.2"), "rose1.n1.lo", Ok(ip("10.1.0.1")));
    let before = tokio::time::Instant::now();
    stage.until("it is well again", |good, bad| (good, bad) == (2, 0)).await;
    assert!(before.elapsed() < Duration::from_secs(20), "in simulated time");
}

#[actix::test]
async fn nobody_is_asked_before_the_zones_are_known() {
    let stage = Stage::new();
    stage.networks(2);
    stage.names.send_modify(|view| {
        let mut other = (**view).clone();
        other.loaded = false;
        *view = Arc::new(other);
    });
    sleep(Duration::from_secs(120)).await;
    assert_eq!(stage.resolver.asked(), []);
}
