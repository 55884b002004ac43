use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Written;
use crate::price::{NanoUsd, Price, Rates, Scale, Tier, UnitRates};

type Usd = Written<NanoUsd>;

/// What a model costs, in dollars: for a million tokens, unless the name of a field says otherwise. Where the
/// built-in list has the model, its searches, sessions, sound, requests, classes of service and longer inputs
/// cost what it says if they aren't given; other things cost nothing then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct UsdPrice {
    /// Input. Together with `output` it has to be given, unless something else than tokens is paid for.
    #[serde(default)]
    pub input: Option<Usd>,
    /// Output.
    #[serde(default)]
    pub output: Option<Usd>,
    /// Input read from the provider's cache; like `input` if it isn't given.
    #[serde(default)]
    pub cached_input: Option<Usd>,
    /// Input written to the provider's cache, for five minutes where there is a choice; like `input` if it
    /// isn't given.
    #[serde(default)]
    pub cache_write: Option<Usd>,
    /// Input written to the provider's cache for an hour; like `cache_write` if it isn't given.
    #[serde(default)]
    pub cache_write_1h: Option<Usd>,
    /// Output spent on reasoning; like `output` if it isn't given.
    #[serde(default)]
    pub reasoning: Option<Usd>,
    /// Input that is sound, or images where their tokens are counted apart; like `input` if neither this nor the
    /// list gives it.
    #[serde(default)]
    pub media_input: Option<Usd>,
    /// Such input read from the provider's cache; like `cached_input` if neither this nor the list gives it.
    #[serde(default)]
    pub media_cached: Option<Usd>,
    /// Output that is sound or images; like `output` if neither this nor the list gives it.
    #[serde(default)]
    pub media_output: Option<Usd>,
    /// Other rates for requests with more input, the fewest tokens first.
    #[serde(default)]
    pub above: Vec<UsdStep>,
    /// Classes of service that have rates of their own.
    #[serde(default)]
    pub tiers: UsdTiers,
    /// What a request costs that is bound to stay in the United States, in percent of the usual rates of
    /// tokens; 100 if neither this nor the list gives it.
    #[serde(default)]
    pub percent_in_us: Option<u32>,
    /// What a request costs at a provider that is asked in one place only (`vertex` with a location other than
    /// `global`, `openai` at an address such as `eu.api.openai.com`), in percent of the usual rates of tokens; 100
    /// if neither this nor the list gives it.
    #[serde(default)]
    pub percent_in_region: Option<u32>,
    /// A request, whatever is in it.
    #[serde(default)]
    pub per_request: Option<Usd>,
    /// An image that is made.
    #[serde(default)]
    pub per_image: Option<Usd>,
    /// A second of sound that is listened to.
    #[serde(default)]
    pub per_audio_second: Option<Usd>,
    /// A second of film that is made.
    #[serde(default)]
    pub per_video_second: Option<Usd>,
    /// A million characters that are read aloud.
    #[serde(default)]
    pub per_million_characters: Option<Usd>,
    /// A search of a reranker.
    #[serde(default)]
    pub per_search: Option<Usd>,
    /// A search of the web that the provider makes for the model.
    #[serde(default)]
    pub per_web_search: Option<Usd>,
    /// An answer for which the provider has searched the web, however often.
    #[serde(default)]
    pub per_grounded_answer: Option<Usd>,
    /// A search of maps that the provider makes for the model.
    #[serde(default)]
    pub per_map_search: Option<Usd>,
    /// A container that the provider runs code in.
    #[serde(default)]
    pub per_code_session: Option<Usd>,
}

/// What a million tokens cost, in dollars, where that differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct UsdRates {
    /// Input.
    #[serde(default)]
    pub input: Option<Usd>,
    /// Output.
    #[serde(default)]
    pub output: Option<Usd>,
    /// Input read from the provider's cache.
    #[serde(default)]
    pub cached_input: Option<Usd>,
    /// Input written to the provider's cache.
    #[serde(default)]
    pub cache_write: Option<Usd>,
    /// Input written to the provider's cache for an hour.
    #[serde(default)]
    pub cache_write_1h: Option<Usd>,
    /// Output spent on reasoning.
    #[serde(default)]
    pub reasoning: Option<Usd>,
    /// Input that is sound or images.
    #[serde(default)]
    pub media_input: Option<Usd>,
    /// Such input read from the provider's cache.
    #[serde(default)]
    pub media_cached: Option<Usd>,
    /// Output that is sound or images.
    #[serde(default)]
    pub media_output: Option<Usd>,
}

