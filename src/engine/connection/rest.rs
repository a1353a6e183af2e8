//! What the kernel still has of a connection that could be closed: everything is sent, and the peer has
//! said that it is done.
//!
//! Closed at once it would be out of our hands, dropped where the kernel is short of memory or when the
//! peer goes, and the log would say that it was sent. So more than a little is waited for, as long as
//! the peer takes it; FIN is sent meanwhile. Those to whom little was said, which are nearly all, cost
//! a comparison.

use crate::clock::Moment;
use crate::engine::connection::context::Context;
use crate::engine::connection::progress::{Purpose, SENT_BYTES_MIN};
use crate::engine::connection::{Connection, Phase};
use crate::engine::model::ended::Counted;
use std::time::Duration;

/// How the wait goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Rest {
    /// It is being asked for the first time.
    Asked,
    /// Something is left. The peer is to have taken more of it by `until`; it is asked again after
    /// `again`, and after twice that from then on.
    Some { until: Moment, again: Duration },
    /// Nothing that is waited for.
    Nothing,
    /// The connection is lost. What is left then is to be told: it is asked once nothing else is in
    /// flight.
    Lost,
    /// That is being asked. `finished`: FIN was sent, which is counted as one byte.
    Last { finished: bool },
}

impl Connection {
    /// Whether more was sent in all than is worth no question.
    pub(in crate::engine) fn has_sent_much(&self) -> bool {
        let carried = self.aside.as_ref().map_or(0, |aside| aside.carried.low(Counted::BytesOut));
        self.low(Counted::BytesOut) > SENT_BYTES_MIN || carried > 0
    }

    /// Whether the connection may be closed.
    pub(in crate::engine) fn look_at_rest(&mut self, context: &Context) -> Rest {
        if self.status != 101 || !self.has_sent_much() {
            return Rest::Nothing;
        }
        self.look_at_much_rest(context)
    }

    #[cold]
    fn look_at_much_rest(&mut self, context: &Context) -> Rest {
        let rest = self.aside_mut().rest;
        if rest.is_none() {
            self.aside_mut().rest = Some(Rest::Asked);
            self.ask(Purpose::End, context);
        }
        rest.unwrap_or(Rest::Asked)
    }

    /// Whether it only waits for what the kernel has.
    pub(in crate::engine) fn has_rest(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.rest.is_some())
    }

    /// The same, and that something was left when that was asked last.
    pub(in crate::engine) fn waits_for_rest(&self) -> bool {
        let rest = self.aside.as_ref().and_then(|aside| aside.rest);
        matches!(rest, Some(Rest::Some { .. }))
    }

    /// The peer has sent FIN, which most do when they have everything.
    pub(in crate::engine) fn look_at_rest_again(&mut self, context: &Context) {
        if self.waits_for_rest() {
            self.ask(Purpose::End, context);
        }
    }

    /// The connection is lost, and with it what the kernel has of it: where that may be more than a
    /// little, or is dropped by our own reset, it is told.
    pub(in crate::engine) fn lose_rest(&mut self) {
        let reset = self.aside.as_ref().is_some_and(|aside| aside.reset);
        if self.status == 101 && (reset || self.has_sent_much() || self.left_bytes() > 0) {
            self.aside_mut().rest = Some(Rest::Lost);
        }
    }

    /// Whether the kernel is to be asked what is left before the slot is closed; once. `finished`:
    /// FIN was sent.
    pub(in crate::engine) fn take_last_question(&mut self, finished: bool) -> bool {
        let Some(aside) = &mut self.aside else { return false };
        let lost = aside.rest == Some(Rest::Lost);
        if lost {
            aside.rest = Some(Rest::Last { finished });
        }
        lost
    }

    /// The answer to that, if it is one.
    pub(in crate::engine) fn handle_last_answer(&mut self, left: Option<u32>) {
        let Some(aside) = &mut self.aside else { return };
        if let Some(Rest::Last { finished }) = aside.rest {
            aside.rest = Some(Rest::Nothing);
            let bytes = u64::from(left.unwrap_or(0).saturating_sub(finished.into()));
            aside.unacknowledged_bytes += bytes;
            aside.unsent_bytes += bytes;
        }
    }

    /// The kernel has said what is left, if it can. `moved`: the peer has taken some of it since.
    pub(in crate::engine) fn judge_rest(
        &mut self,
        moved: bool,
        left: Option<u32>,
        context: &Context,
    ) {
        const AGAIN_MIN: Duration = Duration::from_millis(8);
        const AGAIN_MAX: Duration = Duration::from_secs(1);
        let (now, patience) = (context.now.get(), self.closing_patience(context));
        let aside = self.aside_mut();
        // A FIN is counted as one byte.
        let Some(2..) = left else {
            aside.rest = Some(Rest::Nothing);
            return;
        };
        let limit = aside.ends_by.unwrap_or(Moment::NEVER);
        let (until, again) = match aside.rest {
            Some(Rest::Some { until, again }) => (until, (2 * again).min(AGAIN_MAX)),
            _ => (now + patience, AGAIN_MIN),
        };
        let until = if moved { now + patience } else { until };
        aside.rest = Some(Rest::Some { until, again });
        if until <= now {
            return self.lose(context);
        }
        self.phase = Phase::Lingering((now + again).min(limit).into());
    }
}
