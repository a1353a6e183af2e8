//! What the subcommands do that talk to a running server.
//!
//! Called by `main`. It prints, and turns what goes wrong into exit codes; everything else is done
//! by `ringwire::client`.

mod list;
mod talk;
mod watch;

use crate::cli::{Command, Reach};
use crate::{EXIT_CONFIG, EXIT_OUTPUT, EXIT_THREADS, Failure};
use ringwire::client::{Address, Client, ClientError, OpenError, ReadError, WriteError};
use ringwire::ring::probe;
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, stat};
use std::env::{self, VarError};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::net::SocketAddr;

const EXIT_TIMEOUT: u8 = 4;
const EXIT_GONE: u8 = 5;
const EXIT_HELD: u8 = 6;
const EXIT_DATA: u8 = 65;
const EXIT_UNAVAILABLE: u8 = 69;
const EXIT_PROTOCOL: u8 = 76;
const EXIT_PERMISSION: u8 = 77;

/// Descriptors that a runtime takes.
const RUNTIME_DESCRIPTORS: usize = 8;

/// Where a server of the same environment listens.
const LISTEN_VARIABLE: &str = "RINGWIRE_ADMIN_LISTEN";

const ADMIN_DEFAULT: &str = "127.0.0.1:9002";

/// Runs one of these subcommands to its end.
pub(crate) fn run(command: &Command) -> Result<u8, Failure> {
    // Tried first, because the runtime panics where there are too few.
    let runtime = probe::try_descriptors(RUNTIME_DESCRIPTORS)
        .and_then(|()| tokio::runtime::Builder::new_current_thread().enable_all().build());
    let runtime = runtime.map_err(|error| Failure {
        code: EXIT_THREADS,
        message: format!(
            "no runtime can be started: {error}; raise the limit of open files (ulimit -n)"
        ),
    })?;
    let code = runtime.block_on(async {
        match command {
            Command::Ls(command) => list::ls(command).await,
            Command::Status(command) => list::status(command).await,
            Command::Open(command) => talk::open(command).await,
            Command::Read(command) => talk::read(command).await,
            Command::Write(command) => talk::write(command).await,
            Command::End(command) => talk::end(command).await,
            Command::Events(command) => watch::events(command).await,
            // The others talk to no server.
            _ => Ok(0),
        }
    });
    // A thread may still wait for standard input.
    runtime.shutdown_background();
    code
}

/// A client of the control plane that the flags and the environment name.
async fn connect(reach: &Reach) -> Result<Client, Failure> {
    let control = match (&reach.control, &reach.admin) {
        (Some(path), _) => Some(path.display().to_string()),
        (None, Some(_)) => None,
        (None, None) => variable("RINGWIRE_ADMIN_CONTROL")?,
    };
    let address = match control {
        Some(path) => format!("unix:{}", absolute(&path)?),
        None => match (&reach.admin, variable(LISTEN_VARIABLE)?) {
            (Some(named), _) => named.clone(),
            (None, Some(listen)) => where_it_listens(&listen)?,
            (None, None) => ADMIN_DEFAULT.into(),
        },
    };
    // A name is looked up by a thread, and who starts that panics where there is none.
    if !address.starts_with("unix:") && address.parse::<SocketAddr>().is_err() {
        std::thread::Builder::new().spawn(|| {}).map_err(|error| Failure {
            code: EXIT_THREADS,
            message: format!(
                "no thread can be started to look {address} up: {error}; name an IP address"
            ),
        })?;
    }
    let token = token(reach)?;
    let builder = Client::builder(&address);
    let builder = token.iter().fold(builder, |builder, token| builder.token(token));
    Ok(builder.connect().await?)
}

/// A variable that is set, and not to nothing.
fn variable(name: &str) -> Result<Option<String>, Failure> {
    match env::var(name) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            let cause = format!("{name} is not UTF-8");
            Err(failure(EXIT_CONFIG, &cause, "set it again or unset it"))
        }
    }
}

