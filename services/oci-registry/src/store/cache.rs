//! Manifests at hand: the bytes of those asked for last, within a bound.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::digest::Digest;

/// Bytes that are kept.
const BOUND: usize = 4 << 20;
/// Bytes of the largest that is kept.
const LARGEST: usize = 128 << 10;

/// By digest, so never wrong; the oldest leaves first.
#[derive(Default)]
pub struct Cache {
    kept: HashMap<Digest, Bytes>,
    order: VecDeque<Digest>,
    bytes: usize,
}

impl Cache {
    pub fn get(&self, digest: &Digest) -> Option<Bytes> {
        self.kept.get(digest).cloned()
    }

    pub fn put(&mut self, digest: &Digest, bytes: &Bytes) {
        if bytes.len() > LARGEST || self.kept.contains_key(digest) {
            return;
        }
        self.bytes += bytes.len();
        self.kept.insert(digest.clone(), bytes.clone());
        self.order.push_back(digest.clone());
        while self.bytes > BOUND {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.kept.remove(&oldest).map_or(0, |bytes| bytes.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;

    #[test]
    fn what_is_kept_stays_within_its_bound() {
        let mut cache = Cache::default();
        let digests: Vec<Digest> = (0..100u8).map(|one| Digest::of(Algorithm::Sha256, &[one])).collect();
        for digest in &digests {
            cache.put(digest, &Bytes::from(vec![0; LARGEST]));
        }
        assert!(cache.bytes <= BOUND && cache.order.len() == cache.kept.len());
        assert!(cache.get(&digests[0]).is_none() && cache.get(&digests[99]).is_some());
        cache.put(&digests[0], &Bytes::from(vec![0; LARGEST + 1]));
        assert!(cache.get(&digests[0]).is_none());
    }
}
