//! Says when something may have come at a path, such as a link of udev to an input device.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// Links from one to the next, at most; the kernel itself follows 40.
const MOST_LINKS: usize = 8;
/// Directories that come while the one above them is being watched, at most.
const MOST_TRIES: usize = 16;

/// Becomes readable once something may have come. It is not read then, but made anew.
#[derive(Debug)]
pub struct PathWatch(OwnedFd);

impl PathWatch {
    /// Watches for what comes at these paths from now on: whoever looks there afterwards misses nothing.
    ///
    /// Watched is the directory that each is in, or the nearest one above that there is, and that of
    /// whatever it is a link to. A node counts as come once more when somebody may open it who could not.
    ///
    /// # Errors
    ///
    /// The system has no inotify left (`inotify(7)`, `/proc/sys/fs/inotify`), or the directory cannot be
    /// read.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a Path>) -> io::Result<Self> {
        let watch = Self(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?);
        for path in paths {
            let mut path = std::path::absolute(path)?;
            for _ in 0..MOST_LINKS {
                watch.add(&path)?;
                let (Ok(target), Some(parent)) = (path.read_link(), path.parent()) else { break };
                path = parent.join(target);
            }
        }
        Ok(watch)
    }

    /// Where it becomes readable.
    pub fn fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }

    fn add(&self, path: &Path) -> io::Result<()> {
        let flags = WatchFlags::ONLYDIR
            | WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        let mut watched = BTreeSet::new();
        for _ in 0..MOST_TRIES {
            let Some(directory) = nearest(path) else { break };
            // What has come below it meanwhile was not told of.
            if watched.contains(&directory) {
                return Ok(());
            }
            match inotify::add_watch(&self.0, &directory, flags) {
                Ok(_) => watched.insert(directory),
                // It has just gone.
                Err(rustix::io::Errno::NOENT) => false,
                Err(errno) => return Err(errno.into()),
            };
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

/// The directory that a path is in, or the nearest one above that there is.
fn nearest(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).find(|directory| directory.is_dir()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn is_ready(watch: &PathWatch) -> bool {
        let mut fds = [PollFd::new(&watch.0, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn what_comes_at_a_path_is_noticed_and_what_comes_elsewhere_is_not() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("by-id/keyboard");
        let watch = PathWatch::new([path.as_path()]).unwrap();
        assert!(!is_ready(&watch));
        // Only the directory above is there: the one that comes is watched from then on.
        fs::create_dir(top.path().join("by-id")).unwrap();
        assert!(is_ready(&watch));
        let watch = PathWatch::new([path.as_path()]).unwrap();
        fs::write(top.path().join("event3"), "").unwrap();
        assert!(!is_ready(&watch));
        // As udev makes its links: under another name first.
        symlink("../event3", top.path().join("by-id/.tmp")).unwrap();
        let watch = PathWatch::new([path.as_path()]).unwrap();
        fs::rename(top.path().join("by-id/.tmp"), &path).unwrap();
        assert!(is_ready(&watch));
    }

    #[test]
    fn a_link_is_followed_to_a_node_that_comes_and_may_be_opened() {
        let top = tempfile::tempdir().unwrap();
        let (link, node) = (top.path().join("links/keyboard"), top.path().join("input/event3"));
        fs::create_dir(top.path().join("links")).unwrap();
        symlink("../input/event3", &link).unwrap();
        let watch = || PathWatch::new([link.as_path()]).unwrap();
        let came = watch();
        fs::create_dir(top.path().join("input")).unwrap();
        assert!(is_ready(&came));
        let came = watch();
        fs::write(&node, "").unwrap();
        assert!(is_ready(&came));
        let allowed = watch();
        assert!(!is_ready(&allowed));
        // Reading and writing it is nothing that comes.
        fs::write(&node, "x").unwrap();
        assert!(!is_ready(&allowed));
        fs::set_permissions(&node, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(is_ready(&allowed));
    }

    #[test]
    fn a_directory_that_goes_is_looked_for_above() {
        let top = tempfile::tempdir().unwrap();
        let directory = top.path().join("by-id");
        fs::create_dir(&directory).unwrap();
        let path = directory.join("keyboard");
        let watch = PathWatch::new([path.as_path()]).unwrap();
        fs::remove_dir(&directory).unwrap();
        assert!(is_ready(&watch));
        let watch = PathWatch::new([path.as_path()]).unwrap();
        assert!(!is_ready(&watch));
        fs::create_dir(&directory).unwrap();
        assert!(is_ready(&watch));
    }

    #[test]
    fn links_in_a_circle_end() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("circle");
        symlink("circle", &path).unwrap();
        assert!(PathWatch::new([path.as_path()]).is_ok());
    }
}
