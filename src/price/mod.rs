//! What tokens and other units cost: integer money, prices, and a book of the list prices of many models.
//!
//! Prices are nano-dollars per million tokens (or images, characters, seconds), so that every list price is a whole number, and a
//! cost is rounded once, upwards, to the nano-dollar.

mod attempt;
mod book;
mod costs;
mod estimate;
mod flat;
mod input;
mod money;
mod reported;
mod tier;
mod units;

pub(crate) use self::{
    attempt::{AttemptCost, Likely, likely_cost},
    estimate::likely_tokens,
    flat::FlatPrice,
    input::values,
};
pub use self::{
    book::{Listing, PriceBook},
    costs::Costs,
    estimate::{ASSUMED_OUTPUT, worst_case},
    input::Input,
    money::{NanoUsd, NotAnAmount},
    reported::ReportedCost,
    tier::{Scale, Tier},
    units::UnitRates,
};
use crate::{Tokens, Units, Work};

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
    /// Input that is images or sound; like other input if it is `None`.
    pub media_input: Option<NanoUsd>,
    /// Images or sound read from the provider's cache; like what else is read from it if it is `None`.
    pub media_cached: Option<NanoUsd>,
    /// Output that is images or sound; like other output if it is `None`.
    pub media_output: Option<NanoUsd>,
}

impl Rates {
    /// Rates where caching and reasoning cost what input and output cost.
    pub fn flat(input: NanoUsd, output: NanoUsd) -> Self {
        let (cache_write, cache_write_1h) = (input, input);
        Self {
            input,
            cached: input,
            cache_write,
            cache_write_1h,
            output,
            reasoning: output,
            ..Self::default()
        }
    }

    /// So many percent of each rate, rounded up.
    fn percent(&self, percent: u32) -> Self {
        let part = |rate: NanoUsd| {
            let exact = (u128::from(rate.0) * u128::from(percent)).div_ceil(100);
            NanoUsd(u64::try_from(exact).unwrap_or(u64::MAX))
        };
        Self {
            input: part(self.input),
            cached: part(self.cached),
            cache_write: part(self.cache_write),
            cache_write_1h: part(self.cache_write_1h),
            output: part(self.output),
            reasoning: part(self.reasoning),
            media_input: self.media_input.map(part),
            media_cached: self.media_cached.map(part),
            media_output: self.media_output.map(part),
        }
    }

    /// These rates, and where none of images and sound are given, the `usual` ones.
    fn with_media(self, usual: &Self) -> Self {
        Self {
            media_input: self.media_input.or(usual.media_input),
            media_cached: self.media_cached.or(usual.media_cached),
            media_output: self.media_output.or(usual.media_output),
            ..self
        }
    }

    /// What the tokens cost, in millionths of a nano-dollar.
    fn tokens(&self, work: &Work) -> u128 {
        sum(&self.kinds(work))
    }

    /// How many tokens there are at each rate: two kinds of input, two of what is read from a cache, two of what is
    /// written there, two of output, and reasoning.
    fn kinds(&self, work: &Work) -> [(u64, NanoUsd); 9] {
        let Work { tokens, units: used } = work;
        let fresh = tokens.fresh();
        let written = tokens.output.saturating_sub(tokens.reasoning);
        let (kept, shown) = (used.media_cached.min(tokens.cached), used.media_output.min(written));
        let seen = used.media_input.saturating_sub(kept).min(fresh);
        [
            (fresh - seen, self.input),
            (seen, self.media_input.unwrap_or(self.input)),
            (tokens.cached - kept, self.cached),
            (kept, self.media_cached.unwrap_or(self.cached)),
            (tokens.cache_write, self.cache_write),
            (tokens.cache_write_1h, self.cache_write_1h),
            (written - shown, self.output),
            (shown, self.media_output.unwrap_or(self.output)),
            (tokens.reasoning, self.reasoning),
        ]
    }

