//! The rules of CONTRIBUTING.md that a machine can check: sizes, layers, where unsafe may stand,
//! what no file may contain. Each check is tried on samples, so that it cannot pass by blindness.

mod rooms;
mod samples;
mod source;

use source::{code_of, functions, line_at, names_after, without_tests, words};
use std::fs;
use std::path::Path;

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

/// Findings that are allowed, as they are reported. It is to stay empty.
const ALLOWED: &[&str] = &[];

/// Which modules of the crate the files of a layer may name. What is not listed is not below it.
const LAYERS: &[(&str, &[&str])] = &[
    ("src/proto/", &["proto"]),
    ("src/ring/", &["ring", "clock"]),
    ("src/sessions/", &["sessions", "proto"]),
    ("src/engine/", &["engine", "sessions", "proto", "ring", "clock"]),
    // By messages: it reaches connections through the handle alone.
    ("src/control/", &["control", "engine", "proto"]),
    ("src/api/", &["api", "engine", "sessions", "proto", "ring", "clock"]),
    // An interface like `api`, from another process.
    ("src/client/", &["client", "api", "engine", "proto", "ring"]),
    ("src/config/", &["config", "control", "engine", "proto", "serve"]),
    ("src/serve/", &["serve", "config", "control"]),
    ("src/cli/", &["cli"]),
    ("src/shell/", &["shell", "cli"]),
];

/// Layers that know nothing of the types at the crate's root.
const INNER: &[&str] = &["src/proto/", "src/ring/", "src/sessions/", "src/engine/"];

/// What `proto` may not touch: it gets bytes and time as arguments.
const IMPURE_STD: &[&str] = &["fs", "io", "net", "process", "thread"];
const IMPURE_WORDS: &[&str] = &["Instant", "SystemTime", "rand", "tracing", "tokio"];

/// Where unsafe code may stand: what the kernel shares, and what not every CPU can do.
const UNSAFE_PLACES: &[&str] = &[
    "src/ring/",
    "src/proto/mask/simd.rs",
    // Code for AVX-512, which may be called only where the CPU has it.
    "src/proto/utf8/wide.rs",
    "loadtest/src/ring.rs",
];

/// Code that is not finished, and notes about it. In two halves, because this is a file as well.
const UNFINISHED_CODE: &[&str] = &["todo!(", "unimplemented!(", "dbg!(", "#[ignore"];
const UNFINISHED_NOTES: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// How texts of standards can be told: by the marks before a quotation, and by the words in capitals
/// for what has to be. In two halves, as above.
const QUOTATION_MARKS: &[&str] = &[concat!("//", "="), concat!("//", "#")];
const NORMATIVE_WORDS: &[&str] =
    &[concat!("MU", "ST"), concat!("SHA", "LL"), concat!("SHO", "ULD")];

/// Folders of somebody's machine.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// Folders that hold nothing of ours.
const FOREIGN: &[&str] = &["target", "node_modules", "__pycache__", ".git", "corpus", "artifacts"];

/// A file of the project, by its path from the root.
struct File {
    path: String,
    text: String,
    code: String,
}

impl File {
    fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let code = if path.ends_with(".rs") { code_of(&text) } else { String::new() };
        Self { path, text, code }
    }

    fn finding(&self, at: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, line_at(&self.code, at))
    }
}

fn sizes(file: &File) -> Vec<String> {
    let own = without_tests(&file.code);
    let mut found = Vec::new();
    let lines = own.lines().count();
    if lines > FILE_LINES_MAX {
        found.push(format!("{}: {lines} lines, more than {FILE_LINES_MAX}", file.path));
    }
    for function in functions(own) {
        if function.lines > FUNCTION_LINES_MAX {
            found.push(format!(
                "{}:{}: `{}` has {} lines, more than {FUNCTION_LINES_MAX}",
                file.path, function.line, function.name, function.lines
            ));
        }
    }
    found
}

/// Names of the crate's types at its root are for doc examples, for the API, and for what stands on
/// it.
fn layers(file: &File) -> Vec<String> {
    let layer = LAYERS.iter().find(|(folder, _)| file.path.starts_with(folder));
    let Some((folder, below)) = layer else { return Vec::new() };
    let has_the_api = folder.starts_with("src/") && !INNER.contains(folder);
    // The whole text: a comment that names a layer above is a dependency of thought.
    let mut found: Vec<String> = names_after(&file.text, "crate::")
        .into_iter()
        .filter(|name| !below.contains(name))
        .filter(|name| !(has_the_api && name.starts_with(char::is_uppercase)))
        .map(|name| format!("{}: names crate::{name}", file.path))
        .collect();
    let own = without_tests(&file.code);
    // `super` so often that it is the crate's root would be a way around.
    let parts = file.path.trim_start_matches("src/").trim_end_matches(".rs").split('/');
    let depth = parts.filter(|part| *part != "mod").count();
    if own.contains(&"super::".repeat(depth)) {
        found.push(format!("{}: climbs out of its layer by super", file.path));
    }
    found
}

