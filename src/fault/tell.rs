use std::{
    sync::Arc,
    task::{Context, Poll},
};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderValue, Request, Response};
use tower::{Layer, Service};

use super::Fault;
use crate::{Error, Exchange, Kind, access::Pattern, auth::KeyDigest, future::Admission, headers};

/// Says in answers what was made to fail on purpose, and lets administrators ask for it.
///
/// Does nothing until it is told that faults are [on](Self::turn_on). From then on answers have an
/// `x-bartizan-fault` with what has struck them; errors are given one by
/// [`RenderErrorsLayer`](crate::render_errors::RenderErrorsLayer), which is further out. A request that has that
/// header itself asks for a fault, and is refused unless it has the administrators' key in `x-bartizan-admin-key`.
/// Neither header goes further in.
#[derive(Clone, Debug, Default)]
pub struct TellFaultsLayer {
    telling: Arc<ArcSwapOption<Telling>>,
}

#[derive(Debug)]
struct Telling {
    admins: Option<KeyDigest>,
}

impl TellFaultsLayer {
    /// Faults may strike from here on; who knows `admins`, if that is given, may ask for them. Holds for this
    /// layer, its clones and the services they have made.
    pub fn turn_on(&self, admins: Option<KeyDigest>) {
        self.telling.store(Some(Arc::new(Telling { admins })));
    }

    /// No fault strikes from here on.
    pub fn turn_off(&self) {
        self.telling.store(None);
    }
}

impl<S> Layer<S> for TellFaultsLayer {
    type Service = TellFaults<S>;

    fn layer(&self, inner: S) -> TellFaults<S> {
        TellFaults { inner, telling: self.telling.clone() }
    }
}

/// A request asks for a fault: an extension of requests.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) fault: Fault,
    targets: Option<Pattern>,
}

impl Asked {
    /// Whether the fault is to strike this target.
    pub(super) fn is_of(&self, target: &str) -> bool {
        self.targets.as_ref().is_none_or(|targets| targets.matches(target))
    }

    /// Takes out of the headers what is asked for.
    fn take(headers: &mut HeaderMap, admins: Option<&KeyDigest>) -> Result<Option<Self>, Error> {
        let key = headers.remove(headers::ADMIN_KEY);
        let Some(asked) = headers.remove(headers::FAULT) else { return Ok(None) };
        let is_admin = |admins: &KeyDigest| key.is_some_and(|key| KeyDigest::of(key.as_bytes()) == *admins);
        if !admins.is_some_and(is_admin) {
            let message = format!(
                "{}: only administrators may ask for faults, with their key in {}, where `faults.by_header` allows it",
                headers::FAULT,
                headers::ADMIN_KEY
            );
            return Err(Error::new(Kind::Forbidden, message));
        }
        let text = asked.to_str().unwrap_or_default();
        let (fault, targets) = match text.split_once(" at ") {
            Some((fault, targets)) => (fault, Some(Pattern::new(targets.trim()))),
            None => (text, None),
        };
        let wrong = |error| Error::new(Kind::InvalidRequest, format!("{}: expected {error}", headers::FAULT));
        Ok(Some(Self { fault: fault.parse().map_err(wrong)?, targets }))
    }
}

/// Middleware of [`TellFaultsLayer`].
#[derive(Clone, Debug)]
pub struct TellFaults<S> {
    inner: S,
    telling: Arc<ArcSwapOption<Telling>>,
}

impl<S, B, R> Service<Request<B>> for TellFaults<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<Error>,
    S::Future: Send + 'static,
{
    type Response = Response<R>;
    type Error = Error;
    type Future = Admission<S::Future, Response<R>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut req: Request<B>) -> Self::Future {
        let telling = self.telling.load();
        let Some(telling) = &*telling else {
            return Admission::called(self.inner.call(req));
        };
        match Asked::take(req.headers_mut(), telling.admins.as_ref()) {
            Ok(Some(asked)) => drop(req.extensions_mut().insert(asked)),
            Ok(None) => {}
            Err(error) => return Admission::refused(error),
        }
        let exchange = Exchange::open(&mut req);
        let answer = self.inner.call(req);
        Admission::waiting(Box::pin(async move {
            let mut answer = answer.await.map_err(Into::into)?;
            tell(&exchange, answer.headers_mut());
            Ok(answer)
        }))
    }
}

