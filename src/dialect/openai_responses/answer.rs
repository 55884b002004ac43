//! Whole answers, read from a provider and written for a client.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    echo::Echo,
    finish::{self, Contained},
    items, reasoning,
    response::{Incomplete, Response, item_id, now},
    usage,
    wire::{self, Item},
};
use crate::{
    Error, Kind,
    dialect::{
        canonical::{Answer, Choice, Content, Finish, Part, Text, ToolCall},
        extras::Extras,
        ids,
        json::{self, Member},
        json_writer, openai_annotations, openai_error,
        text::Str,
        text_or::TextOr,
    },
};

/// Reads an answer.
pub(crate) fn decode(body: &[u8]) -> Result<Answer<'_>, Error> {
    let not_understood = || Error::new(Kind::Upstream, "the provider's answer can't be understood");
    let wire: wire::Response<'_> = json::parse(body).map_err(|error| not_understood().with_source(error))?;
    if wire.error.is_some() {
        return Err(openai_error::read_inside(body).unwrap_or_else(not_understood));
    }
    let output = wire.output.ok_or_else(not_understood)?;
    let logprobs = output.iter().find_map(|raw| logprobs(raw));
    let mut parts = Vec::with_capacity(output.len());
    for (index, raw) in output.into_iter().enumerate() {
        parts.extend(said(raw, &|| format!("output[{index}]"))?);
    }
    let finish =
        finish::read(wire.status.as_deref(), wire.incomplete_details.as_ref(), Contained::of(&parts))?;
    Ok(Answer {
        id: wire.id.unwrap_or_default().into(),
        model: wire.model.unwrap_or_default().into(),
        created: wire.created_at.map(|seconds| seconds as u64),
        choices: vec![Choice { index: 0, parts, finish, logprobs: logprobs.map(Cow::Owned) }],
        tokens: wire.usage.and_then(usage::read).unwrap_or_default(),
        service_tier: wire.service_tier.map(Text::from),
    })
}

/// What an item of an answer says.
///
/// # Errors
///
/// What isn't an item is the provider's fault.
pub(crate) fn said<'a>(raw: &'a RawValue, path: &dyn Fn() -> String) -> Result<Vec<Part<'a>>, Error> {
    let (_, parts) = items::read(raw, path, &mut Extras::default())
        .map_err(|error| Error::new(Kind::Upstream, format!("the provider's answer: {error}")))?;
    Ok(parts)
}

/// The likelihoods in an item, in the form of chat completions.
fn logprobs(item: &RawValue) -> Option<Box<RawValue>> {
    static LOGPROB: Member = Member::new(|| Finder::new(b"\"logprob\""));

    // Most answers have none.
    LOGPROB.value(item.get().as_bytes())?;
    let item: wire::Item<'_> = serde_json::from_str(item.get()).ok()?;
    let Some(TextOr::Other(parts)) = item.content else { return None };
    let content: Vec<&RawValue> = parts.into_iter().filter_map(|part| part.logprobs).flatten().collect();
    as_in_chat(&content)
}

/// Likelihoods in the form of chat completions; `None` if there are none.
pub(crate) fn as_in_chat(content: &[&RawValue]) -> Option<Box<RawValue>> {
    #[derive(Serialize)]
    struct Logprobs<'a> {
        content: &'a [&'a RawValue],
        refusal: Option<()>,
    }
    if content.is_empty() {
        return None;
    }
    serde_json::value::to_raw_value(&Logprobs { content, refusal: None }).ok()
}

/// The likelihoods of single tokens in those of chat completions.
pub(super) fn from_chat(raw: &RawValue) -> Option<Vec<&RawValue>> {
    #[derive(Deserialize)]
    struct Logprobs<'a> {
        #[serde(borrow)]
        content: Option<Vec<&'a RawValue>>,
    }
    serde_json::from_str::<Logprobs<'_>>(raw.get()).ok()?.content
}

/// Writes an answer to the request `asked`.
pub(crate) fn encode(answer: &Answer<'_>, asked: &[u8]) -> Bytes {
    let id = if answer.id.is_empty() { ids::new("resp_").into() } else { Cow::Borrowed(&*answer.id) };
    // A client of this dialect can't ask for more than one.
    let choice = answer.choices.first();
    let parts = choice.map_or(&[][..], |choice| &choice.parts);
    let finish = choice.map_or(&Finish::Stop, |choice| &choice.finish);
    let (status, reason) = finish::write(finish, Contained::of(parts).refusal);
    let mut output = Output { id: &id, items: Vec::with_capacity(parts.len()) };
    parts.iter().for_each(|part| output.part(part));
    if let Finish::Refused(Some(explanation)) = finish
        && !Contained::of(parts).refusal
    {
        output.say(wire::Part::refusal(explanation));
    }
    output.attach(choice.and_then(|choice| choice.logprobs.as_deref()));
    if let Some(last) = output.items.last_mut().filter(|_| status == "incomplete") {
        last.status = last.status.is_some().then(|| status.into());
    }
    let created = answer.created.unwrap_or_else(now);
    let mut response = Response::<Vec<Item<'_>>>::begun(&id, &answer.model, created, Echo::of(asked));
    response.status = status;
    response.incomplete_details = reason.map(|reason| Incomplete { reason });
    response.output = output.items;
    response.service_tier = answer.service_tier.as_deref();
    response.usage = Some((&answer.tokens).into());
    // Nothing in these types can fail to be written.
    json_writer::to_vec(&response).into()
}

