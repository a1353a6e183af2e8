use super::*;
use keys::KEYS;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

/// A file that is removed again.
struct File(PathBuf);

impl File {
    fn with(name: &str, text: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("ringwire-{}-{name}.toml", std::process::id()));
        fs::write(&path, text).expect("the temporary directory takes a file");
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, text)| (name.into(), text.into())).collect()
}

fn flag(name: &str, key: &str, values: &[&str]) -> Flag {
    let values = values.iter().map(ToString::to_string).collect();
    Flag { name: name.into(), key: key.into(), values }
}

/// The message about a file, without the directory it lies in.
fn error_of(name: &str, text: &str) -> String {
    let file = File::with(name, text);
    let error = load(Some(&file.0), [], &[]).expect_err("this file must not be accepted");
    let full = error.to_string();
    assert!(!full.contains('\n'), "more than one line: {full}");
    let (_, short) = full.split_once(".toml").expect("the error names the file");
    short.into()
}

#[test]
fn the_default_file_says_the_defaults() {
    let text = default_toml();
    let parsed: Config = toml::from_str(&text).expect("the default file is TOML");
    assert_eq!(parsed, Config::default());
    assert_eq!(parsed.to_settings(), Settings::default());
    let file = File::with("default", &text);
    assert_eq!(load(Some(&file.0), [], &[]), Ok(Config::default()));
}

#[test]
fn every_key_is_in_the_table_and_in_the_default_file() {
    let mut paths = Vec::new();
    for (name, value) in keys::defaults() {
        match value.as_table() {
            Some(section) => paths.extend(section.keys().map(|key| format!("{name}.{key}"))),
            None => paths.push(name),
        }
    }
    let mut table: Vec<String> = KEYS.iter().map(|key| key.path.to_string()).collect();
    paths.sort();
    table.sort();
    assert_eq!(paths, table);
    let file: toml::Table = toml::from_str(&default_toml()).expect("the default file is TOML");
    for key in KEYS {
        assert!(keys::value_at(&file, key.path).is_some(), "{} is missing", key.path);
    }
}

#[test]
fn every_default_is_allowed() {
    let defaults = keys::defaults();
    for key in KEYS {
        let value = keys::value_at(&defaults, key.path).expect("in the defaults");
        assert!(key.allows(value), "{} = {value}", key.path);
    }
}

#[test]
fn each_layer_wins_over_the_one_before() {
    let file = File::with(
        "layers",
        "shards = 2\nconnections_max = 20\n[limits]\nmessage_bytes_max = 100_000\n",
    );
    let environment = variables(&[
        ("RINGWIRE_CONNECTIONS_MAX", "30"),
        ("RINGWIRE_LIMITS_MESSAGE_BYTES_MAX", "200_000"),
        ("RINGWIRE_LISTEN", "127.0.0.1:1, unix:/run/x.sock"),
        ("PATH", "/bin"),
    ]);
    let flags = [flag("--max", "limits.message_bytes_max", &["300000"])];
    let config = load(Some(&file.0), environment, &flags).expect("all of it is right");
    assert_eq!(config.shards, 2);
    assert_eq!(config.connections_max, 30);
    assert_eq!(config.limits.message_bytes_max, 300_000);
    let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:1", "unix:/run/x.sock"]);
    assert_eq!(config.to_settings().connections_max, Some(30));
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let file = File::with("named", "shards = 7\n");
    let path = file.0.display().to_string();
    let config = load(None, variables(&[("RINGWIRE_CONFIG", &path)]), &[]);
    assert_eq!(config.map(|config| config.shards), Ok(7));
}

#[test]
fn every_variable_sets_its_key() {
    for key in KEYS {
        let error = load(None, variables(&[(&key.variable(), "\u{1}")]), &[]);
        if matches!(key.kind, keys::Kind::Texts) {
            continue; // Any text is one.
        }
        let error = error.expect_err("a control character is no value").to_string();
        assert!(
            error.starts_with(&format!("{}: `{}` cannot be", key.variable(), key.path)),
            "{error}"
        );
        assert!(!error.contains('\u{1}'), "raw control character");
    }
}

