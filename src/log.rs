//! The log of the program, on standard error.
//!
//! Owns the one subscriber. Called by `main` before anything starts. No line holds a control
//! character, so that a text that a peer chose cannot move a terminal's cursor or forge a line;
//! for the same reason there are no colours.

use crate::{EXIT_CONFIG, Failure};
use ringwire::config::{Log, LogFormat};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Starts the log.
pub(crate) fn start(log: &Log) -> Result<(), Failure> {
    let subscriber = subscriber(log, || Escaping(io::stderr()))?;
    tracing::subscriber::set_global_default(subscriber).map_err(|error| Failure {
        code: EXIT_CONFIG,
        message: format!("the log cannot start: {error}; start the program alone"),
    })
}

/// Whether `output` should be coloured: a terminal, and nobody set NO_COLOR (no-color.org).
pub(crate) fn colours_on(output: &impl IsTerminal) -> bool {
    output.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
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
    Ok(match log.format {
        LogFormat::Text => Box::new(builder.with_ansi(false).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

/// A writer of whole lines that escapes control characters in them. The subscriber escapes some of
/// them in some places only; `\u001b` is right in JSON and legible in text.
struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let mut escaped = String::with_capacity(line.len() + 1);
        for letter in line.chars() {
            if letter.is_control() {
                // Writing into a String cannot fail.
                let _ = write!(escaped, "\\u{:04x}", u32::from(letter));
            } else {
                escaped.push(letter);
            }
        }
        escaped.push('\n');
        self.0.write_all(escaped.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
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
}
