//! What becomes of an entry, and who decides it: `cover` in one pass, or `plan` after a look through all layers.

use super::entry::{Entry, EntryFault};

/// What becomes of an entry.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice {
    /// It is not written: an upper layer has the say, or it is no file at all.
    Leave,
    /// It is written as it stands.
    Keep,
    /// Its contents are written under the first path, and the others become hard links to it.
    Names(Vec<Vec<u8>>),
    /// It is nothing a device could use, and would have been written otherwise.
    Drop,
    /// Whoever decides cannot tell without knowing the layers below.
    CannotTell,
}

/// Why there is no choice.
pub enum Refusal {
    /// No image may have such an entry here.
    Bad(String),
    /// Too many paths to remember.
    Paths,
    /// Too many bytes of names to remember.
    Names,
}

/// Joins the names from a path up to the root, where each says the number of its parent. 0 is the root.
pub fn path_of<'a>(mut number: u32, up: impl Fn(u32) -> (u32, &'a [u8])) -> Vec<u8> {
    let mut reversed = Vec::new();
    while number != 0 {
        let (parent, name) = up(number);
        reversed.push(name);
        number = parent;
    }
    reversed.reverse();
    reversed.join(&b'/')
}

impl From<EntryFault> for Refusal {
    fn from(fault: EntryFault) -> Self {
        match fault {
            EntryFault::Bad(why) => Self::Bad(why),
            EntryFault::Io(error) => Self::Bad(error.to_string()),
        }
    }
}

/// Decides. Layers are counted from 1, the lowest; entries of a layer from 0.
pub trait Chooser {
    /// Says what becomes of an entry, and learns from it.
    fn choose(&mut self, layer: u16, number: u32, entry: &Entry) -> Result<Choice, Refusal>;

    /// Directories of the image that no entry describes, always in the same order. For the end.
    fn bare_directories(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_>;
}

/// What is remembered at most.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    paths: usize,
    name_bytes: usize,
}

impl Room {
    /// Room for so many paths and so many bytes of their last names.
    pub fn new(paths: usize, name_bytes: usize) -> Self {
        Self { paths, name_bytes }
    }

    /// Takes the room of one path more.
    pub fn take(&mut self, name: &[u8]) -> Result<(), Refusal> {
        self.paths = self.paths.checked_sub(1).ok_or(Refusal::Paths)?;
        self.name_bytes = self.name_bytes.checked_sub(name.len()).ok_or(Refusal::Names)?;
        Ok(())
    }
}
