use std::time::Duration;

use tokio::time::Instant;

/// In so many steps the oldest requests are forgotten.
const STEPS: usize = 10;

/// How many requests ended within a while, and how many of them badly.
#[derive(Debug)]
pub(super) struct Window {
    step: Duration,
    begun: Instant,
    /// Which step is the newest one, counted from `begun`.
    newest: u32,
    counts: [Counts; STEPS],
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) all: u32,
    pub(super) bad: u32,
}

impl Window {
    pub(super) fn new(over: Duration, now: Instant) -> Self {
        let step = (over / STEPS as u32).max(Duration::from_millis(1));
        Self { step, begun: now, newest: 0, counts: Default::default() }
    }

    pub(super) fn count(&mut self, now: Instant, is_bad: bool) {
        self.advance(now);
        let counts = &mut self.counts[self.newest as usize % STEPS];
        counts.all = counts.all.saturating_add(1);
        counts.bad = counts.bad.saturating_add(is_bad.into());
    }

    pub(super) fn sum(&mut self, now: Instant) -> Counts {
        self.advance(now);
        self.counts.iter().fold(Counts::default(), |sum, counts| Counts {
            all: sum.all.saturating_add(counts.all),
            bad: sum.bad.saturating_add(counts.bad),
        })
    }

    pub(super) fn clear(&mut self) {
        self.counts = Default::default();
    }

    fn advance(&mut self, now: Instant) {
        let steps = now.saturating_duration_since(self.begun).as_millis() / self.step.as_millis().max(1);
        let newest = u32::try_from(steps).unwrap_or(u32::MAX);
        let passed = newest.saturating_sub(self.newest) as usize;
        for step in 1..=passed.min(STEPS) {
            self.counts[(self.newest as usize + step) % STEPS] = Counts::default();
        }
        self.newest = self.newest.max(newest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_too_long_ago_is_forgotten_step_by_step() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut window = Window::new(Duration::from_secs(10), begun);
        let sum = |window: &mut Window, seconds| {
            let counts = window.sum(at(seconds));
            (counts.all, counts.bad)
        };

        window.count(at(0), true);
        window.count(at(4), false);
        window.count(at(9), true);

        assert_eq!(sum(&mut window, 9), (3, 2));
        assert_eq!(sum(&mut window, 10), (2, 1));
        assert_eq!(sum(&mut window, 13), (2, 1));
        assert_eq!(sum(&mut window, 14), (1, 1));
        assert_eq!(sum(&mut window, 1_000_000), (0, 0));
        window.count(at(1_000_003), true);
        assert_eq!(sum(&mut window, 1_000_003), (1, 1));
    }
}
