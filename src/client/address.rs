//! Where a control plane is, and how that is written. Read once, when a client is made; resolves no
//! name.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// The address of a control plane: `unix:/path`, `HOST:PORT` or `http://HOST:PORT`. The addresses
/// that stand for all of a host, `0.0.0.0` and `[::]`, are loopback here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Host and port, as they stand in a URL.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Why a text is no [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address of a control plane is unix:/path, HOST:PORT or http://HOST:PORT; {0}")]
pub struct AddressError(&'static str);

impl Address {
    /// What stands in `Host`: the server compares it against rebound names.
    pub(super) fn authority(&self) -> &str {
        match self {
            Self::Tcp(authority) => authority,
            Self::Unix(_) => "localhost",
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let is_path = path.starts_with('/') && !path.contains('\0');
            return match is_path {
                true => Ok(Self::Unix(path.into())),
                false => Err(AddressError("the path begins with /")),
            };
        }
        if text.starts_with("https://") {
            return Err(AddressError("TLS is not spoken here, use a Unix socket or a tunnel"));
        }
        let authority = text.strip_prefix("http://").unwrap_or(text);
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = authority.rsplit_once(':').ok_or(AddressError("the port is missing"))?;
        if !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(AddressError("the port is a number from 1 to 65535"));
        }
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match inner {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                let in_name =
                    |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
                !host.is_empty() && host.chars().all(in_name)
            }
        };
        match is_host {
            true => Ok(Self::Tcp(format!("{}:{port}", reachable(inner.unwrap_or(host), host)))),
            false => Err(AddressError("the host is a name, an IPv4 or an [IPv6] address")),
        }
    }
}

/// `host`, unless it is all addresses of a host, where servers listen: then this host.
fn reachable<'a>(inner: &str, host: &'a str) -> &'a str {
    let ip = inner.parse::<IpAddr>().ok();
    match ip.filter(|ip| ip.to_canonical().is_unspecified()) {
        None => host,
        Some(ip) if ip.to_canonical().is_ipv4() => "127.0.0.1",
        Some(_) => "[::1]",
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => f.write_str(authority),
            Self::Unix(path) => write!(f, "unix:{}", path.display().to_string().escape_debug()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, address) in [
            ("127.0.0.1:9002", Address::Tcp("127.0.0.1:9002".into())),
            ("http://127.0.0.1:9002", Address::Tcp("127.0.0.1:9002".into())),
            ("http://admin.example.org:80/", Address::Tcp("admin.example.org:80".into())),
            ("[::1]:9002", Address::Tcp("[::1]:9002".into())),
            // Where a server listens on all addresses.
            ("0.0.0.0:9002", Address::Tcp("127.0.0.1:9002".into())),
            ("http://[::]:9002/", Address::Tcp("[::1]:9002".into())),
            ("[::ffff:0.0.0.0]:9002", Address::Tcp("127.0.0.1:9002".into())),
            ("unix:/run/ringwire/control.sock", Address::Unix("/run/ringwire/control.sock".into())),
        ] {
            assert_eq!(text.parse(), Ok(address), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "localhost",
            ":9002",
            "localhost:0",
            "localhost:65536",
            "https://localhost:9002",
            "http://localhost:9002/v1",
            "http://user:secret@localhost:9002",
            "::1:9002",
            "[::1:9002",
            "[localhost]:9002",
            "a b:9002",
            "unix:",
            "unix:relative.sock",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
