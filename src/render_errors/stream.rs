use bytes::Bytes;

use super::array::Array;
use crate::{Dialect, Error, Exchange, dialect::Sent};

/// A stream as its client gets it: in events or as an array, and with an end that is said.
#[derive(Debug)]
pub(super) struct Stream {
    dialect: &'static dyn Dialect,
    exchange: Exchange,
    array: Option<Array>,
    /// Kept only for dialects that want to know it.
    sent: Option<Sent>,
}

impl Stream {
    pub(super) fn new(dialect: &'static dyn Dialect, exchange: Exchange, is_array: bool) -> Self {
        let sent = dialect.numbers_events().then(Sent::default);
        Self { dialect, exchange, array: is_array.then(Array::default), sent }
    }

    pub(super) fn is_array(&self) -> bool {
        self.array.is_some()
    }

    /// What the client gets of a chunk, which may be nothing yet.
    ///
    /// # Errors
    ///
    /// See [`Array::chunk`].
    pub(super) fn chunk(&mut self, data: Bytes) -> Result<Bytes, Error> {
        if let Some(sent) = &mut self.sent {
            if sent.first.is_empty() {
                // A copy, so that the buffer in which it came is not kept as long as the stream is open.
                sent.first = Bytes::copy_from_slice(&data);
            }
            sent.last = data.clone();
        }
        match &mut self.array {
            Some(array) => array.chunk(data),
            None => Ok(data),
        }
    }

    /// What is left when the provider has said everything.
    pub(super) fn end(&mut self) -> Option<Bytes> {
        self.array.as_mut().map(Array::end)
    }

    /// The last that the client gets of a stream that broke off.
    pub(super) fn broken(&mut self, error: &Error) -> Bytes {
        self.exchange.fail(error);
        self.exchange.broke_off(error);
        let sent = self.sent.take().unwrap_or_default();
        let event = self.dialect.error_event(error, self.exchange.id(), &sent);
        match &mut self.array {
            Some(array) => array.broken(event),
            None => event,
        }
    }
}
