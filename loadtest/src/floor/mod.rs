//! Raw TCP echo servers, the bar the engine is measured against.
//!
//! Single-threaded and as lean as they can be made: whatever a WebSocket server costs above them
//! is the price of the protocol. They run until the process is ended.

mod epoll;
mod uring;

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt,
};

/// How a floor server talks to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Driver {
    /// epoll, recv(2), send(2) and one hot buffer.
    Epoll,
    /// io_uring with multishot accept and receive.
    Uring,
}

/// Serves until the process ends. Prints the address once connections are accepted. `buffers` of
/// 256 KiB are for io_uring.
pub fn run(address: SocketAddr, driver: Driver, buffers: u16) -> Result<()> {
    let listener = open_listener(address).with_context(|| format!("cannot listen on {address}"))?;
    println!("listening on {}", listener.local_addr()?);
    match driver {
        Driver::Epoll => epoll::serve(&listener),
        Driver::Uring => uring::serve(&listener, buffers),
    }
}

fn open_listener(address: SocketAddr) -> Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // Accepted sockets inherit it.
    sockopt::set_tcp_nodelay(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, 4_096)?;
    Ok(TcpListener::from(socket))
}
