//! The providers that are known by their names. What is said of each is in its own documentation; what
//! isn't known to be refused passes.

use sha2::{Digest, Sha256};

use super::{Changes, Deviations, Object, Preset, Rule};
use crate::{Target, price::ReportedCost};

/// Servers that know the older name only.
const MAX_TOKENS: Rule = Rule::renamed("max_completion_tokens", "max_tokens");

/// Servers that know both names, but may refuse them together; the newer one is what was reserved.
const ONE_CAP: Rule = Rule::omitted_beside("max_tokens", "max_completion_tokens");

/// Servers of which nothing is known: the older names are those that all of them know.
pub const COMPATIBLE: Deviations = Deviations::new(CHAT, &[MAX_TOKENS, NO_DEVELOPER]);

/// What is not sent to such a server where a request is translated.
pub const UNKNOWN_LACKS: &[&str] =
    &["custom_tools", "parallel_tool_calls", "safety_identifier", "service_tier", "strict_tools"];

/// What OpenAI has for itself, where the server otherwise takes what OpenAI's does.
const OPENAI_ONLY: &[&str] = &["custom_tools", "safety_identifier"];

/// Servers that don't know OpenAI's newer name for those who operate a model.
const NO_DEVELOPER: Rule =
    Rule::changed("messages[].role", |role| (role == "\"developer\"").then(|| "\"system\"".to_owned()))
        .where_there_is("\"developer\"");

pub(super) const CHAT: &str = "openai-chat";

