//! The sections with rules of their own: `[[route]]`, `[admin]`, `[sessions]`.

use super::*;

fn routes_of(text: &str) -> Vec<RouteSection> {
    let file = File::with("routes", text);
    load(Some(&file.0), [], &[]).expect("a right file").route
}

#[test]
fn routes_are_declared_in_a_file() {
    let routes = routes_of(
        "[[route]]\npath = \"/feed\"\n[[route]]\npath = \"/rooms/*\"\nmode = \"shared\"\n\
         mailbox = \"drop_oldest\"\nsession_timeout_ms = 60_000\nsession = true\n\
         origins = [\"https://a.org\"]\nsubprotocols = [\"v2\", \"v1\"]\n",
    );
    let first = RouteSection { path: "/feed".into(), ..RouteSection::default() };
    let second = RouteSection {
        path: "/rooms/*".into(),
        mode: "shared".into(),
        mailbox: "drop_oldest".into(),
        session_timeout_ms: 60_000,
        session: true,
        origins: vec!["https://a.org".into()],
        subprotocols: vec!["v2".into(), "v1".into()],
    };
    assert_eq!(routes, [first, second]);
    assert_eq!(routes_of(""), []);
}

#[test]
fn the_commented_route_is_right() {
    let text = default_toml();
    let (_, example) = text.split_once("# [[route]]\n").expect("an example");
    let lines = example.lines().filter_map(|line| line.strip_prefix("# "));
    let text = format!("[[route]]\n{}\n", lines.collect::<Vec<_>>().join("\n"));
    let routes = routes_of(&text);
    assert_eq!(routes, [RouteSection { path: "/feed".into(), ..RouteSection::default() }]);
    let keys = toml::Table::try_from(&routes[0]).expect("a table");
    assert!(keys.keys().all(|key| text.contains(&format!("\n{key} = "))), "{text}");
}

#[test]
fn an_error_in_a_route_points_at_its_line_and_key() {
    for (name, text, expected) in [
        ("plain", "route = 3\n", ":1: `route` is a list; write `[[route]]`"),
        ("table", "[route]\npath = \"/a\"\n", ":1: `route` is a list; write `[[route]]`"),
        (
            "bare",
            "[[route]]\nsession = true\n",
            ":1: this [[route]] has no `path`; add path = \"/feed\"",
        ),
        (
            "key",
            "[[route]]\npath = \"/a\"\nmailbocks = \"close\"\n",
            ":3: unknown key `mailbocks` in [[route]]; did you mean `mailbox`?",
        ),
        (
            "word",
            "[[route]]\npath = \"/a\"\n\n[[route]]\npath = \"/b\"\nmailbox = \"grow\"\n",
            ":6: `mailbox` cannot be \"grow\"; give one of \"stop_reading\", \"drop_oldest\", \"close\"",
        ),
        (
            "twice",
            "[[route]]\npath = \"/a\"\n[[route]]\npath = \"/a\"\n",
            ":3: `path` /a is another route's already; keep one of them",
        ),
    ] {
        assert_eq!(error_of(name, text), expected);
    }
    for (name, value) in [
        ("slash", "path = \"feed\""),
        ("query", "path = \"/feed?x\""),
        ("star", "path = \"/feed*\""),
        ("space", "path = \"/a b\""),
        ("number", "path = 7"),
        ("short", "path = \"/a\"\nsession_timeout_ms = 99"),
        ("flag", "path = \"/a\"\nsession = \"yes\""),
        ("origin", "path = \"/a\"\norigins = [\"example.org\"]"),
        ("protocol", "path = \"/a\"\nsubprotocols = [\"a b\"]"),
        ("mode", "path = \"/a\"\nmode = \"dedicated\""),
        ("nested", "path = { a = 1 }"),
        ("date", "path = 1979-05-27"),
        ("endless", "path = \"/a\"\nsession_timeout_ms = inf"),
    ] {
        let error = error_of(name, &format!("[[route]]\n{value}\n"));
        assert!(error.contains(" cannot be ") && error.contains("; give "), "{name}: {error}");
    }
}

