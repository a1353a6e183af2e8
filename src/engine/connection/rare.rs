//! What few connections have at a time, and idle ones do not: kept beside the connection, in a box
//! that is there only while something is in it.
//!
//! Each field is filled and read by the module whose it is. The box is given back when nothing is
//! in it after the handshake, or after a question about the peer's progress.

use crate::clock::Moment;
use crate::engine::connection::Connection;
use crate::engine::connection::deadlines::HungUp;
use crate::engine::connection::progress::Progress;
use crate::engine::connection::rest::Rest;
use crate::engine::model::ended::{Ended, Tally};
use crate::proto::RequestReader;
use std::any::Any;
use std::net::SocketAddr;
use std::task::Waker;

/// See the module.
#[derive(Default)]
pub(in crate::engine) struct Aside {
    /// The request head on its way.
    pub(in crate::engine) head: RequestReader,
    /// What the peer sent before the handshake was answered: the first frames, at the earliest.
    pub(in crate::engine) early: Vec<u8>,
    /// What the layer above needs to decide about the request.
    pub(in crate::engine) opening: Option<Box<dyn Any>>,
    /// A waker that is not the task's own: of a combinator inside the handler.
    pub(in crate::engine) waker: Option<Waker>,
    /// How the conversation ended, once it has.
    pub(in crate::engine) ended: Option<Box<Ended>>,
    /// Who the peer was of a connection that is gone, if its address is one of IPv6: the slot has
    /// another one now.
    pub(in crate::engine) peer: Option<SocketAddr>,
    /// What did not fit into the connection's counts.
    pub(in crate::engine) carried: Tally,
    /// Whether the peer takes what is sent, where that has been asked.
    pub(in crate::engine) progress: Progress,
    /// What the kernel still has at the end, once that is all that is waited for.
    pub(in crate::engine) rest: Option<Rest>,
    /// When the end of the connection is to be over, once it has begun.
    pub(in crate::engine) ends_by: Option<Moment>,
    /// Since when it is known, without reading, that the peer has sent FIN.
    pub(in crate::engine) hung_up: Option<HungUp>,
    /// More is to be received once, although there is no room: see `Connection::listen_on`.
    pub(in crate::engine) listens: bool,
    /// The peer is to see a reset.
    pub(in crate::engine) reset: bool,
    /// Bytes that were written and not sent.
    pub(in crate::engine) unsent_bytes: u64,
    /// Bytes of our Close frame, the last of what is written.
    pub(in crate::engine) close_bytes: u8,
    /// Those of the unsent that the kernel had taken.
    pub(in crate::engine) unacknowledged_bytes: u64,
}

impl Aside {
    /// Whether nothing is in it of a connection that is open.
    fn is_empty(&self) -> bool {
        self.waker.is_none()
            && self.opening.is_none()
            && self.ended.is_none()
            && self.carried == Tally::default()
            && self.progress == Progress::default()
            && self.ends_by.is_none()
            && self.hung_up.is_none()
            && !self.listens
            && !self.reset
            && self.unsent_bytes == 0
    }
}

impl Connection {
    /// The aside, to put something into it.
    pub(in crate::engine) fn aside_mut(&mut self) -> &mut Aside {
        self.aside.get_or_insert_default()
    }

    /// Which waker to wake beside the task's own. The one before comes back, to be dropped where
    /// nothing is borrowed.
    #[must_use = "its drop is not ours"]
    pub(in crate::engine) fn keep_waker(&mut self, waker: Waker) -> Option<Waker> {
        self.aside_mut().waker.replace(waker)
    }

    /// None any more beside the task's own.
    #[must_use = "its drop is not ours"]
    pub(in crate::engine) fn take_waker(&mut self) -> Option<Waker> {
        self.aside.as_mut()?.waker.take()
    }

    /// How the conversation ended, once it has.
    pub(in crate::engine) fn ended(&self) -> Option<&Ended> {
        self.aside.as_ref()?.ended.as_deref()
    }

    /// The handshake is answered: what it needed is given back. Comes back: what the peer sent
    /// behind its request.
    pub(in crate::engine) fn take_early(&mut self) -> Vec<u8> {
        let Some(aside) = &mut self.aside else { return Vec::new() };
        let early = std::mem::take(&mut aside.early);
        aside.head = RequestReader::new();
        self.drop_empty_aside();
        early
    }

    /// Gives the box back if nothing is in it; once the handshake is answered.
    pub(in crate::engine) fn drop_empty_aside(&mut self) {
        if self.aside.as_ref().is_some_and(|aside| aside.is_empty()) {
            self.aside = None;
        }
    }
}
