//! Whole answers, in both directions.

use std::borrow::Cow;

use bytes::Bytes;

use super::{
    calls::NewIds,
    codec::ID,
    content::Reader,
    error,
    finish::{self, Contained},
    grounding::{self, Grounding},
    logprobs, proof, usage,
    wire::{
        read,
        write::{self, Data, FunctionCall, Part as Wire},
    },
};
use crate::{
    Error, Kind,
    dialect::{
        arguments,
        canonical::{Answer, Choice, Content, Finish, Part, Text, ToolCall},
        extras::Extras,
        ids, json, json_writer, proof as canonical_proof,
    },
};

/// Reads a provider's answer.
pub(super) fn decode(body: &[u8]) -> Result<Answer<'_>, Error> {
    let wire: read::Answer<'_> = json::parse(body).map_err(incomprehensible)?;
    if wire.error.is_some() {
        let unread = || Error::new(Kind::Upstream, "the provider failed");
        return Err(error::read_inside(body).unwrap_or_else(unread));
    }
    let candidates = wire.candidates.unwrap_or_default();
    let mut choices = candidates
        .into_iter()
        .enumerate()
        .map(|(at, one)| candidate(at, one))
        .collect::<Result<Vec<_>, _>>()?;
    if choices.is_empty() {
        let feedback = wire.prompt_feedback.unwrap_or_default();
        let reason = feedback.block_reason.ok_or_else(empty)?;
        let finish = finish::blocked(&reason, feedback.block_reason_message.map(Text::from));
        choices.push(Choice { index: 0, parts: Vec::new(), finish, logprobs: None });
    }
    let (tokens, service_tier) = wire.usage_metadata.map(usage::read).unwrap_or_default();
    Ok(Answer {
        id: wire.response_id.unwrap_or_default().into(),
        model: wire.model_version.unwrap_or_default().into(),
        created: None,
        choices,
        tokens,
        service_tier,
    })
}

/// The provider sent what isn't an answer; never the client's fault.
fn incomprehensible(error: impl Into<crate::BoxError>) -> Error {
    Error::new(Kind::Upstream, "the provider's answer can't be understood").with_source(error)
}

/// The error for an answer that neither says anything nor why not.
pub(super) fn empty() -> Error {
    Error::new(Kind::Upstream, "the provider's answer has no candidates")
}

