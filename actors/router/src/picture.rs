//! How readings of the device become one picture, also when a reading and a command overlap.
//!
//! A list that was asked for before a command finished may not show what the command did. So each reading carries the age it
//! was started at, each command notes the rows it touched and when, and a touched row outlives an older reading.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use jiff::Timestamp;
use mkube_messages::router::{DeviceLists, DeviceSnapshot};
use mkube_messages::watch;
use mkube_model::neighbours::router::{
    BridgePortRow, ContainerRow, ContainerState, EnvRow, MountRow, SystemResource, VethRow,
};
use tokio::time::Instant;

use crate::boots;

/// Order of readings and commands; grows with each.
pub type Age = u64;

/// What a reading or a command taught us.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "one is alive at a time; a box would cost more than it saves")]
pub enum Learned {
    /// All containers.
    Containers(Vec<ContainerRow>),
    /// These containers, by name; none: that one is gone.
    Rows(Vec<(String, Option<ContainerRow>)>),
    /// All veths.
    Veths(Vec<VethRow>),
    /// All bridge ports.
    Ports(Vec<BridgePortRow>),
    /// Figures, and when they were asked for.
    Resource(SystemResource, Instant),
    /// This container was made by us just now.
    Container(ContainerRow),
    /// This container accepted a command and is now in that state.
    State(String, ContainerState),
    /// This container carries our mark now.
    Comment(String, String),
    /// This container is started by the device when it boots, or is not.
    StartOnBoot(String, bool),
    /// This veth exists like so.
    Veth(VethRow),
    /// This veth is gone.
    VethGone(String),
    /// This port exists like so.
    Port(BridgePortRow),
    /// The port of this interface is gone.
    PortGone(String),
}

