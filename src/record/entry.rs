use std::{
    borrow::Cow,
    net::IpAddr,
    ops::{Add, Deref},
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Serialize, Serializer};

use super::{Answered, Content, Mask, service::Passing};
use crate::{
    Exchange, Kind, Tokens, Units,
    body::End,
    exchange::{Attempt, Outcome, RequestId, Role, Routed, TraceParent},
    labels::Labels,
    price::{Costs, NanoUsd},
};

/// One exchange, as it is written down. Holds no key, and prompts only in its `content`.
///
/// As JSON, times are RFC 3339 or milliseconds, and money is a decimal string in dollars.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Record {
    /// The request's name, as in its `x-request-id`.
    #[serde(serialize_with = "as_text")]
    pub id: RequestId,
    /// The request of which this one is a copy, by a [mirror](crate::dispatch::Mirror); left out of the JSON if it is
    /// none.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_maybe_text")]
    pub mirrors: Option<RequestId>,
    /// Where it stands in a trace: below the span that the client names, or where it names none, in the gateway's
    /// own; left out of the JSON if there is neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceParent>,
    /// Its own span in that trace, or in a new one, where the gateway makes [traces](super::RecordLayer::traces); left
    /// out of the JSON if not.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_maybe_span")]
    pub span: Option<TraceParent>,
    /// What the client's tracing systems say beside the trace, if its span is recorded; not in the JSON.
    #[serde(skip)]
    pub trace_state: Option<Box<str>>,
    /// When the request came.
    #[serde(serialize_with = "as_timestamp")]
    pub arrived: SystemTime,
    /// When the first bytes of the answer went to the client, after that.
    #[serde(rename = "first_event_ms", serialize_with = "as_maybe_milliseconds")]
    pub first_event: Option<Duration>,
    /// How long the gateway itself was at it until its answer began; see [`Exchange::overhead`].
    #[serde(rename = "overhead_ms", serialize_with = "as_maybe_milliseconds")]
    pub overhead: Option<Duration>,
    /// How long it took until the response had ended.
    #[serde(rename = "duration_ms", serialize_with = "as_milliseconds")]
    pub duration: Duration,
    /// How the response ended for the client.
    pub end: End,
    /// The status of the response; `None` if there was none, because the client left before.
    pub status: Option<u16>,
    /// The size of the response's body.
    pub bytes: u64,
    /// Why the client got no answer, or not all of it.
    pub error: Option<Kind>,
    /// What the client was told about it.
    pub message: Option<Box<str>>,
    /// Whether nobody was asked because all who could be were to be left alone for now; not in the JSON.
    #[serde(skip)]
    pub is_passed_over: bool,
    /// Where the client was, if that is known; left out of the JSON if not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// The name of the key.
    pub key: Option<Arc<str>>,
    /// Whether the key allows that what was asked and answered is kept; left out of the JSON if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub log_content: bool,
    /// The name of the team.
    pub team: Option<Arc<str>>,
    /// The name of the customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<Arc<str>>,
    /// The end user, the session and the tags that the client named; those that it didn't are left out of
    /// the JSON.
    #[serde(flatten)]
    pub labels: Labels,
    /// The dialect of the client.
    pub dialect: Option<&'static str>,
    /// The model the client asked for.
    pub model: Option<Box<str>>,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// How the targets were chosen; left out of the JSON if none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Routed>,
    /// The rule of the model that led there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
    /// The attempts, in order.
    pub attempts: Vec<AttemptRecord>,
    /// What all attempts together used.
    pub tokens: Tokens,
    /// What all attempts together used beside tokens; left out of the JSON if that is nothing.
    #[serde(skip_serializing_if = "Units::is_zero")]
    pub units: Units,
    /// What all attempts with a known price together cost.
    pub cost: NanoUsd,
    /// What that was for.
    pub costs: Costs,
    /// Whether the caller pays `cost` itself, with a provider's key of its own; left out of the JSON if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub own_key: bool,
    /// Whether a part of `tokens` and `cost` is an estimate, because a provider never said.
    pub estimated: bool,
    /// Whether `cost` leaves out an attempt whose price is not known.
    pub unpriced: bool,
    /// Why the model that answered stopped, in its provider's words; left out of the JSON if it didn't say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<Box<str>>,
    /// How many tools it called.
    pub tool_calls: u32,
    /// The fields of the request that the provider's dialect could not express.
    pub lost: Vec<Box<str>>,
    /// What was made to fail on purpose, and where; left out of the JSON if that is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Box<str>>,
    /// What quotas in shadow would have refused; left out of the JSON if that is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shadowed: Vec<Box<str>>,
    /// What was asked and answered, where the key allows that it is kept; never in the JSON.
    #[serde(skip)]
    pub content: Option<Arc<Content>>,
}

