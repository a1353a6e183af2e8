//! The command line.
//!
//! Owns the flags and their help, and how a flag becomes a key of the configuration. Called by
//! `main`. What a value may be is the configuration's business, except where clap can tell at
//! once that it is no value at all.

mod remote;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ringwire::ListenAddress;
use ringwire::config::Flag;
use std::path::PathBuf;

pub(crate) use remote::{
    CompletionsCommand, EndCommand, EventsCommand, LsCommand, OpenCommand, Reach, ReadCommand,
    SocketStatus, StatusCommand, WriteCommand,
};

const AFTER_HELP: &str = "\
Exit codes:
   0  ended as asked; every connection was closed in time
   2  the command line is wrong
   3  the drain deadline passed and connections were cut
   4  nothing came in time
   5  the WebSocket is closed, or there is none of this id
   6  somebody else holds the WebSocket, or has taken it over
  65  the message or the query is not what the control plane takes
  69  an address is in use or not available, or the control plane cannot be reached
  71  no thread can be started, or there are too few descriptors
  74  the output could not be written
  76  the answer was lost, or is not one of a control plane
  77  permission denied, or the token is missing or wrong
  78  the configuration is wrong, or this host cannot carry the server

Examples:
  ringwire serve --listen 0.0.0.0:9001 --origin https://example.org
  ringwire doctor
  ringwire config --print-default > ringwire.toml
  ringwire ls --control /run/ringwire/control.sock
  ringwire open --control /run/ringwire/control.sock ID
  ringwire completions bash > /etc/bash_completion.d/ringwire";

const SERVE_AFTER_HELP: &str = "\
Flags win over the environment, the environment over the file, the file over the defaults.
`ringwire config --print-default` lists every key with its environment variable.

Examples:
  ringwire serve
  ringwire serve --listen 0.0.0.0:9001 --listen unix:/run/ringwire/ringwire.sock
  ringwire serve --config /etc/ringwire.toml --log-format json
  ringwire serve --set limits.message_bytes_max=1048576 --set timeouts.drain_ms=30000";

const DOCTOR_AFTER_HELP: &str = "\
It ends with the exit code that `serve` would have with the same flags, environment and file, or with
0. For that it starts a server and ends it at once; where one runs already, its addresses are in use:
give others then.

Examples:
  ringwire doctor
  ringwire doctor --listen 127.0.0.1:0 --admin 127.0.0.1:0";

/// A WebSocket (RFC 6455) server on io_uring.
#[derive(Debug, Parser)]
#[command(name = "ringwire", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve WebSockets until SIGTERM, SIGINT, SIGQUIT or SIGHUP.
    Serve(Box<ServeCommand>),
    /// Say what this host offers and what would be in the way of `serve`.
    Doctor(Box<DoctorCommand>),
    /// Print or check a configuration.
    Config(ConfigCommand),
    /// List the WebSockets of a running server.
    Ls(LsCommand),
    /// Hold a shared WebSocket: type to write, see what comes, Ctrl-D gives it back.
    Open(OpenCommand),
    /// Take one message of a shared WebSocket.
    Read(ReadCommand),
    /// Send a message on a shared WebSocket.
    Write(WriteCommand),
    /// End any WebSocket.
    End(EndCommand),
    /// Follow what happens to shared WebSockets.
    Events(EventsCommand),
    /// Say how a running server is.
    Status(StatusCommand),
    /// Print what makes a shell complete this command line.
    Completions(CompletionsCommand),
}

#[derive(Debug, Default, Args)]
#[command(after_help = SERVE_AFTER_HELP)]
pub(crate) struct ServeCommand {
    /// Read this TOML file [default: none] [env: RINGWIRE_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Listen on IP:PORT, [IPv6]:PORT or unix:/path; may be repeated [default: 127.0.0.1:9001]
    /// [env: RINGWIRE_LISTEN]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<ListenAddress>,

    /// Threads with a ring each; 0: one per core [default: 0] [env: RINGWIRE_SHARDS]
    #[arg(long, value_name = "N")]
    shards: Option<u64>,

    /// Connections of the whole process; 0: what the limits allow [default: 0]
    /// [env: RINGWIRE_CONNECTIONS_MAX]
    #[arg(long, value_name = "N")]
    connections_max: Option<u64>,

    /// Allow pages of this origin beside the server's own host; may be repeated [default: none]
    /// [env: RINGWIRE_ORIGINS_ALLOWED]
    #[arg(long, value_name = "ORIGIN")]
    origin: Vec<String>,

    /// Refuse requests without Origin [default: false] [env: RINGWIRE_ORIGINS_REQUIRED]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", hide_possible_values = true)]
    origin_required: Option<bool>,

    /// Accept versions 7 and 8 (HyBi-07 to -12) beside 13 [default: false]
    /// [env: RINGWIRE_LEGACY_DRAFTS]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", hide_possible_values = true)]
    legacy_drafts: Option<bool>,

    /// Bytes of a message at most [default: 16777216] [env: RINGWIRE_LIMITS_MESSAGE_BYTES_MAX]
    #[arg(long, value_name = "BYTES")]
    message_bytes_max: Option<u64>,

    /// Milliseconds after SIGTERM in which /readyz says 503 and everybody is still let in [default: 0]
    /// [env: RINGWIRE_TIMEOUTS_DRAIN_DELAY_MS]
    #[arg(long, value_name = "MS")]
    drain_delay_ms: Option<u64>,

