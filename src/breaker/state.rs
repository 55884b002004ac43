use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{Notice, Rules, window::Window};
use crate::{
    Error, Kind,
    audit::{Event, EventKind, Trail},
    lock,
    record::Mask,
};

/// Whether a target is asked. Clones are the same breaker.
#[derive(Clone, Debug)]
pub struct Breaker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: Box<str>,
    rules: Rules,
    state: Mutex<State>,
    /// Whether there may be a share, so that nobody locks to find that there is none.
    recovers: AtomicBool,
    trail: Option<Trail>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// When it came into that phase.
    since: Instant,
    /// When its target began to answer again.
    recovers_since: Option<Instant>,
    /// Counts the phases, so that what began in an earlier one doesn't speak for a later one.
    generation: u64,
    in_a_row: u32,
    window: Window,
    /// How often it opened without having been closed for long.
    trips: u32,
    last_failure: Option<Kind>,
    /// Since when and until when the target wants to be left alone.
    limited: Option<(Instant, Instant)>,
    /// Up to which phase other gateways know of it.
    told: u64,
    was_asked: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed {
        since: Instant,
    },
    Open {
        until: Instant,
    },
    /// So many probes are on their way.
    Probing {
        probes: u32,
    },
}

/// How a target stands at the moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Standing {
    /// How long it is yet to be passed over; `None` if it is asked. Zero while it is being probed.
    pub open_for: Option<Duration>,
    /// The failures since the last answer.
    pub failures_in_a_row: u32,
    /// What the last failure was.
    pub last_failure: Option<Kind>,
    /// How long its target wants to be left alone, by its `retry-after` or its rate-limit headers: until then it is
    /// asked after all others. `None` if it doesn't, or is passed over anyway.
    pub limited_for: Option<Duration>,
    /// For how long it has stood like this.
    pub lasts: Duration,
    /// The share of the requests that it gets while it recovers; `None` if that is all or none.
    pub share: Option<f64>,
}

/// That a request was let through.
#[derive(Debug)]
pub(super) struct Pass {
    generation: u64,
    is_probe: bool,
}

/// How an exchange with the target ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// With a whole answer, or with as much of it as the client wanted; whether its head took too long.
    Answered { slowly: bool },
    /// By a fault of the target, which may say how long it wants to be left alone.
    Failed { kind: Kind, retry_after: Option<Duration> },
}

impl Breaker {
    /// A closed breaker of the target with this name, which its errors and logs mention without [secrets](Mask).
    pub fn new(name: &str, rules: Rules) -> Self {
        let now = Instant::now();
        let state = State {
            phase: Phase::Closed { since: now },
            since: now,
            recovers_since: None,
            generation: 0,
            in_a_row: 0,
            window: Window::new(rules.over, now),
            trips: 0,
            last_failure: None,
            limited: None,
            told: 0,
            was_asked: false,
        };
        Self(Arc::new(Shared {
            // Clients name targets too, by whatever they hold for a model.
            name: Mask::default().apply(name).into(),
            rules,
            state: Mutex::new(state),
            recovers: AtomicBool::new(false),
            trail: None,
        }))
    }

    /// Notes in `trail` when it opens, and when its target answers again. Of gateways that share a
    /// [`Board`](super::Board) only the one does that has found it out.
    #[must_use]
    pub fn audit(self, trail: Trail) -> Self {
        match Arc::try_unwrap(self.0) {
            Ok(shared) => Self(Arc::new(Shared { trail: Some(trail), ..shared })),
            Err(shared) => Self(shared),
        }
    }

    /// The name of the target.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// When it opens and closes.
    pub fn rules(&self) -> &Rules {
        &self.0.rules
    }

    /// Whether the other one is a clone of this one.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether anybody wanted to ask the target.
    #[cfg(feature = "config")]
    pub(crate) fn was_asked(&self) -> bool {
        lock(&self.0.state).was_asked
    }

