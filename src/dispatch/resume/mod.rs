//! Goes on with a stream that broke in the middle.
//!
//! [`Said`](said::Said) follows what the client gets, in the client's own dialect: whoever spoke, and in whatever
//! dialect. When that breaks off, the text so far becomes the last turn of the client's request, and the next
//! candidate is asked with it. Its stream is read in the client's dialect too, and [`Rest`](rest::Rest) writes what is
//! new in it with an encoder that has been brought to where the first part ended.

mod body;
mod rest;
mod said;
mod seam;
mod source;

use std::{collections::VecDeque, sync::Arc};

use http::{Request, Response, header};
use http_body_util::BodyExt;

use self::{body::Resumed, said::Said, source::Source};
use super::{Candidate, Route};
use crate::{
    BoxBody, Payload,
    body::Framing,
    dialect::{ChatCodec, Codec},
    exchange::Deadline,
};

/// What becomes of a stream that breaks in the middle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnBreak {
    /// It ends with an error in the client's dialect.
    #[default]
    Error,
    /// The next target goes on with it, and the same one if there is no other. What it is asked is the client's
    /// request with the text so far as its last turn; models that don't go on with their own turn are told to. The
    /// client gets one stream. Where that can't be done cleanly it ends with an error: after a call of a tool or a
    /// citation, in the middle of thoughts, with several answers, likelihoods or an answer by a schema, and where the
    /// provider searches or keeps the answer.
    Resume,
}

impl Route {
    /// Whether somebody else may go on with the answer to a request.
    pub(super) fn may_resume(&self, payload: &Payload) -> bool {
        self.on_break == OnBreak::Resume && codec(payload).is_some()
    }
}

/// The codec of the stream that is asked for, if one can be gone on with.
fn codec(payload: &Payload) -> Option<&'static dyn ChatCodec> {
    let (dialect, head) = (payload.dialect(), payload.head());
    let is_kept = head.is_once || head.batch.is_some() || head.resource.is_some();
    let is_plain = head.stream && head.choices <= 1 && !head.reads_more && head.code_sessions == 0;
    let Some(Codec::Chat(codec)) = dialect.codec() else { return None };
    (is_plain && !is_kept && dialect.framing() == Framing::Sse).then_some(codec)
}

/// The answer to a request, with which one of `others` goes on if it breaks off.
pub(super) fn resumable(
    answer: Response<BoxBody>,
    route: Arc<Route>,
    req: Request<Payload>,
    others: VecDeque<Candidate>,
    deadline: Option<Deadline>,
) -> Response<BoxBody> {
    let is_stream = |value: &header::HeaderValue| value.as_bytes().starts_with(b"text/event-stream");
    let dialect = req.body().dialect();
    match codec(req.body()) {
        Some(codec) if answer.headers().get(header::CONTENT_TYPE).is_some_and(is_stream) => {
            let source = Source::new(route, req, others, deadline, codec);
            answer.map(|body| Resumed::new(body, Said::new(dialect, codec), source).boxed_unsync())
        }
        _ => answer,
    }
}
