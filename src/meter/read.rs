use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request};

use super::ReadJob;
use crate::{
    Dialect, Error, Kind, Payload, Target, Tokens, Work,
    body::{End, Observe, OnEnd, Splitter, sse::Event},
    dialect::Closing,
    exchange::{AttemptHandle, Outcome},
    headers,
    payload::Head,
};

/// A whole answer beyond this is not searched for its counts.
const MAX_WHOLE: usize = 64 << 20;

/// Reads the counts of one attempt.
#[derive(Debug)]
pub struct ReadUsage {
    attempt: AttemptHandle,
    dialect: &'static dyn Dialect,
    /// The size of the request, for the estimate of its tokens.
    sent: usize,
    /// The size of what the model wrote, likewise.
    written: usize,
    /// What was asked for.
    head: Arc<Head>,
    work: Work,
    reported: bool,
    answered: bool,
    /// Whether an answer in the provider's dialect has begun, and not just any bytes.
    begun: bool,
    /// Whether it has come to its proper end.
    closed: bool,
    failure: Option<Kind>,
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
    pub(super) fn new(req: &Request<Payload>, target: &Arc<Target>) -> Self {
        let payload = req.body();
        let head = payload.head();
        let job = ReadJob::of(req, target).map(Box::new);
        let target = job.as_ref().map_or(target, |job| job.target());
        let answer = if head.is_opaque {
            Answer::Opaque
        } else if head.stream {
            Answer::Stream(Splitter::new(payload.dialect().framing()))
        } else {
            Answer::whole()
        };
        Self {
            attempt: payload.exchange().begin(target),
            job,
            dialect: payload.dialect(),
            sent: payload.source().len(),
            written: 0,
            // What the answer doesn't speak of stays as it was asked for.
            work: Work { units: head.work.unwrap_or_default().units, ..Work::default() },
            head: payload.shared_head(),
            reported: false,
            answered: false,
            begun: false,
            closed: false,
            failure: None,
            answer,
        }
    }

    /// An answer in JSON is a single body, whatever was asked for; where it was sound, it may hold an error.
    pub(super) fn head(&mut self, headers: &HeaderMap) {
        if headers::is_json(headers) {
            self.answer = Answer::whole();
        }
    }

    pub(super) fn failed(mut watch: OnEnd<Self>, error: &Error) {
        if let Some(read) = watch.get_mut() {
            read.failure = Some(error.kind());
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
            if !self.reported || self.work != known {
                self.attempt.report(self.work);
            }
            self.reported = true;
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
        match self.dialect.closing(event) {
            Some(Closing::Proper | Closing::Last) => self.closed = true,
            Some(Closing::Failed(error)) => self.failure = Some(error.kind()),
            None => {}
        }
    }

    fn whole(&mut self, whole: &Bytes, end: End) {
        self.begun = true;
        self.written = whole.len();
        match &self.job {
            Some(job) => self.reported = job.read(whole, self.dialect, &self.attempt),
            None => self.read(whole),
        }
        self.closed = self.reported || end == End::Complete;
        if end == End::Complete && !self.reported {
            self.failure = self.dialect.error_in_answer(whole).map(|error| error.kind());
        }
    }

    /// Whether the provider will want money. One that refused, with whatever status, will not; one that
    /// was left in the middle will.
    fn is_charged(&self, end: End) -> bool {
        if self.dialect.is_free() {
            return false;
        }
        let is_whole = matches!(self.answer, Answer::Whole { .. });
        let refused = self.failure.is_some() && (is_whole || self.written == 0) && !self.reported;
        // A text may be empty.
        let is_over = matches!(self.answer, Answer::Opaque) && end == End::Complete;
        !refused && (end == End::Aborted || is_over || self.answered && self.begun)
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
        if let Some(asked) = self.head.work {
            let is_free = asked == Work::default();
            return match if self.reported { self.work } else { asked } {
                nothing if is_free => self.attempt.report(nothing),
                work => self.attempt.estimate(work),
            };
        }
        // About four bytes make a token, in the languages and the code that models mostly read.
        let tokens = |bytes: usize| bytes.div_ceil(4) as u64;
        let input = if self.reported { self.work.tokens.input } else { tokens(self.sent) };
        // What is written is not always paid for: vectors aren't.
        let written = if self.head.max_output == Some(0) { 0 } else { tokens(self.written) };
        let output = self.work.tokens.output.max(written);
        self.attempt.estimate(Tokens { input, output, ..self.work.tokens });
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
                let mut events = std::mem::take(events);
                self.stream(&mut events, chunk.clone());
                self.answer = Answer::Stream(events);
            }
            Answer::Whole { first, more } => {
                if first.is_empty() && more.is_empty() {
                    *first = chunk.clone();
                } else if more.len() < MAX_WHOLE {
                    more.extend_from_slice(&std::mem::take(first));
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
                let whole =
                    if more.is_empty() { std::mem::take(first) } else { std::mem::take(more).freeze() };
                self.whole(&whole, end);
            }
            Answer::Opaque => self.closed = end == End::Complete,
        }
        // Counts that came before the end may not be the last word.
        if self.is_charged(end) && !(self.closed && self.reported) {
            self.estimate();
        }
        self.attempt.finish(self.outcome(end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Exchange,
        dialect::{ANTHROPIC, OPENAI_CHAT},
        payload::Head,
    };

    fn watch(dialect: &'static dyn Dialect, stream: bool) -> (Exchange, ReadUsage) {
        let exchange = Exchange::default();
        let head = Head { stream, ..Head::default() };
        let payload = Payload::new(dialect, head, Bytes::from(vec![b'x'; 400]), exchange.clone());
        let read = ReadUsage::new(&Request::new(payload), &Arc::new(Target::new("p", "m")));
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
