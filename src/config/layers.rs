//! The layers of a configuration, each laid over the one before, with memory of where a value
//! came from.
//!
//! A layer is a set of keys with values. Each value is checked against the table in
//! [`keys`] when its layer is read, so that an error points at the line, the variable
//! or the flag that has it. serde makes the typed [`Config`] of the result.

use super::keys::{self, KEYS, Key};
use super::{Config, ConfigError, Contradiction, injected, routes};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// A flag of the command line that sets a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// How the user wrote it: `--shards`.
    pub name: String,
    /// The key it sets: `shards`, `log.format`.
    pub key: String,
    /// Its values as text; more than one only for a list.
    pub values: Vec<String>,
}

impl Flag {
    /// A flag `name` that sets `key` to `text`; the items of a list are separated by commas.
    pub fn assign(name: &str, key: &str, text: &str) -> Self {
        let is_list = keys::find(key).is_some_and(Key::is_list);
        let values = if is_list { split_list(text) } else { vec![text.into()] };
        Self { name: name.into(), key: key.into(), values }
    }
}

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a file as a whole, or in a line of it, counted from 1.
    File(PathBuf, Option<usize>),
    /// In a variable of the environment.
    Variable(String),
    /// In a flag.
    Flag(String),
}

impl Source {
    /// How late it speaks.
    fn layer(&self) -> u8 {
        match self {
            Self::File(..) => 0,
            Self::Variable(_) => 1,
            Self::Flag(_) => 2,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, Some(line)) => write!(f, "{}:{line}", escaped(path)),
            Self::File(path, None) => f.write_str(&escaped(path)),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

fn escaped(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}

/// Loads the configuration: the defaults, `file` over them, then the variables of `environment`
/// that begin with `RINGWIRE_`, then `flags`. Without `file`, the variable `RINGWIRE_CONFIG` may
/// name one. What a container runtime has set is left out, see
/// [`set_by_runtime`].
///
/// # Errors
/// A file that cannot be read or is not TOML, an unknown key or variable, a value out of its
/// range, and values that contradict each other. The error names the place and what is allowed.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    flags: &[Flag],
) -> Result<Config, ConfigError> {
    let mut layers = Layers { table: keys::defaults(), places: BTreeMap::new() };
    let mut variables = variables_of(environment)?;
    for name in injected::names(&variables) {
        variables.remove(&name);
    }
    // It is for the subcommands that talk to a server, and may be set beside it.
    variables.remove("RINGWIRE_TOKEN");
    let named_by_variable = variables.remove("RINGWIRE_CONFIG").map(PathBuf::from);
    if let Some(path) = file.or(named_by_variable.as_deref()) {
        layers.lay_file(path)?;
    }
    for (name, text) in &variables {
        layers.lay_variable(name, text)?;
    }
    for flag in flags {
        layers.lay_flag(flag)?;
    }
    layers.into_config()
}

/// The variables of `environment` that begin with `RINGWIRE_` and that Kubernetes or Docker has set
/// for a service or a container of that name. They are no configuration.
pub fn set_by_runtime(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<String> {
    variables_of(environment).map_or_else(|_| Vec::new(), |variables| injected::names(&variables))
}

/// The variables of the environment that are ours.
fn variables_of(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut variables = BTreeMap::new();
    for (name, text) in environment {
        let name = name.to_string_lossy().escape_debug().to_string();
        if !name.starts_with("RINGWIRE_") {
            continue;
        }
        let Ok(text) = text.into_string() else {
            let place = Source::Variable(name);
            return Err(at(place, "is not UTF-8; set it again or unset it".into()));
        };
        variables.insert(name, text);
    }
    Ok(variables)
}

pub(super) fn at(place: Source, message: String) -> ConfigError {
    ConfigError { place: Some(place), message }
}

struct Layers {
    /// The values so far, complete from the beginning.
    table: Table,
    /// Where the value of a key came from, if it is not the default.
    places: BTreeMap<String, Source>,
}

impl Layers {
    fn lay_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let whole = || Source::File(path.into(), None);
        let text = fs::read_to_string(path).map_err(|error| {
            at(whole(), format!("cannot be read: {error}; name a readable TOML file"))
        })?;
        let place_of = |offset: usize| Source::File(path.into(), Some(line_of(&text, offset)));
        let not_toml = |error: toml::de::Error| {
            let place = error.span().map_or_else(whole, |span| place_of(span.start));
            let cause = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            at(place, format!("this is not TOML: {}; correct the line", cause.escape_debug()))
        };
        let spans = DeTable::parse(&text).map_err(not_toml)?;
        let values: Table = toml::from_str(&text).map_err(not_toml)?;
        for (name, entry) in spans.get_ref() {
            let place = place_of(name.span().start);
            let name = name.get_ref().as_ref();
            if name == routes::NAME {
                let routes = routes::checked(entry, place, place_of)?;
                self.table.insert(name.into(), routes);
                continue;
            }
            if !is_section(name) {
                self.lay_file_key(name, "", place, &values)?;
                continue;
            }
            let Some(section) = table_of(entry) else {
                let message = format!("`{name}` is a section; write `[{name}]` and its keys below");
                return Err(at(place, message));
            };
            for key in section.keys() {
                let place = place_of(key.span().start);
                self.lay_file_key(key.get_ref().as_ref(), name, place, &values)?;
            }
        }
        Ok(())
    }

    fn lay_file_key(
        &mut self,
        name: &str,
        section: &str,
        place: Source,
        values: &Table,
    ) -> Result<(), ConfigError> {
        let path = if section.is_empty() { name.into() } else { format!("{section}.{name}") };
        let (Some(key), Some(value)) = (keys::find(&path), keys::value_at(values, &path)) else {
            let suggestion = keys::suggestion(name, names_in(section));
            let inside =
                if section.is_empty() { String::new() } else { format!(" in [{section}]") };
            let message = format!("unknown key `{}`{inside}; {suggestion}", name.escape_debug());
            return Err(at(place, message));
        };
        self.lay(key, value.clone(), place)
    }

    fn lay_variable(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let place = Source::Variable(name.into());
        let Some(key) = KEYS.iter().find(|key| key.variable() == name) else {
            let known: Vec<String> = KEYS.iter().map(Key::variable).collect();
            let known = known.iter().map(String::as_str).chain(["RINGWIRE_CONFIG"]);
            let message = format!("unknown variable; {}", keys::suggestion(name, known));
            return Err(at(place, message));
        };
        let texts = if key.is_list() { split_list(text) } else { vec![text.into()] };
        self.lay_texts(key, &texts, place)
    }

    fn lay_flag(&mut self, flag: &Flag) -> Result<(), ConfigError> {
        let place = Source::Flag(flag.name.clone());
        let Some(key) = keys::find(&flag.key) else {
            let suggestion = keys::suggestion(&flag.key, KEYS.iter().map(|key| key.path));
            let message = format!("unknown key `{}`; {suggestion}", flag.key.escape_debug());
            return Err(at(place, message));
        };
        if key.is_secret() {
            let message = format!(
                "`{}` on a command line can be read by everybody on this host; give it in a file, \
                 or in {}",
                key.path,
                key.variable()
            );
            return Err(at(place, message));
        }
        self.lay_texts(key, &flag.values, place)
    }

    fn lay_texts(&mut self, key: &Key, texts: &[String], place: Source) -> Result<(), ConfigError> {
        match key.value_of(texts) {
            Some(value) => self.lay(key, value, place),
            None => Err(not_allowed(key, &texts.join(","), place)),
        }
    }

    fn lay(&mut self, key: &Key, value: Value, place: Source) -> Result<(), ConfigError> {
        if !key.allows(&value) {
            return Err(not_allowed(key, &value.to_string(), place));
        }
        self.places.insert(key.path.into(), place);
        let (table, name) = match key.path.split_once('.') {
            None => (Some(&mut self.table), key.path),
            Some((section, name)) => {
                (self.table.get_mut(section).and_then(Value::as_table_mut), name)
            }
        };
        if let Some(table) = table {
            table.insert(name.into(), value);
        }
        Ok(())
    }

    fn into_config(self) -> Result<Config, ConfigError> {
        let Self { table, places } = self;
        let config: Config = table.try_into().map_err(|error: toml::de::Error| {
            // Every value has passed its own rule, so this would be a rule that is too wide.
            let message = error.message().escape_debug().to_string();
            ConfigError { place: None, message: format!("{message}; correct the value") }
        })?;
        match config.check() {
            Ok(()) => Ok(config),
            Err(Contradiction { keys, message }) => {
                // Who spoke last contradicts the others; of those alike, the last is the first key.
                let given = keys.iter().rev().filter_map(|key| places.get(*key));
                let place = given.max_by_key(|place| place.layer()).cloned();
                Err(ConfigError { place, message })
            }
        }
    }
}

pub(super) fn not_allowed(key: &Key, found: &str, place: Source) -> ConfigError {
    if key.is_secret() {
        let message = format!("`{}` cannot be what it is; give {}", key.path, key.allowed());
        return at(place, message);
    }
    let found = found.split_whitespace().collect::<Vec<_>>().join(" ");
    let message = format!(
        "`{}` cannot be {}; give {}",
        key.path,
        if found.is_empty() { "empty".into() } else { legible(&found) },
        key.allowed()
    );
    at(place, message)
}

/// `text` without control characters, on one line, with its quotes as they are.
fn legible(text: &str) -> String {
    text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

fn split_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Into::into).collect()
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

fn table_of<'a, 'i>(entry: &'a Spanned<DeValue<'i>>) -> Option<&'a DeTable<'i>> {
    entry.get_ref().as_table()
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.path.split_once('.').is_some_and(|(section, _)| section == name))
}

/// The names that may stand in `section`; at the top, `""`, the keys there and the sections.
fn names_in(section: &str) -> impl Iterator<Item = &'static str> {
    let mut names: Vec<&str> = KEYS
        .iter()
        .filter_map(|key| match key.path.split_once('.') {
            Some((inside, name)) if inside == section => Some(name),
            Some((inside, _)) if section.is_empty() => Some(inside),
            None if section.is_empty() => Some(key.path),
            _ => None,
        })
        .collect();
    if section.is_empty() {
        names.push(routes::NAME);
    }
    names.dedup();
    names.into_iter()
}