/// What is strange about a reading.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// There were containers, and there are none.
    NoContainers,
    /// There were interfaces, and there are none.
    NoInterfaces,
    /// There were bridge ports, and there are none.
    NoPorts,
    /// This interface is missing, and a container has it.
    Torn(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Table {
    Containers,
    Veths,
    Ports,
}

/// The picture under construction, and the ages of what is in it.
#[derive(Debug, Default)]
pub struct Picture {
    snapshot: DeviceSnapshot,
    age: Age,
    touched: BTreeMap<(Table, String), Age>,
    /// The age of the list each table was last read from; an older one that comes late says nothing new.
    lists: BTreeMap<Table, Age>,
    /// When the figures were last asked for.
    figures_asked: Option<Instant>,
}

/// What is shown stays in sight, and nobody concludes anything from it before the device was read again. For whoever knows that
/// it was changed by somebody else.
pub fn outdate(picture: &watch::Sender<Arc<DeviceSnapshot>>) {
    picture.send_modify(|shown| {
        *shown = Arc::new(DeviceSnapshot { complete: false, reachable: false, ..(**shown).clone() });
    });
}

impl Picture {
    /// Starts from what an earlier incarnation published, so that readers never see the device vanish.
    pub fn resume(snapshot: DeviceSnapshot) -> Self {
        Self { snapshot: DeviceSnapshot { complete: false, ..snapshot }, ..Self::default() }
    }

    /// The age of something that starts now.
    pub fn next_age(&mut self) -> Age {
        self.age += 1;
        self.age
    }

    /// What to publish.
    pub fn snapshot(&self) -> &DeviceSnapshot {
        &self.snapshot
    }

    /// Whether any row is on its way from one state to another.
    pub fn moving(&self) -> bool {
        self.movers().next().is_some()
    }

    /// Containers on their way from one state to another.
    pub fn movers(&self) -> impl Iterator<Item = &Arc<ContainerRow>> {
        use ContainerState::{Deleting, Extracting, Starting, Stopping};
        let moves = |row: &&Arc<ContainerRow>| matches!(row.state, Extracting | Starting | Stopping | Deleting);
        self.snapshot.containers.values().filter(moves)
    }

    /// The last reading failed.
    pub fn failed(&mut self, fault: String) {
        self.snapshot.reachable = false;
        self.snapshot.fault = Some(fault);
    }

    /// The last reading worked; it was begun at that time.
    pub fn worked(&mut self, begun: Instant) {
        self.snapshot.read_at = Some(begun);
        self.answered();
    }

    /// The device answers. Where not everything was read, nobody may take anything for seen since.
    pub fn answered(&mut self) {
        self.snapshot.reachable = true;
        self.snapshot.fault = None;
    }

    /// Mount and environment lists were read; the reading was begun at that time.
    pub fn lists(&mut self, begun: Instant, mounts: Vec<MountRow>, envs: Vec<EnvRow>) {
        let mut lists = DeviceLists { read_at: begun, mounts: BTreeMap::new(), envs: BTreeMap::new() };
        for row in mounts {
            lists.mounts.entry(row.list.clone()).or_default().push(row);
        }
        for row in envs {
            lists.envs.entry(row.list).or_default().push(row.key);
        }
        self.snapshot.lists = Some(Arc::new(lists));
    }

    /// Folds in what something started at `age` taught us.
    pub fn learn(&mut self, age: Age, learned: Learned) {
        match learned {
            Learned::Containers(rows) => {
                if self.is_newest(Table::Containers, age) {
                    let fresh = rows.into_iter().map(|row| (row.name.clone(), row)).collect();
                    let Self { snapshot, touched, .. } = self;
                    merge(&mut snapshot.containers, fresh, |name| newer(touched, Table::Containers, name, age));
                    self.forget(Table::Containers, age);
                }
            }
            Learned::Rows(rows) => {
                let listed_later = self.lists.get(&Table::Containers).is_some_and(|listed| *listed > age);
                for (name, row) in rows.into_iter().filter(|_| !listed_later) {
                    self.learn_row(age, name, row);
                }
            }
            Learned::Veths(rows) => {
                if self.is_newest(Table::Veths, age) {
                    let fresh = rows.into_iter().map(|row| (row.name.clone(), row)).collect();
                    let Self { snapshot, touched, .. } = self;
                    merge(&mut snapshot.veths, fresh, |name| newer(touched, Table::Veths, name, age));
                    self.forget(Table::Veths, age);
                }
            }
            Learned::Ports(rows) => {
                if self.is_newest(Table::Ports, age) {
                    let fresh = rows.into_iter().map(|row| (row.interface.clone(), row)).collect();
                    let Self { snapshot, touched, .. } = self;
                    merge(&mut snapshot.ports, fresh, |name| newer(touched, Table::Ports, name, age));
                    self.forget(Table::Ports, age);
                }
            }
            Learned::Resource(figures, asked) => {
                boots::learn(&mut self.snapshot, &figures, self.figures_asked.replace(asked), asked);
                self.snapshot.resource = Some(figures);
            }
            Learned::Container(row) => {
                self.touch(Table::Containers, &row.name);
                self.snapshot.containers.insert(row.name.clone(), Arc::new(row));
            }
            Learned::State(name, state) => {
                self.touch(Table::Containers, &name);
                if let Some(row) = self.snapshot.containers.get_mut(&name) {
                    Arc::make_mut(row).state = state;
                }
            }
            Learned::Comment(name, comment) => {
                self.touch(Table::Containers, &name);
                if let Some(row) = self.snapshot.containers.get_mut(&name) {
                    Arc::make_mut(row).comment = comment;
                }
            }
            Learned::StartOnBoot(name, on) => {
                self.touch(Table::Containers, &name);
                if let Some(row) = self.snapshot.containers.get_mut(&name) {
                    Arc::make_mut(row).start_on_boot = on;
                }
            }
            Learned::Veth(row) => {
                self.touch(Table::Veths, &row.name);
                self.snapshot.veths.insert(row.name.clone(), Arc::new(row));
            }
            Learned::VethGone(name) => {
                self.touch(Table::Veths, &name);
                self.snapshot.veths.remove(&name);
            }
            Learned::Port(row) => {
                self.touch(Table::Ports, &row.interface);
                self.snapshot.ports.insert(row.interface.clone(), Arc::new(row));
            }
            Learned::PortGone(name) => {
                self.touch(Table::Ports, &name);
                self.snapshot.ports.remove(&name);
            }
        }
        self.snapshot.complete = self.lists.len() == 3;
    }

    /// One row, as it was asked for at `age`.
    fn learn_row(&mut self, age: Age, name: String, row: Option<ContainerRow>) {
        if newer(&self.touched, Table::Containers, &name, age) {
            return;
        }
        match row {
            Some(row) if self.snapshot.containers.get(&name).is_some_and(|same| **same == row) => {}
            Some(row) => drop(self.snapshot.containers.insert(name.clone(), Arc::new(row))),
            None => drop(self.snapshot.containers.remove(&name)),
        }
        self.touched.insert((Table::Containers, name), age);
    }

    /// Numbers the picture for publication, at this time of the clock on the wall.
    pub fn number(&mut self, now: Timestamp) -> DeviceSnapshot {
        boots::date(&mut self.snapshot, now);
        self.snapshot.sequence += 1;
        self.snapshot.clone()
    }

    /// Everything for which a reading is too strange to be believed at once, each with a sentence that tells it.
    pub fn doubts(&self, reading: &[Learned]) -> BTreeMap<Doubt, String> {
        let mut doubts = self.torn(reading);
        doubts.extend(reading.iter().filter_map(|learned| self.emptied(learned)));
        doubts
    }

    /// Interfaces are missing that containers of the same reading use by their names: one list is older than the other. Where an
    /// interface really went, its container shows a number in its place.
    fn torn(&self, reading: &[Learned]) -> BTreeMap<Doubt, String> {
        let containers =
            reading.iter().find_map(|one| if let Learned::Containers(rows) = one { Some(rows) } else { None });
        let veths = reading.iter().find_map(|one| if let Learned::Veths(rows) = one { Some(rows) } else { None });
        let (Some(containers), Some(veths)) = (containers, veths) else { return BTreeMap::new() };
        let was_there = |name: &str| !self.lists.contains_key(&Table::Veths) || self.snapshot.veths.contains_key(name);
        let there: BTreeSet<&str> = veths.iter().map(|veth| veth.name.as_str()).collect();
        let of_container = |container: &ContainerRow| {
            let names = container.interfaces.iter().filter(|name| !name.starts_with('*'));
            let missing = names.filter(|name| !there.contains(name.as_str()) && was_there(name));
            let told = |name: &String| {
                format!("the device shows no interface {name}, and a container {} that has it", container.name)
            };
            missing.map(|name| (Doubt::Torn(name.clone()), told(name))).collect::<Vec<_>>()
        };
        containers.iter().flat_map(of_container).collect()
    }

    /// A table is empty that was not, and nothing in it was going. A device that is just starting, or about to stop, answers
    /// like that.
    fn emptied(&self, learned: &Learned) -> Option<(Doubt, String)> {
        let (doubt, what, had) = match learned {
            Learned::Containers(rows) if rows.is_empty() => {
                let staying = |row: &&Arc<ContainerRow>| row.state != ContainerState::Deleting;
                (Doubt::NoContainers, "containers", self.snapshot.containers.values().filter(staying).count())
            }
            Learned::Veths(rows) if rows.is_empty() => (Doubt::NoInterfaces, "interfaces", self.snapshot.veths.len()),
            Learned::Ports(rows) if rows.is_empty() => (Doubt::NoPorts, "bridge ports", self.snapshot.ports.len()),
            _ => return None,
        };
        (had > 0).then(|| (doubt, format!("the device shows no {what}, and had {had}")))
    }

    fn is_newest(&mut self, table: Table, age: Age) -> bool {
        let last = self.lists.entry(table).or_insert(age);
        let newest = *last <= age;
        *last = age.max(*last);
        newest
    }

    fn touch(&mut self, table: Table, name: &str) {
        self.age += 1;
        self.touched.insert((table, name.to_owned()), self.age);
    }

    fn forget(&mut self, table: Table, age: Age) {
        self.touched.retain(|(of, _), touched| *of != table || *touched > age);
    }
}

/// Whether a list of containers shows one ended that ran by the last look, without a command of ours: the device may have been
/// rebooted in between.
pub fn shows_an_end<'a>(
    before: &OrdMap<String, Arc<ContainerRow>>,
    rows: impl IntoIterator<Item = &'a ContainerRow>,
) -> bool {
    let mut ended = rows.into_iter().filter(|row| row.state == ContainerState::Stopped);
    let ran = |row: &ContainerRow| before.get(&row.name).is_some_and(|before| before.state == ContainerState::Running);
    ended.any(ran)
}

