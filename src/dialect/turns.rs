//! Canonical turns become messages as Anthropic and Bedrock take them: alternating, results first, every
//! call answered.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    mem,
};

use crate::{
    Error, Kind,
    dialect::{
        canonical::{Content, Part, Request, Role, Turn},
        lost::Lost,
    },
    target::ModelFacts,
};

/// Stands where a provider needs a text and the client has none.
pub(crate) const EMPTY: &str = "(empty)";
const INTERRUPTED: &str = "[no result: interrupted]";

/// A block of a message, as a provider takes it.
pub(crate) trait Block<'a>: Sized {
    /// A block of text.
    fn text(text: impl Into<Cow<'a, str>>) -> Self;

    /// The text of such a block.
    fn as_text(&mut self) -> Option<&mut Cow<'a, str>>;

    /// Whether it holds what the model thought.
    fn is_thinking(&self) -> bool;

    /// Whether the model calls a tool of its provider's.
    fn is_server_call(&self) -> bool {
        false
    }

    /// The id of the call that it is.
    fn call(&self) -> Option<&Cow<'a, str>>;

    /// The id of the call that it answers.
    fn answers(&self) -> Option<&Cow<'a, str>>;

    /// The place for the id of the call that it is or answers.
    fn id(&mut self) -> Option<&mut Cow<'a, str>>;

    /// What the call of this id returned.
    fn result(call: Cow<'a, str>, content: Vec<Self>) -> Self;

    /// What is in a result.
    fn into_content(self) -> Vec<Self>;
}

/// Writes the parts of a turn, noting what can't be expressed.
pub(crate) trait Write<'a> {
    /// What the provider takes.
    type Block: Block<'a>;

    /// The blocks for all that can be sent of `parts`.
    fn blocks(&mut self, parts: &'a [Part<'_>]) -> Result<Vec<Self::Block>, Error>;

    /// What was lost so far.
    fn lost(&mut self) -> &mut Lost;
}

/// One entry of `messages`.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Message<B> {
    pub(crate) role: &'static str,
    pub(crate) content: Vec<B>,
}

/// What is said, as the provider takes it.
#[derive(Debug)]
pub(crate) struct Conversation<B> {
    pub(crate) system: Vec<B>,
    pub(crate) messages: Vec<Message<B>>,
}

impl<'a, B: Block<'a>> Conversation<B> {
    /// Whether any turn bears thoughts.
    pub(crate) fn has_thinking(&self) -> bool {
        self.messages.iter().flat_map(|message| &message.content).any(B::is_thinking)
    }

    /// Whether the model is to go on after a call that it made, as far as the client tells, without
    /// thinking.
    pub(crate) fn resumes_without_thinking(&self) -> bool {
        let Some([assistant, user]) = self.messages.last_chunk() else { return false };
        let calls = assistant.content.iter().any(|block| block.call().is_some());
        let thinks = assistant.content.first().is_some_and(B::is_thinking);
        user.role == "user" && assistant.role == "assistant" && calls && !thinks
    }
}

/// Writes the conversation of `request`.
pub(crate) fn conversation<'a, W: Write<'a>>(
    request: &'a Request<'_>,
    facts: &ModelFacts,
    writer: &mut W,
) -> Result<Conversation<W::Block>, Error> {
    let leading = request.turns.iter().take_while(|turn| turn.role == Role::System).count();
    let (before, turns) = request.turns.split_at(leading);
    let mut system = instructions(&request.system, writer)?;
    for turn in before {
        system.extend(instructions(&turn.parts, writer)?);
    }
    let mut drafts = settle_systems(drafts(turns, writer)?, facts);
    if drafts.is_empty() {
        let last = system.pop().ok_or_else(|| refused("messages: at least one message is required"))?;
        drafts.push(Draft::user(vec![last]));
    }
    if drafts.first().is_some_and(|draft| draft.role == Role::Assistant) {
        drafts.insert(0, Draft::user(vec![W::Block::text(EMPTY)]));
    }
    let mut drafts = answer_calls(drafts);
    tell_calls_apart(&mut drafts);
    check_prefill(drafts.last_mut(), facts)?;
    Ok(Conversation { system, messages: drafts.into_iter().map(Draft::into_message).collect() })
}

fn refused(message: &str) -> Error {
    Error::new(Kind::InvalidRequest, message).with_param("messages")
}

fn instructions<'a, W: Write<'a>>(parts: &'a [Part<'_>], writer: &mut W) -> Result<Vec<W::Block>, Error> {
    writer.lost().push_if(parts.iter().any(|part| !matches!(part.content, Content::Text(_))), "system");
    let blocks = writer.blocks(parts)?;
    Ok(blocks.into_iter().filter_map(|mut block| block.as_text().is_some().then_some(block)).collect())
}

/// A message in the making.
#[derive(Debug)]
struct Draft<B> {
    role: Role,
    /// Results of tools, which stand before everything else.
    results: Vec<B>,
    blocks: Vec<B>,
}

