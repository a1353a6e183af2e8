//! HTTP as clients, proxies and load balancers speak it, and not as we would.

use ringwire::{
    Engine, Error, Opening, OriginPolicy, Refusal, RouteOptions, Settings, StartError, WebSocket,
    WebSocketServer,
};
use std::time::Duration;
use support::program::Program;
use support::raw::{FIN, Raw, Reply, TEXT, frame, http, upgrade};
use support::{Server, echo, eventually, on, quick};

/// Writes what it saw of the request.
#[derive(Default)]
struct Teller(String);

impl WebSocketServer for Teller {
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        let cookies: Vec<_> = opening.cookies().collect();
        self.0 = format!(
            "{} {:?} {cookies:?} {:?} {:?}",
            opening.path(),
            opening.header("host"),
            opening.header("x-mine"),
            opening.headers().filter(|(name, _)| *name == "x-mine").count(),
        );
        Ok(())
    }

    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        Ok(ws.write(self.0.as_str()).await?)
    }
}

fn server() -> Server {
    Server::start(quick(), |builder| {
        builder.route("/echo", on(echo)).route("/tell/*", Teller::default).page(
            "/page",
            "text/plain",
            b"a page",
        )
    })
}

/// What the teller says of this request.
fn told(server: &Server, request: &[u8]) -> String {
    let mut raw = Raw::connect(server.address);
    raw.send(request);
    raw.expect_101();
    String::from_utf8(raw.read_frame().expect("a frame").payload).expect("text")
}

fn asked(server: &Server, request: &str) -> Reply {
    let reply = http(server.address, request.as_bytes());
    assert_eq!(reply.header("Connection"), Some("close"), "{request}: {}", reply.head);
    reply
}

#[test]
fn an_upgrade_may_say_that_it_has_no_body() {
    let server = server();
    for lines in [
        "Content-Length: 0\r\n",
        "content-length: 00\r\n",
        "Content-Length: 0, 0\r\n",
        "Content-Length: 0\r\nContent-Length: 0\r\n",
    ] {
        let mut raw = Raw::connect(server.address);
        let request = upgrade("/echo", lines).into_bytes();
        raw.send(&[request, frame(FIN | TEXT, b"early")].concat());
        raw.expect_101();
        assert_eq!(raw.read_frame().expect("an echo").payload, b"early", "{lines}");
    }
    for lines in [
        "Content-Length: 1\r\n",
        "Content-Length: 0\r\nContent-Length: 1\r\n",
        "Content-Length: -0\r\n",
        "Content-Length: \r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: identity\r\n",
    ] {
        assert_eq!(asked(&server, &upgrade("/echo", lines)).status, 400, "{lines}");
    }
    server.finish();
}

#[test]
fn http_1_0_gets_pages_and_is_told_what_an_upgrade_needs() {
    let server = server();
    for headers in ["", "Host: localhost\r\n", "Connection: keep-alive\r\nUser-Agent: x\r\n"] {
        let ask = |line: &str| asked(&server, &format!("{line} HTTP/1.0\r\n{headers}\r\n"));
        let page = ask("GET /page");
        assert_eq!((page.status, &page.body[..]), (200, &b"a page"[..]));
        let head = ask("HEAD /page");
        assert_eq!((head.status, head.header("Content-Length")), (200, Some("6")));
        assert!(head.body.is_empty());
        let options = ask("OPTIONS /page");
        assert_eq!((options.status, options.body.len()), (200, 0));
        assert_eq!(options.header("Allow"), Some("GET, HEAD, OPTIONS"));
        assert_eq!(ask("OPTIONS /echo").header("Allow"), Some("GET, OPTIONS"));
        assert_eq!(ask("GET http://localhost/page").status, 200);
        assert_eq!(ask("GET /nothing").status, 404);
        assert_eq!(ask("OPTIONS /nothing").status, 404);
        assert_eq!(ask("GET /echo").status, 426);
        assert_eq!(ask("GET *").status, 400);
    }
    // As HAProxy (`option httpchk OPTIONS * HTTP/1.1`) and Apache (`hcmethod=OPTIONS`) ask.
    for version in ["1.0", "1.1"] {
        for headers in ["", "Host: www\r\n"] {
            let reply = asked(&server, &format!("OPTIONS * HTTP/{version}\r\n{headers}\r\n"));
            assert_eq!((reply.status, reply.body.len()), (200, 0), "{version} {headers}");
            assert_eq!(reply.header("Allow"), Some("GET, HEAD, OPTIONS"));
            assert_eq!(reply.header("Content-Length"), Some("0"));
        }
    }
    // As it is, and as nginx passes it on unless it is told otherwise: without Upgrade.
    let whole = upgrade("/echo", "").replace("HTTP/1.1", "HTTP/1.0");
    let stripped = whole.replace("Upgrade: websocket\r\nConnection: Upgrade", "Connection: close");
    for request in [whole, stripped] {
        let reply = asked(&server, &request);
        assert_eq!((reply.status, reply.header("Upgrade")), (426, Some("websocket")));
        let body = String::from_utf8_lossy(&reply.body);
        assert!(body.contains("HTTP/1.0") && body.contains("proxy_http_version 1.1"), "{body}");
    }
    assert_eq!(asked(&server, "GET /page HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n").status, 400);
    assert_eq!(asked(&server, "GET /page HTTP/1.1\r\n\r\n").status, 400);
    server.finish();
}