/// One attempt, as it is written down.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AttemptRecord {
    /// Who was asked: `provider/model`.
    pub target: Arc<str>,
    /// What it is for; left out of the JSON if it is just to answer.
    #[serde(skip_serializing_if = "Role::is_usual")]
    pub role: Role,
    /// When it began, after the arrival of the request.
    #[serde(rename = "started_ms", serialize_with = "as_milliseconds")]
    pub started: Duration,
    /// When its first bytes came, likewise.
    #[serde(rename = "first_byte_ms", serialize_with = "as_maybe_milliseconds")]
    pub first_byte: Option<Duration>,
    /// When it was over, likewise.
    #[serde(rename = "ended_ms", serialize_with = "as_maybe_milliseconds")]
    pub ended: Option<Duration>,
    /// `answered`, `aborted`, or the kind of its failure.
    pub outcome: Cow<'static, str>,
    /// The status of the provider's answer; left out of the JSON if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The name of the key of the provider's pool that it was sent with last; left out of the JSON if there is no pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Arc<str>>,
    /// What it used.
    pub tokens: Tokens,
    /// What it used beside tokens; left out of the JSON if that is nothing.
    #[serde(skip_serializing_if = "Units::is_zero")]
    pub units: Units,
    /// What it cost; `None` if the price is not known.
    pub cost: Option<NanoUsd>,
    /// Whether `tokens` is an estimate.
    pub estimated: bool,
    /// Whether `cost` is what the provider says, and not reckoned from a price; left out of the JSON if
    /// it isn't.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cost_reported: bool,
}

impl Record {
    pub(crate) fn new(exchange: &Exchange, passing: Passing, answer: Option<Answered>, end: End) -> Self {
        // Nothing is learnt after this, so it is taken and not copied.
        let mut learnt = exchange.learn(std::mem::take);
        let attempts: Vec<_> = learnt.attempts.iter().map(AttemptRecord::new).collect();
        let costs = learnt.attempts.iter().map(Attempt::costs).fold(Costs::default(), Add::add);
        let is_answered = learnt.answering().is_some_and(|attempt| attempt.outcome == Outcome::Answered);
        let (finish_reason, tool_calls) = match learnt.answering() {
            Some(attempt) => (attempt.finish.take(), attempt.tool_calls),
            None => (None, 0),
        };
        let is_passed_over = learnt.failure.as_ref().is_some_and(|failure| failure.is_passed_over);
        let (error, message) = learnt.failure.map(|failure| (failure.kind, failure.message)).unzip();
        let (dialect, model, stream) = match learnt.asked {
            Some(asked) => (Some(asked.dialect), Some(asked.model), asked.stream),
            None => (None, None, false),
        };
        Self {
            id: *exchange.id(),
            mirrors: learnt.mirrors,
            trace: learnt.trace.or(exchange.span()),
            span: exchange.span(),
            trace_state: learnt.trace_state,
            arrived: exchange.arrived(),
            first_event: passing.first_event,
            overhead: passing.overhead,
            duration: exchange.elapsed(),
            end: match end {
                End::Complete if error.is_some() => End::Failed,
                // Official SDKs leave a stream at its last event, and have missed nothing.
                End::Aborted if stream && is_answered => End::Complete,
                end => end,
            },
            status: passing.status,
            bytes: passing.bytes,
            error,
            message,
            is_passed_over,
            client: passing.client,
            key: learnt.caller.as_ref().map(|caller| caller.name.clone()),
            log_content: learnt.caller.as_ref().is_some_and(|caller| caller.log_content),
            team: learnt.caller.as_ref().and_then(|caller| caller.team.clone()),
            customer: learnt.caller.as_ref().and_then(|caller| caller.customer.clone()),
            labels: learnt.labels,
            dialect,
            model,
            stream,
            route: learnt.route,
            rule: learnt.rule.clone(),
            tokens: attempts.iter().map(|attempt| attempt.tokens).fold(Tokens::default(), |a, b| a + b),
            units: attempts.iter().map(|attempt| attempt.units).fold(Units::default(), |a, b| a + b),
            cost: attempts.iter().filter_map(|attempt| attempt.cost).sum(),
            costs,
            finish_reason,
            tool_calls,
            content: learnt.content.map(|request| Arc::new(Content::new(request, answer))),
            estimated: attempts.iter().any(|attempt| attempt.estimated),
            own_key: learnt.own_key,
            unpriced: attempts.iter().any(|attempt| attempt.cost.is_none()),
            attempts,
            lost: learnt.lost,
            faults: learnt.faults,
            shadowed: learnt.shadowed,
        }
    }
}

