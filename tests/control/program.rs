//! The program from outside: where its control plane is, who gets in, and what a file declares.

use super::stand::path_of_its_own;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use support::http::Connection;
use support::{connect, eventually, program::Program, text};
use tungstenite::Message;

fn output_of(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwire"));
    command.args(["serve", "--listen=127.0.0.1:0", "--shards=1"]).args(arguments).env_clear();
    command.output().expect("the program runs")
}

/// The one line of a server that did not start.
#[track_caller]
fn failure(arguments: &[&str], code: i32) -> String {
    let output = output_of(arguments);
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{text}");
    let line = text.lines().last().expect("a line").to_owned();
    assert!(line.starts_with("ringwire: ") && line.contains("; "), "{text}");
    line
}

/// A file in the temporary directory that nobody else has, removed at the end.
struct File(PathBuf);

impl File {
    fn with(text: &str) -> Self {
        let path = path_of_its_own();
        std::fs::write(&path, text).expect("the temporary directory takes a file");
        Self(path)
    }

    /// What sets `key` to it.
    fn set(&self, key: &str) -> String {
        format!("--set=admin.{key}={}", self.0.display())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // A test may have removed it.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A program with a control plane.
fn served(arguments: &[&str]) -> Program {
    let program = Program::serve(&[&["--shards=1"], arguments].concat());
    eventually("there is a control plane", || program.lines_with("control plane on ") == 1);
    program
}

/// One whose file declares `routes`, and its operator.
fn declared(routes: &str) -> (Program, Connection) {
    let file = File::with(routes);
    let socket = file.0.with_extension("sock");
    let (config, control) =
        (format!("--config={}", file.0.display()), format!("--control={}", socket.display()));
    (served(&["--admin=off", &config, &control]), Connection::unix(&socket))
}

fn control_of(program: &Program) -> SocketAddr {
    let url = program.said("control plane on http://").expect("a control plane");
    url.trim_end_matches('/').parse().expect("an address")
}

#[test]
fn an_address_that_is_taken_is_named_with_the_way_out() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = holder.local_addr().expect("bound").to_string();
    let line = failure(&["--admin", &address], 69);
    assert!(line.contains(&format!("{address} is in use")), "{line}");
    assert!(line.contains("--admin off") && line.contains("--admin IP:PORT"), "{line}");
    let path = path_of_its_own();
    let socket = path.to_str().expect("UTF-8");
    let live = UnixListener::bind(&path).expect("a free path");
    let line = failure(&["--admin=off", "--control", socket], 69);
    assert!(line.contains("is in use") && line.contains("--control"), "{line}");
    drop(live);
    std::fs::remove_file(&path).expect("ours");
    let file = File::with("precious");
    failure(&["--admin=off", "--control", file.0.to_str().expect("UTF-8")], 69);
    assert_eq!(std::fs::read_to_string(&file.0).expect("left alone"), "precious");
    let line = failure(&["--admin=off", "--control=/nonexistent/control.sock"], 69);
    assert!(line.contains("/nonexistent/control.sock"), "{line}");
    let line = failure(&["--admin=0.0.0.0:0"], 2);
    assert!(line.contains("--admin: `admin.listen` is 0.0.0.0:0"), "{line}");
}

#[test]
fn a_token_is_made_and_printed_once() {
    let mut program = served(&["--admin=127.0.0.1:0", "--log=error,ringwire=info"]);
    eventually("the token is printed", || program.lines_with("control plane's token is ") == 1);
    let line = program.said("control plane's token is ").expect("a token");
    let token = line.split(' ').next().expect("a token");
    assert_eq!(token.len(), 32);
    let control = control_of(&program);
    assert!(control.ip().is_loopback());
    assert_eq!(Connection::tcp(control, Some(token)).get("/v1/status").status, 200);
    assert_eq!(Connection::tcp(control, Some("0123456789abcdef")).get("/v1/status").status, 401);
    assert_eq!(program.lines_with(token), 1, "the log has it too");
    assert!(program.stop().success());
    assert_eq!(program.lines_with(token), 1);
}

#[test]
fn a_token_that_is_given_is_not_printed() {
    let token = File::with("token-from-a-file\n");
    let mut program = served(&["--admin=127.0.0.1:0", &token.set("token_file")]);
    let mut operator = Connection::tcp(control_of(&program), Some("token-from-a-file"));
    assert_eq!(operator.get("/v1/status").status, 200);
    assert!(program.stop().success());
    assert_eq!(program.lines_with("token"), 0);
}

#[test]
fn the_unix_socket_replaces_a_stale_one_and_goes_with_the_server() {
    let path = path_of_its_own();
    drop(UnixListener::bind(&path).expect("a free path"));
    let control = format!("--control={}", path.display());
    let mut program = served(&["--admin=off", &control]);
    let mode = std::fs::metadata(&path).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(program.lines_with("token"), 0);
    let mut operator = Connection::unix(&path);
    assert_eq!(operator.get("/readyz").json()["ready"], true);
    assert!(program.stop().success());
    assert!(!path.exists(), "the file is left behind");
}

#[test]
fn a_file_declares_routes_for_programs_in_any_language() {
    let (mut program, mut operator) = declared(
        "[[route]]\npath = \"/feed\"\nsubprotocols = [\"v2\"]\n\n[[route]]\npath = \"/rooms/*\"\n\
         session_timeout_ms = 60_000\norigins = [\"https://example.org\"]\n",
    );
    let mut client = connect(program.address, "/feed");
    client.send(Message::text("ping")).expect("open");
    eventually("it is in the list", || {
        operator.get("/v1/websockets?route=/feed&status=unattended").json()["total"] == 1
    });
    let page = operator.get("/v1/websockets?route=/feed").json();
    let id = page["websockets"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(page["websockets"][0]["timeout_ms"], 900_000);
    let read = operator.post(&format!("/v1/websockets/{id}/read?timeout=5000"));
    assert_eq!(read.text(), "ping");
    let answer = operator.write(&format!("/v1/websockets/{id}/write"), "text/plain", b"pong");
    assert_eq!(answer.status, 204);
    assert_eq!(text(&mut client), "pong");
    let origin = [("origin", "https://example.org")];
    let (_room, response) = support::connect_with(program.address, "/rooms/7", &origin);
    assert_eq!(response.status(), 101);
    eventually("the room is open", || {
        operator.get("/v1/websockets?route=/rooms/*").json()["total"] == 1
    });
    assert!(program.stop().success());
}

#[test]
fn one_token_for_both_is_refused() {
    let (operator, same) = (File::with("token-from-a-file\n"), File::with("token-from-a-file\n"));
    let reader = File::with(" token-from-a-file \r\nand more");
    let refused = |reader: &File, code| {
        let files = [operator.set("token_file"), reader.set("read_only_token_file")];
        failure(&["--admin=127.0.0.1:0", &files[0], &files[1]], code)
    };
    for other in [&reader, &same] {
        let line = refused(other, 78);
        assert!(line.starts_with("ringwire: `admin.read_only_token_file`: it has the operator's"));
        assert!(!line.contains("token-from-a-file"), "{line}");
    }
    let line = refused(&operator, 2);
    assert!(line.contains("`admin.read_only_token_file` is `admin.token_file`"), "{line}");
    // The one in a variable, the other in a file.
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwire"));
    command.args(["serve", "--admin=127.0.0.1:0", "--listen=127.0.0.1:0"]);
    command.arg(reader.set("read_only_token_file"));
    command.env_clear().env("RINGWIRE_ADMIN_TOKEN", "token-from-a-file");
    let output = command.output().expect("the program runs");
    assert_eq!(output.status.code(), Some(78), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_declared_route_takes_the_place_of_a_built_in_one() {
    let (mut program, mut operator) = declared(
        "[[route]]\npath = \"/echo\"\n[[route]]\npath = \"/\"\n[[route]]\npath = \"/a/*\"\n",
    );
    let _echo = connect(program.address, "/echo");
    let _page = connect(program.address, "/");
    eventually("both stay open", || {
        operator.get("/v1/websockets?status=unattended").json()["total"] == 2
    });
    let samples = super::lists::metrics(operator.get("/metrics").text());
    assert_eq!(samples["ringwire_route_shared{route=\"/echo\"}"], 1.0);
    assert_eq!(samples["ringwire_route_shared{route=\"/\"}"], 1.0);
    let status = operator.get("/v1/status").json();
    let routes = status["routes"].as_array().expect("a list");
    let mut paths: Vec<&str> = routes.iter().filter_map(|route| route["path"].as_str()).collect();
    let count = paths.len();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), count, "{status}");
    assert!(program.stop().success());
}

#[test]
fn ipv4_comes_in_by_the_unspecified_ipv6_address_and_is_shown_as_ipv4() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return; // A host without IPv6.
    }
    let token = File::with("token-from-a-file");
    let mut program = served(&["--listen=[::]:0", "--admin=[::]:0", &token.set("token_file")]);
    let port = control_of(&program).port();
    let mut operator =
        Connection::tcp((Ipv4Addr::LOCALHOST, port).into(), Some("token-from-a-file"));
    for host in [Ipv4Addr::LOCALHOST.into(), std::net::IpAddr::from(Ipv6Addr::LOCALHOST)] {
        let client = connect((host, program.address.port()).into(), "/echo");
        let peer = client.get_ref().local_addr().expect("a socket").to_string();
        eventually("it is in the list", || {
            let sockets = operator.get("/v1/websockets").json();
            let sockets = sockets["websockets"].as_array().expect("a list").clone();
            sockets.iter().any(|socket| socket["peer"] == peer.as_str())
        });
    }
    assert!(program.stop().success());
}

