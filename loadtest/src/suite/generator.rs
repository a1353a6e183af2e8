//! One run of the generator, as a process of its own on its own cores.
//!
//! `runner` calls it. It waits without using the processor, and ends a run that takes too long.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::contender::Cores;
use super::server::last_line;
use crate::interrupt;
use crate::report::Line;

const RUN_MAX: Duration = Duration::from_secs(300);
/// How often a run is asked whether it is to end, apart from when it does.
const LOOK: Duration = Duration::from_millis(200);

/// The program, and where its output goes.
pub struct Generator<'a> {
    pub program: &'a Path,
    pub out: &'a Path,
}

impl Generator<'_> {
    /// Starts the generator and reads its line.
    pub fn run(
        &self,
        cores: Cores,
        words: &[String],
        pid: u32,
        names: (&str, &str),
    ) -> Result<Line> {
        let (output, complaint) = (self.out.join("run.json"), self.out.join("run.err"));
        let mut child = Command::new("taskset")
            .args(["-c", cores.list()])
            .arg(self.program)
            .args(words)
            .args(["--server-pid", &pid.to_string(), "--label", names.0, "--title", names.1])
            .arg("--json")
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(File::create(&complaint)?)
            .spawn()
            .context("cannot start taskset")?;
        let status = await_end(&mut child);
        match status? {
            None => bail!("not done within {} s", RUN_MAX.as_secs()),
            Some(false) => bail!("{}", last_line(&complaint)),
            Some(true) => Line::read(&fs::read_to_string(&output)?),
        }
    }
}

/// Waits for the end without waking up for it: whether it was a success, or `None` if it took too
/// long.
fn await_end(child: &mut Child) -> Result<Option<bool>> {
    let started = Instant::now();
    let pid = Pid::from_child(child);
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    let look = Timespec { tv_sec: 0, tv_nsec: LOOK.as_nanos() as i64 };
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        let (is_late, is_asked) = (started.elapsed() > RUN_MAX, interrupt::is_asked());
        if is_late || is_asked {
            child.kill()?;
            child.wait()?;
            ensure!(!is_asked, "interrupted");
            return Ok(None);
        }
        // A signal ends the wait, too.
        let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&look));
    }
}
