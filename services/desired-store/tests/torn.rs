//! Damage: whatever becomes of the bytes that the last transactions wrote, the store is what was committed, or it is refused.

mod disk;

use std::collections::BTreeMap;

use disk::{Dice, Disk, Image, Name, State, state, thorough, transaction};
use mkube_desired_store::EmbeddedStore;
use mkube_model::neighbours::desired_store::{DesiredStore, StoreFault};

const TRANSACTIONS: usize = 30;
/// Transactions whose bytes are damaged.
const LAST: usize = 3;
/// Bytes of the file's header: which of its two states is the last.
const HEADER: usize = 320;

/// A store as it was left.
struct Left {
    /// The files.
    image: Image,
    /// Bytes that differ from what they were `LAST` transactions ago.
    changed: Vec<(Name, usize)>,
    /// States it may be found in: the last one, and perhaps the one before.
    states: Vec<State>,
}

/// Transactions until the last one went where it is wanted; then killed, and closed in good order.
async fn history(last: Name) -> [Left; 2] {
    let disk = Disk::default();
    let store = disk.store().await.expect("new");
    let mut dice = Dice(7);
    let mut before = vec![(disk.bytes(), state(&store).await.expect("readable"))];
    let mut went_to = None;
    while before.len() <= TRANSACTIONS || went_to != Some(last) {
        let orders = disk.diary().len();
        store.commit(transaction(&mut dice)).await.expect("room");
        went_to = disk.diary()[orders..].iter().find_map(|order| order.name());
        if before.len() == TRANSACTIONS / 4 {
            store.compact().await.expect("room");
        }
        before.push((disk.bytes(), state(&store).await.expect("readable")));
    }
    let older = before[before.len() - 1 - LAST].0.clone();
    let changed = |image: &Image| -> Vec<(Name, usize)> {
        let of = |name: Name| {
            let (older, now) = (&older[name as usize], &image[name as usize]);
            (0..now.len()).filter(|at| older.get(*at) != Some(&now[*at])).map(|at| (name, at)).collect::<Vec<_>>()
        };
        [of(Name::Store), of(Name::Journal)].concat()
    };
    let killed = disk.bytes();
    drop(store);
    let closed = disk.bytes();
    let mut states: Vec<State> = before.into_iter().map(|(_, state)| state).collect();
    let last = states.split_off(states.len() - 1);
    let before = states.split_off(states.len() - 1);
    [
        // Damage of what was written last looks as if power went while it was written.
        Left { changed: changed(&killed), image: killed, states: [last.clone(), before].concat() },
        // Nothing was under way: there is no reason to go back.
        Left { changed: changed(&closed), image: closed, states: last },
    ]
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    Truncated,
    BitFlipped,
    Zeroed(usize),
    Garbage(usize),
}

const DAMAGE: [Damage; 6] = [
    Damage::Truncated,
    Damage::BitFlipped,
    Damage::Zeroed(1),
    Damage::Zeroed(512),
    Damage::Garbage(1),
    Damage::Garbage(512),
];

fn damaged(image: &Image, (name, at): (Name, usize), damage: Damage, dice: &mut Dice) -> Image {
    let mut image = image.clone();
    let bytes = &mut image[name as usize];
    let mut fill = |length: usize, byte: &mut dyn FnMut() -> u8| {
        for place in at..bytes.len().min(at + length) {
            bytes[place] = byte();
        }
    };
    match damage {
        Damage::Truncated => bytes.truncate(at),
        Damage::BitFlipped => bytes[at] ^= 1 << dice.roll(8),
        Damage::Zeroed(length) => fill(length, &mut || 0),
        Damage::Garbage(length) => fill(length, &mut || u8::try_from(dice.roll(256)).expect("a byte")),
    }
    image
}

