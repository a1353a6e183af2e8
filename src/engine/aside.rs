//! What few connections have at a time, and idle ones do not: kept beside the connection, in a box
//! that is there only while something is in it.

use super::connection::Connection;
use super::deadlines::HungUp;
use super::ended::{Ended, Tally};
use super::progress::Progress;
use super::rest::Rest;
use super::verbs::Port;
use crate::clock::Moment;
use crate::proto::RequestReader;
use std::any::Any;
use std::cell::RefMut;
use std::net::SocketAddr;
use std::task::{Context, Waker};

/// See the module.
#[derive(Default)]
pub(super) struct Aside {
    /// The request head on its way.
    pub(super) head: RequestReader,
    /// What the peer sent before the handshake was answered: the first frames, at the earliest.
    pub(super) early: Vec<u8>,
    /// What the layer above needs to decide about the request.
    pub(super) opening: Option<Box<dyn Any>>,
    /// A waker that is not the task's own: of a combinator inside the handler.
    pub(super) waker: Option<Waker>,
    /// How the conversation ended, once it has.
    pub(super) ended: Option<Box<Ended>>,
    /// Who the peer was of a connection that is gone, if its address is one of IPv6: the slot has
    /// another one now.
    pub(super) peer: Option<SocketAddr>,
    /// What did not fit into the connection's counts.
    pub(super) carried: Tally,
    /// Whether the peer takes what is sent, where that has been asked.
    pub(super) progress: Progress,
    /// What the kernel still has at the end, once that is all that is waited for.
    pub(super) rest: Option<Rest>,
    /// When the end of the connection is to be over, once it has begun.
    pub(super) ends_by: Option<Moment>,
    /// Since when it is known, without reading, that the peer has sent FIN.
    pub(super) hung_up: Option<HungUp>,
    /// More is to be received once, although there is no room: see `Connection::listen_on`.
    pub(super) listens: bool,
    /// The peer is to see a reset.
    pub(super) reset: bool,
    /// Bytes that were written and not sent.
    pub(super) unsent_bytes: u64,
    /// Bytes of our Close frame, the last of what is written.
    pub(super) close_bytes: u8,
    /// Those of the unsent that the kernel had taken.
    pub(super) unacknowledged_bytes: u64,
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
    pub(super) fn aside_mut(&mut self) -> &mut Aside {
        self.aside.get_or_insert_default()
    }

    /// Which waker to wake beside the task's own. The one before comes back, to be dropped where
    /// nothing is borrowed.
    #[must_use = "its drop is not ours"]
    pub(super) fn keep_waker(&mut self, waker: Waker) -> Option<Waker> {
        self.aside_mut().waker.replace(waker)
    }

    /// None any more beside the task's own.
    #[must_use = "its drop is not ours"]
    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        self.aside.as_mut()?.waker.take()
    }

    /// How the conversation ended, once it has.
    pub(super) fn ended(&self) -> Option<&Ended> {
        self.aside.as_ref()?.ended.as_deref()
    }

    /// The handshake is answered: what it needed is given back. Comes back: what the peer sent
    /// behind its request.
    pub(super) fn take_early(&mut self) -> Vec<u8> {
        let Some(aside) = &mut self.aside else { return Vec::new() };
        let early = std::mem::take(&mut aside.early);
        aside.head = RequestReader::new();
        self.drop_empty_aside();
        early
    }

    /// Gives the box back if nothing is in it; once the handshake is answered.
    pub(super) fn drop_empty_aside(&mut self) {
        if self.aside.as_ref().is_some_and(|aside| aside.is_empty()) {
            self.aside = None;
        }
    }
}

impl Port {
    /// Keeps what is needed to decide about the request, so that the handler's future, which lasts
    /// as long as the connection, has no room for it.
    pub(crate) fn keep_opening(&self, opening: Box<dyn Any>) {
        self.state().aside_mut().opening = Some(opening);
    }

    /// The engine wakes the task; whoever polls under another waker is woken through that, which is
    /// cloned and dropped while nothing is borrowed.
    pub(super) fn wait(&self, mut state: RefMut<'_, Connection>, context: &Context<'_>) {
        let before = if self.core.executor.is_current(context.waker()) {
            if state.aside.is_none() {
                return;
            }
            let before = state.take_waker();
            drop(state);
            before
        } else {
            drop(state);
            let waker = context.waker().clone();
            self.state().keep_waker(waker)
        };
        drop(before);
    }

    /// What was kept.
    pub(crate) fn take_opening(&self) -> Option<Box<dyn Any>> {
        self.state().aside.as_mut()?.opening.take()
    }
}