/// The token, if there is one.
fn token(reach: &Reach) -> Result<Option<String>, Failure> {
    let (place, token) = match &reach.token_file {
        None => ("RINGWIRE_TOKEN".into(), variable("RINGWIRE_TOKEN")?),
        Some(file) => {
            let place = format!("--token-file: {}", file.display());
            let text = std::fs::read_to_string(file).map_err(|error| {
                failure(EXIT_CONFIG, &format!("{place}: {error}"), "name a file with the token")
            })?;
            if text.trim().is_empty() {
                let cause = format!("{place}: it is empty");
                return Err(failure(EXIT_CONFIG, &cause, "name a file with the token"));
            }
            (place, Some(text.trim().to_owned()))
        }
    };
    let is_sendable = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
    if token.as_ref().is_some_and(|token| !is_sendable(token)) {
        let cause = format!("{place}: a token has letters, digits and -._~+/= only");
        return Err(failure(EXIT_PERMISSION, &cause, "give the operator's token, on one line"));
    }
    Ok(token)
}

/// The address of a server that was told to listen on `listen`.
fn where_it_listens(listen: &str) -> Result<String, Failure> {
    let (code, cause) = match listen.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => {
            (EXIT_UNAVAILABLE, "has port 0: the server has chosen one, which its log says")
        }
        _ if listen == "off" => {
            (EXIT_UNAVAILABLE, "is off, so that the control plane has no TCP address")
        }
        _ if listen.contains(',') => (EXIT_CONFIG, "has several addresses"),
        _ if listen.parse::<Address>().is_err() => {
            (EXIT_CONFIG, "is no address of a control plane")
        }
        _ => return Ok(listen.into()),
    };
    let remedy = "name one with --admin HOST:PORT, or a socket with --control PATH";
    Err(failure(code, &format!("{LISTEN_VARIABLE} {cause}"), remedy))
}

fn absolute(path: &str) -> Result<String, Failure> {
    let absolute = std::path::absolute(path).map(|path| path.display().to_string());
    absolute.map_err(|error| Failure {
        code: EXIT_CONFIG,
        message: format!("--control: {error}; name the path of a socket"),
    })
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let (code, remedy) = match &error {
            ClientError::Unreachable { .. } => (
                EXIT_UNAVAILABLE,
                "start `ringwire serve`, or name its control plane with --admin or --control",
            ),
            ClientError::Refused(refused) => match refused.status {
                401 => (EXIT_PERMISSION, "set RINGWIRE_TOKEN, give --token-file, or use --control"),
                403 => (EXIT_PERMISSION, "use the operator's token"),
                400 | 404 | 413 | 415 | 422 => (EXIT_DATA, "see --help"),
                429 | 503 => (EXIT_UNAVAILABLE, "try again later"),
                _ => (EXIT_PROTOCOL, "see --help"),
            },
            _ => (EXIT_PROTOCOL, "look at the log of the server"),
        };
        let message = match &error {
            ClientError::Refused(refused) if refused.status == 401 => refused.message.clone(),
            other => other.to_string(),
        };
        Self { code, message: worded(&message, remedy) }
    }
}

/// The remedy is added where none is named.
fn worded(message: &str, remedy: &str) -> String {
    if message.contains("; ") { message.into() } else { format!("{message}; {remedy}") }
}

fn failure(code: u8, cause: &impl ToString, remedy: &str) -> Failure {
    Failure { code, message: worded(&cause.to_string(), remedy) }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NotShared => failure(EXIT_DATA, &error, "only `end` works on it"),
            OpenError::Unknown => failure(EXIT_GONE, &error, "`ringwire ls` lists those that live"),
            OpenError::Expired => failure(EXIT_GONE, &error, "forget its id"),
            OpenError::Busy => failure(EXIT_HELD, &error, "try later, or take it with --steal"),
            OpenError::Client(error) => error.into(),
            other => failure(EXIT_PROTOCOL, &other, "see --help"),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Timeout => failure(EXIT_TIMEOUT, &error, "the WebSocket lives: try again"),
            ReadError::Closed { .. } => failure(EXIT_GONE, &error, "forget its id"),
            ReadError::Fenced => failure(EXIT_HELD, &error, "somebody else goes on with it"),
            ReadError::Client(error) => error.into(),
            other => failure(EXIT_PROTOCOL, &other, "see --help"),
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Closed { .. } => failure(EXIT_GONE, &error, "forget its id"),
            WriteError::Unknown => OpenError::Unknown.into(),
            WriteError::Fenced => failure(EXIT_HELD, &error, "somebody else goes on with it"),
            WriteError::TooLong => failure(EXIT_DATA, &error, "send several"),
            WriteError::NotShared => failure(EXIT_DATA, &error, "only `end` works on it"),
            WriteError::Client(error) => error.into(),
            other => failure(EXIT_PROTOCOL, &other, "try later"),
        }
    }
}

