//! How often a backend is replaced.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// When to start a backend that failed once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// So many times within [`Self::period`]; 0: never.
    pub most: usize,
    /// The time that counts.
    pub period: Duration,
    /// How much longer to wait each time within the period. The first time there is no wait.
    pub delay: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self { most: 5, period: Duration::from_secs(30), delay: Duration::from_millis(100) }
    }
}

/// The restarts so far.
#[derive(Debug)]
pub struct Restarts {
    policy: RestartPolicy,
    recent: VecDeque<Instant>,
}

impl Restarts {
    pub fn new(policy: RestartPolicy) -> Self {
        Self { policy, recent: VecDeque::new() }
    }

    /// The backend failed at `now`: how long to wait before the next one. `None`: that is enough.
    pub fn next(&mut self, now: Instant) -> Option<Duration> {
        let period = self.policy.period;
        self.recent.retain(|at| now.saturating_duration_since(*at) < period);
        let count = self.recent.len();
        if count >= self.policy.most {
            return None;
        }
        self.recent.push_back(now);
        Some(self.policy.delay.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_at_once_and_the_sixth_within_the_period_not_at_all() {
        let mut restarts = Restarts::new(RestartPolicy::default());
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        for count in 0..5 {
            let delay = Duration::from_millis(100 * count);
            assert_eq!(restarts.next(at(count)), Some(delay));
        }
        assert_eq!(restarts.next(at(29)), None);
        // The first is forgotten.
        assert_eq!(restarts.next(at(30)), Some(Duration::from_millis(400)));
        assert_eq!(restarts.next(at(30)), None);
        assert_eq!(restarts.next(at(90)), Some(Duration::ZERO));
    }
}
