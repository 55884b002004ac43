//! Server-sent events, cut out of a byte stream without copying where possible.
//!
//! The rules are those of the [WHATWG HTML standard], with two liberties that real providers need:
//! an event at the end of the stream counts although its blank line is missing, and nothing is
//! decoded – a character cut between two reads stays cut until its event is whole.
//!
//! [WHATWG HTML standard]: https://html.spec.whatwg.org/multipage/server-sent-events.html

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// One event, or a block of comments, up to and including its blank line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The bytes as they came.
    pub raw: Bytes,
    /// The value of the last `event:` field; empty if there is none.
    pub name: Bytes,
    /// The values of the `data:` fields, joined with line feeds; empty for a block of comments.
    pub data: Bytes,
}

impl Event {
    fn parse(raw: Bytes) -> Self {
        let (mut name, mut data, mut joined) = (Bytes::new(), None::<Bytes>, BytesMut::new());
        let mut rest = &raw[..];
        while !rest.is_empty() {
            let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let line = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            if let Some(value) = field(line, b"data") {
                match &data {
                    None => data = Some(raw.slice_ref(value)),
                    Some(first) => {
                        if joined.is_empty() {
                            joined.extend_from_slice(first);
                        }
                        joined.extend_from_slice(b"\n");
                        joined.extend_from_slice(value);
                    }
                }
            } else if let Some(value) = field(line, b"event") {
                name = raw.slice_ref(value);
            }
        }
        let data = if joined.is_empty() { data.unwrap_or_default() } else { joined.freeze() };
        Self { data, name, raw }
    }
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(name)?;
    match rest.strip_prefix(b":") {
        Some(value) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        None => rest.is_empty().then_some(rest),
    }
}

/// An event grew beyond the limit of its [`Splitter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an event of the stream is larger than the limit")
    }
}

impl std::error::Error for TooLarge {}

/// Cuts a byte stream into [`Event`]s, however the bytes were cut before.
///
/// ```
/// use bartizan::body::sse::Splitter;
/// use bytes::Bytes;
///
/// let mut events = Splitter::default();
/// events.push(Bytes::from("data: one\n\nda"))?;
/// assert_eq!(events.next_event().unwrap().data, "one");
/// assert!(events.next_event().is_none());
///
/// events.push(Bytes::from("ta: two\r\n\r\n"))?;
/// assert_eq!(events.next_event().unwrap().data, "two");
/// # Ok::<(), bartizan::body::sse::TooLarge>(())
/// ```
#[derive(Debug)]
pub struct Splitter {
    /// The chunk that is being cut; whole events are slices of it.
    chunk: Bytes,
    /// The beginning of an event that goes on in a later chunk.
    partial: BytesMut,
    scan: Scan,
    limit: usize,
    started: bool,
}

/// Looks for the blank line at the end of an event; remembers its state between reads.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    /// How far the current buffer has been looked at.
    at: usize,
    /// Whether the current line has no bytes so far.
    blank: bool,
    /// Whether anything but line ends was seen.
    filled: bool,
    /// The last byte was CR: an LF that follows belongs to it.
    after_cr: bool,
}

impl Scan {
    fn new() -> Self {
        Self { blank: true, ..Self::default() }
    }

    /// Where the first event of `buf` ends, behind its blank line.
    fn end_of_event(&mut self, buf: &[u8]) -> Option<usize> {
        while let Some(&byte) = buf.get(self.at) {
            if self.after_cr {
                self.after_cr = false;
                if byte == b'\n' {
                    self.at += 1;
                    continue;
                }
            }
            if byte != b'\n' && byte != b'\r' {
                self.blank = false;
                self.filled = true;
                match memchr2(b'\n', b'\r', &buf[self.at..]) {
                    Some(length) => self.at += length,
                    None => self.at = buf.len(),
                }
                continue;
            }
            self.at += 1;
            self.after_cr = byte == b'\r';
            if self.blank && self.filled {
                // The LF of a last CRLF goes with its event if it is here already.
                if self.after_cr && buf.get(self.at) == Some(&b'\n') {
                    self.at += 1;
                    self.after_cr = false;
                }
                return Some(self.at);
            }
            self.blank = true;
        }
        None
    }

    fn next(&mut self) {
        *self = Self { after_cr: self.after_cr, ..Self::new() };
    }
}

impl Default for Splitter {
    /// Events of up to 32 MiB: images come inside of events.
    fn default() -> Self {
        Self::new(32 << 20)
    }
}

