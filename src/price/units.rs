use super::{NanoUsd, Rates};
use crate::Units;

/// What a million of each kind of unit costs, in billionths of a dollar; what has no price of its own
/// costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnitRates {
    /// Images.
    pub image: NanoUsd,
    /// Searches of a reranker.
    pub search: NanoUsd,
    /// Requests, whatever is in them.
    pub request: NanoUsd,
    /// Searches of the web; not known if neither this nor `grounding` or `request` is.
    pub web_search: Option<NanoUsd>,
    /// Answers for which the web was searched, however often.
    pub grounding: Option<NanoUsd>,
    /// Searches of maps; not known if it is `None`.
    pub map_search: Option<NanoUsd>,
    /// Containers that code is run in; not known if it is `None`.
    pub code_session: Option<NanoUsd>,
    /// Characters that are read aloud.
    pub character: NanoUsd,
    /// Seconds of sound that is listened to.
    pub audio: NanoUsd,
    /// Seconds of film with up to 480, 768, 1088 and any number of lines.
    pub video: [NanoUsd; 4],
}

impl UnitRates {
    /// Reads `image=40000000000000,search=2000000000000`; names it doesn't know are passed over.
    pub(super) fn read(text: &str) -> Self {
        let mut rates = Self::default();
        for (name, rate) in text.split(',').filter_map(|pair| pair.split_once('=')) {
            let Ok(rate) = rate.parse().map(NanoUsd) else { continue };
            match name {
                "image" => rates.image = rate,
                "search" => rates.search = rate,
                "request" => rates.request = rate,
                "web_search" => rates.web_search = Some(rate),
                "grounding" => rates.grounding = Some(rate),
                "map_search" => rates.map_search = Some(rate),
                "code_session" => rates.code_session = Some(rate),
                "character" => rates.character = rate,
                "audio" => rates.audio = rate,
                "video_480" => rates.video[0] = rate,
                "video_768" => rates.video[1] = rate,
                "video_1088" => rates.video[2] = rate,
                "video" => rates.video[3] = rate,
                _ => {}
            }
        }
        rates
    }

    /// These rates, and those of `usual` where nothing is given.
    pub(super) fn over(&self, usual: &Self) -> Self {
        let or = |own: NanoUsd, usual| if own == NanoUsd(0) { usual } else { own };
        // A price for a search goes before any other form of it.
        let search = if self.web_search.or(self.grounding).is_some() { self } else { usual };
        Self {
            image: or(self.image, usual.image),
            search: or(self.search, usual.search),
            request: or(self.request, usual.request),
            web_search: search.web_search,
            grounding: search.grounding,
            map_search: self.map_search.or(usual.map_search),
            code_session: self.code_session.or(usual.code_session),
            character: or(self.character, usual.character),
            audio: or(self.audio, usual.audio),
            video: std::array::from_fn(|lines| or(self.video[lines], usual.video[lines])),
        }
    }

    /// Each rate halved, and a half rounded up.
    pub(super) fn halved(&self) -> Self {
        let half = |rate: NanoUsd| NanoUsd(rate.0.div_ceil(2));
        Self {
            image: half(self.image),
            search: half(self.search),
            request: half(self.request),
            // Tools cost the same.
            web_search: self.web_search,
            grounding: self.grounding,
            map_search: self.map_search,
            code_session: self.code_session,
            character: half(self.character),
            audio: half(self.audio),
            video: self.video.map(half),
        }
    }

