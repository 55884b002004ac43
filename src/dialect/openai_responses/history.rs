//! Turns, written as the items of a request.
//!
//! OpenAI wants an output for every call and a call for every output, and something said or called after
//! every reasoning item.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
};

use super::{
    parts, reasoning,
    wire::{self, Entry, Item},
};
use crate::{
    Error,
    dialect::{
        canonical::{Citation, Content, Part, Request, Role, Source, ToolCall, Turn},
        citation::characters,
        lost::Lost,
        names::Names,
        openai_annotations,
        text::Str,
        text_or::TextOr,
    },
};

/// What a call is answered with if the user went on without its result.
const NO_RESULT: &str = "[no result: interrupted]";

/// The items of a request.
pub(crate) fn items<'a>(
    request: &'a Request<'_>,
    names: &'a Names<'_>,
    lost: &mut Lost,
) -> Result<Vec<Entry<'a>>, Error> {
    let mut history =
        History { names, lost, items: Vec::with_capacity(request.turns.len() + 1), open: Open::default() };
    history.said("system", &request.system)?;
    let mut turns = &request.turns[..];
    while let Some(turn) = turns.first() {
        let run = turns.iter().take_while(|turn| turn.role == Role::Assistant).count();
        let (now, after) = turns.split_at(run.max(1));
        turns = after;
        match turn.role {
            Role::Assistant => history.assistant(now, turns),
            Role::User => history.said("user", &turn.parts)?,
            Role::System => history.said("system", &turn.parts)?,
        }
    }
    Ok(history.items)
}

/// Whether OpenAI reads again what was cited: pages of the web, and files of its own.
pub(crate) fn takes(role: Role, citation: &Citation<'_>) -> bool {
    let is_known = match &citation.source {
        Source::Url { .. } | Source::SearchResult { .. } => citation.url().is_some(),
        Source::File { id, container } => id.starts_with("file-") || container.is_some(),
        _ => false,
    };
    role == Role::Assistant && is_known
}

struct History<'l, 'a> {
    names: &'a Names<'a>,
    lost: &'l mut Lost,
    items: Vec<Entry<'a>>,
    /// The calls whose output may follow.
    open: Open<'a>,
}

