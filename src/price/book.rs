use std::cmp::{Ordering, Reverse};

use super::{NanoUsd, Price, Rates, Scale, Tier, UnitRates};
use crate::{access::Pattern, target::ModelFacts};

/// Written by `.ci/price_book.py` from public price facts as compiled in the LiteLLM project's model
/// price map (package version 1.109.1), taken 2026-11-21; facts only, not checked against the
/// providers' own pages.
///
/// First one line per set of features: what is supported, what is lacking, comma separated. After an
/// empty line one line per model, sorted by name: name; input, output, cached, cache write, cache
/// write for an hour, reasoning, and sound or images read, cached and made, in nano-dollars per million
/// tokens; other such rates (`200000=…` above so many tokens of input, `batch=…` in another class of
/// service, `batch>200000=…` for both), and percentages: `us=…` for what stays there, `region=…` for any one place; the most
/// input and output; the number of its set of features; and, where more is paid for than text, the names
/// of [`UnitRates`] with nano-dollars per million of them.
const BUILT_IN: &str = include_str!("book.tsv");

/// The column of what is paid for beside text.
const UNITS: usize = 14;

/// What models cost and what is known of them: a built-in list, and prices of one's own that go
/// before it.
///
/// The list is not loaded: it is searched as it lies in the program, so that neither the start nor
/// the memory knows that it is there.
///
/// ```
/// use bartizan::price::{NanoUsd, PriceBook};
///
/// let book = PriceBook::builtin();
///
/// let listing = book.lookup("openai", "gpt-4o-mini").unwrap();
///
/// assert_eq!(listing.price.unwrap().scale.rates.input.to_string(), "0.15");
/// assert!(listing.facts.supports("vision"));
/// assert!(book.lookup("openai", "my-own-model").is_none());
/// ```
#[derive(Clone, Debug, Default)]
pub struct PriceBook {
    /// The most specific first.
    overrides: Vec<(Pattern, Price)>,
}

/// What the book says of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// What it costs; `None` if that isn't known.
    pub price: Option<Price>,
    /// What it takes and refuses.
    pub facts: ModelFacts,
    /// Whose names the price was [set](PriceBook::with_overrides) for; `None` if it is that of the list.
    pub set_for: Option<Pattern>,
}

impl PriceBook {
    /// The built-in list.
    pub fn builtin() -> Self {
        Self::default()
    }

    /// Prices for the names `provider/model` that a pattern matches. They go before the list, from which they
    /// keep what they don't name beside the usual rates: searches, sessions, sound, requests, classes of service
    /// and longer inputs; a price of nothing at all keeps nothing. Where
    /// several match, the longest pattern does, and one without `*` before all.
    #[must_use]
    pub fn with_overrides(mut self, overrides: impl IntoIterator<Item = (Pattern, Price)>) -> Self {
        self.overrides.extend(overrides);
        self.overrides.sort_by_cached_key(|(pattern, _)| {
            let text = pattern.to_string();
            (text.contains('*'), Reverse(text.len()))
        });
        self
    }

    /// The models of a provider in the built-in list, by the provider's name there.
    pub fn names(provider: &str) -> impl Iterator<Item = &'static str> {
        let prefix = format!("{provider}/");
        let models = BUILT_IN.split_once("\n\n").map_or("", |(_, models)| models);
        models.lines().filter_map(move |line| line.split('\t').next()?.strip_prefix(&*prefix))
    }

    /// What is known of a model, by the name of the provider in the list, such as `openai`. A dated
    /// snapshot (`gpt-4o-2024-08-06`, `claude-sonnet-4-5-20250929`) that isn't listed is taken for
    /// the model it is a snapshot of.
    pub fn lookup(&self, provider: &str, model: &str) -> Option<Listing> {
        let listed = listing(provider, model)
            .or_else(|| without_date(model).and_then(|undated| listing(provider, undated)));
        let name = format!("{provider}/{model}");
        match self.overrides.iter().find(|(pattern, _)| pattern.matches(&name)) {
            Some((pattern, price)) => {
                let Listing { price: usual, facts, .. } = listed.unwrap_or_default();
                let set_for = Some(pattern.clone());
                Some(Listing { price: Some(price.clone().over(usual)), facts, set_for })
            }
            None => listed,
        }
    }
}

