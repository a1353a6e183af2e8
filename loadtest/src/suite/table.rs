//! The scenarios, as data. `plan` makes runs of them.

use crate::abuse::Abuse;
use crate::figures::measures::Family;
use crate::workload::Kind;

/// Before each measured stretch.
pub const WARMUP_MS: u64 = 300;
/// Of a run of the control plane: fewer would not reach every socket.
pub const CONTROL_MS: u64 = 2000;

/// Everything that is measured, and for how long.
#[derive(Clone, Debug)]
pub struct Table {
    pub families: Vec<Family>,
    pub rounds: u32,
    /// Measured time of a run, at most.
    pub seconds_ms: u64,
    pub echoes: Vec<Echo>,
    pub fanouts: Vec<Fanout>,
    /// Counts of idle connections, each with servers just started.
    pub idle: Vec<u32>,
    /// Rates of the open loop, in percent of a contender's own peak. Another is the same for all.
    pub shares: Vec<u32>,
    /// What the system does besides stalls a core for milliseconds now and then, about a hundredth
    /// of the time. In a short run at a fixed rate that decides p99, so these are longer.
    pub open_ms: u64,
    pub control_sockets: u32,
}

/// An echo in a closed loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    pub connections: u32,
    pub depth: u32,
    pub bytes: u32,
    pub kind: Kind,
}

/// One says, so many hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fanout {
    pub subscribers: u32,
    pub bytes: u32,
}

const fn echo(connections: u32, depth: u32, bytes: u32, kind: Kind) -> Echo {
    Echo { connections, depth, bytes, kind }
}

const fn fanout(subscribers: u32, bytes: u32) -> Fanout {
    Fanout { subscribers, bytes }
}

/// The echo whose rates are the peaks of the open loop.
pub const PEAK: Echo = echo(100, 1, 32, Kind::Text);

const ECHOES: [Echo; 9] = [
    echo(1, 1, 32, Kind::Text),
    PEAK,
    echo(100, 16, 32, Kind::Text),
    echo(1000, 1, 512, Kind::Text),
    echo(100, 1, 16 << 10, Kind::Text),
    echo(10, 1, 1 << 20, Kind::Binary),
    echo(10, 1, 1 << 20, Kind::Text),
    echo(10, 1, 1 << 20, Kind::Utf8),
    echo(10_000, 1, 64, Kind::Text),
];
const FANOUTS: [Fanout; 4] =
    [fanout(1000, 64), fanout(1000, 1024), fanout(10_000, 64), fanout(10_000, 1024)];

/// What busy clients do beside quiet ones.
pub const BUSY: [Abuse; 3] = [Abuse::LargeEchoes, Abuse::PongFloods, Abuse::TinyMessages];

/// With one shard, and with two.
pub const SHARDS: [Echo; 2] = [echo(100, 16, 32, Kind::Text), echo(100, 1, 16 << 10, Kind::Text)];

/// By a worker, and by a handler.
pub const SHARED: [Echo; 2] = [PEAK, echo(100, 16, 32, Kind::Text)];

/// Short runs in which every byte is compared, before anything is measured.
pub const VERIFIED: [Echo; 5] = [
    echo(8, 4, 300, Kind::Utf8),
    echo(8, 4, 125, Kind::Text),
    echo(4, 2, 70_000, Kind::Binary),
    echo(1, 1, 16 << 20, Kind::Binary),
    echo(2, 1, 1 << 20, Kind::Utf8),
];

impl Table {
    /// Everything.
    pub fn whole() -> Table {
        Table {
            families: Family::ALL.to_vec(),
            rounds: 5,
            seconds_ms: 1000,
            echoes: ECHOES.to_vec(),
            fanouts: FANOUTS.to_vec(),
            idle: vec![10_000, 100_000, 1_000_000],
            shares: vec![50, 80],
            open_ms: 2000,
            control_sockets: 100_000,
        }
    }

    /// For trying.
    pub fn quick() -> Table {
        Table {
            rounds: 3,
            seconds_ms: 500,
            echoes: vec![ECHOES[1], ECHOES[2], ECHOES[5]],
            fanouts: vec![fanout(100, 64)],
            idle: vec![1000],
            shares: vec![50],
            open_ms: 500,
            control_sockets: 10_000,
            ..Table::whole()
        }
    }
}

impl Echo {
    /// `100 x 16, 32 B text`.
    pub fn words(&self) -> String {
        let Echo { connections, depth, bytes, kind } = self;
        format!("{connections} x {depth}, {} {}", size(*bytes), kind.name())
    }

    /// Reads `100,16,32,text`.
    pub fn parse(text: &str) -> Result<Echo, String> {
        let wrong = || format!("{text} is not of the form connections,depth,bytes,kind");
        let parts: Vec<&str> = text.split(',').collect();
        let [connections, depth, bytes, kind] = parts[..] else { return Err(wrong()) };
        let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
        let kinds = [Kind::Text, Kind::Binary, Kind::Utf8];
        let kind = kinds.into_iter().find(|one| one.name() == kind).ok_or_else(wrong)?;
        Ok(echo(number(connections)?, number(depth)?, number(bytes)?, kind))
    }
}

impl Fanout {
    /// `to 1000, 64 B`.
    pub fn words(&self) -> String {
        format!("to {}, {}", self.subscribers, size(self.bytes))
    }

    /// Reads `1000,64`.
    pub fn parse(text: &str) -> Result<Fanout, String> {
        let wrong = || format!("{text} is not of the form subscribers,bytes");
        let (subscribers, bytes) = text.split_once(',').ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
        Ok(fanout(number(subscribers)?, number(bytes)?))
    }
}

fn size(bytes: u32) -> String {
    match bytes {
        small if small < 1 << 10 => format!("{small} B"),
        middling if middling < 1 << 20 => format!("{} KiB", middling >> 10),
        large => format!("{} MiB", large >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_read_and_said() {
        assert_eq!(Echo::parse("100,16,32,text").unwrap().words(), "100 x 16, 32 B text");
        assert_eq!(Echo::parse("10,1,1048576,utf8").unwrap(), ECHOES[7]);
        assert_eq!(Fanout::parse("10000,1024").unwrap().words(), "to 10000, 1 KiB");
        for bad in ["", "1,1,1", "1,1,1,html", "1,1,x,text", "1,1,1,text,1"] {
            assert!(Echo::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "1", "1,x", "1,2,3"] {
            assert!(Fanout::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_scenario_is_twice_in_the_table() {
        for (place, one) in ECHOES.iter().enumerate() {
            assert!(!ECHOES[..place].contains(one), "{}", one.words());
        }
        assert!(ECHOES.contains(&PEAK));
    }
}
