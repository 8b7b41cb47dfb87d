//! Many seeds, the same seed twice, and seeds that found something once.

mod shared;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mkube_fakes::{Answer, Cue, LoadCue, StoreCue};
use mkube_simulation::history;
use mkube_simulation::invariants::Violation;
use mkube_simulation::run::{die_quietly, run};
use mkube_simulation::shrink::{shrink, try_seed};
use mkube_simulation::steps::{ALIVE, Image, NAME_SERVERS, NAMES, Place, READY, Shape, Step};
use mkube_simulation::workloads::{Change, Strategy, Template, Turn, Work};
use mkube_supervision::CrashHow;

/// Does something with each of these seeds, on all cores; answers what was said about them, by seed.
fn on_all_cores(seeds: &[u64], work: impl Fn(u64) -> Option<String> + Sync) -> Vec<String> {
    die_quietly();
    let next = AtomicU64::new(0);
    let said: Mutex<Vec<(u64, String)>> = Mutex::default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    if let Some(text) = work(*seed) {
                        said.lock().expect("nobody panics with it").push((*seed, text));
                    }
                }
            });
        }
    });
    let mut said = said.into_inner().expect("nobody panics with it");
    said.sort();
    said.into_iter().map(|(_, text)| text).collect()
}

#[test]
fn two_hundred_seeds_hold_every_invariant() {
    let seeds: Vec<u64> = (0..200).collect();
    let failures =
        on_all_cores(&seeds, |seed| try_seed(seed, history::of_seed).err().map(|failure| failure.to_string()));
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
}

/// Each run has a thread of its own: what differs from thread to thread, such as the order of hash maps, shows.
fn trace_of(seed: u64) -> String {
    let alone = std::thread::spawn(move || run(seed, &history::of_seed(seed), true).trace);
    alone.join().expect("a run does not panic")
}