    /// How the target stands at the moment.
    pub fn standing(&self) -> Standing {
        let state = lock(&self.0.state);
        let open_for = match state.phase {
            Phase::Closed { .. } => None,
            Phase::Open { until } => Some(until.saturating_duration_since(Instant::now())),
            Phase::Probing { .. } => Some(Duration::ZERO),
        };
        let now = Instant::now();
        let share = self.share_in(&state, now);
        let limited = state.limited.filter(|(_, until)| *until > now && open_for.is_none());
        Standing {
            open_for,
            failures_in_a_row: state.in_a_row,
            last_failure: state.last_failure,
            limited_for: limited.map(|(_, until)| until - now),
            lasts: now.saturating_duration_since(limited.map_or(state.since, |(since, _)| since)),
            share: Some(share).filter(|share| *share < 1.0 && open_for.is_none() && limited.is_none()),
        }
    }

    /// Which part of the requests its target is asked for first, from 0 to 1: less than all for a while after it
    /// has failed, and none as long as it wants to be left alone. Costs nothing where it never has failed.
    pub fn share(&self) -> f64 {
        if !self.0.recovers.load(Ordering::Relaxed) {
            return 1.0;
        }
        let state = lock(&self.0.state);
        let share = self.share_in(&state, Instant::now());
        if share >= 1.0 {
            self.0.recovers.store(false, Ordering::Relaxed);
        }
        share
    }

    fn share_in(&self, state: &State, now: Instant) -> f64 {
        /// So that there is something to learn from.
        const LEAST: f64 = 0.05;

        if state.limited.is_some_and(|(_, until)| until > now) {
            return 0.0;
        }
        let Some(since) = state.recovers_since.filter(|_| !self.0.rules.recovery.is_zero()) else {
            return 1.0;
        };
        let part = now.saturating_duration_since(since).as_secs_f64() / self.0.rules.recovery.as_secs_f64();
        part.clamp(LEAST, 1.0)
    }

    /// Lets a request through, or says why not.
    pub(super) fn admit(&self) -> Result<Pass, Error> {
        /// How soon a probe may have brought an answer.
        const SOON: Duration = Duration::from_secs(1);

        let now = Instant::now();
        let state = &mut *lock(&self.0.state);
        state.was_asked = true;
        let is_probe = match &mut state.phase {
            Phase::Closed { .. } => false,
            Phase::Open { until } if now < *until => return Err(self.refused(*until - now, state)),
            Phase::Open { .. } => {
                state.change(Phase::Probing { probes: 1 });
                true
            }
            Phase::Probing { probes } if *probes < self.0.rules.probes => {
                *probes += 1;
                true
            }
            Phase::Probing { .. } => return Err(self.refused(SOON, state)),
        };
        Ok(Pass { generation: state.generation, is_probe })
    }

    /// Somebody has asked whether the target is there, and will again after `every`; `failure` is why it isn't.
    #[cfg(feature = "config")]
    pub(crate) fn probed(&self, failure: Option<Kind>, every: Duration) {
        let (now, state) = (Instant::now(), &mut *lock(&self.0.state));
        match (failure, state.phase) {
            // It may be there and fail all the same: a request will show. What it said of its limits holds.
            (None, Phase::Open { .. }) if state.last_failure != Some(Kind::RateLimited) => {
                state.phase = Phase::Open { until: now };
            }
            (Some(_), Phase::Open { until }) => {
                // No request need find out what is known.
                state.phase = Phase::Open { until: until.max(now + every + every / 2) };
            }
            (Some(kind), Phase::Closed { .. }) => {
                state.in_a_row = state.in_a_row.saturating_add(1);
                state.window.count(now, true);
                state.last_failure = Some(kind);
                self.trip(state, now, None);
            }
            (None, _) | (Some(_), Phase::Probing { .. }) => {}
        }
    }

