use std::{borrow::Cow, sync::Arc};

use super::{
    ATTEMPTS, COST, DURATION, ERRORS, FAILOVERS, FIRST_EVENT, LIMIT_REFUSALS, Names, OVERHEAD, PER_TOKEN,
    PROMPT_CACHE, REQUESTS, RETRIES, TOKENS,
    series::{At, Series, Word},
};
use crate::{
    BoxError, BoxFuture, Kind, Tokens,
    body::End,
    exchange::Role,
    record::{AttemptRecord, Keep, Kept, Record},
};

/// The most series that are made, unless it is said otherwise.
const MOST: usize = 10_000;

/// What nobody was is called.
const NONE: &str = "none";

/// Makes measurements of records: who keeps them in a [`Queue`](crate::record::Queue), so that requests don't wait
/// for it.
///
/// Labels have only values that the configuration bounds: models and targets by their [`Names`], keys and teams
/// because only those that are known are let in. When there are [so many](Self::most) series, no more are made: what
/// would be a new one is counted as `other`.
#[derive(Debug)]
pub struct Measured {
    names: Names,
    series: Series,
}

impl Measured {
    /// Calls models and targets by `names`, as they are at the time.
    pub fn new(names: Names) -> Self {
        Self { names, series: Series::new(MOST) }
    }

    /// Sets how many series are made: 10,000, if this isn't called. A histogram is one.
    #[must_use]
    pub fn most(self, series: usize) -> Self {
        Self { series: Series::new(series), ..self }
    }

    fn measure(&mut self, record: &Record) {
        let Self { names, series } = self;
        // Nobody has waited for a copy; what it cost was spent all the same.
        if record.mirrors.is_none() {
            request(series, names, record);
            attempts(series, names, &record.attempts);
        }
        used(series, names, record);
    }
}

impl Keep for Measured {
    fn name(&self) -> &str {
        "metrics"
    }

    fn keeps_content(&self) -> bool {
        false
    }

    fn keep<'a>(&'a mut self, batch: &'a [Arc<Kept>]) -> BoxFuture<'a, Result<(), BoxError>> {
        batch.iter().for_each(|kept| self.measure(kept.record()));
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Who asked, for what, and whom: the labels of most measurements.
fn caller(series: &mut Series, names: &Names, record: &Record, target: &str) -> At {
    let model = record.model.as_deref().map_or(NONE, |model| names.model(model));
    let (key, team) = (record.key.as_deref().unwrap_or(NONE), record.team.as_deref().unwrap_or(NONE));
    series.group(&[("model", model), ("target", target), ("key", key), ("team", team)])
}

/// Counts a request, and what it was like for the client.
fn request(series: &mut Series, names: &Names, record: &Record) {
    let answering = record.answering();
    let target = answering.map_or(Cow::Borrowed(NONE), |attempt| names.target(&attempt.target));
    let at = caller(series, names, record, &target);
    series.count(at, REQUESTS, &[("outcome", outcome(record.end)), ("status", status(record.status))], 1);
    if let Some(kind) = record.error {
        series.count(at, ERRORS, &[("kind", kind.as_str())], 1);
        if answering.is_none() && is_limit(kind, record.is_passed_over) {
            series.count(at, LIMIT_REFUSALS, &[("kind", kind.as_str())], 1);
        }
    }
    let Some(attempt) = answering else { return };
    let model = record.model.as_deref().map_or(NONE, |model| names.model(model));
    let at = series.group(&[("model", model), ("target", &target)]);
    series.note(at, DURATION, record.duration.as_secs_f64());
    if let Some(overhead) = record.overhead {
        series.note(at, OVERHEAD, overhead.as_secs_f64());
    }
    if attempt.outcome != "answered" {
        return;
    }
    if let Some(first) = record.first_event {
        series.note(at, FIRST_EVENT, first.as_secs_f64());
    }
    if let Some(each) = per_token(attempt).filter(|_| record.stream) {
        series.note(at, PER_TOKEN, each);
    }
}

/// How long each token of output took behind the first, in seconds.
fn per_token(attempt: &AttemptRecord) -> Option<f64> {
    let took = attempt.ended?.checked_sub(attempt.first_byte?)?;
    let more = attempt.tokens.output.checked_sub(1).filter(|more| *more > 0)?;
    Some(took.as_secs_f64() / more as f64)
}

/// Counts attempts, and why there was more than one.
fn attempts(series: &mut Series, names: &Names, attempts: &[AttemptRecord]) {
    // A hedge, the rest of a stream and what is asked to choose have counts of their own.
    let mut before: Option<&AttemptRecord> = None;
    for attempt in attempts {
        let target = names.target(&attempt.target);
        let at = series.group(&[("target", &target)]);
        let Cow::Borrowed(outcome) = attempt.outcome else { continue };
        series.count(at, ATTEMPTS, &[("outcome", outcome), ("role", attempt.role.as_str())], 1);
        if attempt.role != Role::Answer {
            continue;
        }
        match before.replace(attempt) {
            Some(before) if before.target == attempt.target => series.count(at, RETRIES, &[], 1),
            Some(before) => {
                let from = names.target(&before.target);
                let at = series.group(&[("from", &from), ("target", &target)]);
                series.count(at, FAILOVERS, &[], 1);
            }
            None => {}
        }
    }
}

/// Counts what attempts used, each for its own target.
fn used(series: &mut Series, names: &Names, record: &Record) {
    for attempt in &record.attempts {
        let Tokens { input, cached, cache_write, cache_write_1h, output, reasoning, .. } = attempt.tokens;
        let has_cost = attempt.cost.is_some_and(|cost| cost.0 > 0) && !record.own_key;
        if input == 0 && output == 0 && !has_cost {
            continue;
        }
        let at = caller(series, names, record, &names.target(&attempt.target));
        let kinds = [
            ("input", attempt.tokens.fresh()),
            ("cached_input", cached),
            ("cache_write", cache_write.saturating_add(cache_write_1h)),
            ("output", output.saturating_sub(reasoning)),
            ("reasoning", reasoning.min(output)),
        ];
        for (kind, tokens) in kinds.into_iter().filter(|(_, tokens)| *tokens > 0) {
            series.count(at, TOKENS, &[("kind", kind)], tokens);
        }
        if let Some(cost) = attempt.cost.filter(|_| has_cost) {
            series.note(at, COST, cost.as_usd());
        }
        if attempt.outcome == "answered" && attempt.role.answers() && input > 0 {
            let result: Word = ("result", if cached > 0 { "hit" } else { "miss" });
            series.count(at, PROMPT_CACHE, &[result], 1);
        }
    }
}

fn outcome(end: End) -> &'static str {
    match end {
        End::Complete => "answered",
        End::Failed => "failed",
        End::Aborted => "left",
    }
}

fn status(status: Option<u16>) -> &'static str {
    match status.map(|status| status / 100) {
        None => NONE,
        Some(2) => "2xx",
        Some(3) => "3xx",
        Some(4) => "4xx",
        Some(_) => "5xx",
    }
}

