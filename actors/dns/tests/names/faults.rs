//! When something goes wrong: it comes out right in the end, nothing is there twice, and nothing of others is gone.

use std::time::Duration;

use mkube_fakes::{Cue, Release};
use tokio::time::{Instant, sleep};

use crate::bench::{Bench, G10, GT, network};

/// Ten minutes, and what it takes to notice.
const OLD_ENOUGH: Duration = Duration::from_secs(630);

#[actix_rt::test]
async fn a_call_that_goes_wrong_in_any_way_leaves_every_record_once() {
    let ends = [Cue::LoseReply, Cue::LoseRequest, Cue::DoneYet500, Cue::Late(Duration::from_secs(5)), Cue::Unreachable];
    for release in [Release::Current, Release::Early] {
        for operation in ["zones", "create_zone", "records", "create_record", "update_record", "delete_record"] {
            for end in &ends {
                let mut bench = Bench::new(release);
                bench.servers.plant(GT, "other.lo", "x", "192.0.2.1");
                bench.put_pod("web", "10.0.1.5", true);
                bench.put_pod("db", "10.0.1.6", true);
                bench.servers.at_nth(GT, operation, 1, end.clone());
                bench.servers.at_nth(GT, operation, 2, end.clone());
                bench.start().await;
                bench.settle().await;
                bench.put_pod("web", "10.0.1.7", true);
                bench.remove_pod("db");
                let over = |bench: &Bench| bench.data("web") == ["10.0.1.7"] && bench.data("db").is_empty();
                bench.until(&format!("{operation} {end:?} is over"), over).await;
                bench.settle().await;
                assert_eq!(bench.data("app.web"), ["10.0.1.7"], "{operation} {end:?}");
                assert_eq!(bench.data("rose1"), ["10.0.1.1"], "{operation} {end:?}");
                assert_eq!(bench.servers.rows(GT, "gt.lo").len(), 4, "{operation} {end:?} {release:?}");
                bench.remove_pod("web");
                bench.until("all is gone", |bench| bench.servers.rows(GT, "gt.lo").len() == 2).await;
                bench.stop().await;
            }
        }
    }
}

#[actix_rt::test]
async fn a_death_at_any_moment_leaves_nothing_behind_that_nobody_knows() {
    for release in [Release::Current, Release::Early] {
        for moment in 0..14 {
            let mut bench = Bench::new(release);
            bench.servers.set_latency(GT, Duration::from_millis(20));
            bench.put_pod("web", "10.0.1.5", true);
            bench.start().await;
            sleep(Duration::from_millis(17 * moment)).await;
            bench.stop().await;
            // Meanwhile the pod goes, and another one stays.
            bench.remove_pod("web");
            bench.put_pod("db", "10.0.1.6", true);
            bench.start().await;
            bench.settle().await;
            sleep(OLD_ENOUGH * 2).await;
            assert_eq!(bench.data("web"), Vec::<String>::new(), "{release:?} after {moment}");
            assert_eq!(bench.data("db"), ["10.0.1.6"], "{release:?} after {moment}");
            assert_eq!(bench.servers.rows(GT, "gt.lo").len(), 4, "{release:?} after {moment}");
            bench.stop().await;
        }
    }
}

#[actix_rt::test]
async fn a_server_that_is_away_is_brought_up_to_date_when_it_is_back() {
    let mut bench = Bench::new(Release::Current);
    bench.put_pod("web", "10.0.1.5", true);
    bench.start().await;
    bench.settle().await;
    bench.servers.set_away(GT, true);
    bench.put_pod("web", "10.0.1.9", true);
    bench.put_pod("db", "10.0.1.6", true);
    bench.until("that is told", |bench| bench.zone("gt.lo").fault.is_some()).await;
    sleep(Duration::from_secs(120)).await;
    let asked = bench.servers.calls(GT).len();
    sleep(Duration::from_secs(120)).await;
    assert_eq!(bench.servers.calls(GT).len(), asked, "only its health is asked for");
    bench.servers.set_away(GT, false);
    bench
        .until("it is up to date", |bench| bench.data("web") == ["10.0.1.9"] && bench.data("db") == ["10.0.1.6"])
        .await;
}

