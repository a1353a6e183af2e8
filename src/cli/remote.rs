//! The subcommands that talk to a running server: their flags and help.
//!
//! Called by `cli`; what they do is in `shell`.

use clap::{Args, ValueEnum};
use ringwire::client::{Address, AddressError};
use std::path::PathBuf;

pub(crate) const REMOTE_AFTER_HELP: &str = "\
Over TCP the control plane wants its token: in RINGWIRE_TOKEN, or in a file. It is never a flag,
because flags are seen by everybody on the host.

Exit codes:
   0  done
   2  the command line is wrong
   4  nothing came in time
   5  the WebSocket is closed, or there is none of this id
   6  somebody else holds the WebSocket, or has taken it over
  65  the message or the query is not what the control plane takes
  69  the control plane cannot be reached
  71  there are too few descriptors or threads
  74  the output could not be written
  76  the answer was lost, or is not one of a control plane
  77  the token is missing or wrong
  78  a variable or the file of the token is wrong";

/// Where the control plane is, and how to talk to it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Reach {
    /// The control plane: HOST:PORT, http://HOST:PORT or unix:/path; 0.0.0.0 and [::]: loopback
    /// [default: 127.0.0.1:9002] [env: RINGWIRE_ADMIN_LISTEN]
    #[arg(long, value_name = "ADDR", conflicts_with = "control", value_parser = address)]
    pub(crate) admin: Option<String>,

    /// The Unix socket of the control plane, which needs no token [default: none]
    /// [env: RINGWIRE_ADMIN_CONTROL]
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,

    /// Read the token from this file [default: none] [env: RINGWIRE_TOKEN, the token itself]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Print JSON, one value per line
    #[arg(long)]
    pub(crate) json: bool,
}

fn address(text: &str) -> Result<String, AddressError> {
    text.parse::<Address>().map(|_| text.into())
}

#[derive(Debug, Args)]
#[command(after_help = REMOTE_AFTER_HELP)]
pub(crate) struct LsCommand {
    #[command(flatten)]
    pub(crate) reach: Reach,

    /// Of this route only
    #[arg(long, value_name = "PATH")]
    pub(crate) route: Option<String>,

    /// Of this status only
    #[arg(long)]
    pub(crate) status: Option<SocketStatus>,

    /// With this text in id, peer, route or session
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,

    /// In the order of this column, such as idle_ms or bytes_in; at most 500 rows then
    #[arg(long, value_name = "COLUMN")]
    pub(crate) sort: Option<String>,

    /// Largest first
    #[arg(long, requires = "sort")]
    pub(crate) descending: bool,

    /// So many at most; 0: all [default: 100]
    #[arg(long, value_name = "N", default_value_t = 100, hide_default_value = true)]
    pub(crate) limit: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SocketStatus {
    Handshake,
    Websocket,
    Shared,
    Unattended,
    Closing,
}

#[derive(Debug, Args)]
#[command(after_help = REMOTE_AFTER_HELP)]
pub(crate) struct OpenCommand {
    #[command(flatten)]
    pub(crate) reach: Reach,

    /// Take it over from whoever holds it
    #[arg(long)]
    pub(crate) steal: bool,

    /// The id of the WebSocket
    pub(crate) id: String,
}

#[derive(Debug, Args)]
#[command(after_help = REMOTE_AFTER_HELP)]
pub(crate) struct ReadCommand {
    #[command(flatten)]
    pub(crate) reach: Reach,

    /// Wait so many milliseconds for a message; 0: only look [default: 86400000]
    #[arg(long, value_name = "MS", default_value_t = 86_400_000, hide_default_value = true)]
    pub(crate) timeout_ms: u64,

    /// Take it over from whoever holds it
    #[arg(long)]
    pub(crate) steal: bool,

    /// The id of the WebSocket
    pub(crate) id: String,
}

#[derive(Debug, Args)]
#[command(after_help = REMOTE_AFTER_HELP)]
pub(crate) struct WriteCommand {
    #[command(flatten)]
    pub(crate) reach: Reach,

    /// Send bytes instead of text
    #[arg(long)]
    pub(crate) binary: bool,

    /// Send each line of standard input as a message
    #[arg(long, conflicts_with = "message")]
    pub(crate) lines: bool,

    /// The id of the WebSocket
    pub(crate) id: String,

    /// The message [default: standard input until its end]
    pub(crate) message: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = REMOTE_AFTER_HELP)]
pub(crate) struct EndCommand {
    #[command(flatten)]
    pub(crate) reach: Reach,

    /// The code of the Close frame [default: 1000]
    #[arg(long, default_value_t = 1_000, hide_default_value = true,
        value_parser = clap::value_parser!(u16).range(1_000..=4_999))]
    pub(crate) code: u16,

    /// The reason in the Close frame, at most 123 bytes [default: none]
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,

    /// Cut the connection at once, without a Close frame
    #[arg(long, conflicts_with_all = ["code", "reason"])]
    pub(crate) interrupt: bool,

    /// The id of the WebSocket
    pub(crate) id: String,
}

#[derive(Debug, Args)]
#[command(after_help = REMOTE_AFTER_HELP)]
pub(crate) struct EventsCommand {
    #[command(flatten)]
    pub(crate) reach: Reach,

    /// Of this route only
    #[arg(long, value_name = "PATH")]
    pub(crate) route: Option<String>,

    /// Of these types only, with commas between: open, readable, closed, lost
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    pub(crate) types: Vec<String>,

    /// What came after the event of this id [default: from now on]
    #[arg(long, value_name = "EVENT")]
    pub(crate) after: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = REMOTE_AFTER_HELP)]
pub(crate) struct StatusCommand {
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsCommand {
    /// The shell
    pub(crate) shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl From<Shell> for clap_complete::Shell {
    fn from(shell: Shell) -> Self {
        match shell {
            Shell::Bash => Self::Bash,
            Shell::Zsh => Self::Zsh,
            Shell::Fish => Self::Fish,
        }
    }
}
