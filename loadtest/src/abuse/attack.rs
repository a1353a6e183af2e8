//! Bad clients: readers that do not read, requests that do not end, resets, halves of frames; and
//! busy ones (`busy`).
//!
//! `abuse` calls [`Attack::round`] again and again. What the server does about it (refuse, close)
//! is counted and is no failure; whether the server stands it shows with the good clients.

use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rustix::net::sockopt::set_socket_linger;
use serde::{Deserialize, Serialize};

use super::busy::{Crowd, Speech};
use crate::churn::Churner;
use crate::connect::{self, Opened, WAVE};
use crate::frames;
use crate::handshake::Target;
use crate::workload::{Kind, Payload, Script, Shape};

/// A message of a slow reader.
const SLOW_BYTES: usize = 64 * 1024;
/// What a killed frame promises, and what comes of it.
const PROMISED_BYTES: usize = 1 << 20;
const KILLED_BYTES: usize = 1_000;
/// The slow ones act once in this time.
const PACE: Duration = Duration::from_millis(50);
/// After a refusal, before the next try.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);

/// A kind of abuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Abuse {
    /// Clients that push 64 KiB messages to be echoed and read one byte now and then.
    SlowReaders,
    /// Clients whose request arrives byte by byte and never ends.
    HalfOpen,
    /// Clients that upgrade, echo once and reset, as fast as they can.
    RstStorm,
    /// Clients that announce 1 MiB, send 1,000 bytes of it and reset.
    MidFrameKills,
    /// Busy clients that send one Pong after the other.
    PongFloods,
    /// Busy clients that send one empty message after the other and take the echoes.
    TinyMessages,
    /// Busy clients that echo 1 MiB, one message at a time: nothing is bad about them.
    LargeEchoes,
}

impl Abuse {
    /// Every kind.
    pub const ALL: [Abuse; 7] = [
        Abuse::SlowReaders,
        Abuse::HalfOpen,
        Abuse::RstStorm,
        Abuse::MidFrameKills,
        Abuse::PongFloods,
        Abuse::TinyMessages,
        Abuse::LargeEchoes,
    ];

    /// Whether its clients break no rule and only always have something to say.
    pub fn is_busy(self) -> bool {
        matches!(self, Abuse::PongFloods | Abuse::TinyMessages | Abuse::LargeEchoes)
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Abuse::SlowReaders => "slow readers",
            Abuse::HalfOpen => "half-open handshakes",
            Abuse::RstStorm => "RST storm",
            Abuse::MidFrameKills => "mid-frame kills",
            Abuse::PongFloods => "pong floods",
            Abuse::TinyMessages => "floods of tiny messages",
            Abuse::LargeEchoes => "echoes of 1 MiB",
        }
    }
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Toll {
    pub acts: u64,
    pub refused: u64,
}

/// Bad clients of one kind.
pub struct Attack {
    abuse: Abuse,
    target: Target,
    attackers: u32,
    opened: u32,
    /// The clients that stay: their connections and how far they are in their bytes.
    staying: Vec<(Opened, usize)>,
    /// What they say, from the front again and again.
    bytes: Vec<u8>,
    churner: Churner,
    /// Those that are busy and not bad.
    crowd: Option<Crowd>,
    pub toll: Toll,
}

impl Attack {
    /// No connection is open yet.
    pub fn new(abuse: Abuse, target: Target, attackers: u32) -> Attack {
        let mut bytes = Vec::new();
        match abuse {
            Abuse::SlowReaders => {
                frames::write_frame(&mut bytes, frames::BINARY, Some([7; 4]), &[1; SLOW_BYTES]);
            }
            Abuse::MidFrameKills => {
                frames::write_frame(&mut bytes, frames::BINARY, Some([7; 4]), &[1; PROMISED_BYTES]);
                bytes.truncate(KILLED_BYTES);
            }
            Abuse::HalfOpen => {
                let request = target.request(0);
                bytes.extend_from_slice(request.trim_end().as_bytes());
                bytes.extend_from_slice(b"\r\nX-Slow: ");
                bytes.resize(bytes.len() + 2_000, b'a');
            }
            _ => {}
        }
        let payload = Payload::Between(32, 32);
        let shape = Shape { kind: Kind::Text, payload, depth: 1, raw: false };
        let churner = Churner::new(target.clone(), Script::leak(shape, 0), true);
        let toll = Toll::default();
        let crowd = Speech::of(abuse).map(Crowd::new);
        let (opened, staying) = (0, Vec::new());
        Attack { abuse, target, attackers, opened, staying, bytes, churner, crowd, toll }
    }

