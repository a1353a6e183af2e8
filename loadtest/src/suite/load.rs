//! One run of the generator: what it is called, its arguments, and what it takes.
//!
//! `plan` makes them, `runner` starts them. All of it is computed; nothing is started here.

use super::contender::Cores;
use super::table::{CONTROL_MS, Echo, Fanout, WARMUP_MS};
use crate::abuse::Abuse;
use crate::figures::measures::Family;

/// From so many subscribers on, a round takes a good part of a second.
const FANOUT_MANY: u32 = 10_000;
const FANOUT_MANY_MS: u64 = 2000;
/// From so many idle connections on they are held for a round of pings, and some talk among them.
pub const IDLE_MANY: u32 = 100_000;

/// What the generator does.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    Echo(Echo),
    Paced(Pace),
    Churn,
    Fanout(Fanout),
    Busy(Abuse),
    /// On two threads: a single one, which is on one core at a time, would have each shard idle half
    /// of the time and pay for short batches.
    Shards(Echo),
    Shared {
        echo: Echo,
        path: &'static str,
    },
    Pairs,
    Writes {
        sockets: u32,
    },
    Idle {
        connections: u32,
        destinations: u32,
        openers: u32,
    },
    /// Every byte is compared.
    Verify {
        echo: Echo,
        millis: u64,
    },
}

/// At which rate messages are sent. It is known when the peaks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// In percent of the contender's own peak.
    OwnPeak { percent: u32, millis: u64 },
    /// Half of the slowest one's peak, for all.
    Same { millis: u64 },
}

/// Rates that were found, in messages per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peaks {
    pub own: u64,
    pub slowest: u64,
}

/// What a run takes: a fixed part, and so many thousandths of the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub fixed_ms: u64,
    pub stretches: u64,
}

/// What the arguments depend on beside the load.
pub struct Setting<'a> {
    pub address: &'a str,
    pub raw: bool,
    pub seconds_ms: u64,
    pub peaks: Peaks,
    /// The socket of the control plane.
    pub control: &'a str,
    /// Whether the server has an echo beside its broadcast.
    pub echoes: bool,
}

impl Cost {
    /// With so much measured time.
    pub fn ms(self, seconds_ms: u64) -> u64 {
        self.fixed_ms + self.stretches * seconds_ms / 1000
    }
}

impl Pace {
    /// Messages per second; `None` without a peak.
    pub fn rate(self, peaks: Peaks) -> Option<u64> {
        let rate = match self {
            Pace::OwnPeak { percent, .. } => peaks.own * u64::from(percent) / 100,
            Pace::Same { .. } => peaks.slowest / 2,
        };
        (rate > 0 && peaks.own > 0).then_some(rate)
    }

    fn millis(self) -> u64 {
        let (Pace::OwnPeak { millis, .. } | Pace::Same { millis }) = self;
        millis
    }
}

impl Load {
    /// Its family, which its title begins with.
    pub fn family(&self) -> Family {
        match self {
            Load::Echo(_) | Load::Verify { .. } => Family::Echo,
            Load::Paced(_) => Family::Open,
            Load::Churn => Family::Churn,
            Load::Fanout(_) => Family::Fanout,
            Load::Busy(_) => Family::Busy,
            Load::Shards(_) => Family::Shards,
            Load::Shared { .. } => Family::Shared,
            Load::Pairs | Load::Writes { .. } => Family::Control,
            Load::Idle { .. } => Family::Idle,
        }
    }

    /// What tables call it.
    pub fn title(&self, peaks: Peaks) -> String {
        let words = match self {
            Load::Echo(echo) | Load::Shards(echo) => echo.words(),
            Load::Shared { echo, .. } => echo.words(),
            Load::Paced(Pace::OwnPeak { percent, .. }) => format!("{percent} % of its own peak"),
            Load::Paced(Pace::Same { .. }) => format!("{}/s for each", peaks.slowest / 2),
            Load::Churn => "connect, echo, close".to_owned(),
            Load::Fanout(fanout) => fanout.words(),
            Load::Busy(abuse) => format!("beside 4 x {}", value_of(*abuse)),
            Load::Pairs => "pairs, 64 connections".to_owned(),
            Load::Writes { sockets } => format!("writes to {sockets} sockets"),
            Load::Idle { connections, .. } => connections.to_string(),
            Load::Verify { .. } => return "verify".to_owned(),
        };
        format!("{}: {words}", self.family().name())
    }

    /// How many connections it opens and leaves behind. Their goodbyes are not to be a load on the
    /// next run.
    fn held(&self) -> u64 {
        let held = match self {
            Load::Echo(echo) | Load::Shards(echo) => echo.connections,
            Load::Shared { echo, .. } => echo.connections,
            Load::Paced(_) => 100,
            Load::Churn => 500,
            Load::Fanout(fanout) => fanout.subscribers,
            Load::Busy(_) => 8,
            Load::Pairs => 12,
            Load::Writes { sockets } => sockets / 10,
            // Their servers end with them.
            Load::Idle { .. } | Load::Verify { .. } => 0,
        };
        u64::from(held)
    }

