//! Chains of the control queue that are executed and go back to the driver later: when the display
//! has latched their flush, or when the GPU has done what their fence stands for.

use std::collections::VecDeque;

use crate::gpu::{Completion, Fence, Signal, Timeline};

/// A chain that is done but for its flush or its fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldChain {
    /// Its first descriptor.
    pub head: u16,
    /// Bytes written to it.
    pub written: u32,
    /// Updates the display has not answered yet.
    pub updates: usize,
    /// What the GPU has to draw before the display is told: see [`Completion::drawing`].
    pub drawing: Option<u64>,
    /// The queue waits for it: what comes next may draw over what the display still looks at.
    pub pauses: bool,
    /// Its fence, which signals those before it in its timeline, too, and so waits for theirs.
    pub fence: Option<Fence>,
}

impl HeldChain {
    /// The chain of a command, which waits for so many updates.
    #[must_use]
    pub fn new(head: u16, completion: &Completion, updates: usize) -> Self {
        let Completion { written, drawing, fence, .. } = *completion;
        Self { head, written, updates, drawing, pauses: drawing.is_some(), fence }
    }

    /// Who waits for it. A flush without a fence is waited for, too, by those of all but rings: whoever
    /// has a fence after a frame knows that it is shown.
    fn timeline(&self) -> Timeline {
        self.fence.map_or(Timeline::Global, |fence| fence.timeline)
    }
}

/// Held chains, the oldest first. The display answers updates in the order they were sent in.
#[derive(Debug, Default)]
pub struct HeldChains {
    chains: VecDeque<HeldChain>,
    /// Answers to come for chains that are no longer held. They come before those of `chains`.
    orphans: usize,
}

impl HeldChains {
    /// Whether a chain that is executed now goes back later.
    #[must_use]
    pub fn waits(&self, updates: usize, completion: &Completion) -> bool {
        let behind = |fence: Fence| fence.work.is_some() || self.has(fence.timeline);
        updates > 0 || completion.drawing.is_some() || completion.fence.is_some_and(behind)
    }

    /// Whether no chain is to be executed before some of these go back.
    #[must_use]
    pub fn pauses(&self) -> bool {
        self.chains.iter().any(|chain| chain.pauses)
    }

    /// The GPU has drawn so far, and the display was told of what waited for it by so many updates.
    pub fn drawn(&mut self, work: u64, updates: usize) {
        let drawn = |chain: &&mut HeldChain| chain.drawing.is_some_and(|at| at <= work);
        match self.chains.iter_mut().find(drawn) {
            Some(chain) => {
                chain.drawing = None;
                chain.updates += updates;
            }
            None => self.expect_orphans(updates),
        }
    }

    /// Holds a chain.
    pub fn hold(&mut self, chain: HeldChain) {
        self.chains.push_back(chain);
    }

