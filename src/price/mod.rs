//! What tokens and other units cost: integer money, prices, and a book of the list prices of many models.
//!
//! Prices are nano-dollars per million tokens (or images, characters, seconds), so that every list price is a whole number, and a
//! cost is rounded once, upwards, to the nano-dollar.

mod book;
mod estimate;
mod money;
mod units;

pub use self::{
    book::{Listing, PriceBook},
    estimate::{ASSUMED_OUTPUT, estimate, worst_case},
    money::{NanoUsd, NotAnAmount},
    units::UnitRates,
};
use crate::{Tokens, Work};

/// What a million tokens of each kind cost, in billionths of a dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Input that touched no cache.
    pub input: NanoUsd,
    /// Input read from the provider's cache.
    pub cached: NanoUsd,
    /// Input written to the provider's cache for its default time.
    pub cache_write: NanoUsd,
    /// Input written to the provider's cache for one hour.
    pub cache_write_1h: NanoUsd,
    /// Output.
    pub output: NanoUsd,
    /// Output spent on reasoning.
    pub reasoning: NanoUsd,
}

impl Rates {
    /// Rates where caching and reasoning cost what input and output cost.
    pub fn flat(input: NanoUsd, output: NanoUsd) -> Self {
        Self { input, cached: input, cache_write: input, cache_write_1h: input, output, reasoning: output }
    }

    /// Each rate halved, and a half rounded up.
    fn halved(&self) -> Self {
        let half = |rate: NanoUsd| NanoUsd(rate.0.div_ceil(2));
        Self {
            input: half(self.input),
            cached: half(self.cached),
            cache_write: half(self.cache_write),
            cache_write_1h: half(self.cache_write_1h),
            output: half(self.output),
            reasoning: half(self.reasoning),
        }
    }

    /// What the tokens cost, in millionths of a nano-dollar.
    fn tokens(&self, work: &Work, units: &UnitRates) -> u128 {
        let Work { tokens, units: used } = work;
        let fresh = tokens.fresh();
        let written = tokens.output.saturating_sub(tokens.reasoning);
        let (seen, shown) = (used.media_input.min(fresh), used.media_output.min(written));
        let parts = [
            (fresh - seen, self.input),
            (seen, units.media_input.unwrap_or(self.input)),
            (tokens.cached, self.cached),
            (tokens.cache_write, self.cache_write),
            (tokens.cache_write_1h, self.cache_write_1h),
            (written - shown, self.output),
            (shown, units.media_output.unwrap_or(self.output)),
            (tokens.reasoning, self.reasoning),
        ];
        parts.iter().map(|(n, rate)| u128::from(*n) * u128::from(rate.0)).fold(0, u128::saturating_add)
    }
}

/// The price of one model at one provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// What a request costs.
    pub rates: Rates,
    /// Other rates for the whole request when its input has more tokens than the number.
    pub above: Option<(u64, Rates)>,
    /// What is paid for beside text.
    pub units: UnitRates,
}

impl Price {
    /// What `tokens` cost, rounded up once.
    ///
    /// ```
    /// use bartizan::{Tokens, price::{NanoUsd, Price, Rates}};
    ///
    /// let price = Price::from(Rates::flat(NanoUsd::from_usd(3), NanoUsd::from_usd(15)));
    /// let tokens = Tokens { input: 1_000, output: 100, ..Tokens::default() };
    ///
    /// assert_eq!(price.cost(&tokens).to_string(), "0.0045");
    /// ```
    pub fn cost(&self, tokens: &Tokens) -> NanoUsd {
        self.total(&Work::from(*tokens))
    }

    /// What all of `work` costs, rounded up once; `None` if the model is paid for something, but what
    /// it is used for here has no price.
    pub fn cost_of(&self, work: &Work) -> Option<NanoUsd> {
        (self.is_free() || self.units.pay_for(&work.units, &self.rates)).then(|| self.total(work))
    }

    /// What the same costs in a batch: half of it.
    #[must_use]
    pub fn batch(&self) -> Self {
        let above = self.above.map(|(threshold, rates)| (threshold, rates.halved()));
        Self { rates: self.rates.halved(), above, ..*self }
    }

    fn is_free(&self) -> bool {
        *self == Self::default()
    }

    fn total(&self, work: &Work) -> NanoUsd {
        let rates = match &self.above {
            Some((threshold, rates)) if work.tokens.input > *threshold => rates,
            _ => &self.rates,
        };
        // Thousandths of millionths, because times are counted in milliseconds.
        let parts = rates.tokens(work, &self.units).saturating_mul(1_000);
        let parts = parts.saturating_add(self.units.cost(&work.units));
        NanoUsd(u64::try_from(parts.div_ceil(1_000_000_000)).unwrap_or(u64::MAX))
    }
}

impl From<Rates> for Price {
    fn from(rates: Rates) -> Self {
        Self { rates, ..Self::default() }
    }
}
