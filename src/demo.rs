//! A provider that needs no account: [`Demo`].
//!
//! It answers by itself, with what it was asked, whole or word by word. It answers chats in the dialect in which it is
//! asked, of those that clients speak: the configuration has it asked in OpenAI's chat completions, so that a client
//! of another dialect sees its request translated both ways. It stands at the end of the same stack as a real
//! provider, so that keys, limits, budgets, records and streams can all be tried with it, and tested without a network.

use std::{
    collections::VecDeque,
    future::{Ready, ready},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tower::Service;

use crate::{
    BoxBody, Error, Kind, Payload, Tokens,
    dialect::{
        ChatCodec, Codec,
        canonical::{Answer, Choice, Content, Event, Finish, Request as Canonical, Role},
    },
};

/// The most that is repeated of a question, in bytes.
const MAX_ECHO: usize = 2_000;

/// Answers with what it was asked; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Demo {
    pause: Duration,
}

impl Default for Demo {
    fn default() -> Self {
        Self { pause: Duration::from_millis(15) }
    }
}

impl Demo {
    /// Sets the time between two words of a stream.
    #[must_use]
    pub fn pause(self, pause: Duration) -> Self {
        Self { pause }
    }

    fn answer(self, payload: &Payload) -> Result<Response<BoxBody>, Error> {
        let codec = payload.dialect().codec().and_then(Codec::chat);
        let codec = codec.ok_or_else(|| Error::new(Kind::InvalidRequest, "the demo answers chats only"))?;
        let bytes = payload.to_bytes();
        let text = reply(&codec.decode_request(&bytes)?);
        let tokens = Tokens {
            input: bytes.len().div_ceil(4) as u64,
            output: text.len().div_ceil(4) as u64,
            ..Tokens::default()
        };
        if payload.head().stream {
            return Ok(self.stream(codec, payload, &text, tokens));
        }
        let choice = Choice {
            index: 0,
            parts: vec![Content::Text(text.into()).into()],
            finish: Finish::Stop,
            logprobs: None,
        };
        let answer = Answer {
            id: name(payload).into(),
            model: payload.model().into(),
            choices: vec![choice],
            tokens,
            ..Answer::default()
        };
        Ok(respond(
            "application/json",
            Full::new(codec.encode_answer(&answer, payload)).map_err(Into::into).boxed_unsync(),
        ))
    }

    fn stream(
        self,
        codec: &dyn ChatCodec,
        payload: &Payload,
        text: &str,
        tokens: Tokens,
    ) -> Response<BoxBody> {
        let mut encoder = codec.encoder(payload);
        let mut write = |event: Event<'_>| {
            let mut out = BytesMut::new();
            encoder.event(event, &mut out);
            out.freeze()
        };
        let start = Event::Start { id: name(payload).into(), model: payload.model().into(), created: None };
        let mut events = VecDeque::from([write(start)]);
        events.extend(
            text.split_inclusive(' ').map(|word| write(Event::Text { choice: 0, text: word.into() })),
        );
        let ends = [Event::Finish { choice: 0, finish: Finish::Stop }, Event::Usage(tokens), Event::End];
        events.extend(ends.map(write));
        events.retain(|event| !event.is_empty());
        let paced = futures_util::stream::unfold(events, move |mut events: VecDeque<Bytes>| async move {
            let event = events.pop_front()?;
            tokio::time::sleep(self.pause).await;
            Some((Ok(Frame::data(event)), events))
        });
        respond("text/event-stream", StreamBody::new(paced).boxed_unsync())
    }
}

fn name(payload: &Payload) -> String {
    format!("chatcmpl-{}", payload.exchange().id())
}

fn reply(request: &Canonical<'_>) -> String {
    let user = request.turns.iter().rev().find(|turn| turn.role == Role::User);
    let said = user.into_iter().flat_map(|turn| &turn.parts).filter_map(|part| match &part.content {
        Content::Text(text) => Some(&**text),
        _ => None,
    });
    let said = said.collect::<Vec<_>>().join(" ");
    let end = said.char_indices().map(|(at, _)| at).take_while(|at| *at <= MAX_ECHO).last().unwrap_or(0);
    let said = if said.len() <= MAX_ECHO { &*said } else { &said[..end] };
    format!("This is the demo provider of bartizan, and it works. You said: {said}")
}

fn respond(content_type: &'static str, body: BoxBody) -> Response<BoxBody> {
    let mut res = Response::new(body);
    res.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    res
}

impl Service<Request<Payload>> for Demo {
    type Response = Response<BoxBody>;
    type Error = Error;
    type Future = Ready<Result<Response<BoxBody>, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Request<Payload>) -> Self::Future {
        ready(self.answer(req.body()))
    }
}
