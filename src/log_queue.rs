//! Lines on their way to standard error, and the one thread that writes them.
//!
//! Owns what waits to be written, bounded in bytes and in lines. Whoever has a line hands it over
//! and goes on: nobody waits for a reader that is slow, stuck or gone. What does not fit and what
//! cannot be written is dropped and counted, and the count is written as soon as anything can be.
//! Only the writing thread may block.

use crate::engine::{MemoryClass, Quota};
use crate::proto::limits::{LOG_BYTES_MAX, LOG_LINES_MAX, LOG_LINES_PER_SECOND_MAX};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes of one write, unless one line is longer: what a pipe takes as a whole (`PIPE_BUF`,
/// pipe(7)), so that lines of several processes do not mix.
const WRITE_BYTES: usize = 4_096;

/// Pause before it is tried again to tell how many lines were dropped.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Pause after a write that was not to wait and would have had to.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// A queue of lines. Cheap to clone; its thread ends when the last clone is dropped and everything
/// is written.
#[derive(Clone)]
pub struct LogQueue(Arc<Handle>);

/// What became of the lines of a [`LogQueue`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Lines written.
    pub written: u64,
    /// Lines dropped: there was no room for them, or they could not be written.
    pub dropped: u64,
    /// Bytes that wait to be written.
    pub waiting_bytes: usize,
}

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.to_write.notify_one();
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write.
    to_write: Condvar,
    /// Nothing is left to write.
    idle: Condvar,
    written: AtomicU64,
    dropped: AtomicU64,
    /// Bytes of memory in which lines have waited, and that is free again.
    returned_bytes: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Whole lines.
    waiting: Vec<u8>,
    /// Bytes and lines that wait or are being written.
    held_bytes: usize,
    held_lines: usize,
    /// Lines that found no room since the writer last took what waits.
    dropped: u64,
    ended: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and the state is whole at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits, and how many lines found no room. Waits until there is something, or for a while
    /// if `impatient`. `None`: nobody will push any more.
    fn take(&self, impatient: bool) -> Option<(Vec<u8>, u64)> {
        let mut state = self.state();
        while state.waiting.is_empty() && state.dropped == 0 {
            if state.ended {
                return None;
            }
            if impatient {
                let waited = self.to_write.wait_timeout(state, RETRY_INTERVAL);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                break;
            }
            state = self.to_write.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Some((std::mem::take(&mut state.waiting), std::mem::take(&mut state.dropped)))
    }

    /// A piece of what was taken is written, but for `lost` of its lines.
    fn done(&self, piece: &[u8], lost: usize) {
        let lines = lines_of(piece);
        self.written.fetch_add((lines - lost) as u64, Ordering::Relaxed);
        self.dropped.fetch_add(lost as u64, Ordering::Relaxed);
        let mut state = self.state();
        state.held_bytes -= piece.len();
        state.held_lines -= lines;
        if state.held_lines == 0 {
            self.idle.notify_all();
        }
    }
}

impl LogQueue {
    /// A queue to `output`. `notice` makes the line that says how many lines were dropped.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub fn start(
        output: impl AsFd + Send + 'static,
        notice: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_writer = Arc::clone(&shared);
        let writer = Writer { output, notice, untold: 0, is_torn: false };
        let thread = thread::Builder::new().name("ringwire-log".into());
        thread.spawn(move || writer.run(&of_writer))?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Hands over one line, or several, with or without a line break at the end. Never waits for
    /// the output.
    pub fn push(&self, text: &str) {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let (bytes, lines) = (text.len() + 1, lines_of(text.as_bytes()) + 1);
        let shared = &self.0.0;
        let mut state = shared.state();
        if state.held_bytes + bytes > LOG_BYTES_MAX || state.held_lines + lines > LOG_LINES_MAX {
            state.dropped += lines as u64;
            shared.dropped.fetch_add(lines as u64, Ordering::Relaxed);
        } else {
            state.waiting.extend_from_slice(text.as_bytes());
            state.waiting.push(b'\n');
            state.held_bytes += bytes;
            state.held_lines += lines;
        }
        drop(state);
        shared.to_write.notify_one();
    }

    /// Waits until everything is written, or until `patience` is over; which of them, is answered.
    pub fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let shared = &self.0.0;
        let mut state = shared.state();
        while state.held_lines > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = shared.idle.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// From now on a panic, of any thread, is pushed as what `line` makes of it, instead of being
    /// written to standard error by the thread that panics. Peers may be able to make a handler
    /// panic again and again: of more than 100 in a second the others are only counted, and `line`
    /// is told how many they were.
    pub fn take_panics(
        &self,
        line: impl Fn(&PanicHookInfo<'_>, u64) -> String + Send + Sync + 'static,
    ) {
        let (queue, quota) = (self.clone(), Mutex::new(Quota::default()));
        std::panic::set_hook(Box::new(move |panic| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let mut quota = quota.lock().unwrap_or_else(PoisonError::into_inner);
            let more = quota.take(now.as_secs(), LOG_LINES_PER_SECOND_MAX);
            drop(quota);
            if let Some(more) = more {
                queue.push(&line(panic, more));
            }
        }));
    }