    /// Milliseconds of a drain until connections are cut [default: 10000]
    /// [env: RINGWIRE_TIMEOUTS_DRAIN_MS]
    #[arg(long, value_name = "MS")]
    drain_ms: Option<u64>,

    /// The control plane and its status page: IP:PORT, or off; port 0: any
    /// [default: 127.0.0.1:9002] [env: RINGWIRE_ADMIN_LISTEN]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,

    /// The control plane on a Unix socket of this user alone, without a token [default: none]
    /// [env: RINGWIRE_ADMIN_CONTROL]
    #[arg(long, value_name = "PATH")]
    control: Option<String>,

    /// Lines of the log [default: text] [env: RINGWIRE_LOG_FORMAT]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,

    /// What is logged: a level, or target=level pairs [default: info] [env: RINGWIRE_LOG_FILTER]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,

    /// Set any key of the configuration; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = DOCTOR_AFTER_HELP)]
pub(crate) struct DoctorCommand {
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,

    /// What would be served.
    #[command(flatten)]
    pub(crate) serve: ServeCommand,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ConfigCommand {
    /// Print a file with every key at its default
    #[arg(long)]
    pub(crate) print_default: bool,

    /// Check a file, say nothing if it is right
    #[arg(long, value_name = "FILE")]
    pub(crate) check: Option<PathBuf>,
}

impl ServeCommand {
    /// The keys that the flags set, `--set` last.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        let mut add = |name: &str, key: &str, values: Vec<String>| {
            if !values.is_empty() {
                flags.push(Flag { name: name.into(), key: key.into(), values });
            }
        };
        let text = |value: Option<u64>| value.iter().map(u64::to_string).collect();
        let switch = |value: Option<bool>| value.iter().map(bool::to_string).collect();
        add("--listen", "listen", self.listen.iter().map(ToString::to_string).collect());
        add("--shards", "shards", text(self.shards));
        add("--connections-max", "connections_max", text(self.connections_max));
        add("--origin", "origins.allowed", self.origin.clone());
        add("--origin-required", "origins.required", switch(self.origin_required));
        add("--legacy-drafts", "legacy_drafts", switch(self.legacy_drafts));
        add("--message-bytes-max", "limits.message_bytes_max", text(self.message_bytes_max));
        add("--drain-delay-ms", "timeouts.drain_delay_ms", text(self.drain_delay_ms));
        add("--drain-ms", "timeouts.drain_ms", text(self.drain_ms));
        add("--admin", "admin.listen", self.admin.iter().cloned().collect());
        add("--control", "admin.control", self.control.iter().cloned().collect());
        let format = self.log_format.and_then(|format| format.to_possible_value());
        add("--log-format", "log.format", format.iter().map(|v| v.get_name().into()).collect());
        add("--log", "log.filter", self.log.iter().cloned().collect());
        let set = self.set.iter().map(|(key, text)| Flag::assign("--set", key, text));
        flags.extend(set);
        flags
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.trim().into(), value.trim().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn flags(arguments: &[&str]) -> Vec<Flag> {
        let arguments = ["ringwire", "serve"].iter().chain(arguments);
        let cli = Cli::try_parse_from(arguments).expect("a command line");
        match cli.command {
            Command::Serve(command) => command.flags(),
            _ => panic!("not serve"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_sets_a_key_that_exists_and_the_help_says_its_default_and_variable() {
        let all = flags(&[
            "--listen=127.0.0.1:1",
            "--listen=unix:/x",
            "--shards=3",
            "--connections-max=4",
            "--origin=https://a.org",
            "--origin-required",
            "--legacy-drafts=true",
            "--message-bytes-max=70000",
            "--drain-ms=5000",
            "--drain-delay-ms=3",
            "--admin=off",
            "--control=/run/ringwire/control.sock",
            "--log-format=json",
            "--log=debug",
            "--set=timeouts.pong_ms=7",
            "--set=origins.allowed=https://a.org,https://b.org",
        ]);
        let config = ringwire::config::load(None, [], &all).expect("every value is right");
        assert_eq!((config.listen.len(), config.shards, config.connections_max), (2, 3, 4));
        assert_eq!(config.origins.allowed, ["https://a.org", "https://b.org"]);
        assert!(config.origins.required && config.legacy_drafts);
        assert_eq!(config.limits.message_bytes_max, 70_000);
        assert_eq!((config.timeouts.drain_ms, config.timeouts.pong_ms), (5_000, 7));
        assert_eq!(config.timeouts.drain_delay_ms, 3);
        assert_eq!(config.log.filter, "debug");
        let mut command = Cli::command();
        let serve = command.find_subcommand_mut("serve").expect("serve");
        let help: String = serve.render_long_help().to_string().split_whitespace().collect();
        let defaults = ringwire::config::default_toml();
        for flag in all.iter().filter(|flag| flag.name != "--set") {
            let variable = format!("RINGWIRE_{}", flag.key.replace('.', "_").to_uppercase());
            assert!(help.contains(&format!("[env:{variable}]")), "{variable}");
            let (_, after) =
                defaults.split_once(&format!("Environment: {variable}\n")).expect("a key");
            let value =
                after.lines().next().and_then(|line| line.split_once(" = ")).expect("a value").1;
            let value = value.replace(['"', ' ', '[', ']'], "");
            let value = if value.is_empty() { "none".into() } else { value };
            assert!(
                help.contains(&format!("[default:{value}][env:{variable}]")),
                "{variable} {value}"
            );
        }
    }

    #[test]
    fn no_flag_sets_no_key() {
        assert_eq!(flags(&[]), []);
    }
}