    /// One round of every client.
    pub fn round(&mut self) {
        let wave = self.attackers.min(WAVE);
        let outcome = match self.abuse {
            Abuse::SlowReaders | Abuse::HalfOpen => self.stay(wave),
            Abuse::RstStorm => self.churner.wave(wave).map(|()| u64::from(wave)),
            Abuse::MidFrameKills => self.kill(wave),
            Abuse::PongFloods | Abuse::TinyMessages | Abuse::LargeEchoes => self.speak(),
        };
        match outcome {
            Ok(acts) => self.toll.acts += acts,
            Err(_) => {
                self.toll.refused += 1;
                thread::sleep(REFUSED_PAUSE);
            }
        }
    }

    /// Opens a wave of what is missing, then lets everybody act.
    fn stay(&mut self, wave: u32) -> Result<u64> {
        let half_open = self.abuse == Abuse::HalfOpen;
        let missing = self.attackers - self.staying.len() as u32;
        let fresh = self.open(missing.min(wave), half_open)?;
        for opened in &fresh {
            opened.stream.set_nonblocking(true)?;
        }
        // The request of a half-open one comes but for its last header.
        let start = if half_open { self.bytes.len() - 2_000 } else { 0 };
        let mut acts = if half_open { fresh.len() as u64 } else { 0 };
        for mut opened in fresh {
            if half_open {
                opened.stream.write_all(&self.bytes[..start])?;
            }
            self.staying.push((opened, start));
        }
        let step = if half_open { 1 } else { usize::MAX };
        let (bytes, before) = (&self.bytes, self.staying.len());
        self.staying.retain_mut(|(opened, at)| {
            let end = at.saturating_add(step).min(bytes.len());
            let lives = push(opened, bytes, at, end);
            if *at == bytes.len() {
                acts += u64::from(!half_open);
                *at = 0;
            }
            lives
        });
        self.toll.refused += (before - self.staying.len()) as u64;
        if missing <= wave {
            thread::sleep(PACE);
        }
        Ok(acts)
    }

    fn kill(&mut self, wave: u32) -> Result<u64> {
        for mut opened in self.open(wave, false)? {
            opened.stream.write_all(&self.bytes)?;
            set_socket_linger(&opened.stream, Some(Duration::ZERO))?;
        }
        Ok(u64::from(wave))
    }

    fn speak(&mut self) -> Result<u64> {
        let Some(crowd) = &mut self.crowd else { return Ok(0) };
        let opened = crowd.fill(&self.target, self.attackers, self.opened)?;
        self.opened = self.opened.wrapping_add(opened);
        let (acts, lost) = crowd.round();
        self.toll.refused += lost;
        Ok(acts)
    }

    fn open(&mut self, count: u32, raw: bool) -> Result<Vec<Opened>> {
        let wave = connect::open_wave(&self.target, self.opened, count, raw)?;
        self.opened = self.opened.wrapping_add(count);
        Ok(wave)
    }
}

/// Sends what the socket takes of `bytes[at..end]`, reads one byte; tells whether the connection
/// still lives.
fn push(opened: &mut Opened, bytes: &[u8], at: &mut usize, end: usize) -> bool {
    let mut byte = [0];
    match opened.stream.read(&mut byte) {
        Ok(count) if count > 0 => {}
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        _ => return false,
    }
    match opened.stream.write(&bytes[*at..end]) {
        Ok(count) => {
            *at += count;
            true
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
