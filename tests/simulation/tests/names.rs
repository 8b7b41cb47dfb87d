//! Seeds that found something about names once.

use std::time::Duration;

use mkube_fakes::{Cue, LoadCue, StoreCue};
use mkube_model::neighbours::desired_store::StoreFault;
use mkube_simulation::names::Trouble;
use mkube_simulation::run::{die_quietly, run};
use mkube_simulation::shared::Other;
use mkube_simulation::steps::{Image, Place, Shape, Step};
use mkube_simulation::workloads::{Change, Strategy, Template};
use mkube_supervision::CrashHow;

fn a_pod() -> Shape {
    Shape { image: Image::Good(1), side: None, map: None, ends: None, probes: vec![], place: None, aliases: None }
}

fn deployment(replicas: u8, strategy: Strategy) -> Template {
    Template { image: Image::Good(1), replicas, strategy, rolls_back: false, probed: false }
}

#[test]
fn a_replica_that_is_replaced_is_stopped_after_its_names_are_gone() {
    // Seed 11: at a current name server, which keeps the names of addresses by itself.
    let steps = [
        Step::Deploy("site", deployment(1, Strategy::Rolling(0, 1))),
        Step::Wait(Duration::from_millis(5_957)),
        Step::Deployment("site", Change::Restart),
    ];
    die_quietly();
    assert_eq!(run(1, &steps, false).violation, None);
}

#[test]
fn names_stay_away_while_a_stop_waits_for_the_device_and_news_for_the_store() {
    // Seed 13849, after what it found first was mended.
    let away = StoreCue::Fail(StoreFault::Away("connection reset".to_owned()));
    let steps = [
        Step::Deploy("site", deployment(3, Strategy::Usual)),
        Step::Wait(Duration::from_millis(314)),
        Step::Deployment("site", Change::Image(Image::Good(2))),
        Step::Wait(Duration::from_millis(8_796)),
        Step::Device("POST /container/start", 1, Cue::Late(Duration::from_secs(7))),
        Step::Wait(Duration::from_millis(4_798)),
        Step::Deployment("site", Change::Restart),
        Step::Wait(Duration::from_millis(266)),
        Step::Commit(away),
        Step::Wait(Duration::from_millis(8_991)),
    ];
    die_quietly();
    assert_eq!(run(13_849, &steps, false).violation, None);
}

#[test]
fn a_name_that_is_wanted_again_while_it_is_written_down_as_gone_stays_ours() {
    // Seed 6480: at an early name server, which does not keep whose a record is.
    let steps = [
        Step::Deploy("site", deployment(1, Strategy::Rolling(1, 0))),
        Step::Wait(Duration::from_millis(25_432)),
        Step::Deployment("site", Change::Image(Image::Missing)),
        Step::Wait(Duration::from_millis(27_742)),
        Step::Deployment("site", Change::Delete("Background")),
        Step::Wait(Duration::from_millis(225)),
    ];
    die_quietly();
    assert_eq!(run(6480, &steps, false).violation, None);
}

#[test]
fn the_name_of_an_address_that_another_pod_has_now_is_a_whole_name() {
    // Seed 10374.
    let steps = [
        Step::Create("gamma", Shape { image: Image::Good(2), ..a_pod() }),
        Step::Wait(Duration::from_millis(3_563)),
        Step::Names(Trouble::Away(Duration::from_secs(90))),
        Step::Delete("gamma", None),
        Step::Wait(Duration::from_millis(1_016)),
        Step::Crash("mkube/keepers/ipam", CrashHow::Error),
        Step::Create("alpha", Shape { image: Image::Good(2), ..a_pod() }),
    ];
    die_quietly();
    assert_eq!(run(10_374, &steps, false).violation, None);
}

#[test]
fn a_name_server_that_lost_everything_or_got_an_old_copy_back_has_every_name_in_the_end() {
    for trouble in [Trouble::Wiped, Trouble::PutBack] {
        let steps = [
            Step::Create("alpha", Shape { aliases: Some("www"), ..a_pod() }),
            Step::Wait(Duration::from_secs(20)),
            Step::Names(Trouble::Kept),
            Step::Create("beta", Shape { aliases: Some("www"), ..a_pod() }),
            Step::Delete("alpha", None),
            Step::Wait(Duration::from_secs(20)),
            Step::Names(trouble),
        ];
        for seed in 0..4 {
            die_quietly();
            assert_eq!(run(seed, &steps, false).violation, None, "seed {seed}");
        }
    }
}

