use std::vec;

use super::{
    Candidate, Route,
    needs::Needs,
    order::{fraction, random},
};

/// Candidates in their order, but for those that are to have a part of the requests only, because they have failed and
/// just begun to answer, and those that want to be left alone for a while: whatever isn't of that part asks them last
/// of those that are known to take what it needs.
#[derive(Debug)]
pub(super) enum Recovering<'a, L> {
    /// There are none.
    None(L),
    Some(vec::IntoIter<&'a Candidate>),
}

impl<'a, L: Iterator<Item = &'a Candidate>> Recovering<'a, L> {
    pub(super) fn new(route: &Route, order: L, needs: &Needs) -> Self {
        if route.candidates.iter().all(|candidate| candidate.recovered() >= 1.0) {
            return Self::None(order);
        }
        let is_its_turn = |candidate: &&Candidate| fraction(random()) <= candidate.recovered();
        let (mut now, mut last): (Vec<_>, Vec<_>) = order.partition(is_its_turn);
        last.sort_by_key(|candidate| candidate.recovered() <= 0.0);
        now.extend(last);
        if !needs.is_nothing() {
            now.sort_by_key(|candidate| needs.leave_doubt_of(candidate));
        }
        Self::Some(now.into_iter())
    }
}

impl<'a, L: Iterator<Item = &'a Candidate>> Iterator for Recovering<'a, L> {
    type Item = &'a Candidate;

    fn next(&mut self) -> Option<&'a Candidate> {
        match self {
            Self::None(order) => order.next(),
            Self::Some(order) => order.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tower::{Layer, Service, ServiceExt};

    use super::*;
    use crate::{
        Payload, Target,
        breaker::{Breaker, BreakerLayer, Rules},
        testing::{Ending, MustBeReady},
    };

    /// A breaker whose target has failed and answered again.
    async fn recovered() -> Breaker {
        let breaker = Breaker::new("demo/a", Rules { in_a_row: 1, ..Rules::default() });
        for ending in [Ending::Refused, Ending::KnownLength] {
            let mut service = BreakerLayer::new(breaker.clone())
                .layer(MustBeReady::new(move |_: http::Request<()>| ending.answer()));
            let _ = service.ready().await.unwrap().call(http::Request::new(())).await;
            tokio::time::advance(Duration::from_secs(2)).await;
        }
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_says_when_its_limit_is_reset_is_asked_after_the_others_until_then() {
        use crate::{
            Error, Kind,
            dispatch::{Dispatch, Retry, Table},
            error::Reply,
            testing::{Script, ask},
        };

        let breaker = Breaker::new("demo/a", Rules::default());
        let limited =
            BreakerLayer::new(breaker.clone()).layer(MustBeReady::new(async |_: http::Request<Payload>| {
                let (status, headers) = (http::StatusCode::TOO_MANY_REQUESTS, http::HeaderMap::new());
                let error =
                    Error::new(Kind::RateLimited, "slow down").with_retry_after(Duration::from_secs(90));
                let reply = Reply { status, headers, body: "{}".into(), dialect: "openai-chat" };
                Err::<http::Response<Script>, _>(error.with_reply(reply))
            }));
        let a = Candidate::new(Arc::new(Target::new("demo", "a")), limited).breaker(breaker.clone());
        let b = Candidate::new(
            Arc::new(Target::new("demo", "b")),
            tower::service_fn(|_| Ending::Complete.answer()),
        );
        let both = Route::new("chat", [a.clone(), b]).retry(Retry::never());
        let dispatch = Dispatch::new(Table::default().route(both));
        let failures = async || {
            dispatch.clone().oneshot(ask("chat", None)).await.unwrap();
            breaker.standing().failures_in_a_row
        };

        assert_eq!(failures().await, 1);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(failures().await, 1, "it is not asked");
        let standing = breaker.standing();
        assert_eq!(
            (standing.limited_for, standing.lasts),
            (Some(Duration::from_secs(30)), Duration::from_secs(60))
        );
        let told = dispatch.explain(None, ask("chat", None)).await.unwrap();
        assert_eq!(told.candidates[1].why, "asked last: it wants to be left alone, for 30 s more");
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(failures().await, 2, "its limit is reset");

        let alone = Dispatch::new(Table::default().route(Route::new("chat", [a]).retry(Retry::never())));
        assert_eq!(alone.oneshot(ask("chat", None)).await.unwrap_err().kind(), Kind::RateLimited);
        assert_eq!(breaker.standing().failures_in_a_row, 3, "there is no other");
    }

    #[tokio::test(start_paused = true)]
    async fn what_answers_again_gets_its_requests_back_little_by_little() {
        let candidate = |name: &str| {
            Candidate::new(
                Arc::new(Target::new("demo", name)),
                tower::service_fn(|_| Ending::Complete.answer()),
            )
        };
        let breaker = recovered().await;
        let route = Route::new("chat", [candidate("a").breaker(breaker), candidate("b")]);
        let first = || {
            let drawn = (0..1_000).filter(|_| {
                let order: Vec<_> =
                    Recovering::new(&route, route.candidates.iter(), &Needs::default()).collect();
                assert_eq!(order.len(), 2, "nobody is left out");
                order[0].target().model() == "a"
            });
            drawn.count()
        };

        let mut shares = vec![first()];
        for _ in 0..2 {
            tokio::time::advance(Duration::from_secs(14)).await;
            shares.push(first());
        }

        assert!(shares[0] < 150 && (400..700).contains(&shares[1]) && shares[2] == 1_000, "{shares:?}");
    }
}
