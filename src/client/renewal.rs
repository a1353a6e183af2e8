//! Keeps a lease while no verb is called.
//!
//! Started by [`socket`](super::socket), and ended when its guard is dropped. It renews and does
//! nothing else: what was read stays unacknowledged.

use super::calls::{Twice, post};
use super::connect::Client;
use super::query::Target;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Renews until it is dropped.
pub(super) struct Renewal {
    task: JoinHandle<()>,
    /// Whether a verb has renewed the lease since it was looked at last.
    renewed: Arc<AtomicBool>,
}

impl Renewal {
    pub(super) fn start(client: Client, id: Arc<str>, fence: u64, lease: Duration) -> Self {
        let renewed = Arc::new(AtomicBool::new(true));
        let seen = Arc::clone(&renewed);
        // Two may be lost before the lease ends.
        let interval = (lease / 4).max(Duration::from_millis(10));
        let task = tokio::spawn(async move {
            loop {
                sleep(interval).await;
                if seen.swap(false, Ordering::Relaxed) {
                    continue;
                }
                let target = Target::of_socket(&id, "renew").with("fence", Some(fence));
                match client.call(&post(target), Twice::Harmless).await {
                    // Fenced or closed, which the next verb is told as well.
                    Err(error) if !error.code().is_empty() => return,
                    _ => {}
                }
            }
        });
        Self { task, renewed }
    }

    pub(super) fn note(&self) {
        self.renewed.store(true, Ordering::Relaxed);
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.task.abort();
    }
}
