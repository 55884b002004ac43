//! A request in the canonical form, written for OpenAI.

use serde_json::value::RawValue;

use super::{history, tools, wire};
use crate::{
    Error, Kind, Target,
    dialect::{
        Encoded, Undo,
        canonical::{Extra, Format, Request},
        citation, json,
        lost::Lost,
        names::{Names, Rule},
        openai_chat::effort::{self, Plan},
        text::Str,
    },
    target::ModelFacts,
};

/// What OpenAI takes for the name of a tool or of a schema.
const NAMES: Rule = Rule::simple(64);

/// OpenAI refuses to write less.
pub(super) const LEAST_OUTPUT: u64 = 16;

/// Fields of OpenAI's that mean the same in chat completions, and go on as they came.
const OWN_FIELDS: [&str; 9] = [
    "context_management",
    "max_tool_calls",
    "metadata",
    "moderation",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "top_logprobs",
    "truncation",
];

/// Writes a request.
pub(crate) fn request(request: &Request<'_>, to: &Target) -> Result<Encoded, Error> {
    let facts = to.known_facts();
    let names = Names::of(request, &NAMES);
    let mut lost = Lost::default();
    citation::lose(request, history::takes, &mut lost);
    let plan = effort::plan(request.reasoning, facts);
    lost.push_if(plan.is_lost, "thinking");
    lost.push_if(request.max_output.is_some_and(|cap| cap < LEAST_OUTPUT), "max_tokens");
    let tools = tools::write(request, &names, &mut lost);
    let no_tools = tools.is_empty();
    let extras = Extras::of(&request.extras, &mut lost);
    let input = history::items(request, &names, &mut lost)?;
    if input.is_empty() && !request.turns.is_empty() {
        let message = "messages: nothing is left of the conversation that this model could read";
        return Err(Error::new(Kind::InvalidRequest, message).with_param("messages"));
    }
    let asked = wire::Asked {
        model: to.model(),
        input,
        max_output_tokens: cap(request, facts),
        temperature: sampled(request.temperature, &plan, "temperature", &mut lost),
        top_p: sampled(request.top_p, &plan, "top_p", &mut lost),
        tool_choice: tools::write_choice(request, &tools, &names, &mut lost)?,
        // True is the default.
        parallel_tool_calls: request.parallel_tools.filter(|parallel| !parallel && !no_tools),
        tools,
        text: text(request.format.as_ref(), extras.verbosity),
        reasoning: reasoning(request, &plan, facts),
        include: include(extras.wants_logprobs, facts),
        safety_identifier: request.user.as_deref(),
        service_tier: request.service_tier.as_deref().filter(|tier| *tier != "auto"),
        store: false,
        stream: request.stream,
        extras: extras.own,
    };
    lose_the_rest(request, &mut lost);
    let body = json::written(&asked)?;
    drop(asked);
    let undo = Undo { renamed: names.into_originals(), ..Undo::default() };
    Ok(Encoded { body, lost: lost.into_names(), undo })
}

fn cap(request: &Request<'_>, facts: &ModelFacts) -> Option<u64> {
    let most = facts.max_output.unwrap_or(u64::MAX).max(LEAST_OUTPUT);
    request.max_output.map(|cap| cap.clamp(LEAST_OUTPUT, most))
}

/// Models that think refuse anything but the default.
fn sampled(value: Option<f64>, plan: &Plan, field: &str, lost: &mut Lost) -> Option<f64> {
    if !plan.thinks {
        return value;
    }
    lost.push_if(value.is_some_and(|value| value != 1.0), field);
    None
}

/// The proofs of thoughts, without which they are gone with the next turn: models that can't think refuse to
/// be asked for them.
fn include(wants_logprobs: bool, facts: &ModelFacts) -> Vec<&'static str> {
    let proofs = facts.supports("reasoning").then_some("reasoning.encrypted_content");
    proofs.into_iter().chain(wants_logprobs.then_some("message.output_text.logprobs")).collect()
}