impl Record {
    /// The attempts that could become the client's answer.
    pub fn answers(&self) -> impl DoubleEndedIterator<Item = &AttemptRecord> {
        self.attempts.iter().filter(|attempt| attempt.role.answers())
    }

    /// Masks secrets in all that clients or providers have written, or names may have been made of.
    pub(crate) fn mask(&mut self, mask: &Mask) {
        // Most records have no secret, which one look tells.
        if mask.is_nothing_in(&self.texts()) {
            return;
        }
        let texts = [&mut self.message, &mut self.model, &mut self.finish_reason, &mut self.trace_state];
        for text in texts.into_iter().flatten() {
            apply(mask, text);
        }
        for text in self.lost.iter_mut().chain(&mut self.faults).chain(&mut self.shadowed) {
            apply(mask, text);
        }
        let Labels { user, session, tags } = &mut self.labels;
        for name in [&mut self.key, &mut self.team, &mut self.customer, user, session].into_iter().flatten() {
            apply(mask, name);
        }
        for (name, value) in tags.iter_mut() {
            // A value may be known for a secret by its name only.
            if let Cow::Owned(pair) = mask.apply(&format!("{name}={value}"))
                && let Some((masked, rest)) = pair.split_once('=')
            {
                (*name, *value) = (masked.into(), rest.into());
            }
            apply(mask, name);
            apply(mask, value);
        }
        tags.sort_unstable();
        for attempt in &mut self.attempts {
            apply(mask, &mut attempt.target);
        }
    }

    /// All that may have to be masked, a line each.
    fn texts(&self) -> String {
        let Labels { user, session, tags } = &self.labels;
        let owned =
            [&self.message, &self.model, &self.finish_reason, &self.trace_state].into_iter().flatten();
        let owned = owned.chain(&self.lost).chain(&self.faults).chain(&self.shadowed).map(|text| &**text);
        let names = [&self.key, &self.team, &self.customer, user, session].into_iter().flatten();
        let names = names.chain(self.attempts.iter().map(|attempt| &attempt.target)).map(|name| &**name);
        let mut texts = String::with_capacity(512);
        for text in owned.chain(names) {
            texts.extend([text, "\n"]);
        }
        for (name, value) in tags.iter() {
            texts.extend([name, "=", value, "\n"]);
        }
        texts
    }

    /// Whether it failed because something doesn't work, and not because of the request or a limit of its caller. A
    /// status of an error that has no kind is a failure.
    pub fn has_failed(&self) -> bool {
        match self.error {
            // Whoever only told tasks has refused nothing.
            Some(kind) => is_failure(kind, self.answers().next().is_some()),
            None => self.status.is_some_and(|status| status >= 400),
        }
    }

    /// The attempt that answered, or else the last one of those that could.
    pub fn answering(&self) -> Option<&AttemptRecord> {
        let answered = self.answers().rfind(|attempt| attempt.outcome == "answered");
        answered.or_else(|| self.answers().next_back())
    }
}

fn apply<T>(mask: &Mask, text: &mut T)
where
    T: Deref<Target = str> + for<'t> From<&'t str>,
{
    if let Cow::Owned(masked) = mask.apply(text) {
        *text = T::from(&masked);
    }
}

fn is_failure(kind: Kind, was_asked: bool) -> bool {
    !kind.is_refusal() || was_asked && matches!(kind, Kind::RateLimited | Kind::NoRoute)
}

impl AttemptRecord {
    /// Whether its target has failed: what it refuses because of the request is no failure.
    pub fn has_failed(&self) -> bool {
        Kind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == self.outcome)
            .is_some_and(|kind| is_failure(kind, true))
    }

    fn new(attempt: &Attempt) -> Self {
        Self {
            target: attempt.target.name().clone(),
            role: attempt.role,
            started: attempt.started,
            first_byte: attempt.first_byte,
            ended: attempt.ended,
            outcome: match attempt.outcome {
                Outcome::Running => "running".into(),
                Outcome::Answered => "answered".into(),
                Outcome::Aborted => "aborted".into(),
                Outcome::Failed(kind) => kind.as_str().into(),
            },
            status: attempt.status,
            key: attempt.key.clone(),
            tokens: attempt.tokens,
            units: attempt.units,
            cost: attempt.cost(),
            estimated: attempt.estimated,
            cost_reported: attempt.reported.is_some(),
        }
    }
}

fn as_text<S: Serializer>(id: &RequestId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_str())
}

