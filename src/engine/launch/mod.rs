//! Starting the shards, and waiting for their end.
//!
//! Owns the threads, the runtime beside them and the listeners for as long as the engine runs.
//! `api` calls it once per engine; it is the one place that names the kernel's ring. After the
//! start it only waits: whoever wants something of a shard uses [`Reach`].

pub(in crate::engine) mod driver;
pub(in crate::engine) mod resources;

use crate::clock::TimeOfDay;
use crate::engine::commands::dispatch::{Exit, Reach};
use crate::engine::commands::mailbox::Mailbox;
use crate::engine::commands::session_closer::SessionCloser;
use crate::engine::commands::{Notice, watch};
use crate::engine::connection::log::LAST_WORDS;
use crate::engine::connection::places::Places;
use crate::engine::handlers::routes::Routes;
use crate::engine::launch::driver::{buffers, receive_mode};
use crate::engine::listener::{self, BindError, Listener};
use crate::engine::model::counters::Totals;
use crate::engine::model::events::Events;
use crate::engine::model::foreign;
use crate::engine::model::ids::Ids;
use crate::engine::model::memory::Memory;
use crate::engine::model::settings::{ListenAddress, OriginError, Settings, make_canonical};
use crate::engine::shard::{Shard, ShardParts};
use crate::ring::probe::{self, Blocked, Limits, Plan};
use crate::ring::{AddressFamily, Errno, KernelRing, KernelRingError, KernelRingOptions, Ring};
use crate::sessions::SessionSettingsError;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

/// Slots kept free above the limit of connections, so that those who come then are told 503
/// instead of being dropped; an eighth of small tables.
const SLOTS_RESERVED_MAX: u32 = 1_024;

/// Connections that a shard has room for, if there may be so many at all: that many shares, and at
/// least so many, because a slot costs the kernel 8 bytes and us nothing before it is used.
const SHARES_PER_SHARD: u32 = 4;
const ROOM_MIN: u32 = 65_536;

/// Slots of a ring at most (`IORING_MAX_FIXED_FILES`).
const SLOTS_MAX: u64 = 1 << 20;

