//! Frames of AWS, `application/vnd.amazon.eventstream`, cut out of a byte stream and checked.
//!
//! A frame is a prelude (the length of all of it and of its headers, and a checksum), headers, a payload,
//! and a checksum of everything before. It becomes an [`Event`]: the name is the frame's `:event-type`, the
//! data its payload. What the provider throws inside of a stream gets [`THROWN`] and its type as its name,
//! because a thrown thing may be called like an event.

use bytes::{Buf, Bytes, BytesMut};

use super::sse::{Event, TooLarge};

/// Stands before the type of what was thrown, in the name of its event.
pub const THROWN: &str = "thrown:";

const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;
const MAX_HEADERS: usize = 128 << 10;

/// The stream is not one of frames, or was damaged on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a frame of the stream is damaged")
    }
}

impl std::error::Error for Damaged {}

/// Cuts a byte stream into the [`Event`]s of its frames, however the bytes were cut before.
#[derive(Debug)]
pub struct Splitter {
    /// The chunk that is being cut; whole frames are slices of it.
    chunk: Bytes,
    /// The beginning of a frame that goes on in a later chunk.
    partial: BytesMut,
    limit: usize,
    damaged: bool,
}

impl Default for Splitter {
    /// Frames of up to 32 MiB, which is more than AWS sends.
    fn default() -> Self {
        Self::new(32 << 20)
    }
}

impl Splitter {
    /// Frames of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { chunk: Bytes::new(), partial: BytesMut::new(), limit, damaged: false }
    }

    /// Takes the next chunk; call [`next_event`](Self::next_event) until it has no more.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] if an unfinished frame has more bytes than the limit.
    pub fn push(&mut self, chunk: Bytes) -> Result<(), TooLarge> {
        if self.partial.len().max(self.chunk.len()) > self.limit {
            return Err(TooLarge);
        }
        if self.partial.is_empty() && self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            self.partial.extend_from_slice(&std::mem::take(&mut self.chunk));
            self.partial.extend_from_slice(&chunk);
        }
        Ok(())
    }

    /// The next whole frame of what was pushed. There is none after a damaged one.
    pub fn next_event(&mut self) -> Option<Event> {
        let end = self.end_of_frame()?;
        self.cut(end)
    }

    /// Shows all whole frames of what was pushed to `visit`, until it returns false, and returns the
    /// bytes of those it kept: one slice, however many they were.
    pub fn visit_events(&mut self, mut visit: impl FnMut(&Event) -> bool) -> Bytes {
        let mut next = self.end_of_frame();
        let all = self.chunk.clone();
        let mut kept = 0;
        while let Some(end) = next {
            let Some(event) = self.cut(end) else { break };
            if !visit(&event) {
                break;
            }
            kept += end;
            next = self.end_of_frame();
        }
        all.slice(..kept)
    }

    /// Whether everything that was cut so far was sound.
    ///
    /// # Errors
    ///
    /// [`Damaged`] once a damaged frame has been reached.
    pub fn check(&self) -> Result<(), Damaged> {
        if self.damaged { Err(Damaged) } else { Ok(()) }
    }

    /// Where the first frame ends in `chunk`, into which it is moved if it began in an earlier one.
    fn end_of_frame(&mut self) -> Option<usize> {
        if self.damaged {
            return None;
        }
        let buffered: &[u8] = if self.partial.is_empty() { &self.chunk } else { &self.partial };
        let prelude = buffered.get(..PRELUDE)?;
        let Some(length) = length(prelude, self.limit) else {
            self.damaged = true;
            return None;
        };
        if buffered.len() < length {
            return None;
        }
        if !self.partial.is_empty() {
            self.chunk = self.partial.split().freeze();
        }
        Some(length)
    }

    fn cut(&mut self, end: usize) -> Option<Event> {
        let event = event(self.chunk.split_to(end));
        self.damaged |= event.is_none();
        event
    }
}

/// The length of the frame with this prelude, if that is sound.
fn length(mut prelude: &[u8], limit: usize) -> Option<usize> {
    let checksum = crc32fast::hash(prelude.get(..8)?);
    let length = usize::try_from(prelude.try_get_u32().ok()?).ok()?;
    let headers = usize::try_from(prelude.try_get_u32().ok()?).ok()?;
    let is_sound = prelude.try_get_u32().ok()? == checksum
        && headers <= MAX_HEADERS
        && length <= limit
        && headers + PRELUDE + CHECKSUM <= length;
    is_sound.then_some(length)
}

