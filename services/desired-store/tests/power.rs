//! Power goes at any moment of a commit, of a compaction, of a recovery from the last time: what was acknowledged is there, what was
//! not is there as a whole or not at all.
//!
//! The disk keeps a diary. What was synced is on it; of what was written since, any part may be, in any order, down to sectors.

mod disk;

use disk::{Dice, Disk, Image, Name, Order, State, apply, state, thorough, transaction};
use mkube_model::neighbours::desired_store::DesiredStore;

const TRANSACTIONS: usize = 14;
const SECTOR: usize = 512;

/// A store's life: what the disk was told, and the states the store went through, one more with each transaction.
struct Life {
    /// What is on the disk before.
    image: Image,
    diary: Vec<Order>,
    states: Vec<State>,
}

/// Goes on with the store on this image, whose state is known.
async fn life(image: Image, transactions: usize, dice: &mut Dice) -> Life {
    let disk = Disk::with(image.clone());
    let store = disk.store().await.expect("readable");
    let mut states = vec![state(&store).await.expect("readable")];
    for number in 1..=transactions {
        store.commit(transaction(dice)).await.expect("room");
        disk.note(Order::Acknowledged(number));
        states.push(state(&store).await.expect("readable"));
        if dice.roll(4) == 0 {
            store.compact().await.expect("room");
        }
    }
    drop(store);
    Life { image, diary: disk.diary(), states }
}

async fn new_store() -> Image {
    let disk = Disk::default();
    drop(disk.store().await.expect("new"));
    disk.bytes()
}

/// What a loss of power leaves after so many orders, and how many transactions were acknowledged by then.
fn power_lost(life: &Life, after: usize, dice: &mut Dice) -> (Image, usize) {
    let told = &life.diary[..after];
    let synced = [Name::Store, Name::Journal]
        .map(|file| told.iter().rposition(|order| matches!(order, Order::Sync(name) if *name == file)).unwrap_or(0));
    let mut image = life.image.clone();
    let mut since: Vec<Order> = Vec::new();
    for (place, order) in told.iter().enumerate() {
        if order.name().is_none_or(|name| place < synced[name as usize]) {
            apply(&mut image, order);
            continue;
        }
        match order {
            // A disk writes sectors.
            Order::Write(name, offset, data) => since.extend(sectors(*name, *offset, data)),
            other => since.push(other.clone()),
        }
    }
    // How much of it was on the way already: from nothing to everything.
    let share = dice.roll(5);
    for place in (1..since.len()).rev() {
        since.swap(place, dice.roll(place + 1));
    }
    for order in since.into_iter().filter(|_| dice.roll(4) < share) {
        apply(&mut image, &order);
    }
    let acknowledged = told.iter().filter(|order| matches!(order, Order::Acknowledged(_))).count();
    (image, acknowledged)
}

fn sectors(name: Name, mut offset: usize, mut data: &[u8]) -> Vec<Order> {
    let mut sectors = Vec::new();
    while !data.is_empty() {
        let (sector, rest) = data.split_at(data.len().min(SECTOR - offset % SECTOR));
        sectors.push(Order::Write(name, offset, sector.to_vec()));
        offset += sector.len();
        data = rest;
    }
    sectors
}

/// The state after the loss; it must be one of those that are allowed.
async fn survives(life: &Life, after: usize, dice: &mut Dice) -> Result<Image, String> {
    let (bytes, acknowledged) = power_lost(life, after, dice);
    let disk = Disk::with(bytes.clone());
    let store = disk.store().await.map_err(|fault| fault.to_string())?;
    let found = state(&store).await.map_err(|fault| fault.to_string())?;
    let allowed = &life.states[acknowledged..life.states.len().min(acknowledged + 2)];
    if allowed.contains(&found) {
        Ok(bytes)
    } else {
        let known = life.states.iter().position(|state| *state == found);
        Err(format!("found state {known:?}, acknowledged was {acknowledged}"))
    }
}

#[tokio::test]
async fn power_that_goes_at_any_moment_takes_nothing_that_was_acknowledged() {
    let lives = if thorough() { 200 } else { 3 };
    for seed in 1..=lives {
        let mut dice = Dice(seed * 7919);
        let first = life(new_store().await, TRANSACTIONS, &mut dice).await;
        for after in 0..=first.diary.len() {
            let left = survives(&first, after, &mut dice).await;
            let left =
                left.unwrap_or_else(|why| panic!("life {seed}, after {after} of {} orders: {why}", first.diary.len()));
            // And again, while it recovers and goes on.
            if dice.roll(6) == 0 {
                let second = life(left, 2, &mut dice).await;
                let again = dice.roll(second.diary.len() + 1);
                if let Err(why) = survives(&second, again, &mut dice).await {
                    panic!("life {seed}, after {after} orders, then after {again}: {why}");
                }
            }
        }
    }
}
