//! Token counts and the class of service, in both directions.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{GROUNDING, USAGE, wire::write};
use crate::{
    Tokens, Units, Work,
    dialect::{
        canonical::Text,
        json::{self, NearTheEnd},
        text::Str,
    },
    price::Tier,
};

/// Token counts as Gemini writes them, those that are zero left out: the prompt includes what was cached
/// but not what tools of the provider read, the candidates leave thoughts out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Usage<'a> {
    prompt_token_count: u64,
    tool_use_prompt_token_count: u64,
    cached_content_token_count: u64,
    candidates_token_count: u64,
    thoughts_token_count: u64,
    total_token_count: u64,
    #[serde(borrow)]
    prompt_tokens_details: Option<Vec<Modality<'a>>>,
    #[serde(borrow)]
    cache_tokens_details: Option<Vec<Modality<'a>>>,
    #[serde(borrow)]
    candidates_tokens_details: Option<Vec<Modality<'a>>>,
    #[serde(borrow)]
    traffic_type: Option<Str<'a>>,
    #[serde(borrow)]
    service_tier: Option<Str<'a>>,
}

/// How many of the tokens are of one kind.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Modality<'a> {
    #[serde(borrow)]
    modality: Option<Str<'a>>,
    token_count: Option<u64>,
}

/// The word for sound.
const AUDIO: &str = "AUDIO";

fn of_kinds(details: &Option<Vec<Modality<'_>>>, kinds: &[&str]) -> u64 {
    let details = details.iter().flatten();
    let of_kind =
        details.filter(|detail| detail.modality.as_deref().is_some_and(|kind| kinds.contains(&kind)));
    of_kind.filter_map(|detail| detail.token_count).fold(0, u64::saturating_add)
}

impl Usage<'_> {
    /// What is counted beside text; images that are read cost what text does.
    fn merge_units(&self, units: &mut Units) {
        units.media_input = of_kinds(&self.prompt_tokens_details, &[AUDIO]);
        units.media_cached = of_kinds(&self.cache_tokens_details, &[AUDIO]);
        units.media_output = of_kinds(&self.candidates_tokens_details, &[AUDIO, "IMAGE", "VIDEO"]);
        let tier = self.service_tier.as_deref().or(self.traffic_type.as_deref());
        units.tier = tier.map_or(units.tier, Tier::named);
    }

    fn tokens(&self) -> Tokens {
        let input = self.prompt_token_count.saturating_add(self.tool_use_prompt_token_count);
        // Some servers count thoughts as part of the candidates; the total tells them apart.
        let is_inclusive = self.total_token_count == input.saturating_add(self.candidates_token_count);
        let thoughts = if is_inclusive { 0 } else { self.thoughts_token_count };
        let output = self.candidates_token_count.saturating_add(thoughts);
        Tokens {
            input,
            cached: self.cached_content_token_count.min(input),
            output,
            reasoning: self.thoughts_token_count.min(output),
            audio_input: of_kinds(&self.prompt_tokens_details, &[AUDIO]).min(input),
            audio_output: of_kinds(&self.candidates_tokens_details, &[AUDIO]).min(output),
            ..Tokens::default()
        }
    }
}

/// Merges all that a whole answer or a chunk says was used into `work`; says whether there were counts.
pub(super) fn merge_of(body: &[u8], work: &mut Work) -> bool {
    let (web, maps) = searches(body);
    work.units.web_searches = work.units.web_searches.max(web);
    work.units.map_searches = work.units.map_searches.max(maps);
    let Some(usage) = find(body) else { return false };
    let tokens = usage.tokens();
    if tokens.is_zero() {
        return false;
    }
    work.tokens = tokens;
    usage.merge_units(&mut work.units);
    true
}

