//! Sockets that listen, one set for each shard, and those of the control plane.
//!
//! Owns how a socket is made ready before anybody accepts from it: exclusive use of the port,
//! options that accepted sockets inherit, the file of a Unix socket. The launch calls [`bind`]
//! once, before the shards start; the control plane calls it for its port, and [`bind_private`] for
//! its file. Nothing here accepts a connection.

pub(in crate::engine) mod socket_file;

use crate::engine::listener::socket_file::{Claim, SocketFile};
use crate::engine::model::settings::ListenAddress;
use crate::proto::limits::ADDRESS_IN_USE_TIMEOUT;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Connections that may wait for an accept. The kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;

/// Silence after which the kernel asks whether a peer is still there. Below the idle times of
/// most NAT boxes; our own Pings come sooner where they are on.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// Time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Time between two tries of an address that is in use: the first, doubled up to the last.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(5);
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(80);

/// Who may connect to a Unix socket: its owner and its group, so that a proxy in the group can
/// and a stranger on the host cannot.
const UNIX_MODE: Mode = Mode::from_raw_mode(0o660);

/// Who may connect to a Unix socket that needs no other credential: its owner.
const UNIX_MODE_PRIVATE: Mode = Mode::from_raw_mode(0o600);

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    /// Removes the file of a Unix socket when its last listener is dropped, before the socket is
    /// closed.
    _file: Option<Arc<SocketFile>>,
    /// The socket.
    pub socket: OwnedFd,
    /// Where it listens; the port is the real one, also where port 0 was asked for.
    pub address: ListenAddress,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Why an address cannot be listened on: the cause and the remedy on one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Somebody listens there already.
    #[error("{0} is in use; stop the server that has it, or listen elsewhere")]
    InUse(ListenAddress),
    /// A port below `net.ipv4.ip_unprivileged_port_start`, or a directory that is not ours.
    #[error("{0} is not permitted; {1}")]
    Permission(ListenAddress, &'static str),
    /// This host has no such IP address.
    #[error("{0} is not an address of this host; listen on one that `ip address` shows")]
    NotAvailable(ListenAddress),
    /// An IPv6 address on a host without IPv6.
    #[error(
        "{0} needs IPv6, which this host does not have; listen on an IPv4 address (0.0.0.0: all of them)"
    )]
    NoIpv6(ListenAddress),
    /// The path of a Unix socket does not fit into its address (unix(7): 108 bytes with the NUL).
    #[error("{0} is too long; a Unix socket's path has at most 107 bytes")]
    PathTooLong(ListenAddress),
    /// The path of a Unix socket is something else.
    #[error("{0} exists and is not a socket; remove it, or listen on another path")]
    NotASocket(ListenAddress),
    /// The process has as many descriptors as it may.
    #[error("{0} cannot be listened on: {1}; raise the limit of open files (ulimit -n)")]
    Descriptors(ListenAddress, Errno),
    /// Anything else, with what the system says.
    #[error("{0} cannot be listened on: {1}; correct the address or the system")]
    Other(ListenAddress, Errno),
}

impl BindError {
    /// The exit code for this error, after sysexits.h: 69 unavailable, 71 system error, 77 no
    /// permission, 78 configuration.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::InUse(_) | Self::NotASocket(_) | Self::Other(..) => 69,
            Self::NotAvailable(_) | Self::NoIpv6(_) => 69,
            Self::Descriptors(..) => 71,
            Self::Permission(..) => 77,
            Self::PathTooLong(_) => 78,
        }
    }

    fn new(address: &ListenAddress, errno: Errno) -> Self {
        let address = address.clone();
        match errno {
            Errno::ADDRINUSE => Self::InUse(address),
            Errno::ACCESS | Errno::PERM | Errno::ROFS => {
                let remedy = match address {
                    ListenAddress::Tcp(_) => {
                        "use a port of 1024 or more, or give CAP_NET_BIND_SERVICE"
                    }
                    ListenAddress::Unix(_) => "use a directory that this user may write",
                };
                Self::Permission(address, remedy)
            }
            Errno::AFNOSUPPORT if is_ipv6(&address) => Self::NoIpv6(address),
            Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT => Self::NotAvailable(address),
            Errno::NAMETOOLONG => Self::PathTooLong(address),
            Errno::MFILE | Errno::NFILE => Self::Descriptors(address, errno),
            errno => Self::Other(address, errno),
        }
    }
}

