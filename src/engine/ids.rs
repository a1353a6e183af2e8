//! The ids of WebSockets: 24 bytes that say where the socket is and cannot be guessed.
//!
//! `node 2 · shard 1 · slot 4 · generation 4 · random 5 · MAC 8`, base64url. The random part and the MAC
//! are keyed hashes (SipHash, keys drawn at start): nothing is stored, and a look-up needs no table.

use super::registry::SlotId;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::hash::{BuildHasher, RandomState};

/// Makes the ids of one shard.
#[derive(Clone)]
pub(super) struct Ids {
    shard: u8,
    nonce_key: RandomState,
    mac_key: RandomState,
}

/// The node, until there is a cluster.
const NODE: u16 = 0;

impl Ids {
    /// Ids of this process; every shard gets the same keys.
    pub(super) fn new() -> Self {
        Self { shard: 0, nonce_key: RandomState::new(), mac_key: RandomState::new() }
    }

    /// The same keys, for another shard.
    pub(super) fn for_shard(&self, shard: usize) -> Self {
        Self { shard: shard as u8, ..self.clone() }
    }

    /// The shard whose ids these are.
    pub(super) fn shard(&self) -> u8 {
        self.shard
    }

    /// The id of the connection in a slot.
    pub(super) fn encode(&self, id: SlotId) -> String {
        let mut bytes = [0; 24];
        bytes[..2].copy_from_slice(&NODE.to_be_bytes());
        bytes[2] = self.shard;
        bytes[3..7].copy_from_slice(&id.slot.to_be_bytes());
        bytes[7..11].copy_from_slice(&id.generation.to_be_bytes());
        let nonce = self.nonce_key.hash_one(&bytes[..11]).to_be_bytes();
        bytes[11..16].copy_from_slice(&nonce[..5]);
        let mac = self.mac_key.hash_one(&bytes[..16]);
        bytes[16..].copy_from_slice(&mac.to_be_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_differ_and_are_stable() {
        let ids = Ids::new();
        let mut seen = HashSet::new();
        for slot in 0..100 {
            for generation in 0..10 {
                let id = ids.encode(SlotId { slot, generation });
                assert_eq!(id.len(), 32);
                assert_eq!(id, ids.encode(SlotId { slot, generation }));
                assert!(seen.insert(id));
            }
        }
        let other = ids.for_shard(1).encode(SlotId { slot: 0, generation: 0 });
        assert!(seen.insert(other));
        assert!(seen.insert(Ids::new().encode(SlotId { slot: 0, generation: 0 })));
    }
}
