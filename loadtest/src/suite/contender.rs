//! Whom the suite measures: how each is called, which program it is and in what it takes part.
//!
//! `plan` asks who takes part, `server` starts the command line. It starts nothing itself.

use std::path::{Path, PathBuf};

use crate::figures::measures::Family;

/// Everybody, in the order of their columns.
pub const ALL: [&str; 11] = [
    "floor-epoll",
    "floor-uring",
    "ringwire",
    "bun",
    "node-ws",
    "nginx-proxy",
    "nchan",
    "fastwebsockets",
    "sockudo-ws",
    "tokio-tungstenite",
    "tokio-uring",
];
const CONTENDERS: &str = "loadtest/contenders";

/// Where the programs are that were built or given.
#[derive(Clone, Debug)]
pub struct Programs {
    pub loadtest: PathBuf,
    pub ringwire: PathBuf,
    /// The example of that name.
    pub shared_echo: PathBuf,
    /// What cargo builds into.
    pub target: PathBuf,
}

/// One of those that are measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    pub name: String,
    pub kind: Kind,
}

/// What stands behind the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Raw TCP without any WebSocket, by its driver.
    Floor(&'static str),
    /// The program of this project.
    Ringwire,
    /// Another program of it.
    Other(PathBuf),
    Bun,
    Node,
    NginxProxy,
    Nchan,
    /// Built from `loadtest/contenders/rust`.
    Rust,
}

/// What a server of ours is started with beside its addresses; others have one thread and nothing
/// to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    pub shards: u32,
    /// Loopback addresses that it listens on.
    pub destinations: u32,
    pub cores: Cores,
    pub policy: Policy,
    pub program: Program,
}

/// Which cores a process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    First,
    Second,
    Both,
}

/// How its threads wait for a core, see sched(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Other,
    /// They wait for their turn, and do not push others off theirs.
    Batch,
}

/// What a contender of ours runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Serve,
    /// With a shared route and the control plane.
    Control,
    /// `examples/shared_echo.rs`.
    SharedEcho,
}

impl Setup {
    /// One shard on the first core.
    pub const PLAIN: Setup = Setup {
        shards: 1,
        destinations: 1,
        cores: Cores::First,
        policy: Policy::Other,
        program: Program::Serve,
    };

    /// What is to be known of it beside a command of the generator.
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        if self.shards != 1 {
            words.push(format!("server: --shards {}", self.shards));
        }
        if self.destinations > 1 {
            words.push(format!("listening on 127.0.0.1 to 127.0.0.{}", self.destinations));
        }
        if self.policy == Policy::Batch {
            words.push("under chrt --batch 0".to_owned());
        }
        if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
    }
}

impl Cores {
    /// For `taskset -c`.
    pub fn list(self) -> &'static str {
        match self {
            Cores::First => "0",
            Cores::Second => "1",
            Cores::Both => "0,1",
        }
    }
}

