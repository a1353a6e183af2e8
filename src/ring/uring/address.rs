//! Asking the kernel about a peer: who it is, and how much of what was sent to it is not
//! acknowledged.
//!
//! A multishot accept cannot tell, and a direct descriptor is no good for `getpeername(2)`. The
//! ring can: `getsockopt(SOL_SOCKET, SO_PEERNAME)` and `SIOCOUTQ` as commands on the socket (kernel
//! 6.7). Owns the memory into which addresses are written, from the submission to its completion;
//! called by the kernel's ring.

use super::super::AddressFamily;
use io_uring::types::Fixed;
use io_uring::{opcode, squeue};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr;

/// `SO_PEERNAME` of `asm-generic/socket.h`.
const SO_PEERNAME: u32 = 28;

/// `SOCKET_URING_OP_GETSOCKOPT` of `linux/io_uring.h`.
const GETSOCKOPT: u32 = 2;

/// `SOCKET_URING_OP_SIOCOUTQ` of `linux/io_uring.h`.
const SIOCOUTQ: u32 = 1;

/// Offset of `cmd_op` in a submission (`linux/io_uring.h`).
const COMMAND_OFFSET: usize = 8;

/// Bytes of a `sockaddr_in6`, the largest address asked for.
const ADDRESS_BYTES_MAX: usize = 28;

/// The answers that the kernel has not written yet, by slot.
#[derive(Default)]
pub(super) struct AddressTable {
    pending: HashMap<u32, Box<[u8; ADDRESS_BYTES_MAX]>>,
    #[expect(clippy::vec_box, reason = "the boxes are what is kept, so that none is allocated")]
    spare: Vec<Box<[u8; ADDRESS_BYTES_MAX]>>,
}

/// Spare answers kept.
const SPARE_MAX: usize = 256;

impl AddressTable {
    /// The submission that asks for the peer of `slot`; the answer's place is kept until
    /// [`AddressTable::finish`].
    pub(super) fn begin(&mut self, slot: u32, family: AddressFamily) -> squeue::Entry {
        let place = self.pending.entry(slot).or_insert_with(|| {
            self.spare.pop().unwrap_or_else(|| Box::new([0; ADDRESS_BYTES_MAX]))
        });
        // The kernel refuses a length above that of the address it has.
        let bytes = match family {
            AddressFamily::V4 => 16,
            AddressFamily::V6 => ADDRESS_BYTES_MAX as u32,
        };
        let value = place.as_mut_ptr().cast_const().cast();
        let level = libc::SOL_SOCKET as u32;
        get_socket_option(
            opcode::SetSockOpt::new(Fixed(slot), level, SO_PEERNAME, value, bytes).build(),
        )
    }

    /// The answer for `slot` has arrived: `result` is its length, or an error.
    pub(super) fn finish(&mut self, slot: u32, result: i32) -> Option<SocketAddr> {
        let place = self.pending.remove(&slot)?;
        let bytes = usize::try_from(result).ok().filter(|bytes| *bytes <= ADDRESS_BYTES_MAX);
        let address = bytes.and_then(|bytes| decode(&place[..bytes]));
        if self.spare.len() < SPARE_MAX {
            self.spare.push(place);
        }
        address
    }

    /// Never frees the places: the kernel may still write to them.
    pub(super) fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.pending));
    }
}

/// Turns the crate's `setsockopt` submission into the `getsockopt` it does not offer: the two
/// differ in the command word only.
fn get_socket_option(entry: squeue::Entry) -> squeue::Entry {
    command(entry, GETSOCKOPT)
}

/// Asks how many bytes of what `socket` has sent are not acknowledged: `ioctl(SIOCOUTQ)` (tcp(7)) as
/// a command on the socket (kernel 6.7). The answer is the completion's result.
pub(super) fn unacknowledged(socket: Fixed) -> squeue::Entry {
    // What is not a socket option has none of its fields.
    command(opcode::SetSockOpt::new(socket, 0, 0, ptr::null(), 0).build(), SIOCOUTQ)
}

/// The submission of a command on a socket with another command word.
fn command(mut entry: squeue::Entry, word: u32) -> squeue::Entry {
    const { assert!(size_of::<squeue::Entry>() == 64) };
    let words = (&raw mut entry).cast::<u8>();
    // SAFETY: the entry is 64 bytes of `repr(C)` data (checked above), so offset 8 is inside.
    let command = unsafe { words.add(COMMAND_OFFSET) }.cast::<u32>();
    // SAFETY: `cmd_op` is a `u32` at this offset in the kernel's ABI, and any value is valid.
    unsafe { command.write_unaligned(word) };
    entry
}

/// A `sockaddr_in` or `sockaddr_in6` as the kernel writes it.
fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    let ip: IpAddr = match i32::from(family) {
        libc::AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(4..8)?).ok()?).into(),
        libc::AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_decode() {
        let mut bytes = vec![0; 28];
        bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        bytes[2..8].copy_from_slice(&[0x23, 0x29, 127, 0, 0, 1]);
        assert_eq!(decode(&bytes[..16]), Some("127.0.0.1:9001".parse().unwrap()));
        bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        bytes[8..24].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
        assert_eq!(decode(&bytes), Some("[::1]:9001".parse().unwrap()));
        assert_eq!(decode(&bytes[..20]), None);
        assert_eq!(decode(&[]), None);
    }
}
