//! Turns, written as the messages of a request.
//!
//! OpenAI wants every call answered by a message of its own, directly after the message that calls,
//! and takes nothing but text there. Thoughts of the model have no place in its messages; some servers
//! that speak like it want them back.

use std::{borrow::Cow, collections::HashMap};

use super::{
    answer::tool_call,
    wire::{self, ContentPart, Message, MessageContent, ReasoningDetail},
};
use crate::Target;
use crate::dialect::{
    arguments,
    canonical::{Cache, Content, Media, Part, Request, Role, ToolCall, Turn},
    lost::Lost,
    media::data_url,
    names::Names,
    proof,
    text::Str,
    text_or::TextOr,
};

/// What a call is answered with if the user went on without its result.
const NO_RESULT: &str = "[no result: interrupted]";

/// The messages of a request.
pub(crate) fn messages<'a>(
    request: &'a Request<'_>,
    names: &'a Names<'a>,
    to: &Target,
    lost: &mut Lost,
) -> Vec<Message<'a>> {
    let facts = to.known_facts();
    let messages = Vec::with_capacity(request.turns.len() + 1);
    let takes_free_text = !facts.lacks("custom_tools");
    let thoughts = Thoughts::of(to);
    let takes_marks = facts.supports("cache_marks");
    let mut history = History { names, thoughts, takes_marks, takes_free_text, lost, messages };
    history.operator(request.system.iter());
    let mut turns = &request.turns[..];
    while let Some(turn) = turns.first() {
        let run = turns.iter().take_while(|turn| turn.role == Role::Assistant).count();
        let (spoken, after) = turns.split_at(run.max(1));
        turns = after;
        if run == 0 {
            history.say(turn.role, turn.parts.iter().collect());
        } else if spoken.iter().any(calls) {
            let answers = turns.iter().take_while(|turn| turn.role != Role::Assistant).count();
            let (answers, after) = turns.split_at(answers);
            turns = after;
            history.calls(spoken, answers);
        } else {
            for turn in spoken {
                history.assistant(turn.parts.iter());
            }
        }
    }
    history.messages
}

fn calls(turn: &Turn<'_>) -> bool {
    turn.parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)))
}

/// How a server wants to read again what its model thought.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Thoughts {
    /// Not at all.
    Unread,
    /// As `reasoning_content`.
    Content,
    /// As `reasoning`.
    Text,
    /// As `reasoning_details`, with the proofs of Anthropic's models.
    Details,
}

impl Thoughts {
    fn of(to: &Target) -> Self {
        let facts = to.known_facts();
        let is_claude = to.model().contains("claude");
        match () {
            () if facts.supports("reasoning_history") => Self::Content,
            () if facts.supports("reasoning_text_history") => Self::Text,
            () if facts.supports("reasoning_details") && is_claude => Self::Details,
            () => Self::Unread,
        }
    }
}

struct History<'l, 'a> {
    names: &'a Names<'a>,
    thoughts: Thoughts,
    /// Whether the server reads up to where a prompt is to be cached.
    takes_marks: bool,
    /// Whether its tools may take free text.
    takes_free_text: bool,
    lost: &'l mut Lost,
    messages: Vec<Message<'a>>,
}

