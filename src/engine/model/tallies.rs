//! Counts by HTTP status and by close code: of few kinds, whatever peers and handlers choose. Each
//! shard has its own, and counts where a connection is answered or gone.

/// HTTP statuses that are counted by themselves.
const STATUSES: [u16; 12] = [400, 401, 403, 404, 405, 408, 426, 429, 431, 500, 503, 0];

/// Close codes that are counted by themselves, and the ranges of the others.
const CODES: [&str; 16] = [
    "1000", "1001", "1002", "1003", "1005", "1006", "1007", "1008", "1009", "1010", "1011", "1012",
    "1013", "3xxx", "4xxx", "other",
];

/// Requests that were refused, by status.
#[derive(Debug, Default)]
pub(in crate::engine) struct Refusals([u64; STATUSES.len()]);

impl Refusals {
    /// Kinds that are told apart.
    pub(in crate::engine) const KINDS: usize = STATUSES.len();

    /// Which of the kinds a status is.
    pub(in crate::engine) fn kind(status: u16) -> usize {
        let known = STATUSES.iter().position(|known| *known == status);
        known.unwrap_or(STATUSES.len() - 1)
    }

    pub(in crate::engine) fn count(&mut self, status: u16) {
        self.0[Self::kind(status)] += 1;
    }

    /// Every status there is a count for; 0 stands for all others.
    pub(in crate::engine) fn list(&self) -> Vec<(u16, u64)> {
        STATUSES.into_iter().zip(self.0).collect()
    }
}

/// WebSockets that have ended, by close code.
#[derive(Debug, Default)]
pub(in crate::engine) struct Closes([u64; CODES.len()]);

impl Closes {
    pub(in crate::engine) fn count(&mut self, code: u16) {
        let name = match code {
            3_000..=3_999 => "3xxx",
            4_000..=4_999 => "4xxx",
            _ => "",
        };
        let known = CODES.iter().position(|known| *known == name || known.parse() == Ok(code));
        self.0[known.unwrap_or(CODES.len() - 1)] += 1;
    }

    pub(in crate::engine) fn list(&self) -> Vec<(&'static str, u64)> {
        CODES.into_iter().zip(self.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted_once_and_under_few_names() {
        let (mut refusals, mut closes) = (Refusals::default(), Closes::default());
        for code in 0..=u16::MAX {
            refusals.count(code);
            closes.count(code);
        }
        let refusals = refusals.list();
        assert_eq!(refusals.iter().map(|(_, count)| count).sum::<u64>(), 65_536);
        assert!(refusals.contains(&(431, 1)) && refusals.contains(&(0, 65_536 - 11)));
        let closes = closes.list();
        assert_eq!(closes.iter().map(|(_, count)| count).sum::<u64>(), 65_536);
        assert!(closes.contains(&("1006", 1)) && closes.contains(&("4xxx", 1_000)));
    }
}
