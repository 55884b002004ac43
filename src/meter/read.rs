use std::{mem, sync::Arc};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode};

use super::ReadJob;
use crate::{
    Dialect, Error, Kind, Payload, Target, Tokens, Units, Work,
    body::{End, Observe, OnEnd, Splitter, sse::Event},
    dialect::Closing,
    exchange::{AttemptHandle, Outcome},
    headers,
    payload::Head,
    price::ReportedCost,
};

/// A whole answer beyond this is not searched for its counts.
const MAX_WHOLE: usize = 64 << 20;

/// Reads the counts of one attempt.
#[derive(Debug)]
pub struct ReadUsage {
    attempt: AttemptHandle,
    dialect: &'static dyn Dialect,
    /// Where the provider says what it cost, if it is believed.
    cost: Option<ReportedCost>,
    /// About how many tokens were sent.
    sent: u64,
    /// The size of what the model wrote, likewise.
    written: usize,
    /// What was asked for.
    head: Arc<Head>,
    work: Work,
    /// The tokens of the input that were in the provider's cache, by a header.
    cached: u64,
    reported: bool,
    answered: bool,
    /// Whether an answer in the provider's dialect has begun, and not just any bytes.
    begun: bool,
    /// Whether it has come to its proper end.
    closed: bool,
    failure: Option<Kind>,
    /// Why the model stopped.
    finish: Option<Box<str>>,
    tool_calls: u32,
    /// Whether there may have been an answer that never came.
    lost: bool,
    answer: Answer,
    /// What goes on after the answer.
    job: Option<Box<ReadJob>>,
}

#[derive(Debug)]
enum Answer {
    Stream(Splitter),
    Whole {
        first: Bytes,
        more: BytesMut,
    },
    /// Sound or text, in which there are no counts.
    Opaque,
}

impl Answer {
    fn whole() -> Self {
        Self::Whole { first: Bytes::new(), more: BytesMut::new() }
    }
}

impl ReadUsage {
    pub(super) fn new(req: &Request<Payload>, target: &Arc<Target>, cost: Option<ReportedCost>) -> Self {
        let payload = req.body();
        let head = payload.head();
        let job = ReadJob::of(req, target).map(Box::new);
        let target = job.as_ref().map_or_else(|| target.clone(), |job| job.target().clone());
        let answer = if head.is_opaque {
            Answer::Opaque
        } else if head.stream {
            Answer::Stream(Splitter::new(payload.dialect().framing()))
        } else {
            Answer::whole()
        };
        let is_lost =
            || payload.exchange().learn(|learnt| learnt.lost.iter().any(|it| **it == *"service_tier"));
        let tier = head.tier.filter(|tier| tier.is_standard() || !is_lost()).unwrap_or_default();
        Self {
            attempt: payload.begin(&target),
            job,
            dialect: payload.dialect(),
            cost,
            sent: payload.input().likely().min(target.known_facts().max_input.unwrap_or(u64::MAX)),
            written: 0,
            // What the answer doesn't speak of stays as it was asked for.
            work: Work { units: Units { tier, ..head.work.unwrap_or_default().units }, ..Work::default() },
            head: payload.shared_head(),
            cached: 0,
            reported: false,
            answered: false,
            begun: false,
            closed: false,
            failure: None,
            finish: None,
            tool_calls: 0,
            lost: false,
            answer,
        }
    }

    pub(super) fn attempt(&self) -> &AttemptHandle {
        &self.attempt
    }

    /// An answer in JSON is a single body, whatever was asked for; where it was sound, it may hold an error.
    pub(super) fn head(&mut self, status: StatusCode, headers: &HeaderMap, cached_in: Option<&str>) {
        self.attempt.status(status.as_u16());
        let cached = cached_in.and_then(|name| headers.get(name)?.to_str().ok()?.parse().ok());
        self.cached = cached.unwrap_or(0);
        if headers::is_json(headers) {
            self.answer = Answer::whole();
        }
    }

    pub(super) fn failed(mut watch: OnEnd<Self>, error: &Error) {
        if let Some(read) = watch.get_mut() {
            read.failure = Some(error.kind());
            read.lost = error.is_lost_answer();
            if let Some(reply) = error.reply() {
                read.attempt.status(reply.status.as_u16());
            }
        }
        watch.finish(End::Failed);
    }