#[test]
fn a_target_may_be_a_whole_url() {
    let server = server();
    let get = |target: &str| {
        asked(&server, &format!("GET {target} HTTP/1.1\r\nHost: other.example\r\n\r\n")).status
    };
    for target in ["http://localhost/page", "HTTPS://localhost:9001/page?x", "ws://localhost/page"]
    {
        assert_eq!(get(target), 200, "{target}");
    }
    for target in ["ftp://localhost/page", "http:///page", "http://u@localhost/page", "*", "page"] {
        assert_eq!(get(target), 400, "{target}");
    }
    let line = |line: &str| asked(&server, &format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n")).status;
    assert_eq!([line("OPTIONS *"), line("CONNECT a:443")], [200, 501]);
    let request = |origin: &str| {
        let lines = format!("Origin: {origin}\r\n");
        upgrade("ws://real.example:1/tell/x", &lines).into_bytes()
    };
    let seen = told(&server, &request("http://real.example:1"));
    assert!(seen.starts_with("/tell/x Some(\"real.example:1\")"), "{seen}");
    assert_eq!(http(server.address, &request("http://localhost")).status, 403);
    server.finish();
}

#[test]
fn an_answer_to_head_has_no_body_whatever_it_is() {
    let mut settings = quick();
    settings.timeouts.request_head = Duration::from_secs(1);
    let server = Server::start(settings, |builder| {
        builder.route("/echo", on(echo)).page("/page", "text/plain", b"a page")
    });
    let long = "a".repeat(9_000);
    for (rest, status) in [
        (" /page HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 200),
        (" /nothing HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 404),
        (" /echo HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 426),
        (" /page HTTP/1.1\r\n\r\n".to_owned(), 400),
        (" * HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        (" /page HTTP/1.1\r\nHost: a\r\nX\0: y".to_owned(), 400),
        (" /page HTTP/1.2\r\nHost: a\r\n\r\n".to_owned(), 505),
        (format!(" /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 431),
        (format!(" / HTTP/1.1\r\nHost: a\r\n{}", "a:\r\n".repeat(65)), 431),
        (" /page HTTP/1.1\r\nHo".to_owned(), 408),
    ] {
        let get = http(server.address, format!("GET{rest}").as_bytes());
        let head = http(server.address, format!("HEAD{rest}").as_bytes());
        assert_eq!((get.status, head.status), (status, status), "{rest:.60}");
        assert!(!get.body.is_empty() && head.body.is_empty(), "{rest:.60}");
        assert_eq!(head.header("Content-Length"), get.header("Content-Length"), "{rest:.60}");
        assert_eq!(head.header("Content-Length"), Some(get.body.len().to_string().as_str()));
    }
    let head = http(server.address, upgrade("/echo", "").replace("GET", "HEAD").as_bytes());
    assert_eq!((head.status, head.body.len()), (405, 0));
    server.finish();
}

#[test]
fn a_byte_that_is_no_text_hides_one_cookie_and_no_other() {
    let server = server();
    let lines: &[&[u8]] = &[
        b"Cookie: a=1; bad=\xFF; c=\"3\"; none; =empty; d=4=5;e=;;f=\"",
        b"Cookie: \xC3=x; g=\xC3\xA9",
        b"Cookie: \xFF",
        b"Cookie: a=2",
        b"X-Mine: \xFE",
        b"X-Mine: text",
    ];
    let mut request = upgrade("/tell/", "").into_bytes();
    request.truncate(request.len() - 2);
    for line in lines {
        request.extend([*line, b"\r\n"].concat());
    }
    request.extend(b"\r\n");
    assert_eq!(
        told(&server, &request),
        "/tell/ Some(\"localhost\") [(\"a\", \"1\"), (\"c\", \"3\"), (\"d\", \"4=5\"), \
         (\"e\", \"\"), (\"f\", \"\\\"\"), (\"g\", \"é\"), (\"a\", \"2\")] Some(\"text\") 2"
    );
    server.finish();
}

#[test]
fn equal_spellings_of_a_path_name_the_same_route() {
    let server = Server::start(quick(), |builder| {
        builder
            .route("/echo", on(echo))
            .route("/%7Ejo/%c3%a9", on(echo))
            .route("/bücher/*", Teller::default)
            .page("/%70age", "text/plain", b"a page")
    });
    let status = |path: &str| {
        let mut raw = Raw::connect(server.address);
        raw.send(upgrade(path, "").as_bytes());
        raw.read_head().status
    };
    for path in ["/%65cho", "/%65%63%68%6F?x", "/~jo/%C3%A9", "/%7ejo/%c3%A9", "/b%c3%bccher/x"] {
        assert_eq!(status(path), 101, "{path}");
    }
    for path in ["/%45cho", "/%2Fecho", "/%2565cho", "/~jo%2F%C3%A9", "/echo%00", "/%"] {
        assert_eq!(status(path), 404, "{path}");
    }
    assert_eq!(asked(&server, "GET /p%61ge HTTP/1.1\r\nHost: a\r\n\r\n").body, b"a page");
    let seen = told(&server, upgrade("/b%c3%bccher/%41", "").as_bytes());
    assert!(seen.starts_with("/b%c3%bccher/%41 "), "{seen}");
    server.finish();
}

/// The handshake from a page of `origin` that goes to `host`.
fn from_page(server: &Server, path: &str, origin: &str, host: &str) -> u16 {
    let request = upgrade(path, &format!("Origin: {origin}\r\n"));
    let mut raw = Raw::connect(server.address);
    raw.send(request.replace("Host: localhost", &format!("Host: {host}")).as_bytes());
    raw.read_head().status
}

#[test]
fn configured_origins_are_those_that_browsers_send() {
    let mut settings = quick();
    settings.origins.allowed =
        ["https://A.example:443/", "http://[0:0:0:0:0:0:0:1]:80", "https://bücher.example."]
            .map(str::to_owned)
            .into();
    let own =
        RouteOptions { origins_allowed: vec!["WSS://b.example".into()], ..Default::default() };
    let server = Server::start(settings, |builder| {
        builder.route("/all", on(echo)).route_with("/own", own, on(echo))
    });
    for (path, origin, status) in [
        ("/all", "https://a.example", 101),
        ("/all", "http://[::1]", 101),
        ("/all", "https://xn--bcher-kva.example", 101),
        ("/all", "https://b.example", 403),
        ("/own", "https://b.example", 101),
        ("/own", "https://a.example", 403),
        ("/all", "http://a.example", 403),
        ("/all", "ws://localhost", 101),
    ] {
        assert_eq!(from_page(&server, path, origin, "localhost"), status, "{path} {origin}");
    }
    server.finish();
    for wrong in ["a.example", "https://a.example/x", "https://*.example", "https://u@a.example"] {
        let origins = OriginPolicy { allowed: vec![wrong.into()], required: false };
        let of_all = Engine::builder().settings(Settings { origins, ..quick() });
        let options = RouteOptions { origins_allowed: vec![wrong.into()], ..Default::default() };
        let of_one = Engine::builder().settings(quick()).route_with("/", options, on(echo));
        for builder in [of_all, of_one] {
            let error = builder.start().err().expect("it is refused");
            assert!(matches!(error, StartError::Origin(_)) && error.exit_code() == 78, "{error}");
            assert!(error.to_string().contains(wrong), "{error}");
        }
    }
}

#[test]
fn a_name_that_was_bound_to_loopback_is_foreign_there_and_not_elsewhere() {
    let server = server();
    let port = server.address.port();
    let page = |host: &str, lines: &str| {
        let lines = format!("Origin: http://{host}\r\n{lines}");
        let request = upgrade("/echo", &lines);
        let request = request.replace("Host: localhost", &format!("Host: {host}"));
        let mut raw = Raw::connect(server.address);
        raw.send(request.as_bytes());
        raw.read_head().status
    };
    let own = |host: &str| page(&format!("{host}:{port}"), "");
    assert_eq!([own("evil.example"), own("myapp"), own("localhost.evil.example")], [403; 3]);
    assert_eq!([own("localhost"), own("a.localhost."), own("127.0.0.1"), own("[::1]")], [101; 4]);
    // Through a proxy: which listens at another port, or says that it is there.
    assert_eq!([page("site.example", ""), page("site.example:8443", "")], [101; 2]);
    assert_eq!(page(&format!("site.example:{port}"), "X-Forwarded-For: 192.0.2.7\r\n"), 101);
    server.finish();
    let mut exposed = quick();
    exposed.listen.push("0.0.0.0:0".parse().expect("an address"));
    let server = Server::with(exposed, echo);
    let host = format!("site.example:{}", server.address.port());
    assert_eq!(from_page(&server, "/", &format!("http://{host}"), &host), 101);
    server.finish();
}

#[test]
fn the_log_names_the_setting_and_nothing_of_the_page() {
    let program = Program::serve(&["--shards=1"]);
    let host = format!("evil.example:{}", program.address.port());
    for (host, said) in [("localhost", "foreign origin"), (&*host, "DNS rebinding")] {
        let lines = format!("Origin: http://{host}\r\n").replace("localhost", "evil.example");
        let request = upgrade("/echo", &lines).replace("Host: localhost", &format!("Host: {host}"));
        assert_eq!(http(program.address, request.as_bytes()).status, 403);
        eventually("the log says why", || {
            program.said("ringwire::refusal").is_some_and(|line| {
                line.contains(said) && line.contains("origins.allowed") && !line.contains("evil")
            })
        });
    }
}