/// The items of an answer in the making.
struct Output<'a> {
    id: &'a str,
    items: Vec<Item<'a>>,
}

impl<'a> Output<'a> {
    fn next_id(&self, prefix: &str) -> Option<Str<'a>> {
        Some(item_id(prefix, self.id, self.items.len()).into())
    }

    fn part(&mut self, part: &'a Part<'_>) {
        match &part.content {
            Content::Text(text) => {
                self.say(wire::Part::cited(text, openai_annotations::all(&part.citations, text)));
            }
            Content::Refusal(text) => self.say(wire::Part::refusal(text)),
            Content::Reasoning { text, .. } => self.think(text, &part.content),
            Content::RedactedReasoning(_) => self.think("", &part.content),
            Content::ToolCall(call) => self.call(call),
            _ => {}
        }
    }

    /// Parts that follow each other are one message.
    fn say(&mut self, part: wire::Part<'a>) {
        if let Some(Item { content: Some(TextOr::Other(parts)), .. }) = self.items.last_mut() {
            return parts.push(part);
        }
        self.items.push(Item {
            kind: Some("message".into()),
            id: self.next_id("msg"),
            status: Some("completed".into()),
            role: Some("assistant".into()),
            content: Some(TextOr::Other(vec![part])),
            ..Default::default()
        });
    }

    fn think(&mut self, text: &'a str, content: &'a Content<'_>) {
        let encrypted = reasoning::encrypted(content).map(Str);
        self.items.push(reasoning::item(self.next_id("rs"), text, encrypted));
    }

    fn call(&mut self, call: &'a ToolCall<'_>) {
        let id = if call.id.is_empty() { ids::new("call_").into() } else { Str::from(&*call.id) };
        let id_of_item = self.next_id(if call.is_free_text { "ctc" } else { "fc" });
        self.items.push(called(id_of_item, "completed", id, &call.name, &call.arguments, call.is_free_text));
    }

    /// Adds the likelihoods to the first text.
    fn attach(&mut self, logprobs: Option<&'a RawValue>) {
        let mut parts = self.items.iter_mut().filter_map(|item| match &mut item.content {
            Some(TextOr::Other(parts)) => parts.iter_mut().find(|part| part.text.is_some()),
            _ => None,
        });
        if let Some(part) = parts.next() {
            part.logprobs = logprobs.and_then(from_chat);
        }
    }
}