fn is_ipv6(address: &ListenAddress) -> bool {
    matches!(address, ListenAddress::Tcp(address) if address.is_ipv6())
}

/// Binds all `addresses` for `shards` shards (at least one) and answers the listeners of each
/// shard. `send_buffer_bytes` above 0 becomes their `SO_SNDBUF`, which accepted sockets inherit.
///
/// TCP: with several shards, each gets its own socket (`SO_REUSEPORT`, socket(7)), among which
/// the kernel spreads connections. `[::]` takes IPv4 as well (ipv6(7), `IPV6_V6ONLY`), unless an
/// IPv4 address is listed with the same port. Accepted sockets inherit `TCP_NODELAY` and
/// keepalive. Unix: one socket, duplicated; a file left behind by a server that
/// is gone is replaced, and the file is removed with the last listener.
///
/// An address that is in use is asked for again for [`ADDRESS_IN_USE_TIMEOUT`]: the kernel ends the
/// ring of a process that was killed, and the listeners in it, some time after the process.
///
/// # Errors
/// The first address that cannot be listened on.
pub fn bind(
    addresses: &[ListenAddress],
    shards: usize,
    send_buffer_bytes: usize,
) -> Result<Vec<Vec<Listener>>, BindError> {
    let shards = shards.max(1);
    let until = Instant::now() + ADDRESS_IN_USE_TIMEOUT;
    let mut of_shards: Vec<Vec<Listener>> = (0..shards).map(|_| Vec::new()).collect();
    for address in addresses {
        let listeners = patiently(until, || match address {
            ListenAddress::Tcp(tcp) => bind_tcp(*tcp, shards, families(*tcp, addresses)),
            ListenAddress::Unix(path) => bind_unix(path, shards, UNIX_MODE),
        })?;
        if send_buffer_bytes > 0 {
            for listener in &listeners {
                sockopt::set_socket_send_buffer_size(&listener.socket, send_buffer_bytes)
                    .map_err(|errno| BindError::new(address, errno))?;
            }
        }
        for (shard, listener) in of_shards.iter_mut().zip(listeners) {
            shard.push(listener);
        }
    }
    Ok(of_shards)
}

/// Tries until `until` to have an address that is in use.
fn patiently<T>(
    until: Instant,
    mut attempt: impl FnMut() -> Result<T, BindError>,
) -> Result<T, BindError> {
    let mut pause = RETRY_PAUSE_MIN;
    loop {
        match attempt() {
            Err(BindError::InUse(address)) if Instant::now() < until => {
                if pause == RETRY_PAUSE_MIN {
                    tracing::info!("{address} is in use; waiting for a server that has just ended");
                }
                thread::sleep(pause);
                pause = (2 * pause).min(RETRY_PAUSE_MAX);
            }
            result => return result,
        }
    }
}

/// What an IPv6 socket takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Families {
    Ipv6,
    Both,
}

/// IPv4 comes in by `[::]` where nothing else takes it.
fn families(address: SocketAddr, addresses: &[ListenAddress]) -> Families {
    let takes_ipv4 = |other: &ListenAddress| match other {
        ListenAddress::Tcp(other) => {
            other.ip().to_canonical().is_ipv4() && other.port() == address.port()
        }
        ListenAddress::Unix(_) => false,
    };
    let elsewhere = address.port() != 0 && addresses.iter().any(takes_ipv4);
    if address.ip().is_unspecified() && !elsewhere { Families::Both } else { Families::Ipv6 }
}

fn bind_tcp(
    wanted: SocketAddr,
    shards: usize,
    families: Families,
) -> Result<Vec<Listener>, BindError> {
    let fail = |errno| BindError::new(&ListenAddress::Tcp(wanted), errno);
    let mut address = match wanted.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, wanted.port()),
        // With the scope that it may have.
        IpAddr::V6(_) => wanted,
    };
    let sockets: rustix::io::Result<Vec<OwnedFd>> =
        (0..shards).map(|_| tcp_socket(address, families)).collect();
    let sockets = sockets.map_err(fail)?;
    for (index, socket) in sockets.iter().enumerate() {
        sockopt::set_socket_reuseport(socket, index > 0).map_err(fail)?;
        rustix::net::bind(socket, &address).map_err(fail)?;
        if index == 0 {
            address = local_address(socket).map_err(fail)?;
            // SO_REUSEPORT lets another process of the same user in silently: half of the
            // connections would go to a server nobody thinks of. So the first socket does not
            // share until it listens, which only one can do.
            rustix::net::listen(socket, BACKLOG).map_err(fail)?;
            sockopt::set_socket_reuseport(socket, shards > 1).map_err(fail)?;
        }
    }
    let listening = |(index, socket): (usize, OwnedFd)| {
        if index > 0 {
            rustix::net::listen(&socket, BACKLOG).map_err(fail)?;
        }
        Ok(Listener { _file: None, socket, address: ListenAddress::Tcp(address) })
    };
    sockets.into_iter().enumerate().map(listening).collect()
}