impl<'a, B: Block<'a>> Draft<B> {
    fn new<W: Write<'a, Block = B>>(turn: &'a Turn<'_>, writer: &mut W) -> Result<Self, Error> {
        if turn.role == Role::System {
            let blocks = instructions(&turn.parts, writer)?;
            return Ok(Self { role: Role::System, results: Vec::new(), blocks });
        }
        let mut blocks = writer.blocks(&turn.parts)?;
        // Thoughts begin a turn. If they do already, what comes between the others is in its place.
        if turn.role == Role::Assistant && !blocks.first().is_some_and(B::is_thinking) {
            blocks.sort_by_key(|block| !block.is_thinking());
        }
        if turn.role == Role::User && blocks.iter().any(is_result) {
            let (results, blocks) = blocks.into_iter().partition(is_result);
            return Ok(Self { role: Role::User, results, blocks });
        }
        Ok(Self { role: turn.role, results: Vec::new(), blocks })
    }

    fn user(blocks: Vec<B>) -> Self {
        Self { role: Role::User, results: Vec::new(), blocks }
    }

    fn is_empty(&self) -> bool {
        self.results.is_empty() && self.blocks.is_empty()
    }

    fn calls(&self) -> Vec<Cow<'a, str>> {
        let speaks = self.role == Role::Assistant;
        self.blocks.iter().filter_map(|block| block.call().filter(|_| speaks).cloned()).collect()
    }

    /// Puts the results into the order of the calls, makes up the missing ones, and turns those that
    /// answer nothing into text.
    fn answer(&mut self, calls: &[Cow<'a, str>]) {
        let answers = |(result, call): (&B, &Cow<'a, str>)| result.answers() == Some(call);
        if calls.len() == self.results.len() && self.results.iter().zip(calls).all(answers) {
            return;
        }
        let mut given = mem::take(&mut self.results).into_iter().map(Some).collect::<Vec<_>>();
        let mut places: HashMap<Cow<'a, str>, VecDeque<usize>> = HashMap::with_capacity(given.len());
        for (place, result) in given.iter().enumerate() {
            if let Some(id) = result.as_ref().and_then(B::answers) {
                places.entry(id.clone()).or_default().push_back(place);
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

    fn into_message(self) -> Message<B> {
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

fn drafts<'a, W: Write<'a>>(turns: &'a [Turn<'_>], writer: &mut W) -> Result<Vec<Draft<W::Block>>, Error> {
    let mut drafts: Vec<Draft<W::Block>> = Vec::with_capacity(turns.len());
    for (index, turn) in turns.iter().enumerate() {
        let mut draft = Draft::new(turn, writer)?;
        if draft.is_empty() {
            let parts_turns = drafts.last().is_none_or(|before| before.role == Role::Assistant)
                && turns.get(index + 1).is_none_or(|after| after.role == Role::Assistant);
            if turn.role != Role::User || !parts_turns {
                continue;
            }
            draft.blocks.push(W::Block::text(EMPTY));
        }
        push(&mut drafts, draft);
    }
    Ok(drafts)
}

/// Adds a turn, or joins it with the last one of the same role.
fn push<B>(drafts: &mut Vec<Draft<B>>, draft: Draft<B>) {
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
fn settle_systems<'a, B: Block<'a>>(drafts: Vec<Draft<B>>, facts: &ModelFacts) -> Vec<Draft<B>> {
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
fn may_stand<'a, B: Block<'a>>(before: Option<&Draft<B>>, after: Option<&Draft<B>>) -> bool {
    let follows = before.is_some_and(|before| match (before.role, before.blocks.last()) {
        (Role::User, _) => true,
        (Role::Assistant, Some(last)) => last.is_server_call(),
        _ => false,
    });
    follows && after.is_none_or(|after| after.role == Role::Assistant)
}

fn remind<'a, B: Block<'a>>(block: &mut B) {
    if let Some(text) = block.as_text() {
        *text = format!("<system-reminder>\n{text}\n</system-reminder>").into();
    }
}

/// Sees to it that each call is answered by the user right after it.
fn answer_calls<'a, B: Block<'a>>(drafts: Vec<Draft<B>>) -> Vec<Draft<B>> {
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
fn unanswered<'a, B: Block<'a>>(open: &mut Vec<Cow<'a, str>>) -> Option<Draft<B>> {
    let calls = mem::take(open);
    let mut draft = Draft::user(Vec::new());
    draft.answer(&calls);
    (!calls.is_empty()).then_some(draft)
}

/// Gives calls ids of their own where a client has used one twice, which providers refuse. Results
/// stand in the order of their calls.
fn tell_calls_apart<'a, B: Block<'a>>(drafts: &mut [Draft<B>]) {
    let mut used = HashMap::new();
    let mut changed = Vec::new();
    for draft in drafts {
        if draft.role == Role::User {
            for (place, new) in changed.drain(..) {
                if let Some(id) = draft.results.get_mut(place).and_then(B::id) {
                    *id = new;
                }
            }
            continue;
        }
        let calls = draft.blocks.iter_mut().filter(|block| block.call().is_some());
        let ids = calls.filter_map(B::id);
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

fn is_result<'a, B: Block<'a>>(block: &B) -> bool {
    block.answers().is_some()
}

fn interrupted<'a, B: Block<'a>>(call: Cow<'a, str>) -> B {
    B::result(call, vec![B::text(INTERRUPTED)])
}

/// What a result says that answers no call.
fn orphan<'a, B: Block<'a>>(result: B) -> Vec<B> {
    let told = format!("[result of the tool call {}]", result.answers().map_or("", |id| &**id));
    let mut content = result.into_content();
    content.insert(0, B::text(told));
    content
}

/// An answer that the client has begun has to be allowed, and must not end with a space.
fn check_prefill<'a, B: Block<'a>>(last: Option<&mut Draft<B>>, facts: &ModelFacts) -> Result<(), Error> {
    let Some(Draft { role: Role::Assistant, blocks, .. }) = last else { return Ok(()) };
    // What ends in something else goes on after a pause.
    let Some(text) = blocks.last_mut().and_then(B::as_text) else { return Ok(()) };
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
