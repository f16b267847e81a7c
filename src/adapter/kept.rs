//! What a backend leaves for the one that takes its place.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::gpu::{Limits, StateFile};

/// Files of pixels that are kept: as many as one of our backends has.
const MAX_FILES: usize = 512;

/// The state file and the pixels of classic resources. The adapter looks into neither.
#[derive(Debug)]
pub struct Kept {
    state: File,
    pixels: HashMap<u64, OwnedFd>,
}

impl Kept {
    /// Nothing is kept yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self { state: StateFile::create(&Limits::default())?, pixels: HashMap::new() })
    }

    /// Forgets everything. No backend may have the state file.
    pub fn clear(&mut self) -> io::Result<()> {
        *self = Self::new()?;
        Ok(())
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
