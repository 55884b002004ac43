//! What is known of a target from its own answers: [`Load`].

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{pace::Pace, tail::Tails};
use crate::{
    Error, Exchange,
    body::{End, Observe, OnEnd},
    lock,
};

/// In so much time what was measured loses about two thirds of its weight.
const TAU: Duration = Duration::from_secs(10);
/// A failure counts as an answer that took at least so long, so that failing quickly doesn't look quick.
const FAILURE: Duration = Duration::from_secs(5);
/// A throughput that was measured longer ago is not known any more.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// So many of the times that clients ask for are remembered: they can ask for any.
const MOST_ASKED_FOR: usize = 16;

/// What is known of a target from its own answers. Nothing in it locks, and what is learnt at the same time as
/// something else may be lost.
#[derive(Debug)]
pub struct Load {
    epoch: Instant,
    /// Requests whose answers have not ended.
    in_flight: AtomicU32,
    /// Requests whose answers have not begun.
    waiting: AtomicU32,
    /// Seconds until an answer begins.
    latency: Average,
    /// Tokens of output per second.
    throughput: Average,
    /// The times of the last answers, where somebody wants to know more than their average.
    tails: OnceLock<Tails>,
    /// How often it was slower than routes want it to be.
    paces: Mutex<Vec<Weak<Pace>>>,
    /// The same for the times that clients have asked for, the last one behind the others.
    asked_for: Mutex<VecDeque<Arc<Pace>>>,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            in_flight: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            latency: Average::default(),
            throughput: Average::default(),
            tails: OnceLock::new(),
            paces: Mutex::default(),
            asked_for: Mutex::default(),
        }
    }
}

impl Load {
    /// Requests whose answers have not ended.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Requests whose answers have not begun.
    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// How long it takes until an answer begins, if there was one: an average in which what is slower counts at
    /// once, and what is quicker little by little. It decays while nobody asks, so that a target which was slow
    /// is tried again: one at a time, because it doesn't while somebody waits.
    pub fn latency(&self) -> Option<Duration> {
        self.latency_at(Instant::now())
    }

    /// Whether there was an answer.
    pub(super) fn is_measured(&self) -> bool {
        self.latency.is_known()
    }

    /// The same for whoever looks at many of them, and at the clock once.
    pub(super) fn latency_at(&self, now: Instant) -> Option<Duration> {
        let (seconds, age) = self.latency.read(self.told_at(now))?;
        let decayed = if self.waiting() == 0 { seconds * weight(age) } else { seconds };
        Some(Duration::from_secs_f64(decayed))
    }

    /// How many tokens of output it writes in a second, as far as that was measured within the last minute.
    pub fn throughput(&self) -> Option<f64> {
        self.throughput_at(Instant::now())
    }

    /// The same for whoever looks at many of them, and at the clock once.
    pub(super) fn throughput_at(&self, now: Instant) -> Option<f64> {
        let (tokens, age) = self.throughput.read(self.told_at(now))?;
        (age < FORGOTTEN).then_some(tokens)
    }

    /// The times of the last answers, kept from the first time that somebody asks for them.
    pub(super) fn tails(&self) -> &Tails {
        self.tails.get_or_init(Tails::default)
    }

    /// How often it is slower than `limit`: the same for all routes that want to know, and after a reload.
    pub(super) fn pace(&self, limit: Duration) -> Arc<Pace> {
        let mut paces = lock(&self.paces);
        paces.retain(|pace| pace.strong_count() > 0);
        let known = paces.iter().filter_map(Weak::upgrade).find(|pace| pace.limit() == limit);
        known.unwrap_or_else(|| {
            let pace = Arc::new(Pace::new(limit));
            paces.push(Arc::downgrade(&pace));
            pace
        })
    }

    /// The same for a time that a client asks for. It is known from one of its requests to the next, unless others have
    /// asked for many other times meanwhile.
    pub(super) fn pace_asked_for(&self, limit: Duration) -> Arc<Pace> {
        let pace = self.pace(limit);
        let mut asked_for = lock(&self.asked_for);
        asked_for.retain(|known| !Arc::ptr_eq(known, &pace));
        if asked_for.len() >= MOST_ASKED_FOR {
            asked_for.pop_front();
        }
        asked_for.push_back(pace.clone());
        pace
    }

    /// Begins to count a request that belongs to `exchange`.
    pub(super) fn begin(self: &Arc<Self>, exchange: &Exchange) -> OnEnd<Asking> {
        self.in_flight.fetch_add(1, Relaxed);
        self.waiting.fetch_add(1, Relaxed);
        let attempt = exchange.learn(|learnt| learnt.attempts.len());
        let asking = Asking {
            load: self.clone(),
            exchange: exchange.clone(),
            attempt,
            begun: Instant::now(),
            is_waiting: true,
            pace: None,
        };
        OnEnd::new(asking)
    }

