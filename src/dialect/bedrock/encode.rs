//! A canonical request becomes one for a model at Bedrock.

use std::{borrow::Cow, collections::HashSet};

use serde_json::value::{RawValue, to_raw_value};

use super::{
    betas,
    format::{self, Plan},
    parts::{self, Marked, Writer},
    tools,
    wire::write::{CachePoint, Field, InferenceConfig, OutputConfig, Request as Body, ServiceTier},
};
use crate::{
    Error, Kind, Target,
    dialect::{
        Encoded, Undo,
        anthropic::thinking,
        canonical::{Effort, Request},
        citation, json,
        lost::Lost,
        names::{Names, Rule},
        schema::Members,
        text::Str,
        turns::{self, Block as _, Conversation, Message},
    },
    target::ModelFacts,
};

/// What Bedrock takes for a tool's name.
pub(super) const NAMES: Rule = Rule::simple(64);

/// The fields for what only some models know.
const MODEL_FIELDS: &str = "additionalModelRequestFields";
const RESPONSE_FIELDS: &str = "additionalModelResponseFieldPaths";

/// Fields that only Converse has, and which go on as they came.
const OWN_FIELDS: [&str; 4] = ["guardrailConfig", "performanceConfig", "promptVariables", "requestMetadata"];

/// Bedrock's models refuse requests with more marks.
const MAX_MARKS: usize = 4;

/// Writes `request` for the model `to`.
pub(super) fn request(request: &Request<'_>, to: &Target) -> Result<Encoded, Error> {
    let facts = to.known_facts();
    let mut lost = Lost::default();
    citation::lose(request, |_, _| false, &mut lost);
    let names = Names::of(request, &NAMES);
    let mut toolbox = tools::toolbox(request, facts, &names, &mut lost)?;
    let form = format::plan(request, facts, &toolbox, &mut lost);
    if let Plan::Forced(tool) = &form {
        tool.force(&mut toolbox);
    }
    let takes_thoughts = is_claude(to);
    let mut writer = Writer { names: &names, lost: &mut lost, takes_thoughts, documents: HashSet::new() };
    let mut conversation = turns::conversation(request, facts, &mut writer)?;
    conversation.system.extend(instructions(&form, toolbox.instruction.take()).map(Marked::text));
    parts::introduce_documents(&mut conversation.messages);
    limit_marks(&mut toolbox, &mut conversation, facts, &mut lost);
    let may_think =
        toolbox.choice.is_none() && (conversation.has_thinking() || !conversation.resumes_without_thinking());
    let mut written = Written::default();
    match takes_thoughts {
        true => written.claude(request, facts, may_think, &mut lost)?,
        false => written.other(request, facts, &mut lost),
    }
    written.stops(request, takes_thoughts, &mut lost)?;
    written.extras(request, takes_thoughts, &mut lost)?;
    lose_the_rest(request, &mut lost);
    let free_text = std::mem::take(&mut toolbox.free_text);
    let messages = conversation.messages.into_iter();
    let body = Body {
        messages: messages
            .map(|Message { role, content }| Message { role, content: parts::spread(content) })
            .collect(),
        system: parts::spread(conversation.system),
        inference_config: written.inference,
        tool_config: toolbox.into_config(),
        output_config: output_config(&form, written.effort),
        additional_model_request_fields: written.model_fields,
        service_tier: service_tier(request, &mut lost),
        extras: written.extras,
    };
    let json = json::written(&body)?;
    drop(body);
    let answer_tool = match form {
        Plan::Forced(tool) => Some(tool.name.into()),
        _ => None,
    };
    let undo = Undo { renamed: names.into_originals(), answer_tool, free_text };
    Ok(Encoded { body: json, lost: lost.into_names(), undo })
}

/// Whether Anthropic made the model, whose own fields are known.
fn is_claude(to: &Target) -> bool {
    to.model().contains("anthropic") || to.model().contains("claude")
}

