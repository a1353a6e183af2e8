//! How a ring's receive buffers are provided, and into what the memory for them is cut. Called by
//! the launch; the memory itself is the ring's.

use crate::engine::model::settings::{ReceiveBuffers, RingSettings};
use crate::ring::{Errno, ReceiveMode, receive_mode_that_works};

/// Into how many incremental buffers the pool is cut: enough that some are free while others are
/// read, few enough that each holds a burst.
const INCREMENTAL_BUFFERS: usize = 16;

/// Bytes of a classic receive buffer, and of an incremental one at least.
const CLASSIC_BUFFER_BYTES: usize = 4 * 1024;

/// How the pool is cut: count, a power of two, and bytes of each.
pub(in crate::engine) fn buffers(ring: &RingSettings, receive: ReceiveMode) -> (u16, u32) {
    let pool = ring.buffer_pool_bytes;
    let usual = match receive {
        ReceiveMode::Incremental => INCREMENTAL_BUFFERS,
        ReceiveMode::Classic => pool / CLASSIC_BUFFER_BYTES,
    };
    let count = if ring.buffer_count > 0 { usize::from(ring.buffer_count) } else { usual };
    // Down, so that the memory is not above what was asked for.
    let count = 1 << count.clamp(1, 1 << 15).ilog2();
    let bytes = match receive {
        ReceiveMode::Incremental => (pool / count).max(CLASSIC_BUFFER_BYTES),
        ReceiveMode::Classic => CLASSIC_BUFFER_BYTES,
    };
    (count as u16, bytes as u32)
}

/// What was asked for, or the first that works.
pub(in crate::engine) fn receive_mode(ring: &RingSettings) -> Result<ReceiveMode, Errno> {
    match ring.buffers {
        ReceiveBuffers::Auto => receive_mode_that_works(),
        ReceiveBuffers::Incremental => Ok(ReceiveMode::Incremental),
        ReceiveBuffers::Classic => Ok(ReceiveMode::Classic),
    }
}
