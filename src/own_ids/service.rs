use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body::Body;
use http_body_util::{BodyExt, Either, Full};
use pin_project_lite::pin_project;
use tower::Service;

use super::{Place, Seal};
use crate::{BoxError, BoxFuture, Error, Payload, Target, headers, preset::Object};

/// The members of an answer in which ids stand.
const MEMBERS: [&str; 3] = ["id", "task_id", "remixed_from_video_id"];

/// Middleware of [`OwnIdsLayer`](super::OwnIdsLayer).
#[derive(Clone, Debug)]
pub struct OwnIds<S> {
    inner: S,
    target: Arc<Target>,
}

impl<S> OwnIds<S> {
    pub(super) fn new(inner: S, target: Arc<Target>) -> Self {
        Self { inner, target }
    }
}

impl<S, R> Service<Request<Payload>> for OwnIds<S>
where
    S: Service<Request<Payload>, Response = Response<R>>,
    S::Error: Into<Error> + 'static,
    S::Future: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Either<R, Full<Bytes>>>;
    type Error = Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<Payload>) -> Self::Future {
        let Some(prefix) = req.body().dialect().prefix_of_ids() else {
            return ResponseFuture { state: State::Called { inner: self.inner.call(req) } };
        };
        let seal = match Seal::of(req.extensions()) {
            Ok(seal) => seal,
            Err(error) => return ResponseFuture { state: State::Refused { error: Some(error) } },
        };
        let model = req.body().head().model.clone();
        let place = Place { model, target: (&**self.target.name()).into(), id: "".into() };
        let answer = rewritten(self.inner.call(req), prefix, place, seal);
        ResponseFuture { state: State::Waiting { answer: Box::pin(answer) } }
    }
}

async fn rewritten<F, R, E>(
    call: F,
    prefix: &'static str,
    place: Place,
    seal: Seal,
) -> Result<Response<Either<R, Full<Bytes>>>, Error>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let (mut parts, body) = call.await.map_err(Into::into)?.into_parts();
    if !headers::is_json(&parts.headers) {
        return Ok(Response::from_parts(parts, Either::Left(body)));
    }
    let whole = body.collect().await.map_err(|error| Error::from(error.into()))?.to_bytes();
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(parts, Either::Right(Full::new(with_ids(whole, prefix, place, &seal)))))
}

/// An answer with the ids of the client in place of the provider's.
fn with_ids(whole: Bytes, prefix: &str, place: Place, seal: &Seal) -> Bytes {
    let text = std::str::from_utf8(&whole).unwrap_or_default().trim_ascii();
    let Some(object) = Object::read(text) else { return whole };
    let mut ids: Vec<_> =
        MEMBERS.iter().filter_map(|name| Some((object.get(name)?, object.text(name)?))).collect();
    ids.sort_by_key(|(raw, _)| raw.as_ptr() as usize);
    let (mut written, mut from) = (String::with_capacity(text.len() + 256), 0);
    for (raw, id) in ids {
        let at = raw.as_ptr() as usize - text.as_ptr() as usize;
        let sealed = Place { id: (&*id).into(), ..place.clone() }.sealed(prefix, seal);
        written.push_str(&text[from..at]);
        // Nothing in it has to be escaped.
        written.extend(["\"", &*sealed, "\""]);
        from = at + raw.len();
    }
    written.push_str(&text[from..]);
    written.into()
}

pin_project! {
    /// Response future of [`OwnIds`].
    pub struct ResponseFuture<F, R> {
        #[pin]
        state: State<F, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, R> {
        Called { #[pin] inner: F },
        Waiting { answer: BoxFuture<'static, Result<Response<Either<R, Full<Bytes>>>, Error>> },
        Refused { error: Option<Error> },
    }
}

impl<F, R> fmt::Debug for ResponseFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F, R, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
{
    type Output = Result<Response<Either<R, Full<Bytes>>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Called { inner } => {
                Poll::Ready(Ok(ready!(inner.poll(cx)).map_err(Into::into)?.map(Either::Left)))
            }
            StateProj::Waiting { answer } => answer.as_mut().poll(cx),
            StateProj::Refused { error } => {
                Poll::Ready(Err(error.take().expect("a future is not polled after it is ready")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::KeyDigest;

    #[test]
    fn ids_are_exchanged_and_nothing_else() {
        let seal = Seal::new(&KeyDigest::of("k"));
        let place = Place { model: "m".into(), target: "p/m".into(), id: "".into() };
        let said = r#"{"seconds":"4","remixed_from_video_id":"v0","id" : "v1","error":null,"task_id":7}"#;

        let told = with_ids(said.into(), "video_", place.clone(), &seal);

        let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
        let id = |name: &str| Place::open(told[name].as_str().unwrap(), "video_", &seal).unwrap();
        assert_eq!(id("id"), Place { id: "v1".into(), ..place.clone() });
        assert_eq!(id("remixed_from_video_id").id, Box::<str>::from("v0"));
        assert_eq!((&told["seconds"], &told["task_id"]), (&"4".into(), &7.into()));
        assert_eq!(with_ids("[1]".into(), "video_", place, &seal), "[1]");
    }
}