fn listing(provider: &str, model: &str) -> Option<Listing> {
    let (features, models) = BUILT_IN.split_once("\n\n")?;
    let mut listing = read(find(models, &format!("{provider}/{model}"))?, features)?;
    // What is not asked for there is as the project is set.
    if matches!(provider, "openai" | "azure" | "azure_ai")
        && let Some(price) = &mut listing.price
    {
        price.unasked = Tier::Priority;
    }
    Some(listing)
}

/// The line that begins with `name`, by halving the text.
fn find<'a>(mut lines: &'a str, name: &str) -> Option<&'a str> {
    while !lines.is_empty() {
        let (before, after) = lines.as_bytes().split_at(lines.len() / 2);
        let start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
        let end = memchr::memchr(b'\n', after).map_or(lines.len(), |at| before.len() + at);
        let line = &lines[start..end];
        match line.split('\t').next().unwrap_or_default().cmp(name) {
            Ordering::Equal => return Some(line),
            Ordering::Less => lines = lines.get(end + 1..).unwrap_or_default(),
            Ordering::Greater => lines = &lines[..start.saturating_sub(1)],
        }
    }
    None
}

fn read(line: &str, features: &str) -> Option<Listing> {
    let units = line.split('\t').nth(UNITS).map(UnitRates::read).unwrap_or_default();
    let mut columns = line.split('\t').skip(1);
    let rates = read_rates(&mut columns)?;
    let mut price = Price { units, ..Price::from(rates) };
    read_others(columns.next()?, &mut price);
    let mut number = || columns.next()?.parse::<u64>().ok();
    let (max_input, max_output, set) = (number(), number(), number()?);
    let (supports, lacks) = features.lines().nth(usize::try_from(set).ok()?)?.split_once('\t')?;
    let mut facts = ModelFacts::new(names(supports), names(lacks));
    facts.max_input = max_input;
    facts.max_output = max_output;
    Some(Listing { price: Some(price), facts, set_for: None })
}

fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(|name| !name.is_empty())
}

/// The rates beside the standard ones; a class of service comes before its long inputs.
fn read_others(others: &str, price: &mut Price) {
    for (name, rates) in others.split(';').filter_map(|other| other.split_once('=')) {
        match name {
            "us" => price.percent_in_us = rates.parse().ok(),
            "region" => price.percent_in_region = rates.parse().ok(),
            _ => {}
        }
        let Some(rates) = read_rates(&mut rates.split(',')) else { continue };
        let (tier, threshold) = name.split_once('>').unwrap_or(("", name));
        match threshold.parse::<u64>() {
            Ok(threshold) if tier.is_empty() => price.scale.above.push((threshold, rates)),
            Ok(threshold) => {
                let scale = price.tiers.iter_mut().find(|(known, _)| *known == Tier::named(tier));
                scale.into_iter().for_each(|(_, scale)| scale.above.push((threshold, rates)));
            }
            Err(_) => price.tiers.push((Tier::named(name), Scale::from(rates))),
        }
    }
}

/// The next nine columns; `None` if there are no rates in them.
fn read_rates<'a>(columns: &mut impl Iterator<Item = &'a str>) -> Option<Rates> {
    let mut next = || columns.next()?.parse().ok().map(NanoUsd);
    let [
        input,
        output,
        cached,
        cache_write,
        cache_write_1h,
        reasoning,
        media_input,
        media_cached,
        media_output,
    ] = std::array::from_fn(|_| next());
    let (input, output) = (input?, output?);
    let cache_write = cache_write.unwrap_or(input);
    Some(Rates {
        input,
        output,
        cached: cached.unwrap_or(input),
        cache_write,
        cache_write_1h: cache_write_1h.unwrap_or(cache_write),
        reasoning: reasoning.unwrap_or(output),
        media_input,
        media_cached,
        media_output,
    })
}

