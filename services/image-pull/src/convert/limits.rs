//! How much an image may be: nobody who publishes one may fill a router.

/// Bounds of a conversion. The defaults hold every honest image seen so far.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of all layers, unpacked, those of shadowed files included.
    pub bytes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes a layer may unpack to for each byte of its blob; looked at only beyond the first 64 MiB of a layer.
    pub ratio: u64,
    /// Entries of all layers together.
    pub entries: u64,
    /// Paths remembered, each directory of a path counted once. One costs about 100 bytes of memory and its last name.
    pub paths: usize,
    /// Bytes of the names in that memory.
    pub name_bytes: usize,
    /// Bytes of memory a zstd layer may ask for to be unpacked.
    pub zstd_window: u64,
    /// What becomes of device nodes and named pipes.
    pub devices: Devices,
}

/// What becomes of device nodes and named pipes. The device makes its own `/dev`, so an image has no use for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// Left out and counted.
    Drop,
    /// The image is refused.
    Refuse,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 16 << 30,
            file_bytes: 8 << 30,
            ratio: 250,
            entries: 1_000_000,
            paths: 1_000_000,
            name_bytes: 64 << 20,
            zstd_window: 8 << 20,
            devices: Devices::Drop,
        }
    }
}