#[actix_rt::test]
async fn a_slow_or_dead_server_holds_up_no_other_and_no_stop() {
    let mut bench = Bench::with(vec![network("gt", 1, GT), network("g10", 2, G10)]);
    bench.servers.add(GT, Release::Current);
    bench.servers.add(G10, Release::Current);
    bench.put_pod("web", "10.0.1.5", true);
    bench.start().await;
    bench.settle().await;
    bench.until("g10 too", |bench| bench.is_settled("g10.lo")).await;
    bench.servers.set_latency(G10, Duration::from_secs(60));
    sleep(Duration::from_secs(30)).await;
    let before = Instant::now();
    bench.put_pod("db", "10.0.1.6", true);
    bench.until("db is named", |bench| bench.data("db") == ["10.0.1.6"]).await;
    assert!(before.elapsed() <= Duration::from_millis(50));
    bench.servers.set_away(GT, true);
    let before = Instant::now();
    bench.withdraw("web", Duration::from_secs(3)).await.expect("answered");
    assert!(before.elapsed() < Duration::from_secs(2), "{:?}", before.elapsed());
    bench.servers.set_away(GT, false);
    bench.put_pod("web", "10.0.1.5", false);
    bench.until("the names are out when it is back", |bench| bench.data("web").is_empty()).await;
    // One that hangs is waited for no longer than whoever asks has patience.
    bench.servers.set_latency(GT, Duration::from_secs(60));
    let before = Instant::now();
    let _ = bench.withdraw("db", Duration::from_secs(3)).await;
    assert!(before.elapsed() <= Duration::from_millis(3100), "{:?}", before.elapsed());
}

#[actix_rt::test]
async fn a_server_that_lost_everything_is_filled_again() {
    for release in [Release::Current, Release::Early] {
        let mut bench = Bench::new(release);
        let empty = bench.servers.backup(GT);
        bench.put_pod("web", "10.0.1.5", true);
        bench.start().await;
        bench.settle().await;
        bench.servers.restore(GT, empty);
        let full = |bench: &Bench| bench.data("web") == ["10.0.1.5"] && bench.data("dns") == ["10.0.1.252"];
        bench.until("it is filled again", full).await;
        bench.settle().await;
        assert_eq!(bench.servers.rows(GT, "gt.lo").len(), 4, "{release:?}");
        bench.stop().await;
    }
}

#[actix_rt::test]
async fn of_a_server_that_is_put_back_to_an_old_state_what_was_ours_is_known() {
    for release in [Release::Current, Release::Early] {
        let mut bench = Bench::new(release);
        bench.servers.plant(GT, "gt.lo", "printer", "10.0.1.99");
        bench.put_pod("old", "10.0.1.5", true);
        bench.put_pod("web", "10.0.1.6", true);
        bench.start().await;
        bench.settle().await;
        let old = bench.servers.backup(GT);
        bench.remove_pod("old");
        bench.put_pod("web", "10.0.1.7", true);
        bench.settle().await;
        bench.until("old is out", |bench| bench.data("old").is_empty()).await;
        // Long enough for all to be written down, and a restart, so that nothing is only remembered.
        sleep(Duration::from_secs(60)).await;
        bench.servers.restore(GT, old);
        bench.start().await;
        bench.settle().await;
        bench.until("web has its address", |bench| bench.data("web") == ["10.0.1.7"]).await;
        bench.until("what nobody wants goes", |bench| bench.data("old").is_empty()).await;
        assert_eq!(bench.data("printer"), ["10.0.1.99"]);
        bench.stop().await;
    }
}

#[actix_rt::test]
async fn a_young_server_that_is_put_back_to_an_old_state_is_noticed_at_the_next_look_at_its_health() {
    let mut bench = Bench::new(Release::Current);
    bench.put_pod("old", "10.0.1.5", true);
    bench.put_pod("web", "10.0.1.6", true);
    bench.start().await;
    bench.settle().await;
    // It starts anew just before it is asked how it is, and soon after that once more: it is up for longer at the next look than
    // it was at this one.
    sleep(Duration::from_secs(28)).await;
    let old = bench.servers.backup(GT);
    bench.servers.restore(GT, bench.servers.backup(GT));
    sleep(Duration::from_secs(4)).await;
    bench.remove_pod("old");
    bench.until("old is out", |bench| bench.data("old").is_empty()).await;
    bench.servers.restore(GT, old);
    assert_eq!(bench.data("old"), ["10.0.1.5"]);
    let before = Instant::now();
    bench.until("what nobody wants goes", |bench| bench.data("old").is_empty()).await;
    assert!(before.elapsed() <= Duration::from_secs(16), "{:?}", before.elapsed());
    bench.stop().await;
}

