//! How long the slowest of a target's answers take to begin: [`Tails`].

use std::{
    sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

/// So many answers are remembered.
const REMEMBERED: usize = 256;
/// Fewer say nothing of the slowest ones.
const ENOUGH: usize = 20;

/// Those of streams, until their first event, and those of whole answers, which take much longer.
#[derive(Debug, Default)]
pub(super) struct Tails {
    streams: Tail,
    whole: Tail,
}

impl Tails {
    pub(super) fn of(&self, is_stream: bool) -> &Tail {
        if is_stream { &self.streams } else { &self.whole }
    }
}

/// The times of the last answers, in microseconds and in no order; 0 where there was none yet. Nothing in it locks,
/// and one of two that are told at the same time may be lost.
#[derive(Debug)]
pub(super) struct Tail {
    told: Box<[AtomicU32; REMEMBERED]>,
    next: AtomicUsize,
}

impl Default for Tail {
    fn default() -> Self {
        Self { told: Box::new([const { AtomicU32::new(0) }; REMEMBERED]), next: AtomicUsize::new(0) }
    }
}

impl Tail {
    /// Remembers that an answer has taken so long, or at least so long.
    pub(super) fn told(&self, taken: Duration) {
        let taken = u32::try_from(taken.as_micros()).unwrap_or(u32::MAX).max(1);
        self.told[self.next.fetch_add(1, Relaxed) % REMEMBERED].store(taken, Relaxed);
    }

    /// The time within which so many of a hundred answers begin; `None` if there were too few.
    pub(super) fn percentile(&self, percent: u8) -> Option<Duration> {
        let mut told = [0; REMEMBERED];
        let mut known = 0;
        for taken in self.told.iter().map(|taken| taken.load(Relaxed)).filter(|taken| *taken > 0) {
            told[known] = taken;
            known += 1;
        }
        if known < ENOUGH {
            return None;
        }
        let rank = (known * usize::from(percent.min(100))).div_ceil(100).max(1) - 1;
        let (_, taken, _) = told[..known].select_nth_unstable(rank);
        Some(Duration::from_micros((*taken).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(milliseconds: impl IntoIterator<Item = u64>) -> Tail {
        let tail = Tail::default();
        milliseconds.into_iter().for_each(|time| tail.told(Duration::from_millis(time)));
        tail
    }

    #[test]
    fn so_many_of_a_hundred_are_no_slower() {
        let tail = of((1..=100).rev());

        assert_eq!(tail.percentile(95), Some(Duration::from_millis(95)));
        assert_eq!(tail.percentile(100), Some(Duration::from_millis(100)));
    }

    #[test]
    fn a_few_say_nothing_and_what_is_long_ago_is_forgotten() {
        let few = of(1..ENOUGH as u64);
        let changed = of([9_000; REMEMBERED].into_iter().chain([1; REMEMBERED]));

        assert_eq!(few.percentile(95), None);
        assert_eq!(changed.percentile(100), Some(Duration::from_millis(1)));
    }

    #[test]
    fn what_takes_very_long_or_no_time_is_kept_within_bounds() {
        let tail = of([0; ENOUGH].into_iter().chain([u64::MAX]));

        assert_eq!(tail.percentile(1), Some(Duration::from_micros(1)));
        assert_eq!(tail.percentile(100), Some(Duration::from_micros(u32::MAX.into())));
    }
}