impl<'a> History<'_, 'a> {
    fn push(&mut self, item: Item<'a>) {
        self.items.push(Entry::Item(Box::new(item)));
    }

    fn message(&mut self, role: &'static str, content: &mut Vec<wire::Part<'a>>) {
        if !content.is_empty() {
            self.push(Item {
                kind: Some("message".into()),
                role: Some(role.into()),
                content: Some(TextOr::Other(std::mem::take(content))),
                ..Default::default()
            });
        }
    }

    /// What the user or the operator says, and what tools have returned.
    fn said(&mut self, role: &'static str, parts: &'a [Part<'_>]) -> Result<(), Error> {
        let mut content = Vec::with_capacity(parts.len());
        for part in parts {
            match &part.content {
                Content::ToolResult { id, parts, is_error } => match self.open.close(id) {
                    Some(is_free_text) => {
                        self.message(role, &mut content);
                        self.output(id, parts, *is_error, is_free_text)?;
                    }
                    // A result that answers no call can only be told.
                    None => {
                        for part in parts {
                            content.extend(parts::write(part, self.lost)?);
                        }
                    }
                },
                Content::Opaque { dialect: super::ID, raw, .. } => {
                    self.message(role, &mut content);
                    self.items.push(Entry::Opaque(raw));
                }
                _ => content.extend(parts::write(part, self.lost)?),
            }
        }
        self.message(role, &mut content);
        Ok(())
    }

    fn output(
        &mut self,
        id: &'a str,
        parts: &'a [Part<'_>],
        is_error: bool,
        is_free_text: bool,
    ) -> Result<(), Error> {
        self.lost.push_if(is_error, "messages[].content[].is_error");
        let mut content = Vec::with_capacity(parts.len());
        for part in parts {
            content.extend(parts::write(part, self.lost)?);
        }
        let output = match content.iter().map(|part| part.text.as_deref()).collect::<Option<Vec<_>>>() {
            Some(texts) => {
                let text = texts.join("\n");
                TextOr::Text(if is_error { format!("Error: {text}") } else { text }.into())
            }
            None => {
                if is_error {
                    content.insert(0, wire::Part::text("input_text", "Error:"));
                }
                TextOr::Other(content)
            }
        };
        self.answer(id, output, is_free_text);
        Ok(())
    }

    fn answer(&mut self, id: &'a str, output: TextOr<'a, Vec<wire::Part<'a>>>, is_free_text: bool) {
        let kind = if is_free_text { "custom_tool_call_output" } else { "function_call_output" };
        self.push(Item {
            kind: Some(kind.into()),
            call_id: Some(id.into()),
            output: Some(output),
            ..Default::default()
        });
    }

    /// What the model says, up to where somebody else does, and the results that are missing in `after`.
    fn assistant(&mut self, run: &'a [Turn<'_>], after: &'a [Turn<'_>]) {
        self.open = Open::default();
        let mut said = Vec::new();
        let begin = self.items.len();
        for part in run.iter().flat_map(|turn| &turn.parts) {
            match &part.content {
                Content::Text(text) if text.is_empty() => {}
                Content::Text(text) => {
                    let cited = part.citations.iter().filter(|citation| takes(Role::Assistant, citation));
                    let length = if part.citations.is_empty() { 0 } else { characters(text) };
                    let cited = cited.filter_map(|citation| openai_annotations::written(citation, 0..length));
                    said.push(wire::Part::cited(text, cited.map(Cow::Owned).collect()));
                }
                Content::Refusal(text) => said.push(wire::Part::refusal(text)),
                Content::ToolCall(call) => {
                    self.message("assistant", &mut said);
                    self.call(call);
                }
                Content::Reasoning { .. } | Content::RedactedReasoning(_) => {
                    self.message("assistant", &mut said);
                    if let Some(item) = reasoning::sent(&part.content) {
                        self.push(item);
                    }
                }
                Content::Opaque { dialect: super::ID, raw, .. } => {
                    self.message("assistant", &mut said);
                    self.items.push(Entry::Opaque(raw));
                }
                _ => self.lost.push("messages[].content[]"),
            }
        }
        self.message("assistant", &mut said);
        while self.items.len() > begin && self.items.last().is_some_and(is_reasoning) {
            self.items.pop();
        }
        self.make_up_results(after);
    }

    fn call(&mut self, call: &'a ToolCall<'_>) {
        self.open.add(&call.id, call.is_free_text);
        let item = Item {
            call_id: Some((&*call.id).into()),
            name: Some(self.names.sent(&call.name).into()),
            ..Default::default()
        };
        let text = Str::from(&*call.arguments);
        self.push(match call.is_free_text {
            true => Item { kind: Some("custom_tool_call".into()), input: Some(text), ..item },
            false => {
                let arguments = if text.is_empty() { "{}".into() } else { text };
                Item { kind: Some("function_call".into()), arguments: Some(arguments), ..item }
            }
        });
    }

    /// Answers the calls that the user has not answered before the model spoke again.
    fn make_up_results(&mut self, after: &'a [Turn<'_>]) {
        let answers = after.iter().take_while(|turn| turn.role != Role::Assistant);
        let mut missing = self.open.clone();
        for part in answers.flat_map(|turn| &turn.parts) {
            if let Content::ToolResult { id, .. } = &part.content {
                missing.close(id);
            }
        }
        for (place, call) in missing.calls.into_iter().enumerate() {
            if let Some((id, is_free_text)) = call {
                self.open.calls[place] = None;
                self.answer(id, NO_RESULT.into(), is_free_text);
            }
        }
    }
}

fn is_reasoning(entry: &Entry<'_>) -> bool {
    matches!(entry, Entry::Item(item) if item.kind.as_deref() == Some("reasoning"))
}

