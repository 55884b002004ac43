//! The calls of a streamed answer, put together from what servers make of `index` and `id`.

use std::collections::{BTreeSet, HashMap};

use super::wire::CallDelta;
use crate::{
    Error,
    dialect::{
        Emit,
        buffer::{Buffered, MAX_CALLS, too_many},
        canonical::{Event, Text},
        ids,
    },
};

/// The calls of one answer, in the order in which they came up.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    calls: Vec<Call>,
    /// The latest call with this number of the provider's.
    by_index: HashMap<u32, usize>,
    /// The latest call with this id.
    by_id: HashMap<Box<str>, usize>,
    /// The calls whose name has not come.
    nameless: BTreeSet<usize>,
    /// How many of them have been announced.
    announced: u32,
    /// How much is kept back.
    buffered: Buffered,
}

/// One call.
#[derive(Debug, Default)]
struct Call {
    /// The provider's number for it, not necessarily its own.
    index: Option<u32>,
    /// The provider's id for it; empty if it has none.
    id: String,
    /// The tool.
    name: String,
    /// The number under which it was announced.
    number: Option<u32>,
    /// Arguments that came before the name did.
    pending: String,
    is_free_text: bool,
}

impl Calls {
    /// Whether no call came up so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.announced == 0
    }

    /// Whether there is a call whose name never came.
    pub(crate) fn has_nameless(&self) -> bool {
        !self.nameless.is_empty()
    }

    /// Takes a piece of a call.
    ///
    /// # Errors
    ///
    /// More calls, or more of them kept back, than any honest answer has.
    pub(crate) fn delta(&mut self, choice: u32, delta: CallDelta<'_>, emit: Emit<'_>) -> Result<(), Error> {
        let is_free_text = delta.custom.is_some();
        let (name, fragment) = match (delta.custom, delta.function) {
            (Some(custom), _) => (custom.name, custom.input.map(Text::from)),
            (None, Some(function)) => (function.name, function.arguments.map(Text::from)),
            (None, None) => (None, None),
        };
        let id = delta.id.as_deref().unwrap_or_default();
        let name = name.as_deref().unwrap_or_default();
        let at = match self.find(delta.index, id, name) {
            Some(at) => at,
            None => self.add(delta.index, is_free_text)?,
        };
        let Some(call) = self.calls.get_mut(at) else { return Ok(()) };
        if call.id.is_empty() && !id.is_empty() {
            call.id.push_str(id);
            self.by_id.insert(id.into(), at);
        }
        if call.name.is_empty() && !name.is_empty() {
            call.name.push_str(name);
            self.nameless.remove(&at);
            self.buffered.release(call.pending.len());
            self.announced += call.announce(choice, self.announced, emit);
        }
        match fragment.filter(|fragment| !fragment.is_empty()) {
            Some(fragment) => call.arguments(choice, fragment, &mut self.buffered, emit),
            None => Ok(()),
        }
    }

    fn add(&mut self, index: Option<u32>, is_free_text: bool) -> Result<usize, Error> {
        let at = self.calls.len();
        if at == MAX_CALLS {
            return Err(too_many("calls"));
        }
        self.calls.push(Call { index, is_free_text, ..Call::default() });
        self.nameless.insert(at);
        if let Some(index) = index {
            self.by_index.insert(index, at);
        }
        Ok(at)
    }

    /// Which call a piece belongs to; `None` is a new one.
    ///
    /// By the documentation the index says it. But some servers number every call 0, some don't
    /// number at all, and some repeat id and name with every piece.
    fn find(&self, index: Option<u32>, id: &str, name: &str) -> Option<usize> {
        if let Some(&at) = self.by_id.get(id).filter(|_| !id.is_empty())
            && (index.is_none() || self.calls[at].index == index)
        {
            return Some(at);
        }
        match index {
            Some(index) => {
                let at = *self.by_index.get(&index)?;
                let call = &self.calls[at];
                let other_id = !id.is_empty() && !call.id.is_empty();
                let other_name = !name.is_empty() && !call.name.is_empty() && call.name != name;
                let is_new = (other_id && !name.is_empty()) || (id.is_empty() && other_name);
                (!is_new).then_some(at)
            }
            // Only the last one can go on.
            None if id.is_empty() && name.is_empty() => self.calls.len().checked_sub(1),
            None => self.nameless.last().copied().filter(|at| id.is_empty() || self.calls[*at].id.is_empty()),
        }
    }
}

impl Call {
    /// Announces the call and what it had to keep back; returns how many were announced.
    fn announce(&mut self, choice: u32, number: u32, emit: Emit<'_>) -> u32 {
        self.number = Some(number);
        if self.id.is_empty() {
            self.id = ids::new("call_");
        }
        emit(Event::ToolCall {
            choice,
            call: number,
            id: Text::Borrowed(&self.id),
            name: Text::Borrowed(&self.name),
            is_free_text: self.is_free_text,
        });
        if !self.pending.is_empty() {
            let fragment = std::mem::take(&mut self.pending).into();
            emit(Event::Arguments { choice, call: number, fragment });
        }
        1
    }

    fn arguments(
        &mut self,
        choice: u32,
        fragment: Text<'_>,
        buffered: &mut Buffered,
        emit: Emit<'_>,
    ) -> Result<(), Error> {
        match self.number {
            Some(call) => emit(Event::Arguments { choice, call, fragment }),
            None => {
                buffered.keep(fragment.len())?;
                self.pending.push_str(&fragment);
            }
        }
        Ok(())
    }
}
