//! Whom the rest of an answer can be had from: [`Source`].

use std::{collections::VecDeque, sync::Arc};

use http::{Request, Response, header};
use http_body_util::BodyExt;

use super::super::{
    Candidate, Route,
    lower::with_cap,
    service::{attempt, is_affordable, is_past, note},
};
use crate::{
    BoxBody, Error, Exchange, Kind, Payload, Target, Tokens,
    dialect::{
        ChatCodec,
        canonical::{Effort, Request as Asked, Role as Speaker},
    },
    exchange::{AssumeOutput, Deadline, Role},
    metrics,
};

/// Those who may go on, and what they are asked.
pub(super) struct Source {
    route: Arc<Route>,
    req: Request<Payload>,
    others: VecDeque<Candidate>,
    deadline: Option<Deadline>,
    codec: &'static dyn ChatCodec,
    /// Whose answer broke off last.
    broken: Option<Arc<Target>>,
}

/// Somebody who goes on.
pub(super) struct Found {
    pub(super) body: BoxBody,
    /// Whether it was told to.
    pub(super) is_told: bool,
}

impl Source {
    pub(super) fn new(
        route: Arc<Route>,
        req: Request<Payload>,
        others: VecDeque<Candidate>,
        deadline: Option<Deadline>,
        codec: &'static dyn ChatCodec,
    ) -> Self {
        Self { route, req, others, deadline, codec, broken: None }
    }

    pub(super) fn codec(&self) -> &'static dyn ChatCodec {
        self.codec
    }

    pub(super) fn asked(&self) -> &Payload {
        self.req.body()
    }

    fn exchange(&self) -> &Exchange {
        self.req.body().exchange()
    }

    /// Notes why the answer broke off, and returns what it has used.
    pub(super) fn broke_off(&mut self, error: &Error) -> Tokens {
        self.exchange().broke_off(error);
        self.broken =
            self.exchange().learn(|learnt| learnt.answering().map(|attempt| attempt.target.clone()));
        self.used()
    }

    /// Counts whether somebody goes on.
    pub(super) fn count(&self, is_done: bool) {
        if let Some(target) = &self.broken {
            metrics::resumed(target, is_done);
        }
    }

    /// What the attempt that answers has used.
    pub(super) fn used(&self) -> Tokens {
        self.exchange().learn(|learnt| learnt.answering().map(|attempt| attempt.tokens).unwrap_or_default())
    }

    /// Whether it is worth asking anybody after `error`, and what was asked can be asked for the rest of it.
    pub(super) fn may_go_on(&self, error: &Error) -> bool {
        let is_clean = |asked: &Asked<'_>| {
            let is_own = asked.turns.last().is_some_and(|turn| turn.role == Speaker::Assistant);
            asked.format.is_none() && asked.choices.unwrap_or(1) <= 1 && !is_own
        };
        self.route.goes_on_after(error)
            && !is_past(self.deadline)
            && !self.others.is_empty()
            && self.codec.decode_request(self.asked().source()).is_ok_and(|asked| is_clean(&asked))
    }

    /// Whether a cap leaves no room for more after so many tokens.
    pub(super) fn is_full(&self, written: u64) -> bool {
        self.asked().head().max_output.or(self.own_cap()).is_some_and(|most| most <= written)
    }

    /// The cap that the gateway has set where the client has none.
    fn own_cap(&self) -> Option<u64> {
        let assumed = self.req.extensions().get::<AssumeOutput>();
        assumed.filter(|assumed| assumed.is_cap).map(|assumed| assumed.tokens)
    }

    /// Asks one after the other for what comes after `text`, of which so many tokens were `written`.
    ///
    /// # Errors
    ///
    /// Of the last one that was asked.
    pub(super) async fn find(&mut self, text: &str, written: u64) -> Result<Found, Error> {
        let mut failure = Error::new(Kind::Upstream, "nobody is left to go on with the answer");
        while let Some(candidate) = self.others.pop_front() {
            if is_past(self.deadline) {
                break;
            }
            for is_told in [!self.goes_on(candidate.target()), true] {
                let Some(req) = self.request(text, written, is_told) else { return Err(failure) };
                if !is_affordable(&candidate, &self.route, req.body()) {
                    break;
                }
                match self.ask(&candidate, req).await {
                    Ok(answer) => return Ok(Found { body: answer.into_body(), is_told }),
                    Err(error) => failure = error,
                }
                // It may not go on by itself after all.
                if is_told || failure.kind() != Kind::InvalidRequest {
                    break;
                }
            }
            if !self.route.goes_on_after(&failure) {
                break;
            }
        }
        Err(failure)
    }

    async fn ask(&self, candidate: &Candidate, req: Request<Payload>) -> Result<Response<BoxBody>, Error> {
        let exchange = self.exchange();
        let (begun, lost) = exchange.learn(|learnt| (learnt.attempts.len(), learnt.lost.clone()));
        tracing::debug!(id = %exchange.id(), target = %candidate.target(), "going on with an answer that broke off");
        let answer = attempt(candidate.call(req), self.deadline).await.and_then(a_stream);
        if let Err(error) = &answer {
            note(exchange, begun, error);
        }
        exchange.learn(|learnt| {
            if answer.is_ok() {
                learnt.answers = learnt.attempts.len().checked_sub(1);
            }
        });
        lost.iter().for_each(|lost| exchange.lose(lost));
        answer
    }

    /// Whether a model goes on by itself with what stands as its last turn: those that think don't.
    fn goes_on(&self, target: &Target) -> bool {
        let asked = self.codec.decode_request(self.asked().source());
        let reasoning = asked.ok().and_then(|asked| asked.reasoning);
        let thinks =
            reasoning.is_some_and(|it| it.budget.is_some() || it.effort.is_some_and(|it| it != Effort::None));
        target.known_facts().supports("assistant_prefill") && !thinks
    }

    fn request(&self, text: &str, written: u64, is_told: bool) -> Option<Request<Payload>> {
        let (mut parts, payload) = self.req.clone().into_parts();
        if let Some(most) = self.own_cap() {
            let tokens = most.saturating_sub(written).max(1);
            parts.extensions.insert(AssumeOutput { tokens, is_cap: true });
        }
        // Claude refuses a turn that ends with a space.
        let said = if is_told { text } else { text.trim_end() };
        let (dialect, bytes) = (payload.dialect(), payload.to_bytes());
        let mut request = str::from_utf8(&bytes).ok()?.to_owned();
        if !said.is_empty() {
            request = dialect.continued(&request, said, !is_told)?;
        }
        if let Some(most) = payload.head().max_output {
            let most = most.saturating_sub(written).max(1);
            request = with_cap(dialect, &request, most).map_or(request, |(lower, _)| lower);
        }
        let head = dialect.peek(&parts, &request).ok()?;
        // What the model has to read is more now.
        payload.exchange().learn(|learnt| learnt.input = None);
        let payload = payload.rewritten(head, request.into());
        Some(Request::from_parts(parts, payload.for_role(Role::Resume)))
    }
}

/// Who was asked for a stream has to send one.
fn a_stream(answer: Response<BoxBody>) -> Result<Response<BoxBody>, Error> {
    let value = answer.headers().get(header::CONTENT_TYPE);
    match value.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream")) {
        true => Ok(answer),
        false => Err(Error::new(Kind::Upstream, "the provider answered a stream with a single body")),
    }
}

/// Nothing at all.
pub(super) fn nothing() -> BoxBody {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
}