    /// What they cost at most, in the same.
    fn most(&self, Work { tokens, units: used }: &Work, keeps_long: bool) -> u128 {
        let kept = if keeps_long { self.cache_write.max(self.cache_write_1h) } else { self.cache_write };
        let read = self.input.max(kept);
        let seen = used.media_input.min(tokens.input);
        let parts = [
            (tokens.input - seen, read),
            (seen, read.max(self.media_input.unwrap_or_default())),
            (tokens.output, self.output.max(self.reasoning).max(self.media_output.unwrap_or_default())),
        ];
        sum(&parts)
    }
}

fn sum(parts: &[(u64, NanoUsd)]) -> u128 {
    parts.iter().map(|(n, rate)| u128::from(*n) * u128::from(rate.0)).fold(0, u128::saturating_add)
}

/// The price of one model at one provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Price {
    /// What a request costs.
    pub scale: Scale,
    /// What is paid for beside text.
    pub units: UnitRates,
    /// The classes of service that have rates of their own.
    pub tiers: Vec<(Tier, Scale)>,
    /// What a request costs that is bound to stay in the United States, in percent of the usual rates of
    /// tokens; as much if it is `None`.
    pub percent_in_us: Option<u32>,
    /// What a request costs at an address of the provider for one place only, in percent of the usual rates
    /// of tokens; as much if it is `None`.
    pub percent_in_region: Option<u32>,
    /// The dearest class of service in which a request may be served that asks for none.
    pub unasked: Tier,
}

