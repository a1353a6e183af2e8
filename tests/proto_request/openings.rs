//! Handshakes: keys, versions, origins, subprotocols.

use super::*;

#[test]
fn every_subset_of_the_upgrade_headers_has_its_answer() {
    for subset in 0u32..32 {
        let present = |index: usize| subset >> index & 1 == 1;
        let headers: Vec<&str> =
            (0..5).filter(|index| present(*index)).map(|index| UPGRADE_HEADERS[index]).collect();
        let expected = match (present(0), present(1), present(2), present(3), present(4)) {
            (false, ..) => 400,
            (_, false, _, false, false) => 200,
            (_, false, ..) => 426,
            (_, _, false, ..) => 400,
            (.., false) => 426,
            (.., false, true) => 400,
            (true, true, true, true, true) => 101,
        };
        assert_eq!(status(&head("GET / HTTP/1.1", &headers)), expected, "{headers:?}");
    }
}

#[test]
fn the_origin_matrix() {
    // Origin, Host, whether it is let in.
    let rows = [
        ("http://example.com", "example.com", true),
        ("https://example.com", "example.com", true),
        ("http://example.com", "EXAMPLE.com", true),
        ("http://example.com:80", "example.com", true),
        ("http://example.com", "example.com:80", true),
        ("https://example.com", "example.com:443", true),
        ("https://example.com:443", "example.com", true),
        ("http://example.com:8080", "example.com:8080", true),
        ("http://[::1]:8080", "[::1]:8080", true),
        ("http://127.0.0.1", "127.0.0.1", true),
        ("http://xn--bcher-kva.example", "xn--bcher-kva.example", true),
        ("ws://example.com", "example.com", true),
        ("wss://example.com", "example.com:443", true),
        ("ws://example.com:9001", "example.com:9001", true),
        ("http://EXAMPLE.com", "example.com", true),
        ("HTTP://example.com", "example.com", true),
        ("http://example.com.", "example.com", true),
        ("http://example.com", "example.com.:80", true),
        ("http://example.com.", "example.com.", true),
        ("http://example.com/", "example.com", true),
        ("http://example.com:", "example.com", true),
        ("http://example.com", "example.com:", true),
        ("https://example.com:0443", "example.com", true),
        ("http://[0:0:0:0:0:0:0:1]:8080", "[::1]:8080", true),
        ("http://[2001:db8::a]", "[2001:DB8:0::A]", true),
        ("wss://example.com", "example.com:80", false),
        ("ws://evil.example", "example.com", false),
        ("http://[::2]", "[::1]", false),
        ("http://xn--a", "xn--a", false),
        ("http://ex%61mple.com", "example.com", false),
        ("http://example.com..", "example.com", false),
        ("http://example.com//", "example.com", false),
        ("http://example.com:8080", "example.com", false),
        ("http://example.com", "example.com:8080", false),
        ("http://example.com", "example.com:443", false),
        ("https://example.com", "example.com:80", false),
        ("http://evil-example.com", "example.com", false),
        ("http://example.com.evil", "example.com", false),
        ("http://sub.example.com", "example.com", false),
        ("http://com", "example.com", false),
        ("null", "example.com", false),
        ("null", "null", false),
        ("http://example.com/path", "example.com", false),
        ("http://user@example.com", "example.com", false),
        ("http://example.com@evil", "example.com", false),
        ("http://example.com:65616", "example.com", false),
        ("http://example.com, http://example.com", "example.com", false),
        ("ftp://example.com", "example.com", false),
        ("chrome-extension://example.com", "example.com", false),
        ("example.com", "example.com", false),
        ("//example.com", "example.com", false),
        ("http://", "example.com", false),
        ("http:example.com", "example.com", false),
        ("*", "example.com", false),
    ];
    for (origin, host, welcome) in rows {
        let host = format!("Host: {host}\r\nOrigin: {origin}");
        let expected = if welcome { 101 } else { 403 };
        assert_eq!(status(&upgrade_but("Host", &host)), expected, "{host}");
    }
    let two = upgrade_with(&["Origin: http://example.com", "Origin: http://example.com"]);
    assert_eq!(status(&two), 403);
}