impl Splitter {
    /// Events of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { chunk: Bytes::new(), partial: BytesMut::new(), scan: Scan::new(), limit, started: false }
    }

    /// Takes the next chunk; call [`next_event`](Self::next_event) until it has no more.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] if an unfinished event has more bytes than the limit.
    pub fn push(&mut self, chunk: Bytes) -> Result<(), TooLarge> {
        // All whole events have been taken, so what is left is the beginning of one.
        if self.partial.len().max(self.chunk.len()) > self.limit {
            return Err(TooLarge);
        }
        let chunk = if self.started { chunk } else { self.without_bom(chunk) };
        if self.partial.is_empty() && self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            let left = std::mem::take(&mut self.chunk);
            self.partial.extend_from_slice(&left);
            self.partial.extend_from_slice(&chunk);
        }
        Ok(())
    }

    fn without_bom(&mut self, mut chunk: Bytes) -> Bytes {
        if !chunk.is_empty() {
            self.started = true;
            if chunk.starts_with("\u{feff}".as_bytes()) {
                chunk = chunk.slice(3..);
            }
        }
        chunk
    }

    /// The next whole event of what was pushed.
    pub fn next_event(&mut self) -> Option<Event> {
        let end = self.end_of_event()?;
        Some(self.cut(end))
    }

    /// Shows all whole events of what was pushed to `visit`, until it returns false, and returns the
    /// bytes of those it kept: one slice, however many they were.
    pub fn visit_events(&mut self, mut visit: impl FnMut(&Event) -> bool) -> Bytes {
        let mut next = self.end_of_event();
        let all = self.chunk.clone();
        let mut kept = 0;
        while let Some(end) = next {
            let event = self.cut(end);
            if !visit(&event) {
                break;
            }
            kept += end;
            next = self.end_of_event();
        }
        all.slice(..kept)
    }

    /// Where the first event ends in `chunk`, into which it is moved if it began in an earlier one.
    fn end_of_event(&mut self) -> Option<usize> {
        if self.partial.is_empty() {
            return self.scan.end_of_event(&self.chunk);
        }
        let end = self.scan.end_of_event(&self.partial)?;
        self.chunk = self.partial.split().freeze();
        Some(end)
    }

    fn cut(&mut self, end: usize) -> Event {
        self.scan.next();
        Event::parse(self.chunk.split_to(end))
    }

    /// What was left at the end of the stream, as an event without its blank line.
    pub fn finish(&mut self) -> Option<Event> {
        let raw = if self.partial.is_empty() {
            std::mem::take(&mut self.chunk)
        } else {
            self.partial.split().freeze()
        };
        let filled = self.scan.filled;
        self.scan.next();
        filled.then(|| Event::parse(raw))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<(String, String)> {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let mut splitter = Splitter::default();
        let mut events = Vec::new();
        for chunk in chunks {
            splitter.push(Bytes::copy_from_slice(chunk)).unwrap();
            while let Some(event) = splitter.next_event() {
                events.push((text(&event.name), text(&event.data)));
            }
        }
        events.extend(splitter.finish().map(|event| (text(&event.name), text(&event.data))));
        events
    }

    #[test]
    fn every_kind_of_line_end_ends_a_line() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = format!("event: a{end}data: 1{end}{end}data:2{end}{end}");

            let events = split(&[stream.as_bytes()]);

            assert_eq!(events, [("a".into(), "1".into()), (String::new(), "2".into())], "{end:?}");
        }
    }

    /// C97, C102
    #[test]
    fn data_lines_are_joined_and_comments_have_none() {
        let events = split(&[b"\xef\xbb\xbf: keep-alive\n\ndata: {\ndata: }\nid: 7\n\n"]);

        assert_eq!(events, [(String::new(), String::new()), (String::new(), "{\n}".into())]);
    }

    #[test]
    fn an_event_at_the_end_needs_no_blank_line() {
        assert_eq!(split(&[b"data: last"]), [(String::new(), "last".into())]);
        assert_eq!(split(&[b"data: last\n"]), [(String::new(), "last".into())]);
        assert!(split(&[b"\n\n"]).is_empty());
    }

    /// C101
    #[test]
    fn an_endless_event_is_refused() {
        let mut splitter = Splitter::new(16);
        splitter.push(Bytes::from("data: 0123456789")).unwrap();
        assert_eq!(splitter.next_event(), None);
        splitter.push(Bytes::from("0")).unwrap();
        assert_eq!(splitter.next_event(), None);

        assert_eq!(splitter.push(Bytes::from("0")), Err(TooLarge));
    }

    #[test]
    fn a_whole_event_is_a_slice_of_its_chunk() {
        let chunk = Bytes::from("data: 1\n\n");
        let mut splitter = Splitter::default();
        splitter.push(chunk.clone()).unwrap();

        let event = splitter.next_event().unwrap();

        assert_eq!(event.raw.as_ptr(), chunk.as_ptr());
    }

    proptest! {
        /// C99, C100
        #[test]
        fn the_cut_does_not_matter(
            pieces in prop::collection::vec("(data|event|id|:)?[: ]{0,2}[a-zé🙂]{0,5}(\r\n|\r|\n|)", 0..20),
            cuts in prop::collection::vec(0usize..200, 0..12),
        ) {
            let stream = pieces.concat().into_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
            at.push(stream.len());
            at.sort_unstable();
            let mut chunks: Vec<&[u8]> = Vec::new();
            let mut from = 0;
            for to in at {
                chunks.push(&stream[from..to]);
                from = to;
            }

            prop_assert_eq!(split(&chunks), split(&[&stream]));
        }
    }
}