fn reasoning(request: &Request<'_>, plan: &Plan, facts: &ModelFacts) -> Option<wire::Reasoning<'static>> {
    let is_wanted = request.reasoning.is_some_and(|reasoning| reasoning.visible == Some(true));
    // A model that isn't known to think may refuse to sum its thoughts up.
    let summary = (is_wanted && plan.thinks && facts.supports("reasoning")).then(|| "auto".into());
    (plan.effort.is_some() || summary.is_some()).then(|| wire::Reasoning {
        effort: plan.effort.map(Str::from),
        summary,
        ..Default::default()
    })
}

fn text<'a>(format: Option<&'a Format<'_>>, verbosity: Option<&'a RawValue>) -> Option<wire::TextConfig<'a>> {
    let format = format.map(|format| match format {
        Format::Json => wire::Format { kind: Some("json_object".into()), ..Default::default() },
        Format::Schema { name, description, schema, strict } => wire::Format {
            kind: Some("json_schema".into()),
            name: Some(NAMES.cleaned(name.as_deref().unwrap_or("answer")).into()),
            description: description.as_deref().map(Str::from),
            schema: Some(schema),
            // Left out it would mean that the schema is strict.
            strict: Some(strict.unwrap_or(false)),
        },
    });
    (format.is_some() || verbosity.is_some()).then(|| wire::TextConfig {
        format,
        verbosity,
        ..Default::default()
    })
}

/// The fields that the canonical form doesn't know, as far as OpenAI does.
struct Extras<'a> {
    own: Vec<(&'a str, &'a RawValue)>,
    verbosity: Option<&'a RawValue>,
    wants_logprobs: bool,
}

impl<'a> Extras<'a> {
    fn of(extras: &'a [Extra<'_>], lost: &mut Lost) -> Self {
        let mut known = Self { own: Vec::new(), verbosity: None, wants_logprobs: false };
        for Extra { field, value } in extras {
            match &**field {
                "verbosity" | "text.verbosity" => known.verbosity = Some(value),
                "logprobs" if value.get() == "true" => known.wants_logprobs = true,
                own if OWN_FIELDS.contains(&own) => known.own.push((own, value)),
                // Prompts are cached without being asked for it.
                mark if mark == "cache_control" || mark.ends_with(".cache_control") => {}
                other => lost.push(other),
            }
        }
        known
    }
}