    /// Whether everything in `units` has a price, of its own or as the tokens that it also comes to.
    pub(super) fn pay_for(&self, units: &Units, rates: &Rates) -> bool {
        if units.is_tokens_only() {
            return true;
        }
        let read = rates.input.max(rates.media_input.unwrap_or_default());
        let made = rates.output.max(rates.media_output.unwrap_or_default());
        let is_film = !units.video.is_zero();
        let needed = [
            (is_film, self.video.into_iter().max().unwrap_or_default()),
            (!is_film && units.images > 0, self.image.max(made)),
            (units.searches > 0, self.search.max(read)),
            (units.characters > 0, self.character.max(made)),
            (!units.audio.is_zero(), self.audio.max(read)),
        ];
        // Where each request has a price of its own it is that of the search which comes with it.
        let pays_searches = self.web_search.or(self.grounding).is_some()
            || self.request > NanoUsd(0)
            || units.web_searches == 0;
        let pays_maps = self.map_search.is_some() || units.map_searches == 0;
        let pays_sessions = self.code_session.is_some() || units.code_sessions == 0;
        pays_searches
            && pays_maps
            && pays_sessions
            && needed.into_iter().all(|(is_used, rate)| !is_used || rate > NanoUsd(0))
    }

    /// What `units` cost, in thousandths of millionths of a nano-dollar.
    pub(super) fn cost(&self, units: &Units) -> u128 {
        if units.is_tokens_only() {
            return 0;
        }
        let counted = [
            (units.images, self.image),
            (units.searches, self.search),
            (units.web_searches, self.web_search.unwrap_or_default()),
            (units.web_searches.min(1), self.grounding.unwrap_or_default()),
            (units.map_searches, self.map_search.unwrap_or_default()),
            (units.code_sessions, self.code_session.unwrap_or_default()),
            (units.characters, self.character),
        ];
        let timed = [(units.audio, self.audio), (units.video, self.second_of_video(units.lines))];
        let counted = counted.map(|(n, rate)| (u128::from(n).saturating_mul(1_000), rate));
        let timed = timed.map(|(time, rate)| (time.as_nanos().div_ceil(1_000_000), rate));
        let parts = counted.into_iter().chain(timed);
        parts.map(|(n, rate)| n.saturating_mul(rate.0.into())).fold(0, u128::saturating_add)
    }

