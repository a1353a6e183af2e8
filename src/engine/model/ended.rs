//! What is left to tell about a connection when it is over: how it ended, and what went each way.
//! Plain values: the connection fills them in; the log, events, lists and handlers read them.

use crate::proto::CloseCode;

/// What went each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    /// Bytes that were written and not sent.
    pub(crate) unsent_bytes: u64,
}

/// What went each way, in a quarter of the room: what is beyond 32 bits is carried, to be added to
/// another one that counts in units of 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Tally([u32; 4]);

/// What a [`Tally`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Counted {
    BytesIn,
    BytesOut,
    MessagesIn,
    MessagesOut,
}

impl Tally {
    /// So many more. Comes back: what did not fit, in units of 2^32.
    #[inline(always)]
    pub(in crate::engine) fn add(&mut self, counted: Counted, more: u64) -> u64 {
        let place = &mut self.0[counted as usize];
        let sum = u64::from(*place).wrapping_add(more);
        *place = sum as u32;
        sum >> 32
    }

    /// One more. Comes back: whether that is one more than fits.
    #[inline(always)]
    pub(in crate::engine) fn add_one(&mut self, counted: Counted) -> bool {
        let (sum, carries) = self.0[counted as usize].overflowing_add(1);
        self.0[counted as usize] = sum;
        carries
    }

    /// The low bits of a count.
    #[inline(always)]
    pub(in crate::engine) fn low(&self, counted: Counted) -> u32 {
        self.0[counted as usize]
    }

    /// The counts, with what was carried.
    pub(in crate::engine) fn counts(&self, carried: Option<&Self>) -> Counts {
        let count = |counted| {
            let high = carried.map_or(0, |carried| carried.low(counted));
            u64::from(high) << 32 | u64::from(self.low(counted))
        };
        Counts {
            bytes_in: count(Counted::BytesIn),
            bytes_out: count(Counted::BytesOut),
            messages_in: count(Counted::MessagesIn),
            messages_out: count(Counted::MessagesOut),
            unsent_bytes: 0,
        }
    }
}

/// How a conversation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: CloseCode,
    pub(crate) reason: Box<str>,
    pub(crate) by: Closer,
}

impl Ended {
    /// Nobody said so.
    pub(in crate::engine) fn lost() -> Self {
        Self { code: CloseCode::ABNORMAL, reason: "".into(), by: Closer::Network }
    }
}

/// Who ended a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closer {
    /// The peer, by a Close frame.
    Peer,
    /// The handler or the engine, by a Close frame.
    Server,
    /// Nobody said so: the connection was lost or cut (1006).
    Network,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_carried() {
        let (mut tally, mut carried) = (Tally::default(), Tally::default());
        let mut sums = [0_u64; 4];
        let all = [Counted::BytesIn, Counted::BytesOut, Counted::MessagesIn, Counted::MessagesOut];
        for (step, more) in
            [1, u64::from(u32::MAX), 7 << 32, 0, 1 << 31, 1 << 31].iter().enumerate()
        {
            for counted in all {
                let more = more * (step as u64 + counted as u64 + 1);
                carried.add(counted, tally.add(counted, more));
                sums[counted as usize] += more;
            }
        }
        let [bytes_in, bytes_out, messages_in, messages_out] = sums;
        let counts = Counts { bytes_in, bytes_out, messages_in, messages_out, unsent_bytes: 0 };
        assert_eq!(tally.counts(Some(&carried)), counts);
        let mut full = Tally([u32::MAX - 1; 4]);
        assert_eq!([false, true], [(); 2].map(|()| full.add_one(Counted::MessagesOut)));
        assert_eq!(full.low(Counted::MessagesOut), 0);
        assert_ne!(tally.counts(None), counts);
    }
}
