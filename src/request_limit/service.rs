use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::Request;
use tower::Service;

use super::limits::Limits;
use crate::{Error, Exchange, Kind, auth::Caller, future::Admission, ledger::Standings};

/// Refuses requests over the rate of their key; see the [module](super).
#[derive(Clone, Debug)]
pub struct RequestLimit<S> {
    pub(super) inner: S,
    pub(super) limits: Arc<Limits>,
}

impl<S, B> Service<Request<B>> for RequestLimit<S>
where
    S: Service<Request<B>>,
    S::Error: Into<Error>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = Admission<S::Future, S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        match Caller::of(&req).and_then(|caller| check(&self.limits, caller, &req)) {
            Ok(()) => Admission::called(self.inner.call(req)),
            Err(error) => Admission::refused(error),
        }
    }
}

fn check<B>(limits: &Limits, caller: &Caller, req: &Request<B>) -> Result<(), Error> {
    if caller.rates.is_empty() {
        return Ok(());
    }
    let mut standings = Standings::default();
    let checks = limits.now();
    let checked = caller.rates.iter().try_for_each(|(account, rate)| match checks.check(account, *rate) {
        Ok(standing) => {
            standings.note(standing);
            Ok(())
        }
        Err((wait, standing)) => {
            standings.note(standing);
            let message = format!("the limit of {account} is used up: {rate} requests");
            Err(Error::new(Kind::RateLimited, message).with_retry_after(wait))
        }
    });
    Exchange::of(req).learn(|learnt| learnt.standings.extend(&standings));
    checked
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::{
        auth::VirtualKey,
        ledger::Measure,
        request_limit::RequestLimitLayer,
        testing::{MustBeReady, is_shared},
    };

    async fn ask(layer: &RequestLimitLayer, key: Option<VirtualKey>) -> Result<(), Error> {
        let service = layer.layer(MustBeReady::new(async |_: Request<()>| Ok::<_, Infallible>(())));
        is_shared(&service);
        let mut req = Request::new(());
        if let Some(key) = key {
            req.extensions_mut().insert(Caller::new(key));
        }
        service.oneshot(req).await
    }

    fn key(name: &str, rate: &str) -> Option<VirtualKey> {
        Some(VirtualKey::new(name).requests(rate.parse().unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_the_rate_is_told_when_to_come_back() {
        let layer = RequestLimitLayer::new();
        for _ in 0..60 {
            ask(&layer, key("a", "60/minute")).await.unwrap();
        }

        let error = ask(&layer, key("a", "60/minute")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::RateLimited);
        assert_eq!(error.message(), "the limit of key:a is used up: 60/minute requests");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));

        tokio::time::advance(Duration::from_micros(999_500)).await;
        let early = ask(&layer, key("a", "60/minute")).await.unwrap_err();
        assert_eq!(early.retry_after(), Some(Duration::from_millis(1)));

        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(ask(&layer, key("a", "60/minute")).await.is_ok());
        assert!(ask(&layer, key("a", "60/minute")).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn how_a_key_stands_is_told_to_who_is_refused_too() {
        let layer = RequestLimitLayer::new();
        let ask = async || {
            let mut req = Request::new(());
            req.extensions_mut().insert(Caller::new(key("a", "3/minute").unwrap()));
            let exchange = Exchange::open(&mut req);
            let service = layer.layer(MustBeReady::new(async |_: Request<()>| Ok::<_, Infallible>(())));
            let _ = service.oneshot(req).await;
            exchange.learn(|learnt| learnt.standings.of(Measure::Requests).map(|s| (s.left, s.resets_in)))
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));

        assert_eq!(ask().await, Some((2, seconds(20))));
        ask().await;
        assert_eq!(ask().await, Some((0, seconds(60))));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(ask().await, Some((0, seconds(55))));
    }

    #[tokio::test(start_paused = true)]
    async fn each_key_has_a_rate_of_its_own() {
        let layer = RequestLimitLayer::new();

        for (name, rate, times) in [("a", "1/minute", 1), ("b", "1/minute", 1), ("c", "3/hour", 3)] {
            for _ in 0..times {
                assert!(ask(&layer, key(name, rate)).await.is_ok(), "{name}");
            }
            assert!(ask(&layer, key(name, rate)).await.is_err(), "{name}");
        }
    }

    #[tokio::test]
    async fn a_key_without_a_rate_is_not_counted() {
        let layer = RequestLimitLayer::new();

        for _ in 0..1_000 {
            assert!(ask(&layer, Some(VirtualKey::new("a"))).await.is_ok());
        }
    }

    #[tokio::test]
    async fn without_a_caller_nothing_is_let_in() {
        let error = ask(&RequestLimitLayer::new(), None).await.unwrap_err();

        assert_eq!(error.kind(), Kind::Unauthenticated);
    }
}
