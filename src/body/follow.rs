use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

/// How a response came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The last frame was handed on.
    Complete,
    /// The inner service or its body failed.
    Failed,
    /// The client left: the future or the body was dropped.
    Aborted,
}

impl End {
    /// The name used in logs and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
        }
    }
}

/// Watches one response.
pub trait Observe: Send + 'static {
    /// Sees each chunk of data as it passes.
    fn data(&mut self, _chunk: &Bytes) {}

    /// Learns how the response ended; called exactly once.
    ///
    /// This may run inside a `Drop`: it doesn't wait and doesn't panic, it updates a value or hands
    /// it to a bounded queue.
    fn end(self, end: End);
}

/// Owns an observer until the response ends; dropping it is [`End::Aborted`].
#[derive(Debug)]
pub struct OnEnd<O: Observe>(Option<O>);

impl<O: Observe> OnEnd<O> {
    /// From here on, leaving is noticed.
    pub fn new(observer: O) -> Self {
        Self(Some(observer))
    }

    /// The observer, until it has learnt the end.
    pub fn get_mut(&mut self) -> Option<&mut O> {
        self.0.as_mut()
    }

    /// Ends the watch without a body.
    pub fn finish(mut self, end: End) {
        self.fire(end);
    }

    /// Moves the watch from the response future to the response body.
    pub fn follow<B: Body>(self, body: B) -> Followed<B, O> {
        let mut this = Followed { inner: body, watch: self };
        if this.inner.is_end_stream() {
            this.watch.fire(End::Complete);
        }
        this
    }

    fn fire(&mut self, end: End) {
        if let Some(observer) = self.0.take() {
            observer.end(end);
        }
    }
}

impl<O: Observe> Drop for OnEnd<O> {
    fn drop(&mut self) {
        self.fire(End::Aborted);
    }
}

pin_project! {
    /// A body that tells an observer how it ended.
    // Field order matters: `inner` drops first, so an inner observer has reported before this one
    // is told that the client left.
    #[derive(Debug)]
    pub struct Followed<B, O: Observe> {
        #[pin]
        inner: B,
        watch: OnEnd<O>,
    }
}

impl<B, O> Body for Followed<B, O>
where
    B: Body<Data = Bytes>,
    O: Observe,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(data), Some(observer)) = (frame.data_ref(), this.watch.0.as_mut()) {
                    observer.data(data);
                }
                // hyper does not poll again once the length is reached.
                if this.inner.is_end_stream() {
                    this.watch.fire(End::Complete);
                }
            }
            Some(Err(_)) => this.watch.fire(End::Failed),
            None => this.watch.fire(End::Complete),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