impl Price {
    /// A price of units alone.
    pub fn of_units(units: UnitRates) -> Self {
        Self { units, ..Self::default() }
    }

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
        (self.units.pay_for(&work.units, &self.scale.rates) || self.is_free()).then(|| self.total(work))
    }

    /// What of [`cost_of`](Self::cost_of) is for what.
    pub fn costs_of(&self, work: &Work) -> Costs {
        let total = self.cost_of(work).unwrap_or_default();
        let (rates, percent) = self.rates_for(work);
        let kinds = rates.kinds(work);
        let part = |kinds: &[_]| {
            let exact = sum(kinds).saturating_mul(percent.into()) / 100_000_000;
            NanoUsd(u64::try_from(exact).unwrap_or(u64::MAX))
        };
        let (input, cached, cache_write) = (part(&kinds[..2]), part(&kinds[2..4]), part(&kinds[4..6]));
        let (output, reasoning) = (part(&kinds[6..8]), part(&kinds[8..]));
        let costs = Costs { input, cached, cache_write, output, reasoning, other: NanoUsd(0) };
        Costs { other: NanoUsd(total.0.saturating_sub(costs.sum().0)), ..costs }
    }

    /// The most that `work` may cost, if it is done in the class of service that was `asked` for, or in
    /// any that the provider may choose: all its input may turn out to be written to a cache, for longer
    /// than usual if it `keeps_long`, and all its output to be reasoning, or images or sound. `None` as for
    /// [`cost_of`](Self::cost_of).
    pub fn worst_case(&self, work: &Work, asked: Option<Tier>, keeps_long: bool) -> Option<NanoUsd> {
        let most = |tier| {
            let work = Work { units: Units { tier, in_us: true, ..work.units }, ..*work };
            let is_known = self.units.pay_for(&work.units, &self.scale.rates) || self.is_free();
            is_known.then(|| self.sum(&work, |rates| rates.most(&work, keeps_long)))
        };
        match asked.unwrap_or(self.unasked) {
            Tier::Standard => most(Tier::Standard),
            tier => Some(most(Tier::Standard)?.max(most(tier)?)),
        }
    }

    /// What the same costs in a batch: half of it where the provider has no rates for batches.
    ///
    /// ```
    /// use bartizan::price::{NanoUsd, Price, Rates};
    ///
    /// let price = Price::from(Rates::flat(NanoUsd::from_usd(3), NanoUsd::from_usd(15)));
    ///
    /// assert_eq!(price.batch().scale.rates.input.to_string(), "1.5");
    /// ```
    #[must_use]
    pub fn batch(&self) -> Self {
        let (scale, units) = match self.scale_of(Tier::Batch) {
            Some(scale) => (scale.clone(), self.units),
            None => (self.scale.percent(50), self.units.halved()),
        };
        Self { scale, units, tiers: Vec::new(), unasked: Tier::Standard, ..*self }
    }

    /// What the same costs at an address of the provider for one place only.
    #[must_use]
    pub fn in_region(mut self) -> Self {
        if let Some(percent) = self.percent_in_region.take() {
            let scales = self.tiers.iter_mut().map(|(_, scale)| scale);
            scales.chain([&mut self.scale]).for_each(|scale| *scale = scale.percent(percent));
        }
        self
    }

    /// This price, and beside its usual rates what it doesn't name from the `usual` one.
    fn over(mut self, usual: Option<Self>) -> Self {
        let Some(usual) = usual.filter(|_| !self.is_free()) else { return self };
        self.units = self.units.over(&usual.units);
        for (tier, scale) in &mut self.tiers {
            scale.add_media(&usual.scale_of(*tier).unwrap_or(&usual.scale).rates);
        }
        self.scale.add_media(&usual.scale.rates);
        if self.scale.above.is_empty() {
            self.scale.above = usual.scale.above;
        }
        let is_new = |(tier, _): &(Tier, Scale)| self.tiers.iter().all(|(own, _)| own != tier);
        let others: Vec<_> = usual.tiers.into_iter().filter(is_new).collect();
        self.tiers.extend(others);
        self.percent_in_us = self.percent_in_us.or(usual.percent_in_us);
        self.percent_in_region = self.percent_in_region.or(usual.percent_in_region);
        self.unasked = self.unasked.max(usual.unasked);
        self
    }

    fn is_free(&self) -> bool {
        *self == Self::default()
    }

    /// The rates of a class of service, if it has any of its own; where only the other of the two dear
    /// ones has, it is that.
    fn scale_of(&self, tier: Tier) -> Option<&Scale> {
        let of = |tier| self.tiers.iter().find(|(other, _)| *other == tier).map(|(_, scale)| scale);
        of(tier).or_else(|| of(Tier::Priority).filter(|_| tier == Tier::Fast))
    }

    fn total(&self, work: &Work) -> NanoUsd {
        self.sum(work, |rates| rates.tokens(work))
    }

    /// The rates of its class of service, and how many percent of them.
    fn rates_for(&self, work: &Work) -> (&Rates, u32) {
        let scale = self.scale_of(work.units.tier).unwrap_or(&self.scale);
        let percent = self.percent_in_us.filter(|_| work.units.in_us).unwrap_or(100);
        (scale.rates(work.tokens.input), percent)
    }

    /// What the `tokens` of `work` cost at its rates, and all else of it.
    fn sum(&self, work: &Work, tokens: impl FnOnce(&Rates) -> u128) -> NanoUsd {
        let (rates, percent) = self.rates_for(work);
        let request = if *work == Work::default() { 0 } else { u128::from(self.units.request.0) * 1_000 };
        // Thousandths of millionths, because times are counted in milliseconds; and hundredths of them.
        let tokens = tokens(rates).saturating_mul(1_000).saturating_mul(percent.into());
        let others = self.units.cost(&work.units).saturating_add(request).saturating_mul(100);
        let parts = tokens.saturating_add(others);
        // Most sums are small, and dividing large ones takes many times as long.
        match u64::try_from(parts) {
            Ok(parts) => NanoUsd(parts.div_ceil(100_000_000_000)),
            Err(_) => NanoUsd(u64::try_from(parts.div_ceil(100_000_000_000)).unwrap_or(u64::MAX)),
        }
    }
}