    /// Time to let go before the next run.
    pub fn settle_ms(&self) -> u64 {
        100 + self.held() / 10
    }

    /// What it takes, with all that belongs to it.
    pub fn cost(&self) -> Cost {
        let (fixed_ms, stretches) = match self {
            Load::Echo(_) | Load::Churn => (100 + WARMUP_MS, 1000),
            Load::Paced(pace) => (100 + WARMUP_MS + pace.millis(), 0),
            Load::Fanout(one) if one.subscribers >= FANOUT_MANY => (3700 + WARMUP_MS, 0),
            Load::Fanout(_) => (500 + WARMUP_MS, 2000),
            Load::Busy(_) => (900 + 2 * WARMUP_MS, 2000),
            Load::Shards(_) | Load::Shared { .. } => (1500 + WARMUP_MS, 1000),
            Load::Pairs => (3012 + WARMUP_MS, 0),
            Load::Writes { sockets } => (3000 + u64::from(*sockets) / 10 + WARMUP_MS, 0),
            Load::Idle { connections, .. } if *connections >= IDLE_MANY => {
                (36_000 + u64::from(*connections) / 15, 0)
            }
            Load::Idle { connections, .. } => (1400 + u64::from(*connections) / 15, 0),
            Load::Verify { millis, .. } => (*millis, 0),
        };
        Cost { fixed_ms: self.settle_ms() + self.held() / 15 + fixed_ms, stretches }
    }

    /// Where the generator runs.
    pub fn client_cores(&self, server: Cores) -> Cores {
        match server {
            Cores::Both => Cores::Both,
            Cores::First | Cores::Second => Cores::Second,
        }
    }

    /// The words behind the program's name, without those that every run has. `None` where a rate
    /// is wanted and not known.
    pub fn arguments(&self, setting: &Setting<'_>) -> Option<Vec<String>> {
        let mut words = Words(Vec::new());
        words.verb(self, setting);
        let at_seconds = |words: &mut Words, millis: u64| {
            words.put("--seconds", seconds(millis)).put("--warmup", seconds(WARMUP_MS));
        };
        match self {
            Load::Echo(echo) => {
                words.echo(echo);
                at_seconds(&mut words, setting.seconds_ms);
            }
            Load::Shared { echo, .. } => {
                words.echo(echo);
                at_seconds(&mut words, setting.seconds_ms);
            }
            Load::Shards(echo) => {
                words.echo(echo).put("--threads", 2);
                at_seconds(&mut words, setting.seconds_ms);
            }
            Load::Verify { echo, millis } => {
                words.echo(echo).put("--verify", "full");
                words.put("--seconds", seconds(*millis)).put("--warmup", 0);
            }
            Load::Paced(pace) => {
                words.put("--rate", pace.rate(setting.peaks)?).put("--connections", 100);
                words.put("--bytes", 32).put("--kind", "text");
                at_seconds(&mut words, pace.millis());
            }
            Load::Churn => at_seconds(&mut words, setting.seconds_ms),
            Load::Fanout(fanout) => {
                let is_many = fanout.subscribers >= FANOUT_MANY;
                words.put("--join", "none").put("--subscribers", fanout.subscribers);
                words.put("--bytes", fanout.bytes);
                at_seconds(&mut words, if is_many { FANOUT_MANY_MS } else { setting.seconds_ms });
                if setting.echoes {
                    words.put("--echo-url", format!("ws://{}/echo", setting.address));
                }
            }
            Load::Busy(abuse) => {
                words.put("--kinds", value_of(*abuse)).put("--busy", 4);
                words.put("--echo-connections", 4).put("--echo-rate", 400);
                words.put("--seconds", seconds(setting.seconds_ms));
            }
            Load::Pairs => {
                words.put("--control", setting.control).put("--workers", 64).put("--sockets", 64);
                at_seconds(&mut words, CONTROL_MS);
            }
            Load::Writes { sockets } => {
                words.put("--control", setting.control).put("--sockets", sockets);
                words.put("--streams", 256);
                at_seconds(&mut words, CONTROL_MS);
            }
            Load::Idle { connections, destinations, openers } => {
                words.put("--connections", connections).put("--destinations", destinations);
                words.put("--openers", openers);
                match *connections >= IDLE_MANY {
                    true => {
                        words.put("--hold", 30).put("--active", 1000).put("--active-rate", 10_000)
                    }
                    false => words.put("--hold", "0.2"),
                };
            }
        }
        Some(words.0)
    }
}

/// Words of a command line.
struct Words(Vec<String>);

