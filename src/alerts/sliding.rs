use std::{collections::VecDeque, time::Duration};

/// Into how many steps the time is divided.
const STEPS: u64 = 60;

/// What came together in the time up to now, in steps of a sixtieth: it counts until the last of its step is
/// past.
#[derive(Clone, Debug)]
pub(crate) struct Sliding {
    step: Duration,
    /// The steps in which something came, and how much, oldest first.
    sums: VecDeque<(u64, u64)>,
}

impl Sliding {
    /// Nothing, in a time of `length`.
    pub(crate) fn new(length: Duration) -> Self {
        let step = (length / STEPS as u32).max(Duration::from_millis(1));
        Self { step, sums: VecDeque::new() }
    }

    /// The step in which a moment lies; moments are counted from any beginning.
    fn step(&self, at: Duration) -> u64 {
        u64::try_from(at.as_nanos() / self.step.as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn add(&mut self, at: Duration, amount: u64) {
        let step = self.step(at);
        self.forget(step);
        match self.sums.back_mut().filter(|(last, _)| *last >= step) {
            Some((_, sum)) => *sum = sum.saturating_add(amount),
            None => self.sums.push_back((step, amount)),
        }
    }

    pub(crate) fn sum(&mut self, at: Duration) -> u64 {
        self.forget(self.step(at));
        self.sums.iter().fold(0, |sum, (_, more)| sum.saturating_add(*more))
    }

    /// In what time no more than `limit` will be left of it.
    pub(crate) fn falls_to(&mut self, limit: u64, at: Duration) -> Duration {
        let mut left = self.sum(at);
        let steps = self.sums.iter().take_while(|(_, sum)| {
            let is_needed = left > limit;
            left = left.saturating_sub(*sum);
            is_needed
        });
        let Some((last, _)) = steps.last() else { return Duration::ZERO };
        let steps = u32::try_from(last + STEPS + 1).unwrap_or(u32::MAX);
        self.step.saturating_mul(steps).saturating_sub(at)
    }

    fn forget(&mut self, step: u64) {
        let first = step.saturating_sub(STEPS);
        while self.sums.front().is_some_and(|(at, _)| *at < first) {
            self.sums.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_came_counts_for_its_time_and_no_longer_than_a_step_more() {
        let mut sliding = Sliding::new(SECOND * 60);

        sliding.add(SECOND, 3);
        sliding.add(SECOND * 31, 4);

        assert_eq!(sliding.sum(SECOND * 61), 7);
        assert_eq!(sliding.sum(SECOND * 62), 4);
        assert_eq!(sliding.sum(SECOND * 92), 0);
    }

    #[test]
    fn it_is_told_when_it_will_have_fallen() {
        let mut sliding = Sliding::new(SECOND * 60);
        sliding.add(SECOND * 2, 3);
        sliding.add(SECOND * 10, 3);
        let now = SECOND * 20;

        let waits = [6, 5, 3, 2, 0].map(|limit| sliding.falls_to(limit, now).as_secs());

        assert_eq!(waits, [0, 43, 43, 51, 51]);
        for (limit, wait) in [(3, 43), (0, 51)] {
            assert!(sliding.clone().sum(now + SECOND * (wait - 1)) > limit);
            assert!(sliding.clone().sum(now + SECOND * wait) <= limit);
        }
    }
}
