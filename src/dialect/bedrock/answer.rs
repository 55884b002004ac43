//! Bedrock's answers become canonical ones.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    citations, finish, usage,
    wire::read::{self, Block, Message, Output, Reasoning},
};
use crate::{
    Error, Kind, Tokens,
    dialect::{
        arguments,
        canonical::{Answer, Choice, Content, Part, Text, ToolCall},
        ids, json,
    },
};

/// Reads an answer. It has neither an id nor the name of the model.
pub(super) fn decode(body: &[u8]) -> Result<Answer<'_>, Error> {
    let wire: read::Answer<'_> = json::parse(body).map_err(|error| {
        Error::new(Kind::Upstream, "the provider's answer can't be understood").with_source(error)
    })?;
    let Some(Output { message: Some(Message { content }) }) = wire.output else {
        return Err(Error::new(Kind::Upstream, "the provider's answer has no output"));
    };
    let parts: Vec<Part<'_>> = content.unwrap_or_default().into_iter().flat_map(parts).collect();
    if parts.is_empty() && wire.stop_reason.as_deref().is_some_and(finish::is_malformed) {
        return Err(finish::malformed());
    }
    let called = parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    let sequence = wire.fields.and_then(|fields| fields.stop_sequence);
    let finish = finish::read(wire.stop_reason.as_deref(), sequence, called);
    let mut tokens = Tokens::default();
    if let Some(usage) = wire.usage {
        usage::merge(usage, &mut tokens);
    }
    Ok(Answer {
        id: ids::new("msg_").into(),
        model: "".into(),
        created: None,
        choices: vec![Choice { index: 0, parts, finish, logprobs: None }],
        tokens,
        service_tier: wire.service_tier.and_then(|tier| tier.kind).map(Into::into),
    })
}

