//! What an image holds where one pass cannot tell: all layers are looked through from the lowest up, as a runtime would unpack
//! them, but in memory. Then it is known which entry of which layer is written, and under which names.
//!
//! Symbolic links among the directories of a path are followed as if the image were the whole world.

use std::collections::{BTreeMap, VecDeque};

use super::choice::{Choice, Chooser, Refusal, Room, path_of};
use super::entry::{DEPTH, Entry, Kind, Mark, PATH_BYTES, parts, split};

/// Links followed to find a directory, as kernels count.
const HOPS: usize = 40;

/// Layer and number of an entry.
type Place = (u16, u32);

#[derive(Default)]
struct Directory {
    /// The entry that describes it.
    described: Option<Place>,
    /// The last layer that needed it.
    layer: u16,
    inside: BTreeMap<Box<[u8]>, Node>,
}

enum Node {
    Directory(Directory),
    /// Anything else: number of its contents, and the layer that gave it this name.
    Leaf {
        contents: usize,
        layer: u16,
    },
}

/// What one or more names stand for.
struct Contents {
    place: Place,
    kind: Kind,
    /// Where a symbolic link leads.
    link: Box<[u8]>,
}

/// The image as far as its layers were looked through.
pub struct Survey {
    root: Directory,
    contents: Vec<Contents>,
    room: Room,
}

/// Hides what layers below `layer` put here; whether nothing is left.
fn hide(node: &mut Node, layer: u16) -> bool {
    match node {
        Node::Leaf { layer: own, .. } => *own < layer,
        Node::Directory(directory) => {
            directory.inside.retain(|_, node| !hide(node, layer));
            if directory.described.is_some_and(|(own, _)| own < layer) {
                directory.described = None;
            }
            directory.layer < layer && directory.inside.is_empty()
        }
    }
}

impl Survey {
    /// An empty image.
    pub fn new(room: Room) -> Self {
        Self { root: Directory::default(), contents: Vec::new(), room }
    }

    /// A directory that is there.
    fn directory(&mut self, path: &[Box<[u8]>]) -> Result<&mut Directory, Refusal> {
        let mut at = &mut self.root;
        for name in path {
            match at.inside.get_mut(name) {
                Some(Node::Directory(directory)) => at = directory,
                _ => return Err(Refusal::Bad("its directory is not there".to_owned())),
            }
        }
        Ok(at)
    }

    /// Where a directory really lies. It is made where `make` names a layer that needs it.
    fn resolve(&mut self, path: &[u8], make: Option<u16>) -> Result<Vec<Box<[u8]>>, Refusal> {
        let mut ahead: VecDeque<Box<[u8]>> = parts(path).map(Box::from).collect();
        let mut real: Vec<Box<[u8]>> = Vec::new();
        let mut hops = 0;
        while let Some(name) = ahead.pop_front() {
            // Links lead deeper than any one path.
            if real.len() >= DEPTH || real.iter().map(|name| name.len() + 1).sum::<usize>() > PATH_BYTES {
                return Err(Refusal::Bad("it lies too deep".to_owned()));
            }
            match &*name {
                b"." => continue,
                b".." => {
                    real.pop();
                    continue;
                }
                _ => {}
            }
            let Self { root, contents, room } = self;
            let mut at = root;
            for name in &real {
                match at.inside.get_mut(name) {
                    Some(Node::Directory(directory)) => at = directory,
                    _ => return Err(Refusal::Bad("its directory is not there".to_owned())),
                }
            }
            match (at.inside.get_mut(&name), make) {
                (Some(Node::Directory(directory)), make) => {
                    directory.layer = directory.layer.max(make.unwrap_or(0));
                    real.push(name);
                }
                (Some(Node::Leaf { contents: number, .. }), _) if contents[*number].kind == Kind::Symlink => {
                    let target = &contents[*number].link;
                    hops += 1;
                    if hops > HOPS {
                        return Err(Refusal::Bad("it lies behind symbolic links without an end".to_owned()));
                    }
                    if target.starts_with(b"/") {
                        real.clear();
                    }
                    parts(target).rev_into(&mut ahead);
                }
                (Some(Node::Leaf { .. }), _) => {
                    return Err(Refusal::Bad("it lies in something that is no directory".to_owned()));
                }
                (None, Some(layer)) => {
                    room.take(&name)?;
                    at.inside.insert(name.clone(), Node::Directory(Directory { layer, ..Directory::default() }));
                    real.push(name);
                }
                (None, None) => return Err(Refusal::Bad("it links to something that is not there".to_owned())),
            }
        }
        Ok(real)
    }