impl Contender {
    /// Reads `bun` or `before=some/program`.
    pub fn parse(text: &str) -> Result<Contender, String> {
        if let Some((name, path)) = text.split_once('=') {
            let is_word =
                !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '/');
            return match is_word && !path.is_empty() {
                true => Ok(Contender { name: name.to_owned(), kind: Kind::Other(path.into()) }),
                false => Err(format!("{text} is no NAME=PATH")),
            };
        }
        let kind = match text {
            "floor-epoll" => Kind::Floor("epoll"),
            "floor-uring" => Kind::Floor("uring"),
            "ringwire" => Kind::Ringwire,
            "bun" => Kind::Bun,
            "node-ws" => Kind::Node,
            "nginx-proxy" => Kind::NginxProxy,
            "nchan" => Kind::Nchan,
            "fastwebsockets" | "sockudo-ws" | "tokio-tungstenite" | "tokio-uring" => Kind::Rust,
            _ => return Err(format!("{text} is none of {}, and no NAME=PATH", ALL.join(" "))),
        };
        Ok(Contender { name: text.to_owned(), kind })
    }

    /// A program of this project.
    pub fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Ringwire | Kind::Other(_))
    }

    /// It echoes bytes and knows no frames.
    pub fn is_raw(&self) -> bool {
        matches!(self.kind, Kind::Floor(_))
    }

    /// Whether a family of scenarios is for it.
    pub fn takes_part(&self, family: Family) -> bool {
        match family {
            Family::Echo | Family::Churn | Family::Open | Family::Idle => self.kind != Kind::Nchan,
            Family::Fanout => !self.is_raw() && self.name != "tokio-uring",
            // Nobody floods a floor with frames.
            Family::Busy => !self.is_raw() && self.kind != Kind::Nchan,
            Family::Shards | Family::Control => self.is_ours(),
            Family::Shared => self.kind == Kind::Ringwire,
            Family::Micro => false,
        }
    }

    /// The command line of its server, which may write into `folder`. The words of `serve_args` go
    /// to servers of ours.
    pub fn command(
        &self,
        programs: &Programs,
        setup: &Setup,
        address: (&str, u16),
        folder: &Path,
        serve_args: &[String],
    ) -> Vec<String> {
        let (host, port) = address;
        let listen = format!("{host}:{port}");
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let here = |path: &str| format!("{CONTENDERS}/{path}");
        match &self.kind {
            Kind::Floor(driver) => {
                let verb = ["floor", "--listen", &listen, "--driver", driver].map(str::to_owned);
                [vec![text(&programs.loadtest)], verb.into()].concat()
            }
            Kind::Ringwire if setup.program == Program::SharedEcho => {
                vec![text(&programs.shared_echo), listen, setup.shards.to_string()]
            }
            Kind::Ringwire | Kind::Other(_) => {
                let program = match &self.kind {
                    Kind::Other(path) => path,
                    _ => &programs.ringwire,
                };
                let shards = setup.shards.to_string();
                let serve = ["serve", "--shards", &shards, "--admin", "off"].map(str::to_owned);
                let listen = (1..=setup.destinations)
                    .flat_map(|last| ["--listen".to_owned(), format!("127.0.0.{last}:{port}")]);
                let listen: Vec<String> = listen.collect();
                [vec![text(program)], serve.into(), serve_args.to_vec(), listen].concat()
            }
            Kind::Bun => {
                vec![here("bun/node_modules/.bin/bun"), here("bun/server.ts"), listen]
            }
            Kind::Node => vec!["node".to_owned(), here("node-ws/server.mjs"), listen],
            Kind::NginxProxy | Kind::Nchan => {
                vec![here(&format!("{}/run", self.name)), listen, text(folder)]
            }
            Kind::Rust => {
                let built = programs.target.join("contenders/release").join(&self.name);
                vec![text(&built), listen]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs() -> Programs {
        Programs {
            loadtest: "load".into(),
            ringwire: "target/release/ringwire".into(),
            shared_echo: "example".into(),
            target: "target".into(),
        }
    }

    fn words(name: &str, setup: &Setup) -> String {
        let contender = Contender::parse(name).unwrap();
        let log = ["--log".to_owned(), "warn".to_owned()];
        let folder = Path::new("out/x");
        contender.command(&programs(), setup, ("127.0.0.1", 7400), folder, &log).join(" ")
    }

    #[test]
    fn everybody_has_a_command_line() {
        let plain = |name| words(name, &Setup::PLAIN);
        for (name, wanted) in [
            ("floor-uring", "load floor --listen 127.0.0.1:7400 --driver uring"),
            (
                "ringwire",
                "target/release/ringwire serve --shards 1 --admin off --log warn --listen 127.0.0.1:7400",
            ),
            (
                "before=old/ringwire",
                "old/ringwire serve --shards 1 --admin off --log warn --listen 127.0.0.1:7400",
            ),
            ("node-ws", "node loadtest/contenders/node-ws/server.mjs 127.0.0.1:7400"),
            ("nchan", "loadtest/contenders/nchan/run 127.0.0.1:7400 out/x"),
            ("sockudo-ws", "target/contenders/release/sockudo-ws 127.0.0.1:7400"),
        ] {
            assert_eq!(plain(name), wanted);
        }
        for name in ALL {
            assert!(plain(name).contains("127.0.0.1:7400"), "{name}");
        }
    }

    #[test]
    fn a_setup_is_in_the_command_line_and_in_words() {
        let many = Setup { shards: 8, destinations: 2, policy: Policy::Batch, ..Setup::PLAIN };
        assert!(
            words("ringwire", &many).ends_with("--listen 127.0.0.1:7400 --listen 127.0.0.2:7400")
        );
        let said =
            " (server: --shards 8, listening on 127.0.0.1 to 127.0.0.2, under chrt --batch 0)";
        assert_eq!(many.words(), said);
        assert_eq!(Setup::PLAIN.words(), "");
        let shared = Setup { program: Program::SharedEcho, ..Setup::PLAIN };
        assert_eq!(words("ringwire", &shared), "example 127.0.0.1:7400 1");
    }

    #[test]
    fn names_are_read_and_others_refused() {
        for name in ALL {
            assert_eq!(Contender::parse(name).unwrap().name, name);
        }
        assert_eq!(Contender::parse("after=x/y").unwrap().kind, Kind::Other("x/y".into()));
        for bad in ["", "apache", "=x", "a=", "a b=x"] {
            assert!(Contender::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn who_takes_part_in_what() {
        let takes = |name: &str, family| Contender::parse(name).unwrap().takes_part(family);
        assert!(!takes("nchan", Family::Echo) && takes("nchan", Family::Fanout));
        assert!(!takes("floor-epoll", Family::Busy) && takes("floor-epoll", Family::Idle));
        assert!(takes("before=x", Family::Shards) && !takes("before=x", Family::Shared));
        assert!(!takes("bun", Family::Control) && takes("ringwire", Family::Shared));
    }
}
