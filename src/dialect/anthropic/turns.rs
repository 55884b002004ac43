//! Canonical turns become messages: alternating, results first, every call answered.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    mem,
};

use super::{
    parts::Writer,
    wire::write::{Block, Message},
};
use crate::{
    Error, Kind,
    dialect::{
        canonical::{Content, Part, Request, Role, Turn},
        lost::Lost,
        names::Names,
    },
    target::ModelFacts,
};

/// Stands where Anthropic needs a text and the client has none.
const EMPTY: &str = "(empty)";
const INTERRUPTED: &str = "[no result: interrupted]";

/// What is said, as Anthropic takes it.
#[derive(Debug)]
pub(super) struct Conversation<'a> {
    pub(super) system: Vec<Block<'a>>,
    pub(super) messages: Vec<Message<'a>>,
}

impl Conversation<'_> {
    /// Whether any turn bears thoughts.
    pub(super) fn has_thinking(&self) -> bool {
        self.messages.iter().flat_map(|message| &message.content).any(Block::is_thinking)
    }

    /// Whether the model is to go on after a call that it made, as far as the client tells, without
    /// thinking.
    pub(super) fn resumes_without_thinking(&self) -> bool {
        let Some([assistant, user]) = self.messages.last_chunk() else { return false };
        let calls = assistant.content.iter().any(|block| matches!(block, Block::ToolUse { .. }));
        let thinks = assistant.content.first().is_some_and(Block::is_thinking);
        user.role == "user" && assistant.role == "assistant" && calls && !thinks
    }
}

/// Writes the conversation of `request`.
pub(super) fn conversation<'a>(
    request: &'a Request<'_>,
    facts: &ModelFacts,
    names: &'a Names<'_>,
    lost: &mut Lost,
) -> Result<Conversation<'a>, Error> {
    let mut writer = Writer { names, lost };
    let leading = request.turns.iter().take_while(|turn| turn.role == Role::System).count();
    let (before, turns) = request.turns.split_at(leading);
    let mut system = instructions(&request.system, &mut writer)?;
    for turn in before {
        system.extend(instructions(&turn.parts, &mut writer)?);
    }
    let mut drafts = settle_systems(drafts(turns, &mut writer)?, facts);
    if drafts.is_empty() {
        let last = system.pop().ok_or_else(|| refused("messages: at least one message is required"))?;
        drafts.push(Draft::user(vec![last]));
    }
    if drafts.first().is_some_and(|draft| draft.role == Role::Assistant) {
        drafts.insert(0, Draft::user(vec![Block::text(EMPTY)]));
    }
    let mut drafts = answer_calls(drafts);
    tell_calls_apart(&mut drafts);
    check_prefill(drafts.last_mut(), facts)?;
    Ok(Conversation { system, messages: drafts.into_iter().map(Draft::into_message).collect() })
}

fn refused(message: &str) -> Error {
    Error::new(Kind::InvalidRequest, message).with_param("messages")
}

fn instructions<'a>(parts: &'a [Part<'_>], writer: &mut Writer<'a, '_>) -> Result<Vec<Block<'a>>, Error> {
    writer.lost.push_if(parts.iter().any(|part| !matches!(part.content, Content::Text(_))), "system");
    let mut blocks = writer.blocks(parts)?;
    blocks.retain(|block| matches!(block, Block::Text { .. }));
    Ok(blocks)
}

/// A message in the making.
#[derive(Debug)]
struct Draft<'a> {
    role: Role,
    /// Results of tools, which stand before everything else.
    results: Vec<Block<'a>>,
    blocks: Vec<Block<'a>>,
}

impl<'a> Draft<'a> {
    fn new(turn: &'a Turn<'_>, writer: &mut Writer<'a, '_>) -> Result<Self, Error> {
        if turn.role == Role::System {
            let blocks = instructions(&turn.parts, writer)?;
            return Ok(Self { role: Role::System, results: Vec::new(), blocks });
        }
        let mut blocks = writer.blocks(&turn.parts)?;
        // Thoughts begin a turn. If they do already, what comes between the others is in its place.
        if turn.role == Role::Assistant && !blocks.first().is_some_and(Block::is_thinking) {
            blocks.sort_by_key(|block| !block.is_thinking());
        }
        if turn.role == Role::User && blocks.iter().any(is_result) {
            let (results, blocks) = blocks.into_iter().partition(is_result);
            return Ok(Self { role: Role::User, results, blocks });
        }
        Ok(Self { role: turn.role, results: Vec::new(), blocks })
    }

    fn user(blocks: Vec<Block<'a>>) -> Self {
        Self { role: Role::User, results: Vec::new(), blocks }
    }