impl<'a> History<'_, 'a> {
    fn push(&mut self, role: &'static str, content: MessageContent<'a>) {
        self.messages.push(Message { role: Some(role.into()), content: Some(content), ..Default::default() });
    }

    fn say(&mut self, role: Role, parts: Vec<&'a Part<'a>>) {
        match role {
            Role::User => self.user(parts),
            Role::System => self.operator(parts),
            Role::Assistant => self.assistant(parts),
        }
    }

    fn operator(&mut self, parts: impl IntoIterator<Item = &'a Part<'a>>) {
        let mut texts = Vec::new();
        let mut content = Vec::new();
        for part in parts {
            let Some(text) = self.text(part) else { continue };
            texts.push(text);
            content.push(self.written(text, part.cache));
        }
        if has_marks(&content) {
            self.push("system", TextOr::Other(content));
        } else if let Some(text) = joined(&texts, "\n\n") {
            self.push("system", TextOr::Text(text));
        }
    }

    fn user(&mut self, parts: Vec<&'a Part<'a>>) {
        let mut content = Vec::with_capacity(parts.len());
        for part in parts {
            self.content(part, &mut content);
        }
        let is_text = |part: &ContentPart<'_>| part.text.is_some();
        if content.is_empty() {
            return;
        }
        // Many servers take an array only where there is something in it that is not text.
        if content.iter().all(is_text) && !has_marks(&content) {
            let texts: Vec<&str> = content.iter().filter_map(|part| part.text.as_deref()).collect();
            let text = match content.len() {
                1 => content.pop().and_then(|part| part.text).unwrap_or_default(),
                _ => texts.join("\n\n").into(),
            };
            self.push("user", TextOr::Text(text));
        } else {
            self.push("user", TextOr::Other(content));
        }
    }

    fn assistant(&mut self, parts: impl IntoIterator<Item = &'a Part<'a>>) {
        let (mut texts, mut refusals, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        let (mut thoughts, mut details) = (Vec::new(), Vec::new());
        for part in parts {
            match &part.content {
                Content::Reasoning { .. } | Content::RedactedReasoning(_)
                    if self.thoughts == Thoughts::Details =>
                {
                    details.extend(detail(&part.content));
                }
                Content::Reasoning { text, .. } if self.thoughts != Thoughts::Unread => {
                    thoughts.push(&**text)
                }
                Content::Refusal(text) => refusals.push(&**text),
                Content::ToolCall(call) => calls.push(self.call(call)),
                _ => {
                    let text = self.text(part).filter(|text| !text.is_empty());
                    // It comes before the calls in the message.
                    self.lost.push_if(text.is_some() && !calls.is_empty(), "messages[].content[].text");
                    texts.extend(text);
                }
            }
        }
        let (text, refusal) = (joined(&texts, ""), joined(&refusals, ""));
        if text.is_none() && refusal.is_none() && calls.is_empty() {
            return;
        }
        let thoughts = joined(&thoughts, "");
        let (reasoning_content, reasoning) = match self.thoughts {
            Thoughts::Text => (None, thoughts),
            _ => (thoughts, None),
        };
        self.messages.push(Message {
            role: Some("assistant".into()),
            content: Some(text.map_or(TextOr::Null, TextOr::Text)),
            refusal,
            tool_calls: (!calls.is_empty()).then_some(calls),
            reasoning_content,
            reasoning,
            reasoning_details: (!details.is_empty()).then_some(details),
            ..Default::default()
        });
    }

    fn call(&self, call: &'a ToolCall<'a>) -> wire::ToolCall<'a> {
        let name = Some(Str::from(self.names.sent(&call.name)));
        if call.is_free_text && !self.takes_free_text {
            let object = arguments::free_text(&call.arguments).get().to_owned();
            let arguments = Some(wire::Arguments::Written(object.into()));
            let function = Some(wire::CalledFunction { name, arguments });
            let (id, kind) = (Some(Str::from(&*call.id)), Some("function".into()));
            return wire::ToolCall { id, kind, function, ..Default::default() };
        }
        let mut written = tool_call(call);
        if let Some(function) = &mut written.function {
            function.name = name;
        } else if let Some(custom) = &mut written.custom {
            custom.name = name;
        }
        written
    }

    /// Calls, their results, and then whatever else was said before the model spoke again.
    fn calls(&mut self, spoken: &'a [Turn<'a>], answers: &'a [Turn<'a>]) {
        let parts = || spoken.iter().flat_map(|turn| &turn.parts);
        self.assistant(parts());
        let calls = parts().filter_map(|part| match &part.content {
            Content::ToolCall(call) => Some(&*call.id),
            _ => None,
        });
        let mut open = Open::default();
        calls.clone().for_each(|id| open.add(id));
        let mut attached = Vec::new();
        let mut said: Vec<(Role, Vec<&Part<'_>>)> = Vec::new();
        for turn in answers {
            let mut rest = Vec::new();
            for part in &turn.parts {
                match &part.content {
                    Content::ToolResult { id, parts, is_error } if open.close(id) => {
                        self.result(id, (parts, part.cache), *is_error, &mut attached);
                    }
                    _ => rest.push(part),
                }
            }
            said.push((turn.role, rest));
        }
        for id in calls.filter(|id| open.close(id)) {
            self.answer(id, NO_RESULT.into(), None);
        }
        if !matches!(said.first(), Some((Role::User, _))) {
            said.insert(0, (Role::User, Vec::new()));
        }
        if let Some((_, parts)) = said.first_mut() {
            parts.splice(0..0, attached);
        }
        for (role, parts) in said {
            self.say(role, parts);
        }
    }

    /// The text of a result; what is not text is left for the user to show.
    fn result(
        &mut self,
        id: &'a str,
        (parts, cache): (&'a [Part<'a>], Option<Cache>),
        is_error: bool,
        attached: &mut Vec<&'a Part<'a>>,
    ) {
        self.lost.push_if(is_error, "messages[].content[].is_error");
        let mut texts = Vec::with_capacity(parts.len());
        let mut stands_for = None;
        for part in parts {
            match &part.content {
                Content::Image(Media::Url(_) | Media::Base64 { .. }) => {
                    attached.push(part);
                    stands_for = Some("[image]");
                }
                Content::Document { media: Media::Base64 { .. }, .. } => {
                    attached.push(part);
                    stands_for = Some("[document]");
                }
                _ => texts.extend(self.text(part)),
            }
        }
        if let (true, Some(sign)) = (texts.is_empty(), stands_for) {
            texts.push(sign);
        }
        let text = joined(&texts, "\n").unwrap_or_default();
        let cache = cache.or(parts.iter().rev().find_map(|part| part.cache));
        self.answer(id, if is_error { format!("Error: {}", &*text).into() } else { text }, cache);
    }

    fn answer(&mut self, id: &'a str, text: Str<'a>, cache: Option<Cache>) {
        let content = match cache.filter(|_| self.takes_marks) {
            Some(_) => TextOr::Other(vec![self.written(text, cache)]),
            None => TextOr::Text(text),
        };
        self.push("tool", content);
        if let Some(message) = self.messages.last_mut() {
            message.tool_call_id = Some(id.into());
        }
    }

    /// A part of text.
    fn written(&self, text: impl Into<Str<'a>>, cache: Option<Cache>) -> ContentPart<'a> {
        let cache_control = self.mark(cache);
        ContentPart {
            kind: Some("text".into()),
            text: Some(text.into()),
            cache_control,
            ..Default::default()
        }
    }

    /// Up to where the prompt is to be cached, where servers don't find that out themselves.
    fn mark(&self, cache: Option<Cache>) -> Option<wire::CacheControl<'a>> {
        let cache = cache.filter(|_| self.takes_marks)?;
        let ttl = (cache == Cache::Hour).then(|| "1h".into());
        Some(wire::CacheControl { kind: Some("ephemeral".into()), ttl })
    }

    /// The text of a part where nothing but text can be said.
    fn text(&mut self, part: &'a Part<'a>) -> Option<&'a str> {
        match &part.content {
            Content::Text(text) | Content::Refusal(text) => Some(text),
            Content::Document { media: Media::Text(text), title } => {
                self.lost.push_title(title.as_deref());
                Some(text)
            }
            Content::Reasoning { .. } | Content::RedactedReasoning(_) => None,
            other => {
                self.lost.push(name(other, &mut String::new()));
                None
            }
        }
    }

    fn content(&mut self, part: &'a Part<'a>, content: &mut Vec<ContentPart<'a>>) {
        let written = match &part.content {
            Content::Image(Media::Url(url)) => image(Str::from(&**url), part),
            Content::Image(Media::Base64 { media_type, data }) => {
                image(data_url(media_type, data).into(), part)
            }
            Content::Document { media: Media::Base64 { media_type, data }, title } => file(
                data_url(media_type, data),
                title.as_deref().unwrap_or(if media_type == "application/pdf" {
                    "document.pdf"
                } else {
                    "document"
                }),
            ),
            Content::Audio { data, format } => ContentPart {
                kind: Some("input_audio".into()),
                input_audio: Some(wire::InputAudio {
                    data: Some((&**data).into()),
                    format: Some((&**format).into()),
                }),
                ..Default::default()
            },
            // A result that answers no call can only be told.
            Content::ToolResult { parts, .. } => {
                for part in parts {
                    self.content(part, content);
                }
                return;
            }
            _ => match self.text(part) {
                Some(text) => self.written(text, part.cache),
                None => return,
            },
        };
        let cache_control = self.mark(part.cache);
        content.push(ContentPart { cache_control, ..written });
    }
}

