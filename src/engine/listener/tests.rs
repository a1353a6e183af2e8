use super::*;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

fn tcp(text: &str) -> ListenAddress {
    text.parse().expect("an address")
}

fn unix(name: &str) -> (PathBuf, ListenAddress) {
    let path = std::env::temp_dir().join(format!("ringwire-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    (path.clone(), ListenAddress::Unix(path))
}

fn port_of(listener: &Listener) -> SocketAddr {
    match listener.address {
        ListenAddress::Tcp(address) => address,
        ListenAddress::Unix(_) => panic!("not TCP"),
    }
}

#[test]
fn the_shards_share_one_port_and_nobody_else_does() {
    let first = bind(&[tcp("127.0.0.1:0")], 3, 0).expect("a free port");
    assert_eq!(first.len(), 3);
    let address = port_of(&first[0][0]);
    assert_ne!(address.port(), 0);
    assert!(first.iter().all(|shard| port_of(&shard[0]) == address));
    let again = ListenAddress::Tcp(address);
    for shards in [1, 2] {
        let error = bind(std::slice::from_ref(&again), shards, 0).expect_err("in use");
        assert_eq!(error, BindError::InUse(again.clone()));
        assert_eq!(error.exit_code(), 69);
    }
    drop(first);
    bind(&[again], 2, 0).expect("free again");
}

#[test]
fn every_shard_gets_connections() {
    let shards = bind(&[tcp("127.0.0.1:0")], 3, 0).expect("a free port");
    let address = port_of(&shards[0][0]);
    let _clients: Vec<TcpStream> =
        (0..96).map(|_| TcpStream::connect(address).expect("somebody listens")).collect();
    for shard in &shards {
        rustix::io::ioctl_fionbio(&shard[0], true).expect("a socket");
        assert!(rustix::net::accept(&shard[0]).is_ok(), "a shard has no connection");
    }
}

#[test]
fn of_many_that_want_a_port_one_gets_it() {
    for shards in [1, 2, 3] {
        let free = bind(&[tcp("127.0.0.1:0")], 1, 0).expect("a free port");
        let address = [ListenAddress::Tcp(port_of(&free[0][0]))];
        drop(free);
        let barrier = std::sync::Barrier::new(6);
        let attempt = || {
            barrier.wait();
            bind(&address, shards, 0)
        };
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(attempt)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let winners = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(winners, 1, "{results:?}");
    }
}

#[test]
fn an_address_that_becomes_free_in_time_is_had() {
    let (path, socket) = unix("freed");
    let port = bind(&[tcp("127.0.0.1:0")], 2, 0).expect("a free port");
    let address = ListenAddress::Tcp(port_of(&port[0][0]));
    let live = UnixListener::bind(&path).expect("a free path");
    let freed = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        drop((port, live));
    });
    bind(&[address, socket], 2, 0).expect("free in time");
    freed.join().expect("no panic");
    assert!(!path.exists());
}

#[test]
fn accepted_sockets_inherit_the_options() {
    for shards in [1, 2] {
        let listeners = bind(&[tcp("127.0.0.1:0")], shards, 0).expect("a free port");
        let address = port_of(&listeners[0][0]);
        // Each connect goes to one of the shards; the peer's own options stay as they were.
        let client = TcpStream::connect(address).expect("somebody listens");
        assert!(!sockopt::tcp_nodelay(&client).expect("an option"));
        let accept = |shard: &Vec<Listener>| {
            rustix::io::ioctl_fionbio(&shard[0], true).expect("a socket");
            rustix::net::accept(&shard[0]).ok()
        };
        let accepted = listeners.iter().find_map(accept).expect("a connection waits");
        assert_eq!(sockopt::tcp_nodelay(&accepted), Ok(true));
        assert_eq!(sockopt::socket_keepalive(&accepted), Ok(true));
        assert_eq!(sockopt::tcp_keepidle(&accepted), Ok(KEEPALIVE_IDLE));
        assert_eq!(sockopt::tcp_keepintvl(&accepted), Ok(KEEPALIVE_INTERVAL));
        // It would cut who reads slowly out of a small buffer.
        assert_eq!(sockopt::tcp_user_timeout(&accepted), Ok(0));
    }
}

