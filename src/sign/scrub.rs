use std::sync::Arc;

use super::layer::Signature;
use crate::Error;

/// Takes a provider's credential out of errors.
///
/// It goes with every response, for layers that find errors inside of one: a provider may quote the
/// credential in the middle of a stream too.
#[derive(Clone, Debug)]
pub(crate) struct Scrub(pub(super) Arc<Signature>);

impl Scrub {
    /// `error` without the credential.
    pub(crate) fn clean(&self, error: Error) -> Error {
        error.scrubbed(|text| self.0.credential.scrub(text))
    }
}