    fn read(&mut self, json: &[u8]) {
        // What costs nothing may speak of what something else has cost.
        if self.head.work == Some(Work::default()) {
            return;
        }
        let known = self.work;
        if self.dialect.read_work(json, &mut self.work) {
            if self.head.keeps_long && self.dialect.id().starts_with("openai-") {
                // OpenAI counts what it keeps for long with the rest.
                self.work.tokens.cache_write_1h += mem::take(&mut self.work.tokens.cache_write);
            }
            let tokens = &mut self.work.tokens;
            tokens.cached =
                tokens.cached.max(self.cached.min(tokens.input.saturating_sub(tokens.cache_write)));
            if self.head.reads_media {
                // No count tells which tokens are of what, and those of a text are the cheapest.
                self.work.units.media_input = self.work.tokens.input;
            }
            if !self.reported || self.work != known {
                self.attempt.report(self.work);
            }
            self.reported = true;
        }
        if let Some(cost) = self.cost.and_then(|cost| cost.read(json)) {
            self.attempt.charge(cost);
        }
    }

    fn stream(&mut self, events: &mut Splitter, chunk: Bytes) {
        if events.push(chunk).is_err() {
            // What can't be read is estimated; the layer above refuses such a stream.
            return;
        }
        while let Some(event) = events.next_event() {
            self.event(&event);
        }
    }

    fn event(&mut self, event: &Event) {
        self.begun = self.begun || !event.data.is_empty();
        self.written += self.dialect.output_bytes(event);
        self.read(&event.data);
        self.tool_calls += self.dialect.tool_calls(&event.data);
        match self.dialect.closing(event) {
            Some(Closing::Proper | Closing::Last) => {
                self.closed = true;
                self.finish(&event.data);
            }
            Some(Closing::Failed(error)) => self.failure = Some(error.kind()),
            None => {}
        }
    }

    fn finish(&mut self, json: &[u8]) {
        /// Longer ones are no words of a dialect.
        const LONGEST: usize = 64;

        if let Some(finish) = self.dialect.finish(json).filter(|finish| finish.len() <= LONGEST) {
            self.finish = Some(finish.into());
        }
    }

    fn whole(&mut self, whole: &Bytes, end: End) {
        self.begun = true;
        self.tool_calls = self.dialect.tool_calls(whole);
        self.finish(whole);
        self.written = whole.len();
        match &self.job {
            Some(job) => self.reported = job.read(whole, self.dialect, &self.attempt),
            None => self.read(whole),
        }
        self.closed = self.reported || end == End::Complete;
        if end == End::Complete {
            self.failure = self.dialect.error_in_answer(whole).map(|error| error.kind());
        }
    }

    /// Whether the provider will want money. One that refused, with whatever status, or was never reached
    /// will not; one that was left in the middle will, and so will one whose answer was lost on the way.
    fn is_charged(&self, end: End) -> bool {
        if self.dialect.is_free() {
            return false;
        }
        let is_whole = matches!(self.answer, Answer::Whole { .. });
        let refused =
            self.failure.is_some() && !self.lost && (is_whole || self.written == 0) && !self.reported;
        // A connection that breaks after it was asked leaves it to the provider to go on.
        let is_lost = self.lost || end == End::Failed && self.failure.is_none();
        // A text may be empty.
        let is_over = matches!(self.answer, Answer::Opaque) && end == End::Complete;
        !refused && (end == End::Aborted || is_lost || is_over || self.answered && self.begun)
    }

    fn outcome(&self, end: End) -> Outcome {
        match (end, self.failure) {
            (_, Some(kind)) => Outcome::Failed(kind),
            (End::Complete, None) if self.closed => Outcome::Answered,
            // What happens to the connection after the last event is no fault of the answer.
            (End::Failed, None) if self.closed && self.reported => Outcome::Answered,
            (End::Complete | End::Failed, None) => Outcome::Failed(Kind::Upstream),
            // Official SDKs leave a stream at its last event, and have missed nothing.
            (End::Aborted, None) if self.closed && self.reported => Outcome::Answered,
            (End::Aborted, None) => Outcome::Aborted,
        }
    }

