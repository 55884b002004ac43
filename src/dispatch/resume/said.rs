//! What a client has got of its stream: [`Said`].

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use crate::{
    Payload,
    body::sse,
    dialect::{
        ChatCodec, Closing, Decode, Dialect, Encode,
        buffer::Buffered,
        canonical::{Event, Finish},
    },
};

/// Follows a stream in the client's dialect, so that somebody else can go on with it.
///
/// What carries no content is held back until there is more of it, or the stream ends: a block that was closed for
/// the client could not be gone on with.
pub(super) struct Said {
    dialect: &'static dyn Dialect,
    codec: &'static dyn ChatCodec,
    events: sse::Splitter,
    decode: Box<dyn Decode>,
    held: BytesMut,
    said: Vec<Event<'static>>,
    /// The last event with text, as the client got it.
    last: Option<sse::Event>,
    finish: Ending,
    kept: Buffered,
    /// There is something that nobody can go on with.
    is_unclean: bool,
    /// The event after which nothing follows has come.
    has_last: bool,
}

/// How far the end of the answer is.
#[derive(Clone, Debug, Default)]
pub(super) enum Ending {
    #[default]
    NotYet,
    /// It has come, and the client doesn't know.
    Held(Finish<'static>),
    /// The client knows.
    Told,
}

/// What an event of the stream means for its client.
#[derive(Clone, Copy, Default)]
struct Meaning {
    has_content: bool,
    is_ping: bool,
    finishes: bool,
}

/// A stream that can be gone on with: what was said, and what writes the rest.
pub(super) struct Open {
    pub(super) text: String,
    pub(super) encode: Box<dyn Encode>,
    pub(super) ending: Ending,
}

impl Said {
    pub(super) fn new(dialect: &'static dyn Dialect, codec: &'static dyn ChatCodec) -> Self {
        Self {
            dialect,
            codec,
            events: sse::Splitter::default(),
            decode: codec.decoder(),
            held: BytesMut::new(),
            said: Vec::new(),
            last: None,
            finish: Ending::default(),
            kept: Buffered::default(),
            is_unclean: false,
            has_last: false,
        }
    }

    /// What the client gets of a chunk now.
    pub(super) fn chunk(&mut self, chunk: Bytes) -> Bytes {
        if self.is_unclean {
            return chunk;
        }
        if self.events.push(chunk.clone()).is_err() {
            self.is_unclean = true;
            self.held.extend_from_slice(&chunk);
            return self.held.split().freeze();
        }
        let mut out = BytesMut::new();
        while let Some(event) = self.events.next_event() {
            self.event(&event, &mut out);
        }
        if self.is_unclean {
            self.release(&mut out);
        }
        out.freeze()
    }

    /// What is left for the client when the stream has ended well.
    pub(super) fn end(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        self.release(&mut out);
        out.freeze()
    }

    fn release(&mut self, out: &mut BytesMut) {
        out.unsplit(self.held.split());
        if let Some(rest) = self.events.finish() {
            out.extend_from_slice(&rest.raw);
        }
    }

    fn event(&mut self, event: &sse::Event, out: &mut BytesMut) {
        if self.is_unclean {
            return out.extend_from_slice(&event.raw);
        }
        let meaning = self.read(event);
        let passes = meaning.has_content || self.is_unclean || meaning.is_ping && self.held.is_empty();
        if !passes {
            return self.held.extend_from_slice(&event.raw);
        }
        out.unsplit(self.held.split());
        out.extend_from_slice(&event.raw);
        if meaning.has_content {
            self.last = Some(event.clone());
        }
        if meaning.finishes {
            self.finish = Ending::Told;
        }
    }

    fn read(&mut self, event: &sse::Event) -> Meaning {
        let mut meaning = Meaning { is_ping: event.data.is_empty(), ..Meaning::default() };
        let Self { said, finish, kept, is_unclean, .. } = self;
        let result = self.decode.event(event, &mut |read| match read {
            Event::Start { .. } => *is_unclean |= is_kept_elsewhere(&event.data) || !keep(said, kept, read),
            Event::Text { choice: 0, ref text } | Event::Reasoning { choice: 0, ref text } => {
                meaning.has_content |= !text.is_empty();
                *is_unclean |= !keep(said, kept, read);
            }
            Event::Signature { choice: 0, .. } | Event::RedactedReasoning { choice: 0, .. } => {
                meaning.has_content = true;
                *is_unclean |= !keep(said, kept, read);
            }
            Event::Finish { choice: 0, finish: why } => {
                *finish = Ending::Held(why.into_owned());
                meaning.finishes = true;
            }
            Event::Ping => meaning.is_ping = true,
            Event::Usage(_) | Event::End => {}
            _ => *is_unclean = true,
        });
        self.is_unclean |= result.is_err();
        self.has_last |= matches!(self.dialect.closing(event), Some(Closing::Last));
        meaning
    }

    /// Whether the reason for the end has come, and no event that is the last one.
    pub(super) fn lacks_last(&self) -> bool {
        matches!(self.finish, Ending::Held(_)) && !self.has_last
    }

    /// Whether there is an event among these after which nothing follows.
    pub(super) fn is_last(&self, events: &Bytes) -> bool {
        let mut splitter = sse::Splitter::default();
        let pushed = splitter.push(events.clone()).is_ok();
        let mut all = std::iter::from_fn(|| splitter.next_event());
        pushed && all.any(|event| matches!(self.dialect.closing(&event), Some(Closing::Last)))
    }

    /// How the rest is written for the client that has `asked`; `None` if nobody can go on cleanly.
    pub(super) fn open(&mut self, asked: &Payload) -> Option<Open> {
        let last = self.last.take().filter(|_| !self.is_unclean)?;
        // Thoughts can't be gone on with: nobody else can prove them.
        if !matches!(self.said.last(), Some(Event::Text { .. })) {
            return None;
        }
        let encode = self.codec.encoder_after(asked, &self.said, &last)?;
        let texts = self.said.iter().filter_map(|event| match event {
            Event::Text { text, .. } => Some(&**text),
            _ => None,
        });
        Some(Open { text: texts.collect(), encode, ending: std::mem::take(&mut self.finish) })
    }
}

/// Keeps what the rest depends on; `false` if it is too much.
fn keep(said: &mut Vec<Event<'static>>, kept: &mut Buffered, event: Event<'_>) -> bool {
    let more = match (said.last_mut(), event) {
        (Some(Event::Text { text: all, .. }), Event::Text { text, .. })
        | (Some(Event::Reasoning { text: all, .. }), Event::Reasoning { text, .. }) => {
            all.to_mut().push_str(&text);
            text.len()
        }
        (_, Event::Text { text, .. } | Event::Reasoning { text, .. }) if text.is_empty() => 0,
        (_, event) => {
            let event = event.into_owned();
            let size = match &event {
                Event::Text { text, .. } | Event::Reasoning { text, .. } => text.len(),
                Event::Signature { signature: text, .. } | Event::RedactedReasoning { data: text, .. } => {
                    text.len()
                }
                _ => 0,
            };
            said.push(event);
            size + size_of::<Event<'_>>()
        }
    };
    kept.keep(more).is_ok()
}

/// Whether the provider keeps the answer: its id would name the half of it.
fn is_kept_elsewhere(start: &[u8]) -> bool {
    memmem::find(start, b"\"store\":true").or_else(|| memmem::find(start, b"\"store\": true")).is_some()
}