impl Words {
    fn verb(&mut self, load: &Load, setting: &Setting<'_>) {
        let (verb, path): (&[&str], &str) = match load {
            Load::Echo(_) | Load::Verify { .. } | Load::Paced(_) | Load::Shards(_) => {
                (&["echo"], "/echo")
            }
            Load::Shared { path, .. } => (&["echo"], path),
            Load::Churn => (&["churn"], "/echo"),
            Load::Fanout(_) => (&["fanout"], "/broadcast"),
            Load::Busy(_) => (&["abuse"], "/echo"),
            Load::Pairs => (&["control", "pairs"], "/feed"),
            Load::Writes { .. } => (&["control", "writes"], "/feed"),
            Load::Idle { .. } => (&["idle"], "/echo"),
        };
        self.0.extend(verb.iter().map(|word| (*word).to_owned()));
        match setting.raw {
            true => self.0.extend([format!("tcp://{}", setting.address), "--raw".to_owned()]),
            false => self.0.push(format!("ws://{}{path}", setting.address)),
        }
    }

    fn put(&mut self, name: &str, value: impl ToString) -> &mut Words {
        self.0.extend([name.to_owned(), value.to_string()]);
        self
    }

    fn echo(&mut self, echo: &Echo) -> &mut Words {
        self.put("--connections", echo.connections).put("--depth", echo.depth);
        self.put("--bytes", echo.bytes).put("--kind", echo.kind.name())
    }
}

fn seconds(millis: u64) -> String {
    (millis as f64 / 1000.0).to_string()
}

fn value_of(abuse: Abuse) -> &'static str {
    match abuse {
        Abuse::LargeEchoes => "large-echoes",
        Abuse::PongFloods => "pong-floods",
        Abuse::TinyMessages => "tiny-messages",
        Abuse::SlowReaders => "slow-readers",
        Abuse::HalfOpen => "half-open",
        Abuse::RstStorm => "rst-storm",
        Abuse::MidFrameKills => "mid-frame-kills",
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{PEAK, Table};
    use super::*;

    const SETTING: Setting<'_> = Setting {
        address: "127.0.0.1:7404",
        raw: false,
        seconds_ms: 400,
        peaks: Peaks { own: 223_826, slowest: 50_278 },
        control: "out/control.sock",
        echoes: true,
    };

    fn words(load: &Load) -> String {
        load.arguments(&SETTING).unwrap().join(" ")
    }

    #[test]
    fn command_lines_are_those_of_the_published_figures() {
        let tail = "--seconds 0.4 --warmup 0.3";
        assert_eq!(
            words(&Load::Echo(PEAK)),
            format!(
                "echo ws://127.0.0.1:7404/echo --connections 100 --depth 1 --bytes 32 --kind text {tail}"
            )
        );
        assert_eq!(words(&Load::Churn), format!("churn ws://127.0.0.1:7404/echo {tail}"));
        assert_eq!(
            words(&Load::Fanout(Table::whole().fanouts[2])),
            "fanout ws://127.0.0.1:7404/broadcast --join none --subscribers 10000 --bytes 64 \
             --seconds 2 --warmup 0.3 --echo-url ws://127.0.0.1:7404/echo"
        );
        assert_eq!(
            words(&Load::Paced(Pace::OwnPeak { percent: 50, millis: 2000 })),
            "echo ws://127.0.0.1:7404/echo --rate 111913 --connections 100 --bytes 32 --kind text \
             --seconds 2 --warmup 0.3"
        );
        assert_eq!(
            words(&Load::Writes { sockets: 100_000 }),
            "control writes ws://127.0.0.1:7404/feed --control out/control.sock --sockets 100000 \
             --streams 256 --seconds 2 --warmup 0.3"
        );
        let idle = Load::Idle { connections: 1_000_000, destinations: 64, openers: 16 };
        assert_eq!(
            words(&idle),
            "idle ws://127.0.0.1:7404/echo --connections 1000000 --destinations 64 --openers 16 \
             --hold 30 --active 1000 --active-rate 10000"
        );
    }

    #[test]
    fn a_floor_is_asked_in_raw_tcp() {
        let raw = Setting { raw: true, ..SETTING };
        let words = Load::Churn.arguments(&raw).unwrap().join(" ");
        assert_eq!(words, "churn tcp://127.0.0.1:7404 --raw --seconds 0.4 --warmup 0.3");
    }

    #[test]
    fn rates_come_from_peaks() {
        let same = Load::Paced(Pace::Same { millis: 2000 });
        assert_eq!(same.title(SETTING.peaks), "open: 25139/s for each");
        let unknown = Setting { peaks: Peaks::default(), ..SETTING };
        assert_eq!(same.arguments(&unknown), None);
    }

    #[test]
    fn what_a_run_takes_grows_with_what_it_holds() {
        let echo = |connections| Load::Echo(Echo { connections, ..PEAK }).cost();
        assert_eq!(echo(100), Cost { fixed_ms: 110 + 6 + 400, stretches: 1000 });
        assert_eq!(echo(10_000).fixed_ms, 1100 + 666 + 400);
        assert_eq!(echo(100).ms(400), 916);
        let writes = Load::Writes { sockets: 100_000 }.cost();
        assert_eq!(writes, Cost { fixed_ms: 1100 + 666 + 13_300, stretches: 0 });
    }
}