    /// Milliseconds, of which only differences count: they begin anew every seven weeks.
    fn told_at(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.epoch).as_millis() as u32
    }

    fn now(&self) -> u32 {
        self.told_at(Instant::now())
    }

    fn told_latency(&self, taken: Duration) {
        let taken = taken.as_secs_f64();
        self.latency.update(self.now(), |known| match known {
            Some((seconds, age)) if taken < seconds => mix(seconds, taken, weight(age)),
            _ => taken,
        });
    }

    fn told_throughput(&self, tokens: f64) {
        self.throughput.update(self.now(), |known| match known {
            Some((seconds, age)) => mix(seconds, tokens, weight(age)),
            None => tokens,
        });
    }

    fn failed(&self, taken: Duration) {
        self.told_latency(taken.max(FAILURE));
        self.throughput.update(self.now(), |known| known.map_or(0.0, |(tokens, _)| tokens / 2.0));
    }
}

/// How much of something is left after a time.
fn weight(age: Duration) -> f64 {
    (-age.as_secs_f64() / TAU.as_secs_f64()).exp()
}

fn mix(known: f64, told: f64, weight: f64) -> f64 {
    known.mul_add(weight, told * (1.0 - weight))
}

/// A number and when it was told, in one word so that they fit together.
#[derive(Debug)]
struct Average(AtomicU64);

const UNKNOWN: u64 = u64::MAX;

impl Default for Average {
    fn default() -> Self {
        Self(AtomicU64::new(UNKNOWN))
    }
}

impl Average {
    fn read(&self, now: u32) -> Option<(f64, Duration)> {
        unpacked(self.0.load(Relaxed), now)
    }

    fn is_known(&self) -> bool {
        self.0.load(Relaxed) != UNKNOWN
    }

    fn update(&self, now: u32, change: impl Fn(Option<(f64, Duration)>) -> f64) {
        let updated = |word| {
            let value = change(unpacked(word, now)) as f32;
            Some(u64::from(value.to_bits()) << 32 | u64::from(now))
        };
        // Never fails, because there is always something new.
        let _ = self.0.fetch_update(Relaxed, Relaxed, updated);
    }
}

fn unpacked(word: u64, now: u32) -> Option<(f64, Duration)> {
    let age = now.wrapping_sub(word as u32);
    // Who was slower to write may be a little behind.
    let age = if age > u32::MAX / 2 { 0 } else { age };
    let value = f32::from_bits((word >> 32) as u32);
    (word != UNKNOWN).then(|| (value.into(), Duration::from_millis(age.into())))
}

/// Counts one request until its answer has ended.
#[derive(Debug)]
pub(super) struct Asking {
    load: Arc<Load>,
    exchange: Exchange,
    /// Which attempt of the exchange it is.
    attempt: usize,
    begun: Instant,
    is_waiting: bool,
    /// The time that a route wants it to keep.
    pub(super) pace: Option<Arc<Pace>>,
}

impl Asking {
    /// The answer has begun.
    pub(super) fn head(&mut self) {
        self.stop_waiting();
        self.load.told_latency(self.begun.elapsed());
        if let Some(pace) = &self.pace {
            pace.told(self.begun.elapsed());
        }
    }

    /// There is none. What is wrong with the request says nothing of the target.
    pub(super) fn failed(&mut self, error: &Error) {
        self.stop_waiting();
        if error.is_failover() {
            self.load.failed(self.begun.elapsed());
        }
    }

    fn stop_waiting(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            self.load.waiting.fetch_sub(1, Relaxed);
        }
    }

    /// Tokens per second of the attempt, if it has written any.
    fn throughput(&self) -> Option<f64> {
        let output =
            self.exchange.learn(|learnt| learnt.attempts.get(self.attempt).map(|it| it.tokens.output));
        let output = output.filter(|tokens| *tokens > 0)?;
        // What was there at once says nothing beyond that.
        Some(output as f64 / self.begun.elapsed().as_secs_f64().max(1e-3))
    }
}

impl Observe for Asking {
    fn end(mut self, _: End) {
        if self.is_waiting {
            // Whoever has left while it waited knows that it takes at least so long.
            self.stop_waiting();
            let taken = self.begun.elapsed();
            if let Some(pace) = &self.pace {
                pace.left_after(taken);
            }
            if self.load.latency().is_none_or(|known| known < taken) {
                self.load.told_latency(taken);
            }
        } else if let Some(tokens) = self.throughput() {
            self.load.told_throughput(tokens);
        }
        self.load.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Target, Tokens, testing::ENDINGS};