#[test]
fn a_listed_origin_is_let_in_in_any_spelling_and_no_other() {
    let listed = ["https://app.example".to_owned(), "null".to_owned(), "app://x".to_owned()];
    let rules = HandshakeRules { origins_allowed: &listed, ..HandshakeRules::default() };
    for (origin, expected) in [
        ("https://app.example", 101),
        ("null", 101),
        ("app://x", 101),
        ("http://example.com", 101),
        ("http://app.example", 403),
        ("https://app.example:443", 101),
        ("wss://app.example.", 101),
        ("https://APP.example", 101),
        ("app://X", 101),
        ("https://app.example:80", 403),
        ("https://app.example.evil", 403),
        ("https://app.example/x", 403),
        ("apps://x", 403),
        ("Null", 403),
    ] {
        let input = upgrade_with(&[&format!("Origin: {origin}")]);
        assert_eq!(status_of(&input, &rules), expected, "{origin}");
    }
}

#[test]
fn a_page_reaches_a_loopback_port_under_names_of_loopback_or_through_a_proxy() {
    let listed = ["http://myapp.example:9001".to_owned()];
    let rules = HandshakeRules {
        origins_allowed: &listed,
        loopback_ports: &[9001, 80],
        ..HandshakeRules::default()
    };
    // Origin, Host, whether it is let in.
    for (origin, host, welcome) in [
        ("http://evil.example:9001", "evil.example:9001", false),
        ("ws://EVIL.example.:9001", "evil.example:9001", false),
        ("http://evil.example", "evil.example", false),
        ("http://evil.example:80", "evil.example", false),
        ("http://localhost.evil.example:9001", "localhost.evil.example:9001", false),
        ("http://myapp:9001", "myapp:9001", false),
        ("http://localhost:9001", "localhost:9001", true),
        ("http://LOCALHOST.:9001", "localhost:9001", true),
        ("http://app.localhost:9001", "app.localhost:9001", true),
        ("http://127.0.0.1:9001", "127.0.0.1:9001", true),
        ("http://[::1]:9001", "[::1]:9001", true),
        ("http://192.0.2.7:9001", "192.0.2.7:9001", true),
        // A proxy in front of it, which listens elsewhere and passes Host on.
        ("https://app.example", "app.example", true),
        ("http://app.example:8080", "app.example:8080", true),
        ("http://myapp.example:9001", "myapp.example:9001", true),
    ] {
        let host = format!("Host: {host}\r\nOrigin: {origin}");
        let expected = if welcome { 101 } else { 403 };
        assert_eq!(status_of(&upgrade_but("Host", &host), &rules), expected, "{host}");
        // Nothing of this is asked of who is reached from elsewhere.
        assert_eq!(status(&upgrade_but("Host", &host)), 101, "{host}");
    }
    let rebound = "Host: site.example:9001\r\nOrigin: http://site.example:9001";
    for (header, expected) in [
        ("X-Forwarded-For: 192.0.2.7", 101),
        ("X-Forwarded-Proto: https", 101),
        ("X-Real-IP: 192.0.2.7", 101),
        ("Forwarded: for=192.0.2.7", 101),
        ("Via: 1.1 proxy", 101),
        ("X-Forwarded: x", 403),
        ("X-Mine: Via", 403),
        ("Sec-WebSocket-Protocol: x-forwarded-for", 403),
    ] {
        let input = upgrade_but("Host", &format!("{rebound}\r\n{header}"));
        assert_eq!(status_of(&input, &rules), expected, "{header}");
    }
    // A program that is no browser has no page.
    assert_eq!(status_of(&upgrade_but("Host", "Host: site.example:9001"), &rules), 101);
}

#[test]
fn a_refused_origin_names_the_setting_to_the_operator_and_nothing_of_the_peer() {
    let rules = HandshakeRules {
        origin_required: true,
        loopback_ports: &[9001],
        ..HandshakeRules::default()
    };
    let refused = |input: &[u8]| {
        let request = read(input).unwrap();
        handshake::classify(&request, &rules).unwrap_err()
    };
    for (header, setting) in [
        ("Host: a\r\nOrigin: http://evil.example", "origins.allowed"),
        ("Host: evil.example:9001\r\nOrigin: http://evil.example:9001", "DNS rebinding"),
        ("Host: evil.example:9001\r\nOrigin: http://evil.example:9001", "origins.allowed"),
        ("Host: a", "origins.required"),
        ("Host: a\r\nOrigin: http://a\r\nOrigin: http://a", "two Origins"),
    ] {
        let refusal = refused(&upgrade_but("Host", header));
        let remedy = refusal.remedy().expect("a line for the operator");
        assert!(remedy.contains(setting) && !remedy.contains("evil"), "{remedy}");
        assert!(!refusal.reason().contains("origins."), "{}", refusal.reason());
    }
    let key = upgrade_but("Sec-WebSocket-Key", "Origin: http://example.com");
    assert_eq!(refused(&key).remedy(), None);
}