/// Why an engine did not start: cause and remedy on one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A listener could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The host cannot carry a ring.
    #[error(transparent)]
    Blocked(#[from] Blocked),
    /// The kernel refused a ring although it carries others.
    #[error("{0}; see `ringwire doctor`, or start fewer shards")]
    Ring(#[from] KernelRingError),
    /// Sessions cannot be kept as they were set.
    #[error("sessions: {0}")]
    Sessions(#[from] SessionSettingsError),
    /// An origin is allowed that no browser can send.
    #[error("origins allowed: {0}")]
    Origin(#[from] OriginError),
    /// No descriptors for the rings, the listeners and the control runtime.
    #[error("too few descriptors: {0}; raise the limit of open files (ulimit -n)")]
    Descriptors(std::io::Error),
    /// No thread for a shard or for the control runtime.
    #[error("no thread can be started: {0}; raise the limit of processes (ulimit -u)")]
    Thread(std::io::Error),
}

impl StartError {
    /// The exit code for this error: 69 unavailable, 71 system error, 77 no permission, 78
    /// configuration (sysexits.h).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Bind(error) => error.exit_code(),
            Self::Blocked(blocked) => blocked.exit_code,
            Self::Ring(_) | Self::Sessions(_) | Self::Origin(_) => 78,
            Self::Descriptors(_) | Self::Thread(_) => 71,
        }
    }
}

/// Shards that run.
pub(crate) struct Running {
    shards: Vec<JoinHandle<Totals>>,
    reach: Arc<Reach>,
    addresses: Vec<ListenAddress>,
    runtime: tokio::runtime::Runtime,
    /// Keeps the files of Unix sockets until the end.
    _listeners: Arc<Vec<Listener>>,
}

impl Running {
    /// Where the engine listens, with the real ports.
    pub(crate) fn addresses(&self) -> &[ListenAddress] {
        &self.addresses
    }

    /// The runtime that handlers' tokio libraries use.
    pub(crate) fn runtime(&self) -> &tokio::runtime::Handle {
        self.runtime.handle()
    }

    /// What reaches the shards, from any thread.
    pub(crate) fn reach(&self) -> Arc<Reach> {
        Arc::clone(&self.reach)
    }

    /// Waits until every shard has ended.
    pub(crate) fn join(self) -> Totals {
        let mut totals = Totals::default();
        for shard in self.shards {
            // A shard does not unwind: it aborts.
            if let Ok(of_shard) = shard.join() {
                totals += of_shard;
            }
        }
        self.runtime.shutdown_background();
        totals
    }
}

/// Starts one shard per thread. Where a route asks for sessions, `start_sessions` is called before
/// anybody can connect.
///
/// # Errors
///
/// Nothing runs then.
pub(crate) fn launch(
    mut settings: Settings,
    mut routes: Routes,
    start_sessions: impl FnOnce(&tokio::runtime::Handle, SessionCloser),
) -> Result<Running, StartError> {
    make_origins_canonical(&mut settings, &mut routes)?;
    let limits = probe::raise_nofile();
    let shards = settings.shards_of(limits.cores);
    let bound = bind(&mut settings, shards)?;
    let addresses = settings.listen.clone();
    let options = ring_options(&settings, shards, limits.nofile_soft)?;
    let runtime = resources::tokio_runtime().map_err(StartError::Thread)?;
    let (of_shard, connections_max) = capacity(&options, &settings, shards);
    let places = Arc::new(Places::new(connections_max, &settings));
    let (settings, routes) = (Arc::new(settings), Arc::new(routes));
    let ids = Ids::new();
    let events = Arc::new(Events::new(new_epoch(), TimeOfDay::Host, shards));
    let memory = Arc::new(Memory::new(settings.limits.memory_max));
    let (ready, started) = channel();
    let mut shard_threads = Vec::new();
    let mailboxes: Vec<Arc<Mailbox>> = (0..shards).map(|_| Arc::default()).collect();
    if routes.paths().want_sessions() {
        start_sessions(runtime.handle(), SessionCloser::new(&mailboxes));
    }
    let mut kept = Vec::new();
    let mut start_shard = |index: usize, listeners: Vec<Listener>| {
        let parts = ShardParts {
            settings: Arc::clone(&settings),
            routes: Arc::clone(&routes),
            mailbox: Arc::clone(&mailboxes[index]),
            families: listeners.iter().map(|listener| family(&listener.address)).collect(),
            connections_max: of_shard,
            places: Arc::clone(&places),
            ids: ids.for_shard(index),
            events: Arc::clone(&events),
            shards,
            memory: Arc::clone(&memory),
        };
        let sockets = listeners.iter().map(|l| l.socket.try_clone()).collect::<Result<_, _>>();
        let sockets = sockets.map_err(StartError::Descriptors)?;
        kept.extend(listeners);
        let start = Start { options: options.clone(), sockets, parts, ready: ready.clone() };
        let thread = spawn(index, start, runtime.handle().clone());
        shard_threads.push(thread.map_err(StartError::Thread)?);
        Ok(())
    };
    let mut bound = bound.into_iter().enumerate();
    let all_started = bound.try_for_each(|(index, listeners)| start_shard(index, listeners));
    drop(ready);
    if let Err(error) = all_started.and_then(|()| wait_for_start(&started, shards, &settings)) {
        end_those_that_run(&mailboxes, shard_threads);
        runtime.shutdown_background();
        return Err(error);
    }
    log_start(shards, connections_max, &options);
    let listeners = Arc::new(kept);
    let reach = Arc::new(Reach {
        mailboxes,
        ids,
        routes: routes.statuses(),
        events,
        connections_max: u64::from(connections_max),
        exit: Exit::default(),
        // Weak, so that a handle that outlives the engine keeps no socket open.
        listeners: Arc::downgrade(&listeners),
        memory,
    });
    watch::start_watch(&runtime, &reach);
    Ok(Running { shards: shard_threads, reach, addresses, runtime, _listeners: listeners })
}

/// Connections that a shard takes, and the whole process.
fn capacity(options: &KernelRingOptions, settings: &Settings, shards: usize) -> (u32, u32) {
    let reserved = SLOTS_RESERVED_MAX.min(options.slots / 8);
    let of_shard = options.slots - reserved;
    let of_shards = of_shard.saturating_mul(shards as u32);
    (of_shard, settings.connections_max.map_or(of_shards, |max| max.min(of_shards)))
}

/// Tells the events of this run from those of another one, but for one chance in four billion.
fn new_epoch() -> u32 {
    RandomState::new().hash_one(0) as u32
}

/// Origins in the form in which they are compared.
fn make_origins_canonical(settings: &mut Settings, routes: &mut Routes) -> Result<(), OriginError> {
    make_canonical(&mut settings.origins.allowed)?;
    routes.make_canonical()
}

/// Binds, and writes the ports that the system chose into the settings.
fn bind(settings: &mut Settings, shards: usize) -> Result<Vec<Vec<Listener>>, BindError> {
    let send_buffer_bytes = settings.limits.socket_send_buffer_bytes;
    let bound = listener::bind(&settings.listen, shards, send_buffer_bytes)?;
    settings.listen = bound[0].iter().map(|listener| listener.address.clone()).collect();
    Ok(bound)
}

fn log_start(shards: usize, connections_max: u32, options: &KernelRingOptions) {
    tracing::info!(
        shards,
        connections_max,
        slots_per_shard = options.slots,
        receive = ?options.receive,
        "started"
    );
}

/// What a shard's thread starts from.
struct Start {
    options: KernelRingOptions,
    sockets: Vec<std::os::fd::OwnedFd>,
    parts: ShardParts,
    ready: Sender<Result<(), KernelRingError>>,
}

/// Starts a shard's thread.
fn spawn(
    index: usize,
    start: Start,
    tokio: tokio::runtime::Handle,
) -> std::io::Result<JoinHandle<Totals>> {
    thread::Builder::new().name(format!("ringwire-{index}")).spawn(move || {
        let _entered = tokio.enter();
        run(start)
    })
}

/// A shard's thread.
fn run(start: Start) -> Totals {
    let Start { options, sockets, parts, ready } = start;
    let ring = match KernelRing::new(&options, sockets) {
        Ok(ring) => ring,
        Err(error) => {
            let _ = ready.send(Err(error));
            return Totals::default();
        }
    };
    parts.mailbox.bell().set_doorbell(ring.doorbell());
    parts.mailbox.bell().set_clock(ring.now());
    let _ = ready.send(Ok(()));
    drop(ready);
    let _guard = AbortOnPanic;
    let mut shard = Shard::new(ring, parts);
    loop {
        match shard.turn() {
            Ok(true) => {}
            Ok(false) => {
                shard.core.log_rest();
                let totals = shard.totals();
                // With it may go the last of what the application has given to the engine.
                let _ = foreign::call(|| drop(shard));
                return totals;
            }
            Err(errno) => lost(errno),
        }
    }
}

/// The ring is unusable, EBADR above all: a completion was lost, and with it the knowledge of who
/// owns which memory. There is nothing to go on with.
fn lost(errno: Errno) -> ! {
    tracing::error!(
        target: LAST_WORDS,
        %errno,
        "the ring of a shard is lost; aborting, so that a supervisor restarts"
    );
    std::process::abort();
}

/// An engine that has contradicted itself ends the process: the kernel may still use memory that
/// unwinding would free.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!(
                target: LAST_WORDS,
                "a shard has failed; aborting, so that a supervisor restarts"
            );
            std::process::abort();
        }
    }
}

