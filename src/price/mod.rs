//! What tokens cost: integer money, prices, and a book of the list prices of many models.
//!
//! Prices are nano-dollars per million tokens, so that every list price is a whole number, and a
//! cost is rounded once, upwards, to the nano-dollar.

mod book;
mod estimate;
mod money;

pub use self::{
    book::{Listing, PriceBook},
    estimate::{ASSUMED_OUTPUT, estimate},
    money::{NanoUsd, NotAnAmount},
};
use crate::Tokens;

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

    fn cost(&self, tokens: &Tokens) -> NanoUsd {
        let parts = [
            (tokens.fresh(), self.input),
            (tokens.cached, self.cached),
            (tokens.cache_write, self.cache_write),
            (tokens.cache_write_1h, self.cache_write_1h),
            (tokens.output.saturating_sub(tokens.reasoning), self.output),
            (tokens.reasoning, self.reasoning),
        ];
        let millionths: u128 = parts.iter().map(|(n, rate)| u128::from(*n) * u128::from(rate.0)).sum();
        NanoUsd(u64::try_from(millionths.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

/// The price of one model at one provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// What a request costs.
    pub rates: Rates,
    /// Other rates for the whole request when its input has more tokens than the number.
    pub above: Option<(u64, Rates)>,
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
        match &self.above {
            Some((threshold, rates)) if tokens.input > *threshold => rates.cost(tokens),
            _ => self.rates.cost(tokens),
        }
    }
}

impl From<Rates> for Price {
    fn from(rates: Rates) -> Self {
        Self { rates, above: None }
    }
}
