use std::collections::VecDeque;

use tokio::time::{Duration, Instant};

/// Into how many steps the time of a rule is divided.
const STEPS: u64 = 60;
/// Times are counted in classes that grow by a tenth, from a millisecond to some hours.
const CLASSES: usize = 176;
const GROWTH: f64 = 1.1;

/// What requests were like in the time up to now, and what they cost in as much time before.
#[derive(Debug)]
pub(super) struct Window {
    began: Instant,
    step: Duration,
    /// The steps in which something came, oldest first; twice as many as count.
    steps: VecDeque<(u64, Sums)>,
}

/// What one request, or one attempt, was like.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    pub(super) failed: bool,
    /// In seconds, if it came so far.
    pub(super) time: Option<f64>,
    /// In dollars.
    pub(super) cost: f64,
}

/// What many were like.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) cost: f64,
    times: Vec<u32>,
}

impl Window {
    pub(super) fn new(over: Duration) -> Self {
        let step = (over / STEPS as u32).max(Duration::from_millis(1));
        Self { began: Instant::now(), step, steps: VecDeque::new() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos() / self.step.as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn add(&mut self, sample: Sample) {
        let now = self.now();
        self.forget(now);
        if self.steps.back().is_none_or(|(step, _)| *step != now) {
            self.steps.push_back((now, Sums::default()));
        }
        if let Some((_, sums)) = self.steps.back_mut() {
            sums.add(sample);
        }
    }

    fn forget(&mut self, now: u64) {
        while self.steps.front().is_some_and(|(step, _)| *step + 2 * STEPS < now) {
            self.steps.pop_front();
        }
    }

    /// Now, and as much time before.
    pub(super) fn sums(&mut self) -> (Sums, Sums) {
        let now = self.now();
        self.forget(now);
        let (mut lately, mut before) = (Sums::default(), Sums::default());
        for (step, sums) in &self.steps {
            if step + STEPS >= now { lately.join(sums) } else { before.join(sums) }
        }
        (lately, before)
    }
}

impl Sums {
    fn add(&mut self, Sample { failed, time, cost }: Sample) {
        self.requests += 1;
        self.failed += u64::from(failed);
        self.cost += cost;
        if let Some(time) = time {
            self.times.resize(CLASSES, 0);
            // A time of no length is in the first class, as negative numbers become zero.
            let class = (time * 1_000.0).max(1.0).log(GROWTH) as usize;
            self.times[class.min(CLASSES - 1)] += 1;
        }
    }

    fn join(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.cost += other.cost;
        if !other.times.is_empty() {
            self.times.resize(CLASSES, 0);
        }
        for (sum, more) in self.times.iter_mut().zip(&other.times) {
            *sum += more;
        }
    }

    /// Which time nineteen of twenty had at most, in seconds; too long by a tenth at most.
    pub(super) fn p95(&self) -> Option<f64> {
        let all: u64 = self.times.iter().map(|times| u64::from(*times)).sum();
        let mut left = (all * 95).div_ceil(100).max(1);
        let class = self.times.iter().position(|times| {
            let is_here = u64::from(*times) >= left;
            left = left.saturating_sub(u64::from(*times));
            is_here
        })?;
        Some(GROWTH.powi(i32::try_from(class).ok()? + 1) / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_came_counts_for_its_time_and_then_as_the_time_before() {
        let minute = Duration::from_secs(60);
        let mut window = Window::new(minute);
        window.add(Sample { failed: true, time: None, cost: 2.0 });
        tokio::time::advance(minute + Duration::from_secs(2)).await;
        window.add(Sample { cost: 3.0, ..Sample::default() });

        let (lately, before) = window.sums();
        assert_eq!((lately.requests, lately.failed, lately.cost), (1, 0, 3.0));
        assert_eq!((before.requests, before.failed, before.cost), (1, 1, 2.0));

        tokio::time::advance(2 * minute + Duration::from_secs(2)).await;
        let (lately, before) = window.sums();
        assert_eq!((lately.requests, before.requests), (0, 0));
    }

    #[tokio::test]
    async fn the_95th_percentile_is_right_within_a_tenth() {
        let mut window = Window::new(Duration::from_secs(60));
        assert_eq!(window.sums().0.p95(), None);

        for millisecond in 1..=1_000 {
            window.add(Sample { time: Some(f64::from(millisecond) / 1_000.0), ..Sample::default() });
        }

        let p95 = window.sums().0.p95().unwrap();
        assert!((0.95..=1.05).contains(&p95), "{p95}");
    }
}
