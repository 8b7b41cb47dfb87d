//! Layers become the one archive RouterOS unpacks: docker-save v1 with a single flattened layer, uncompressed.

mod fault;
mod image;
mod limits;

use std::path::Path;

pub use fault::ConvertFault;
pub use image::{BlobSource, BlobTrust, Converted, LayerBlob, OpenBlob, Progress, SourceImage};
pub use limits::{Devices, Limits};

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
    if image.layers.is_empty() {
        return Err(ConvertFault::NoLayers);
    }
    progress.add(0);
    Err(ConvertFault::BadConfig { why: format!("{} with {limits:?}: written next", target.display()) })
}