fn newer(touched: &BTreeMap<(Table, String), Age>, table: Table, name: &str, age: Age) -> bool {
    touched.get(&(table, name.to_owned())).is_some_and(|at| *at > age)
}

/// Replaces `old` by `fresh`, except for names that were touched later; equal rows keep their `Arc`.
fn merge<Row: PartialEq>(
    old: &mut OrdMap<String, Arc<Row>>,
    fresh: BTreeMap<String, Row>,
    touched_later: impl Fn(&str) -> bool,
) {
    let gone: Vec<String> =
        old.keys().filter(|name| !fresh.contains_key(*name) && !touched_later(name)).cloned().collect();
    for name in gone {
        old.remove(&name);
    }
    for (name, row) in fresh {
        if touched_later(&name) || old.get(&name).is_some_and(|same| **same == row) {
            continue;
        }
        old.insert(name, Arc::new(row));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_model::neighbours::router::RowId;

    fn veth(name: &str) -> VethRow {
        VethRow {
            id: RowId("*1".into()),
            name: name.into(),
            addresses: vec![],
            gateway: None,
            comment: String::new(),
            running: false,
        }
    }

    fn doubts(picture: &Picture, reading: &[Learned]) -> Vec<Doubt> {
        picture.doubts(reading).into_keys().collect()
    }

    #[test]
    fn a_reading_started_before_a_command_does_not_undo_it() {
        let mut picture = Picture::default();
        picture.learn(0, Learned::Veths(vec![veth("gone"), veth("stays")]));
        let reading = picture.next_age();
        picture.learn(0, Learned::Veth(veth("made")));
        picture.learn(0, Learned::VethGone("gone".into()));
        picture.learn(reading, Learned::Veths(vec![veth("gone"), veth("stays")]));
        let mut names: Vec<_> = picture.snapshot().veths.keys().cloned().collect();
        names.sort();
        assert_eq!(names, ["made", "stays"]);
    }

    #[test]
    fn a_reading_started_after_a_command_is_believed() {
        let mut picture = Picture::default();
        picture.learn(0, Learned::Veth(veth("made")));
        let reading = picture.next_age();
        picture.learn(reading, Learned::Veths(vec![]));
        assert!(picture.snapshot().veths.is_empty());
    }

    #[test]
    fn a_list_of_interfaces_that_is_older_than_that_of_containers_is_doubted() {
        let container = |interface: &str| {
            Learned::Containers(vec![ContainerRow {
                name: "web".into(),
                interfaces: vec![interface.into()],
                ..ContainerRow::default()
            }])
        };
        let others = || Learned::Veths(vec![veth("other")]);
        let torn = [Doubt::Torn("made".into())];
        let mut picture = Picture::default();
        assert_eq!(doubts(&picture, &[container("made"), others()]), torn, "at first sight");
        picture.learn(1, Learned::Veths(vec![veth("other"), veth("made")]));
        assert_eq!(doubts(&picture, &[container("made"), others()]), torn);
        assert_eq!(doubts(&picture, &[container("*5"), others()]), [], "it is gone, and its container shows that");
        assert_eq!(doubts(&picture, &[container("made")]), [], "interfaces were not read");
        picture.learn(2, others());
        assert_eq!(doubts(&picture, &[container("made"), others()]), [], "it was believed once");
    }

    #[test]
    fn everything_that_is_strange_about_a_reading_is_told() {
        let web = ContainerRow {
            name: "web".into(),
            interfaces: vec!["first".into(), "second".into()],
            ..ContainerRow::default()
        };
        let going = ContainerRow { state: ContainerState::Deleting, ..web.clone() };
        let port = BridgePortRow {
            id: RowId("*1".into()),
            bridge: "bridge".into(),
            interface: "first".into(),
            dynamic: false,
            comment: String::new(),
        };
        let (none, no_veths) = (|| Learned::Containers(vec![]), || Learned::Veths(vec![]));
        let mut picture = Picture::default();
        assert_eq!(doubts(&picture, &[none(), no_veths()]), [], "there never were any");
        picture.learn(1, Learned::Containers(vec![web.clone()]));
        picture.learn(1, Learned::Veths(vec![veth("first"), veth("second")]));
        assert_eq!(doubts(&picture, &[none(), no_veths()]), [Doubt::NoContainers, Doubt::NoInterfaces]);
        assert_eq!(doubts(&picture, &[none(), Learned::Veths(vec![veth("first")])]), [Doubt::NoContainers]);
        let torn = [Doubt::Torn("first".into()), Doubt::Torn("second".into())];
        assert_eq!(
            doubts(&picture, &[Learned::Containers(vec![web.clone()]), Learned::Veths(vec![veth("third")])]),
            torn
        );
        let both = [Doubt::NoInterfaces, torn[0].clone(), torn[1].clone()];
        assert_eq!(doubts(&picture, &[Learned::Containers(vec![web]), no_veths()]), both);
        picture.learn(1, Learned::Port(port));
        assert_eq!(doubts(&picture, &[Learned::Ports(vec![])]), [Doubt::NoPorts]);
        picture.learn(2, Learned::Containers(vec![going]));
        assert_eq!(doubts(&picture, &[none()]), [], "it was going");
    }

    #[test]
    fn a_list_that_comes_late_does_not_undo_a_newer_one() {
        let mut picture = Picture::default();
        let slow = picture.next_age();
        let quick = picture.next_age();
        picture.learn(quick, Learned::Veths(vec![veth("made")]));
        picture.learn(slow, Learned::Veths(vec![]));
        assert!(picture.snapshot().veths.contains_key("made"));
    }

    #[test]
    fn the_picture_is_complete_only_when_all_three_lists_were_read() {
        let mut picture = Picture::default();
        picture.learn(1, Learned::Containers(vec![]));
        picture.learn(1, Learned::Veths(vec![]));
        assert!(!picture.snapshot().complete);
        picture.learn(1, Learned::Ports(vec![]));
        assert!(picture.snapshot().complete);
    }

    #[test]
    fn rows_that_did_not_change_are_shared_with_the_last_picture() {
        let mut picture = Picture::default();
        picture.learn(1, Learned::Veths(vec![veth("a")]));
        let before = picture.snapshot().veths["a"].clone();
        let age = picture.next_age();
        picture.learn(age, Learned::Veths(vec![veth("a")]));
        assert!(Arc::ptr_eq(&before, &picture.snapshot().veths["a"]));
    }
}
