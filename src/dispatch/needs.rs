//! What a request needs of a model, where the models of a route differ in it.
//!
//! Of each feature a model is known to have it, known to lack it, or nothing is known: the list of prices names what
//! models have more often than what they lack, and knows nothing at all of many. So
//!
//! - a model that is known to lack something is not asked while another one can be;
//! - one that isn't known to have it comes after those that are, and is asked if they fail;
//! - where none is known to have it, all that are left are asked in their usual order.
//!
//! The same holds for the length of the input. A target says what its model is, where its name doesn't, so that more is
//! known of it.

use super::Candidate;
use crate::{Payload, preset::Object, price::values, target::ModelFacts};

const TOOLS: &str = "function_calling";
const IMAGES: &str = "vision";
const SCHEMA: &str = "response_schema";

/// What tells the models of a route apart; nothing, where all take the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Differences {
    /// Which features one has or lacks of which something else is known of another.
    features: Needs,
    /// The most input of the smallest, where another one takes more or may take more.
    input: Option<u64>,
}

impl Differences {
    pub(super) fn between(candidates: &[Candidate]) -> Self {
        let facts = || candidates.iter().map(|candidate| candidate.target().known_facts());
        let are_some = |count: usize| count > 0 && count < candidates.len();
        let differ = |feature| {
            are_some(facts().filter(|facts| facts.lacks(feature)).count())
                || are_some(facts().filter(|facts| facts.supports(feature)).count())
        };
        let smallest = facts().filter_map(|facts| facts.max_input).min();
        Self {
            features: Needs {
                tools: differ(TOOLS),
                images: differ(IMAGES),
                schema: differ(SCHEMA),
                input: 0,
            },
            input: smallest.filter(|_| facts().any(|facts| facts.max_input != smallest)),
        }
    }

    /// What `payload` needs of that in which the models differ; it is looked into only for that.
    pub(super) fn needs(&self, payload: &Payload) -> Needs {
        // A form has none of these, and what a provider keeps only one target has.
        if payload.head().content_type.is_some() || payload.head().resource.is_some() {
            return Needs::default();
        }
        let mut needs = if self.features.is_nothing() { Needs::default() } else { self.features.of(payload) };
        // No token is shorter than a byte.
        if self.input.is_some_and(|smallest| payload.source().len() as u64 > smallest) {
            needs.input = payload.input().likely();
        }
        needs
    }
}

/// What a request needs of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    tools: bool,
    images: bool,
    schema: bool,
    /// How many tokens of input it probably has; 0 if that is few enough for all.
    input: u64,
}

impl Needs {
    /// Those of these that `payload` has.
    fn of(&self, payload: &Payload) -> Self {
        let bytes = payload.source();
        let text = std::str::from_utf8(bytes).ok();
        let Some(body) = text.and_then(|text| Object::read(text.trim_ascii())) else {
            return Self::default();
        };
        Self {
            tools: self.tools
                && ["tools", "functions"].into_iter().any(|name| body.get(name).is_some_and(has_items)),
            images: self.images && values(bytes).any(|(name, value)| is_image(name, value)),
            schema: self.schema && wants_schema(&body),
            input: 0,
        }
    }

    /// Whether nothing is needed that not all have.
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the model isn't known to lack something of it.
    pub(super) fn are_met_by(&self, facts: &ModelFacts) -> bool {
        let lacks = |is_needed: bool, feature| is_needed && facts.lacks(feature);
        !lacks(self.tools, TOOLS)
            && !lacks(self.images, IMAGES)
            && !lacks(self.schema, SCHEMA)
            && facts.max_input.is_none_or(|most| self.input <= most)
    }

    /// Whether the model is known to have all of it.
    fn are_known_to_be_met_by(&self, facts: &ModelFacts) -> bool {
        let has = |is_needed: bool, feature| !is_needed || facts.supports(feature);
        has(self.tools, TOOLS)
            && has(self.images, IMAGES)
            && has(self.schema, SCHEMA)
            && (self.input == 0 || facts.max_input.is_some_and(|most| self.input <= most))
    }

    /// Whether it is asked after others, because it isn't known to take what is needed.
    pub(super) fn leave_doubt_of(&self, candidate: &Candidate) -> bool {
        !self.is_nothing() && !self.are_known_to_be_met_by(candidate.target().known_facts())
    }

