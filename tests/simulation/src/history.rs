//! The steps of a seed.

use std::time::Duration;

use mkube_fakes::{Answer, Cue, LoadCue, StoreCue};
use mkube_model::neighbours::desired_store::StoreFault;
use mkube_supervision::CrashHow;

use crate::dice::Dice;
use crate::names::Trouble;
use crate::steps::{ALIVE, Image, MAPS, NAMES, PODS, Place, READY, Shape, Step};
use crate::workloads::{Change, DEPLOYMENTS, JOBS, PROPAGATIONS, Strategy, Template, Turn, Work};

/// Calls that can go wrong one by one.
const COMMANDS: [&str; 10] = [
    "POST /container/add",
    "POST /container/start",
    "POST /container/stop",
    "POST /container/remove",
    "POST /container/set",
    "POST /interface/veth/add",
    "POST /interface/veth/remove",
    "POST /interface/bridge/port/add",
    "POST /container/envs/add",
    "POST /container/mounts/add",
];
/// Lists that can be wrong.
const LISTS: [&str; 5] = [
    "GET /container",
    "GET /interface/veth",
    "GET /interface/bridge/port",
    "GET /container/envs",
    "GET /container/mounts",
];
/// Calls of the name server that can go wrong one by one.
const NAMING: [&str; 7] =
    ["create_record", "create_record", "delete_record", "update_record", "records", "zones", "create_zone"];
/// More names of pods; the first one is that of several.
const OTHER_NAMES: [&str; 4] = ["www", "www", "db=side,mail", "www,api=c"];
/// Actors that are always there.
const ACTORS: [&str; 15] = [
    "mkube/gates/store",
    "mkube/gates/router",
    "mkube/object-layer/objects",
    "mkube/keepers/ipam",
    "mkube/keepers/images",
    "mkube/keepers/dns",
    "mkube/deciders/roster",
    "mkube/deciders/node",
    "mkube/deciders/boot",
    "mkube/deciders/rollouts",
    "mkube/deciders/order",
    "mkube/deciders/deployments",
    "mkube/deciders/jobs",
    "mkube/deciders/watchdog",
    "mkube/deciders/consistency",
];

/// Pods something happens to: those of users and of Deployments.
const VICTIMS: [&str; 8] = ["alpha", "beta", "gamma", "site-0", "site-1", "site-2", "shop-0", "shop-1"];

/// What may go wrong in a run. Not everything does in every run: what hides behind a greater trouble is seen where that is missing.
struct Weather {
    images: bool,
    commands: bool,
    lists: bool,
    device: bool,
    store: bool,
    readings: bool,
    actors: bool,
    process: bool,
    hands: bool,
    clock: bool,
    deployments: bool,
    jobs: bool,
    order: bool,
    probes: bool,
    pauses: bool,
    node: bool,
    names: bool,
}

impl Weather {
    fn of(dice: &mut Dice) -> Self {
        let mut some = || dice.once_in(2);
        Self {
            images: some(),
            commands: some(),
            lists: some(),
            device: some(),
            store: some(),
            readings: some(),
            actors: some(),
            process: some(),
            hands: some(),
            clock: some(),
            deployments: some(),
            jobs: some(),
            order: some(),
            probes: some(),
            pauses: some(),
            node: some(),
            names: some(),
        }
    }
}

/// The history of a seed.
pub fn of_seed(seed: u64) -> Vec<Step> {
    let mut dice = Dice::new(seed);
    let weather = Weather::of(&mut dice);
    let length = 10 + dice.below(30);
    let first = if weather.deployments {
        Step::Deploy(DEPLOYMENTS[0], template(&mut dice, &weather))
    } else {
        Step::Create(dice.one_of(&PODS), shape(&mut dice, &weather))
    };
    let mut steps = vec![first];
    while steps.len() < length {
        if dice.once_in(2) {
            steps.push(Step::Wait(pause(&mut dice)));
        }
        let step = if dice.once_in(2) { Some(by_user(&mut dice, &weather)) } else { trouble(&mut dice, &weather) };
        // A reading that goes wrong is of interest when there is one.
        let reads = matches!(step, Some(Step::Load(_))) && dice.once_in(2);
        steps.extend(step);
        if reads {
            steps.push(Step::Commit(StoreCue::Fail(StoreFault::Away("connection reset".to_owned()))));
        }
    }
    steps
}

fn pause(dice: &mut Dice) -> Duration {
    let longest = dice.one_of(&[5, 50, 500, 3_000, 12_000, 40_000]);
    Duration::from_millis(1 + dice.below(longest) as u64)
}