fn parts(block: Block<'_>) -> Vec<Part<'_>> {
    let said = block.text.map(|text| Content::Text(text.into()));
    let cited = block.citations.map(|cited| {
        let pieces = cited.content.unwrap_or_default().into_iter();
        let texts = pieces.filter_map(|piece| piece.text.map(Text::from));
        let citations = cited.citations.unwrap_or_default().into_iter().map(citations::read).collect();
        let said = Content::Text(texts.collect::<Vec<_>>().concat().into());
        Part { citations, ..said.into() }
    });
    let call = block.tool_use.map(|call| {
        Content::ToolCall(ToolCall {
            id: call.id.unwrap_or_default().into(),
            name: call.name.unwrap_or_default().into(),
            arguments: Cow::Borrowed(call.input.map_or(arguments::empty().get(), RawValue::get)),
            is_free_text: false,
        })
    });
    let thought = block.reasoning.and_then(thought);
    [thought.map(Part::from), said.map(Part::from), cited, call.map(Part::from)]
        .into_iter()
        .flatten()
        .collect()
}

fn thought(reasoning: Reasoning<'_>) -> Option<Content<'_>> {
    if let Some(thought) = reasoning.text {
        let signature = thought.signature.filter(|signature| !signature.is_empty());
        let text = thought.text.unwrap_or_default().into();
        return Some(Content::Reasoning { text, signature: signature.map(Into::into) });
    }
    Some(Content::RedactedReasoning(reasoning.redacted?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::canonical::Finish;

    /// Recorded, but for the thoughts.
    const ANSWER: &str = r#"{"output":{"message":{"role":"assistant","content":[
        {"reasoningContent":{"reasoningText":{"text":"hm","signature":"SIG"}}},
        {"reasoningContent":{"redactedContent":"UkVE"}},
        {"text":"4"},
        {"citationsContent":{"content":[{"text":"a"},{"text":"b"}],"citations":[]}},
        {"toolUse":{"toolUseId":"tooluse_kZJ","name":"f","input":{"a":12345678901234567890}}}]}},
        "stopReason":"tool_use",
        "usage":{"inputTokens":16,"outputTokens":9,"totalTokens":2412,"cacheReadInputTokens":0,
            "cacheWriteInputTokens":2387,"cacheDetails":[{"ttl":"5m","inputTokens":2387}]},
        "metrics":{"latencyMs":2083},"additionalModelResponseFields":{},"trace":{},"performanceConfig":{},
        "serviceTier":{"type":"priority"}}"#;

    fn with(stop: &str, content: &str) -> String {
        format!(
            r#"{{"output":{{"message":{{"role":"assistant","content":{content}}}}},"stopReason":{stop}}}"#
        )
    }

    fn finish_of(stop: &str) -> Finish<'static> {
        let body = with(stop, r#"[{"text":"x"}]"#).leak();
        decode(body.as_bytes()).unwrap().choices.remove(0).finish
    }

    #[test]
    fn an_answer_is_understood() {
        let answer = decode(ANSWER.as_bytes()).unwrap();

        let [choice] = &answer.choices[..] else { panic!() };
        assert!(answer.id.starts_with("msg_") && answer.model.is_empty());
        assert_eq!(answer.service_tier.as_deref(), Some("priority"));
        assert_eq!((answer.tokens.input, answer.tokens.cache_write, answer.tokens.output), (2403, 2387, 9));
        assert_eq!(choice.finish, Finish::ToolCalls);
        let contents: Vec<_> = choice.parts.iter().map(|part| &part.content).collect();
        let [
            Content::Reasoning { text: thought, signature: Some(signature) },
            Content::RedactedReasoning(redacted),
            Content::Text(said),
            Content::Text(cited),
            Content::ToolCall(call),
        ] = &contents[..]
        else {
            panic!("{contents:?}")
        };
        assert_eq!((&**thought, &**signature, &**redacted), ("hm", "SIG", "UkVE"));
        assert_eq!((&**said, &**cited), ("4", "ab"));
        assert_eq!((&*call.id, &*call.arguments), ("tooluse_kZJ", r#"{"a":12345678901234567890}"#));
    }

    /// §7 of the translation
    #[test]
    fn the_reasons_for_an_end_are_understood() {
        assert_eq!(finish_of(r#""end_turn""#), Finish::Stop);
        assert_eq!(finish_of(r#""tool_use""#), Finish::ToolCalls);
        assert_eq!(finish_of(r#""max_tokens""#), Finish::Length);
        assert_eq!(finish_of(r#""model_context_window_exceeded""#), Finish::Length);
        assert_eq!(
            finish_of(r#""stop_sequence","additionalModelResponseFields":{"stop_sequence":"X"}"#),
            Finish::StopSequence("X".into())
        );
        assert_eq!(finish_of(r#""guardrail_intervened""#), Finish::Refused(None));
        assert_eq!(finish_of(r#""content_filtered""#), Finish::Refused(None));
        assert_eq!(finish_of(r#""malformed_model_output""#), Finish::Stop);
        assert_eq!(finish_of("null"), Finish::Stop);
    }

    /// C77, as Bedrock has it
    #[test]
    fn a_malformed_answer_with_nothing_in_it_is_the_providers_fault() {
        for reason in [r#""malformed_tool_use""#, r#""malformed_model_output""#] {
            assert_eq!(decode(with(reason, "[]").as_bytes()).unwrap_err().kind(), Kind::Upstream);
        }
    }

    /// C82
    #[test]
    fn an_empty_answer_stays_empty() {
        let body = with(r#""end_turn""#, "[]");

        let answer = decode(body.as_bytes()).unwrap();

        assert!(answer.choices[0].parts.is_empty());
        assert_eq!(answer.choices[0].finish, Finish::Stop);
    }

    #[test]
    fn what_is_no_answer_is_the_providers_fault() {
        for body in ["", "[]", "{}", r#"{"output":{}}"#, r#"{"output":{"message":{"content":[7]}}}"#] {
            assert_eq!(decode(body.as_bytes()).unwrap_err().kind(), Kind::Upstream, "{body}");
        }
    }
}
