use super::{Likely, Tier};
use crate::{Target, Units, Work};

/// What tokens cost where nothing else counts, ready for being compared with that of many others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlatPrice {
    /// Of a token, in nano-dollars.
    input: f64,
    output: f64,
    /// Of a request, in the same.
    request: f64,
    /// The most tokens that the model writes.
    most_output: u64,
}

impl FlatPrice {
    /// `None` if a request's length counts as well, or no price is known.
    pub(crate) fn of(target: &Target) -> Option<Self> {
        let price = target.known_price().filter(|price| price.scale.above.is_empty())?;
        price.cost_of(&Work { units: Units::default(), ..Work::default() })?;
        let each = |millions: u64| millions as f64 / 1e6;
        Some(Self {
            input: each(price.scale.rates.input.0),
            output: each(price.scale.rates.output.0),
            request: each(price.units.request.0),
            most_output: target.known_facts().max_output.unwrap_or(u64::MAX),
        })
    }
}

impl Likely {
    /// What it costs at a target, in nano-dollars and not rounded: by its `flat` price where that is enough.
    pub(crate) fn score_at(&self, target: &Target, flat: Option<&FlatPrice>) -> Option<f64> {
        match (*self, flat) {
            (Self::Guessed { input, output, choices, tier: Tier::Standard }, Some(flat)) => {
                let output = output.min(flat.most_output).saturating_mul(choices);
                let tokens = (input as f64).mul_add(flat.input, output as f64 * flat.output);
                Some(tokens + flat.request)
            }
            _ => self.cost_at(target).map(|cost| cost.0 as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        price::{NanoUsd, Price, Rates, Scale, UnitRates},
        target::ModelFacts,
    };

    #[test]
    fn a_flat_price_is_that_which_is_charged() {
        let rates = Rates::flat(NanoUsd(3_000_000_000), NanoUsd(15_000_000_000));
        let mut facts = ModelFacts::default();
        facts.max_output = Some(1_000);
        let units = UnitRates { request: NanoUsd(5_000_000_000_000), ..UnitRates::default() };
        let of_requests = Price { units, ..Price::from(rates) };
        for price in [Price::from(rates), of_requests] {
            let target = Target::new("p", "m").price(Some(price)).facts(facts.clone());
            let flat = FlatPrice::of(&target);
            let likely = Likely::Guessed { input: 700, output: 5_000, choices: 2, tier: Tier::Standard };

            let (quick, exact) = (likely.score_at(&target, flat.as_ref()), likely.cost_at(&target));

            assert!(flat.is_some());
            assert_eq!(quick.map(f64::round), exact.map(|cost| cost.0 as f64));
        }
    }

    #[test]
    fn what_depends_on_more_than_tokens_is_not_flat() {
        let rates = Rates::flat(NanoUsd(3_000_000_000), NanoUsd(15_000_000_000));
        let scale = Scale { rates, above: vec![(100, rates)] };
        let by_length = Price { scale, ..Price::default() };
        for target in [Target::new("p", "m"), Target::new("p", "m").price(Some(by_length))] {
            assert!(FlatPrice::of(&target).is_none());
        }
    }
}