#[test]
fn the_same_seed_is_the_same_run_to_the_last_byte() {
    let seeds: Vec<u64> = (1000..1020).collect();
    let differences = on_all_cores(&seeds, |seed| {
        let (one, other) = (trace_of(seed), trace_of(seed));
        assert!(one.lines().count() > 50, "seed {seed}: a run leaves a trace");
        let mut lines = one.lines().zip(other.lines());
        let differs = lines.find(|(one, other)| one != other);
        (one != other).then(|| format!("seed {seed}: {differs:?}"))
    });
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

#[test]
fn another_seed_is_another_run() {
    assert_ne!(trace_of(1), trace_of(2));
}

fn a_pod() -> Shape {
    Shape { image: Image::Good(1), side: None, map: None, ends: None, probes: vec![], place: None, aliases: None }
}

fn deployment(replicas: u8, strategy: Strategy) -> Template {
    Template { image: Image::Good(1), replicas, strategy, rolls_back: false, probed: false }
}

fn seconds(seconds: u64) -> Step {
    Step::Wait(Duration::from_secs(seconds))
}

/// What is violated by a history.
fn violated(steps: &[Step]) -> Option<Violation> {
    die_quietly();
    run(1, steps, false).violation
}

#[test]
fn a_foreign_row_that_goes_is_seen_and_the_history_is_made_short() {
    let mut steps = vec![Step::Create("alpha", a_pod()), seconds(3), Step::Annotate("alpha"), Step::Kill];
    steps.extend([Step::StealForeign, seconds(1), Step::Crash("mkube/keepers/ipam", CrashHow::Panic)]);
    let found = violated(&steps).expect("it is seen");
    assert_eq!(found.invariant, "nothing foreign is touched");
    let (left, _) = shrink(steps, found, violated);
    assert!(matches!(left.as_slice(), [Step::StealForeign]), "{left:?}");
}

#[test]
fn a_list_of_interfaces_that_is_older_than_that_of_containers_stops_nobody() {
    let stale = Step::Device("GET /interface/veth", 1, Cue::StaleList);
    assert_eq!(violated(&[stale, Step::Create("gamma", a_pod()), seconds(38)]), None);
}

#[test]
fn a_run_that_began_after_a_boot_is_asked_how_it_is_though_the_boot_is_noticed_later() {
    let probed = Template { probed: true, ..deployment(1, Strategy::Usual) };
    let steps = [
        Step::Answers(READY, Answer::Hang),
        Step::Deploy("site", probed),
        Step::Wait(Duration::from_millis(22_102)),
        Step::Reboot(Duration::from_secs(1)),
        Step::Deployment("site", Change::Restart),
        Step::Wait(Duration::from_millis(9_831)),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn the_time_in_which_the_device_is_away_is_held_against_no_rollout() {
    let steps = [
        Step::Deploy("site", deployment(3, Strategy::Recreate)),
        Step::Wait(Duration::from_millis(36_358)),
        Step::Deployment("site", Change::Restart),
        Step::Reboot(Duration::from_secs(90)),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn a_job_whose_pods_ended_has_none_at_work_while_mkube_comes_back() {
    let work = Work { completions: 2, parallelism: 1, backoff: 2, restarts: false, ends: (4, 0) };
    let steps = [
        Step::RunJob("import", work),
        Step::Wait(Duration::from_millis(20_806)),
        Step::Restart,
        Step::Wait(Duration::from_millis(259)),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn a_clock_that_was_set_back_before_a_boot_leaves_nobody_unasked() {
    let steps = [
        seconds(10),
        Step::Answers(READY, Answer::Bad),
        Step::Create("alpha", Shape { probes: vec![READY], ..a_pod() }),
        Step::Wait(Duration::from_millis(886)),
        Step::SetClock(-86_400),
        Step::Reboot(Duration::from_secs(5)),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn a_replica_that_ends_once_at_first_fails_no_rollout_that_has_nothing_to_go_back_to() {
    // Seed 5521.
    let steps = [
        Step::Deploy("site", deployment(2, Strategy::Rolling(0, 1))),
        Step::Wait(Duration::from_millis(2_500)),
        Step::EndProcess("site-0", 1),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn a_pod_that_takes_a_name_is_not_taken_for_a_row_nobody_saw_yet() {
    // Seed 2946.
    let both = Shape { side: Some(Image::Good(1)), ..a_pod() };
    let steps = [
        Step::Deploy("site", deployment(1, Strategy::Usual)),
        Step::Device("POST /container/add", 3, Cue::LoseReplyAndGoAway(Duration::from_secs(5))),
        Step::DeviceAway(Duration::from_secs(20)),
        Step::Wait(Duration::from_millis(21_742)),
        Step::Create("beta", both),
        Step::Wait(Duration::from_millis(10_759)),
        Step::Deployment("site", Change::Restart),
        Step::Reboot(Duration::from_secs(90)),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn a_pod_that_followed_its_config_map_when_that_went_waits_for_it() {
    // Seed 30559.
    let both = Shape {
        image: Image::Good(3),
        side: Some(Image::Good(3)),
        map: Some("settings"),
        probes: vec![READY],
        ..a_pod()
    };
    let steps = [
        Step::Create("alpha", both),
        Step::WriteMap("settings"),
        Step::Wait(Duration::from_millis(10_457)),
        Step::WriteMap("settings"),
        Step::DeleteMap("settings"),
        Step::Wait(Duration::from_millis(3)),
    ];
    die_quietly();
    assert_eq!(run(30_559, &steps, false).violation, None);
}

#[test]
fn nobody_is_replaced_for_a_replica_that_is_down_before_its_status_tells() {
    // Seed 36699.
    let template = Template { probed: true, ..deployment(3, Strategy::Usual) };
    let steps = [
        Step::Deploy("site", template),
        Step::Wait(Duration::from_millis(12_011)),
        Step::Crash("mkube/deciders/roster", CrashHow::Panic),
        Step::Wait(Duration::from_millis(9_010)),
        Step::LoseVeth("site-2"),
        Step::Deployment("site", Change::Image(Image::Good(2))),
        Step::Wait(Duration::from_millis(13_514)),
    ];
    die_quietly();
    assert_eq!(run(36_699, &steps, false).violation, None);
}

#[test]
fn name_servers_that_fall_silent_are_restarted_in_a_run_and_all_others_go_on() {
    let steps = [
        Step::Deploy("site", deployment(3, Strategy::Usual)),
        Step::Wait(Duration::from_secs(120)),
        Step::Answers(NAMES, Answer::Hang),
        Step::Wait(Duration::from_secs(90)),
    ];
    let outcome = run(0, &steps, true);
    assert!(outcome.violation.is_none(), "{:?}", outcome.violation);
    let told = |server: &str| outcome.trace.contains(&format!("name server {server} of gt did not answer"));
    let restarted = NAME_SERVERS.into_iter().filter(|server| told(server)).count();
    assert_eq!(restarted, 1, "one is restarted, and the other one waits for it");
}

#[test]
fn a_replica_that_was_stopped_with_the_node_is_the_first_that_may_be_replaced() {
    // Seed 34421.
    let template = Template { probed: true, ..deployment(1, Strategy::Rolling(0, 1)) };
    let steps = [
        Step::Deploy("site", template),
        Step::Wait(Duration::from_millis(28_947)),
        Step::Node(Turn::Drain),
        Step::Node(Turn::Undrain),
        Step::Deployment("site", Change::Image(Image::Torn)),
    ];
    die_quietly();
    assert_eq!(run(34_421, &steps, false).violation, None);
}

#[test]
fn a_clock_that_was_set_while_mkube_was_away_looks_like_a_boot_to_replicas() {
    // Seed 71867.
    let template = Template { probed: true, ..deployment(3, Strategy::Usual) };
    let steps = [
        Step::Deploy("site", template),
        Step::Wait(Duration::from_millis(35_004)),
        Step::Deployment("site", Change::Image(Image::Missing)),
        Step::DeletePodOf("site", 0),
        Step::Wait(Duration::from_millis(4)),
        Step::SetClock(600),
        Step::Kill,
    ];
    die_quietly();
    assert_eq!(run(71_867, &steps, false).violation, None);
}

#[test]
fn a_version_given_up_on_its_first_pod_costs_none_that_was_proven() {
    // Seed 7245.
    let steps = [
        Step::Deploy("site", deployment(1, Strategy::Usual)),
        Step::Wait(Duration::from_millis(11_674)),
        Step::Deployment("site", Change::Image(Image::Crashing)),
        Step::Wait(Duration::from_millis(982)),
        Step::Deployment("site", Change::Image(Image::Missing)),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn a_drain_stops_a_pod_too_whose_config_map_went_while_it_started() {
    // Seed 6883.
    let both = Shape {
        image: Image::Good(3),
        side: Some(Image::Good(1)),
        map: Some("settings"),
        place: Some(Place::Priority(1)),
        ..a_pod()
    };
    let steps = [
        Step::Create("beta", both),
        Step::WriteMap("settings"),
        Step::Wait(Duration::from_millis(545)),
        Step::DeleteMap("settings"),
        Step::Node(Turn::Drain),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn a_device_that_boots_long_after_a_pod_was_paused_starts_its_containers_by_itself() {
    // Seed 21968.
    let both = Shape { side: Some(Image::Good(3)), probes: vec![READY], ..a_pod() };
    let steps = [
        Step::Create("delta", both),
        Step::Wait(Duration::from_millis(327)),
        Step::Reboot(Duration::from_secs(240)),
        Step::Wait(Duration::from_millis(35_814)),
        Step::PausePod("delta", true),
        Step::Wait(Duration::from_millis(20_755)),
    ];
    die_quietly();
    assert_eq!(run(21_968, &steps, false).violation, None);
}

#[test]
fn two_readings_that_are_strange_each_in_its_own_way_stop_nobody() {
    // Seed 26801: no containers, then no interfaces.
    let steps = [
        Step::Create("alpha", Shape { image: Image::Good(2), place: Some(Place::Priority(0)), ..a_pod() }),
        Step::Wait(Duration::from_millis(6_855)),
        Step::Device("GET /container", 2, Cue::EmptyList),
        Step::Device("GET /interface/veth", 3, Cue::EmptyList),
        Step::Wait(Duration::from_millis(34_751)),
    ];
    assert_eq!(violated(&steps), None);
    // Seed 28004: interfaces of earlier, then none.
    let steps = [
        Step::Device("GET /interface/veth", 1, Cue::StaleList),
        Step::Device("GET /interface/veth", 1, Cue::EmptyList),
        Step::Create("gamma", Shape { image: Image::Deaf, ..a_pod() }),
        Step::Wait(Duration::from_millis(9_881)),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn a_list_of_ports_that_is_suddenly_empty_is_doubted_too() {
    // Seed 36387.
    let steps = [
        Step::Create("alpha", Shape { image: Image::Good(3), probes: vec![READY], ..a_pod() }),
        Step::Wait(Duration::from_millis(9_936)),
        Step::Device("GET /interface/bridge/port", 1, Cue::EmptyList),
        Step::LoseVeth("alpha"),
        Step::Wait(Duration::from_millis(9_472)),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn the_first_pod_of_a_version_given_up_at_once_goes_before_the_one_that_ran_before_it() {
    // Seed 28214.
    let steps = [
        Step::Deploy("site", deployment(1, Strategy::Usual)),
        Step::Wait(Duration::from_millis(1_376)),
        Step::Deployment("site", Change::Image(Image::Crashing)),
        Step::Wait(Duration::from_millis(757)),
        Step::Deployment("site", Change::Image(Image::Missing)),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn a_row_that_is_listed_twice_is_not_removed_for_that() {
    // Seed 18221.
    let steps = [
        Step::Deploy("site", deployment(3, Strategy::Usual)),
        Step::Device("GET /container/envs", 4, Cue::TwiceListed),
        Step::Wait(Duration::from_millis(6_831)),
        Step::Restart,
        Step::RemoveBehind("site-1"),
        Step::Wait(Duration::from_millis(37_106)),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn what_was_removed_before_the_device_lost_power_is_not_missed_on_a_drained_node() {
    // Seed 29669.
    let steps = [
        Step::Deploy("site", deployment(3, Strategy::Usual)),
        Step::Wait(Duration::from_millis(5_831)),
        Step::Create("gamma", Shape { image: Image::Good(2), ..a_pod() }),
        Step::Deployment("site", Change::Image(Image::Good(3))),
        Step::Deployment("site", Change::Scale(1)),
        Step::Wait(Duration::from_millis(209)),
        Step::Reboot(Duration::from_secs(240)),
        Step::Node(Turn::Drain),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn two_old_lists_of_interfaces_in_a_row_stop_nobody() {
    // Seed 50474.
    let steps = [
        Step::Device("GET /interface/veth", 2, Cue::StaleList),
        Step::Wait(Duration::from_millis(2_289)),
        Step::Deploy("site", deployment(3, Strategy::Rolling(1, 0))),
        Step::Wait(Duration::from_millis(1_808)),
        Step::Device("GET /interface/veth", 1, Cue::StaleList),
        Step::Wait(Duration::from_millis(2_211)),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn a_list_of_variables_that_is_read_as_empty_once_is_not_written_twice() {
    // Seed 50513.
    let steps = [
        Step::Create("alpha", a_pod()),
        Step::Wait(Duration::from_millis(33_393)),
        Step::Restart,
        Step::Device("GET /container/envs", 1, Cue::EmptyList),
        Step::SetImage("alpha", Image::Good(3)),
        Step::Wait(Duration::from_millis(388)),
    ];
    assert_eq!(violated(&steps), None);
    // Seed 52148.
    let steps = [
        Step::Create("beta", Shape { probes: vec![READY], ..a_pod() }),
        Step::Device("GET /container/envs", 2, Cue::EmptyList),
        Step::Wait(Duration::from_millis(5_246)),
        Step::EndProcess("beta", 0),
        Step::Kill,
        Step::SetEnv("beta"),
        Step::Wait(Duration::from_millis(294)),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn replicas_that_nobody_wanted_for_a_moment_may_go() {
    // Seed 58718.
    let steps = [
        Step::Deploy("site", Template { image: Image::Good(3), ..deployment(2, Strategy::Usual) }),
        Step::Wait(Duration::from_millis(10_807)),
        Step::Deployment("site", Change::Replicas(0)),
        Step::Deployment("site", Change::Replicas(2)),
        Step::Wait(Duration::from_millis(4_752)),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn a_clock_that_is_set_forward_makes_nobody_unready() {
    // Seed 4148.
    let steps = [
        Step::Deploy("site", Template { probed: true, ..deployment(3, Strategy::Usual) }),
        Step::Wait(Duration::from_millis(14_985)),
        Step::SetClock(86_400),
        Step::Crash("mkube/deciders/roster", CrashHow::Error),
        Step::Deployment("site", Change::Image(Image::Good(3))),
        Step::Wait(Duration::from_millis(187)),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn who_was_replaced_before_the_device_went_away_is_not_missed_when_it_is_back() {
    // Seed 43401.
    let steps = [
        Step::Deploy("site", Template { image: Image::Deaf, ..deployment(3, Strategy::Usual) }),
        Step::Wait(Duration::from_millis(33)),
        Step::Kill,
        Step::Wait(Duration::from_millis(605)),
        Step::DeviceAway(Duration::from_secs(240)),
        Step::Deployment("site", Change::Image(Image::Hanging)),
        Step::Wait(Duration::from_millis(8_935)),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn what_was_under_way_when_a_deployment_went_back_to_what_it_was_still_arrives() {
    // Seed 45390.
    let steps = [
        Step::Deploy("site", deployment(3, Strategy::Usual)),
        Step::Latency(Duration::from_millis(400)),
        Step::Wait(Duration::from_millis(30_078)),
        Step::Deployment("site", Change::Image(Image::Good(2))),
        Step::Wait(Duration::from_millis(1_986)),
        Step::Deployment("site", Change::Replicas(1)),
        Step::Wait(Duration::from_millis(12)),
        Step::Deployment("site", Change::Image(Image::Good(1))),
        Step::Wait(Duration::from_millis(345)),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn a_process_that_ends_while_another_pod_is_replaced_is_nobodys_fault() {
    // Seed 89636.
    let steps = [
        Step::Deploy("site", Template { probed: true, ..deployment(2, Strategy::Rolling(1, 0)) }),
        Step::Wait(Duration::from_millis(35_207)),
        Step::Deployment("site", Change::Image(Image::Good(3))),
        Step::EndProcess("site-1", 1),
        Step::Wait(Duration::from_millis(2_116)),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn an_interface_whose_maker_crashed_is_not_left_behind_by_the_deletion_of_its_pod() {
    // Seed 91072.
    let steps = [
        Step::Create("gamma", Shape { probes: vec![ALIVE], ..a_pod() }),
        Step::Wait(Duration::from_millis(5)),
        Step::Delete("gamma", None),
        Step::Crash("mkube/gates/router", CrashHow::Panic),
    ];
    assert_eq!(violated(&steps), None);
}

#[test]
fn two_pods_that_wait_for_each_other_are_not_both_taken_in_one_moment() {
    // Seed 96771.
    let after = |pod| Shape { place: Some(Place::After(pod)), ..a_pod() };
    let steps = [Step::Create("beta", after("delta")), Step::Create("delta", after("beta"))];
    assert_eq!(violated(&steps), None);
}

#[test]
fn two_partial_readings_of_the_store_in_a_row_make_nobody_forget_a_deployment() {
    // Seed 12580.
    let steps = [
        Step::Deploy("shop", deployment(3, Strategy::Usual)),
        Step::Create("gamma", Shape { image: Image::Good(2), ..a_pod() }),
        Step::Wait(Duration::from_millis(5)),
        Step::Commit(StoreCue::Late(Duration::from_secs(30))),
        Step::Wait(Duration::from_millis(4_817)),
        Step::Wait(Duration::from_millis(21_004)),
        Step::Load(LoadCue::Partial),
        Step::Load(LoadCue::Partial),
        Step::Wait(Duration::from_millis(3_004)),
        Step::Wait(Duration::from_millis(2_731)),
    ];
    assert_eq!(violated(&steps), None);
}
