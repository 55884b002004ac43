//! The calls of a streamed answer, put together from what servers make of `index` and `id`.

use super::{answer::new_call_id, wire::CallDelta};
use crate::dialect::{
    Emit,
    canonical::{Event, Text},
};

/// The calls of one answer, in the order in which they came up.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    calls: Vec<Call>,
    /// How many of them have been announced.
    announced: u32,
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
        self.calls.iter().any(|call| call.number.is_none())
    }

    /// Takes a piece of a call.
    pub(crate) fn delta(&mut self, choice: u32, delta: CallDelta<'_>, emit: Emit<'_>) {
        let is_free_text = delta.custom.is_some();
        let (name, fragment) = match (delta.custom, delta.function) {
            (Some(custom), _) => (custom.name, custom.input.map(Text::from)),
            (None, Some(function)) => (function.name, function.arguments.map(Text::from)),
            (None, None) => (None, None),
        };
        let id = delta.id.as_deref().unwrap_or_default();
        let name = name.as_deref().unwrap_or_default();
        let at = self.find(delta.index, id, name).unwrap_or_else(|| {
            self.calls.push(Call { index: delta.index, is_free_text, ..Call::default() });
            self.calls.len() - 1
        });
        let Some(call) = self.calls.get_mut(at) else { return };
        if call.id.is_empty() {
            call.id.push_str(id);
        }
        if call.name.is_empty() {
            call.name.push_str(name);
            if !name.is_empty() {
                self.announced += call.announce(choice, self.announced, emit);
            }
        }
        if let Some(fragment) = fragment.filter(|fragment| !fragment.is_empty()) {
            call.arguments(choice, fragment, emit);
        }
    }

    /// Which call a piece belongs to; `None` is a new one.
    ///
    /// By the documentation the index says it. But some servers number every call 0, some don't
    /// number at all, and some repeat id and name with every piece.
    fn find(&self, index: Option<u32>, id: &str, name: &str) -> Option<usize> {
        let latest = |is_it: &dyn Fn(&Call) -> bool| self.calls.iter().rposition(is_it);
        let is_same = |call: &Call| call.id == id && (index.is_none() || call.index == index);
        if !id.is_empty()
            && let Some(at) = latest(&is_same)
        {
            return Some(at);
        }
        match index {
            Some(_) => {
                let at = latest(&|call| call.index == index)?;
                let call = &self.calls[at];
                let other_id = !id.is_empty() && !call.id.is_empty();
                let other_name = !name.is_empty() && !call.name.is_empty() && call.name != name;
                let is_new = (other_id && !name.is_empty()) || (id.is_empty() && other_name);
                (!is_new).then_some(at)
            }
            // Only the last one can go on.
            None if id.is_empty() && name.is_empty() => self.calls.len().checked_sub(1),
            None => latest(&|call| call.name.is_empty() && (id.is_empty() || call.id.is_empty())),
        }
    }
}

impl Call {
    /// Announces the call and what it had to keep back; returns how many were announced.
    fn announce(&mut self, choice: u32, number: u32, emit: Emit<'_>) -> u32 {
        self.number = Some(number);
        if self.id.is_empty() {
            self.id = new_call_id();
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

    fn arguments(&mut self, choice: u32, fragment: Text<'_>, emit: Emit<'_>) {
        match self.number {
            Some(call) => emit(Event::Arguments { choice, call, fragment }),
            None => self.pending.push_str(&fragment),
        }
    }
}
