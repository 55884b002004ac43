//! What models are known to refuse, by their [facts](crate::target::ModelFacts), whoever serves them: the rules are those of
//! presets, and hold for requests that pass as they are. What translation writes keeps them by itself.

use super::{Object, Rule};
use crate::{Target, dialect::gemini_schema};

/// The rules for one dialect.
type Facts = (&'static str, &'static [Rule]);

const FACTS: [Facts; 4] = [
    ("openai-chat", CHAT),
    ("anthropic-messages", MESSAGES),
    ("anthropic-count", MESSAGES),
    ("gemini", GENERATE),
];

/// The dialects of which there are rules.
pub(super) fn dialects() -> impl Iterator<Item = &'static str> {
    FACTS.iter().map(|(dialect, _)| *dialect)
}

/// The rules for requests in a dialect.
pub(super) fn of(dialect: &str) -> &'static [Rule] {
    FACTS.iter().find(|(known, _)| *known == dialect).map_or(&[], |(_, rules)| rules)
}

const CHAT: &[Rule] = &[Rule::renamed("max_completion_tokens", "max_tokens")
    .where_there_is("max_completion_tokens")
    .of_models(|model| model.known_facts().lacks("max_completion_tokens"))];

/// Claude. The newer version of its API has no sampling, whatever the model takes.
const MESSAGES: &[Rule] = &[
    unsampled_since("temperature", "1").where_there_is("\"temperature\""),
    unsampled_since("top_p", "1").where_there_is("\"top_p\""),
    unsampled_since("top_k", "null").where_there_is("\"top_k\""),
    Rule::refused_unless("temperature", "1").where_there_is("\"temperature\"").of_models(is_not_sampled),
    Rule::refused_unless("top_p", "1").where_there_is("\"top_p\"").of_models(is_not_sampled),
    Rule::refused("top_k").where_there_is("\"top_k\"").of_models(is_not_sampled),
    Rule::refused_unless("top_p", "1")
        .where_there_is("\"top_p\"")
        .of_models(takes_one_way_to_sample)
        .of_requests(|request, _| request.get("temperature").is_some_and(|value| value != "null")),
    Rule::forced("thinking", without_budget).where_there_is("\"budget_tokens\"").of_models(|model| {
        let facts = model.known_facts();
        facts.supports("adaptive_thinking") && !facts.supports("legacy_thinking")
    }),
    Rule::refused("thinking")
        .where_there_is("\"disabled\"")
        .of_models(|model| model.known_facts().supports("thinking_always_on"))
        .of_requests(|request, _| kind(request, "thinking").as_deref() == Some("disabled")),
    Rule::refused("thinking")
        .where_there_is("\"thinking\"")
        .of_models(|model| model.known_facts().lacks("reasoning"))
        .of_requests(|request, _| kind(request, "thinking").as_deref() != Some("disabled")),
    Rule::forced("tool_choice", left_to_the_model)
        .where_there_is("\"tool_choice\"")
        .of_models(|model| model.known_facts().lacks("forced_tool_use")),
    // Of two that don't go together the choice is what the client can't do without.
    Rule::refused("thinking")
        .where_there_is("\"tool_choice\"")
        .of_models(|model| thinks(model) && !model.known_facts().supports("adaptive_thinking"))
        .of_requests(|request, _| {
            let forces = request.get("tool_choice").is_some_and(|choice| left_to_the_model(choice).is_some());
            forces && kind(request, "thinking").as_deref() == Some("enabled")
        }),
];

const fn unsampled_since(path: &'static str, usual: &'static str) -> Rule {
    Rule::refused_unless(path, usual).of_header("anthropic-version", "2026-10-21")
}

/// Gemini, which takes two forms of each name. A JSON Schema may be anybody's, so it is adapted here as well; a schema in
/// the words of OpenAPI (`parameters`, `responseSchema`) is Google's own, and what is wrong with it is for Google to say.
const GENERATE: &[Rule] = &[
    schema("tools[].functionDeclarations[].parametersJsonSchema"),
    schema("tools[].function_declarations[].parameters_json_schema"),
    schema("generationConfig.responseJsonSchema"),
    schema("generation_config.response_json_schema"),
    unsampled("generationConfig.temperature", "1"),
    unsampled("generationConfig.topP", "1"),
    unsampled("generationConfig.topK", "null"),
    unsampled("generationConfig.presencePenalty", "0"),
    unsampled("generationConfig.frequencyPenalty", "0"),
    unsampled("generation_config.temperature", "1"),
    unsampled("generation_config.top_p", "1"),
    unsampled("generation_config.top_k", "null"),
    unsampled("generation_config.presence_penalty", "0"),
    unsampled("generation_config.frequency_penalty", "0"),
];

const fn schema(path: &'static str) -> Rule {
    Rule::forced(path, gemini_schema)
}

