//! The ids of WebSockets: 24 bytes that say where the socket is and cannot be guessed.
//!
//! `node 2 · shard 1 · slot 4 · generation 4 · random 5 · MAC 8`, base64url. The random part and
//! the MAC are keyed hashes (SipHash, keys drawn at start): nothing is stored, and a look-up needs
//! no table. The random part is also of the time at which the connection was accepted, so that an
//! id does not come back when the generations of a slot do.
//!
//! Shards make ids; [`reach`](crate::engine::commands::dispatch) decodes them on any thread. What is decoded is a claim:
//! whether there is such a socket the shard finds out.

use crate::clock::Moment;
use crate::engine::model::slot_id::SlotId;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::hash::{BuildHasher, RandomState};

/// Makes the ids of one shard.
#[derive(Clone)]
pub(in crate::engine) struct Ids {
    shard: u8,
    nonce_key: RandomState,
    mac_key: RandomState,
}

/// What an id claims: a socket, which may be there or not. A forged id claims none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::engine) struct Claim {
    pub(in crate::engine) shard: u8,
    pub(in crate::engine) slot: SlotId,
    pub(in crate::engine) nonce: u64,
}

/// The node, until there is a cluster.
const NODE: u16 = 0;

/// Bytes of an id, of those before its random part, and of those before its MAC.
const ID_BYTES: usize = 24;
const PLACE_BYTES: usize = 11;
const SIGNED_BYTES: usize = 16;

/// The bits of the random part.
const NONCE_MASK: u64 = (1 << 40) - 1;

impl Ids {
    /// Shards that ids can name.
    pub(in crate::engine) const SHARDS_MAX: usize = 256;

    /// Ids of this process; every shard gets the same keys.
    pub(in crate::engine) fn new() -> Self {
        Self { shard: 0, nonce_key: RandomState::new(), mac_key: RandomState::new() }
    }

    /// The same keys, for another shard.
    pub(in crate::engine) fn for_shard(&self, shard: usize) -> Self {
        Self { shard: shard as u8, ..self.clone() }
    }

    /// The shard whose ids these are.
    pub(in crate::engine) fn shard(&self) -> usize {
        usize::from(self.shard)
    }

    /// The id of the connection in a slot that was accepted then.
    pub(in crate::engine) fn encode(&self, id: SlotId, opened: Moment) -> String {
        let mut bytes = [0; ID_BYTES];
        bytes[..PLACE_BYTES].copy_from_slice(&self.place(id));
        let nonce = self.nonce(id, opened).to_be_bytes();
        bytes[PLACE_BYTES..SIGNED_BYTES].copy_from_slice(&nonce[3..]);
        let mac = self.mac_key.hash_one(&bytes[..SIGNED_BYTES]);
        bytes[SIGNED_BYTES..].copy_from_slice(&mac.to_be_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The random part of an id.
    pub(in crate::engine) fn nonce(&self, id: SlotId, opened: Moment) -> u64 {
        self.nonce_key.hash_one((self.place(id), opened)) & NONCE_MASK
    }

    /// What an id claims. Whether it is well-formed and genuine or not takes the same steps, and
    /// the MACs are compared as numbers: the time tells nothing about how many bytes were right.
    pub(in crate::engine) fn decode(&self, text: &str) -> Claim {
        let mut bytes = [0; ID_BYTES];
        let decoded = BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes);
        let whole = u64::from(decoded != Ok(ID_BYTES));
        let number = |range: std::ops::Range<usize>| {
            bytes[range].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let mac = self.mac_key.hash_one(&bytes[..SIGNED_BYTES]);
        let wrong =
            (mac ^ number(SIGNED_BYTES..ID_BYTES)) | whole | (number(0..2) ^ u64::from(NODE));
        // All ones unless everything is right: a generation that no slot ever has. It is looked for
        // in the first slot, so that the way there is one that any other would take.
        let forged = u32::from(wrong != 0).wrapping_neg();
        Claim {
            shard: bytes[2],
            slot: SlotId {
                slot: number(3..7) as u32 & !forged,
                generation: number(7..PLACE_BYTES) as u32 | forged,
            },
            nonce: number(PLACE_BYTES..SIGNED_BYTES),
        }
    }

    /// Whether an id was made here, by this process, be its socket there or gone.
    pub(in crate::engine) fn is_genuine(&self, text: &str) -> bool {
        self.decode(text).slot.generation != u32::MAX
    }

    fn place(&self, id: SlotId) -> [u8; PLACE_BYTES] {
        let mut bytes = [0; PLACE_BYTES];
        bytes[..2].copy_from_slice(&NODE.to_be_bytes());
        bytes[2] = self.shard;
        bytes[3..7].copy_from_slice(&id.slot.to_be_bytes());
        bytes[7..].copy_from_slice(&id.generation.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_differ_and_say_where_the_socket_is() {
        let ids = Ids::new().for_shard(7);
        let mut seen = HashSet::new();
        for slot in 0..100 {
            for generation in 0..10 {
                let slot = SlotId { slot, generation };
                let opened = Moment::from_millis(9);
                let id = ids.encode(slot, opened);
                assert_eq!(id.len(), 32);
                assert_eq!(id, ids.encode(slot, opened));
                let claim = Claim { shard: 7, slot, nonce: ids.nonce(slot, opened) };
                assert_eq!(ids.for_shard(0).decode(&id), claim);
                assert!(ids.for_shard(0).is_genuine(&id));
                assert!(seen.insert(id));
            }
        }
        let slot = SlotId { slot: 0, generation: 0 };
        let [early, late] = [9, 10].map(Moment::from_millis);
        assert!(seen.insert(ids.for_shard(1).encode(slot, early)));
        assert!(seen.insert(ids.encode(slot, late)));
        assert!(seen.insert(Ids::new().for_shard(7).encode(slot, early)));
    }

    #[test]
    fn what_is_forged_claims_no_socket() {
        let ids = Ids::new();
        let slot = SlotId { slot: 5, generation: 6 };
        let id = ids.encode(slot, Moment::from_millis(1));
        let mut forged: Vec<String> = Vec::new();
        for at in 0..id.len() {
            for letter in "AZaz09-_".chars() {
                let mut letters: Vec<char> = id.chars().collect();
                letters[at] = letter;
                forged.push(letters.into_iter().collect());
            }
        }
        forged.retain(|other| *other != id);
        assert!(forged.len() > 200);
        forged.extend(["", "x", "\u{1f980}", &id[1..]].map(str::to_owned));
        forged.extend([format!("{id}A"), format!("{id}="), id.replace(['-', '_'], "+") + "/"]);
        forged.push(Ids::new().encode(slot, Moment::from_millis(1)));
        for text in forged {
            assert_eq!(ids.decode(&text).slot.generation, u32::MAX, "{text}");
            assert!(!ids.is_genuine(&text), "{text}");
        }
    }
}
