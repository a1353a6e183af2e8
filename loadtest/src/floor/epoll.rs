//! The epoll floor: level-triggered, one buffer that stays in the cache.
//!
//! Called by `floor::run`. A connection costs nothing but its descriptor unless its peer does not
//! read; then the rest waits in a vector of its own and nothing more is received.

use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::Result;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};

const BUFFER_BYTES: usize = 256 * 1024;
const EVENTS: usize = 1_024;

/// Echoes on every connection of `listener`.
pub fn serve(listener: &TcpListener) -> Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let listening = listener.as_raw_fd() as u64;
    epoll::add(&epoll, listener, EventData::new_u64(listening), EventFlags::IN)?;
    let mut server =
        Server { epoll, connections: Vec::new(), buffer: vec![0; BUFFER_BYTES].into_boxed_slice() };
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        match epoll::wait(&server.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            match event.data.u64() {
                fd if fd == listening => server.accept(listener)?,
                fd => server.serve(fd as usize)?,
            }
        }
    }
}

struct Connection {
    socket: OwnedFd,
    /// What the peer has not taken yet.
    rest: Vec<u8>,
}

struct Server {
    epoll: OwnedFd,
    /// By descriptor number.
    connections: Vec<Option<Connection>>,
    buffer: Box<[u8]>,
}

impl Server {
    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        loop {
            let socket = match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(error) => return Err(error.into()),
            };
            let number = socket.as_raw_fd() as usize;
            epoll::add(&self.epoll, &socket, EventData::new_u64(number as u64), EventFlags::IN)?;
            if self.connections.len() <= number {
                self.connections.resize_with(number + 1, || None);
            }
            self.connections[number] = Some(Connection { socket, rest: Vec::new() });
        }
    }

    fn serve(&mut self, number: usize) -> Result<()> {
        let Some(Some(connection)) = self.connections.get_mut(number) else { return Ok(()) };
        let waited = !connection.rest.is_empty();
        let alive = match waited {
            false => connection.echo(&mut self.buffer),
            true => connection.send_rest(),
        };
        let waits = !connection.rest.is_empty();
        if alive && waits != waited {
            let interest = if waits { EventFlags::OUT } else { EventFlags::IN };
            let data = EventData::new_u64(number as u64);
            epoll::modify(&self.epoll, &connection.socket, data, interest)?;
        }
        if !alive {
            // Dropping the descriptor takes it out of the epoll set.
            self.connections[number] = None;
        }
        Ok(())
    }
}

impl Connection {
    /// Receives once and sends it back; `false` when the connection is over.
    fn echo(&mut self, buffer: &mut [u8]) -> bool {
        let count = match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => return false,
            Ok((count, _)) => count,
            Err(Errno::AGAIN | Errno::INTR) => return true,
            Err(_) => return false,
        };
        match send(&self.socket, &buffer[..count], SendFlags::NOSIGNAL) {
            Ok(sent) if sent == count => true,
            Ok(sent) => {
                self.rest.extend_from_slice(&buffer[sent..count]);
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => {
                self.rest.extend_from_slice(&buffer[..count]);
                true
            }
            Err(_) => false,
        }
    }

    fn send_rest(&mut self) -> bool {
        match send(&self.socket, &self.rest, SendFlags::NOSIGNAL) {
            Ok(sent) => {
                self.rest.drain(..sent);
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => true,
            Err(_) => false,
        }
    }
}
