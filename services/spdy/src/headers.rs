//! Header blocks: names and values, compressed over the whole life of a connection.

use std::collections::BTreeMap;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::dictionary::dictionary;
use crate::frame::Fault;

/// Names, in lower case, with their values; several of one name stand one after the other with NUL between them.
pub type Headers = BTreeMap<String, String>;

/// Bytes of a block when it is unpacked. A few packed bytes can say that there are gigabytes.
const UNPACKED: usize = 64 << 10;
/// Bytes unpacked or packed at a time.
const STEP: usize = 4 << 10;

/// Unpacks the blocks of one direction.
pub(crate) struct Unpacking(Decompress);

impl Unpacking {
    pub fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub fn headers(&mut self, block: &[u8]) -> Result<Headers, Fault> {
        parse(&self.unpack(block)?)
    }

    fn unpack(&mut self, mut block: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut unpacked = Vec::new();
        let mut step = [0u8; STEP];
        loop {
            let (read, written) = (self.0.total_in(), self.0.total_out());
            let done = self.0.decompress(block, &mut step, FlushDecompress::Sync);
            let taken = usize::try_from(self.0.total_in() - read).unwrap_or(usize::MAX);
            let given = usize::try_from(self.0.total_out() - written).unwrap_or(usize::MAX);
            block = block.get(taken..).unwrap_or_default();
            unpacked.extend_from_slice(step.get(..given).unwrap_or_default());
            if unpacked.len() > UNPACKED {
                return Err(Fault::TooLong { what: "a header block", size: unpacked.len(), most: UNPACKED });
            }
            match done {
                // The very first block says which dictionary it needs, before anything else.
                Err(fault) if fault.needs_dictionary().is_some() => {
                    let known = self.0.set_dictionary(&dictionary());
                    known.map_err(|_| Fault::Damaged("headers packed with another dictionary"))?;
                }
                Err(_) => return Err(Fault::Damaged("headers that cannot be unpacked")),
                Ok(Status::StreamEnd) => return Err(Fault::Damaged("headers that end their compression")),
                Ok(_) if given == STEP => {}
                Ok(_) if block.is_empty() => return Ok(unpacked),
                Ok(_) if taken == 0 && given == 0 => return Err(Fault::Damaged("headers that cannot be unpacked")),
                Ok(_) => {}
            }
        }
    }
}

/// Packs the blocks of one direction.
pub(crate) struct Packing(Compress);

impl Packing {
    pub fn new() -> Self {
        let mut compress = Compress::new(Compression::default(), true);
        // Only refused in the middle of a stream; this is its beginning.
        let _ = compress.set_dictionary(&dictionary());
        Self(compress)
    }

    pub fn block(&mut self, headers: &Headers) -> Vec<u8> {
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        };
        let mut plain = u32::try_from(headers.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        for (name, value) in headers {
            text(&mut plain, name);
            text(&mut plain, value);
        }
        let mut packed = Vec::new();
        let mut step = [0u8; STEP];
        let mut rest = plain.as_slice();
        loop {
            let (read, written) = (self.0.total_in(), self.0.total_out());
            let done = self.0.compress(rest, &mut step, FlushCompress::Sync);
            let taken = usize::try_from(self.0.total_in() - read).unwrap_or(usize::MAX);
            let given = usize::try_from(self.0.total_out() - written).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            packed.extend_from_slice(step.get(..given).unwrap_or_default());
            if done.is_err() || (rest.is_empty() && given < STEP) {
                return packed;
            }
        }
    }
}

/// Reads the number and the texts of an unpacked block.
fn parse(mut block: &[u8]) -> Result<Headers, Fault> {
    let damaged = Fault::Damaged("a header block is shorter than it says");
    let number = |block: &mut &[u8]| {
        let (number, rest) = block.split_first_chunk::<4>()?;
        *block = rest;
        usize::try_from(u32::from_be_bytes(*number)).ok()
    };
    let text = |block: &mut &[u8]| {
        let length = number(block)?;
        let (text, rest) = block.split_at_checked(length)?;
        *block = rest;
        Some(String::from_utf8_lossy(text).into_owned())
    };
    let mut headers = Headers::new();
    let (count, rest) = block.split_first_chunk::<4>().ok_or(damaged.clone())?;
    block = rest;
    for _ in 0..u32::from_be_bytes(*count) {
        let name = text(&mut block).ok_or(damaged.clone())?;
        let value = text(&mut block).ok_or(damaged.clone())?;
        headers.insert(name.to_ascii_lowercase(), value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_block_begins_as_that_of_kubectl() {
        let block = Packing::new().block(&Headers::from([("streamtype".into(), "error".into())]));
        assert_eq!(block[..6], [0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2]);
    }

    #[test]
    fn a_block_that_unpacks_to_too_much_is_refused() {
        let long = Headers::from([("a".to_owned(), "x".repeat(1 << 20))]);
        let block = Packing::new().block(&long);
        assert!(block.len() < 8 << 10, "a few bytes say a lot: {}", block.len());
        assert!(matches!(Unpacking::new().headers(&block), Err(Fault::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked_block_after_block(
            blocks in proptest::collection::vec(proptest::collection::btree_map("[a-z-]{1,12}", ".{0,300}", 0..6), 1..12),
        ) {
            let (mut packing, mut unpacking) = (Packing::new(), Unpacking::new());
            for headers in blocks {
                prop_assert_eq!(unpacking.headers(&packing.block(&headers)), Ok(headers));
            }
        }

        #[test]
        fn nothing_that_comes_as_a_block_is_too_much(block in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = Unpacking::new().headers(&block);
            let _ = parse(&block);
        }
    }
}
