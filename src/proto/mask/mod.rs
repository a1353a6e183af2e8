//! The XOR that hides a client's payload from its proxies (RFC 6455 §5.3).
//!
//! One loop over words, which the compiler turns into vector code; `simd` compiles the same loop
//! once more for AVX2. The session calls this on blocks that are then validated while they are
//! still in the first-level cache.

#[cfg(target_arch = "x86_64")]
mod simd;

/// Payloads below this many bytes are done before AVX2 code would have warmed up: up to here the
/// plain loop was measured as fast, above it AVX2 is 1.3 to 1.5 times faster.
#[cfg(target_arch = "x86_64")]
const WIDE_BYTES_MIN: usize = 256;

/// Payloads of 32 to this many bytes are done without a loop.
const SHORT_BYTES_MAX: usize = 128;

/// Unmasks (or masks) `bytes` in place: each is XORed with the byte of `key` whose turn it is, the
/// four in a round.
///
/// `offset` is the position of `bytes[0]` in the frame's payload; only its value modulo 4 matters,
/// so a payload may be unmasked in any pieces.
///
/// Source: RFC 6455 §5.3.
#[inline]
pub fn unmask(bytes: &mut [u8], key: [u8; 4], offset: usize) {
    let _ = unmask_seeing_ascii(bytes, key, offset);
}

/// As [`unmask`], and says whether the unmasked bytes are all ASCII, which costs nothing while they
/// pass through a register and a second look at each byte afterwards.
#[inline(always)]
pub fn unmask_seeing_ascii(bytes: &mut [u8], key: [u8; 4], offset: usize) -> bool {
    let key = rotated(key, offset);
    match bytes.len() {
        32..64 => xor_ends::<32>(bytes, key),
        64..=SHORT_BYTES_MAX => xor_ends::<64>(bytes, key),
        _ => xor_loop(bytes, key),
    }
}

/// Any length. Not inlined, so that the short cases stay short code.
#[inline(never)]
fn xor_loop(bytes: &mut [u8], key: [u8; 4]) -> bool {
    match bytes.len() {
        #[cfg(target_arch = "x86_64")]
        WIDE_BYTES_MIN.. => simd::xor_wide(bytes, key),
        _ => xor(bytes, key),
    }
}

/// As [`unmask`] at offset 0, always by the loop that is compiled for every CPU; for measurements.
#[doc(hidden)]
pub fn unmask_by_words(bytes: &mut [u8], key: [u8; 4]) -> bool {
    xor(bytes, key)
}

/// The key as it is at `offset`. As a number, because turning an array calls `memcpy`.
#[inline(always)]
fn rotated(key: [u8; 4], offset: usize) -> [u8; 4] {
    u32::from_le_bytes(key).rotate_right(8 * (offset % 4) as u32).to_le_bytes()
}

/// The bits that no byte of ASCII has.
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// The loop itself, inlined into each caller so that it is compiled for the caller's CPU features.
/// Says whether the resulting bytes are all ASCII.
#[inline(always)]
fn xor(bytes: &mut [u8], key: [u8; 4]) -> bool {
    let half = u64::from(u32::from_ne_bytes(key));
    let word = half | half << 32;
    let mut seen = 0;
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for chunk in words {
        let unmasked = u64::from_ne_bytes(*chunk) ^ word;
        seen |= unmasked;
        *chunk = unmasked.to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(word.to_ne_bytes()) {
        *byte ^= key;
        seen |= u64::from(*byte);
    }
    seen & HIGH_BITS == 0
}

/// The same for `N` to `2 * N` bytes, as their first `N` and their last `N`: both are read before
/// either is written, so that it does not matter how far they overlap. In words of four bytes,
/// because the compiler makes vector code of these here, and of longer ones does not.
#[inline(always)]
fn xor_ends<const N: usize>(bytes: &mut [u8], key: [u8; 4]) -> bool {
    let ends = (bytes.first_chunk::<N>().copied(), bytes.last_chunk::<N>().copied());
    let (Some(mut first), Some(mut last)) = ends else { return xor(bytes, key) };
    xor_words(&mut first, u32::from_ne_bytes(key));
    xor_words(&mut last, u32::from_ne_bytes(rotated(key, bytes.len() - N)));
    if let Some(place) = bytes.first_chunk_mut() {
        *place = first;
    }
    if let Some(place) = bytes.last_chunk_mut() {
        *place = last;
    }
    is_ascii(&first) & is_ascii(&last)
}

/// Whether no byte has its highest bit set. In four lanes, which are put together at the end: this
/// the compiler keeps in one register, and longer words it does not.
#[inline(always)]
fn is_ascii<const N: usize>(bytes: &[u8; N]) -> bool {
    let mut seen = [0; 4];
    for part in bytes.as_chunks::<16>().0 {
        for (lane, word) in seen.iter_mut().zip(part.as_chunks::<4>().0) {
            *lane |= u32::from_ne_bytes(*word);
        }
    }
    u64::from(seen[0] | seen[1] | seen[2] | seen[3]) & HIGH_BITS == 0
}

#[inline(always)]
fn xor_words(bytes: &mut [u8], key: u32) {
    for word in bytes.as_chunks_mut::<4>().0 {
        *word = (u32::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(bytes: &[u8], key: [u8; 4], offset: usize) -> Vec<u8> {
        bytes.iter().enumerate().map(|(i, b)| b ^ key[(i + offset) % 4]).collect()
    }

    #[test]
    fn every_length_alignment_and_offset_agrees_with_the_definition() {
        let source: Vec<u8> = (0..1_100u32).map(|i| (i * 31 % 251) as u8).collect();
        let key = [0x12, 0x34, 0x56, 0x78];
        let lengths = (0..300).chain([511, 512, 513, 1_023, 1_024]);
        for length in lengths {
            for start in 0..9 {
                for offset in [0, 1, 2, 3, 4, 4_095, usize::MAX] {
                    let part = &source[start..start + length];
                    let mut bytes = part.to_vec();
                    unmask(&mut bytes, key, offset);
                    assert_eq!(
                        bytes,
                        reference(part, key, offset % 4),
                        "{length} {start} {offset}"
                    );
                }
            }
        }
    }

    #[test]
    fn one_byte_above_ascii_is_seen_wherever_it_stands() {
        let key = [0xFF, 0x80, 0x01, 0x7F];
        for length in [1, 7, 8, 9, 33, 255, 256, 257, 700] {
            for place in 0..=length {
                let mut bytes = vec![b'a'; length];
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = 0x80;
                }
                unmask(&mut bytes, key, 3);
                assert_eq!(unmask_seeing_ascii(&mut bytes, key, 3), place == length);
            }
        }
    }

    #[test]
    fn pieces_give_the_same_as_the_whole() {
        let source: Vec<u8> = (0..700u32).map(|i| (i % 256) as u8).collect();
        let key = [1, 2, 4, 8];
        for cut in 0..source.len() {
            let mut bytes = source.clone();
            let (left, right) = bytes.split_at_mut(cut);
            unmask(left, key, 0);
            unmask(right, key, cut);
            assert_eq!(bytes, reference(&source, key, 0));
        }
    }
}
