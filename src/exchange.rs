//! [`Exchange`]: what is learnt about one client request while it is served.

use std::{
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

use crate::{
    Error, Kind, Target, Tokens, Units, Work,
    auth::Caller,
    dispatch::Strategy,
    labels::Labels,
    ledger::{Amounts, Scope, Standings},
    lock,
    price::{Input, NanoUsd},
};

/// What is learnt about one client request while it is served.
///
/// All clones see the same. Inner layers write as they learn, outer layers read when the response
/// has ended; usage is written per attempt as it passes, so that an abandoned stream has a reading.
#[derive(Clone, Debug, Default)]
pub struct Exchange(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: RequestId,
    started: Instant,
    arrived: SystemTime,
    learnt: Mutex<Learnt>,
}

impl Default for Inner {
    fn default() -> Self {
        let arrived = SystemTime::now();
        Self { id: RequestId::new(arrived), started: Instant::now(), arrived, learnt: Mutex::default() }
    }
}

/// Everything that the layers have written so far.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Learnt {
    /// Who asks; `None` until the key is known.
    pub caller: Option<Caller>,
    /// What is asked for; `None` until the body is read.
    pub asked: Option<Asked>,
    /// Whom and what the request is for.
    pub labels: Labels,
    /// How the caller stands with its limits.
    pub standings: Standings,
    /// The accounts of providers that attempts were charged to.
    pub(crate) provider_scopes: Vec<Arc<[Scope]>>,
    /// The refusals of quotas that only watch.
    pub shadowed: Vec<Box<str>>,
    /// How much the model is to read, as far as somebody wanted to know.
    pub(crate) input: Option<Input>,
    /// How the targets were chosen; `None` until they are.
    pub route: Option<Routed>,
    /// The rule of the model that led there.
    pub rule: Option<Arc<str>>,
    /// The attempts so far, in order.
    pub attempts: Vec<Attempt>,
    /// Which of them answers, where it need not be the last one.
    pub(crate) answers: Option<usize>,
    /// The fields of the request that the provider's dialect could not express.
    pub lost: Vec<Box<str>>,
    /// What was made to fail on purpose, and where: `503 at openai/gpt-4o`.
    pub faults: Vec<Box<str>>,
    /// Whether the caller pays the provider itself, with a key of its own.
    pub own_key: bool,
    /// The cap on the output that the gateway has set where the client has set none.
    pub max_output: Option<u64>,
    /// The cap that its output was lowered to, so that one request doesn't use more than it may.
    pub lowered: Option<u64>,
    /// Why the client got no answer, or not all of it.
    pub failure: Option<Failure>,
    /// What was reserved for all attempts together; `None` if nobody keeps a budget.
    pub reserved: Option<NanoUsd>,
    /// Whether the answer is to be read to its end when the client leaves.
    pub drain: bool,
    /// The exchange of which this one is a copy, whose answer nobody sees.
    pub mirrors: Option<RequestId>,
    /// What is known of work that goes on after the answer.
    pub job: Job,
}

impl Learnt {
    /// The attempt that answers, as far as that is known.
    pub(crate) fn answering(&mut self) -> Option<&mut Attempt> {
        let last = self.attempts.len().checked_sub(1)?;
        self.attempts.get_mut(self.answers.unwrap_or(last))
    }
}

/// How the targets of a request were chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Routed {
    /// By what the first one was.
    pub strategy: Strategy,
    /// How many were not asked, because they lack what the request needs.
    pub passed_over: u32,
}

/// Work that goes on at a provider after it has answered, such as a [batch](crate::batch), and who pays
/// for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Job {
    /// There is none, or its cost is no business of this exchange.
    #[default]
    None,
    /// Its cost is held for this exchange, and nobody has said how far it is.
    Held,
    /// It goes on; its cost is to be held on under this name.
    Running(Box<str>),
    /// It is over, and what it has cost is among the attempts.
    Over,
}

/// When a request has to be over, answer included: an extension of the request, set by its route.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Instant);

/// How many tokens of output the route expects of a request that doesn't say: an extension of requests
/// without a cap, and of those about a [batch](crate::batch).
#[derive(Clone, Copy, Debug)]
pub struct AssumeOutput {
    /// How many.
    pub tokens: u64,
    /// Whether every provider is told that number as the cap; otherwise those are that have to be told one.
    pub is_cap: bool,
}

/// Whoever has asked for a stream makes one answer of it, and takes a whole one as well: an extension of
/// requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TakesWhole;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The [id](crate::dialect::Dialect::id) of the client's dialect.
    pub dialect: &'static str,
    /// The model as the client names it.
    pub model: Box<str>,
    /// Whether the answer is a stream.
    pub stream: bool,
}

/// Why an exchange failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The class of the failure.
    pub kind: Kind,
    /// The message the client got.
    pub message: Box<str>,
}

