//! When nothing goes wrong: the right records, with the fewest calls, and nothing of others.

use std::sync::Arc;
use std::time::Duration;

use mkube_fakes::Release;
use mkube_messages::dns::RecordType;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::bench::{Bench, G10, GT, network};

#[actix_rt::test]
async fn a_pod_that_becomes_ready_is_named_at_once_with_one_call_for_each_name() {
    for release in [Release::Current, Release::Early] {
        let mut bench = Bench::new(release);
        bench.put_pod("web", "10.0.1.5", false);
        bench.put_pod("db", "10.0.1.6", true);
        bench.start().await;
        bench.settle().await;
        bench.until("the zones are there", |bench| bench.servers.zone_names(GT).len() == 2).await;
        sleep(Duration::from_millis(50)).await;
        assert!(bench.data("web").is_empty());
        bench.servers.forget_calls();
        let before = Instant::now();
        bench.put_pod("web", "10.0.1.5", true);
        bench
            .until("web is named", |bench| bench.data("web") == ["10.0.1.5"] && bench.data("app.web") == ["10.0.1.5"])
            .await;
        assert!(before.elapsed() <= Duration::from_millis(50), "{:?} {release:?}", before.elapsed());
        bench.settle().await;
        let mut calls = bench.servers.calls(GT);
        calls.sort();
        let names = ["create_record app.web 10.0.1.5", "create_record web 10.0.1.5"];
        match release {
            Release::Current => assert_eq!(calls, names),
            // It does not keep the names of addresses: we do.
            Release::Early => assert_eq!(calls, ["create_record 5 web.gt.lo.", names[0], names[1]]),
        }
        bench.stop().await;
    }
}

#[actix_rt::test]
async fn in_steady_state_there_is_one_question_after_its_health_and_nothing_else() {
    let mut bench = Bench::new(Release::Current);
    (0..20).for_each(|at| bench.put_pod(&format!("web-{at}"), &format!("10.0.1.{}", at + 10), true));
    bench.start().await;
    bench.settle().await;
    sleep(Duration::from_secs(20)).await;
    bench.servers.forget_calls();
    let writes = bench.stored().writes;
    sleep(Duration::from_secs(500)).await;
    assert_eq!(bench.servers.calls(GT), Vec::<String>::new());
    assert!((32..=34).contains(&bench.servers.health_calls(GT)), "{}", bench.servers.health_calls(GT));
    assert_eq!(bench.stored().writes, writes);
    // Slowly everything is compared, and nothing is read that did not change.
    bench.servers.plant(GT, "gt.lo", "printer", "10.0.1.99");
    sleep(Duration::from_secs(600)).await;
    let reads = bench.servers.calls(GT).iter().filter(|call| call.starts_with("records")).count();
    assert!((1..=2).contains(&reads), "{:?}", bench.servers.calls(GT));
}

#[actix_rt::test]
async fn a_restart_compares_and_changes_nothing() {
    for release in [Release::Current, Release::Early] {
        let mut bench = Bench::new(release);
        (0..20).for_each(|at| bench.put_pod(&format!("web-{at}"), &format!("10.0.1.{}", at + 10), true));
        bench.start().await;
        bench.settle().await;
        sleep(Duration::from_secs(5)).await;
        bench.stop().await;
        bench.servers.forget_calls();
        let writes = bench.stored().writes;
        bench.start().await;
        bench.settle().await;
        sleep(Duration::from_secs(5)).await;
        let changes: Vec<String> =
            bench.servers.calls(GT).into_iter().filter(|call| call.contains("record ")).collect();
        assert_eq!(changes, Vec::<String>::new(), "{release:?}");
        assert_eq!(bench.stored().writes, writes, "{release:?}");
        bench.stop().await;
    }
}

