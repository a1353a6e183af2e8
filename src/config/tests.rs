mod sections;

use super::*;
use crate::SessionSettings;
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
        ":1: `shards` cannot be \"two\"; give 0 or an integer from 1 to 256"
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
fn an_origin_is_what_a_browser_can_send() {
    for good in [
        "https://example.org",
        "https://Example.org:443/",
        "http://[0:0:0:0:0:0:0:1]:8080",
        "https://bücher.example",
        "chrome-extension://abc",
        "file://",
    ] {
        assert!(is_origin(good), "{good}");
    }
    for bad in ["example.org", "https://a.org/x", "null", "*", "https://", "://a", "http://*.a.org"]
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
        Kind::Path | Kind::SocketPath | Kind::RoutePath => &["/x"],
        Kind::Token => &["0123456789abcdef"],
        Kind::RedisUrl => &["redis://127.0.0.1/1"],
        Kind::CookieName => &["other"],
        Kind::Hosts | Kind::Subprotocols => &["example.org"],
        Kind::AddressRanges => &["10.0.0.1/32"],
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
        if key.path.starts_with("sessions.") {
            let sessions = config.sessions;
            let default = SessionSettings::default();
            let kept_elsewhere = sessions.redis.reveal().is_some();
            assert!(kept_elsewhere || sessions.to_settings() != default, "{}", key.path);
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
