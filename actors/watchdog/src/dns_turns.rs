//! Whose turn it is to be restarted, of the name servers that are dead: one at a time, so many times at most, and never one beside
//! another of the same network that is still on its way up. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tokio::time::Instant;

/// How it stands with one name server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The networks that name it.
    pub networks: BTreeSet<String>,
    /// It is to be restarted.
    pub dead: bool,
    /// It is starting, or being stopped or replaced: for whatever reason, and for so long only as that may take.
    pub starting: bool,
    /// It was restarted here and did not answer since; for so long only as others wait for it.
    pub returning: bool,
    /// Restarts here that still count.
    pub restarts: usize,
    /// The last of them.
    pub last: Option<Instant>,
}

/// What becomes of one that is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is restarted.
    Go,
    /// It waits for this one.
    After(IpAddr),
    /// It was restarted often enough.
    Limit,
}

/// The turns of all that are dead, where each may be restarted `most` times. At most one goes.
pub fn turns(all: &BTreeMap<IpAddr, Standing>, most: usize) -> BTreeMap<IpAddr, Turn> {
    let returning = all.iter().find(|(_, one)| one.returning).map(|(address, _)| *address);
    let in_the_way = |address: IpAddr, one: &Standing| {
        let beside = |(other, standing): &(&IpAddr, &Standing)| {
            **other != address && standing.starting && !standing.networks.is_disjoint(&one.networks)
        };
        returning.or_else(|| all.iter().find(beside).map(|(other, _)| *other))
    };
    let mut turns = BTreeMap::new();
    let mut free = Vec::new();
    for (address, one) in all.iter().filter(|(_, one)| one.dead) {
        match in_the_way(*address, one) {
            _ if one.restarts >= most => drop(turns.insert(*address, Turn::Limit)),
            Some(other) => drop(turns.insert(*address, Turn::After(other))),
            // Whoever was never restarted is first, then who was longest ago: one that does not come back lets the others go.
            None => free.push((one.last, *address)),
        }
    }
    free.sort_unstable();
    if let Some((_, first)) = free.first().copied() {
        for (_, address) in free {
            turns.insert(address, if address == first { Turn::Go } else { Turn::After(first) });
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 90, 0, last).into()
    }

    fn of(network: &str) -> Standing {
        Standing { networks: [network.to_owned()].into(), ..Standing::default() }
    }

    #[test]
    fn of_two_that_are_dead_one_goes_and_the_other_waits_until_it_is_back() {
        let dead = Standing { dead: true, ..of("gt") };
        let mut all = BTreeMap::from([(ip(1), dead.clone()), (ip(2), dead.clone())]);
        assert_eq!(turns(&all, 3), [(ip(1), Turn::Go), (ip(2), Turn::After(ip(1)))].into());
        let restarted = Standing { returning: true, restarts: 1, last: Some(Instant::now()), ..of("gt") };
        all.insert(ip(1), restarted.clone());
        assert_eq!(turns(&all, 3), [(ip(2), Turn::After(ip(1)))].into());
        all.insert(ip(1), Standing { returning: false, ..restarted.clone() });
        assert_eq!(turns(&all, 3), [(ip(2), Turn::Go)].into());
        // It did not come back, and is dead again: the one that had no turn yet is first.
        all.insert(ip(1), Standing { returning: false, dead: true, ..restarted });
        assert_eq!(turns(&all, 3), [(ip(1), Turn::After(ip(2))), (ip(2), Turn::Go)].into());
    }

    #[test]
    fn one_that_starts_is_waited_for_on_its_own_network_only() {
        let starting = Standing { starting: true, ..of("gt") };
        let all =
            |network| BTreeMap::from([(ip(1), starting.clone()), (ip(2), Standing { dead: true, ..of(network) })]);
        assert_eq!(turns(&all("gt"), 3), [(ip(2), Turn::After(ip(1)))].into());
        assert_eq!(turns(&all("g10"), 3), [(ip(2), Turn::Go)].into());
    }

    #[test]
    fn who_was_restarted_often_enough_is_left_and_holds_up_nobody() {
        let worn = Standing { dead: true, restarts: 3, ..of("gt") };
        let all = BTreeMap::from([(ip(1), worn), (ip(2), Standing { dead: true, ..of("gt") })]);
        assert_eq!(turns(&all, 3), [(ip(1), Turn::Limit), (ip(2), Turn::Go)].into());
    }

    fn standings() -> impl Strategy<Value = BTreeMap<IpAddr, Standing>> {
        let one = (
            btree_set(prop::sample::select(vec!["a", "b", "c"]), 1..3),
            prop::sample::select(vec![(true, false), (false, true), (false, false)]),
            prop::bool::weighted(0.1),
            0..5usize,
            prop::option::of(0..100u64),
        );
        vec(one, 0..8).prop_map(|all| {
            let now = Instant::now();
            let standing =
                |(networks, (dead, starting), returning, restarts, last): (BTreeSet<&str>, _, _, _, Option<u64>)| {
                    Standing {
                        networks: networks.into_iter().map(str::to_owned).collect(),
                        dead,
                        starting,
                        returning,
                        restarts,
                        last: last.map(|last| now + Duration::from_secs(last)),
                    }
                };
            all.into_iter().zip(1..).map(|(one, number)| (ip(number), standing(one))).collect()
        })
    }

    proptest! {
        #[test]
        fn at_most_one_goes_and_never_beside_one_that_is_on_its_way(all in standings()) {
            let turns = turns(&all, 3);
            let dead: BTreeSet<IpAddr> = all.iter().filter(|(_, one)| one.dead).map(|(address, _)| *address).collect();
            prop_assert_eq!(&turns.keys().copied().collect::<BTreeSet<_>>(), &dead, "each that is dead is told of");
            let gone: Vec<IpAddr> = turns.iter().filter(|(_, turn)| **turn == Turn::Go).map(|(one, _)| *one).collect();
            prop_assert!(gone.len() <= 1);
            let returning = all.values().any(|one| one.returning);
            let starting = |address: &IpAddr| all.iter().any(|(other, one)| {
                other != address && one.starting && !one.networks.is_disjoint(&all[address].networks)
            });
            for address in &gone {
                prop_assert!(!returning && !starting(address) && all[address].restarts < 3);
            }
            let may = dead.iter().filter(|one| all[one].restarts < 3 && !returning && !starting(one));
            let may: Vec<(Option<Instant>, IpAddr)> = may.map(|one| (all[one].last, *one)).collect();
            prop_assert_eq!(gone.first(), may.iter().min().map(|(_, first)| first), "who waits longest goes");
        }

        /// Servers of one network die, come back or do not; whoever goes is away for a while.
        #[test]
        fn over_time_one_is_taken_at_a_time_each_in_its_turn(
            fates in vec((0..3u8, 1..9u32), 1..7),
            dead_at in vec(0..20u32, 7),
        ) {
            let start = Instant::now();
            let at = |second: u32| start + Duration::from_secs(second.into());
            let mut all: BTreeMap<IpAddr, Standing> = (1..).zip(&fates).map(|(n, _)| (ip(n), of("gt"))).collect();
            let mut back: BTreeMap<IpAddr, (u32, u8)> = BTreeMap::new();
            for second in 0..400u32 {
                for (number, one) in (0u8..).zip(all.values_mut()) {
                    one.dead |= dead_at[usize::from(number)] == second;
                }
                back.retain(|address, (until, fate)| {
                    if *until > second {
                        return true;
                    }
                    if let Some(one) = all.get_mut(address) {
                        // Only those with a fate of 0 answer after a restart.
                        (one.returning, one.starting, one.dead) = (false, false, *fate != 0);
                    }
                    false
                });
                for (address, turn) in turns(&all, 3) {
                    if turn == Turn::Go {
                        prop_assert!(back.is_empty(), "{} goes while {:?} is away", address, back);
                        let number = usize::from(match address { IpAddr::V4(v4) => v4.octets()[3], IpAddr::V6(_) => 0 });
                        let (fate, takes) = fates[number - 1];
                        back.insert(address, (second + takes, fate));
                        if let Some(one) = all.get_mut(&address) {
                            (one.dead, one.starting, one.returning) = (false, true, true);
                            (one.restarts, one.last) = (one.restarts + 1, Some(at(second)));
                        }
                    }
                }
            }
            for ((fate, _), one) in fates.iter().zip(all.values()) {
                prop_assert_eq!(one.restarts, if *fate == 0 { 1 } else { 3 }, "nobody is forgotten, nobody is pushed");
            }
        }
    }
}
