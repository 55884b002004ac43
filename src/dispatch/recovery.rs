use std::vec;

use super::{
    Candidate, Route,
    needs::Needs,
    order::{fraction, random},
};

/// Candidates in their order, but for those that are to have a part of the requests only, because they have failed and
/// just begun to answer, and those that want to be left alone for a while. Whatever isn't of that part asks the former
/// last of those of their rank that are as well known to take what it needs, and the latter last of all of their rank.
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
        let (mut now, last): (Vec<_>, Vec<_>) = order.partition(is_its_turn);
        now.extend(last);
        // What is looked at changes with time.
        now.sort_by_cached_key(|candidate| precedence(candidate, needs));
        Self::Some(now.into_iter())
    }
}

/// What goes before whose turn it is, the least first: what somebody has said, whether the target wants to be left
/// alone, and whether it isn't known to take what is needed.
pub(super) fn precedence(candidate: &Candidate, needs: &Needs) -> (u32, bool, bool) {
    (candidate.rank(), candidate.recovered() <= 0.0, needs.leave_doubt_of(candidate))
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
        Error, Exchange, Kind, Payload, Target,
        breaker::{Breaker, BreakerLayer, Rules},
        dialect::OPENAI_CHAT,
        dispatch::{Dispatch, Table},
        error::Reply,
        payload::Head,
        target::ModelFacts,
        testing::{Ending, MustBeReady, Script},
    };

    fn reply() -> Reply {
        let (status, headers) = (http::StatusCode::TOO_MANY_REQUESTS, http::HeaderMap::new());
        Reply { status, headers, body: "{}".into(), dialect: "openai-chat" }
    }

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
        use crate::{dispatch::Retry, testing::ask};

        let breaker = Breaker::new("demo/a", Rules::default());
        let limited =
            BreakerLayer::new(breaker.clone()).layer(MustBeReady::new(async |_: http::Request<Payload>| {
                let error =
                    Error::new(Kind::RateLimited, "slow down").with_retry_after(Duration::from_secs(90));
                Err::<http::Response<Script>, _>(error.with_reply(reply()))
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

    /// A breaker whose target has said that it wants to be left alone for 30 seconds.
    async fn left_alone() -> Breaker {
        let breaker = Breaker::new("demo/limited", Rules::default());
        let service =
            BreakerLayer::new(breaker.clone()).layer(MustBeReady::new(async |_: http::Request<()>| {
                let error =
                    Error::new(Kind::RateLimited, "slow down").with_retry_after(Duration::from_secs(30));
                Err::<http::Response<Script>, _>(error.with_reply(reply()))
            }));
        service.oneshot(http::Request::new(())).await.unwrap_err();
        assert!(breaker.standing().limited_for.is_some());
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_client_says_goes_before_who_wants_to_be_left_alone_and_that_before_what_is_not_known() {
        let candidate = |name: &str, has: &[&'static str]| {
            let facts = ModelFacts::new(has.iter().copied(), []);
            let target = Target::new("demo", name).facts(facts);
            Candidate::new(Arc::new(target), tower::service_fn(|_| Ending::Complete.answer()))
        };
        let candidates = [
            candidate("limited", &["vision"]).breaker(left_alone().await).behind(1),
            candidate("unknown", &[]).behind(1),
            candidate("known", &["vision"]).behind(1),
            candidate("said", &[]),
        ];
        let route = Route::new("chat", candidates);
        let body =
            r#"{"model":"chat","messages":[{"content":[{"type":"image_url","image_url":{"url":"data:"}}]}]}"#;
        let head = Head { model: "chat".into(), ..Head::default() };
        let payload = Payload::new(&OPENAI_CHAT, head, body.into(), Exchange::default());
        let needs = route.differences.needs(&payload);

        let order = Recovering::new(&route, route.order(route.candidates.iter(), &payload, &needs), &needs);
        let asked: Vec<_> = order.map(|candidate| candidate.target().model().to_owned()).collect();
        let dispatch = Dispatch::new(Table::default().route(route));
        let told = dispatch.explain(None, http::Request::new(payload)).await.unwrap().candidates;

        assert_eq!(asked, ["said", "known", "unknown", "limited"]);
        let told: Vec<_> = told.iter().map(|one| one.target.trim_start_matches("demo/")).collect();
        assert_eq!(told, asked);
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
