use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderName, Request, Response, header};
use pin_project_lite::pin_project;
use tower::{Service, ServiceExt};

use super::{Authorize, Credential, KeyPool, layer::Signature};
use crate::{BoxFuture, Error, Kind, Payload, exchange::TraceParent};

/// Whether a header of a client means something to its provider.
fn is_passed(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "anthropic-version"
            | "anthropic-beta"
            | "anthropic-dangerous-direct-browser-access"
            | "openai-beta"
            | "idempotency-key"
            | "traceparent"
            | "tracestate"
            | "accept"
    )
}

/// Middleware of [`SignLayer`](super::SignLayer).
#[derive(Clone, Debug)]
pub struct Sign<S> {
    inner: S,
    signature: Arc<Signature>,
}

impl<S> Sign<S> {
    pub(super) fn new(inner: S, signature: Arc<Signature>) -> Self {
        Self { inner, signature }
    }
}

impl<S, R> Service<Request<Payload>> for Sign<S>
where
    S: Service<Request<Payload>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<Error>,
    S::Future: Send,
    R: 'static,
{
    type Response = Response<R>;
    type Error = Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut req: Request<Payload>) -> Self::Future {
        let signature = match self.signature.of(&req) {
            Ok(signature) => signature,
            Err(error) => {
                return ResponseFuture {
                    state: State::Refused { error: Some(error) },
                    signature: self.signature.clone(),
                };
            }
        };
        let mut headers = outbound(&signature, req.headers());
        // A form can't be read without the boundary that its type names.
        if let Some(content_type) = &req.body().head().content_type {
            headers.insert(header::CONTENT_TYPE, content_type.clone());
        }
        if let Some(span) = req.body().exchange().span() {
            trace(span, &req, &mut headers);
        }
        *req.headers_mut() = headers;
        let state = match (&signature.credential, &signature.pool) {
            (_, Some(pool)) => {
                let not_ready = self.inner.clone();
                let ready = mem::replace(&mut self.inner, not_ready.clone());
                State::Signs { answer: Box::pin(pooled(ready, not_ready, pool.clone(), req)) }
            }
            (Credential::Signed(signer), None) => {
                let not_ready = self.inner.clone();
                let ready = mem::replace(&mut self.inner, not_ready.clone());
                State::Signs { answer: Box::pin(signed(ready, not_ready, signer.clone(), req)) }
            }
            _ => State::Called { inner: self.inner.call(req) },
        };
        ResponseFuture { state, signature }
    }
}

/// Signs and calls; once more if the proof had become stale.
async fn signed<S, R>(
    mut ready: S,
    again: S,
    signer: Arc<dyn Authorize>,
    mut req: Request<Payload>,
) -> Result<Response<R>, Error>
where
    S: Service<Request<Payload>, Response = Response<R>>,
    S::Error: Into<Error>,
{
    signer.authorize(&mut req).await.map_err(Error::with_nothing_begun)?;
    let mut second = req.clone();
    let error = match ready.call(req).await.map_err(Into::into) {
        Err(error) if error.kind() == Kind::UpstreamAuth => error,
        other => return other,
    };
    if !signer.refused() {
        return Err(error);
    }
    signer.authorize(&mut second).await.map_err(Error::with_nothing_begun)?;
    again.oneshot(second).await.map_err(Into::into)
}

/// Calls with one key after the other, until one is not to blame for what comes of it.
async fn pooled<S, R>(
    mut ready: S,
    again: S,
    pool: KeyPool,
    mut req: Request<Payload>,
) -> Result<Response<R>, Error>
where
    S: Service<Request<Payload>, Response = Response<R>> + Clone,
    S::Error: Into<Error>,
{
    let mut key = pool.next()?;
    // Answers may take longer than keys are out.
    let mut left = pool.len();
    loop {
        left -= 1;
        pool.apply(key, req.headers_mut());
        if let Some(attempt) = req.body().attempt() {
            attempt.sent_with(pool.name(key));
        }
        let error = match ready.call(req.clone()).await.map_err(Into::into) {
            Err(error) if pool.judge(key, &error) => error,
            other => return other,
        };
        // The pool has seen to it, so that a breaker need not; the last answer tells clients more than the pool could.
        let Some(next) = (left > 0).then(|| pool.next().ok()).flatten() else {
            return Err(error.with_elsewhere());
        };
        key = next;
        ready = again.clone();
        std::future::poll_fn(|cx| ready.poll_ready(cx)).await.map_err(Into::into)?;
    }
}