fn span(dice: &mut Dice) -> Duration {
    Duration::from_secs(dice.one_of(&[1, 5, 20, 90, 240]))
}

fn image(dice: &mut Dice, weather: &Weather) -> Image {
    let good = Image::Good(1 + dice.below(3) as u8);
    if !weather.images || dice.once_in(2) {
        return good;
    }
    dice.one_of(&[good, Image::Deaf, Image::Crashing, Image::Hanging, Image::Torn, Image::Missing])
}

fn shape(dice: &mut Dice, weather: &Weather) -> Shape {
    let ends = dice
        .once_in(6)
        .then(|| (dice.one_of(&["Always", "OnFailure", "Never"]), dice.below(8) as u8, dice.below(2) as u8));
    Shape {
        image: image(dice, weather),
        side: dice.once_in(3).then(|| image(dice, weather)),
        map: dice.once_in(3).then(|| dice.one_of(&MAPS)),
        ends,
        probes: [ALIVE, READY].into_iter().filter(|_| weather.probes && dice.once_in(3)).collect(),
        place: (weather.order && dice.once_in(2)).then(|| {
            let (number, other) = (dice.below(4) as u8, dice.one_of(&PODS));
            if dice.once_in(2) { Place::Priority(number) } else { Place::After(other) }
        }),
        aliases: dice.once_in(3).then(|| dice.one_of(&OTHER_NAMES)),
    }
}

fn template(dice: &mut Dice, weather: &Weather) -> Template {
    Template {
        image: if dice.once_in(4) { image(dice, weather) } else { Image::Good(1) },
        replicas: 1 + dice.below(3) as u8,
        strategy: dice.one_of(&[
            Strategy::Usual,
            Strategy::Usual,
            Strategy::Rolling(1, 0),
            Strategy::Rolling(0, 1),
            Strategy::Recreate,
        ]),
        rolls_back: dice.once_in(3),
        probed: weather.probes && dice.once_in(2),
    }
}

/// Something a user does with Deployments, Jobs, or the node; nothing when the weather has nothing of the kind that was drawn.
fn with_workloads(dice: &mut Dice, weather: &Weather) -> Option<Step> {
    let [site, shop] = DEPLOYMENTS;
    let (deployment, job, pod) = (dice.one_of(&[site, site, site, shop]), dice.one_of(&JOBS), dice.one_of(&PODS));
    let propagation = dice.one_of(&PROPAGATIONS);
    let replicas = dice.below(4) as u8;
    let of = |change| Step::Deployment(deployment, change);
    let (there, step) = match dice.below(24) {
        0..=2 => (weather.deployments, Step::Deploy(deployment, template(dice, weather))),
        3..=7 => (weather.deployments, of(Change::Image(image(dice, weather)))),
        8 => (weather.deployments, of(Change::Restart)),
        9 => (weather.deployments, of(Change::Replicas(replicas))),
        10 => (weather.deployments, of(Change::Scale(replicas))),
        11 => (weather.deployments, of(Change::Pause(dice.once_in(2)))),
        12 => (weather.deployments, of(Change::Delete(propagation))),
        13 => (weather.deployments, Step::DeletePodOf(deployment, dice.below(3) as u8)),
        14..=15 => (weather.jobs, {
            let parallelism = 1 + dice.below(2) as u8;
            Step::RunJob(
                job,
                Work {
                    completions: 1 + dice.below(2) as u8,
                    parallelism,
                    backoff: dice.below(3) as u8,
                    restarts: dice.once_in(3),
                    ends: (dice.below(8) as u8, dice.one_of(&[0, 0, 1])),
                },
            )
        }),
        16 => (weather.jobs, Step::DeleteJob(job, propagation)),
        17..=18 => (weather.pauses, Step::PausePod(pod, !dice.once_in(3))),
        19..=20 => {
            let answer = dice.one_of(&[Answer::Good, Answer::Bad, Answer::Hang]);
            (weather.probes, Step::Answers(dice.one_of(&[ALIVE, READY, NAMES]), answer))
        }
        _ => (weather.node, Step::Node(dice.one_of(&[Turn::Cordon, Turn::Uncordon, Turn::Drain, Turn::Undrain]))),
    };
    there.then_some(step)
}