#[test]
fn a_container_whose_stop_waits_for_the_device_is_led_to_by_no_name_meanwhile() {
    // Seed 13849.
    let away = StoreCue::Fail(StoreFault::Away("connection reset".to_owned()));
    let steps = [
        Step::Deploy("site", deployment(3, Strategy::Usual)),
        Step::Wait(Duration::from_millis(314)),
        Step::Deployment("site", Change::Image(Image::Good(2))),
        Step::Device("POST /container/start", 1, Cue::Late(Duration::from_secs(7))),
        Step::Wait(Duration::from_millis(1)),
        Step::Commit(away),
        Step::Wait(Duration::from_millis(4_798)),
    ];
    die_quietly();
    assert_eq!(run(13_849, &steps, false).violation, None);
}

#[test]
fn a_name_that_the_server_refused_to_take_away_once_is_gone_a_moment_later() {
    // Seed 19421.
    let template = Template { probed: true, ..deployment(2, Strategy::Rolling(0, 1)) };
    let steps = [
        Step::Deploy("shop", template),
        Step::Wait(Duration::from_millis(36_880)),
        Step::Names(Trouble::Call("delete_record", 3, Cue::Refuse("409: busy"))),
        Step::Deployment("shop", Change::Scale(0)),
        Step::Wait(Duration::from_millis(2_631)),
    ];
    die_quietly();
    assert_eq!(run(19_421, &steps, false).violation, None);
}

#[test]
fn a_record_of_others_that_comes_back_where_an_equal_one_of_ours_was_is_theirs() {
    // Seed 26226: at an early name server.
    let steps = [
        Step::Create("alpha", Shape { image: Image::Good(3), place: Some(Place::After("gamma")), ..a_pod() }),
        Step::Wait(Duration::from_millis(31)),
        Step::Create("gamma", Shape { image: Image::Good(2), place: Some(Place::Priority(1)), ..a_pod() }),
        Step::Names(Trouble::Wiped),
        Step::Wait(Duration::from_millis(2_753)),
        Step::Names(Trouble::PutBack),
    ];
    die_quietly();
    assert_eq!(run(26_226, &steps, false).violation, None);
}

#[test]
fn a_server_that_is_put_back_right_after_a_record_of_which_nobody_knows_has_it_again_in_the_end() {
    // Seed 649: what was put back had the serial that was read before the record was made.
    let steps = [
        Step::Wait(Duration::from_millis(2_306)),
        Step::Names(Trouble::Call("create_record", 1, Cue::LoseReply)),
        Step::Wait(Duration::from_millis(2_981)),
        Step::Wait(Duration::from_millis(3_885)),
        Step::Names(Trouble::PutBack),
        Step::Wait(Duration::from_millis(2_428)),
        Step::Names(Trouble::PutBack),
    ];
    die_quietly();
    assert_eq!(run(649, &steps, false).violation, None);
}

#[test]
fn what_was_read_of_a_name_server_before_the_store_was_back_is_seen_to_be_ours_then() {
    // Seed 3424: at an early name server, whose records say nothing of whose they are.
    let steps = [
        Step::Shared { keeps: false },
        Step::Create("alpha", Shape { image: Image::Good(3), aliases: Some("www"), ..a_pod() }),
        Step::Create("delta", Shape { image: Image::Good(2), side: Some(Image::Good(1)), ..a_pod() }),
        Step::Wait(Duration::from_millis(1_355)),
        Step::StoreLost(Duration::from_secs(20)),
        Step::Load(LoadCue::Empty),
        Step::Restart,
        Step::Other(Other::Delete("delta")),
        Step::Wait(Duration::from_millis(3_281)),
    ];
    die_quietly();
    for seed in [3424, 3426] {
        assert_eq!(run(seed, &steps, false).violation, None, "seed {seed}");
    }
}
