//! The whole controller over HTTP and a real name server: one that is emptied, away, put back to an old state, or full of what
//! others wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use mkube_microdns_client::MicrodnsClient;
use mkube_model::neighbours::name_servers::{NameServers, NewRecord, RecordRow};
use mkube_model::neighbours::resolver::Resolver;
use mkube_name_server::{NameServer, Options, Running};
use mkube_probing::NetworkResolver;
use mkube_scenarios::{Setup, World};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
/// Longest wait: a silent server is asked how it is every 15 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// A name server that comes and goes, always at the same addresses.
struct Names {
    directory: TempDir,
    running: Option<Running>,
    rest: SocketAddr,
    dns: SocketAddr,
    client: MicrodnsClient,
}

impl Names {
    async fn start() -> anyhow::Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (directory, any) = (tempfile::tempdir()?, SocketAddr::from((LOOPBACK, 0)));
        let client = MicrodnsClient::new().map_err(anyhow::Error::msg)?;
        let mut names = Self { directory, running: None, rest: any, dns: any, client };
        names.again().await?;
        Ok(names)
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("names.redb")
    }

    fn copy(&self) -> PathBuf {
        self.directory.path().join("copy.redb")
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.rest)
    }

    async fn again(&mut self) -> anyhow::Result<()> {
        let options = Options { dns: vec![self.dns], ..Options::new(self.file(), self.rest) };
        let running = NameServer::start(options).await?;
        (self.rest, self.dns) = (running.rest_addr(), running.dns_addr().context("it answers")?);
        self.running = Some(running);
        Ok(())
    }

    /// Waits until it is old enough to be told apart from one that was started after it: uptime is told in whole seconds.
    async fn until_known(&self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.client.health(&self.endpoint()).await?.uptime.is_none_or(|seconds| seconds < 5) {
            anyhow::ensure!(Instant::now() < end, "it does not say how long it is up");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn away(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// Addresses of a name, as anybody hears them.
    async fn asked(&self, name: &str) -> BTreeSet<String> {
        let resolver = NetworkResolver::on_port(self.dns.port());
        let answer = resolver.addresses(IpAddr::from(LOOPBACK), name, Duration::from_secs(2)).await;
        answer.unwrap_or_default().into_iter().map(|address| address.to_string()).collect()
    }

    async fn until(&self, name: &str, wanted: &[&str]) -> anyhow::Result<()> {
        let wanted: BTreeSet<String> = wanted.iter().map(|one| (*one).to_owned()).collect();
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.asked(name).await;
            if found == wanted {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < end, "{name} is {found:?} and not {wanted:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn zone(&self) -> anyhow::Result<String> {
        let zones = self.client.zones(&self.endpoint()).await?;
        Ok(zones.into_iter().find(|zone| zone.name == "gt.lo").context("there is a zone")?.id)
    }

    async fn rows(&self) -> anyhow::Result<BTreeMap<String, RecordRow>> {
        let rows = self.client.records(&self.endpoint(), &self.zone().await?).await?;
        Ok(rows.into_iter().map(|row| (row.id.clone(), row)).collect())
    }

    /// What somebody else writes.
    async fn write(&self, zone: &str, name: &str, address: &str) -> anyhow::Result<String> {
        let (name, data) = (name.to_owned(), address.to_owned());
        let record = NewRecord { name, kind: "A", data, ttl: 77, origin: "somebody".to_owned() };
        Ok(self.client.create_record(&self.endpoint(), zone, &record).await?.row.id)
    }
}

async fn world(names: &Names) -> anyhow::Result<World> {
    World::with(Setup { name_server: Some(names.endpoint()), ..Setup::default() }).await
}

/// A pod that is ready; its address.
async fn pod(world: &World, name: &str) -> anyhow::Result<String> {
    let body = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "annotations": {"vkube.io/aliases": "all"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "hello:latest"}]},
    });
    world.api().post("/api/v1/namespaces/default/pods", &body).await?.expect(201);
    world.until_pod(name, "Running").await?;
    let pod = world.api().get(&path(name)).await?.expect(200).body;
    Ok(pod["status"]["podIP"].as_str().context("an address")?.to_owned())
}

fn path(pod: &str) -> String {
    format!("/api/v1/namespaces/default/pods/{pod}")
}

/// Deletes a pod and waits until it is gone.
async fn delete(world: &World, name: &str) -> anyhow::Result<()> {
    world.api().delete(&path(name)).await?.expect(200);
    let pods = world.controller().objects.kinds().named("Pod").context("there are pods")?.id();
    let key = mkube_messages::objects::ObjectKey::new("default", name);
    world.until("it is gone", |view| view.get(&pods, &key).is_none()).await
}