    /// The phase that it is in, and what other gateways have to know of it: they are taken to know it from here on.
    pub(super) fn news(&self) -> (u64, Option<Notice>) {
        let state = &mut *lock(&self.0.state);
        let open_for = match state.phase {
            Phase::Closed { .. } => Duration::ZERO,
            Phase::Open { until } => until.saturating_duration_since(Instant::now()),
            Phase::Probing { .. } => return (state.generation, None),
        };
        let is_told = std::mem::replace(&mut state.told, state.generation) == state.generation;
        let is_over = open_for.is_zero() && matches!(state.phase, Phase::Open { .. });
        let why = state.last_failure.unwrap_or(Kind::Upstream);
        let notice = || Notice { target: self.0.name.clone(), open_for, why };
        (state.generation, (!is_told && !is_over).then(notice))
    }

    /// The others could not be told.
    pub(super) fn untell(&self) {
        let state = &mut *lock(&self.0.state);
        // No phase has this number.
        state.told = u64::MAX;
    }

    /// Goes by what other gateways have found out, unless it has changed since it was in the phase `at`.
    pub(super) fn hear(&self, at: u64, notice: Option<&Notice>) {
        /// Clocks and messages are not quicker.
        const MARGIN: Duration = Duration::from_secs(1);

        let (now, state) = (Instant::now(), &mut *lock(&self.0.state));
        let Some(notice) = notice.filter(|_| state.generation == at) else { return };
        let until = now + notice.open_for;
        let is_closed = notice.open_for.is_zero();
        match state.phase {
            Phase::Open { .. } if is_closed => self.close(state),
            Phase::Closed { .. } if !is_closed => {
                tracing::warn!(target = &*self.0.name, last = notice.why.as_str(), pause = ?notice.open_for, "another gateway passes over the target");
                state.last_failure = Some(notice.why);
                state.change(Phase::Open { until });
            }
            Phase::Open { until: own } if until > own + MARGIN => state.change(Phase::Open { until }),
            Phase::Open { .. } | Phase::Closed { .. } | Phase::Probing { .. } => return,
        }
        state.told = state.generation;
    }

