//! The ways in which providers tell the events of a stream apart.

use bytes::Bytes;

use super::{event_stream, sse};
use crate::{Error, Kind};

/// How the events of a provider's stream are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// [Server-sent events](sse).
    #[default]
    Sse,
    /// [Frames of AWS](event_stream).
    EventStream,
}

/// Cuts a provider's stream into events, whatever its framing.
#[derive(Debug)]
pub enum Splitter {
    /// Server-sent events.
    Sse(sse::Splitter),
    /// Frames of AWS.
    EventStream(event_stream::Splitter),
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new(Framing::default())
    }
}

impl Splitter {
    /// For streams of this framing.
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Sse => Self::Sse(sse::Splitter::default()),
            Framing::EventStream => Self::EventStream(event_stream::Splitter::default()),
        }
    }

    /// Takes the next chunk; call [`next_event`](Self::next_event) until it has no more.
    ///
    /// # Errors
    ///
    /// [`Kind::Upstream`] if an unfinished event is larger than the limit.
    pub fn push(&mut self, chunk: Bytes) -> Result<(), Error> {
        let pushed = match self {
            Self::Sse(events) => events.push(chunk),
            Self::EventStream(events) => events.push(chunk),
        };
        pushed.map_err(|error| Error::new(Kind::Upstream, error.to_string()))
    }

    /// The next whole event of what was pushed.
    pub fn next_event(&mut self) -> Option<sse::Event> {
        match self {
            Self::Sse(events) => events.next_event(),
            Self::EventStream(events) => events.next_event(),
        }
    }

    /// Shows all whole events of what was pushed to `visit`, until it returns false, and returns the
    /// bytes of those it kept.
    pub fn visit_events(&mut self, visit: impl FnMut(&sse::Event) -> bool) -> Bytes {
        match self {
            Self::Sse(events) => events.visit_events(visit),
            Self::EventStream(events) => events.visit_events(visit),
        }
    }

    /// Whether everything that was cut so far was sound.
    ///
    /// # Errors
    ///
    /// [`Kind::Upstream`] once something damaged has been reached; there are no more events then.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Sse(_) => Ok(()),
            Self::EventStream(events) => {
                events.check().map_err(|error| Error::new(Kind::Upstream, error.to_string()))
            }
        }
    }

    /// What was left at the end of the stream, if it can be an event without its end.
    pub fn finish(&mut self) -> Option<sse::Event> {
        match self {
            Self::Sse(events) => events.finish(),
            Self::EventStream(_) => None,
        }
    }
}
