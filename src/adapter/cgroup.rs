//! A control group for GPU backends: who pays for the memory and the time that drawing takes.
//!
//! A backend is put there before it runs, so all that it ever allocates is counted there: its own
//! memory, the pixels it holds (also while the adapter keeps them for another backend), page tables,
//! and its processor time.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// It is not there, or not readable.
    #[error("--cgroup {} cannot be opened", path.display())]
    Open {
        /// Directory asked for.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("--cgroup {} is no directory of cgroup v2 (see mount -t cgroup2)", path.display())]
    NotCgroup {
        /// Directory asked for.
        path: PathBuf,
    },
    /// No process may be put there.
    #[error("--cgroup {}: its cgroup.procs cannot be written", path.display())]
    Procs {
        /// Directory asked for.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// An open cgroup v2 directory. Several devices may share one.
#[derive(Debug, Clone)]
pub struct Cgroup {
    path: PathBuf,
    /// `cgroup.procs`. Who may move processes is decided when it is opened.
    procs: Arc<File>,
}

impl Cgroup {
    /// Opens a directory of cgroup v2.
    pub fn open(path: &Path) -> Result<Self, CgroupError> {
        let directory =
            File::open(path).map_err(|source| CgroupError::Open { path: path.into(), source })?;
        let kind = rustix::fs::fstatfs(&directory)
            .map_err(|errno| CgroupError::Open { path: path.into(), source: errno.into() })?;
        if u64::try_from(kind.f_type).ok() != Some(CGROUP2_MAGIC) {
            return Err(CgroupError::NotCgroup { path: path.into() });
        }
        let procs = OpenOptions::new()
            .write(true)
            .open(path.join("cgroup.procs"))
            .map_err(|source| CgroupError::Procs { path: path.into(), source })?;
        let path = path.canonicalize().unwrap_or_else(|_| path.into());
        Ok(Self { path, procs: Arc::new(procs) })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the process that writes "0" to it into the group.
    pub(super) fn procs(&self) -> Arc<File> {
        Arc::clone(&self.procs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_cgroup_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let error = Cgroup::open(place.path()).unwrap_err();
        assert!(matches!(error, CgroupError::NotCgroup { .. }), "{error}");
        let missing = place.path().join("missing");
        let error = Cgroup::open(&missing).unwrap_err();
        assert!(matches!(error, CgroupError::Open { .. }), "{error}");
        assert!(error.to_string().contains("missing"), "{error}");
        // A file of cgroup v1 or v2 is no directory.
        std::fs::write(&missing, "").unwrap();
        assert!(Cgroup::open(&missing.join("more")).is_err());
    }
}