fn tcp_socket(address: SocketAddr, families: Families) -> rustix::io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = stream_socket(family, SocketFlags::empty())?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, families == Families::Ipv6)?;
    }
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
    Ok(socket)
}

/// Listeners stay blocking: a ring waits for them itself, and `O_NONBLOCK` may make it answer
/// EAGAIN instead.
fn stream_socket(family: AddressFamily, flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(family, SocketType::STREAM, flags | SocketFlags::CLOEXEC, None)
}

fn local_address(socket: &OwnedFd) -> rustix::io::Result<SocketAddr> {
    SocketAddr::try_from(rustix::net::getsockname(socket)?)
}

/// Binds a Unix socket that its owner alone may connect to; otherwise as [`bind`] does for one.
///
/// # Errors
/// Why the path cannot be listened on.
pub fn bind_private(path: &Path) -> Result<Listener, BindError> {
    let address = ListenAddress::Unix(path.into());
    let until = Instant::now() + ADDRESS_IN_USE_TIMEOUT;
    let listener = patiently(until, || bind_unix(path, 1, UNIX_MODE_PRIVATE))?.pop();
    listener.ok_or(BindError::Other(address, Errno::BADF))
}

fn bind_unix(path: &Path, shards: usize, mode: Mode) -> Result<Vec<Listener>, BindError> {
    let address = ListenAddress::Unix(path.into());
    let fail = |errno| BindError::new(&address, errno);
    let name = SocketAddrUnix::new(path).map_err(fail)?;
    // Until it listens: before that, another one would take its file for a stale one.
    let claim = Claim::on(path).map_err(fail)?;
    remove_stale(path, &name, &address)?;
    let socket = stream_socket(AddressFamily::UNIX, SocketFlags::empty()).map_err(fail)?;
    rustix::net::bind(&socket, &name).map_err(fail)?;
    // Nobody can connect before `listen`, so the mode is never too wide.
    let listens = rustix::fs::chmod(path, mode)
        .and_then(|()| rustix::net::listen(&socket, BACKLOG))
        .and_then(|()| SocketFile::at(path));
    let file = listens.map_err(|errno| {
        let _ = rustix::fs::unlink(path);
        fail(errno)
    })?;
    drop(claim);
    let file = Arc::new(file);
    let mut sockets = Vec::with_capacity(shards);
    for _ in 1..shards {
        sockets.push(rustix::io::fcntl_dupfd_cloexec(&socket, 0).map_err(fail)?);
    }
    sockets.push(socket);
    let listener =
        |socket| Listener { _file: Some(Arc::clone(&file)), socket, address: address.clone() };
    Ok(sockets.into_iter().map(listener).collect())
}

/// Removes the file of a server that is gone. Whether it is gone only a connect can tell.
fn remove_stale(
    path: &Path,
    name: &SocketAddrUnix,
    address: &ListenAddress,
) -> Result<(), BindError> {
    let fail = |errno| BindError::new(address, errno);
    let stat = match rustix::fs::lstat(path) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(fail(errno)),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(BindError::NotASocket(address.clone()));
    }
    let socket = stream_socket(AddressFamily::UNIX, SocketFlags::NONBLOCK).map_err(fail)?;
    match rustix::net::connect(&socket, name) {
        Err(Errno::CONNREFUSED) => match rustix::fs::unlink(path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(fail(errno)),
        },
        Err(Errno::NOENT) => Ok(()),
        // A full backlog is a live server, too. EPROTOTYPE: a live one of another socket type.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Err(BindError::InUse(address.clone())),
        Err(errno) => Err(fail(errno)),
    }
}

#[cfg(test)]
mod tests;
