//! How much of a stream is kept back, and that it is not too much: what a provider sends may be hostile.

use crate::{Error, Kind};

/// The most bytes that one reader or writer of a stream keeps back.
pub(crate) const MAX_BYTES: usize = 8 << 20;

/// The most calls of tools in one answer.
pub(crate) const MAX_CALLS: usize = 10_000;

/// The most answers at once; as many as OpenAI allows to ask for.
pub(crate) const MAX_CHOICES: usize = 128;

/// The error for an answer that has more of something than any honest one.
pub(crate) fn too_many(what: &str) -> Error {
    Error::new(Kind::Upstream, format!("the provider's answer has too many {what}"))
}

/// Counts the bytes that are kept back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Buffered(usize);

impl Buffered {
    /// Counts bytes that are going to be kept.
    ///
    /// # Errors
    ///
    /// [`Kind::Upstream`] if they would be too many.
    pub(crate) fn keep(&mut self, bytes: usize) -> Result<(), Error> {
        let total = self.0.saturating_add(bytes);
        if total > MAX_BYTES {
            let message = format!("the provider's stream makes the gateway keep more than {MAX_BYTES} bytes");
            return Err(Error::new(Kind::Upstream, message));
        }
        self.0 = total;
        Ok(())
    }

    /// Counts bytes that are kept no longer.
    pub(crate) fn release(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(bytes);
    }
}