/// `model` without `-2024-08-06`, `-20240806` or `@20240806` at its end.
fn without_date(model: &str) -> Option<&str> {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let is_date = |date: &str| match *date.as_bytes() {
        [_, _, _, _, b'-', _, _, b'-', _, _] => digits(&date.replace('-', "")),
        _ => date.len() == 8 && digits(date),
    };
    [10, 8].into_iter().find_map(|length| {
        let (name, date) = model.split_at_checked(model.len().checked_sub(length)?)?;
        is_date(date).then(|| name.strip_suffix(['-', '@']))?
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{Tokens, Units, Work};

    fn usd(text: &str) -> NanoUsd {
        text.parse().unwrap()
    }

    fn rates(provider: &str, model: &str) -> Rates {
        PriceBook::builtin().lookup(provider, model).unwrap().price.unwrap().scale.rates
    }

    #[test]
    fn every_line_is_found_and_can_be_read() {
        let (features, models) = BUILT_IN.split_once("\n\n").unwrap();

        for line in models.lines() {
            let name = line.split('\t').next().unwrap();
            assert_eq!(find(models, name), Some(line));
            assert!(read(line, features).is_some(), "{line}");
        }
        assert!(models.lines().count() > 2_000);
        for absent in ["", "a", "openai/", "openai/gpt-4", "openai/gpt-4o-minj", "zzz/z"] {
            let is_listed = models.lines().any(|line| line.split('\t').next() == Some(absent));
            assert_eq!(find(models, absent).is_some(), is_listed, "{absent}");
        }
    }

    #[test]
    fn prices_are_exact_and_fall_back() {
        let mini = rates("openai", "gpt-4o-mini");
        assert_eq!((mini.input, mini.output, mini.cached), (usd("0.15"), usd("0.6"), usd("0.075")));
        assert_eq!((mini.cache_write, mini.reasoning), (mini.input, mini.output));

        let sonnet = rates("anthropic", "claude-sonnet-4-5");
        assert_eq!((sonnet.cache_write, sonnet.cache_write_1h), (usd("3.75"), usd("6")));

        let embedding = rates("openai", "text-embedding-3-small");
        assert_eq!((embedding.input, embedding.output), (usd("0.02"), usd("0")));
    }

    #[test]
    fn images_sound_and_film_have_their_prices() {
        let units = |model| PriceBook::builtin().lookup("openai", model).unwrap().price.unwrap().units;

        assert_eq!(units("whisper-1").audio, usd("100"));
        assert_eq!(units("tts-1-hd").character, usd("30"));
        assert_eq!(rates("openai", "gpt-image-1").media_output, Some(usd("40")));
        assert_eq!(rates("openai", "gpt-image-1").media_cached, Some(usd("2.5")));
        assert_eq!(rates("gemini", "gemini-3-pro-image").media_output, Some(usd("120")));
        assert_eq!(rates("vertex", "gemini-3.8-flash-tts").media_output, Some(usd("9")));
        assert_eq!(units("sora-2-pro").video, [usd("300000"), usd("300000"), usd("500000"), usd("500000")]);
        assert_eq!(units("gpt-4o"), UnitRates::default());
    }

    #[test]
    fn long_inputs_have_rates_of_their_own() {
        let price = PriceBook::builtin().lookup("vertex", "claude-sonnet-4-5").unwrap().price.unwrap();

        let [(threshold, above)] = price.scale.above[..] else { panic!("one threshold") };

        assert_eq!(threshold, 200_000);
        assert_eq!((above.input, above.output, above.cached), (usd("6"), usd("22.5"), usd("0.6")));
    }

    #[test]
    fn classes_of_service_have_rates_of_their_own() {
        let price = PriceBook::builtin().lookup("vertex", "gemini-3-pro-preview").unwrap().price.unwrap();
        let tokens = |input| Tokens { input, output: 1_000_000, ..Tokens::default() };
        let cost = |tier, input| {
            let units = Units { tier, ..Units::default() };
            price.cost_of(&Work { tokens: tokens(input), units }).unwrap().to_string()
        };

        assert_eq!(cost(Tier::Standard, 100_000), "12.2");
        assert_eq!(cost(Tier::Standard, 200_001), "18.800004");
        assert_eq!(cost(Tier::Priority, 100_000), "21.96");
        assert_eq!(cost(Tier::Priority, 200_001), "33.8400072");
        assert_eq!(price.batch().cost(&tokens(100_000)).to_string(), "6.1");
        // The list has no price of flex here.
        assert_eq!(cost(Tier::Flex, 100_000), "12.2");
        let fast = PriceBook::builtin().lookup("anthropic", "claude-opus-5").unwrap().price.unwrap();
        let units = Units { tier: Tier::Fast, ..Units::default() };
        assert_eq!(fast.cost_of(&Work { tokens: tokens(0), units }), Some(usd("50")));
        assert_eq!(fast.batch().cost(&tokens(0)), usd("12.5"));
    }

    #[test]
    fn sound_has_a_price_in_each_class_of_service_and_out_of_a_cache() {
        let price = PriceBook::builtin().lookup("gemini", "gemini-2.5-flash").unwrap().price.unwrap();
        let heard = |tier, cached| Work {
            tokens: Tokens { input: 1_000_000, cached, ..Tokens::default() },
            units: Units { media_input: 1_000_000, media_cached: cached, tier, ..Units::default() },
        };
        let cost = |tier, cached| price.cost_of(&heard(tier, cached)).unwrap().to_string();

        assert_eq!([cost(Tier::Standard, 0), cost(Tier::Standard, 1_000_000)], ["1", "0.1"]);
        assert_eq!([cost(Tier::Priority, 0), cost(Tier::Priority, 1_000_000)], ["1.8", "0.18"]);
        assert_eq!([cost(Tier::Flex, 0), cost(Tier::Flex, 1_000_000)], ["0.5", "0.1"]);
        assert_eq!(price.batch().cost_of(&heard(Tier::Standard, 0)), Some(usd("0.5")));
        let most = price.worst_case(&heard(Tier::Standard, 0), Some(Tier::Priority), false);
        assert_eq!(most, Some(usd("1.8")));
        let film = PriceBook::builtin().lookup("gemini", "gemini-omni-1.1-flash").unwrap().price.unwrap();
        let made = Tokens { output: 1_000_000, ..Tokens::default() }.into();
        assert_eq!(film.worst_case(&made, None, false), Some(usd("17.5")));
    }

    #[test]
    fn what_is_done_in_one_place_costs_more_where_that_is_listed() {
        let price = |provider, model| {
            let price = PriceBook::builtin().lookup(provider, model).unwrap().price.unwrap();
            (price.scale.rates.input, price.in_region().scale.rates.input)
        };

        assert_eq!(price("vertex", "claude-sonnet-4-5@20250929"), (usd("3"), usd("3.3")));
        assert_eq!(price("openai", "gpt-5.4"), (usd("2.5"), usd("2.75")));
        assert_eq!(price("openai", "gpt-4o"), (usd("2.5"), usd("2.5")));
    }

    #[test]
    fn what_providers_do_beside_the_answer_has_its_price() {
        let cost = |provider, model, units| {
            let price = PriceBook::builtin().lookup(provider, model).unwrap().price.unwrap();
            price.cost_of(&Work { units, ..Work::default() }).unwrap().to_string()
        };
        let searches = |web_searches| Units { web_searches, ..Units::default() };

        assert_eq!(cost("anthropic", "claude-sonnet-4-5", searches(3)), "0.03");
        assert_eq!(cost("gemini", "gemini-3.1-pro-preview", searches(3)), "0.042");
        // For the answer, however often it searched.
        assert_eq!(cost("gemini", "gemini-2.5-flash", searches(3)), "0.035");
        let maps = Units { map_searches: 2, ..Units::default() };
        assert_eq!(cost("vertex", "gemini-2.5-pro", maps), "0.05");
        let sessions = Units { code_sessions: 2, ..Units::default() };
        assert_eq!(cost("openai", "gpt-5", sessions), "0.06");
        let heard = Work {
            tokens: Tokens { input: 1_000_000, ..Tokens::default() },
            units: Units { media_input: 1_000_000, ..Units::default() },
        };
        let flash = PriceBook::builtin().lookup("gemini", "gemini-2.5-flash").unwrap().price.unwrap();
        assert_eq!(flash.cost_of(&heard), Some(usd("1")));
        assert_eq!(flash.cost(&heard.tokens), usd("0.3"));
    }

    #[test]
    fn long_inputs_may_have_several_steps() {
        let price = PriceBook::builtin().lookup("dashscope", "qwen3-coder-plus").unwrap().price.unwrap();
        let cost = |input| price.cost(&Tokens { input, ..Tokens::default() }).0;

        assert_eq!(cost(32_000), 32_000 * 1_000);
        assert_eq!(cost(32_001), 32_001 * 1_800);
        assert_eq!(cost(256_001), 256_001 * 6_000);
    }

    #[test]
    fn facts_come_with_the_price() {
        let facts = PriceBook::builtin().lookup("anthropic", "claude-sonnet-4-5").unwrap().facts;

        assert_eq!((facts.max_input, facts.max_output), (Some(200_000), Some(64_000)));
        assert!(facts.supports("native_structured_output") && facts.supports("assistant_prefill"));
        assert!(!facts.supports("computer_use"));
    }

    #[test]
    fn a_snapshot_that_is_not_listed_is_the_model_it_was_taken_from() {
        let book = PriceBook::builtin();

        assert_eq!(book.lookup("openai", "gpt-4o-2099-01-31"), book.lookup("openai", "gpt-4o"));
        assert_eq!(
            book.lookup("anthropic", "claude-opus-4-5-20990131"),
            book.lookup("anthropic", "claude-opus-4-5")
        );
        assert_ne!(book.lookup("openai", "gpt-4o-2024-05-13"), book.lookup("openai", "gpt-4o"));
        for other in ["gpt-4o-2099-1-31", "gpt-4o2099-01-31", "-20990131", "20990131", "é990131"] {
            assert_eq!(book.lookup("openai", other), None, "{other}");
        }
    }

    #[test]
    fn an_override_keeps_what_it_does_not_name() {
        let own = Price::from(Rates::flat(NanoUsd::from_usd(1), NanoUsd::from_usd(2)));
        let of = |price: Price| {
            let book = PriceBook::builtin().with_overrides([(Pattern::new("openai/gpt-5"), price)]);
            book.lookup("openai", "gpt-5").unwrap().price.unwrap()
        };
        let listed = PriceBook::builtin().lookup("openai", "gpt-5").unwrap().price.unwrap();
        let flex = (Tier::Flex, Rates::flat(NanoUsd(7), NanoUsd(7)).into());

        let sound = rates("openai", "gpt-audio").media_output;
        let book = PriceBook::builtin().with_overrides([(Pattern::new("*"), own.clone())]);
        let merged = book.lookup("openai", "gpt-audio").unwrap().price.unwrap().scale.rates;
        assert_eq!((merged.output, merged.media_output), (own.scale.rates.output, sound));
        assert!(sound.is_some());

        let merged = of(Price { tiers: vec![flex.clone()], ..own.clone() });

        assert_eq!(merged.scale.rates, own.scale.rates);
        assert_eq!((merged.units, merged.unasked), (listed.units, Tier::Priority));
        assert_eq!(merged.scale_of(Tier::Flex), Some(&flex.1));
        assert_eq!(merged.scale_of(Tier::Priority), listed.scale_of(Tier::Priority));
        let free = UnitRates { web_search: Some(NanoUsd(0)), ..UnitRates::default() };
        assert_eq!(of(Price { units: free, ..own }).units.web_search, Some(NanoUsd(0)));
        assert_eq!(of(Price::default()), Price::default());
    }

    #[test]
    fn the_most_specific_override_wins() {
        let flat = |dollars| Price::from(Rates::flat(NanoUsd::from_usd(dollars), NanoUsd::from_usd(dollars)));
        let overrides = [("*", 1), ("local/*", 2), ("local/big", 3), ("openai/gpt-4o", 4)];
        let overrides = overrides.map(|(pattern, dollars)| (Pattern::new(pattern), flat(dollars)));

        let book = PriceBook::builtin().with_overrides(overrides);
        let price =
            |provider: &str, model: &str| book.lookup(provider, model).unwrap().price.unwrap().scale.rates;

        assert_eq!(price("other", "x"), flat(1).scale.rates);
        assert_eq!(price("local", "small"), flat(2).scale.rates);
        assert_eq!(price("local", "big"), flat(3).scale.rates);
        assert_eq!(price("openai", "gpt-4o"), flat(4).scale.rates);
        assert!(book.lookup("openai", "gpt-4o").unwrap().facts.supports("vision"));
    }

    #[test]
    fn the_first_lookup_takes_far_less_than_a_millisecond() {
        let start = Instant::now();

        let listing = PriceBook::builtin().lookup("openai", "gpt-4o");

        let elapsed = start.elapsed();
        println!("first lookup: {elapsed:?}");
        assert!(listing.is_some() && elapsed.as_millis() < 50, "{elapsed:?}");
    }
}