fn lose_the_rest(request: &Request<'_>, lost: &mut Lost) {
    let is_set = |penalty: Option<f64>| penalty.is_some_and(|penalty| penalty != 0.0);
    lost.push_if(request.top_k.is_some(), "top_k");
    lost.push_if(is_set(request.presence_penalty), "presence_penalty");
    lost.push_if(is_set(request.frequency_penalty), "frequency_penalty");
    lost.push_if(request.seed.is_some(), "seed");
    lost.push_if(request.stop.iter().any(|stop| !stop.is_empty()), "stop");
    lost.push_if(request.choices.is_some_and(|choices| choices > 1), "n");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::{Codec, Dialect, OPENAI_CHAT};

    fn from_chat(members: Value, facts: ModelFacts) -> (Value, Vec<Box<str>>) {
        let encoded = try_from_chat(members, facts).unwrap();
        (serde_json::from_slice(&encoded.body).unwrap(), encoded.lost)
    }

    fn try_from_chat(members: Value, facts: ModelFacts) -> Result<Encoded, Error> {
        let mut body = members;
        body["model"] = "m".into();
        if body.get("messages").is_none() {
            body["messages"] = json!([{"role": "user", "content": "hi"}]);
        }
        let body = body.to_string();
        let chat =
            OPENAI_CHAT.codec().and_then(Codec::chat).unwrap().decode_request(body.as_bytes()).unwrap();
        request(&chat, &Target::new("openai", "gpt-x").facts(facts))
    }

    fn unknown() -> ModelFacts {
        ModelFacts::default()
    }

    #[test]
    fn only_what_is_sent_can_be_chosen() {
        let asking = |name: &str| {
            let function = json!({"type": "function", "function": {"name": "f", "parameters": {}}});
            let choice = json!({"type": "function", "function": {"name": name}});
            try_from_chat(json!({"tools": [function], "tool_choice": choice}), unknown())
        };

        let refused = asking("g").unwrap_err();

        assert_eq!(refused.param(), Some("tool_choice"));
        assert!(asking("f").is_ok());
    }

    #[test]
    fn what_a_response_has_no_place_for_is_reported() {
        // C64, C65
        let (written, lost) = from_chat(
            json!({"stop": "x", "seed": 1, "n": 2, "presence_penalty": 1, "frequency_penalty": 0, "logit_bias": {"1": 2}}),
            unknown(),
        );

        let mut lost: Vec<&str> = lost.iter().map(|name| &**name).collect();
        lost.sort_unstable();
        assert_eq!(lost, ["logit_bias", "n", "presence_penalty", "seed", "stop"]);
        assert_eq!(written["store"], false);
    }

    #[test]
    fn what_openai_knows_in_both_of_its_dialects_goes_on() {
        let (written, lost) = from_chat(
            json!({"metadata": {"a": "b"}, "prompt_cache_key": "k", "verbosity": "low", "logprobs": true,
                "top_logprobs": 3, "service_tier": "flex", "user": "u"}),
            unknown(),
        );

        assert!(lost.is_empty(), "{lost:?}");
        assert_eq!((&written["metadata"], &written["prompt_cache_key"]), (&json!({"a": "b"}), &"k".into()));
        assert_eq!(written["text"], json!({"verbosity": "low"}));
        assert_eq!(
            (&written["include"], &written["top_logprobs"]),
            (&json!(["message.output_text.logprobs"]), &3.into())
        );
        assert_eq!((&written["service_tier"], &written["safety_identifier"]), (&"flex".into(), &"u".into()));
    }

    #[test]
    fn a_model_that_thinks_is_asked_for_its_proofs_and_not_sampled() {
        // C55, C75
        let thinks = || ModelFacts::new(["reasoning"], []);

        let (written, lost) =
            from_chat(json!({"reasoning_effort": "high", "temperature": 0.5, "top_p": 1}), thinks());

        assert_eq!(written["include"], json!(["reasoning.encrypted_content"]));
        assert_eq!(written["reasoning"], json!({"effort": "high", "summary": "auto"}));
        assert!(written.get("temperature").is_none() && written.get("top_p").is_none());
        assert_eq!(lost, ["temperature"].map(Box::<str>::from));
        let (plain, _) = from_chat(json!({"temperature": 0.5}), unknown());
        assert_eq!((&plain["temperature"], plain.get("include")), (&json!(0.5), None));
    }

    #[test]
    fn a_schema_stands_flat_and_says_whether_it_is_strict() {
        let schema = json!({"name": "my schema", "schema": {"type": "object"}});

        let (written, _) =
            from_chat(json!({"response_format": {"type": "json_schema", "json_schema": schema}}), unknown());

        assert_eq!(
            written["text"]["format"],
            json!({"type": "json_schema", "name": "my_schema", "schema": {"type": "object"}, "strict": false})
        );
    }

    #[test]
    fn a_cap_is_kept_within_what_is_taken() {
        let mut facts = ModelFacts::default();
        facts.max_output = Some(100);

        assert_eq!(from_chat(json!({"max_tokens": 1}), unknown()).0["max_output_tokens"], 16);
        assert_eq!(from_chat(json!({"max_tokens": 999}), facts).0["max_output_tokens"], 100);
        assert!(from_chat(json!({}), unknown()).0.get("max_output_tokens").is_none());
    }

    #[test]
    fn names_that_openai_refuses_are_changed_everywhere() {
        // C42, C46
        let (written, _) = from_chat(
            json!({"tools": [{"type": "function", "function": {"name": "a/b"}}],
                "tool_choice": {"type": "function", "function": {"name": "a/b"}},
                "messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "a/b", "arguments": "{}"}}]}]}),
            unknown(),
        );

        assert_eq!(written["tools"][0]["name"], "a_b");
        assert_eq!(written["tool_choice"], json!({"type": "function", "name": "a_b"}));
        assert_eq!(written["input"][0]["name"], "a_b");
    }
}