#[actix_rt::test]
async fn a_store_that_has_nothing_takes_no_name_away() {
    for release in [Release::Current, Release::Early] {
        let mut bench = Bench::new(release);
        bench.put_pod("web", "10.0.1.5", true);
        bench.start().await;
        bench.settle().await;
        bench.stop().await;
        let pods = bench.stored().objects.clone();
        bench.remove_pod("web");
        // A part of it, of which nobody says that it is all.
        bench.stored().loaded = false;
        bench.put_pod("db", "10.0.1.6", true);
        bench.start().await;
        sleep(OLD_ENOUGH * 2).await;
        assert_eq!(bench.data("web"), ["10.0.1.5"], "it was not read yet");
        // Entries are there, pods are not.
        let entries = pods.iter().filter(|((of, _), _)| *of == crate::bench::kind("DnsEntry"));
        bench.stored().objects = entries.map(|(key, value)| (key.clone(), value.clone())).collect();
        bench.stored().loaded = true;
        bench.stored().publish();
        sleep(OLD_ENOUGH * 3).await;
        assert_eq!(bench.data("web"), ["10.0.1.5"], "{release:?}: a store without pods is not believed");
        bench.stop().await;
    }
}

#[actix_rt::test]
async fn what_nobody_wants_any_more_is_left_for_ten_minutes_after_a_start() {
    let mut bench = Bench::new(Release::Current);
    bench.put_pod("old", "10.0.1.5", true);
    bench.put_pod("web", "10.0.1.6", true);
    bench.start().await;
    bench.settle().await;
    bench.stop().await;
    bench.remove_pod("old");
    bench.start().await;
    bench.settle_but_for_leftovers().await;
    sleep(Duration::from_secs(540)).await;
    assert_eq!(bench.data("old"), ["10.0.1.5"]);
    sleep(Duration::from_secs(120)).await;
    assert!(bench.data("old").is_empty());
}

#[actix_rt::test]
async fn most_of_what_is_ours_is_not_taken_away_for_want_of_pods() {
    let mut bench = Bench::new(Release::Current);
    (0..50).for_each(|at| bench.put_pod(&format!("web-{at}"), &format!("10.0.1.{}", at + 10), true));
    bench.start().await;
    bench.settle().await;
    bench.stop().await;
    (1..50).for_each(|at| bench.remove_pod(&format!("web-{at}")));
    bench.start().await;
    sleep(OLD_ENOUGH * 3).await;
    assert_eq!(bench.data("web-20"), ["10.0.1.30"], "a store that lost most is not believed");
}

#[actix_rt::test]
async fn on_an_early_server_nothing_is_made_before_it_is_written_down() {
    let mut bench = Bench::new(Release::Early);
    bench.put_pod("web", "10.0.1.5", true);
    bench.servers.at_every(GT, "create_record", Cue::LoseReply);
    bench.start().await;
    bench.until("something was made", |bench| !bench.servers.rows(GT, "gt.lo").is_empty()).await;
    let entries = bench.entries();
    for row in bench.servers.rows(GT, "gt.lo") {
        let entry = format!("Record gt.lo {} {}", row.name, row.data);
        assert!(entries.contains(&entry), "{entry} is not among {entries:?}");
    }
}

#[actix_rt::test]
async fn what_a_person_makes_where_ours_was_is_theirs() {
    let mut bench = Bench::new(Release::Early);
    bench.put_pod("nas", "10.0.1.5", true);
    bench.put_pod("web", "10.0.1.6", true);
    bench.start().await;
    bench.settle().await;
    bench.remove_pod("nas");
    bench
        .until("that it is gone is written down", |bench| {
            bench.entries().contains(&"Record gt.lo nas 10.0.1.5 gone".to_owned())
        })
        .await;
    bench.servers.plant_at(GT, "gt.lo", "nas", "10.0.1.5", "2099-01-01T00:00:00+00:00");
    bench.start().await;
    bench.settle().await;
    sleep(OLD_ENOUGH * 2).await;
    assert_eq!(bench.data("nas"), ["10.0.1.5"]);
}