/// One attempt at one target.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// Who was asked.
    pub target: Arc<Target>,
    /// When it began, counted from the arrival of the request.
    pub started: Duration,
    /// When its first bytes came, counted likewise.
    pub first_byte: Option<Duration>,
    /// When it was over, counted likewise.
    pub ended: Option<Duration>,
    /// What it used.
    pub tokens: Tokens,
    /// What it used beside tokens.
    pub units: Units,
    /// Whether `tokens` and `units` are the gateway's estimate, because the provider never said.
    pub estimated: bool,
    /// What the provider says that it cost, where that is believed.
    pub reported: Option<NanoUsd>,
    /// How it came out.
    pub outcome: Outcome,
    /// What it is for.
    pub role: Role,
}

/// What an attempt is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// To answer, after all attempts before it have failed.
    #[default]
    Answer,
    /// To answer before another one does that takes long; see [`Hedge`](crate::dispatch::Hedge).
    Hedge,
    /// To go on with an answer that broke off; see [`OnBreak`](crate::dispatch::OnBreak).
    Resume,
}

impl Role {
    pub(crate) fn is_usual(&self) -> bool {
        *self == Self::Answer
    }
}

impl Attempt {
    /// What it cost; `None` if the price is not known.
    pub fn cost(&self) -> Option<NanoUsd> {
        match self.reported {
            Some(reported) if !self.estimated => Some(reported),
            // The answer may have cost more after its provider last spoke of it.
            Some(reported) => Some(self.reckoned().unwrap_or_default().max(reported)),
            None => self.reckoned(),
        }
    }

    /// What it cost by the price of its target.
    fn reckoned(&self) -> Option<NanoUsd> {
        match self.target.known_price() {
            Some(price) => price.cost_of(&Work { tokens: self.tokens, units: self.units }),
            None => (self.tokens.is_zero() && self.units.is_zero()).then_some(NanoUsd(0)),
        }
    }
}

/// How an attempt came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    #[default]
    Running,
    /// It answered to the end.
    Answered,
    /// It failed.
    Failed(Kind),
    /// It was given up, because the client left or another attempt was quicker.
    Aborted,
}

impl Exchange {
    /// The exchange `req` belongs to; a new one when no outer layer has opened it.
    pub fn of<B>(req: &http::Request<B>) -> Self {
        req.extensions().get::<Self>().cloned().unwrap_or_default()
    }

    /// The exchange `req` belongs to, opened here unless an outer layer has done so.
    pub fn open<B>(req: &mut http::Request<B>) -> Self {
        req.extensions_mut().get_or_insert_default::<Self>().clone()
    }

    /// The name of this request in headers, logs and records.
    pub fn id(&self) -> &RequestId {
        &self.0.id
    }

    /// When the request came, by the clock on the wall.
    pub fn arrived(&self) -> SystemTime {
        self.0.arrived
    }

    /// How long ago the request came.
    pub fn elapsed(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// Looks at, or changes, what was learnt. Takes a lock: keep it short.
    pub fn learn<T>(&self, change: impl FnOnce(&mut Learnt) -> T) -> T {
        change(&mut lock(&self.0.learnt))
    }

    /// Notes once that something called `name` is lost on the way.
    pub(crate) fn lose(&self, name: &str) {
        self.learn(|learnt| {
            if !learnt.lost.iter().any(|known| **known == *name) {
                learnt.lost.push(name.into());
            }
        });
    }

    /// Notes why the client gets no answer; the first reason stays.
    pub fn fail(&self, error: &Error) {
        self.learn(|learnt| {
            learnt
                .failure
                .get_or_insert_with(|| Failure { kind: error.kind(), message: error.message().into() });
        });
    }

    /// Notes that the cost of a job is held for this exchange.
    pub(crate) fn hold_job(&self) {
        self.learn(|learnt| learnt.job = Job::Held);
    }

    /// Notes how far a job is, if this exchange is the one that holds its cost; says whether it is.
    pub(crate) fn advance_job(&self, to: Job) -> bool {
        self.learn(|learnt| {
            let is_held = learnt.job == Job::Held;
            if is_held {
                learnt.job = to;
            }
            is_held
        })
    }

    /// Notes why the attempt that answers broke off inside of its answer: further in it looked like leaving.
    pub(crate) fn broke_off(&self, error: &Error) {
        self.learn(|learnt| {
            if let Some(attempt) = learnt.answering() {
                attempt.outcome = Outcome::Failed(error.kind());
            }
        });
    }

    /// Begins an attempt; called by the meter of a provider's stack.
    pub fn begin(&self, target: &Arc<Target>) -> AttemptHandle {
        let started = self.elapsed();
        let index = self.learn(|learnt| {
            if learnt.attempts.is_empty() {
                // Most requests have one, and a vector would make room for four.
                learnt.attempts.reserve_exact(1);
            }
            learnt.attempts.push(Attempt {
                target: target.clone(),
                started,
                first_byte: None,
                ended: None,
                tokens: Tokens::default(),
                units: Units::default(),
                estimated: false,
                reported: None,
                outcome: Outcome::Running,
                role: Role::Answer,
            });
            learnt.attempts.len() - 1
        });
        AttemptHandle { exchange: self.clone(), index }
    }

    /// What all attempts together used.
    pub fn tokens(&self) -> Tokens {
        self.learn(|learnt| {
            learnt.attempts.iter().map(|attempt| attempt.tokens).fold(Tokens::default(), |a, b| a + b)
        })
    }

    /// What all attempts together used beside tokens.
    pub fn units(&self) -> Units {
        self.learn(|learnt| {
            learnt.attempts.iter().map(|attempt| attempt.units).fold(Units::default(), |a, b| a + b)
        })
    }

    /// What all attempts together cost; attempts without a price count as nothing.
    pub fn cost(&self) -> NanoUsd {
        self.learn(|learnt| learnt.attempts.iter().filter_map(Attempt::cost).sum())
    }

    /// What a ledger counts of all attempts together: no money, where the caller pays the provider itself.
    pub fn used(&self) -> Amounts {
        let own_key = self.learn(|learnt| learnt.own_key);
        let cost = if own_key { NanoUsd(0) } else { self.cost() };
        Amounts::new(cost, &self.tokens())
    }
}

/// The right to report on one attempt.
#[derive(Clone, Debug)]
pub struct AttemptHandle {
    exchange: Exchange,
    index: usize,
}

impl AttemptHandle {
    /// Notes that the first bytes of the answer came.
    pub fn first_byte(&self) {
        let now = self.exchange.elapsed();
        self.update(|attempt| {
            attempt.first_byte.get_or_insert(now);
        });
    }