/// Whether this host has IPv6.
fn has_ipv6() -> bool {
    std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

#[test]
fn the_unspecified_ipv6_address_takes_ipv4_as_well() {
    if !has_ipv6() {
        return;
    }
    for shards in [1, 2] {
        let both = bind(&[tcp("[::]:0")], shards, 0).expect("a free port");
        let port = port_of(&both[0][0]).port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("IPv4 comes in");
        TcpStream::connect((Ipv6Addr::LOCALHOST, port)).expect("IPv6 comes in");
        let taken = bind(&[tcp(&format!("127.0.0.1:{port}"))], 1, 0);
        assert!(matches!(taken, Err(BindError::InUse(_))), "{taken:?}");
    }
    let one = bind(&[tcp("[::1]:0")], 1, 0).expect("a free port");
    let port = port_of(&one[0][0]).port();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect_err("not listed");
}

#[test]
fn both_families_may_be_listed_with_one_port() {
    if !has_ipv6() {
        return;
    }
    for ipv4 in ["0.0.0.0", "127.0.0.1", "[::ffff:127.0.0.1]"] {
        for (shards, ipv6_first) in [(1, false), (2, true)] {
            let free = bind(&[tcp("127.0.0.1:0")], 1, 0).expect("a free port");
            let port = port_of(&free[0][0]).port();
            drop(free);
            let mut addresses = [tcp(&format!("{ipv4}:{port}")), tcp(&format!("[::]:{port}"))];
            if ipv6_first {
                addresses.reverse();
            }
            let _both = bind(&addresses, shards, 0).expect("two families");
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("IPv4 comes in");
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).expect("IPv6 comes in");
        }
    }
}

#[test]
fn ipv4_in_the_form_of_ipv6_is_ipv4() {
    let mapped = bind(&[tcp("[::ffff:127.0.0.1]:0")], 1, 0).expect("a free port");
    assert!(port_of(&mapped[0][0]).is_ipv4());
}

#[test]
fn a_host_without_ipv6_is_told_so() {
    let error = BindError::new(&tcp("[::]:9001"), Errno::AFNOSUPPORT);
    assert_eq!(error.exit_code(), 69);
    assert_eq!(
        error.to_string(),
        "[::]:9001 needs IPv6, which this host does not have; listen on an IPv4 address \
         (0.0.0.0: all of them)"
    );
}

#[test]
fn causes_are_told_apart() {
    let foreign = bind(&[tcp("192.0.2.1:9")], 1, 0).expect_err("a documentation address");
    assert!(matches!(foreign, BindError::NotAvailable(_)), "{foreign}");
    let (_, long) = unix(&"x".repeat(120));
    let error = bind(&[long], 1, 0).expect_err("too long");
    assert!(matches!(error, BindError::PathTooLong(_)), "{error}");
    assert_eq!(error.exit_code(), 78);
    let denied = BindError::new(&tcp("0.0.0.0:80"), Errno::ACCESS);
    assert_eq!(denied.exit_code(), 77);
    assert_eq!(
        denied.to_string(),
        "0.0.0.0:80 is not permitted; use a port of 1024 or more, or give CAP_NET_BIND_SERVICE"
    );
}

#[test]
fn a_unix_socket_is_private_and_removed_with_its_last_listener() {
    let (path, address) = unix("private");
    let mut shards = bind(&[address], 2, 0).expect("a free path");
    let metadata = std::fs::metadata(&path).expect("the file is there");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    let _client = UnixStream::connect(&path).expect("somebody listens");
    shards.pop();
    assert!(path.exists(), "one listener is left");
    drop(shards);
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let (path, address) = unix("stale");
    let live = UnixListener::bind(&path).expect("a free path");
    let error = bind(std::slice::from_ref(&address), 1, 0).expect_err("live");
    assert_eq!(error, BindError::InUse(address.clone()));
    assert!(path.exists(), "a live server's file was removed");
    drop(live);
    let refused = UnixStream::connect(&path).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let ours = bind(std::slice::from_ref(&address), 1, 0).expect("the stale file is replaced");
    // A newer server's file must survive us.
    std::fs::remove_file(&path).expect("ours");
    let _newer = UnixListener::bind(&path).expect("free");
    drop(ours);
    assert!(path.exists(), "the newer server's file was removed");
    let _ = std::fs::remove_file(&path);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let (path, address) = unix("file");
    std::fs::write(&path, "precious").expect("a free path");
    let error = bind(std::slice::from_ref(&address), 1, 0).expect_err("no socket");
    assert_eq!(error, BindError::NotASocket(address));
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "precious");
    let _ = std::fs::remove_file(&path);
}
