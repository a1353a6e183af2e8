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
        ("http://EXAMPLE.com", "example.com", false),
        ("HTTP://example.com", "example.com", false),
        ("http://example.com.", "example.com", false),
        ("http://example.com.", "example.com.", false),
        ("http://example.com/", "example.com", false),
        ("http://example.com/path", "example.com", false),
        ("http://user@example.com", "example.com", false),
        ("http://example.com@evil", "example.com", false),
        ("http://example.com:", "example.com", false),
        ("http://example.com:080", "example.com", false),
        ("http://example.com:65616", "example.com", false),
        ("http://example.com, http://example.com", "example.com", false),
        ("ws://example.com", "example.com", false),
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
fn listed_origins_are_compared_exactly() {
    let listed = ["https://app.example".to_owned(), "null".to_owned(), "app://x".to_owned()];
    let rules = HandshakeRules { origins_allowed: &listed, ..HandshakeRules::default() };
    for (origin, expected) in [
        ("https://app.example", 101),
        ("null", 101),
        ("app://x", 101),
        ("http://example.com", 101),
        ("http://app.example", 403),
        ("https://app.example:443", 403),
        ("https://app.example.evil", 403),
        ("https://APP.example", 403),
        ("Null", 403),
    ] {
        let input = upgrade_with(&[&format!("Origin: {origin}")]);
        assert_eq!(status_of(&input, &rules), expected, "{origin}");
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
fn a_foreign_client_accepts_our_answer() {
    let request = tungstenite::client::IntoClientRequest::into_client_request("ws://example.com/x");
    let (bytes, key) = tungstenite::handshake::client::generate_request(request.unwrap()).unwrap();
    let upgrade = upgrade(&bytes);
    assert_eq!(upgrade.accept, accept_value(key.as_bytes()));
    let theirs = tungstenite::handshake::derive_accept_key(key.as_bytes());
    assert_eq!(upgrade.accept, theirs.as_bytes());
}