    /// What became of the lines so far.
    pub fn counts(&self) -> LogCounts {
        let shared = &self.0.0;
        LogCounts {
            written: shared.written.load(Ordering::Relaxed),
            dropped: shared.dropped.load(Ordering::Relaxed),
            waiting_bytes: shared.state().held_bytes,
        }
    }

    /// The memory of the lines that wait or are being written.
    pub(crate) fn memory(&self) -> MemoryClass {
        let shared = &self.0.0;
        let returned_bytes = shared.returned_bytes.load(Ordering::Relaxed);
        let state = shared.state();
        let kept_bytes = state.waiting.capacity() - state.waiting.len();
        MemoryClass::new(state.held_bytes as u64, kept_bytes as u64, returned_bytes)
    }
}

/// The writing end, on its own thread.
struct Writer<O, N> {
    output: O,
    notice: N,
    /// Lines that were dropped and nobody has been told of.
    untold: u64,
    /// What was written last is not a whole line.
    is_torn: bool,
}

impl<O: AsFd, N: Fn(u64) -> String> Writer<O, N> {
    fn run(mut self, shared: &Shared) {
        while let Some((lines, dropped)) = shared.take(self.untold > 0) {
            for piece in pieces(&lines) {
                let lost = self.write_piece(piece);
                self.untold += lost as u64;
                shared.done(piece, lost);
            }
            let bytes = lines.capacity() as u64;
            drop(lines);
            shared.returned_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.untold += dropped;
            self.tell();
        }
    }

    /// Writes lines, and before them how many are missing. How many of them were lost.
    fn write_piece(&mut self, piece: &[u8]) -> usize {
        if !self.tell() {
            return lines_of(piece);
        }
        let unwritten = self.write(piece).err().unwrap_or_default();
        lines_of(&piece[piece.len() - unwritten..])
    }

    /// Says how many lines were dropped; `false` if that cannot be written either.
    fn tell(&mut self) -> bool {
        if self.untold == 0 {
            return true;
        }
        let mut notice = (self.notice)(self.untold);
        notice.push('\n');
        let told = self.write(notice.as_bytes()).is_ok();
        if told {
            self.untold = 0;
        }
        told
    }

    /// Writes whole lines. An error: so many bytes are not written.
    fn write(&mut self, lines: &[u8]) -> Result<(), usize> {
        if self.is_torn {
            write_to(&self.output, b"\n").map_err(|_| lines.len())?;
            self.is_torn = false;
        }
        let written = write_to(&self.output, lines);
        if let Err(unwritten) = written {
            self.is_torn =
                lines[..lines.len() - unwritten].last().is_some_and(|byte| *byte != b'\n');
        }
        written
    }
}

/// Writes everything, however long that takes. An error: so many bytes cannot be written.
fn write_to(output: &impl AsFd, bytes: &[u8]) -> Result<(), usize> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::write(output, rest) {
            Ok(0) => return Err(rest.len()),
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            // Somebody has made it non-blocking: a pipe or a terminal is shared with others.
            Err(Errno::AGAIN) => {
                let mut waiting = [PollFd::new(output, PollFlags::OUT)];
                let _ = poll(&mut waiting, None);
                thread::sleep(FULL_PAUSE);
            }
            Err(_) => return Err(rest.len()),
        }
    }
    Ok(())
}

/// Whole lines, as many in a piece as one write takes.
fn pieces(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        let first = rest.iter().position(|byte| *byte == b'\n')? + 1;
        let fitting = rest[..rest.len().min(WRITE_BYTES)].iter().rposition(|byte| *byte == b'\n');
        let (piece, others) = rest.split_at(fitting.map_or(first, |at| at + 1));
        rest = others;
        Some(piece)
    })
}