    /// Chains that are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chains.len()
    }

    /// Whether the display has to answer before some chain goes back.
    #[must_use]
    pub fn awaits_display(&self) -> bool {
        self.chains.iter().any(|chain| chain.updates > 0)
    }

    fn has(&self, timeline: Timeline) -> bool {
        self.chains.iter().any(|chain| chain.timeline() == timeline)
    }

    /// An update was answered. Gives the chains that waited for nothing else.
    pub fn answered(&mut self) -> Vec<HeldChain> {
        if self.orphans > 0 {
            self.orphans -= 1;
            return Vec::new();
        }
        if let Some(oldest) = self.chains.iter_mut().find(|chain| chain.updates > 0) {
            oldest.updates -= 1;
        }
        self.take_done()
    }

    /// A timeline has come so far. Gives the chains that waited for nothing else.
    pub fn signalled(&mut self, signal: Signal) -> Vec<HeldChain> {
        for fence in self.chains.iter_mut().filter_map(|chain| chain.fence.as_mut()) {
            if fence.timeline == signal.timeline && fence.work.is_some_and(|at| at <= signal.work) {
                fence.work = None;
            }
        }
        self.take_done()
    }

    /// A context is gone, and nothing is to be expected of its timelines. Gives the chains that waited
    /// for nothing else.
    pub fn context_ended(&mut self, ended: u32) -> Vec<HeldChain> {
        for fence in self.chains.iter_mut().filter_map(|chain| chain.fence.as_mut()) {
            if matches!(fence.timeline, Timeline::Ring { context, .. } if context == ended) {
                fence.work = None;
            }
        }
        self.take_done()
    }

    /// Takes the chains that wait for nothing, and for none before them in their timeline.
    fn take_done(&mut self) -> Vec<HeldChain> {
        let mut done = Vec::new();
        let mut waiting: Vec<Timeline> = Vec::new();
        self.chains.retain(|chain| {
            let ready = chain.updates == 0
                && chain.drawing.is_none()
                && chain
                    .fence
                    .is_none_or(|fence| fence.work.is_none() && !waiting.contains(&fence.timeline));
            if ready {
                done.push(*chain);
            } else if !waiting.contains(&chain.timeline()) {
                waiting.push(chain.timeline());
            }
            !ready
        });
        done
    }

    /// Lets go of all chains. The display's answers are still to come, and belong to none.
    pub fn release(&mut self) -> VecDeque<HeldChain> {
        self.expect_orphans(self.chains.iter().map(|chain| chain.updates).sum());
        std::mem::take(&mut self.chains)
    }

    /// Waits for the display no longer. Its answers are still to come, and belong to no chain. Gives the
    /// chains that waited for nothing else.
    pub fn give_up_on_display(&mut self) -> Vec<HeldChain> {
        let updates = self.chains.iter_mut().map(|chain| std::mem::take(&mut chain.updates)).sum();
        self.expect_orphans(updates);
        self.take_done()
    }

    /// So many more answers will come that belong to no chain; no chain waits for one.
    pub fn expect_orphans(&mut self, answers: usize) {
        self.orphans += answers;
    }

    /// As [`Self::give_up_on_display`], for a display that will not answer at all.
    pub fn abandon(&mut self) -> Vec<HeldChain> {
        let done = self.give_up_on_display();
        self.orphans = 0;
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: Timeline = Timeline::Ring { context: 3, ring: 1 };

    fn flush(head: u16, updates: usize) -> HeldChain {
        HeldChain { head, written: 24, updates, drawing: None, pauses: false, fence: None }
    }

    fn fenced(head: u16, updates: usize, timeline: Timeline, work: Option<u64>) -> HeldChain {
        HeldChain { fence: Some(Fence { timeline, work }), ..flush(head, updates) }
    }

    fn held(chains: impl IntoIterator<Item = HeldChain>) -> HeldChains {
        HeldChains { chains: chains.into_iter().collect(), orphans: 0 }
    }

    fn heads(chains: impl IntoIterator<Item = HeldChain>) -> Vec<u16> {
        chains.into_iter().map(|chain| chain.head).collect()
    }

    fn global(work: u64) -> Signal {
        Signal { timeline: Timeline::Global, work }
    }

    #[test]
    fn a_chain_goes_back_with_its_last_answer() {
        let mut held = held([flush(7, 2), flush(9, 1)]);
        assert!(heads(held.answered()).is_empty());
        assert_eq!(held.answered(), [flush(7, 0)]);
        assert_eq!(held.len(), 1);
        assert_eq!(heads(held.answered()), [9]);
        assert!(heads(held.answered()).is_empty());
        assert_eq!(held.len(), 0);
    }

    #[test]
    fn fences_follow_those_before_them() {
        let global = Timeline::Global;
        let mut held = held([
            fenced(1, 1, global, None),
            fenced(2, 0, global, None),
            fenced(3, 0, global, None),
            fenced(4, 1, global, None),
            fenced(5, 0, global, None),
        ]);
        assert_eq!(heads(held.answered()), [1, 2, 3]);
        assert_eq!(heads(held.answered()), [4, 5]);
        assert_eq!(held.len(), 0);
    }

    #[test]
    fn a_chain_waits_for_what_its_timeline_waits_for_and_for_nothing_else() {
        let mut held = HeldChains::default();
        let fence = |timeline, work| Completion {
            fence: Some(Fence { timeline, work }),
            ..Completion::default()
        };
        let none = Completion::default();
        assert!(!held.waits(0, &none));
        assert!(!held.waits(0, &fence(Timeline::Global, None)));
        assert!(held.waits(0, &fence(Timeline::Global, Some(1))));
        assert!(held.waits(1, &none));
        held.hold(fenced(2, 0, RING, Some(7)));
        assert!(!held.waits(0, &fence(Timeline::Global, None)));
        assert!(held.waits(0, &fence(RING, None)));
        held.hold(flush(1, 1));
        assert!(!held.waits(0, &none));
        assert!(held.waits(0, &fence(Timeline::Global, None)));
        assert!(!held.waits(0, &fence(Timeline::Ring { context: 3, ring: 0 }, None)));
    }

    #[test]
    fn a_signal_is_for_all_before_it_in_its_timeline() {
        let mut held = held([
            fenced(1, 0, Timeline::Global, Some(1)),
            fenced(2, 0, RING, Some(2)),
            fenced(3, 0, Timeline::Global, Some(3)),
            // Done, but behind the third.
            fenced(4, 0, Timeline::Global, None),
            fenced(5, 0, Timeline::Global, Some(5)),
        ]);
        assert_eq!(heads(held.signalled(global(3))), [1, 3, 4]);
        assert!(heads(held.signalled(Signal { timeline: RING, work: 1 })).is_empty());
        assert_eq!(heads(held.signalled(Signal { timeline: RING, work: 2 })), [2]);
        assert!(heads(held.signalled(global(4))).is_empty());
        assert_eq!(heads(held.signalled(global(u64::MAX))), [5]);
    }

    #[test]
    fn a_display_that_is_waited_for_holds_up_no_other_timeline() {
        let mut held = held([
            flush(1, 1),
            fenced(2, 1, Timeline::Global, Some(2)),
            fenced(3, 0, Timeline::Global, Some(3)),
            fenced(4, 0, RING, Some(4)),
        ]);
        assert_eq!(heads(held.signalled(Signal { timeline: RING, work: 4 })), [4]);
        assert!(heads(held.signalled(global(3))).is_empty());
        assert_eq!(heads(held.answered()), [1]);
        assert_eq!(heads(held.answered()), [2, 3]);
    }

    #[test]
    fn a_flush_that_is_to_be_drawn_waits_for_the_gpu_then_for_the_display_and_pauses_the_queue() {
        let completion = Completion { written: 24, drawing: Some(4), ..Completion::default() };
        let mut held = HeldChains::default();
        assert!(held.waits(0, &completion));
        held.hold(HeldChain::new(1, &completion, 0));
        held.hold(fenced(2, 0, Timeline::Global, Some(5)));
        assert!(held.pauses() && !held.awaits_display());
        held.drawn(3, 0);
        assert!(heads(held.signalled(global(3))).is_empty());
        held.drawn(4, 2);
        assert!(heads(held.signalled(global(5))).is_empty());
        assert!(held.pauses() && held.awaits_display());
        assert!(heads(held.answered()).is_empty());
        assert_eq!(heads(held.answered()), [1, 2]);
        assert!(!held.pauses());
    }

    #[test]
    fn what_is_drawn_when_its_chain_is_gone_is_answered_to_nobody() {
        let completion = Completion { drawing: Some(1), ..Completion::default() };
        let mut held = HeldChains::default();
        held.hold(HeldChain::new(1, &completion, 0));
        assert_eq!(heads(held.release()), [1]);
        held.drawn(1, 1);
        held.hold(flush(2, 1));
        assert!(heads(held.answered()).is_empty());
        assert_eq!(heads(held.answered()), [2]);
    }

    #[test]
    fn no_timeline_of_a_context_that_ended_is_waited_for() {
        let other = Timeline::Ring { context: 4, ring: 1 };
        let mut held = held([
            fenced(1, 0, RING, Some(1)),
            fenced(2, 0, other, Some(2)),
            fenced(3, 0, Timeline::Ring { context: 3, ring: 0 }, Some(3)),
            fenced(4, 0, RING, Some(4)),
            fenced(5, 0, Timeline::Global, Some(5)),
        ]);
        assert_eq!(heads(held.context_ended(3)), [1, 3, 4]);
        assert_eq!(held.len(), 2);
    }

    #[test]
    fn answers_for_released_chains_return_no_later_one() {
        let mut held = held([flush(1, 1), flush(2, 2)]);
        assert_eq!(heads(held.release()), [1, 2]);
        held.hold(flush(3, 1));
        for _ in 0..3 {
            assert!(heads(held.answered()).is_empty());
        }
        assert_eq!(heads(held.answered()), [3]);
    }

    #[test]
    fn without_the_display_fences_are_still_waited_for() {
        let mut held = held([flush(1, 2), fenced(2, 1, RING, Some(1)), flush(3, 1)]);
        assert_eq!(heads(held.give_up_on_display()), [1, 3]);
        assert!(!held.awaits_display() && held.len() == 1);
        assert_eq!(heads(held.signalled(Signal { timeline: RING, work: 1 })), [2]);
        held.hold(flush(4, 1));
        for _ in 0..4 {
            assert!(heads(held.answered()).is_empty());
        }
        assert_eq!(heads(held.answered()), [4]);
    }

    #[test]
    fn a_display_that_is_gone_answers_nothing() {
        let mut held = held([flush(1, 1)]);
        held.expect_orphans(3);
        assert_eq!(heads(held.abandon()), [1]);
        held.hold(flush(2, 1));
        assert_eq!(heads(held.answered()), [2]);
    }
}