/// Opens, reads, writes on, reads again. What it found; none: refused.
async fn found(bytes: Image) -> Result<Option<State>, String> {
    let disk = Disk::with(bytes);
    let refused = |fault: StoreFault| match fault {
        StoreFault::Unreadable(why) if !why.contains("died") => Ok(None),
        other => Err(other.to_string()),
    };
    let store: EmbeddedStore = match disk.store().await {
        Ok(store) => store,
        Err(fault) => return refused(fault),
    };
    let first = match state(&store).await {
        Ok(first) => first,
        Err(fault) => return refused(fault),
    };
    // What recovers can be worked with.
    let mut dice = Dice(11);
    let mut wanted: BTreeMap<String, _> =
        first.1.iter().map(|(key, revision, value)| (key.clone(), (*revision, value.clone()))).collect();
    for _ in 0..2 {
        let changes = transaction(&mut dice);
        let outcomes = store.commit(changes.clone()).await.map_err(|fault| fault.to_string())?;
        for (change, outcome) in changes.into_iter().zip(outcomes) {
            match change.value {
                Some(value) => drop(wanted.insert(change.at.key, (outcome.expect("no condition"), value))),
                None => drop(wanted.remove(&change.at.key)),
            }
        }
    }
    drop(store);
    let store = disk.store().await.map_err(|fault| format!("opened once more: {fault}"))?;
    let (_, now) = state(&store).await.map_err(|fault| format!("opened once more: {fault}"))?;
    let wanted: Vec<_> = wanted.into_iter().map(|(key, (revision, value))| (key, revision, value)).collect();
    if now != wanted {
        return Err("what was written on top of it is not what is read".to_owned());
    }
    Ok(Some(first))
}

/// What became of some trials.
#[derive(Debug, Default)]
struct Tally {
    last: usize,
    earlier: usize,
    refused: usize,
}

async fn try_all(left: &Left, places: &[(Name, usize)], what: &str, mut dice: Dice) -> Tally {
    let mut tally = Tally::default();
    for at in places {
        for damage in DAMAGE {
            let bytes = damaged(&left.image, *at, damage, &mut dice);
            let whole = bytes == left.image;
            match found(bytes).await {
                Ok(None) if !whole => tally.refused += 1,
                Ok(Some(state)) if left.states[0] == state => tally.last += 1,
                Ok(Some(state)) if !whole && left.states[1..].contains(&state) => tally.earlier += 1,
                Ok(Some(state)) => panic!("{what}, {damage:?} at {at:?}: never committed: {state:?}"),
                Ok(None) => panic!("{what}, {damage:?} at {at:?}: refused, and nothing was damaged"),
                Err(why) => panic!("{what}, {damage:?} at {at:?}: {why}"),
            }
        }
    }
    tally
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

#[test]
fn whatever_becomes_of_the_last_bytes_the_store_is_one_that_was_committed_or_is_refused() {
    let [in_journal, closed] = runtime().block_on(history(Name::Journal));
    let [in_file, _] = runtime().block_on(history(Name::Store));
    let every = [(in_journal, "killed with a journal"), (in_file, "killed with all in the file"), (closed, "closed")];
    for (left, what) in every {
        let step = if thorough() { 1 } else { left.changed.len() / 60 };
        // The header says which of two states is the last: every byte of it.
        let mut places: Vec<(Name, usize)> = (1..HEADER).map(|at| (Name::Store, at)).collect();
        let is_header = |(name, at): &(Name, usize)| *name == Name::Store && *at < HEADER;
        places.extend(left.changed.iter().filter(|place| !is_header(place)).step_by(step));
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let share = places.len().div_ceil(workers);
        let tallies: Vec<Tally> = std::thread::scope(|scope| {
            let shares = places.chunks(share).enumerate();
            let left = &left;
            let try_share = |(number, share)| {
                scope.spawn(move || runtime().block_on(try_all(left, share, what, Dice(3 + number as u64))))
            };
            let working: Vec<_> = shares.map(try_share).collect();
            working.into_iter().map(|worker| worker.join().expect("every trial ended well")).collect()
        });
        let sum = |count: fn(&Tally) -> usize| tallies.iter().map(count).sum::<usize>();
        let (last, refused) = (sum(|tally| tally.last), sum(|tally| tally.refused));
        eprintln!(
            "{what}: {} places, {last} as it was, {} an earlier state, {refused} refused",
            places.len(),
            sum(|tally| tally.earlier)
        );
        assert!(last > 0 && refused > 0, "{what}: both happen, or nothing was tried");
    }
}