    fn seconds(load: &Load) -> f64 {
        load.latency().map_or(-1.0, |latency| (latency.as_secs_f64() * 100.0).round() / 100.0)
    }

    async fn answered_after(load: &Arc<Load>, time: Duration) {
        let mut asking = load.begin(&Exchange::default());
        tokio::time::sleep(time).await;
        asking.get_mut().unwrap().head();
        asking.finish(End::Complete);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_slower_counts_at_once_and_what_is_quicker_little_by_little() {
        let load = Arc::new(Load::default());
        assert_eq!(load.latency(), None);

        answered_after(&load, Duration::from_secs(1)).await;
        assert_eq!(seconds(&load), 1.0);
        answered_after(&load, Duration::from_secs(3)).await;
        assert_eq!(seconds(&load), 3.0);
        answered_after(&load, Duration::from_secs(1)).await;
        assert_eq!(seconds(&load), 2.81);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_is_forgotten_but_for_one_that_tries() {
        let load = Arc::new(Load::default());
        answered_after(&load, Duration::from_secs(1)).await;

        tokio::time::sleep(2 * TAU).await;
        let idle = seconds(&load);
        let tries = load.begin(&Exchange::default());
        let tried = seconds(&load);
        drop(tries);

        assert_eq!((idle, tried), (0.14, 1.0));
    }

    #[tokio::test(start_paused = true)]
    async fn failing_quickly_is_not_quick_and_a_wrong_request_is_nobodys_fault() {
        for (kind, expected) in [(Kind::Upstream, 5.0), (Kind::InvalidRequest, -1.0)] {
            let load = Arc::new(Load::default());
            let mut asking = load.begin(&Exchange::default());

            asking.get_mut().unwrap().failed(&Error::new(kind, ""));
            asking.finish(End::Failed);

            assert_eq!((seconds(&load), load.in_flight(), load.waiting()), (expected, 0, 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_tells_that_it_takes_at_least_so_long() {
        let load = Arc::new(Load::default());
        let asking = load.begin(&Exchange::default());

        tokio::time::sleep(Duration::from_secs(7)).await;
        drop(asking);

        assert_eq!((seconds(&load), load.in_flight(), load.waiting()), (7.0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_tokens_of_the_attempt_are_told_at_the_end_of_the_body() {
        let load = Arc::new(Load::default());
        let exchange = Exchange::default();
        let mut asking = load.begin(&exchange);
        let attempt = exchange.begin(&Arc::new(Target::new("p", "m")));
        tokio::time::sleep(Duration::from_secs(1)).await;
        asking.get_mut().unwrap().head();
        tokio::time::sleep(Duration::from_secs(1)).await;
        attempt.report(Tokens { output: 100, ..Tokens::default() });

        let before = load.throughput();
        asking.finish(End::Complete);
        let after = load.throughput();
        tokio::time::sleep(FORGOTTEN).await;

        assert_eq!((before, after, load.throughput()), (None, Some(50.0), None));
    }

    #[tokio::test]
    async fn however_the_answer_ends_it_is_not_in_flight_any_more() {
        for ending in ENDINGS {
            let load = Arc::new(Load::default());
            let service = tower::service_fn(move |_| ending.answer());
            let candidate = crate::dispatch::Candidate::new(Arc::new(Target::new("demo", "m")), service);
            let answer = candidate.load(load.clone()).call(crate::testing::ask("m", None));

            let during = || assert_eq!(load.in_flight(), 1, "{ending:?}");
            let after = || assert_eq!((load.in_flight(), load.waiting()), (0, 0), "{ending:?}");
            ending.play(answer, during, after).await;
        }
    }

    #[test]
    fn a_clock_that_begins_anew_does_no_harm() {
        let average = Average::default();
        average.update(u32::MAX - 500, |_| 2.0);

        assert_eq!(average.read(500), Some((2.0, Duration::from_millis(1_001))));
        assert_eq!(average.read(u32::MAX - 501), Some((2.0, Duration::ZERO)));
    }

    #[tokio::test]
    async fn those_who_want_a_target_to_keep_the_same_time_share_what_is_known_of_it() {
        let (load, second) = (Load::default(), Duration::from_secs(1));
        let pace = load.pace(second);

        assert!(Arc::ptr_eq(&pace, &load.pace(second)));
        assert!(!Arc::ptr_eq(&pace, &load.pace(2 * second)));
        drop(pace);
        load.pace(3 * second);
        assert!(lock(&load.paces).len() <= 1, "nobody wants to know any more");
    }
}
