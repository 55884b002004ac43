//! How often a target is slower than an objective allows: [`Pace`].

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

/// In so much time what was measured loses about two thirds of its weight.
const TAU: Duration = Duration::from_secs(10);
/// So many answers count at the most, so that what was slow for long isn't remembered for long.
const MOST: f64 = 40.0;
/// So many answers are taken for granted, so that one slow answer says little.
const LEAST: f64 = 20.0;
/// The share of answers that may be slower.
const ALLOWED: f64 = 0.05;
/// Counts are kept in such parts.
const PARTS: f64 = 256.0;

/// How often a target was slower than it is to be. 19 of 20 answers have to begin in time.
///
/// While a target is passed over it is forgiven, so that it gets its requests back, little by little: its chance
/// to be asked grows from none to all while the share of slow answers goes from twice what is allowed to that.
#[derive(Debug)]
pub(super) struct Pace {
    limit: Duration,
    epoch: Instant,
    /// The answers and the slow ones among them, 16 bits each, and when that was so in milliseconds.
    counts: AtomicU64,
}

impl Pace {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, epoch: Instant::now(), counts: AtomicU64::default() }
    }

    /// The time that is to be kept.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// An answer began after so much time, or had not begun by then.
    pub(super) fn told(&self, taken: Duration) {
        let now = self.told_at(Instant::now());
        let slow = f64::from(u8::from(taken > self.limit));
        let updated = |word| {
            let (all, were_slow) = decayed(word, now);
            let scale = (MOST / (all + 1.0)).min(1.0);
            Some(packed((all + 1.0) * scale, (were_slow + slow) * scale, now))
        };
        // Never fails, because there is always something new.
        let _ = self.counts.fetch_update(Relaxed, Relaxed, updated);
    }

    /// Whoever only waits longer than allowed says so too, and whoever leaves before says nothing.
    pub(super) fn left_after(&self, taken: Duration) {
        if taken > self.limit {
            self.told(taken);
        }
    }

    /// Whether it is to be passed over, for a request whose luck is `luck`, from 0 to 1.
    pub(super) fn is_too_slow(&self, now: Instant, luck: f64) -> bool {
        let (all, slow) = decayed(self.counts.load(Relaxed), self.told_at(now));
        luck < slow / all.max(LEAST) / ALLOWED - 1.0
    }

    /// Only differences count: they begin anew every seven weeks.
    fn told_at(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.epoch).as_millis() as u32
    }
}

fn packed(all: f64, slow: f64, now: u32) -> u64 {
    let parts = |count: f64| (count * PARTS) as u64 & 0xffff;
    parts(all) << 48 | parts(slow) << 32 | u64::from(now)
}

fn decayed(word: u64, now: u32) -> (f64, f64) {
    let age = now.wrapping_sub(word as u32);
    // Who was slower to write may be a little behind.
    let age = if age > u32::MAX / 2 { 0 } else { age };
    let weight = (-f64::from(age) / TAU.as_millis() as f64).exp() / PARTS;
    ((word >> 48) as f64 * weight, (word >> 32 & 0xffff) as f64 * weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chance to be asked, in percent.
    fn chance(pace: &Pace) -> u32 {
        let now = Instant::now();
        (0..100).map(|luck| u32::from(!pace.is_too_slow(now, f64::from(luck) / 100.0))).sum()
    }

    fn told(pace: &Pace, times: u32, milliseconds: u64) {
        (0..times).for_each(|_| pace.told(Duration::from_millis(milliseconds)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_whose_answers_come_in_time_is_asked() {
        let pace = Pace::new(Duration::from_millis(500));

        assert_eq!(chance(&pace), 100);
        told(&pace, 1, 900);
        assert_eq!(chance(&pace), 100);
        told(&pace, 38, 100);
        told(&pace, 1, 900);
        assert_eq!(chance(&pace), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_slow_is_passed_over_and_taken_back_little_by_little() {
        let pace = Pace::new(Duration::from_millis(500));
        told(&pace, 100, 900);
        assert_eq!(chance(&pace), 0);

        let mut chances = Vec::new();
        for _ in 0..12 {
            tokio::time::sleep(Duration::from_secs(4)).await;
            chances.push(chance(&pace));
        }

        assert!(chances.is_sorted() && chances.iter().any(|chance| (1..100).contains(chance)), "{chances:?}");
        assert_eq!((chances[5], chances[11]), (0, 100));
        told(&pace, 2, 900);
        assert!(chance(&pace) < 20);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_early_says_nothing() {
        let pace = Pace::new(Duration::from_millis(500));

        (0..50).for_each(|_| pace.left_after(Duration::from_millis(100)));
        assert_eq!(chance(&pace), 100);
        (0..50).for_each(|_| pace.left_after(Duration::from_secs(1)));
        assert_eq!(chance(&pace), 0);
    }
}
