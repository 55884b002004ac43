use std::vec;

use super::{
    Candidate, Route,
    order::{fraction, random},
};

/// Candidates in their order, but for those that are to have a part of the requests only, because they have failed and
/// just begun to answer: whatever isn't of that part asks them last.
#[derive(Debug)]
pub(super) enum Recovering<'a, L> {
    /// There are none.
    None(L),
    Some(vec::IntoIter<&'a Candidate>),
}

impl<'a, L: Iterator<Item = &'a Candidate>> Recovering<'a, L> {
    pub(super) fn new(route: &Route, order: L) -> Self {
        if route.candidates.iter().all(|candidate| candidate.recovered() >= 1.0) {
            return Self::None(order);
        }
        let is_its_turn = |candidate: &&Candidate| fraction(random()) <= candidate.recovered();
        let (mut now, last): (Vec<_>, Vec<_>) = order.partition(is_its_turn);
        now.extend(last);
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
        Target,
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
                let order: Vec<_> = Recovering::new(&route, route.candidates.iter()).collect();
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
