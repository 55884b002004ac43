use std::sync::Arc;

use tower::Layer;

use super::Translate;
use crate::{
    Dialect, Target,
    preset::{Adapter, Deviations},
};

/// Translates for one target; see the [module](super).
#[derive(Clone, Debug)]
pub struct TranslateLayer {
    pub(super) target: Arc<Target>,
    pub(super) natives: Arc<[&'static dyn Dialect]>,
    pub(super) strict: bool,
    pub(super) always_streams: bool,
    pub(super) deviations: Deviations,
    pub(super) adapter: Adapter,
}

impl TranslateLayer {
    /// `target` speaks `natives`. A request in one of them goes on as it is; one in another dialect, or in one
    /// of which the target's model is [known](Dialect::takes) not to take it, is translated to the first that
    /// can be translated to.
    pub fn new(target: Arc<Target>, natives: impl IntoIterator<Item = &'static dyn Dialect>) -> Self {
        let deviations = Deviations::new("", &[]);
        let natives = natives.into_iter().collect();
        let adapter = Adapter::new(&deviations, &target);
        Self { target, natives, strict: false, always_streams: false, deviations, adapter }
    }

    /// Sets how the target deviates from the dialect it speaks; requests in this dialect are changed
    /// accordingly, translated or not.
    #[must_use]
    pub fn deviations(self, deviations: Deviations) -> Self {
        let adapter = Adapter::new(&deviations, &self.target);
        Self { deviations, adapter, ..self }
    }

    /// Refuses requests that would lose something.
    #[must_use]
    pub fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    /// Asks the target for a stream whatever the client wants, and puts whole answers to chats together from
    /// it: for models that only stream, and for long answers.
    #[must_use]
    pub fn always_streams(self, always_streams: bool) -> Self {
        Self { always_streams, ..self }
    }
}

impl<S> Layer<S> for TranslateLayer {
    type Service = Translate<S>;

    fn layer(&self, inner: S) -> Translate<S> {
        Translate::new(inner, self.clone())
    }
}