fn output_config<'a>(form: &'a Plan<'_>, effort: Option<&'static str>) -> OutputConfig<'a> {
    let text_format = match form {
        Plan::Native(format) => Some(format),
        _ => None,
    };
    OutputConfig { text_format, effort }
}

fn instructions<'a>(form: &Plan<'a>, choice: Option<String>) -> impl Iterator<Item = Cow<'a, str>> + use<'a> {
    let form = match form {
        Plan::Asked(text) => Some(Cow::Borrowed(*text)),
        _ => None,
    };
    form.into_iter().chain(choice.map(Cow::Owned))
}

/// Takes the first marks away when there are too many, because the last ones reach furthest; all of them
/// where the model has no cache.
fn limit_marks(
    toolbox: &mut tools::Toolbox<'_>,
    conversation: &mut Conversation<Marked<'_>>,
    facts: &ModelFacts,
    lost: &mut Lost,
) {
    let most = if facts.is_known() && !facts.supports("prompt_caching") { 0 } else { MAX_MARKS };
    let of_tools = toolbox.tools.iter_mut().map(|tool| &mut tool.cache);
    let of_system = conversation.system.iter_mut().map(|marked| &mut marked.cache);
    let messages = conversation.messages.iter_mut().flat_map(|message| &mut message.content);
    let all = of_tools.chain(of_system).chain(messages.map(|marked| &mut marked.cache));
    let marks: Vec<&mut Option<CachePoint>> = all.filter(|mark| mark.is_some()).collect();
    let excess = marks.len().saturating_sub(most);
    lost.push_if(excess > 0, "cache_control");
    for mark in marks.into_iter().take(excess) {
        *mark = None;
    }
}

/// What is asked of the model besides the conversation.
#[derive(Debug, Default)]
struct Written<'a> {
    inference: InferenceConfig<'a>,
    effort: Option<&'static str>,
    model_fields: Vec<Field<'a>>,
    extras: Vec<Field<'a>>,
}

impl<'a> Written<'a> {
    fn model_field(&mut self, name: &'static str, value: impl serde::Serialize) -> Result<(), Error> {
        self.model_fields.push((name.into(), Cow::Owned(raw(value)?)));
        Ok(())
    }

    /// For models of Anthropic's, which think and sample as they do at home.
    fn claude(
        &mut self,
        request: &Request<'_>,
        facts: &ModelFacts,
        may_think: bool,
        lost: &mut Lost,
    ) -> Result<(), Error> {
        let plan = thinking::plan(request, facts, may_think, lost);
        if let Some(thinking) = plan.thinking {
            self.model_field("thinking", thinking)?;
        }
        self.effort = plan.effort;
        // Without a cap of the client's the model's own holds, but one has to stand above a budget.
        let needs_cap = request.max_output.is_some() || plan.thinks() && plan.effort.is_none();
        self.inference.max_tokens = needs_cap.then_some(plan.max_tokens);
        self.sample(request, facts, plan.thinks(), lost);
        let is_refused = facts.lacks("sampling_params") || plan.thinks();
        match request.top_k {
            Some(top_k) if !is_refused => self.model_field("top_k", top_k)?,
            top_k => lost.push_if(top_k.is_some(), "top_k"),
        }
        Ok(())
    }

    /// For all other models, of which only what they have in common is known.
    fn other(&mut self, request: &Request<'_>, facts: &ModelFacts, lost: &mut Lost) {
        self.inference.max_tokens =
            request.max_output.map(|cap| facts.max_output.map_or(cap, |most| cap.min(most)));
        let reasoning = request.reasoning.as_ref();
        let thinks = facts.supports("reasoning");
        self.effort = reasoning.filter(|_| thinks).and_then(|reasoning| thinking::effort(reasoning, facts));
        if reasoning.is_some_and(|reasoning| reasoning.effort == Some(Effort::None)) {
            // There is no way to say so, but most models don't think anyway.
            lost.push_if(thinks, "reasoning_effort");
            self.effort = None;
        } else {
            lost.push_if(reasoning.is_some() && self.effort.is_none(), "reasoning_effort");
        }
        self.sample(request, facts, false, lost);
        lost.push_if(request.top_k.is_some(), "top_k");
    }

