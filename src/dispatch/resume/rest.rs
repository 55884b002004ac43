//! The stream of whoever goes on, as the client gets it: [`Rest`].

use bytes::{Bytes, BytesMut};

use super::{
    said::{Ending, Open},
    seam::Seam,
};
use crate::{
    Error, Tokens,
    body::sse,
    dialect::{
        ChatCodec, Decode, Encode,
        canonical::{Event, Finish},
    },
};

/// Writes the rest of a stream as its first part was begun: no second beginning, nothing twice, the counts of all.
pub(super) struct Rest {
    events: sse::Splitter,
    decode: Option<Box<dyn Decode>>,
    put: Put,
}

/// What the client gets.
struct Put {
    encode: Box<dyn Encode>,
    seam: Seam,
    /// All that the client has read.
    text: String,
    /// What was used by those who have broken off.
    before: Tokens,
    ending: Ending,
    is_over: bool,
    /// There is something that nobody else can go on with.
    is_unclean: bool,
}

impl Rest {
    pub(super) fn new(open: Open) -> Self {
        let Open { text, encode, ending } = open;
        let seam = Seam::new(&text, false);
        let put =
            Put { encode, seam, text, before: Tokens::default(), ending, is_over: false, is_unclean: false };
        Self { events: sse::Splitter::default(), decode: None, put }
    }

    /// All that the client has read.
    pub(super) fn text(&self) -> &str {
        &self.put.text
    }

    /// How many tokens were written before.
    pub(super) fn written(&self) -> u64 {
        self.put.before.output
    }

    /// The one who spoke has broken off, and has used so much. `true` if somebody can go on.
    pub(super) fn broke_off(&mut self, used: Tokens) -> bool {
        self.put.before += used;
        !self.put.is_unclean
    }

    /// Whether nothing is missing but the end.
    pub(super) fn is_finished(&self) -> bool {
        !matches!(self.put.ending, Ending::NotYet)
    }

    /// The end of an answer that has finished, or may not be longer.
    pub(super) fn finish(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        if !self.put.is_over {
            let (before, ending) = (self.put.before, std::mem::take(&mut self.put.ending));
            self.put.encode.event(Event::Usage(before), &mut out);
            match ending {
                Ending::Told => {}
                Ending::Held(finish) => self.put.encode.event(Event::Finish { choice: 0, finish }, &mut out),
                Ending::NotYet => {
                    self.put.encode.event(Event::Finish { choice: 0, finish: Finish::Length }, &mut out);
                }
            }
            self.put.encode.event(Event::End, &mut out);
        }
        out.freeze()
    }

    /// Somebody goes on, who was told to or does so by itself.
    pub(super) fn goes_on(&mut self, codec: &'static dyn ChatCodec, is_told: bool) {
        self.events = sse::Splitter::default();
        self.decode = Some(codec.decoder());
        self.put.seam = Seam::new(&self.put.text, is_told);
    }

    /// What the client gets of a chunk, and why it can't be read any further.
    pub(super) fn chunk(&mut self, chunk: Bytes) -> (Bytes, Option<Error>) {
        let mut out = BytesMut::new();
        let read = self.read(chunk, &mut out);
        (out.freeze(), read.err())
    }

    fn read(&mut self, chunk: Bytes, out: &mut BytesMut) -> Result<(), Error> {
        self.events.push(chunk).map_err(|error| Error::new(crate::Kind::Upstream, error.to_string()))?;
        while let Some(event) = self.events.next_event() {
            self.event(&event, out)?;
        }
        Ok(())
    }

    /// What is left when the stream has ended.
    ///
    /// # Errors
    ///
    /// If it has ended without its end.
    pub(super) fn end(&mut self) -> Result<Bytes, Error> {
        let mut out = BytesMut::new();
        if let Some(event) = self.events.finish() {
            self.event(&event, &mut out)?;
        }
        let Self { decode, put, .. } = self;
        if let Some(mut decode) = decode.take() {
            decode.finish(&mut |event| put.event(event, &mut out))?;
        }
        Ok(out.freeze())
    }

    fn event(&mut self, event: &sse::Event, out: &mut BytesMut) -> Result<(), Error> {
        let Self { decode, put, .. } = self;
        decode.as_mut().map_or(Ok(()), |decode| decode.event(event, &mut |event| put.event(event, out)))
    }
}

impl Put {
    fn event(&mut self, event: Event<'_>, out: &mut BytesMut) {
        match event {
            Event::Text { choice: 0, text } => {
                let new = self.seam.push(&text);
                self.say(new, out);
            }
            // It has begun long ago, and thinks about what was thought about.
            Event::Start { .. }
            | Event::Reasoning { .. }
            | Event::Signature { .. }
            | Event::RedactedReasoning { .. }
            | Event::Citation { .. }
            | Event::Logprobs { .. } => {}
            Event::Usage(tokens) => self.encode.event(Event::Usage(self.before + tokens), out),
            Event::Ping => self.encode.event(Event::Ping, out),
            Event::Finish { .. } => {
                self.flush(out);
                self.ending = Ending::Told;
                self.encode.event(event, out);
            }
            Event::End => {
                self.flush(out);
                if !std::mem::replace(&mut self.is_over, true) {
                    self.encode.event(Event::End, out);
                }
            }
            other => {
                self.flush(out);
                self.is_unclean = true;
                self.encode.event(other, out);
            }
        }
    }

    fn flush(&mut self, out: &mut BytesMut) {
        let new = self.seam.flush();
        self.say(new, out);
    }

    fn say(&mut self, new: String, out: &mut BytesMut) {
        if !new.is_empty() {
            self.text.push_str(&new);
            self.encode.event(Event::Text { choice: 0, text: new.into() }, out);
        }
    }
}
