//! Chains of the control queue that go back to the driver when the display has latched their flush.

use std::collections::VecDeque;

/// A chain that is done but for its flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldChain {
    /// Its first descriptor.
    pub head: u16,
    /// Bytes written to it.
    pub written: u32,
    /// Updates the display has not answered yet. 0: it waits for the chains before it.
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
    /// Holds a chain until `updates` more updates are answered, and those of the chains before it.
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

    /// An update was answered. Gives the chains that waited for nothing else.
    pub fn answered(&mut self) -> impl Iterator<Item = HeldChain> {
        let mut done = 0;
        if self.orphans > 0 {
            self.orphans -= 1;
        } else if let Some(oldest) = self.chains.front_mut() {
            oldest.updates = oldest.updates.saturating_sub(1);
            done = self.chains.iter().take_while(|chain| chain.updates == 0).count();
        }
        self.chains.drain(..done)
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
        assert!(heads(held.answered()).is_empty());
        let second: Vec<_> = held.answered().map(|chain| (chain.head, chain.written)).collect();
        assert_eq!(second, [(7, 24)]);
        assert_eq!(held.len(), 1);
        assert_eq!(heads(held.answered()), [9]);
        assert!(heads(held.answered()).is_empty());
        assert!(held.is_empty());
    }

    #[test]
    fn chains_without_updates_follow_those_before_them() {
        let mut held = HeldChains::default();
        held.hold(1, 24, 1);
        held.hold(2, 24, 0);
        held.hold(3, 24, 0);
        held.hold(4, 24, 1);
        held.hold(5, 24, 0);
        assert_eq!(heads(held.answered()), [1, 2, 3]);
        assert_eq!(heads(held.answered()), [4, 5]);
        assert!(held.is_empty());
    }

    #[test]
    fn answers_for_released_chains_return_no_later_one() {
        let mut held = HeldChains::default();
        held.hold(1, 24, 1);
        held.hold(2, 24, 2);
        assert_eq!(heads(held.release()), [1, 2]);
        held.hold(3, 24, 1);
        for _ in 0..3 {
            assert!(heads(held.answered()).is_empty());
        }
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
