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
            // A provider that is always ahead of a slow client is never waited for.
            if this.deadline.is_some_and(|deadline| deadline <= *this.last) && matches!(frame, Some(Ok(_))) {
                return Poll::Ready(Some(Err(overdue(true, *this.idle).into())));
            }
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

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::{BodyExt, Empty};
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_never_lets_wait_has_a_deadline_too() {
        let (client, mut provider) = duplex(1 << 20);
        let (mut sender, connection) = http1::handshake(TokioIo::new(client)).await.unwrap();
        tokio::spawn(connection);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 1 << 30);
        let sends = async {
            assert!(provider.read(&mut [0; 1024]).await.unwrap() > 0);
            provider.write_all(&[head.into_bytes(), vec![b'x'; 500_000]].concat()).await.unwrap();
        };
        let (answer, ()) = tokio::join!(sender.send_request(Request::new(Empty::<Bytes>::new())), sends);
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut body =
            ProviderBody::new(answer.unwrap().into_body(), Duration::from_secs(60), Some(deadline));

        let in_time = body.frame().await.unwrap();
        // The next piece is there before it is asked for.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let late = body.frame().await.unwrap();

        assert!(in_time.is_ok());
        assert_eq!(Error::from(late.unwrap_err()).kind(), Kind::Timeout);
    }
}