/// Not every shard could be started: those that were have nothing to do but to end.
fn end_those_that_run(mailboxes: &[Arc<Mailbox>], threads: Vec<JoinHandle<Totals>>) {
    mailboxes.iter().for_each(|mailbox| mailbox.notify(Notice::Drain));
    threads.into_iter().for_each(|thread| drop(thread.join()));
}

/// Waits for every ring.
fn wait_for_start(
    started: &Receiver<Result<(), KernelRingError>>,
    shards: usize,
    settings: &Settings,
) -> Result<(), StartError> {
    for _ in 0..shards {
        if let Ok(Err(error)) = started.recv() {
            if matches!(error.errno, Errno::MFILE | Errno::NFILE) {
                return Err(StartError::Descriptors(error.errno.into()));
            }
            let report = probe::probe_for(plan(settings, shards));
            return Err(report.fatal().cloned().map_or(error.into(), StartError::Blocked));
        }
    }
    Ok(())
}

fn plan(settings: &Settings, shards: usize) -> Plan {
    Plan {
        shards,
        submission_entries: settings.ring.submission_entries,
        completion_entries: settings.ring.completion_entries,
        ..Plan::default()
    }
}

fn family(address: &ListenAddress) -> Option<AddressFamily> {
    match address {
        ListenAddress::Tcp(SocketAddr::V4(_)) => Some(AddressFamily::V4),
        ListenAddress::Tcp(SocketAddr::V6(_)) => Some(AddressFamily::V6),
        ListenAddress::Unix(_) => None,
    }
}

