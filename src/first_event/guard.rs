use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::{
    Dialect, Error, Kind,
    body::{Splitter, sse::Event},
    dialect::Closing,
};

/// Follows a provider's stream from its first event to its last.
#[derive(Debug)]
pub(super) struct Guard {
    dialect: &'static dyn Dialect,
    events: Splitter,
    committed: bool,
    ended: bool,
    last: bool,
    failure: Option<Error>,
}

impl Guard {
    pub(super) fn new(dialect: &'static dyn Dialect) -> Self {
        Self {
            dialect,
            events: Splitter::new(dialect.framing()),
            committed: false,
            ended: false,
            last: false,
            failure: None,
        }
    }

    /// Whether an event with content has passed.
    pub(super) fn is_committed(&self) -> bool {
        self.committed
    }

    /// Takes a chunk and returns the whole events up to here, without what follows an error.
    pub(super) fn chunk(&mut self, chunk: Bytes) -> Bytes {
        if let Err(error) = self.events.push(chunk) {
            self.failure = Some(error);
            return Bytes::new();
        }
        let mut events = std::mem::take(&mut self.events);
        let whole = events.visit_events(|event| self.look(event));
        if self.failure.is_none() {
            self.failure = events.check().err();
        }
        self.events = events;
        whole
    }

    /// The stream is over: returns what was left, if that is an event, with its blank line; an end that
    /// isn't a proper one is a failure.
    pub(super) fn close(&mut self) -> Bytes {
        // An event that was cut off would swallow the one that tells the client so.
        let last = self.events.finish().filter(is_whole).filter(|event| self.look(event));
        if !self.ended && self.failure.is_none() {
            self.failure = Some(Error::new(Kind::Upstream, "the provider's stream broke off before its end"));
        }
        last.map(|event| ended(event.raw)).unwrap_or_default()
    }

    /// Looks at one event; false if the stream has failed with it.
    fn look(&mut self, event: &Event) -> bool {
        match self.dialect.closing(event) {
            Some(Closing::Failed(error)) => {
                self.failure = Some(error);
                return false;
            }
            Some(Closing::Proper) => self.ended = true,
            Some(Closing::Last) => (self.ended, self.last) = (true, true),
            None => {}
        }
        self.committed = self.committed || self.dialect.is_content(event);
        true
    }

    /// Whether the last event has passed: what happens to the connection then is no fault of the answer.
    pub(super) fn is_over(&self) -> bool {
        self.last
    }

    /// Why the stream has failed, once.
    pub(super) fn failure(&mut self) -> Option<Error> {
        self.failure.take()
    }
}

/// An event with the blank line that it lacks: clients pass over an event without one, or take it together
/// with the next.
fn ended(raw: Bytes) -> Bytes {
    let lacking: &[u8] = if raw.ends_with(b"\n") { b"\n" } else { b"\n\n" };
    [&raw, lacking].concat().into()
}

/// Whether the last event of a stream lacks nothing but its blank line. Google's errors lack the name of
/// their field as well.
fn is_whole(last: &Event) -> bool {
    let json = if last.data.is_empty() { &last.raw } else { &last.data };
    last.data == "[DONE]" || serde_json::from_slice::<IgnoredAny>(json).is_ok()
}