/// A name for a type that has one hides what it is.
fn aliases(file: &File) -> Vec<String> {
    if !file.path.starts_with("src/") && !file.path.starts_with("loadtest/src/") {
        return Vec::new();
    }
    // Those of a trait or of an `impl` are indented.
    let is_alias = |line: &str| {
        let line = line.strip_prefix("pub").map_or(line, |rest| match rest.strip_prefix('(') {
            Some(rest) => rest.split_once(')').map_or(rest, |(_, rest)| rest).trim_start(),
            None => rest.trim_start(),
        });
        line.starts_with("type ")
    };
    let found = file.code.lines().filter(|line| is_alias(line));
    found.map(|line| format!("{}: {}", file.path, line.trim())).collect()
}

fn purity(file: &File) -> Vec<String> {
    if !file.path.starts_with("src/proto/") {
        return Vec::new();
    }
    let std_names = names_after(&file.code, "std::").into_iter();
    let std_names = std_names.filter(|name| IMPURE_STD.contains(name));
    let mut found: Vec<String> =
        std_names.map(|name| format!("{}: uses std::{name}", file.path)).collect();
    for word in IMPURE_WORDS {
        let uses = words(&file.code, word);
        found.extend(uses.map(|at| file.finding(at, &format!("`{word}` in proto"))));
    }
    found
}

fn unsafe_code(file: &File) -> Vec<String> {
    let allowed = UNSAFE_PLACES.iter().any(|place| file.path.starts_with(place));
    let lines: Vec<&str> = file.text.lines().collect();
    let mut found = Vec::new();
    for at in words(&file.code, "unsafe") {
        if !allowed {
            found.push(file.finding(at, "unsafe code does not belong here"));
        } else if !is_justified(&lines[..line_at(&file.code, at) - 1]) {
            found.push(file.finding(at, "no SAFETY comment above"));
        }
    }
    found
}

/// Whether a SAFETY comment stands right above, apart from attributes and from the lines on which
/// the same statement began.
fn is_justified(above: &[&str]) -> bool {
    let mut in_comment = false;
    for line in above.iter().rev().map(|line| line.trim()) {
        if line.starts_with("// SAFETY:") {
            return true;
        }
        let goes_on = line.starts_with("//")
            || !in_comment && (line.starts_with("#[") || line.ends_with(['=', '(', ',', '.', '|']));
        if !goes_on {
            return false;
        }
        in_comment |= line.starts_with("//");
    }
    false
}

fn unfinished(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    for text in UNFINISHED_CODE {
        let uses = file.code.match_indices(text);
        found.extend(uses.map(|(at, _)| file.finding(at, text)));
    }
    if file.path.ends_with(".rs") {
        for note in UNFINISHED_NOTES {
            found.extend(words(&file.text, note).map(|_| format!("{}: {note}", file.path)));
        }
    }
    found
}

fn quotations(file: &File) -> Vec<String> {
    if !file.path.ends_with(".rs") && !file.path.ends_with(".md") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for mark in QUOTATION_MARKS {
        let quoted = file.text.lines().filter(|line| line.trim_start().starts_with(mark));
        found.extend(quoted.map(|line| format!("{}: quotes: {}", file.path, line.trim())));
    }
    for word in NORMATIVE_WORDS {
        let uses = words(&file.text, word).map(|at| line_at(&file.text, at));
        found.extend(uses.map(|line| format!("{}:{line}: {word}, as standards say", file.path)));
    }
    found
}

fn machine_paths(file: &File) -> Vec<String> {
    let paths = MACHINE_PATHS.iter().filter(|path| file.text.contains(**path));
    paths.map(|path| format!("{}: names {path}", file.path)).collect()
}

/// Every text file of the project.
fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    collect(root, root, &mut found);
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("a folder of the project") {
        let entry = entry.expect("a folder of the project");
        let path = entry.path();
        let name = entry.file_name();
        if FOREIGN.iter().any(|foreign| name == *foreign) {
            continue;
        }
        if entry.file_type().expect("an entry has a type").is_dir() {
            collect(root, &path, found);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root).expect("below the root");
            found.push(File::new(path.to_str().expect("names are UTF-8"), text));
        }
    }
}

fn assert_tidy(check: fn(&File) -> Vec<String>) {
    let files = files();
    // The walk must have seen the project, or every check would pass.
    for folder in ["src/proto/", "src/ring/", "src/engine/", "src/api/", "loadtest/src/", "docs/"] {
        assert!(files.iter().any(|file| file.path.starts_with(folder)), "{folder} was not seen");
    }
    let mut found: Vec<String> = files.iter().flat_map(check).collect();
    found.retain(|finding| !ALLOWED.contains(&finding.as_str()));
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
}

#[test]
fn nothing_is_exempt() {
    assert_eq!(ALLOWED, [""; 0]);
}

#[test]
fn files_and_functions_are_short() {
    assert_tidy(sizes);
}

#[test]
fn layers_call_downwards() {
    assert_tidy(layers);
}

#[test]
fn no_type_has_a_second_name() {
    assert_tidy(aliases);
}

#[test]
fn proto_has_no_io_and_no_clock() {
    assert_tidy(purity);
}

#[test]
fn unsafe_code_stands_where_it_may_and_is_justified() {
    assert_tidy(unsafe_code);
}

#[test]
fn nothing_is_unfinished() {
    assert_tidy(unfinished);
}

#[test]
fn standards_are_told_in_our_own_words() {
    assert_tidy(quotations);
}

#[test]
fn no_file_names_a_folder_of_a_machine() {
    assert_tidy(machine_paths);
}
