use bytes::{BufMut, Bytes, BytesMut};

use crate::{Error, Kind, body::sse::Splitter};

/// Writes a stream of events as one JSON array, for clients that know no events.
///
/// The array is whole whatever happens: an error is its last element.
#[derive(Debug, Default)]
pub(super) struct Array {
    events: Splitter,
    is_begun: bool,
}

impl Array {
    /// The elements in a chunk of the stream; empty if there are none.
    ///
    /// # Errors
    ///
    /// [`Kind::Upstream`] for an event that is too large.
    pub(super) fn chunk(&mut self, chunk: Bytes) -> Result<Bytes, Error> {
        self.events.push(chunk).map_err(|error| Error::new(Kind::Upstream, error.to_string()))?;
        let mut out = BytesMut::new();
        while let Some(event) = self.events.next_event() {
            self.element(&event.data, &mut out);
        }
        Ok(out.freeze())
    }

    /// What is left of the stream, and the end.
    pub(super) fn end(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        if let Some(event) = self.events.finish() {
            self.element(&event.data, &mut out);
        }
        self.close(&mut out);
        out.freeze()
    }

    /// The event of an error, and the end. What came of an event before it is cut off.
    pub(super) fn broken(&mut self, error: Bytes) -> Bytes {
        let mut events = Splitter::default();
        let mut out = BytesMut::new();
        if events.push(error).is_ok()
            && let Some(event) = events.next_event()
        {
            self.element(&event.data, &mut out);
        }
        self.close(&mut out);
        out.freeze()
    }

    fn element(&mut self, json: &[u8], out: &mut BytesMut) {
        // Comments say nothing to a client of this kind.
        if json.is_empty() {
            return;
        }
        let before: &[u8] = if std::mem::replace(&mut self.is_begun, true) { b",\r\n" } else { b"[" };
        out.put_slice(before);
        out.put_slice(json);
    }

    fn close(&mut self, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.is_begun, true) {
            out.put_u8(b'[');
        }
        out.put_slice(b"\r\n]");
    }
}
