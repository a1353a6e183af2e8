//! What an engine needs of the system besides rings: descriptors and threads. Tried before anything
//! starts, because some of those who take them later panic where there are none. Called by the
//! launch, and by a program before it starts; keeps nothing of what it tries.

use crate::engine::launch::StartError;
use crate::engine::model::settings::Settings;
use crate::ring::{Errno, probe};
use rustix::thread::{Pid, gettid};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Descriptors of tokio: its runtime, the delivery of signals, and the runtime that signals are
/// caught with.
const RUNTIME_DESCRIPTORS: usize = 12;

/// Descriptors of a shard's ring and its doorbell.
const RING_DESCRIPTORS: usize = 2;

/// Rounds of waiting for threads that have ended to count no more.
const PATIENCE_ROUNDS: usize = 100;
const PATIENCE: Duration = Duration::from_millis(1);

/// Takes what an engine with these settings will, and gives it back.
///
/// # Errors
///
/// There is not as much.
pub(crate) fn try_resources(settings: &Settings) -> Result<(), StartError> {
    let shards = settings.shards_of(probe::raise_nofile().cores);
    // A listener and its copy for the ring.
    let of_shard = RING_DESCRIPTORS + 2 * settings.listen.len();
    let descriptors = RUNTIME_DESCRIPTORS + shards * of_shard;
    probe::try_descriptors(descriptors).map_err(StartError::Descriptors)?;
    try_threads(shards).map_err(StartError::Thread)
}

/// Starts as many threads as an engine of `shards` shards will, and ends them.
///
/// # Errors
///
/// There are not as many.
fn try_threads(shards: usize) -> io::Result<()> {
    let (release, wait) = channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let mut threads = Vec::new();
    let (tell, ids) = channel();
    // One more for the runtime.
    let started = (0..=shards).try_for_each(|_| {
        let wait = Arc::clone(&wait);
        let tell = tell.clone();
        let waiting = move || {
            let _ = tell.send(gettid());
            drop(wait.lock().map(|wait| wait.recv()));
        };
        threads.push(thread::Builder::new().spawn(waiting)?);
        Ok(())
    });
    drop((release, tell));
    for thread in threads {
        // It does nothing that could panic.
        let _ = thread.join();
    }
    ids.iter().for_each(wait_for_end);
    started
}

/// Does `work` on a thread of its own, which is gone after that. The kernel charges memory of a ring
/// that is closed for as long as the thread lives that has used it.
///
/// # Errors
///
/// There is no thread, or it has panicked.
pub(in crate::engine) fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let (done, id) = thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, || (work(), gettid()))?;
        thread.join().map_err(|_| io::Error::from(Errno::IO))
    })?;
    wait_for_end(id);
    Ok(done)
}

/// Waits until a thread that was joined is gone: it counts against the limits for a moment more.
fn wait_for_end(id: Pid) {
    let task = format!("/proc/self/task/{id}");
    for _ in 0..PATIENCE_ROUNDS {
        if !Path::new(&task).exists() {
            break;
        }
        thread::sleep(PATIENCE);
    }
}

/// The runtime beside the shards, for what waits elsewhere.
pub(in crate::engine) fn tokio_runtime() -> io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).thread_name("ringwire-tokio").enable_all();
    // It panics where there is no thread for it. One was tried, and somebody else may have it now.
    catch_unwind(AssertUnwindSafe(|| builder.build())).unwrap_or_else(|_| Err(Errno::AGAIN.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_were_tried_are_gone() {
        assert!(try_threads(4).is_ok());
        let other = on_a_thread(gettid).expect("a thread");
        assert_ne!(other, gettid());
        assert!(!Path::new(&format!("/proc/self/task/{other}")).exists());
    }
}