    /// The rate of a picture with so many lines; the dearest if that is not known.
    fn second_of_video(&self, lines: u32) -> NanoUsd {
        match lines {
            0 => self.video.into_iter().max().unwrap_or_default(),
            1..=480 => self.video[0],
            481..=768 => self.video[1],
            769..=1088 => self.video[2],
            _ => self.video[3],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        Tokens, Work,
        price::{Price, Rates},
    };

    fn cost(rates: &str, units: Units) -> String {
        let price = Price::of_units(UnitRates::read(rates));
        price.cost_of(&Work { units, ..Work::default() }).unwrap().to_string()
    }

    #[test]
    fn each_unit_has_its_price_and_the_sum_is_rounded_once() {
        let second = Duration::from_millis(1_001);

        assert_eq!(cost("image=40000000000000", Units { images: 3, ..Units::default() }), "0.12");
        assert_eq!(cost("search=2000000000000", Units { searches: 2, ..Units::default() }), "0.004");
        assert_eq!(cost("character=15000000000", Units { characters: 11, ..Units::default() }), "0.000165");
        assert_eq!(cost("audio=100000000000", Units { audio: second, ..Units::default() }), "0.0001001");
        assert_eq!(cost("audio=1", Units { audio: second, ..Units::default() }), "0.000000001");
        let both = Units { audio: second, characters: 1, ..Units::default() };
        assert_eq!(cost("audio=1,character=1", both), "0.000000001");
    }

    #[test]
    fn the_price_of_film_depends_on_its_lines() {
        let rates = "video_480=1000000,video_768=2000000,video_1088=9000000,video=4000000";
        let cost = |lines| {
            cost(rates, Units { video: Duration::from_secs(2), lines, ..Units::default() })
                .parse::<NanoUsd>()
                .unwrap()
                .0
        };

        assert_eq!([480, 720, 1080, 2160, 0].map(cost), [2, 4, 18, 8, 18]);
    }

    #[test]
    fn tokens_of_images_and_sound_have_a_price_of_their_own_or_that_of_text() {
        let tokens = Tokens { input: 10, output: 10, ..Tokens::default() };
        let units = Units { media_input: 4, media_output: 99, ..Units::default() };
        let text = Rates::flat(NanoUsd(1_000_000), NanoUsd(2_000_000));
        let (media_input, media_output) = (Some(NanoUsd(5_000_000)), Some(NanoUsd(7_000_000)));
        let media = Rates { media_input, media_output, ..text };
        let cost = |rates: Rates| Price::from(rates).cost_of(&Work { tokens, units }).unwrap().0;

        assert_eq!(cost(text), 10 + 20);
        assert_eq!(cost(media), 6 + 20 + 70);
    }

    #[test]
    fn images_and_sound_out_of_a_cache_have_a_price_of_their_own_or_that_of_text() {
        let tokens = Tokens { input: 10, cached: 5, ..Tokens::default() };
        let units = Units { media_input: 4, media_cached: 3, ..Units::default() };
        let (fresh, cached) = (NanoUsd(10_000_000), NanoUsd(1_000_000));
        let text = Rates { cached, media_input: Some(NanoUsd(50_000_000)), ..Rates::flat(fresh, fresh) };
        let media = Rates { media_cached: Some(NanoUsd(7_000_000)), ..text };
        let cost = |rates: Rates| Price::from(rates).cost_of(&Work { tokens, units }).unwrap().0;

        assert_eq!(cost(text), 4 * 10 + 50 + 5);
        assert_eq!(cost(media), 4 * 10 + 50 + 2 + 3 * 7);
    }

    #[test]
    fn what_has_no_price_is_not_taken_for_free_unless_all_is() {
        let chat = Price::from(Rates::flat(NanoUsd(1), NanoUsd(1)));
        let reads_aloud = Price::of_units(UnitRates::read("character=1"));
        let film = Units { video: Duration::from_secs(1), ..Units::default() };
        let (image, speech) =
            (Units { images: 1, ..Units::default() }, Units { characters: 1, ..Units::default() });
        let is_known = |price: &Price, units| price.cost_of(&Work { units, ..Work::default() }).is_some();

        assert!(!is_known(&chat, film) && is_known(&chat, image) && is_known(&chat, speech));
        assert!(is_known(&reads_aloud, speech) && !is_known(&reads_aloud, image));
        assert!(is_known(&Price::default(), film) && is_known(&reads_aloud, Units::default()));
    }

    #[test]
    fn searches_and_sessions_without_a_price_are_not_free() {
        let searched = Units { web_searches: 1, ..Units::default() };
        let ran = Units { code_sessions: 1, ..Units::default() };
        let mapped = Units { map_searches: 1, ..Units::default() };
        let is_known = |rates: &str, units| {
            let tokens = Price::from(Rates::flat(NanoUsd(1), NanoUsd(1)));
            let price = Price { units: UnitRates::read(rates), ..tokens };
            price.cost_of(&Work { units, ..Work::default() }).is_some()
        };

        assert!(!is_known("", searched) && !is_known("", ran));
        assert!(!is_known("code_session=1", searched) && !is_known("web_search=1", ran));
        for rates in ["web_search=1", "grounding=1", "request=1", "web_search=0"] {
            assert!(is_known(rates, searched), "{rates}");
        }
        assert!(!is_known("web_search=1,grounding=1,request=1", mapped) && is_known("map_search=0", mapped));
        assert!(is_known("code_session=0", ran) && is_known("", Units::default()));
    }

    #[test]
    fn absurd_counts_do_not_overflow() {
        let units = Units {
            images: u64::MAX,
            audio: Duration::MAX,
            video: Duration::MAX,
            characters: u64::MAX,
            ..Units::default()
        };
        let all = format!("image={0},audio={0},video={0},character={0}", u64::MAX);

        assert_eq!(cost(&all, units), NanoUsd(u64::MAX).to_string());
    }
}