#[test]
fn an_error_points_at_file_line_and_key() {
    assert_eq!(
        error_of("lisen", "# a comment\nshards = 1\nlisen = [\"127.0.0.1:1\"]\n"),
        ":3: unknown key `lisen`; did you mean `listen`?"
    );
    let unknown = error_of("far", "\n[ring]\nzzzzzzzzzz = 1\n");
    assert!(
        unknown.starts_with(":3: unknown key `zzzzzzzzzz` in [ring]; known are: "),
        "{unknown}"
    );
    assert!(unknown.contains("completion_entries"), "{unknown}");
    assert_eq!(
        error_of("range", "[ring]\nsubmission_entries = 1000\n"),
        ":2: `ring.submission_entries` cannot be 1000; give a power of two from 8 to 32768"
    );
    assert_eq!(
        error_of("type", "shards = \"two\"\n"),
        ":1: `shards` cannot be \"two\"; give 0 or an integer from 1 to 1024"
    );
    let syntax = error_of("syntax", "shards = 1\nlisten = [\n");
    assert!(syntax.starts_with(":3: this is not TOML: ") || syntax.starts_with(":2: "), "{syntax}");
    assert_eq!(
        error_of("section", "limits = 3\n"),
        ":1: `limits` is a section; write `[limits]` and its keys below"
    );
    let address = error_of("address", "listen = [\"localhost\"]\n");
    assert!(address.contains("`listen` cannot be"), "{address}");
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    let inbox = error_of("inbox", "[limits]\ninbox_bytes_max = 2048\nmessage_bytes_max = 1024\n");
    assert!(inbox.starts_with(":3: `limits.message_bytes_max` (1024) is less than"), "{inbox}");
    let drain = error_of("drain", "[timeouts]\ndrain_spread_ms = 20\ndrain_ms = 10\n");
    assert!(drain.starts_with(":2: `timeouts.drain_spread_ms` (20) is more than"), "{drain}");
    let ring = error_of("ring", "[ring]\ncompletion_entries = 1024\n");
    assert!(ring.starts_with(":2: `ring.completion_entries` (1024) is less than"), "{ring}");
    let twice = error_of("twice", "listen = [\"127.0.0.1:1\", \"127.0.0.1:1\"]\n");
    assert!(twice.contains("names 127.0.0.1:1 twice"), "{twice}");
}

#[test]
fn an_origin_is_what_a_browser_sends() {
    for good in ["https://example.org", "http://[::1]:8080", "chrome-extension://abc"] {
        assert!(is_origin(good), "{good}");
    }
    for bad in
        ["example.org", "https://Example.org", "https://a.org/", "null", "*", "https://", "://a"]
    {
        assert!(!is_origin(bad), "{bad}");
    }
    let error = load(None, [], &[flag("--origin", "origins.allowed", &["example.org"])]);
    assert!(
        error.is_err_and(|error| error.to_string().starts_with("--origin: `origins.allowed` has"))
    );
}

#[test]
fn an_unknown_variable_is_an_error() {
    let error = load(None, variables(&[("RINGWIRE_LISTN", "x")]), &[]).expect_err("unknown");
    assert_eq!(
        error.to_string(),
        "RINGWIRE_LISTN: unknown variable; did you mean `RINGWIRE_LISTEN`?"
    );
}

/// A value of `key` that is allowed and not the default.
fn other_value(key: &keys::Key, default: &toml::Value) -> toml::Value {
    use keys::Kind;
    let texts: &[&str] = match key.kind {
        Kind::Integer(min, max) if default.as_integer() == Some(min) => &[&max.to_string()],
        Kind::Integer(min, _) | Kind::ZeroOr(min, _) => &[&min.to_string()],
        Kind::PowerOfTwo(min, _) | Kind::ZeroOrPowerOfTwo(min, _) => &[&min.to_string()],
        Kind::Boolean if default.as_bool() == Some(true) => &["false"],
        Kind::Boolean => &["true"],
        Kind::Word(words) => &[words[words.len() - 1]],
        Kind::Filter => &["debug"],
        Kind::Addresses => &["127.0.0.1:5"],
        Kind::AddressOrOff => &["off"],
        Kind::Path | Kind::RoutePath => &["/x"],
        Kind::Token => &["0123456789abcdef"],
        Kind::Hosts | Kind::Subprotocols => &["example.org"],
        Kind::Texts | Kind::Origins => &["https://example.org"],
    };
    let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
    key.value_of(&texts).expect("a value of its kind")
}

#[test]
fn every_key_reaches_the_settings() {
    for key in KEYS {
        let mut table = keys::defaults();
        let value = other_value(key, keys::value_at(&table, key.path).expect("a default"));
        assert!(key.allows(&value), "{} = {value}", key.path);
        let (table_of_key, name) = match key.path.split_once('.') {
            Some((section, name)) => (table[section].as_table_mut().expect("a section"), name),
            None => (&mut table, key.path),
        };
        table_of_key.insert(name.into(), value);
        let config: Config = table.try_into().expect("an allowed value has its type");
        assert_ne!(config, Config::default(), "{}", key.path);
        if key.path.starts_with("log.") {
            continue;
        }
        if key.path.starts_with("admin.") {
            // A file named there does not exist, which must be noticed.
            let control = config.admin.to_settings();
            let before = Config::default().admin.to_settings().expect("no file is named");
            assert!(
                control.is_err() || control.is_ok_and(|control| control != before),
                "{}",
                key.path
            );
            continue;
        }
        let settings = config.to_settings();
        assert_ne!(settings, Settings::default(), "{} does not reach the settings", key.path);
        assert_eq!(Config::of(&settings), config, "{}", key.path);
    }
}

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