    fn is_empty(&self) -> bool {
        self.results.is_empty() && self.blocks.is_empty()
    }

    fn calls(&self) -> Vec<Cow<'a, str>> {
        let calls = self.blocks.iter().filter_map(|block| match block {
            Block::ToolUse { id, .. } if self.role == Role::Assistant => Some(id.clone()),
            _ => None,
        });
        calls.collect()
    }

    /// Puts the results into the order of the calls, makes up the missing ones, and turns those that
    /// answer nothing into text.
    fn answer(&mut self, calls: &[Cow<'a, str>]) {
        let answers = |(result, call): (&Block<'_>, &Cow<'_, str>)| matches!(result, Block::ToolResult { tool_use_id, .. } if tool_use_id == call);
        if calls.len() == self.results.len() && self.results.iter().zip(calls).all(answers) {
            return;
        }
        let mut given = mem::take(&mut self.results).into_iter().map(Some).collect::<Vec<_>>();
        let mut places: HashMap<Cow<'a, str>, VecDeque<usize>> = HashMap::with_capacity(given.len());
        for (place, result) in given.iter().enumerate() {
            if let Some(Block::ToolResult { tool_use_id, .. }) = result {
                places.entry(tool_use_id.clone()).or_default().push_back(place);
            }
        }
        for call in calls {
            let place = places.get_mut(call).and_then(VecDeque::pop_front);
            let result = place.and_then(|place| given[place].take());
            self.results.push(result.unwrap_or_else(|| interrupted(call.clone())));
        }
        let mut orphans = given.into_iter().flatten().peekable();
        if orphans.peek().is_some() {
            self.blocks.splice(0..0, orphans.flat_map(orphan));
        }
    }

    fn into_message(self) -> Message<'a> {
        let role = match self.role {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::System => "system",
        };
        let content = match self.results.is_empty() {
            true => self.blocks,
            false => self.results.into_iter().chain(self.blocks).collect(),
        };
        Message { role, content }
    }
}

fn drafts<'a>(turns: &'a [Turn<'_>], writer: &mut Writer<'a, '_>) -> Result<Vec<Draft<'a>>, Error> {
    let mut drafts: Vec<Draft<'a>> = Vec::with_capacity(turns.len());
    for (index, turn) in turns.iter().enumerate() {
        let mut draft = Draft::new(turn, writer)?;
        if draft.is_empty() {
            let parts_turns = drafts.last().is_none_or(|before| before.role == Role::Assistant)
                && turns.get(index + 1).is_none_or(|after| after.role == Role::Assistant);
            if turn.role != Role::User || !parts_turns {
                continue;
            }
            draft.blocks.push(Block::text(EMPTY));
        }
        push(&mut drafts, draft);
    }
    Ok(drafts)
}

/// Adds a turn, or joins it with the last one of the same role.
fn push<'a>(drafts: &mut Vec<Draft<'a>>, draft: Draft<'a>) {
    match drafts.last_mut() {
        Some(last) if last.role == draft.role => {
            last.results.extend(draft.results);
            last.blocks.extend(draft.blocks);
        }
        _ => drafts.push(draft),
    }
}

/// Leaves instructions inside the conversation where the model takes them there; they become a
/// reminder in the user's turn elsewhere. Moving them to the top would change what is cached.
fn settle_systems<'a>(drafts: Vec<Draft<'a>>, facts: &ModelFacts) -> Vec<Draft<'a>> {
    if drafts.iter().all(|draft| draft.role != Role::System) {
        return drafts;
    }
    let is_supported = facts.supports("mid_conversation_system");
    let mut settled = Vec::with_capacity(drafts.len());
    let mut rest = drafts.into_iter().peekable();
    while let Some(mut draft) = rest.next() {
        if draft.role == Role::System && !(is_supported && may_stand(settled.last(), rest.peek())) {
            draft.role = Role::User;
            draft.blocks.iter_mut().for_each(remind);
        }
        push(&mut settled, draft);
    }
    settled
}

/// Anthropic's rule: after the user or a server's tool, and before the model or at the end.
fn may_stand(before: Option<&Draft<'_>>, after: Option<&Draft<'_>>) -> bool {
    let follows = before.is_some_and(|before| match (before.role, before.blocks.last()) {
        (Role::User, _) => true,
        (Role::Assistant, Some(Block::Opaque(raw))) => raw.get().contains("\"server_tool_use\""),
        _ => false,
    });
    follows && after.is_none_or(|after| after.role == Role::Assistant)
}