    /// What of it the model is known to lack.
    pub(super) fn lacking(&self, facts: &ModelFacts) -> Vec<&'static str> {
        let is_too_long = facts.max_input.is_some_and(|most| self.input > most);
        self.named(|feature| facts.lacks(feature), is_too_long)
    }

    /// What of it the model may have or not.
    pub(super) fn unknown(&self, facts: &ModelFacts) -> Vec<&'static str> {
        let is_unknown = |feature: &str| !facts.lacks(feature) && !facts.supports(feature);
        self.named(is_unknown, self.input > 0 && facts.max_input.is_none())
    }

    /// The names of those of it of which something is true.
    fn named(&self, is_so: impl Fn(&str) -> bool, input: bool) -> Vec<&'static str> {
        let needs = [
            (self.tools && is_so(TOOLS), "tools"),
            (self.images && is_so(IMAGES), "images"),
            (self.schema && is_so(SCHEMA), "an answer by a schema"),
            (input, "so much input"),
        ];
        needs.into_iter().filter_map(|(is_one, what)| is_one.then_some(what)).collect()
    }
}

fn has_items(array: &str) -> bool {
    array.strip_prefix('[').is_some_and(|rest| !rest.trim_ascii_start().starts_with(']'))
}

/// An image in the words of one of the dialects: by the type of a part, or by that of its data.
fn is_image(name: &[u8], value: &[u8]) -> bool {
    match name {
        b"type" => matches!(value, b"image_url" | b"input_image" | b"image"),
        b"mimeType" | b"mime_type" => value.starts_with(b"image/"),
        _ => false,
    }
}