    fn refused(&self, left: Duration, state: &State) -> Error {
        // Clients are told whole seconds; "0s" would be no answer to "when".
        let left = Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0));
        let last = state.last_failure.unwrap_or(Kind::Upstream);
        let message =
            format!("`{}` is passed over for {left:?} because it failed, at last with {last}", self.0.name);
        Error::new(Kind::Overloaded, message).with_retry_after(left).with_elsewhere()
    }

    /// The head of the answer is here: of a probe that is all that was to be known.
    pub(super) fn answers(&self, pass: &Pass) {
        let state = &mut *lock(&self.0.state);
        if pass.is_probe && pass.generation == state.generation {
            self.close(state);
            self.note("closed", |event| event);
        }
    }

    fn close(&self, state: &mut State) {
        let now = Instant::now();
        state.change(Phase::Closed { since: now });
        state.in_a_row = 0;
        state.window.clear();
        state.recovers_since = Some(now);
        self.0.recovers.store(true, Ordering::Relaxed);
        tracing::info!(target = &*self.0.name, "the target answers again");
    }

    /// The client left before anything was known.
    pub(super) fn left(&self, pass: &Pass) {
        let state = &mut *lock(&self.0.state);
        if !pass.is_probe || pass.generation != state.generation {
            return;
        }
        if let Phase::Probing { probes } = &mut state.phase {
            *probes -= 1;
            if *probes == 0 {
                state.phase = Phase::Open { until: Instant::now() };
            }
        }
    }

    /// What became of a request that was let through.
    pub(super) fn report(&self, pass: &Pass, outcome: Outcome) {
        let now = Instant::now();
        let state = &mut *lock(&self.0.state);
        match outcome {
            Outcome::Answered { slowly } => {
                state.in_a_row = 0;
                state.window.count(now, slowly);
                if slowly {
                    self.trip(state, now, None);
                }
            }
            Outcome::Failed { kind, retry_after } => {
                state.in_a_row = state.in_a_row.saturating_add(1);
                state.window.count(now, true);
                state.last_failure = Some(kind);
                if let Some(wait) = retry_after.filter(|wait| !wait.is_zero()) {
                    self.limit(state, now, now + wait);
                }
                let is_failed_probe = pass.is_probe && pass.generation == state.generation;
                if is_failed_probe && matches!(state.phase, Phase::Probing { .. }) {
                    self.open(state, now, retry_after);
                } else {
                    self.trip(state, now, retry_after);
                }
            }
        }
    }

    /// Opens if there was too much, and it isn't open yet.
    fn trip(&self, state: &mut State, now: Instant, retry_after: Option<Duration>) {
        let Phase::Closed { since } = state.phase else { return };
        let rules = &self.0.rules;
        let counts = state.window.sum(now);
        let is_row = rules.in_a_row > 0 && state.in_a_row >= rules.in_a_row;
        let is_share = rules.share > 0.0
            && counts.all >= rules.at_least.max(1)
            && f64::from(counts.bad) >= rules.share * f64::from(counts.all);
        if !is_row && !is_share {
            return;
        }
        if now.saturating_duration_since(since) > rules.pause.1 {
            state.trips = 0;
        }
        self.open(state, now, retry_after);
        self.note("opened", |event| event.detail("last_failure", state.last_failure.map(Kind::as_str)));
    }

    fn note(&self, action: &str, more: impl FnOnce(Event) -> Event) {
        let Some(trail) = &self.0.trail else { return };
        let name = &self.0.name;
        let what = match action {
            "opened" => format!("passes over `{name}`, which fails"),
            _ => format!("asks `{name}` again, which answers"),
        };
        let event = Event::new(EventKind::Breaker, "the gateway", what);
        trail.note(more(event.detail("target", &**name).detail("action", action)));
    }

    fn limit(&self, state: &mut State, now: Instant, until: Instant) {
        let known = state.limited.filter(|(_, until)| *until > now);
        state.limited = Some(known.map_or((now, until), |(since, known)| (since, known.max(until))));
        self.0.recovers.store(true, Ordering::Relaxed);
    }

    fn open(&self, state: &mut State, now: Instant, retry_after: Option<Duration>) {
        let (shortest, longest) = self.0.rules.pause;
        let pause = shortest.saturating_mul(1 << state.trips.min(16)).max(retry_after.unwrap_or_default());
        let pause = pause.min(longest);
        state.trips = state.trips.saturating_add(1);
        state.change(Phase::Open { until: now + pause });
        tracing::warn!(
            target = &*self.0.name,
            failures_in_a_row = state.in_a_row,
            last = state.last_failure.map(Kind::as_str),
            ?pause,
            "the target fails and is passed over"
        );
    }
}

