//! What OpenAI refuses, and those who serve its models as it does.

use super::{Deviations, Object, Rule, table::CHAT};
use crate::Target;

/// What clients of OpenAI's chat completions bring along from other providers of a conversation, and what its
/// own models are known to refuse in chats and in responses.
pub const OPENAI: Deviations = Deviations::new(
    CHAT,
    &[
        Rule::omitted("messages[].thinking_blocks"),
        Rule::omitted("messages[].reasoning_content"),
        Rule::omitted("messages[].reasoning_details"),
        Rule::omitted("messages[].tool_calls[].extra_content"),
        // Models that think know the newer name only.
        Rule::succeeded("max_tokens", "max_completion_tokens")
            .where_there_is("\"max_tokens\"")
            .of_models(thinks),
        unsampled("temperature", "1", "\"temperature\""),
        unsampled("top_p", "1", "\"top_p\""),
        unsampled("presence_penalty", "0", "\"presence_penalty\""),
        unsampled("frequency_penalty", "0", "\"frequency_penalty\""),
        unsampled("logprobs", "false", "\"logprobs\""),
        unsampled("top_logprobs", "0", "\"top_logprobs\""),
        Rule::refused("stop").where_there_is("\"stop\"").of_models(knows_no_stops),
        // Those that call one tool at a time need not be told to.
        Rule::omitted("parallel_tool_calls")
            .where_there_is("\"parallel_tool_calls\"")
            .of_models(|model| model.known_facts().lacks("parallel_function_calling")),
        Rule::refused_unless("reasoning_effort", "\"none\"")
            .where_there_is("\"reasoning_effort\"")
            .of_models(never_thinks),
        nearer("reasoning_effort", at_least_minimal).of_models(has_minimal),
        nearer("reasoning_effort", at_least_low).of_models(has_low_at_least),
        nearer("reasoning_effort", at_most_xhigh).of_models(has_xhigh),
        nearer("reasoning_effort", at_most_high).of_models(has_high_at_most),
    ],
)
.responses(&[
    unsampled("temperature", "1", "\"temperature\""),
    unsampled("top_p", "1", "\"top_p\""),
    unsampled("top_logprobs", "0", "\"top_logprobs\""),
    Rule::refused("reasoning").where_there_is("\"reasoning\"").of_models(never_thinks),
    nearer("reasoning.effort", at_least_minimal).of_models(has_minimal),
    nearer("reasoning.effort", at_least_low).of_models(has_low_at_least),
    nearer("reasoning.effort", at_most_xhigh).of_models(has_xhigh),
    nearer("reasoning.effort", at_most_high).of_models(has_high_at_most),
]);

/// Models that think take nothing but the default, unless they are told not to think.
const fn unsampled(path: &'static str, usual: &'static str, sign: &'static str) -> Rule {
    Rule::refused_unless(path, usual).where_there_is(sign).of_models(thinks).of_requests(is_thought_about)
}

/// Another effort, where the model doesn't know the one that is asked for.
const fn nearer(path: &'static str, change: fn(&str) -> Option<String>) -> Rule {
    Rule::forced(path, change).where_there_is("effort\"")
}

fn thinks(model: &Target) -> bool {
    let facts = model.known_facts();
    facts.supports("reasoning") && !facts.supports("sampling_params")
}

