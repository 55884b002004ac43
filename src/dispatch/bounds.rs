//! What a route keeps its requests within: regions, and what they may cost.

use std::sync::Arc;

use super::{Candidate, Route};
use crate::{
    Error, Kind, Payload, Target,
    access::Pattern,
    price::{NanoUsd, likely_cost},
};

impl Route {
    /// Sets the regions outside of which no target is ever asked, whatever fails; one whose region is not known is
    /// outside.
    #[must_use]
    pub fn regions(self, regions: impl IntoIterator<Item = Pattern>) -> Self {
        Self { regions: Some(regions.into_iter().collect()), ..self }
    }

    /// Sets what a request may probably cost: a target where it would cost more is not asked, and neither is one
    /// without a price.
    #[must_use]
    pub fn max_cost(self, most: NanoUsd) -> Self {
        Self { max_cost: Some(most), ..self }
    }

    /// The same where less is not set already.
    pub(crate) fn max_cost_at_most(self, most: NanoUsd) -> Self {
        let most = self.max_cost.map_or(most, |known| known.min(most));
        self.max_cost(most)
    }

    /// The same route, whose targets have to be in the regions of `other` too.
    pub(crate) fn within(self, other: &Self) -> Self {
        let also = other.regions.iter().chain(&*other.also_in).cloned();
        let also_in: Arc<[Arc<[Pattern]>]> = self.also_in.iter().cloned().chain(also).collect();
        Self { also_in, ..self }
    }

    /// Whether requests have to stay in some regions.
    pub(crate) fn is_bound(&self) -> bool {
        self.regions.is_some() || !self.also_in.is_empty()
    }

    /// What a request may probably cost.
    pub(crate) fn known_max_cost(&self) -> Option<NanoUsd> {
        self.max_cost
    }

    /// Whether a target is in all regions in which it has to be.
    pub(crate) fn is_inside(&self, target: &Target) -> Result<(), Error> {
        for regions in self.regions.iter().chain(&*self.also_in) {
            let region = target.known_region();
            if !region.is_some_and(|region| regions.iter().any(|allowed| allowed.matches(region))) {
                return Err(self.elsewhere(regions));
            }
        }
        Ok(())
    }

    /// Whether each of its targets may be asked, whatever is asked for.
    pub(super) fn admits_all(&self) -> bool {
        !self.is_bound() && self.max_cost.is_none()
    }

    /// Whether a target may be asked at all.
    ///
    /// # Errors
    ///
    /// What is said if none may: that the target is somewhere else, or too dear.
    pub(crate) fn admits(&self, candidate: &Candidate, payload: &Payload) -> Result<(), Error> {
        self.is_inside(candidate.target())?;
        let Some(most) = self.max_cost else { return Ok(()) };
        match likely_cost(candidate.target(), payload, self.assume_output) {
            Some(cost) if cost <= most => Ok(()),
            cost => Err(too_dear(candidate, cost, most)),
        }
    }

    /// Why none of `candidates` may be asked: what is true of the cheapest where it is about money, and otherwise of
    /// the last.
    pub(super) fn refusal<'a>(
        &self,
        payload: &Payload,
        candidates: impl Iterator<Item = &'a Candidate>,
        permit: impl Fn(&Candidate) -> Result<(), Error>,
    ) -> Option<Error> {
        let cost = |candidate: &Candidate| {
            let cost =
                self.max_cost.and_then(|_| likely_cost(candidate.target(), payload, self.assume_output));
            cost.map_or(u64::MAX, |cost| cost.0)
        };
        let refused = candidates.filter_map(|candidate| Some((cost(candidate), permit(candidate).err()?)));
        refused.reduce(|one, other| if one.0 < other.0 { one } else { other }).map(|(_, error)| error)
    }

    fn elsewhere(&self, regions: &[Pattern]) -> Error {
        let regions: Vec<_> = regions.iter().map(Pattern::to_string).collect();
        let message = format!(
            "`{}` is only answered in {}, and nobody who may answer is known to be there",
            self.name,
            regions.join(", ")
        );
        Error::new(Kind::NoRoute, message).with_param("model")
    }
}