#[actix_rt::test]
async fn readiness_that_comes_and_goes_writes_nothing_to_the_store() {
    let mut bench = Bench::new(Release::Early);
    bench.put_pod("web", "10.0.1.5", true);
    bench.start().await;
    bench.settle().await;
    sleep(Duration::from_millis(100)).await;
    let writes = bench.stored().writes;
    for _ in 0..3 {
        bench.put_pod("web", "10.0.1.5", false);
        bench.until("web is out", |bench| bench.data("web").is_empty()).await;
        bench.put_pod("web", "10.0.1.5", true);
        bench.until("web is back", |bench| bench.data("web") == ["10.0.1.5"]).await;
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(bench.stored().writes, writes);
}

#[actix_rt::test]
async fn an_address_that_changed_is_one_call_and_the_old_one_is_gone() {
    for release in [Release::Current, Release::Early] {
        let mut bench = Bench::new(release);
        bench.put_pod("web", "10.0.1.5", true);
        bench.start().await;
        bench.settle().await;
        bench.servers.forget_calls();
        bench.put_pod("web", "10.0.1.6", true);
        bench.settle().await;
        assert_eq!(bench.data("web"), ["10.0.1.6"]);
        let calls = bench.servers.calls(GT);
        assert_eq!(
            calls.iter().filter(|call| call.contains(" web 10")).collect::<Vec<_>>(),
            ["update_record web 10.0.1.6"]
        );
        bench.stop().await;
    }
}

#[actix_rt::test]
async fn replicas_share_an_alias_and_none_takes_the_address_of_another() {
    let mut bench = Bench::new(Release::Current);
    let www = json!({"vkube.io/aliases": "www"});
    bench.put_pod_with("web-0", "10.0.1.5", true, www.clone());
    bench.put_pod_with("web-1", "10.0.1.6", true, www.clone());
    bench.start().await;
    bench.settle().await;
    assert_eq!(bench.data("www"), ["10.0.1.5", "10.0.1.6"]);
    bench.put_pod_with("web-0", "10.0.1.5", false, www);
    bench.until("one is out", |bench| bench.data("www") == ["10.0.1.6"]).await;
    bench.remove_pod("web-1");
    bench.until("both are", |bench| bench.data("www").is_empty()).await;
}

#[actix_rt::test]
async fn an_address_that_the_server_names_by_itself_is_called_by_its_pod() {
    let mut bench = Bench::new(Release::Current);
    bench.servers.set_latency(GT, Duration::from_millis(5));
    for (pod, address) in [("web-0", "10.0.1.5"), ("web-1", "10.0.1.6")] {
        bench.put_pod_with(pod, address, true, json!({"vkube.io/aliases": "all,www,x=app"}));
    }
    bench.start().await;
    bench.settle().await;
    let called = |bench: &Bench, name: &str| bench.servers.data(GT, "1.0.10.in-addr.arpa", name);
    assert_eq!((called(&bench, "5"), called(&bench, "6")), (vec!["web-0.gt.lo.".into()], vec!["web-1.gt.lo.".into()]));
}

#[actix_rt::test]
async fn what_others_put_there_is_left_alone_whatever_we_want() {
    for release in [Release::Current, Release::Early] {
        let mut bench = Bench::new(release);
        bench.servers.plant(GT, "gt.lo", "web", "10.0.1.77");
        bench.servers.plant(GT, "gt.lo", "app.web", "10.0.1.5");
        bench.servers.plant(GT, "gt.lo", "printer", "10.0.1.99");
        bench.put_pod("web", "10.0.1.5", true);
        bench.start().await;
        bench.settle().await;
        assert_eq!(bench.data("web"), ["10.0.1.5", "10.0.1.77"]);
        assert_eq!(bench.data("app.web"), ["10.0.1.5"], "it is there, and not twice");
        assert_eq!(bench.zone("gt.lo").foreign, 3);
        bench.remove_pod("web");
        bench.until("ours is gone", |bench| bench.data("web") == ["10.0.1.77"]).await;
        sleep(Duration::from_secs(700)).await;
        assert_eq!((bench.data("app.web"), bench.data("printer")), (vec!["10.0.1.5".into()], vec!["10.0.1.99".into()]));
        bench.stop().await;
    }
}

#[actix_rt::test]
async fn ten_thousand_records_of_others_cost_no_call() {
    let mut bench = Bench::new(Release::Current);
    (0..10_000).for_each(|at| drop(bench.servers.plant(GT, "gt.lo", &format!("host-{at}"), "192.0.2.7")));
    let before = bench.servers.rows(GT, "gt.lo").len();
    bench.put_pod("web", "10.0.1.5", true);
    bench.start().await;
    bench.settle().await;
    let changes = bench.servers.calls(GT).iter().filter(|call| call.contains("_record ")).count();
    // Web, its container, gateway and server.
    assert_eq!(changes, 4);
    assert_eq!(bench.servers.rows(GT, "gt.lo").len(), before + 4);
    assert_eq!(bench.zone("gt.lo").foreign, 10_000);
}

#[actix_rt::test]
async fn a_pod_that_is_withdrawn_has_no_name_when_that_is_answered_and_is_named_again_after_it_was_not_ready() {
    let mut bench = Bench::new(Release::Current);
    bench.put_pod("web", "10.0.1.5", true);
    bench.start().await;
    bench.settle().await;
    bench.servers.set_latency(GT, Duration::from_millis(200));
    bench.withdraw("web", Duration::from_secs(3)).await.expect("answered");
    assert!(bench.data("web").is_empty() && bench.data("app.web").is_empty());
    bench.put_pod("web", "10.0.1.5", false);
    sleep(Duration::from_millis(10)).await;
    bench.put_pod("web", "10.0.1.5", true);
    bench.until("web is named again", |bench| bench.data("web") == ["10.0.1.5"]).await;
    // One that is not stopped after all gets its names back as well.
    bench.withdraw("web", Duration::from_secs(3)).await.expect("answered");
    sleep(Duration::from_secs(30)).await;
    assert!(bench.data("web").is_empty());
    sleep(Duration::from_secs(40)).await;
    assert_eq!(bench.data("web"), ["10.0.1.5"]);
}

#[actix_rt::test]
async fn a_pod_that_was_deleted_while_nobody_looked_is_stopped_after_its_names_are_gone() {
    for release in [Release::Current, Release::Early] {
        let mut bench = Bench::new(release);
        bench.put_pod("web", "10.0.1.5", true);
        bench.start().await;
        bench.settle().await;
        bench.stop().await;
        bench.delete_pod("web");
        bench.servers.set_latency(GT, Duration::from_millis(200));
        bench.start().await;
        bench.withdraw("web", Duration::from_secs(3)).await.expect("answered");
        assert!(bench.data("web").is_empty() && bench.data("app.web").is_empty(), "{release:?}");
        bench.stop().await;
    }
}

#[actix_rt::test]
async fn no_stop_waits_for_the_names_of_addresses_that_a_server_keeps_by_itself() {
    let mut bench = Bench::new(Release::Current);
    bench.put_pod("web", "10.0.1.5", true);
    bench.start().await;
    bench.settle().await;
    // By now the zone that the server made for them is known.
    sleep(Duration::from_secs(40)).await;
    assert_eq!(bench.servers.zone_names(GT), ["1.0.10.in-addr.arpa", "gt.lo"]);
    let before = Instant::now();
    bench.withdraw("web", Duration::from_secs(3)).await.expect("answered");
    assert!(bench.data("web").is_empty());
    assert!(before.elapsed() < Duration::from_millis(100), "{:?}", before.elapsed());
}

#[actix_rt::test]
async fn news_that_were_late_name_no_pod_that_is_about_to_stop_however_long_its_stop_had_to_wait() {
    let mut bench = Bench::new(Release::Current);
    bench.put_pod("web", "10.0.1.5", false);
    bench.put_pod("db", "10.0.1.6", true);
    bench.start().await;
    bench.settle().await;
    bench.servers.set_latency(GT, Duration::from_secs(10));
    bench.remove_pod("db");
    sleep(Duration::from_millis(10)).await;
    let before = Instant::now();
    let _ = bench.withdraw("web", Duration::from_secs(3)).await;
    assert!(before.elapsed() >= Duration::from_secs(3), "it had to wait");
    let wanted = |bench: &Bench| {
        let zone = bench.zone("gt.lo");
        let found = zone.records.get(&("web".to_owned(), RecordType::A));
        found.is_some_and(|record| !record.wanted.is_empty())
    };
    // It was ready a moment ago, as somebody says who did not know of the stop.
    bench.put_pod("web", "10.0.1.5", true);
    sleep(Duration::from_secs(1)).await;
    assert!(!wanted(&bench));
    sleep(Duration::from_secs(2)).await;
    assert!(wanted(&bench), "it is ready all the same");
}

#[actix_rt::test]
async fn what_is_told_of_containers_of_the_spec_before_names_no_pod_that_is_about_to_stop() {
    let mut bench = Bench::new(Release::Current);
    bench.put_pod("web", "10.0.1.5", false);
    bench.start().await;
    bench.settle().await;
    bench.set_observed("web", false);
    bench.withdraw("web", Duration::from_secs(3)).await.expect("answered");
    bench.put_pod("web", "10.0.1.5", true);
    bench.set_observed("web", false);
    // Its stop has to wait, and the store takes no other news.
    sleep(Duration::from_secs(30)).await;
    assert!(bench.data("web").is_empty());
    bench.set_observed("web", true);
    bench.until("its new container is named", |bench| bench.data("web") == ["10.0.1.5"]).await;
    bench.set_observed("web", false);
    bench.put_pod("web", "10.0.1.5", false);
    bench.withdraw("web", Duration::from_secs(3)).await.expect("answered");
    bench.put_pod("web", "10.0.1.5", true);
    bench.set_observed("web", false);
    sleep(Duration::from_secs(30)).await;
    assert!(bench.data("web").is_empty());
    sleep(Duration::from_secs(40)).await;
    assert_eq!(bench.data("web"), ["10.0.1.5"], "it was not stopped after all");
}

#[actix_rt::test]
async fn servers_get_forwarders_for_what_they_do_not_have_and_only_ours_are_taken_away() {
    let mut bench = Bench::with(vec![network("gt", 1, GT), network("g10", 2, G10)]);
    bench.servers.add(GT, Release::Current);
    bench.servers.add(G10, Release::Current);
    bench.servers.plant_forwarder(GT, "corp.example", "192.0.2.1");
    bench.servers.plant_forwarder(G10, "gt.lo", "10.0.1.252");
    bench.start().await;
    let has = |bench: &Bench, at: &str, zone: &str| bench.servers.forwarder_table(at).get(zone).cloned();
    bench.until("gt asks for g10", |bench| has(bench, GT, "g10.lo") == Some(vec!["10.0.2.252:53".into()])).await;
    bench.until("and for its addresses", |bench| has(bench, GT, "2.0.10.in-addr.arpa").is_some()).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(has(&bench, G10, "gt.lo"), Some(vec!["10.0.1.252".into()]), "it says the same, and is not ours");
    bench.networks.send_modify(|view| drop(Arc::make_mut(view).by_name.remove("g10")));
    bench.until("nobody asks for g10", |bench| has(bench, GT, "g10.lo").is_none()).await;
    bench.until("nor for its addresses", |bench| has(bench, GT, "2.0.10.in-addr.arpa").is_none()).await;
    assert!(has(&bench, GT, "corp.example").is_some());
    sleep(Duration::from_secs(5)).await;
    assert!(has(&bench, G10, "gt.lo").is_some());
}

#[actix_rt::test]
async fn a_network_that_goes_takes_our_names_along_and_a_zone_that_is_renamed_is_filled_anew() {
    let mut bench = Bench::new(Release::Current);
    bench.put_pod("web", "10.0.1.5", true);
    bench.servers.plant(GT, "gt.lo", "printer", "10.0.1.99");
    bench.start().await;
    bench.settle().await;
    bench.networks.send_modify(|view| {
        let mut renamed = network("gt", 1, GT);
        renamed.names.zone = "new.lo".into();
        Arc::make_mut(view).by_name.insert("gt".into(), Arc::new(renamed));
    });
    bench.until("the new zone is filled", |bench| bench.servers.data(GT, "new.lo", "web") == ["10.0.1.5"]).await;
    bench.until("the old one is not ours", |bench| bench.servers.rows(GT, "gt.lo").len() == 1).await;
    assert_eq!(bench.data("printer"), ["10.0.1.99"]);
    bench
        .until("nothing of it is remembered", |bench| bench.entries().iter().all(|entry| !entry.contains("gt.lo ")))
        .await;
}

#[actix_rt::test]
async fn a_server_of_somebody_else_gets_records_and_nothing_more() {
    let mut theirs = network("gt", 1, GT);
    theirs.external_dns = true;
    let mut bench = Bench::with(vec![theirs, network("g10", 2, G10)]);
    bench.servers.add(GT, Release::Current);
    bench.servers.add(G10, Release::Current);
    bench.put_pod("web", "10.0.1.5", true);
    bench.start().await;
    bench.until("g10 is as wanted", |bench| bench.is_settled("g10.lo")).await;
    sleep(Duration::from_secs(5)).await;
    assert!(bench.servers.zone_names(GT).is_empty() && bench.servers.forwarder_table(GT).is_empty());
    assert!(bench.zone("gt.lo").fault.as_ref().is_some_and(|fault| fault.contains("no zone gt.lo")));
    bench.servers.plant_zone(GT, "gt.lo");
    bench.settle().await;
    assert_eq!(bench.data("web"), ["10.0.1.5"]);
    assert!(bench.servers.forwarder_table(GT).is_empty());
}

#[actix_rt::test]
async fn an_alias_that_is_no_name_is_told_once_and_a_zone_without_a_server_says_so() {
    let mut bench = Bench::with(vec![network("gt", 1, "")]);
    bench.put_pod_with("web", "10.0.1.5", true, json!({"vkube.io/aliases": "not_a_name!,fine"}));
    bench.start().await;
    bench.until("it is told", |bench| bench.events.seen().iter().any(|event| event.reason == "InvalidAlias")).await;
    bench.put_pod_with("web", "10.0.1.6", true, json!({"vkube.io/aliases": "not_a_name!,fine"}));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.events.seen().len(), 1);
    assert!(bench.zone("gt.lo").fault.as_ref().is_some_and(|fault| fault.contains("no name server")));
    let wanted = bench.zone("gt.lo").records.keys().any(|(name, _)| name == "fine");
    assert!(wanted, "what would be there is told");
}

#[actix_rt::test]
async fn before_the_networks_are_known_nobody_is_kept_from_stopping() {
    let mut bench = Bench::new(Release::Current);
    bench.networks.send_modify(|view| Arc::make_mut(view).loaded = false);
    bench.put_pod("web", "10.0.1.5", true);
    bench.start().await;
    let before = Instant::now();
    assert!(bench.withdraw("web", Duration::from_secs(3)).await.is_err());
    assert!(before.elapsed() < Duration::from_millis(100), "{:?}", before.elapsed());
    assert!(bench.servers.calls(GT).is_empty(), "nothing is decided yet");
}
