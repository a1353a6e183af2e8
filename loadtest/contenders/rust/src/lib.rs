//! What the contenders on tokio share: the runtime, the listening socket and the list of those
//! who hear a broadcast. The protocol and the calls that matter are each library's own.
//!
//! All run on one thread and use the allocator that ringwire uses.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The longest message that is taken.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

const BACKLOG: u32 = 4_096;

/// What a contender's function may fail with.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The address in the only argument.
pub fn listen_address() -> Result<SocketAddr, Failure> {
    let argument = std::env::args().nth(1).ok_or("usage: CONTENDER HOST:PORT")?;
    Ok(argument.parse()?)
}

/// Accepts until the process is ended; every connection is a task on this one thread.
pub fn serve<F, T>(connection: F) -> Result<(), Failure>
where
    F: Fn(TcpStream) -> T,
    T: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(listen_address()?)?;
        let listener = socket.listen(BACKLOG)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let task = connection(stream);
            tokio::spawn(async {
                // Clients leave as they like: how is no concern of a measurement.
                let _ended = task.await;
            });
        }
    })
}

/// Everybody on `/broadcast`.
pub struct Room<M>(Arc<Mutex<Members<M>>>);

struct Members<M> {
    next: u64,
    senders: HashMap<u64, UnboundedSender<M>>,
}

impl<M: Clone> Room<M> {
    /// Nobody yet.
    pub fn new() -> Room<M> {
        Room(Arc::new(Mutex::new(Members { next: 0, senders: HashMap::new() })))
    }

    /// A member, who hears everything from now on.
    pub fn join(&self) -> Member<M> {
        let (sender, heard) = unbounded_channel();
        let mut members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        members.next += 1;
        let number = members.next;
        members.senders.insert(number, sender.clone());
        Member { room: self.clone(), number, own: sender, heard: Some(heard) }
    }
}

impl<M> Clone for Room<M> {
    fn clone(&self) -> Room<M> {
        Room(Arc::clone(&self.0))
    }
}

impl<M: Clone> Default for Room<M> {
    fn default() -> Room<M> {
        Room::new()
    }
}

/// One connection in the room; leaves it when dropped.
pub struct Member<M> {
    room: Room<M>,
    number: u64,
    /// The way to this member alone.
    pub own: UnboundedSender<M>,
    /// What this member hears, until taken.
    pub heard: Option<UnboundedReceiver<M>>,
}

impl<M: Clone> Member<M> {
    /// Says it to all, this member included.
    pub fn say(&self, message: &M) {
        let members = self.room.0.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in members.senders.values() {
            // Whoever is about to leave does not hear it.
            let _left = sender.send(message.clone());
        }
    }
}

impl<M> Drop for Member<M> {
    fn drop(&mut self) {
        let mut members = self.room.0.lock().unwrap_or_else(PoisonError::into_inner);
        members.senders.remove(&self.number);
    }
}