/// The event of a whole frame, if that is sound.
fn event(raw: Bytes) -> Option<Event> {
    let (content, mut checksum) = raw.split_at_checked(raw.len().checked_sub(CHECKSUM)?)?;
    if checksum.try_get_u32().ok()? != crc32fast::hash(content) {
        return None;
    }
    let mut prelude = content.get(4..8)?;
    let headers = usize::try_from(prelude.try_get_u32().ok()?).ok()?;
    let (headers, payload) = content.get(PRELUDE..)?.split_at_checked(headers)?;
    let headers = Headers::read(headers)?;
    let text = |header: Option<&[u8]>| header.map(|value| raw.slice_ref(value)).unwrap_or_default();
    let thrown = |name: Option<&[u8]>| [THROWN.as_bytes(), name.unwrap_or_default()].concat().into();
    let (name, data) = match headers.message_type {
        Some(b"exception") => (thrown(headers.exception_type), raw.slice_ref(payload)),
        Some(b"error") => (thrown(headers.error_code), message(headers.error_message)),
        _ => (text(headers.event_type), raw.slice_ref(payload)),
    };
    Some(Event { name, data, raw })
}

/// An error without a payload, in the form of those that have one.
fn message(said: Option<&[u8]>) -> Bytes {
    let said = String::from_utf8_lossy(said.unwrap_or_default());
    serde_json::json!({ "message": said }).to_string().into()
}

/// The headers that mean something.
#[derive(Default)]
struct Headers<'a> {
    message_type: Option<&'a [u8]>,
    event_type: Option<&'a [u8]>,
    exception_type: Option<&'a [u8]>,
    error_code: Option<&'a [u8]>,
    error_message: Option<&'a [u8]>,
}

impl<'a> Headers<'a> {
    fn read(mut bytes: &'a [u8]) -> Option<Self> {
        let mut headers = Self::default();
        while !bytes.is_empty() {
            let length = bytes.try_get_u8().ok()?;
            let name = take(&mut bytes, length.into())?;
            let value = value(&mut bytes)?;
            match name {
                b":message-type" => headers.message_type = Some(value),
                b":event-type" => headers.event_type = Some(value),
                b":exception-type" => headers.exception_type = Some(value),
                b":error-code" => headers.error_code = Some(value),
                b":error-message" => headers.error_message = Some(value),
                _ => {}
            }
        }
        Some(headers)
    }
}

/// The bytes of a header's value, whatever its type.
fn value<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = match bytes.try_get_u8().ok()? {
        // True and false.
        0 | 1 => 0,
        // Numbers, of one to eight bytes, and times.
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        // Bytes and texts.
        6 | 7 => bytes.try_get_u16().ok()?.into(),
        // A UUID.
        9 => 16,
        _ => return None,
    };
    take(bytes, length)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