/// The models of which OpenAI says that they take no texts to stop at.
fn knows_no_stops(target: &Target) -> bool {
    ["o3", "o4-mini"].iter().any(|name| {
        let rest = target.model().strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

fn never_thinks(model: &Target) -> bool {
    let facts = model.known_facts();
    facts.is_known() && !facts.supports("reasoning")
}

fn is_thought_about(request: &Object<'_>, model: &Target) -> bool {
    let of_responses = || Object::read(request.get("reasoning")?)?.text("effort");
    match request.text("reasoning_effort").or_else(of_responses) {
        Some(effort) => effort != "none",
        None => !model.known_facts().supports("none_reasoning_effort"),
    }
}

fn lacks(model: &Target, effort: &str) -> bool {
    thinks(model) && model.known_facts().lacks(effort)
}

fn has_minimal(model: &Target) -> bool {
    lacks(model, "none_reasoning_effort") && model.known_facts().supports("minimal_reasoning_effort")
}

fn has_low_at_least(model: &Target) -> bool {
    lacks(model, "minimal_reasoning_effort") && !model.known_facts().lacks("low_reasoning_effort")
}

fn has_xhigh(model: &Target) -> bool {
    lacks(model, "max_reasoning_effort") && model.known_facts().supports("xhigh_reasoning_effort")
}

fn has_high_at_most(model: &Target) -> bool {
    lacks(model, "xhigh_reasoning_effort")
}

fn at_least_minimal(effort: &str) -> Option<String> {
    (effort == "\"none\"").then(|| "\"minimal\"".to_owned())
}

fn at_least_low(effort: &str) -> Option<String> {
    (effort == "\"minimal\"").then(|| "\"low\"".to_owned())
}

fn at_most_xhigh(effort: &str) -> Option<String> {
    (effort == "\"max\"").then(|| "\"xhigh\"".to_owned())
}

fn at_most_high(effort: &str) -> Option<String> {
    matches!(effort, "\"xhigh\"" | "\"max\"").then(|| "\"high\"".to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::{
        Dialect, Exchange, Payload,
        dialect::{OPENAI_CHAT, OPENAI_RESPONSES},
        payload::Head,
        preset::apply::tests::adapted,
        price::PriceBook,
        target::ModelFacts,
    };

    fn at_openai(dialect: &'static dyn Dialect, model: &str, source: &str) -> (String, Vec<String>) {
        let facts = PriceBook::builtin().lookup("openai", model).unwrap().facts;
        of_facts(dialect, facts, source)
    }

    fn of_facts(dialect: &'static dyn Dialect, facts: ModelFacts, source: &str) -> (String, Vec<String>) {
        let payload = Payload::new(dialect, Head::default(), source.to_owned().into(), Exchange::default());
        let to = Target::new("openai", "m").facts(facts);
        let (payload, lost) = adapted(payload, &HeaderMap::new(), &OPENAI, &to);
        let text = String::from_utf8(payload.to_bytes().into()).unwrap();
        (text, lost.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_model_that_thinks_gets_the_newer_name_of_the_cap() {
        // C56
        let chat = |source| at_openai(&OPENAI_CHAT, "gpt-5", source);

        let renamed = chat(r#"{"model":"m","max_tokens":9,"n":1}"#);
        let (both, _) = chat(r#"{"max_tokens":5,"max_completion_tokens":9}"#);
        let (null, _) = chat(r#"{"max_tokens":5,"max_completion_tokens":null}"#);
        let (none, _) = chat(r#"{"n":1,"max_tokens":null}"#);

        assert_eq!(renamed, (r#"{"model":"m","max_completion_tokens":9,"n":1}"#.to_owned(), vec![]));
        assert_eq!(both, r#"{"max_completion_tokens":9}"#);
        assert_eq!(null, r#"{"max_completion_tokens":5}"#);
        assert_eq!(none, r#"{"n":1}"#);
        let old = r#"{"model":"m","max_tokens":9}"#;
        assert_eq!(at_openai(&OPENAI_CHAT, "gpt-4o", old), (old.to_owned(), vec![]));
    }

    #[test]
    fn a_model_that_thinks_is_not_sampled() {
        // C55, C131
        let source = r#"{ "temperature":0.2, "model":"m","top_p":1.0,"logprobs":true,"top_logprobs":2,"presence_penalty":0 }"#;
        let unthinking = source.replacen('{', r#"{"reasoning_effort":"none","#, 1);

        let thinking = at_openai(&OPENAI_CHAT, "gpt-5", source);
        let by_itself = at_openai(&OPENAI_CHAT, "gpt-5.1", source);

        assert_eq!(thinking.0, r#"{ "model":"m" }"#);
        assert_eq!(thinking.1, ["temperature", "logprobs", "top_logprobs"]);
        assert_eq!(by_itself, (source.to_owned(), vec![]));
        assert_eq!(at_openai(&OPENAI_CHAT, "gpt-5.1", &unthinking), (unthinking.clone(), vec![]));
        assert_eq!(at_openai(&OPENAI_CHAT, "gpt-4o", source), (source.to_owned(), vec![]));
        let server = ModelFacts::new(["reasoning"], []).at_server(&["sampling_params"], &[]);
        assert_eq!(of_facts(&OPENAI_CHAT, server, source), (source.to_owned(), vec![]));
    }

    #[test]
    fn responses_are_not_sampled_where_there_is_thought() {
        let responses = |model, source| at_openai(&OPENAI_RESPONSES, model, source);

        let thinking = responses("gpt-5.1", r#"{"temperature":0.2,"reasoning":{"effort":"low"},"top_p":1}"#);
        let plain = r#"{"temperature":0.2,"reasoning":{"effort":"none"},"top_p":0.5}"#;

        assert_eq!(thinking, (r#"{"reasoning":{"effort":"low"}}"#.to_owned(), vec!["temperature".into()]));
        assert_eq!(responses("gpt-5.1", plain), (plain.to_owned(), vec![]));
        assert_eq!(
            responses("gpt-4o", r#"{"model":"m","reasoning":{"effort":"low"}}"#),
            (r#"{"model":"m"}"#.to_owned(), vec!["reasoning".into()])
        );
    }

    #[test]
    fn an_effort_that_a_model_lacks_becomes_the_nearest() {
        let chat = |model, effort: &str| {
            at_openai(&OPENAI_CHAT, model, &format!(r#"{{"reasoning_effort":"{effort}"}}"#))
        };
        let changed =
            |effort| (format!(r#"{{"reasoning_effort":"{effort}"}}"#), vec!["reasoning_effort".to_owned()]);

        assert_eq!(chat("gpt-5", "none"), changed("minimal"));
        assert_eq!(chat("gpt-5", "xhigh"), changed("high"));
        assert_eq!(chat("gpt-5.1", "minimal"), changed("low"));
        assert_eq!(chat("gpt-5", "high").1, Vec::<String>::new());
        assert_eq!(chat("gpt-4o", "low"), ("{}".to_owned(), vec!["reasoning_effort".into()]));
        assert_eq!(
            at_openai(&OPENAI_RESPONSES, "gpt-5.1", r#"{"reasoning":{"effort":"minimal"}}"#),
            (r#"{"reasoning":{"effort":"low"}}"#.to_owned(), vec!["reasoning.effort".into()])
        );
    }

    #[test]
    fn a_model_that_calls_one_tool_at_a_time_is_not_told_to() {
        let source = r#"{"parallel_tool_calls":false,"model":"m"}"#;

        assert_eq!(at_openai(&OPENAI_CHAT, "o3", source), (r#"{"model":"m"}"#.to_owned(), vec![]));
        assert_eq!(at_openai(&OPENAI_CHAT, "gpt-5", source), (source.to_owned(), vec![]));
    }

    #[test]
    fn a_model_that_knows_no_stops_gets_none() {
        // C64
        let sent = |model: &str, source: &str| {
            let source = source.to_owned().into();
            let payload = Payload::new(&OPENAI_CHAT, Head::default(), source, Exchange::default());
            let to = Target::new("openai", model);
            let (payload, lost) = adapted(payload, &HeaderMap::new(), &OPENAI, &to);
            (String::from_utf8(payload.to_bytes().into()).unwrap(), lost.len())
        };
        let source = r#"{"model":"m","stop":["x"]}"#;

        for model in ["o3", "o3-2025-04-16", "o4-mini"] {
            assert_eq!(sent(model, source), (r#"{"model":"m"}"#.to_owned(), 1), "{model}");
        }
        assert_eq!(sent("o4-mini", r#"{"model":"m","stop":null}"#).1, 0);
        for model in ["gpt-4o", "gpt-5", "o30"] {
            assert_eq!(sent(model, source), (source.to_owned(), 0), "{model}");
        }
    }

    #[test]
    fn a_model_of_which_nothing_is_known_gets_what_the_client_sent() {
        let source = r#"{"temperature":0.2,"max_tokens":9,"reasoning_effort":"xhigh","top_p":0.5}"#;

        assert_eq!(of_facts(&OPENAI_CHAT, ModelFacts::default(), source), (source.to_owned(), vec![]));
    }
}