/// Says in an answer what has struck it.
pub(crate) fn tell(exchange: &Exchange, headers: &mut HeaderMap) {
    let faults = exchange.learn(|learnt| learnt.faults.join(", "));
    if !faults.is_empty()
        && let Ok(faults) = HeaderValue::try_from(faults)
    {
        headers.insert(headers::FAULT, faults);
    }
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt;

    use super::*;
    use crate::testing::MustBeReady;

    const KEY: &str = "0123456789abcdef";

    fn request(headers: &[(&'static str, &'static str)]) -> Request<()> {
        let mut req = Request::new(());
        for (name, value) in headers {
            req.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        req
    }

    /// What further in is made of a request's headers.
    async fn ask(
        layer: &TellFaultsLayer,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Option<Asked>, Error> {
        let inner = |req: Request<()>| async move {
            let mut res = Response::new(());
            let asked = req.extensions().get::<Asked>().cloned();
            if asked.is_some() {
                assert!(req.headers().is_empty());
                Exchange::of(&req).learn(|learnt| learnt.faults.push("503 at a/b".into()));
            }
            asked.map(|asked| res.extensions_mut().insert(asked));
            Ok::<_, Error>(res)
        };
        let answer = layer.layer(MustBeReady::new(inner)).oneshot(request(headers)).await?;
        let asked = answer.extensions().get::<Asked>().cloned();
        assert_eq!(answer.headers().get(headers::FAULT).is_some(), asked.is_some());
        Ok(asked)
    }

    #[tokio::test]
    async fn administrators_may_ask_for_a_fault_and_are_told_of_it() {
        let layer = TellFaultsLayer::default();
        layer.turn_on(Some(KeyDigest::of(KEY)));

        let asked = [("x-bartizan-fault", "cut 3 at openai/*"), ("x-bartizan-admin-key", KEY)];
        let asked = ask(&layer, &asked).await.unwrap().unwrap();

        assert_eq!(asked.fault, Fault::Cut { events: 3 });
        assert!(asked.is_of("openai/gpt-4o") && !asked.is_of("anthropic/claude"));
        assert!(ask(&layer, &[]).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn nobody_else_may() {
        let layer = TellFaultsLayer::default();
        layer.turn_on(Some(KeyDigest::of(KEY)));
        let wrong = [("x-bartizan-fault", "503"), ("x-bartizan-admin-key", "0123456789abcdeX")];
        assert_eq!(ask(&layer, &wrong).await.unwrap_err().kind(), Kind::Forbidden);
        assert_eq!(ask(&layer, &wrong[..1]).await.unwrap_err().kind(), Kind::Forbidden);

        layer.turn_on(None);
        let right = [("x-bartizan-fault", "503"), ("x-bartizan-admin-key", KEY)];
        assert_eq!(ask(&layer, &right).await.unwrap_err().kind(), Kind::Forbidden);

        layer.turn_off();
        assert!(ask(&layer, &right).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_no_fault_is_an_error_that_says_what_is_one() {
        let layer = TellFaultsLayer::default();
        layer.turn_on(Some(KeyDigest::of(KEY)));

        let asked = [("x-bartizan-fault", "rain"), ("x-bartizan-admin-key", KEY)];
        let error = ask(&layer, &asked).await.unwrap_err();

        assert_eq!(error.kind(), Kind::InvalidRequest);
        assert!(error.message().contains("delay 2s"), "{}", error.message());
    }
}