#[test]
fn the_client_finds_a_server_that_listens_on_all_addresses() {
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let has_family = TcpListener::bind(listen).is_ok();
        if !has_family {
            continue;
        }
        let token = File::with("token-from-a-file");
        let mut program = served(&[&format!("--admin={listen}"), &token.set("token_file")]);
        let listens = control_of(&program).to_string();
        let client = |arguments: &[&str], listen: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_ringwire"));
            command.args(arguments).env_clear().env("RINGWIRE_ADMIN_LISTEN", listen);
            command.env("RINGWIRE_TOKEN", "token-from-a-file").output().expect("it runs")
        };
        for arguments in [&["ls"][..], &["status", "--json"], &["ls", "--admin", &listens]] {
            let output = client(arguments, &listens);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{arguments:?} {listens} {errors}");
        }
        // One that has not asked for anything yet is listed without a route.
        let silent = TcpStream::connect(program.address).expect("it listens");
        let mut rows = Vec::new();
        eventually("it is listed", || {
            let output = client(&["ls", "--json"], &listens);
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            rows = output.stdout;
            !rows.is_empty()
        });
        let row: serde_json::Value = serde_json::from_slice(&rows).expect("one row");
        assert_eq!((&row["status"], row["route"].is_null()), (&"handshake".into(), true), "{row}");
        let output = client(&["ls"], &listens);
        let rows = String::from_utf8_lossy(&output.stdout);
        assert!(rows.contains(" handshake   -  "), "{rows}");
        drop(silent);
        for (listen, code) in [("off", 69), ("127.0.0.1:0", 69), ("127.0.0.1:1,127.0.0.1:2", 78)] {
            let output = client(&["ls"], listen);
            let line = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{line}");
            assert!(
                line.starts_with("ringwire: RINGWIRE_ADMIN_LISTEN ") && line.contains("--admin")
            );
            assert_eq!(line.lines().count(), 1, "{line}");
        }
        let port = control_of(&program).port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
        assert!(program.stop().success());
    }
}