fn candidate(at: usize, wire: read::Candidate<'_>) -> Result<Choice<'_>, Error> {
    let mut extras = Extras::default();
    let mut reader = Reader { ids: NewIds, extras: &mut extras };
    let mut parts = Vec::new();
    let mut places = Vec::new();
    for part in wire.content.and_then(|content| content.parts).unwrap_or_default().0 {
        let before = parts.len();
        reader.add(part, &|| format!("candidates[{at}].content"), &mut parts).map_err(incomprehensible)?;
        let is_text = matches!(parts.get(before), Some(Part { content: Content::Text(_), .. }));
        places.push(is_text.then_some(before));
    }
    grounding::attach(grounding::read(wire.grounding, wire.citations), &places, &mut parts);
    parts.retain(|part| !matches!(&part.content, Content::Text(text) if text.is_empty()));
    let contained = Contained {
        anything: !parts.is_empty(),
        calls: parts.iter().any(|part| matches!(part.content, Content::ToolCall(_))),
    };
    let reason = wire.finish_reason.as_deref().unwrap_or_default();
    let finish = finish::read(reason, wire.finish_message.map(Text::from), contained)?;
    let index = wire.index.unwrap_or(at as u32);
    Ok(Choice { index, parts, finish, logprobs: wire.logprobs_result.and_then(logprobs::read) })
}

/// Writes an answer for a client.
pub(super) fn encode(answer: &Answer<'_>) -> Bytes {
    let id = if answer.id.is_empty() { ids::new("").into() } else { Cow::Borrowed(&*answer.id) };
    let wire = write::Answer {
        candidates: answer.choices.iter().map(written).collect(),
        usage_metadata: Some(usage::write(&answer.tokens, answer.service_tier.as_deref())),
        model_version: &answer.model,
        response_id: &id,
    };
    json_writer::to_vec(&wire).into()
}

fn written<'a>(choice: &'a Choice<'_>) -> write::Candidate<'a> {
    let is_cut_off = |part: &Part<'_>| matches!(&part.content, Content::ToolCall(call) if !call.is_free_text && !arguments::object(&call.arguments).1);
    let finish = match choice.parts.iter().any(is_cut_off) {
        // Arguments that end in the middle were cut off by the cap, whatever the provider says.
        true => &Finish::Length,
        false => &choice.finish,
    };
    let refused = choice.parts.iter().any(|part| matches!(part.content, Content::Refusal(_)));
    let (parts, grounding) = parts(&choice.parts);
    write::Candidate {
        content: write::Content { role: "model", parts },
        finish_reason: Some(if refused { "SAFETY" } else { finish::word(finish) }),
        finish_message: explanation(finish),
        index: choice.index,
        logprobs_result: choice.logprobs.as_deref().and_then(logprobs::write),
        grounding_metadata: grounding.finish(),
    }
}

/// Why an answer was refused.
pub(super) fn explanation<'a>(finish: &'a Finish<'_>) -> Option<Cow<'a, str>> {
    match finish {
        Finish::Refused(Some(text)) => Some(Cow::Borrowed(text)),
        _ => None,
    }
}

fn parts<'a>(parts: &'a [Part<'_>]) -> (Vec<Wire<'a>>, Grounding) {
    let mut grounding = Grounding::default();
    let mut written = Vec::with_capacity(parts.len());
    let mut pending = None;
    for part in parts {
        if let Content::Reasoning { text, signature } = &part.content {
            let own = signature.as_deref().and_then(canonical_proof::gemini);
            let foreign = signature.as_deref().filter(|_| own.is_none()).map(proof::write);
            if !text.is_empty() || foreign.is_some() {
                written.push(Wire::thought(&**text, foreign));
            }
            // Gemini's own belong to the part after the thoughts.
            if let Some(before) = own.and_then(|own| pending.replace(Cow::Borrowed(own))) {
                written.push(Wire::text("").signed(Some(before)));
            }
            continue;
        }
        if let Some(said) = self::part(&part.content) {
            grounding::add(&mut grounding, part, written.len());
            written.push(said.signed(pending.take()));
        }
    }
    written.extend(pending.map(|signature| Wire::text("").signed(Some(signature))));
    (written, grounding)
}

fn part<'a>(content: &'a Content<'_>) -> Option<Wire<'a>> {
    Some(match content {
        Content::Text(text) | Content::Refusal(text) if text.is_empty() => return None,
        Content::Text(text) | Content::Refusal(text) => Wire::text(&**text),
        Content::ToolCall(call) => self::call(call),
        Content::RedactedReasoning(data) => Wire::thought("", Some(proof::write_redacted(data).into())),
        Content::Opaque { dialect: ID, raw, .. } => Wire::Opaque(raw),
        _ => return None,
    })
}

fn call<'a>(call: &'a ToolCall<'_>) -> Wire<'a> {
    let args = match call.is_free_text {
        true => Cow::Owned(arguments::free_text(&call.arguments)),
        false => arguments::object(&call.arguments).0,
    };
    let id = (!call.id.is_empty()).then_some(&*call.id);
    Data::FunctionCall(FunctionCall { id, name: &call.name, args }).into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{call, signed, text};
    use super::*;
    use crate::Tokens;

    fn decoded(json: &str) -> Answer<'_> {
        decode(json.as_bytes()).unwrap()
    }

    fn encoded(parts: Vec<Part<'_>>, finish: Finish<'_>) -> Value {
        let choices = vec![Choice { index: 0, parts, finish, logprobs: None }];
        let answer = Answer { model: "m".into(), choices, ..Answer::default() };
        let mut body: Value = serde_json::from_slice(&encode(&answer)).unwrap();
        body["candidates"][0].take()
    }

    /// T18, C33, C81
    #[test]
    fn an_answer_is_understood() {
        let answer = decoded(
            r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"think","thought":true},{"text":"ok"},
            {"functionCall":{"name":"f","args":{"x":[1]}},"thoughtSignature":"U0lH"},{"functionCall":{"name":"f"}}]},
            "finishReason":"STOP","safetyRatings":[]}],"usageMetadata":{"promptTokenCount":10,
            "candidatesTokenCount":7,"thoughtsTokenCount":5,"totalTokenCount":22,"trafficType":"ON_DEMAND_FLEX"},
            "modelVersion":"gemini-x","responseId":"r"}"#,
        );

        assert_eq!((&*answer.id, &*answer.model), ("r", "gemini-x"));
        assert_eq!((answer.tokens.output, answer.service_tier.as_deref()), (12, Some("flex")));
        let [choice] = &answer.choices[..] else { panic!("{answer:?}") };
        assert_eq!(choice.finish, Finish::ToolCalls);
        let [thought, said, proof, first, second] = &choice.parts[..] else { panic!("{choice:?}") };
        assert!(matches!(&thought.content, Content::Reasoning { text, signature: None } if text == "think"));
        assert!(matches!(&said.content, Content::Text(text) if text == "ok"));
        assert!(
            matches!(&proof.content, Content::Reasoning { signature: Some(proof), .. } if proof == "gemini:U0lH")
        );
        let id = |part: &Part<'_>| match &part.content {
            Content::ToolCall(call) => call.id.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(id(first).starts_with("call_") && id(first) != id(second));
    }

    /// C78, C80, T19, T20, T21
    #[test]
    fn a_blocked_prompt_is_refused_and_no_text_is_no_error() {
        let blocked = decoded(
            r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":12,"totalTokenCount":12}}"#,
        );
        let thoughts =
            decoded(r#"{"candidates":[{"content":{"role":"model"},"finishReason":"MAX_TOKENS"}]}"#);

        assert!(matches!(&blocked.choices[0].finish, Finish::Refused(Some(why)) if why.contains("SAFETY")));
        assert_eq!((blocked.tokens.input, thoughts.choices[0].parts.len()), (12, 0));
        assert_eq!(thoughts.choices[0].finish, Finish::Length);
    }

    /// C77
    #[test]
    fn what_is_no_answer_is_the_providers_fault() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"candidates":[]}"#,
            r#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"functionCall":{}}]}}]}"#,
        ] {
            assert_eq!(decode(body.as_bytes()).unwrap_err().kind(), Kind::Upstream, "{body}");
        }
        let error = br#"{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}"#;
        assert_eq!(decode(error).unwrap_err().kind(), Kind::Overloaded);
    }

    #[test]
    fn several_answers_are_told_apart() {
        let answer = decoded(
            r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}},{"index":1,"content":{"parts":[{"executableCode":{"code":"x"}}]}}]}"#,
        );

        assert_eq!((answer.choices[0].index, answer.choices[1].index), (0, 1));
        assert!(matches!(&answer.choices[1].parts[0].content,
            Content::Opaque { kind, raw, .. } if kind == "executableCode" && raw.get() == r#"{"executableCode":{"code":"x"}}"#));
    }

    /// T22
    #[test]
    fn an_answer_is_written_with_all_that_clients_need() {
        let tokens = Tokens { input: 5, cached: 4, output: 6, reasoning: 2, ..Tokens::default() };
        let parts = vec![text("hi"), call("call_1", "f", "{}")];
        let choices = vec![Choice { index: 0, parts, finish: Finish::Length, logprobs: None }];
        let answer = Answer { id: "x".into(), model: "gpt-x".into(), choices, tokens, ..Answer::default() };

        let body: Value = serde_json::from_slice(&encode(&answer)).unwrap();

        assert_eq!(
            body,
            json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "hi"},
                    {"functionCall": {"id": "call_1", "name": "f", "args": {}}}]},
                "finishReason": "MAX_TOKENS", "index": 0}],
                "usageMetadata": {"promptTokenCount": 5, "cachedContentTokenCount": 4, "candidatesTokenCount": 4,
                    "thoughtsTokenCount": 2, "totalTokenCount": 11},
                "modelVersion": "gpt-x", "responseId": "x"})
        );
    }

    /// C66, C69, C71
    #[test]
    fn thoughts_are_written_with_proofs_that_come_back() {
        let redacted = Content::RedactedReasoning("d".into()).into();
        let candidate = encoded(
            vec![signed("hm", "EqoB"), redacted, signed("", "gemini:UzE="), call("c", "f", "{}")],
            Finish::ToolCalls,
        );

        let parts = &candidate["content"]["parts"];
        assert_eq!(
            parts[0],
            json!({"text": "hm", "thought": true, "thoughtSignature": proof::write("EqoB")})
        );
        assert_eq!(parts[1]["thoughtSignature"], proof::write_redacted("d"));
        assert_eq!(parts[2]["thoughtSignature"], "UzE=");
        assert_eq!(candidate["finishReason"], "STOP");
    }

    /// C118, C133
    #[test]
    fn a_refusal_is_said_and_given_as_the_reason() {
        let said = encoded(vec![Content::Refusal("I can't".into()).into()], Finish::Stop);
        let explained = encoded(vec![], Finish::Refused(Some("policy".into())));

        assert_eq!(
            (&said["content"]["parts"], &said["finishReason"]),
            (&json!([{"text": "I can't"}]), &json!("SAFETY"))
        );
        assert_eq!(
            (&explained["finishReason"], &explained["finishMessage"]),
            (&json!("SAFETY"), &json!("policy"))
        );
        assert_eq!(encoded(vec![text("")], Finish::Stop)["content"], json!({"role": "model", "parts": []}));
    }

    /// C37
    #[test]
    fn a_call_that_was_cut_off_says_so() {
        let candidate = encoded(vec![call("", "f", r#"{"a":"#)], Finish::ToolCalls);

        assert_eq!(
            candidate["content"]["parts"],
            json!([{"functionCall": {"name": "f", "args": {"a": null}}}])
        );
        assert_eq!(candidate["finishReason"], "MAX_TOKENS");
    }
}