/// All presets.
pub static PRESETS: &[Preset] = &[
    Preset {
        name: "deepseek",
        title: "DeepSeek",
        base_url: "https://api.deepseek.com",
        key: "DEEPSEEK_API_KEY",
        url: "DEEPSEEK_BASE_URL",
        list: "deepseek",
        supports: &["reasoning_history"],
        lacks: OPENAI_ONLY,
        cost: None,
        batches: false,
        cached_in: None,
        deviations: Deviations::new(CHAT, &[MAX_TOKENS, NO_DEVELOPER]).quirk(remembers_reasoning),
    },
    Preset {
        name: "qwen",
        title: "Qwen at Alibaba Cloud",
        base_url: "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        key: "DASHSCOPE_API_KEY",
        url: "DASHSCOPE_BASE_URL",
        list: "dashscope",
        supports: &["sampling_params", "top_k", "cache_marks"],
        lacks: OPENAI_ONLY,
        cost: None,
        batches: true,
        cached_in: None,
        deviations: Deviations::new(CHAT, &[MAX_TOKENS, NO_DEVELOPER]).quirk(thinks_or_must_call),
    },
    Preset {
        name: "mistral",
        title: "Mistral",
        base_url: "https://api.mistral.ai/v1",
        key: "MISTRAL_API_KEY",
        url: "MISTRAL_BASE_URL",
        list: "mistral",
        supports: &["sampling_params", "top_k"],
        lacks: &["stream_options", "custom_tools", "safety_identifier"],
        cost: None,
        batches: false,
        cached_in: None,
        deviations: Deviations::new(
            CHAT,
            &[
                MAX_TOKENS,
                NO_DEVELOPER,
                Rule::renamed("seed", "random_seed"),
                // The counts always come.
                Rule::omitted("stream_options"),
                Rule::omitted("store"),
                Rule::refused("user"),
                Rule::refused("safety_identifier"),
                Rule::refused("logit_bias"),
                Rule::refused("logprobs"),
                Rule::refused_unless("top_logprobs", "0"),
                Rule::refused_unless("service_tier", "\"auto\""),
                Rule::refused("verbosity"),
                Rule::refused("functions"),
                Rule::refused("function_call"),
                Rule::refused("messages[].name"),
                Rule::never_null("messages[].tool_calls"),
                Rule::never_null("messages[].function_call"),
                Rule::changed("messages[].tool_calls[].id", nine_characters),
                Rule::changed("messages[].tool_call_id", nine_characters),
                Rule::refused("tools[].function.strict"),
                Rule::forced("temperature", at_most_one_and_a_half),
                // They break the grammars that are made of schemas.
                Rule::omitted("tools[].function.parameters.$schema"),
                Rule::omitted("tools[].function.parameters.$id"),
            ],
        )
        .quirk(goes_on)
        .embeddings(&[Rule::renamed("dimensions", "output_dimension"), Rule::refused("user")]),
    },
    Preset {
        name: "groq",
        title: "Groq",
        base_url: "https://api.groq.com/openai/v1",
        key: "GROQ_API_KEY",
        url: "GROQ_BASE_URL",
        list: "groq",
        supports: &["sampling_params"],
        lacks: OPENAI_ONLY,
        cost: None,
        batches: true,
        cached_in: None,
        deviations: Deviations::new(
            CHAT,
            &[
                ONE_CAP,
                NO_DEVELOPER,
                Rule::refused("logprobs"),
                Rule::refused_unless("top_logprobs", "0"),
                Rule::refused("logit_bias"),
                Rule::refused_unless("n", "1"),
                Rule::refused("messages[].name"),
                Rule::never_null("messages[].tool_calls"),
                Rule::never_null("messages[].function_call"),
            ],
        ),
    },
    Preset {
        name: "xai",
        title: "xAI",
        base_url: "https://api.x.ai/v1",
        key: "XAI_API_KEY",
        url: "XAI_BASE_URL",
        list: "xai",
        supports: &["sampling_params"],
        lacks: OPENAI_ONLY,
        cost: Some(ReportedCost::usd(&["cost_in_usd_ticks"]).decimals(10)),
        batches: false,
        cached_in: None,
        deviations: Deviations::new(
            CHAT,
            &[
                ONE_CAP,
                Rule::refused("messages[].name"),
                Rule::refused("tools[].function.strict"),
                Rule::refused("stop").of_models(is_grok_that_thinks),
                Rule::refused_unless("presence_penalty", "0").of_models(is_grok_that_thinks),
                Rule::refused_unless("frequency_penalty", "0").of_models(is_grok_that_thinks),
                Rule::refused("reasoning_effort").of_models(thinks_as_it_likes),
            ],
        ),
    },
    Preset {
        name: "openrouter",
        title: "OpenRouter",
        base_url: "https://openrouter.ai/api/v1",
        key: "OPENROUTER_API_KEY",
        url: "OPENROUTER_BASE_URL",
        list: "",
        supports: &["sampling_params", "top_k", "cache_marks", "reasoning_details"],
        lacks: &[],
        cost: Some(
            ReportedCost::usd(&["cost"]).beside("is_byok", &["cost_details", "upstream_inference_cost"]),
        ),
        batches: false,
        cached_in: None,
        deviations: Deviations::new(CHAT, &[ONE_CAP]),
    },
    Preset {
        name: "together",
        title: "Together AI",
        base_url: "https://api.together.xyz/v1",
        key: "TOGETHER_API_KEY",
        url: "TOGETHER_BASE_URL",
        list: "together",
        supports: &["sampling_params", "top_k"],
        lacks: OPENAI_ONLY,
        cost: None,
        batches: false,
        cached_in: None,
        deviations: Deviations::new(CHAT, &[MAX_TOKENS, NO_DEVELOPER, Rule::omitted("top_logprobs")])
            .quirk(counts_log_probabilities),
    },
    Preset {
        name: "fireworks",
        title: "Fireworks AI",
        base_url: "https://api.fireworks.ai/inference/v1",
        key: "FIREWORKS_API_KEY",
        url: "FIREWORKS_BASE_URL",
        list: "fireworks",
        supports: &["sampling_params", "top_k"],
        lacks: OPENAI_ONLY,
        cost: None,
        batches: false,
        cached_in: Some("fireworks-cached-prompt-tokens"),
        deviations: Deviations::new(CHAT, &[MAX_TOKENS, NO_DEVELOPER]),
    },
    Preset {
        name: "cohere",
        title: "Cohere",
        base_url: "https://api.cohere.ai/compatibility/v1",
        key: "COHERE_API_KEY",
        url: "COHERE_BASE_URL",
        list: "cohere",
        supports: &["sampling_params"],
        lacks: &["stream_options", "custom_tools", "safety_identifier"],
        cost: None,
        batches: false,
        cached_in: None,
        deviations: Deviations::new(
            CHAT,
            &[
                MAX_TOKENS,
                NO_DEVELOPER,
                Rule::omitted("stream_options"),
                Rule::omitted("store"),
                Rule::refused("metadata"),
                Rule::refused("logit_bias"),
                Rule::refused_unless("top_logprobs", "0"),
                Rule::refused_unless("n", "1"),
                Rule::refused("modalities"),
                Rule::refused("prediction"),
                Rule::refused("audio"),
                Rule::refused_unless("service_tier", "\"auto\""),
                Rule::refused_unless("parallel_tool_calls", "true"),
                // It thinks or it doesn't.
                Rule::forced("reasoning_effort", |effort| {
                    (!matches!(effort, "\"none\"" | "\"high\"")).then(|| "\"high\"".to_owned())
                }),
            ],
        ),
    },
    Preset {
        name: "perplexity",
        title: "Perplexity",
        base_url: "https://api.perplexity.ai",
        key: "PERPLEXITY_API_KEY",
        url: "PERPLEXITY_BASE_URL",
        list: "perplexity",
        supports: &["sampling_params"],
        lacks: OPENAI_ONLY,
        cost: Some(ReportedCost::usd(&["cost", "total_cost"])),
        batches: false,
        cached_in: None,
        deviations: Deviations::new(CHAT, &[MAX_TOKENS, NO_DEVELOPER]),
    },
    Preset {
        name: "ollama",
        title: "Ollama",
        base_url: "http://localhost:11434/v1",
        key: "OLLAMA_API_KEY",
        url: "OLLAMA_BASE_URL",
        list: "",
        supports: &["sampling_params"],
        lacks: OPENAI_ONLY,
        cost: None,
        batches: false,
        cached_in: None,
        deviations: Deviations::new(
            CHAT,
            &[
                MAX_TOKENS,
                NO_DEVELOPER,
                // It would do without them in silence.
                Rule::refused("logit_bias"),
                Rule::refused("logprobs"),
                Rule::refused_unless("top_logprobs", "0"),
                Rule::refused_unless("n", "1"),
            ],
        ),
    },
    Preset {
        name: "vllm",
        title: "vLLM",
        base_url: "http://localhost:8000/v1",
        key: "VLLM_API_KEY",
        url: "VLLM_BASE_URL",
        list: "",
        supports: &["sampling_params", "top_k", "reasoning_text_history"],
        lacks: OPENAI_ONLY,
        cost: None,
        batches: false,
        cached_in: None,
        deviations: Deviations::new(CHAT, &[MAX_TOKENS, NO_DEVELOPER]),
    },
    Preset {
        name: "tokenmix",
        title: "TokenMix",
        base_url: "https://api.tokenmix.ai/v1",
        key: "TOKENMIX_API_KEY",
        url: "TOKENMIX_BASE_URL",
        list: "",
        supports: &["sampling_params"],
        lacks: UNKNOWN_LACKS,
        cost: None,
        batches: false,
        cached_in: None,
        deviations: COMPATIBLE,
    },
    Preset {
        name: "futurmix",
        title: "FuturMix",
        base_url: "https://futurmix.ai/v1",
        key: "FUTURMIX_API_KEY",
        url: "FUTURMIX_BASE_URL",
        list: "",
        supports: &["sampling_params"],
        lacks: UNKNOWN_LACKS,
        cost: None,
        batches: false,
        cached_in: None,
        deviations: Deviations::new(CHAT, &[MAX_TOKENS]),
    },
];

