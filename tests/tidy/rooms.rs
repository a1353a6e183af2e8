//! The folders of the engine: each uses those below it, and the methods of a type stand in its
//! folder.

use super::source::{names_after, without_tests, words};
use super::{File, assert_tidy, files};
use std::collections::{BTreeMap, BTreeSet};

const ENGINE: &str = "src/engine/";

/// From top to bottom, what each folder or file of the engine may name of the engine.
const ROOMS: &[(&str, &[&str])] = &[
    ("launch", &["shard", "commands", "handlers", "core", "connection", "model", "listener"]),
    ("simulated", &["shard", "commands", "handlers", "connection", "model"]),
    ("bench", &["shard", "commands", "handlers", "core", "connection", "model"]),
    ("shard", &["commands", "handlers", "core", "connection", "shared", "model"]),
    ("commands", &["shared", "model", "listener"]),
    ("handlers", &["core", "connection", "model"]),
    ("core", &["connection", "model"]),
    ("connection", &["shared", "model"]),
    ("shared", &["model"]),
    ("listener", &["model"]),
    ("model", &[]),
];

/// The folder, or the file, of the engine that a path is in.
fn room(path: &str) -> Option<&str> {
    let inside = path.strip_prefix(ENGINE)?.trim_end_matches(".rs");
    let room = inside.split('/').next()?;
    (room != "mod").then_some(room)
}

/// What the code of a room names of rooms that are not below it. Comments may point anywhere.
fn climbs(file: &File) -> Vec<String> {
    let Some(room) = room(&file.path) else { return Vec::new() };
    let Some((_, below)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![format!("{}: a room that nobody knows", file.path)];
    };
    let named = names_after(without_tests(&file.code), "crate::engine::").into_iter();
    // A name at the root of the engine may be of any room.
    let wrong = named.filter(|name| *name != room && !below.contains(name));
    wrong.map(|name| format!("{}: names {name}", file.path)).collect()
}

/// The types that a file defines, and those it has methods for.
fn types(code: &str) -> (Vec<&str>, Vec<&str>) {
    let word = |at: usize| {
        let rest = code[at..].trim_start();
        rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().unwrap_or("")
    };
    let after = |keyword: &'static str| words(code, keyword).map(move |at| at + keyword.len());
    let defined = ["struct", "enum"].into_iter().flat_map(after).map(word).collect();
    let mut extended = Vec::new();
    for at in after("impl") {
        let head = code[at..].split('{').next().unwrap_or("");
        // Traits may be implemented anywhere, and `impl Trait` in a signature is none.
        let before = &code[..at - "impl".len()];
        let starts_line = before.is_empty() || before.ends_with('\n');
        if starts_line && !words(head, "for").any(|_| true) {
            let generics =
                if head.starts_with('<') { head.find("> ").map_or(0, |end| end + 1) } else { 0 };
            extended.push(word(at + generics));
        }
    }
    (defined, extended)
}

/// Methods whose type is defined in another room.
fn strays(files: &[File]) -> Vec<String> {
    let mut homes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let inside = || files.iter().filter_map(|file| Some((room(&file.path)?, file)));
    for (room, file) in inside() {
        for name in types(without_tests(&file.code)).0 {
            homes.entry(name).or_default().insert(room);
        }
    }
    let mut found = Vec::new();
    for (room, file) in inside() {
        for name in types(without_tests(&file.code)).1 {
            if homes.get(name).is_none_or(|rooms| !rooms.contains(room)) {
                found.push(format!("{}: methods of {name}", file.path));
            }
        }
    }
    found
}

#[test]
fn rooms_of_the_engine_use_those_below_them() {
    assert_tidy(climbs);
    for (index, (name, below)) in ROOMS.iter().enumerate() {
        let above: Vec<_> = ROOMS[..index].iter().map(|(name, _)| *name).collect();
        assert!(below.iter().all(|room| !above.contains(room)), "{name} is above its own floor");
    }
}

#[test]
fn methods_stand_in_the_room_of_their_type() {
    let found = strays(&files());
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
}

#[test]
fn both_checks_find_what_they_are_there_for() {
    let file = |path: &str, text: &str| File::new(path, text);
    for (path, text, findings) in [
        ("src/engine/model/ids.rs", "use crate::engine::shard::Shard;", 1),
        ("src/engine/connection/mod.rs", "use crate::engine::{core, model};", 1),
        ("src/engine/connection/mod.rs", "//! See [`crate::engine::shard`].\n", 0),
        ("src/engine/shard/mod.rs", "use crate::engine::connection::Connection;", 0),
        ("src/engine/attic/mod.rs", "", 1),
        ("src/engine/mod.rs", "use crate::engine::anything;", 0),
    ] {
        assert_eq!(climbs(&file(path, text)).len(), findings, "{path}: {text}");
    }
    let home = || file("src/engine/core/a.rs", "struct A<T>(T);\nenum B { X }\nimpl<T> A<T> {}\n");
    let away = |text| file("src/engine/shard/b.rs", text);
    assert_eq!(strays(&[home()]), [""; 0]);
    let findings = |text| strays(&[home(), away(text)]).len();
    assert_eq!(findings("impl B { fn f() -> impl Sized {} }\n"), 1);
    assert_eq!(findings("impl<T: Into<u8>> A<T> {}\nimpl Drop for B {}\n"), 1);
    assert_eq!(findings("struct C;\nimpl C {}\n"), 0);
}
