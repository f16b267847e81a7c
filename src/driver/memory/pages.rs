//! Which bytes of the memory are free.

use std::collections::BTreeMap;

/// Free runs, by first byte; no two of them touch.
#[derive(Debug)]
pub(super) struct FreePages {
    runs: BTreeMap<u64, u64>,
}

impl FreePages {
    /// All of the `size` bytes from `start` are free.
    pub(super) fn new(start: u64, size: u64) -> Self {
        Self { runs: BTreeMap::from([(start, size)]) }
    }

    /// Free bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.runs.values().sum()
    }

    /// Takes `size` bytes from the first run that has them.
    pub(super) fn take(&mut self, size: u64) -> Option<u64> {
        let (start, length) =
            self.runs.iter().find(|(_, length)| **length >= size).map(|(s, l)| (*s, *l))?;
        self.runs.remove(&start);
        if length > size {
            self.runs.insert(start + size, length - size);
        }
        Some(start)
    }

    /// Gives back what [`FreePages::take`] gave out.
    pub(super) fn give(&mut self, start: u64, size: u64) {
        let mut run = (start, size);
        if let Some(after) = self.runs.remove(&(start + size)) {
            run.1 += after;
        }
        if let Some((before, length)) = self.runs.range(..start).next_back().map(|(s, l)| (*s, *l))
            && before + length == start
        {
            run = (before, run.1 + length);
        }
        self.runs.insert(run.0, run.1);
    }
}
