//! What layers come to, as simply as it can be said: a map from paths to things, changed entry by entry from the lowest layer up.

use std::collections::BTreeMap;

use tar::EntryType;

use crate::made::Raw;

/// Mode, owner, group and time.
pub type Meta = (u32, u64, u64, u64);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    Directory(Meta),
    /// Number of the contents: equal numbers are names of one file.
    File(usize),
    Symlink(Meta, Vec<u8>),
    Device,
}

#[derive(Debug, Clone)]
struct Placed {
    thing: Thing,
    /// The layer that put it there, or last needed it as a directory.
    layer: usize,
    /// The layer that described the directory.
    described: usize,
}

/// An image in memory.
#[derive(Debug, Default)]
pub struct Model {
    things: BTreeMap<Vec<String>, Placed>,
    files: Vec<(Meta, Vec<u8>)>,
}

/// Nobody described it.
const BARE: Meta = (0o755, 0, 0, 0);

pub fn names(path: &[u8]) -> Vec<String> {
    let path = String::from_utf8_lossy(path).into_owned();
    path.split('/').filter(|name| !name.is_empty() && *name != ".").map(str::to_owned).collect()
}

impl Model {
    /// All layers, the lowest first; none where some entry cannot be placed.
    pub fn of(layers: &[Vec<Raw>]) -> Option<Self> {
        let mut model = Self::default();
        for (number, layer) in layers.iter().enumerate() {
            for entry in layer {
                model.apply(number + 1, entry)?;
            }
        }
        Some(model)
    }

    /// Where a directory really is; made where `layer` is not 0.
    fn resolve(&mut self, path: &[String], layer: usize) -> Option<Vec<String>> {
        let (mut ahead, mut real, mut links) = (path.to_vec(), Vec::new(), 0);
        while !ahead.is_empty() {
            let name = ahead.remove(0);
            if name == ".." {
                real.pop();
                continue;
            }
            let here: Vec<String> = [real.as_slice(), &[name]].concat();
            match self.things.get_mut(&here) {
                None if layer == 0 => return None,
                None => {
                    let thing = Thing::Directory(BARE);
                    self.things.insert(here.clone(), Placed { thing, layer, described: 0 });
                    real = here;
                }
                Some(placed) => match &placed.thing {
                    Thing::Directory(_) => {
                        placed.layer = placed.layer.max(layer);
                        real = here;
                    }
                    Thing::Symlink(_, target) => {
                        links += 1;
                        if links > 40 {
                            return None;
                        }
                        if target.starts_with(b"/") {
                            real.clear();
                        }
                        ahead = [names(target), ahead].concat();
                    }
                    _ => return None,
                },
            }
        }
        Some(real)
    }

    /// Hides what layers below `layer` have at a path, or only below it.
    fn hide(&mut self, path: &[String], layer: usize, itself: bool) {
        self.things.retain(|one, placed| {
            let concerned = one.starts_with(path) && (itself || one.len() > path.len());
            if concerned && placed.described < layer && matches!(placed.thing, Thing::Directory(_)) {
                placed.thing = Thing::Directory(BARE);
            }
            !concerned || placed.layer >= layer
        });
    }

    fn apply(&mut self, layer: usize, entry: &Raw) -> Option<()> {
        let path = names(&entry.name);
        let Some((name, parent)) = path.split_last() else { return Some(()) };
        let parent = self.resolve(parent, layer)?;
        if name == ".wh..wh..opq" {
            self.hide(&parent, layer, false);
            return Some(());
        }
        if let Some(hidden) = name.strip_prefix(".wh.") {
            self.hide(&[parent.as_slice(), &[hidden.to_owned()]].concat(), layer, true);
            return Some(());
        }
        let path: Vec<String> = [parent.as_slice(), std::slice::from_ref(name)].concat();
        let meta = (entry.mode, entry.owner.0, entry.owner.1, entry.mtime);
        let thing = match entry.kind {
            EntryType::Directory => {
                let thing = Thing::Directory(meta);
                let placed = Placed { thing, layer, described: layer };
                if !matches!(self.things.get(&path), Some(Placed { thing: Thing::Directory(_), .. })) {
                    self.remove(&path);
                }
                self.things.insert(path, placed);
                return Some(());
            }
            EntryType::Regular => {
                self.files.push((meta, entry.data.clone()));
                Thing::File(self.files.len() - 1)
            }
            EntryType::Symlink => Thing::Symlink(meta, entry.link.clone()),
            EntryType::Link => {
                let target = names(&entry.link);
                let (name, parent) = target.split_last()?;
                let target = [self.resolve(parent, 0)?.as_slice(), std::slice::from_ref(name)].concat();
                match &self.things.get(&target)?.thing {
                    Thing::Directory(_) => return None,
                    thing => thing.clone(),
                }
            }
            _ => Thing::Device,
        };
        self.remove(&path);
        self.things.insert(path, Placed { thing, layer, described: layer });
        Some(())
    }