#[actix_rt::test]
async fn a_zone_that_is_there_twice_is_told_and_one_of_them_is_kept() {
    let mut bench = Bench::new(Release::Current);
    bench.servers.plant_zone(GT, "GT.lo");
    bench.servers.plant_zone(GT, "gt.lo");
    bench.put_pod("web", "10.0.1.5", true);
    bench.start().await;
    bench.until("web is named", |bench| bench.data("web") == ["10.0.1.5"]).await;
    assert!(bench.zone("gt.lo").fault.as_ref().is_some_and(|fault| fault.contains("2 times")));
}

#[actix_rt::test]
async fn a_record_the_server_refuses_is_told_and_keeps_none_of_the_others_away() {
    let mut bench = Bench::new(Release::Current);
    bench.put_pod("web", "10.0.1.5", true);
    bench.servers.at_nth(GT, "create_record", 1, Cue::Refuse("no such name"));
    bench.start().await;
    bench.until("the others are there", |bench| bench.servers.rows(GT, "gt.lo").len() == 3).await;
    assert!(bench.zone("gt.lo").fault.as_ref().is_some_and(|fault| fault.contains("no such name")));
    bench.settle().await;
    assert_eq!(bench.servers.rows(GT, "gt.lo").len(), 4);
}

#[actix_rt::test]
async fn what_a_server_refuses_is_tried_again_after_a_second_and_ever_less_often() {
    let mut bench = Bench::new(Release::Current);
    bench.put_pod("web", "10.0.1.5", true);
    bench.put_pod("db", "10.0.1.6", true);
    bench.start().await;
    bench.settle().await;
    bench.servers.at_nth(GT, "delete_record", 1, Cue::Refuse("409: busy"));
    bench.servers.at_nth(GT, "delete_record", 2, Cue::Refuse("409: busy"));
    let start = Instant::now();
    bench.remove_pod("web");
    let gone = |bench: &Bench| bench.data("web").is_empty() && bench.data("app.web").is_empty();
    bench.until("its names are gone", gone).await;
    assert!(start.elapsed() < Duration::from_secs(3), "a server is busy for a moment: {:?}", start.elapsed());
    bench.settle().await;
    bench.servers.at_every(GT, "delete_record", Cue::Refuse("400: never"));
    let before = bench.servers.calls(GT).len();
    bench.remove_pod("db");
    sleep(Duration::from_secs(600)).await;
    let calls = bench.servers.calls(GT).split_off(before);
    let tried = calls.iter().filter(|call| call.starts_with("delete_record")).count();
    assert!((20..=40).contains(&tried), "two names, at once, ever later, then once a minute: {tried}");
    assert!(bench.zone("gt.lo").fault.as_ref().is_some_and(|fault| fault.contains("400: never")));
}

#[actix_rt::test]
async fn a_record_of_another_mkube_is_not_ours() {
    let mut bench = Bench::new(Release::Current);
    bench.servers.plant_of(GT, "gt.lo", "web", "10.0.1.88", "mkube/other");
    bench.put_pod("web", "10.0.1.5", true);
    bench.start().await;
    bench.settle().await;
    assert_eq!(bench.data("web"), ["10.0.1.5", "10.0.1.88"]);
}

#[actix_rt::test]
async fn a_forwarder_of_somebody_else_stays_as_it_is() {
    let mut bench = Bench::with(vec![network("gt", 1, GT), network("g10", 2, G10)]);
    bench.servers.add(GT, Release::Current);
    bench.servers.add(G10, Release::Current);
    bench.servers.plant_forwarder(GT, "g10.lo", "192.0.2.53");
    bench.start().await;
    let others = |bench: &Bench| bench.servers.forwarder_table(GT).contains_key("2.0.10.in-addr.arpa");
    bench.until("the others are there", others).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.servers.forwarder_table(GT)["g10.lo"], ["192.0.2.53"]);
}

#[actix_rt::test]
async fn a_store_that_refuses_what_is_to_be_written_down_is_asked_once_a_second() {
    let mut bench = Bench::new(Release::Early);
    bench.put_pod("web", "10.0.1.5", true);
    bench.put_pod("db", "10.0.1.6", true);
    bench.start().await;
    bench.settle().await;
    let before = {
        let mut stored = bench.stored();
        stored.refused = 1000;
        stored.writes
    };
    bench.remove_pod("db");
    sleep(Duration::from_secs(20)).await;
    let asked = bench.stored().writes - before;
    assert!((5..=21).contains(&asked), "{asked} writes");
    bench.stored().refused = 0;
    bench.until("it is written down", |bench| bench.entries().contains(&"Record gt.lo db 10.0.1.6 gone".into())).await;
}