fn has_marks(content: &[ContentPart<'_>]) -> bool {
    content.iter().any(|part| part.cache_control.is_some())
}

/// Thoughts with a proof of Anthropic's, as OpenRouter has them; without one they would be refused.
fn detail<'a>(thoughts: &'a Content<'_>) -> Option<ReasoningDetail<'a>> {
    let (kind, text, proof) = match thoughts {
        Content::Reasoning { text, signature } => ("reasoning.text", Some(&**text), &**signature.as_ref()?),
        Content::RedactedReasoning(data) => ("reasoning.encrypted", None, &**data),
        _ => return None,
    };
    if proof.is_empty() || !proof::is_anthropic(proof) {
        return None;
    }
    let proof = Some(Str::from(proof));
    let (signature, data) = if text.is_some() { (proof, None) } else { (None, proof) };
    Some(ReasoningDetail {
        kind: Some(kind.into()),
        text: text.map(Str::from),
        signature,
        data,
        format: Some("anthropic-claude-v1".into()),
        ..Default::default()
    })
}

/// How many calls of each id are not answered.
#[derive(Default)]
struct Open<'a>(HashMap<&'a str, usize>);

impl<'a> Open<'a> {
    fn add(&mut self, id: &'a str) {
        *self.0.entry(id).or_default() += 1;
    }