pub(crate) mod testing {
    /// A frame with these headers, all of them texts.
    pub(crate) fn frame(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
        let mut written = Vec::new();
        for (name, value) in headers {
            written.push(u8::try_from(name.len()).unwrap());
            written.extend_from_slice(name.as_bytes());
            written.push(7);
            written.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
            written.extend_from_slice(value.as_bytes());
        }
        let length = u32::try_from(written.len() + payload.len() + 16).unwrap();
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend_from_slice(&u32::try_from(written.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
        frame.extend_from_slice(&written);
        frame.extend_from_slice(payload.as_bytes());
        frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
        frame
    }

    /// An event as Bedrock sends it.
    pub(crate) fn event(name: &str, payload: &str) -> Vec<u8> {
        let headers =
            [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
        frame(&headers, payload)
    }

    /// An exception as Bedrock sends it.
    pub(crate) fn exception(name: &str, payload: &str) -> Vec<u8> {
        let headers = [
            (":exception-type", name),
            (":content-type", "application/json"),
            (":message-type", "exception"),
        ];
        frame(&headers, payload)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        testing::{event, exception, frame},
        *,
    };

    /// Recorded.
    const MESSAGE_STOP: &str = "0000007a00000051ca2c46650b3a6576656e742d7479706507000b6d65737361676553746f700d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d747970650700056576656e747b2273746f70526561736f6e223a22656e645f7475726e227d5fbf09fc";
    const THROTTLED: &str = "00000090000000618e91a9b70f3a657863657074696f6e2d747970650700137468726f74746c696e67457863657074696f6e0d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d74797065070009657863657074696f6e7b226d657373616765223a22546f6f206d616e79207265717565737473227de67f8005";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// The names and data of the events of these chunks, and whether all was sound.
    fn split(chunks: &[&[u8]]) -> (Vec<(String, String)>, bool) {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let mut splitter = Splitter::default();
        let mut events = Vec::new();
        for chunk in chunks {
            splitter.push(Bytes::copy_from_slice(chunk)).unwrap();
            while let Some(event) = splitter.next_event() {
                events.push((text(&event.name), text(&event.data)));
            }
        }
        (events, splitter.check().is_ok())
    }

    fn pair(name: &str, data: &str) -> (String, String) {
        (name.to_owned(), data.to_owned())
    }

    #[test]
    fn recorded_frames_are_read() {
        let (stop, throttled) = (bytes(MESSAGE_STOP), bytes(THROTTLED));

        let (events, is_sound) = split(&[&stop, &throttled]);

        assert!(is_sound);
        assert_eq!(
            events,
            [
                pair("messageStop", r#"{"stopReason":"end_turn"}"#),
                pair("thrown:throttlingException", r#"{"message":"Too many requests"}"#)
            ]
        );
        assert_eq!(event("messageStop", r#"{"stopReason":"end_turn"}"#), stop);
        assert_eq!(exception("throttlingException", r#"{"message":"Too many requests"}"#), throttled);
    }

    #[test]
    fn an_error_without_a_payload_has_its_message_in_a_header() {
        let headers = [
            (":message-type", "error"),
            (":error-code", "InternalFailure"),
            (":error-message", "it \"broke\""),
        ];

        let (events, _) = split(&[&frame(&headers, "")]);

        assert_eq!(events, [pair("thrown:InternalFailure", r#"{"message":"it \"broke\""}"#)]);
    }

    #[test]
    fn headers_of_every_type_are_passed_over() {
        let mut headers = Vec::new();
        for (kind, length) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (5, 8), (8, 8), (9, 16)] {
            headers.extend_from_slice(b"\x01x");
            headers.push(kind);
            headers.extend(std::iter::repeat_n(7, length));
        }
        headers.extend_from_slice(b"\x01x\x06\x00\x02ab\x0b:event-type\x07\x00\x01e");

        let read = Headers::read(&headers).unwrap();

        assert_eq!(read.event_type, Some(&b"e"[..]));
        assert!(Headers::read(b"\x01x\x0a").is_none() && Headers::read(b"\x05x").is_none());
    }

    #[test]
    fn what_is_damaged_ends_the_stream_behind_what_was_sound() {
        let sound = event("a", "{}");
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x10;
            let whole = [&sound[..], &damaged, &sound].concat();

            let (events, is_sound) = split(&[&whole]);

            assert_eq!((events, is_sound), (vec![pair("a", "{}")], false), "byte {at}");
        }
    }

    #[test]
    fn lengths_that_lie_are_not_believed() {
        let with = |length: u32, headers: u32| {
            let mut frame = [length.to_be_bytes(), headers.to_be_bytes()].concat();
            frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
            frame.extend_from_slice(&[0; 64]);
            split(&[&frame])
        };

        for (length, headers) in [(u32::MAX, 0), (0, 0), (15, 0), (16, 1), (1 << 20, 1 << 18)] {
            assert_eq!(with(length, headers), (vec![], false), "{length} {headers}");
        }
        assert_eq!(split(&[b"data: {\"no\":\"frame\"}\n\n"]), (vec![], false));
    }

    #[test]
    fn an_endless_frame_is_refused() {
        let whole = event("a", &"x".repeat(200));
        let mut splitter = Splitter::new(whole.len());

        for byte in &whole[..whole.len() - 1] {
            splitter.push(Bytes::copy_from_slice(&[*byte])).unwrap();
            assert_eq!(splitter.next_event(), None);
        }
        assert!(splitter.check().is_ok());
        let mut short = Splitter::new(whole.len() - 1);
        short.push(whole.into()).unwrap();
        assert_eq!((short.next_event(), short.check()), (None, Err(Damaged)));
    }

    #[test]
    fn kept_frames_are_a_slice_of_their_chunk() {
        let chunk = Bytes::from([event("a", "1"), event("b", "2"), event("c", "3")].concat());
        let mut splitter = Splitter::default();
        splitter.push(chunk.clone()).unwrap();

        let kept = splitter.visit_events(|event| event.name != "c");

        assert_eq!(kept, [event("a", "1"), event("b", "2")].concat());
        assert_eq!(kept.as_ptr(), chunk.as_ptr());
    }

    proptest! {
        #[test]
        fn the_cut_does_not_matter(
            pieces in prop::collection::vec("[a-z]{0,9}", 0..8),
            damage in prop::option::of(0usize..1000),
            cuts in prop::collection::vec(0usize..1000, 0..12),
        ) {
            let mut stream: Vec<u8> = pieces.iter().flat_map(|piece| event(piece, piece)).collect();
            if let Some(at) = damage && !stream.is_empty() {
                let at = at % stream.len();
                stream[at] ^= 1;
            }
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

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut framed = [&u32::try_from(bytes.len() + 16).unwrap().to_be_bytes()[..], &[0, 0, 0, 9]].concat();
            framed.extend_from_slice(&crc32fast::hash(&framed).to_be_bytes());
            framed.extend_from_slice(&bytes);
            framed.extend_from_slice(&crc32fast::hash(&framed).to_be_bytes());

            split(&[&bytes]);
            split(&[&framed]);
        }
    }
}