/// Other rates for the whole request when its input has more tokens than a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct UsdStep {
    /// The number of tokens.
    pub tokens: u64,
    /// The rates that differ.
    pub rates: UsdRates,
}

/// The classes of service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct UsdTiers {
    /// Some time within a day; half of the usual rates if neither this nor the list gives it.
    pub batch: Option<UsdTier>,
    /// When there is room.
    pub flex: Option<UsdTier>,
    /// Before others. With a price here it is reserved for requests that leave the class to the provider.
    pub priority: Option<UsdTier>,
    /// With more speed.
    pub fast: Option<UsdTier>,
}

/// What one class of service costs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct UsdTier {
    /// The rates that differ.
    pub rates: UsdRates,
    /// Other rates for requests with more input, the fewest tokens first.
    #[serde(default)]
    pub above: Vec<UsdStep>,
}

impl UsdPrice {
    /// Why the price can't be meant, if it can't.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let units = [
            self.per_request,
            self.per_image,
            self.per_audio_second,
            self.per_video_second,
            self.per_million_characters,
            self.per_search,
        ];
        let has_tokens = self.input.is_some() && self.output.is_some();
        if !has_tokens && units.iter().all(Option::is_none) {
            return Some("needs input and output, or a price of something else than tokens");
        }
        let tiers = [&self.tiers.batch, &self.tiers.flex, &self.tiers.priority, &self.tiers.fast];
        let scales = tiers.into_iter().flatten().map(|tier| &tier.above).chain([&self.above]);
        let is_sorted = |steps: &Vec<UsdStep>| steps.is_sorted_by(|one, next| one.tokens < next.tokens);
        let all_sorted = scales.into_iter().all(is_sorted);
        (!all_sorted).then_some("above: has to begin with the fewest tokens, and each number stands once")
    }

    fn rates(&self) -> Rates {
        let usd = |given: Option<Usd>| given.map(|usd| *usd);
        let (input, output) = (usd(self.input).unwrap_or_default(), usd(self.output).unwrap_or_default());
        let cache_write = usd(self.cache_write).unwrap_or(input);
        Rates {
            input,
            cached: usd(self.cached_input).unwrap_or(input),
            cache_write,
            cache_write_1h: usd(self.cache_write_1h).unwrap_or(cache_write),
            output,
            reasoning: usd(self.reasoning).unwrap_or(output),
            media_input: usd(self.media_input),
            media_cached: usd(self.media_cached),
            media_output: usd(self.media_output),
        }
    }

    fn units(&self) -> UnitRates {
        // Prices of single things, for a million of them.
        let each = |given: Option<Usd>| NanoUsd(given.map_or(0, |usd| usd.0.saturating_mul(1_000_000)));
        UnitRates {
            request: each(self.per_request),
            image: each(self.per_image),
            audio: each(self.per_audio_second),
            video: [each(self.per_video_second); 4],
            character: self.per_million_characters.map(|usd| *usd).unwrap_or_default(),
            search: each(self.per_search),
            web_search: self.per_web_search.map(|_| each(self.per_web_search)),
            grounding: self.per_grounded_answer.map(|_| each(self.per_grounded_answer)),
            map_search: self.per_map_search.map(|_| each(self.per_map_search)),
            code_session: self.per_code_session.map(|_| each(self.per_code_session)),
        }
    }
}

impl From<&UsdPrice> for Price {
    fn from(price: &UsdPrice) -> Self {
        let rates = price.rates();
        let UsdTiers { batch, flex, priority, fast } = &price.tiers;
        let tiers = Tier::OTHERS.into_iter().zip([batch, flex, priority, fast]);
        let tiers = tiers.filter_map(|(tier, given)| {
            let given = given.as_ref()?;
            Some((tier, scale(given.rates.over(&rates), &given.above)))
        });
        let mut written = Self::of_units(price.units());
        written.scale = scale(rates, &price.above);
        written.tiers = tiers.collect();
        written.percent_in_us = price.percent_in_us;
        written.percent_in_region = price.percent_in_region;
        written.unasked = if priority.is_some() { Tier::Priority } else { Tier::Standard };
        written
    }
}

