//! Which entries upper layers cover, decided in one pass from the top layer down.
//!
//! Every path of every layer becomes a node that says from which layer on it, or what lies in it, is hidden. That is enough as
//! long as each path means what it says. It does not where a directory that a layer takes for granted turns out to be a symbolic
//! link of a lower layer, where a hard link outlives its target, or where a layer names something twice: then the answer is
//! [`Choice::CannotTell`], and `plan` looks through all layers first.

use std::collections::HashMap;

use super::choice::{Choice, Chooser, Refusal, Room, path_of};
use super::entry::{Entry, Kind, Mark, parts, split};

/// A path. Layers are numbers, 0 is none.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    /// This layer hides the path in all lower ones.
    hidden: u16,
    /// This layer hides what lower ones have in the directory.
    opaque: u16,
    /// The layer whose description of the directory counts.
    directory: u16,
    /// The layer that named the path last.
    named: u16,
    /// That layer made it something other than a directory …
    leaf: bool,
    /// … and it was written.
    written: bool,
    /// Some layer has something in it without describing it as a directory first.
    assumed: bool,
    /// It is a directory of the image, described or not.
    exists: bool,
}

/// The paths seen so far.
pub struct Cover {
    nodes: Vec<Node>,
    /// Number of a node by its parent's number, four bytes, and its name.
    numbers: HashMap<Box<[u8]>, u32>,
    key: Vec<u8>,
    room: Room,
}

const ROOT: u32 = 0;

impl Cover {
    /// Knows nothing yet.
    pub fn new(room: Room) -> Self {
        Self { nodes: vec![Node::default()], numbers: HashMap::new(), key: Vec::new(), room }
    }

    fn node(&mut self, number: u32) -> &mut Node {
        &mut self.nodes[number as usize]
    }

    fn known(&mut self, parent: u32, name: &[u8]) -> Option<u32> {
        self.key.clear();
        self.key.extend_from_slice(&parent.to_le_bytes());
        self.key.extend_from_slice(name);
        self.numbers.get(self.key.as_slice()).copied()
    }

    fn number(&mut self, parent: u32, name: &[u8]) -> Result<u32, Refusal> {
        if let Some(number) = self.known(parent, name) {
            return Ok(number);
        }
        self.room.take(name)?;
        let number = u32::try_from(self.nodes.len()).map_err(|_| Refusal::Paths)?;
        self.nodes.push(Node::default());
        self.numbers.insert(self.key.as_slice().into(), number);
        Ok(number)
    }

    /// Whether this layer wrote the target of a hard link, and as what it can be linked to. None: it did not name it.
    fn target(&mut self, layer: u16, path: &[u8]) -> Option<Node> {
        let mut at = ROOT;
        for part in parts(path) {
            at = self.known(at, part)?;
        }
        Some(self.nodes[at as usize]).filter(|node| node.named == layer && node.leaf)
    }
}

impl Chooser for Cover {
    fn choose(&mut self, layer: u16, _number: u32, entry: &Entry) -> Result<Choice, Refusal> {
        let mark = entry.mark()?;
        let (parent, name) = split(&entry.path);
        if mark == Mark::Note || name.is_empty() {
            return Ok(Choice::Leave);
        }
        let mut at = ROOT;
        let mut hidden = self.node(ROOT).opaque > layer;
        for part in parts(parent) {
            at = self.number(at, part)?;
            let node = self.node(at);
            if node.named != layer {
                node.assumed = true;
            } else if node.leaf {
                return Ok(Choice::CannotTell);
            }
            hidden |= node.hidden > layer;
            node.exists |= !hidden;
            hidden |= node.opaque > layer;
        }
        match mark {
            Mark::Opaque => {
                let node = self.node(at);
                node.opaque = node.opaque.max(layer);
                return Ok(Choice::Leave);
            }
            Mark::Whiteout(name) => {
                let number = self.number(at, name)?;
                let node = self.node(number);
                node.hidden = node.hidden.max(layer);
                return Ok(Choice::Leave);
            }
            Mark::None | Mark::Note => {}
        }
        let number = self.number(at, name)?;
        let node = self.node(number);
        if entry.kind == Kind::Directory {
            if node.named == layer && node.leaf {
                return Ok(Choice::CannotTell);
            }
            (node.named, node.leaf) = (layer, false);
            if hidden || node.hidden > layer || node.directory > layer {
                return Ok(Choice::Leave);
            }
            (node.directory, node.exists) = (layer, true);
            return Ok(Choice::Keep);
        }
        if node.named == layer || node.assumed {
            return Ok(Choice::CannotTell);
        }
        let covered = hidden || node.hidden > layer || node.directory > layer;
        let written = !covered && entry.kind != Kind::Device;
        if entry.kind == Kind::HardLink {
            match self.target(layer, &entry.link) {
                Some(target) if target.written || covered => {}
                _ => return Ok(Choice::CannotTell),
            }
        }
        let node = self.node(number);
        (node.named, node.leaf, node.written) = (layer, true, written);
        node.hidden = node.hidden.max(layer);
        Ok(match (covered, written) {
            (true, _) => Choice::Leave,
            (false, true) => Choice::Keep,
            (false, false) => Choice::Drop,
        })
    }

    fn bare_directories(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        let bare = |node: &Node| node.exists && node.directory == 0;
        if !self.nodes.iter().any(bare) {
            return Box::new(std::iter::empty());
        }
        let mut keys: Vec<&[u8]> = vec![&[]; self.nodes.len()];
        for (key, number) in &self.numbers {
            keys[*number as usize] = key;
        }
        let up = move |number: u32| {
            let (parent, name) = keys[number as usize].split_at(4);
            (parent.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte)), name)
        };
        let numbers = (ROOT..).zip(&self.nodes).skip(1).filter(move |(_, node)| bare(node));
        Box::new(numbers.map(move |(number, _)| path_of(number, &up)))
    }
}