fn ring_options(
    settings: &Settings,
    shards: usize,
    nofile: u64,
) -> Result<KernelRingOptions, StartError> {
    let ring = &settings.ring;
    let receive = resources::on_a_thread(|| receive_mode(ring)).map_err(StartError::Thread)?;
    let receive = receive.map_err(|errno| {
        let report = probe::probe_for(plan(settings, shards));
        let step = crate::ring::SetupStep::Buffers;
        let error = StartError::Ring(KernelRingError { step, errno });
        report.fatal().cloned().map_or(error, StartError::Blocked)
    })?;
    let (buffer_count, buffer_bytes) = buffers(ring, receive);
    Ok(KernelRingOptions {
        submission_entries: ring.submission_entries,
        completion_entries: ring.completion_entries,
        slots: slots(settings.connections_max, shards, nofile),
        buffer_count,
        buffer_bytes,
        receive,
        send_waitall: ring.send_waitall,
        memory_timeout: Limits::of_this_process().memory_timeout(&plan(settings, shards)),
    })
}

/// Slots of a shard: what is wanted and a reserve, or what the limit of descriptors allows. The
/// kernel does not spread connections evenly, so a shard has room for more than its share: for all
/// there may be, as long as that is cheap.
fn slots(connections_max: Option<u32>, shards: usize, nofile: u64) -> u32 {
    let table = nofile.clamp(1, SLOTS_MAX) as u32;
    let Some(connections) = connections_max else { return table };
    let share = connections.div_ceil(shards as u32);
    let room = share.saturating_mul(SHARES_PER_SHARD).max(ROOM_MIN).min(connections).max(1);
    // Such that an eighth of the slots, or the most there is, is what lies above the room.
    let reserve = room.div_ceil(7).min(SLOTS_RESERVED_MAX);
    room.saturating_add(reserve).min(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_hold_the_connections_and_a_reserve() {
        for (connections, shards, nofile, slots_wanted) in [
            (100, 1, 20_000, 115),
            (100, 2, 20_000, 115),
            (20_000, 1, 20_000, 20_000),
            (1_000_000, 50, 1 << 20, 81_024),
            (1_000_000, 100, 1 << 20, 66_560),
            (1_000_000, 2, 1 << 20, 1_001_024),
        ] {
            let slots = slots(Some(connections), shards, nofile);
            assert_eq!(slots, slots_wanted);
            let left = slots - SLOTS_RESERVED_MAX.min(slots / 8);
            assert!(left >= connections / shards as u32 || u64::from(slots) == nofile);
        }
        assert_eq!(slots(None, 3, 64), 64);
        assert_eq!(slots(None, 3, u64::MAX), 1 << 20);
    }
}
