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

/// Unmasks (or masks) `bytes` in place.
///
/// `offset` is the position of `bytes[0]` in the frame's payload; only its value modulo 4 matters,
/// so a payload may be unmasked in any pieces.
///
/// Source: RFC 6455 §5.3.
//= https://www.rfc-editor.org/rfc/rfc6455#section-5.3
//# Octet i of the transformed data ("transformed-octet-i") is the XOR of
//# octet i of the original data ("original-octet-i") with octet at index
//# i modulo 4 of the masking key ("masking-key-octet-j"):
#[inline]
pub fn unmask(bytes: &mut [u8], key: [u8; 4], offset: usize) {
    let mut key = key;
    key.rotate_left(offset % 4);
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= WIDE_BYTES_MIN {
        return simd::xor_wide(bytes, key);
    }
    xor(bytes, key);
}

/// The loop itself, inlined into each caller so that it is compiled for the caller's CPU features.
#[inline(always)]
fn xor(bytes: &mut [u8], key: [u8; 4]) {
    let half = u64::from(u32::from_ne_bytes(key));
    let word = half | half << 32;
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(word.to_ne_bytes()) {
        *byte ^= key;
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