/// DeepSeek refuses a conversation with tools in which it can't read what it thought. A blank is
/// enough, where the client has not kept it.
fn remembers_reasoning(request: &Object<'_>, changes: &mut Changes<'_>) {
    if request.get("tools").is_none_or(|tools| matches!(tools, "null" | "[]")) {
        return;
    }
    for message in request.objects("messages") {
        if message.get("role") != Some("\"assistant\"") {
            continue;
        }
        match message.get("reasoning_content") {
            None => changes.add(&message, "reasoning_content", "\" \""),
            Some(empty @ ("null" | "\"\"")) => changes.replace(empty, "\" \""),
            Some(_) => {}
        }
    }
}

/// Mistral goes on with a last turn of the model's own if it is told so.
fn goes_on(request: &Object<'_>, changes: &mut Changes<'_>) {
    let messages = request.objects("messages");
    let Some(last) = messages.last() else { return };
    let is_own = last.get("role") == Some("\"assistant\"") && last.get("prefix").is_none();
    if is_own && last.get("tool_calls").is_none_or(|calls| matches!(calls, "null" | "[]")) {
        changes.add(last, "prefix", "true");
    }
}

/// Qwen has a switch of its own for thinking, and can't be forced to call a tool while it thinks.
fn thinks_or_must_call(request: &Object<'_>, changes: &mut Changes<'_>) {
    let has_switch = request.get("enable_thinking").is_some();
    if request.get("reasoning_effort") == Some("\"none\"") && !has_switch {
        changes.rewrite(request, "reasoning_effort", "enable_thinking", "false");
    }
    let is_forced = |choice: &&str| !matches!(*choice, "\"auto\"" | "\"none\"" | "null");
    if let (Some("true"), Some(choice)) =
        (request.get("enable_thinking"), request.get("tool_choice").filter(is_forced))
    {
        changes.replace(choice, "\"auto\"");
        changes.lose("tool_choice");
    }
}

