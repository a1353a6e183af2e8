//! The io_uring floor: multishot accept into direct descriptors, multishot receive into an
//! incremental buffer ring, one send per connection and batch straight from where the bytes lie.
//!
//! Called by `floor::run`. A lease stays with its connection until the send of it has ended.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::operation::{Completion, Op, Sizes, Token};
use crate::ring::{Lease, Ring};

const BUFFER_BYTES: u32 = 256 * 1024;
/// A send up to this size is expected to fit into the socket and completes silently.
const SILENT_BYTES_MAX: usize = 32 * 1024;

/// Echoes on every connection of `listener`.
pub fn serve(listener: &TcpListener, buffers: u16) -> Result<()> {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    let slots = descriptors.min(1 << 20) as u32;
    let sizes = Sizes {
        submissions: 4_096,
        completions: 65_536,
        slots,
        buffers,
        buffer_bytes: BUFFER_BYTES,
    };
    let ring = Ring::leak(sizes).context("cannot set up the io_uring")?;
    let mut connections = Vec::new();
    connections.resize_with(slots as usize, Connection::default);
    let accept = Token { op: Op::Accept, slot: 0, generation: 0 };
    ring.accept_multishot(listener.as_fd(), accept)?;
    let mut server = Server {
        ring,
        connections,
        dirty: Vec::new(),
        silent: Vec::new(),
        starved: Vec::new(),
        refusing: false,
    };
    loop {
        server.ring.wait(None)?;
        while let Some(completion) = server.ring.next() {
            match completion.token.op {
                Op::Accept => {
                    server.on_accept(&completion)?;
                    if !completion.more {
                        server.ring.accept_multishot(listener.as_fd(), accept)?;
                    }
                }
                Op::Stream => server.on_stream(completion)?,
                Op::Send => server.on_sent(&completion),
                _ => {}
            }
        }
        server.finish_batch()?;
    }
}

/// Where a connection stands.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Life {
    #[default]
    Free,
    Open,
    /// The peer has sent its last byte; what is queued still goes out.
    Ended,
    Failed,
}

/// The send under way, of the first lease in the queue.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Sending {
    #[default]
    Nothing,
    /// Went out whole unless its completion comes with this batch.
    Silent,
    /// Its completion comes.
    Announced,
}

#[derive(Default)]
struct Connection {
    generation: u16,
    life: Life,
    armed: bool,
    dirty: bool,
    sending: Sending,
    queue: VecDeque<Lease>,
    /// How much of the first lease is out.
    skip_bytes: u32,
}

impl Connection {
    fn push(&mut self, ring: &mut Ring, lease: Lease) {
        // The bytes of a send under way may not grow.
        let under_way = usize::from(self.sending != Sending::Nothing);
        let grows = self.queue.len() > under_way;
        let unjoined = match self.queue.back_mut() {
            Some(last) if grows => ring.join(last, lease),
            _ => Some(lease),
        };
        self.queue.extend(unjoined);
    }

    fn may_close(&self) -> bool {
        let done = self.queue.is_empty() || self.life == Life::Failed;
        matches!(self.life, Life::Ended | Life::Failed)
            && done
            && !self.armed
            && self.sending == Sending::Nothing
    }
}

struct Server {
    ring: &'static mut Ring,
    connections: Vec<Connection>,
    dirty: Vec<u32>,
    /// Slots with a silent send of the last batch.
    silent: Vec<u32>,
    /// Slots whose receive ended for want of buffers.
    starved: Vec<u32>,
    /// A failed accept has been told.
    refusing: bool,
}

impl Server {
    fn on_accept(&mut self, completion: &Completion) -> Result<()> {
        let slot = match completion.result {
            Ok(slot) => slot,
            Err(error) => {
                if !std::mem::replace(&mut self.refusing, true) {
                    eprintln!("accept failed: {error}; further failures are not told");
                }
                return Ok(());
            }
        };
        let connection = &mut self.connections[slot as usize];
        connection.life = Life::Open;
        connection.armed = true;
        let token = Token { op: Op::Stream, slot, generation: connection.generation };
        Ok(self.ring.recv_stream(token)?)
    }

    fn on_stream(&mut self, completion: Completion) -> Result<()> {
        let slot = completion.token.slot;
        let connection = &mut self.connections[slot as usize];
        if let Some(lease) = completion.lease {
            connection.push(self.ring, lease);
        }
        connection.armed = completion.more;
        match completion.result {
            Ok(0) => connection.life = Life::Ended,
            Ok(_) if !completion.more => {
                connection.armed = true;
                self.ring.recv_stream(completion.token)?;
            }
            Ok(_) => {}
            Err(Errno::NOBUFS) => {
                connection.armed = true;
                self.starved.push(slot);
            }
            Err(_) => connection.life = Life::Failed,
        }
        self.mark(slot);
        Ok(())
    }

    fn on_sent(&mut self, completion: &Completion) {
        let slot = completion.token.slot;
        let connection = &mut self.connections[slot as usize];
        if connection.generation != completion.token.generation {
            return;
        }
        connection.sending = Sending::Nothing;
        match completion.result {
            Ok(count) => connection.skip_bytes += count,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => connection.life = Life::Failed,
        }
        let out = connection.skip_bytes as usize;
        if connection.queue.front().is_some_and(|lease| lease.len() <= out) {
            self.drop_front(slot);
        }
        self.mark(slot);
    }

    fn drop_front(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        connection.skip_bytes = 0;
        if let Some(lease) = connection.queue.pop_front() {
            self.ring.release(lease);
        }
    }

    fn mark(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(slot);
        }
    }

    fn finish_batch(&mut self) -> Result<()> {
        while let Some(slot) = self.silent.pop() {
            let connection = &mut self.connections[slot as usize];
            if connection.sending == Sending::Silent {
                connection.sending = Sending::Nothing;
                self.drop_front(slot);
                self.mark(slot);
            }
        }
        while let Some(slot) = self.dirty.pop() {
            self.connections[slot as usize].dirty = false;
            self.flush(slot)?;
        }
        if self.ring.free_buffers() > 0 {
            while let Some(slot) = self.starved.pop() {
                let generation = self.connections[slot as usize].generation;
                self.ring.recv_stream(Token { op: Op::Stream, slot, generation })?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, slot: u32) -> Result<()> {
        let connection = &mut self.connections[slot as usize];
        let generation = connection.generation;
        if connection.may_close() {
            while !self.connections[slot as usize].queue.is_empty() {
                self.drop_front(slot);
            }
            let generation = generation.wrapping_add(1);
            self.connections[slot as usize] = Connection { generation, ..Connection::default() };
            return Ok(self.ring.close(Token { op: Op::Close, slot, generation })?);
        }
        if connection.sending != Sending::Nothing || connection.life == Life::Failed {
            return Ok(());
        }
        let Some(lease) = connection.queue.front() else { return Ok(()) };
        let rest_bytes = lease.len() - connection.skip_bytes as usize;
        let silent = connection.queue.len() == 1
            && connection.skip_bytes == 0
            && rest_bytes <= SILENT_BYTES_MAX;
        let token = Token { op: Op::Send, slot, generation };
        self.ring.send_lease(lease, connection.skip_bytes, silent, token)?;
        connection.sending = if silent { Sending::Silent } else { Sending::Announced };
        if silent {
            self.silent.push(slot);
        }
        Ok(())
    }
}