    /// Takes one of the calls with this id, if there is one.
    fn close(&mut self, id: &str) -> bool {
        let Some(count) = self.0.get_mut(id).filter(|count| **count > 0) else { return false };
        *count -= 1;
        true
    }
}

fn image<'a>(url: Str<'a>, part: &'a Part<'_>) -> ContentPart<'a> {
    let detail = part.detail.as_deref().map(Str::from);
    ContentPart {
        kind: Some("image_url".into()),
        image_url: Some(TextOr::Other(wire::ImageUrl { url: Some(url), detail })),
        ..Default::default()
    }
}

fn file<'a>(data: String, name: &'a str) -> ContentPart<'a> {
    ContentPart {
        kind: Some("file".into()),
        file: Some(wire::File {
            file_data: Some(data.into()),
            filename: Some(name.into()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// What a part that can't be said is called in the report.
fn name<'n>(content: &Content<'_>, name: &'n mut String) -> &'n str {
    name.push_str("messages[].content[].");
    name.push_str(match content {
        Content::Opaque { kind, .. } => kind,
        Content::Image(_) => "image",
        Content::Document { .. } => "document",
        Content::Audio { .. } => "audio",
        Content::ToolCall(_) => "tool_use",
        Content::ToolResult { .. } => "tool_result",
        _ => "part",
    });
    name
}

fn joined<'a>(texts: &[&'a str], separator: &str) -> Option<Str<'a>> {
    match texts {
        [] => None,
        [""] => None,
        [one] => Some(Str(Cow::Borrowed(one))),
        several => Some(several.join(separator).into()),
    }
}