    /// Sampling, as far as the model allows it: newer ones refuse it, thinking narrows it, and models of
    /// Anthropic's refuse a temperature and a nucleus together.
    fn sample(&mut self, request: &Request<'_>, facts: &ModelFacts, thinks: bool, lost: &mut Lost) {
        let is_refused = facts.lacks("sampling_params");
        let temperature = request.temperature.map(|temperature| temperature.clamp(0.0, 1.0));
        self.inference.temperature =
            temperature.filter(|temperature| !is_refused && (!thinks || *temperature == 1.0));
        lost.push_if(request.temperature != self.inference.temperature, "temperature");
        let has_temperature = self.inference.temperature.is_some();
        let fits = |top_p: &f64| !is_refused && !has_temperature && (!thinks || *top_p >= 0.95);
        self.inference.top_p = request.top_p.filter(fits);
        // 1 is what it is without being said.
        let is_lost = request.top_p.is_some_and(|top_p| top_p < 1.0) && self.inference.top_p.is_none();
        lost.push_if(is_lost, "top_p");
    }

    /// Texts that end the answer. Which of them did is said by Anthropic's models, if they are asked.
    fn stops(&mut self, request: &'a Request<'_>, is_claude: bool, lost: &mut Lost) -> Result<(), Error> {
        let is_blank = |stop: &str| stop.trim().is_empty();
        lost.push_if(request.stop.iter().any(|stop| is_blank(stop)), "stop");
        let stops = request.stop.iter().map(|stop| &**stop);
        self.inference.stop_sequences = stops.filter(|stop| !is_blank(stop)).collect();
        let is_asked = request.extras.iter().any(|extra| extra.field == RESPONSE_FIELDS);
        if is_claude && !is_asked && !self.inference.stop_sequences.is_empty() {
            self.extras.push((RESPONSE_FIELDS.into(), Cow::Owned(raw(["/stop_sequence"])?)));
        }
        Ok(())
    }

    /// Fields of Converse that a client has put into its own dialect. What it says of the model's fields
    /// goes before what was made of the rest of its request.
    fn extras(&mut self, request: &'a Request<'_>, is_claude: bool, lost: &mut Lost) -> Result<(), Error> {
        for extra in &request.extras {
            let field = &*extra.field;
            if field == betas::FIELD {
                // Other models have no such features.
                if let Some(known) = is_claude.then(|| betas::known(&extra.value, lost)).flatten() {
                    self.model_field(betas::FIELD, known)?;
                }
            } else if field == MODEL_FIELDS {
                let given: Vec<Field<'a>> = members(&extra.value)?;
                self.model_fields.retain(|(name, _)| given.iter().all(|(other, _)| other != name));
                self.model_fields.extend(given);
            } else if field == RESPONSE_FIELDS || OWN_FIELDS.contains(&field) {
                self.extras.push((Cow::Borrowed(field), Cow::Borrowed(&*extra.value)));
            } else {
                lost.push(field);
            }
        }
        Ok(())
    }
}

fn raw(value: impl serde::Serialize) -> Result<Box<RawValue>, Error> {
    to_raw_value(&value)
        .map_err(|error| Error::new(Kind::Internal, "the request can't be written").with_source(error))
}

/// The members of the object that a client has for the model's own fields.
fn members(object: &RawValue) -> Result<Vec<Field<'_>>, Error> {
    let refused = || {
        Error::new(Kind::InvalidRequest, format!("{MODEL_FIELDS}: expected an object"))
            .with_param(MODEL_FIELDS)
    };
    let Members(members) = Members::of(object).ok_or_else(refused)?;
    Ok(members.into_iter().map(|(Str(name), value)| (name, Cow::Borrowed(value))).collect())
}