/// As it is told to people: what costs nothing, and what costs the same as what it is a kind of, is left out.
impl From<&Price> for UsdPrice {
    fn from(price: &Price) -> Self {
        let (rates, units) = (&price.scale.rates, &price.units);
        let each =
            |million: NanoUsd| Some(Written::new(NanoUsd(million.0 / 1_000_000))).filter(|_| million.0 > 0);
        let usd = |given: NanoUsd| Some(Written::new(given)).filter(|_| given.0 > 0);
        let usual = UsdRates::beside(rates, &Rates::flat(rates.input, rates.output), true);
        let tier = |wanted| {
            let (_, scale) = price.tiers.iter().find(|(tier, _)| *tier == wanted)?;
            Some(UsdTier { rates: UsdRates::beside(&scale.rates, rates, false), above: steps(scale) })
        };
        Self {
            input: usual.input,
            output: usual.output,
            cached_input: usual.cached_input,
            cache_write: usual.cache_write,
            cache_write_1h: usual.cache_write_1h,
            reasoning: usual.reasoning,
            media_input: usual.media_input,
            media_cached: usual.media_cached,
            media_output: usual.media_output,
            above: steps(&price.scale),
            tiers: UsdTiers {
                batch: tier(Tier::Batch),
                flex: tier(Tier::Flex),
                priority: tier(Tier::Priority),
                fast: tier(Tier::Fast),
            },
            percent_in_us: price.percent_in_us,
            percent_in_region: price.percent_in_region,
            per_request: each(units.request),
            per_image: each(units.image),
            per_audio_second: each(units.audio),
            per_video_second: each(units.video.into_iter().max().unwrap_or_default()),
            per_million_characters: usd(units.character),
            per_search: each(units.search),
            per_web_search: units.web_search.and_then(each),
            per_grounded_answer: units.grounding.and_then(each),
            per_map_search: units.map_search.and_then(each),
            per_code_session: units.code_session.and_then(each),
        }
    }
}

fn steps(scale: &Scale) -> Vec<UsdStep> {
    let step = |(tokens, rates): &(u64, Rates)| UsdStep {
        tokens: *tokens,
        rates: UsdRates::beside(rates, &scale.rates, false),
    };
    scale.above.iter().map(step).collect()
}

impl UsdRates {
    /// What of `rates` is not as `base` has it; input and output `always`, if that is wanted.
    fn beside(rates: &Rates, base: &Rates, always: bool) -> Self {
        let other = |own: NanoUsd, base: NanoUsd| Some(Written::new(own)).filter(|_| own != base);
        let usual = |own: NanoUsd, base: NanoUsd| Some(Written::new(own)).filter(|_| always || own != base);
        let media = |own: Option<NanoUsd>, base| own.filter(|_| own != base).map(Written::new);
        Self {
            input: usual(rates.input, base.input),
            output: usual(rates.output, base.output),
            cached_input: other(rates.cached, base.cached),
            cache_write: other(rates.cache_write, base.cache_write),
            cache_write_1h: other(rates.cache_write_1h, base.cache_write_1h),
            reasoning: other(rates.reasoning, base.reasoning),
            media_input: media(rates.media_input, base.media_input),
            media_cached: media(rates.media_cached, base.media_cached),
            media_output: media(rates.media_output, base.media_output),
        }
    }

    /// These rates, and those of `base` where nothing is given.
    fn over(&self, base: &Rates) -> Rates {
        let or = |given: Option<Usd>, base| given.map_or(base, |usd| *usd);
        Rates {
            input: or(self.input, base.input),
            cached: or(self.cached_input, base.cached),
            cache_write: or(self.cache_write, base.cache_write),
            cache_write_1h: or(self.cache_write_1h, base.cache_write_1h),
            output: or(self.output, base.output),
            reasoning: or(self.reasoning, base.reasoning),
            media_input: self.media_input.map(|usd| *usd).or(base.media_input),
            media_cached: self.media_cached.map(|usd| *usd).or(base.media_cached),
            media_output: self.media_output.map(|usd| *usd).or(base.media_output),
        }
    }
}

