use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use crate::{BoxError, Error, Kind};

pin_project! {
    /// A provider's answer, with a limit to its silences and to its whole time.
    #[derive(Debug)]
    pub struct ProviderBody {
        #[pin]
        inner: Incoming,
        idle: Duration,
        deadline: Option<Instant>,
        last: Instant,
        // Made when the provider is waited for the first time; one timer for all silences.
        alarm: Option<Pin<Box<Sleep>>>,
    }
}

impl ProviderBody {
    pub(super) fn new(inner: Incoming, idle: Duration, deadline: Option<Instant>) -> Self {
        Self { inner, idle, deadline, last: Instant::now(), alarm: None }
    }
}

impl Body for ProviderBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        if let Poll::Ready(frame) = this.inner.poll_frame(cx) {
            *this.last = Instant::now();
            return Poll::Ready(frame.map(|frame| frame.map_err(broken)));
        }
        loop {
            let due = this.deadline.unwrap_or(*this.last + *this.idle).min(*this.last + *this.idle);
            let alarm = this.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if due <= now {
                let late = this.deadline.is_some_and(|deadline| deadline <= now);
                return Poll::Ready(Some(Err(overdue(late, *this.idle).into())));
            }
            // It was set before the last frame came.
            alarm.as_mut().reset(due);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn broken(error: hyper::Error) -> BoxError {
    Error::new(Kind::Unreachable, "the provider's answer broke off").with_source(error).into()
}

fn overdue(late: bool, idle: Duration) -> Error {
    let message = if late {
        "the deadline of the request passed".to_owned()
    } else {
        format!("the provider was silent for {idle:?}")
    };
    Error::new(Kind::Timeout, message)
}
