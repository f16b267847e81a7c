//! What a backend leaves for the one that takes its place.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::gpu::{Counters, Limits, StateFile};

/// Files of pixels that are kept: as many as one of our backends has.
const MAX_FILES: usize = 512;

/// The state file and the pixels of classic resources. The adapter looks into neither.
#[derive(Debug)]
pub struct Kept {
    state: Arc<File>,
    limits: Limits,
    pixels: HashMap<u64, OwnedFd>,
}

impl Kept {
    /// Nothing is kept yet of a backend with these limits.
    pub fn new(limits: &Limits) -> io::Result<Self> {
        let state = Arc::new(StateFile::create(limits)?);
        Ok(Self { state, limits: limits.clone(), pixels: HashMap::new() })
    }

    /// Forgets everything but the counters. No backend may have the state file.
    pub fn clear(&mut self) -> io::Result<()> {
        let new = Self::new(&self.limits)?;
        Counters::read(&self.state)?.carry_over(&new.state)?;
        *self = new;
        Ok(())
    }

    /// The state file, for its counters.
    pub fn state_file(&self) -> Arc<File> {
        Arc::clone(&self.state)
    }

    /// Keeps a file under this name, for good measure only as many as a backend may have.
    pub fn keep(&mut self, buffer: u64, file: OwnedFd) {
        if self.pixels.len() < MAX_FILES || self.pixels.contains_key(&buffer) {
            self.pixels.insert(buffer, file);
        }
    }

    /// Lets go of a file.
    pub fn release(&mut self, buffer: u64) {
        self.pixels.remove(&buffer);
    }

    /// The state file.
    pub fn state(&self) -> BorrowedFd<'_> {
        self.state.as_fd()
    }

    /// The files of pixels by name.
    pub fn pixels(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>)> {
        self.pixels.iter().map(|(&buffer, file)| (buffer, file.as_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: u64) -> OwnedFd {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let file = rustix::fs::memfd_create("pixels", flags).unwrap();
        rustix::fs::ftruncate(&file, bytes).unwrap();
        file
    }

    fn size(kept: &Kept, wanted: u64) -> Option<i64> {
        let (_, file) = kept.pixels().find(|(buffer, _)| *buffer == wanted)?;
        Some(rustix::fs::fstat(file).unwrap().st_size)
    }

    #[test]
    fn a_backend_has_only_so_many_files_kept() {
        let mut kept = Kept::new(&Limits::default()).unwrap();
        for buffer in 1..=600 {
            kept.keep(buffer, file(buffer));
        }
        assert_eq!(kept.pixels().count(), 512);
        assert_eq!((size(&kept, 512), size(&kept, 513)), (Some(512), None));
        // One that is there already is replaced, and one that is released makes room.
        kept.keep(7, file(70));
        assert_eq!(size(&kept, 7), Some(70));
        kept.release(7);
        kept.release(7);
        kept.keep(513, file(513));
        assert_eq!((size(&kept, 7), size(&kept, 513)), (None, Some(513)));
        kept.clear().unwrap();
        assert_eq!(kept.pixels().count(), 0);
    }
}
