//! One pass over the layers of an image, from their blobs to one tar on disk, each step on a thread of its own:
//! decompressing · reading entries, choosing, writing tar · hashing and writing · syncing.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::blob::{self, BYTES, PIECES, Piece};
use super::choice::{Choice, Chooser, Refusal};
use super::entry::{Entry, EntryFault, Kind};
use super::fault::ConvertFault;
use super::image::{LayerBlob, Progress};
use super::layer_stream::{FaultSlot, LayerStream};
use super::layer_tar::{self, WriteFault};
use super::limits::{Devices, Limits};
use super::sha256_text;
use super::sink::{self, Sink, Stopped};
use super::tar_reader::{RawEntry, TarReader};

/// Bytes a sparse file may have before they are compared with what is stored of it.
const SPARSE_FREE: u64 = 64 << 20;

/// In which order layers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The lowest first.
    Upward,
    /// The top one first.
    Downward,
}

/// What all passes over an image share.
pub struct Pass<'a> {
    /// Its layers, the lowest first.
    pub layers: &'a [LayerBlob],
    /// What each unpacks to.
    pub diff_ids: &'a [String],
    /// What it may be at most.
    pub limits: &'a Limits,
    /// How far it is.
    pub progress: &'a Progress,
}

/// The tar that was written.
#[derive(Debug, Default)]
pub struct Merged {
    /// `sha256:…`.
    pub digest: String,
    /// Bytes.
    pub bytes: u64,
    /// Files, directories and links in it.
    pub entries: u64,
    /// Devices left out.
    pub dropped: u64,
}

/// Why a pass ended before its end.
pub enum PassFault {
    /// Something is wrong with a layer.
    Layer(ConvertFault),
    /// Something is wrong with the disk.
    Disk(io::Error),
    /// The chooser cannot tell without another look.
    CannotTell,
}

impl From<ConvertFault> for PassFault {
    fn from(fault: ConvertFault) -> Self {
        Self::Layer(fault)
    }
}

/// What a pass counts.
#[derive(Default)]
struct Count {
    entries: u64,
    /// Bytes unpacked of all layers, holes of sparse files included.
    bytes: u64,
    written: u64,
    dropped: u64,
}

impl Pass<'_> {
    /// Looks through all layers and writes nothing.
    pub fn look(&self, order: Order, chooser: &mut dyn Chooser) -> Result<(), PassFault> {
        self.with_pieces(order, |pieces, used| self.layers(order, chooser, pieces, used, &mut None).map(|_| ()))
    }

    /// Writes what `chooser` keeps to `file` from where it stands.
    pub fn write(&self, order: Order, chooser: &mut dyn Chooser, file: &File) -> Result<Merged, PassFault> {
        let (full_in, full_out) = sync_channel(PIECES);
        let (used_in, used_out) = sync_channel(PIECES);
        let (tell, told) = sync_channel(1);
        std::thread::scope(|scope| {
            let syncing = scope.spawn(move || sink::sync(&told, file));
            let writing = scope.spawn(move || sink::write(&full_out, &used_in, file, &tell));
            let mut sink = Some(Sink::new(full_in, used_out));
            let chosen = self.with_pieces(order, |pieces, used| self.layers(order, chooser, pieces, used, &mut sink));
            // Whatever happened, nothing more comes: the other two end.
            drop(sink);
            let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let synced = syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            synced.map_err(PassFault::Disk)?;
            let digest = written.map_err(PassFault::Disk)?;
            let (count, bytes) = chosen?;
            let digest = sha256_text(digest.as_ref());
            Ok(Merged { digest, bytes, entries: count.written, dropped: count.dropped })
        })
    }

    fn with_pieces<T>(
        &self,
        order: Order,
        work: impl FnOnce(Receiver<Piece>, SyncSender<Vec<u8>>) -> Result<T, PassFault>,
    ) -> Result<T, PassFault> {
        let (pieces_in, pieces_out) = sync_channel(PIECES);
        let (used_in, used_out) = sync_channel(PIECES);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let layers: Box<dyn Iterator<Item = &LayerBlob>> = match order {
                    Order::Upward => Box::new(self.layers.iter()),
                    Order::Downward => Box::new(self.layers.iter().rev()),
                };
                blob::unpack_all(layers, self.limits, self.progress, &pieces_in, &used_out);
            });
            work(pieces_out, used_in)
        })
    }

    /// All layers; what was counted, and the bytes of the finished tar.
    fn layers(
        &self,
        order: Order,
        chooser: &mut dyn Chooser,
        pieces: Receiver<Piece>,
        used: SyncSender<Vec<u8>>,
        sink: &mut Option<Sink>,
    ) -> Result<(Count, u64), PassFault> {
        let mut count = Count::default();
        for turn in 0..self.layers.len() {
            let index = if order == Order::Upward { turn } else { self.layers.len() - 1 - turn };
            let fault = FaultSlot::default();
            let mut tar = TarReader::new(LayerStream::new(&pieces, &used, self.progress, fault.clone()));
            let mut layer = Layer { pass: self, index, fault, last: None, count: &mut count };
            layer.read(&mut tar, chooser, sink)?;
            let found = tar.into_inner().finish().map_err(|error| layer.damaged(&error))?;
            let expected = &self.diff_ids[index];
            if *expected != found {
                let (layer, expected) = (self.layers[index].digest.clone(), expected.clone());
                return Err(ConvertFault::WrongDiffId { layer, expected, found }.into());
            }
        }
        let Some(mut sink) = sink.take() else { return Ok((count, 0)) };
        for path in chooser.bare_directories() {
            layer_tar::bare_directory(&mut sink, &path).map_err(stopped)?;
            count.written += 1;
        }
        let bytes = sink.finish().map_err(stopped)?;
        Ok((count, bytes))
    }
}

