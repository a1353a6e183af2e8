//! Rings of the real kernel, with peers on loopback: TCP over both families, and Unix sockets.

use super::super::{
    Errno, KernelRing, KernelRingOptions, ReceiveMode, Ring, receive_mode_that_works,
};
use super::{End, Link, Seen, Sizes, World};
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, sockopt};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// What the system may keep of a connection in each direction. It takes twice that.
const KEPT_BYTES: usize = 64 * 1024;

/// A ring on real sockets.
pub(super) trait RealRing: Ring + Sized {
    const QUEUES: bool;

    fn made(sizes: &Sizes, listeners: Vec<OwnedFd>) -> Self;

    fn receive_modes() -> Vec<ReceiveMode>;
}

impl RealRing for KernelRing {
    const QUEUES: bool = true;

    fn made(sizes: &Sizes, listeners: Vec<OwnedFd>) -> Self {
        let options = KernelRingOptions {
            submission_entries: sizes.submission_entries,
            completion_entries: sizes.completion_entries,
            slots: sizes.slots,
            buffer_count: sizes.buffer_count,
            buffer_bytes: sizes.buffer_bytes,
            receive: sizes.receive,
            send_waitall: sizes.send_waitall,
            memory_timeout: Duration::from_secs(10),
        };
        Self::new(&options, listeners).expect("a ring")
    }

    fn receive_modes() -> Vec<ReceiveMode> {
        match receive_mode_that_works().expect("a kernel with a ring") {
            ReceiveMode::Incremental => vec![ReceiveMode::Incremental, ReceiveMode::Classic],
            ReceiveMode::Classic => vec![ReceiveMode::Classic],
        }
    }
}

pub(super) struct Real<R> {
    ring: R,
    tcp: [Option<SocketAddr>; 2],
    unix: UnixAddr,
}

/// A socket that never blocks, and the end it has seen.
pub(super) struct Peer {
    socket: OwnedFd,
    local: Option<SocketAddr>,
    end: Option<End>,
}

impl Peer {
    fn new(socket: OwnedFd, local: Option<SocketAddr>) -> Self {
        rustix::io::ioctl_fionbio(&socket, true).expect("a socket");
        Self { socket, local, end: None }
    }

    fn ended(&mut self, errno: Errno) {
        assert!([Errno::CONNRESET, Errno::PIPE].contains(&errno), "{errno:?}");
        self.end = Some(End::Reset);
    }
}

fn tcp_listener(address: &str) -> Option<TcpListener> {
    let listener = TcpListener::bind(address).ok()?;
    // Those that are accepted inherit it.
    sockopt::set_socket_send_buffer_size(&listener, KEPT_BYTES).expect("a socket");
    Some(listener)
}

impl<R: RealRing> World for Real<R> {
    type Ring = R;
    type Peer = Peer;

    const QUEUES: bool = R::QUEUES;

    fn links() -> Vec<Link> {
        let v6 = TcpListener::bind("[::1]:0").is_ok().then_some(Link::V6);
        [Some(Link::V4), v6, Some(Link::Unix)].into_iter().flatten().collect()
    }

    fn receive_modes() -> Vec<ReceiveMode> {
        R::receive_modes()
    }

    fn new(sizes: &Sizes) -> Self {
        static NAMES: AtomicU32 = AtomicU32::new(0);
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringwire-conformance-{}-{number}", std::process::id());
        let unix = UnixAddr::from_abstract_name(name).expect("a short name");
        let listeners = [tcp_listener("127.0.0.1:0"), tcp_listener("[::1]:0")];
        let tcp = [0, 1].map(|family: usize| {
            listeners[family].as_ref().map(|it| it.local_addr().expect("a bound listener"))
        });
        let unix_listener = UnixListener::bind_addr(&unix).expect("a name of its own");
        let [v4, v6] = listeners.map(|listener| listener.map(OwnedFd::from));
        // In the order of `Link`. Nobody comes by one that this host does not have.
        let v4 = v4.expect("loopback");
        let v6 = v6.unwrap_or_else(|| v4.try_clone().expect("a descriptor"));
        let ring = R::made(sizes, vec![v4, v6, unix_listener.into()]);
        Self { ring, tcp, unix }
    }

    fn ring(&mut self) -> &mut R {
        &mut self.ring
    }

    fn connect(&mut self, link: Link) -> Peer {
        if link == Link::Unix {
            let stream = UnixStream::connect_addr(&self.unix).expect("a listener");
            return Peer::new(stream.into(), None);
        }
        let address = self.tcp[link as usize].expect("a family of this host");
        let family = match address {
            SocketAddr::V4(_) => rustix::net::AddressFamily::INET,
            SocketAddr::V6(_) => rustix::net::AddressFamily::INET6,
        };
        let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
        let socket = rustix::net::socket_with(family, kind, flags, None).expect("a socket");
        sockopt::set_socket_recv_buffer_size(&socket, KEPT_BYTES).expect("a socket");
        sockopt::set_tcp_nodelay(&socket, true).expect("a socket");
        rustix::net::connect(&socket, &address).expect("a listener");
        let local = rustix::net::getsockname(&socket).expect("a connected socket");
        Peer::new(socket, Some(local.try_into().expect("an address of the internet")))
    }

    fn address(&self, peer: &Peer) -> Option<SocketAddr> {
        peer.local
    }

    fn write(&mut self, peer: &mut Peer, bytes: &[u8]) -> usize {
        match rustix::net::send(&peer.socket, bytes, SendFlags::NOSIGNAL) {
            Ok(count) => count,
            Err(Errno::AGAIN) => 0,
            Err(errno) => {
                peer.ended(errno);
                bytes.len()
            }
        }
    }

    fn look(&mut self, peer: &mut Peer) -> Seen {
        let (mut seen, mut buffer) = (Seen::default(), [0; 16 * 1024]);
        while peer.end.is_none() {
            match rustix::net::recv(&peer.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((_, 0)) => peer.end = Some(End::Finished),
                Ok((_, count)) => seen.bytes.extend_from_slice(&buffer[..count]),
                Err(Errno::AGAIN) => break,
                Err(errno) => peer.ended(errno),
            }
        }
        Seen { end: peer.end, ..seen }
    }

    fn shut_down(&mut self, peer: &mut Peer) {
        rustix::net::shutdown(&peer.socket, Shutdown::Write).expect("an open socket");
    }

    fn reset(&mut self, peer: Peer) {
        sockopt::set_socket_linger(&peer.socket, Some(Duration::ZERO)).expect("a socket");
    }

    fn ring_during_the_wait(&mut self) {
        let bell = self.ring.doorbell();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            bell.ring();
        });
    }
}