impl From<Rates> for Price {
    fn from(rates: Rates) -> Self {
        Self { scale: rates.into(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price() -> Price {
        let mut rates = Rates::flat(NanoUsd(1_000_000), NanoUsd(10_000_000));
        (rates.cache_write, rates.cache_write_1h, rates.reasoning) =
            (NanoUsd(2_000_000), NanoUsd(4_000_000), NanoUsd(20_000_000));
        let dearer = Rates { output: NanoUsd(50_000_000), ..rates };
        let mut price = Price::from(rates);
        price.tiers = vec![(Tier::Flex, rates.percent(50).into()), (Tier::Priority, dearer.into())];
        price
    }

    fn work() -> Work {
        Tokens { input: 100, output: 10, ..Tokens::default() }.into()
    }

    #[test]
    fn the_worst_case_is_written_to_a_cache_and_thought_about() {
        let worst = |asked, keeps_long| price().worst_case(&work(), asked, keeps_long).unwrap().0;

        assert_eq!(worst(None, false), 100 * 2 + 10 * 20);
        assert_eq!(worst(None, true), 100 * 4 + 10 * 20);
        assert_eq!(worst(Some(Tier::Priority), false), 100 * 2 + 10 * 50);
        // It may be served as usual after all.
        assert_eq!(worst(Some(Tier::Flex), false), 100 * 2 + 10 * 20);
    }

    #[test]
    fn a_cost_is_told_apart_by_what_it_is_for() {
        let tokens =
            Tokens { input: 100, cached: 40, cache_write: 10, output: 10, reasoning: 4, ..Tokens::default() };

        let costs = price().costs_of(&tokens.into());

        let nano = |cost: NanoUsd| cost.0;
        assert_eq!(
            [costs.input, costs.cached, costs.cache_write, costs.output, costs.reasoning, costs.other]
                .map(nano),
            [50, 40, 20, 60, 80, 0]
        );
        assert_eq!(Some(costs.sum()), price().cost_of(&tokens.into()));

        let units = Units { images: 2, ..Units::default() };
        let dear =
            Price { units: UnitRates { image: NanoUsd(5_000_000), ..UnitRates::default() }, ..price() };
        let odd = Work { tokens: Tokens { input: 1, ..Tokens::default() }, units };
        assert_eq!(dear.costs_of(&odd), Costs { input: NanoUsd(1), other: NanoUsd(10), ..Costs::default() });
    }

    #[test]
    fn a_class_that_is_left_to_the_provider_may_be_its_dearest() {
        let price = Price { unasked: Tier::Priority, ..price() };

        assert_eq!(price.worst_case(&work(), None, false), Some(NanoUsd(700)));
        assert_eq!(price.worst_case(&work(), Some(Tier::Standard), false), Some(NanoUsd(400)));
        assert_eq!(price.worst_case(&work(), Some(Tier::Fast), false), Some(NanoUsd(700)));
    }

    #[test]
    fn what_stays_in_the_united_states_costs_more_and_is_rounded_once() {
        let price = Price { percent_in_us: Some(110), ..price() };
        let units = Units { in_us: true, ..Units::default() };
        let tokens = Tokens { input: 3, ..Tokens::default() };

        assert_eq!(price.cost_of(&Work { tokens, units }), Some(NanoUsd(4)));
        assert_eq!(price.cost(&tokens), NanoUsd(3));
        assert_eq!(price.worst_case(&work(), None, false), Some(NanoUsd(440)));
    }

    #[test]
    fn half_is_what_a_batch_costs_where_nothing_is_said() {
        let mut price = price();
        assert_eq!(price.batch().cost_of(&work()), Some(NanoUsd(100)));

        price.tiers.push((Tier::Batch, Rates::flat(NanoUsd(3_000_000), NanoUsd(0)).into()));

        assert_eq!(price.batch().cost_of(&work()), Some(NanoUsd(300)));
        let units = Units { tier: Tier::Batch, ..Units::default() };
        assert_eq!(price.batch().cost_of(&Work { units, ..work() }), Some(NanoUsd(300)));
    }

    #[test]
    fn sound_is_charged_once_wherever_it_is_counted() {
        let rates = Rates {
            media_input: Some(NanoUsd(3_000_000)),
            media_output: Some(NanoUsd(30_000_000)),
            ..Rates::flat(NanoUsd(1_000_000), NanoUsd(10_000_000))
        };
        let units = Units { media_input: 60, media_output: 4, ..Units::default() };
        let Work { tokens, .. } = work();
        let told = Tokens { audio_input: 60, audio_output: 4, ..tokens };

        let price = Price::from(rates);

        assert_eq!(
            price.cost_of(&Work { tokens: told, units }),
            Some(NanoUsd(40 + 60 * 3 + 6 * 10 + 4 * 30))
        );
        assert_eq!(price.cost_of(&Work { tokens: told, units }), price.cost_of(&Work { tokens, units }));
        assert_eq!(price.cost(&told), price.cost(&tokens));
    }
}
