//! The checks and the scanner on samples: each must find what it is there for, and nothing else.

use super::source::{Function, code_of, functions, names_after, without_tests};
use super::{File, layers, machine_paths, purity, quotations, sizes, unfinished, unsafe_code};

#[test]
fn comments_and_literals_are_no_code() {
    for (text, code) in [
        ("a // unsafe {\nb", "a            \nb"),
        ("a /* x /* y */ \" */ b", "a                    b"),
        ("f(\"}\\\"{\", 'x', '\\'', '{')", "f(       ,    ,     ,    )"),
        ("r\"{\" br#\"\"{\"# r##\"#\n\"## z", "\n z"),
        ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
        ("for b in bar { car\"s\" }", "for b in bar { car    }"),
    ] {
        let found = code_of(text);
        assert_eq!(found.chars().count(), text.chars().count(), "{text}");
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&found), squeezed(code), "{text}");
        assert_eq!(found.matches('\n').count(), text.matches('\n').count(), "{text}");
    }
}

#[test]
fn functions_are_measured_from_fn_to_brace() {
    let text = "\
struct S { call: fn(u8) -> u8 }
trait T { fn declared(&self) -> [u8; 2]; }
impl S {
    pub async fn outer<F: Fn()>(
        f: F,
    ) -> [u8; 2] {
        fn inner() { let brace = '{'; }
        { f() }
        [0; 2]
    }
}";
    let function = |name: &str, line, lines| Function { name: name.into(), line, lines };
    assert_eq!(functions(&code_of(text)), [function("outer", 4, 7), function("inner", 7, 1)]);
}

#[test]
fn only_tests_at_the_end_are_left_out() {
    let tests = "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n";
    assert_eq!(without_tests(&format!("fn a() {{}}\n{tests}")), "fn a() {}\n");
    let more = format!("{tests}fn hidden() {{}}\n");
    assert_eq!(without_tests(&more), more);
}

#[test]
fn long_files_and_functions_are_found() {
    let lines = |count: usize| "\n".repeat(count);
    assert_eq!(sizes(&File::new("a.rs", format!("{}//", lines(399)))), [""; 0]);
    assert_eq!(sizes(&File::new("a.rs", lines(401))), ["a.rs: 401 lines, more than 400"]);
    let function = |count: usize| File::new("a.rs", format!("fn f() {{{}}}", lines(count)));
    assert_eq!(sizes(&function(69)), [""; 0]);
    assert_eq!(sizes(&function(70)), ["a.rs:1: `f` has 71 lines, more than 70"]);
}

#[test]
fn paths_are_taken_apart() {
    let code =
        "use crate::{engine::{Port, api}, proto, ring::Ring as R};\ncrate::clock::x(); mycrate::y";
    assert_eq!(names_after(code, "crate::"), ["engine", "proto", "ring", "clock"]);
}

#[test]
fn calls_upwards_are_found() {
    for (path, text) in [
        ("src/proto/frame.rs", "use crate::ring::Buffer;"),
        ("src/proto/frame.rs", "use crate::{proto::close, engine};"),
        ("src/proto/frame.rs", "/// See [`crate::api`].\nfn f() {}"),
        ("src/proto/frame.rs", "use crate::Settings;"),
        ("src/proto/mask/mod.rs", "use super::super::ring::Buffer;"),
        ("src/proto/mod.rs", "use super::engine;"),
        ("src/ring/pool.rs", "use crate::proto::limits;"),
        ("src/engine/shard.rs", "use crate::api::Data;"),
        ("src/engine/shard.rs", "use crate::config::Config;"),
        ("src/api/engine.rs", "use crate::serve;"),
    ] {
        assert_eq!(layers(&File::new(path, text)).len(), 1, "{path}: {text}");
    }
    for (path, text) in [
        ("src/proto/mask/simd.rs", "use super::super::limits; use crate::proto::frame;"),
        ("src/api/engine.rs", "use crate::engine::Routes;\n/// [`Timeouts`](crate::Timeouts)"),
        ("src/serve/mod.rs", "use crate::Engine; use crate::config::Config;"),
    ] {
        assert_eq!(layers(&File::new(path, text)), [""; 0], "{path}: {text}");
    }
}