impl State {
    fn change(&mut self, phase: Phase) {
        self.since = Instant::now();
        self.phase = phase;
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Outcome = Outcome::Failed { kind: Kind::Unreachable, retry_after: None };
    const ANSWERED: Outcome = Outcome::Answered { slowly: false };

    fn rules() -> Rules {
        Rules {
            in_a_row: 3,
            at_least: 10,
            over: Duration::from_secs(10),
            pause: (Duration::from_secs(1), Duration::from_secs(3)),
            ..Rules::default()
        }
    }

    fn exchange(breaker: &Breaker, outcome: Outcome) {
        let pass = breaker.admit().unwrap();
        if matches!(outcome, Outcome::Answered { .. }) {
            breaker.answers(&pass);
        }
        breaker.report(&pass, outcome);
    }

    fn opened() -> Breaker {
        let breaker = Breaker::new("a/b", rules());
        (0..3).for_each(|_| exchange(&breaker, FAILED));
        breaker
    }

    async fn pause(milliseconds: u64) {
        tokio::time::advance(Duration::from_millis(milliseconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_that_a_client_has_for_a_model_is_not_told_on() {
        let breaker = Breaker::new("openai/sk-0123456789abcdef", rules());
        (0..3).for_each(|_| exchange(&breaker, FAILED));

        let refused = breaker.admit().unwrap_err();

        assert_eq!(breaker.name(), "openai/sk-[masked]");
        assert!(refused.message().starts_with("`openai/sk-[masked]` is passed over"), "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it_and_an_answer_between_them_does_not() {
        let breaker = Breaker::new("a/b", rules());

        for outcome in [FAILED, FAILED, ANSWERED, FAILED, FAILED] {
            exchange(&breaker, outcome);
        }
        assert_eq!(breaker.standing().open_for, None);
        exchange(&breaker, FAILED);

        let error = breaker.admit().unwrap_err();
        assert_eq!(
            error.message(),
            "`a/b` is passed over for 1s because it failed, at last with unreachable"
        );
        assert_eq!((error.kind(), error.retry_after()), (Kind::Overloaded, Some(Duration::from_secs(1))));
        assert!(!error.is_retryable() && error.is_failover() && error.has_begun_nothing());
        let expected = Standing {
            open_for: Some(Duration::from_secs(1)),
            failures_in_a_row: 3,
            last_failure: Some(Kind::Unreachable),
            limited_for: None,
            lasts: Duration::ZERO,
            share: None,
        };
        assert_eq!(breaker.standing(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_of_failures_opens_it_once_there_are_enough_requests() {
        let breaker = Breaker::new("a/b", rules());

        for _ in 0..4 {
            exchange(&breaker, FAILED);
            exchange(&breaker, ANSWERED);
        }
        exchange(&breaker, FAILED);
        assert_eq!(breaker.standing().open_for, None, "nine are too few");
        exchange(&breaker, FAILED);
        assert!(breaker.admit().is_err());

        let calm = Breaker::new("a/b", rules());
        for _ in 0..20 {
            exchange(&calm, FAILED);
            exchange(&calm, ANSWERED);
            exchange(&calm, ANSWERED);
        }
        assert_eq!(calm.standing().open_for, None, "a third is below the share");
    }

    #[tokio::test(start_paused = true)]
    async fn slow_answers_count_in_the_share() {
        let breaker = Breaker::new("a/b", rules());

        (0..10).for_each(|_| exchange(&breaker, Outcome::Answered { slowly: true }));

        assert!(breaker.admit().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time_goes_through_after_the_pause_and_closes_it() {
        let breaker = opened();

        pause(999).await;
        assert!(breaker.admit().is_err());
        pause(1).await;
        let probe = breaker.admit().unwrap();
        assert!(breaker.admit().is_err());
        assert_eq!(breaker.standing().open_for, Some(Duration::ZERO));
        breaker.answers(&probe);

        assert_eq!(breaker.standing().open_for, None);
        assert!(breaker.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_fails_opens_it_for_longer_up_to_a_bound() {
        let breaker = opened();

        for seconds in [1, 2, 3, 3] {
            assert_eq!(breaker.standing().open_for, Some(Duration::from_secs(seconds)));
            pause(seconds * 1000).await;
            exchange(&breaker, FAILED);
        }

        pause(3_000).await;
        exchange(&breaker, ANSWERED);
        // What was long ago doesn't count.
        pause(4_000).await;
        (0..3).for_each(|_| exchange(&breaker, FAILED));
        assert_eq!(breaker.standing().open_for, Some(Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_whose_client_leaves_gives_its_place_to_the_next_one() {
        let breaker = opened();
        pause(1_000).await;

        let probe = breaker.admit().unwrap();
        breaker.left(&probe);

        assert!(breaker.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_began_before_it_opened_says_nothing_of_the_probe() {
        let breaker = Breaker::new("a/b", rules());
        let (early, late) = (breaker.admit().unwrap(), breaker.admit().unwrap());
        (0..3).for_each(|_| exchange(&breaker, FAILED));

        breaker.answers(&early);
        breaker.report(&early, ANSWERED);
        assert!(breaker.admit().is_err());

        pause(1_000).await;
        let _probe = breaker.admit().unwrap();
        breaker.report(&late, FAILED);
        breaker.left(&late);
        assert_eq!(breaker.standing().open_for, Some(Duration::ZERO), "it is still being probed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_is_left_alone_for_as_long_as_it_says() {
        let limited = |seconds| Outcome::Failed {
            kind: Kind::RateLimited,
            retry_after: Some(Duration::from_secs(seconds)),
        };
        for (wish, expected) in [(2, 2), (60, 3), (0, 1)] {
            let breaker = Breaker::new("a/b", rules());

            (0..3).for_each(|_| exchange(&breaker, limited(wish)));

            assert_eq!(breaker.standing().open_for, Some(Duration::from_secs(expected)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_answers_again_gets_a_share_that_grows() {
        let breaker = opened();
        assert_eq!(breaker.share(), 1.0, "while it is open it is passed over anyway");
        pause(1_000).await;
        exchange(&breaker, ANSWERED);

        let mut shares = Vec::new();
        for _ in 0..4 {
            shares.push(breaker.share());
            assert_eq!(breaker.standing().share, Some(breaker.share()).filter(|share| *share < 1.0));
            pause(10_000).await;
        }

        assert_eq!(shares[0], 0.05);
        assert!((0.3..0.4).contains(&shares[1]) && (0.6..0.7).contains(&shares[2]), "{shares:?}");
        assert_eq!(shares[3], 1.0);
        assert_eq!(Breaker::new("a/b", rules()).share(), 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn it_says_for_how_long_it_has_stood_as_it_does() {
        let breaker = Breaker::new("a/b", rules());
        pause(5_000).await;
        assert_eq!(breaker.standing().lasts, Duration::from_secs(5));

        (0..3).for_each(|_| exchange(&breaker, FAILED));
        pause(500).await;

        assert_eq!(breaker.standing().lasts, Duration::from_millis(500));
    }

    #[cfg(feature = "config")]
    #[tokio::test(start_paused = true)]
    async fn a_target_that_is_asked_whether_it_is_there_opens_and_is_tried_as_that_tells() {
        let every = Duration::from_secs(10);
        let breaker = Breaker::new("a/b", rules());
        breaker.probed(None, every);
        (0..3).for_each(|_| breaker.probed(Some(Kind::Unreachable), every));
        assert_eq!(breaker.standing().open_for, Some(Duration::from_secs(1)));

        breaker.probed(Some(Kind::Unreachable), every);
        assert_eq!(breaker.standing().open_for, Some(Duration::from_secs(15)), "until it is asked again");

        breaker.probed(None, every);
        assert!(breaker.admit().is_ok(), "a request shows whether it answers");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_noted_when_it_opens_and_when_its_target_answers_again() {
        use crate::{
            audit::{Audit, MemoryAudit},
            ledger::MemoryLedger,
        };
        let store = Arc::new(MemoryAudit::default());
        let (trail, worker) = Trail::new(store.clone(), Arc::new(MemoryLedger::default()));
        let breaker = Breaker::new("a/b", rules()).audit(trail);

        (0..3).for_each(|_| exchange(&breaker, FAILED));
        for outcome in [FAILED, ANSWERED] {
            pause(3_000).await;
            exchange(&breaker, outcome);
        }
        drop(breaker);
        worker.await;

        let entries = store.read(1, 9).await.unwrap();
        let action = |entry: &crate::audit::Entry| entry.value()["details"]["action"].clone();
        assert_eq!(entries.iter().map(action).collect::<Vec<_>>(), ["opened", "closed"]);
        assert_eq!(entries[0].value()["details"]["last_failure"], "unreachable");
    }
}