fn remind(block: &mut Block<'_>) {
    if let Block::Text { text, .. } = block {
        *text = format!("<system-reminder>\n{text}\n</system-reminder>").into();
    }
}

/// Sees to it that each call is answered by the user right after it.
fn answer_calls(drafts: Vec<Draft<'_>>) -> Vec<Draft<'_>> {
    let mut answered = Vec::with_capacity(drafts.len() + 1);
    let mut open = Vec::new();
    for mut draft in drafts {
        if draft.role == Role::User {
            draft.answer(&mem::take(&mut open));
        } else {
            answered.extend(unanswered(&mut open));
            open = draft.calls();
        }
        answered.push(draft);
    }
    answered.extend(unanswered(&mut open));
    answered
}

/// The turn of a user who has not answered.
fn unanswered<'a>(open: &mut Vec<Cow<'a, str>>) -> Option<Draft<'a>> {
    let calls = mem::take(open);
    let mut draft = Draft::user(Vec::new());
    draft.answer(&calls);
    (!calls.is_empty()).then_some(draft)
}

/// Gives calls ids of their own where a client has used one twice, which Anthropic refuses. Results
/// stand in the order of their calls.
fn tell_calls_apart(drafts: &mut [Draft<'_>]) {
    let mut used = HashMap::new();
    let mut changed = Vec::new();
    for draft in drafts {
        if draft.role == Role::User {
            for (place, new) in changed.drain(..) {
                if let Some(Block::ToolResult { tool_use_id, .. }) = draft.results.get_mut(place) {
                    *tool_use_id = new;
                }
            }
            continue;
        }
        let ids = draft.blocks.iter_mut().filter_map(|block| match block {
            Block::ToolUse { id, .. } => Some(id),
            _ => None,
        });
        for (place, id) in ids.enumerate() {
            if let Some(new) = another(id, &mut used) {
                *id = new.clone();
                changed.push((place, new));
            }
        }
    }
}

/// Another id if this one is used: the next of its numbers that is free.
fn another<'a>(id: &Cow<'a, str>, used: &mut HashMap<Cow<'a, str>, u32>) -> Option<Cow<'a, str>> {
    let Some(&known) = used.get(id) else {
        used.insert(id.clone(), 1);
        return None;
    };
    let mut number = known;
    let new: Cow<'a, str> = loop {
        number += 1;
        let new = Cow::Owned(format!("{id}_{number}"));
        if !used.contains_key(&new) {
            break new;
        }
    };
    used.insert(id.clone(), number);
    used.insert(new.clone(), 1);
    Some(new)
}

fn is_result(block: &Block<'_>) -> bool {
    matches!(block, Block::ToolResult { .. })
}