fn scale(rates: Rates, above: &[UsdStep]) -> Scale {
    let above = above.iter().map(|step| (step.tokens, step.rates.over(&rates))).collect();
    Scale { rates, above }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Tokens, Units, Work};

    fn read(yaml: &str) -> UsdPrice {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn cost(yaml: &str, tokens: Tokens, units: Units) -> String {
        Price::from(&read(yaml)).cost_of(&Work { tokens, units }).unwrap().to_string()
    }

    #[test]
    fn kinds_of_tokens_without_a_price_cost_what_they_are_kinds_of() {
        let rates = Price::from(&read("{ input: 3, output: 15, cache_write: 4 }")).scale.rates;

        assert_eq!(rates.cached, NanoUsd::from_usd(3));
        assert_eq!(rates.cache_write_1h, NanoUsd::from_usd(4));
        assert_eq!(rates.reasoning, NanoUsd::from_usd(15));
    }

    #[test]
    fn everything_that_is_paid_for_can_have_a_price() {
        let (none, nothing) = (Tokens::default(), Units::default());
        let second = Duration::from_secs(1);

        assert_eq!(cost("{ per_image: 0.04 }", none, Units { images: 2, ..nothing }), "0.08");
        assert_eq!(
            cost("{ per_audio_second: 0.0001 }", none, Units { audio: second * 60, ..nothing }),
            "0.006"
        );
        assert_eq!(cost("{ per_video_second: 0.3 }", none, Units { video: second * 8, ..nothing }), "2.4");
        assert_eq!(
            cost("{ per_million_characters: 15 }", none, Units { characters: 100, ..nothing }),
            "0.0015"
        );
        assert_eq!(cost("{ per_search: 0.002 }", none, Units { searches: 3, ..nothing }), "0.006");
        let text = "{ input: 1, output: 2, media_input: 10, media_output: 20, per_request: 0.005, \
                    per_web_search: 0.01, per_grounded_answer: 0.035, per_code_session: 0.03, per_map_search: 0.025 }";
        let tokens = Tokens { input: 1_000_000, output: 1_000_000, ..none };
        assert_eq!(cost(text, tokens, nothing), "3.005");
        let used =
            Units { web_searches: 2, code_sessions: 1, map_searches: 2, media_input: 1_000_000, ..nothing };
        // 10 + 2, and 0.005 + 0.02 + 0.035 + 0.03 + 0.05
        assert_eq!(cost(text, tokens, used), "12.14");
    }

    #[test]
    fn classes_of_service_and_long_inputs_differ_in_what_is_given() {
        let text = "{ input: 3, output: 15, cached_input: 0.3, above: [ { tokens: 1000, rates: { input: 6 } } ], \
                    tiers: { priority: { rates: { input: 9 }, above: [ { tokens: 1000, rates: { output: 50 } } ] } } }";
        let of = |input, tier| {
            let tokens = Tokens { input, cached: 100, output: 10, ..Tokens::default() };
            cost(text, tokens, Units { tier, ..Units::default() }).parse::<NanoUsd>().unwrap().0
        };

        assert_eq!(of(1_000, Tier::Standard), 900 * 3_000 + 100 * 300 + 10 * 15_000);
        assert_eq!(of(1_001, Tier::Standard), 901 * 6_000 + 100 * 300 + 10 * 15_000);
        assert_eq!(of(1_000, Tier::Priority), 900 * 9_000 + 100 * 300 + 10 * 15_000);
        assert_eq!(of(1_001, Tier::Priority), 901 * 9_000 + 100 * 300 + 10 * 50_000);
        assert_eq!(Price::from(&read(text)).unasked, Tier::Priority);
    }

    #[test]
    fn a_price_is_told_as_it_is_written() {
        for text in [
            "{ input: 3, output: 15, cached_input: 0.3, cache_write_1h: 6, per_web_search: 0.01, per_request: 1, \
             media_input: 4, above: [ { tokens: 1000, rates: { input: 6 } } ], percent_in_us: 110, \
             tiers: { flex: { rates: { input: 9, media_input: 8 }, \
             above: [ { tokens: 1000, rates: { output: 50 } } ] } } }",
            "{ input: 0, output: 0, per_image: 0.04, per_million_characters: 15, per_video_second: 0.3 }",
        ] {
            assert_eq!(UsdPrice::from(&Price::from(&read(text))), read(text));
        }
    }

    #[test]
    fn sound_has_a_price_in_each_class_of_service() {
        let text = "{ input: 1, output: 2, media_input: 4, media_cached: 0.5, \
                    tiers: { priority: { rates: { media_input: 8 } } } }";
        let cost = |tier| {
            let tokens = Tokens { input: 1_000_000, cached: 500_000, ..Tokens::default() };
            cost(
                text,
                tokens,
                Units { tier, media_input: 1_000_000, media_cached: 500_000, ..Units::default() },
            )
        };

        assert_eq!([Tier::Standard, Tier::Flex, Tier::Priority].map(cost), ["2.25", "2.25", "4.25"]);
    }

    #[test]
    fn a_price_that_cannot_be_meant_is_one() {
        let problem = |yaml| read(yaml).problem();

        assert_eq!(problem("{ input: 0, output: 0 }"), None);
        assert_eq!(problem("{ per_image: 1 }"), None);
        assert!(problem("{ input: 1 }").is_some() && problem("{ per_web_search: 1 }").is_some());
        let steps = "{ input: 1, output: 1, above: [ { tokens: 9, rates: {} }, { tokens: 8, rates: {} } ] }";
        assert!(problem(steps).is_some_and(|problem| problem.starts_with("above:")));
    }
}
