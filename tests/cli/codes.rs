//! Exit codes by whose mistake it was: 2 for the command line, 78 for a file or a variable, whatever
//! the mistake. The tables are compared with the help, so that a new flag needs its row.

use super::{Scratch, failure, output_of, ringwire};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// A value for a flag that nothing takes, in whichever subcommand.
const WRONG: &[(&str, &str)] = &[
    ("--listen", "localhost"),
    ("--shards", "257"),
    ("--connections-max", "4294967296"),
    ("--origin", "example.org"),
    ("--origin-required", "perhaps"),
    ("--legacy-drafts", "1"),
    ("--message-bytes-max", "1"),
    ("--drain-ms", "1"),
    ("--drain-delay-ms", "-1"),
    ("--log-format", "xml"),
    ("--log", "x=y=z"),
    ("--set", "nope=1"),
    ("--status", "asleep"),
    ("--limit", "-1"),
    ("--timeout-ms", "soon"),
    ("--code", "999"),
    ("--admin", "9002"),
    ("--control", ""),
    ("--check", ""),
    ("--config", ""),
    ("--token-file", ""),
];

/// Any text is one: who hears it judges it, which is the control plane.
const ANY_TEXT: &[&str] = &["--route", "--search", "--sort", "--types", "--after", "--reason"];

const SUBCOMMANDS: &[(&str, &[&str])] = &[
    ("serve", &[]),
    ("doctor", &[]),
    ("config", &[]),
    ("ls", &[]),
    ("open", &["ID"]),
    ("read", &["ID"]),
    ("write", &["ID", "text"]),
    ("end", &["ID"]),
    ("events", &[]),
    ("status", &[]),
    ("completions", &["bash"]),
];

/// The flags of a subcommand's help; whether each takes a value.
fn flags_of(subcommand: &str) -> BTreeSet<(String, bool)> {
    let help = String::from_utf8(output_of(&[subcommand, "--help"]).stdout).expect("UTF-8");
    let flags = help.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("-h, ").unwrap_or(line);
        let name: String = line
            .chars()
            .take_while(|letter| letter.is_ascii_lowercase() || *letter == '-')
            .collect();
        let takes_value = line[name.len()..].trim_start_matches(['[', '=', ' ']).starts_with('<');
        name.starts_with("--").then_some((name, takes_value))
    });
    flags.collect()
}

#[track_caller]
fn is_usage_error(arguments: &[&str]) {
    let output = output_of(arguments);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
    assert!(!text.is_empty() && output.stdout.is_empty(), "{arguments:?}");
}

#[test]
fn a_wrong_value_of_any_flag_is_a_wrong_command_line() {
    let mut judged = BTreeSet::new();
    for (subcommand, arguments) in SUBCOMMANDS {
        let flags = flags_of(subcommand);
        assert!(flags.contains(&("--help".to_owned(), false)), "{subcommand}: {flags:?}");
        for (flag, takes_value) in &flags {
            let wrong = WRONG.iter().find(|(name, _)| name == flag);
            let Some((name, value)) = wrong else {
                assert!(!takes_value || ANY_TEXT.contains(&flag.as_str()), "{subcommand} {flag}");
                if !takes_value {
                    is_usage_error(&[&[*subcommand, &format!("{flag}=x")], *arguments].concat());
                }
                continue;
            };
            judged.insert(*name);
            // No socket and no file is named by nothing; to `serve` it is the default.
            let is_default = value.is_empty() && *name == "--control" && !is_remote(subcommand);
            if !is_default {
                is_usage_error(&[&[*subcommand, &format!("{flag}={value}")], *arguments].concat());
            }
        }
        is_usage_error(&[subcommand, "--nope"]);
        is_usage_error(&[&[*subcommand], *arguments, &["one", "too", "many"]].concat());
    }
    assert_eq!(judged.len(), WRONG.len(), "{judged:?}");
}

fn is_remote(subcommand: &str) -> bool {
    !matches!(subcommand, "serve" | "doctor")
}

