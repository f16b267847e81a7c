//! A device that goes on where that of an earlier backend has ended.

use std::collections::HashMap;
use std::fs::File;

use super::Device;
use crate::gpu::{self, StateFile};
use crate::one_line;

/// What an earlier backend has left.
#[derive(Debug)]
pub(super) struct Left {
    state: StateFile,
    pixels: HashMap<u64, File>,
}

impl Device {
    /// Goes on from what this file says, and keeps it up to date, once there is a memory table.
    pub fn set_state(&mut self, file: File) {
        match StateFile::open(file, &self.limits) {
            Ok(state) => self.left = Some(Left { state, pixels: HashMap::new() }),
            Err(error) => log::warn!("{}; nothing is kept", one_line(&error)),
        }
    }

    /// Pixels that belong to the state.
    pub fn set_pixels(&mut self, buffer: u64, file: File) {
        if let Some(left) = &mut self.left
            && left.pixels.len() < self.limits.files
        {
            left.pixels.insert(buffer, file);
        }
    }

    /// So many of the chains that come next on a ring may have been executed already.
    pub fn set_repeated(&mut self, index: u32, count: u32) {
        if let Ok(vring) = self.vring(index) {
            vring.repeated = count;
        }
    }

    /// Makes the device what the one of an earlier backend was.
    pub(super) fn restore(&mut self) {
        let Some(Left { state, pixels }) = self.left.take() else { return };
        let restored = self.gpu.restore(state, pixels, &*self.memory);
        if restored != gpu::Restored::default() {
            log::info!(
                "going on with {} resources and {} scanouts",
                restored.resources,
                restored.scanouts
            );
        }
        if restored.dropped > 0 {
            log::warn!("{} records of an earlier backend made no sense", restored.dropped);
        }
        self.gpu.show_again(&mut self.display);
        self.held.expect_orphans(self.display.take_updates());
    }
}