fn as_maybe_span<S: Serializer>(span: &Option<TraceParent>, serializer: S) -> Result<S::Ok, S::Error> {
    span.map(|span| format!("{:016x}", span.span)).serialize(serializer)
}

fn as_maybe_text<S: Serializer>(id: &Option<RequestId>, serializer: S) -> Result<S::Ok, S::Error> {
    id.as_ref().map(RequestId::as_str).serialize(serializer)
}

fn as_timestamp<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    match jiff::Timestamp::try_from(*time) {
        Ok(timestamp) => serializer.collect_str(&format_args!("{timestamp:.3}")),
        Err(_) => serializer.serialize_none(),
    }
}

fn as_milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((time.as_micros() as f64) / 1000.0)
}

fn as_maybe_milliseconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => as_milliseconds(time, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Target, exchange::Asked};

    fn left(stream: bool, outcome: Outcome) -> Record {
        let exchange = Exchange::default();
        let asked = Asked { dialect: "openai-chat", model: "m".into(), stream };
        exchange.learn(|learnt| learnt.asked = Some(asked));
        exchange.begin(&Arc::new(Target::new("p", "m"))).finish(outcome);
        Record::new(&exchange, Passing::default(), None, End::Aborted)
    }

    #[test]
    fn one_secret_alone_is_seen_wherever_it_stands() {
        type Put = fn(&mut Record, &str);
        let everywhere: [Put; 15] = [
            |record, secret| record.message = Some(secret.into()),
            |record, secret| record.model = Some(secret.into()),
            |record, secret| record.finish_reason = Some(secret.into()),
            |record, secret| record.trace_state = Some(secret.into()),
            |record, secret| record.lost = vec![secret.into()],
            |record, secret| record.faults = vec![secret.into()],
            |record, secret| record.shadowed = vec![secret.into()],
            |record, secret| record.key = Some(secret.into()),
            |record, secret| record.team = Some(secret.into()),
            |record, secret| record.customer = Some(secret.into()),
            |record, secret| record.attempts[0].target = secret.into(),
            |record, secret| record.labels.user = Some(secret.into()),
            |record, secret| record.labels.session = Some(secret.into()),
            |record, secret| record.labels.tags = vec![(secret.into(), "a".into())],
            |record, secret| record.labels.tags = vec![("password".into(), secret.into())],
        ];
        for (number, put) in everywhere.into_iter().enumerate() {
            let mut record = left(false, Outcome::Answered);
            put(&mut record, "sk-0123456789abcdef0123");

            record.mask(&Mask::default());

            let said = format!("{record:?}");
            assert!(said.contains("[masked]") && !said.contains("0123456789abcdef"), "{number}: {said}");
        }
    }

    #[test]
    fn secrets_are_masked_in_whatever_a_client_or_a_provider_has_written() {
        let exchange = Exchange::default();
        let (secret, long) = ("sk-0123456789abcdef", "the key sk-0123456789abcdef is wrong");
        exchange.learn(|learnt| {
            learnt.asked = Some(Asked { dialect: "openai-chat", model: secret.into(), stream: false });
            learnt.labels.user = Some(secret.into());
            learnt.trace_state = Some(format!("vendor={secret}").into());
            learnt.labels.session = Some("a session".into());
            learnt.labels.tags =
                vec![("api_key".into(), "0123456789abcdef0".into()), (secret.into(), secret.into())];
            (learnt.lost, learnt.faults) = (vec![long.into()], vec![long.into()]);
            learnt.shadowed = vec![long.into()];
        });
        exchange.fail(&crate::Error::new(Kind::UpstreamAuth, long));
        let attempt = exchange.begin(&Arc::new(Target::new("p", secret)));
        attempt.stopped(Some(secret.into()), 0);
        let mut record = Record::new(&exchange, Passing::default(), None, End::Failed);

        record.mask(&Mask::default());

        let json = serde_json::to_string(&record).unwrap();
        assert!(!json.contains("0123456789abcdef"), "{json}");
        assert_eq!(record.message.as_deref(), Some("the key sk-[masked] is wrong"));
        assert_eq!(record.trace_state.as_deref(), Some("vendor=sk-[masked]"));
        assert_eq!(
            (record.labels.session.as_deref(), &*record.attempts[0].target),
            (Some("a session"), "p/sk-[masked]")
        );
    }

    #[test]
    fn a_client_that_leaves_a_stream_at_its_last_event_has_had_all_of_it() {
        assert_eq!(left(true, Outcome::Answered).end, End::Complete);

        assert_eq!(left(true, Outcome::Aborted).end, End::Aborted);
        assert_eq!(left(false, Outcome::Answered).end, End::Aborted);
    }
}