#[test]
fn a_command_line_that_is_none_is_wrong() {
    for arguments in [
        &[][..],
        &["dance"],
        &["config"],
        &["config", "--print-default", "--check=x"],
        &["serve", "--set", "shards"],
        &["serve", "--set", "admin.token=0123456789abcdef"],
        &["serve", "--admin=0.0.0.0:0"],
        &["serve", "--listen=127.0.0.1:1", "--listen=127.0.0.1:1"],
        &["serve", "--message-bytes-max=1024"],
        &["serve", "--set=ring.completion_entries=1024"],
        &["serve", "--set=sessions.same_site=none", "--set=sessions.secure=false"],
        &["ls", "--descending"],
        &["ls", "--admin=127.0.0.1:1", "--control=/x"],
        &["open"],
        &["end", "ID", "--interrupt", "--code=1000"],
        &["write", "ID", "text", "--lines"],
    ] {
        is_usage_error(arguments);
    }
    let long = format!("unix:/{}", "a".repeat(107));
    is_usage_error(&["serve", "--listen", &long]);
    is_usage_error(&["serve", "--control", &long]);
    let output = output_of(&["serve", "--listen", "localhost"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("IP:PORT"));
}

/// Every key with its variable, and whether its value is a text or a list of them.
fn keys() -> Vec<(String, String, bool)> {
    let printed = String::from_utf8(output_of(&["config", "--print-default"]).stdout);
    let (mut section, mut variable, mut keys) = (String::new(), None, Vec::new());
    for line in printed.expect("UTF-8").lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some(name) = line.split_once("Environment: ").map(|(_, name)| name) {
            variable = Some(name.to_owned());
        } else if let (Some((key, value)), Some(variable)) =
            (line.split_once(" = "), variable.take())
        {
            keys.push((format!("{section}{key}"), variable, value.starts_with('[')));
        }
    }
    assert!(keys.len() > 50, "{keys:?}");
    keys
}

#[test]
fn a_wrong_value_of_any_key_is_its_sources_fault() {
    for (key, variable, is_list) in keys() {
        let (in_file, text) = match is_list {
            true => ("[7]", "\u{1}"),
            false => ("\"\\u0001\"", "\u{1}"),
        };
        let line = match key.split_once('.') {
            Some((section, key)) => format!("[{section}]\n{key} = {in_file}\n"),
            None => format!("{key} = {in_file}\n"),
        };
        let file = Scratch::with("codes.toml", line.as_bytes());
        failure(&output_of(&["serve", "--config", file.text()]), 78);
        let output = ringwire(&["serve"]).env(&variable, text).output().expect("it runs");
        assert!(failure(&output, 78).contains(&key));
        // A flag wins over a file, and its mistake over the file's silence.
        let output = output_of(&["serve", "--set", &format!("{key}={text}")]);
        assert!(failure(&output, 2).contains(&key));
    }
}

#[test]
fn of_values_that_contradict_each_other_the_last_to_speak_is_wrong() {
    let file = Scratch::with("contradiction.toml", b"[timeouts]\ndrain_spread_ms = 9_000\n");
    let with_file = |arguments: &[&str]| {
        let mut command = ringwire(&["serve", "--config", file.text()]);
        command.args(arguments);
        command
    };
    let output = with_file(&["--drain-ms=5000"]).output().expect("it runs");
    assert!(failure(&output, 2).starts_with("ringwire: --drain-ms: `timeouts.drain_spread_ms`"));
    let output = with_file(&[]).env("RINGWIRE_TIMEOUTS_DRAIN_MS", "5000").output();
    let line = failure(&output.expect("it runs"), 78);
    assert!(line.starts_with("ringwire: RINGWIRE_TIMEOUTS_DRAIN_MS: "), "{line}");
}

#[test]
fn of_the_programs_that_talk_to_a_server_as_well() {
    for (variable, value, code) in [
        ("RINGWIRE_ADMIN_LISTEN", "9002", 78),
        ("RINGWIRE_ADMIN_LISTEN", "off", 69),
        ("RINGWIRE_ADMIN_CONTROL", "/nonexistent/control.sock", 69),
    ] {
        let output = ringwire(&["ls"]).env(variable, value).output().expect("it runs");
        failure(&output, code);
    }
    let not_utf8 = OsStr::from_bytes(b"\xff");
    for (variable, arguments) in [
        ("RINGWIRE_ADMIN_LISTEN", &["ls"][..]),
        ("RINGWIRE_ADMIN_CONTROL", &["ls"]),
        ("RINGWIRE_TOKEN", &["ls", "--admin=127.0.0.1:1"]),
    ] {
        let output = ringwire(arguments).env(variable, not_utf8).output().expect("it runs");
        let line = failure(&output, 78);
        assert!(line.starts_with(&format!("ringwire: {variable} is not UTF-8")), "{line}");
    }
    // A token of two lines, which no header can have.
    let two = Scratch::with("two.token", b"0123456789abcdef\n0123456789abcdef\n");
    failure(&output_of(&["ls", "--admin=127.0.0.1:1", "--token-file", two.text()]), 77);
    let output = ringwire(&["ls", "--admin=127.0.0.1:1"]).env("RINGWIRE_TOKEN", "a b").output();
    failure(&output.expect("it runs"), 77);
    let empty = Scratch::with("empty.token", b"\n");
    for file in [empty.text(), "/nonexistent/token"] {
        failure(&output_of(&["ls", "--admin=127.0.0.1:1", "--token-file", file]), 78);
    }
}