fn too_dear(candidate: &Candidate, cost: Option<NanoUsd>, most: NanoUsd) -> Error {
    let target = candidate.target();
    let message = match cost {
        Some(cost) => format!("the request would probably cost ${cost} at `{target}`, and may cost ${most}"),
        None => format!("the request may cost ${most}, and what it costs at `{target}` is not known"),
    };
    Error::new(Kind::TooExpensive, message)
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt;

    use super::*;
    use crate::{
        dispatch::{Dispatch, Table},
        price::Rates,
        testing::{Ending, ask},
    };

    fn candidate(name: &str, region: Option<&str>, price: Option<u64>) -> Candidate {
        let price = price.map(|usd| Rates::flat(NanoUsd::from_usd(usd), NanoUsd::from_usd(usd)).into());
        let target = Target::new("demo", name).region(region).price(price);
        Candidate::new(Arc::new(target), tower::service_fn(|_| Ending::Complete.answer()))
    }

    fn failing(name: &str, region: &str) -> Candidate {
        let target = Target::new("demo", name).region(Some(region));
        let service = tower::service_fn(async |_| {
            Err::<http::Response<crate::BoxBody>, _>(Error::new(Kind::Upstream, "down"))
        });
        Candidate::new(Arc::new(target), service)
    }

    async fn answered(route: Route) -> Result<String, Error> {
        let res = Dispatch::new(Table::default().route(route)).oneshot(ask("chat", None)).await?;
        Ok(res.headers()["x-bartizan-model"].to_str().unwrap().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_leaves_the_regions_of_a_route_whatever_fails() {
        let everywhere =
            || [failing("a", "eu-west-1"), candidate("b", Some("us"), None), candidate("c", None, None)];
        let eu = [Pattern::new("eu*")];

        let error = answered(Route::new("chat", everywhere()).regions(eu.clone())).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::Upstream, "down"));

        let with_another = everywhere().into_iter().chain([candidate("d", Some("eu"), None)]);
        assert_eq!(answered(Route::new("chat", with_another).regions(eu.clone())).await.unwrap(), "d");

        let none = Route::new("chat", [candidate("b", Some("us"), None)]).regions(eu.clone());
        let error = answered(none).await.unwrap_err();
        assert!(error.kind() == Kind::NoRoute && error.message().contains("only answered in eu*"), "{error}");
        let outer = Route::new("outer", []).regions(eu);
        let within = Route::new("chat", [candidate("b", Some("us"), None)]).within(&outer);
        assert_eq!(answered(within).await.unwrap_err().kind(), Kind::NoRoute);
    }

    #[tokio::test]
    async fn what_would_cost_too_much_is_passed_over_and_said_if_nothing_is_left() {
        // A request costs about the 16,384 tokens of its answer.
        let both = || {
            [
                candidate("dear", None, Some(100)),
                candidate("cheap", None, Some(1)),
                candidate("unknown", None, None),
            ]
        };

        assert_eq!(
            answered(Route::new("chat", both()).max_cost(NanoUsd::from_usd(1))).await.unwrap(),
            "cheap"
        );
        let error = answered(Route::new("chat", both()).max_cost(NanoUsd(1_000_000))).await.unwrap_err();

        assert_eq!(error.kind(), Kind::TooExpensive);
        let message = error.message();
        assert!(
            message.contains("cost $0.0163")
                && message.contains("demo/cheap")
                && message.contains("may cost $0.001"),
            "{message}"
        );
    }

    #[cfg(feature = "config")]
    #[tokio::test(start_paused = true)]
    async fn neither_a_hedge_nor_the_rest_of_a_stream_leaves_the_regions() {
        use http_body_util::BodyExt;

        use crate::{
            Payload,
            config::{Builder, Config},
        };

        const CONFIG: &str = "auth: open\n\
            providers: { e: { kind: demo, region: eu }, u: { kind: demo, region: us } }\n\
            faults: { rules: [ { fault: delay 2s, targets: e/late, percent: 100 }, { fault: cut 2, targets: e/cut, percent: 100 } ] }\n\
            models:\n  \
              hedged: { targets: [ { use: e/late }, { use: u/m } ], regions: [ eu ], hedge: { after: 100ms, percent: 100 } }\n  \
              resumed: { targets: [ { use: e/cut }, { use: u/m } ], regions: [ eu ], on_break: resume }\n";
        let table = Builder::default().table(&Config::from_text(CONFIG).unwrap()).unwrap();
        let dispatch = Dispatch::new(table);
        for model in ["hedged", "resumed"] {
            let body = format!(
                r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"say it"}}]}}"#
            );
            let (parts, payload) = ask(model, None).into_parts();
            let exchange = payload.exchange().clone();
            let head = payload.dialect().peek(&parts, &body).unwrap();
            let payload = Payload::new(payload.dialect(), head, body.into(), exchange.clone());

            let answer = dispatch.clone().oneshot(http::Request::from_parts(parts, payload)).await.unwrap();
            let _ = answer.into_body().collect().await;

            let asked = exchange.learn(|learnt| {
                let targets = learnt.attempts.iter().map(|attempt| attempt.target.provider().to_owned());
                targets.collect::<Vec<_>>()
            });
            assert_eq!(asked, ["e", "e"], "{model}");
        }
    }
}
