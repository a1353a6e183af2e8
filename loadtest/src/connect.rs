//! Opens connections in waves: connect all, ask all, then read all answers.
//!
//! All scenarios call it. Plain blocking sockets, because nothing is measured per connection
//! here; a wave keeps the server busy while the client reads. Source addresses change every few
//! thousand connections, since looking for a free port in a full range costs far more than the
//! connection itself.
//!
//! The kernel finds a port in `connect` as long as one address is enough, because it is dearer in
//! `bind`: 8 % of the generator's time among a million sockets, since a port that is bound must
//! be free for all destinations.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, socket_with};

use crate::handshake::{Target, check_response};

/// Connections opened at once.
pub const WAVE: u32 = 128;
/// Connections to one destination that leave the choice of the source to the kernel: less than half
/// of the 28,232 ports of `net.ipv4.ip_local_port_range`, because it tries those of one parity first.
const UNBOUND: u32 = 12_000;
/// Connections from one source address after these.
const PER_SOURCE: u32 = 4_000;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// An open connection, and what the server said right behind its handshake.
#[derive(Debug)]
pub struct Opened {
    pub stream: TcpStream,
    pub early: Vec<u8>,
}

/// Opens `count` connections numbered from `first` on; without handshake if `raw`.
pub fn open_wave(target: &Target, first: u32, count: u32, raw: bool) -> Result<Vec<Opened>> {
    let mut wave = Vec::with_capacity(count as usize);
    for index in first..first + count {
        let address = target.address(index);
        let source = source_address(address, target.before(index), index);
        let mut stream =
            open_socket(address, source).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        if !raw {
            be_patient(&stream)?;
            stream
                .write_all(target.request(index).as_bytes())
                .with_context(|| format!("connection {index} lost in the handshake"))?;
        }
        wave.push(Opened { stream, early: Vec::new() });
    }
    if !raw {
        for (index, opened) in (first..).zip(&mut wave) {
            opened.early = finish_handshake(&mut opened.stream, index)
                .with_context(|| format!("connection {index} to {}", target.address))?;
            opened.stream.set_read_timeout(None)?;
        }
    }
    Ok(wave)
}

/// Lets reads wait for an answer, but not for ever.
pub fn be_patient(stream: &TcpStream) -> Result<()> {
    Ok(stream.set_read_timeout(Some(ANSWER_TIMEOUT))?)
}

fn open_socket(address: SocketAddr, source: Option<Ipv4Addr>) -> Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
    if let Some(source) = source {
        bind(&socket, &SocketAddr::from((source, 0)))?;
    }
    connect(&socket, &address)?;
    Ok(TcpStream::from(socket))
}

/// The source of connection number `index`, before which `before` went to the same address. None:
/// the kernel chooses, which it does for the first ones; later ones to loopback come from addresses
/// of the server's port alone. A port that was bound stays taken for a minute, so the same
/// addresses for all would make every server measured after another look slower.
fn source_address(address: SocketAddr, before: u32, index: u32) -> Option<Ipv4Addr> {
    let loopback = matches!(address.ip(), IpAddr::V4(ip) if ip.is_loopback());
    if before < UNBOUND || !loopback {
        return None;
    }
    let of_port = (u32::from(address.port()) % 250 + 1) << 16;
    Some(Ipv4Addr::from(0x7F00_0001 + of_port + index / PER_SOURCE))
}

fn finish_handshake(stream: &mut TcpStream, index: u32) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        if let Some(at) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            check_response(&head[..at], index)?;
            return Ok(head.split_off(at + 4));
        }
        ensure!(head.len() < HEAD_BYTES_MAX, "handshake: an answer longer than 16 KiB");
        let count = match stream.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(error).context("handshake: no answer within 20 s");
            }
            Err(error) => return Err(error).context("handshake: connection lost"),
        };
        if count == 0 {
            check_response(&head, index)?;
        }
        ensure!(count > 0, "handshake: the server closed the connection without an answer");
        head.extend_from_slice(&chunk[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_change_only_on_loopback() {
        let loopback = "127.0.0.1:1".parse().unwrap();
        let source = |index| source_address(loopback, index, index);
        assert_eq!(source(11_999), None);
        assert_eq!(source(12_000), Some(Ipv4Addr::new(127, 2, 0, 4)));
        assert_eq!(source(15_999), Some(Ipv4Addr::new(127, 2, 0, 4)));
        assert_eq!(source(16_000), Some(Ipv4Addr::new(127, 2, 0, 5)));
        let other = "127.0.0.1:2".parse().unwrap();
        assert_eq!(source_address(other, 12_000, 16_000), Some(Ipv4Addr::new(127, 3, 0, 5)));
        assert_eq!(source_address(loopback, 11_999, 1_000_000), None);
        assert_eq!(source_address("10.0.0.1:1".parse().unwrap(), 16_000, 16_000), None);
    }
}
