use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};

use crate::headers;

/// The most that is kept of one request, and of one answer.
pub(crate) const LONGEST: usize = 1 << 20;

/// What was asked and answered, as it passed: nothing is masked.
#[derive(Clone)]
#[non_exhaustive]
pub struct Content {
    /// The client's JSON.
    pub request: Bytes,
    /// What the client got.
    pub answer: Option<Answered>,
    /// Whether the end of the request is missing, because it was too long.
    pub is_cut: bool,
}

impl Content {
    pub(crate) fn new(request: Bytes, answer: Option<Answered>) -> Self {
        let is_cut = request.len() > LONGEST;
        // A piece of a long request would hold all of it.
        let request = if is_cut { Bytes::copy_from_slice(&request[..LONGEST]) } else { request };
        Self { request, answer, is_cut }
    }

    /// About how much memory it takes.
    pub fn size(&self) -> usize {
        self.request.len() + self.answer.as_ref().map_or(0, |answer| answer.bytes.capacity())
    }
}

/// Prompts don't belong into logs.
impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content").field("size", &self.size()).finish_non_exhaustive()
    }
}

/// An answer in JSON or a stream of events, as the client got it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Answered {
    /// Whether it is a stream of events.
    pub is_stream: bool,
    /// What came.
    pub bytes: Vec<u8>,
    /// When how much of it was there: the time since the request's arrival, and the length.
    pub pieces: Vec<(Duration, usize)>,
    /// Whether the end is missing, because it was too long.
    pub is_cut: bool,
}

impl Answered {
    /// `None` for what isn't text in a form that is known.
    pub(super) fn new(headers: &HeaderMap) -> Option<Self> {
        let content_type = headers.get(header::CONTENT_TYPE)?.as_bytes();
        let is_stream = content_type.starts_with(b"text/event-stream");
        (is_stream || headers::is_json(headers)).then(|| Self {
            is_stream,
            bytes: Vec::new(),
            pieces: Vec::new(),
            is_cut: false,
        })
    }

    /// What the moment of a chunk takes.
    pub(super) const PIECE: usize = size_of::<(Duration, usize)>();

    pub(super) fn push(&mut self, at: Duration, chunk: &[u8]) {
        if self.is_cut {
            return;
        }
        let room = LONGEST - self.bytes.len();
        self.is_cut |= chunk.len() > room;
        self.bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if !self.is_cut {
            self.pieces.push((at, self.bytes.len()));
        }
    }
}

impl std::fmt::Debug for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answered").field("size", &self.bytes.len()).finish_non_exhaustive()
    }
}
