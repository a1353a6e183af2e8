//! The log of the program, on standard error.
//!
//! Owns the one subscriber, the queue that its lines go through, and what is said of a panic. Called
//! by `main` before anything starts. No line holds a control character, so that a text that a peer
//! chose cannot move a terminal's cursor or forge a line; for the same reason there are no colours.
//! Nobody but the queue's own thread writes to standard error while the server runs, because
//! whoever does can be kept waiting for ever.

use crate::{EXIT_CONFIG, EXIT_THREADS, Failure};
use ringwire::LogQueue;
use ringwire::config::{Log, LogFormat};
use ringwire::engine::LAST_WORDS;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Time for the last lines to be written: enough for whoever reads, and not long for a program that
/// is to end.
pub(crate) const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes of a write that is not to wait: what a pipe that has room takes at once.
const WRITE_BYTES: usize = 4_096;

/// How lines look; told when the configuration is known, and text until then.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Starts the queue to standard error; from here on a panic is a line in it.
pub(crate) fn queue() -> Result<LogQueue, Failure> {
    let notice = |lines| {
        let message = format!("and {lines} more lines were dropped");
        line(format(), Level::WARN, "ringwire::log", &message, None)
    };
    let queue = LogQueue::start(io::stderr(), notice).map_err(|error| Failure {
        code: EXIT_THREADS,
        message: format!(
            "no thread can be started: {error}; raise the limit of processes (ulimit -u)"
        ),
    })?;
    queue.take_panics(line_of_panic);
    Ok(queue)
}

/// Starts the log.
pub(crate) fn start(log: &Log, queue: &LogQueue) -> Result<(), Failure> {
    let _ = FORMAT.set(log.format);
    let subscriber = subscriber(log, Queued(queue.clone()))?;
    tracing::subscriber::set_global_default(subscriber).map_err(|error| Failure {
        code: EXIT_CONFIG,
        message: format!("the log cannot start: {error}; start the program alone"),
    })
}

/// Whether `output` should be coloured: a terminal, and nobody set NO_COLOR (no-color.org).
pub(crate) fn colours_on(output: &impl IsTerminal) -> bool {
    output.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes `text` to standard error without the queue, and gives up if nobody takes it. There is
/// nowhere left to complain about that.
pub(crate) fn say(text: &str) {
    let (output, deadline) = (io::stderr(), Instant::now() + LAST_LINES_TIMEOUT);
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or_default();
        let mut waiting = [PollFd::new(&output, PollFlags::OUT)];
        match poll(&mut waiting, Some(&left)) {
            Ok(0) => return,
            Err(rustix::io::Errno::INTR) => continue,
            _ => {}
        }
        match rustix::io::write(&output, &rest[..rest.len().min(WRITE_BYTES)]) {
            Ok(written) if written > 0 => rest = &rest[written..],
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            _ => return,
        }
        if Instant::now() >= deadline {
            return;
        }
    }
}

