//! The opening handshake from the client's side (RFC 6455 §4.1), and the URL it starts from.
//!
//! `connect` calls it. It does no input or output of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::connect::WAVE;

const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Where to connect and what to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub address: SocketAddr,
    /// What goes into the Host header.
    pub host: String,
    pub path: String,
    /// How many loopback addresses to connect to in turn, from `address` on: a wave each.
    pub destinations: u32,
}

impl Target {
    /// Reads `ws://host[:port][/path]`; `tcp://host:port` is taken too, for raw measuring.
    pub fn parse(url: &str) -> Result<Target> {
        let rest = match url.split_once("://") {
            Some(("ws" | "tcp", rest)) => rest,
            Some(("wss", _)) => bail!("{url}: wss is not supported, use ws://"),
            _ => bail!("{url}: not a URL of the form ws://host:port/path"),
        };
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        ensure!(!host.is_empty(), "{url}: the host is missing");
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = if has_port { host.to_owned() } else { format!("{host}:80") };
        let address = with_port
            .to_socket_addrs()
            .with_context(|| format!("{url}: cannot resolve {host}"))?
            .next()
            .with_context(|| format!("{url}: {host} has no address"))?;
        Ok(Target { address, host: host.to_owned(), path: path.to_owned(), destinations: 1 })
    }

    /// How many connections went where number `index` goes before it.
    pub fn before(&self, index: u32) -> u32 {
        index / WAVE / self.destinations * WAVE + index % WAVE
    }

    /// Where connection number `index` goes.
    pub fn address(&self, index: u32) -> SocketAddr {
        match self.address.ip() {
            IpAddr::V4(ip) if ip.is_loopback() => {
                let ip = u32::from(ip).wrapping_add(index / WAVE % self.destinations);
                SocketAddr::from((Ipv4Addr::from(ip), self.address.port()))
            }
            _ => self.address,
        }
    }

    /// The request for connection number `index`, with its own key.
    pub fn request(&self, index: u32) -> String {
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\n\r\n",
            self.path,
            self.host,
            key(index)
        )
    }
}

/// The key of connection number `index`. Predictable, which is fine: it only proves that the
/// server speaks WebSocket (RFC 6455 §10.3 asks more of browsers).
fn key(index: u32) -> String {
    let mut nonce = *b"ringwire-load\0\0\0";
    nonce[12..].copy_from_slice(&index.to_be_bytes());
    STANDARD.encode(nonce)
}

fn accept_value(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(ACCEPT_GUID).finalize())
}

/// Checks the head of a response, which ends before `\r\n\r\n`.
pub fn check_response(head: &[u8], index: u32) -> Result<()> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 101"), "handshake refused: {}", status.escape_debug());
    let headers: Vec<(String, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    let find =
        |name: &str| headers.iter().find(|(header, _)| header == name).map(|(_, value)| *value);
    let value = |name: &str| find(name).with_context(|| format!("handshake without {name}"));
    ensure!(value("upgrade")?.eq_ignore_ascii_case("websocket"), "handshake: wrong Upgrade");
    let connection = value("connection")?.to_ascii_lowercase();
    ensure!(connection.contains("upgrade"), "handshake: wrong Connection");
    let accept = value("sec-websocket-accept")?;
    let wanted = accept_value(&key(index));
    ensure!(accept == wanted, "handshake: Sec-WebSocket-Accept is {accept}, not {wanted}");
    // An error that is only looked at costs as much as one that is told, a backtrace included.
    let extensions = find("sec-websocket-extensions");
    ensure!(extensions.is_none(), "handshake: extension nobody asked for");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computes_the_accept_value_of_rfc_6455_section_1_3() {
        assert_eq!(accept_value("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn reads_urls() {
        let target = Target::parse("ws://127.0.0.1:9001/echo?x=1").unwrap();
        assert_eq!(target.address, "127.0.0.1:9001".parse().unwrap());
        assert_eq!((target.host.as_str(), target.path.as_str()), ("127.0.0.1:9001", "/echo?x=1"));
        assert_eq!(Target::parse("ws://127.0.0.1").unwrap().address.port(), 80);
        for bad in ["127.0.0.1:1", "wss://127.0.0.1:1/", "ws:///x", "http://127.0.0.1:1/"] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn destinations_take_turns_on_loopback() {
        let mut target = Target::parse("ws://127.0.0.1:9001/").unwrap();
        assert_eq!(target.address(7), target.address);
        target.destinations = 3;
        let hosts = [0, WAVE - 1, WAVE, 3 * WAVE].map(|i| target.address(i).ip().to_string());
        assert_eq!(hosts, ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.1"]);
        let before = [5, WAVE + 5, 3 * WAVE, 7 * WAVE + 5].map(|i| target.before(i));
        assert_eq!(before, [5, 5, WAVE, 2 * WAVE + 5]);
        target.address = "10.0.0.1:1".parse().unwrap();
        assert_eq!(target.address(2), target.address);
    }

    #[test]
    fn checks_the_response() {
        let good = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\n\
             Connection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: {}",
            accept_value(&key(7))
        );
        assert!(check_response(good.as_bytes(), 7).is_ok());
        assert!(check_response(good.as_bytes(), 8).is_err(), "the key of another connection");
        let refused = check_response(b"HTTP/1.1 404 Not Found\r\nX: y", 7).unwrap_err();
        assert_eq!(refused.to_string(), "handshake refused: HTTP/1.1 404 Not Found");
        let extended = format!("{good}\r\nSec-WebSocket-Extensions: permessage-deflate");
        assert!(check_response(extended.as_bytes(), 7).is_err());
    }
}
