//! A canonical request becomes one for a model at Anthropic.

use std::borrow::Cow;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{
    cache, citations,
    format::{self, Plan},
    parts::Writer,
    thinking,
    tools::{self, Toolbox},
    wire::write::{Block, Metadata, OutputConfig, Request as Body},
};
use crate::{
    Error, Target,
    dialect::{
        Encoded, Undo,
        canonical::Request,
        citation, json,
        lost::Lost,
        names::{Names, Rule},
        turns,
    },
};

/// What Anthropic takes for a tool's name.
pub(super) const NAMES: Rule = Rule::simple(128);

/// Fields that only this dialect has, and which go on as they came.
const OWN_FIELDS: [&str; 12] = [
    "cache_control",
    "container",
    "context_management",
    "diagnostics",
    "fallbacks",
    "inference_geo",
    "mcp_servers",
    "speed",
    "compaction",
    "thread",
    "billing_policy",
    "fallback_credit_token",
];

/// Writes `request` for the model `to`.
pub(super) fn request(request: &Request<'_>, to: &Target) -> Result<Encoded, Error> {
    let facts = to.known_facts();
    let mut lost = Lost::default();
    citation::lose(request, |_, citation| citations::is_taken(citation), &mut lost);
    let names = Names::of(request, &NAMES);
    let mut toolbox = tools::toolbox(request, facts, &names, &mut lost)?;
    let form = format::plan(request, facts, &toolbox, &mut lost);
    if let Plan::Forced(tool) = &form {
        tool.force(&mut toolbox);
    }
    let mut writer = Writer { names: &names, lost: &mut lost };
    let mut conversation = turns::conversation(request, facts, &mut writer)?;
    conversation.system.extend(instructions(&form, &toolbox).map(Block::text));
    // Thoughts that are there must be followed by thinking, and what lacks them can't be.
    let resumes_thinking = conversation.has_thinking() || !conversation.resumes_without_thinking();
    let plan = thinking::plan(request, facts, !toolbox.forces() && resumes_thinking, &mut lost);
    let free_text = std::mem::take(&mut toolbox.free_text);
    let mut body = Body {
        model: to.model(),
        max_tokens: plan.max_tokens,
        system: conversation.system,
        messages: conversation.messages,
        tools: toolbox.tools,
        tool_choice: toolbox.choice,
        thinking: plan.thinking,
        output_config: output_config(&form, plan.effort),
        temperature: None,
        top_p: None,
        top_k: None,
        stop_sequences: stop_sequences(request, &mut lost),
        metadata: request.user.as_deref().map(|user| Metadata { user_id: opaque(user) }),
        service_tier: service_tier(request, &mut lost),
        stream: request.stream,
        extras: extras(request, &mut lost),
    };
    sample(request, &mut body, facts.lacks("sampling_params"), plan.thinks(), &mut lost);
    lose_the_rest(request, &mut lost);
    cache::limit(&mut body.tools, &mut body.system, &mut body.messages, &mut lost);
    let json = json::written(&body)?;
    drop(body);
    let answer_tool = match form {
        Plan::Forced(tool) => Some(tool.name.into()),
        _ => None,
    };
    let undo = Undo { renamed: names.into_originals(), answer_tool, free_text };
    Ok(Encoded { body: json, lost: lost.into_names(), undo })
}

fn instructions<'a>(form: &Plan<'a>, toolbox: &Toolbox<'_>) -> impl Iterator<Item = Cow<'a, str>> {
    let form = match form {
        Plan::Asked(text) => Some(Cow::Borrowed(*text)),
        _ => None,
    };
    form.into_iter().chain(toolbox.instruction.clone().map(Cow::Owned))
}

fn output_config<'a>(form: &'a Plan<'_>, effort: Option<&'static str>) -> Option<OutputConfig<'a>> {
    let format = match form {
        Plan::Native(format) => Some(format),
        _ => None,
    };
    (effort.is_some() || format.is_some()).then_some(OutputConfig { effort, format })
}

