//! What the engine itself adds: sessions on a ring in memory, without the kernel.
//!
//! `runner` calls [`run`] once a round, because a machine that is shared can run at half its speed
//! for seconds. The figures are those that criterion leaves behind.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What a single run looks like.
pub const COMMAND: &str = "cargo bench --bench micro -- echo/text";

/// Title, the folder of criterion, messages of a session.
const SESSIONS: [(&str, &str, f64); 2] =
    [("micro: 125 B text", "text-125x1", 1.0), ("micro: 16 x 32 B text", "text-32x16", 16.0)];
const FILTER: &str = "^echo/text-(125x1|32x16)/";

/// Nanoseconds per message, by title.
pub fn run(target: &Path, log: &Path) -> Result<Vec<(&'static str, f64)>> {
    let output = File::create(log).with_context(|| log.display().to_string())?;
    let status = Command::new("taskset")
        .args(["-c", "1", "cargo", "bench", "--quiet", "--bench", "micro", "--"])
        .args(["--warm-up-time", "0.3", "--measurement-time", "0.8", FILTER])
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()
        .context("cannot start taskset")?;
    ensure!(status.success(), "cargo bench --bench micro (see {})", log.display());
    let figure = |(title, folder, messages): (&'static str, &str, f64)| {
        let folder = target.join("criterion").join(format!("echo_{folder}"));
        let engine = median_ns(&folder.join("engine"))?;
        Ok((title, (engine - median_ns(&folder.join("ring alone"))?) / messages))
    };
    SESSIONS.into_iter().map(figure).collect()
}

fn median_ns(folder: &Path) -> Result<f64> {
    let file = folder.join("new/estimates.json");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    json["median"]["point_estimate"]
        .as_f64()
        .with_context(|| format!("{}: no median", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_criterion_is_read() {
        let folder = std::env::temp_dir().join(format!("criterion-{}", std::process::id()));
        fs::create_dir_all(folder.join("new")).unwrap();
        fs::write(
            folder.join("new/estimates.json"),
            r#"{"mean":{"point_estimate":9.0},"median":{"point_estimate":52.25}}"#,
        )
        .unwrap();
        assert_eq!(median_ns(&folder).unwrap(), 52.25);
        fs::remove_dir_all(&folder).unwrap();
        assert!(median_ns(&folder).is_err());
    }
}
