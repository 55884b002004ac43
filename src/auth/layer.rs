use std::sync::Arc;

use tower::Layer;

use super::{Auth, Caller, KeyStore};

/// Lets requests in that present a known key.
#[derive(Clone, Debug)]
pub struct AuthLayer {
    gate: Gate,
}

#[derive(Clone, Debug)]
pub(super) enum Gate {
    Keys(Arc<dyn KeyStore>),
    Open(Caller),
}

impl AuthLayer {
    /// Looks keys up in `keys`.
    pub fn new(keys: Arc<dyn KeyStore>) -> Self {
        Self { gate: Gate::Keys(keys) }
    }

    /// Lets every request in as `caller`, whatever key it presents: for gateways that are open on
    /// purpose.
    pub fn open(caller: Caller) -> Self {
        Self { gate: Gate::Open(caller) }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Auth<S> {
        Auth { inner, gate: self.gate.clone() }
    }
}