    fn remove(&mut self, path: &[String]) {
        self.things.retain(|one, _| !one.starts_with(path));
    }

    /// Path, what is there, and which names are one file: the first of its names. Devices are left out.
    pub fn shown(&self) -> BTreeMap<String, String> {
        let mut first: BTreeMap<usize, String> = BTreeMap::new();
        let mut shown = BTreeMap::new();
        for (path, placed) in &self.things {
            let path = path.join("/");
            let text = match &placed.thing {
                Thing::Directory(meta) => format!("directory {meta:?}"),
                Thing::Symlink(meta, target) => format!("link {meta:?} {}", String::from_utf8_lossy(target)),
                Thing::File(number) => {
                    let name = first.entry(*number).or_insert_with(|| path.clone());
                    let (meta, contents) = &self.files[*number];
                    format!("file {meta:?} {:?} as {name}", String::from_utf8_lossy(contents))
                }
                Thing::Device => continue,
            };
            shown.insert(path, text);
        }
        shown
    }
}

/// The entries of a tar.
pub fn entries(tar: &[u8]) -> Vec<Raw> {
    let mut tar = tar::Archive::new(tar);
    let entries = tar.entries().expect("a tar").map(|entry| {
        let mut entry = entry.expect("an entry");
        // The library takes a line break in a value for its end, and says so.
        let pax = entry.pax_extensions().expect("records").into_iter().flatten().filter_map(Result::ok);
        let pax = pax.map(|one| (one.key_bytes().to_vec(), one.value_bytes().to_vec())).collect();
        let mut data = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut data).expect("contents");
        let header = entry.header();
        Raw {
            name: entry.path_bytes().into_owned(),
            kind: header.entry_type(),
            link: entry.link_name_bytes().unwrap_or_default().into_owned(),
            mode: header.mode().expect("a mode"),
            owner: (header.uid().expect("an owner"), header.gid().expect("a group")),
            mtime: header.mtime().expect("a time"),
            data,
            says: None,
            pax,
        }
    });
    entries.collect()
}

/// A flattened layer, unpacked without any cleverness: every directory, file and link where its name says, once, with no mark of
/// layers left and no symbolic link on the way.
pub fn flat(entries: &[Raw]) -> BTreeMap<String, String> {
    let mut seen: BTreeMap<Vec<String>, EntryType> = BTreeMap::new();
    for entry in entries {
        let path = names(&entry.name);
        assert!(path.iter().all(|name| !name.starts_with(".wh.")), "{path:?} is a mark");
        for length in 1..path.len() {
            let above = seen.get(&path[..length]);
            assert!(above.is_none_or(|kind| kind.is_dir()), "{path:?} lies in something that is no directory");
        }
        let before = seen.insert(path.clone(), entry.kind);
        assert!(before.is_none_or(|kind| kind.is_dir() && entry.kind.is_dir()), "{path:?} is there twice");
        if entry.kind.is_hard_link() {
            let target = seen.get(&names(&entry.link));
            assert!(target.is_some_and(|kind| !kind.is_dir()), "{path:?} links to what is not there yet");
        }
        if !entry.kind.is_dir() {
            let below = seen.keys().any(|one| one.len() > path.len() && one.starts_with(&path));
            assert!(!below, "{path:?} has something in it and is no directory");
        }
    }
    Model::of(&[entries.to_vec()]).expect("every entry has its place").shown()
}