    /// What a hard link stands for.
    fn linked(&mut self, path: &[u8]) -> Result<usize, Refusal> {
        let (parent, name) = split(path);
        let parent = self.resolve(parent, None)?;
        match self.directory(&parent)?.inside.get(name) {
            Some(Node::Leaf { contents, .. }) => Ok(*contents),
            Some(Node::Directory(_)) => Err(Refusal::Bad("it is a hard link to a directory".to_owned())),
            None => Err(Refusal::Bad("it links to something that is not there".to_owned())),
        }
    }

    /// What is to be written, now that all layers were looked through.
    pub fn plan(self) -> Plan {
        let mut plan = Plan { paths: vec![(0, Box::default())], written: Vec::new(), bare: Vec::new() };
        plan.directory(self.root, 0, &self.contents);
        plan.written.sort_unstable();
        plan
    }
}

/// Puts the names of a path before what is still ahead.
trait Ahead {
    fn rev_into(self, ahead: &mut VecDeque<Box<[u8]>>);
}

impl<'a, I: Iterator<Item = &'a [u8]>> Ahead for I {
    fn rev_into(self, ahead: &mut VecDeque<Box<[u8]>>) {
        let names: Vec<&[u8]> = self.collect();
        for name in names.into_iter().rev() {
            ahead.push_front(name.into());
        }
    }
}

impl Chooser for Survey {
    fn choose(&mut self, layer: u16, number: u32, entry: &Entry) -> Result<Choice, Refusal> {
        let mark = entry.mark()?;
        let (parent, name) = split(&entry.path);
        if mark == Mark::Note || name.is_empty() {
            return Ok(Choice::Leave);
        }
        let parent = self.resolve(parent, Some(layer))?;
        match mark {
            Mark::Opaque => {
                self.directory(&parent)?.inside.retain(|_, node| !hide(node, layer));
                return Ok(Choice::Leave);
            }
            Mark::Whiteout(name) => {
                let directory = self.directory(&parent)?;
                if directory.inside.get_mut(name).is_some_and(|node| hide(node, layer)) {
                    directory.inside.remove(name);
                }
                return Ok(Choice::Leave);
            }
            Mark::None | Mark::Note => {}
        }
        let node = match entry.kind {
            Kind::Directory => {
                let described = Some((layer, number));
                if let Some(Node::Directory(directory)) = self.directory(&parent)?.inside.get_mut(name) {
                    (directory.described, directory.layer) = (described, layer);
                    return Ok(Choice::Leave);
                }
                Node::Directory(Directory { described, layer, ..Directory::default() })
            }
            Kind::HardLink => Node::Leaf { contents: self.linked(&entry.link)?, layer },
            kind => {
                self.contents.push(Contents { place: (layer, number), kind, link: entry.link.as_slice().into() });
                Node::Leaf { contents: self.contents.len() - 1, layer }
            }
        };
        self.room.take(name)?;
        self.directory(&parent)?.inside.insert(name.into(), node);
        Ok(Choice::Leave)
    }

    fn bare_directories(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(std::iter::empty())
    }
}

/// Which entries are written, and under which names.
pub struct Plan {
    /// Parent and last name of each path.
    paths: Vec<(u32, Box<[u8]>)>,
    /// Sorted: the paths of an entry lie beside one another.
    written: Vec<(Place, u32)>,
    bare: Vec<u32>,
}

impl Plan {
    fn directory(&mut self, directory: Directory, parent: u32, contents: &[Contents]) {
        for (name, node) in directory.inside {
            // Never more than there was room for, which is far below what four bytes count.
            let number = self.paths.len() as u32;
            self.paths.push((parent, name));
            match node {
                Node::Directory(inside) => {
                    match inside.described {
                        Some(place) => self.written.push((place, number)),
                        None => self.bare.push(number),
                    }
                    self.directory(inside, number, contents);
                }
                Node::Leaf { contents: of, .. } => self.written.push((contents[of].place, number)),
            }
        }
    }

    fn path(&self, number: u32) -> Vec<u8> {
        path_of(number, |number| {
            let (parent, name) = &self.paths[number as usize];
            (*parent, name)
        })
    }
}

impl Chooser for Plan {
    fn choose(&mut self, layer: u16, number: u32, entry: &Entry) -> Result<Choice, Refusal> {
        let first = self.written.partition_point(|(place, _)| *place < (layer, number));
        let names = self.written[first..].iter().take_while(|(place, _)| *place == (layer, number));
        let names: Vec<Vec<u8>> = names.map(|(_, number)| self.path(*number)).collect();
        Ok(match names.is_empty() {
            true => Choice::Leave,
            false if entry.kind == Kind::Device => Choice::Drop,
            false => Choice::Names(names),
        })
    }

    fn bare_directories(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(self.bare.iter().map(|number| self.path(*number)))
    }
}