/// Calls that are not answered, in their order, and whether they take free text.
#[derive(Clone, Debug, Default)]
struct Open<'a> {
    calls: Vec<Option<(&'a str, bool)>>,
    /// Where the calls of an id stand.
    places: HashMap<&'a str, VecDeque<usize>>,
}

impl<'a> Open<'a> {
    fn add(&mut self, id: &'a str, is_free_text: bool) {
        self.places.entry(id).or_default().push_back(self.calls.len());
        self.calls.push(Some((id, is_free_text)));
    }

    /// Takes the first call with this id, if there is one; whether it took free text.
    fn close(&mut self, id: &str) -> Option<bool> {
        let places = self.places.get_mut(id)?;
        std::iter::from_fn(|| places.pop_front())
            .find_map(|place| self.calls[place].take())
            .map(|(_, is_free_text)| is_free_text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        Kind, Target,
        dialect::{ANTHROPIC, ChatCodec, Codec, Dialect, OPENAI_CHAT, OPENAI_RESPONSES},
    };

    fn codec(dialect: &dyn Dialect) -> &'static dyn ChatCodec {
        dialect.codec().and_then(Codec::chat).unwrap()
    }

    /// The items of a conversation of Anthropic's, in short.
    fn items(messages: Value) -> Vec<String> {
        let body = json!({"model": "m", "max_tokens": 9, "messages": messages}).to_string();
        let request = codec(&ANTHROPIC).decode_request(body.as_bytes()).unwrap();
        written(&request)
    }

    fn written(request: &crate::dialect::canonical::Request<'_>) -> Vec<String> {
        let encoded = codec(&OPENAI_RESPONSES).encode_request(request, &Target::new("p", "m")).unwrap();
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        body["input"].as_array().unwrap().iter().map(brief).collect()
    }

    fn brief(item: &Value) -> String {
        let text =
            |name: &str| item[name].as_str().map(str::to_owned).unwrap_or_else(|| item[name].to_string());
        match text("type").as_str() {
            "message" => {
                let parts = item["content"].as_array().unwrap().iter().map(|part| {
                    let kinds = ["text", "refusal", "image_url", "file_url", "file_data"];
                    kinds.iter().find_map(|kind| part[kind].as_str()).unwrap().to_owned()
                });
                format!("{}: {}", text("role"), parts.collect::<Vec<_>>().join("|"))
            }
            "function_call" => format!("{}={}({})", text("call_id"), text("name"), text("arguments")),
            "function_call_output" => format!("{}:[{}]", text("call_id"), text("output")),
            "reasoning" => format!("({} {})", text("id"), text("encrypted_content")),
            _ => item.to_string(),
        }
    }

    #[test]
    fn calls_and_outputs_are_items_of_their_own() {
        // C14, C16, C27
        let items = items(json!([
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": [{"type": "text", "text": "a"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}}, {"type": "text", "text": "b"},
                {"type": "tool_use", "id": "t2", "name": "g", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t2", "content": "two", "is_error": true},
                {"type": "tool_result", "tool_use_id": "t1"}, {"type": "text", "text": "go on"}]},
        ]));