#[test]
fn a_token_is_never_shown_nor_taken_from_a_flag() {
    let secret = "hunter2 hunter2 hunter2";
    let error =
        load(None, variables(&[("RINGWIRE_ADMIN_TOKEN", secret)]), &[]).expect_err("spaces");
    assert!(
        error.to_string().starts_with("RINGWIRE_ADMIN_TOKEN: `admin.token` cannot be"),
        "{error}"
    );
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let set = Flag::assign("--set", "admin.token", "0123456789abcdef");
    let error = load(None, [], &[set]).expect_err("others see command lines").to_string();
    assert!(error.contains("RINGWIRE_ADMIN_TOKEN") && !error.contains("0123456789"), "{error}");
    let given = variables(&[("RINGWIRE_ADMIN_TOKEN", "0123456789abcdef")]);
    let config = load(None, given, &[]).expect("a token");
    assert!(!format!("{config:?}").contains("0123456789"));
    let settings = config.admin.to_settings().expect("no file");
    assert_eq!(settings.token.as_deref(), Some("0123456789abcdef"));
    assert!(!format!("{settings:?}").contains("0123456789"));
}

#[test]
fn a_token_comes_from_a_file() {
    let settings = |text: &str| {
        let file = File::with("token", text);
        let path = file.0.display().to_string();
        let given = variables(&[("RINGWIRE_ADMIN_TOKEN_FILE", &path)]);
        load(None, given, &[]).expect("a path").admin.to_settings()
    };
    let token = settings("0123456789abcdef\nanything\n").expect("a token").token;
    assert_eq!(token.as_deref(), Some("0123456789abcdef"));
    for bad in ["", "short", "0123456789 abcdef", "\n0123456789abcdef"] {
        let error = settings(bad).expect_err("no token").to_string();
        assert!(error.contains("admin.token_file") && error.contains("; "), "{error}");
        assert!(!error.contains("0123"), "{error}");
    }
    let given = variables(&[("RINGWIRE_ADMIN_TOKEN_FILE", "/nonexistent/token")]);
    let error = load(None, given, &[]).expect("a path").admin.to_settings().expect_err("none");
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

#[test]
fn the_control_plane_is_not_exposed_by_mistake() {
    let exposed = error_of("exposed", "[admin]\nlisten = \"0.0.0.0:9002\"\n");
    assert!(exposed.starts_with(":2: `admin.listen` is 0.0.0.0:9002, where others"), "{exposed}");
    let token = "token = \"0123456789abcdef\"\n";
    let file =
        File::with("exposed_on_purpose", &format!("[admin]\nlisten = \"0.0.0.0:1\"\n{token}"));
    assert!(load(Some(&file.0), [], &[]).is_ok());
    let same = error_of("same", &format!("[admin]\n{token}read_only_{token}"));
    assert!(same.starts_with(":3: `admin.read_only_token` is `admin.token`"), "{same}");
    let both = error_of("both", &format!("[admin]\n{token}token_file = \"/x\"\n"));
    assert!(both.starts_with(":3: `admin.token_file` is set beside"), "{both}");
    assert!(error_of("admin", "[admin]\nlisten = \"on\"\n").contains("or \"off\""));
    assert!(error_of("host", "[admin]\nhosts = [\"a:1\"]\n").contains("`admin.hosts` cannot be"));
}

#[test]
fn sessions_that_browsers_would_drop_are_refused() {
    let error = error_of("cookie", "[sessions]\nsame_site = \"none\"\nsecure = false\n");
    assert!(error.starts_with(":2: `sessions.same_site`: browsers drop"), "{error}");
    let error = error_of("name", "[sessions]\ncookie_name = \"a b\"\n");
    assert!(error.starts_with(":2: `sessions.cookie_name` cannot be \"a b\""), "{error}");
    let error = error_of("redis", "[sessions]\nredis = \"http://:hunter2@h\"\n");
    assert!(error.starts_with(":2: `sessions.redis` cannot be what it is"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[cfg(not(feature = "redis"))]
#[test]
fn redis_needs_its_feature() {
    let error = error_of("feature", "[sessions]\nredis = \"redis://127.0.0.1\"\n");
    assert!(error.starts_with(":2: `sessions.redis` needs a program built with"), "{error}");
}