    fn estimate(&mut self) {
        if let Some(job) = &self.job {
            return job.estimate(&self.attempt);
        }
        // The most that was asked for, where the dialect could tell.
        if let Some(asked) = self.head.work.map(|asked| if self.lost { asked.unanswered() } else { asked }) {
            let is_free = asked == Work::default();
            return match if self.reported { self.work } else { asked } {
                nothing if is_free => self.attempt.report(nothing),
                work => self.attempt.estimate(work),
            };
        }
        // About four bytes make a token, in the languages and the code that models mostly read.
        let tokens = |bytes: usize| bytes.div_ceil(4) as u64;
        let input = if self.reported { self.work.tokens.input } else { self.sent };
        // What is written is not always paid for: vectors aren't.
        let written = if self.head.max_output == Some(0) { 0 } else { tokens(self.written) };
        let output = self.work.tokens.output.max(written);
        let tokens = Tokens { input, output, ..self.work.tokens };
        let mut units = self.work.units;
        if self.head.reads_media {
            units.media_input = input;
        }
        self.attempt.estimate(Work { tokens, units });
    }
}

impl Observe for ReadUsage {
    fn data(&mut self, chunk: &Bytes) {
        if !self.answered {
            self.answered = true;
            self.attempt.first_byte();
        }
        match &mut self.answer {
            Answer::Stream(events) => {
                let mut events = mem::take(events);
                self.stream(&mut events, chunk.clone());
                self.answer = Answer::Stream(events);
            }
            Answer::Whole { first, more } => {
                if first.is_empty() && more.is_empty() {
                    *first = chunk.clone();
                } else if more.len() < MAX_WHOLE {
                    more.extend_from_slice(&mem::take(first));
                    more.extend_from_slice(chunk);
                }
            }
            Answer::Opaque => self.begun = true,
        }
    }

    fn end(mut self, end: End) {
        match &mut self.answer {
            Answer::Stream(events) => {
                if let Some(event) = events.finish() {
                    self.event(&event);
                }
            }
            Answer::Whole { first, more } => {
                let whole = if more.is_empty() { mem::take(first) } else { mem::take(more).freeze() };
                self.whole(&whole, end);
            }
            Answer::Opaque => self.closed = end == End::Complete,
        }
        // Counts that came before the end may not be the last word.
        if self.is_charged(end) && !(self.closed && self.reported) {
            self.estimate();
        }
        self.attempt.stopped(self.finish.take(), self.tool_calls);
        self.attempt.finish(self.outcome(end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Exchange,
        dialect::{ANTHROPIC, GEMINI_EMBED, OPENAI_CHAT},
        payload::Head,
        price::{AttemptCost, NanoUsd, PriceBook, Tier},
    };

    fn watch(dialect: &'static dyn Dialect, stream: bool) -> (Exchange, ReadUsage) {
        let exchange = Exchange::default();
        let head = Head { stream, ..Head::default() };
        let payload = Payload::new(dialect, head, Bytes::from(vec![b'x'; 400]), exchange.clone());
        let target = Arc::new(Target::new("p", "m"));
        let read = ReadUsage::new(&Request::new(payload), &target, Some(ReportedCost::usd(&["cost"])));
        (exchange, read)
    }

    fn attempt(exchange: &Exchange) -> crate::exchange::Attempt {
        exchange.learn(|learnt| learnt.attempts[0].clone())
    }

    #[test]
    fn a_whole_answer_is_counted_when_it_is_complete() {
        let (exchange, mut read) = watch(&OPENAI_CHAT, false);

        for piece in [r#"{"usage":{"prompt_tokens":7,"comple"#, r#"tion_tokens":3}}"#] {
            read.data(&Bytes::from(piece));
        }
        read.end(End::Complete);

        let attempt = attempt(&exchange);
        assert_eq!((attempt.tokens.input, attempt.tokens.output, attempt.estimated), (7, 3, false));
        assert_eq!(attempt.outcome, Outcome::Answered);
    }

    #[test]
    fn a_client_that_leaves_a_stream_pays_for_what_has_passed() {
        let (exchange, mut read) = watch(&OPENAI_CHAT, true);

        for _ in 0..10 {
            read.data(&Bytes::from("data: {\"choices\":[{\"delta\":{\"content\":\"12345678\"}}]}\n\n"));
        }
        read.end(End::Aborted);

        let attempt = attempt(&exchange);
        assert_eq!((attempt.tokens.input, attempt.tokens.output, attempt.estimated), (100, 20, true));
        assert_eq!(attempt.outcome, Outcome::Aborted);
    }

    #[test]
    fn what_the_provider_said_before_the_end_is_kept() {
        let (exchange, mut read) = watch(&ANTHROPIC, true);

        read.data(&Bytes::from("event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":11,\"output_tokens\":1}}}\n\n"));
        read.data(&Bytes::from("event: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"12345678\"}}\n\n"));
        read.end(End::Aborted);

        let attempt = attempt(&exchange);
        assert_eq!((attempt.tokens.input, attempt.tokens.output, attempt.estimated), (11, 2, true));
    }

    #[test]
    fn a_client_that_leaves_at_the_last_event_has_missed_nothing() {
        let (exchange, mut read) = watch(&OPENAI_CHAT, true);

        for event in [
            r#"{"choices":[{"delta":{"content":"a text of more than four bytes"}}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#,
            "[DONE]",
        ] {
            read.data(&Bytes::from(format!("data: {event}\n\n")));
        }
        read.end(End::Aborted);

        let attempt = attempt(&exchange);
        assert_eq!((attempt.tokens.input, attempt.tokens.output, attempt.estimated), (7, 3, false));
        assert_eq!(attempt.outcome, Outcome::Answered);
    }

    #[test]
    fn what_the_provider_says_that_it_cost_goes_before_prices() {
        let (exchange, mut read) = watch(&OPENAI_CHAT, true);

        let usage = r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"cost":0.00000025}}"#;
        read.data(&Bytes::from(format!("data: {usage}\n\ndata: [DONE]\n\n")));
        read.end(End::Complete);

        let attempt = attempt(&exchange);
        assert_eq!((attempt.cost(), attempt.estimated), (Some(NanoUsd(250)), false));
    }

