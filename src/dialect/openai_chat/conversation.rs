//! The messages of a client's request, put into turns.

use super::{
    decode::{cache, invalid, says_something},
    message,
    wire::{self, Message},
};
use crate::{
    Error,
    dialect::{
        canonical::{Content, Part, Role, Text, ToolCall, Turn},
        extras::Extras,
        text_or::TextOr,
    },
};

/// Collects messages into turns.
///
/// The leading messages of the operator are the system text; the results of tools that follow each
/// other are one turn, and so is what the user says right after them.
pub(crate) struct Conversation<'e, 'a> {
    extras: &'e mut Extras<'a>,
    system: Vec<Part<'a>>,
    turns: Vec<Turn<'a>>,
    /// How many messages were read.
    count: usize,
    /// The made-up id of the last call in the deprecated form, which has none.
    called: Option<String>,
}

impl<'e, 'a> Conversation<'e, 'a> {
    pub(crate) fn new(extras: &'e mut Extras<'a>) -> Self {
        Self { extras, system: Vec::new(), turns: Vec::new(), count: 0, called: None }
    }

    /// The system text and the turns.
    pub(crate) fn finish(self) -> (Vec<Part<'a>>, Vec<Turn<'a>>) {
        (self.system, self.turns)
    }

    /// Adds the next message.
    pub(crate) fn message(&mut self, mut message: Message<'a>) -> Result<(), Error> {
        let index = self.count;
        self.count += 1;
        let path = || format!("messages[{index}]");
        self.extras.all("messages[].", std::mem::take(&mut message.unknown), says_something);
        let marked = cache(message.cache_control.take());
        let role = message.role.take().ok_or_else(|| invalid(path() + ".role", "is missing"))?;
        // The name of a tool says no more than the id of its call.
        if !matches!(&*role, "function" | "tool") {
            self.extras.text("messages[].name", message.name.take());
        }
        let (role, mut parts) = match &*role {
            "system" | "developer" => (Role::System, self.said(message, &path)?),
            "user" => (Role::User, self.said(message, &path)?),
            "assistant" => (Role::Assistant, self.assistant(message, &path)?),
            "tool" => (Role::User, vec![self.result(message, &path)?]),
            "function" => (Role::User, vec![self.function_result(message, &path)?]),
            _ => return Err(invalid(path() + ".role", "is not a known role")),
        };
        if let (Some(last), Some(_)) = (parts.last_mut(), marked) {
            last.cache = marked;
        }
        self.add(role, parts);
        Ok(())
    }

    fn add(&mut self, role: Role, parts: Vec<Part<'a>>) {
        if role == Role::System && self.turns.is_empty() {
            return self.system.extend(parts);
        }
        match self.turns.last_mut() {
            Some(turn) if role == Role::User && turn.role == Role::User && ends_with_result(turn) => {
                turn.parts.extend(parts);
            }
            _ => self.turns.push(Turn { role, parts }),
        }
    }

    /// What somebody says who can't but say something.
    fn said(&mut self, message: Message<'a>, path: message::Path<'_>) -> Result<Vec<Part<'a>>, Error> {
        if matches!(message.content, None | Some(TextOr::Null)) {
            return Err(invalid(path() + ".content", "is missing"));
        }
        self.content(message, path)
    }

    fn content(&mut self, message: Message<'a>, path: message::Path<'_>) -> Result<Vec<Part<'a>>, Error> {
        // Most messages are one text.
        let mut parts = Vec::with_capacity(1);
        message::content(message.content, path, self.extras, &mut parts)?;
        Ok(parts)
    }

    fn assistant(
        &mut self,
        mut message: Message<'a>,
        path: message::Path<'_>,
    ) -> Result<Vec<Part<'a>>, Error> {
        let deprecated = message.function_call.take();
        let mut parts = message::assistant(message, path, self.extras)?;
        if let Some(call) = deprecated {
            parts.push(Content::ToolCall(self.function_call(call, path)?).into());
        }
        Ok(parts)
    }

    fn function_call(
        &mut self,
        call: wire::CalledFunction<'a>,
        path: message::Path<'_>,
    ) -> Result<ToolCall<'a>, Error> {
        let id = format!("call_{}", self.count);
        self.called = Some(id.clone());
        Ok(ToolCall {
            id: id.into(),
            name: call.name.ok_or_else(|| invalid(path() + ".function_call.name", "is missing"))?.into(),
            arguments: call.arguments.map(Text::from).unwrap_or_default(),
            is_free_text: false,
        })
    }

    fn result(&mut self, mut message: Message<'a>, path: message::Path<'_>) -> Result<Part<'a>, Error> {
        let id = message.tool_call_id.take();
        let id = id.ok_or_else(|| invalid(path() + ".tool_call_id", "is missing"))?.into();
        self.result_of(id, message, path)
    }

    fn function_result(&mut self, message: Message<'a>, path: message::Path<'_>) -> Result<Part<'a>, Error> {
        let id = self.called.take().unwrap_or_else(|| format!("call_{}", self.count));
        self.result_of(id.into(), message, path)
    }

    fn result_of(
        &mut self,
        id: Text<'a>,
        message: Message<'a>,
        path: message::Path<'_>,
    ) -> Result<Part<'a>, Error> {
        let parts = self.content(message, path)?;
        Ok(Content::ToolResult { id, parts, is_error: false }.into())
    }
}

fn ends_with_result(turn: &Turn<'_>) -> bool {
    matches!(turn.parts.last(), Some(Part { content: Content::ToolResult { .. }, .. }))
}
