//! An invented kernel: the ring of the tests.
//!
//! [`SimRing`] implements [`Ring`] at the level of submissions and completions, with the same
//! receive buffers and the same send table as the kernel's ring, from one seed. Time is invented
//! too: it advances only while the engine waits. Tests play the peers through [`SimNet`]. What an
//! engine must not do ([`Violation`]) panics with the seed in the message.
//!
//! The kernel here does what was seen of the real one, and what its manual pages allow: receives
//! that end at any time, short sends, cancels that lose the race, slots reused at once, a Close
//! that does not end an armed receive. It does no I/O and asks nobody for the time.

mod accept;
mod cancel;
mod faults;
mod kernel;
mod memory;
mod net;
mod push;
mod receive;
mod send;
mod socket;
#[cfg(test)]
mod tests;

pub use faults::{Dice, Faults};
pub use net::{PeerId, PeerRate, PeerState, Quiescence, SimNet, Violation};

use super::{Completion, Doorbell, Errno, ReceiveMode, Ring, RingCounters, Submission, Token};
use crate::clock::Moment;
use kernel::Kernel;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sizes and faults of a simulated kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimOptions {
    /// Entries of the submission queue.
    pub submission_entries: usize,
    /// Entries of the completion queue.
    pub completion_entries: usize,
    /// Slots, hence connections.
    pub slots: u32,
    /// Listeners.
    pub listeners: u32,
    /// Receive buffers.
    pub buffer_count: u16,
    /// Bytes of a receive buffer.
    pub buffer_bytes: u32,
    /// How receive buffers are used up.
    pub receive: ReceiveMode,
    /// Sends wait until everything is sent.
    pub send_waitall: bool,
    /// The receive window of a connection.
    pub window_bytes: usize,
    /// The send buffer of a connection.
    pub send_buffer_bytes: usize,
    /// A violation panics; otherwise it is recorded.
    pub strict: bool,
    /// What goes wrong.
    pub faults: Faults,
}

impl Default for SimOptions {
    /// Enough of everything, and no faults.
    fn default() -> Self {
        Self {
            submission_entries: 256,
            completion_entries: 1_024,
            slots: 64,
            listeners: 1,
            buffer_count: 16,
            buffer_bytes: 16 * 1024,
            receive: ReceiveMode::Incremental,
            send_waitall: true,
            window_bytes: 64 * 1024,
            send_buffer_bytes: 64 * 1024,
            strict: true,
            faults: Faults::none(),
        }
    }
}

impl SimOptions {
    /// Sizes and faults drawn from a seed: often too small, sometimes ample.
    pub fn from_seed(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x0005_11a7_0b75_u64);
        Self {
            submission_entries: dice.pick(&[2, 8, 64, 256]),
            completion_entries: dice.pick(&[4, 16, 64, 1_024]),
            slots: dice.pick(&[4, 8, 32, 64]),
            listeners: 1,
            buffer_count: dice.pick(&[1, 2, 8, 32]),
            buffer_bytes: dice.pick(&[512, 4_096, 16_384]),
            receive: dice.pick(&[ReceiveMode::Incremental, ReceiveMode::Classic]),
            send_waitall: dice.chance(700),
            window_bytes: dice.pick(&[2_048, 16 * 1024, 128 * 1024]),
            send_buffer_bytes: dice.pick(&[1_024, 16 * 1024, 256 * 1024]),
            strict: true,
            faults: Faults::from_dice(&mut dice),
        }
    }
}

/// The simulated ring. See the module's own words.
pub struct SimRing {
    kernel: Rc<RefCell<Kernel>>,
    slots: u32,
    bell: Arc<SimBell>,
    driver: Option<Box<dyn Driver>>,
}

/// Plays the peers while the engine waits.
trait Driver {
    fn drive(&mut self, net: &SimNet) -> Option<Moment>;
}

impl<F: FnMut(&SimNet) -> Option<Moment>> Driver for F {
    fn drive(&mut self, net: &SimNet) -> Option<Moment> {
        self(net)
    }
}

impl SimRing {
    /// A ring whose every chance is drawn from `seed`.
    pub fn new(seed: u64, options: SimOptions) -> Self {
        let slots = options.slots;
        let kernel = Rc::new(RefCell::new(Kernel::new(seed, options)));
        Self { kernel, slots, bell: Arc::new(SimBell::default()), driver: None }
    }

    /// The peers' side of the network.
    pub fn net(&self) -> SimNet {
        SimNet::new(Rc::clone(&self.kernel))
    }

    /// Who plays the peers while the engine waits: called whenever something has happened or time
    /// has advanced. It answers
    /// when it wants to be called again, if not only when something else happens.
    pub fn set_driver(&mut self, driver: impl FnMut(&SimNet) -> Option<Moment> + 'static) {
        self.driver = Some(Box::new(driver));
    }

    /// Lets the driver act; answers the moment it wants to act next.
    fn drive(&mut self) -> Option<u64> {
        let net = self.net();
        let wanted = self.driver.as_mut().and_then(|driver| driver.drive(&net))?;
        Some(wanted.as_millis().max(self.kernel.borrow().now_ms + 1))
    }
}

impl Ring for SimRing {
    fn now(&self) -> Moment {
        Moment::from_millis(self.kernel.borrow().now_ms)
    }

    fn slots(&self) -> u32 {
        self.slots
    }

    fn doorbell(&self) -> Arc<dyn Doorbell> {
        Arc::clone(&self.bell) as Arc<dyn Doorbell>
    }

    fn push(&mut self, token: Token, submission: Submission) {
        self.kernel.borrow_mut().push(token, submission);
    }

    fn submit_and_wait(&mut self, until: Option<Moment>) -> Result<(), Errno> {
        let until_ms = until.map(Moment::as_millis);
        if self.kernel.borrow_mut().enter() {
            return Ok(());
        }
        loop {
            let wanted = self.drive();
            let mut kernel = self.kernel.borrow_mut();
            if self.bell.0.swap(false, Ordering::Relaxed) {
                kernel.ring_bell();
            }
            let ran = kernel.run_events();
            if kernel.has_completions() {
                return Ok(());
            }
            if ran && self.driver.is_some() {
                // The driver may have an answer to what has just happened.
                continue;
            }
            let next = [kernel.next_event_ms(), wanted].into_iter().flatten().min();
            let reached = until_ms.filter(|until| next.is_none_or(|next| next >= *until));
            match (next, reached) {
                (_, Some(until)) => {
                    kernel.now_ms = kernel.now_ms.max(until);
                    return Ok(());
                }
                (Some(next), None) => kernel.now_ms = next,
                // The real one would sleep for ever; here the test has the next move.
                (None, None) => return Ok(()),
            }
        }
    }

    fn next_completion(&mut self) -> Option<Completion> {
        self.kernel.borrow_mut().take_completion()
    }

    fn free_buffer_eighths(&self) -> u32 {
        self.kernel.borrow().memory.free_eighths()
    }

    fn counters(&self) -> RingCounters {
        self.kernel.borrow().counters
    }
}

/// A flag; the simulator looks at it whenever the engine waits.
#[derive(Default)]
struct SimBell(AtomicBool);

impl Doorbell for SimBell {
    fn ring(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