    /// Notes what the provider says was used; it repeats its counts, the last report wins.
    pub fn report(&self, work: impl Into<Work>) {
        let Work { tokens, units } = work.into();
        self.update(|attempt| {
            (attempt.tokens, attempt.units, attempt.estimated) = (tokens, units, false);
        });
    }

    /// Notes the gateway's own reckoning, where the provider never says.
    pub fn estimate(&self, work: impl Into<Work>) {
        let Work { tokens, units } = work.into();
        self.update(|attempt| {
            (attempt.tokens, attempt.units, attempt.estimated) = (tokens, units, true);
        });
    }

    /// Notes what the provider says that the attempt cost.
    pub fn charge(&self, cost: NanoUsd) {
        self.update(|attempt| attempt.reported = Some(cost));
    }

    /// Notes that the attempt is over; the first outcome stays.
    pub fn finish(&self, outcome: Outcome) {
        let now = self.exchange.elapsed();
        self.update(|attempt| {
            if attempt.outcome == Outcome::Running {
                (attempt.outcome, attempt.ended) = (outcome, Some(now));
            }
        });
    }

    /// The exchange that the attempt belongs to.
    pub(crate) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    fn update(&self, change: impl FnOnce(&mut Attempt)) {
        // Once the record has been written there is nobody left to tell.
        self.exchange.learn(|learnt| learnt.attempts.get_mut(self.index).map(change));
    }
}

/// Names one request; unique among all gateways, and in the order of time.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; 36]);

impl RequestId {
    fn new(now: SystemTime) -> Self {
        static SEED: LazyLock<u64> =
            LazyLock::new(|| getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()) << 32));
        static COUNT: AtomicU64 = AtomicU64::new(0);

        let micros = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut id = *b"req_00000000000000000000000000000000";
        hex(micros, &mut id[4..20]);
        hex(SEED.wrapping_add(count), &mut id[20..]);
        Self(id)
    }

    /// The text of the name: `req_` and 32 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn hex(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Debug for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_and_the_last_count_stay() {
        let exchange = Exchange::default();
        let attempt = exchange.begin(&Arc::new(Target::new("demo", "m")));

        attempt.estimate(Tokens { input: 9, ..Tokens::default() });
        attempt.report(Tokens { input: 7, output: 1, ..Tokens::default() });
        attempt.finish(Outcome::Answered);
        attempt.finish(Outcome::Aborted);
        exchange.fail(&Error::new(Kind::Timeout, "late"));
        exchange.fail(&Error::new(Kind::Internal, "later"));

        let learnt = exchange.learn(|learnt| learnt.clone());
        assert_eq!(learnt.attempts[0].outcome, Outcome::Answered);
        assert_eq!((exchange.tokens().input, learnt.attempts[0].estimated), (7, false));
        assert_eq!(learnt.failure.unwrap().kind, Kind::Timeout);
    }

    #[test]
    fn ids_differ_and_have_one_form() {
        let (one, two) = (Exchange::default(), Exchange::default());

        assert_ne!(one.id(), two.id());
        assert_eq!(one.id().as_str().len(), 36);
        assert!(one.id().as_str().starts_with("req_"));
    }
}
