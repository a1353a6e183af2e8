//! The WebSocket clients that messages are written to: many, on a thread and a ring for every 16,000
//! of them, since a ring's table is limited by `RLIMIT_NOFILE`.
//!
//! `writes` starts them and asks what has come. Every message names the socket it was written to and
//! its turn, so that each client can tell whether it gets its own, all of them, in order.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Resource, getrlimit};

use super::channel::{Channel, take_frames};
use super::read_text;
use crate::connect::{self, WAVE};
use crate::frames;
use crate::handshake::Target;
use crate::operation::{Op, Sizes};
use crate::ring::Ring;

/// Clients of one ring, if the limit of descriptors allows.
const PER_RING_MAX: u64 = 16_000;
const TICK: Duration = Duration::from_millis(100);
const NOBODY: u32 = u32::MAX;

/// What the threads tell.
pub struct Shared {
    pub opened: AtomicU32,
    pub received: AtomicU64,
    stop: AtomicBool,
    /// The client that gets what is written to a socket, by the socket's number.
    owners: Vec<AtomicU32>,
}

/// All clients.
pub struct Receivers {
    pub shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
    events: mpsc::Receiver<Result<()>>,
}

impl Receivers {
    /// Opens `count` connections, `openers` threads at a time.
    pub fn open(target: &Target, count: u32, bytes: usize) -> Result<Receivers> {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(PER_RING_MAX);
        let per_ring = limit.min(PER_RING_MAX) as u32;
        let owners = (0..count).map(|_| AtomicU32::new(NOBODY)).collect();
        let shared = Arc::new(Shared {
            opened: AtomicU32::new(0),
            received: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            owners,
        });
        let (sender, events) = mpsc::channel();
        let mut receivers = Receivers { shared, threads: Vec::new(), events };
        let progress = crate::progress::bar(u64::from(count), "connecting", false);
        for first in (0..count).step_by(per_ring as usize) {
            let (shared, target) = (Arc::clone(&receivers.shared), target.clone());
            let (sender, count) = (sender.clone(), per_ring.min(count - first));
            let listen = move || {
                let outcome = Listener::open(&target, first, count, bytes, &shared);
                // The receiver outlives the threads.
                let outcome = outcome.and_then(|mut listener| {
                    let _ = sender.send(Ok(()));
                    listener.listen()
                });
                if let Err(error) = outcome {
                    let _ = sender.send(Err(error));
                }
            };
            let builder = thread::Builder::new().name(format!("clients-{first}"));
            receivers.threads.push(builder.spawn(listen)?);
        }
        let mut waited_for = receivers.threads.len();
        while waited_for > 0 {
            progress.set_position(u64::from(receivers.shared.opened.load(Ordering::Relaxed)));
            match receivers.events.recv_timeout(TICK) {
                Ok(outcome) => outcome.map(|()| waited_for -= 1)?,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(anyhow!("a thread ended")),
            }
        }
        progress.finish_and_clear();
        Ok(receivers)
    }

    /// Messages that clients have got.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Sockets whose messages some client has got.
    pub fn reached(&self) -> usize {
        let owners = self.shared.owners.iter();
        owners.filter(|owner| owner.load(Ordering::Relaxed) != NOBODY).count()
    }

    /// Fails if a thread has.
    pub fn check(&self) -> Result<()> {
        self.events.try_recv().unwrap_or(Ok(()))
    }

    /// Everybody leaves.
    pub fn leave(mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| anyhow!("a thread of the generator failed"))?;
        }
        self.check()
    }
}

/// One thread's clients.
struct Listener<'s> {
    ring: &'static mut Ring,
    shared: &'s Shared,
    clients: Vec<Client>,
    bytes: usize,
}

struct Client {
    channel: Channel,
    number: u32,
    /// What it gets is written to this socket.
    socket: u32,
    /// The turn that is to come.
    turn: u32,
}

impl<'s> Listener<'s> {
    fn open(
        target: &Target,
        first: u32,
        count: u32,
        bytes: usize,
        shared: &'s Shared,
    ) -> Result<Listener<'s>> {
        let sizes = Sizes {
            submissions: 1_024,
            completions: 32_768,
            slots: count,
            buffers: 64,
            buffer_bytes: 16_384,
        };
        let ring = Ring::leak(sizes).context("cannot set up an io_uring")?;
        let mut clients = Vec::with_capacity(count as usize);
        for from in (0..count).step_by(WAVE as usize) {
            let wave = connect::open_wave(target, first + from, WAVE.min(count - from), false)?;
            let fds: Vec<RawFd> = wave.iter().map(|opened| opened.stream.as_raw_fd()).collect();
            ring.install(from, &fds)?;
            for (slot, opened) in (from..).zip(&wave) {
                ensure!(opened.early.is_empty(), "the server speaks first; nothing is expected");
                let channel = Channel::start(slot, ring)?;
                clients.push(Client { channel, number: first + slot, socket: NOBODY, turn: 0 });
            }
            shared.opened.fetch_add(wave.len() as u32, Ordering::Relaxed);
        }
        Ok(Listener { ring, shared, clients, bytes })
    }

    fn listen(&mut self) -> Result<()> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.serve()?;
        }
        for client in &mut self.clients {
            client.channel.say(frames::CLOSE, &1000_u16.to_be_bytes());
            client.channel.flush(self.ring)?;
        }
        Ok(self.ring.wait(Some(TICK))?)
    }

    fn serve(&mut self) -> Result<()> {
        self.ring.wait(Some(TICK))?;
        let mut received = 0;
        while let Some(completion) = self.ring.next() {
            let client = &mut self.clients[completion.token.slot as usize];
            if completion.token.op == Op::SendOwned {
                client.channel.on_sent(self.ring, completion.result)?;
                continue;
            }
            let Client { channel, number, socket, turn } = client;
            let outcome = channel.on_received(self.ring, completion, |outgoing, bytes| {
                take_frames(outgoing, bytes, |_, payload| {
                    received += 1;
                    hear(payload, self.bytes, *number, socket, turn, self.shared)
                })
            });
            outcome.with_context(|| format!("client {number}"))?;
            // A pong, perhaps.
            channel.flush(self.ring)?;
        }
        self.shared.received.fetch_add(received, Ordering::Relaxed);
        Ok(())
    }
}

fn hear(
    payload: &[u8],
    bytes: usize,
    client: u32,
    socket: &mut u32,
    turn: &mut u32,
    shared: &Shared,
) -> Result<()> {
    let (named, its_turn) = read_text(payload, bytes).context("a message that nobody wrote")?;
    if *socket == NOBODY {
        let owner = shared.owners.get(named as usize).context("a socket that nobody has")?;
        let before = owner.swap(client, Ordering::Relaxed);
        ensure!(
            before == NOBODY,
            "clients {before} and {client} both get what is socket {named}'s"
        );
        *socket = named;
    }
    ensure!(named == *socket, "a message to socket {named}, among those to socket {socket}");
    ensure!(its_turn == *turn, "message {its_turn} to socket {named} instead of {turn}");
    *turn += 1;
    Ok(())
}