fn service_tier(request: &Request<'_>, lost: &mut Lost) -> Option<ServiceTier> {
    let kind = match request.service_tier.as_deref()? {
        // What is had without asking.
        "auto" => return None,
        "default" => "default",
        "flex" => "flex",
        "priority" => "priority",
        _ => {
            lost.push("service_tier");
            return None;
        }
    };
    Some(ServiceTier { kind })
}

fn lose_the_rest(request: &Request<'_>, lost: &mut Lost) {
    let is_set = |penalty: Option<f64>| penalty.is_some_and(|penalty| penalty != 0.0);
    lost.push_if(is_set(request.presence_penalty), "presence_penalty");
    lost.push_if(is_set(request.frequency_penalty), "frequency_penalty");
    lost.push_if(request.seed.is_some(), "seed");
    lost.push_if(request.choices.is_some_and(|choices| choices > 1), "n");
    lost.push_if(request.user.is_some(), "user");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{
        CLAUDE, asking, assistant, call, encoded, hi, result, system, text, thought, tool, try_encode, user,
    };
    use super::*;
    use crate::dialect::canonical::{Cache, Extra, Part, Reasoning, ToolChoice};

    const NOVA: &str = "amazon.nova-2-lite-v1:0";

    fn extra<'a>(field: &'a str, value: &'a str) -> Extra<'a> {
        Extra { field: field.into(), value: super::super::testing::raw(value) }
    }

    fn thinking(effort: Effort) -> Option<Reasoning> {
        Some(Reasoning { effort: Some(effort), ..Reasoning::default() })
    }

    fn marked<'a>(said: &'a str, cache: Cache) -> Part<'a> {
        Part { cache: Some(cache), ..text(said) }
    }

    #[test]
    fn a_plain_request_is_written_without_decoration() {
        let request = Request { max_output: Some(50), stop: vec!["END".into()], stream: true, ..hi() };

        let encoded = try_encode(&request, NOVA).unwrap();

        let expected = r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}],"inferenceConfig":{"maxTokens":50,"stopSequences":["END"]}}"#;
        assert_eq!(std::str::from_utf8(&encoded.body).unwrap(), expected);
        assert!(encoded.lost.is_empty() && encoded.undo.is_empty());
    }

    /// C1, C2, C4
    #[test]
    fn instructions_stand_before_the_conversation_or_remind_inside_of_it() {
        let mut request = asking(vec![system("S2"), user(vec![text("a")]), system("S3")]);
        request.system = vec![text("S1"), text(" ")];

        let (body, _) = encoded(&request, CLAUDE);
        let (only, _) = encoded(&asking(vec![system("S")]), CLAUDE);

        assert_eq!(body["system"], json!([{"text": "S1"}, {"text": "S2"}]));
        assert_eq!(
            body["messages"],
            json!([{"role": "user", "content": [{"text": "a"}, {"text": "<system-reminder>\nS3\n</system-reminder>"}]}])
        );
        assert_eq!(only["messages"], json!([{"role": "user", "content": [{"text": "S"}]}]));
    }

    /// C61, C63
    #[test]
    fn sampling_is_narrowed_to_what_the_model_takes() {
        let both = || Request { temperature: Some(1.5), top_p: Some(0.9), top_k: Some(5), ..hi() };

        let (older, lost_older) = encoded(&both(), CLAUDE);
        let (newer, lost_newer) = encoded(&both(), "anthropic.claude-opus-4-8");
        let (other, lost_other) = encoded(&both(), NOVA);

        assert_eq!(older["inferenceConfig"], json!({"temperature": 1.0}));
        assert_eq!(older["additionalModelRequestFields"], json!({"top_k": 5}));
        assert_eq!(lost_older, ["temperature", "top_p"]);
        assert!(
            newer.get("inferenceConfig").is_none() && newer.get("additionalModelRequestFields").is_none()
        );
        assert_eq!(lost_newer, ["temperature", "top_p", "top_k"]);
        assert_eq!(
            (&other["inferenceConfig"], lost_other),
            (&json!({"temperature": 1.0}), vec!["temperature".into(), "top_p".into(), "top_k".into()])
        );
    }

    /// C64
    #[test]
    fn stop_texts_without_a_character_are_lost() {
        let request = Request { stop: vec!["\n".into(), "END".into()], ..hi() };

        let (body, lost) = encoded(&request, CLAUDE);

        assert_eq!(body["inferenceConfig"]["stopSequences"], json!(["END"]));
        assert_eq!(body["additionalModelResponseFieldPaths"], json!(["/stop_sequence"]));
        assert_eq!(lost, ["stop"]);
    }

    /// C65, C117
    #[test]
    fn what_cant_be_expressed_is_reported() {
        let request = Request {
            seed: Some(1),
            choices: Some(2),
            presence_penalty: Some(0.5),
            frequency_penalty: Some(0.0),
            user: Some("u".into()),
            service_tier: Some("scale".into()),
            extras: vec![extra("logprobs", "true")],
            ..hi()
        };

        let (_, lost) = encoded(&request, CLAUDE);

        assert_eq!(lost, ["logprobs", "presence_penalty", "seed", "n", "user", "service_tier"]);
    }

    #[test]
    fn classes_of_service_have_the_same_names() {
        let sent = |tier: &'static str| {
            encoded(&Request { service_tier: Some(tier.into()), ..hi() }, CLAUDE).0["serviceTier"].take()
        };

        assert_eq!((sent("auto"), sent("priority")), (Value::Null, json!({"type": "priority"})));
    }

    #[test]
    fn claude_thinks_by_budget_or_by_effort() {
        let request = |effort| Request { reasoning: thinking(effort), max_output: Some(5000), ..hi() };
        let uncapped = Request { max_output: None, ..request(Effort::High) };

        let (older, _) = encoded(&request(Effort::Low), CLAUDE);
        let (newer, lost) = encoded(&uncapped, "global.anthropic.claude-opus-4-8");

        assert_eq!(
            older["additionalModelRequestFields"],
            json!({"thinking": {"type": "enabled", "budget_tokens": 1024}})
        );
        // C125
        assert_eq!(older["inferenceConfig"]["maxTokens"], 5000);
        assert_eq!(
            newer["additionalModelRequestFields"],
            json!({"thinking": {"type": "adaptive", "display": "summarized"}})
        );
        assert_eq!(newer["outputConfig"], json!({"effort": "high"}));
        assert!(newer.get("inferenceConfig").is_none() && lost.is_empty());
    }

    #[test]
    fn others_think_by_effort_if_at_all() {
        let request = |effort| Request { reasoning: thinking(effort), ..hi() };

        let (high, lost) = encoded(&request(Effort::High), NOVA);
        let (_, lost_none) = encoded(&request(Effort::None), NOVA);
        let (never, lost_never) = encoded(&request(Effort::High), "amazon.nova-pro-v1:0");

        assert_eq!((&high["outputConfig"], lost), (&json!({"effort": "high"}), vec![]));
        assert!(never.get("outputConfig").is_none());
        assert_eq!(
            (lost_none, lost_never),
            (vec!["reasoning_effort".to_owned()], vec!["reasoning_effort".to_owned()])
        );
    }

    /// C49, C67
    #[test]
    fn thinking_gives_way_to_what_does_not_go_with_it() {
        let forced = Request {
            tools: vec![tool("f", None)],
            tool_choice: Some(ToolChoice::Required),
            reasoning: thinking(Effort::High),
            ..hi()
        };
        let resumed = |begin: Vec<Part<'static>>| Request {
            tools: vec![tool("f", None)],
            reasoning: thinking(Effort::High),
            ..asking(vec![user(vec![text("a")]), assistant(begin), user(vec![result("c", "r")])])
        };

        let (forced, lost) = encoded(&forced, CLAUDE);
        let (without, lost_thoughts) = encoded(&resumed(vec![call("c", "f", "{}")]), CLAUDE);
        let (with, _) = encoded(&resumed(vec![thought("t", Some("s")), call("c", "f", "{}")]), CLAUDE);

        assert_eq!(forced["toolConfig"]["toolChoice"], json!({"any": {}}));
        assert!(forced.get("additionalModelRequestFields").is_none());
        assert!(without.get("additionalModelRequestFields").is_none());
        assert_eq!(
            (lost, lost_thoughts),
            (vec!["reasoning_effort".to_owned()], vec!["reasoning_effort".to_owned()])
        );
        assert_eq!(with["additionalModelRequestFields"]["thinking"]["type"], "enabled");
    }

    /// C123
    #[test]
    fn cache_marks_stand_behind_their_blocks_and_are_at_most_four() {
        let mut request =
            asking(vec![user(vec![marked("a", Cache::Default), text("b"), marked("c", Cache::Default)])]);
        request.system = (0..3).map(|_| marked("s", Cache::Hour)).collect();

        let (body, lost) = encoded(&request, CLAUDE);
        let (uncached, lost_uncached) = encoded(&request, "meta.llama3-1-405b-instruct-v1:0");

        let hour = json!({"cachePoint": {"type": "default", "ttl": "1h"}});
        let usual = json!({"cachePoint": {"type": "default"}});
        assert_eq!(body["system"], json!([{"text": "s"}, {"text": "s"}, hour, {"text": "s"}, hour]));
        assert_eq!(
            body["messages"][0]["content"],
            json!([{"text": "a"}, usual, {"text": "b"}, {"text": "c"}, usual])
        );
        assert!(!uncached.to_string().contains("cachePoint"));
        assert_eq!(
            (lost, lost_uncached),
            (vec!["cache_control".to_owned()], vec!["cache_control".to_owned()])
        );
    }

    #[test]
    fn fields_of_converse_go_on_as_they_came() {
        let request = Request {
            top_k: Some(5),
            stop: vec!["X".into()],
            extras: vec![
                extra("guardrailConfig", r#"{"guardrailIdentifier":"g","guardrailVersion":"1"}"#),
                extra("additionalModelRequestFields", r#"{"top_k":7,"anthropic_beta":["a"]}"#),
                extra("additionalModelResponseFieldPaths", r#"["/x"]"#),
                extra("requestMetadata", r#"{"k":"v"}"#),
            ],
            ..hi()
        };

        let (body, lost) = encoded(&request, CLAUDE);
        let wrong = Request { extras: vec![extra("additionalModelRequestFields", "7")], ..hi() };

        assert_eq!(body["guardrailConfig"], json!({"guardrailIdentifier": "g", "guardrailVersion": "1"}));
        assert_eq!(body["additionalModelRequestFields"], json!({"top_k": 7, "anthropic_beta": ["a"]}));
        assert_eq!(
            (&body["additionalModelResponseFieldPaths"], &body["requestMetadata"]),
            (&json!(["/x"]), &json!({"k": "v"}))
        );
        assert!(lost.is_empty());
        assert_eq!(try_encode(&wrong, CLAUDE).unwrap_err().param(), Some("additionalModelRequestFields"));
    }

    /// C7
    #[test]
    fn an_answer_that_has_begun_goes_on_where_the_model_allows_it() {
        let begun = || asking(vec![user(vec![text("a")]), assistant(vec![text("b ")])]);

        let (body, _) = encoded(&begun(), CLAUDE);
        let refused = try_encode(&begun(), "anthropic.claude-opus-4-8").unwrap_err();

        assert_eq!(body["messages"][1]["content"], json!([{"text": "b"}]));
        assert_eq!(refused.kind(), Kind::InvalidRequest);
    }
}