/// The writing thread knows the error, and its own answer comes first.
fn stopped(_: Stopped) -> PassFault {
    PassFault::Disk(io::Error::other("nobody writes the layer"))
}

/// The layer being read.
struct Layer<'a> {
    pass: &'a Pass<'a>,
    /// From 0, the lowest.
    index: usize,
    /// What the stream knows of an error.
    fault: FaultSlot,
    /// The entry that was reached.
    last: Option<Vec<u8>>,
    count: &'a mut Count,
}

impl Layer<'_> {
    fn digest(&self) -> String {
        self.pass.layers[self.index].digest.clone()
    }

    fn entry(&self) -> Option<String> {
        self.last.as_ref().map(|path| String::from_utf8_lossy(path).into_owned())
    }

    /// What an error of reading means: where the stream knows better, it said so.
    fn damaged(&self, error: &io::Error) -> PassFault {
        let own_entry = self.entry();
        match self.fault.take() {
            Some(ConvertFault::Damaged { layer, entry: None, why }) => {
                ConvertFault::Damaged { layer, entry: own_entry, why }
            }
            Some(ConvertFault::TooLarge { layer, entry: None, what, limit }) => {
                ConvertFault::TooLarge { layer, entry: own_entry, what, limit }
            }
            Some(fault) => fault,
            None => {
                let why = match error.kind() {
                    io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
                    _ => error.to_string(),
                };
                ConvertFault::Damaged { layer: self.digest(), entry: own_entry, why }
            }
        }
        .into()
    }

    fn bad(&self, why: impl Into<String>) -> PassFault {
        ConvertFault::BadEntry { layer: self.digest(), entry: self.entry().unwrap_or_default(), why: why.into() }.into()
    }

    fn too_large(&self, what: &'static str, limit: u64) -> PassFault {
        ConvertFault::TooLarge { layer: self.digest(), entry: self.entry(), what, limit }.into()
    }

    fn refused(&self, refusal: Refusal) -> PassFault {
        let limits = self.pass.limits;
        match refusal {
            Refusal::Bad(why) => self.bad(why),
            Refusal::Paths => self.too_large("paths in all layers", limits.paths as u64),
            Refusal::Names => self.too_large("bytes of names in all layers", limits.name_bytes as u64),
        }
    }

    /// All entries of the layer.
    fn read(
        &mut self,
        tar: &mut TarReader<LayerStream<'_>>,
        chooser: &mut dyn Chooser,
        sink: &mut Option<Sink>,
    ) -> Result<(), PassFault> {
        let mut number = 0;
        while let Some(raw) = tar.next_entry().map_err(|error| self.damaged(&error))? {
            self.measure(&raw)?;
            let entry = Entry::of(&raw).map_err(|fault| match fault {
                EntryFault::Io(error) => self.damaged(&error),
                EntryFault::Bad(why) => self.bad(why),
            })?;
            self.place(&entry, number, tar, chooser, sink)?;
            number += 1;
        }
        Ok(())
    }

    /// Holds an entry against the limits before anything of it is read.
    fn measure(&mut self, raw: &RawEntry) -> Result<(), PassFault> {
        let limits = self.pass.limits;
        self.last = Some(raw.path.clone());
        self.count.entries += 1;
        if self.count.entries > limits.entries {
            return Err(self.too_large("entries in all layers", limits.entries));
        }
        if raw.size > limits.file_bytes {
            return Err(self.too_large("bytes in one file", limits.file_bytes));
        }
        self.count.bytes = self.count.bytes.saturating_add(raw.size);
        if self.count.bytes > limits.bytes {
            return Err(self.too_large(BYTES, limits.bytes));
        }
        if raw.size > SPARSE_FREE && raw.size / raw.stored.max(1) > limits.ratio {
            return Err(self.too_large("bytes for each byte stored of a sparse file", limits.ratio));
        }
        Ok(())
    }

    fn place(
        &mut self,
        entry: &Entry,
        number: u32,
        contents: &mut TarReader<LayerStream<'_>>,
        chooser: &mut dyn Chooser,
        sink: &mut Option<Sink>,
    ) -> Result<(), PassFault> {
        if entry.kind == Kind::Device && self.pass.limits.devices == Devices::Refuse {
            return Err(self.bad("devices and named pipes have no place in an image"));
        }
        // As many layers as four digits count have no image; the manifest was read with a limit.
        let layer = u16::try_from(self.index + 1).map_err(|_| self.bad("it lies in too high a layer"))?;
        let choice = chooser.choose(layer, number, entry).map_err(|refusal| self.refused(refusal))?;
        let names = match choice {
            Choice::Leave => return Ok(()),
            Choice::CannotTell => return Err(PassFault::CannotTell),
            Choice::Drop => {
                self.count.dropped += 1;
                return Ok(());
            }
            Choice::Keep => vec![entry.path.clone()],
            Choice::Names(names) => names,
        };
        let (Some(sink), Some((first, others))) = (sink.as_mut(), names.split_first()) else { return Ok(()) };
        layer_tar::write(sink, entry, first, contents).map_err(|fault| match fault {
            WriteFault::Read(error) => self.damaged(&error),
            WriteFault::Stopped => stopped(Stopped),
        })?;
        for other in others {
            layer_tar::link(sink, entry, other, first).map_err(stopped)?;
        }
        self.count.written += names.len() as u64;
        Ok(())
    }
}
