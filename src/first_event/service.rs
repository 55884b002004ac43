use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::{FirstEventLayer, Proven, ResponseFuture, future::Asked};
use crate::{BoxError, Error, Payload, exchange::TakesWhole};

/// Middleware of [`FirstEventLayer`].
#[derive(Clone, Debug)]
pub struct FirstEvent<S> {
    inner: S,
    config: FirstEventLayer,
}

impl<S> FirstEvent<S> {
    pub(super) fn new(inner: S, config: FirstEventLayer) -> Self {
        Self { inner, config }
    }
}

impl<S, R> Service<Request<Payload>> for FirstEvent<S>
where
    S: Service<Request<Payload>, Response = Response<R>>,
    S::Error: Into<Error>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Response = Response<Proven<R>>;
    type Error = Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<Payload>) -> Self::Future {
        let (dialect, head) = (req.body().dialect(), req.body().head());
        let (stream, is_opaque) = (head.stream, head.is_opaque);
        let takes_whole = req.extensions().get::<TakesWhole>().is_some();
        let asked = Asked { dialect, stream: stream.then(|| req.body().clone()) };
        let within = self.config.within(&req);
        let answer = self.inner.call(req);
        ResponseFuture::new(answer, asked, takes_whole, is_opaque, within, self.config.limit)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{Arc, Mutex},
        time::Duration,
    };

    use futures_util::{StreamExt, stream};
    use http::{HeaderValue, header};
    use http_body::Frame;
    use http_body_util::{BodyExt, Full};
    use tower::{Layer, ServiceExt, service_fn};

    use super::*;
    use crate::{
        Dialect, Exchange, Kind,
        dialect::{ANTHROPIC, OPENAI_CHAT, OPENAI_TRANSCRIPTIONS},
        lock,
        payload::Head,
    };

    const HI: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    const ROLE: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    const DONE: &str = "data: [DONE]\n\n";
    const OVERLOADED: &str = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";

    /// Sends `chunks`, and then nothing more or the end.
    fn scripted(chunks: &[&str], ends: bool) -> impl Body<Data = Bytes, Error = BoxError> + Send + use<> {
        let frames: Vec<_> =
            chunks.iter().map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk.as_bytes())))).collect();
        let silence = stream::poll_fn(move |_| if ends { Poll::Ready(None) } else { Poll::Pending });
        http_body_util::StreamBody::new(stream::iter(frames).chain(silence))
    }

    /// Asks for a stream whose provider sends `chunks`, and then nothing or the end.
    async fn streamed(
        dialect: &'static dyn Dialect,
        chunks: &[&str],
        ends: bool,
    ) -> Result<Response<Proven<impl Body<Data = Bytes, Error = BoxError>>>, Error> {
        let body = Arc::new(Mutex::new(Some(scripted(chunks, ends))));
        let svc =
            FirstEventLayer::new(Duration::from_secs(20)).layer(service_fn(move |_: Request<Payload>| {
                let body = lock(&body).take().unwrap();
                async { Ok::<_, Infallible>(Response::new(body)) }
            }));
        let head = Head { stream: true, ..Head::default() };
        svc.oneshot(Request::new(Payload::new(dialect, head, Bytes::new(), Exchange::default()))).await
    }

    async fn whole(body: &'static str) -> Result<Bytes, Error> {
        let svc = FirstEventLayer::new(Duration::from_secs(20)).limit(100).layer(service_fn(
            move |_: Request<Payload>| async move {
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(body)))
            },
        ));
        let payload = Payload::new(&OPENAI_CHAT, Head::default(), Bytes::new(), Exchange::default());
        let res = svc.oneshot(Request::new(payload)).await?;
        Ok(res.into_body().collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn what_cannot_become_a_stream_passes_as_the_single_body_that_it_is() {
        let said = r#"{"text":"hello"}"#;
        let svc =
            FirstEventLayer::new(Duration::from_secs(20)).layer(service_fn(async |_: Request<Payload>| {
                let mut res = Response::new(Full::<Bytes>::from(said));
                res.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Ok::<_, Infallible>(res)
            }));
        let head = Head { stream: true, ..Head::default() };
        let payload = Payload::new(&OPENAI_TRANSCRIPTIONS, head, Bytes::new(), Exchange::default());

        let res = svc.oneshot(Request::new(payload)).await.unwrap();

        assert_eq!(res.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(res.into_body().collect().await.unwrap().to_bytes(), said);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_waits_a_minute_and_half_of_its_time_where_another_target_could_be_asked() {
        use tokio::time::Instant;

        use crate::exchange::Deadline;

        for (has_others, left, expected) in [(false, 40, 60), (true, 40, 20), (true, 600, 60)] {
            let svc = FirstEventLayer::default().layer(service_fn(async |_: Request<Payload>| {
                std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>().await
            }));
            let head = Head { stream: true, ..Head::default() };
            let payload = Payload::new(&OPENAI_CHAT, head, Bytes::new(), Exchange::default());
            let mut req = Request::new(payload.with_others(has_others));
            req.extensions_mut().insert(Deadline(Instant::now() + Duration::from_secs(left)));
            let begun = Instant::now();

            let error = svc.oneshot(req).await.unwrap_err();

            assert_eq!((error.kind(), begun.elapsed().as_secs()), (Kind::Timeout, expected));
        }
    }

    #[tokio::test]
    async fn a_good_stream_passes_unchanged_however_it_is_cut() {
        let text = [ROLE, ": keep-alive\n\n", HI, STOP, DONE].concat();
        for cut in 1..text.len() {
            let chunks = [&text[..cut], &text[cut..]];

            let res = streamed(&OPENAI_CHAT, &chunks, true).await.unwrap();

            assert_eq!(res.into_body().collect().await.unwrap().to_bytes(), text);
        }
    }

    /// C98
    #[tokio::test]
    async fn an_answer_is_called_what_it_is() {
        let plain = |body: String| {
            service_fn(move |_: Request<Payload>| {
                let mut res = Response::new(Full::<Bytes>::from(body.clone()));
                res.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
                async { Ok::<_, Infallible>(res) }
            })
        };
        let answer = async |stream: bool, body: String| {
            let head = Head { stream, ..Head::default() };
            let payload = Payload::new(&OPENAI_CHAT, head, Bytes::new(), Exchange::default());
            let layer = FirstEventLayer::new(Duration::from_secs(20));
            let res = layer.layer(plain(body)).oneshot(Request::new(payload)).await.unwrap();
            res.headers()[header::CONTENT_TYPE].clone()
        };

        assert_eq!(answer(true, [HI, STOP, DONE].concat()).await, "text/event-stream");
        assert_eq!(answer(false, r#"{"choices":[]}"#.to_owned()).await, "application/json");
    }

    #[tokio::test]
    async fn what_fails_before_content_is_an_error_and_not_an_answer() {
        let refused =
            async |dialect, chunks: &[&str]| streamed(dialect, chunks, true).await.err().unwrap().kind();
        let error = "data: {\"error\":{\"message\":\"x\",\"code\":\"rate_limit_exceeded\"}}\n\n";

        assert_eq!(refused(&OPENAI_CHAT, &[]).await, Kind::Upstream);
        assert_eq!(refused(&OPENAI_CHAT, &[ROLE, DONE]).await, Kind::Upstream);
        assert_eq!(refused(&OPENAI_CHAT, &[ROLE, error]).await, Kind::RateLimited);
        assert_eq!(refused(&OPENAI_CHAT, &["<html>"]).await, Kind::Upstream);
        assert_eq!(refused(&ANTHROPIC, &[OVERLOADED]).await, Kind::Overloaded);
        assert_eq!(refused(&ANTHROPIC, &[OVERLOADED.trim_end()]).await, Kind::Overloaded);
        assert_eq!(refused(&ANTHROPIC, &["event: content_block_delta\ndata: {\"ty"]).await, Kind::Upstream);
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_sends_pings_only_is_late() {
        let late = streamed(&ANTHROPIC, &["event: ping\ndata: {}\n\n"], false).await.err().unwrap();

        assert_eq!(late.kind(), Kind::Timeout);
    }

    #[tokio::test]
    async fn a_stream_that_breaks_after_content_ends_with_an_error() {
        let delta = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\"}\n\n";
        let with_error = [delta, OVERLOADED].concat();
        for (chunks, kind) in [
            (vec![delta], Kind::Upstream),
            (vec![delta, "event: content_bl"], Kind::Upstream),
            (vec![delta, "event: content_block_delta\ndata: {\"type"], Kind::Upstream),
            (vec![delta, OVERLOADED], Kind::Overloaded),
            (vec![&*with_error], Kind::Overloaded),
        ] {
            let mut body = streamed(&ANTHROPIC, &chunks, true).await.unwrap().into_body();

            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            let rest = body.frame().await.unwrap();

            assert_eq!(first, delta);
            assert_eq!(Error::from(rest.unwrap_err()).kind(), kind);
            assert!(body.frame().await.is_none());
        }
    }

    #[tokio::test]
    async fn a_last_event_without_its_blank_line_gets_one() {
        for end in ["", "\n"] {
            let (done, hi) = ([DONE.trim_end(), end].concat(), [HI.trim_end(), end].concat());
            let chunks = [[HI, STOP, &done], [HI, "", &hi]];
            let proper = streamed(&OPENAI_CHAT, &chunks[0], true).await.unwrap();
            let mut broken = streamed(&OPENAI_CHAT, &chunks[1], true).await.unwrap().into_body();

            assert_eq!(proper.into_body().collect().await.unwrap().to_bytes(), [HI, STOP, DONE].concat());
            for _ in 0..2 {
                assert_eq!(broken.frame().await.unwrap().unwrap().into_data().unwrap(), HI);
            }
            assert!(broken.frame().await.unwrap().is_err());
        }
    }

    #[tokio::test]
    async fn what_breaks_after_the_last_event_is_no_fault_of_the_answer() {
        for (last, fails) in [(DONE, false), (STOP, true)] {
            let text = [HI, last].concat();
            let svc = FirstEventLayer::new(Duration::from_secs(20)).layer(service_fn(
                move |_: Request<Payload>| {
                    let events = [Ok(Frame::data(Bytes::from(text.clone()))), Err(BoxError::from("reset"))];
                    let body = http_body_util::StreamBody::new(stream::iter(events));
                    async { Ok::<_, Infallible>(Response::new(body)) }
                },
            ));
            let head = Head { stream: true, ..Head::default() };
            let payload = Payload::new(&OPENAI_CHAT, head, Bytes::new(), Exchange::default());

            let res = svc.oneshot(Request::new(payload)).await.unwrap();

            assert_eq!(res.into_body().collect().await.is_err(), fails);
        }
    }

    #[tokio::test]
    async fn a_whole_answer_must_be_json_without_an_error() {
        assert_eq!(whole(r#" {"id":"x","error":null}"#).await.unwrap(), r#" {"id":"x","error":null}"#);
        assert_eq!(whole("").await.unwrap_err().kind(), Kind::Upstream);
        assert_eq!(whole("<html>").await.unwrap_err().kind(), Kind::Upstream);
        assert_eq!(whole(r#"{"id":"#).await.unwrap_err().kind(), Kind::Upstream);
        assert_eq!(
            whole(r#"{"error":{"code":503,"message":"x"}}"#).await.unwrap_err().kind(),
            Kind::Overloaded
        );
        assert!(whole(concat!("{\"x\":\"", "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"}")).await.is_err());
    }
}