/// The item of a call.
pub(crate) fn called<'a>(
    id: Option<Str<'a>>,
    status: &'static str,
    call_id: Str<'a>,
    name: &'a str,
    arguments: &'a str,
    is_free_text: bool,
) -> Item<'a> {
    let (namespace, name) = wire::unqualified(name);
    let item = Item {
        id,
        status: Some(status.into()),
        call_id: Some(call_id),
        namespace: namespace.map(Str::from),
        name: Some(name.into()),
        ..Default::default()
    };
    match is_free_text {
        true => Item { kind: Some("custom_tool_call".into()), input: Some(arguments.into()), ..item },
        false => Item { kind: Some("function_call".into()), arguments: Some(arguments.into()), ..item },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::testing::brief, *};
    use crate::Tokens;

    fn read(output: Value, more: Value) -> (String, Finish<'static>) {
        let mut body =
            json!({"id": "resp_1", "model": "m", "created_at": 7.5, "status": "completed", "output": output});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = decode(body.to_string().leak().as_bytes()).unwrap();
        assert_eq!(answer.created, Some(7));
        let [choice] = <[_; 1]>::try_from(answer.choices).unwrap();
        (brief(&choice.parts), choice.finish)
    }

    fn written<const N: usize>(parts: [Content<'_>; N], finish: Finish<'_>) -> Value {
        let parts = parts.into_iter().map(Part::from).collect();
        let answer = Answer {
            id: "chatcmpl-1".into(),
            model: "m".into(),
            created: Some(7),
            choices: vec![Choice { index: 0, parts, finish, logprobs: None }],
            tokens: Tokens { input: 3, output: 2, ..Tokens::default() },
            service_tier: None,
        };
        serde_json::from_slice(&encode(&answer, b"")).unwrap()
    }

    #[test]
    fn every_item_is_read() {
        let (said, finish) = read(
            json!([
                {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"},
                {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "phase": "commentary",
                    "content": [{"type": "output_text", "text": "Hi", "annotations": [{"type": "url_citation"}], "logprobs": []}]},
                {"type": "web_search_call", "id": "ws_1", "status": "completed"},
                {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{\"a\":1.0}"},
                {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "t", "input": "x"}]),
            json!({}),
        );

        assert_eq!(
            said,
            r#"(hm|openai:rs_1:gAAA) Hi web_search_call{"id":"ws_1","status":"completed","type":"web_search_call"} c1=f({"a":1.0}) c2=t!(x)"#
        );
        assert_eq!(finish, Finish::ToolCalls);
    }

    #[test]
    fn an_answer_that_says_nothing_is_one() {
        // C133
        assert_eq!(read(json!([]), json!({})), (String::new(), Finish::Stop));
        let capped = json!({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}});
        assert_eq!(read(json!([]), capped).1, Finish::Length);
    }

    #[test]
    fn an_answer_that_failed_is_an_error() {
        let error = |body: &str| decode(body.as_bytes()).unwrap_err();

        let limited = r#"{"status":"failed","error":{"code":"rate_limit_exceeded","message":"try again in 2s"},"output":[]}"#;
        assert_eq!((error(limited).kind(), error(limited).message().len()), (Kind::RateLimited, 15));
        assert_eq!(error(r#"{"status":"cancelled","output":[]}"#).kind(), Kind::Upstream);
        assert_eq!(error(r#"{"id":"x"}"#).kind(), Kind::Upstream);
        assert_eq!(error(r#"{"output":[{"type":"function_call"}]}"#).kind(), Kind::Upstream);
    }

    #[test]
    fn likelihoods_are_read_in_the_form_of_chats() {
        let logprob = r#"{"token":"Hi","logprob":-0.1,"bytes":[72,105],"top_logprobs":[]}"#;
        let body = format!(
            r#"{{"output":[{{"type":"message","role":"assistant","content":[{{"type":"output_text","text":"Hi","logprobs": [ {logprob}]}}]}}]}}"#
        );

        let answer = decode(body.as_bytes()).unwrap();

        let logprobs = answer.choices[0].logprobs.as_ref().unwrap();
        assert_eq!(logprobs.get(), format!(r#"{{"content":[{logprob}],"refusal":null}}"#));
        let back: Value = serde_json::from_slice(&encode(&answer, b"")).unwrap();
        assert_eq!(back["output"][0]["content"][0]["logprobs"][0]["token"], "Hi");
    }

    #[test]
    fn a_client_gets_items_with_all_that_they_must_have() {
        let call = ToolCall {
            id: "c1".into(),
            name: "ns\u{1f}f".into(),
            arguments: "{}".into(),
            is_free_text: false,
        };

        let response = written(
            [
                Content::Reasoning { text: "hm".into(), signature: Some("EqoB".into()) },
                Content::Text("A".into()),
                Content::Text("B".into()),
                Content::ToolCall(call),
            ],
            Finish::ToolCalls,
        );

        assert_eq!(
            response["output"],
            json!([
                {"type": "reasoning", "id": "rs_chatcmpl-1_0", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "anthropic:EqoB"},
                {"type": "message", "id": "msg_chatcmpl-1_1", "status": "completed", "role": "assistant", "content": [
                    {"type": "output_text", "text": "A", "annotations": []}, {"type": "output_text", "text": "B", "annotations": []}]},
                {"type": "function_call", "id": "fc_chatcmpl-1_2", "status": "completed", "call_id": "c1", "namespace": "ns", "name": "f", "arguments": "{}"}])
        );
        assert_eq!((&response["status"], &response["created_at"]), (&"completed".into(), &7.into()));
        assert_eq!(response["usage"]["total_tokens"], 5);
        for member in ["error", "incomplete_details", "instructions", "temperature", "top_p"] {
            assert_eq!(response.get(member), Some(&Value::Null), "{member}");
        }
    }

    #[test]
    fn an_answer_that_was_cut_off_or_filtered_says_so() {
        // C79, C118
        let long = written([Content::Text("A".into())], Finish::Length);
        let filtered = written([], Finish::Refused(Some("not that".into())));
        let refused = written([Content::Refusal("no".into())], Finish::Refused(None));

        assert_eq!(
            (&long["status"], &long["output"][0]["status"]),
            (&"incomplete".into(), &"incomplete".into())
        );
        assert_eq!(long["incomplete_details"]["reason"], "max_output_tokens");
        assert_eq!(filtered["incomplete_details"]["reason"], "content_filter");
        assert_eq!(filtered["output"][0]["content"][0]["refusal"], "not that");
        assert_eq!(refused["status"], "completed");
    }
}