    #[test]
    fn what_a_header_says_of_the_cache_is_part_of_the_counts() {
        let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n";
        let cached = |said: &'static str, name: Option<&str>| {
            let (exchange, mut read) = watch(&OPENAI_CHAT, true);
            let mut headers = HeaderMap::new();
            headers.insert("x-cached", said.parse().unwrap());
            read.head(StatusCode::OK, &headers, name);
            read.data(&usage.into());
            read.end(End::Complete);
            attempt(&exchange).tokens.cached
        };

        assert_eq!([cached("5", Some("x-cached")), cached("9", Some("x-cached"))], [5, 7]);
        assert_eq!([cached("5", None), cached("many", Some("x-cached"))], [0, 0]);
    }

    #[test]
    fn why_the_model_stopped_and_how_many_tools_it_called_is_noted() {
        use crate::dialect::{BEDROCK, GEMINI, OPENAI_RESPONSES};

        let chat = [
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"name\":\"x\"}"}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"d","function":{"name":"g","arguments":"{}"}}]}}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#,
            "[DONE]",
        ];
        let anthropic = [
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":1}}"#,
            r#"{"type":"message_stop"}"#,
        ];
        let responses = [
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","name":"f"}}"#,
            r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","name":"f"}}"#,
            r#"{"type":"response.completed","response":{"status":"completed","output":[{"type":"function_call"}]}}"#,
        ];
        let gemini = [
            r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}},{"functionCall":{"name":"g"}}]}}]}"#,
            r#"{"candidates":[{"finishReason":"STOP"}]}"#,
        ];
        let streams: [(&dyn Dialect, &[&str], _); 4] = [
            (&OPENAI_CHAT, &chat, ("tool_calls", 2)),
            (&ANTHROPIC, &anthropic, ("tool_use", 1)),
            (&OPENAI_RESPONSES, &responses, ("completed", 1)),
            (&GEMINI, &gemini, ("STOP", 2)),
        ];
        for (dialect, events, expected) in streams {
            let (mut finish, mut calls) = (None, 0);
            for event in events {
                finish = dialect.finish(event.as_bytes()).or(finish);
                calls += dialect.tool_calls(event.as_bytes());
            }
            assert_eq!((finish, calls), (Some(expected.0), expected.1), "{dialect:?}");
        }

        let whole = br#"{"type":"message","content":[{"type":"tool_use","input":{"name":"x"}}],"stop_reason":"tool_use"}"#;
        assert_eq!((ANTHROPIC.finish(whole), ANTHROPIC.tool_calls(whole)), (Some("tool_use"), 1));
        let whole = br#"{"output":{"message":{"content":[{"toolUse":{"toolUseId":"t","name":"f"}}]}},"stopReason":"tool_use"}"#;
        assert_eq!((BEDROCK.finish(whole), BEDROCK.tool_calls(whole)), (Some("tool_use"), 1));

        let (exchange, mut read) = watch(&OPENAI_CHAT, true);
        read.head(StatusCode::OK, &HeaderMap::new(), None);
        for event in chat {
            read.data(&Bytes::from(format!("data: {event}\n\n")));
        }
        read.end(End::Complete);
        let attempt = attempt(&exchange);
        assert_eq!((attempt.finish.as_deref(), attempt.tool_calls), (Some("tool_calls"), 2));
        assert_eq!(attempt.status, Some(200));
    }

    #[test]
    fn what_is_embedded_beside_text_costs_what_the_dearest_of_it_does() {
        let price = PriceBook::builtin().lookup("gemini", "gemini-embedding-2").unwrap().price;
        let cost = |body: &'static str, answer: &'static str| {
            let (parts, ()) = Request::post("/v1beta/models/m:embedContent").body(()).unwrap().into_parts();
            let (exchange, head) = (Exchange::default(), GEMINI_EMBED.peek(&parts, body).unwrap());
            let most = AttemptCost::of(
                &Target::new("p", "m").price(price.clone()),
                &Payload::new(&GEMINI_EMBED, head.clone(), body.into(), Exchange::default()),
                0,
            );
            let payload = Payload::new(&GEMINI_EMBED, head, body.into(), exchange.clone());
            let target = Arc::new(Target::new("p", "m").price(price.clone()));
            let mut read = ReadUsage::new(&Request::new(payload), &target, None);
            read.data(&answer.into());
            read.end(End::Complete);
            let cost = attempt(&exchange).cost().unwrap();
            assert!(cost <= most.unwrap().answered, "{cost}");
            cost.to_string()
        };
        let film =
            r#"{"content":{"parts":[{"text":"q"},{"inlineData":{"mimeType":"video/mp4","data":"AAAA"}}]}}"#;
        let text = r#"{"content":{"parts":[{"text":"q"}]}}"#;
        let counted = r#"{"embedding":{"values":[1]},"usageMetadata":{"promptTokenCount":1000}}"#;
        let silent = r#"{"embedding":{"values":[1]}}"#;

        assert_eq!([cost(film, counted), cost(text, counted)], ["0.012", "0.0002"]);
        assert_eq!([cost(film, silent), cost(text, silent)], ["0.000276", "0.0000018"]);
    }

    #[test]
    fn the_class_of_service_and_the_searches_of_an_answer_are_charged() {
        let book = |provider, model| PriceBook::builtin().lookup(provider, model).unwrap().price;
        let cost = |dialect: &'static dyn Dialect, price, answer: &'static str| {
            let exchange = Exchange::default();
            let payload = Payload::new(dialect, Head::default(), Bytes::new(), exchange.clone());
            let mut read =
                ReadUsage::new(&Request::new(payload), &Arc::new(Target::new("p", "m").price(price)), None);
            read.data(&answer.into());
            read.end(End::Complete);
            attempt(&exchange).cost().unwrap().to_string()
        };

        // 1,000 at 2.50 and 100 at 20 for a million.
        let said = r#"{"choices":[],"service_tier":"priority","usage":{"prompt_tokens":1000,"completion_tokens":100}}"#;
        assert_eq!(cost(&OPENAI_CHAT, book("openai", "gpt-5"), said), "0.0045");
        // 1,000 at 5 and 100 at 25, a tenth more, and two searches.
        let said = r#"{"content":[],"usage":{"input_tokens":1000,"output_tokens":100,"inference_geo":"us","server_tool_use":{"web_search_requests":2}}}"#;
        assert_eq!(cost(&ANTHROPIC, book("anthropic", "claude-opus-5"), said), "0.02825");
    }

    #[test]
    fn a_class_that_the_last_event_is_silent_about_is_the_one_named_before_or_asked_for() {
        let tier = |asked, events: &[&str]| {
            let exchange = Exchange::default();
            let head = Head { stream: true, tier: asked, ..Head::default() };
            let payload = Payload::new(&OPENAI_CHAT, head, Bytes::new(), exchange.clone());
            let mut read = ReadUsage::new(&Request::new(payload), &Arc::new(Target::new("p", "m")), None);
            for event in events {
                read.data(&Bytes::from(format!("data: {event}\n\n")));
            }
            read.end(End::Complete);
            attempt(&exchange).units.tier
        };
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#;
        let named = |tier| format!(r#"{{"choices":[],"service_tier":"{tier}"}}"#);

        assert_eq!(tier(None, &[&named("priority"), usage]), Tier::Priority);
        assert_eq!(tier(Some(Tier::Priority), &[usage]), Tier::Priority);
        assert_eq!(tier(Some(Tier::Priority), &[&named("default"), usage]), Tier::Standard);
        assert_eq!(tier(None, &[usage]), Tier::Standard);
    }

    #[test]
    fn what_openai_keeps_for_twelve_hours_is_told_from_the_rest() {
        let usage =
            r#"{"choices":[],"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cache_write_tokens":7}}}"#;
        let written = |keeps_long| {
            let exchange = Exchange::default();
            let head = Head { keeps_long, ..Head::default() };
            let payload = Payload::new(&OPENAI_CHAT, head, Bytes::new(), exchange.clone());
            let mut read = ReadUsage::new(&Request::new(payload), &Arc::new(Target::new("p", "m")), None);
            read.data(&usage.into());
            read.end(End::Complete);
            let tokens = attempt(&exchange).tokens;
            (tokens.cache_write, tokens.cache_write_1h)
        };

        assert_eq!((written(false), written(true)), ((7, 0), (0, 7)));
    }

    #[test]
    fn an_answer_that_was_lost_on_the_way_costs_what_was_sent() {
        let lost = [
            (Kind::Timeout, false, 100),
            (Kind::Unreachable, false, 100),
            (Kind::Unreachable, true, 0),
            (Kind::Upstream, false, 0),
        ];
        for (kind, unsent, tokens) in lost {
            let (exchange, read) = watch(&OPENAI_CHAT, false);
            let error = Error::new(kind, "it broke");
            let error = if unsent { error.with_nothing_begun() } else { error };

            ReadUsage::failed(OnEnd::new(read), &error);

            let attempt = attempt(&exchange);
            assert_eq!((attempt.tokens.input, attempt.tokens.output), (tokens, 0), "{kind}");
            assert_eq!((attempt.estimated, attempt.outcome), (tokens > 0, Outcome::Failed(kind)));
        }
    }

    #[test]
    fn an_answer_that_breaks_off_after_its_head_costs_what_was_sent() {
        let (exchange, read) = watch(&OPENAI_CHAT, true);

        read.end(End::Failed);

        let attempt = attempt(&exchange);
        assert_eq!((attempt.tokens.input, attempt.tokens.output, attempt.estimated), (100, 0, true));
    }

    #[test]
    fn a_refusal_costs_nothing_and_leaving_before_the_head_does() {
        let (refused, read) = watch(&OPENAI_CHAT, true);
        ReadUsage::failed(OnEnd::new(read), &Error::new(Kind::RateLimited, "slow down"));
        let (left, read) = watch(&OPENAI_CHAT, true);
        drop(OnEnd::new(read));

        assert!(attempt(&refused).tokens.is_zero());
        assert_eq!(attempt(&refused).outcome, Outcome::Failed(Kind::RateLimited));
        assert_eq!(attempt(&left).tokens.input, 100);
    }
}