/// How often the web and maps were searched for an answer.
fn searches(body: &[u8]) -> (u64, u64) {
    #[derive(Deserialize)]
    struct Grounded {
        candidates: Option<Vec<Candidate>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Candidate {
        grounding_metadata: Option<Grounding>,
    }
    if GROUNDING.value(body) != Some(b'{') {
        return (0, 0);
    }
    let candidates = json::parse::<Grounded>(body).ok().and_then(|answer| answer.candidates);
    let grounded = candidates.into_iter().flatten().filter_map(|candidate| candidate.grounding_metadata);
    grounded.fold((0, 0), |(web, maps), grounding| (web + grounding.of_web(), maps + grounding.of_maps()))
}

/// What an answer is grounded on.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Grounding {
    web_search_queries: Option<Vec<IgnoredAny>>,
    search_entry_point: Option<IgnoredAny>,
    google_maps_widget_context_token: Option<IgnoredAny>,
    grounding_chunks: Option<Vec<Chunk>>,
}

#[derive(Deserialize)]
struct Chunk {
    web: Option<IgnoredAny>,
    maps: Option<IgnoredAny>,
}

impl Grounding {
    fn has(&self, of: fn(&Chunk) -> Option<IgnoredAny>) -> bool {
        self.grounding_chunks.iter().flatten().any(|chunk| of(chunk).is_some())
    }

    fn queries(&self) -> u64 {
        self.web_search_queries.as_ref().map_or(0, |queries| queries.len() as u64)
    }

    fn is_mapped(&self) -> bool {
        self.google_maps_widget_context_token.is_some() || self.has(|chunk| chunk.maps)
    }

    /// Maps have no list of queries of their own: those of an answer that is of maps alone are theirs.
    fn is_of_maps_alone(&self) -> bool {
        self.is_mapped() && self.search_entry_point.is_none() && !self.has(|chunk| chunk.web)
    }

    fn of_web(&self) -> u64 {
        let least = u64::from(self.search_entry_point.is_some());
        if self.is_of_maps_alone() { 0 } else { self.queries().max(least) }
    }

    fn of_maps(&self) -> u64 {
        let queries = if self.is_of_maps_alone() { self.queries() } else { 0 };
        queries.max(self.is_mapped().into())
    }
}

fn find(body: &[u8]) -> Option<Usage<'_>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct WithUsage<'a> {
        #[serde(borrow)]
        usage_metadata: Option<Usage<'a>>,
    }
    match USAGE.near_the_end::<Usage<'_>>(body) {
        NearTheEnd::Found(usage) => Some(usage),
        NearTheEnd::Nothing => None,
        NearTheEnd::Unclear => json::parse::<WithUsage<'_>>(body).ok().and_then(|body| body.usage_metadata),
    }
}

/// The counts and the class of service, in the words of OpenAI.
pub(super) fn read(raw: &RawValue) -> (Tokens, Option<Text<'_>>) {
    let usage: Usage<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
    let tier = usage.traffic_type.as_deref().and_then(|traffic| match traffic {
        "ON_DEMAND" => Some("default"),
        "ON_DEMAND_PRIORITY" => Some("priority"),
        "ON_DEMAND_FLEX" => Some("flex"),
        "PROVISIONED_THROUGHPUT" => Some("scale"),
        _ => None,
    });
    let said = usage.service_tier.as_deref().and_then(|tier| match tier {
        "standard" => Some("default"),
        "flex" => Some("flex"),
        "priority" => Some("priority"),
        _ => None,
    });
    (usage.tokens(), said.or(tier).map(Text::from))
}

