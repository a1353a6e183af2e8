//! Which pages may connect.

use ringwire::{EngineBuilder, RouteOptions, Settings};
use support::raw::{Raw, upgrade};
use support::{Server, echo, on, quick};

/// Another site, that may connect.
const LISTED: &str = "https://app.example";

/// Origin, host, whether it is let in: by its host, or by the list.
const MATRIX: [(&str, &str, bool); 30] = [
    ("http://site.example", "site.example", true),
    ("https://site.example", "site.example", true),
    ("https://site.example:443", "site.example", true),
    ("http://site.example:80", "site.example", true),
    ("http://site.example:8080", "site.example:8080", true),
    ("HTTP://SITE.example", "site.EXAMPLE", true),
    ("http://[::1]:8080", "[::1]:8080", true),
    (LISTED, "site.example", true),
    ("https://app.example:443", "site.example", true),
    ("https://APP.example", "site.example", true),
    ("http://app.example", "site.example", false),
    ("https://app.example:8443", "site.example", false),
    ("https://app.example.evil", "site.example", false),
    ("https://x.app.example", "site.example", false),
    ("https://app.example/", "site.example", true),
    ("https://app.example/path", "site.example", false),
    ("http://evil.example", "site.example", false),
    ("http://site.example.evil", "site.example", false),
    ("http://evilsite.example", "site.example", false),
    ("http://sub.site.example", "site.example", false),
    ("http://site.example:8080", "site.example", false),
    ("http://site.example", "site.example:8080", false),
    ("http://site.example", "site.example:443", false),
    ("http://site.example@evil", "site.example", false),
    ("http://user@site.example", "site.example", false),
    ("http://site.example, http://site.example", "site.example", false),
    ("null", "site.example", false),
    ("", "site.example", false),
    ("file://", "site.example", false),
    ("chrome-extension://site.example", "site.example", false),
];

/// What a handshake with these header fields gets.
fn status(server: &Server, path: &str, host: &str, lines: &str) -> u16 {
    let mut raw = Raw::connect(server.address);
    let request = upgrade(path, lines);
    raw.send(request.replace("Host: localhost", &format!("Host: {host}")).as_bytes());
    let reply = raw.read_head();
    if reply.status != 101 {
        // No second request goes through behind one that was refused.
        assert_eq!(reply.header("Connection"), Some("close"), "{lines}");
        raw.read_rest();
    }
    reply.status
}

fn start(required: bool) -> Server {
    let mut settings: Settings = quick();
    settings.origins.allowed = vec![LISTED.into()];
    settings.origins.required = required;
    let sessions = RouteOptions { session: true, ..RouteOptions::default() };
    Server::start(settings, |builder: EngineBuilder| {
        builder.route("/", on(echo)).route_with("/session", sessions, on(echo))
    })
}

/// With a cookie and without, on routes with sessions and without.
#[test]
fn bar_14_the_origin_matrix() {
    let cookie = "Cookie: __Host-ringwire=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n";
    for required in [false, true] {
        let server = start(required);
        for (origin, host, welcome) in MATRIX {
            let expected = if welcome { 101 } else { 403 };
            let origin = format!("Origin: {origin}\r\n");
            for (path, lines) in
                [("/", origin.clone()), ("/", format!("{cookie}{origin}")), ("/session", origin)]
            {
                assert_eq!(status(&server, path, host, &lines), expected, "{path} {host} {lines}");
            }
        }
        let two = format!("Origin: http://site.example\r\nOrigin: {LISTED}\r\n");
        assert_eq!(status(&server, "/", "site.example", &two), 403);
        // Programs send none, and may be kept out: with whatever cookie.
        let expected = if required { 403 } else { 101 };
        for (path, lines) in [("/", ""), ("/", cookie), ("/session", cookie)] {
            assert_eq!(status(&server, path, "site.example", lines), expected, "{path} {lines}");
        }
        server.finish();
    }
}
