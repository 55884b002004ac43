use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// What is read at most of a body that nobody wants, and for how long.
const MOST: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(1);

/// A body of HTTP/2 that is read although its request was refused before.
///
/// Otherwise the stream is reset, which makes frames that are on their way errors of the client; after some of
/// them the connection is closed, with all that others are asking over it.
#[derive(Debug)]
pub struct Unread {
    body: Option<Incoming>,
    is_shared: bool,
}

impl Unread {
    pub fn of(req: Request<Incoming>) -> Request<Self> {
        let is_shared = req.version() == Version::HTTP_2;
        req.map(|body| Self { body: Some(body), is_shared })
    }
}

impl Body for Unread {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some(body) = self.body.take()
            && self.is_shared
            && !body.is_end_stream()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(tokio::time::timeout(PATIENCE, read(body)));
        }
    }
}

async fn read(mut body: Incoming) {
    let mut left = MOST;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => break,
        }
    }
}