/// The counts for a client.
pub(super) fn write(tokens: &Tokens, service_tier: Option<&str>) -> write::Usage {
    let sound = |count| (count > 0).then_some([write::Modality { modality: AUDIO, token_count: count }]);
    write::Usage {
        prompt_token_count: tokens.input,
        cached_content_token_count: tokens.cached,
        candidates_token_count: tokens.output.saturating_sub(tokens.reasoning),
        thoughts_token_count: tokens.reasoning,
        total_token_count: tokens.total(),
        prompt_tokens_details: sound(tokens.audio_input),
        candidates_tokens_details: sound(tokens.audio_output),
        traffic_type: service_tier.and_then(|tier| match tier {
            "default" => Some("ON_DEMAND"),
            "priority" => Some("ON_DEMAND_PRIORITY"),
            "flex" => Some("ON_DEMAND_FLEX"),
            "scale" => Some("PROVISIONED_THROUGHPUT"),
            _ => None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(body: &str) -> Option<Work> {
        let mut work = Work::default();
        merge_of(body.as_bytes(), &mut work).then_some(work)
    }

    fn counted(usage: &str) -> Tokens {
        used(&format!(r#"{{"usageMetadata":{usage}}}"#)).unwrap().tokens
    }

    #[test]
    fn what_includes_what_is_made_the_same_everywhere() {
        let tokens = counted(
            r#"{"promptTokenCount":2560,"cachedContentTokenCount":2048,"candidatesTokenCount":180,"thoughtsTokenCount":120,"totalTokenCount":2860}"#,
        );
        let tools = counted(
            r#"{"promptTokenCount":10,"toolUsePromptTokenCount":5,"candidatesTokenCount":3,"thoughtsTokenCount":2,"totalTokenCount":20}"#,
        );
        let inclusive = counted(
            r#"{"promptTokenCount":10,"candidatesTokenCount":7,"thoughtsTokenCount":5,"totalTokenCount":17}"#,
        );

        let expected = Tokens { input: 2560, cached: 2048, output: 300, reasoning: 120, ..Tokens::default() };
        assert_eq!(tokens, expected);
        assert_eq!((tools.input, tools.output), (15, 5));
        assert_eq!((inclusive.output, inclusive.reasoning), (7, 5));
    }

    #[test]
    fn no_counts_are_not_zero_counts() {
        assert_eq!(used(r#"{"usageMetadata":{}}"#), None);
        assert_eq!(used(r#"{"candidates":[]}"#), None);
    }

    #[test]
    fn searches_sound_and_the_class_of_service_are_counted() {
        let said = used(
            r#"{"candidates":[{"groundingMetadata":{"webSearchQueries":["a","b"],"searchEntryPoint":{}}}],
            "usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":5,"trafficType":"ON_DEMAND_PRIORITY",
            "promptTokensDetails":[{"modality":"TEXT","tokenCount":2},{"modality":"AUDIO","tokenCount":7}],
            "cacheTokensDetails":[{"modality":"TEXT","tokenCount":1},{"modality":"AUDIO","tokenCount":6}],
            "candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":4},{"modality":"VIDEO","tokenCount":1}]}}"#,
        );

        let Work { tokens, units } = said.unwrap();
        assert_eq!((tokens.audio_input, tokens.audio_output), (7, 0));
        assert_eq!((units.web_searches, units.tier), (2, Tier::Priority));
        assert_eq!((units.media_input, units.media_cached, units.media_output), (7, 6, 5));
        let opened = r#"{"candidates":[{"groundingMetadata":{}}],"usageMetadata":{"promptTokenCount":9}}"#;
        assert_eq!(used(opened).unwrap().units, Units::default());
    }

    #[test]
    fn searches_of_maps_are_told_from_those_of_the_web() {
        let searched = |grounding: &str| {
            let body = format!(
                r#"{{"candidates":[{{"groundingMetadata":{grounding}}}],"usageMetadata":{{"promptTokenCount":9}}}}"#
            );
            let units = used(&body).unwrap().units;
            (units.web_searches, units.map_searches)
        };

        assert_eq!(searched(r#"{"groundingChunks":[{"maps":{"placeId":"a"}},{"maps":{}}]}"#), (0, 1));
        assert_eq!(searched(r#"{"googleMapsWidgetContextToken":"a"}"#), (0, 1));
        assert_eq!(searched(r#"{"webSearchQueries":["a","b"],"groundingChunks":[{"maps":{}}]}"#), (0, 2));
        let both = r#"{"webSearchQueries":["a","b"],"groundingChunks":[{"maps":{}},{"web":{}}]}"#;
        assert_eq!(searched(both), (2, 1));
        assert_eq!(searched(r#"{"groundingChunks":[{"web":{"uri":"u"}}],"webSearchQueries":["a"]}"#), (1, 0));
    }

    #[test]
    fn counts_come_out_as_they_went_in() {
        let tokens = Tokens {
            input: 9,
            cached: 4,
            output: 5,
            reasoning: 3,
            audio_input: 2,
            audio_output: 1,
            ..Tokens::default()
        };

        let json = serde_json::to_string(&write(&tokens, Some("flex"))).unwrap();

        assert_eq!(counted(&json), tokens);
        assert!(json.contains(r#""trafficType":"ON_DEMAND_FLEX""#), "{json}");
    }
}