const fn unsampled(path: &'static str, usual: &'static str) -> Rule {
    Rule::refused_unless(path, usual).of_models(is_not_sampled)
}

fn is_not_sampled(model: &Target) -> bool {
    model.known_facts().lacks("sampling_params")
}

/// The models that refuse a temperature and a nucleus together.
fn takes_one_way_to_sample(model: &Target) -> bool {
    ["opus-4-1", "sonnet-4-5", "haiku-4-5"].iter().any(|name| model.model().contains(name))
}

fn thinks(model: &Target) -> bool {
    model.known_facts().supports("reasoning")
}

/// What a member that is an object says of its `type`.
fn kind(request: &Object<'_>, name: &str) -> Option<String> {
    Some(Object::read(request.get(name)?)?.text("type")?.into_owned())
}

/// Thinking without a budget, which the model finds by itself.
fn without_budget(thinking: &str) -> Option<String> {
    let object = Object::read(thinking)?;
    (object.text("type")? == "enabled").then(|| {
        let display = object.get("display").unwrap_or("\"summarized\"");
        format!(r#"{{"type":"adaptive","display":{display}}}"#)
    })
}

/// A choice of tools that forces no call.
fn left_to_the_model(choice: &str) -> Option<String> {
    let object = Object::read(choice)?;
    matches!(&*object.text("type")?, "any" | "tool").then(|| match object.get("disable_parallel_tool_use") {
        Some(one) => format!(r#"{{"type":"auto","disable_parallel_tool_use":{one}}}"#),
        None => r#"{"type":"auto"}"#.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use crate::{
        Dialect, Exchange, Payload, Target,
        dialect::{ANTHROPIC, GEMINI, OPENAI_CHAT},
        payload::Head,
        preset::{Deviations, apply::tests::adapted},
        price::PriceBook,
        target::ModelFacts,
    };

    fn sent(dialect: &'static dyn Dialect, facts: ModelFacts, source: &str) -> (String, Vec<String>) {
        sent_to(&Target::new("p", "m").facts(facts), dialect, source)
    }

    fn sent_to(to: &Target, dialect: &'static dyn Dialect, source: &str) -> (String, Vec<String>) {
        sent_with(&HeaderMap::new(), to, dialect, source)
    }

    fn sent_with(
        headers: &HeaderMap,
        to: &Target,
        dialect: &'static dyn Dialect,
        source: &str,
    ) -> (String, Vec<String>) {
        let payload = Payload::new(dialect, Head::default(), source.to_owned().into(), Exchange::default());
        let (payload, lost) = adapted(payload, headers, &Deviations::new("", &[]), to);
        let text = String::from_utf8(payload.to_bytes().into()).unwrap();
        (text, lost.iter().map(ToString::to_string).collect())
    }

    fn claude(model: &str, source: &str) -> (String, Vec<String>) {
        sent(&ANTHROPIC, PriceBook::builtin().lookup("anthropic", model).unwrap().facts, source)
    }

    fn changed(text: &str, lost: &[&str]) -> (String, Vec<String>) {
        (text.to_owned(), lost.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn keywords_of_json_schema_that_gemini_refuses_are_told_in_words() {
        let asking = |schema: &str| {
            let function = format!(r#"{{"name":"f", "parametersJsonSchema":{schema}}}"#);
            format!(
                r#"{{"contents":[],"tools":[{{"functionDeclarations":[{function}]}}],"generationConfig":{{"responseJsonSchema":{schema}}}}}"#
            )
        };
        let taken = asking(r#"{"type":"object", "properties":{"a":{"title":"x", "type":"string"}}}"#);

        assert_eq!(sent(&GEMINI, ModelFacts::default(), &taken), changed(&taken, &[]));
        assert_eq!(
            sent(&GEMINI, ModelFacts::default(), &asking(r#"{"type":"string","pattern":"a+"}"#)),
            changed(
                &asking(r#"{"type":"string","description":"pattern: \"a+\""}"#),
                &[
                    "tools[].functionDeclarations[].parametersJsonSchema",
                    "generationConfig.responseJsonSchema"
                ]
            )
        );
    }

    /// C61, C62
    #[test]
    fn the_newer_version_of_claudes_api_has_no_sampling() {
        let source = r#"{"max_tokens":9,"temperature":0.5,"top_p":1.0,"top_k":5}"#;
        let of_version = |version: &'static str| {
            let headers = [("anthropic-version", version)].map(|(name, value)| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
            });
            sent_with(&HeaderMap::from_iter(headers), &Target::new("p", "m"), &ANTHROPIC, source)
        };

        assert_eq!(of_version("2023-06-01"), changed(source, &[]));
        assert_eq!(of_version("2026-10-21"), changed(r#"{"max_tokens":9}"#, &["temperature", "top_k"]));
    }

    #[test]
    fn newer_claude_is_not_sampled() {
        // C61, C131
        let source = r#"{"model":"m", "top_k":5,"temperature":1,"max_tokens":9 ,"top_p":0.5}"#;

        assert_eq!(
            claude("claude-opus-4-7", source),
            changed(r#"{"model":"m","max_tokens":9}"#, &["top_k", "top_p"])
        );
        assert_eq!(claude("claude-opus-4-5", source), changed(source, &[]));
    }

    #[test]
    fn a_temperature_goes_before_a_nucleus_where_they_do_not_go_together() {
        // C63
        let to = |model: &str, source| sent_to(&Target::new("anthropic", model), &ANTHROPIC, source);
        let both = r#"{"temperature":0.5,"top_p":0.9}"#;
        let rest = r#"{"temperature":0.5}"#;

        assert_eq!(to("claude-sonnet-4-5-20250929", both), changed(rest, &["top_p"]));
        assert_eq!(to("claude-opus-4-1@20250805", r#"{"temperature":0.5,"top_p":1}"#), changed(rest, &[]));
        for alone in [r#"{"top_p":0.9}"#, r#"{"temperature":null,"top_p":0.9}"#] {
            assert_eq!(to("claude-haiku-4-5", alone), changed(alone, &[]));
        }
        assert_eq!(to("claude-opus-4-5", both), changed(both, &[]));
    }

    #[test]
    fn thinking_takes_the_form_that_the_model_knows() {
        let enabled = r#"{"thinking":{"type":"enabled","budget_tokens":2048},"max_tokens":9}"#;
        let disabled = r#"{"max_tokens":9,"thinking":{"type":"disabled"}}"#;

        let adaptive = r#"{"thinking":{"type":"adaptive","display":"summarized"},"max_tokens":9}"#;
        assert_eq!(claude("claude-opus-4-7", enabled), changed(adaptive, &["thinking"]));
        assert_eq!(claude("claude-opus-4-6", enabled), changed(enabled, &[]));
        assert_eq!(claude("claude-opus-4-5", enabled), changed(enabled, &[]));
        assert_eq!(claude("claude-opus-5-5", disabled), changed(r#"{"max_tokens":9}"#, &["thinking"]));
        assert_eq!(claude("claude-opus-4-8", disabled), changed(disabled, &[]));
        let unthinking = ModelFacts::new([], ["reasoning"]);
        assert_eq!(
            sent(&ANTHROPIC, unthinking.clone(), enabled),
            changed(r#"{"max_tokens":9}"#, &["thinking"])
        );
        assert_eq!(sent(&ANTHROPIC, unthinking, disabled), changed(disabled, &[]));
    }

    #[test]
    fn a_call_is_not_forced_where_that_is_refused() {
        let source =
            r#"{"tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true},"tools":[]}"#;
        let left = r#"{"tool_choice":{"type":"auto","disable_parallel_tool_use":true},"tools":[]}"#;
        let none = r#"{"tool_choice":{"type":"none"}}"#;

        assert_eq!(claude("claude-opus-5-5", source), changed(left, &["tool_choice"]));
        assert_eq!(claude("claude-opus-5-5", none), changed(none, &[]));
        assert_eq!(claude("claude-opus-4-5", source), changed(source, &[]));
    }

    #[test]
    fn a_call_that_is_forced_goes_before_a_budget_to_think() {
        let both = r#"{"thinking":{"type":"enabled","budget_tokens":2048},"tool_choice":{"type":"any"}}"#;
        let free = both.replace("any", "auto");

        let forced = changed(r#"{"tool_choice":{"type":"any"}}"#, &["thinking"]);
        assert_eq!(claude("claude-opus-4-5", both), forced);
        assert_eq!(claude("claude-opus-4-5", &free), changed(&free, &[]));
    }

    #[test]
    fn newer_gemini_is_not_sampled() {
        let source = r#"{"generationConfig":{"temperature":0.5,"maxOutputTokens":9,"topP":1},"generation_config":{"top_k":3}}"#;
        let facts = |model| PriceBook::builtin().lookup("gemini", model).unwrap().facts;

        assert_eq!(
            sent(&GEMINI, facts("gemini-3.7-flash"), source),
            changed(
                r#"{"generationConfig":{"maxOutputTokens":9},"generation_config":{}}"#,
                &["generationConfig.temperature", "generation_config.top_k"]
            )
        );
        assert_eq!(sent(&GEMINI, facts("gemini-2.5-pro"), source), changed(source, &[]));
    }

    #[test]
    fn a_server_that_knows_the_older_name_only_gets_that() {
        // C56
        let source = r#"{"max_completion_tokens":9}"#;

        let old = sent(&OPENAI_CHAT, ModelFacts::new([], ["max_completion_tokens"]), source);

        assert_eq!(old, changed(r#"{"max_tokens":9}"#, &[]));
    }
}
