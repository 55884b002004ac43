//! What a request may use, and whether one request may use as much.

use http::HeaderMap;

use super::{BudgetLayer, Ceiling, OnExcess, UnknownPrice};
use crate::{
    Error, Kind, Payload, Work,
    auth::Caller,
    headers,
    ledger::{Amounts, Measure, Quota, Scope},
    price::NanoUsd,
};

impl BudgetLayer {
    /// The most that the request may use, which is no more than any ceiling allows. What its cap on the output
    /// has to be lowered to for that, its exchange has learnt.
    pub(super) fn worst(
        &self,
        caller: &Caller,
        scopes: &[Scope],
        payload: &Payload,
        headers: &HeaderMap,
    ) -> Result<Amounts, Error> {
        let of_route = self.prices.ceiling(payload);
        let ceilings: Vec<_> = if is_free(payload) {
            Vec::new()
        } else {
            caller.ceilings.iter().chain(of_route.as_deref()).collect()
        };
        let reckoning = Reckoning::new(self, caller, scopes, ceilings);
        let worst = reckoning.of(payload)?;
        if reckoning.ceilings.is_empty() {
            return Ok(worst);
        }
        let worst = match reckoning.lowered(payload, headers) {
            Some((most, lowered)) => {
                payload.exchange().learn(|learnt| learnt.lowered = Some(most));
                worst.min(lowered)
            }
            None => worst,
        };
        for ceiling in &reckoning.ceilings {
            match ceiling.check(&worst) {
                Err(error) if ceiling.does(OnExcess::Shadow) => {
                    payload.exchange().learn(|learnt| learnt.shadowed.push(error.message().into()));
                }
                checked => checked?,
            }
        }
        Ok(worst)
    }
}

/// Whether nothing is paid for the request, such as a look at what was paid for before.
pub(crate) fn is_free(payload: &Payload) -> bool {
    payload.dialect().is_free() || payload.head().work == Some(Work::default())
}

/// What is asked of a worst case.
struct Reckoning<'a> {
    settings: &'a BudgetLayer,
    caller: &'a Caller,
    ceilings: Vec<&'a Ceiling>,
    /// Whether tokens are counted: that is worth its time only where somebody asks.
    counts: bool,
    keeps_budget: bool,
}

impl<'a> Reckoning<'a> {
    fn new(
        settings: &'a BudgetLayer,
        caller: &'a Caller,
        scopes: &[Scope],
        ceilings: Vec<&'a Ceiling>,
    ) -> Self {
        let counts = [Measure::Input, Measure::Output, Measure::Tokens];
        let is_counted = |quota: &Quota| counts.contains(&quota.measure);
        let is_budget = |quota: &Quota| quota.measure == Measure::Usd && !quota.shadow;
        let has =
            |is: &dyn Fn(&Quota) -> bool| scopes.iter().filter_map(|scope| scope.quota.as_ref()).any(is);
        Self {
            settings,
            caller,
            counts: has(&is_counted) || ceilings.iter().any(|ceiling| ceiling.counts()),
            keeps_budget: has(&is_budget) || ceilings.iter().any(|ceiling| ceiling.is_budget()),
            ceilings,
        }
    }

    fn of(&self, payload: &Payload) -> Result<Amounts, Error> {
        let cost = self.cost(payload)?;
        if !self.counts {
            return Ok(cost.into());
        }
        Ok(Amounts::new(cost, &self.settings.prices.tokens(payload)))
    }

    fn cost(&self, payload: &Payload) -> Result<NanoUsd, Error> {
        let BudgetLayer { prices, unknown_price, .. } = self.settings;
        if payload.exchange().learn(|learnt| learnt.own_key) {
            return Ok(NanoUsd(0));
        }
        match prices.worst_case(payload) {
            Some(amount) => Ok(amount),
            None if *unknown_price == UnknownPrice::Refuse && self.keeps_budget => Err(Error::new(
                Kind::Forbidden,
                format!(
                    "the price of the model `{}`, of a tool that is asked for or of a batch whose lines have no cap on \
                     their output is not known, and the key `{}` has a budget to keep",
                    payload.model(),
                    self.caller.name
                ),
            )
            .with_param("model")),
            None => Ok(prices.known_worst_case(payload)),
        }
    }

    /// The highest cap on the output with which the request keeps within the ceilings that lower it, and what
    /// it may use then; `None` if it keeps within them as it is, or can't be made to.
    fn lowered(&self, payload: &Payload, headers: &HeaderMap) -> Option<(u64, Amounts)> {
        let lowers = |ceiling: &&&Ceiling| ceiling.does(OnExcess::Lower);
        let can_be = !payload.dialect().output_caps().is_empty() && !headers::asks_for_strictness(headers);
        if !can_be || !self.ceilings.iter().any(|ceiling| lowers(&ceiling)) {
            return None;
        }
        let fitting = |most| {
            let worst = self.of(&payload.clone().with_max_output(most)).ok()?;
            let fits = self.ceilings.iter().filter(lowers).all(|ceiling| ceiling.check(&worst).is_ok());
            fits.then_some(worst)
        };
        let prices = &self.settings.prices;
        let cap = payload.head().max_output.or_else(|| prices.told_output(payload));
        // Without a cap a model writes as much as it can.
        if fitting(cap.unwrap_or(u64::MAX)).is_some() {
            return None;
        }
        let wanted = cap.unwrap_or_else(|| prices.usual_output(payload));
        let most = largest(wanted, |most| fitting(most).is_some())?;
        Some((most, fitting(most)?))
    }
}