fn interrupted(call: Cow<'_, str>) -> Block<'_> {
    let content = vec![Block::text(INTERRUPTED)];
    Block::ToolResult { tool_use_id: call, content, is_error: false, cache_control: None }
}

/// What a result says that answers no call.
fn orphan(result: Block<'_>) -> Vec<Block<'_>> {
    let Block::ToolResult { tool_use_id, mut content, .. } = result else { return vec![result] };
    content.insert(0, Block::text(format!("[result of the tool call {tool_use_id}]")));
    content
}

/// An answer that the client has begun has to be allowed, and must not end with a space.
fn check_prefill(last: Option<&mut Draft<'_>>, facts: &ModelFacts) -> Result<(), Error> {
    let Some(Draft { role: Role::Assistant, blocks, .. }) = last else { return Ok(()) };
    // What ends in something else goes on after a pause.
    let Some(Block::Text { text, .. }) = blocks.last_mut() else { return Ok(()) };
    if facts.lacks("assistant_prefill") {
        return Err(refused(
            "messages: this model does not continue an assistant message; end with a user message",
        ));
    }
    if text.ends_with(char::is_whitespace) {
        *text = text.trim_end().to_owned().into();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::testing::{
            asking, assistant, call, encoded, hi, image, messages, result, system, text, thought, try_encode,
            user,
        },
        *,
    };

    fn said(text: &str) -> serde_json::Value {
        json!({"type": "text", "text": text})
    }

    /// C1
    #[test]
    fn leading_instructions_become_the_system_prompt() {
        let mut request = asking(vec![system("S2"), user(vec![text("hi")])]);
        request.system = vec![text("S1")];

        let (body, lost) = encoded(&request, &[], &[]);

        assert_eq!(body["system"], json!([said("S1"), said("S2")]));
        assert_eq!(body["messages"], json!([{"role": "user", "content": [said("hi")]}]));
        assert!(lost.is_empty());
    }

    /// C2
    #[test]
    fn later_instructions_stay_in_place_where_the_model_takes_them() {
        let turns =
            || vec![user(vec![text("a")]), system("S"), assistant(vec![text("b")]), user(vec![text("c")])];
        let reminder = "<system-reminder>\nS\n</system-reminder>";

        let (in_place, _) = encoded(&asking(turns()), &["mid_conversation_system"], &[]);
        let (reminded, _) = encoded(&asking(turns()), &[], &[]);

        assert_eq!(in_place["messages"][1], json!({"role": "system", "content": [said("S")]}));
        assert_eq!(in_place["messages"].as_array().unwrap().len(), 4);
        assert_eq!(reminded["messages"][0], json!({"role": "user", "content": [said("a"), said(reminder)]}));
        assert_eq!(reminded["messages"].as_array().unwrap().len(), 3);
    }

    /// C2
    #[test]
    fn later_instructions_become_a_reminder_where_the_rules_forbid_their_place() {
        let before_user = asking(vec![user(vec![text("a")]), system("S"), user(vec![text("b")])]);
        let before_result = asking(vec![
            user(vec![text("a")]),
            assistant(vec![call("c", "f", "{}")]),
            system("S"),
            user(vec![result("c", "r")]),
        ]);

        let (before_user, _) = encoded(&before_user, &["mid_conversation_system"], &[]);
        let (before_result, _) = encoded(&before_result, &["mid_conversation_system"], &[]);

        assert_eq!(before_user["messages"].as_array().unwrap().len(), 1);
        assert_eq!(before_user["messages"][0]["content"].as_array().unwrap().len(), 3);
        let last = &before_result["messages"][2];
        assert_eq!((&last["role"], &last["content"][0]["type"]), (&json!("user"), &json!("tool_result")));
        assert_eq!(last["content"][1], said("<system-reminder>\nS\n</system-reminder>"));
    }

    /// C4
    #[test]
    fn the_last_instruction_is_asked_when_there_is_nothing_else() {
        let (body, _) = encoded(&asking(vec![system("S1"), system("S2")]), &[], &[]);

        assert_eq!(body["system"], json!([said("S1")]));
        assert_eq!(body["messages"], json!([{"role": "user", "content": [said("S2")]}]));
        assert!(
            try_encode(&asking(vec![]), &[], &[]).unwrap_err().message().contains("at least one message")
        );
    }

    /// C5, C6, C13
    #[test]
    fn turns_alternate_and_begin_with_the_user() {
        let messages = messages(vec![
            assistant(vec![text("hello")]),
            user(vec![text("a")]),
            assistant(vec![]),
            user(vec![text("b")]),
        ]);

        assert_eq!(messages[0], json!({"role": "user", "content": [said("(empty)")]}));
        assert_eq!(messages[1]["role"], "assistant");
        assert_eq!(messages[2], json!({"role": "user", "content": [said("a"), said("b")]}));
    }

    /// C7
    #[test]
    fn a_begun_answer_is_trimmed_or_refused() {
        let request = asking(vec![user(vec![text("hi")]), assistant(vec![text("Well, \n")])]);

        let (body, _) = encoded(&request, &[], &[]);
        let refused = try_encode(&request, &[], &["assistant_prefill"]).unwrap_err();

        assert_eq!(body["messages"][1]["content"], json!([said("Well,")]));
        assert_eq!((refused.kind(), refused.param()), (Kind::InvalidRequest, Some("messages")));
    }

    /// C10, C11
    #[test]
    fn texts_without_a_character_are_not_sent() {
        let messages = messages(vec![
            user(vec![text("hi")]),
            assistant(vec![text("  \n"), call("c", "f", "")]),
            user(vec![result("c", "")]),
            assistant(vec![text("done")]),
            user(vec![text("")]),
        ]);

        assert_eq!(
            messages[1]["content"],
            json!([{"type": "tool_use", "id": "c", "name": "f", "input": {}}])
        );
        assert_eq!(messages[2]["content"], json!([{"type": "tool_result", "tool_use_id": "c"}]));
        assert_eq!(messages[4]["content"], json!([said("(empty)")]));
    }

    /// C12, C22, C23, C25
    #[test]
    fn results_come_first_and_in_the_order_of_the_calls() {
        let messages = messages(vec![
            user(vec![text("w?")]),
            assistant(vec![text("let me see"), call("a", "f", r#"{"city":"Paris"}"#), call("b", "f", "")]),
            user(vec![result("b", "y")]),
            user(vec![result("a", "x"), text("and?")]),
        ]);

        assert_eq!(
            messages[1]["content"],
            json!([
                said("let me see"),
                {"type": "tool_use", "id": "a", "name": "f", "input": {"city": "Paris"}},
                {"type": "tool_use", "id": "b", "name": "f", "input": {}},
            ])
        );
        assert_eq!(
            messages[2]["content"],
            json!([
                {"type": "tool_result", "tool_use_id": "a", "content": [said("x")]},
                {"type": "tool_result", "tool_use_id": "b", "content": [said("y")]},
                said("and?"),
            ])
        );
        assert_eq!(messages.as_array().unwrap().len(), 3);
    }

    /// C30
    #[test]
    fn a_result_that_answers_nothing_becomes_text() {
        let messages = messages(vec![user(vec![result("x", "42"), text("so?")])]);

        assert_eq!(
            messages[0]["content"],
            json!([said("[result of the tool call x]"), said("42"), said("so?")])
        );
    }

    /// C31
    #[test]
    fn a_call_without_a_result_gets_one() {
        let missing = |id| json!({"type": "tool_result", "tool_use_id": id, "content": [said("[no result: interrupted]")]});

        let partly = messages(vec![
            user(vec![text("hi")]),
            assistant(vec![call("a", "f", "{}"), call("b", "f", "{}")]),
            user(vec![result("b", "r"), text("go on")]),
        ]);
        let at_the_end = messages(vec![user(vec![text("hi")]), assistant(vec![call("a", "f", "{}")])]);

        assert_eq!(partly[2]["content"][0], missing("a"));
        assert_eq!(partly[2]["content"][1]["tool_use_id"], "b");
        assert_eq!(at_the_end[2], json!({"role": "user", "content": [missing("a")]}));
    }

    /// C66, C68, C69
    #[test]
    fn proven_thoughts_come_first_and_others_are_left_out() {
        let redacted = Content::RedactedReasoning("d".into()).into();
        let messages = messages(vec![
            user(vec![text("hi")]),
            assistant(vec![text("ok"), thought("hm", Some("sig")), thought("foreign", None), redacted]),
            user(vec![text("go")]),
        ]);

        assert_eq!(
            messages[1]["content"],
            json!([
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "redacted_thinking", "data": "d"},
                said("ok"),
            ])
        );
    }

    #[test]
    fn thoughts_between_calls_stay_where_they_are() {
        let messages = messages(vec![
            user(vec![text("hi")]),
            assistant(vec![thought("1", Some("s1")), text("a"), thought("2", Some("s2")), text("b")]),
            user(vec![text("go")]),
        ]);

        let kinds: Vec<_> =
            messages[1]["content"].as_array().unwrap().iter().map(|block| &block["type"]).collect();
        assert_eq!(kinds, ["thinking", "text", "thinking", "text"]);
    }

    /// C28
    #[test]
    fn a_failed_result_with_a_picture_keeps_both() {
        let content = Content::ToolResult {
            id: "a".into(),
            parts: vec![text("see"), image("image/png", "iVBORw0KGgoA")],
            is_error: true,
        };
        let turns =
            vec![user(vec![text("hi")]), assistant(vec![call("a", "f", "{}")]), user(vec![content.into()])];

        let messages = messages(turns);

        let result = &messages[2]["content"][0];
        assert_eq!(result["is_error"], true);
        assert_eq!(result["content"][1]["source"]["media_type"], "image/png");
    }

    #[test]
    fn the_model_and_the_stream_are_what_was_asked_for() {
        let mut request = hi();
        request.stream = true;

        let (body, _) = encoded(&request, &[], &[]);

        assert_eq!(body["model"], "m");
        assert_eq!(body["stream"], true);
        assert_eq!(body["max_tokens"], 64_000);
    }

    #[test]
    fn an_id_that_is_used_twice_becomes_another() {
        let turns = vec![
            user(vec![text("q")]),
            assistant(vec![call("c", "f", "{}"), call("c", "g", "{}")]),
            user(vec![result("c", "one"), result("c", "two")]),
            assistant(vec![call("c", "f", "{}")]),
            user(vec![result("c", "three")]),
        ];

        let messages = messages(turns);

        let ids = |index: usize, member: &str| -> Vec<String> {
            let blocks = messages[index]["content"].as_array().unwrap();
            blocks.iter().map(|block| block[member].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!((ids(1, "id"), ids(3, "id")), (vec!["c".into(), "c_2".into()], vec!["c_3".into()]));
        assert_eq!((ids(2, "tool_use_id"), ids(4, "tool_use_id")), (ids(1, "id"), ids(3, "id")));
        assert_eq!(messages[2]["content"][1]["content"][0]["text"], "two");
    }
}