/// Waits until every name is found to be right.
async fn validated(world: &World) -> anyhow::Result<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let report = world.api().get("/api/v1/dns/validate").await?.expect(200).body;
        if report["summary"]["fail"] == 0 && report["summary"]["warn"] == 0 {
            return Ok(report);
        }
        anyhow::ensure!(Instant::now() < end, "names are not right: {report}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[actix_rt::test]
async fn a_server_that_lost_everything_gets_everything_again() -> anyhow::Result<()> {
    let mut names = Names::start().await?;
    let world = world(&names).await?;
    let (web, db) = (pod(&world, "web").await?, pod(&world, "db").await?);
    names.until("all.gt.lo", &[&web, &db]).await?;
    validated(&world).await?;
    let before = names.rows().await?;
    names.away().await;
    std::fs::remove_file(names.file())?;
    names.again().await?;
    for (name, wanted) in [("web", [web.as_str()].as_slice()), ("c.db", &[&db]), ("all", &[&web, &db])] {
        names.until(&format!("{name}.gt.lo"), wanted).await?;
    }
    validated(&world).await?;
    let said = |rows: &BTreeMap<String, RecordRow>| -> BTreeSet<(String, String, u32)> {
        rows.values().map(|row| (row.name.clone(), row.data.clone(), row.ttl)).collect()
    };
    let after = names.rows().await?;
    assert_eq!((said(&after), after.len()), (said(&before), before.len()));
    world.stop().await;
    names.away().await;
    Ok(())
}

#[actix_rt::test]
async fn what_pods_became_while_the_server_was_away_it_learns_when_it_is_back() -> anyhow::Result<()> {
    let mut names = Names::start().await?;
    let world = world(&names).await?;
    let (stays, goes) = (pod(&world, "stays").await?, pod(&world, "goes").await?);
    names.write(&names.zone().await?, "all", "10.90.0.250").await?;
    names.until("goes.gt.lo", &[&goes]).await?;
    names.away().await;
    // Nobody waits for it: pods start and end without it.
    delete(&world, "goes").await?;
    let new = pod(&world, "new").await?;
    let passing = pod(&world, "passing").await?;
    delete(&world, "passing").await?;
    names.again().await?;
    names.until("new.gt.lo", &[&new]).await?;
    names.until("all.gt.lo", &[&stays, &new, "10.90.0.250"]).await?;
    names.until("stays.gt.lo", &[&stays]).await?;
    names.until("goes.gt.lo", &[]).await?;
    assert_eq!(names.asked("passing.gt.lo").await, BTreeSet::new(), "{passing}");
    validated(&world).await?;
    world.stop().await;
    names.away().await;
    Ok(())
}

#[actix_rt::test]
async fn a_server_put_back_to_an_old_state_learns_what_came_since() -> anyhow::Result<()> {
    let mut names = Names::start().await?;
    let world = world(&names).await?;
    let (stays, goes) = (pod(&world, "stays").await?, pod(&world, "goes").await?);
    names.until("all.gt.lo", &[&stays, &goes]).await?;
    names.write(&names.zone().await?, "printer", "10.90.0.250").await?;
    validated(&world).await?;
    names.away().await;
    std::fs::copy(names.file(), names.copy())?;
    names.again().await?;
    delete(&world, "goes").await?;
    let new = pod(&world, "new").await?;
    names.until("all.gt.lo", &[&stays, &new]).await?;
    names.until("goes.gt.lo", &[]).await?;
    validated(&world).await?;
    names.until_known().await?;
    names.away().await;
    std::fs::copy(names.copy(), names.file())?;
    names.again().await?;
    assert_eq!(names.asked("goes.gt.lo").await, BTreeSet::from([goes]), "it is as it was");
    names.until("goes.gt.lo", &[]).await?;
    names.until("new.gt.lo", &[&new]).await?;
    names.until("all.gt.lo", &[&stays, &new]).await?;
    assert_eq!(names.asked("printer.gt.lo").await, BTreeSet::from(["10.90.0.250".to_owned()]));
    validated(&world).await?;
    world.stop().await;
    names.away().await;
    Ok(())
}

#[actix_rt::test]
async fn ten_thousand_records_of_others_are_as_they_were() -> anyhow::Result<()> {
    const OTHERS: usize = 10_000;
    let mut names = Names::start().await?;
    let zone = names.client.create_zone(&names.endpoint(), "gt.lo").await?.id;
    let address = |number: usize| format!("10.90.{}.{}", 1 + number / 250, 1 + number % 250);
    // Some of them under names that pods have as well.
    let name = |number: usize| match number {
        0 => "web".to_owned(),
        1 => "all".to_owned(),
        _ => format!("host-{number}"),
    };
    let (server, zone) = (&names, zone.as_str());
    let writes = futures_util::stream::iter(0..OTHERS)
        .map(|number| async move { server.write(zone, &name(number), &address(number)).await });
    let written: Vec<anyhow::Result<String>> = writes.buffer_unordered(32).collect().await;
    assert_eq!(written.into_iter().collect::<anyhow::Result<BTreeSet<String>>>()?.len(), OTHERS);
    let before = names.rows().await?;
    assert_eq!(before.len(), OTHERS);

    let world = world(&names).await?;
    let web = pod(&world, "web").await?;
    names.until("web.gt.lo", &[&web, &address(0)]).await?;
    names.until("all.gt.lo", &[&web, &address(1)]).await?;
    let report = validated(&world).await?;
    let checks = report["checks"].as_array().context("checks")?;
    let zone = checks.iter().find(|check| check["name"] == "zone/gt/reachable").context("of the zone")?;
    assert!(zone["message"].as_str().is_some_and(|text| text.contains("10000 of others")), "{zone}");
    // Everything is compared again, and then ours goes.
    names.away().await;
    names.again().await?;
    let other = pod(&world, "other").await?;
    names.until("all.gt.lo", &[&web, &other, &address(1)]).await?;
    for pod in ["web", "other"] {
        delete(&world, pod).await?;
    }
    names.until("web.gt.lo", &[&address(0)]).await?;
    names.until("all.gt.lo", &[&address(1)]).await?;
    validated(&world).await?;
    let after = names.rows().await?;
    for (id, row) in &before {
        assert_eq!(after.get(id), Some(row));
    }
    let ours: BTreeSet<&str> =
        after.iter().filter(|(id, _)| !before.contains_key(*id)).map(|(_, row)| row.name.as_str()).collect();
    assert_eq!(ours, BTreeSet::from(["dns", "rose1"]));
    world.stop().await;
    names.away().await;
    Ok(())
}