fn by_user(dice: &mut Dice, weather: &Weather) -> Step {
    if !dice.once_in(3)
        && let Some(step) = with_workloads(dice, weather)
    {
        return step;
    }
    let pod = dice.one_of(&PODS);
    match dice.below(17) {
        0..=4 => Step::Create(pod, shape(dice, weather)),
        5..=7 => Step::SetImage(pod, image(dice, weather)),
        8 => Step::SetEnv(pod),
        9 => Step::Annotate(pod),
        10..=11 => Step::Delete(pod, dice.once_in(3).then(|| dice.below(20) as u8)),
        12..=13 => Step::WriteMap(dice.one_of(&MAPS)),
        14 => Step::DeleteMap(dice.one_of(&MAPS)),
        15 => Step::Alias(pod, dice.one_of(&OTHER_NAMES)),
        _ => Step::AnnotateNamespace,
    }
}

fn with_names(dice: &mut Dice) -> Trouble {
    match dice.below(8) {
        0..=1 => Trouble::Away(span(dice)),
        2 => Trouble::Kept,
        3 => Trouble::PutBack,
        4 => Trouble::Wiped,
        _ => {
            let cue = dice.one_of(&[
                Cue::LoseReply,
                Cue::LoseRequest,
                Cue::Unreachable,
                Cue::DoneYet500,
                Cue::Refuse("409: busy"),
                Cue::Late(Duration::from_secs(2)),
                Cue::Late(Duration::from_secs(7)),
            ]);
            Trouble::Call(dice.one_of(&NAMING), 1 + dice.below(3) as u8, cue)
        }
    }
}

fn how(dice: &mut Dice) -> CrashHow {
    dice.one_of(&[CrashHow::Panic, CrashHow::Error, CrashHow::Stop])
}

/// Something that goes wrong; nothing when the weather has nothing of the kind that was drawn.
fn trouble(dice: &mut Dice, weather: &Weather) -> Option<Step> {
    let pod = dice.one_of(if weather.deployments { &VICTIMS } else { &PODS });
    let (there, step) = match dice.below(19) {
        0..=1 => (weather.commands, {
            let cue = dice.one_of(&[
                Cue::LoseReply,
                Cue::LoseReplyAndGoAway(Duration::from_secs(5)),
                Cue::LoseRequest,
                Cue::Unreachable,
                Cue::Refuse("failure: busy"),
                Cue::DoneYet500,
                Cue::Late(Duration::from_secs(7)),
                Cue::Late(Duration::from_secs(70)),
            ]);
            Step::Device(dice.one_of(&COMMANDS), 1 + dice.below(3) as u8, cue)
        }),
        2..=3 => (weather.lists, {
            let cue = dice.one_of(&[
                Cue::EmptyList,
                Cue::StaleList,
                Cue::TwiceListed,
                Cue::Unreachable,
                Cue::DoneYet500,
                Cue::Late(Duration::from_secs(7)),
            ]);
            Step::Device(dice.one_of(&LISTS), 1 + dice.below(4) as u8, cue)
        }),
        4 => (weather.device, Step::Reboot(span(dice))),
        5 => (weather.device, Step::DeviceAway(span(dice))),
        6 => (weather.device, Step::Latency(Duration::from_millis(dice.one_of(&[2, 40, 400])))),
        7 => (weather.store, {
            let unwritable = || StoreFault::Unwritable("no space left on device".to_owned());
            Step::Commit(dice.one_of(&[
                StoreCue::Fail(unwritable()),
                StoreCue::Fail(StoreFault::Away("connection refused".to_owned())),
                StoreCue::LoseReply,
                StoreCue::Late(Duration::from_secs(3)),
                StoreCue::Late(Duration::from_secs(30)),
            ]))
        }),
        8 => (weather.store, Step::StoreAway(span(dice))),
        9 => (weather.readings, {
            let unreadable = LoadCue::Fail(StoreFault::Unreadable("bad checksum".to_owned()));
            Step::Load(dice.one_of(&[LoadCue::Empty, LoadCue::Partial, LoadCue::Torn, unreadable]))
        }),
        10..=11 => (weather.actors, Step::Crash(dice.one_of(&ACTORS), how(dice))),
        12 => (weather.actors, Step::CrashPod(pod, how(dice))),
        13 => (weather.process, if dice.once_in(3) { Step::Restart } else { Step::Kill }),
        14 => (
            weather.hands,
            match dice.below(3) {
                0 => Step::EndProcess(pod, dice.below(2) as u8),
                1 => Step::RemoveBehind(pod),
                _ => Step::LoseVeth(pod),
            },
        ),
        15..=17 => (weather.names, Step::Names(with_names(dice))),
        _ => (weather.clock, Step::SetClock(dice.one_of(&[-86_400, -600, -5, 5, 600, 86_400]))),
    };
    there.then_some(step)
}
