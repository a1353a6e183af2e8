//! What goes wrong in a simulated kernel, and the dice that decide when.
//!
//! Owned by one simulated kernel each. All chance of a run comes out of one [`Dice`], so that a
//! seed names a run.

/// SplitMix64: small, quick, and good enough to throw dice.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall the same way for the same seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % (bound.max(1) as u64)) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// A size from 1 to `most`: often 1, often all, else anything.
    pub fn part(&mut self, most: usize) -> usize {
        match self.below(4) {
            0 => 1,
            1 => most,
            _ => self.between(1, most.max(1)),
        }
    }

    /// True in `permille` of a thousand throws. Never throws for 0.
    pub fn chance(&mut self, permille: u16) -> bool {
        permille > 0 && self.below(1_000) < usize::from(permille)
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// How often what goes wrong, in occurrences per thousand occasions. 0: never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A receive takes less than there is.
    pub short_receive: u16,
    /// A send ends before all is sent, though nothing prevented it.
    pub short_send: u16,
    /// Of two sockets with news at the same time, the later one is served first.
    pub reorder: u16,
    /// A completion comes later than it could.
    pub delay: u16,
    /// A receive ends with ENOBUFS though there are buffers.
    pub out_of_buffers: u16,
    /// A multishot operation ends with a shot that succeeded.
    pub early_end: u16,
    /// The end of a stream uses up a buffer.
    pub end_with_buffer: u16,
    /// A connection breaks: ECONNRESET, ETIMEDOUT or EPIPE.
    pub connection_error: u16,
    /// An accept fails: EMFILE, ENFILE, ENOMEM or ECONNABORTED.
    pub accept_error: u16,
    /// A cancel runs into its target: the target delivers first, or answers later than the
    /// cancel, or the cancel answers EALREADY.
    pub cancel_race: u16,
    /// The slot of a Close is given to a new connection before the Close completes.
    pub late_close: u16,
    /// The kernel cannot tell who the peer is.
    pub address_unknown: u16,
    /// The kernel cannot tell how much of what was sent is acknowledged.
    pub unacknowledged_unknown: u16,
    /// A wait ends without a completion.
    pub spurious_return: u16,
    /// The thread does not run for up to two seconds.
    pub stall: u16,
    /// The thread does not run for longer than any silence may last: the process was stopped, or the
    /// machine was.
    pub pause: u16,
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// A subset of the faults, with rates, drawn from the seed. Few faults at high rates find
    /// what all faults at one rate do not (swarm testing).
    pub fn from_dice(dice: &mut Dice) -> Self {
        let mut often = || if dice.chance(500) { dice.pick(&[5, 30, 120, 400]) } else { 0 };
        let mut faults = Self {
            short_receive: often(),
            short_send: often(),
            reorder: often(),
            delay: often(),
            out_of_buffers: often(),
            early_end: often(),
            end_with_buffer: often(),
            accept_error: often(),
            cancel_race: often(),
            late_close: often(),
            address_unknown: often(),
            spurious_return: often(),
            ..Self::none()
        };
        // Those two end everything when they are frequent.
        let mut seldom = || if dice.chance(300) { dice.pick(&[1, 3, 10]) } else { 0 };
        faults.connection_error = seldom();
        faults.stall = seldom();
        faults.pause = if dice.chance(100) { 1 } else { 0 };
        faults.unacknowledged_unknown = if dice.chance(200) { 1_000 } else { 0 };
        faults
    }
}