/// Whether the answer has to have the form of a JSON schema.
fn wants_schema(body: &Object<'_>) -> bool {
    let inner = |outer: &str| Object::read(body.get(outer)?);
    let is_schema = |object: Option<Object<'_>>| {
        object.and_then(|object| object.text("type").map(|kind| kind == "json_schema")).unwrap_or_default()
    };
    let within = |outer: &str| inner(outer).and_then(|object| Object::read(object.get("format")?));
    let generation = inner("generationConfig").or_else(|| inner("generation_config"));
    let names = ["responseSchema", "responseJsonSchema", "response_schema", "response_json_schema"];
    let has_schema = |object: Object<'_>| {
        names.into_iter().any(|name| object.get(name).is_some_and(|value| value != "null"))
    };
    is_schema(inner("response_format"))
        || is_schema(inner("output_format"))
        || is_schema(within("text"))
        || is_schema(within("output_config"))
        || generation.is_some_and(has_schema)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Exchange,
        dialect::OPENAI_CHAT,
        dispatch::{Dispatch, Route, Strategy, Table},
        payload::Head,
    };

    const ALL: Needs = Needs { tools: true, images: true, schema: true, input: 0 };

    fn of(body: &'static str) -> (bool, bool, bool) {
        let payload = Payload::new(&OPENAI_CHAT, Head::default(), body.into(), Exchange::default());
        let Needs { tools, images, schema, .. } = ALL.of(&payload);
        (tools, images, schema)
    }

    #[test]
    fn tools_are_found_where_there_are_any() {
        for body in [r#"{"tools":[{"type":"function"}]}"#, r#"{"functions": [ {"name":"a"} ]}"#] {
            assert_eq!(of(body), (true, false, false), "{body}");
        }
        for body in [
            r#"{"tools":[ ]}"#,
            r#"{"tools":null}"#,
            r#"{"messages":[{"content":"\"tools\":[1]"}]}"#,
            "[]",
            "",
        ] {
            assert_eq!(of(body), (false, false, false), "{body}");
        }
    }

    #[test]
    fn images_are_found_in_all_dialects_and_not_in_what_is_said_of_them() {
        for body in [
            r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"https://a.example"}}]}]}"#,
            r#"{"input":[{"content":[{"type": "input_image","image_url":"https://a.example"}]}]}"#,
            r#"{"messages":[{"content":[{"type":"image","source":{"type":"base64"}}]}]}"#,
            r#"{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png"}}]}]}"#,
        ] {
            assert_eq!(of(body), (false, true, false), "{body}");
        }
        assert_eq!(of(r#"{"messages":[{"content":"\"type\":\"image_url\" image"}]}"#), (false, false, false));
    }

    #[test]
    fn schemas_are_found_in_all_dialects() {
        for body in [
            r#"{"response_format":{"type":"json_schema","json_schema":{}}}"#,
            r#"{"text":{"format":{"type":"json_schema"}}}"#,
            r#"{"output_config":{"format":{"type":"json_schema"}}}"#,
            r#"{"generationConfig":{"responseSchema":{"type":"OBJECT"}}}"#,
        ] {
            assert_eq!(of(body), (false, false, true), "{body}");
        }
        for body in [
            r#"{"response_format":{"type":"json_object"}}"#,
            r#"{"generationConfig":{"responseSchema":null}}"#,
        ] {
            assert_eq!(of(body), (false, false, false), "{body}");
        }
    }

    fn candidate(lacks: &[&'static str], max_input: Option<u64>) -> Candidate {
        let mut facts = ModelFacts::new([], lacks.iter().copied());
        facts.max_input = max_input;
        of_facts("m", facts)
    }

    fn of_facts(model: &str, facts: ModelFacts) -> Candidate {
        let target = crate::Target::new("demo", model).facts(facts);
        let service = tower::service_fn(|_| crate::testing::Ending::Complete.answer());
        Candidate::new(std::sync::Arc::new(target), service)
    }

    #[test]
    fn only_that_in_which_targets_differ_is_looked_for() {
        let tools = r#"{"tools":[{"type":"function"}],"messages":[{"content":[{"type":"image"}]}]}"#;
        let payload = Payload::new(&OPENAI_CHAT, Head::default(), tools.into(), Exchange::default());
        let needs = |candidates: &[Candidate]| Differences::between(candidates).needs(&payload);

        assert!(needs(&[candidate(&[IMAGES], None), candidate(&[IMAGES], None)]).is_nothing());
        assert!(needs(&[candidate(&[], Some(5)), candidate(&[], Some(5))]).is_nothing());
        let one = needs(&[candidate(&[IMAGES], None), candidate(&[], None)]);
        assert_eq!(one, Needs { images: true, ..Needs::default() });
        let input = payload.input().likely();
        let smaller = [candidate(&[], Some(5)), candidate(&[], None)];
        assert_eq!(needs(&smaller), Needs { input, ..Needs::default() });
        assert!(!needs(&smaller).are_met_by(smaller[0].target().known_facts()));
        assert!(needs(&smaller).are_met_by(smaller[1].target().known_facts()));
        assert!(needs(&[candidate(&[], Some(50_000)), candidate(&[], None)]).is_nothing());
    }

    /// The models that are asked for an image, in their order, and what is said of each.
    async fn asked(models: &[(&str, &[&str], &[&str])], strategy: Strategy) -> Vec<(String, String)> {
        let candidates = models.iter().map(|(name, has, lacks)| {
            of_facts(name, ModelFacts::new(has.iter().copied(), lacks.iter().copied()))
        });
        let route = Route::new("chat", candidates).strategy(strategy);
        let body =
            r#"{"model":"chat","messages":[{"content":[{"type":"image_url","image_url":{"url":"data:"}}]}]}"#;
        let head = Head { model: "chat".into(), ..Head::default() };
        let req = http::Request::new(Payload::new(&OPENAI_CHAT, head, body.into(), Exchange::default()));
        let told = Dispatch::new(Table::default().route(route)).explain(None, req).await.unwrap();
        let asked = told.candidates.into_iter().filter(|one| one.place.is_some());
        asked.map(|one| (one.target.to_string(), one.why)).collect()
    }

    fn names(asked: &[(String, String)]) -> Vec<&str> {
        asked.iter().map(|(name, _)| &name[5..]).collect()
    }

    #[tokio::test]
    async fn whoever_is_known_to_have_it_comes_first_and_whoever_lacks_it_is_not_asked() {
        let told = asked(
            &[
                ("unknown", &[], &[]),
                ("silent", &[TOOLS], &[]),
                ("lacks", &[], &[IMAGES]),
                ("has", &[IMAGES], &[]),
            ],
            Strategy::Priority,
        )
        .await;

        assert_eq!(names(&told), ["has", "unknown", "silent"]);
        assert_eq!(
            told[0].1,
            "chosen: the first one that is listed of those known to take what the request needs"
        );
        assert_eq!(told[1].1, "asked late: it isn't known to take what the request needs: images");
    }

    #[tokio::test]
    async fn where_nobody_is_known_to_have_it_all_but_those_that_lack_it_are_asked_in_their_order() {
        let told =
            asked(&[("b", &[TOOLS], &[]), ("lacks", &[], &[IMAGES]), ("a", &[], &[])], Strategy::Priority)
                .await;

        assert_eq!(names(&told), ["b", "a"]);
        assert_eq!(told[0].1, "chosen: the first one that is listed");
        assert_eq!(told[1].1, "asked if those before it fail");
        let all = asked(&[("b", &[], &[IMAGES]), ("a", &[], &[IMAGES])], Strategy::Priority).await;
        assert_eq!(names(&all), ["b", "a"]);
    }

    #[tokio::test]
    async fn every_strategy_asks_first_who_is_known_to_have_it() {
        for strategy in [
            Strategy::Priority,
            Strategy::Weighted,
            Strategy::LeastBusy,
            Strategy::Latency,
            Strategy::Cheapest,
            Strategy::Throughput,
        ] {
            for _ in 0..20 {
                let told =
                    asked(&[("a", &[], &[]), ("b", &[], &[]), ("has", &[IMAGES], &[])], strategy).await;

                assert_eq!(names(&told)[0], "has", "{strategy:?}");
            }
        }
    }
}
