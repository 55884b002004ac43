use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::{KeyPool, layer::Signature};
use crate::{BoxError, Error};

/// Takes the credential of a [`SignLayer`](super::SignLayer) out of every error that comes from further
/// in; made by [`SignLayer::scrub`](super::SignLayer::scrub).
///
/// A provider may quote the credential in an answer that begins as a success. What is read out of such
/// an answer becomes an error further out than where it was signed, so this layer stands outside of
/// those that read answers. While all keys of a [`KeyPool`](super::KeyPool) are out it refuses.
#[derive(Clone, Debug)]
pub struct ScrubLayer {
    pub(super) signature: Arc<Signature>,
}

impl<S> Layer<S> for ScrubLayer {
    type Service = Scrub<S>;

    fn layer(&self, inner: S) -> Scrub<S> {
        Scrub { inner, signature: self.signature.clone() }
    }
}

/// Middleware of [`ScrubLayer`].
#[derive(Clone, Debug)]
pub struct Scrub<S> {
    inner: S,
    signature: Arc<Signature>,
}

impl<S, B, R> Service<Request<B>> for Scrub<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<Error>,
{
    type Response = Response<Scrubbed<R>>;
    type Error = Error;
    type Future = ScrubFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        // What can't be signed is refused further in.
        let signature = self.signature.of(&req).unwrap_or_else(|_| self.signature.clone());
        // Before anything is done for a request that can't be signed.
        let state = match signature.pool.as_ref().map(KeyPool::check) {
            Some(Err(error)) => State::Refused { error: Some(error) },
            Some(Ok(())) | None => State::Called { inner: self.inner.call(req) },
        };
        ScrubFuture { state, signature }
    }
}

pin_project! {
    /// Response future of [`Scrub`].
    #[derive(Debug)]
    pub struct ScrubFuture<F> {
        #[pin]
        state: State<F>,
        signature: Arc<Signature>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<F> {
        Called { #[pin] inner: F },
        Refused { error: Option<Error> },
    }
}

impl<F, R, E> Future for ScrubFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
{
    type Output = Result<Response<Scrubbed<R>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let signature = &*this.signature;
        let answer = match this.state.project() {
            StateProj::Called { inner } => ready!(inner.poll(cx)).map_err(Into::into),
            StateProj::Refused { error } => {
                Err(error.take().expect("a future is not polled after it is ready"))
            }
        };
        Poll::Ready(match answer {
            Ok(res) => Ok(res.map(|inner| Scrubbed { inner, signature: signature.clone() })),
            Err(error) => Err(signature.scrub(error)),
        })
    }
}

pin_project! {
    /// A body whose errors don't show the credential.
    #[derive(Debug)]
    pub struct Scrubbed<R> {
        #[pin]
        inner: R,
        signature: Arc<Signature>,
    }
}

impl<R> Body for Scrubbed<R>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        Poll::Ready(
            frame.map(|frame| frame.map_err(|error| this.signature.scrub(Error::from(error.into())).into())),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::{
        Kind,
        secret::Secret,
        sign::{Credential, SignLayer, credential::without},
        testing::{ENDINGS, MustBeReady, Script, Step, is_shared},
    };

    fn layer() -> ScrubLayer {
        SignLayer::new(Credential::Bearer(Secret::new("sk-provider"))).unwrap().scrub()
    }

    #[tokio::test]
    async fn an_answer_passes_and_ends_as_it_did() {
        for ending in ENDINGS {
            let service = layer().layer(MustBeReady::new(move |_: Request<()>| ending.answer()));
            is_shared(&service);

            ending.play(service.oneshot(Request::new(())), || {}, || {}).await;
        }
    }

    #[tokio::test]
    async fn a_refusal_does_not_show_the_credential() {
        let service = layer().layer(MustBeReady::new(async |_: Request<()>| {
            Err::<Response<Script>, _>(Error::new(Kind::Upstream, "bad key sk-provider"))
        }));

        assert_eq!(service.oneshot(Request::new(())).await.unwrap_err().message(), "bad key ***");
    }

    #[tokio::test]
    async fn a_refusal_shows_no_header_that_is_sensitive() {
        let mut second = HeaderValue::from_static("sk-second");
        second.set_sensitive(true);
        let layer = SignLayer::new(Credential::Bearer(Secret::new("sk-provider")))
            .unwrap()
            .header(HeaderName::from_static("x-second"), second)
            .header(HeaderName::from_static("x-version"), HeaderValue::from_static("2026-10-21"));
        let service = layer.scrub().layer(MustBeReady::new(async |_: Request<()>| {
            Err::<Response<Script>, _>(Error::new(Kind::Upstream, "sk-provider sk-second 2026-10-21"))
        }));

        assert_eq!(service.oneshot(Request::new(())).await.unwrap_err().message(), "*** *** 2026-10-21");
    }

    #[tokio::test]
    async fn an_error_inside_of_an_answer_does_not_show_the_credential() {
        let service = layer().layer(MustBeReady::new(async |_: Request<()>| {
            let script = Script::new([Step::Data("data"), Step::Break]);
            let quoting = |_| Error::new(Kind::Overloaded, "bad key sk-provider");
            Ok::<_, Error>(Response::new(script.map_err(quoting)))
        }));

        let mut body = service.oneshot(Request::new(())).await.unwrap().into_body();

        assert_eq!(body.frame().await.unwrap().unwrap().data_ref().unwrap(), "data");
        let error = Error::from(body.frame().await.unwrap().unwrap_err());
        assert_eq!((error.kind(), error.message()), (Kind::Overloaded, "bad key ***"));
    }

    #[test]
    fn a_credential_that_was_cut_is_not_shown_in_part() {
        let scrubbed = |text: &str| {
            without(b"sk-provider", text.as_bytes()).map(|clean| String::from_utf8(clean).unwrap())
        };

        assert_eq!(scrubbed("bad key sk-provide").as_deref(), Some("bad key ***"));
        assert_eq!(scrubbed("bad key sk-p").as_deref(), Some("bad key ***"));
        assert_eq!(scrubbed("sk-provider and sk-pro").as_deref(), Some("*** and ***"));
        assert_eq!(scrubbed("no risk"), None);
        assert_eq!(scrubbed(""), None);
    }
}
