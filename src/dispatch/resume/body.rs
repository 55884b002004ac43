use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{
    rest::Rest,
    said::Said,
    source::{Found, Source, nothing},
};
use crate::{BoxBody, BoxError, BoxFuture, Error};

/// A stream with which somebody else goes on when it breaks off.
pub(super) struct Resumed {
    inner: BoxBody,
    part: Part,
    /// Whoever may go on; lent out while somebody is asked.
    source: Option<Source>,
    state: State,
}

/// Which part of the stream is on its way.
enum Part {
    First(Said),
    Later(Rest),
}

enum State {
    Reading,
    Asking(BoxFuture<'static, (Source, Result<Found, Error>)>, Error),
    /// The client has everything but this.
    Failed(BoxError),
    Over,
}

impl Resumed {
    pub(super) fn new(inner: BoxBody, said: Said, source: Source) -> Self {
        Self { inner, part: Part::First(said), source: Some(source), state: State::Reading }
    }

    fn chunk(&mut self, chunk: Bytes) -> Bytes {
        match &mut self.part {
            Part::First(said) => said.chunk(chunk),
            Part::Later(rest) => {
                let (read, error) = rest.chunk(chunk);
                let Some(error) = error else { return read };
                // What was read is what the next one is told to go on after.
                [read, self.broke_off(error.into())].concat().into()
            }
        }
    }

    /// What the client gets at the end of a stream that has ended by itself.
    fn end(&mut self) -> Bytes {
        self.state = State::Over;
        match &mut self.part {
            Part::First(said) => {
                let last = said.lacks_last().then(|| Self::last(said, self.source.as_ref()?)).flatten();
                last.unwrap_or_else(|| said.end())
            }
            Part::Later(rest) => rest.end().unwrap_or_else(|error| {
                self.state = State::Failed(error.into());
                Bytes::new()
            }),
        }
    }

    /// The end that a provider left out, in dialects whose clients wait for it.
    fn last(said: &mut Said, source: &Source) -> Option<Bytes> {
        let mut rest = Rest::new(said.open(source.asked())?);
        rest.broke_off(source.used());
        let last = rest.finish();
        said.is_last(&last).then_some(last)
    }

    /// The stream has broken off: somebody is asked for the rest, unless there is none or nobody can go on. Returns what
    /// the client gets at once.
    fn broke_off(&mut self, error: BoxError) -> Bytes {
        self.inner = nothing();
        let error = Error::from(error);
        self.state = State::Over;
        let Some(mut source) = self.source.take() else { return Bytes::new() };
        let used = source.broke_off(&error);
        if let Part::First(said) = &mut self.part
            && let Some(open) = said.open(source.asked())
        {
            self.part = Part::Later(Rest::new(open));
        }
        let Part::Later(rest) = &mut self.part else {
            source.count(false);
            self.state = State::Failed(error.into());
            return Bytes::new();
        };
        let is_clean = rest.broke_off(used);
        if rest.is_finished() || is_clean && source.is_full(rest.written()) {
            return rest.finish();
        }
        self.state = match is_clean && source.may_go_on(&error) {
            true => {
                let (text, written) = (rest.text().to_owned(), rest.written());
                State::Asking(Box::pin(find(source, text, written)), error)
            }
            false => {
                source.count(false);
                State::Failed(error.into())
            }
        };
        Bytes::new()
    }
}

async fn find(mut source: Source, text: String, written: u64) -> (Source, Result<Found, Error>) {
    let found = source.find(&text, written).await;
    (source, found)
}

impl Body for Resumed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            let data = match &mut this.state {
                State::Reading => match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(chunk) => this.chunk(chunk),
                        Err(_trailers) => continue,
                    },
                    Some(Err(error)) => this.broke_off(error),
                    None => this.end(),
                },
                State::Asking(asking, _) => {
                    let (source, found) = ready!(asking.as_mut().poll(cx));
                    let State::Asking(_, broke) = mem::replace(&mut this.state, State::Reading) else {
                        continue;
                    };
                    source.count(found.is_ok());
                    match (found, &mut this.part) {
                        (Ok(Found { body, is_told }), Part::Later(rest)) => {
                            rest.goes_on(source.codec(), is_told);
                            (this.inner, this.source) = (body, Some(source));
                        }
                        _ => this.state = State::Failed(broke.into()),
                    }
                    continue;
                }
                State::Failed(_) => {
                    let State::Failed(error) = mem::replace(&mut this.state, State::Over) else { continue };
                    return Poll::Ready(Some(Err(error)));
                }
                State::Over => return Poll::Ready(None),
            };
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Over)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