/// The largest number up to `most`, and no less than 1, of those that fit; what fits under one that fits, fits.
fn largest(most: u64, fits: impl Fn(u64) -> bool) -> Option<u64> {
    let (mut fitting, mut most) = (1, most);
    if most == 0 || !fits(fitting) {
        return None;
    }
    while fitting < most {
        let middle = fitting + (most - fitting).div_ceil(2);
        if fits(middle) {
            fitting = middle;
        } else {
            most = middle - 1;
        }
    }
    Some(fitting)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderValue;

    use super::*;
    use crate::{
        auth::VirtualKey, budget::Prices, ledger::MemoryLedger, price::ASSUMED_OUTPUT, testing::ask,
    };

    /// Three nano-dollars for each token of output, and a hundred for the rest.
    #[derive(Debug)]
    struct Three;

    impl Prices for Three {
        fn worst_case(&self, payload: &Payload) -> Option<NanoUsd> {
            let output = payload.head().max_output.unwrap_or(ASSUMED_OUTPUT);
            Some(NanoUsd(output.saturating_mul(3).saturating_add(100)))
        }
    }

    struct Case {
        cap: Option<u64>,
        ceilings: Vec<Ceiling>,
        headers: HeaderMap,
    }

    /// What is reserved, and what the cap is lowered to.
    fn outcome(case: Case) -> Result<(u64, Option<u64>), Error> {
        let mut key = VirtualKey::new("a");
        key.ceilings = case.ceilings;
        let layer = BudgetLayer::new(Arc::new(MemoryLedger::default()), Arc::new(Three));
        let (_, payload) = ask("m", None).into_parts();
        let payload = case.cap.map_or(payload.clone(), |cap| payload.with_max_output(cap));
        let worst = layer.worst(&Caller::new(key), &[], &payload, &case.headers)?;
        Ok((worst.cost.0, payload.exchange().learn(|learnt| learnt.lowered)))
    }

    fn usd(most: u64, on_excess: OnExcess) -> Ceiling {
        Ceiling::new("key:a").usd(NanoUsd(most)).on_excess(on_excess)
    }

    fn case(cap: impl Into<Option<u64>>, ceilings: impl Into<Vec<Ceiling>>) -> Case {
        Case { cap: cap.into(), ceilings: ceilings.into(), headers: HeaderMap::new() }
    }

    #[test]
    fn what_fits_is_found_to_the_token() {
        for most in [1, 2, 3, 7, 99, 100, u64::MAX] {
            assert_eq!(largest(100, |n| n <= most), Some(most.min(100)), "{most}");
        }
        assert_eq!(largest(u64::MAX, |_| true), Some(u64::MAX));
        assert_eq!((largest(0, |_| true), largest(9, |_| false)), (None, None));
    }

    #[test]
    fn a_request_over_a_ceiling_is_refused_or_lowered_as_that_says() {
        let refused = outcome(case(101, [usd(400, OnExcess::Refuse)])).unwrap_err();

        assert_eq!(refused.kind(), Kind::TooExpensive);
        assert_eq!(outcome(case(100, [usd(400, OnExcess::Refuse)])).unwrap(), (400, None));
        assert_eq!(outcome(case(100, [usd(400, OnExcess::Lower)])).unwrap(), (400, None));
        assert_eq!(outcome(case(101, [usd(402, OnExcess::Lower)])).unwrap(), (400, Some(100)));
        assert_eq!(outcome(case(101, [usd(0, OnExcess::Shadow)])).unwrap(), (403, None));
    }

    #[test]
    fn where_no_token_fits_the_request_is_refused() {
        assert_eq!(outcome(case(50, [usd(103, OnExcess::Lower)])).unwrap(), (103, Some(1)));
        assert_eq!(outcome(case(50, [usd(102, OnExcess::Lower)])).unwrap_err().kind(), Kind::TooExpensive);
    }

    #[test]
    fn without_a_cap_what_a_model_might_write_is_reckoned_with() {
        let roomy = usd(100 + 3 * 20_000, OnExcess::Lower);

        let lowered = outcome(case(None, [roomy.clone()])).unwrap();
        let refusing = outcome(case(None, [Ceiling::on_excess(roomy, OnExcess::Refuse)])).unwrap();

        assert_eq!(lowered, (100 + 3 * ASSUMED_OUTPUT, Some(ASSUMED_OUTPUT)));
        assert_eq!(refusing, (100 + 3 * ASSUMED_OUTPUT, None));
    }

    #[test]
    fn what_is_lowered_for_one_ceiling_may_fit_under_another() {
        let ceilings = [usd(500, OnExcess::Refuse), usd(400, OnExcess::Lower)];

        assert_eq!(outcome(case(900, ceilings)).unwrap(), (400, Some(100)));
    }

    #[test]
    fn a_client_that_wants_no_losses_is_refused() {
        let strict = HeaderMap::from_iter([(headers::STRICT, HeaderValue::from_static("true"))]);

        let refused = outcome(Case { headers: strict, ..case(101, [usd(400, OnExcess::Lower)]) });

        assert_eq!(refused.unwrap_err().kind(), Kind::TooExpensive);
    }

    #[test]
    fn tokens_have_ceilings_too() {
        let output = |most| Ceiling::new("key:a").output(most).on_excess(OnExcess::Lower);

        assert_eq!(outcome(case(101, [output(7)])).unwrap().1, Some(7));
        assert_eq!(outcome(case(7, [output(7)])).unwrap().1, None);
        assert!(outcome(case(7, [Ceiling::new("key:a").input(1)])).is_err());
    }
}