/// Together wants to know how many log probabilities, not whether.
fn counts_log_probabilities(request: &Object<'_>, changes: &mut Changes<'_>) {
    match request.get("logprobs") {
        // None beside the chosen one is still one.
        Some(whether @ "true") => {
            let several = request.get("top_logprobs").filter(|number| !matches!(*number, "null" | "0"));
            changes.replace(whether, several.unwrap_or("1"));
        }
        Some(whether @ "false") => changes.replace(whether, "0"),
        _ => {}
    }
}

/// Whether a model of xAI thinks: its older ones are not in the list of prices, and told by their names.
fn is_grok_that_thinks(target: &Target) -> bool {
    let (facts, model) = (target.known_facts(), target.model());
    let is_named = || ["grok-4", "grok-code", "grok-3-mini"].iter().any(|name| model.starts_with(name));
    facts.supports("reasoning") || !facts.is_known() && is_named() && !model.contains("non-reasoning")
}

/// Whether a model of xAI can't be told how hard to think: the first ones of the fourth generation.
fn thinks_as_it_likes(target: &Target) -> bool {
    let is_of = |name: &str| {
        let rest = target.model().strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    ["grok-4", "grok-4.1", "grok-code"].into_iter().any(is_of)
}

/// A temperature as Mistral takes it.
fn at_most_one_and_a_half(temperature: &str) -> Option<String> {
    temperature.parse::<f64>().is_ok_and(|temperature| temperature > 1.5).then(|| "1.5".to_owned())
}

/// The id of a call as Mistral takes it: letters and digits, nine of them. The same id always becomes
/// the same, so that a result still finds its call.
fn nine_characters(id: &str) -> Option<String> {
    const LENGTH: usize = 9;
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let bare = id.trim_matches('"');
    if bare.len() == LENGTH && bare.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let digest = Sha256::digest(id);
    let short = digest.iter().take(LENGTH).map(|byte| char::from(ALPHABET[usize::from(*byte) % 62]));
    Some(format!("\"{}\"", short.collect::<String>()))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::{
        Exchange, Payload,
        dialect::{OPENAI_CHAT, OPENAI_EMBEDDINGS},
        payload::Head,
        preset::{
            OPENAI,
            apply::tests::{adapted, sent},
        },
        price::PriceBook,
        target::ModelFacts,
    };

    /// What a provider gets, and what is lost.
    fn at(name: &str, source: &str) -> (String, Vec<String>) {
        of_model(name, source, ModelFacts::default())
    }

    fn of_model(name: &str, source: &str, facts: ModelFacts) -> (String, Vec<String>) {
        let preset = Preset::named(name).unwrap();
        sent(source, &preset.deviations, preset.facts(facts))
    }

    fn becomes(name: &str, source: &str, expected: &str, lost: &[&str]) {
        let (text, names) = at(name, source);

        assert_eq!(text, expected, "{name}");
        assert_eq!(names, lost, "{name}");
    }

    #[test]
    fn openai_is_not_shown_what_others_have_thought() {
        let source = r#"{"messages":[{"role":"assistant","content":"a","reasoning_content":"t","thinking_blocks":[{}],"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{}}]}]}"#;

        let (body, lost) = sent(source, &OPENAI, ModelFacts::default());

        assert_eq!(
            body,
            r#"{"messages":[{"role":"assistant","content":"a","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}]}"#
        );
        assert!(lost.is_empty());
    }

    #[test]
    fn names_and_variables_are_all_different() {
        for (index, preset) in PRESETS.iter().enumerate() {
            for other in &PRESETS[index + 1..] {
                assert_ne!(preset.name, other.name);
                assert_ne!(preset.key, other.key);
                assert_ne!(preset.base_url, other.base_url);
            }
            let uri: http::Uri = preset.base_url.parse().unwrap();
            assert!(uri.host().is_some() && !preset.base_url.ends_with('/'), "{}", preset.base_url);
        }
    }

    #[test]
    fn of_two_caps_one_goes() {
        let both = r#"{"max_tokens":5,"max_completion_tokens":9}"#;
        let null = r#"{"max_completion_tokens":null,"max_tokens":5}"#;

        for preset in PRESETS {
            let name = if preset.deviations.renames(CHAT, "max_completion_tokens") {
                "max_tokens"
            } else {
                "max_completion_tokens"
            };
            becomes(preset.name, both, &format!(r#"{{"{name}":9}}"#), &[]);
            let (sent, _) = at(preset.name, null);
            assert!(sent == null || sent == r#"{"max_tokens":5}"#, "{}: {sent}", preset.name);
        }
        assert_eq!(sent(both, &COMPATIBLE, ModelFacts::default()).0, r#"{"max_tokens":9}"#);
    }

    #[test]
    fn servers_that_know_the_old_names_only_get_the_old_names() {
        // C8, C56
        let source = r#"{"max_completion_tokens":9,"messages":[{"role":"developer","content":"S"}]}"#;
        let expected = r#"{"max_tokens":9,"messages":[{"role":"system","content":"S"}]}"#;

        for name in
            ["deepseek", "qwen", "mistral", "together", "fireworks", "cohere", "perplexity", "ollama", "vllm"]
        {
            becomes(name, source, expected, &[]);
        }
        becomes(
            "futurmix",
            source,
            r#"{"max_tokens":9,"messages":[{"role":"developer","content":"S"}]}"#,
            &[],
        );
        becomes("tokenmix", source, expected, &[]);
        becomes("openrouter", source, source, &[]);
        assert_eq!(sent(source, &COMPATIBLE, ModelFacts::default()).0, expected);
    }

    #[test]
    fn mistral_gets_no_strict_tools_and_no_higher_temperature_than_it_knows() {
        // C45
        becomes(
            "mistral",
            r#"{"temperature":1.9,"tools":[{"type":"function","function":{"name":"f","strict":true}}]}"#,
            r#"{"temperature":1.5,"tools":[{"type":"function","function":{"name":"f"}}]}"#,
            &["temperature", "tools[].function.strict"],
        );
        let warm = r#"{"temperature":1.5}"#;
        becomes("mistral", warm, warm, &[]);
    }

    #[test]
    fn mistral_goes_on_with_a_turn_of_its_own_only_if_it_is_the_last_one() {
        becomes(
            "mistral",
            r#"{"messages":[{"role":"assistant","content":"a"},{"role":"user"},{"role":"assistant","content":"b"}]}"#,
            r#"{"messages":[{"role":"assistant","content":"a"},{"role":"user"},{"prefix":true,"role":"assistant","content":"b"}]}"#,
            &[],
        );
        for other in [
            r#"{"messages":[{"role":"assistant","content":"a"},{"role":"user"}]}"#,
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"123456789"}]}]}"#,
            r#"{"messages":[{"role":"assistant","content":"a","prefix":true}]}"#,
        ] {
            becomes("mistral", other, other, &[]);
        }
    }

    #[test]
    fn together_is_asked_for_one_likelihood_where_no_others_are_wanted() {
        for none in ["0", "null"] {
            let source = format!(r#"{{"logprobs":true,"top_logprobs":{none}}}"#);
            becomes("together", &source, r#"{"logprobs":1}"#, &[]);
        }
    }

    #[test]
    fn deepseek_can_read_what_it_thought() {
        // C76
        becomes(
            "deepseek",
            r#"{"tools":[{"type":"function"}],"messages":[{"role":"user"},{"role":"assistant","content":"a"},
            {"role":"assistant","reasoning_content":"t"},{"reasoning_content":null,"role":"assistant"}]}"#,
            r#"{"tools":[{"type":"function"}],"messages":[{"role":"user"},{"reasoning_content":" ","role":"assistant","content":"a"},
            {"role":"assistant","reasoning_content":"t"},{"reasoning_content":" ","role":"assistant"}]}"#,
            &[],
        );
        let plain = r#"{"messages":[{"role":"assistant","content":"a"}]}"#;
        becomes("deepseek", plain, plain, &[]);
    }

    #[test]
    fn qwen_is_told_not_to_think_in_its_own_words_and_is_not_forced_while_it_thinks() {
        becomes(
            "qwen",
            r#"{"reasoning_effort":"none","tool_choice":"required"}"#,
            r#"{"enable_thinking":false,"tool_choice":"required"}"#,
            &[],
        );
        becomes(
            "qwen",
            r#"{"enable_thinking":true,"tool_choice":"required"}"#,
            r#"{"enable_thinking":true,"tool_choice":"auto"}"#,
            &["tool_choice"],
        );
    }

    #[test]
    fn mistral_gets_only_what_it_knows() {
        // C9, C108
        becomes(
            "mistral",
            r#"{"seed":7,"user":"u","logit_bias":{"1":2},"stream":true,"stream_options":{"include_usage":true},"logprobs":false,
            "messages":[{"role":"user","name":"n","content":"q"},{"role":"assistant","content":"a","tool_calls":null}]}"#,
            r#"{"random_seed":7,"stream":true,
            "messages":[{"role":"user","content":"q"},{"prefix":true,"role":"assistant","content":"a"}]}"#,
            &["user", "logit_bias", "messages[].name"],
        );
    }

    #[test]
    fn mistral_has_its_own_word_for_the_length_of_a_vector() {
        let source = r#"{"model":"mistral-embed","input":["a"],"dimensions":256,"user":"u"}"#;
        let head = Head { model: "mistral-embed".into(), ..Head::default() };
        let payload = Payload::new(&OPENAI_EMBEDDINGS, head, source.into(), Exchange::default());
        let (headers, target) = (HeaderMap::new(), Target::new("mistral", "mistral-embed"));

        let (payload, lost) =
            adapted(payload, &headers, &Preset::named("mistral").unwrap().deviations, &target);

        assert_eq!(payload.to_bytes(), r#"{"model":"mistral-embed","input":["a"],"output_dimension":256}"#);
        assert_eq!(lost, ["user"].map(Box::<str>::from));
    }

    #[test]
    fn mistral_gets_short_ids_that_still_belong_together() {
        let source = r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"call_1"},{"id":"abcDEF123"}]},{"role":"tool","tool_call_id":"call_1"}]}"#;

        let (text, lost) = at("mistral", source);

        let short = nine_characters("\"call_1\"").unwrap();
        assert_eq!(short.len(), 11);
        assert_eq!(text, source.replace("\"call_1\"", &short));
        assert_ne!(Some(short), nine_characters("\"call_2\""));
        assert!(lost.is_empty());
    }

    #[test]
    fn groq_gets_no_log_probabilities_one_answer_and_no_names() {
        becomes(
            "groq",
            r#"{"logprobs":true,"top_logprobs":2,"n":2,"messages":[{"role":"user","content":"q","name":"x","function_call":null}]}"#,
            r#"{"messages":[{"role":"user","content":"q"}]}"#,
            &["logprobs", "top_logprobs", "n", "messages[].name"],
        );
        becomes("groq", r#"{"n":1,"logprobs":false}"#, "{}", &[]);
    }

    #[test]
    fn thinking_models_of_xai_get_no_stop_texts_and_no_penalties() {
        // C45
        let source = r#"{"stop":["x"],"presence_penalty":0,"frequency_penalty":0.5,"tools":[{"type":"function","function":{"name":"f","strict":true}}]}"#;
        let strictless = r#"{"type":"function","function":{"name":"f"}}"#;

        let thinking = of_model("xai", source, ModelFacts::new(["reasoning"], []));
        let (plain, lost) = at("xai", source);

        assert_eq!(thinking.0, format!(r#"{{"tools":[{strictless}]}}"#));
        assert_eq!(thinking.1, ["stop", "frequency_penalty", "tools[].function.strict"]);
        assert!(plain.contains(r#""stop":["x"]"#) && plain.contains(strictless));
        assert_eq!(lost, ["tools[].function.strict"]);
    }

    #[test]
    fn models_of_xai_that_are_not_in_the_list_are_known_by_their_names() {
        let source = r#"{"stop":["x"],"presence_penalty":1,"reasoning_effort":"high"}"#;
        let of = |model: &str| {
            let listed = PriceBook::builtin().lookup("xai", model).map(|listing| listing.facts);
            let preset = Preset::named("xai").unwrap();
            let to = Target::new("xai", model).facts(preset.facts(listed.unwrap_or_default()));
            let payload =
                Payload::new(&OPENAI_CHAT, Head::default(), source.to_owned().into(), Exchange::default());
            let (payload, _) = adapted(payload, &HeaderMap::new(), &preset.deviations, &to);
            String::from_utf8(payload.to_bytes().into()).unwrap()
        };

        for model in ["grok-4", "grok-4-0709", "grok-4-fast-reasoning", "grok-code-fast-1"] {
            assert_eq!(of(model), "{}", "{model}");
        }
        assert_eq!(of("grok-3-mini"), r#"{"reasoning_effort":"high"}"#);
        assert_eq!(of("grok-4.5"), r#"{"reasoning_effort":"high"}"#);
        assert_eq!(of("grok-4-fast-non-reasoning"), r#"{"stop":["x"],"presence_penalty":1}"#);
        assert_eq!(of("grok-4.20-non-reasoning"), source);
        assert_eq!(of("grok-3"), source);
    }

    #[test]
    fn together_is_told_how_many_log_probabilities() {
        becomes("together", r#"{"logprobs":true,"top_logprobs":3}"#, r#"{"logprobs":3}"#, &[]);
        becomes("together", r#"{"logprobs":true}"#, r#"{"logprobs":1}"#, &[]);
        becomes("together", r#"{"top_logprobs":3,"logprobs":false}"#, r#"{"logprobs":0}"#, &[]);
    }

    #[test]
    fn cohere_thinks_or_does_not() {
        becomes(
            "cohere",
            r#"{"reasoning_effort":"low","n":1,"stream_options":{},"parallel_tool_calls":false}"#,
            r#"{"reasoning_effort":"high"}"#,
            &["reasoning_effort", "parallel_tool_calls"],
        );
        becomes("cohere", r#"{"reasoning_effort":"none"}"#, r#"{"reasoning_effort":"none"}"#, &[]);
    }

    #[test]
    fn ollama_is_not_asked_for_what_it_would_ignore() {
        becomes("ollama", r#"{"n":3,"logit_bias":{"1":1},"seed":1}"#, r#"{"seed":1}"#, &["n", "logit_bias"]);
    }
}
