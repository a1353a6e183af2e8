//! The file of a Unix socket: who may put one at a path, and who removes it.
//!
//! Two servers that find the same stale file must not both replace it, and one that ends must not
//! remove its successor's. So whoever looks and changes holds a lock: a file beside the socket,
//! locked by flock(2), which ends with its process, and there for that moment only. Called by
//! [`listener`](crate::engine::listener). Nothing here opens a socket.

use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How often, and how far apart, the lock is asked for by a server that ends. Its file is left
/// behind after that, which the next one replaces.
const RELEASE_TRIES: u32 = 50;
const RELEASE_PAUSE: Duration = Duration::from_millis(10);

/// The right to put a file at a path, or to remove one.
#[derive(Debug)]
pub(in crate::engine) struct Claim {
    path: PathBuf,
    /// The lock ends with it.
    _file: OwnedFd,
}

impl Claim {
    /// Claims `path`.
    ///
    /// # Errors
    /// `ADDRINUSE` while somebody else has it; what the system says about the directory.
    pub(in crate::engine) fn on(path: &Path) -> rustix::io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // A file system without locks is no reason not to start.
            Ok(()) | Err(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            Err(Errno::WOULDBLOCK) => return Err(Errno::ADDRINUSE),
            Err(errno) => return Err(errno),
        }
        // Whoever had it before removed the file, and then another one may be there by now.
        let ours = rustix::fs::fstat(&file)?;
        match rustix::fs::lstat(&path) {
            Ok(there) if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino) => {
                Ok(Self { path, _file: file })
            }
            Ok(_) | Err(Errno::NOENT) => Err(Errno::ADDRINUSE),
            Err(errno) => Err(errno),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = rustix::fs::unlink(&self.path);
    }
}

/// The file of a socket, removed when dropped. The socket must be open until then: it keeps the
/// number of the file from being given to another one.
#[derive(Debug)]
pub(in crate::engine) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    pub(in crate::engine) fn at(path: &Path) -> rustix::io::Result<Self> {
        let stat = rustix::fs::lstat(path)?;
        Ok(Self { path: path.into(), device: stat.st_dev, inode: stat.st_ino })
    }

    /// A newer server may have put its own socket there.
    fn is_ours(&self) -> bool {
        rustix::fs::lstat(&self.path)
            .is_ok_and(|stat| stat.st_dev == self.device && stat.st_ino == self.inode)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        for _ in 0..RELEASE_TRIES {
            match Claim::on(&self.path) {
                Ok(_claim) => {
                    if self.is_ours() {
                        let _ = rustix::fs::unlink(&self.path);
                    }
                    return;
                }
                Err(Errno::ADDRINUSE) => thread::sleep(RELEASE_PAUSE),
                // The directory is gone, or not ours any more.
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn path(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("ringwire-file-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn a_claim_is_one_thread_s_at_a_time_and_leaves_nothing() {
        let path = path("claim");
        let (holders, claims) = (AtomicU32::new(0), AtomicU32::new(0));
        let barrier = Barrier::new(8);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    for _ in 0..500 {
                        match Claim::on(&path) {
                            Ok(_claim) => {
                                assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                                claims.fetch_add(1, Ordering::SeqCst);
                                assert_eq!(holders.fetch_sub(1, Ordering::SeqCst), 1);
                            }
                            Err(errno) => assert_eq!(errno, Errno::ADDRINUSE),
                        }
                    }
                });
            }
        });
        assert!(claims.into_inner() > 0);
        let lock = path.with_file_name(format!(
            "{}.lock",
            path.file_name().and_then(|name| name.to_str()).expect("UTF-8")
        ));
        assert!(!lock.exists());
        // One that was killed in the middle leaves it, and stops nobody.
        std::fs::write(&lock, "").expect("a free path");
        drop(Claim::on(&path).expect("nobody has it"));
        assert!(!lock.exists());
    }

    #[test]
    fn a_successor_s_file_is_left_alone() {
        let path = path("successor");
        let _older = UnixListener::bind(&path).expect("a free path");
        let file = SocketFile::at(&path).expect("it is there");
        std::fs::remove_file(&path).expect("ours");
        let _newer = UnixListener::bind(&path).expect("a free path");
        drop(file);
        assert!(path.exists(), "the newer server's file was removed");
        drop(SocketFile::at(&path).expect("it is there"));
        assert!(!path.exists());
    }

    #[test]
    fn what_the_directory_does_not_allow_is_told() {
        let missing = Claim::on(Path::new("/nonexistent/x.sock")).expect_err("no directory");
        assert_eq!(missing, Errno::NOENT);
    }
}