/// Writes to standard output at once. `false` when its reader has gone, who has seen enough.
fn show(bytes: &[u8]) -> Result<bool, Failure> {
    let mut output = io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure {
            code: EXIT_OUTPUT,
            message: format!(
                "standard output cannot be written: {error}; free the disk or redirect it"
            ),
        }),
    }
}

/// Nobody saw a message, which is not acknowledged then.
fn unseen(cause: &'static str) -> Failure {
    let remedy = "the message can be read again; redirect to /dev/null what is not wanted";
    failure(EXIT_OUTPUT, &cause, remedy)
}

/// Whether the standard output was closed when this process began (`>&-`). Rust then opens /dev/null
/// in its place, for reading and writing; `>/dev/null` opens it for writing alone, and says that
/// nobody wants to see.
fn is_output_closed() -> bool {
    let output = io::stdout();
    let (Ok(flags), Ok(mine)) = (fcntl_getfl(&output), fstat(&output)) else { return true };
    let is_null = stat("/dev/null").is_ok_and(|null| null.st_rdev == mine.st_rdev);
    let is_device = FileType::from_raw_mode(mine.st_mode) == FileType::CharacterDevice;
    is_null && is_device && flags & OFlags::ACCMODE == OFlags::RDWR
}

/// The same, with a line break behind, for a value in JSON.
fn show_json(value: &impl serde::Serialize) -> Result<bool, Failure> {
    // What came as JSON, and maps of texts, always have a JSON form.
    let mut text = serde_json::to_string(value).unwrap_or_default();
    text.push('\n');
    show(text.as_bytes())
}

/// What a peer wrote must not steer a terminal.
fn harmless(text: &str) -> String {
    if !io::stdout().is_terminal() {
        return text.into();
    }
    escaped(text)
}

/// `text` with control characters escaped, apart from tabs and line breaks.
fn escaped(text: &str) -> String {
    let escape = |letter: char| match letter {
        '\n' | '\t' => letter.to_string(),
        letter if letter.is_control() => letter.escape_default().to_string(),
        letter => letter.to_string(),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_steered() {
        assert_eq!(escaped("a\u{1b}[2J\r\n\tb\u{9b}"), "a\\u{1b}[2J\\r\n\tb\\u{9b}");
    }

    #[test]
    fn the_address_of_a_server_is_where_it_listens_or_is_asked_for() {
        let line = |listen| where_it_listens(listen).map_err(|failure| failure.message);
        for address in ["127.0.0.1:9002", "0.0.0.0:9002", "[::]:9002"] {
            assert_eq!(line(address), Ok(address.to_owned()));
        }
        for (listen, cause) in [
            ("off", "is off"),
            ("127.0.0.1:0", "has port 0"),
            ("[::]:0", "has port 0"),
            ("127.0.0.1:9002,[::1]:9002", "has several"),
            ("9002", "is no address"),
        ] {
            let line = line(listen).expect_err("nothing to connect to");
            assert!(line.starts_with(&format!("RINGWIRE_ADMIN_LISTEN {cause}")), "{line}");
            assert!(line.contains("; name one with --admin"), "{line}");
        }
    }

    #[test]
    fn every_failure_names_a_remedy_and_its_code() {
        for (failure, code) in [
            (Failure::from(OpenError::Busy), 6),
            (OpenError::Unknown.into(), 5),
            (ReadError::Timeout.into(), 4),
            (ReadError::Fenced.into(), 6),
            (WriteError::Closed { code: ringwire::CloseCode::NORMAL, reason: "".into() }.into(), 5),
            (ClientError::Lost("reset".into()).into(), 76),
            (
                ClientError::Unreachable { address: "a:1".into(), cause: "refused".into() }.into(),
                69,
            ),
        ] {
            assert_eq!(failure.code, code);
            assert!(failure.message.contains("; "), "{}", failure.message);
        }
    }
}