#[test]
fn the_authority_of_the_target_counts_instead_of_host() {
    let headers = |host: &str, origin: &str| {
        let mut headers: Vec<String> = UPGRADE_HEADERS[1..].iter().map(|h| h.to_string()).collect();
        headers.extend([format!("Host: {host}"), format!("Origin: {origin}")]);
        headers
    };
    let asked = |target: &str, host: &str, origin: &str| {
        let headers = headers(host, origin);
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        head(&format!("GET {target} HTTP/1.1"), &headers)
    };
    let whole = asked("http://real.example:8080/chat?x=1", "other.example", "http://a");
    let request = read(&whole).unwrap();
    assert_eq!((request.target(), request.path()), ("/chat?x=1", "/chat"));
    assert_eq!(request.header_str("host"), Some("real.example:8080"));
    assert_eq!(request.headers_named("host").count(), 1);
    for (target, resource) in [
        ("http://a", "/"),
        ("HTTP://a/", "/"),
        ("ws://a?x", "/?x"),
        ("wss://a:443/b/?c=http://d/e", "/b/?c=http://d/e"),
        ("https://[::1]:1//b", "//b"),
    ] {
        assert_eq!(read(&asked(target, "a", "http://a")).unwrap().target(), resource, "{target}");
    }
    let status_for = |target, origin| status(&asked(target, "other.example", origin));
    assert_eq!(status_for("http://real.example/", "http://real.example"), 101);
    assert_eq!(status_for("http://real.example/", "http://other.example"), 403);
    assert_eq!(status_for("/", "http://other.example"), 101);
    // There was no Host, and need not have been.
    let old = read(&head("GET http://real.example/x HTTP/1.0", &[])).unwrap();
    assert_eq!((old.path(), old.header_str("host")), ("/x", Some("real.example")));
    assert!(old.is_http_1_0());
    assert_eq!(status(&head("GET http://real.example/x HTTP/1.1", &[])), 400);
}

#[test]
fn http_1_0_is_told_what_an_upgrade_needs() {
    let request = read(&head("GET / HTTP/1.0", &UPGRADE_HEADERS)).unwrap();
    let refusal = handshake::classify(&request, &HandshakeRules::default()).unwrap_err();
    assert_eq!((refusal.status(), refusal.headers()[0].0.as_str()), (426, "Upgrade"));
    assert!(refusal.reason().contains("HTTP/1.0") && refusal.reason().contains("nginx"));
}

#[test]
fn whether_an_answer_has_a_body_is_known_of_half_a_head_and_of_a_bad_one() {
    for (input, is_head) in [
        ("HEAD / HTTP/1.1\r\n", true),
        ("HEAD ", true),
        ("HEAD / HTTP/9.9\r\n\r\n", true),
        ("HEAD *\0", true),
        ("\r\n\n\r\nHEAD ", true),
        ("\r\n\r\nHEA", false),
        ("\r\n\n\nGET /HEAD ", false),
        ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("HEAD", false),
        ("HEADS / HTTP/1.1\r\n", false),
        ("head / HTTP/1.1\r\n", false),
        ("GET /HEAD HTTP/1.1\r\n", false),
    ] {
        for piece in [1, 3, input.len()] {
            let mut reader = RequestReader::new();
            for bytes in input.as_bytes().chunks(piece) {
                let _ = reader.handle_input(bytes, REQUEST_HEAD_BYTES_MAX);
            }
            assert_eq!(reader.is_head(), is_head, "{input:?} in pieces of {piece}");
        }
    }
}

#[test]
fn an_origin_may_be_required() {
    let rules = HandshakeRules { origin_required: true, ..HandshakeRules::default() };
    assert_eq!(status_of(&upgrade_with(&[]), &rules), 403);
    assert_eq!(status_of(&upgrade_with(&["Origin: http://example.com"]), &rules), 101);
}

