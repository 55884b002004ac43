use std::sync::Arc;

use tower::Layer;

use super::{OwnIds, Seal};
use crate::Target;

/// Writes ids that lead back to one target; see the [module](super).
#[derive(Clone, Debug)]
pub struct OwnIdsLayer {
    target: Arc<Target>,
    secret: Seal,
}

impl OwnIdsLayer {
    /// Ids lead to `target`. Those that tell what requests may use hold until the process ends.
    pub fn new(target: Arc<Target>) -> Self {
        let mut secret = [0; 32];
        // Without randomness there would be no TLS either.
        let _ = getrandom::fill(&mut secret);
        Self { target, secret: Seal::secret(&secret) }
    }

    /// Sets a secret that clients don't know, and that all replicas have in common: ids that tell what
    /// requests may use hold as long as it is the same.
    #[must_use]
    pub fn secret(self, secret: &[u8]) -> Self {
        Self { secret: Seal::secret(secret), ..self }
    }
}

impl<S> Layer<S> for OwnIdsLayer {
    type Service = OwnIds<S>;

    fn layer(&self, inner: S) -> OwnIds<S> {
        OwnIds::new(inner, self.target.clone(), self.secret.clone())
    }
}