/// Anthropic refuses stop texts without a visible character.
fn stop_sequences<'a>(request: &'a Request<'_>, lost: &mut Lost) -> Vec<&'a str> {
    lost.push_if(request.stop.iter().any(|stop| stop.trim().is_empty()), "stop");
    request.stop.iter().map(|stop| &**stop).filter(|stop| !stop.trim().is_empty()).collect()
}

fn service_tier(request: &Request<'_>, lost: &mut Lost) -> Option<&'static str> {
    match request.service_tier.as_deref()? {
        "auto" => Some("auto"),
        "default" => Some("standard_only"),
        _ => {
            lost.push("service_tier");
            None
        }
    }
}

/// Anthropic's terms forbid names, addresses and numbers of people here: what looks like one is hashed.
fn opaque(user: &str) -> Cow<'_, str> {
    let is_phone_char = |char: char| char.is_ascii_digit() || "+-() ./".contains(char);
    let is_phone = user.len() >= 7 && user.chars().all(is_phone_char);
    if !user.contains('@') && !is_phone {
        return Cow::Borrowed(user);
    }
    let digest = Sha256::digest(user.as_bytes());
    Cow::Owned(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

fn extras<'a>(request: &'a Request<'_>, lost: &mut Lost) -> Vec<(&'a str, &'a RawValue)> {
    let (own, foreign): (Vec<_>, Vec<_>) =
        request.extras.iter().partition(|extra| OWN_FIELDS.contains(&&*extra.field));
    foreign.iter().for_each(|extra| lost.push(&extra.field));
    own.into_iter().map(|extra| (&*extra.field, &*extra.value)).collect()
}

/// Sampling, as far as the model allows it: newer ones refuse it, thinking narrows it, and a
/// temperature and a nucleus together are refused by some.
fn sample(request: &Request<'_>, body: &mut Body<'_>, is_refused: bool, thinks: bool, lost: &mut Lost) {
    let temperature = request.temperature.map(|temperature| temperature.clamp(0.0, 1.0));
    body.temperature = temperature.filter(|temperature| !is_refused && (!thinks || *temperature == 1.0));
    lost.push_if(request.temperature != body.temperature, "temperature");
    let fits = |top_p: &f64| !is_refused && body.temperature.is_none() && (!thinks || *top_p >= 0.95);
    body.top_p = request.top_p.filter(fits);
    // 1 is what it is without being said.
    lost.push_if(request.top_p.is_some_and(|top_p| top_p < 1.0) && body.top_p.is_none(), "top_p");
    body.top_k = request.top_k.filter(|_| !is_refused && !thinks);
    lost.push_if(request.top_k.is_some() && body.top_k.is_none(), "top_k");
}

fn lose_the_rest(request: &Request<'_>, lost: &mut Lost) {
    let is_set = |penalty: Option<f64>| penalty.is_some_and(|penalty| penalty != 0.0);
    lost.push_if(is_set(request.presence_penalty), "presence_penalty");
    lost.push_if(is_set(request.frequency_penalty), "frequency_penalty");
    lost.push_if(request.seed.is_some(), "seed");
    lost.push_if(request.choices.is_some_and(|choices| choices > 1), "n");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{encoded, hi, raw, text, try_encode};
    use super::*;
    use crate::dialect::canonical::{Cache, Effort, Extra, Reasoning};

    /// T01
    #[test]
    fn a_plain_request_is_written_without_decoration() {
        let request = Request { max_output: Some(50), stop: vec!["END".into()], ..hi() };

        let encoded = try_encode(&request, &[], &[]).unwrap();

        let expected = r#"{"model":"m","max_tokens":50,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"stop_sequences":["END"]}"#;
        assert_eq!(std::str::from_utf8(&encoded.body).unwrap(), expected);
        assert!(encoded.lost.is_empty() && encoded.undo.is_empty());
    }

    /// C61, T05, T06
    #[test]
    fn sampling_is_narrowed_to_what_the_model_takes() {
        let request = Request { temperature: Some(1.5), top_k: Some(5), ..hi() };

        let (clamped, narrowed) = encoded(&request, &[], &[]);
        let (refused, lost) = encoded(&request, &[], &["sampling_params"]);

        assert_eq!((&clamped["temperature"], &clamped["top_k"]), (&json!(1.0), &json!(5)));
        assert!(refused.get("temperature").is_none() && refused.get("top_k").is_none());
        assert_eq!(
            (narrowed, lost),
            (vec!["temperature".into()], vec!["temperature".into(), "top_k".into()])
        );
    }

    /// C63
    #[test]
    fn a_temperature_goes_before_a_nucleus() {
        let both = Request { temperature: Some(0.5), top_p: Some(0.9), ..hi() };
        let thinking = Reasoning { effort: Some(Effort::Low), ..Reasoning::default() };
        let thinking =
            Request { temperature: Some(0.5), top_p: Some(0.96), reasoning: Some(thinking), ..hi() };

        let (both, lost) = encoded(&both, &[], &[]);
        let (thinking, lost_thinking) = encoded(&thinking, &[], &[]);

        assert_eq!((both["temperature"].as_f64(), both.get("top_p")), (Some(0.5), None));
        assert_eq!(lost, ["top_p"]);
        assert_eq!((thinking.get("temperature"), thinking["top_p"].as_f64()), (None, Some(0.96)));
        assert_eq!(lost_thinking, ["temperature"]);
    }

    /// C64
    #[test]
    fn stop_texts_without_a_character_are_lost() {
        let request = Request { stop: vec!["\n\n".into(), "END".into()], ..hi() };

        let (body, lost) = encoded(&request, &[], &[]);

        assert_eq!(body["stop_sequences"], json!(["END"]));
        assert_eq!(lost, ["stop"]);
    }

    /// C65, C117
    #[test]
    fn what_cant_be_expressed_is_reported() {
        let extra = |field: &'static str, value| Extra { field: field.into(), value: raw(value) };
        let request = Request {
            seed: Some(1),
            choices: Some(2),
            presence_penalty: Some(0.5),
            frequency_penalty: Some(0.0),
            service_tier: Some("flex".into()),
            extras: vec![extra("logprobs", "true"), extra("speed", r#""fast""#)],
            ..hi()
        };

        let (body, lost) = encoded(&request, &[], &[]);

        assert_eq!(body["speed"], "fast");
        assert_eq!(lost, ["service_tier", "logprobs", "presence_penalty", "seed", "n"]);
    }

    /// C124
    #[test]
    fn users_are_named_opaquely() {
        let sent = |user: &'static str| {
            let (body, _) = encoded(&Request { user: Some(user.into()), ..hi() }, &[], &[]);
            body["metadata"]["user_id"].as_str().unwrap().to_owned()
        };

        assert_eq!(sent("user-7"), "user-7");
        assert_eq!(sent("ann@example.com").len(), 32);
        assert_ne!(sent("+49 170 1234567"), sent("+49 170 1234568"));
    }

    #[test]
    fn classes_of_service_are_renamed() {
        let sent = |tier: &'static str| {
            encoded(&Request { service_tier: Some(tier.into()), ..hi() }, &[], &[]).0["service_tier"].take()
        };

        assert_eq!((sent("auto"), sent("default")), (json!("auto"), json!("standard_only")));
    }

    /// C123
    #[test]
    fn only_the_last_four_cache_marks_are_kept() {
        let mut request = hi();
        let marked = |cache| {
            let mut part = text("s");
            part.cache = Some(cache);
            part
        };
        request.system = (0..4).map(|_| marked(Cache::Hour)).collect();
        request.turns[0].parts.push(marked(Cache::Default));

        let (body, lost) = encoded(&request, &[], &[]);

        assert!(body["system"][0].get("cache_control").is_none());
        assert_eq!(body["system"][1]["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}));
        assert_eq!(body["messages"][0]["content"][1]["cache_control"], json!({"type": "ephemeral"}));
        assert_eq!(lost, ["cache_control"]);
    }
}
