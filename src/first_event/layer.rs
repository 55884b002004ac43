use std::time::Duration;

use http::Request;
use tower::Layer;

use super::FirstEvent;
use crate::{Payload, patience::share};

/// How long the first content of a stream is waited for, if nobody says.
const USUAL: Duration = Duration::from_secs(60);

/// Holds answers back until they have proven themselves; see the [module](super).
#[derive(Clone, Debug)]
pub struct FirstEventLayer {
    within: Option<Duration>,
    pub(super) limit: usize,
}

impl FirstEventLayer {
    /// Waits at most `within` for the first content of a stream. Whole answers may take as long as the
    /// layers around this one allow, and have up to 32 MiB.
    pub fn new(within: Duration) -> Self {
        Self { within: Some(within), ..Self::default() }
    }

    /// How long this request may wait.
    pub(super) fn within(&self, req: &Request<Payload>) -> Duration {
        self.within.unwrap_or_else(|| share(req).map_or(USUAL, |share| share.min(USUAL)))
    }

    /// Sets the largest whole answer, and the most that is held back of a stream, in bytes.
    #[must_use]
    pub fn limit(self, bytes: usize) -> Self {
        Self { limit: bytes, ..self }
    }
}

/// Waits a minute, and where another target [could be asked](Payload::has_others), at most half of the time that is
/// left to the request.
impl Default for FirstEventLayer {
    fn default() -> Self {
        Self { within: None, limit: 32 << 20 }
    }
}

impl<S> Layer<S> for FirstEventLayer {
    type Service = FirstEvent<S>;

    fn layer(&self, inner: S) -> FirstEvent<S> {
        FirstEvent::new(inner, self.clone())
    }
}
