//! [`Exchange`]: what is learnt about one client request while it is served.

mod attempt;
mod client;
mod id;
mod trace;

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use tokio::time::Instant;

pub(crate) use self::trace::{Share, trace_state};
pub use self::{
    attempt::{Attempt, AttemptHandle, Outcome, Role},
    client::ClientAddress,
    id::RequestId,
    trace::TraceParent,
};
use crate::{
    Error, Kind, Target, Tokens, Units,
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
    /// Beside the rest, so that nobody locks to find that there is none.
    span: OnceLock<TraceParent>,
    /// Where the time has gone until the answer began; a record takes what was learnt.
    spent: OnceLock<Spent>,
    learnt: Mutex<Learnt>,
}

impl Default for Inner {
    fn default() -> Self {
        Self::at(SystemTime::now())
    }
}

impl Inner {
    fn at(arrived: SystemTime) -> Self {
        Self {
            id: RequestId::new(arrived),
            started: Instant::now(),
            arrived,
            span: OnceLock::new(),
            spent: OnceLock::new(),
            learnt: Mutex::default(),
        }
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
    /// Whether it is nothing that is recorded: what an administrator asks is no exchange.
    pub(crate) unrecorded: bool,
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
    /// When the request's body was there, counted from its arrival.
    pub read: Option<Duration>,
    /// What was asked, in JSON, where the caller allows that it is kept.
    pub content: Option<Bytes>,
    /// The trace that the client says it belongs to.
    pub trace: Option<TraceParent>,
    /// What the client's tracing systems say beside that, where the gateway's spans have it too.
    pub trace_state: Option<Box<str>>,
}

impl Learnt {
    /// What a ledger counts of all attempts so far.
    pub(crate) fn used(&self) -> Amounts {
        let tokens = self.attempts.iter().map(|attempt| attempt.tokens).fold(Tokens::default(), |a, b| a + b);
        let cost =
            if self.own_key { NanoUsd(0) } else { self.attempts.iter().filter_map(Attempt::cost).sum() };
        Amounts::new(cost, &tokens)
    }

    /// The attempt that answers, as far as that is known.
    pub(crate) fn answering(&mut self) -> Option<&mut Attempt> {
        let last = self.attempts.iter().rposition(|attempt| attempt.role.answers())?;
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
    /// Whether nobody was asked because all who could be were to be left alone for now.
    pub(crate) is_passed_over: bool,
}

/// Where the time of an exchange has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    /// As [`Exchange::overhead`] has it.
    pub(crate) gateway: Duration,
    /// Until the first byte of the provider that answers, or until it has failed.
    pub(crate) provider: Option<Duration>,
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

    /// That of a request which came at another time.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn at(arrived: SystemTime) -> Self {
        Self(Arc::new(Inner::at(arrived)))
    }

    /// The name of this request in headers, logs and records.
    pub fn id(&self) -> &RequestId {
        &self.0.id
    }

    /// When the request came, by the clock on the wall.
    pub fn arrived(&self) -> SystemTime {
        self.0.arrived
    }

    /// The span of the request, where the gateway makes traces.
    pub fn span(&self) -> Option<TraceParent> {
        self.0.span.get().copied()
    }

    /// Notes the span of the request; the first one stays.
    pub(crate) fn trace(&self, span: TraceParent) {
        let _ = self.0.span.set(span);
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
            learnt.failure.get_or_insert_with(|| Failure {
                kind: error.kind(),
                message: error.message().into(),
                is_passed_over: error.is_elsewhere(),
            });
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

    /// Begins an attempt to answer.
    pub fn begin(&self, target: &Arc<Target>) -> AttemptHandle {
        self.begin_as(Role::Answer, target)
    }

    /// Begins an attempt for whatever it is made.
    pub(crate) fn begin_as(&self, role: Role, target: &Arc<Target>) -> AttemptHandle {
        let started = self.elapsed();
        let index = self.learn(|learnt| {
            if learnt.attempts.is_empty() {
                // Most requests have one, and a vector would make room for four.
                learnt.attempts.reserve_exact(1);
            }
            learnt.attempts.push(Attempt::new(target, role, started));
            learnt.attempts.len() - 1
        });
        AttemptHandle { exchange: self.clone(), index }
    }

    /// The right to report on an attempt that has begun.
    pub(crate) fn attempt(&self, index: usize) -> AttemptHandle {
        AttemptHandle { exchange: self.clone(), index }
    }

    /// How long the gateway itself has been at it, once its answer begins: from the time when the request was there
    /// until the first attempt, and since the provider's first byte, or its last one where the answer is whole.
    /// What it does between attempts, where it may wait on purpose, does not count.
    pub fn overhead(&self) -> Duration {
        self.spent().gateway
    }

    /// Notes that the answer begins, and says where the time has gone until then.
    pub(crate) fn answered(&self) -> Spent {
        *self.0.spent.get_or_init(|| self.spent())
    }

    /// Where the time has gone, until the answer began or until now.
    fn spent(&self) -> Spent {
        if let Some(spent) = self.0.spent.get() {
            return *spent;
        }
        let now = self.elapsed();
        self.learn(|learnt| {
            let read = learnt.read.unwrap_or_default();
            let Some(first) = learnt.attempts.first() else {
                return Spent { gateway: now.saturating_sub(read), provider: None };
            };
            let before = first.started.saturating_sub(read);
            let Some(answering) = learnt.answering() else {
                return Spent { gateway: before, provider: None };
            };
            let since = answering.ended.or(answering.first_byte);
            let began = answering.first_byte.or(answering.ended);
            Spent {
                gateway: before + since.map_or(Duration::ZERO, |since| now.saturating_sub(since)),
                provider: began.map(|began| began.saturating_sub(answering.started)),
            }
        })
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
        self.learn(|learnt| learnt.used())
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
}
