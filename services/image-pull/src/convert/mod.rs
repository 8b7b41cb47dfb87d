//! Layers become the one archive RouterOS unpacks: docker-save v1 with a single flattened layer, uncompressed.
//!
//! `convert` reads the layers once, from the top one down (`merge`), and keeps what no upper layer covers (`cover`). Where that
//! cannot be told in one pass it looks through all layers first and reads them again (`plan`). What stands before the layer in the
//! archive names the layer's digest, so it is written last (`archive`). The file appears as a whole or not at all (`staged`).

mod archive;
mod blob;
mod choice;
mod cover;
mod entry;
mod fault;
mod image;
mod layer_stream;
mod layer_tar;
mod limits;
mod merge;
mod plan;
mod sink;
mod staged;
mod tar_reader;

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

pub use fault::ConvertFault;
pub use image::{BlobSource, BlobTrust, Converted, LayerBlob, OpenBlob, Progress, SourceImage};
pub use limits::{Devices, Limits};

use archive::Wrapping;
use choice::Room;
use cover::Cover;
use merge::{Merged, Order, Pass, PassFault};
use plan::Survey;
use staged::Staged;

/// Ends a tar.
const END: [u8; 1024] = [0; 1024];

/// Writes `image` as an archive to `target`, as a whole or not at all; a file that was there is replaced.
///
/// Blocks for as long as it takes: call it on a thread that may. The directory of `target` must exist; a temporary file lies
/// beside the target meanwhile. The same image gives the same bytes. Memory does not depend on the size of the image, but for
/// the paths it remembers (see [`Limits::paths`]).
pub fn convert(
    image: &SourceImage,
    target: &Path,
    limits: &Limits,
    progress: &Progress,
) -> Result<Converted, ConvertFault> {
    let wrapping = Wrapping::of(image)?;
    let front_bytes = wrapping.front_bytes()?;
    let staged = Staged::create(target)?;
    let pass = Pass { layers: &image.layers, diff_ids: &wrapping.diff_ids, limits, progress };
    let (merged, passes) = flatten(&pass, &staged, front_bytes)?;
    let front = wrapping.front(&merged.digest, merged.bytes)?;
    let mut file = staged.file();
    let ended = file.write_all(&END).and_then(|()| file.seek(SeekFrom::Start(0)));
    ended.and_then(|_| file.write_all(&front.bytes)).map_err(|error| staged.fault(error))?;
    if progress.is_cancelled() {
        return Err(ConvertFault::Cancelled);
    }
    staged.finish()?;
    Ok(Converted {
        bytes: front_bytes + merged.bytes + END.len() as u64,
        config_digest: front.config_digest,
        layer_digest: merged.digest,
        entries: merged.entries,
        dropped: merged.dropped,
        passes,
    })
}

/// Writes the layer behind the room for what comes before it; also says in how many passes.
fn flatten(pass: &Pass<'_>, staged: &Staged, front_bytes: u64) -> Result<(Merged, u8), ConvertFault> {
    let room = Room::new(pass.limits.paths, pass.limits.name_bytes);
    let fault = |fault| match fault {
        PassFault::Layer(fault) => fault,
        PassFault::Disk(error) => staged.fault(error),
        PassFault::CannotTell => ConvertFault::Damaged {
            layer: pass.layers.first().map(|layer| layer.digest.clone()).unwrap_or_default(),
            entry: None,
            why: "its entries contradict one another".to_owned(),
        },
    };
    let from_start = || {
        let mut file = staged.file();
        file.set_len(front_bytes)
            .and_then(|()| file.seek(SeekFrom::Start(front_bytes)))
            .map_err(|error| staged.fault(error))
    };
    from_start()?;
    match pass.write(Order::Downward, &mut Cover::new(room), staged.file()) {
        Ok(merged) => return Ok((merged, 1)),
        Err(PassFault::CannotTell) => {}
        Err(other) => return Err(fault(other)),
    }
    let mut survey = Survey::new(room);
    pass.look(Order::Upward, &mut survey).map_err(fault)?;
    from_start()?;
    let merged = pass.write(Order::Upward, &mut survey.plan(), staged.file()).map_err(fault)?;
    Ok((merged, 3))
}

/// A digest as registries write it.
fn sha256_text(digest: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in digest {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