/// Line breaks in it. The rest of a line that is torn counts as one.
fn lines_of(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read};
    use std::os::fd::OwnedFd;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn queue(output: impl Into<OwnedFd>) -> LogQueue {
        let notice = |lines| format!("and {lines} more");
        LogQueue::start(output.into(), notice).expect("a thread")
    }

    fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < PATIENCE, "never: {what}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn lines_come_out_whole_and_in_order() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let queue = queue(writer);
        let expected: String = (0..1_000).map(|line| format!("line {line}\n")).collect();
        let reading = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).expect("UTF-8");
            text
        });
        expected.lines().for_each(|line| queue.push(line));
        assert!(queue.flush(PATIENCE));
        assert_eq!(queue.counts(), LogCounts { written: 1_000, ..LogCounts::default() });
        drop(queue);
        assert_eq!(reading.join().expect("it reads"), expected);
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_and_hears_how_many() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let queue = queue(writer);
        let line = "x".repeat(99);
        let pushed = 4 * LOG_LINES_MAX as u64;
        (0..pushed).for_each(|_| queue.push(&line));
        let counts = queue.counts();
        assert!(counts.waiting_bytes <= LOG_BYTES_MAX);
        assert!(counts.dropped >= 2 * LOG_LINES_MAX as u64, "{counts:?}");
        assert!(!queue.flush(Duration::from_millis(1)));
        let mut lines = BufReader::new(reader).lines().map(|line| line.expect("UTF-8"));
        // The writer may have begun before everything was pushed: then it tells more than once.
        let (mut read, mut told) = (0, 0);
        while read + told < pushed {
            let text = lines.next().expect("what was pushed, or how much was not written");
            match text.strip_prefix("and ").and_then(|rest| rest.strip_suffix(" more")) {
                Some(more) => told += more.parse::<u64>().expect("a number"),
                None => read += u64::from(text == line),
            }
        }
        assert_eq!((read + told, queue.counts().dropped), (pushed, told));
        queue.push("again");
        assert_eq!(lines.next().expect("it goes on"), "again");
    }

    #[test]
    fn the_memory_of_lines_is_in_use_until_they_are_written() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let queue = queue(writer);
        let line = "x".repeat(999);
        (0..500).for_each(|_| queue.push(&line));
        let full = queue.memory();
        assert!(full.used_bytes >= 400_000 && full.used_bytes <= 500_000, "{full:?}");
        let reading = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).expect("UTF-8");
        });
        assert!(queue.flush(PATIENCE));
        eventually("it is given back", || queue.memory().returned_bytes >= 500_000);
        assert_eq!((queue.memory().used_bytes, queue.memory().kept_bytes), (0, 0));
        drop(queue);
        reading.join().expect("it reads");
    }

    #[test]
    fn many_empty_lines_are_bounded_as_well() {
        let (_reader, writer) = io::pipe().expect("a pipe");
        let queue = queue(writer);
        (0..LOG_BYTES_MAX).for_each(|_| queue.push(""));
        assert!(queue.counts().waiting_bytes <= LOG_LINES_MAX);
        assert!(queue.counts().dropped > 0);
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
        let (reader, gone) = io::pipe().expect("a pipe");
        drop(reader);
        for output in [OwnedFd::from(full), OwnedFd::from(gone)] {
            let queue = queue(output);
            (0..300).for_each(|_| queue.push("lost"));
            eventually("all are counted", || queue.counts().dropped == 300);
            assert_eq!(queue.counts().written, 0);
            assert!(queue.flush(PATIENCE));
        }
    }

    #[test]
    fn the_count_is_told_when_a_reader_comes_back() {
        let path = std::env::temp_dir().join(format!("ringwire-fifo-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).expect("a fifo");
        let both = || std::fs::File::options().read(true).write(true).open(&path).expect("a fifo");
        let reader = both();
        let writer = std::fs::File::options().write(true).open(&path).expect("a fifo");
        let queue = queue(writer);
        drop(reader);
        queue.push("nobody");
        eventually("it is dropped", || queue.counts().dropped == 1);
        let mut lines = BufReader::new(both()).lines().map(|line| line.expect("UTF-8"));
        // Nothing new has to be logged for it.
        assert_eq!(lines.next().expect("it comes by itself"), "and 1 more");
        queue.push("somebody");
        assert_eq!(lines.next().expect("it goes on"), "somebody");
        let _ = std::fs::remove_file(&path);
    }

    #[test]
    fn an_output_that_does_not_block_is_waited_for() {
        let (reader, writer) = io::pipe().expect("a pipe");
        rustix::io::ioctl_fionbio(&writer, true).expect("a pipe");
        let queue = queue(writer);
        let line = "x".repeat(999);
        (0..500).for_each(|_| queue.push(&line));
        assert!(!queue.flush(Duration::from_millis(50)), "a pipe holds 64 KiB");
        let lines = BufReader::new(reader).lines().map(|line| line.expect("UTF-8"));
        assert!(lines.take(500).all(|read| read == line));
        assert_eq!(queue.counts().dropped, 0);
    }

    #[test]
    fn a_line_that_was_torn_is_ended_before_the_next() {
        let (mut reader, output) = io::pipe().expect("a pipe");
        let mut writer = Writer {
            output,
            notice: |lines| format!("and {lines} more"),
            untold: 1,
            is_torn: true,
        };
        assert_eq!(writer.write_piece(b"next\n"), 0);
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("UTF-8");
        assert_eq!(text, "\nand 1 more\nnext\n");
    }

    #[test]
    fn pieces_are_whole_lines() {
        let long = format!("{}\n", "x".repeat(2 * WRITE_BYTES));
        let text = format!("a\n{long}b\nc\n");
        let found: Vec<&[u8]> = pieces(text.as_bytes()).collect();
        assert_eq!(found, [b"a\n", long.as_bytes(), b"b\nc\n"]);
        assert_eq!(pieces(b"").count(), 0);
    }
}