/// Whether a limit or a budget refuses with this kind. With [`Kind::Overloaded`] those do that bound what is in flight, and
/// breakers, which are no limits.
fn is_limit(kind: Kind, is_passed_over: bool) -> bool {
    match kind {
        Kind::RateLimited | Kind::BudgetExhausted | Kind::RunawayLoop | Kind::TooExpensive => true,
        Kind::Overloaded => !is_passed_over,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

    use super::*;
    use crate::{
        Error, Exchange, Target,
        auth::{Caller, VirtualKey},
        exchange::{Asked, Outcome},
        in_flight::InFlightLayer,
        price::NanoUsd,
        record::Passing,
        testing::{Ending, MustBeReady},
    };

    struct Bench {
        recorder: PrometheusRecorder,
        handle: PrometheusHandle,
        measured: Measured,
    }

    impl Bench {
        fn new(most: usize) -> Self {
            let names = Names::new(["chat", "a/x", "b/y"]);
            let recorder = PrometheusBuilder::new().build_recorder();
            Self { handle: recorder.handle(), recorder, measured: Measured::new(names).most(most) }
        }

        fn record(&mut self, exchange: &Exchange, end: End) {
            let status = if end == End::Complete { 200 } else { 503 };
            let passing = Passing {
                status: Some(status),
                first_event: Some(Duration::from_millis(30)),
                overhead: Some(Duration::from_micros(40)),
                ..Passing::default()
            };
            let record = Record::new(exchange, passing, None, end);
            ::metrics::with_local_recorder(&self.recorder, || self.measured.measure(&record));
        }

        /// The lines of a measurement, without its name.
        fn lines(&self, name: &str) -> BTreeSet<String> {
            let shown = self.handle.render();
            let lines = shown.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
            lines.map(|line| line.replace(['{', '}', '"'], "")).collect()
        }
    }

    fn asked(model: &str) -> Exchange {
        let exchange = Exchange::default();
        exchange.learn(|learnt| {
            learnt.asked = Some(Asked { dialect: "openai-chat", model: model.into(), stream: true });
            learnt.caller = Some(Caller::new(VirtualKey::new("k").team("t")));
        });
        exchange
    }

    fn attempt(exchange: &Exchange, target: (&str, &str), outcome: Outcome, tokens: Tokens) {
        let attempt = exchange.begin(&Arc::new(Target::new(target.0, target.1)));
        attempt.first_byte();
        attempt.report(tokens);
        attempt.charge(if tokens.is_zero() { NanoUsd(0) } else { NanoUsd::from_usd(2) });
        attempt.finish(outcome);
    }

    const USED: Tokens = Tokens {
        input: 1_000_000,
        cached: 400_000,
        output: 500_000,
        reasoning: 100_000,
        cache_write: 0,
        cache_write_1h: 0,
        audio_input: 0,
        audio_output: 0,
    };

    fn set(lines: &[&str]) -> BTreeSet<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn an_answer_after_failures_is_counted_with_all_that_it_took() {
        let mut bench = Bench::new(1000);
        let exchange = asked("chat");
        attempt(&exchange, ("a", "x"), Outcome::Failed(Kind::Overloaded), Tokens::default());
        attempt(&exchange, ("a", "x"), Outcome::Failed(Kind::Timeout), Tokens::default());
        attempt(&exchange, ("b", "y"), Outcome::Answered, USED);

        bench.record(&exchange, End::Complete);

        let who = "model=chat,target=b/y,key=k,team=t";
        let is = |name: &str, lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| line.replace("WHO", who)).collect();
            assert_eq!(bench.lines(name), lines.into_iter().collect(), "{name}");
        };
        is(REQUESTS, &["WHO,outcome=answered,status=2xx 1"]);
        is(ERRORS, &[]);
        is(
            TOKENS,
            &[
                "WHO,kind=input 600000",
                "WHO,kind=cached_input 400000",
                "WHO,kind=output 400000",
                "WHO,kind=reasoning 100000",
            ],
        );
        is("bartizan_cost_usd_sum", &["WHO 2"]);
        is(PROMPT_CACHE, &["WHO,result=hit 1"]);
        is("bartizan_request_duration_seconds_count", &["model=chat,target=b/y 1"]);
        is("bartizan_time_to_first_event_seconds_count", &["model=chat,target=b/y 1"]);
        is("bartizan_overhead_seconds_sum", &["model=chat,target=b/y 0.00004"]);
        is("bartizan_time_per_output_token_seconds_count", &["model=chat,target=b/y 1"]);
        is(
            ATTEMPTS,
            &[
                "target=a/x,outcome=overloaded,role=answer 1",
                "target=a/x,outcome=timeout,role=answer 1",
                "target=b/y,outcome=answered,role=answer 1",
            ],
        );
        is(RETRIES, &["target=a/x 1"]);
        is(FAILOVERS, &["from=a/x,target=b/y 1"]);
    }

    #[test]
    fn what_is_asked_to_choose_is_neither_retried_nor_left_for_another_one_and_its_cost_is_counted() {
        let mut bench = Bench::new(1000);
        let exchange = asked("chat");
        let embedder = Arc::new(Target::new("a", "x"));
        for _ in 0..2 {
            let embedding = exchange.begin_as(Role::Embedding, &embedder);
            embedding.report(Tokens { input: 9, ..Tokens::default() });
            embedding.charge(NanoUsd::from_usd(1));
            embedding.finish(Outcome::Answered);
        }
        let hedged = |role| exchange.begin_as(role, &Arc::new(Target::new("a", "x")));
        attempt(&exchange, ("b", "y"), Outcome::Failed(Kind::Timeout), Tokens::default());
        hedged(Role::Hedge).finish(Outcome::Failed(Kind::Timeout));
        attempt(&exchange, ("b", "y"), Outcome::Answered, USED);
        let refused = asked("chat");
        refused.begin_as(Role::Embedding, &embedder).finish(Outcome::Answered);
        refused.fail(&Error::new(Kind::BudgetExhausted, "used up"));

        bench.record(&exchange, End::Complete);
        bench.record(&refused, End::Complete);

        let (by, nobody) = ("model=chat,target=b/y,key=k,team=t", "model=chat,target=none,key=k,team=t");
        let ended = |who, how| format!("{who},outcome={how},status=2xx 1");
        assert_eq!(bench.lines(REQUESTS), set(&[&ended(by, "answered"), &ended(nobody, "failed")]));
        assert_eq!(bench.lines(RETRIES), set(&["target=b/y 1"]));
        assert_eq!(bench.lines(FAILOVERS), set(&[]));
        assert_eq!(
            bench.lines(ATTEMPTS),
            set(&[
                "target=a/x,outcome=answered,role=embedding 3",
                "target=a/x,outcome=timeout,role=hedge 1",
                "target=b/y,outcome=timeout,role=answer 1",
                "target=b/y,outcome=answered,role=answer 1",
            ])
        );
        assert_eq!(bench.lines(PROMPT_CACHE), set(&[&format!("{by},result=hit 1")]));
        assert_eq!(bench.lines(LIMIT_REFUSALS), set(&[&format!("{nobody},kind=budget_exhausted 1")]));
        let costs = bench.lines("bartizan_cost_usd_sum");
        assert_eq!(costs, set(&[&format!("{by} 2"), "model=chat,target=a/x,key=k,team=t 2"]));
    }

    #[test]
    fn a_refusal_by_a_limit_is_told_from_one_by_a_provider() {
        let mut bench = Bench::new(1000);
        let own = asked("chat");
        own.fail(&Error::new(Kind::RateLimited, "too many"));
        let theirs = asked("chat");
        attempt(&theirs, ("a", "x"), Outcome::Failed(Kind::RateLimited), Tokens::default());
        theirs.fail(&Error::new(Kind::RateLimited, "too many"));

        bench.record(&own, End::Complete);
        bench.record(&theirs, End::Complete);

        let refused = "model=chat,target=none,key=k,team=t,kind=rate_limited 1";
        assert_eq!(bench.lines(LIMIT_REFUSALS), set(&[refused]));
        assert_eq!(
            bench.lines(ERRORS),
            set(&[refused, "model=chat,target=a/x,key=k,team=t,kind=rate_limited 1"])
        );
    }

    #[tokio::test]
    async fn a_request_too_many_is_refused_by_a_limit() {
        use tower::{Layer, ServiceExt};

        let mut bench = Bench::new(1000);
        let exchange = asked("chat");
        let full = InFlightLayer::new(0).layer(MustBeReady::new(|()| Ending::Complete.answer()));
        exchange.fail(&full.oneshot(()).await.unwrap_err());

        bench.record(&exchange, End::Failed);

        let refused = "model=chat,target=none,key=k,team=t,kind=overloaded 1";
        assert_eq!(bench.lines(LIMIT_REFUSALS), set(&[refused]));
    }

    #[test]
    fn a_request_for_which_all_targets_are_passed_over_is_an_error_and_no_refusal_by_a_limit() {
        let mut bench = Bench::new(1000);
        let exchange = asked("chat");
        exchange.fail(&Error::new(Kind::Overloaded, "the target is passed over").with_elsewhere());

        bench.record(&exchange, End::Complete);

        assert_eq!(bench.lines(LIMIT_REFUSALS), set(&[]));
        assert_eq!(bench.lines(ERRORS), set(&["model=chat,target=none,key=k,team=t,kind=overloaded 1"]));
    }

    #[test]
    fn what_clients_make_up_makes_no_series() {
        let mut bench = Bench::new(1000);
        for number in 0..50 {
            let exchange = asked(&format!("made-up-{number}"));
            attempt(&exchange, ("a", &format!("made-up-{number}")), Outcome::Answered, USED);
            bench.record(&exchange, End::Complete);
        }

        assert_eq!(
            bench.lines(REQUESTS),
            set(&["model=other,target=a/other,key=k,team=t,outcome=answered,status=2xx 50"])
        );
        assert!(!bench.handle.render().contains("made-up"));
    }

    #[test]
    fn when_there_are_so_many_series_the_rest_is_one_of_others() {
        let mut bench = Bench::new(6);
        for number in 0..50 {
            let exchange = asked("chat");
            exchange
                .learn(|learnt| learnt.caller = Some(Caller::new(VirtualKey::new(&format!("k{number}")))));
            exchange.fail(&Error::new(Kind::Forbidden, "no"));
            bench.record(&exchange, End::Complete);
        }

        let lines = bench.lines(REQUESTS);
        assert!(lines.len() <= 4, "{lines:?}");
        let others =
            lines.iter().find(|line| line.starts_with("model=other,target=other,key=other,team=other"));
        assert!(others.unwrap().ends_with(" 47"), "{lines:?}");
        let overflow = bench.handle.render();
        assert!(overflow.contains("bartizan_metrics_overflow_total 47"), "{overflow}");
    }

    #[test]
    fn a_copy_is_counted_apart_and_its_cost_with_the_rest() {
        let mut bench = Bench::new(1000);
        let exchange = asked("chat");
        exchange.learn(|learnt| learnt.mirrors = Some(*Exchange::default().id()));
        attempt(&exchange, ("b", "y"), Outcome::Answered, USED);

        bench.record(&exchange, End::Complete);

        assert_eq!((bench.lines(REQUESTS), bench.lines(ATTEMPTS)), (set(&[]), set(&[])));
        assert_eq!(bench.lines("bartizan_cost_usd_sum"), set(&["model=chat,target=b/y,key=k,team=t 2"]));
    }
}
