//! The choice of CPU features for the XOR loop; one of the two unsafe lines of `proto`. The other
//! is the same choice in `utf8::wide`.
//!
//! Measured on an AMD EPYC with warm caches: baseline SSE2 code is as fast as AVX2 at 125 bytes
//! and reaches 70 to 75 % of its speed from 1 KiB to 1 MiB. AVX-512 through the same loop came out
//! slower than both.
#![allow(unsafe_code)]

use super::xor;

/// The XOR for payloads that are long enough for AVX2 to pay. `std` caches what the CPU can do,
/// so the question costs one load.
pub(super) fn xor_wide(bytes: &mut [u8], key: [u8; 4]) -> bool {
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the only requirement of `xor_avx2` is a CPU with AVX2, asked for just above.
        // Its body is safe code on an ordinary slice.
        unsafe { xor_avx2(bytes, key) }
    } else {
        xor(bytes, key)
    }
}

#[target_feature(enable = "avx2")]
fn xor_avx2(bytes: &mut [u8], key: [u8; 4]) -> bool {
    xor(bytes, key)
}
