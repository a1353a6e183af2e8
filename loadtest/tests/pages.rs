//! `compare` and `report` on the lines of real runs, and on lines that are none.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Floor, complaint, echo, load};

/// A file that ends with the test.
struct Lines(PathBuf);

impl Lines {
    fn new(name: &str, text: &str) -> Lines {
        let path = std::env::temp_dir().join(format!("{name}-{}.jsonl", std::process::id()));
        fs::write(&path, text).expect("a temporary file");
        Lines(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a path of text")
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = fs::remove_file(&self.0);
    }
}

fn runs() -> Lines {
    let mut lines = String::new();
    for driver in ["epoll", "uring"] {
        let floor = Floor::start(driver);
        let (url, pid) = (format!("tcp://{}", floor.address), floor.child.id().to_string());
        let label = format!("floor-{driver}");
        let subject = ["--raw", "--server-pid", &pid, "--label", &label];
        for extra in [["--connections", "2"], ["--connections", "20"], ["--rate", "300"]] {
            let output = echo(&url, &[&subject[..], &extra].concat());
            assert!(output.status.success(), "{output:?}");
            lines += &String::from_utf8(output.stdout).expect("text");
        }
        let idle = ["idle", &url, "--connections", "50", "--hold", "0", "--json"];
        let output = load(&[&idle[..], &subject].concat());
        lines += &String::from_utf8(output.stdout).expect("text");
    }
    Lines::new("runs", &lines)
}

#[test]
fn runs_become_a_table_and_a_page() {
    let runs = runs();
    let table = load(&["compare", runs.path()]);
    assert!(table.status.success(), "{table:?}");
    let table = String::from_utf8(table.stdout).expect("text");
    for words in ["20 connections x 1, 125 B", "100 connections at 300/s", "50 idle", "floor-uring"]
    {
        assert!(table.contains(words), "{words}: {table}");
    }
    let page = load(&["report", runs.path(), runs.path()]);
    assert!(page.status.success(), "{page:?}");
    let page = String::from_utf8(page.stdout).expect("text");
    for words in ["16 runs", "<h2>Echo", "<h2>Latency", "<h2>Scaling", "<h2>Memory", "polyline"] {
        assert!(page.contains(words), "{words}");
    }
    assert!(!page.contains("<script") && !page.contains("http"), "the page needs nothing else");
    assert!(!page.contains("NaN") && !page.contains("inf "), "every place is a number");
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
}

#[test]
fn the_published_pages_are_made_of_the_published_figures() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let copy = std::env::temp_dir().join(format!("published-{}", std::process::id()));
    fs::create_dir_all(copy.join("docs")).expect("a temporary folder");
    let report = fs::read_to_string(root.join("BENCHMARKS.md")).expect("the report");
    fs::write(copy.join("BENCHMARKS.md"), &report).expect("a copy");
    let figures = root.join("benches/results/published.json");
    let folder = ["--root", copy.to_str().expect("text")];
    let made = load(&[&["pages", figures.to_str().expect("text")][..], &folder].concat());
    assert!(made.status.success(), "{made:?}");
    for name in ["BENCHMARKS.md", "docs/benchmarks.html"] {
        let (wanted, found) = (fs::read(copy.join(name)), fs::read(root.join(name)));
        assert!(wanted.expect(name) == found.expect(name), "run `ringwire-loadtest pages`: {name}");
    }
    assert!(report.lines().count() <= 120, "the report is for reading, tables are on the page");
    fs::remove_dir_all(&copy).expect("it was ours");
}

#[test]
fn what_is_no_run_is_told_with_its_line() {
    let wrong = Lines::new("wrong", "\n{\"schema\":1}\n");
    let old = Lines::new(
        "old",
        "{\"schema\":0,\"scenario\":\"abuse\",\"label\":\"\",\"url\":\"\",\"attackers\":1,\"kinds\":[]}\n",
    );
    for command in ["compare", "report"] {
        let text = complaint(&load(&[command, wrong.path()]));
        assert!(text.contains("line 2") && text.contains("scenario"), "{text}");
        assert!(complaint(&load(&[command, old.path()])).contains("schema 0 instead of 1"));
        assert!(complaint(&load(&[command, "/nonexistent"])).contains("No such file"));
    }
}