        assert_eq!(
            items,
            [
                "user: q",
                "assistant: a",
                r#"t1=f({"x": 1})"#.replace(": ", ":").as_str(),
                "assistant: b",
                "t2=g({})",
                "t2:[Error: two]",
                "t1:[]",
                "user: go on"
            ]
        );
    }

    #[test]
    fn every_call_has_an_output_and_every_output_a_call() {
        // C30, C31
        let items = items(json!([
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}},
                {"type": "tool_use", "id": "t2", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t2", "content": "two"},
                {"type": "tool_result", "tool_use_id": "other", "content": "whose"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t3", "name": "f", "input": {}}]},
        ]));

        assert_eq!(
            items,
            [
                "t1=f({})",
                "t2=f({})",
                "t1:[[no result: interrupted]]",
                "t2:[two]",
                "user: whose",
                "t3=f({})",
                "t3:[[no result: interrupted]]"
            ]
        );
    }

    #[test]
    fn thoughts_go_back_to_who_made_them_if_something_follows() {
        // C66, C68, C75
        let thinking = |signature| json!({"type": "thinking", "thinking": "t", "signature": signature});

        let items = items(json!([
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": [thinking("openai:rs_1:gAAA"), {"type": "text", "text": "a"}, thinking("EqoB")]},
            {"role": "user", "content": "r"},
            {"role": "assistant", "content": [{"type": "text", "text": "b"}, thinking("openai:rs_2:gAAB")]},
        ]));

        assert_eq!(items, ["user: q", "(rs_1 gAAA)", "assistant: a", "user: r", "assistant: b"]);
    }

    #[test]
    fn pictures_in_outputs_stay_there() {
        // C28
        let image = json!({"type": "image", "source": {"type": "url", "url": "https://e.x/a.png"}});
        let result = json!({"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "see"}, image]});

        let items = items(json!([
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
            {"role": "user", "content": [result]},
        ]));

        assert_eq!(
            items[1],
            r#"t1:[[{"text":"see","type":"input_text"},{"detail":"auto","image_url":"https://e.x/a.png","type":"input_image"}]]"#
        );
    }

    #[test]
    fn every_kind_of_content_is_written() {
        // C122
        let body = json!({"model": "m", "messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "https://e.x/a.png", "detail": "low"}},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
            {"type": "file", "file": {"file_id": "file-1"}},
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}]}]})
        .to_string();
        let request = codec(&OPENAI_CHAT).decode_request(body.as_bytes()).unwrap();

        let encoded = codec(&OPENAI_RESPONSES).encode_request(&request, &Target::new("p", "m")).unwrap();

        let written: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(
            written["input"][0]["content"],
            json!([
                {"type": "input_image", "image_url": "https://e.x/a.png", "detail": "low"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
                {"type": "input_file", "file_id": "file-1"}
            ])
        );
        assert_eq!(encoded.lost, ["messages[].content[].audio"].map(Box::<str>::from));
        let foreign = body.replace("file-1", "file_011C");
        let request = codec(&OPENAI_CHAT).decode_request(foreign.as_bytes()).unwrap();
        let refused = codec(&OPENAI_RESPONSES).encode_request(&request, &Target::new("p", "m")).unwrap_err();
        assert_eq!(refused.kind(), Kind::InvalidRequest);
    }

    #[test]
    fn that_a_tool_has_failed_is_told_in_words_and_reported() {
        let body = json!({"model": "m", "max_tokens": 99, "messages": [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}, {"type": "text", "text": "b"}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "no", "is_error": true}]},
        ]})
        .to_string();
        let request = codec(&ANTHROPIC).decode_request(body.as_bytes()).unwrap();
        let lost = |dialect| codec(dialect).encode_request(&request, &Target::new("p", "m")).unwrap().lost;

        let (responses, chat) = (lost(&OPENAI_RESPONSES), lost(&OPENAI_CHAT));

        assert_eq!(responses, ["messages[].content[].is_error".into()] as [Box<str>; 1]);
        let moved = ["messages[].content[].text", "messages[].content[].is_error"].map(Box::<str>::from);
        assert_eq!(chat, moved);
    }

    #[test]
    fn a_conversation_of_which_nothing_is_left_is_refused() {
        let source =
            json!({"model": "m", "input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}).to_string();
        let request = codec(&OPENAI_RESPONSES).decode_request(source.as_bytes()).unwrap();

        for dialect in [&OPENAI_CHAT as &dyn Dialect, &OPENAI_RESPONSES, &ANTHROPIC] {
            let refused = codec(dialect).encode_request(&request, &Target::new("p", "m")).unwrap_err();

            assert_eq!((refused.kind(), refused.param()), (Kind::InvalidRequest, Some("messages")));
        }
    }
}
