use std::sync::Arc;

use tokio::sync::mpsc;
use tower::Layer;

use super::{
    Loops, WithoutLoops,
    counts::Counts,
    shared::{News, ROOM, share},
};
use crate::{alerts::Alerts, ledger::Ledger};

/// Refuses what has run away; see the [module](super).
///
/// Clones, and the services they make, count together.
#[derive(Clone, Debug)]
pub struct LoopLayer {
    pub(super) loops: Arc<Loops>,
    pub(super) alerts: Option<Alerts>,
    pub(super) counts: Arc<Counts>,
    /// Where other gateways are told.
    pub(super) news: Option<mpsc::Sender<News>>,
}

impl LoopLayer {
    /// Goes by `loops` where a key has nothing of its own.
    pub fn new(loops: Loops) -> Self {
        Self { loops: Arc::new(loops), alerts: None, counts: Arc::default(), news: None }
    }

    /// Sets who is told of a loop, once in the time that is looked at.
    #[must_use]
    pub fn alerts(self, alerts: Alerts) -> Self {
        Self { alerts: Some(alerts), ..self }
    }

    /// Counts together with all that share `ledger`; and the task that tells them, and learns from them: spawn it,
    /// and await it at shutdown, when all clones of the layer and their services are gone.
    #[must_use = "nothing is shared until the task runs"]
    pub fn shared(self, ledger: Arc<dyn Ledger>) -> (Self, impl Future<Output = ()> + Send) {
        let (news, told) = mpsc::channel(ROOM);
        let task = share(self.counts.clone(), ledger, told);
        (Self { news: Some(news), ..self }, task)
    }
}

impl<S> Layer<S> for LoopLayer {
    type Service = WithoutLoops<S>;

    fn layer(&self, inner: S) -> WithoutLoops<S> {
        WithoutLoops { inner, layer: self.clone() }
    }
}