#[test]
fn drafts_are_spoken_only_when_asked_for() {
    let rules = HandshakeRules { legacy_drafts: true, ..HandshakeRules::default() };
    let draft = |version: &str, header: &str| {
        upgrade_but("Sec-WebSocket-Version", &format!("Sec-WebSocket-Version: {version}{header}"))
    };
    for (version, header, expected) in [
        ("13", "", 101),
        ("8", "", 101),
        ("7", "", 101),
        ("6", "", 426),
        ("9", "", 426),
        ("8", "\r\nSec-WebSocket-Origin: http://example.com", 101),
        ("8", "\r\nSec-WebSocket-Origin: http://evil.example", 403),
        ("7", "\r\nSec-WebSocket-Origin: http://evil.example", 403),
        ("8", "\r\nOrigin: http://evil.example", 403),
        ("13", "\r\nSec-WebSocket-Origin: http://evil.example", 101),
    ] {
        assert_eq!(status_of(&draft(version, header), &rules), expected, "{version} {header}");
    }
    let refused = |rules: &HandshakeRules<'_>| {
        let request = read(&draft("6", "")).unwrap();
        String::from_utf8(handshake::classify(&request, rules).unwrap_err().response()).unwrap()
    };
    assert!(refused(&rules).contains("\r\nSec-WebSocket-Version: 13, 8, 7\r\n"));
    assert!(refused(&HandshakeRules::default()).contains("\r\nSec-WebSocket-Version: 13\r\n"));
}

#[test]
fn a_wrong_method_is_told_the_right_one() {
    let request = read(&head("POST / HTTP/1.1", &UPGRADE_HEADERS)).unwrap();
    let refusal = handshake::classify(&request, &HandshakeRules::default()).unwrap_err();
    assert_eq!(refusal.headers(), [("Allow".to_owned(), "GET".to_owned())]);
}

#[test]
fn subprotocols_are_read_in_order_and_only_an_offered_one_is_answered() {
    let offers = ["Sec-WebSocket-Protocol: chat.v2 ,chat.v1", "Sec-WebSocket-Protocol: x"];
    let upgrade = upgrade(&upgrade_with(&offers));
    assert_eq!(upgrade.subprotocols, ["chat.v2", "chat.v1", "x"]);
    let answer = |chosen, extra: &[(String, String)]| {
        String::from_utf8(handshake::response(&upgrade, chosen, extra)).unwrap()
    };
    assert!(answer(Some("chat.v1"), &[]).contains("\r\nSec-WebSocket-Protocol: chat.v1\r\n"));
    for wrong in ["chat", "x\r\nSet-Cookie: a", ""] {
        assert!(!answer(Some(wrong), &[]).contains("Sec-WebSocket-Protocol"));
    }
    let extra = [
        ("Set-Cookie".to_owned(), "a=b".to_owned()),
        ("X".to_owned(), "y\r\nZ: z".to_owned()),
        ("Content-Length".to_owned(), "5".to_owned()),
    ];
    let accept = String::from_utf8(accept_value(KEY.as_bytes()).to_vec()).unwrap();
    assert_eq!(
        answer(None, &extra),
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSet-Cookie: a=b\r\n\r\n"
        )
    );
}

#[test]
fn empty_elements_are_none_of_a_list() {
    for (lines, offered) in [
        (&["Sec-WebSocket-Protocol: ,a,,\t, b,"][..], &["a", "b"][..]),
        (&["Sec-WebSocket-Protocol:", "Sec-WebSocket-Protocol: a"], &["a"]),
        (&["Sec-WebSocket-Protocol: a,", "Sec-WebSocket-Protocol: ,b"], &["a", "b"]),
        (&["Sec-WebSocket-Protocol: ,"], &[]),
    ] {
        assert_eq!(upgrade(&upgrade_with(lines)).subprotocols, offered, "{lines:?}");
    }
}

#[test]
fn a_foreign_client_accepts_our_answer() {
    let request = tungstenite::client::IntoClientRequest::into_client_request("ws://example.com/x");
    let (bytes, key) = tungstenite::handshake::client::generate_request(request.unwrap()).unwrap();
    let upgrade = upgrade(&bytes);
    assert_eq!(upgrade.accept, accept_value(key.as_bytes()));
    let theirs = tungstenite::handshake::derive_accept_key(key.as_bytes());
    assert_eq!(upgrade.accept, theirs.as_bytes());
}