/// Says in whose name the provider is asked: in that of the attempt. What the client says of its trace goes on with it,
/// if it has said in which it is.
fn trace(span: TraceParent, req: &Request<Payload>, headers: &mut HeaderMap) {
    if TraceParent::of(req.headers()).is_none() {
        headers.remove("tracestate");
    }
    let span = req.body().attempt().map_or(span, |attempt| span.attempt(attempt.index()));
    if let Some(value) = span.header() {
        headers.insert("traceparent", value);
    }
}

fn outbound(signature: &Signature, client: &HeaderMap) -> HeaderMap {
    let mut headers = signature.headers.clone();
    for name in client.keys().filter(|name| is_passed(name)) {
        let mut values = client.get_all(name).iter();
        if let Some(first) = values.next() {
            headers.insert(name, first.clone());
        }
        for more in values {
            headers.append(name, more.clone());
        }
    }
    headers
}

pin_project! {
    /// Response future of [`Sign`].
    pub struct ResponseFuture<F, R> {
        #[pin]
        state: State<F, R>,
        signature: Arc<Signature>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, R> {
        Called { #[pin] inner: F },
        Signs { answer: BoxFuture<'static, Result<Response<R>, Error>> },
        Refused { error: Option<Error> },
    }
}

impl<F, R> std::fmt::Debug for ResponseFuture<F, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F, R, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
{
    type Output = Result<Response<R>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = match this.state.project() {
            StateProj::Called { inner } => ready!(inner.poll(cx)).map_err(Into::into),
            StateProj::Signs { answer } => ready!(answer.as_mut().poll(cx)),
            StateProj::Refused { error } => {
                Err(error.take().expect("a future is not polled after it is ready"))
            }
        };
        Poll::Ready(answer.map_err(|error| this.signature.scrub(error)))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use bytes::Bytes;
    use http::{HeaderName, HeaderValue, StatusCode};
    use http_body_util::Full;
    use tower::{Layer, service_fn};

    use super::*;
    use crate::{
        Exchange,
        auth::ProviderKey,
        breaker::{Breaker, BreakerLayer, Rules},
        dialect::OPENAI_CHAT,
        error::Reply,
        payload::Head,
        secret::Secret,
        sign::{BearerToken, KeyForm, PoolKey, SignLayer, Token, TokenSource},
        testing::MustBeReady,
    };

    fn request(headers: &[(&'static str, &'static str)]) -> Request<Payload> {
        let mut req =
            Request::new(Payload::new(&OPENAI_CHAT, Head::default(), "{}".into(), Exchange::default()));
        for (name, value) in headers {
            req.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        req
    }

    /// C62, C132
    #[tokio::test]
    async fn only_what_concerns_the_provider_leaves() {
        let layer = SignLayer::new(Credential::Bearer(Secret::new("sk-provider")))
            .unwrap()
            .header(HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));
        let svc = layer.layer(service_fn(async |req: Request<Payload>| {
            Ok::<_, Infallible>(Response::new(req.headers().clone()))
        }));

        let sent = svc
            .oneshot(request(&[
                ("cookie", "a=b"),
                ("x-api-key", "sk-client"),
                ("authorization", "Bearer sk-client"),
                ("connection", "keep-alive, x-secret"),
                ("x-forwarded-for", "10.0.0.1"),
                ("anthropic-version", "2026-10-21"),
                ("anthropic-beta", "a"),
                ("anthropic-beta", "b"),
            ]))
            .await
            .unwrap()
            .into_body();

        let mut names: Vec<&str> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "accept-encoding",
                "anthropic-beta",
                "anthropic-version",
                "authorization",
                "content-type",
                "user-agent"
            ]
        );
        assert_eq!(sent["authorization"], "Bearer sk-provider");
        assert_eq!(sent["anthropic-version"], "2026-10-21");
        assert_eq!(sent.get_all("anthropic-beta").iter().count(), 2);
    }

    fn with_own_key() -> Request<Payload> {
        let mut req = request(&[("authorization", "Bearer sk-client")]);
        req.extensions_mut().insert(ProviderKey(Secret::new("sk-own-0123")));
        req
    }

    #[tokio::test]
    async fn a_key_of_the_callers_own_is_sent_and_never_quoted() {
        let of_account = |layer: SignLayer| {
            let (name, value) = (HeaderName::from_static("openai-project"), HeaderValue::from_static("p"));
            layer.account_header(name, value)
        };
        let named = Credential::Header(HeaderName::from_static("x-api-key"), Secret::new("sk-provider"));
        for (credential, header, value) in [
            (Credential::Bearer(Secret::new("sk-provider")), "authorization", "Bearer sk-own-0123"),
            (named, "x-api-key", "sk-own-0123"),
        ] {
            let layer = of_account(SignLayer::new(credential).unwrap());
            let service = layer.layer(MustBeReady::new(move |req: Request<Payload>| {
                assert_eq!(req.headers()[header], value);
                assert!(!format!("{:?}", req.headers()).contains("sk-"));
                assert!(!req.headers().contains_key("openai-project"));
                let error = Error::new(Kind::UpstreamAuth, "bad key sk-own-0123");
                std::future::ready(Err::<Response<()>, _>(error))
            }));

            let error = service.oneshot(with_own_key()).await.unwrap_err();

            assert_eq!(error.message(), "bad key ***");
        }
    }

    #[tokio::test]
    async fn a_provider_without_a_plain_key_takes_none_of_the_caller() {
        let signed = Credential::Signed(Arc::new(BearerToken::new(Office::default())));
        let layer = || SignLayer::new(signed.clone()).unwrap();
        let inner = || {
            MustBeReady::new(async |req: Request<Payload>| {
                Ok::<_, Error>(Response::new(req.headers().clone()))
            })
        };

        let refused = layer().layer(inner()).oneshot(with_own_key()).await.unwrap_err();
        let sent =
            layer().own_key(Some(KeyForm::Bearer)).layer(inner()).oneshot(with_own_key()).await.unwrap();

        assert_eq!(refused.kind(), Kind::InvalidRequest);
        assert_eq!(sent.body()["authorization"], "Bearer sk-own-0123");
    }

    #[tokio::test]
    async fn a_provider_that_quotes_the_key_is_not_quoted() {
        let layer = SignLayer::new(Credential::Bearer(Secret::new("sk-provider"))).unwrap();
        let svc = layer.layer(service_fn(async |_: Request<Payload>| {
            let reply = Reply {
                status: StatusCode::BAD_REQUEST,
                headers: HeaderMap::new(),
                body: "key sk-provider, sk-provider!".into(),
                dialect: "openai-chat",
            };
            Err::<Response<()>, _>(Error::new(Kind::InvalidRequest, "bad key sk-provider").with_reply(reply))
        }));

        let error = svc.oneshot(request(&[])).await.unwrap_err();

        assert_eq!(error.message(), "bad key ***");
        assert_eq!(error.reply().unwrap().body, "key ***, ***!");
    }

    /// Hands out `tk-0000`, `tk-0001`, ….
    #[derive(Debug, Default)]
    struct Office(AtomicUsize);

    impl TokenSource for Office {
        fn fetch(&self) -> BoxFuture<'_, Result<Token, Error>> {
            let number = self.0.fetch_add(1, Ordering::SeqCst);
            let secret = Secret::new(format!("tk-{number:04}"));
            Box::pin(async { Ok(Token { secret, lifetime: Duration::from_secs(3600) }) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_has_become_stale_is_renewed_and_the_provider_asked_again() {
        let layer =
            SignLayer::new(Credential::Signed(Arc::new(BearerToken::new(Office::default())))).unwrap();
        let svc = layer.layer(MustBeReady::new(async |req: Request<Payload>| {
            let token = req.headers()["authorization"].to_str().unwrap().to_owned();
            if token == "Bearer tk-0001" {
                return Ok(Response::new(token));
            }
            Err(Error::new(Kind::UpstreamAuth, format!("{token} is not good")))
        }));

        let at_first = svc.clone().oneshot(request(&[])).await.unwrap_err();
        tokio::time::advance(Duration::from_secs(61)).await;
        let later = svc.oneshot(request(&[("authorization", "Bearer sk-client")])).await.unwrap();

        assert_eq!((at_first.kind(), at_first.message()), (Kind::UpstreamAuth, "Bearer *** is not good"));
        assert_eq!(later.body(), "Bearer tk-0001");
    }

    fn keys(count: usize) -> KeyPool {
        let names = ["first", "second", "third"].into_iter().enumerate().take(count);
        let keys = names.map(|(key, name)| PoolKey::new(name, Secret::new(format!("sk-pooled-{key}"))));
        KeyPool::new("openai", KeyForm::Bearer, keys).unwrap()
    }

    /// A provider that says this of some keys, and answers with the key that it was asked with.
    fn refusing(
        of: &'static [&'static str],
        kind: Kind,
        asked: Arc<AtomicUsize>,
    ) -> impl Service<Request<Payload>, Response = Response<String>, Error = Error, Future: Send>
    + Clone
    + Send
    + 'static {
        MustBeReady::new(move |req: Request<Payload>| {
            asked.fetch_add(1, Ordering::Relaxed);
            let key = req.headers()["authorization"].to_str().unwrap().to_owned();
            async move {
                if !of.iter().any(|refused| key.ends_with(refused)) {
                    return Ok(Response::new(key));
                }
                let (status, headers) = (StatusCode::UNAUTHORIZED, HeaderMap::new());
                let reply = Reply { status, headers, body: key.clone().into(), dialect: "openai-chat" };
                Err(Error::new(kind, format!("what is {key}?")).with_reply(reply))
            }
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_goes_on_with_the_next_key_and_the_bad_one_is_not_asked_again() {
        for kind in [Kind::UpstreamAuth, Kind::RateLimited, Kind::Billing] {
            let (pool, asked) = (keys(3), Arc::new(AtomicUsize::new(0)));
            let service =
                SignLayer::with_pool(pool.clone()).layer(refusing(&["-0", "-1"], kind, asked.clone()));

            for _ in 0..5 {
                let answer = service.clone().oneshot(request(&[])).await.unwrap();
                assert_eq!(answer.into_body(), "Bearer sk-pooled-2");
            }

            let mut noted = request(&[]);
            let exchange = noted.body().exchange().clone();
            noted.body_mut().attempts(&exchange.begin(&Arc::new(crate::Target::new("openai", "m"))));
            service.oneshot(noted).await.unwrap();
            assert_eq!(exchange.learn(|learnt| learnt.attempts[0].key.clone()).as_deref(), Some("third"));

            assert_eq!(asked.load(Ordering::Relaxed), 8, "{kind}");
            assert_eq!(pool.standings().iter().filter(|key| key.out_for.is_some()).count(), 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_key_is_asked_once_however_soon_the_first_one_is_back() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counting = asked.clone();
        let inner = service_fn(move |_: Request<Payload>| {
            counting.fetch_add(1, Ordering::Relaxed);
            async {
                tokio::time::sleep(Duration::from_secs(2)).await;
                let reply = Reply {
                    status: StatusCode::TOO_MANY_REQUESTS,
                    headers: HeaderMap::new(),
                    body: Bytes::new(),
                    dialect: "openai-chat",
                };
                let error = Error::new(Kind::RateLimited, "slow down").with_reply(reply);
                Err::<Response<()>, _>(error.with_retry_after(Duration::ZERO))
            }
        });

        let error = SignLayer::with_pool(keys(2)).layer(inner).oneshot(request(&[])).await.unwrap_err();

        assert_eq!((error.kind(), asked.load(Ordering::Relaxed)), (Kind::RateLimited, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_key_left_nobody_is_asked_and_no_breaker_counts_it() {
        let (pool, asked) = (keys(2), Arc::new(AtomicUsize::new(0)));
        let layer = SignLayer::with_pool(pool);
        let breaker = Breaker::new("openai/m", Rules { in_a_row: 1, ..Rules::default() });
        let inner = refusing(&["-0", "-1"], Kind::UpstreamAuth, asked.clone());
        let inner = layer.layer(inner);
        let inner = inner.map_response(|res: Response<String>| res.map(Full::<Bytes>::from));
        let service = BreakerLayer::new(breaker.clone()).layer(layer.scrub().layer(inner));

        let last = service.clone().oneshot(request(&[])).await.err().unwrap();
        let refused = service.oneshot(request(&[])).await.err().unwrap();

        assert_eq!((last.kind(), last.message()), (Kind::UpstreamAuth, "what is Bearer ***?"));
        assert_eq!(last.reply().unwrap().body, "Bearer ***");
        assert!(last.is_failover() && !last.is_retryable());
        assert!(refused.message().starts_with("`openai` is passed over for 600s"), "{refused}");
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        assert_eq!(breaker.standing().failures_in_a_row, 0);
    }

    #[tokio::test]
    async fn a_key_of_the_callers_own_goes_before_the_pool() {
        let asked = Arc::new(AtomicUsize::new(0));
        let service = SignLayer::with_pool(keys(2)).layer(refusing(&[], Kind::UpstreamAuth, asked));

        let answer = service.oneshot(with_own_key()).await.unwrap();

        assert_eq!(answer.into_body(), "Bearer sk-own-0123");
    }
}
