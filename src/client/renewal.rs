//! Keeps a lease while no verb is called.
//!
//! Started by [`socket`](super::socket), and ended when its guard is dropped. It renews and does
//! nothing else: what was read stays unacknowledged.

use super::calls::{Twice, post};
use super::connect::Client;
use super::query::Target;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Renews until it is dropped.
pub(super) struct Renewal {
    task: JoinHandle<()>,
    turn: Arc<Mutex<Instant>>,
}

/// While it lives, nothing is renewed: the server lets a lease be used by one request at a time,
/// and a verb renews it as well.
pub(super) struct Turn<'a>(MutexGuard<'a, Instant>);

impl Renewal {
    pub(super) fn start(client: Client, id: Arc<str>, fence: u64, lease: Duration) -> Self {
        let turn = Arc::new(Mutex::new(Instant::now()));
        let renewed = Arc::clone(&turn);
        // Two may be lost before the lease ends.
        let interval = (lease / 4).max(Duration::from_millis(10));
        let task = tokio::spawn(async move {
            loop {
                sleep(interval).await;
                let Ok(mut renewed) = renewed.try_lock() else { continue };
                if renewed.elapsed() < interval {
                    continue;
                }
                let target = Target::of_socket(&id, "renew").with("fence", Some(fence));
                match client.call(&post(target), Twice::Harmless).await {
                    // Fenced or closed, which the next verb is told as well. What passes is no reason
                    // to let the lease go.
                    Err(error) if !error.code().is_empty() && !error.is_momentary() => return,
                    _ => *renewed = Instant::now(),
                }
            }
        });
        Self { task, turn }
    }

    /// Waits for a renewal under way.
    pub(super) async fn turn(&self) -> Turn<'_> {
        Turn(self.turn.lock().await)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0 = Instant::now();
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.task.abort();
    }
}