#[test]
fn input_output_and_clocks_in_proto_are_found() {
    for text in [
        "use std::net::TcpStream;",
        "use std::{fmt, net::TcpStream};",
        "let now = std::time::Instant::now();",
        "use std::time::{Duration, SystemTime};",
        "std::fs::read(path)",
        "use rand::Rng;",
        "tracing::info!(\"x\")",
    ] {
        assert_eq!(purity(&File::new("src/proto/frame.rs", text)).len(), 1, "{text}");
        assert_eq!(purity(&File::new("src/engine/shard.rs", text)), [""; 0], "{text}");
    }
    let innocent = "use core::net::Ipv6Addr; use std::fmt; // no Instant::now\nlet operand = 1;";
    assert_eq!(purity(&File::new("src/proto/frame.rs", innocent)), [""; 0]);
}

#[test]
fn unsafe_code_is_found_and_must_be_justified() {
    let justified =
        "// SAFETY: owned by `x`,\n// and so on.\n#[cold]\nlet y =\n    unsafe { z() };";
    for (path, text, findings) in [
        ("src/engine/shard.rs", justified, 1),
        ("tests/wire.rs", justified, 1),
        ("src/ring/pool.rs", justified, 0),
        ("src/proto/mask/simd.rs", justified, 0),
        ("src/ring/pool.rs", "let y = unsafe { z() };", 1),
        ("src/ring/pool.rs", "unsafe impl Send for X {}", 1),
        ("src/ring/pool.rs", "// It is safe.\nunsafe fn f() {}", 1),
        ("src/ring/pool.rs", "// SAFETY: of x.\nx();\nunsafe { y() };", 1),
        ("src/engine/mod.rs", "#![forbid(unsafe_code)] // unsafe\nlet x = \"unsafe {\";", 0),
    ] {
        assert_eq!(unsafe_code(&File::new(path, text)).len(), findings, "{path}: {text}");
    }
}

#[test]
fn unfinished_code_is_found() {
    for (text, findings) in [
        (concat!("fn f() { to", "do!() }"), 1),
        (concat!("fn f() { db", "g!(x); unimplement", "ed!() }"), 2),
        (concat!("#[igno", "re]\nfn f() {}"), 1),
        (concat!("// FIX", "ME: later"), 1),
        (concat!("// XX", "X"), 1),
        (concat!("const MAX", "XX", "X: u8 = 1; // dbg"), 0),
    ] {
        assert_eq!(unfinished(&File::new("a.rs", text)).len(), findings, "{text}");
    }
}

#[test]
fn texts_of_standards_are_found() {
    for (path, text, findings) in [
        (
            "a.rs",
            concat!("    //", "= https://example.org/rfc1#section-2\n    //", "# It is so."),
            2,
        ),
        ("a.rs", concat!("/// A server MU", "ST NOT do so."), 1),
        ("docs/a.md", concat!("A client SHO", "ULD, or SHA", "LL."), 2),
        ("a.rs", "// RFC 1 §2: a server does not. They must, MUSTER.\nlet url = \"x//#y\";", 0),
        ("a.js", concat!("//", "# sourceMappingURL=a.map"), 0),
    ] {
        assert_eq!(quotations(&File::new(path, text)).len(), findings, "{path}: {text}");
    }
}

#[test]
fn folders_of_a_machine_are_found() {
    let text = |folder: &str| format!("cd {folder}ringwire");
    for folder in ["/wo_rk/", "/ro_ot/", "/ho_me/"].map(|folder| folder.replace('_', "")) {
        assert_eq!(machine_paths(&File::new("docs/a.md", text(&folder))).len(), 1, "{folder}");
    }
    assert_eq!(machine_paths(&File::new("docs/a.md", text("/var/lib/"))), [""; 0]);
}