fn subscriber<W>(log: &Log, writer: W) -> Result<Box<dyn Subscriber + Send + Sync>, Failure>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse(&log.filter).map_err(|error| Failure {
        code: EXIT_CONFIG,
        message: format!("`log.filter` is wrong: {error}; give a level such as info"),
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // What goes wrong with a line would be told on standard error, by a write that may wait.
    let builder = builder.log_internal_errors(false);
    Ok(match log.format {
        LogFormat::Text => Box::new(builder.with_ansi(false).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

fn format() -> LogFormat {
    FORMAT.get().copied().unwrap_or_default()
}

/// A line that does not come from the subscriber, in the form of those that do.
fn line(
    format: LogFormat,
    level: Level,
    target: &str,
    message: &str,
    backtrace: Option<&str>,
) -> String {
    let mut time = String::new();
    // Writing into a String cannot fail.
    let _ = tracing_subscriber::fmt::time::SystemTime.format_time(&mut Writer::new(&mut time));
    match format {
        LogFormat::Json => {
            let mut object = serde_json::json!({
                "timestamp": time, "level": level.as_str(), "message": message, "target": target,
            });
            if let Some(backtrace) = backtrace {
                object["backtrace"] = backtrace.into();
            }
            escaped(&object.to_string())
        }
        LogFormat::Text => {
            let mut text = format!("{time} {level:>5} {target}: {}", escaped(message));
            for line in backtrace.into_iter().flat_map(str::lines) {
                let _ = write!(text, "\n{}", escaped(line));
            }
            text
        }
    }
}

/// What the usual hook says of a panic, on one line, but for a backtrace if somebody wants one.
fn line_of_panic(panic: &PanicHookInfo<'_>, more: u64) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("without a name");
    let cause = panic.payload_as_str().unwrap_or("something that is no text");
    let place = panic.location().map_or_else(|| "?".to_owned(), ToString::to_string);
    let mut message = format!("thread {name} panicked at {place}: {cause}");
    if more > 0 {
        let _ = write!(message, " (and {more} more before)");
    }
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    line(format(), Level::ERROR, "ringwire::panic", &message, backtrace.as_deref())
}

/// Lines on their way to the queue.
struct Queued(LogQueue);

impl<'a> MakeWriter<'a> for Queued {
    type Writer = Escaping<Line<'a>>;

    fn make_writer(&'a self) -> Self::Writer {
        Escaping(Line { queue: &self.0, is_last: false })
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        Escaping(Line { queue: &self.0, is_last: event.target() == LAST_WORDS })
    }
}

struct Line<'a> {
    queue: &'a LogQueue,
    /// The process ends right after it.
    is_last: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.queue.push(&String::from_utf8_lossy(bytes));
        if self.is_last {
            self.queue.flush(LAST_LINES_TIMEOUT);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer of whole lines that escapes control characters in them. The subscriber escapes some of
/// them in some places only; `\u001b` is right in JSON and legible in text.
struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let mut line = escaped(text.strip_suffix('\n').unwrap_or(&text));
        line.push('\n');
        self.0.write_all(line.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn escaped(line: &str) -> String {
    let mut escaped = String::with_capacity(line.len() + 1);
    for letter in line.chars() {
        if letter.is_control() {
            // Writing into a String cannot fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(letter));
        } else {
            escaped.push(letter);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str, act: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = Log { format, filter: filter.into() };
        let subscriber = subscriber(&log, move || Escaping(writer.clone())).ok().expect("a filter");
        tracing::subscriber::with_default(subscriber, act);
        let bytes = lines.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn what_a_peer_chose_cannot_move_the_cursor_or_forge_a_line() {
        let evil = "\u{1b}[2J\u{9b}2J\nforged";
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(format, "info", || {
                tracing::warn!(shown = %evil, debugged = ?evil, plain = evil, "refused {evil}");
            });
            assert!(text.contains("forged"), "{text}");
            assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }

    #[test]
    fn a_line_is_a_json_object_where_asked() {
        let text = logged(LogFormat::Json, "info", || {
            tracing::info!(shards = 2, "listening");
            tracing::debug!("not shown");
        });
        let value: serde_json::Value = serde_json::from_str(&text).expect("one JSON object");
        assert_eq!(value["message"], "listening");
        assert_eq!(value["shards"], 2);
        assert_eq!(value["level"], "INFO");
        let text = logged(LogFormat::Json, "info", || tracing::info!(evil = %"\u{9b}\n", "x"));
        let value: serde_json::Value = serde_json::from_str(&text).expect("one JSON object");
        assert_eq!(value["evil"], "\u{9b}\n");
    }

    #[test]
    fn a_line_of_a_panic_looks_like_the_others() {
        let evil = "on purpose\u{1b}[2J\nforged";
        let text = line(LogFormat::Text, Level::ERROR, "ringwire::panic", evil, None);
        let like = logged(LogFormat::Text, "info", || tracing::error!("x"));
        let place = |line: &str| line.find("Z ERROR ringwire::").expect("a time and a level");
        assert_eq!(place(&text), place(&like));
        assert!(!text.contains(['\u{1b}', '\n']), "{text:?}");
        let traced =
            line(LogFormat::Text, Level::ERROR, "ringwire::panic", "x", Some("0: a\n1: b"));
        assert_eq!(traced.lines().count(), 3, "{traced}");
        let text = line(LogFormat::Json, Level::ERROR, "ringwire::panic", evil, Some("0: a\n1: b"));
        let value: serde_json::Value = serde_json::from_str(&text).expect("one JSON object");
        assert_eq!((&value["message"], &value["level"]), (&evil.into(), &"ERROR".into()));
        assert_eq!(value["backtrace"], "0: a\n1: b");
    }
}
