//! Chains of the control queue that go back to the driver when the display has latched their flush.

use std::collections::VecDeque;

/// A chain that is done but for its flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldChain {
    /// Its first descriptor.
    pub head: u16,
    /// Bytes written to it.
    pub written: u32,
    /// Updates the display has not answered yet, at least 1.
    updates: usize,
}

/// Held chains, the oldest first. The display answers updates in the order they were sent in.
#[derive(Debug, Default)]
pub struct HeldChains {
    chains: VecDeque<HeldChain>,
    /// Answers to come for chains that are no longer held. They come before those of `chains`.
    orphans: usize,
}

impl HeldChains {
    /// Holds a chain until `updates` more updates, at least 1, are answered.
    pub fn hold(&mut self, head: u16, written: u32, updates: usize) {
        self.chains.push_back(HeldChain { head, written, updates });
    }

    /// Chains that are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chains.len()
    }

    /// Whether no chain is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// An update was answered. Gives the chain that waited for nothing else.
    pub fn answered(&mut self) -> Option<HeldChain> {
        if self.orphans > 0 {
            self.orphans -= 1;
            return None;
        }
        let oldest = self.chains.front_mut()?;
        oldest.updates = oldest.updates.saturating_sub(1);
        if oldest.updates > 0 { None } else { self.chains.pop_front() }
    }

    /// Lets go of all chains. The display's answers are still to come, and belong to none.
    pub fn release(&mut self) -> VecDeque<HeldChain> {
        self.expect_orphans(self.chains.iter().map(|chain| chain.updates).sum());
        std::mem::take(&mut self.chains)
    }

    /// So many more answers will come that belong to no chain; no chain is held.
    pub fn expect_orphans(&mut self, answers: usize) {
        self.orphans += answers;
    }

    /// Lets go of all chains of a display that will not answer.
    pub fn abandon(&mut self) -> VecDeque<HeldChain> {
        self.orphans = 0;
        std::mem::take(&mut self.chains)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(chains: impl IntoIterator<Item = HeldChain>) -> Vec<u16> {
        chains.into_iter().map(|chain| chain.head).collect()
    }

    #[test]
    fn a_chain_goes_back_with_its_last_answer() {
        let mut held = HeldChains::default();
        held.hold(7, 24, 2);
        held.hold(9, 24, 1);
        assert_eq!(held.answered(), None);
        assert_eq!(held.answered().map(|chain| (chain.head, chain.written)), Some((7, 24)));
        assert_eq!(held.len(), 1);
        assert_eq!(heads(held.answered()), [9]);
        assert_eq!(held.answered(), None);
        assert!(held.is_empty());
    }

    #[test]
    fn answers_for_released_chains_return_no_later_one() {
        let mut held = HeldChains::default();
        held.hold(1, 24, 1);
        held.hold(2, 24, 2);
        assert_eq!(heads(held.release()), [1, 2]);
        held.hold(3, 24, 1);
        assert_eq!([held.answered(), held.answered(), held.answered()], [None; 3]);
        assert_eq!(heads(held.answered()), [3]);
    }

    #[test]
    fn a_display_that_is_gone_answers_nothing() {
        let mut held = HeldChains::default();
        held.hold(1, 24, 1);
        held.expect_orphans(3);
        assert_eq!(heads(held.abandon()), [1]);
        held.hold(2, 24, 1);
        assert_eq!(heads(held.answered()), [2]);
    }
}
